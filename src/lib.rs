//! haulout: a declarative maintenance planner for Kubernetes clusters.
//!
//! ```text
//! config.toml ─► config ─┐
//!                        ├─► diff ─► plan ─► check ─► render / JSON
//! clusters ─► observe ───┘                     └────► apply ─► journal ─► clusters
//! ```
//! One way. Planning is a pure, synchronous function of config, snapshot and time. Only `provider`, `observe`, `apply`
//! and `cli` see the outside. The modules below are in the order of the flow, and each uses only those that the table
//! in `tests/it/layers.rs` names.
//!
//! The library serves the binary and its tests; it is not a stable API.

// Nouns and arithmetic on them.
pub mod model;

// The law that planner, executor and twin share.
pub mod rules;

// TOML text → valid config.
pub mod config;

// Config × snapshot → changes.
pub mod diff;

// Changes → plan.
pub mod plan;

// Events, waits, legal transitions.
pub mod run;

// Bytes ↔ domain.
pub mod format;

// The record of a run.
pub mod journal;

// The outside.
pub mod provider;

// Reads → snapshot.
pub mod observe;

// The executor.
pub mod apply;

// The simulated cluster.
pub mod twin;

// Plan + snapshot → what would happen.
pub mod rehearse;

// What people see.
pub mod render;

// What runs on nodes.
pub mod node;

// Arguments, terminal, exit codes: the composition root.
pub mod cli;
