//! Whole runs of the real executor on the simulated cluster, in simulated time: faults, delays and other actors by
//! chance, and what must hold looked at after every change.
//!
//! A seed that fails is printed, and `HAULOUT_SEED=n cargo test --test it simulation` plays it again with its events.
//! `HAULOUT_SEEDS=n` plays so many; `tests/run` plays a thousand and more.

mod broken;
mod chance;
mod law;
mod misbehaving;
mod net;
mod people;
mod process;
mod scene;
mod shown;
mod thin;
mod weather;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haulout::apply::Interrupt;
use haulout::config::Config;
use haulout::provider::clock::Simulated;
use haulout::run::Conclusion;
use haulout::twin::json::Value;
use haulout::twin::{Kind, Port, World};
use jiff::SignedDuration;

use broken::Broken;
use chance::Chance;
use law::{Law, SharedLaw};
use net::Net;
use process::{Ending, Folder, Process};
use scene::Scene;
use shown::Shown;
use weather::Weather;

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

/// What all processes of one seed share.
#[derive(Clone)]
struct Story {
    port: Port,
    law: SharedLaw,
    weather: Weather,
    broken: Option<Broken>,
    config: Config,
    longest: u64,
    log: Arc<Mutex<Vec<String>>>,
}

impl Story {
    fn net(&self, run: &str, chance: &mut Chance) -> Net {
        Net::new(self.port.clone(), run, Arc::clone(&self.law), self.weather.clone(), chance.branch(), self.broken)
    }

    fn process<'a>(&self, net: &'a Net, run: &'a str, shown: &Shown) -> Process<'a> {
        Process {
            net,
            run,
            config: self.config.clone(),
            interrupt: Interrupt::default(),
            kill_at: None,
            resumes: false,
            folder: Folder::default(),
            patience: Duration::ZERO,
            log: Arc::clone(&self.log),
            shown: shown.clone(),
            longest: self.longest,
        }
    }

    /// A run, and where it is killed whoever comes after: the same run again from its folder, or another that finds
    /// what it left. Both may be killed too.
    async fn chain(
        &self,
        mut chance: Chance,
        interrupt: Interrupt,
        kills: u64,
        shown: &Shown,
    ) -> Vec<(String, Ending)> {
        let mut endings = Vec::new();
        let (mut run, mut folder, mut resumes) = ("run-1".to_owned(), Folder::default(), false);
        for number in 2_u32.. {
            let net = self.net(&run, &mut chance);
            let kill_at = (number < 6 && chance.per_mille(kills)).then(|| chance.from(1, 120));
            let patience = Duration::from_secs(*chance.pick(&[0, 120, 7200]));
            let process = Process {
                interrupt: if number == 2 { interrupt.clone() } else { Interrupt::default() },
                kill_at,
                resumes,
                folder: folder.clone(),
                patience,
                ..self.process(&net, &run, shown)
            };
            let ending = process.execute().await;
            let killed = matches!(ending, Ending::Killed);
            endings.push((run.clone(), ending));
            if !killed {
                break;
            }
            if chance.per_mille(300) {
                let bytes = chance.from(1, 200);
                folder.tear(usize::try_from(bytes).unwrap());
            }
            let pause = chance.from(0, 150);
            tokio::time::sleep(Duration::from_secs(pause)).await;
            resumes = chance.per_mille(500);
            if !resumes {
                (run, folder) = (format!("run-{}", number + 1), Folder::default());
            }
        }
        endings
    }
}

async fn whole(seed: u64, broken: Option<Broken>) -> Played {
    let mut chance = Chance::new(seed);
    let calm = broken.is_none() && chance.per_mille(150);
    let scene = Scene::new(&mut chance, calm);
    let _time = Simulated::begin(scene::start());
    let weather = if calm { Weather::default() } else { Weather::by(&mut chance) };
    let law: SharedLaw = Arc::new(Mutex::new(Law::new(scene.limits.clone(), weather.deafens(), &scene.world)));
    let witness = Arc::clone(&law);
    let port = Port::open(
        scene.world.clone(),
        Some(haulout::model::LabelKey::new("pool").unwrap()),
        Some(Box::new(move |world, seen| witness.lock().unwrap().see(world, seen))),
    );
    let people = (!calm && chance.per_mille(600))
        .then(|| tokio::spawn(people::meddle(port.clone(), Arc::clone(&law), chance.branch())));
    let clock = (!calm && chance.per_mille(250)).then(|| tokio::task::spawn_local(people::jump(chance.branch())));
    let story = Story {
        port: port.clone(),
        law: Arc::clone(&law),
        weather,
        broken,
        config: if broken == Some(Broken::Limits) { scene.lax } else { scene.config },
        longest: scene.longest,
        log: Arc::default(),
    };
    let interrupt = Interrupt::default();
    if !calm && chance.per_mille(200) {
        let (interrupt, after) = (interrupt.clone(), chance.from(1, 400));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(after)).await;
            interrupt.request();
        });
    }
    let kills = if calm || chance.per_mille(600) { 0 } else { 600 };
    let rival = (!calm && (broken == Some(Broken::Lock) || chance.per_mille(150))).then(|| {
        let (story, net, after) = (story.clone(), story.net("run-2", &mut chance), chance.from(0, 200));
        // All of it lives on one thread, whatever a compiler can tell of what may go to another.
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_secs(after)).await;
            let shown = Shown::new(story.port.clone(), story.broken);
            (story.process(&net, "run-2", &shown).execute().await, shown)
        })
    });
    let shown = Shown::new(port.clone(), broken);
    let mut endings = story.chain(chance.branch(), interrupt, kills, &shown).await;
    let mut wrong = shown.wrong();
    let last = endings.last().is_some_and(|(_, ending)| matches!(ending, Ending::Ended(..)));
    let mut alone = true;
    if let Some(rival) = rival {
        let (ending, shown) = rival.await.unwrap();
        endings.push(("run-2".to_owned(), ending));
        wrong.extend(shown.wrong());
        alone = false;
    }
    for other in people.iter().map(|people| people.abort_handle()).chain(clock.iter().map(|clock| clock.abort_handle()))
    {
        other.abort();
    }
    Simulated::set_wrong(SignedDuration::ZERO);
    // What was late arrives.
    tokio::time::sleep(Duration::from_secs(10)).await;
    // Whoever looks lets the cluster live on until now, and the law is told of it.
    let world = port.look(World::clone);
    let mut law = law.lock().unwrap();
    law.broken.append(&mut wrong);
    let conclusion = judge(&mut law, &world, &endings, calm);
    if last && alone {
        law.all_named(&world, |node| shown.names(node));
    }
    Played {
        wrong: law.broken.clone(),
        log: std::mem::take(&mut story.log.lock().unwrap()),
        evictions: law.evictions,
        reboots: law.reboots,
        conclusion,
        world,
    }
}

