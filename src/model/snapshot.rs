//! What was observed of a cluster at one moment.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

use super::{Budgets, Certificates, ClusterName, Foreign, KuredLock, Namespace, Node, NodeName, Pod, RunId, Uid};

/// What could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapSubject {
    /// Disruption budgets: no drain can be judged without them.
    Budgets,
    /// DaemonSets: whether a pod's DaemonSet still exists.
    DaemonSets,
    /// Pods: no drain can be judged without them.
    Pods,
    /// The version of the API server.
    Version,
    /// The UID of the namespace `kube-system`, which identifies the cluster.
    Identity,
    /// The lock of `apply`.
    Lock,
    /// Single objects that could not be understood; the message counts them.
    Objects,
    /// How many members etcd has.
    Etcd,
}

/// Something that could not be read, and why. A plan shows its gaps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// What.
    pub subject: GapSubject,
    /// Why, as the source said it.
    pub why: Foreign,
    /// What would close it, such as the RBAC rule that is missing.
    pub remedy: String,
}

/// A DaemonSet: its pods are left alone by drains while it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonSet {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: Foreign,
    /// Its UID.
    pub uid: Uid,
    /// Where it is a kured: its lock, which is kept on it.
    pub kured_locks: Vec<KuredLock>,
}

/// What is known of the control plane, as far as rebooting one of its nodes asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlPlane {
    /// Nodes that run an etcd member as a static pod (label `component=etcd`), and whether that pod is Ready.
    pub etcd_members: BTreeMap<NodeName, bool>,
}

/// The lock of a cluster, as its Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLock {
    /// `holderIdentity`: a run id.
    pub holder: Foreign,
    /// When the holder last renewed it, by its own clock.
    pub renewed_at: Timestamp,
    /// For how long a renewal holds.
    pub duration: Duration,
}

impl HeldLock {
    /// Whether its holder has to be taken for alive: its last sign of life is younger than the lock lasts. One from the
    /// future is by a clock that runs ahead, and no sign of death.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        Duration::try_from(now.duration_since(self.renewed_at)).map_or(true, |age| age < self.duration)
    }
}

/// Everything that planning may know of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The cluster's name in the config.
    pub cluster: ClusterName,
    /// How it was reached, for the header: `server host` or `sandbox`.
    pub via: Foreign,
    /// The UID of its namespace `kube-system`; `None` is a gap.
    pub identity: Option<Uid>,
    /// The API server's version, such as `1.37.2`; empty is a gap.
    pub version: Foreign,
    /// When the last of it was read.
    pub taken_at: Timestamp,
    /// The nodes.
    pub nodes: BTreeMap<NodeName, Node>,
    /// The pods, sorted by node, namespace, name.
    pub pods: Vec<Pod>,
    /// The disruption budgets.
    pub budgets: Budgets,
    /// The DaemonSets, by UID.
    pub daemon_sets: BTreeMap<Uid, DaemonSet>,
    /// What is known of the control plane.
    pub control_plane: ControlPlane,
    /// The certificates of the cluster, and of the way to it.
    pub certificates: Certificates,
    /// The lock, where a run holds it, live or dead.
    pub lock: Option<HeldLock>,
    /// Whether this is a simulated cluster, which needs no image for its node pods.
    pub sandbox: bool,
    /// What could not be read.
    pub gaps: Vec<Gap>,
}

impl Snapshot {
    /// The pods bound to a node, in order of their keys.
    #[must_use]
    pub fn pods_on(&self, node: &NodeName) -> &[Pod] {
        let start = self.pods.partition_point(|pod| pod.node.as_ref() < Some(node));
        let end = self.pods.partition_point(|pod| pod.node.as_ref() <= Some(node));
        &self.pods[start..end]
    }

    /// Whether a run may still be acting: a live lock names it, or the lock could not be read.
    #[must_use]
    pub fn may_be_live(&self, run: &RunId, now: Timestamp) -> bool {
        self.has_gap(GapSubject::Lock)
            || self.lock.as_ref().is_some_and(|lock| lock.holder.raw() == run.as_str() && lock.is_live(now))
    }

    /// Whether there is a gap about a subject.
    #[must_use]
    pub fn has_gap(&self, subject: GapSubject) -> bool {
        self.gaps.iter().any(|gap| gap.subject == subject)
    }

    /// Puts the parts into their documented order; every maker of a snapshot calls it last.
    pub fn sort(&mut self) {
        self.pods.sort_by(|a, b| a.node.cmp(&b.node).then_with(|| a.key.cmp(&b.key)));
        self.gaps.sort();
        self.gaps.dedup();
        self.certificates.sort();
    }
}
