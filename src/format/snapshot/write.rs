//! Snapshot → JSON.

use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::wire::{self, Text};
use crate::format::{Kind, certificate};
use crate::model::{
    AddressKind, Bound, Budget, BudgetSpec, Cordon, Foreign, KuredLock, Labels, LastReboot, Mark, Node, Owner, Phase,
    Pod, PodPhase, PodShape, Readiness, Report, ReportedReboot, Snapshot, TaintEffect, UnhealthyPolicy,
};

/// Elements down to here have lines of their own: document, its lists.
const LINES: usize = 2;

/// A snapshot as bytes. Equal snapshots give equal bytes.
#[must_use]
pub fn write(snapshot: &Snapshot) -> Vec<u8> {
    crate::format::json::write(&document(snapshot), LINES)
}

fn document(snapshot: &Snapshot) -> wire::Document<'_> {
    let (shapes, pods) = pods(&snapshot.pods);
    wire::Document {
        kind: wire::Kind::Snapshot,
        format_version: Kind::Snapshot.version().into(),
        cluster: snapshot.cluster.as_str().into(),
        via: foreign(&snapshot.via),
        identity: snapshot.identity.as_ref().map(|identity| identity.as_str().into()),
        version: foreign(&snapshot.version),
        taken_at: time(snapshot.taken_at),
        sandbox: snapshot.sandbox,
        lock: snapshot.lock.as_ref().map(|lock| wire::Lock {
            holder: foreign(&lock.holder),
            renewed_at: time(lock.renewed_at),
            duration_seconds: lock.duration.as_secs(),
        }),
        gaps: snapshot
            .gaps
            .iter()
            .map(|gap| wire::Gap {
                subject: gap.subject.into(),
                why: foreign(&gap.why),
                remedy: gap.remedy.as_str().into(),
            })
            .collect(),
        etcd_members: snapshot
            .control_plane
            .etcd_members
            .iter()
            .map(|(node, ready)| (node.as_str().into(), *ready))
            .collect(),
        certificates: certificate::of_certificates(&snapshot.certificates),
        nodes: snapshot.nodes.values().map(node).collect(),
        budgets: snapshot.budgets.iter().map(budget).collect(),
        daemon_sets: snapshot
            .daemon_sets
            .values()
            .map(|set| wire::DaemonSet {
                namespace: set.namespace.as_str().into(),
                name: foreign(&set.name),
                uid: set.uid.as_str().into(),
                kured_locks: set.kured_locks.iter().map(kured_lock).collect(),
            })
            .collect(),
        shapes,
        pods,
    }
}

/// The pods, and the table of their shapes in the order of their first use. Equal shapes share a place even where they
/// are not the same in memory, so that the bytes do not depend on how the snapshot came about.
fn pods(pods: &[Pod]) -> (Vec<wire::Shape<'_>>, Vec<wire::Pod<'_>>) {
    let mut by_address: HashMap<*const PodShape, u32> = HashMap::new();
    let mut by_value: HashMap<&PodShape, u32> = HashMap::new();
    let mut shapes = Vec::new();
    let written = pods
        .iter()
        .map(|pod| {
            let index = *by_address.entry(Arc::as_ptr(&pod.shape)).or_insert_with(|| {
                *by_value.entry(&pod.shape).or_insert_with(|| {
                    shapes.push(shape(&pod.shape));
                    // More shapes than u32 holds do not fit into any memory.
                    u32::try_from(shapes.len() - 1).unwrap_or(u32::MAX)
                })
            });
            wire::Pod {
                namespace: pod.key.namespace.as_str().into(),
                name: pod.key.name.as_str().into(),
                uid: pod.uid.as_str().into(),
                node: pod.node.as_ref().map(|node| node.as_str().into()),
                phase: match pod.status.phase {
                    PodPhase::Pending => wire::PodPhase::Pending,
                    PodPhase::Running => wire::PodPhase::Running,
                    PodPhase::Succeeded => wire::PodPhase::Succeeded,
                    PodPhase::Failed => wire::PodPhase::Failed,
                    PodPhase::Unknown => wire::PodPhase::Unknown,
                },
                ready: pod.status.ready,
                terminating: pod.status.terminating,
                shape: index,
            }
        })
        .collect();
    (shapes, written)
}

