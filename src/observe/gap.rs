//! What could not be read, and what would close it.

use crate::model::{Explain, Foreign, Gap, GapSubject, LEASE_NAME, MANAGED_NAMESPACE};
use crate::provider::{ReadError, ReadErrorKind};

/// The gap that a failed read leaves.
pub(super) fn of_failure(subject: GapSubject, error: &ReadError) -> Gap {
    let remedy = match error.kind {
        ReadErrorKind::Forbidden => rule(subject),
        ReadErrorKind::NotFound
        | ReadErrorKind::Throttled
        | ReadErrorKind::Expired
        | ReadErrorKind::Unreachable
        | ReadErrorKind::Server
        | ReadErrorKind::Malformed => error.advice().map(|advice| advice.0).unwrap_or_default(),
    };
    Gap { subject, why: error.told(), remedy }
}

/// The gap that objects leave which could not be understood.
pub(super) fn of_objects(what: &str, bad: u32) -> Gap {
    let objects = if bad == 1 { "object" } else { "objects" };
    Gap {
        subject: GapSubject::Objects,
        why: Foreign::new(format!("{bad} {objects} in the list of {what} could not be understood and are left out")),
        remedy: format!("look at the {what} for names or values that the Kubernetes API does not define"),
    }
}

/// The RBAC rule that allows a read.
fn rule(subject: GapSubject) -> String {
    match subject {
        GapSubject::Budgets => "allow list on poddisruptionbudgets of policy in all namespaces".to_owned(),
        GapSubject::DaemonSets => "allow list on daemonsets of apps in all namespaces".to_owned(),
        GapSubject::Pods | GapSubject::Etcd | GapSubject::Objects => "allow list on pods in all namespaces".to_owned(),
        GapSubject::Version => "allow get on the non-resource URL /version".to_owned(),
        GapSubject::Identity => "allow get on the namespace kube-system".to_owned(),
        GapSubject::Lock => {
            format!("allow get on the lease {LEASE_NAME} of coordination.k8s.io in namespace {MANAGED_NAMESPACE}")
        }
    }
}
