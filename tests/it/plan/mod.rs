//! Planning: from config and snapshot to a checked plan.

mod blocked;
mod checker;
mod large;
mod properties;
mod scene;
mod shape;
mod triggers;
