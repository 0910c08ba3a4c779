//! The executor: does what the plan says, step by step, and proves each step.
//!
//! One dispatcher per cluster owns all state and decides nothing: which step starts now is the plan's own
//! [`crate::plan::startable`]. Steps are spawned and never aborted; they look at the interrupt only while they wait.
//! Nothing is changed without the lock and without a journal line on disk.

mod context;
mod dispatcher;
mod interrupt;
mod live;
mod lock;
mod start;
mod step;
mod sweep;
mod vacancy;
mod waiting;

pub use interrupt::Interrupt;
pub use lock::{Connect, Lock, LockError, LockLost, Renew};
pub use start::{Access, ApplyError, Input, Outcome, apply};
pub use sweep::SweepError;
pub use vacancy::{Awaited, Silence, vacancy};
