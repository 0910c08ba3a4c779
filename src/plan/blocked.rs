//! Every "no" has a type, and says what would turn it into a "yes".

use jiff::Timestamp;

use super::types::Slot;
pub use crate::diff::{Kured, Notice, Standing, Unknown, UnknownReason, Wanted};
use crate::model::{BudgetKey, Foreign, NodeName, PodKey, PodName, RunId, TableName};
pub use crate::rules::BudgetProof;

/// Something wanted that is not in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The node; for a name in the config that no node has, that name.
    pub node: NodeName,
    /// The table that wants it.
    pub table: Option<TableName>,
    /// What is wanted.
    pub wanted: Wanted,
    /// Why it cannot be, all reasons found.
    pub reasons: Vec<BlockedReason>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockedReason {
    /// A budget over pods of this node can never allow an eviction as things stand.
    BudgetNever {
        /// The budget.
        budget: BudgetKey,
        /// The proof.
        proof: BudgetProof,
        /// The pods of this node that it holds.
        pods: Vec<PodKey>,
    },
    /// The eviction API refuses pods under two budgets (HTTP 500, permanent).
    TwoBudgets {
        /// The pod.
        pod: PodKey,
        /// Its budgets.
        budgets: Vec<BudgetKey>,
    },
    /// Pods without a controller: nobody would recreate them.
    UnmanagedPods(Vec<PodKey>),
    /// Pods with emptyDir data, and no consent to lose it.
    EmptyDirData(Vec<PodKey>),
    /// Cordoned by somebody else.
    ForeignCordon {
        /// Who owns the cordon, where known.
        manager: Option<Foreign>,
        /// Since when, where known.
        since: Option<Timestamp>,
    },
    /// Marked by another run that has not ended on it, and that cannot be taken over.
    MarkedByRun {
        /// The run.
        run: RunId,
        /// The config it belongs to.
        config: Foreign,
        /// Why it cannot be taken over.
        standing: Standing,
    },
    /// A limit is filled by nodes that are not ours to bring back.
    LimitFilled {
        /// The limit.
        slot: Slot,
        /// How many may be out.
        total: u32,
        /// The nodes that are out.
        out: Vec<NodeName>,
    },
    /// kured holds its lock for it: it drains and reboots the node itself.
    HeldByKured(Kured),
    /// The last reboot left the same reason in place.
    RebootDidNotClear {
        /// When that was.
        at: Timestamp,
        /// The reason.
        reason: Foreign,
    },
    /// Nothing says which image reboots nodes.
    NoNodePod,
    /// The node does not exist.
    NoSuchNode {
        /// Names that are close.
        similar: Vec<NodeName>,
    },
    /// A control-plane node with fewer than three healthy etcd members, or a quorum that cannot be proved.
    EtcdQuorum {
        /// Members seen healthy, where any were seen.
        healthy: Option<u32>,
    },
    /// Not a Linux node: there is no way to reboot it.
    NotLinux,
    /// It is not Ready now, and for reasons that a reboot was not asked for.
    NotReady,
    /// Its kubelet waits for a serving certificate. After a reboot it would wait as well, and the reboot would not be
    /// proved.
    ServingRequestPending {
        /// The name of the CertificateSigningRequest.
        request: PodName,
        /// Whether it asks for nothing else than what the node is known by.
        sound: bool,
    },
    /// Pods or budgets could not be read: the drain cannot be judged.
    CannotJudge(crate::model::GapSubject),
}
