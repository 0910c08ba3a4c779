//! What a plan looks like as JSON. Only data; the doc comments are the descriptions in the published schema.

use schemars::JsonSchema;
use serde::Serialize;

use crate::format::certificate::CertificateReport;
use crate::format::snapshot::MarkPhase;

/// A plan of haulout: what will be done, in which order and why, and what is wanted but cannot be or is not known.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "haulout plan v1")]
pub(in crate::format) struct Document {
    /// Always `plan`.
    pub kind: Kind,
    /// The version of this format, such as `1.0`. A newer one has to be refused.
    pub format_version: String,
    /// The haulout that wrote it. Not part of what the plan says.
    pub tool_version: String,
    /// The name of the config.
    pub config: String,
    /// The moment that the plan was made for, RFC 3339.
    pub now: String,
    /// The short answer for programs.
    pub summary: Summary,
    /// The clusters, each after those it comes after.
    pub clusters: Vec<Cluster>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum Kind {
    Plan,
}

/// The short answer for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Summary {
    /// Whether there is any step.
    pub changes: bool,
    /// Whether everything selected was determined and nothing is blocked.
    pub settled: bool,
    /// How many steps there are.
    pub steps: usize,
    /// How many wanted changes are blocked, names that no node has included.
    pub blocked: usize,
    /// How many selected nodes could not be determined.
    pub unknown: usize,
    /// How many things could not be read.
    pub gaps: usize,
    /// How long it is expected to take.
    pub estimate_seconds: u64,
    /// Where the observed nodes of all clusters went.
    pub nodes: Counts,
}

/// Where each observed node went; the parts sum to `observed`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in crate::format) struct Counts {
    pub observed: u64,
    pub reboot: u64,
    pub drain: u64,
    pub release: u64,
    pub blocked: u64,
    pub unknown: u64,
    pub up_to_date: u64,
    pub out_of_service: u64,
    pub protected: u64,
    pub not_selected: u64,
    pub excluded: u64,
}

/// The part of a plan that concerns one cluster.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Cluster {
    pub name: String,
    /// The clusters whose changes come first.
    pub after: Vec<String>,
    /// How it was reached, for showing.
    pub via: String,
    /// The API server's version; null where it could not be read.
    pub kubernetes_version: Option<String>,
    /// The UID of its namespace kube-system; null where it could not be read.
    pub identity: Option<String>,
    /// When it was observed, RFC 3339.
    pub observed_at: String,
    /// Whether it is simulated.
    pub sandbox: bool,
    /// The image that reboots its nodes.
    pub node_pod: Option<NodePod>,
    /// One per node: all that happens to it, in the order in which they are offered a start.
    pub outages: Vec<Outage>,
    /// Every step, by address.
    pub steps: Vec<Step>,
    /// The limits in use.
    pub capacities: Vec<Capacity>,
    /// What is expected to run together. An estimate, not a barrier.
    pub waves: Vec<Wave>,
    /// What is wanted but cannot be.
    pub blocked: Vec<Blocked>,
    /// What is selected but could not be determined.
    pub unknown: Vec<Unknown>,
    /// What a reader should know.
    pub notices: Vec<Notice>,
    /// What could not be read.
    pub gaps: Vec<Gap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<CertificateReport>,
    pub counts: Counts,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct NodePod {
    pub image: String,
    /// Names of Secrets to pull it with.
    pub pull_secrets: Vec<String>,
}

/// All the steps of one node, from before its cordon until its uncordon is proved.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Outage {
    pub node: String,
    pub uid: String,
    /// The boot id before; null where the node does not say. Where a requested reboot is awaited, the one that ends.
    pub boot_id: Option<String>,
    /// The dead run whose work is finished; null where the node is not one that a run has left.
    pub adopts: Option<Adopts>,
    /// Empty where the cluster has no pools.
    pub pool: String,
    /// Empty where the node names none.
    pub zone: String,
    /// The table that wants it; null for a release.
    pub table: Option<String>,
    /// What will happen, such as `will be drained and rebooted`.
    pub text: String,
    /// Why, all reasons.
    pub why: Vec<Why>,
    /// The addresses of its steps, in order.
    pub steps: Vec<String>,
    /// The places under limits that it holds.
    pub holds: Vec<Hold>,
    /// Whether it holds them before its first step: the node is out already.
    pub already_out: bool,
    /// Its place in the table's `order`.
    pub rank: u32,
    /// The pods expected to be evicted, as `namespace/name`.
    pub evicts: Vec<String>,
    /// What the evictions mean.
    pub impact: Vec<Impact>,
}

