//! Clusters and configs in few words.

use haulout::config::{Cluster, Config, OnFailure, OutOfService, Protect, Reach, Reboot, Scope};
use haulout::model::*;
use haulout::plan::{Plan, PlanError, Selection};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) const NOW: &str = "2026-11-23T12:00:00Z";

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(super) fn now() -> Timestamp {
    at(NOW)
}

pub(super) fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

pub(super) fn table(text: &str) -> TableName {
    TableName::new(text).unwrap()
}

pub(super) fn cluster_name(text: &str) -> ClusterName {
    ClusterName::new(text).unwrap()
}

/// A Ready Linux worker whose report says that it needs a reboot.
pub(crate) fn node(text: &str, pool: &str, zone: &str) -> Node {
    let boot = BootId::new(format!("boot-{text}")).unwrap();
    Node {
        name: name(text),
        uid: Uid::new(format!("uid-{text}")).unwrap(),
        resource_version: "1".into(),
        labels: Arc::new(Labels::from([("pool".into(), pool.into()), ("kubernetes.io/os".into(), "linux".into())])),
        pool: PoolName::new(pool).unwrap(),
        zone: ZoneName::new(zone).unwrap(),
        control_plane: false,
        linux: true,
        readiness: Readiness::Ready,
        cordon: None,
        boot_id: Some(boot.clone()),
        kernel: Foreign::new("6.8"),
        mark: None,
        report: Report {
            reboot: Some(ReportedReboot::Required(Foreign::new("linux-image"))),
            boot_id: Some(boot),
            booted_at: Some(at("2026-11-01T00:00:00Z")),
            reported_at: Some(at("2026-11-23T11:00:00Z")),
        },
        kured_wants_since: None,
        last_reboot: None,
        scale_down_before: None,
        scale_down_disabled: None,
        taints: Vec::new(),
        allocatable: Default::default(),
        addresses: Arc::default(),
        kubelet_port: 0,
        created_at: None,
        terminating: false,
    }
}

pub(super) fn calm(mut node: Node) -> Node {
    node.report.reboot = Some(ReportedReboot::NotRequired);
    node
}

pub(super) fn mark(config: &str, table_name: Option<&str>, phase: Option<Phase>) -> Mark {
    Mark {
        reboots: Some(Reboots { boot_id: BootId::new("boot-before").unwrap(), reason: Foreign::new("linux-image") }),
        config: Foreign::new(config),
        table: table_name.map(table),
        run: RunId::new("run-1").unwrap(),
        since: at("2026-11-20T00:00:00Z"),
        phase,
    }
}

/// A lock of which the holder showed its last sign of life so many seconds ago.
pub(super) fn lock(holder: &str, ago: i64) -> HeldLock {
    let renewed_at = now() - jiff::SignedDuration::from_secs(ago);
    HeldLock { holder: Foreign::new(holder), renewed_at, duration: Duration::from_secs(60) }
}

/// As a run of config `platform` has left it: marked, and cordoned.
pub(super) fn left(mut node: Node, phase: Phase) -> Node {
    let mark = mark("platform", Some("linux"), Some(phase));
    node.mark = Some(mark.clone());
    node.cordon = Some(Cordon::Marked(mark));
    node
}

pub(super) fn owner(api_version: &str, kind: &str, uid: &str) -> Owner {
    Owner { api_version: api_version.into(), kind: kind.into(), name: "x".into(), uid: Uid::new(uid).unwrap() }
}

/// A running pod of a ReplicaSet.
pub(super) fn pod(key: &str, on: &str, app: &str) -> Pod {
    let (namespace, pod_name) = key.split_once('/').unwrap();
    Pod {
        key: PodKey { namespace: Namespace::new(namespace).unwrap(), name: PodName::new(pod_name).unwrap() },
        uid: Uid::new(format!("pod-{namespace}-{pod_name}")).unwrap(),
        node: Some(name(on)),
        status: PodStatus { phase: PodPhase::Running, ready: true, terminating: false },
        shape: Arc::new(PodShape {
            labels: Labels::from([("app".into(), app.into())]),
            owner: Some(owner("apps/v1", "ReplicaSet", "rs-1")),
            ..PodShape::default()
        }),
    }
}

pub(super) fn shaped(mut pod: Pod, change: impl FnOnce(&mut PodShape)) -> Pod {
    change(Arc::make_mut(&mut pod.shape));
    pod
}

