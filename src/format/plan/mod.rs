//! `plan.v1`: plan → canonical JSON.

mod scope;
mod wire;

pub use scope::{Scope, read_scope};
pub(super) use wire::{Document, GapSubject};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::sync::Arc;
use std::time::Duration;

use super::{Kind, certificate};
use crate::model::{self, Foreign, Grace, RebootMethod};
use crate::plan::words::{self, Words};
use crate::plan::{self, ClusterPlan, Plan};

/// Elements down to here have lines of their own: document, clusters, cluster, its lists.
const LINES: usize = 4;

/// A plan as bytes. `tool_version` is haulout's own version, for whoever reads the file; it is no part of the plan.
#[must_use]
pub fn write(plan: &Plan, tool_version: &str) -> Vec<u8> {
    write_parts(plan.config_name(), plan.now(), plan.clusters(), tool_version)
}

/// The parts of a plan as bytes. Whether they are sound is not asked here.
#[must_use]
pub fn write_parts(config: &Foreign, now: Timestamp, clusters: &[Arc<ClusterPlan>], tool_version: &str) -> Vec<u8> {
    super::json::write(&document(config, now, clusters, tool_version), LINES)
}

fn document(config: &Foreign, now: Timestamp, clusters: &[Arc<ClusterPlan>], tool_version: &str) -> Document {
    let parts: Vec<wire::Cluster> = clusters.iter().map(|cluster| of_cluster(cluster, now)).collect();
    let mut nodes = wire::Counts::default();
    for part in &parts {
        add(&mut nodes, &part.counts);
    }
    // Clusters may run side by side where no `after` joins them: the longest is the least that can be promised.
    let estimate = clusters
        .iter()
        .flat_map(|cluster| &cluster.waves)
        .map(|wave| wave.begins.saturating_add(wave.lasts))
        .max()
        .unwrap_or_default();
    Document {
        kind: wire::Kind::Plan,
        format_version: Kind::Plan.version(),
        tool_version: tool_version.to_owned(),
        config: config.raw().to_owned(),
        now: now.to_string(),
        summary: wire::Summary {
            changes: clusters.iter().any(|cluster| !cluster.steps.is_empty()),
            settled: clusters.iter().all(|cluster| cluster.blocked.is_empty() && cluster.unknown.is_empty()),
            steps: clusters.iter().map(|cluster| cluster.steps.len()).sum(),
            blocked: clusters.iter().map(|cluster| cluster.blocked.len()).sum(),
            unknown: clusters.iter().map(|cluster| cluster.unknown.len()).sum(),
            gaps: clusters.iter().map(|cluster| cluster.gaps.len()).sum(),
            estimate_seconds: estimate.as_secs(),
            nodes,
        },
        clusters: parts,
    }
}

fn of_cluster(cluster: &ClusterPlan, now: Timestamp) -> wire::Cluster {
    let words = Words { cluster: &cluster.cluster, simulated: cluster.sandbox, now, zone: &TimeZone::UTC };
    wire::Cluster {
        name: cluster.cluster.to_string(),
        after: texts(&cluster.after),
        via: raw(&cluster.via),
        kubernetes_version: (!cluster.version.is_empty()).then(|| raw(&cluster.version)),
        identity: text(cluster.identity.as_ref()),
        observed_at: cluster.observed_at.to_string(),
        sandbox: cluster.sandbox,
        node_pod: cluster.node_pod.as_ref().map(|pod| wire::NodePod {
            image: raw(&pod.image),
            pull_secrets: pod.pull_secrets.iter().map(raw).collect(),
        }),
        outages: cluster.outages.iter().map(|outage| of_outage(outage, &words)).collect(),
        steps: cluster.steps.values().map(of_step).collect(),
        capacities: cluster
            .capacities
            .iter()
            .map(|(slot, capacity)| wire::Capacity {
                slot: of_slot(slot),
                total: capacity.total,
                taken: capacity.taken,
            })
            .collect(),
        waves: cluster
            .waves
            .iter()
            .map(|wave| wire::Wave {
                begins_seconds: wave.begins.as_secs(),
                lasts_seconds: wave.lasts.as_secs(),
                nodes: texts(&wave.nodes),
            })
            .collect(),
        blocked: cluster.blocked.iter().map(|blocked| of_blocked(blocked, &words)).collect(),
        unknown: cluster.unknown.iter().map(|unknown| of_unknown(unknown, &words)).collect(),
        notices: cluster.notices.iter().map(|notice| of_notice(notice, &words)).collect(),
        gaps: cluster
            .gaps
            .iter()
            .map(|gap| wire::Gap { subject: gap.subject.into(), why: raw(&gap.why), remedy: gap.remedy.clone() })
            .collect(),
        certificates: certificate::of_report(&cluster.certificates),
        counts: of_counts(&cluster.counts),
    }
}