/// What a dead run has left on a node.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Adopts {
    pub run: String,
    /// Whether it has requested the reboot.
    pub requested: bool,
    /// Whether its cordon was on the node.
    pub cordoned: bool,
    /// Why it was to reboot the node; empty where it was not to. Not made safe to show.
    pub reason: String,
}

/// Why something is wanted.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Why {
    #[serde(flatten)]
    pub what: WhyCode,
    /// In words, made safe to show.
    pub text: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub(in crate::format) enum WhyCode {
    /// A report says that a reboot is required.
    RebootRequired {
        /// As it was reported; not made safe to show.
        reason: String,
    },
    /// kured wants to reboot it.
    KuredWants { since: String },
    /// Up for longer than allowed.
    UptimeExceeded { booted_at: String, limit_seconds: u64 },
    /// Booted before the wanted moment.
    BootedBefore { booted_at: String, wanted: String },
    /// A table takes it out of service.
    OutOfService {
        /// As it was written; not made safe to show.
        reason: String,
    },
    /// No table takes it out of service any more.
    ReleasedFromService,
    /// A run of this config marked it and is dead.
    LeftByRun {
        run: String,
        /// How far it came; null where the mark does not say.
        phase: Option<MarkPhase>,
        since: String,
    },
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Hold {
    pub slot: Slot,
    pub units: u32,
    pub until: HeldUntil,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum HeldUntil {
    /// Until the uncordon is proved; for ever where there is none.
    OutageEnds,
    /// Until the drain is done.
    DrainEnds,
}

/// A place under a limit.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(in crate::format) enum Slot {
    Cluster,
    Pool {
        table: String,
        pool: String,
    },
    Zone {
        table: String,
        zone: String,
    },
    ControlPlane,
    Budget {
        /// As `namespace/name`.
        budget: String,
    },
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Capacity {
    pub slot: Slot,
    /// How many units there are.
    pub total: u32,
    /// How many are taken by nodes outside this plan.
    pub taken: u32,
}

/// What the evictions mean for pods.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Impact {
    #[serde(flatten)]
    pub what: ImpactCode,
    /// In words, made safe to show.
    pub text: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub(in crate::format) enum ImpactCode {
    BudgetPaces { budget: String, allowed: u32, expected: u32, here: u32 },
    ClearsAfterCordon { budget: String, operator: String },
    BudgetBusy { budget: String, healthy: u32, desired: u32 },
    EmptydirData { pods: u32 },
    Unmanaged { pods: u32 },
    MayReturn { pods: u32 },
}

/// One step.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Step {
    /// Such as `prod-weu/node/aks-np1-000003/drain`.
    pub address: String,
    pub node: String,
    pub action: Action,
    /// What it does, in words.
    pub text: String,
    /// The addresses of the steps that it comes after.
    pub after: Vec<String>,
    /// What must still hold when it starts.
    pub requires: Vec<Precondition>,
    pub on_failure: OnFailure,
    /// What follows when its time is up; as `on_failure` where null.
    pub on_timeout: Option<OnFailure>,
    /// How long it is expected to take; nothing is decided by it.
    pub estimate_seconds: u64,
}

/// What a step does, with its parameters. Durations that decide are exact, in milliseconds.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(in crate::format) enum Action {
    Cordon,
    Drain {
        timeout_millis: u64,
        /// How long pods have to end; null is as long as each asks for.
        grace_millis: Option<u64>,
        on_timeout: OnTimeout,
        delete_emptydir_data: bool,
        unmanaged_pods: UnmanagedPods,
        /// Whether the reboot pod is started before the first eviction.
        reboots: bool,
    },
    Reboot {
        method: Method,
    },
    AwaitReady {
        timeout_millis: u64,
        settle_millis: u64,
    },
    Uncordon,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum OnTimeout {
    Skip,
    Halt,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum UnmanagedPods {
    Block,
    Evict,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum Method {
    Signal,
    Command,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(in crate::format) enum Precondition {
    /// Still the same Node object.
    NodeUid { uid: String },
    /// Not booted since; null where the node did not say.
    BootId { boot_id: Option<String> },
    /// Nobody has cordoned it since.
    NotCordoned,
    /// The cordon on it is ours, of this config.
    CordonOurs,
    /// The marks on it are still those of this run, which is dead.
    LeftByRun { run: String },
}

/// What follows a failure.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct OnFailure {
    /// The step of the same node that comes next; null where the node is left as it is.
    pub skip_to: Option<String>,
    pub rest: Rest,
    /// In words.
    pub text: String,
}

/// What becomes of the cluster's other nodes.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum Rest {
    Continue,
    Halt,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Wave {
    /// From the start of the run.
    pub begins_seconds: u64,
    pub lasts_seconds: u64,
    pub nodes: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Blocked {
    /// For a name in the config that no node has, that name.
    pub node: String,
    pub table: Option<String>,
    pub wanted: Wanted,
    /// All reasons found.
    pub reasons: Vec<BlockedReason>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum Wanted {
    Reboot,
    OutOfService,
    Release,
    /// To be left alone, of a node that does not exist.
    Protection,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct BlockedReason {
    #[serde(flatten)]
    pub what: BlockedCode,
    /// In words, made safe to show.
    pub text: String,
    /// What would unblock it.
    pub unblock: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub(in crate::format) enum BlockedCode {
    /// A budget can never allow an eviction as things stand.
    BudgetNever {
        budget: String,
        proof: BudgetProof,
        pods: Vec<String>,
    },
    /// The eviction API refuses pods under two budgets.
    TwoBudgets {
        pod: String,
        budgets: Vec<String>,
    },
    /// Nobody would recreate these pods.
    UnmanagedPods {
        pods: Vec<String>,
    },
    /// Data would be lost without consent.
    EmptydirData {
        pods: Vec<String>,
    },
    ForeignCordon {
        manager: Option<String>,
        since: Option<String>,
    },
    /// A run has marked it and not finished, and cannot be taken over.
    MarkedByRun {
        run: String,
        config: String,
        standing: Standing,
    },
    /// kured drains and reboots it itself.
    HeldByKured(Kured),
    LimitFilled {
        slot: Slot,
        total: u32,
        out: Vec<String>,
    },
    RebootDidNotClear {
        at: String,
        reason: String,
    },
    NoNodePod,
    NoSuchNode {
        similar: Vec<String>,
    },
    EtcdQuorum {
        healthy: Option<u32>,
    },
    NotLinux,
    NotReady,
    /// `sound`: it asks for nothing else than what the node is known by.
    ServingRequestPending {
        request: String,
        sound: bool,
    },
    CannotJudge {
        subject: GapSubject,
    },
}

/// Why a run cannot be taken over.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum Standing {
    /// A live lock names it.
    Live,
    /// It is of another config.
    OtherConfig,
    /// The lock could not be read.
    LockUnknown,
    /// It requested a reboot, and nothing says of which boot.
    BootUnknown,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(in crate::format) enum BudgetProof {
    Arithmetic { desired: u32, expected: u32 },
    SyncFailed,
    NothingExpected,
    NeitherField,
    NothingHealthy,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Unknown {
    pub node: String,
    pub table: String,
    #[serde(flatten)]
    pub what: UnknownCode,
    /// In words, made safe to show.
    pub text: String,
    /// What would tell.
    pub find_out: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub(in crate::format) enum UnknownCode {
    NoReport,
    OtherBoot,
    Stale { reported_at: Option<String> },
    NoBootTime,
    Unreadable,
    FromTheFuture { reported_at: String },
}

/// A kured that holds its lock.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Kured {
    pub daemon_set: String,
    pub namespace: String,
    pub since: Option<String>,
    /// When the lock ends by itself; null is never.
    pub until: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Notice {
    #[serde(flatten)]
    pub what: NoticeCode,
    /// In words, made safe to show.
    pub text: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub(in crate::format) enum NoticeCode {
    MatchesNothing {
        table_kind: String,
        table: String,
    },
    Expired {
        table: String,
        until: String,
    },
    LockHeld {
        holder: String,
        renewed_at: String,
    },
    RebootDeferred {
        node: String,
        table: String,
    },
    /// A node that is uncordoned also needs a reboot, which is planned once it is back.
    RebootAfterRelease {
        node: String,
        table: String,
    },
    /// kured works on a node, or holds its lock for one that is gone.
    KuredAtWork {
        node: String,
        exists: bool,
        #[serde(flatten)]
        lock: Kured,
    },
    /// The lock of a kured says nothing that can be understood.
    KuredUnreadable {
        daemon_set: String,
        namespace: String,
    },
    /// A node that `table` wants out of service is protected by `protect`.
    ProtectedFromService {
        node: String,
        protect: String,
        table: String,
    },
    LeftAlone {
        node: String,
        run: String,
        cordoned: bool,
    },
}

#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct Gap {
    pub subject: GapSubject,
    /// As the source said it; not made safe to show.
    pub why: String,
    /// What would close it.
    pub remedy: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum GapSubject {
    Budgets,
    DaemonSets,
    Pods,
    Version,
    Identity,
    Lock,
    Objects,
    Etcd,
}
