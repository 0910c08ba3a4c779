//! What a comparison finds. Plain data.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{ClusterName, Foreign, NodeName, RunId, TableName};

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
    /// A node that goes back into service also needs a reboot, which is planned once it is back.
    RebootAfterRelease {
        /// The node.
        node: NodeName,
        /// The reboot table.
        table: TableName,
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
    /// Marked by a run that has not ended on it.
    MarkedByRun {
        /// The run.
        run: RunId,
        /// The config it belongs to.
        config: Foreign,
    },
    /// The last reboot by haulout left the same reason in place.
    RebootDidNotClear {
        /// When that was.
        at: Timestamp,
        /// The reason.
        reason: Foreign,
    },
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
    /// The reboot table that selects each node, also where something else beats it: its limits guard the node.
    pub reboot_tables: BTreeMap<NodeName, TableName>,
    /// Names that no node has.
    pub missing: Vec<Missing>,
    /// What a reader should know.
    pub notices: Vec<Notice>,
}
