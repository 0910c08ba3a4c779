//! Whole runs over one node, or pod, that misbehaves: what the report says of it, that the others go on, that nothing is
//! rebooted twice and nothing left cordoned that is not named.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use haulout::config::{self, Config};
use haulout::provider::clock::Simulated;
use haulout::run::{FailureKind, NodeOutcome};
use haulout::twin::{Delays, Kind, Port, World};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::chance::Chance;
use super::law::{self, Law, SharedLaw};
use super::process::Ending;
use super::scene::{Limits, start};
use super::shown::Shown;
use super::thin::create;
use super::weather::Weather;
use super::{Story, plan_verb};

/// What is odd.
#[derive(Default)]
struct Odd {
    /// What the node `n0` is asked for.
    node: &'static [(&'static str, &'static str)],
    /// What is odd of the pod on it, below its metadata.
    pod: Value,
    /// Its grace in seconds.
    grace: Option<u32>,
    /// How long volumes take to be detached; the pod has one then.
    detach: Option<SignedDuration>,
    /// A second run follows.
    again: bool,
    /// After how many seconds the clock of the machine that haulout runs on is wrong by how many.
    clock: &'static [(u64, i64)],
}

/// What came of it.
struct Ran {
    outcomes: BTreeMap<String, NodeOutcome>,
    log: Vec<String>,
    world: World,
    reboots: u32,
}

const DRAIN: i64 = 120;
const READY: i64 = 150;

fn config() -> Config {
    let text = format!(
        "version = 1\nname = \"sim\"\n[cluster.c]\nsandbox = \"x.toml\"\nmax_unavailable = 2\n[reboot.all]\n\
         when_required = true\non_failure = \"continue\"\nmax_unavailable = 2\nready_timeout = \"{READY}s\"\n\
         settle = \"5s\"\ndrain = {{ timeout = \"{DRAIN}s\" }}\n"
    );
    config::parse(&config::Source::new("haulout.toml", &text)).unwrap_or_else(|_| panic!("{text}")).0
}

/// Three nodes that wait for a reboot, of which `n0` has a pod that no other has, and one that does not.
fn world(odd: &Odd) -> World {
    let delays = Delays { volume_detach: odd.detach.unwrap_or(Delays::default().volume_detach), ..Delays::default() };
    let mut world = World::new(start() - SignedDuration::from_mins(20), 1, delays);
    for name in ["n0", "n1", "n2", "n3"] {
        let mut annotations = json!({});
        if name != "n3" {
            annotations["sim.haulout.dev/reboot-required"] = json!("linux");
        }
        for (key, value) in odd.node.iter().filter(|_| name == "n0") {
            annotations[format!("sim.haulout.dev/{key}")] = json!(value);
        }
        let metadata = json!({ "name": name, "labels": { "node": name }, "annotations": annotations });
        create(&mut world, Kind::Node, None, json!({ "metadata": metadata }));
    }
    let workload = |name: &str, replicas: u32, metadata: &Value, spec: &Value| {
        let labels = json!({ "app": name });
        let mut metadata = if metadata.is_object() { metadata.clone() } else { json!({}) };
        metadata["labels"] = labels.clone();
        json!({ "metadata": { "name": name }, "spec": { "replicas": replicas, "selector": { "matchLabels": labels },
                "template": { "metadata": metadata, "spec": spec } } })
    };
    let containers = json!([{ "name": "c", "image": "x" }]);
    let plain = json!({ "containers": containers });
    create(&mut world, Kind::DaemonSet, Some("default"), workload("agent", 0, &Value::Null, &plain));
    create(&mut world, Kind::Deployment, Some("default"), workload("web", 4, &Value::Null, &plain));
    let mut spec = json!({ "containers": containers });
    if let Some(grace) = odd.grace {
        spec["terminationGracePeriodSeconds"] = json!(grace);
    }
    // It would rather be on n0 than anywhere else.
    let term = json!({ "matchExpressions": [{ "key": "node", "operator": "In", "values": ["n0"] }] });
    spec["affinity"] = json!({ "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
        { "weight": 100, "preference": term }] } });
    let mut odd_pod = workload("odd", 1, &odd.pod, &spec);
    if odd.detach.is_some() {
        odd_pod["spec"]["volumeClaimTemplates"] =
            json!([{ "metadata": { "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"] } }]);
        odd_pod["spec"]["template"]["spec"]["nodeSelector"] = json!({ "node": "n0" });
    }
    create(&mut world, Kind::StatefulSet, Some("default"), odd_pod);
    world.advance(start());
    let home =
        world.objects(Kind::Pod).find(|pod| pod["metadata"]["name"] == "odd-0").unwrap()["spec"]["nodeName"].clone();
    assert_eq!(home, "n0");
    world
}

fn play(odd: Odd) -> Ran {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, whole(odd))
}

