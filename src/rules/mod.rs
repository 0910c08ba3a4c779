//! The law of Kubernetes as far as maintenance meets it, written once and shared by planner, executor and twin: how a
//! disruption budget is counted, what an eviction is answered, where an evicted pod may go, what a drain must move and
//! what can never be moved, when a certificate has to be renewed, and which
//! requests for one may be approved.
//!
//! Pure functions over `model`. What they say was compared with a live control plane; where planner and twin share a
//! mistake, only that comparison finds it.

pub mod budget;
pub mod eviction;
pub mod expiry;
mod obstacle;
pub mod placement;
pub mod serving;

pub use obstacle::{
    BudgetProof, BudgetVerdict, Departure, Refused, Stay, budget_verdict, departure, is_budget_exempt, operator_of,
};
