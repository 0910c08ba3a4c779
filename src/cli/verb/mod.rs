//! One file per verb.

pub(super) mod apply;
pub(super) mod doctor;
pub(super) mod fmt;
pub(super) mod node;
pub(super) mod plan;
pub(super) mod rehearse;
mod resume;
pub(super) mod sandbox;
pub(super) mod schema;
pub(super) mod snapshot;
pub(super) mod status;
pub(super) mod validate;