fn shape(shape: &PodShape) -> wire::Shape<'_> {
    let PodShape {
        labels: of,
        owner: by,
        mirror,
        empty_dir,
        grace_seconds,
        tolerates_cordon,
        volumes,
        finalizers: _,
        ours,
    } = shape;
    wire::Shape {
        labels: labels(of),
        owner: by.as_ref().map(owner),
        mirror: *mirror,
        empty_dir: *empty_dir,
        grace_seconds: *grace_seconds,
        tolerates_cordon: *tolerates_cordon,
        volumes: *volumes,
        ours: *ours,
    }
}

fn node(node: &Node) -> wire::Node<'_> {
    wire::Node {
        name: node.name.as_str().into(),
        uid: node.uid.as_str().into(),
        resource_version: (&*node.resource_version).into(),
        labels: labels(&node.labels),
        pool: node.pool.as_str().into(),
        zone: node.zone.as_str().into(),
        control_plane: node.control_plane,
        linux: node.linux,
        readiness: match node.readiness {
            Readiness::Ready => wire::Readiness::Ready,
            Readiness::NotReady => wire::Readiness::NotReady,
            Readiness::Unknown => wire::Readiness::Unknown,
        },
        cordon: node.cordon.as_ref().map(|cordon| match cordon {
            Cordon::Marked(of) => wire::Cordon::Marked(mark(of)),
            Cordon::Foreign { manager, since, mark: of } => wire::Cordon::Foreign {
                manager: manager.as_ref().map(foreign),
                since: since.map(time),
                mark: of.as_ref().map(mark),
            },
        }),
        boot_id: node.boot_id.as_ref().map(|id| id.as_str().into()),
        kernel: foreign(&node.kernel),
        mark: node.mark.as_ref().map(mark),
        report: report(&node.report),
        kured_wants_since: node.kured_wants_since.map(time),
        last_reboot: node.last_reboot.as_ref().map(last_reboot),
        scale_down_before: node.scale_down_before.as_ref().map(foreign),
        scale_down_disabled: node.scale_down_disabled.as_ref().map(foreign),
        taints: node
            .taints
            .iter()
            .map(|taint| wire::Taint {
                key: (&*taint.key).into(),
                value: (&*taint.value).into(),
                effect: match taint.effect {
                    TaintEffect::NoSchedule => wire::TaintEffect::NoSchedule,
                    TaintEffect::PreferNoSchedule => wire::TaintEffect::PreferNoSchedule,
                    TaintEffect::NoExecute => wire::TaintEffect::NoExecute,
                },
            })
            .collect(),
        allocatable: labels(&node.allocatable),
        addresses: node
            .addresses
            .iter()
            .map(|address| wire::NodeAddress {
                kind: match address.kind {
                    AddressKind::InternalIp => wire::AddressKind::InternalIp,
                    AddressKind::ExternalIp => wire::AddressKind::ExternalIp,
                    AddressKind::Name => wire::AddressKind::Name,
                },
                address: foreign(&address.address),
            })
            .collect(),
        kubelet_port: node.kubelet_port,
        created_at: node.created_at.map(time),
        terminating: node.terminating,
    }
}

fn mark(mark: &Mark) -> wire::Mark<'_> {
    wire::Mark {
        config: foreign(&mark.config),
        table: mark.table.as_ref().map(|table| table.as_str().into()),
        run: mark.run.as_str().into(),
        since: time(mark.since),
        phase: mark.phase.map(Into::into),
        reboots: mark.reboots.as_ref().map(|reboots| wire::Reboots {
            boot_id: reboots.boot_id.as_str().into(),
            reason: foreign(&reboots.reason),
        }),
    }
}

/// A report that says nothing at all is left out; it is read back as the same.
fn report(report: &Report) -> Option<wire::Report<'_>> {
    let Report { reboot, boot_id, booted_at, reported_at } = report;
    if reboot.is_none() && boot_id.is_none() && booted_at.is_none() && reported_at.is_none() {
        return None;
    }
    Some(wire::Report {
        reboot: reboot.as_ref().map(|reboot| match reboot {
            ReportedReboot::Required(reason) => wire::ReportedReboot::Required(foreign(reason)),
            ReportedReboot::NotRequired => wire::ReportedReboot::NotRequired,
        }),
        boot_id: boot_id.as_ref().map(|id| id.as_str().into()),
        booted_at: booted_at.map(time),
        reported_at: reported_at.map(time),
    })
}