async fn whole(odd: Odd) -> Ran {
    let world = world(&odd);
    let _time = Simulated::begin(start());
    let limits = Limits { cluster: 2, pool: 2, zone: None };
    let law: SharedLaw = Arc::new(Mutex::new(Law::new(limits, false, &world)));
    let witness = Arc::clone(&law);
    let port = Port::open(world, None, Some(Box::new(move |world, seen| witness.lock().unwrap().see(world, seen))));
    let story = Story {
        port: port.clone(),
        law: Arc::clone(&law),
        weather: Weather::default(),
        broken: None,
        config: config(),
        longest: 3600,
        log: Arc::default(),
    };
    for (after, by) in odd.clock {
        tokio::task::spawn_local(async move {
            tokio::time::sleep(std::time::Duration::from_secs(*after)).await;
            Simulated::set_wrong(SignedDuration::from_secs(*by));
        });
    }
    let mut outcomes = BTreeMap::new();
    for run in ["run-1", "run-2"].into_iter().take(1 + usize::from(odd.again)) {
        let shown = Shown::new(port.clone(), None);
        let net = story.net(run, &mut Chance::new(1));
        let Ending::Ended(outcome, stays) = story.process(&net, run, &shown).execute().await else {
            panic!("{run} has no report")
        };
        let at_end = port.look(World::clone);
        {
            let mut law = law.lock().unwrap();
            law.at_exit(&at_end, run, &stays, &outcome.summary);
            law.all_named(&at_end, |node| shown.names(node));
        }
        assert!(shown.wrong().is_empty(), "{:?}", shown.wrong());
        let nodes = outcome.summary.nodes.iter();
        outcomes = nodes.map(|((_, node), outcome)| (node.to_string(), outcome.clone())).collect();
        for node in at_end.objects(Kind::Node).filter(|node| !law::ours(node)) {
            // Nothing is said to be cordoned that is not.
            let name = node["metadata"]["name"].as_str().unwrap();
            let said = matches!(
                outcomes.get(name),
                Some(NodeOutcome::Failed { cordoned: true, .. } | NodeOutcome::Interrupted { cordoned: true, .. })
            );
            assert!(!said, "{name} is said to be cordoned: {:?}", outcomes[name]);
        }
        // Whatever comes late, comes.
        tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    }
    let world = port.look(World::clone);
    let law = law.lock().unwrap();
    assert!(law.broken.is_empty(), "{:?}", law.broken);
    let log = std::mem::take(&mut *story.log.lock().unwrap());
    Ran { outcomes, log, world, reboots: law.reboots }
}

impl Ran {
    /// The others are done; what became of `n0`.
    fn only(&self) -> &NodeOutcome {
        for other in ["n1", "n2"] {
            assert_eq!(self.outcomes[other], NodeOutcome::Done, "{other}");
        }
        &self.outcomes["n0"]
    }

    /// As what `n0` failed: the step, the kind, the message, and whether it is said to be cordoned.
    fn failure(&self) -> (&'static str, FailureKind, String, bool) {
        match self.only() {
            NodeOutcome::Failed { step, failure, cordoned, .. } => {
                (plan_verb(step.verb), failure.kind, failure.message.raw().to_owned(), *cordoned)
            }
            NodeOutcome::Skipped { step, failure } => {
                (plan_verb(step.verb), failure.kind, failure.message.raw().to_owned(), false)
            }
            other => panic!("{other:?}"),
        }
    }

    fn done(&self) {
        assert_eq!(*self.only(), NodeOutcome::Done);
        assert_eq!(self.reboots, 3);
    }

    fn says(&self, text: &str) -> bool {
        self.log.iter().any(|line| line.contains(text))
    }

    fn evicted(&self) -> bool {
        self.log.iter().any(|line| line.contains("Evict {") && line.contains("odd-0"))
    }
}

#[test]
fn a_calm_cluster_is_done() {
    let ran = play(Odd::default());
    ran.done();
    assert!(ran.world.objects(Kind::Node).all(|node| node["spec"]["unschedulable"].is_null()));
}

#[test]
fn a_node_that_never_returns_is_named_and_stays_cordoned() {
    let ran = play(Odd { node: &[("never-returns", "true")], again: true, ..Odd::default() });
    // The second run waits for it again, and reboots nothing.
    let NodeOutcome::Failed { step, failure, cordoned, .. } = &ran.outcomes["n0"] else { panic!("{:?}", ran.outcomes) };
    assert_eq!((plan_verb(step.verb), failure.kind, *cordoned), ("await-ready", FailureKind::TimedOut, true));
    assert_eq!(ran.reboots, 2);
}

#[test]
fn a_node_that_comes_back_with_its_boot_id_has_not_rebooted() {
    let ran = play(Odd { node: &[("keeps-boot-id", "true")], ..Odd::default() });
    let (step, kind, message, cordoned) = ran.failure();
    assert_eq!((step, kind, cordoned), ("await-ready", FailureKind::Refused, true));
    assert!(message.contains("does not reboot"), "{message}");
    assert_eq!(ran.reboots, 2);
}

