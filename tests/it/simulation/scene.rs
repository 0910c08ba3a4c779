//! Clusters and configs made by chance.

use haulout::config::{self, Config};
use haulout::twin::{Delays, Kind, Options, PatchKind, Request, Verb, World};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::chance::Chance;
use super::shown::{HOSTILE, SECRET};

pub(super) const START: &str = "2026-11-23T12:00:00Z";

pub(super) fn start() -> Timestamp {
    START.parse().unwrap()
}

/// What Law holds a run to.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) cluster: usize,
    pub(super) pool: usize,
    pub(super) zone: Option<usize>,
}

pub(super) struct Scene {
    pub(super) world: World,
    pub(super) config: Config,
    /// The same, with limits that Law does not allow.
    pub(super) lax: Config,
    pub(super) limits: Limits,
    /// In seconds, of each outage from the request of its place to its end.
    pub(super) longest: u64,
}

pub(super) fn request(kind: Kind, namespace: Option<&str>, name: Option<&str>, verb: Verb, manager: &str) -> Request {
    Request {
        kind,
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        subresource: None,
        verb,
        options: Options { manager: manager.to_owned(), ..Options::default() },
    }
}

fn create(world: &mut World, kind: Kind, namespace: Option<&str>, object: Value) {
    let now = world.now();
    let answer = world.apply(now, &request(kind, namespace, None, Verb::Create(object.into()), "kubectl-create"));
    assert!(answer.code < 300, "{}", answer.body);
}

pub(super) fn cordon(node: &str, on: bool, manager: &str) -> Request {
    let body = json!({ "spec": { "unschedulable": if on { json!(true) } else { Value::Null } } });
    request(Kind::Node, None, Some(node), Verb::Patch(PatchKind::Merge, body.into()), manager)
}

/// Asks a node for what nodes should not do.
fn misbehave(chance: &mut Chance, annotations: &mut Value) {
    let wishes: [(&str, u64, &[&str]); 7] = [
        ("never-returns", 20, &["true"]),
        ("keeps-boot-id", 30, &["true"]),
        ("returns-as-new-node", 30, &["true"]),
        ("flaps", 40, &["1", "4", "20"]),
        ("report-ends", 30, &["true"]),
        ("fires-after", 50, &["5s", "60s", "300s"]),
        ("pull-fails", 20, &["true"]),
    ];
    for (wish, rate, values) in wishes {
        if chance.per_mille(rate) {
            annotations[format!("sim.haulout.dev/{wish}")] = json!(*chance.pick(values));
        }
    }
}

/// A kured whose lock is held for some node.
fn kured(world: &mut World, chance: &mut Chance, nodes: u64, containers: &Value) {
    let held = json!({ "nodeID": format!("n{}", chance.from(0, nodes - 1)), "created": START, "TTL": 0 });
    let labels = json!({ "name": "kured" });
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": containers } });
    let annotations = json!({ "weave.works/kured-node-lock": held.to_string() });
    let metadata = json!({ "name": "kured", "annotations": annotations });
    let spec = json!({ "selector": { "matchLabels": labels }, "template": template });
    create(world, Kind::DaemonSet, Some("kube-system"), json!({ "metadata": metadata, "spec": spec }));
}

