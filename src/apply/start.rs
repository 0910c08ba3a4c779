//! The beginning and the end of a run: locks, preparations, one dispatcher per cluster, the summary.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;

use super::context::{ClusterContext, DaemonSets, EVICTIONS_IN_FLIGHT, SHORTEST_PAUSE, said, signed};
use super::dispatcher::dispatch;
use super::interrupt::Interrupt;
use super::live::Live;
use super::lock::{Lock, LockError, Renew};
use super::sweep::{self, SweepError};
use super::vacancy::Silence;
use crate::journal::{Journal, JournalError};
use crate::model::{
    Advice, BootId, ClusterName, DaemonSet, Explain, Foreign, Kind, NodeName, RebootMethod, RunId, Uid,
};
use crate::plan::{Action, ClusterPlan, Outage, Plan};
use crate::provider::{ActError, ClusterActs, ClusterReads, LockActs, Probes, ReadError, RebootPod, Refusal, clock};
use crate::run::{Conclusion, EventKind, Intent, NodeOutcome, StopCause, Summary};

/// How the executor reaches one cluster.
pub struct Access {
    /// Reading and changing it.
    pub acts: Arc<dyn ClusterActs>,
    /// Its lock.
    pub lock: Arc<dyn LockActs>,
    /// Dry runs.
    pub probes: Arc<dyn Probes>,
    /// How its lock is renewed.
    pub renew: Renew,
    /// The proof that the run that holds the lock is dead, where its silence was observed before.
    pub silence: Option<Silence>,
    /// Reboot pods of dead runs that are removed before anything else, by node and run.
    pub sweep: BTreeSet<(NodeName, RunId)>,
    /// The DaemonSets seen when the plan was made.
    pub daemon_sets: BTreeMap<Uid, DaemonSet>,
    /// Whether they could be read.
    pub daemon_sets_known: bool,
}

/// Everything a run needs.
pub struct Input {
    /// What to do.
    pub plan: Plan,
    /// The run's id.
    pub run: RunId,
    /// haulout's version, for the record.
    pub version: String,
    /// The clusters, by name; those of the plan that have steps.
    pub clusters: BTreeMap<ClusterName, Access>,
    /// The record.
    pub journal: Journal,
    /// How a person stops it.
    pub interrupt: Interrupt,
    /// Called when a lock's holder fell silent and its silence is being observed.
    pub silent: fn(&ClusterName, &Foreign),
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// What became of each node.
    pub summary: Summary,
    /// In short.
    pub conclusion: Conclusion,
    /// Why the run had to stop, where it had to: the journal.
    pub stopped_by: Option<JournalError>,
}

/// A run that could not begin; nothing was changed on any node.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A lock was not to be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What the run needs in `haulout-system` is missing and could not be made.
    #[error("prepare namespace haulout-system of cluster {cluster}")]
    Prepare {
        /// The cluster.
        cluster: ClusterName,
        /// What went wrong.
        #[source]
        source: Box<ActError>,
    },
    /// The reboot pod would not be admitted.
    #[error("prove that the reboot pod of node {node} would be admitted in cluster {cluster}{}", said_by(.source).sanitised())]
    Admission {
        /// The cluster.
        cluster: ClusterName,
        /// The node that it was tried with.
        node: NodeName,
        /// What went wrong.
        #[source]
        source: Box<ActError>,
    },
    /// What a dead run has left could not be removed.
    #[error("remove what a dead run has left in cluster {cluster}")]
    Sweep {
        /// The cluster.
        cluster: ClusterName,
        /// What went wrong.
        #[source]
        source: SweepError,
    },
    /// The cluster cannot be followed.
    #[error("follow cluster {cluster}: {}", source.message.sanitised())]
    Follow {
        /// The cluster.
        cluster: ClusterName,
        /// What went wrong.
        #[source]
        source: ReadError,
    },
}

fn said_by(error: &ActError) -> Foreign {
    match error {
        ActError::Refused { refusal, .. } => Foreign::new(said(refusal)),
        ActError::Unclear { cause, .. } => cause.message.clone(),
    }
}