#[test]
fn a_node_that_comes_back_as_another_is_named_and_not_said_to_be_cordoned() {
    let ran = play(Odd { node: &[("returns-as-new-node", "true")], ..Odd::default() });
    let (step, kind, message, cordoned) = ran.failure();
    assert_eq!((step, kind, cordoned), ("await-ready", FailureKind::Refused, false));
    assert!(message.contains("another Node object"), "{message}");
}

#[test]
fn a_node_that_flaps_is_done_once_it_is_calm() {
    play(Odd { node: &[("flaps", "4")], ..Odd::default() }).done();
}

#[test]
fn a_report_that_never_comes_is_a_note() {
    let ran = play(Odd { node: &[("report-ends", "true")], ..Odd::default() });
    ran.done();
    assert!(ran.says("its agent has not reported on the new boot"));
}

#[test]
fn a_reboot_pod_that_fires_late_is_awaited() {
    play(Odd { node: &[("fires-after", "60s")], ..Odd::default() }).done();
}

#[test]
fn a_reboot_that_comes_after_the_run_is_found_by_the_next_and_not_repeated() {
    let late = Odd { node: &[("fires-after", "200s")], ..Odd::default() };
    let ran = play(late);
    let (step, kind, _, cordoned) = ran.failure();
    assert_eq!((step, kind, cordoned), ("await-ready", FailureKind::TimedOut, true));
    let ran = play(Odd { node: &[("fires-after", "200s")], again: true, ..Odd::default() });
    assert_eq!(ran.outcomes.into_iter().collect::<Vec<_>>(), [("n0".to_owned(), NodeOutcome::Done)]);
    assert_eq!(ran.reboots, 3);
}

#[test]
fn an_image_that_cannot_be_pulled_is_named_before_anything_is_evicted() {
    let ran = play(Odd { node: &[("pull-fails", "true")], ..Odd::default() });
    let (step, kind, message, cordoned) = ran.failure();
    assert_eq!((step, kind, cordoned), ("drain", FailureKind::Refused, false));
    assert!(message.contains("not armed") && message.contains("ImagePullBackOff"), "{message}");
    assert!(!ran.evicted());
}

#[test]
fn a_pod_that_waits_for_its_image_is_evicted_like_any_other() {
    let pod = json!({ "annotations": { "sim.haulout.dev/pull-fails": "true" } });
    let ran = play(Odd { pod, ..Odd::default() });
    ran.done();
    assert!(ran.evicted());
}

#[test]
fn a_pod_that_a_finalizer_holds_lets_its_node_be_skipped() {
    let ran = play(Odd { pod: json!({ "finalizers": ["example.com/hold"] }), ..Odd::default() });
    let (step, kind, message, _) = ran.failure();
    assert_eq!((step, kind), ("drain", FailureKind::TimedOut));
    assert!(message.contains("odd-0"), "{message}");
    assert!(matches!(ran.only(), NodeOutcome::Skipped { .. }));
    assert_eq!(ran.reboots, 2);
}

#[test]
fn a_pod_with_an_hour_of_grace_lets_its_node_be_skipped() {
    let pod = json!({ "annotations": { "sim.haulout.dev/stops-after": "2h" } });
    let ran = play(Odd { pod, grace: Some(3600), ..Odd::default() });
    let (step, kind, message, _) = ran.failure();
    assert_eq!((step, kind), ("drain", FailureKind::TimedOut));
    assert!(message.contains("odd-0"), "{message}");
    assert_eq!(ran.reboots, 2);
}

#[test]
fn a_volume_that_is_detached_late_is_awaited_for_two_minutes() {
    for (takes, gone) in [(SignedDuration::from_secs(60), true), (SignedDuration::from_hours(1), false)] {
        let ran = play(Odd { detach: Some(takes), ..Odd::default() });
        assert!(ran.says("VolumesToDetach"));
        ran.done();
        let left = ran.world.objects(Kind::VolumeAttachment).count();
        assert_eq!(left, 1, "{gone}: its pod is back, or it never went");
    }
}

/// Here and not on the real control plane, because there the clock would be that of the whole machine.
#[test]
fn a_clock_that_jumps_changes_nothing_about_the_end() {
    // In each phase of the run: hours ahead, hours behind, and back again.
    for clock in
        [&[(1, 7200)][..], &[(1, -7200)], &[(3, 7200), (9, -7200), (20, 0)], &[(6, -3600), (12, 60), (15, -60)]]
    {
        let ran = play(Odd { clock, again: true, ..Odd::default() });
        assert!(ran.outcomes.is_empty(), "the second run had something left to do: {:?}", ran.outcomes);
        assert_eq!(ran.reboots, 3, "{clock:?}");
    }
}
