//! Every "no" has a type, and says what would turn it into a "yes".

use jiff::Timestamp;

use super::types::Slot;
use crate::model::{BudgetKey, Foreign, NodeName, PodKey, RunId, TableName};

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

/// What is wanted of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// A reboot.
    Reboot,
    /// To be cordoned and drained.
    OutOfService,
    /// To be uncordoned.
    Release,
}

/// Why a budget will not allow an eviction, proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetProof {
    /// It needs as many healthy pods as there are to be: allows 0 by arithmetic.
    Arithmetic {
        /// `desiredHealthy`.
        desired: u32,
        /// `expectedPods`.
        expected: u32,
    },
    /// The controller cannot count its pods (`SyncFailed`).
    SyncFailed,
    /// It covers only pods without a controller under `maxUnavailable` or a percentage: nothing is expected.
    NothingExpected,
    /// It has neither `minAvailable` nor `maxUnavailable`.
    NeitherField,
    /// Nothing is healthy and the policy is IfHealthyBudget: unready pods are not evictable.
    NothingHealthy,
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
    /// Marked by another run, live or dead.
    MarkedByRun {
        /// The run.
        run: RunId,
        /// The config it belongs to.
        config: Foreign,
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
    /// Pods or budgets could not be read: the drain cannot be judged.
    CannotJudge(crate::model::GapSubject),
}

/// Something selected whose state could not be determined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The node.
    pub node: NodeName,
    /// The table that selects it.
    pub table: TableName,
    /// Why nothing is known.
    pub why: UnknownReason,
}

/// Why nothing is known of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnknownReason {
    /// It carries no report.
    NoReport,
    /// The report speaks of an earlier boot.
    OtherBoot,
    /// The report is older than a day.
    Stale {
        /// When it was written; `None` where it does not say.
        reported_at: Option<Timestamp>,
    },
    /// The report does not say when the node booted, and a trigger asks for that.
    NoBootTime,
    /// The report's value is neither `true` nor `false`.
    Unreadable,
    /// The report speaks of the future, by more than clocks may differ.
    FromTheFuture {
        /// When it says it was written.
        reported_at: Timestamp,
    },
}

/// What a reader should know, without effect on exit codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A selector of a table matches no node.
    MatchesNothing {
        /// The kind of table, such as `reboot`.
        kind: &'static str,
        /// The table.
        table: TableName,
    },
    /// An `out_of_service` table is past its `until`; only removing it uncordons.
    Expired {
        /// The table.
        table: TableName,
        /// Its `until`.
        until: Timestamp,
    },
    /// The lock of this cluster is held.
    LockHeld {
        /// The run that holds it.
        holder: Foreign,
        /// When it last renewed.
        renewed_at: Timestamp,
    },
    /// A node is both in a reboot table and out of service: the latter wins.
    RebootDeferred {
        /// The node.
        node: NodeName,
        /// The out-of-service table.
        table: TableName,
    },
    /// A disruption budget has overlapping peers, is stale or the like, and does not block anything now.
    BudgetLint {
        /// The budget.
        budget: BudgetKey,
        /// What is wrong, in words.
        what: &'static str,
    },
}
