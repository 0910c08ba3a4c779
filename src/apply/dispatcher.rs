//! The dispatcher of one cluster: owns the states of its steps, starts what the plan lets start, records what happened.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::{Id, JoinSet};

use super::context::{ClusterContext, OutageNotes, StepContext, StepError};
use super::lock::LockLost;
use super::step;
use crate::journal::JournalError;
use crate::model::{ClusterName, Foreign, NodeName};
use crate::plan::{self, Occupancy, Outage, StepId, StepState, Verb};
use crate::provider::clock;
use crate::run::{self, Ending, EventKind, Evidence, FailureKind, NodeOutcome, RunState, StepFailure, StopCause};

type Outcomes = BTreeMap<(ClusterName, NodeName), NodeOutcome>;

struct Dispatcher {
    context: Arc<ClusterContext>,
    state: RunState,
    /// The plan's own bookkeeping of slots, fed with every change of a state.
    occupancy: Occupancy,
    outages: BTreeMap<NodeName, (Arc<Outage>, Arc<Mutex<OutageNotes>>)>,
    /// The failure of each node that counts.
    failures: BTreeMap<NodeName, (StepId, StepFailure)>,
    /// Why nodes could not be made schedulable again after something else had failed on them.
    uncordon_failures: BTreeMap<NodeName, StepFailure>,
    halted: bool,
    /// What stopped the cluster first.
    stopped: Option<StopCause>,
    broken: Option<JournalError>,
}

/// Runs all steps of a cluster that the plan lets run, and says what became of each node.
pub(super) async fn dispatch(context: &Arc<ClusterContext>) -> (Outcomes, Option<JournalError>) {
    let outages = context
        .plan
        .outages
        .iter()
        .map(|outage| (outage.node.clone(), (Arc::new(outage.clone()), Arc::default())))
        .collect();
    let mut dispatcher = Dispatcher {
        context: Arc::clone(context),
        state: RunState::new(context.plan.steps.keys().cloned()),
        occupancy: Occupancy::new(&context.plan),
        outages,
        failures: BTreeMap::new(),
        uncordon_failures: BTreeMap::new(),
        halted: false,
        stopped: None,
        broken: None,
    };
    dispatcher.run().await;
    (dispatcher.outcomes(), dispatcher.broken)
}

impl Dispatcher {
    async fn run(&mut self) {
        let mut running: JoinSet<Result<Evidence, StepError>> = JoinSet::new();
        let mut steps: BTreeMap<Id, StepId> = BTreeMap::new();
        let mut told = false;
        loop {
            for step in self.startable() {
                if self.broken.is_some() {
                    break;
                }
                // An uncordon that comes early passes over what lies between.
                for skipped in plan::passed_over(&self.context.plan, &|step| self.state.of(step), &step) {
                    self.record(EventKind::StepSkipped { step: skipped }).await;
                }
                if self.record(EventKind::StepStarted { step: step.clone() }).await {
                    let Some(context) = self.step_context(&step) else { continue };
                    let handle = running.spawn(step::execute(context));
                    steps.insert(handle.id(), step);
                }
            }
            if running.is_empty() {
                self.settle_cordons().await;
                return;
            }
            let ended = tokio::select! {
                biased;
                ended = running.join_next_with_id() => ended,
                () = self.context.interrupt.requested(), if !told => {
                    told = true;
                    if !self.halted {
                        self.stopped.get_or_insert(StopCause::Interrupted);
                        self.record(EventKind::Interrupted).await;
                    }
                    continue;
                }
            };
            let (id, result) = match ended {
                None => return,
                Some(Ok((id, result))) => (id, result),
                Some(Err(error)) => {
                    let message = if error.is_panic() { "the step panicked" } else { "the step was lost" };
                    (
                        error.id(),
                        Err(StepError::new(FailureKind::Panicked, message)
                            .advise("this is a mistake in haulout; please report it with the run's folder")),
                    )
                }
            };
            if let Some(step) = steps.remove(&id) {
                self.ended(step, result).await;
            }
        }
    }

    /// Takes the run's marks off nodes that stay out of service although their drain was never begun: with the marks
    /// on, every later plan would think that a run is still at work there.
    async fn settle_cordons(&mut self) {
        let unsettled: Vec<StepId> = self
            .context
            .plan
            .steps
            .keys()
            .filter(|step| step.verb == Verb::Drain && self.state.of(step) == StepState::Pending)
            .filter(|step| {
                let of = |verb| self.state.of(&StepId { verb, ..(*step).clone() });
                let stays = !self.context.plan.steps.contains_key(&StepId { verb: Verb::Uncordon, ..(*step).clone() });
                stays && of(Verb::Cordon) == StepState::Succeeded
            })
            .cloned()
            .collect();
        for step in unsettled {
            if let Some(context) = self.step_context(&step) {
                // The report names the node as not finished either way.
                let _ = step::settle(&context.never_started()).await;
            }
        }
    }