fn of_outage(outage: &plan::Outage, words: &Words<'_>) -> wire::Outage {
    wire::Outage {
        node: outage.node.to_string(),
        uid: outage.uid.to_string(),
        boot_id: text(outage.boot_id.as_ref()),
        adopts: outage.adopts.as_ref().map(|adopts| wire::Adopts {
            run: adopts.run.to_string(),
            requested: adopts.requested,
            cordoned: adopts.cordoned,
            reason: raw(&adopts.reason),
        }),
        pool: outage.pool.to_string(),
        zone: outage.zone.to_string(),
        table: text(outage.table.as_ref()),
        text: words::headline(outage).to_owned(),
        why: outage
            .why
            .iter()
            .map(|why| wire::Why { what: of_why(why), text: words.why(why, outage.table.as_ref()) })
            .collect(),
        steps: texts(&outage.steps),
        holds: outage
            .holds
            .iter()
            .map(|hold| wire::Hold {
                slot: of_slot(&hold.slot),
                units: hold.units,
                until: match hold.until {
                    plan::HeldUntil::OutageEnds => wire::HeldUntil::OutageEnds,
                    plan::HeldUntil::DrainEnds => wire::HeldUntil::DrainEnds,
                },
            })
            .collect(),
        already_out: outage.already_out,
        rank: outage.rank,
        evicts: texts(&outage.evicts),
        impact: outage
            .impact
            .iter()
            .map(|impact| wire::Impact { what: of_impact(impact), text: words.impact(impact) })
            .collect(),
    }
}

fn of_why(why: &plan::Why) -> wire::WhyCode {
    match why {
        plan::Why::RebootRequired(reason) => wire::WhyCode::RebootRequired { reason: raw(reason) },
        plan::Why::KuredWants(since) => wire::WhyCode::KuredWants { since: since.to_string() },
        plan::Why::UptimeExceeded { booted_at, limit } => {
            wire::WhyCode::UptimeExceeded { booted_at: booted_at.to_string(), limit_seconds: limit.as_secs() }
        }
        plan::Why::BootedBefore { booted_at, wanted } => {
            wire::WhyCode::BootedBefore { booted_at: booted_at.to_string(), wanted: wanted.to_string() }
        }
        plan::Why::OutOfService(reason) => wire::WhyCode::OutOfService { reason: raw(reason) },
        plan::Why::ReleasedFromService => wire::WhyCode::ReleasedFromService,
        plan::Why::LeftByRun { run, phase, since } => {
            wire::WhyCode::LeftByRun { run: run.to_string(), phase: phase.map(Into::into), since: since.to_string() }
        }
    }
}

fn of_impact(impact: &plan::Impact) -> wire::ImpactCode {
    match impact {
        plan::Impact::BudgetPaces { budget, allowed, expected, here } => wire::ImpactCode::BudgetPaces {
            budget: budget.to_string(),
            allowed: *allowed,
            expected: *expected,
            here: *here,
        },
        plan::Impact::ClearsAfterCordon { budget, operator } => {
            wire::ImpactCode::ClearsAfterCordon { budget: budget.to_string(), operator: (*operator).to_owned() }
        }
        plan::Impact::BudgetBusy { budget, healthy, desired } => {
            wire::ImpactCode::BudgetBusy { budget: budget.to_string(), healthy: *healthy, desired: *desired }
        }
        plan::Impact::EmptyDirData(pods) => wire::ImpactCode::EmptydirData { pods: *pods },
        plan::Impact::Unmanaged(pods) => wire::ImpactCode::Unmanaged { pods: *pods },
        plan::Impact::MayReturn(pods) => wire::ImpactCode::MayReturn { pods: *pods },
    }
}

