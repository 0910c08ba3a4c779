//! Why something cannot be, and what would turn the "no" into a "yes".

use std::fmt;

use super::{Told, Words, count, foreign, gap_subject, names};
use crate::model::{
    ANNOTATION_CORDON, ANNOTATION_KURED_LOCK, ANNOTATION_PHASE, ANNOTATION_RUN, BudgetKey, ClusterName, NodeName,
    PodKey,
};
use crate::plan::blocked::{Blocked, BlockedReason, BudgetProof, Kured, Standing, Wanted};
use crate::plan::types::Slot;

/// How many pods or nodes a reason names.
const NAMED: usize = 3;

/// A stable word for a reason, for machines.
#[must_use]
pub fn blocked_code(reason: &BlockedReason) -> &'static str {
    match reason {
        BlockedReason::BudgetNever { .. } => "budget_never",
        BlockedReason::TwoBudgets { .. } => "two_budgets",
        BlockedReason::UnmanagedPods(_) => "unmanaged_pods",
        BlockedReason::EmptyDirData(_) => "emptydir_data",
        BlockedReason::ForeignCordon { .. } => "foreign_cordon",
        BlockedReason::MarkedByRun { .. } => "marked_by_run",
        BlockedReason::HeldByKured(_) => "held_by_kured",
        BlockedReason::LimitFilled { .. } => "limit_filled",
        BlockedReason::RebootDidNotClear { .. } => "reboot_did_not_clear",
        BlockedReason::NoNodePod => "no_node_pod",
        BlockedReason::NoSuchNode { .. } => "no_such_node",
        BlockedReason::EtcdQuorum { .. } => "etcd_quorum",
        BlockedReason::NotLinux => "not_linux",
        BlockedReason::NotReady => "not_ready",
        BlockedReason::ServingRequestPending { .. } => "serving_request_pending",
        BlockedReason::CannotJudge(_) => "cannot_judge",
    }
}

/// A kind of reason in a few words; fits after "because of", for counting many.
#[must_use]
pub fn blocked_kind(reason: &BlockedReason) -> &'static str {
    match reason {
        BlockedReason::BudgetNever { .. } => "disruption budgets that allow nothing",
        BlockedReason::TwoBudgets { .. } => "pods under two disruption budgets",
        BlockedReason::UnmanagedPods(_) => "pods without a controller",
        BlockedReason::EmptyDirData(_) => "data in emptyDir volumes",
        BlockedReason::ForeignCordon { .. } => "cordons of others",
        BlockedReason::MarkedByRun { .. } => "marks of another run",
        BlockedReason::HeldByKured(_) => "kured's lock",
        BlockedReason::LimitFilled { .. } => "limits that are already filled",
        BlockedReason::RebootDidNotClear { .. } => "reboots that did not clear their reason",
        BlockedReason::NoNodePod => "no image that reboots nodes",
        BlockedReason::NoSuchNode { .. } => "names that no node has",
        BlockedReason::EtcdQuorum { .. } => "etcd's quorum",
        BlockedReason::NotLinux => "not running Linux",
        BlockedReason::NotReady => "not being Ready",
        BlockedReason::ServingRequestPending { .. } => "serving certificates that are awaited",
        BlockedReason::CannotJudge(_) => "what could not be read",
    }
}

/// What cannot be; fits after `node/NAME`.
#[must_use]
pub fn cannot(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Reboot => "cannot be rebooted",
        Wanted::OutOfService => "cannot be taken out of service",
        Wanted::Release => "cannot be uncordoned",
        Wanted::Protection => "cannot be protected",
    }
}

/// The command that makes a node schedulable that a run of haulout has left cordoned, and takes the marks off, which
/// would otherwise keep every later run away from it.
#[must_use]
pub fn free(node: &dyn fmt::Display) -> String {
    format!(
        "kubectl uncordon {node} && kubectl annotate node {node} \
         {ANNOTATION_CORDON}- {ANNOTATION_PHASE}- {ANNOTATION_RUN}-"
    )
}

