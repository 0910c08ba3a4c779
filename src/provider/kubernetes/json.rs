//! Objects, requests and answers of the Kubernetes API as JSON values, for a simulated cluster in this process: it is
//! read and written exactly as a real one is, without a connection.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::failure::Failure;
use super::kinds::{Budgets, DaemonSets, Nodes, Pods};
use super::list::Kind;
use super::wire::{self, CertificateSigningRequest, Named, Status, VolumeAttachment};
use super::{acts, lock, manifest, reads};
use crate::model::{Budget, DaemonSet, Foreign, Grace, LabelKey, Namespace, Node, NodeName, Phase, Pod, RunId, Uid};
use crate::provider::{
    ActError, CordonWrite, LeaseRead, NodeLease, ReadError, RebootPodState, ReportWrite, UncordonWrite,
};

pub use super::manifest::reboot_pod_manifest as reboot_pod;

/// Reads objects; what cannot be understood is `None`, as it is left out of lists.
#[derive(Debug, Default)]
pub struct Reader {
    pool_label: Option<LabelKey>,
    pods: Pods,
}

impl Reader {
    /// `pool_label` names the pool of a node, where the config gives one.
    #[must_use]
    pub fn new(pool_label: Option<LabelKey>) -> Self {
        Self { pool_label, pods: Pods::default() }
    }

    /// A Node.
    #[must_use]
    pub fn node<'de>(&self, object: impl Deserializer<'de>) -> Option<Node> {
        take(&mut Nodes(self.pool_label.clone()), object)
    }

    /// A Node of which nothing has changed but what stands beside its labels and its status, which `object` may lack: these
    /// are as they were `before`. `None` also where that is not enough to tell.
    #[must_use]
    pub fn node_again<'de>(&self, object: impl Deserializer<'de>, before: &Node) -> Option<Node> {
        // Labels and taints both say this, and nothing says which of them did.
        if before.control_plane {
            return None;
        }
        let now = self.node(object)?;
        Some(Node {
            labels: Arc::clone(&before.labels),
            pool: before.pool.clone(),
            zone: before.zone.clone(),
            linux: before.linux,
            readiness: before.readiness,
            boot_id: before.boot_id.clone(),
            kernel: before.kernel.clone(),
            allocatable: Arc::clone(&before.allocatable),
            addresses: Arc::clone(&before.addresses),
            kubelet_port: before.kubelet_port,
            ..now
        })
    }

    /// A Pod of which nothing has changed but its status and whether it is to end; all else is as it was `before`, and
    /// `object` may lack it.
    #[must_use]
    pub fn pod_again<'de>(&self, object: impl Deserializer<'de>, before: &Pod) -> Option<Pod> {
        let now = wire::Pod::deserialize(object).ok()?;
        Some(Pod { status: now.status(), ..before.clone() })
    }

    /// A Pod; its shape is shared with those that were read before.
    #[must_use]
    pub fn pod<'de>(&mut self, object: impl Deserializer<'de>) -> Option<Pod> {
        take(&mut self.pods, object)
    }

    /// A `PodDisruptionBudget`.
    #[must_use]
    pub fn budget<'de>(&self, object: impl Deserializer<'de>) -> Option<Budget> {
        take(&mut Budgets, object)
    }

    /// A DaemonSet.
    #[must_use]
    pub fn daemon_set<'de>(&self, object: impl Deserializer<'de>) -> Option<DaemonSet> {
        take(&mut DaemonSets, object)
    }
}

fn take<'de, K: Kind>(kind: &mut K, object: impl Deserializer<'de>) -> Option<K::Model>
where
    K::Wire: Deserialize<'de>,
{
    kind.take(K::Wire::deserialize(object).ok()?).ok()
}

/// The UID of any object.
#[must_use]
pub fn uid<'de>(object: impl Deserializer<'de>) -> Option<Uid> {
    Named::deserialize(object).ok()?.try_into().ok()
}

/// The lease of a node.
#[must_use]
pub fn node_lease<'de>(object: impl Deserializer<'de>) -> Option<NodeLease> {
    reads::renewal(object)
}

