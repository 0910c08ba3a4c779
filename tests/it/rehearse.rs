//! Rehearsals: what they predict, what they find, how fast they are.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use haulout::config::{self, Config};
use haulout::model::*;
use haulout::plan::{self, Plan, Selection};
use haulout::rehearse::{Fault, Input, rehearse};
use haulout::render;
use haulout::run::{Conclusion, NodeOutcome, Rehearsal};
use jiff::Timestamp;
use std::sync::Arc;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn node(index: usize) -> Node {
    let boot = BootId::new(format!("boot-{index}")).unwrap();
    Node {
        name: NodeName::new(format!("n{index:05}")).unwrap(),
        uid: Uid::new(format!("node-{index}")).unwrap(),
        resource_version: "1".into(),
        labels: Arc::new(Labels::from([("kubernetes.io/os".into(), "linux".into())])),
        pool: PoolName::new("").unwrap(),
        zone: ZoneName::new("").unwrap(),
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
            booted_at: Some("2026-11-01T00:00:00Z".parse().unwrap()),
            reported_at: Some("2026-11-23T11:00:00Z".parse().unwrap()),
        },
        kured_wants_since: None,
        last_reboot: None,
        scale_down_before: None,
        scale_down_disabled: None,
        taints: Vec::new(),
        allocatable: Arc::new(BTreeMap::from([("pods".into(), "110".into())])),
        addresses: Arc::default(),
        kubelet_port: 0,
        created_at: None,
        terminating: false,
    }
}

/// A cluster of so many nodes with so many pods each, one of them a DaemonSet's; the pods of ten nodes are one workload
/// after the other, each with a budget that lets one go at a time.
fn snapshot(nodes: usize, pods: usize) -> Snapshot {
    let owner = |kind: &str, name: &str| Owner {
        api_version: "apps/v1".into(),
        kind: kind.into(),
        name: name.into(),
        uid: Uid::new(name).unwrap(),
    };
    let shape = |app: &str, kind: &str| {
        Arc::new(PodShape {
            labels: Labels::from([("app".into(), app.into())]),
            owner: Some(owner(kind, app)),
            grace_seconds: 30,
            ..PodShape::default()
        })
    };
    let daemon = shape("agent", "DaemonSet");
    let (mut all, mut budgets) = (Vec::new(), Vec::new());
    let mut shapes: BTreeMap<String, Arc<PodShape>> = BTreeMap::new();
    for index in 0..nodes {
        for pod in 0..pods {
            let app = format!("w{}-{pod}", index / 10);
            let namespace = Namespace::new(format!("t{}", index / 10)).unwrap();
            let shape = match pod {
                0 => Arc::clone(&daemon),
                _ => Arc::clone(shapes.entry(app.clone()).or_insert_with(|| shape(&app, "ReplicaSet"))),
            };
            if index % 10 == 0 && pod > 0 {
                budgets.push(Budget {
                    key: BudgetKey { namespace: namespace.clone(), name: PodName::new(&app).unwrap() },
                    uid: Uid::new(format!("b-{app}")).unwrap(),
                    spec: BudgetSpec::MaxUnavailable(Bound::Count(1)),
                    selector: Some(Selector::parse(&format!("app={app}")).unwrap()),
                    unhealthy: UnhealthyPolicy::IfHealthyBudget,
                    expected: 10,
                    desired: 9,
                    healthy: 10,
                    allowed: 1,
                    observed: true,
                    sync_failed: None,
                    disrupted: Vec::new(),
                    owner: None,
                    labels: Arc::default(),
                });
            }
            all.push(Pod {
                key: PodKey { namespace, name: PodName::new(format!("p{index}-{pod}")).unwrap() },
                uid: Uid::new(format!("p{index}-{pod}")).unwrap(),
                node: Some(NodeName::new(format!("n{index:05}")).unwrap()),
                status: PodStatus { phase: PodPhase::Running, ready: true, terminating: false },
                shape,
            });
        }
    }
    let agent = DaemonSet {
        namespace: Namespace::new("t0").unwrap(),
        name: Foreign::new("agent"),
        uid: Uid::new("agent").unwrap(),
        kured_locks: Vec::new(),
    };
    let mut snapshot = Snapshot {
        cluster: ClusterName::new("prod").unwrap(),
        via: Foreign::new("a file"),
        identity: None,
        version: Foreign::new("1.37.2"),
        taken_at: now(),
        nodes: (0..nodes).map(node).map(|node| (node.name.clone(), node)).collect(),
        pods: all,
        budgets: Budgets::new(budgets),
        daemon_sets: BTreeMap::from([(agent.uid.clone(), agent)]),
        control_plane: ControlPlane::default(),
        certificates: Certificates::default(),
        lock: None,
        sandbox: true,
        gaps: Vec::new(),
    };
    snapshot.sort();
    snapshot
}

fn config(at_a_time: u32) -> Config {
    let mut text = String::from("version = 1\nname = \"p\"\n[cluster.prod]\nsandbox = \"x.toml\"\n");
    write!(
        text,
        "max_unavailable = {at_a_time}\n[reboot.all]\nwhen_required = true\nmax_unavailable = {at_a_time}\n\
         on_failure = \"continue\"\nready_timeout = \"5m\"\ndrain = {{ timeout = \"10m\" }}\n"
    )
    .unwrap();
    config::parse(&config::Source::new("haulout.toml", &text)).unwrap_or_else(|_| panic!("{text}")).0
}

