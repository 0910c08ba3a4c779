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
use crate::run::{EventKind, Evidence, FailureKind, NodeOutcome, RunState, StepFailure};

type Outcomes = BTreeMap<(ClusterName, NodeName), NodeOutcome>;

struct Dispatcher {
    context: Arc<ClusterContext>,
    state: RunState,
    /// The plan's own bookkeeping of slots, fed with every change of a state.
    occupancy: Occupancy,
    outages: BTreeMap<NodeName, (Arc<Outage>, Arc<Mutex<OutageNotes>>)>,
    failures: BTreeMap<NodeName, (StepId, StepFailure)>,
    halted: bool,
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
        halted: false,
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
                let _ = step::settle(&context).await;
            }
        }
    }

    /// What may start now: the plan's own answer, and nothing of it once the journal is broken. A halt, an interrupt
    /// and a lost lock start no new outage, but let those under way go on.
    fn startable(&mut self) -> Vec<StepId> {
        let taken = self.context.lock.check() == Err(LockLost::Taken);
        let halted = self.halted || self.context.interrupt.is_requested() || taken;
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

    async fn failed(&mut self, step: StepId, failure: StepFailure) {
        let timed_out = failure.kind == FailureKind::TimedOut;
        let event = EventKind::StepFailed { step: step.clone(), failure: failure.clone() };
        if !self.record(event.clone()).await {
            self.take(&event);
        }
        // The first failure of a node is what its report speaks of; an uncordon that fails after it only adds.
        let interrupted = failure.kind == FailureKind::Interrupted;
        self.failures.entry(step.node.clone()).or_insert_with(|| (step.clone(), failure));
        let consequence = plan::after_failure(&self.context.plan, &step, timed_out);
        for skipped in consequence.skip {
            if self.state.of(&skipped) == StepState::Pending {
                let event = EventKind::StepSkipped { step: skipped };
                if !self.record(event.clone()).await {
                    self.take(&event);
                }
            }
        }
        if consequence.halt && !interrupted && !self.halted {
            self.halted = true;
            // The same rule per node as for an interrupt: drains under way stop, and their nodes are uncordoned.
            self.context.interrupt.request();
            let cluster = self.context.plan.cluster.clone();
            self.record(EventKind::ClusterHalted { cluster, step }).await;
        }
    }

    fn outcomes(&self) -> Outcomes {
        let cluster = &self.context.plan.cluster;
        self.outages
            .iter()
            .map(|(node, (outage, notes))| {
                let of = |verb| outage.steps.iter().find(|step| step.verb == verb).map(|step| self.state.of(step));
                let (sent, released) = {
                    let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                    (notes.cordon_sent, notes.released)
                };
                let left = outage.adopts.as_ref().is_some_and(|adopts| adopts.cordoned);
                let out = match of(Verb::Cordon) {
                    _ if left => true,
                    Some(StepState::Succeeded) => true,
                    // A cordon whose answer is not known may have been done.
                    Some(StepState::Failed | StepState::Running) => sent,
                    Some(StepState::Pending | StepState::Skipped) => false,
                    None => outage.already_out,
                };
                let cordoned = out && !released && of(Verb::Uncordon) != Some(StepState::Succeeded);
                let states: Vec<StepState> = outage.steps.iter().map(|step| self.state.of(step)).collect();
                let outcome = if let Some((step, failure)) = self.failures.get(node) {
                    NodeOutcome::Failed { step: step.clone(), failure: failure.clone(), cordoned }
                } else if states.iter().all(|state| *state == StepState::Succeeded) {
                    NodeOutcome::Done
                } else if let Some(step) = outage.steps.iter().find(|step| self.state.of(step) != StepState::Succeeded)
                    && cordoned
                    && (left || of(Verb::Cordon).is_some())
                {
                    // Nothing failed here, and yet the node stays cordoned: the report must name it.
                    let failure = StepFailure {
                        kind: FailureKind::Interrupted,
                        message: Foreign::new("the run stopped before this"),
                        advice: None,
                    };
                    NodeOutcome::Failed { step: step.clone(), failure, cordoned }
                } else {
                    NodeOutcome::NotStarted
                };
                ((cluster.clone(), node.clone()), outcome)
            })
            .collect()
    }
}
