//! Rehearsing a plan: the real executor on a simulated copy of the clusters, in simulated time.

mod cluster;
mod fault;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::apply::{self, Access, ApplyError, Interrupt, Renew};
use crate::journal::{Journal, Sink};
use crate::model::{
    Advice, BudgetKey, ClusterName, Explain, FIELD_MANAGER, Kind as ErrorKind, LabelKey, MANAGED_NAMESPACE, Namespace,
    NodeName, PodKey, PodName, RunId, Snapshot,
};
use crate::plan::{Action, ClusterPlan, Outage, Plan};
use crate::provider::clock::{self, Simulated};
use crate::run::{Endured, Event, Low, Rehearsal, Suffered, Summary};
use crate::twin::json::Value;
use crate::twin::{Kind, Port, Seen};

pub use fault::{FAULTS, Fault, InvalidFault};

/// The longest run that is rehearsed. A run that lasts longer than a month is stuck.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is rehearsed.
pub struct Input {
    /// The plan.
    pub plan: Plan,
    /// What it was made of; those of its clusters that have steps.
    pub snapshots: BTreeMap<ClusterName, Snapshot>,
    /// The label that names the pool of a node, where the config gives one.
    pub pool_labels: BTreeMap<ClusterName, LabelKey>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

/// A rehearsal that could not be.
#[derive(Debug, thiserror::Error)]
pub enum RehearseError {
    /// The run could not begin.
    #[error("begin the rehearsed run")]
    Begin(#[source] ApplyError),
    /// No runtime for it could be made.
    #[error("start the runtime of the rehearsal")]
    Runtime(#[source] io::Error),
    /// A cluster whose objects contradict each other.
    #[error("rehearse: the simulated copy of cluster {0} does not come to rest")]
    Restless(ClusterName),
}

impl Explain for RehearseError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Begin(error) => error.kind(),
            Self::Runtime(_) => ErrorKind::Outside,
            Self::Restless(_) => ErrorKind::Bug,
        }
    }

    fn advice(&self) -> Option<Advice> {
        match self {
            Self::Begin(error) => error.advice(),
            Self::Runtime(_) => None,
            Self::Restless(_) => Some(Advice::new("please report it with the snapshot")),
        }
    }
}

/// A journal that nobody reads.
struct Nowhere;