impl Explain for ApplyError {
    fn kind(&self) -> Kind {
        match self {
            ApplyError::Lock(error) => error.kind(),
            ApplyError::Journal(error) => error.kind(),
            ApplyError::Prepare { .. }
            | ApplyError::Admission { .. }
            | ApplyError::Sweep { .. }
            | ApplyError::Follow { .. } => Kind::Outside,
        }
    }

    fn advice(&self) -> Option<Advice> {
        match self {
            ApplyError::Lock(error) => error.advice(),
            ApplyError::Journal(error) => error.advice(),
            ApplyError::Prepare { .. } => {
                Some(Advice::new("apply deploy/base.yaml once with an identity that may create namespaces and roles"))
            }
            ApplyError::Admission { .. } => Some(Advice::new(
                "label namespace haulout-system with pod-security.kubernetes.io/enforce=privileged, and exempt it from policies that forbid host namespaces",
            )),
            ApplyError::Sweep { source, .. } => source.advice(),
            ApplyError::Follow { source, .. } => source.advice(),
        }
    }
}

/// Executes a plan.
///
/// # Errors
/// [`ApplyError`] when the run could not begin. What goes wrong later is in the [`Outcome`].
pub async fn apply(input: Input) -> Result<Outcome, ApplyError> {
    let Input { plan, run, version, mut clusters, journal, interrupt, silent } = input;
    let began = clock::monotonic();
    journal.record(EventKind::RunStarted { run: run.clone(), config: plan.config_name().clone(), version }).await?;
    let mut contexts: Vec<Arc<ClusterContext>> = Vec::new();
    for cluster in plan.clusters() {
        let Some(access) = clusters.remove(&cluster.cluster) else { continue };
        if cluster.steps.is_empty() && access.sweep.is_empty() {
            continue;
        }
        match prepare(cluster, access, &run, plan.config_name(), &journal, &interrupt, silent).await {
            Ok(context) => contexts.push(Arc::new(context)),
            Err(error) => {
                release(contexts, &journal).await;
                return Err(error);
            }
        }
    }

    // Each cluster begins when those it comes after have ended with everything done; otherwise it is not started.
    let mut ended: BTreeMap<ClusterName, tokio::sync::watch::Sender<Option<bool>>> = BTreeMap::new();
    for cluster in plan.clusters() {
        let state = if cluster.steps.is_empty() { Some(true) } else { None };
        ended.insert(cluster.cluster.clone(), tokio::sync::watch::Sender::new(state));
    }
    let mut running = JoinSet::new();
    for context in &contexts {
        let context = Arc::clone(context);
        let before: Vec<_> =
            context.plan.after.iter().filter_map(|name| Some((name.clone(), ended.get(name)?.subscribe()))).collect();
        let done = ended.get(&context.plan.cluster).cloned();
        running.spawn(async move {
            for (name, mut before) in before {
                let ended = before.wait_for(Option::is_some).await.is_ok_and(|ended| *ended == Some(true));
                if !ended {
                    if let Some(done) = done {
                        done.send_replace(Some(false));
                    }
                    let nodes = context.plan.outages.iter().map(|outage| {
                        let cause = StopCause::ClusterBefore { cluster: name.clone() };
                        ((context.plan.cluster.clone(), outage.node.clone()), NodeOutcome::NotStarted { cause })
                    });
                    return (nodes.collect(), None);
                }
            }
            let (nodes, error): (BTreeMap<_, _>, _) = dispatch(&context).await;
            if let Some(done) = done {
                done.send_replace(Some(nodes.values().all(|outcome| matches!(outcome, NodeOutcome::Done))));
            }
            (nodes, error)
        });
    }
    // A dispatcher that is lost must not leave those waiting that come after it.
    drop(ended);
    let mut summary = Summary::default();
    let mut stopped_by = None;
    while let Some(ended) = running.join_next().await {
        // A dispatcher that panicked took its cluster's outcomes along; they are filled in below as not started.
        if let Ok((nodes, error)) = ended {
            summary.nodes.extend(nodes);
            stopped_by = stopped_by.or(error);
        }
    }
    for context in &contexts {
        if context.plan.sandbox {
            summary.sandboxes.insert(context.plan.cluster.clone());
        }
        for outage in &context.plan.outages {
            let address = (context.plan.cluster.clone(), outage.node.clone());
            summary.nodes.entry(address).or_insert(NodeOutcome::NotStarted { cause: StopCause::Lost });
        }
    }
    let all_done = summary.nodes.values().all(|outcome| matches!(outcome, NodeOutcome::Done));
    summary.interrupted = interrupt.is_requested() && !all_done;
    summary.took = clock::monotonic().saturating_duration_since(began);
    let conclusion = if summary.interrupted {
        Conclusion::Interrupted
    } else if summary.nodes.values().all(|outcome| matches!(outcome, NodeOutcome::Done)) {
        Conclusion::Done
    } else {
        Conclusion::Partial
    };
    release(contexts, &journal).await;
    if let Err(error) = journal.record(EventKind::RunFinished { conclusion }).await {
        stopped_by = stopped_by.or(Some(error));
    }
    Ok(Outcome { summary, conclusion, stopped_by })
}

