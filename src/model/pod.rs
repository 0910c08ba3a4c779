//! A Pod as far as maintenance cares, in little memory: a large cluster has hundreds of thousands of them, but only
//! thousands of different shapes.

use std::collections::HashSet;
use std::sync::Arc;

use super::{LABEL_COMPONENT, LABEL_RUN, Labels, NodeName, PodKey, REBOOT_COMPONENT, RunId, Uid};

/// `status.phase`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Accepted, containers not all started.
    Pending,
    /// At least one container runs.
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one badly.
    Failed,
    /// The node cannot be asked.
    Unknown,
}

/// What changes over a pod's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PodStatus {
    /// Its phase.
    pub phase: Phase,
    /// Whether its Ready condition is True. Independent of the phase: a Succeeded pod may still be Ready.
    pub ready: bool,
    /// Whether its deletion has begun.
    pub terminating: bool,
}

impl PodStatus {
    /// Whether the pod has ended: Succeeded or Failed.
    #[must_use]
    pub fn is_finished(self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }
}

/// The owner reference with `controller: true`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// `apiVersion`, such as `apps/v1`.
    pub api_version: Arc<str>,
    /// `kind`, such as `ReplicaSet`.
    pub kind: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its UID.
    pub uid: Uid,
}

impl Owner {
    /// Whether it is a DaemonSet, by kind and API version, as drain tools judge it.
    #[must_use]
    pub fn is_daemon_set(&self) -> bool {
        &*self.kind == "DaemonSet" && &*self.api_version == "apps/v1"
    }
}

/// What pods of one template share; interned, see [`Shapes`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PodShape {
    /// Labels.
    pub labels: Labels,
    /// The controller; `None` is an unmanaged pod, which nobody recreates.
    pub owner: Option<Owner>,
    /// A mirror pod of the kubelet (annotation `kubernetes.io/config.mirror`): never evicted.
    pub mirror: bool,
    /// Has at least one `emptyDir` volume: its data ends with the pod.
    pub empty_dir: bool,
    /// `terminationGracePeriodSeconds`.
    pub grace_seconds: u32,
    /// Tolerates every `NoSchedule` taint, the cordon's too: once evicted it may come back to the node.
    pub tolerates_cordon: bool,
    /// Mounts a PersistentVolumeClaim: the volume must be detached before the node may reboot.
    pub volumes: bool,
    /// Who must let go of the object before it can be gone, long after its containers have ended. Only while it is
    /// watched: snapshots do not keep them.
    pub finalizers: Vec<Arc<str>>,
    /// Owned by haulout: [`super::LABEL_COMPONENT`] in [`super::MANAGED_NAMESPACE`].
    pub ours: bool,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub key: PodKey,
    /// UID: what an eviction names, so that a namesake is never hit.
    pub uid: Uid,
    /// The node it is bound to.
    pub node: Option<NodeName>,
    /// What changes.
    pub status: PodStatus,
    /// What does not.
    pub shape: Arc<PodShape>,
}

impl Pod {
    /// The run that this is a reboot pod of, where it is one of ours.
    #[must_use]
    pub fn reboots_for(&self) -> Option<RunId> {
        let label = |key| self.shape.labels.get(key).map(|value| &**value);
        let is_ours = self.shape.ours && label(LABEL_COMPONENT) == Some(REBOOT_COMPONENT);
        RunId::new(label(LABEL_RUN).filter(|_| is_ours)?).ok()
    }
}

/// Interns shapes, so that equal ones share their memory.
#[derive(Debug, Default)]
pub struct Shapes(HashSet<Arc<PodShape>>);

impl Shapes {
    /// The shared copy of a shape.
    pub fn intern(&mut self, shape: PodShape) -> Arc<PodShape> {
        if let Some(known) = self.0.get(&shape) {
            return Arc::clone(known);
        }
        let shape = Arc::new(shape);
        self.0.insert(Arc::clone(&shape));
        shape
    }

    /// How many different shapes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was interned yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
