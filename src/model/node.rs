//! A Node as far as maintenance cares.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{BootId, Foreign, LastReboot, Mark, NodeName, PoolName, Uid, ZoneName};

/// Labels of an object. Keys and values are limited by the API to characters that are safe to show.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// What the Ready condition of a node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// `Ready=True`.
    Ready,
    /// `Ready=False`: the kubelet says so.
    NotReady,
    /// `Ready=Unknown`, or no such condition: nobody heard of the kubelet.
    Unknown,
}

/// Why a node takes no new pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cordon {
    /// Our mark is on it **and** `managedFields` shows our field manager owning `spec.unschedulable`.
    Marked(Mark),
    /// Anything else: somebody's, never to be removed. What is known of its owner is for showing only.
    Foreign {
        /// The field manager that owns `spec.unschedulable`, such as `kubectl-cordon`, where one does.
        manager: Option<Foreign>,
        /// When that manager last wrote, where known.
        since: Option<Timestamp>,
        /// A mark of ours that somebody's own cordon has overtaken.
        mark: Option<Mark>,
    },
}

/// What a node's report says about a reboot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedReboot {
    /// A reboot is required, for this reason (may be empty).
    Required(Foreign),
    /// None is required.
    NotRequired,
}

/// The annotations that a node's agent, or anything else, wrote about the node. Whether it counts is for the planner
/// to decide: only while its boot id is the node's current one, and while it is younger than a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it says about a reboot; `None` where the annotation is missing or neither `true` nor `false`.
    pub reboot: Option<ReportedReboot>,
    /// The boot it speaks of.
    pub boot_id: Option<BootId>,
    /// When that boot was.
    pub booted_at: Option<Timestamp>,
    /// When it was written.
    pub reported_at: Option<Timestamp>,
}

/// What a taint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaintEffect {
    /// New pods that do not tolerate it are not placed here.
    NoSchedule,
    /// Placed here only if nowhere else.
    PreferNoSchedule,
    /// Pods that do not tolerate it are deleted.
    NoExecute,
}

/// A taint of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Its key.
    pub key: Arc<str>,
    /// Its value, often empty.
    pub value: Arc<str>,
    /// What it does.
    pub effect: TaintEffect,
}

/// What an address of a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressKind {
    /// `InternalIP`.
    InternalIp,
    /// `ExternalIP`.
    ExternalIp,
    /// `Hostname`, `InternalDNS` or `ExternalDNS`.
    Name,
}

/// An address by which a node can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// What it is.
    pub kind: AddressKind,
    /// The address, as the node's kubelet or its cloud says it.
    pub address: Foreign,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its UID: a node that comes back under the same name but another UID is another node.
    pub uid: Uid,
    /// The version of the object that was read; guards writes.
    pub resource_version: Arc<str>,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Its pool, by the cluster's pool label; the empty name where the cluster has none.
    pub pool: PoolName,
    /// Its zone; the empty name where it carries none.
    pub zone: ZoneName,
    /// Whether it runs the control plane (by role label or taint).
    pub control_plane: bool,
    /// Whether it runs Linux (`kubernetes.io/os`, or nodeInfo where the label is missing).
    pub linux: bool,
    /// What its Ready condition says.
    pub readiness: Readiness,
    /// `spec.unschedulable`, with what is known of whose it is.
    pub cordon: Option<Cordon>,
    /// `status.nodeInfo.bootID`; `None` where the kubelet has not said yet.
    pub boot_id: Option<BootId>,
    /// `status.nodeInfo.kernelVersion`.
    pub kernel: Foreign,
    /// Marks of a run found on it, whoever owns the cordon; also where the node is schedulable.
    pub mark: Option<Mark>,
    /// What its agent wrote.
    pub report: Report,
    /// `weave.works/kured-reboot-in-progress`: since when kured has wanted to reboot it.
    pub kured_wants_since: Option<Timestamp>,
    /// What haulout's last reboot of it left.
    pub last_reboot: Option<LastReboot>,
    /// The former value of the autoscaler annotation that our cordon replaced.
    pub scale_down_before: Option<Foreign>,
    /// The current value of the autoscaler annotation.
    pub scale_down_disabled: Option<Foreign>,
    /// Its taints, in the order of the object.
    pub taints: Vec<Taint>,
    /// `status.allocatable`, quantity texts by resource name.
    pub allocatable: Arc<BTreeMap<Arc<str>, Arc<str>>>,
    /// Its addresses, in the order of the object.
    pub addresses: Arc<[NodeAddress]>,
    /// The port of its kubelet; 0 where it does not say.
    pub kubelet_port: u16,
    /// When the Node object was made.
    pub created_at: Option<Timestamp>,
    /// Whether deletion of the Node object has begun.
    pub terminating: bool,
}

impl Node {
    /// Whether the node takes no new pods.
    #[must_use]
    pub fn is_unschedulable(&self) -> bool {
        self.cordon.is_some()
    }

    /// Whether the node counts as out: not Ready or unschedulable, for any reason, ours or not.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.is_unschedulable() || self.readiness != Readiness::Ready || self.terminating
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(AsRef::as_ref)
    }
}