async fn release(contexts: Vec<Arc<ClusterContext>>, journal: &Journal) {
    for context in contexts {
        let cluster = context.plan.cluster.clone();
        // All steps have ended by now, so that this is the last handle; if it is not, the lock lapses by itself.
        if let Some(context) = Arc::into_inner(context) {
            give_back(context.lock, cluster, journal).await;
        }
    }
}

/// Gives a lock back, and records that only if it was really done.
async fn give_back(lock: Lock, cluster: ClusterName, journal: &Journal) {
    if lock.release().await {
        // A journal that cannot take this line has been reported by whoever needed it.
        let _ = journal.record(EventKind::LockReleased { cluster }).await;
    }
}

async fn prepare(
    cluster: &Arc<ClusterPlan>,
    access: Access,
    run: &RunId,
    config: &Foreign,
    journal: &Journal,
    interrupt: &Interrupt,
    silent: fn(&ClusterName, &Foreign),
) -> Result<ClusterContext, ApplyError> {
    let Access { acts, lock: lock_acts, probes, renew, silence, sweep, daemon_sets, daemon_sets_known } = access;
    let name = &cluster.cluster;
    let prepare_error = |source| ApplyError::Prepare { cluster: name.clone(), source: Box::new(source) };
    if matches!(lock_acts.read_lease().await, Ok(None)) {
        // No Lease: the namespace may be missing too, and a Lease cannot be made without it.
        let mut patience = Patience::default();
        loop {
            let permit = journal.intend(None, Intent::EnsureBase("namespace")).await?;
            match acts.ensure_namespace(permit).await {
                Ok(_) => break,
                Err(error) => patience.bear(error).await.map_err(prepare_error)?,
            }
        }
    }
    let lock =
        Lock::take(lock_acts.as_ref(), name, run, renew, silence.as_ref(), |holder| silent(name, &holder)).await?;
    let first_reboots = first_reboots(cluster);
    let ready = async {
        // With a journal that cannot take it, the lock goes back like everything else.
        journal.record(EventKind::LockTaken { cluster: name.clone() }).await?;
        sweep::remove(acts.as_ref(), &lock, journal, &sweep)
            .await
            .map_err(|source| ApplyError::Sweep { cluster: name.clone(), source })?;
        if !first_reboots.is_empty() {
            let mut patience = Patience::default();
            loop {
                let permit = journal.intend(None, Intent::EnsureBase("service account")).await?;
                match acts.ensure_node_account(permit).await {
                    Ok(_) => break,
                    Err(error) => patience.bear(error).await.map_err(prepare_error)?,
                }
            }
        }
        for (outage, boot_id, method) in first_reboots {
            let pod = RebootPod {
                node: outage.node.clone(),
                node_uid: outage.uid.clone(),
                boot_id,
                run: run.clone(),
                method,
                image: cluster.node_pod.clone(),
                not_after: clock::now() + signed(Duration::from_secs(3600)),
                active_deadline: Duration::from_secs(3600),
            };
            let refused = |source| ApplyError::Admission {
                cluster: name.clone(),
                node: outage.node.clone(),
                source: Box::new(source),
            };
            let mut patience = Patience::default();
            loop {
                match probes.admit_reboot_pod(&pod).await {
                    Ok(()) | Err(ActError::Refused { refusal: Refusal::AlreadyExists, .. }) => break,
                    Err(error) => patience.bear(error).await.map_err(refused)?,
                }
            }
        }
        let reads: Arc<dyn ClusterReads> = acts.clone();
        Live::start(reads, true).await.map_err(|source| ApplyError::Follow { cluster: name.clone(), source })
    };
    let live = match ready.await {
        Ok(live) => live,
        Err(error) => {
            give_back(lock, name.clone(), journal).await;
            return Err(error);
        }
    };
    Ok(ClusterContext {
        acts,
        live,
        lock,
        journal: journal.clone(),
        // A halt of this cluster ends its drains as an interrupt does, and nobody else's.
        interrupt: interrupt.child(),
        run: run.clone(),
        config: config.clone(),
        plan: Arc::clone(cluster),
        daemon_sets: Mutex::new(Arc::new(DaemonSets { all: daemon_sets, known: daemon_sets_known })),
        gate: tokio::sync::Mutex::new(()),
        evictions: tokio::sync::Semaphore::new(EVICTIONS_IN_FLIGHT),
    })
}