/// What the ends of all processes must have been like; returns how the last of them ended.
fn judge(law: &mut Law, world: &World, endings: &[(String, Ending)], calm: bool) -> Option<Conclusion> {
    let mut conclusion = None;
    for (name, ending) in endings {
        match ending {
            Ending::Ended(outcome, stays) => {
                law.at_exit(world, name, stays, &outcome.summary);
                conclusion = Some(outcome.conclusion);
                if calm && outcome.conclusion != Conclusion::Done {
                    law.broken.push(format!("nothing was in the way, and {:?}", outcome.summary));
                }
            }
            Ending::Late => law.broken.push(format!("{name} does not end")),
            Ending::Wrong(what) => law.broken.push(format!("{name}: {what}")),
            Ending::NotBegun | Ending::Nothing | Ending::Killed => {}
        }
    }
    if world.is_restless() {
        law.broken.push("the simulated cluster does not come to rest".to_owned());
    }
    conclusion
}

/// Plays seeds on all processors; returns, in order, what is kept of how each went. The clusters of thousands of seeds
/// would not fit into memory.
fn play_all<T: Send>(seeds: &[u64], keep: impl Fn(Played) -> T + Sync) -> Vec<(u64, T)> {
    let next = AtomicU64::new(0);
    let played = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(usize::try_from(next.fetch_add(1, Ordering::SeqCst)).unwrap()) {
                    let kept = keep(play(*seed, None));
                    played.lock().unwrap().push((*seed, kept));
                }
            });
        }
    });
    let mut played = played.into_inner().unwrap();
    played.sort_by_key(|(seed, _)| *seed);
    played
}

/// The name of what a step does, as it ends its address.
fn plan_verb(verb: haulout::plan::Verb) -> &'static str {
    use haulout::plan::Verb;
    match verb {
        Verb::Cordon => "cordon",
        Verb::Drain => "drain",
        Verb::Reboot => "reboot",
        Verb::AwaitReady => "await-ready",
        Verb::Uncordon => "uncordon",
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Seeds that have found something once, and are played however few are.
const FOUND: [u64; 3] = [90, 271, 3659];

#[test]
#[expect(clippy::print_stdout, reason = "whoever plays one seed again wants to see it")]
fn seeds_keep_every_rule() {
    if let Some(seed) = number("HAULOUT_SEED") {
        let played = play(seed, None);
        println!("{}", played.log.join("\n"));
        assert!(played.wrong.is_empty(), "HAULOUT_SEED={seed}\n{}", played.wrong.join("\n"));
        return;
    }
    let most = number("HAULOUT_SEEDS").unwrap_or(100);
    let seeds: Vec<u64> = (1..=most).chain(FOUND.into_iter().filter(|seed| *seed > most)).collect();
    let keep = |played: Played| (played.evictions, played.reboots, played.conclusion, played.wrong);
    let (mut evictions, mut reboots, mut done) = (0, 0, 0);
    let mut wrong = Vec::new();
    for (seed, (evicted, rebooted, conclusion, broken)) in play_all(&seeds, keep) {
        evictions += evicted;
        reboots += rebooted;
        done += u32::from(conclusion == Some(Conclusion::Done));
        if !broken.is_empty() {
            let broken = broken.join("\n    ");
            wrong.push(format!("HAULOUT_SEED={seed} cargo test --test it simulation\n    {broken}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} seeds:\n{}", wrong.len(), seeds.len(), wrong.join("\n"));
    // Rules that are never put to the test are kept easily.
    let seeds = u32::try_from(seeds.len()).unwrap();
    assert!(evictions > seeds && reboots > seeds && done > seeds / 10, "{evictions} {reboots} {done}");
}

/// A seed that fails can only be looked into if it fails again.
#[test]
fn a_seed_plays_the_same_again() {
    for seed in 1..=15 {
        let (first, second) = (play(seed, None), play(seed, None));
        let other = first.log.iter().zip(&second.log).find(|(one, other)| one != other);
        assert!(other.is_none() && first.log.len() == second.log.len(), "seed {seed}: {other:#?}");
        assert!(first.world.save().unwrap() == second.world.save().unwrap(), "seed {seed}");
    }
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
            let objects = |world: &World| -> Vec<Value> {
                let objects = world.objects(kind).map(|object| {
                    let mut object = (**object).clone();
                    object["metadata"]["resourceVersion"] = Value::Null;
                    object
                });
                objects.collect()
            };
            assert_eq!(objects(&went_on), objects(&looked_again), "seed {seed}");
        }
    }
}