    /// What may start now: the plan's own answer, and nothing of it once the journal is broken. A halt, an interrupt
    /// and a lost lock start no new outage, but let those under way go on.
    fn startable(&mut self) -> Vec<StepId> {
        let lock = &self.context.lock;
        let lost = lock.check() == Err(LockLost::Taken) || lock.denied().is_some();
        if lost {
            self.stopped.get_or_insert(StopCause::LockLost);
        }
        let halted = self.halted || self.context.interrupt.is_requested() || lost;
        self.occupancy.startable(halted, clock::now())
    }

    fn step_context(&self, step: &StepId) -> Option<StepContext> {
        let (outage, notes) = self.outages.get(&step.node)?;
        let planned = self.context.plan.steps.get(step)?;
        Some(StepContext::new(Arc::clone(&self.context), planned.clone(), Arc::clone(outage), Arc::clone(notes)))
    }

    /// Records an event and takes it in; `false` once the journal is broken.
    async fn record(&mut self, kind: EventKind) -> bool {
        match self.context.journal.record(kind.clone()).await {
            Ok(_) => {
                self.take(&kind);
                true
            }
            Err(error) => {
                self.broken.get_or_insert(error);
                false
            }
        }
    }

    /// Takes an event into the states, and into the bookkeeping of slots.
    fn take(&mut self, kind: &EventKind) {
        match self.state.apply(kind) {
            Ok(()) => {}
            Err(illegal) => {
                // Cannot happen while the plan's own functions decide; if it does, the safe thing is to start nothing
                // new.
                tracing::error!(%illegal, "the dispatcher met an illegal transition");
                self.halted = true;
            }
        }
        if let Some(step) = kind.step() {
            self.occupancy.set(step, self.state.of(step));
        }
    }

    async fn ended(&mut self, step: StepId, result: Result<Evidence, StepError>) {
        match result {
            Ok(evidence) => {
                if !self.record(EventKind::StepSucceeded { step: step.clone(), evidence }).await {
                    // The work is done even if it could not be written down.
                    self.take(&EventKind::StepSucceeded { step, evidence: Evidence::AlreadyHeld });
                }
            }
            Err(error) => {
                let failure = match error {
                    StepError::Failed(failure) => failure,
                    StepError::Journal(error) => {
                        let failure = StepFailure {
                            kind: FailureKind::Refused,
                            message: Foreign::new(error.to_string()),
                            advice: None,
                        };
                        self.broken.get_or_insert(error);
                        failure
                    }
                };
                self.failed(step, failure).await;
            }
        }
    }

    async fn failed(&mut self, step: StepId, mut failure: StepFailure) {
        let timed_out = failure.kind == FailureKind::TimedOut;
        let interrupted = failure.kind == FailureKind::Interrupted;
        if interrupted && let Some(StopCause::Halted { by }) = &self.stopped {
            // The step knows only that it was told to stop; a reader wants to know whose failure that was.
            failure.message = Foreign::new(format!("stopped, because {by} failed"));
        }
        if failure.kind == FailureKind::Stale
            && let Err(lost) = self.context.lock.check()
        {
            // A machine that slept, or a server that was away: others went on while this run could not act.
            failure.message = Foreign::new(format!("{lost}; meanwhile: {}", failure.message.raw()));
        }
        let event = EventKind::StepFailed { step: step.clone(), failure: failure.clone() };
        if !self.record(event.clone()).await {
            self.take(&event);
        }
        let earlier = self.failures.get(&step.node).map(|(_, failure)| failure.kind);
        if run::counts_more(earlier, failure.kind) {
            self.failures.insert(step.node.clone(), (step.clone(), failure));
        } else if step.verb == Verb::Uncordon {
            self.uncordon_failures.insert(step.node.clone(), failure);
        }
        let consequence = plan::after_failure(&self.context.plan, &step, timed_out);
        for skipped in consequence.skip {
            if self.state.of(&skipped) == StepState::Pending {
                let event = EventKind::StepSkipped { step: skipped };
                if !self.record(event.clone()).await {
                    self.take(&event);
                }
            }
        }
        let released = self.outages.get(&step.node).is_some_and(|(_, notes)| {
            let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.released
        });
        if released && matches!(step.verb, Verb::Reboot | Verb::AwaitReady) {
            // A reboot that was never requested has given its node back itself, and of a node that is gone, or came back
            // as another, nothing is held: with it go its places.
            self.occupancy.set(&StepId { verb: Verb::Uncordon, ..step.clone() }, StepState::Succeeded);
        }
        if consequence.halt && !interrupted && !self.halted {
            self.halted = true;
            if !self.context.interrupt.is_requested() {
                self.stopped.get_or_insert(StopCause::Halted { by: step.clone() });
            }
            // The same rule per node as for an interrupt: drains under way stop, and their nodes are uncordoned.
            self.context.interrupt.request();
            let cluster = self.context.plan.cluster.clone();
            self.record(EventKind::ClusterHalted { cluster, step }).await;
        }
    }

