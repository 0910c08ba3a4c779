//! `snapshot.v1`: snapshot ↔ JSON, without loss.

mod read;
mod wire;
mod write;

pub use read::read;
pub(super) use wire::{Document, MarkPhase};
pub use write::write;

/// The most bytes that are read: several times what the largest clusters that Kubernetes supports make.
pub const MAX_BYTES: usize = 512 * 1024 * 1024;
