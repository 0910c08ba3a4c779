//! The law shared by planner, executor and twin: what may be evicted, and what can never be.

mod obstacle;

pub use obstacle::{
    BudgetProof, BudgetVerdict, Departure, Refused, Stay, budget_verdict, departure, is_budget_exempt, operator_of,
};
