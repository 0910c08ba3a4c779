//! What a plan consists of. Plain data: how it comes about is in `draft`, whether it is sound in `check`.

use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::blocked::{Blocked, Notice, Unknown};
use super::certificate::CertificateReport;
pub use crate::diff::Why;
use crate::model::{
    BootId, BudgetKey, ClusterName, DrainRule, Foreign, Gap, NodeName, NodePod, PodKey, PoolName, RebootMethod, RunId,
    TableName, Uid, ZoneName,
};

/// What a step does to its node; the last part of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Make the node unschedulable, with our marks.
    Cordon,
    /// Evict what must leave.
    Drain,
    /// Request the reboot.
    Reboot,
    /// Prove that it is back.
    AwaitReady,
    /// Make it schedulable again and take our marks off.
    Uncordon,
}

impl Verb {
    /// The word in an address.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Cordon => "cordon",
            Verb::Drain => "drain",
            Verb::Reboot => "reboot",
            Verb::AwaitReady => "await-ready",
            Verb::Uncordon => "uncordon",
        }
    }
}

/// The address of a step: `prod-weu/node/aks-np1-000003/drain`. Stable, readable, never an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// The cluster.
    pub cluster: ClusterName,
    /// The node.
    pub node: NodeName,
    /// What is done to it.
    pub verb: Verb,
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/node/{}/{}", self.cluster, self.node, self.verb.as_str())
    }
}

/// The closed set of things that haulout does, with their typed parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// One PATCH guarded by resourceVersion: unschedulable, marks, autoscaler kept away.
    Cordon,
    /// Start the reboot pod where `reboots`, then evict under the rule until nothing that must leave is left.
    Drain {
        /// Which pods leave, and how.
        rule: DrainRule,
        /// Whether a reboot follows, so that the reboot pod must be armed before the first eviction.
        reboots: bool,
    },
    /// Trigger the armed reboot pod by the guarded PATCH of the phase.
    Reboot {
        /// How.
        method: RebootMethod,
    },
    /// Wait for another boot id, Ready, a fresh lease, the DaemonSet pods, twice, `settle` apart.
    AwaitReady {
        /// The longest wait, from the request.
        timeout: Duration,
        /// The pause between the two checks.
        settle: Duration,
    },
    /// One PATCH: schedulable, marks off, former autoscaler annotation back.
    Uncordon,
}

/// What must still hold when a step starts. Identity and intent only: live counts are waits, not preconditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// The node is still the same Node object.
    NodeUid(Uid),
    /// It has not booted since.
    BootId(Option<BootId>),
    /// Nobody has cordoned it since.
    NotCordoned,
    /// The cordon on it is ours, of this config.
    CordonOurs,
    /// The marks on it are still those of this run, which is dead.
    LeftByRun(RunId),
}

/// What follows when a step fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnFailure {
    /// What becomes of its node.
    pub node: NodeEnd,
    /// What becomes of the rest of the cluster.
    pub rest: Rest,
}

/// What becomes of a node whose step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEnd {
    /// Go on with this step of the same outage (the uncordon); what lies between is skipped.
    SkipTo(StepId),
    /// Nothing more is done to it; the report names it as it was left.
    Leave,
}

/// What becomes of the cluster's other nodes when a step failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// They go on.
    Continue,
    /// Nothing new is started.
    Halt,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its address.
    pub id: StepId,
    /// What it does.
    pub action: Action,
    /// The steps it comes after.
    pub after: BTreeSet<StepId>,
    /// What must hold when it starts.
    pub requires: Vec<Precondition>,
    /// What follows when it fails.
    pub on_failure: OnFailure,
    /// What follows when its time is up; as `on_failure` where `None`.
    pub on_timeout: Option<OnFailure>,
    /// How long it is expected to take. For waves and for showing; never for decisions.
    pub estimate: Duration,
}

/// A place held by an outage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// In the whole cluster.
    Cluster,
    /// In a pool, under the limit of a table.
    Pool(TableName, PoolName),
    /// In a zone, under the limit of a table.
    Zone(TableName, ZoneName),
    /// Among the nodes of the control plane: one at a time.
    ControlPlane,
    /// Under a disruption budget: evictions that it allows at a time.
    Budget(BudgetKey),
}

/// How much of a slot there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// How many units there are in all.
    pub total: u32,
    /// How many are taken by nodes outside this plan: already out for whatever reason, ours or not.
    pub taken: u32,
}

/// How long an outage holds a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldUntil {
    /// Until its uncordon is proved; for ever where it has none, or where the node is left cordoned.
    OutageEnds,
    /// Until its drain is done.
    DrainEnds,
}

/// One slot held by an outage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Which.
    pub slot: Slot,
    /// How many units.
    pub units: u32,
    /// For how long.
    pub until: HeldUntil,
}