/// How a node is freed that a run has left cordoned. Nothing reaches a simulated cluster from outside, so that there
/// only a new beginning is left.
#[must_use]
pub fn free_of(cluster: &ClusterName, simulated: bool, node: &dyn fmt::Display) -> String {
    if simulated {
        format!("delete .haulout/{cluster}.json beside the config, which starts the simulated cluster anew")
    } else {
        free(node)
    }
}

/// The command that takes a kured its lock.
pub(super) fn unlock(kured: &Kured) -> String {
    let (namespace, name) = (&kured.namespace, foreign(&kured.daemon_set));
    format!("kubectl --namespace {namespace} annotate daemonset {name} {ANNOTATION_KURED_LOCK}-")
}

/// The table that wants it, as the config has it between brackets.
fn table(blocked: &Blocked) -> String {
    let kind = match blocked.wanted {
        Wanted::Reboot => "reboot",
        Wanted::OutOfService | Wanted::Release => "out_of_service",
        Wanted::Protection => "protect",
    };
    blocked.table.as_ref().map_or_else(|| format!("[{kind}.…]"), |table| format!("[{kind}.{table}]"))
}

fn told(text: impl Into<String>, advice: impl Into<String>) -> Told {
    Told { text: text.into(), advice: advice.into() }
}

impl Words<'_> {
    /// A reason, and what would unblock it.
    #[must_use]
    pub fn blocked(&self, blocked: &Blocked, reason: &BlockedReason) -> Told {
        self.blocked_of(blocked, reason, &blocked.node)
    }

    /// The DaemonSet of a kured, and for how long its lock counts.
    pub(super) fn lock_of(&self, kured: &Kured) -> String {
        let since = kured.since.map_or_else(String::new, |since| format!(" since {}", self.moment(since)));
        let until = kured
            .until
            .map_or_else(|| "without an end".to_owned(), |until| format!("until {} at the latest", self.moment(until)));
        format!("daemonset {}/{}{since}, {until}", kured.namespace, foreign(&kured.daemon_set))
    }

    /// As [`Words::blocked`], with a name of one's own for the node, such as `NODE` for many.
    #[must_use]
    pub fn blocked_of(&self, blocked: &Blocked, reason: &BlockedReason, node: &dyn fmt::Display) -> Told {
        match reason {
            BlockedReason::BudgetNever { budget, proof, pods } => budget_never(budget, *proof, pods),
            BlockedReason::TwoBudgets { pod, budgets } => told(
                format!(
                    "pod {pod} is under {}, {}, and the eviction API refuses such pods for good",
                    count(budgets.len(), "disruption budget"),
                    names(budgets, NAMED)
                ),
                "change their selectors so that only one of them covers the pod, or delete the others",
            ),
            BlockedReason::UnmanagedPods(pods) => told(
                format!(
                    "{} {} no controller that would recreate {}: {}",
                    count(pods.len(), "pod"),
                    if pods.len() == 1 { "has" } else { "have" },
                    them(pods),
                    names(pods, NAMED)
                ),
                format!(
                    "put {0} under a Deployment or the like, delete {0}, or set drain.unmanaged_pods = \"evict\" in {1} \
                     if nobody misses {0}",
                    them(pods),
                    table(blocked)
                ),
            ),
            BlockedReason::EmptyDirData(pods) => told(
                format!(
                    "{} in emptyDir volumes, which would be lost: {}",
                    if pods.len() == 1 {
                        "1 pod keeps data".to_owned()
                    } else {
                        format!("{} keep data", count(pods.len(), "pod"))
                    },
                    names(pods, NAMED)
                ),
                format!(
                    "set drain.delete_emptydir_data = true in {} if that data may be lost, or move it to a \
                     PersistentVolume",
                    table(blocked)
                ),
            ),
            BlockedReason::ForeignCordon { manager, since } => {
                let by = manager.as_ref().map_or_else(
                    || "somebody other than this config".to_owned(),
                    |manager| format!("{}, not by this config", foreign(manager)),
                );
                let since = since.map_or_else(String::new, |since| format!(", last written {}", self.moment(since)));
                told(
                    format!("it was cordoned by {by}{since}"),
                    format!(
                        "ask whoever did it, and once it may go: kubectl uncordon {node} (haulout never removes \
                         a cordon that is not its own)"
                    ),
                )
            }
            BlockedReason::MarkedByRun { run, config, standing } => told(
                format!("run {run} of config {} has marked it and not finished", foreign(config)),
                match standing {
                    Standing::Live => {
                        "wait until that run has ended; if it is dead, its lock lapses and the next plan \
                                       finishes what it left"
                            .to_owned()
                    }
                    Standing::OtherConfig => {
                        format!(
                            "apply that config, which finishes it; if nobody has it any more: {}",
                            free_of(self.cluster, self.simulated, node)
                        )
                    }
                    Standing::LockUnknown => "close the gap shown with this plan, then plan again: without the lock \
                                              nobody can say whether that run is alive"
                        .to_owned(),
                    Standing::BootUnknown => {
                        format!(
                            "see whether the node has rebooted as that run requested; once it has: {}",
                            free_of(self.cluster, self.simulated, node)
                        )
                    }
                },
            ),
            BlockedReason::HeldByKured(kured) => told(
                format!("kured works on it: it holds the lock on {}", self.lock_of(kured)),
                format!(
                    "wait until kured has let go of it, then plan again; if kured is stuck or gone: {} (and see whether \
                     the node is still cordoned)",
                    unlock(kured)
                ),
            ),
            BlockedReason::LimitFilled { slot, total, out } => limit_filled(self.cluster, slot, *total, out),
            BlockedReason::RebootDidNotClear { at, reason } => told(
                format!("the reboot of {} did not clear it: {}", self.moment(*at), or_unsaid(foreign(reason))),
                "another reboot would not either; find out on the node what still asks for it and end that: once the \
                 report gives another reason or none, the node is planned again",
            ),
            BlockedReason::NoNodePod => told(
                "nothing says which image reboots nodes",
                format!("set node_pod = {{ image = \"REPOSITORY@sha256:…\" }} in [cluster.{}]", self.cluster),
            ),
            BlockedReason::NoSuchNode { similar } => told(
                format!("{} has no node of this name", self.cluster),
                if similar.is_empty() {
                    format!("correct the name in {}, or take it out if the node is gone", table(blocked))
                } else {
                    format!(
                        "write {} in {} if that is meant, or take the name out if the node is gone",
                        names_or(similar),
                        table(blocked)
                    )
                },
            ),
            BlockedReason::EtcdQuorum { healthy } => told(
                match healthy {
                    Some(healthy) => {
                        format!("etcd has {} and needs three to lose one", count(*healthy as usize, "healthy member"))
                    }
                    None => "no member of etcd was seen, so its quorum cannot be proved".to_owned(),
                },
                format!(
                    "bring etcd to three healthy members whose pods can be seen, or set accept_api_outage = true in {} \
                     if the API server may be away meanwhile",
                    table(blocked)
                ),
            ),
            BlockedReason::NotLinux => told(
                "it does not run Linux, and haulout can reboot nothing else",
                format!("leave it out: add kubernetes.io/os=linux to the selector of {}", table(blocked)),
            ),
            BlockedReason::NotReady => told(
                "it is not Ready now, and its reboot was asked for another reason",
                format!("make it Ready first; kubectl describe node {node} says what is wrong"),
            ),
            BlockedReason::ServingRequestPending { request, sound } => told(
                format!(
                    "its kubelet waits for a serving certificate (request {request}), and would wait after the reboot \
                     as well"
                ),
                if *sound {
                    format!("kubectl certificate approve {request}: it asks for what the node is known by")
                } else {
                    format!("see below what is wrong with it; kubectl certificate deny {request}, then plan again")
                },
            ),
            BlockedReason::CannotJudge(subject) => told(
                format!("{} could not be read, so nobody can say what its drain would do", gap_subject(*subject)),
                "close the gap shown with this plan, then plan again",
            ),
        }
    }
}

