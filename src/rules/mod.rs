//! The law of Kubernetes as far as maintenance meets it, written once and shared by planner, executor and twin: how a
//! disruption budget is counted, what an eviction is answered, and where an evicted pod may go.
//!
//! Pure functions over `model`. What they say was compared with a live control plane; where planner and twin share a
//! mistake, only that comparison finds it.

pub mod budget;
pub mod eviction;
pub mod placement;