fn rehearsed(snapshot: &Snapshot, at_a_time: u32, faults: &[&str]) -> (Plan, Rehearsal) {
    let snapshots = BTreeMap::from([(snapshot.cluster.clone(), snapshot.clone())]);
    let plan = plan::plan(&config(at_a_time), &snapshots, now(), &Selection::default()).unwrap();
    let faults = faults.iter().map(|fault| fault.parse::<Fault>().unwrap()).collect();
    let input = Input { plan: plan.clone(), snapshots, pool_labels: BTreeMap::new(), faults };
    let rehearsal = rehearse(input).unwrap();
    (plan, rehearsal)
}

fn failed(rehearsal: &Rehearsal) -> Vec<(String, String, bool)> {
    let nodes = rehearsal.summary.nodes.iter();
    let failed = nodes.filter_map(|((_, node), outcome)| match outcome {
        NodeOutcome::Failed { failure, cordoned, .. } => {
            Some((node.to_string(), failure.message.raw().to_owned(), *cordoned))
        }
        NodeOutcome::Skipped { failure, .. } => Some((node.to_string(), failure.message.raw().to_owned(), false)),
        NodeOutcome::Done | NodeOutcome::Interrupted { .. } | NodeOutcome::NotStarted { .. } => None,
    });
    failed.collect()
}

#[test]
fn a_rehearsal_predicts_what_every_pod_and_budget_goes_through() {
    let (plan, rehearsal) = rehearsed(&snapshot(10, 4), 2, &[]);
    assert_eq!(rehearsal.conclusion, Some(Conclusion::Done));
    assert!(rehearsal.ends > rehearsal.began);
    let endured = &rehearsal.clusters[&ClusterName::new("prod").unwrap()];
    // Each pod that was there leaves once at least; where they go they may have to leave again.
    let evictions: u32 = endured.pods.values().map(|pod| pod.evictions).sum();
    assert!(evictions >= 30, "{evictions}");
    assert!((0..10).all(|index| {
        let key =
            PodKey { namespace: Namespace::new("t0").unwrap(), name: PodName::new(format!("p{index}-1")).unwrap() };
        endured.pods.get(&key).is_some_and(|pod| pod.evictions == 1)
    }));
    let restarts: u32 = endured.pods.values().map(|pod| pod.restarts).sum();
    assert!(restarts >= 10, "{restarts}");
    assert_eq!(endured.budgets.len(), 3);
    for low in endured.budgets.values() {
        assert_eq!((low.healthy, low.desired, low.expected), (9, 9, 10));
        assert!(!low.is_broken());
    }
    let text = render::rehearsal::text(&plan, &rehearsal, &render::TerminalStyle::default());
    assert!(text.contains("Predicted end: "), "{text}");
    assert!(text.contains("t0/w0-1: 9 of 10 healthy, needs 9"), "{text}");
    // What is done is not left.
    assert!(text.contains("10 nodes done") && !text.contains("Left in"), "{text}");
}

#[test]
fn the_same_snapshot_gives_the_same_rehearsal() {
    let snapshot = snapshot(6, 3);
    let (plan, first) = rehearsed(&snapshot, 2, &["node-slow=1"]);
    let (_, second) = rehearsed(&snapshot, 2, &["node-slow=1"]);
    let style = render::TerminalStyle::default();
    assert_eq!(render::rehearsal::text(&plan, &first, &style), render::rehearsal::text(&plan, &second, &style));
    assert_eq!(render::rehearsal::junit(&plan, &first), render::rehearsal::junit(&plan, &second));
}

#[test]
fn every_fault_does_what_it_says() {
    let snapshot = snapshot(5, 3);
    let rows = [
        ("node-never-returns=1", 1, "the node has not booted", true),
        ("pod-never-ends=2", 2, "time is up; still there", false),
        ("eviction-denied=2", 2, "denied the request", false),
    ];
    for (fault, count, words, cordoned) in rows {
        let (plan, rehearsal) = rehearsed(&snapshot, 2, &[fault]);
        let failed = failed(&rehearsal);
        assert_eq!(failed.len(), count, "{fault}: {failed:?}");
        assert!(failed.iter().all(|(_, message, left)| message.contains(words) && *left == cordoned), "{failed:?}");
        assert!(!rehearsal.is_good());
        let junit = render::rehearsal::junit(&plan, &rehearsal);
        assert!(junit.contains(&format!("tests=\"5\" failures=\"{count}\"")), "{junit}");
    }
    let calm = rehearsed(&snapshot, 2, &[]).1;
    let slow = rehearsed(&snapshot, 2, &["node-slow=5"]).1;
    assert!(slow.is_good() && slow.ends > calm.ends);
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_haulout"))
        .arg("rehearse")
        .args(arguments)
        .current_dir(folder)
        .env("TZ", "UTC")
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_verb_exits_by_what_it_found_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart");
    for file in ["haulout.toml", "cluster.toml", "cluster.yaml"] {
        std::fs::copy(from.join(file), folder.path().join(file)).unwrap();
    }
    let (code, text) = run(folder.path(), &["--junit", "report.xml"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Blocked") && text.contains("Predicted end: ") && !text.contains("New\n"), "{text}");
    let junit = std::fs::read_to_string(folder.path().join("report.xml")).unwrap();
    assert!(junit.contains("<testcase classname=\"demo\""), "{junit}");
    // What is not done has a reason, whether it cannot be or nobody knows whether it must.
    for why in ["blocked: ", "unknown: it carries no report"] {
        assert!(junit.contains(&format!("<skipped message=\"{why}")), "{junit}");
    }
    let (code, text) = run(folder.path(), &["--fault", "node-never-returns=1"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the node has not booted"), "{text}");
    // All that was to do before is to do still.
    assert_eq!(run(folder.path(), &[]).0, Some(0));
    assert_eq!(run(folder.path(), &["--fault", "rain=1"]).0, Some(64));
}