/// How often more something is tried that a run needs before it begins. One bad moment of an API server is no reason not
/// to begin, and nothing has been done yet that waiting could harm.
struct Patience(u32);

impl Default for Patience {
    fn default() -> Self {
        Self(3)
    }
}

impl Patience {
    /// Waits before the next try, or hands the error back: at once where trying again cannot mend it.
    async fn bear(&mut self, error: ActError) -> Result<(), ActError> {
        /// The pause where the server names none.
        const PAUSE: Duration = Duration::from_secs(2);
        /// The longest pause, whatever the server says: a person waits at the terminal.
        const LONGEST: Duration = Duration::from_secs(10);
        let wanted = match &error {
            ActError::Unclear { cause, .. } => cause.retry_after,
            ActError::Refused {
                refusal: Refusal::Throttled { retry_after } | Refusal::TryAgain { retry_after, .. },
                ..
            } => *retry_after,
            // A webhook that could not be asked says nothing about the next time.
            ActError::Refused { refusal: Refusal::Webhook { failed: true, .. }, .. } => None,
            ActError::Refused { .. } => return Err(error),
        };
        self.0 = match self.0.checked_sub(1) {
            Some(left) => left,
            None => return Err(error),
        };
        tokio::time::sleep(wanted.unwrap_or(PAUSE).clamp(SHORTEST_PAUSE, LONGEST)).await;
        Ok(())
    }
}

/// The first outage of each method of rebooting: what a cluster says to one method says nothing of another, whose pod
/// asks for other rights.
fn first_reboots(cluster: &ClusterPlan) -> Vec<(&Outage, BootId, RebootMethod)> {
    let mut first: Vec<(&Outage, BootId, RebootMethod)> = Vec::new();
    for outage in &cluster.outages {
        let method = outage.steps.iter().find_map(|step| match cluster.steps.get(step)?.action {
            Action::Reboot { method } => Some(method),
            Action::Cordon | Action::Drain { .. } | Action::AwaitReady { .. } | Action::Uncordon => None,
        });
        if let Some((boot_id, method)) = outage.boot_id.clone().zip(method)
            && first.iter().all(|(_, _, known)| *known != method)
        {
            first.push((outage, boot_id, method));
        }
    }
    first
}