    /// What stopped this cluster as a whole, where something did.
    fn stopped(&self) -> Option<StopCause> {
        if self.broken.is_some() {
            return Some(StopCause::JournalLost);
        }
        let interrupted = || self.context.interrupt.is_requested().then_some(StopCause::Interrupted);
        self.stopped.clone().or_else(interrupted)
    }

    fn outcomes(&self) -> Outcomes {
        let cluster = &self.context.plan.cluster;
        let stopped = self.stopped();
        let kept = self.kept();
        let mut outcomes = Outcomes::new();
        for (node, (outage, notes)) in &self.outages {
            let cordoned = self.is_left_cordoned(outage, notes);
            let states = outage.steps.iter().map(|step| (step.verb, self.state.of(step))).collect();
            let failure = self.failures.get(node);
            let kind = failure.map(|(step, failure)| (step.verb, failure.kind));
            let ending = run::ending(&states, kind, run::timeout_halts(&self.context.plan, outage));
            let first = || outage.steps.iter().find(|step| self.state.of(step) != StepState::Succeeded);
            let cause = || stopped.clone().unwrap_or_else(|| self.passed_by(outage, &kept));
            let outcome = match (ending, failure) {
                (Ending::Done, _) => NodeOutcome::Done,
                (Ending::Failed, Some((step, failure))) => NodeOutcome::Failed {
                    step: step.clone(),
                    failure: failure.clone(),
                    uncordon: self.uncordon_failures.get(node).cloned(),
                    cordoned,
                },
                (Ending::Skipped, Some((step, failure))) => {
                    NodeOutcome::Skipped { step: step.clone(), failure: failure.clone() }
                }
                (Ending::Failed | Ending::Skipped | Ending::Interrupted, failure) => {
                    match failure.map(|(step, _)| step).or_else(first) {
                        Some(step) => NodeOutcome::Interrupted { step: step.clone(), cause: cause(), cordoned },
                        None => NodeOutcome::Done,
                    }
                }
                (Ending::NotStarted, _) => match (outage.adopts.as_ref().filter(|adopts| adopts.cordoned), first()) {
                    // Not begun, and yet cordoned by a run of ours: the report must name it.
                    (Some(_), Some(step)) => NodeOutcome::Interrupted { step: step.clone(), cause: cause(), cordoned },
                    _ => NodeOutcome::NotStarted { cause: cause() },
                },
            };
            outcomes.insert((cluster.clone(), node.clone()), outcome);
        }
        outcomes
    }

    fn is_left_cordoned(&self, outage: &Outage, notes: &Mutex<OutageNotes>) -> bool {
        let of = |verb| outage.steps.iter().find(|step| step.verb == verb).map(|step| self.state.of(step));
        let (sent, released) = {
            let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            (notes.cordon_sent, notes.released)
        };
        let left = outage.adopts.as_ref().is_some_and(|adopts| adopts.cordoned);
        let out = match of(Verb::Cordon) {
            // A dead run left it cordoned, whatever this one did about it.
            _ if left => true,
            Some(StepState::Succeeded) => true,
            // A cordon whose answer is not known may have been done.
            Some(StepState::Failed | StepState::Running) => sent,
            Some(StepState::Pending | StepState::Skipped) => false,
            None => outage.already_out,
        };
        out && !released && of(Verb::Uncordon) != Some(StepState::Succeeded)
    }

    /// The nodes that this run touched and did not give back, with all that they keep filled.
    fn kept(&self) -> Vec<&Outage> {
        let touched = |outage: &Outage| {
            let state = |step| self.state.of(step);
            outage.steps.iter().any(|step| matches!(state(step), StepState::Succeeded | StepState::Failed))
        };
        let outages = self.context.plan.outages.iter();
        outages
            .filter(|outage| {
                let notes = self.outages.get(&outage.node);
                touched(outage) && notes.is_some_and(|(_, notes)| self.is_left_cordoned(outage, notes))
            })
            .collect()
    }

    /// Why a node was not started although nothing stopped the cluster.
    fn passed_by(&self, outage: &Outage, kept: &[&Outage]) -> StopCause {
        if let Some(slot) = self.occupancy.lacks(&outage.node) {
            let keeps = |other: &&&Outage| other.holds.iter().any(|hold| hold.slot == *slot);
            let held_by = kept.iter().filter(keeps).map(|other| other.node.clone()).collect();
            return StopCause::NoPlace { slot: slot.clone(), held_by };
        }
        let unfinished = |other: &&Outage| other.steps.iter().any(|step| !self.state.of(step).is_final());
        let mut outages = self.context.plan.outages.iter();
        let before = outages
            .find(|other| other.table == outage.table && other.rank < outage.rank && unfinished(other))
            .map(|other| other.node.clone());
        before.map_or(StopCause::Lost, |node| StopCause::ComesAfter { node })
    }
}
