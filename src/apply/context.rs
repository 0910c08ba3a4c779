//! What every step has at hand: the cluster, the lock, the journal, and the way to say what it waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use super::interrupt::Interrupt;
use super::live::Live;
use super::lock::{DENIALS_BORNE, Lock, LockLost};
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
    /// As last listed: when the plan was made, and at the start of each drain.
    pub(super) daemon_sets: Mutex<Arc<DaemonSets>>,
    /// One cordon at a time: between counting the nodes that are out and adding one nobody else of this run may count.
    pub(super) gate: tokio::sync::Mutex<()>,
    /// Evictions in flight in this cluster. 32 keeps the server busy and is far from what priority and fairness queue.
    pub(super) evictions: tokio::sync::Semaphore,
}

/// The DaemonSets of a cluster.
#[derive(Debug, Default)]
pub(super) struct DaemonSets {
    pub(super) all: BTreeMap<Uid, DaemonSet>,
    /// Whether they could be listed at all.
    pub(super) known: bool,
}

impl ClusterContext {
    /// The DaemonSets as last listed.
    pub(super) fn daemon_sets(&self) -> Arc<DaemonSets> {
        Arc::clone(&self.daemon_sets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lists the DaemonSets anew. `Ok(true)` where every one of them was understood, so that one that is missing is
    /// gone.
    pub(super) async fn list_daemon_sets(&self) -> Result<bool, ReadError> {
        let mut all = BTreeMap::new();
        let mut whole = true;
        {
            let mut pages = self.acts.daemon_sets();
            while let Some(page) = pages.next().await {
                let (page, unreadable) = page?;
                whole &= unreadable == 0;
                all.extend(page.into_iter().map(|daemon_set| (daemon_set.uid.clone(), daemon_set)));
            }
        }
        if !whole {
            // What cannot be understood is not gone.
            let former = self.daemon_sets();
            for (uid, daemon_set) in &former.all {
                all.entry(uid.clone()).or_insert_with(|| daemon_set.clone());
            }
        }
        *self.daemon_sets.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(DaemonSets { all, known: true });
        Ok(whole)
    }
}

/// How many evictions one run keeps in flight on a cluster.
pub(super) const EVICTIONS_IN_FLIGHT: usize = 32;

/// No pause is shorter, whatever a server says: `Retry-After: 0` must not become a loop.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(250);

/// Until when something is waited for, and whether a person may end that wait sooner. Every wait of a step has one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) until: Instant,
    heeds: bool,
}

impl Limit {
    /// Ends at `until`, or as soon as the run is told to stop.
    pub(super) fn stoppable(until: Instant) -> Self {
        Self { until, heeds: true }
    }

    /// Ends only at `until`: for what must be brought to its end whatever a person says, such as taking a cordon off.
    pub(super) fn firm(until: Instant) -> Self {
        Self { until, heeds: false }
    }

    /// The same, but over at `until` at the latest.
    pub(super) fn at_most(self, until: Instant) -> Self {
        Self { until: self.until.min(until), ..self }
    }

    fn is_over(self) -> bool {
        clock::monotonic() >= self.until
    }
}

/// The first and the last of denials that came one after the other.
#[derive(Debug, Clone, Copy)]
struct Denials {
    first: Instant,
    last: Instant,
}

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
    pub(super) allocatable: Arc<BTreeMap<Arc<str>, Arc<str>>>,
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
    denials: Mutex<Option<Denials>>,
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

    pub(super) fn interrupted(message: impl AsRef<str>) -> Self {
        Self::new(FailureKind::Interrupted, message)
    }

    /// Where time ran out during a last look, what had been waited for says more than that nobody answered.
    pub(super) fn or_lacking(self, lacking: StepError) -> Self {
        match self {
            StepError::Failed(StepFailure { kind: FailureKind::TimedOut, .. }) => lacking,
            error => error,
        }
    }

