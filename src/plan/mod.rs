//! Changes → draft → plan: order and safety. Synchronous and pure.

mod blocked;
mod state;
mod types;
pub mod words;

pub use blocked::{Blocked, BlockedReason, BudgetProof, Notice, Unknown, UnknownReason, Wanted};
pub use state::StepState;
pub use types::{
    Action, Capacity, ClusterPlan, Counts, HeldUntil, Hold, Impact, NodeEnd, OnFailure, Outage, Plan, Precondition,
    Rest, Slot, Step, StepId, Verb, Wave, Why,
};
