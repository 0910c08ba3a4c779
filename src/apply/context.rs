//! What every step has at hand: the cluster, the lock, the journal, and the way to say what it waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::interrupt::Interrupt;
use super::live::Live;
use super::lock::{Lock, LockLost};
use crate::journal::{Journal, JournalError, Permit};
use crate::model::{BootId, DaemonSet, Foreign, Mark, Node, NodeName, RunId, Uid};
use crate::plan::{ClusterPlan, Outage, Step, StepId};
use crate::provider::{ActError, ClusterActs, ReadError, Refusal, clock};
use crate::run::{EventKind, FailureKind, Intent, StepFailure, Wait, WaitFor};

/// One cluster of a run.
pub(super) struct ClusterContext {
    pub(super) acts: Arc<dyn ClusterActs>,
    pub(super) live: Arc<Live>,
    pub(super) lock: Lock,
    pub(super) journal: Journal,
    pub(super) interrupt: Interrupt,
    pub(super) run: RunId,
    pub(super) config: Foreign,
    pub(super) plan: Arc<ClusterPlan>,
    pub(super) daemon_sets: BTreeMap<Uid, DaemonSet>,
    pub(super) daemon_sets_known: bool,
    /// One cordon at a time: between counting the nodes that are out and adding one nobody else of this run may count.
    pub(super) gate: tokio::sync::Mutex<()>,
    /// Evictions in flight in this cluster. 32 keeps the server busy and is far from what priority and fairness queue.
    pub(super) evictions: tokio::sync::Semaphore,
}

/// How many evictions one run keeps in flight on a cluster.
pub(super) const EVICTIONS_IN_FLIGHT: usize = 32;

/// No pause is shorter, whatever a server says: `Retry-After: 0` must not become a loop.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(250);

/// What the steps of one outage learn and hand on.
#[derive(Default)]
pub(super) struct OutageNotes {
    pub(super) cordoned_at: Option<Instant>,
    pub(super) drained_at: Option<Instant>,
    pub(super) requested_at: Option<Instant>,
    pub(super) ready_at: Option<Instant>,
    pub(super) reboot_pod: bool,
    pub(super) booted: Option<(BootId, BootId)>,
    /// Whether a cordon was sent that may have been done: cleared only by a definite refusal.
    pub(super) cordon_sent: bool,
    /// Whether a trigger was sent that may have been done: cleared only by a definite refusal.
    pub(super) trigger_sent: bool,
    /// Whether the node carries no cordon of this run any more although its uncordon step did not say so.
    pub(super) released: bool,
    pub(super) baseline: Option<Baseline>,
}

/// What worked on a node before it went out, and must work again before it comes back.
#[derive(Debug, Clone, Default)]
pub(super) struct Baseline {
    /// The UIDs of DaemonSets, and the names of mirror pods, with a Ready pod on the node.
    pub(super) daemon_sets: BTreeSet<Uid>,
    pub(super) mirrors: BTreeSet<Foreign>,
    pub(super) csi_drivers: BTreeSet<Foreign>,
    pub(super) allocatable: BTreeMap<Arc<str>, Arc<str>>,
    pub(super) taints: BTreeSet<Arc<str>>,
    pub(super) lease: Option<jiff::Timestamp>,
    pub(super) reports: bool,
    /// Whether serving certificate requests were Pending before: then nobody approves them, and no reboot changes that.
    pub(super) pending_requests: bool,
}

/// One step under way.
pub(super) struct StepContext {
    pub(super) cluster: Arc<ClusterContext>,
    pub(super) step: Step,
    pub(super) outage: Arc<Outage>,
    pub(super) notes: Arc<Mutex<OutageNotes>>,
    waiting: Mutex<Option<WaitFor>>,
    /// Whether the step was started. Where it was not, and something is only tidied up, no event may speak of it.
    started: bool,
}

/// Why a step ended early.
#[derive(Debug)]
pub(super) enum StepError {
    /// It failed, and says why.
    Failed(StepFailure),
    /// The journal cannot be written: nothing may be changed any more.
    Journal(JournalError),
}