fn them(pods: &[PodKey]) -> &'static str {
    if pods.len() == 1 { "it" } else { "them" }
}

fn or_unsaid(reason: String) -> String {
    if reason.is_empty() { "it still asks, without saying why".to_owned() } else { reason }
}

fn names_or(similar: &[NodeName]) -> String {
    similar.iter().take(NAMED).map(NodeName::as_str).collect::<Vec<_>>().join(" or ")
}

fn budget_never(budget: &BudgetKey, proof: BudgetProof, pods: &[PodKey]) -> Told {
    let held = if pods.is_empty() { String::new() } else { format!(" (here: {})", names(pods, NAMED)) };
    let describe = format!("kubectl --namespace {} describe pdb {}", budget.namespace, budget.name);
    match proof {
        BudgetProof::Arithmetic { desired, expected } => told(
            format!("disruption budget {budget} allows 0 disruptions: it needs {desired} of {expected} healthy{held}"),
            format!(
                "lower what it needs to {fewer} of {expected} (minAvailable: {fewer}, or maxUnavailable: 1), or run {} \
                 replicas if its minAvailable is a fixed number",
                desired.saturating_add(1),
                fewer = expected.saturating_sub(1)
            ),
        ),
        BudgetProof::SyncFailed => told(
            format!("disruption budget {budget} allows 0 disruptions: its controller cannot count its pods{held}"),
            format!(
                "{describe} says why (SyncFailed); pods of something that has no scale, such as a Job or a DaemonSet, \
                 can be counted only under a fixed minAvailable"
            ),
        ),
        BudgetProof::NothingExpected => told(
            format!("disruption budget {budget} allows 0 disruptions: it covers only pods without a controller{held}"),
            "give it a fixed minAvailable smaller than their number, put the pods under a controller, or delete it"
                .to_owned(),
        ),
        BudgetProof::NeitherField => told(
            format!(
                "disruption budget {budget} allows 0 disruptions: it has neither minAvailable nor maxUnavailable{held}"
            ),
            format!("set maxUnavailable: 1 in it, or delete it: {}", delete(budget)),
        ),
        BudgetProof::NothingHealthy => told(
            format!("disruption budget {budget} keeps pods that are not Ready while none of its pods is healthy{held}"),
            "make its pods Ready, or set unhealthyPodEvictionPolicy to AlwaysAllow in it".to_owned(),
        ),
    }
}