    pub(super) fn is_interrupted(&self) -> bool {
        matches!(self, StepError::Failed(StepFailure { kind: FailureKind::Interrupted, .. }))
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
        Self { cluster, step, outage, notes, waiting: Mutex::new(None), denials: Mutex::new(None), started: true }
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
    pub(super) async fn permit(&self, intent: Intent, limit: Limit) -> Result<Permit, StepError> {
        self.locked(limit).await?;
        let step = self.started.then(|| self.step.id.clone());
        let permit = self.cluster.journal.intend(step, intent).await?;
        // The line took its time to reach the disk; a machine may have slept in between.
        self.locked(limit).await?;
        Ok(permit)
    }

    /// Returns once the lock lets this run act. An API server that is away lets the lock lapse and comes back: that is
    /// a wait. A lock that another run took is not.
    pub(super) async fn locked(&self, limit: Limit) -> Result<(), StepError> {
        /// The longest wait for a lapsed lock to be renewed.
        const LAPSE: Duration = Duration::from_secs(180);
        /// How often the lock is asked again.
        const ASK_EVERY: Duration = Duration::from_secs(1);
        let since = clock::monotonic();
        let limit = limit.at_most(since + LAPSE);
        while let Some(why) = self.lapsed()? {
            if limit.is_over() {
                return Err(lock_lost(LockLost::Lapsed.to_string()));
            }
            self.waits(why, since, limit.until).await?;
            self.rest(ASK_EVERY, limit).await?;
        }
        Ok(())
    }

    /// What the run has to wait for where its lock has lapsed and may yet be renewed; nothing while the lock holds.
    ///
    /// # Errors
    /// Where no waiting helps: another run has the lock, or the API server no longer accepts this one's credentials.
    pub(super) fn lapsed(&self) -> Result<Option<WaitFor>, StepError> {
        match self.cluster.lock.check() {
            Ok(()) => Ok(None),
            Err(lost @ LockLost::Taken) => Err(lock_lost(lost.to_string())),
            Err(lost @ LockLost::Lapsed) => match self.cluster.lock.denied() {
                Some(said) => Err(StepError::new(FailureKind::LockLost, format!("{lost}: {}", said.raw()))
                    .advise("log in again, or give this identity its rights back, and apply --resume")),
                None => {
                    let why = "the lock could not be renewed; acting is held until it is";
                    Ok(Some(WaitFor::ApiServer(Foreign::new(why))))
                }
            },
        }
    }

    /// Sleeps for a while, but not beyond the limit.
    ///
    /// # Errors
    /// Interrupted, where the limit heeds that.
    pub(super) async fn rest(&self, pause: Duration, limit: Limit) -> Result<(), StepError> {
        let wake = limit.until.min(clock::monotonic() + pause);
        tokio::select! {
            biased;
            () = self.told_to_stop(limit) => Err(StepError::interrupted("interrupted while waiting for the API server")),
            () = tokio::time::sleep_until(wake) => Ok(()),
        }
    }

    /// Awaits something that changes nothing, so that it may be given up: a read, or several.
    ///
    /// # Errors
    /// Interrupted, where the limit heeds that, and timed out where the answer does not come within it.
    pub(super) async fn within<T>(&self, limit: Limit, read: impl Future<Output = T>) -> Result<T, StepError> {
        tokio::select! {
            biased;
            () = self.told_to_stop(limit) => Err(StepError::interrupted("interrupted while waiting for the API server")),
            answer = read => Ok(answer),
            () = tokio::time::sleep_until(limit.until) => {
                Err(StepError::new(FailureKind::TimedOut, "time is up, and the API server has not answered"))
            }
        }
    }

    /// Ends when the run is told to stop and the limit heeds that; otherwise never.
    async fn told_to_stop(&self, limit: Limit) {
        if limit.heeds {
            self.cluster.interrupt.requested().await;
        } else {
            std::future::pending().await
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

    /// Reads the node afresh and takes the view along. Reads that fail are tried again for as long as the limit lasts:
    /// an API server that is away for a minute must not end a step.
    pub(super) async fn read_node(&self, limit: Limit) -> Result<Option<Node>, StepError> {
        let since = clock::monotonic();
        loop {
            match self.within(limit, self.cluster.acts.node(self.node_name())).await? {
                Ok(node) => {
                    if let Some(node) = &node {
                        self.cluster.live.read_node(node.clone());
                    }
                    return Ok(node);
                }
                Err(error) => self.bear(&error, since, limit).await?,
            }
        }
    }

    /// Waits a little after a read that failed, or gives up: at once for what trying again cannot mend.
    pub(super) async fn bear(&self, error: &ReadError, since: Instant, limit: Limit) -> Result<(), StepError> {
        use crate::provider::ReadErrorKind::{Expired, Forbidden, Malformed, NotFound, Server, Throttled, Unreachable};
        /// The pause after a read that failed.
        const PAUSE: Duration = Duration::from_secs(2);
        match error.kind {
            NotFound => return Err(StepError::from_read(error)),
            Forbidden if self.is_denied_for_good() => return Err(StepError::from_read(error)),
            Forbidden | Throttled | Expired | Unreachable | Server | Malformed => {}
        }
        if limit.is_over() {
            return Err(StepError::from_read(error));
        }
        self.pause(error.message.clone(), error.retry_after.unwrap_or(PAUSE), since, limit).await
    }

    /// Waits a little after a change that did not happen, or may not have, or gives up: at once for what trying again
    /// cannot mend. Whoever tries again reads what it is about first.
    pub(super) async fn bear_act(&self, error: &ActError, since: Instant, limit: Limit) -> Result<(), StepError> {
        /// The pause where the server names none.
        const PAUSE: Duration = Duration::from_secs(1);
        let refusal = match error {
            ActError::Unclear { cause, .. } => return self.bear(cause, since, limit).await,
            ActError::Refused { refusal, .. } => refusal,
        };
        let (message, pause) = match refusal {
            // Somebody else wrote it; how it is now decides.
            Refusal::Conflict { .. } => return Ok(()),
            Refusal::Throttled { retry_after } => (Foreign::new("the API server asked to slow down"), *retry_after),
            Refusal::TryAgain { message, retry_after } => (message.clone(), *retry_after),
            Refusal::Forbidden { message } if !self.is_denied_for_good() => (message.clone(), None),
            Refusal::Budget { .. }
            | Refusal::Webhook { .. }
            | Refusal::TwoBudgets
            | Refusal::NamespaceTerminating
            | Refusal::Forbidden { .. }
            | Refusal::NotFound
            | Refusal::AlreadyExists
            | Refusal::Invalid { .. } => return Err(StepError::from_act(error)),
        };
        self.pause(message, pause.unwrap_or(PAUSE), since, limit).await
    }

    async fn pause(&self, why: Foreign, pause: Duration, since: Instant, limit: Limit) -> Result<(), StepError> {
        self.waits(WaitFor::ApiServer(why), since, limit.until).await?;
        self.rest(pause.clamp(SHORTEST_PAUSE, Duration::from_secs(30)), limit).await
    }

    /// Takes a denial (401, 403) down, and says whether denials have lasted too long to pass by themselves: a token
    /// that is being renewed, or an API server that has just started and does not know the roles yet.
    pub(super) fn is_denied_for_good(&self) -> bool {
        /// Denials further apart than this had something in between that was allowed: longer than any pause between
        /// two tries and the deadline of a read together.
        const APART: Duration = Duration::from_secs(50);
        let now = clock::monotonic();
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        let known = denials.filter(|known| now < known.last + APART);
        let first = known.map_or(now, |known| known.first);
        *denials = Some(Denials { first, last: now });
        // What renews the lock may have been denied for long already.
        now >= first + DENIALS_BORNE || self.cluster.lock.denied().is_some()
    }

    /// The node for a guarded write: as the watch last saw it, at first, because the guard refuses the write if that is
    /// no longer how it is; read `afresh` after such a refusal, before anything is concluded from it, and where the
    /// watch knows no node.
    pub(super) async fn node_to_write(&self, afresh: bool, limit: Limit) -> Result<Node, StepError> {
        let seen = self.cluster.live.node(self.node_name()).filter(|node| !afresh && node.uid == self.outage.uid);
        match seen {
            Some(node) => Ok(node),
            None => self.same_node(limit).await,
        }
    }

    /// The node, which must still be the Node object that the plan was made for.
    pub(super) async fn same_node(&self, limit: Limit) -> Result<Node, StepError> {
        match self.read_node(limit).await? {
            Some(node) if node.uid == self.outage.uid => Ok(node),
            other => Err(self.gone(other.is_some())),
        }
    }

    /// The Node object of the plan exists no more, and with it went whatever this run had written on it.
    pub(super) fn gone(&self, replaced: bool) -> StepError {
        self.notes().released = true;
        self.cluster.live.hold(self.node_name(), false);
        StepError::stale(match replaced {
            true => "the node was replaced by another of the same name",
            false => "the node no longer exists",
        })
    }
}

fn lock_lost(why: String) -> StepError {
    StepError::new(FailureKind::LockLost, why)
        .advise("check who holds the lock now; nothing more was changed after it was lost")
}

/// A span of time for arithmetic with timestamps; the longest span where it does not fit.
pub(super) fn signed(span: Duration) -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(span).unwrap_or(jiff::SignedDuration::MAX)
}
