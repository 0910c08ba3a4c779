//! What a comparison finds. Plain data.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{ClusterName, Foreign, Namespace, NodeName, Phase, Reboots, RunId, TableName};

/// Why something is wanted. Typed, so that every rendering says it in its own way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A report says that a reboot is required, with its reason (may be empty).
    RebootRequired(Foreign),
    /// kured wants to reboot it since then.
    KuredWants(Timestamp),
    /// Up since then, longer than allowed.
    UptimeExceeded {
        /// When it booted.
        booted_at: Timestamp,
        /// The longest uptime wanted.
        limit: Duration,
    },
    /// Booted before the wanted moment.
    BootedBefore {
        /// When it booted.
        booted_at: Timestamp,
        /// The moment.
        wanted: Timestamp,
    },
    /// The table takes it out of service, for this reason.
    OutOfService(Foreign),
    /// It was taken out of service by this config and no table wants it any more.
    ReleasedFromService,
    /// A run of this config marked it and did not finish, and is dead.
    LeftByRun {
        /// The run.
        run: RunId,
        /// How far it came; `None` where the mark does not say.
        phase: Option<Phase>,
        /// When that run cordoned it.
        since: Timestamp,
    },
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
    /// To be left alone: only of a node that a `protect` table names and that does not exist.
    Protection,
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
    /// The report's value is neither `true` nor `false`, or it does not say which boot it speaks of.
    Unreadable,
    /// The report speaks of the future, by more than clocks may differ.
    FromTheFuture {
        /// When it says it was written.
        reported_at: Timestamp,
    },
}

/// A kured that holds its lock for a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kured {
    /// The DaemonSet, on which the lock is kept.
    pub daemon_set: Foreign,
    /// Its namespace.
    pub namespace: Namespace,
    /// Since when, where it says so.
    pub since: Option<Timestamp>,
    /// When the lock stops to count by itself, if ever.
    pub until: Option<Timestamp>,
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
    /// A node that a dead run has left marked, and that this plan does not touch.
    LeftAlone {
        /// The node.
        node: NodeName,
        /// The run.
        run: RunId,
        /// Whether its cordon is still on the node.
        cordoned: bool,
    },
    /// A node is both in a reboot table and out of service: the latter wins.
    RebootDeferred {
        /// The node.
        node: NodeName,
        /// The out-of-service table.
        table: TableName,
    },
    /// A node that goes back into service also needs a reboot, which is planned once it is back.
    RebootAfterRelease {
        /// The node.
        node: NodeName,
        /// The reboot table.
        table: TableName,
    },
    /// kured works on a node, or on one that is gone.
    KuredAtWork {
        /// The node.
        node: NodeName,
        /// Its lock.
        kured: Kured,
        /// Whether the cluster still has the node. A kured whose node is gone never lets go of a lock without end.
        exists: bool,
    },
    /// The lock of a kured says nothing that can be understood.
    KuredUnreadable {
        /// The DaemonSet.
        daemon_set: Foreign,
        /// Its namespace.
        namespace: Namespace,
    },
    /// A node that a table wants out of service is protected: nothing is done to it.
    ProtectedFromService {
        /// The node.
        node: NodeName,
        /// The table that protects it.
        protect: TableName,
        /// The out-of-service table.
        table: TableName,
    },
}

/// One difference between config and cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What is wanted.
    pub wanted: Wanted,
    /// The table that wants it; `None` for a release.
    pub table: Option<TableName>,
    /// All reasons, in a fixed order.
    pub why: Vec<Why>,
}

/// What the node itself holds against a change. Pods, limits and quorum are judged by the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hindrance {
    /// Cordoned by somebody else.
    ForeignCordon {
        /// Who owns the cordon, where known.
        manager: Option<Foreign>,
        /// Since when, where known.
        since: Option<Timestamp>,
    },
    /// Marked by a run that has not ended on it, and that cannot be taken over.
    MarkedByRun {
        /// The run.
        run: RunId,
        /// The config it belongs to.
        config: Foreign,
        /// Why it cannot be taken over.
        standing: Standing,
    },
    /// kured works on the node.
    HeldByKured(Kured),
    /// The last reboot by haulout left the same reason in place.
    RebootDidNotClear {
        /// When that was.
        at: Timestamp,
        /// The reason.
        reason: Foreign,
    },
}

/// Why a node that a run has marked cannot be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A live lock names the run.
    Live,
    /// It is a run of another config, which alone may finish it.
    OtherConfig,
    /// The lock could not be read, so that nobody knows whether the run is alive.
    LockUnknown,
    /// It requested the reboot, and nothing says which boot was to end: whether it happened cannot be proved.
    BootUnknown,
}

/// A node that a run of this config has marked and will not finish, because it is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adoption {
    /// The run.
    pub run: RunId,
    /// How far it came; `None` where the mark does not say.
    pub phase: Option<Phase>,
    /// When it cordoned the node.
    pub since: Timestamp,
    /// The table that it was done for.
    pub table: Option<TableName>,
    /// What it was to reboot, where it was to.
    pub reboots: Option<Reboots>,
    /// Whether its cordon is still on the node. If not, somebody took it off and left the marks.
    pub cordoned: bool,
}

impl Adoption {
    /// Whether its reboot was requested, so that nothing may be begun anew on the node before that is settled.
    #[must_use]
    pub fn must_be_finished(&self) -> bool {
        matches!(self.phase, Some(Phase::Reboot | Phase::Returned))
    }

    /// The boot that ends with the reboot that the run has requested, where that reboot is still to be proved.
    #[must_use]
    pub fn awaits(&self) -> Option<&Reboots> {
        self.reboots.as_ref().filter(|_| self.must_be_finished() && self.cordoned)
    }
}

/// What became of one observed node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// No table selects it.
    NotSelected,
    /// This table protects it.
    Protected(TableName),
    /// Selected, and as wanted.
    UpToDate(TableName),
    /// Out of service, as wanted.
    OutOfService(TableName),
    /// Selected, but nobody can say.
    Unknown(Unknown),
    /// Something is wanted. With hindrances it cannot be.
    Change {
        /// What.
        change: Change,
        /// What the node holds against it.
        hindrances: Vec<Hindrance>,
    },
}

/// A node that a table names and the cluster does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The name in the config.
    pub node: NodeName,
    /// The table.
    pub table: TableName,
    /// What the table wants of it.
    pub wanted: Wanted,
    /// Names of the cluster that are close to it, the closest first.
    pub similar: Vec<NodeName>,
}

/// All differences of one cluster. Every observed node has exactly one verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differences {
    /// The cluster.
    pub cluster: ClusterName,
    /// What became of each node.
    pub nodes: BTreeMap<NodeName, Verdict>,
    /// The nodes that dead runs of this config have left marked.
    pub adoptions: BTreeMap<NodeName, Adoption>,
    /// The reboot table that selects each node, also where something else beats it: its limits guard the node.
    pub reboot_tables: BTreeMap<NodeName, TableName>,
    /// The nodes that kured works on: they are out, whether they are cordoned yet or not.
    pub held_by_kured: BTreeMap<NodeName, Kured>,
    /// Names that no node has.
    pub missing: Vec<Missing>,
    /// What a reader should know.
    pub notices: Vec<Notice>,
}
