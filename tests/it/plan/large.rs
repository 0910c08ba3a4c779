//! A large cluster, for looking at the time it takes: `cargo test --release -- --ignored large --nocapture`.

use super::scene::*;
use haulout::model::*;
use haulout::plan::{Ending, Selection, replay};
use std::collections::BTreeMap;
use std::time::Duration;

/// 5,000 nodes in 3 zones and 10 pools, 30 pods each, 500 applications under budgets.
pub(super) fn large() -> Snapshot {
    let nodes = (0..5000).map(|n| node(&format!("node-{n:05}"), &format!("np{}", n % 10), &format!("z{}", n % 3)));
    let mut shapes = Shapes::default();
    let mut pods = Vec::new();
    for n in 0..150_000_u32 {
        let app = (n * 7919) % 500;
        let mut pod =
            pod(&format!("ns-{}/app-{app}-{n}", app % 50), &format!("node-{:05}", n % 5000), &format!("app-{app}"));
        pod.shape = shapes.intern((*pod.shape).clone());
        pods.push(pod);
    }
    let spec = BudgetSpec::MaxUnavailable(Bound::Percent(10));
    let budgets =
        (0..500).map(|app| budget(&format!("ns-{}/app-{app}", app % 50), &format!("app-{app}"), spec, 300, 30));
    with_pods(snapshot(nodes), pods, budgets)
}

#[test]
#[ignore = "a measurement, not a test"]
#[expect(clippy::disallowed_methods, clippy::print_stderr, reason = "it measures, and says what it measured")]
fn large_cluster() {
    let scene = large();
    let snapshots = BTreeMap::from([(scene.cluster.clone(), scene)]);
    for (cluster, pool, zone) in [(200, 30, None), (5000, 30, Some(Limit::Count(70))), (5000, 5000, None)] {
        let mut config = config(cluster);
        let table = config.reboots.get_mut("linux").unwrap();
        table.max_unavailable = Limit::Count(pool);
        table.max_unavailable_per_zone = zone;
        let begun = std::time::Instant::now();
        let draft = haulout::plan::draft(&config, &snapshots, now(), &Selection::default()).unwrap();
        let drafted = begun.elapsed();
        let plan = haulout::plan::check(draft).unwrap();
        let checked = begun.elapsed();
        let cluster = &plan.clusters()[0];
        let played = replay(cluster, now(), |_| (Duration::from_secs(1), Ending::Succeeds), |_, _, _| {});
        eprintln!(
            "{} outages, {} waves: draft {drafted:?}, check {:?}, replay {:?} ({:?} simulated)",
            cluster.outages.len(),
            cluster.waves.len(),
            checked - drafted,
            begun.elapsed() - checked,
            played.took,
        );
    }
}
