//! The states of a step, which are what the dispatcher, the waves and the checker agree on.

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Begun.
    Running,
    /// Done and proved.
    Succeeded,
    /// Tried and failed.
    Failed,
    /// Left out because an earlier step of its outage failed.
    Skipped,
}

impl StepState {
    /// Whether nothing more will happen to it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, StepState::Succeeded | StepState::Failed | StepState::Skipped)
    }
}
