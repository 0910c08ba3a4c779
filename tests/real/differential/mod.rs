//! Generated scenarios, played on the twin and on the real control plane, and compared: what evictions are answered,
//! what budgets say after each step, where an evicted pod can go, and whether what the planner foresaw came true.
//!
//! One control plane serves all of them: each has a namespace and nodes of its own, and many are under way at once. A
//! scenario is made of its name alone (`FAMILY/NUMBER`, which is its seed). One that fails is printed with its steps;
//! `HAULOUT_SCENARIO=FAMILY/NUMBER` plays it alone. `HAULOUT_LONG` plays five times as many.

mod dice;
mod evictions;
mod judge;
mod matrix;
mod placements;
mod play;
mod rows;
mod scenario;
mod side;
mod tally;
mod text;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use libtest_mimic::Failed;

use super::cluster::ControlPlane;
use dice::Dice;
use judge::Judge;
use play::Play;
use scenario::Scenario;
use side::Real;
use tally::Tally;

/// How many scenarios are under way at once. They wait more than they work, and each more makes the waits longer.
const AT_ONCE: usize = 24;
/// How many are at least played.
const LEAST: usize = 500;
/// How many times as many with HAULOUT_LONG.
const LONG: u32 = 5;
/// The longest that one may take.
const LIMIT: Duration = Duration::from_secs(180);

fn scenarios() -> Vec<Scenario> {
    let only = std::env::var("HAULOUT_SCENARIO").ok();
    let times = if std::env::var_os("HAULOUT_LONG").is_some() { LONG } else { 1 };
    let mut all = Vec::new();
    for (family, count, make) in evictions::FAMILIES.iter().chain(placements::FAMILIES) {
        let wanted = only.as_deref().and_then(|name| name.strip_prefix(family)?.strip_prefix('/')?.parse().ok());
        for number in 0..wanted.map_or(count * times, |number: u32| number + 1) {
            let name = format!("{family}/{number}");
            let named = |only: &str| only == name || only == *family || only.split(',').any(|one| one == *family);
            if only.as_deref().is_some_and(|only| !named(only)) {
                continue;
            }
            let namespace = format!("{family}-{number}");
            let steps = make(&mut Dice::new(family, number), &namespace);
            all.push(Scenario { family, number, namespace, steps });
        }
    }
    all
}

pub(crate) fn generated_scenarios_agree_with_the_twin() -> Result<(), Failed> {
    let plane = ControlPlane::start(&[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(all(&plane))
}

async fn all(plane: &ControlPlane) -> Result<(), Failed> {
    let began = Instant::now();
    let real = Real::connect(&plane.kubeconfig).await?;
    let judge = Judge::new(&plane.kubeconfig).await?;
    let scenarios = scenarios();
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    let mut played = futures::stream::iter(&scenarios)
        .map(|scenario| {
            let (real, judge) = (real.clone(), &judge);
            async move { one(scenario, real, judge).await }
        })
        .buffer_unordered(AT_ONCE);
    while let Some((name, result)) = played.next().await {
        match result {
            Ok(one) => tally.add(one),
            Err(failure) => failures.push(format!("{name}: {}", failure.message().unwrap_or_default())),
        }
    }
    eprintln!("{} scenarios in {:.0?}", scenarios.len(), began.elapsed());
    failures.sort();
    if !failures.is_empty() {
        // One of each family says more than many of one.
        let mut families: BTreeMap<&str, &str> = BTreeMap::new();
        for failure in &failures {
            families.entry(failure.split('/').next().unwrap_or_default()).or_insert(failure);
        }
        let shown = families.into_values().collect::<Vec<_>>().join("\n\n");
        let names: Vec<&str> = failures.iter().filter_map(|failure| failure.split(": ").next()).collect();
        eprintln!("{}", names.join(" "));
        return Err(format!("{} of {} scenarios differ:\n{shown}", failures.len(), scenarios.len()).into());
    }
    if std::env::var_os("HAULOUT_SCENARIO").is_some() {
        eprintln!("{}", matrix::page(&tally));
        return Ok(());
    }
    if tally.scenarios < LEAST {
        return Err(format!("only {} scenarios were played", tally.scenarios).into());
    }
    matrix::check(&tally)
}

async fn one(scenario: &Scenario, real: Real, judge: &Judge) -> (String, Result<Tally, Failed>) {
    let name = scenario.name();
    let verbose = std::env::var_os("HAULOUT_SCENARIO").is_some();
    let result = async {
        let mut play = Play::new(scenario, real, judge)?;
        let played = tokio::time::timeout(LIMIT, play.play()).await;
        if verbose {
            eprintln!("{name}\n{}", play.log.join("\n"));
        }
        play.clean_up().await?;
        match played {
            Ok(Ok(())) => Ok(play.tally),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(format!("not over after {LIMIT:?}").into()),
        }
    };
    (name.clone(), result.await)
}
