//! Reads → [`Snapshot`](crate::model::Snapshot).
//!
//! Every kind is read once, all at the same time, with as few requests as there are pages. What cannot be read becomes
//! a [`Gap`](crate::model::Gap) that the plan shows, with the rule that would close it; only without nodes nothing can
//! be planned.

mod gap;
mod snapshot;

pub use snapshot::{Extent, ObserveError, observe};