pub(super) fn budget(key: &str, app: &str, spec: BudgetSpec, expected: u32, allowed: u32) -> Budget {
    let (namespace, budget_name) = key.split_once('/').unwrap();
    Budget {
        key: BudgetKey { namespace: Namespace::new(namespace).unwrap(), name: PodName::new(budget_name).unwrap() },
        uid: Uid::new("budget").unwrap(),
        spec,
        selector: Some(Selector::parse(&format!("app={app}")).unwrap()),
        unhealthy: UnhealthyPolicy::IfHealthyBudget,
        expected,
        desired: expected.saturating_sub(allowed),
        healthy: expected,
        allowed,
        observed: true,
        sync_failed: None,
        disrupted: Vec::new(),
        owner: None,
        labels: Arc::default(),
    }
}

pub(crate) fn snapshot(nodes: impl IntoIterator<Item = Node>) -> Snapshot {
    Snapshot {
        cluster: cluster_name("prod"),
        via: Foreign::new("sandbox"),
        identity: None,
        version: Foreign::new("1.37.2"),
        taken_at: now(),
        nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(),
        pods: Vec::new(),
        budgets: Budgets::default(),
        daemon_sets: BTreeMap::new(),
        control_plane: ControlPlane::default(),
        certificates: Certificates::default(),
        lock: None,
        sandbox: true,
        gaps: Vec::new(),
    }
}

pub(super) fn with_pods(
    mut snapshot: Snapshot,
    pods: impl IntoIterator<Item = Pod>,
    budgets: impl IntoIterator<Item = Budget>,
) -> Snapshot {
    snapshot.pods.extend(pods);
    for budget in budgets {
        snapshot.budgets.insert(budget);
    }
    snapshot.sort();
    snapshot
}

/// The clusters of all scenes: tables speak of both, whichever are there.
pub(super) fn all() -> std::collections::BTreeSet<ClusterName> {
    [cluster_name("prod"), cluster_name("staging")].into()
}

pub(super) fn reboot() -> Reboot {
    Reboot {
        scope: Scope { clusters: all(), ..Scope::default() },
        when_required: true,
        max_uptime: None,
        booted_after: None,
        order: Vec::new(),
        max_unavailable: Limit::ONE,
        max_unavailable_per_zone: None,
        on_failure: OnFailure::Halt,
        method: RebootMethod::Signal,
        ready_timeout: Duration::from_secs(600),
        settle: Duration::from_secs(10),
        drain: DrainRule::DEFAULT,
        accept_api_outage: false,
    }
}

pub(super) fn out_of_service(nodes: &[&str]) -> OutOfService {
    OutOfService {
        scope: Scope { clusters: all(), nodes: nodes.iter().map(|text| name(text)).collect(), ..Scope::default() },
        reason: Foreign::new("disk replacement"),
        until: None,
        drain: DrainRule::DEFAULT,
    }
}

pub(super) fn protect(selector: &str) -> Protect {
    Protect { scope: Scope { clusters: all(), selector: Some(Selector::parse(selector).unwrap()), ..Scope::default() } }
}

pub(super) fn cluster(max_unavailable: u32) -> Cluster {
    Cluster {
        reach: Reach::Sandbox("cluster.toml".into()),
        tags: BTreeMap::new(),
        after: std::collections::BTreeSet::new(),
        max_unavailable: Limit::Count(max_unavailable),
        pool_label: None,
        node_pod: None,
    }
}

/// One cluster, one table `reboot.linux`.
pub(crate) fn config(max_unavailable: u32) -> Config {
    Config {
        name: Foreign::new("platform"),
        clusters: BTreeMap::from([(cluster_name("prod"), cluster(max_unavailable))]),
        reboots: BTreeMap::from([(table("linux"), reboot())]),
        out_of_service: BTreeMap::new(),
        protect: BTreeMap::new(),
    }
}

pub(super) fn try_plan(config: &Config, snapshot: &Snapshot, selection: &Selection) -> Result<Plan, PlanError> {
    let snapshots = BTreeMap::from([(snapshot.cluster.clone(), snapshot.clone())]);
    haulout::plan::plan(config, &snapshots, now(), selection)
}

pub(crate) fn plan(config: &Config, snapshot: &Snapshot) -> Plan {
    try_plan(config, snapshot, &Selection::default()).unwrap()
}
