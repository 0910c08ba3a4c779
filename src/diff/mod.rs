//! Config × snapshot → what is wanted of each node, and why. No order and no safety: those are the plan's.

mod adopt;
mod compare;
mod error;
mod scope;
mod trigger;
mod types;

pub use compare::compare;
pub use error::DiffError;
pub use scope::similar_names;
pub use trigger::{CLOCK_TOLERANCE, REPORT_VALIDITY};
pub use types::{
    Adoption, Change, Differences, Hindrance, Kured, Missing, Notice, Standing, Unknown, UnknownReason, Verdict,
    Wanted, Why,
};