/// The drivers of a CSINode.
#[must_use]
pub fn csi_drivers<'de>(object: impl Deserializer<'de>) -> BTreeSet<Foreign> {
    reads::drivers(object)
}

/// The volume that a VolumeAttachment attaches to a node.
#[must_use]
pub fn volume_on<'de>(object: impl Deserializer<'de>, node: &NodeName) -> Option<Foreign> {
    VolumeAttachment::deserialize(object).ok()?.volume_on(node.as_str()).map(Foreign::new)
}

/// Whether a CertificateSigningRequest is an undecided one for a serving certificate of a node.
#[must_use]
pub fn is_pending_serving<'de>(object: impl Deserializer<'de>, node: &NodeName) -> bool {
    CertificateSigningRequest::deserialize(object).is_ok_and(|request| request.is_pending_serving(node.as_str()))
}

/// How a reboot pod stands.
#[must_use]
pub fn reboot_pod_state<'de>(object: impl Deserializer<'de>) -> RebootPodState {
    reads::reboot_pod_state(object).unwrap_or(RebootPodState::Absent)
}

/// The lock.
#[must_use]
pub fn lease<'de>(object: impl Deserializer<'de>) -> Option<LeaseRead> {
    lock::lease(object)
}

/// The merge patch that cordons a node.
#[must_use]
pub fn cordon(node: &Node, write: &CordonWrite) -> Value {
    acts::cordon_patch(node, write)
}

/// The merge patch that writes a phase.
#[must_use]
pub fn phase(node: &Node, phase: Phase) -> Value {
    acts::phase_patch(node, phase)
}

/// The merge patch that settles a cordon that stays.
#[must_use]
pub fn settle(node: &Node) -> Value {
    acts::settle_patch(node)
}

/// The merge patch that uncordons a node.
#[must_use]
pub fn uncordon(node: &Node, write: &UncordonWrite) -> Value {
    acts::uncordon_patch(node, write)
}

/// The merge patch that writes a node's report.
#[must_use]
pub fn report(report: &ReportWrite) -> Value {
    acts::report_patch(report)
}

/// The body of an eviction.
#[must_use]
pub fn eviction(pod: &Pod, grace: Grace) -> Value {
    acts::eviction(pod, grace)
}

/// A new lock.
#[must_use]
pub fn new_lease(holder: &RunId, now: Timestamp) -> Value {
    lock::new_lease(holder, now)
}

/// The merge patch that renews the lock, takes it over or, without a holder, gives it back.
#[must_use]
pub fn renewed_lease(read: &LeaseRead, holder: Option<&RunId>, now: Timestamp) -> Value {
    lock::lease_patch(read, holder, now)
}

/// The namespace of the lock and of node pods.
#[must_use]
pub fn namespace() -> Value {
    manifest::namespace()
}

/// The account of node pods, its role and its binding.
#[must_use]
pub fn node_account() -> [Value; 3] {
    manifest::node_account().map(|(_, _, body)| body)
}

/// What an answer that is no success means for a change. `namespace` is that of the object.
#[must_use]
pub fn act_error<'de>(
    code: u16,
    body: impl Deserializer<'de>,
    retry_after: Option<Duration>,
    operation: &str,
    namespace: Option<&Namespace>,
) -> ActError {
    failure(code, body, retry_after).into_act(operation, namespace)
}

/// What an answer that is no success means for a read.
#[must_use]
pub fn read_error<'de>(
    code: u16,
    body: impl Deserializer<'de>,
    retry_after: Option<Duration>,
    operation: &str,
) -> ReadError {
    failure(code, body, retry_after).into_read(operation)
}

fn failure<'de>(code: u16, body: impl Deserializer<'de>, retry_after: Option<Duration>) -> Failure {
    let mut headers = HeaderMap::new();
    if let Some(after) = retry_after {
        headers.insert(http::header::RETRY_AFTER, http::HeaderValue::from(after.as_secs()));
    }
    Failure::from_status(code, Status::deserialize(body).unwrap_or_default(), &headers)
}
