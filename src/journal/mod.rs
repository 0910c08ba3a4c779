//! The append-only record of a run, and the only maker of a [`Permit`].
//!
//! One thread appends JSON lines to a numbered segment and fsyncs; everybody else sends it events. A mutation's line is
//! on disk before its permit exists, so that after any crash the journal knows of everything that may have happened.

mod file;
mod past;
mod permit;
mod store;

pub use file::{Hold, Segment, write_whole};
pub use past::Past;
pub use permit::Permit;
pub use store::{Journal, JournalError, Sink};
