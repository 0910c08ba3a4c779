//! Whole runs of the executor on a simulated cluster: how nodes come out of them, and what their journals say.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use haulout::apply::{self, Access, Input, Interrupt, Outcome, Renew};
use haulout::config::{self, Source};
use haulout::journal::Journal;
use haulout::model::{ClusterName, RunId};
use haulout::plan::{self, Plan, Selection, Verb};
use haulout::provider::{LockActs, clock, kubernetes};
use haulout::run::{Ending, Event, EventKind, Intent, NodeOutcome, RunState, StopCause};
use haulout::twin::{Sandbox, SandboxFile, Store};

use crate::plans::{cluster, node, step};

struct Forgetful;

impl Store for Forgetful {
    fn save(&self, _state: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

const DELAYS: &str = "version = 1\nmanifests = [\"objects.yaml\"]\n[delays]\npod_stop = \"50ms\"\nreboot = \"100ms\"\nnode_ready = \"50ms\"\n";

/// A node that asks for a reboot; `more` are further annotations.
fn manifest(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels: {{name: {name}}}\n  annotations: {{sim.haulout.dev/reboot-required: kernel{more}}}\n---\n"
    )
}

struct Ran {
    outcome: Outcome,
    events: Vec<Event>,
    plan: Plan,
}

impl Ran {
    fn outcome(&self, name: &str) -> &NodeOutcome {
        &self.outcome.summary.nodes[&(cluster("box"), node(name))]
    }

