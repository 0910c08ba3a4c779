//! `run.v1`: event ↔ one line of JSON.

mod read;
mod wire;
mod write;

pub use read::read;
pub(super) use wire::Line;
pub use write::write;

/// The longest line that is read: texts of others are in it, but never whole objects.
pub const MAX_BYTES: usize = 4 * 1024 * 1024;

/// What runs create before their first step; [`crate::run::Intent::EnsureBase`] names one of these. Anything else is
/// read back as the last.
pub const BASES: [&str; 4] =
    ["namespace haulout-system", "service account haulout-node", "lease haulout", "objects that runs need"];
