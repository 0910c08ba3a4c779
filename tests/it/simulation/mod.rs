//! Whole runs of the real executor on the simulated cluster, in simulated time: faults, delays and other actors by
//! chance, and what must hold looked at after every change.
//!
//! A seed that fails is printed, and `HAULOUT_SEED=n cargo test --test it simulation` plays it again with its events.
//! `HAULOUT_SEEDS=n` plays so many; `tests/run` plays a thousand and more.

mod broken;
mod chance;
mod law;
mod net;
mod people;
mod scene;
mod thin;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haulout::apply::{self, Access, Input, Interrupt, LockError, Outcome, Renew};
use haulout::journal::Journal;
use haulout::model::{ClusterName, RunId};
use haulout::plan::{Plan, Selection, Verb as StepVerb};
use haulout::provider::clock::{self, Simulated};
use haulout::run::{Conclusion, Event};
use haulout::twin::{Kind, Port, World};
use haulout::{config::Config, format, observe, plan};
use jiff::SignedDuration;

use chance::Chance;
use law::{Law, SharedLaw};
use net::{Broken, Net, Weather};
use scene::Scene;

/// How one seed went.
pub(in crate::simulation) struct Played {
    pub(in crate::simulation) wrong: Vec<String>,
    pub(in crate::simulation) log: Vec<String>,
    pub(in crate::simulation) evictions: u32,
    pub(in crate::simulation) reboots: u32,
    pub(in crate::simulation) conclusion: Option<Conclusion>,
    /// The cluster as it was left.
    pub(in crate::simulation) world: World,
}

/// Plays one seed.
pub(in crate::simulation) fn play(seed: u64, broken: Option<Broken>) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, whole(seed, broken))
}

async fn whole(seed: u64, broken: Option<Broken>) -> Played {
    let mut chance = Chance::new(seed);
    let calm = broken.is_none() && chance.per_mille(150);
    let scene = Scene::new(&mut chance, calm);
    let _time = Simulated::begin(scene::start());
    let weather = if calm { Weather::default() } else { weather(&mut chance) };
    let deaf = weather.watches_drop > 0 || weather.away.is_some();
    let law: SharedLaw = Arc::new(Mutex::new(Law::new(scene.limits.clone(), deaf, &scene.world)));
    let witness = Arc::clone(&law);
    let port = Port::open(
        scene.world.clone(),
        Some(haulout::model::LabelKey::new("pool").unwrap()),
        Some(Box::new(move |world, seen| witness.lock().unwrap().see(world, seen))),
    );
    let people = (!calm && chance.per_mille(600))
        .then(|| tokio::spawn(people::meddle(port.clone(), Arc::clone(&law), chance.branch())));
    let log = Arc::new(Mutex::new(Vec::new()));
    let config = if broken == Some(Broken::Limits) { &scene.lax } else { &scene.config };

    let make = |run: &str, chance: &mut Chance| {
        Net::new(port.clone(), run, Arc::clone(&law), weather.clone(), chance.branch(), broken)
    };
    let first = make("run-1", &mut chance);
    let interrupt = Interrupt::default();
    if !calm && chance.per_mille(200) {
        let (interrupt, after) = (interrupt.clone(), chance.from(1, 400));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(after)).await;
            interrupt.request();
        });
    }
    let kill_at = (!calm && chance.per_mille(200)).then(|| chance.from(3, 120));
    let rival = (!calm && (broken == Some(Broken::Lock) || chance.per_mille(150))).then(|| {
        let net = make("run-2", &mut chance);
        (net, chance.from(0, 200))
    });
    let mut conclusion = None;
    let rival = rival.map(|(net, after)| {
        let (config, log, longest) = (config.clone(), Arc::clone(&log), scene.longest);
        // All of it lives on one thread, whatever a compiler can tell of what may go to another.
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_secs(after)).await;
            run(&net, "run-2", &config, Interrupt::default(), None, &log, longest).await
        })
    });
    let mut endings = vec![("run-1", run(&first, "run-1", config, interrupt, kill_at, &log, scene.longest).await)];
    if let Some(rival) = rival {
        endings.push(("run-2", rival.await.unwrap()));
    }
    if let Some(people) = people {
        people.abort();
    }
    if endings.iter().any(|(_, ending)| matches!(ending, Ending::Killed)) {
        // Whoever comes after a dead run waits for its silence, and acts by what the cluster shows. Here resuming and
        // adopting are to be played too, once a run can.
        tokio::time::sleep(Duration::from_secs(70)).await;
        let net = make("run-3", &mut chance);
        endings.push(("run-3", run(&net, "run-3", config, Interrupt::default(), None, &log, scene.longest).await));
    }
    // What was late arrives.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut law = law.lock().unwrap();
    for (name, ending) in &endings {
        match ending {
            Ending::Ended(outcome, stays) => {
                port.look(|world| law.at_exit(world, name, stays, &outcome.summary));
                conclusion = Some(outcome.conclusion);
                if calm && outcome.conclusion != Conclusion::Done {
                    law.broken.push(format!("nothing was in the way, and {:?}", outcome.summary));
                }
            }
            Ending::Late => law.broken.push(format!("{name} does not end")),
            Ending::Wrong(what) => law.broken.push(format!("{name}: {what}")),
            Ending::NotBegun | Ending::Killed => {}
        }
    }
    if port.look(World::is_restless) {
        law.broken.push("the simulated cluster does not come to rest".to_owned());
    }
    Played {
        wrong: law.broken.clone(),
        log: std::mem::take(&mut log.lock().unwrap()),
        evictions: law.evictions,
        reboots: law.reboots,
        conclusion,
        world: port.look(World::clone),
    }
}

