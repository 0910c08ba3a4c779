//! Bytes ↔ domain, for what crosses the border of the program: plans, runs, snapshots. No paths, no I/O.
//!
//! The domain's types are never serialised themselves: each format has wire types of its own, whose JSON Schema is
//! published in `schemas/` and compared by a test, so that a change inside cannot change a format unseen.
//!
//! Every document says what it is (`kind`) and in which version (`format_version`). A newer one is refused: a field
//! that this haulout does not know may be the one that makes a node untouchable.

mod certificate;
mod error;
mod json;
pub mod plan;
pub mod run;
mod schema;
pub mod snapshot;

pub use error::{FormatError, Kind};
pub use schema::schema;
