//! Changing a cluster.

use async_trait::async_trait;
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

use super::right::{Place, Target};
use super::{ClusterReads, ReadError};
use crate::journal::Permit;
use crate::model::{
    BootId, BudgetKey, Foreign, HeldLock, LastReboot, Mark, Node, NodeName, NodePod, Phase, Pod, RebootMethod,
    ReportedReboot, RunId, Uid,
};

/// Why a change was refused; nothing happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 429 with cause DisruptionBudget: read the budget. A wait.
    #[error("the disruption budget does not allow it now")]
    Budget {
        /// The budget's name where the cause names it; never decided upon.
        budget: Option<BudgetKey>,
        /// Retry-After, where given: the budget is being processed.
        retry_after: Option<Duration>,
    },
    /// 429 without a cause: the server throttles this client.
    #[error("the API server asked to slow down")]
    Throttled {
        /// Retry-After, where given.
        retry_after: Option<Duration>,
    },
    /// An admission webhook denied it, with any status. A wait of that pod alone.
    #[error("an admission webhook denied it")]
    Webhook {
        /// What it said.
        message: Foreign,
        /// Whether the webhook could not be called, rather than said no.
        failed: bool,
    },
    /// 500 of a pod under two budgets: permanent until a budget changes.
    #[error("the pod is under more than one disruption budget")]
    TwoBudgets,
    /// 403 with cause NamespaceTerminating.
    #[error("its namespace is terminating")]
    NamespaceTerminating,
    /// 403 for a missing right, with the rule in the message.
    #[error("the API server forbade it")]
    Forbidden {
        /// What it said.
        message: Foreign,
    },
    /// 404: the object is gone.
    #[error("the object is gone")]
    NotFound,
    /// 409 for a uid or resourceVersion that is no longer the object's: it changed, or is another.
    #[error("the object has changed")]
    Conflict {
        /// What it said.
        message: Foreign,
    },
    /// 409 AlreadyExists on a create.
    #[error("it exists already")]
    AlreadyExists,
    /// 400, 422 or anything else the server will not do as asked.
    #[error("the API server refused it")]
    Invalid {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: Foreign,
    },
    /// 504 or 500 that is known to have had no effect (budget update conflicts). A wait by time.
    #[error("the API server could not do it now")]
    TryAgain {
        /// What it said.
        message: Foreign,
        /// How long to wait.
        retry_after: Option<Duration>,
    },
}

/// A change that did not, or may not, happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ActError {
    /// It did not happen.
    #[error("{operation}")]
    Refused {
        /// Such as `evict pod shop/web-1`.
        operation: String,
        /// Why.
        #[source]
        refusal: Refusal,
    },
    /// It may have happened: read before anything else.
    #[error("{operation}: whether it happened is not known")]
    Unclear {
        /// Such as `evict pod shop/web-1`.
        operation: String,
        /// What went wrong on the way.
        #[source]
        cause: Box<ReadError>,
    },
}

/// How long evicted pods get to end.
pub use crate::model::Grace;

/// What an accepted eviction was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// Warnings of the server; on an eviction each is a mistake of ours worth knowing.
    pub warnings: Vec<Foreign>,
}

/// What a cordon writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CordonWrite {
    /// The marks.
    pub mark: Mark,
}

/// What the last reboot was, in an uncordon.
pub type LastRebootWrite = LastReboot;

/// What an uncordon writes beside `unschedulable: false` and the removal of the marks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UncordonWrite {
    /// The record of the reboot, where one was proved.
    pub last_reboot: Option<LastRebootWrite>,
}

/// The pod that reboots a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebootPod {
    /// The node.
    pub node: NodeName,
    /// Its UID.
    pub node_uid: Uid,
    /// The boot id that it may end.
    pub boot_id: BootId,
    /// The run.
    pub run: RunId,
    /// How it reboots.
    pub method: RebootMethod,
    /// The image; `None` on a sandbox, where a placeholder is written.
    pub image: Option<NodePod>,
    /// It does nothing after this moment.
    pub not_after: Timestamp,
    /// The kubelet ends it after this time.
    pub active_deadline: Duration,
}

/// Everything that may be changed on a cluster.
#[async_trait]
pub trait ClusterActs: ClusterReads {
    /// Cordons a node: one PATCH with resourceVersion, marks and autoscaler annotation. Returns the node as written.
    async fn cordon(&self, permit: Permit, node: &Node, write: &CordonWrite) -> Result<Node, ActError>;

    /// Writes a phase, guarded by resourceVersion. Returns the node as written.
    async fn write_phase(&self, permit: Permit, node: &Node, phase: Phase) -> Result<Node, ActError>;

    /// Takes the phase and the run off a node but leaves it cordoned, with [`crate::model::ANNOTATION_CORDON`]: what
    /// remains of an `out_of_service` node once it is drained. Guarded by resourceVersion. Returns the node as written.
    async fn settle_cordon(&self, permit: Permit, node: &Node) -> Result<Node, ActError>;

