//! The Lease that lets one run act on a cluster.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::acts::Change;
use super::cluster::KubernetesCluster;
use super::failure::malformed;
use super::transport::{Answer, JSON, Target};
use super::wire;
use crate::model::{FIELD_MANAGER, Foreign, LEASE_NAME, MANAGED_NAMESPACE, RunId};
use crate::provider::{ActError, LeaseRead, LockActs, ReadError};

/// How long a silent holder keeps the lock.
const LEASE_DURATION: Duration = Duration::from_secs(60);
/// The longest length of a Lease that is believed: one that somebody wrote by hand must not keep runs out for ever.
const LEASE_DURATION_MAX: Duration = Duration::from_secs(3600);
const OPERATION_READ: &str = "read the lock";

#[derive(Deserialize)]
struct Lease {
    metadata: LeaseMeta,
    #[serde(default)]
    spec: LeaseSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeaseMeta {
    resource_version: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeaseSpec {
    holder_identity: Option<String>,
    renew_time: Option<wire::Time>,
    lease_duration_seconds: Option<u64>,
}

impl From<Lease> for LeaseRead {
    fn from(lease: Lease) -> Self {
        Self {
            holder: lease.spec.holder_identity.filter(|holder| !holder.is_empty()).map(Foreign::new),
            renewed_at: lease.spec.renew_time.and_then(|time| time.timestamp()),
            // Never shorter than what every holder relies on: it goes on acting for most of that after its last renewal.
            duration: lease
                .spec
                .lease_duration_seconds
                .map_or(LEASE_DURATION, Duration::from_secs)
                .clamp(LEASE_DURATION, LEASE_DURATION_MAX),
            resource_version: Arc::from(lease.metadata.resource_version),
        }
    }
}

fn path() -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{MANAGED_NAMESPACE}/leases")
}

/// The API's MicroTime: always six digits.
fn micro(now: Timestamp) -> String {
    format!("{now:.6}")
}

fn written(answer: &Answer, operation: &str) -> Result<LeaseRead, ActError> {
    serde_json::from_slice::<Lease>(&answer.body).map(LeaseRead::from).map_err(|error| ActError::Unclear {
        operation: operation.to_owned(),
        cause: Box::new(malformed(operation, error)),
    })
}

/// A new lock.
pub(super) fn new_lease(holder: &RunId, now: Timestamp) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": LEASE_NAME, "namespace": MANAGED_NAMESPACE },
        "spec": {
            "holderIdentity": holder.as_str(),
            "leaseDurationSeconds": LEASE_DURATION.as_secs(),
            "acquireTime": micro(now),
            "renewTime": micro(now),
        },
    })
}

/// The patch that renews the lock, takes it over or gives it back, guarded by the version that was read.
pub(super) fn lease_patch(read: &LeaseRead, holder: Option<&RunId>, now: Timestamp) -> Value {
    let mut spec = json!({
        "holderIdentity": holder.map_or(Value::Null, |holder| json!(holder.as_str())),
        "leaseDurationSeconds": LEASE_DURATION.as_secs(),
        "renewTime": micro(now),
    });
    let same = read.holder.as_ref().map(Foreign::raw) == holder.map(RunId::as_str);
    if !same && holder.is_some() {
        spec["acquireTime"] = json!(micro(now));
    }
    json!({ "metadata": { "resourceVersion": &*read.resource_version }, "spec": spec })
}

/// Reads the lock.
pub(super) fn lease<'de>(object: impl Deserializer<'de>) -> Option<LeaseRead> {
    Lease::deserialize(object).ok().map(LeaseRead::from)
}

#[async_trait]
impl LockActs for KubernetesCluster {
    async fn read_lease(&self) -> Result<Option<LeaseRead>, ReadError> {
        let take = |lease: Lease| Ok(LeaseRead::from(lease));
        self.get_as(format!("{}/{LEASE_NAME}", path()), OPERATION_READ.to_owned(), take).await
    }

    async fn create_lease(&self, holder: &RunId, now: Timestamp) -> Result<LeaseRead, ActError> {
        let operation = "create the lock";
        let change = Change {
            operation,
            method: Method::POST,
            target: Target::new(path()).with("fieldManager", FIELD_MANAGER),
            content_type: JSON,
            body: new_lease(holder, now),
            namespace: None,
        };
        written(&self.change(change).await?, operation)
    }

    async fn write_lease(
        &self,
        read: &LeaseRead,
        holder: Option<&RunId>,
        now: Timestamp,
    ) -> Result<LeaseRead, ActError> {
        let operation = match holder {
            Some(_) => "renew the lock",
            None => "release the lock",
        };
        let change = Change {
            operation,
            method: Method::PATCH,
            target: Target::new(format!("{}/{LEASE_NAME}", path())).with("fieldManager", FIELD_MANAGER),
            content_type: "application/merge-patch+json",
            body: lease_patch(read, holder, now),
            namespace: None,
        };
        written(&self.change(change).await?, operation)
    }
}