    /// Every event must be legal when the journal is read again.
    fn replay(&self) -> RunState {
        let steps = self.plan.clusters().iter().flat_map(|cluster| cluster.steps.keys().cloned());
        let mut state = RunState::new(steps);
        for event in &self.events {
            state.apply(&event.kind).unwrap_or_else(|illegal| panic!("{illegal}: {event:?}"));
        }
        state
    }
}

/// Plans and applies `tables` on a simulated cluster. The run is interrupted right after the event for which `stops`
/// says so, before the executor goes on.
async fn run(manifests: &str, tables: &str, stops: fn(&EventKind) -> bool) -> Ran {
    run_with(manifests, tables, "pod_ready = \"50ms\"\n", stops).await
}

async fn run_with(manifests: &str, tables: &str, delays: &str, stops: fn(&EventKind) -> bool) -> Ran {
    let text = format!("version = 1\nname = \"test\"\n[cluster.box]\nsandbox = \"cluster.toml\"\n{tables}");
    let (config, _) =
        config::parse(&Source::new("haulout.toml", text)).unwrap_or_else(|problems| panic!("{problems:?}"));
    let file = SandboxFile::parse("cluster.toml", &format!("{DELAYS}{delays}")).unwrap();
    let objects = [("objects.yaml".to_owned(), manifests.to_owned())];
    let sandbox = Sandbox::open(&file, &objects, None, Arc::new(clock::now), Arc::new(Forgetful)).unwrap();
    let router = sandbox.router();
    let connect = || kubernetes::connect(kubernetes::Access::InProcess(router.clone()), "apply", None);
    let acts = connect().await.unwrap();
    let name = ClusterName::new("box").unwrap();
    let snapshot =
        haulout::observe::observe(acts.as_ref(), None, name.clone(), clock::now, haulout::observe::Extent::Plan)
            .await
            .unwrap();
    let daemon_sets = snapshot.daemon_sets.clone();
    let plan =
        plan::plan(&config, &BTreeMap::from([(name.clone(), snapshot)]), clock::now(), &Selection::default()).unwrap();
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let interrupt = Interrupt::default();
    let (told, asked) = (Arc::clone(&events), interrupt.clone());
    let encode = move |event: &Event| {
        told.lock().unwrap().push(event.clone());
        if stops(&event.kind) {
            asked.request();
        }
        haulout::format::run::write(event)
    };
    let (seen, _) = tokio::sync::mpsc::unbounded_channel();
    let (journal, keeper) =
        Journal::start("memory".into(), Box::new(Vec::new()), Box::new(encode), clock::now, seen).unwrap();
    let again = router.clone();
    let access = Access {
        acts: acts.clone(),
        lock: acts.clone(),
        probes: acts,
        renew: Renew::Apart(Box::new(move || {
            Box::pin(async move {
                let lock: Arc<dyn LockActs> =
                    kubernetes::connect(kubernetes::Access::InProcess(again), "apply", None).await.unwrap();
                Ok(lock)
            })
        })),
        silence: None,
        sweep: BTreeSet::new(),
        daemon_sets,
        daemon_sets_known: true,
    };
    let input = Input {
        plan: plan.clone(),
        run: RunId::new("r-1").unwrap(),
        version: "0".to_owned(),
        clusters: BTreeMap::from([(name, access)]),
        journal,
        interrupt,
        silent: |_, _| {},
    };
    let outcome = apply::apply(input).await.unwrap();
    keeper.join().unwrap();
    let events = events.lock().unwrap().clone();
    Ran { outcome, events, plan }
}

fn never(_: &EventKind) -> bool {
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_taken_off_after_an_interrupt_fit_the_journal() {
    let ran = run(
        &manifest("a", ""),
        "[out_of_service.rack]\nnodes = [\"a\"]\nreason = \"disk\"\n",
        |kind| matches!(kind, EventKind::StepSucceeded { step, .. } if step.verb == Verb::Cordon),
    )
    .await;
    let settled = |event: &&Event| matches!(&event.kind, EventKind::Intended { intent: Intent::SettleCordon { node: of, .. }, .. } if *of == node("a"));
    // More than once where somebody else wrote the node meanwhile.
    assert!(ran.events.iter().any(|event| settled(&event)), "{:?}", ran.events);
    ran.replay();
    let interrupted =
        NodeOutcome::Interrupted { step: step("box", "a", Verb::Drain), cause: StopCause::Interrupted, cordoned: true };
    assert_eq!(*ran.outcome("a"), interrupted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_given_back_because_of_an_interrupt_is_interrupted() {
    let ran = run(
        &(manifest("a", "") + &manifest("b", "")),
        "[reboot.linux]\nwhen_required = true\n",
        |kind| matches!(kind, EventKind::StepSucceeded { step, .. } if step.verb == Verb::Drain),
    )
    .await;
    let state = ran.replay();
    assert_eq!(state.of(&step("box", "a", Verb::Uncordon)), plan::StepState::Succeeded);
    let interrupted = NodeOutcome::Interrupted {
        step: step("box", "a", Verb::Reboot),
        cause: StopCause::Interrupted,
        cordoned: false,
    };
    assert_eq!(*ran.outcome("a"), interrupted);
    assert_eq!(*ran.outcome("b"), NodeOutcome::NotStarted { cause: StopCause::Interrupted });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_failure_says_whose_it_was() {
    let nodes = manifest("a", ", sim.haulout.dev/reboot-takes: 1h") + &manifest("b", "") + &manifest("c", "");
    let table = |more: &str| {
        format!(
            "[reboot.linux]\nwhen_required = true\nready_timeout = \"2s\"\nsettle = \"1s\"\norder = [\"name=a\", \"name=b\", \"*\"]\n{more}"
        )
    };
    let ran = run(&nodes, &table("on_failure = \"continue\"\n"), never).await;
    ran.replay();
    assert_eq!(ran.outcome("a").ending(), Ending::Failed);
    let NodeOutcome::NotStarted { cause: StopCause::NoPlace { held_by, .. } } = ran.outcome("b") else {
        panic!("{:?}", ran.outcome("b"));
    };
    assert_eq!(*held_by, [node("a")]);
    assert_eq!(*ran.outcome("c"), NodeOutcome::NotStarted { cause: StopCause::ComesAfter { node: node("b") } });

    let ran = run(&nodes, &table("on_failure = \"halt\"\n"), never).await;
    let halted = StopCause::Halted { by: step("box", "a", Verb::AwaitReady) };
    assert_eq!(*ran.outcome("b"), NodeOutcome::NotStarted { cause: halted });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reboot_that_is_too_slow_is_advised_more_time() {
    let nodes = manifest("a", ", sim.haulout.dev/reboot-takes: 1h");
    let ran =
        run(&nodes, "[reboot.linux]\nwhen_required = true\nready_timeout = \"2s\"\nsettle = \"1s\"\n", never).await;
    let NodeOutcome::Failed { failure, cordoned: true, .. } = ran.outcome("a") else {
        panic!("{:?}", ran.outcome("a"))
    };
    let advice = failure.advice.as_deref().unwrap_or_default();
    assert!(advice.contains("ready_timeout") && advice.contains("now 2s"), "{advice}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_too_short_for_the_reboot_pod_says_so() {
    let table = "[reboot.linux]\nwhen_required = true\ndrain = { timeout = \"1s\" }\n";
    let ran = run_with(&manifest("a", ""), table, "pod_ready = \"1m\"\n", never).await;
    let NodeOutcome::Failed { failure, .. } = ran.outcome("a") else { panic!("{:?}", ran.outcome("a")) };
    let message = failure.message.raw();
    assert!(message.starts_with("the reboot pod was not armed within 1s: it was Running and not Ready"), "{message}");
    let advice = failure.advice.as_deref().unwrap_or_default();
    assert!(advice.starts_with("raise drain.timeout in [reboot.linux] (now 1s)"), "{advice}");
}