    /// Uncordons a node: one PATCH with resourceVersion that also takes the marks off and restores the autoscaler
    /// annotation. Returns the node as written.
    async fn uncordon(&self, permit: Permit, node: &Node, write: &UncordonWrite) -> Result<Node, ActError>;

    /// Evicts a pod, with its uid, with `fieldValidation=Strict`.
    async fn evict(&self, permit: Permit, pod: &Pod, grace: Grace) -> Result<Eviction, ActError>;

    /// Creates the reboot pod.
    async fn start_reboot_pod(&self, permit: Permit, pod: &RebootPod) -> Result<(), ActError>;

    /// Deletes the reboot pod of a node and run.
    async fn delete_reboot_pod(&self, permit: Permit, node: &NodeName, run: &RunId) -> Result<(), ActError>;

    /// Creates the namespace `haulout-system` with its Pod Security label where it is missing. `Ok(true)` if it made it.
    async fn ensure_namespace(&self, permit: Permit) -> Result<bool, ActError>;

    /// Creates the ServiceAccount `haulout-node`, its role and binding where they are missing.
    async fn ensure_node_account(&self, permit: Permit) -> Result<bool, ActError>;
}

/// What the lock's Lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRead {
    /// `holderIdentity`; `None` where it was released.
    pub holder: Option<Foreign>,
    /// `renewTime`, by the holder's clock.
    pub renewed_at: Option<Timestamp>,
    /// `leaseDurationSeconds`.
    pub duration: Duration,
    /// The version read; changes with every renewal, which is what others observe.
    pub resource_version: Arc<str>,
}

impl LeaseRead {
    /// Whether its holder has to be taken for alive, by its own clock and this one.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        let Some((holder, renewed_at)) = self.holder.clone().zip(self.renewed_at) else { return false };
        HeldLock { holder, renewed_at, duration: self.duration }.is_live(now)
    }
}

/// The lock: the Lease `haulout` in `haulout-system`. Without permit: it is what makes the rest safe.
#[async_trait]
pub trait LockActs: Send + Sync {
    /// Reads the Lease; `None` where there is none.
    async fn read_lease(&self) -> Result<Option<LeaseRead>, ReadError>;

    /// Creates the Lease for a holder.
    async fn create_lease(&self, holder: &RunId, now: Timestamp) -> Result<LeaseRead, ActError>;

    /// Writes holder (`None` releases) and renewal time, guarded by the version read.
    async fn write_lease(
        &self,
        read: &LeaseRead,
        holder: Option<&RunId>,
        now: Timestamp,
    ) -> Result<LeaseRead, ActError>;
}

/// What a node's agent writes: annotations of its own Node. Without permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportWrite {
    /// What it found.
    pub reboot: ReportedReboot,
    /// The boot.
    pub boot_id: BootId,
    /// When that was.
    pub booted_at: Timestamp,
    /// Now.
    pub reported_at: Timestamp,
}

/// Writing a node's own report.
#[async_trait]
pub trait NodeReports: Send + Sync {
    /// Writes the report's annotations on a node.
    async fn write_report(&self, node: &NodeName, report: &ReportWrite) -> Result<(), ActError>;
}

/// The clocks of the API server and of this machine, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockRead {
    /// What the API server wrote into the head of its answer, in whole seconds.
    pub theirs: Timestamp,
    /// Before the request was sent, by this machine.
    pub before: Timestamp,
    /// After its answer came, by this machine.
    pub after: Timestamp,
}

/// An object that `apply` needs and makes where it is missing; `deploy/base.yaml` has them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BaseObject {
    /// The namespace of the lock and of reboot pods.
    Namespace,
    /// The ServiceAccount of reboot pods.
    NodeAccount,
    /// Its ClusterRole.
    NodeRole,
    /// Its ClusterRoleBinding.
    NodeBinding,
}

/// How one of them stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseState {
    /// It is there and as it should be.
    Sound,
    /// It is not there.
    Absent,
    /// It is there, but not as it should be: what is wrong, in words of ours that follow its name.
    Flawed(&'static str),
}

/// Requests that change nothing but that a read-only identity may not send: dry runs.
#[async_trait]
pub trait Probes: Send + Sync {
    /// Asks by server-side dry run whether the reboot pod would be admitted.
    async fn admit_reboot_pod(&self, pod: &RebootPod) -> Result<(), ActError>;
}

/// Questions about the API server, about whoever asks, and about what `apply` needs there.
#[async_trait]
pub trait Inquiries: Send + Sync {
    /// Reads the API server's clock; `None` where its answers carry no time.
    async fn clock(&self) -> Result<Option<ClockRead>, ReadError>;

    /// Asks the API server for whom it takes this client.
    async fn whoami(&self) -> Result<Foreign, ReadError>;

    /// Asks the API server whether this identity may do something.
    async fn may(&self, verb: &str, place: Place, target: &Target) -> Result<bool, ReadError>;

    /// Looks at an object that `apply` needs.
    async fn base(&self, object: BaseObject) -> Result<BaseState, ReadError>;
}
