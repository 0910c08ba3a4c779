//! Planning: from config and snapshot to a checked plan.

#![allow(clippy::unwrap_used, reason = "a test that cannot make its scene has failed")]

mod adopted;
mod blocked;
mod checker;
mod properties;
pub(crate) mod scene;
mod shape;
mod triggers;