fn weather(chance: &mut Chance) -> Weather {
    let mut rate = |most: u64| if chance.per_mille(500) { chance.from(0, most) } else { 0 };
    let mut weather = Weather {
        lost: rate(60),
        refused: rate(80),
        reads_fail: rate(60),
        watches_drop: rate(30),
        slow: rate(400),
        away: None,
    };
    if chance.per_mille(200) {
        let from = scene::start() + SignedDuration::from_secs(i64::try_from(chance.from(5, 200)).unwrap());
        let to = from + SignedDuration::from_secs(i64::try_from(chance.from(5, 90)).unwrap());
        weather.away = Some((from, to));
    }
    weather
}

enum Ending {
    Ended(Box<Outcome>, BTreeSet<String>),
    /// The lock, or the cluster, did not let it begin.
    NotBegun,
    Killed,
    Late,
    Wrong(String),
}

/// One run from its look to its end.
async fn run(
    net: &Net,
    name: &str,
    config: &Config,
    interrupt: Interrupt,
    kill_at: Option<u64>,
    log: &Arc<Mutex<Vec<String>>>,
    longest: u64,
) -> Ending {
    let cluster = ClusterName::new("c").unwrap();
    // What is seen is seen well: a bad look is a gap, which is the planner's and not the run's.
    let port = &net.port;
    let snapshot = observe::observe(port, Some(port), cluster.clone(), clock::now).await.unwrap();
    let daemon_sets = snapshot.daemon_sets.clone();
    let snapshots = BTreeMap::from([(cluster.clone(), snapshot)]);
    let plan: Plan = match plan::plan(config, &snapshots, clock::now(), &Selection::default()) {
        Ok(plan) => plan,
        Err(error) => return Ending::Wrong(format!("the plan: {error}")),
    };
    let outages = plan.clusters()[0].outages.len();
    let stays = plan.clusters()[0]
        .outages
        .iter()
        .filter(|outage| outage.steps.iter().all(|step| step.verb != StepVerb::Uncordon))
        .map(|outage| outage.node.to_string())
        .collect();
    let (seen, mut events) = tokio::sync::mpsc::unbounded_channel::<Event>();
    let (killer, noted, who) = (net.clone(), Arc::clone(log), name.to_owned());
    let listening = tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            noted.lock().unwrap().push(format!("{} {who} {:?}", event.at, event.kind));
        }
    });
    let lines = AtomicU64::new(0);
    let encode = move |event: &Event| {
        // The line is on disk, and that was the last thing that the process did.
        if Some(lines.fetch_add(1, Ordering::SeqCst) + 1) == kill_at {
            killer.kill();
        }
        format::run::write(event)
    };
    let journal = Journal::at_once(0, Box::new(Vec::new()), Box::new(encode), clock::now, seen);
    let shared = Arc::new(net.clone());
    let input = Input {
        plan,
        run: RunId::new(name).unwrap(),
        version: "0".to_owned(),
        clusters: BTreeMap::from([(
            cluster,
            Access {
                acts: shared.clone(),
                lock: shared.clone(),
                probes: shared.clone(),
                renew: Renew::Beside(shared),
                silence: None,
                sweep: BTreeSet::new(),
                daemon_sets,
                daemon_sets_known: true,
            },
        )]),
        journal,
        interrupt,
        silent: |_, _| {},
    };
    let limit = Duration::from_secs(300 + longest * (outages as u64 + 1));
    let mut ended = std::pin::pin!(apply::apply(input));
    let began = clock::monotonic();
    let result = loop {
        tokio::select! {
            biased;
            result = &mut ended => break Some(result),
            () = tokio::time::sleep(Duration::from_secs(5)) => {
                if net.is_dead() {
                    listening.abort();
                    return Ending::Killed;
                }
                if clock::monotonic() > began + limit {
                    break None;
                }
            }
        }
    };
    match result {
        None => Ending::Late,
        Some(Ok(outcome)) => Ending::Ended(Box::new(outcome), stays),
        Some(Err(apply::ApplyError::Lock(LockError::Thread { .. }))) => Ending::Wrong("a thread".to_owned()),
        Some(Err(error)) => {
            log.lock().unwrap().push(format!("{name} did not begin: {error}"));
            Ending::NotBegun
        }
    }
}