fn last_reboot(last: &LastReboot) -> wire::LastReboot<'_> {
    wire::LastReboot {
        at: time(last.at),
        run: last.run.as_str().into(),
        boot_id: last.boot_id.as_str().into(),
        reason: foreign(&last.reason),
        drain_seconds: last.drain_seconds,
        boot_seconds: last.boot_seconds,
    }
}

fn budget(budget: &Budget) -> wire::Budget<'_> {
    wire::Budget {
        namespace: budget.key.namespace.as_str().into(),
        name: budget.key.name.as_str().into(),
        uid: budget.uid.as_str().into(),
        spec: match budget.spec {
            BudgetSpec::MinAvailable(of) => Some(wire::BudgetSpec::MinAvailable(bound(of))),
            BudgetSpec::MaxUnavailable(of) => Some(wire::BudgetSpec::MaxUnavailable(bound(of))),
            BudgetSpec::Neither => None,
        },
        selector: budget.selector.as_ref().map(|selector| selector.to_string().into()),
        unhealthy_pod_eviction_policy: match budget.unhealthy {
            UnhealthyPolicy::IfHealthyBudget => wire::UnhealthyPolicy::IfHealthyBudget,
            UnhealthyPolicy::AlwaysAllow => wire::UnhealthyPolicy::AlwaysAllow,
        },
        expected: budget.expected,
        desired: budget.desired,
        healthy: budget.healthy,
        allowed: budget.allowed,
        observed: budget.observed,
        sync_failed: budget.sync_failed.as_ref().map(foreign),
        disrupted: budget.disrupted.iter().map(|name| (&**name).into()).collect(),
        owner: budget.owner.as_ref().map(owner),
        labels: labels(&budget.labels),
    }
}

fn bound(bound: Bound) -> wire::Bound {
    match bound {
        Bound::Count(count) => wire::Bound::Count(count),
        Bound::Percent(percent) => wire::Bound::Percent(percent),
    }
}

fn owner(owner: &Owner) -> wire::Owner<'_> {
    wire::Owner {
        api_version: (&*owner.api_version).into(),
        kind: (&*owner.kind).into(),
        name: (&*owner.name).into(),
        uid: owner.uid.as_str().into(),
    }
}

fn labels(labels: &Labels) -> BTreeMap<Text<'_>, Text<'_>> {
    labels.iter().map(|(key, value)| ((&**key).into(), (&**value).into())).collect()
}

fn kured_lock(lock: &KuredLock) -> wire::KuredLock<'_> {
    match lock {
        KuredLock::Unreadable => wire::KuredLock { node: None, since: None, lasts_nanoseconds: None },
        KuredLock::Held { node, since, lasts } => wire::KuredLock {
            node: Some(node.as_str().into()),
            since: since.map(time),
            // It came as that number of nanoseconds.
            lasts_nanoseconds: lasts.map(|lasts| i64::try_from(lasts.as_nanos()).unwrap_or(i64::MAX)),
        },
    }
}

fn foreign(text: &Foreign) -> Text<'_> {
    text.raw().into()
}

fn time<'a>(at: Timestamp) -> Text<'a> {
    at.to_string().into()
}

impl From<Phase> for wire::MarkPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Cordoned => Self::Cordoned,
            Phase::Armed => Self::Armed,
            Phase::Drained => Self::Drained,
            Phase::Reboot => Self::Reboot,
            Phase::Returned => Self::Returned,
        }
    }
}

impl From<wire::MarkPhase> for Phase {
    fn from(phase: wire::MarkPhase) -> Self {
        match phase {
            wire::MarkPhase::Cordoned => Self::Cordoned,
            wire::MarkPhase::Armed => Self::Armed,
            wire::MarkPhase::Drained => Self::Drained,
            wire::MarkPhase::Reboot => Self::Reboot,
            wire::MarkPhase::Returned => Self::Returned,
        }
    }
}