fn delete(budget: &BudgetKey) -> String {
    format!("kubectl --namespace {} delete pdb {}", budget.namespace, budget.name)
}

fn limit_filled(cluster: &ClusterName, slot: &Slot, total: u32, out: &[NodeName]) -> Told {
    let nodes = if total == 1 { "1 node".to_owned() } else { count(total as usize, "node") };
    let (what, raise) = match slot {
        Slot::Cluster => (
            format!("max_unavailable lets {nodes} of the cluster be out"),
            Some(format!("raise max_unavailable in [cluster.{cluster}]")),
        ),
        Slot::Pool(table, pool) => (
            if pool.as_str().is_empty() {
                format!("max_unavailable lets {nodes} be out")
            } else {
                format!("max_unavailable lets {nodes} of pool {pool} be out")
            },
            Some(format!("raise max_unavailable in [reboot.{table}]")),
        ),
        Slot::Zone(table, zone) => (
            if zone.as_str().is_empty() {
                format!("max_unavailable_per_zone lets {nodes} without a zone be out")
            } else {
                format!("max_unavailable_per_zone lets {nodes} of zone {zone} be out")
            },
            Some(format!("raise max_unavailable_per_zone in [reboot.{table}]")),
        ),
        Slot::ControlPlane => ("control-plane nodes go one at a time".to_owned(), None),
        Slot::Budget(budget) => (format!("disruption budget {budget} lets {total} go at a time"), None),
    };
    let already = match out {
        [] => "no place is free".to_owned(),
        [node] => format!("{node} is out already"),
        nodes => format!("{} are out already", names(nodes, NAMED)),
    };
    let back = match out {
        [] => "wait until a place is free".to_owned(),
        [_] => "bring that node back (Ready and uncordoned)".to_owned(),
        _ => "bring one of them back (Ready and uncordoned)".to_owned(),
    };
    let back = if out.len() > total as usize { back.replace("one of them", "enough of them") } else { back };
    told(format!("{what}, and {already}"), raise.map_or_else(|| back.clone(), |raise| format!("{back}, or {raise}")))
}
