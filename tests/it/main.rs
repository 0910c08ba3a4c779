//! Every test that needs more than one module; one binary, so that it links once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod apply;
mod certificates;
mod cli;
mod config;
mod format;
mod journal;
mod layers;
mod node;
mod plan;
mod plans;
mod rehearse;
mod render;
mod run;
mod serve;
#[cfg(unix)]
mod signal;
mod simulation;
mod twin;
mod vacancy;
mod wire;