impl From<JournalError> for StepError {
    fn from(error: JournalError) -> Self {
        StepError::Journal(error)
    }
}

impl StepError {
    pub(super) fn new(kind: FailureKind, message: impl AsRef<str>) -> Self {
        StepError::Failed(StepFailure { kind, message: Foreign::new(message), advice: None })
    }

    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        match self {
            StepError::Failed(failure) => StepError::Failed(StepFailure { advice: Some(advice.into()), ..failure }),
            StepError::Journal(error) => StepError::Journal(error),
        }
    }

    pub(super) fn stale(message: impl AsRef<str>) -> Self {
        Self::new(FailureKind::Stale, message).advise("plan again: what the plan was made for has changed")
    }

    pub(super) fn from_read(error: &ReadError) -> Self {
        Self::new(FailureKind::Refused, format!("{error}: {}", error.message.raw()))
    }

    pub(super) fn from_act(error: &ActError) -> Self {
        match error {
            ActError::Refused { operation, refusal } => {
                Self::new(FailureKind::Refused, format!("{operation}: {refusal}{}", said(refusal)))
            }
            ActError::Unclear { cause, .. } => {
                Self::new(FailureKind::Unclear, format!("{error} ({cause}: {})", cause.message.raw()))
            }
        }
    }
}

/// The server's own words of a refusal, where it has any.
pub(super) fn said(refusal: &Refusal) -> String {
    let message = match refusal {
        Refusal::Webhook { message, .. }
        | Refusal::Forbidden { message }
        | Refusal::Conflict { message }
        | Refusal::Invalid { message, .. }
        | Refusal::TryAgain { message, .. } => message,
        Refusal::Budget { .. }
        | Refusal::Throttled { .. }
        | Refusal::TwoBudgets
        | Refusal::NamespaceTerminating
        | Refusal::NotFound
        | Refusal::AlreadyExists => return String::new(),
    };
    format!(" ({})", message.raw())
}

impl StepContext {
    pub(super) fn new(
        cluster: Arc<ClusterContext>,
        step: Step,
        outage: Arc<Outage>,
        notes: Arc<Mutex<OutageNotes>>,
    ) -> Self {
        Self { cluster, step, outage, notes, waiting: Mutex::new(None), started: true }
    }

    /// The same for what is tidied up although the step was never started.
    pub(super) fn never_started(self) -> Self {
        Self { started: false, ..self }
    }

    pub(super) fn id(&self) -> &StepId {
        &self.step.id
    }

    pub(super) fn node_name(&self) -> &NodeName {
        &self.outage.node
    }

    /// Whether a mark is that of this run, or of the dead run whose work this outage finishes.
    pub(super) fn is_mine(&self, mark: &Mark) -> bool {
        mark.run == self.cluster.run || self.outage.adopts.as_ref().is_some_and(|adopts| adopts.run == mark.run)
    }

