//! The only definition of which changes of a step's state are legal.

use std::collections::BTreeMap;

use super::EventKind;
use crate::plan::{StepId, StepState};

/// An event that does not fit the state of its step; a mistake in the executor or a damaged journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step} is {from:?} and cannot become {to:?}")]
pub struct IllegalTransition {
    /// The step.
    pub step: StepId,
    /// Its state.
    pub from: StepState,
    /// What the event would make of it.
    pub to: StepState,
}

/// What an event makes of a step in the state `from`; `None` where the event leaves it as it is.
///
/// # Errors
/// [`IllegalTransition`] when the event does not fit.
pub fn transition(step: &StepId, from: StepState, event: &EventKind) -> Result<Option<StepState>, IllegalTransition> {
    use StepState::{Failed, Pending, Running, Skipped, Succeeded};
    let to = match event {
        EventKind::StepStarted { .. } => Running,
        EventKind::StepSucceeded { .. } => Succeeded,
        EventKind::StepFailed { .. } => Failed,
        EventKind::StepSkipped { .. } => Skipped,
        EventKind::Intended { .. }
        | EventKind::StepWaiting { .. }
        | EventKind::StepProgress { .. }
        | EventKind::StepNote { .. } => {
            return if from == Running {
                Ok(None)
            } else {
                Err(IllegalTransition { step: step.clone(), from, to: Running })
            };
        }
        EventKind::RunStarted { .. }
        | EventKind::LockTaken { .. }
        | EventKind::LockReleased { .. }
        | EventKind::ClusterHalted { .. }
        | EventKind::Interrupted
        | EventKind::RunFinished { .. } => return Ok(None),
    };
    match (from, to) {
        (Pending, Running | Skipped) | (Running, Succeeded | Failed) => Ok(Some(to)),
        (Pending | Running | Succeeded | Failed | Skipped, _) => {
            Err(IllegalTransition { step: step.clone(), from, to })
        }
    }
}

/// The states of all steps of a run, changed only through [`transition`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunState {
    steps: BTreeMap<StepId, StepState>,
}

impl RunState {
    /// All steps pending.
    pub fn new(steps: impl IntoIterator<Item = StepId>) -> Self {
        Self { steps: steps.into_iter().map(|step| (step, StepState::Pending)).collect() }
    }

    /// Takes an event in.
    ///
    /// # Errors
    /// [`IllegalTransition`] when it does not fit, or names a step that the run does not have.
    pub fn apply(&mut self, event: &EventKind) -> Result<(), IllegalTransition> {
        let Some(step) = event.step() else { return Ok(()) };
        let Some(state) = self.steps.get_mut(step) else {
            return Err(IllegalTransition { step: step.clone(), from: StepState::Skipped, to: StepState::Running });
        };
        if let Some(next) = transition(step, *state, event)? {
            *state = next;
        }
        Ok(())
    }

    /// The states by address.
    #[must_use]
    pub fn steps(&self) -> &BTreeMap<StepId, StepState> {
        &self.steps
    }

    /// The state of one step; `Skipped` for a step that the run does not have.
    #[must_use]
    pub fn of(&self, step: &StepId) -> StepState {
        self.steps.get(step).copied().unwrap_or(StepState::Skipped)
    }
}
