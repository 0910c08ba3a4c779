//! Planning under locks that others hold: first the lock, then the plan, so that what is shown is what will be done.

use std::collections::BTreeMap;
use std::time::Duration;

use super::connect::Connections;
use super::error::Failure;
use super::output::Output;
use crate::apply::{Awaited, Silence, vacancy};
use crate::config::Config;
use crate::model::{ClusterName, RunId, Snapshot};
use crate::observe::Extent;
use crate::plan::{self as planner, BlockedReason, ClusterPlan, Plan, Selection, Standing};
use crate::provider::clock;

/// A plan, and what it was made from.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) snapshots: BTreeMap<ClusterName, Snapshot>,
    pub(super) silences: BTreeMap<ClusterName, Silence>,
}

/// Observes and plans. Where the plan has something to do on a cluster whose lock another run holds, waits until that
/// is free and plans again: for `patience` where the holder is alive, and for as long as its silence has to be observed
/// where it is dead. `select` says what to plan, by what was seen; `None` is nothing at all.
pub(super) async fn plan(
    config: &Config,
    connections: &Connections,
    run: &RunId,
    patience: Duration,
    select: impl Fn(&BTreeMap<ClusterName, Snapshot>) -> Option<Selection>,
    output: &Output,
) -> Result<Option<Planned>, Failure> {
    let began = clock::monotonic();
    let mut silences: BTreeMap<ClusterName, Silence> = BTreeMap::new();
    loop {
        let mut snapshots = connections.observe(Extent::Plan, output).await?;
        for (name, snapshot) in &mut snapshots {
            forget(snapshot, run, silences.get(name));
        }
        let Some(selection) = select(&snapshots) else { return Ok(None) };
        let plan = planner::plan(config, &snapshots, connections.now(), &selection)?;
        let waits: Vec<&ClusterPlan> = plan
            .clusters()
            .iter()
            .map(AsRef::as_ref)
            .filter(|cluster| snapshots.get(&cluster.cluster).is_some_and(|snapshot| snapshot.lock.is_some()))
            .filter(|cluster| concerns(cluster))
            .collect();
        if waits.is_empty() {
            return Ok(Some(Planned { plan, snapshots, silences }));
        }
        for cluster in waits {
            let Some(connection) = connections.clusters.get(&cluster.cluster) else { continue };
            let left = patience.saturating_sub(clock::monotonic().saturating_duration_since(began));
            let told = |awaited: &Awaited| output.say(&in_words(&cluster.cluster, awaited));
            let silence = vacancy(connection.cluster.as_ref(), &cluster.cluster, run, left, told).await?;
            match silence {
                Some(silence) => silences.insert(cluster.cluster.clone(), silence),
                None => silences.remove(&cluster.cluster),
            };
        }
    }
}

/// Whether a lock on the cluster is in the way of what is wanted there.
fn concerns(cluster: &ClusterPlan) -> bool {
    let waits = |reason: &BlockedReason| matches!(reason, BlockedReason::MarkedByRun { standing: Standing::Live, .. });
    !cluster.steps.is_empty() || cluster.blocked.iter().any(|blocked| blocked.reasons.iter().any(waits))
}

/// Takes a lock out of what was seen that is in nobody's way: this run's own, and that of a run which is proved dead.
fn forget(snapshot: &mut Snapshot, run: &RunId, silence: Option<&Silence>) {
    let dead = |holder: &crate::model::Foreign| {
        holder.raw() == run.as_str() || silence.is_some_and(|silence| silence.holder() == holder)
    };
    if snapshot.lock.as_ref().is_some_and(|lock| dead(&lock.holder)) {
        snapshot.lock = None;
    }
}

fn in_words(cluster: &ClusterName, awaited: &Awaited) -> String {
    match awaited {
        Awaited::Release(holder) => {
            format!("{cluster}: waiting for run {}, which holds the lock", holder.sanitised().shortened(60))
        }
        Awaited::Silence(holder) => format!(
            "{cluster}: run {} holds the lock but fell silent; observing for 60s before taking it over",
            holder.sanitised().shortened(60)
        ),
    }
}