    /// Whether the reboot that this outage awaits was requested by a dead run.
    pub(super) fn is_taken_over(&self) -> bool {
        self.outage.adopts.as_ref().is_some_and(|adopts| adopts.requested)
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, OutageNotes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces a mutation, if the lock still lets this run act.
    pub(super) async fn permit(&self, intent: Intent) -> Result<Permit, StepError> {
        self.locked().await?;
        let step = self.started.then(|| self.step.id.clone());
        let permit = self.cluster.journal.intend(step, intent).await?;
        // The line took its time to reach the disk; a machine may have slept in between.
        self.locked().await?;
        Ok(permit)
    }

    /// Returns once the lock lets this run act. An API server that is away lets the lock lapse and comes back: that is
    /// a wait. A lock that another run took is not.
    async fn locked(&self) -> Result<(), StepError> {
        /// The longest wait for a lapsed lock to be renewed.
        const LAPSE: Duration = Duration::from_secs(180);
        let since = clock::monotonic();
        loop {
            match self.cluster.lock.check() {
                Ok(()) => return Ok(()),
                Err(LockLost::Lapsed) if clock::monotonic() < since + LAPSE => {
                    let why = Foreign::new("the lock could not be renewed; acting is held until it is");
                    self.waits(WaitFor::ApiServer(why), since, since + LAPSE).await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(lost) => {
                    return Err(StepError::new(FailureKind::LockLost, lost.to_string())
                        .advise("check who holds the lock now; nothing more was changed after it was lost"));
                }
            }
        }
    }

    /// Says what the step waits for; recorded when it changes.
    pub(super) async fn waits(&self, what: WaitFor, since: Instant, until: Instant) -> Result<(), StepError> {
        if !self.started {
            return Ok(());
        }
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.as_ref() == Some(&what) {
                return Ok(());
            }
            *waiting = Some(what.clone());
        }
        let (now, monotonic) = (clock::now(), clock::monotonic());
        let ago = monotonic.saturating_duration_since(since);
        let left = until.saturating_duration_since(monotonic);
        let wait = Wait { what, since: now - signed(ago), until: now + signed(left) };
        self.cluster.journal.record(EventKind::StepWaiting { step: self.step.id.clone(), wait }).await?;
        Ok(())
    }

    /// Notes something worth knowing that is neither progress nor failure.
    pub(super) async fn note(&self, note: impl AsRef<str>) -> Result<(), StepError> {
        let note = Foreign::new(note);
        self.cluster.journal.record(EventKind::StepNote { step: self.step.id.clone(), note }).await?;
        Ok(())
    }

    /// Reads the node afresh and takes the view along. Reads that fail are tried again for as long as `until` lasts:
    /// an API server that is away for a minute must not end a step.
    pub(super) async fn read_node(&self, until: Instant) -> Result<Option<Node>, StepError> {
        let since = clock::monotonic();
        loop {
            match self.cluster.acts.node(self.node_name()).await {
                Ok(node) => {
                    if let Some(node) = &node {
                        self.cluster.live.read_node(node.clone());
                    }
                    return Ok(node);
                }
                Err(error) => self.bear(&error, since, until).await?,
            }
        }
    }

    /// Waits a little after a read that failed, or gives up: at once for what trying again cannot mend.
    pub(super) async fn bear(&self, error: &ReadError, since: Instant, until: Instant) -> Result<(), StepError> {
        use crate::provider::ReadErrorKind::{Expired, Forbidden, Malformed, NotFound, Server, Throttled, Unreachable};
        /// The pause after a read that failed.
        const PAUSE: Duration = Duration::from_secs(2);
        match error.kind {
            Forbidden | NotFound => return Err(StepError::from_read(error)),
            Throttled | Expired | Unreachable | Server | Malformed => {}
        }
        if clock::monotonic() >= until {
            return Err(StepError::from_read(error));
        }
        self.waits(WaitFor::ApiServer(error.message.clone()), since, until).await?;
        tokio::time::sleep(error.retry_after.unwrap_or(PAUSE).clamp(SHORTEST_PAUSE, Duration::from_secs(30))).await;
        Ok(())
    }

    /// The node for a guarded write: as the watch last saw it, at first, because the guard refuses the write if that is
    /// no longer how it is; read afresh after such a refusal, and where the watch knows no node.
    pub(super) async fn node_to_write(&self, tries: u32, until: Instant) -> Result<Node, StepError> {
        let seen = self.cluster.live.node(self.node_name()).filter(|node| tries == 0 && node.uid == self.outage.uid);
        match seen {
            Some(node) => Ok(node),
            None => self.same_node(until).await,
        }
    }

    /// The node, which must still be the Node object that the plan was made for.
    pub(super) async fn same_node(&self, until: Instant) -> Result<Node, StepError> {
        let Some(node) = self.read_node(until).await? else {
            return Err(StepError::stale("the node no longer exists"));
        };
        if node.uid != self.outage.uid {
            return Err(StepError::stale("the node was replaced by another of the same name"));
        }
        Ok(node)
    }
}

/// A span of time for arithmetic with timestamps; the longest span where it does not fit.
pub(super) fn signed(span: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(span).unwrap_or(jiff::SignedDuration::MAX)
}
