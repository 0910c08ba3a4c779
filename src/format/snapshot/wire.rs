//! What a snapshot looks like as JSON. Texts borrow from the bytes read, so that 150,000 pods are not copied twice.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::format::certificate::WireCertificates;
use crate::format::plan::GapSubject;

/// Text that is borrowed where it needs no unescaping, inside options, lists and maps too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(in crate::format) struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

fn is_zero(value: &u16) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// What haulout observed of a cluster at one moment. Holds no secrets; holds names, labels and what nodes report.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "haulout snapshot v1")]
pub(in crate::format) struct Document<'a> {
    /// Always `snapshot`.
    pub kind: Kind,
    /// The version of this format, such as `1.0`. A newer one has to be refused.
    #[serde(borrow)]
    pub format_version: Text<'a>,
    /// The cluster's name in the config.
    pub cluster: Text<'a>,
    /// How it was reached, for showing.
    pub via: Text<'a>,
    /// The UID of its namespace kube-system.
    pub identity: Option<Text<'a>>,
    /// The API server's version; empty where it could not be read.
    pub version: Text<'a>,
    /// When the last of it was read, RFC 3339.
    pub taken_at: Text<'a>,
    /// Whether it is simulated.
    pub sandbox: bool,
    /// The run that holds the lock.
    pub lock: Option<Lock<'a>>,
    /// What could not be read.
    pub gaps: Vec<Gap<'a>>,
    /// Nodes with an etcd member, and whether it is Ready.
    pub etcd_members: BTreeMap<Text<'a>, bool>,
    /// The certificates of the cluster, and of the way to it; nothing where none was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<WireCertificates>,
    pub nodes: Vec<Node<'a>>,
    pub budgets: Vec<Budget<'a>>,
    pub daemon_sets: Vec<DaemonSet<'a>>,
    /// What pods of one template share; pods name them by their place in this list, from 0.
    pub shapes: Vec<Shape<'a>>,
    pub pods: Vec<Pod<'a>>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum Kind {
    Snapshot,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct Lock<'a> {
    #[serde(borrow)]
    pub holder: Text<'a>,
    pub renewed_at: Text<'a>,
    /// For how long a renewal holds.
    #[serde(default = "lock_seconds")]
    pub duration_seconds: u64,
}

/// How long every lock of haulout lasts; what a snapshot means that does not say.
fn lock_seconds() -> u64 {
    60
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct Gap<'a> {
    pub subject: GapSubject,
    #[serde(borrow)]
    pub why: Text<'a>,
    pub remedy: Text<'a>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct Node<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    pub uid: Text<'a>,
    pub resource_version: Text<'a>,
    pub labels: BTreeMap<Text<'a>, Text<'a>>,
    pub pool: Text<'a>,
    pub zone: Text<'a>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub control_plane: bool,
    pub linux: bool,
    pub readiness: Readiness,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordon: Option<Cordon<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<Text<'a>>,
    pub kernel: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kured_wants_since: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reboot: Option<LastReboot<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down_before: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down_disabled: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint<'a>>,
    pub allocatable: BTreeMap<Text<'a>, Text<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress<'a>>,
    /// The port of its kubelet; 0 where it does not say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kubelet_port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub terminating: bool,
}

/// An address by which a node can be reached.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct NodeAddress<'a> {
    pub kind: AddressKind,
    #[serde(borrow)]
    pub address: Text<'a>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum AddressKind {
    InternalIp,
    ExternalIp,
    /// A host name, inside or outside the cluster.
    Name,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum Readiness {
    Ready,
    NotReady,
    Unknown,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::format) enum Cordon<'a> {
    /// Ours: the mark, and the field manager with it.
    #[serde(borrow)]
    Marked(Mark<'a>),
    /// Somebody's.
    Foreign {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        manager: Option<Text<'a>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Text<'a>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mark: Option<Mark<'a>>,
    },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct Mark<'a> {
    #[serde(borrow)]
    pub config: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<Text<'a>>,
    pub run: Text<'a>,
    pub since: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<MarkPhase>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboots: Option<Reboots<'a>>,
}

/// What the run was to reboot.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct Reboots<'a> {
    /// The boot that was to end.
    #[serde(borrow)]
    pub boot_id: Text<'a>,
    pub reason: Text<'a>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum MarkPhase {
    Cordoned,
    Armed,
    Drained,
    Reboot,
    Returned,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct Report<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub reboot: Option<ReportedReboot<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted_at: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<Text<'a>>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum ReportedReboot<'a> {
    /// For this reason, which may be empty.
    #[serde(borrow)]
    Required(Text<'a>),
    NotRequired,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct LastReboot<'a> {
    #[serde(borrow)]
    pub at: Text<'a>,
    pub run: Text<'a>,
    pub boot_id: Text<'a>,
    pub reason: Text<'a>,
    pub drain_seconds: u32,
    pub boot_seconds: u32,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct Taint<'a> {
    #[serde(borrow)]
    pub key: Text<'a>,
    pub value: Text<'a>,
    pub effect: TaintEffect,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub(in crate::format) enum TaintEffect {
    NoSchedule,
    PreferNoSchedule,
    NoExecute,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct Budget<'a> {
    #[serde(borrow)]
    pub namespace: Text<'a>,
    pub name: Text<'a>,
    pub uid: Text<'a>,
    /// Null where the budget has neither field.
    pub spec: Option<BudgetSpec>,
    /// In the grammar of kubectl; empty covers every pod of the namespace, null covers none.
    pub selector: Option<Text<'a>>,
    pub unhealthy_pod_eviction_policy: UnhealthyPolicy,
    pub expected: u32,
    pub desired: u32,
    pub healthy: u32,
    pub allowed: u32,
    pub observed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_failed: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disrupted: Vec<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner<'a>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Text<'a>, Text<'a>>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum BudgetSpec {
    MinAvailable(Bound),
    MaxUnavailable(Bound),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum Bound {
    Count(u32),
    Percent(u32),
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub(in crate::format) enum UnhealthyPolicy {
    IfHealthyBudget,
    AlwaysAllow,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct Owner<'a> {
    #[serde(borrow)]
    pub api_version: Text<'a>,
    pub kind: Text<'a>,
    pub name: Text<'a>,
    pub uid: Text<'a>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct DaemonSet<'a> {
    #[serde(borrow)]
    pub namespace: Text<'a>,
    pub name: Text<'a>,
    pub uid: Text<'a>,
    /// The holders of its lock, where it is a kured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kured_locks: Vec<KuredLock<'a>>,
}

/// An entry in the lock of a kured; without a node one that could not be understood.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct KuredLock<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Text<'a>>,
    /// How long it counts; none is until it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_nanoseconds: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct Shape<'a> {
    #[serde(borrow)]
    pub labels: BTreeMap<Text<'a>, Text<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner<'a>>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub mirror: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub empty_dir: bool,
    pub grace_seconds: u32,
    #[serde(default, skip_serializing_if = "is_false")]
    pub tolerates_cordon: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub volumes: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub ours: bool,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::format) struct Pod<'a> {
    #[serde(borrow)]
    pub namespace: Text<'a>,
    pub name: Text<'a>,
    pub uid: Text<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Text<'a>>,
    pub phase: PodPhase,
    #[serde(default, skip_serializing_if = "is_false")]
    pub ready: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub terminating: bool,
    /// Its place in `shapes`, from 0.
    pub shape: u32,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub(in crate::format) enum PodPhase {
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}