fn of_slot(slot: &plan::Slot) -> wire::Slot {
    match slot {
        plan::Slot::Cluster => wire::Slot::Cluster,
        plan::Slot::Pool(table, pool) => wire::Slot::Pool { table: table.to_string(), pool: pool.to_string() },
        plan::Slot::Zone(table, zone) => wire::Slot::Zone { table: table.to_string(), zone: zone.to_string() },
        plan::Slot::ControlPlane => wire::Slot::ControlPlane,
        plan::Slot::Budget(budget) => wire::Slot::Budget { budget: budget.to_string() },
    }
}

fn of_step(step: &plan::Step) -> wire::Step {
    wire::Step {
        address: step.id.to_string(),
        node: step.id.node.to_string(),
        action: of_action(&step.action),
        text: words::action(&step.action),
        after: step.after.iter().map(ToString::to_string).collect(),
        requires: step.requires.iter().map(of_precondition).collect(),
        on_failure: of_on_failure(&step.on_failure),
        on_timeout: step.on_timeout.as_ref().map(of_on_failure),
        estimate_seconds: step.estimate.as_secs(),
    }
}

fn of_action(action: &plan::Action) -> wire::Action {
    match action {
        plan::Action::Cordon => wire::Action::Cordon,
        plan::Action::Drain { rule, reboots } => wire::Action::Drain {
            timeout_millis: millis(rule.timeout),
            grace_millis: match rule.grace {
                Grace::Pod => None,
                Grace::Fixed(time) => Some(millis(time)),
            },
            on_timeout: match rule.on_timeout {
                model::OnTimeout::Skip => wire::OnTimeout::Skip,
                model::OnTimeout::Halt => wire::OnTimeout::Halt,
            },
            delete_emptydir_data: rule.delete_emptydir_data,
            unmanaged_pods: match rule.unmanaged {
                model::UnmanagedPods::Block => wire::UnmanagedPods::Block,
                model::UnmanagedPods::Evict => wire::UnmanagedPods::Evict,
            },
            reboots: *reboots,
        },
        plan::Action::Reboot { method } => wire::Action::Reboot {
            method: match method {
                RebootMethod::Signal => wire::Method::Signal,
                RebootMethod::Command => wire::Method::Command,
            },
        },
        plan::Action::AwaitReady { timeout, settle } => {
            wire::Action::AwaitReady { timeout_millis: millis(*timeout), settle_millis: millis(*settle) }
        }
        plan::Action::Uncordon => wire::Action::Uncordon,
    }
}

fn of_precondition(precondition: &plan::Precondition) -> wire::Precondition {
    match precondition {
        plan::Precondition::NodeUid(uid) => wire::Precondition::NodeUid { uid: uid.to_string() },
        plan::Precondition::BootId(boot_id) => wire::Precondition::BootId { boot_id: text(boot_id.as_ref()) },
        plan::Precondition::NotCordoned => wire::Precondition::NotCordoned,
        plan::Precondition::CordonOurs => wire::Precondition::CordonOurs,
        plan::Precondition::LeftByRun(run) => wire::Precondition::LeftByRun { run: run.to_string() },
    }
}

fn of_on_failure(on_failure: &plan::OnFailure) -> wire::OnFailure {
    wire::OnFailure {
        skip_to: match &on_failure.node {
            plan::NodeEnd::SkipTo(step) => Some(step.to_string()),
            plan::NodeEnd::Leave => None,
        },
        rest: match on_failure.rest {
            plan::Rest::Continue => wire::Rest::Continue,
            plan::Rest::Halt => wire::Rest::Halt,
        },
        text: words::on_failure(on_failure),
    }
}

fn of_blocked(blocked: &plan::Blocked, words: &Words<'_>) -> wire::Blocked {
    wire::Blocked {
        node: blocked.node.to_string(),
        table: text(blocked.table.as_ref()),
        wanted: match blocked.wanted {
            plan::Wanted::Reboot => wire::Wanted::Reboot,
            plan::Wanted::OutOfService => wire::Wanted::OutOfService,
            plan::Wanted::Release => wire::Wanted::Release,
            plan::Wanted::Protection => wire::Wanted::Protection,
        },
        reasons: blocked
            .reasons
            .iter()
            .map(|reason| {
                let told = words.blocked(blocked, reason);
                wire::BlockedReason { what: of_reason(reason), text: told.text, unblock: told.advice }
            })
            .collect(),
    }
}