/// All the steps of one node, from before its cordon until its uncordon is proved. An outage takes all its slots at
/// once, when its first step starts: taking them one by one could end in two outages waiting for each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The node.
    pub node: NodeName,
    /// Its pool and zone, for showing.
    pub pool: PoolName,
    /// Its zone.
    pub zone: ZoneName,
    /// The table that wants it; `None` for a release (no table wants the node out any more).
    pub table: Option<TableName>,
    /// All reasons, in a fixed order.
    pub why: Vec<Why>,
    /// Its steps in order.
    pub steps: Vec<StepId>,
    /// The slots it holds.
    pub holds: Vec<Hold>,
    /// Whether it holds them already before its first step (the release of a node that is out).
    pub already_out: bool,
    /// Its place in the table's `order`: it starts only when every outage of the same table with a smaller one has ended.
    pub rank: u32,
    /// The pods expected to be evicted, in the order of their keys. The executor takes the live set under the same rule.
    pub evicts: Vec<PodKey>,
    /// What a reader should know about these evictions, such as `shop/web lets 1 of 3 go at a time`.
    pub impact: Vec<Impact>,
    /// The boot id before: where a reboot that a dead run requested is to be proved, the one that it was to end.
    pub boot_id: Option<BootId>,
    /// The UID of the node.
    pub uid: Uid,
    /// The dead run whose work this finishes, where there is one.
    pub adopts: Option<Adopts>,
}

/// What a dead run has left on a node, as far as finishing it needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopts {
    /// The run.
    pub run: RunId,
    /// Whether it has requested the reboot.
    pub requested: bool,
    /// Whether its cordon was on the node.
    pub cordoned: bool,
    /// Why it was to reboot the node; empty where it was not to, or did not say.
    pub reason: Foreign,
}

/// A note about what an outage does to the pods on its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Impact {
    /// A budget lets only some go at a time.
    BudgetPaces {
        /// The budget.
        budget: BudgetKey,
        /// How many it lets go at a time.
        allowed: u32,
        /// Of how many pods.
        expected: u32,
        /// How many of them are on this node.
        here: u32,
    },
    /// A budget allows nothing now but is known to be moved by its operator once the node is cordoned.
    ClearsAfterCordon {
        /// The budget.
        budget: BudgetKey,
        /// The operator, such as `CloudNativePG`.
        operator: &'static str,
    },
    /// A budget allows nothing at the moment but nothing proves that it never will.
    BudgetBusy {
        /// The budget.
        budget: BudgetKey,
        /// How many pods are healthy.
        healthy: u32,
        /// How many it needs.
        desired: u32,
    },
    /// Pods whose emptyDir data ends with them, by consent of the config.
    EmptyDirData(u32),
    /// Pods that nobody recreates, evicted by consent of the config.
    Unmanaged(u32),
    /// Pods that tolerate the cordon and may return to the node.
    MayReturn(u32),
}

/// Steps expected to run at the same time. Shown to people; not a barrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// When it is expected to begin, from the start of the run.
    pub begins: Duration,
    /// How long it is expected to take.
    pub lasts: Duration,
    /// The nodes whose outages begin in it.
    pub nodes: Vec<NodeName>,
}

/// Where each observed node went: the counts sum to what was observed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// All nodes observed.
    pub observed: u32,
    /// To be rebooted.
    pub reboot: u32,
    /// To be cordoned and drained, without a reboot.
    pub drain: u32,
    /// To be released: uncordoned, nothing else.
    pub release: u32,
    /// Wanted but blocked.
    pub blocked: u32,
    /// Selected, but their state could not be determined.
    pub unknown: u32,
    /// Selected and as wanted.
    pub up_to_date: u32,
    /// Out of service, as wanted.
    pub out_of_service: u32,
    /// Protected.
    pub protected: u32,
    /// Selected by no table.
    pub not_selected: u32,
    /// Left out by `--target` or `--exclude`.
    pub excluded: u32,
}

/// The part of a plan that concerns one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPlan {
    /// The cluster.
    pub cluster: ClusterName,
    /// The clusters whose changes come first.
    pub after: Vec<ClusterName>,
    /// How it was reached, its version and identity, for the header.
    pub via: Foreign,
    /// The API server's version; empty where unknown.
    pub version: Foreign,
    /// The UID of `kube-system`.
    pub identity: Option<Uid>,
    /// When it was observed.
    pub observed_at: Timestamp,
    /// Whether it is simulated.
    pub sandbox: bool,
    /// The steps by address.
    pub steps: BTreeMap<StepId, Step>,
    /// The outages, in the order in which they are offered a start.
    pub outages: Vec<Outage>,
    /// The slots in use.
    pub capacities: BTreeMap<Slot, Capacity>,
    /// What is expected to run together.
    pub waves: Vec<Wave>,
    /// What is wanted but cannot be.
    pub blocked: Vec<Blocked>,
    /// What is selected but could not be determined.
    pub unknown: Vec<Unknown>,
    /// What a reader should know: warnings, empty selectors, expired tables.
    pub notices: Vec<Notice>,
    /// What could not be read.
    pub gaps: Vec<Gap>,
    /// What there is to be known of certificates.
    pub certificates: CertificateReport,
    /// Where each node went.
    pub counts: Counts,
    /// The image of the node pods; `None` on a sandbox or where the config has none.
    pub node_pod: Option<NodePod>,
}

/// An immutable plan, made only by [`super::check`]: whoever holds one holds one that passed the checker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    pub(super) config: Foreign,
    pub(super) now: Timestamp,
    pub(super) clusters: Vec<Arc<ClusterPlan>>,
}

impl Plan {
    /// The `name` of the config.
    #[must_use]
    pub fn config_name(&self) -> &Foreign {
        &self.config
    }

    /// The moment that it was made for.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Its clusters, each after those it comes after.
    #[must_use]
    pub fn clusters(&self) -> &[Arc<ClusterPlan>] {
        &self.clusters
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clusters.iter().all(|cluster| cluster.steps.is_empty())
    }

    /// Whether everything selected was determined and nothing is blocked.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.clusters.iter().all(|cluster| cluster.blocked.is_empty() && cluster.unknown.is_empty())
    }
}