/// Plays seeds on all processors; returns how each went, in order.
pub(in crate::simulation) fn play_all(seeds: &[u64], broken: Option<Broken>) -> Vec<(u64, Played)> {
    let next = AtomicU64::new(0);
    let played = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(usize::try_from(next.fetch_add(1, Ordering::SeqCst)).unwrap()) {
                    let result = play(*seed, broken);
                    played.lock().unwrap().push((*seed, result));
                }
            });
        }
    });
    let mut played = played.into_inner().unwrap();
    played.sort_by_key(|(seed, _)| *seed);
    played
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
#[expect(clippy::print_stdout, reason = "whoever plays one seed again wants to see it")]
fn seeds_keep_every_rule() {
    if let Some(seed) = number("HAULOUT_SEED") {
        let played = play(seed, None);
        println!("{}", played.log.join("\n"));
        assert!(played.wrong.is_empty(), "HAULOUT_SEED={seed}\n{}", played.wrong.join("\n"));
        return;
    }
    let seeds: Vec<u64> = (1..=number("HAULOUT_SEEDS").unwrap_or(100)).collect();
    let played = play_all(&seeds, None);
    let (mut evictions, mut reboots, mut done) = (0, 0, 0);
    let mut wrong = Vec::new();
    for (seed, played) in &played {
        evictions += played.evictions;
        reboots += played.reboots;
        done += u32::from(played.conclusion == Some(Conclusion::Done));
        if !played.wrong.is_empty() {
            wrong.push(format!(
                "HAULOUT_SEED={seed} cargo test --test it simulation\n    {}",
                played.wrong.join("\n    ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} seeds:\n{}", wrong.len(), seeds.len(), wrong.join("\n"));
    // Rules that are never put to the test are kept easily.
    let seeds = u32::try_from(seeds.len()).unwrap();
    assert!(evictions > seeds && reboots > seeds && done > seeds / 10, "{evictions} {reboots} {done}");
}

/// The parts of the simulated cluster look only at what a change concerns. A cluster that was saved and read back looks
/// at everything once more: if that finds something to do, something was overlooked.
#[test]
fn nothing_is_overlooked_by_looking_only_at_what_changed() {
    for seed in 1..=25 {
        let mut went_on = play(seed, None).world;
        let mut looked_again = World::restore(&went_on.save().unwrap(), went_on.delays()).unwrap();
        let later = went_on.now() + SignedDuration::from_mins(10);
        went_on.advance(later);
        looked_again.advance(later);
        let kinds = [
            Kind::Node,
            Kind::Pod,
            Kind::PodDisruptionBudget,
            Kind::Deployment,
            Kind::ReplicaSet,
            Kind::StatefulSet,
            Kind::DaemonSet,
            Kind::VolumeAttachment,
        ];
        for kind in kinds {
            let objects = |world: &World| -> Vec<serde_json::Value> {
                let objects = world.objects(kind).map(|object| {
                    let mut object = (**object).clone();
                    object["metadata"]["resourceVersion"] = serde_json::Value::Null;
                    object
                });
                objects.collect()
            };
            assert_eq!(objects(&went_on), objects(&looked_again), "seed {seed}");
        }
    }
}