fn of_reason(reason: &plan::BlockedReason) -> wire::BlockedCode {
    use plan::BlockedReason as R;
    use wire::BlockedCode as W;
    match reason {
        R::BudgetNever { budget, proof, pods } => {
            W::BudgetNever { budget: budget.to_string(), proof: of_proof(*proof), pods: texts(pods) }
        }
        R::TwoBudgets { pod, budgets } => W::TwoBudgets { pod: pod.to_string(), budgets: texts(budgets) },
        R::UnmanagedPods(pods) => W::UnmanagedPods { pods: texts(pods) },
        R::EmptyDirData(pods) => W::EmptydirData { pods: texts(pods) },
        R::ForeignCordon { manager, since } => {
            W::ForeignCordon { manager: manager.as_ref().map(raw), since: text(since.as_ref()) }
        }
        R::MarkedByRun { run, config, standing } => W::MarkedByRun {
            run: run.to_string(),
            config: raw(config),
            standing: match standing {
                plan::Standing::Live => wire::Standing::Live,
                plan::Standing::OtherConfig => wire::Standing::OtherConfig,
                plan::Standing::LockUnknown => wire::Standing::LockUnknown,
                plan::Standing::BootUnknown => wire::Standing::BootUnknown,
            },
        },
        R::HeldByKured(kured) => W::HeldByKured(of_kured(kured)),
        R::LimitFilled { slot, total, out } => W::LimitFilled { slot: of_slot(slot), total: *total, out: texts(out) },
        R::RebootDidNotClear { at, reason } => W::RebootDidNotClear { at: at.to_string(), reason: raw(reason) },
        R::NoNodePod => W::NoNodePod,
        R::NoSuchNode { similar } => W::NoSuchNode { similar: texts(similar) },
        R::EtcdQuorum { healthy } => W::EtcdQuorum { healthy: *healthy },
        R::NotLinux => W::NotLinux,
        R::NotReady => W::NotReady,
        R::ServingRequestPending { request, sound } => {
            W::ServingRequestPending { request: request.to_string(), sound: *sound }
        }
        R::CannotJudge(subject) => W::CannotJudge { subject: (*subject).into() },
    }
}

fn of_kured(kured: &plan::Kured) -> wire::Kured {
    let plan::Kured { daemon_set, namespace, since, until } = kured;
    wire::Kured {
        daemon_set: raw(daemon_set),
        namespace: namespace.to_string(),
        since: text(since.as_ref()),
        until: text(until.as_ref()),
    }
}

fn of_proof(proof: plan::BudgetProof) -> wire::BudgetProof {
    match proof {
        plan::BudgetProof::Arithmetic { desired, expected } => wire::BudgetProof::Arithmetic { desired, expected },
        plan::BudgetProof::SyncFailed => wire::BudgetProof::SyncFailed,
        plan::BudgetProof::NothingExpected => wire::BudgetProof::NothingExpected,
        plan::BudgetProof::NeitherField => wire::BudgetProof::NeitherField,
        plan::BudgetProof::NothingHealthy => wire::BudgetProof::NothingHealthy,
    }
}

fn of_unknown(unknown: &plan::Unknown, words: &Words<'_>) -> wire::Unknown {
    use plan::UnknownReason as R;
    use wire::UnknownCode as W;
    let told = words.unknown(unknown);
    wire::Unknown {
        node: unknown.node.to_string(),
        table: unknown.table.to_string(),
        what: match &unknown.why {
            R::NoReport => W::NoReport,
            R::OtherBoot => W::OtherBoot,
            R::Stale { reported_at } => W::Stale { reported_at: text(reported_at.as_ref()) },
            R::NoBootTime => W::NoBootTime,
            R::Unreadable => W::Unreadable,
            R::FromTheFuture { reported_at } => W::FromTheFuture { reported_at: reported_at.to_string() },
        },
        text: told.text,
        find_out: told.advice,
    }
}