impl Scene {
    /// A cluster by chance. A calm one has nothing that keeps a run from doing all that it planned.
    pub(super) fn new(chance: &mut Chance, calm: bool) -> Self {
        let delays = Delays {
            pod_ready: SignedDuration::from_millis(i64::try_from(chance.from(200, 5000)).unwrap()),
            pod_stop: SignedDuration::from_millis(i64::try_from(chance.from(100, 8000)).unwrap()),
            reboot: SignedDuration::from_secs(i64::try_from(chance.from(2, 90)).unwrap()),
            ..Delays::default()
        };
        let mut world = World::new(start() - SignedDuration::from_mins(20), chance.next(), delays);
        let nodes = chance.from(3, 7);
        for index in 0..nodes {
            let mut annotations = json!({ "example.com/token": SECRET });
            if chance.per_mille(750) {
                annotations["sim.haulout.dev/reboot-required"] = json!(*chance.pick(&["linux", HOSTILE]));
            }
            if !calm && chance.per_mille(60) {
                annotations["sim.haulout.dev/reboot-takes"] = json!(*chance.pick(&["5m", "48h"]));
            }
            if !calm && chance.per_mille(60) {
                annotations["sim.haulout.dev/reason-survives"] = json!("true");
            }
            if !calm && chance.per_mille(60) {
                annotations["sim.haulout.dev/node-ready-after"] = json!(*chance.pick(&["40s", "20m"]));
            }
            if !calm {
                misbehave(chance, &mut annotations);
            }
            let labels = json!({
                "pool": if index % 2 == 0 { "a" } else { "b" },
                "topology.kubernetes.io/zone": format!("z{}", index % 3),
            });
            let node =
                json!({ "metadata": { "name": format!("n{index}"), "labels": labels, "annotations": annotations } });
            create(&mut world, Kind::Node, None, node);
        }
        let containers = json!([{ "name": "c", "image": "registry/\u{1b}[2Jimage:\u{202e}1",
            "env": [{ "name": "PASSWORD", "value": SECRET }], "resources": { "requests": { "cpu": "100m" } } }]);
        let daemon = json!({ "selector": { "matchLabels": { "app": "agent" } }, "template": {
            "metadata": { "labels": { "app": "agent" } }, "spec": { "containers": containers } } });
        if chance.per_mille(800) {
            create(
                &mut world,
                Kind::DaemonSet,
                Some("default"),
                json!({ "metadata": { "name": "agent" }, "spec": daemon }),
            );
        }
        if !calm && chance.per_mille(200) {
            kured(&mut world, chance, nodes, &containers);
        }
        for index in 0..chance.from(1, 4) {
            let name = format!("w{index}");
            let labels = json!({ "app": name });
            let replicas = chance.from(if calm { 2 } else { 1 }, 4);
            let mut annotations = json!({});
            if chance.per_mille(200) {
                annotations["sim.haulout.dev/stops-after"] = json!(format!("{}s", chance.from(1, 40)));
            }
            if !calm && chance.per_mille(40) {
                annotations["sim.haulout.dev/never-ready"] = json!("true");
            }
            let mut metadata = json!({ "labels": labels, "annotations": annotations });
            if !calm && chance.per_mille(30) {
                metadata["annotations"]["sim.haulout.dev/stops-after"] = json!("100h");
            }
            if !calm && chance.per_mille(30) {
                metadata["annotations"]["sim.haulout.dev/pull-fails"] = json!("true");
            }
            if !calm && chance.per_mille(30) {
                metadata["finalizers"] = json!(["example.com/hold"]);
            }
            metadata["annotations"]["example.com/token"] = json!(SECRET);
            let grace = *chance.pick(&[1, 30, 30, 600, 3600]);
            let grace = if calm { grace.min(600) } else { grace };
            let spec = json!({ "containers": containers, "terminationGracePeriodSeconds": grace });
            let spec = json!({ "replicas": replicas, "selector": { "matchLabels": labels },
                               "template": { "metadata": metadata, "spec": spec } });
            let kind = *chance.pick(&[Kind::Deployment, Kind::Deployment, Kind::StatefulSet]);
            create(&mut world, kind, Some("default"), json!({ "metadata": { "name": name }, "spec": spec }));
            if chance.per_mille(600) {
                let bound = match chance.from(0, if calm { 1 } else { 3 }) {
                    0 => json!({ "maxUnavailable": 1 }),
                    1 => json!({ "minAvailable": replicas - 1 }),
                    2 => json!({ "minAvailable": "50%" }),
                    _ => json!({ "minAvailable": replicas }),
                };
                let mut budget = json!({ "metadata": { "name": name }, "spec": bound });
                budget["spec"]["selector"] = json!({ "matchLabels": labels });
                create(&mut world, Kind::PodDisruptionBudget, Some("default"), budget);
            }
        }
        world.advance(start() - SignedDuration::from_mins(5));
        if !calm && chance.per_mille(300) {
            let node = format!("n{}", chance.from(0, nodes - 1));
            world.apply(start() - SignedDuration::from_mins(4), &cordon(&node, true, "kubectl-cordon"));
        }
        world.advance(start());

        let most = usize::try_from(chance.from(1, 3)).unwrap();
        let limits = Limits {
            // Where every node may be out at once, the pods that must move have nowhere to go.
            cluster: if calm { most.min(usize::try_from(nodes).unwrap() - 1) } else { most },
            pool: usize::try_from(chance.from(1, 2)).unwrap(),
            zone: chance.per_mille(400).then_some(1),
        };
        let (drain, ready) = (chance.from(120, 900), chance.from(150, 600));
        let end = *chance.pick(&["halt", "continue"]);
        let on_timeout = *chance.pick(&["skip", "halt"]);
        let out = chance.per_mille(200).then(|| format!("n{}", chance.from(0, nodes - 1)));
        let text = |limits: &Limits| {
            let zone = limits.zone.map_or(String::new(), |zone| format!("max_unavailable_per_zone = {zone}\n"));
            let out = out.as_ref().map_or(String::new(), |out| {
                format!(
                    "[out_of_service.x]\nnodes = [\"{out}\"]\nreason = \"r ##vso[task.x]\"\ndrain = {{ timeout = \"{drain}s\" }}\n"
                )
            });
            format!(
                "version = 1\nname = \"sim\"\n[cluster.c]\nsandbox = \"x.toml\"\npool_label = \"pool\"\n\
                 max_unavailable = {}\n[reboot.all]\nwhen_required = true\nmax_unavailable = {}\n{zone}\
                 on_failure = \"{end}\"\nready_timeout = \"{ready}s\"\nsettle = \"5s\"\n\
                 drain = {{ timeout = \"{drain}s\", on_timeout = \"{on_timeout}\" }}\n{out}",
                limits.cluster, limits.pool
            )
        };
        let parse = |limits: &Limits| {
            let text = text(limits);
            config::parse(&config::Source::new("haulout.toml", &text)).unwrap_or_else(|_| panic!("{text}")).0
        };
        let lax = Limits { cluster: 7, pool: 7, zone: limits.zone.map(|_| 7) };
        // A place, a drain with its detaching volumes and phases, a boot, a reboot pod's end, an uncordon.
        let longest = ready.max(600) + drain + 180 + ready + 120 + 180 + 600;
        Self { world, config: parse(&limits), lax: parse(&lax), limits, longest }
    }
}
