//! What happens in a run: its events, its waits, and which changes of a step's state are legal. Pure.

mod event;
mod held;
mod outcome;
mod transition;
mod wait;

pub use crate::plan::StepId;
pub use event::{Conclusion, Event, EventKind, Evidence, FailureKind, Intent, StepFailure};
pub use held::{Held, HeldAt, HeldNode};
pub use outcome::{Ending, LeftAs, NodeOutcome, Remaining, StopCause, Summary, counts_more, ending, timeout_halts};
pub use transition::{IllegalTransition, RunState, transition};
pub use wait::{Wait, WaitFor};