fn of_notice(notice: &plan::Notice, words: &Words<'_>) -> wire::Notice {
    use plan::Notice as N;
    use wire::NoticeCode as W;
    wire::Notice {
        what: match notice {
            N::MatchesNothing { kind, table } => {
                W::MatchesNothing { table_kind: (*kind).to_owned(), table: table.to_string() }
            }
            N::Expired { table, until } => W::Expired { table: table.to_string(), until: until.to_string() },
            N::LockHeld { holder, renewed_at } => {
                W::LockHeld { holder: raw(holder), renewed_at: renewed_at.to_string() }
            }
            N::LeftAlone { node, run, cordoned } => {
                W::LeftAlone { node: node.to_string(), run: run.to_string(), cordoned: *cordoned }
            }
            N::RebootDeferred { node, table } => W::RebootDeferred { node: node.to_string(), table: table.to_string() },
            N::RebootAfterRelease { node, table } => {
                W::RebootAfterRelease { node: node.to_string(), table: table.to_string() }
            }
            N::KuredAtWork { node, kured, exists } => {
                W::KuredAtWork { node: node.to_string(), exists: *exists, lock: of_kured(kured) }
            }
            N::KuredUnreadable { daemon_set, namespace } => {
                W::KuredUnreadable { daemon_set: raw(daemon_set), namespace: namespace.to_string() }
            }
            N::ProtectedFromService { node, protect, table } => W::ProtectedFromService {
                node: node.to_string(),
                protect: protect.to_string(),
                table: table.to_string(),
            },
        },
        text: words.notice(notice),
    }
}

fn of_counts(counts: &plan::Counts) -> wire::Counts {
    // Destructured, so that a new count cannot be forgotten here.
    let plan::Counts {
        observed,
        reboot,
        drain,
        release,
        blocked,
        unknown,
        up_to_date,
        out_of_service,
        protected,
        not_selected,
        excluded,
    } = *counts;
    wire::Counts {
        observed: observed.into(),
        reboot: reboot.into(),
        drain: drain.into(),
        release: release.into(),
        blocked: blocked.into(),
        unknown: unknown.into(),
        up_to_date: up_to_date.into(),
        out_of_service: out_of_service.into(),
        protected: protected.into(),
        not_selected: not_selected.into(),
        excluded: excluded.into(),
    }
}

fn add(sum: &mut wire::Counts, part: &wire::Counts) {
    sum.observed += part.observed;
    sum.reboot += part.reboot;
    sum.drain += part.drain;
    sum.release += part.release;
    sum.blocked += part.blocked;
    sum.unknown += part.unknown;
    sum.up_to_date += part.up_to_date;
    sum.out_of_service += part.out_of_service;
    sum.protected += part.protected;
    sum.not_selected += part.not_selected;
    sum.excluded += part.excluded;
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn raw(text: &Foreign) -> String {
    text.raw().to_owned()
}

fn text<T: ToString>(value: Option<&T>) -> Option<String> {
    value.map(ToString::to_string)
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

impl From<model::GapSubject> for GapSubject {
    fn from(subject: model::GapSubject) -> Self {
        match subject {
            model::GapSubject::Budgets => Self::Budgets,
            model::GapSubject::DaemonSets => Self::DaemonSets,
            model::GapSubject::Pods => Self::Pods,
            model::GapSubject::Version => Self::Version,
            model::GapSubject::Identity => Self::Identity,
            model::GapSubject::Lock => Self::Lock,
            model::GapSubject::Objects => Self::Objects,
            model::GapSubject::Etcd => Self::Etcd,
        }
    }
}

impl From<GapSubject> for model::GapSubject {
    fn from(subject: GapSubject) -> Self {
        match subject {
            GapSubject::Budgets => Self::Budgets,
            GapSubject::DaemonSets => Self::DaemonSets,
            GapSubject::Pods => Self::Pods,
            GapSubject::Version => Self::Version,
            GapSubject::Identity => Self::Identity,
            GapSubject::Lock => Self::Lock,
            GapSubject::Objects => Self::Objects,
            GapSubject::Etcd => Self::Etcd,
        }
    }
}