impl Sink for Nowhere {
    fn append(&mut self, _line: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// Rehearses a plan from the moment that it was made for. Must not be called on a runtime: it has one of its own, whose
/// clock is simulated.
///
/// # Errors
/// [`RehearseError`]. What goes wrong in the run is in the [`Rehearsal`].
pub fn rehearse(input: Input) -> Result<Rehearsal, RehearseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(RehearseError::Runtime)?;
    runtime.block_on(run(input))
}

async fn run(input: Input) -> Result<Rehearsal, RehearseError> {
    let Input { plan, mut snapshots, mut pool_labels, faults } = input;
    let began = plan.now();
    let _time = Simulated::begin(began);
    let mut clusters = BTreeMap::new();
    let mut ports: Vec<(ClusterName, Port, Shared)> = Vec::new();
    for cluster in plan.clusters().iter().filter(|cluster| !cluster.steps.is_empty()) {
        let name = &cluster.cluster;
        let Some(snapshot) = snapshots.remove(name) else { continue };
        let (wishes, denied) = wishes(cluster, &snapshot, &faults);
        let world = cluster::build(&snapshot, &wishes, began);
        let endured = Shared::default();
        let witness = Arc::clone(&endured);
        let port = Port::open(
            world,
            pool_labels.remove(name),
            Some(Box::new(move |_, seen| note(&mut witness.lock().unwrap_or_else(PoisonError::into_inner), seen))),
        );
        port.deny_evictions(denied);
        let access = Access {
            acts: Arc::new(port.clone()),
            lock: Arc::new(port.clone()),
            probes: Arc::new(port.clone()),
            renew: Renew::Beside(Arc::new(port.clone())),
            silence: None,
            sweep: BTreeSet::new(),
            daemon_sets: snapshot.daemon_sets.clone(),
            daemon_sets_known: !snapshot.has_gap(crate::model::GapSubject::DaemonSets),
        };
        clusters.insert(name.clone(), access);
        ports.push((name.clone(), port, endured));
    }
    let (seen, mut inbox) = tokio::sync::mpsc::unbounded_channel();
    let journal = Journal::at_once(0, Box::new(Nowhere), Box::new(|_| Vec::new()), clock::now, seen);
    let run = RunId::new("rehearsal").expect("a word of small letters is a run id");
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let input =
        apply::Input { plan, run, version, clusters, journal, interrupt: Interrupt::default(), silent: |_, _| {} };
    let (summary, conclusion) = match tokio::time::timeout(LONGEST, apply::apply(input)).await {
        Ok(Ok(outcome)) => (Summary { rehearsed: true, ..outcome.summary }, Some(outcome.conclusion)),
        Ok(Err(error)) => return Err(RehearseError::Begin(error)),
        Err(_) => (Summary::default(), None),
    };
    let mut events: Vec<Event> = Vec::new();
    while let Ok(event) = inbox.try_recv() {
        events.push(event);
    }
    let mut clusters = BTreeMap::new();
    for (name, port, endured) in ports {
        if port.look(crate::twin::World::is_restless) {
            return Err(RehearseError::Restless(name));
        }
        clusters.insert(name, endured.lock().unwrap_or_else(PoisonError::into_inner).clone());
    }
    Ok(Rehearsal { began, ends: clock::now(), events, clusters, summary, conclusion })
}

type Shared = Arc<Mutex<Endured>>;

/// What the faults ask of nodes and pods, and how long nodes take to boot.
fn wishes(cluster: &ClusterPlan, snapshot: &Snapshot, faults: &[Fault]) -> (cluster::Wishes, BTreeSet<PodKey>) {
    let mut wishes = cluster::Wishes::default();
    let mut denied = BTreeSet::new();
    let rebooted = || cluster.outages.iter().filter_map(|outage| Some((outage, boot_time(cluster, outage, snapshot)?)));
    for (outage, boot) in rebooted() {
        wishes.boots.insert(outage.node.clone(), format!("{}s", boot.as_secs()));
    }
    let first = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let with_pods = |count: u32| cluster.outages.iter().filter_map(|outage| outage.evicts.first()).take(first(count));
    for fault in faults {
        match fault {
            Fault::NodeNeverReturns(count) => {
                for (outage, _) in rebooted().take(first(*count)) {
                    wishes.boots.insert(outage.node.clone(), cluster::NEVER.to_owned());
                }
            }
            Fault::NodeSlow(count) => {
                for (outage, boot) in rebooted().take(first(*count)) {
                    wishes.boots.insert(outage.node.clone(), format!("{}s", 3 * boot.as_secs()));
                }
            }
            Fault::PodNeverEnds(count) => wishes.held.extend(with_pods(*count).cloned()),
            Fault::EvictionDenied(count) => denied.extend(with_pods(*count).cloned()),
        }
    }
    (wishes, denied)
}

/// How long a node is expected to boot: as long as the last time, else as the plan estimates.
fn boot_time(cluster: &ClusterPlan, outage: &Outage, snapshot: &Snapshot) -> Option<Duration> {
    let (estimate, settle) = outage.steps.iter().find_map(|step| {
        let step = cluster.steps.get(step)?;
        match step.action {
            Action::AwaitReady { settle, .. } => Some((step.estimate, settle)),
            Action::Cordon | Action::Drain { .. } | Action::Reboot { .. } | Action::Uncordon => None,
        }
    })?;
    let last = snapshot.nodes.get(&outage.node).and_then(|node| node.last_reboot.as_ref());
    let last = last.map(|last| Duration::from_secs(u64::from(last.boot_seconds))).filter(|last| !last.is_zero());
    Some(last.unwrap_or(estimate).saturating_sub(settle).max(Duration::from_secs(1)))
}

/// Notes what a change did to pods and budgets.
fn note(endured: &mut Endured, seen: Seen<'_>) {
    match seen.change.key.kind {
        Kind::Pod if seen.change.key.namespace != MANAGED_NAMESPACE => note_pod(endured, seen),
        Kind::PodDisruptionBudget => note_budget(endured, seen),
        _ => {}
    }
}

fn note_pod(endured: &mut Endured, seen: Seen<'_>) {
    let change = seen.change;
    let Some(before) = change.before.as_deref() else { return };
    // Looked up step by step: a JSON pointer is parsed anew each time, and this is asked of every change.
    let terminating = |pod: &Value| pod["metadata"].get("deletionTimestamp").is_some();
    let evicted = seen.by == FIELD_MANAGER && !terminating(before) && (change.gone || terminating(&change.after));
    let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
    let restarted = u32::try_from(restarts(&change.after).saturating_sub(restarts(before))).unwrap_or(u32::MAX);
    if !evicted && (restarted == 0 || change.gone) {
        return;
    }
    let (Ok(namespace), Ok(name)) = (Namespace::new(&change.key.namespace), PodName::new(&change.key.name)) else {
        return;
    };
    let suffered: &mut Suffered = endured.pods.entry(PodKey { namespace, name }).or_default();
    if suffered.node.is_none() {
        let node = before["spec"]["nodeName"].as_str().unwrap_or_default();
        suffered.node = NodeName::new(node).ok();
    }
    suffered.evictions += u32::from(evicted);
    if !change.gone {
        suffered.restarts += restarted;
    }
}

fn note_budget(endured: &mut Endured, seen: Seen<'_>) {
    let change = seen.change;
    let count = |field: &str| u32::try_from(change.after["status"][field].as_u64().unwrap_or(0)).unwrap_or(u32::MAX);
    let low = Low {
        at: seen.at,
        healthy: count("currentHealthy"),
        desired: count("desiredHealthy"),
        expected: count("expectedPods"),
    };
    let (Ok(namespace), Ok(name)) = (Namespace::new(&change.key.namespace), PodName::new(&change.key.name)) else {
        return;
    };
    let margin = |low: &Low| i64::from(low.healthy) - i64::from(low.desired);
    let key = BudgetKey { namespace, name };
    match endured.budgets.get(&key) {
        Some(known) if margin(known) <= margin(&low) => {}
        Some(_) | None => {
            endured.budgets.insert(key, low);
        }
    }
}
