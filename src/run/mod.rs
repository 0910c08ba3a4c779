//! What happens in a run: its events, its waits, and which changes of a step's state are legal. Pure.

mod event;
mod rehearsal;
mod transition;
mod wait;

pub use crate::plan::StepId;
pub use event::{
    Conclusion, Event, EventKind, Evidence, FailureKind, Intent, NodeOutcome, Remaining, StepFailure, Summary,
};
pub use rehearsal::{Endured, Low, Rehearsal, Suffered};
pub use transition::{IllegalTransition, RunState, transition};
pub use wait::{Wait, WaitFor};
