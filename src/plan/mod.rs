//! Changes → draft → plan: order and safety. Synchronous and pure.

mod blocked;
mod certificate;
mod check;
mod draft;
mod drain;
mod error;
mod facts;
mod limits;
mod outage;
mod replay;
mod select;
mod startable;
mod state;
mod types;
mod wave;
pub mod words;

use jiff::Timestamp;
use std::collections::BTreeMap;

use crate::config::Config;
use crate::model::{ClusterName, Snapshot};

pub use blocked::{Blocked, BlockedReason, BudgetProof, Kured, Notice, Standing, Unknown, UnknownReason, Wanted};
pub use certificate::{
    CertificateReport, CertificateStanding, JudgedCertificate, JudgedRequest, Renewer, ServingFault,
};
pub use check::{CheckError, Note, check};
pub use draft::{Draft, DraftCluster, draft};
pub use error::PlanError;
pub use facts::{CordonOf, Facts, LeftBy, NodeFacts};
pub use replay::{Ending, Replayed, replay};
pub use select::{Selection, chosen_clusters};
pub use startable::{Consequence, Occupancy, after_failure, passed_over, startable};
pub use state::StepState;
pub use types::{
    Action, Adopts, Capacity, ClusterPlan, Counts, HeldUntil, Hold, Impact, NodeEnd, OnFailure, Outage, Plan,
    Precondition, Rest, Slot, Step, StepId, Verb, Wave, Why,
};
pub use wave::waves;

/// Plans what brings the observed clusters to the state that the config wants at `now`, within the selection.
///
/// Clusters of the config that are not among the snapshots are left alone. The same input gives the same plan.
///
/// # Errors
/// [`PlanError`] when config and clusters cannot be compared, the selection names something that was not observed, the
/// clusters come after each other in a circle, or, a mistake of ours, the plan does not pass its own checker.
pub fn plan(
    config: &Config,
    snapshots: &BTreeMap<ClusterName, Snapshot>,
    now: Timestamp,
    selection: &Selection,
) -> Result<Plan, PlanError> {
    Ok(check(draft(config, snapshots, now, selection)?)?)
}
