//! The simulated cluster: what a newcomer tries haulout on, and what plans are rehearsed against.
//!
//! [`World`] is one synchronous machine in virtual time: it answers requests, lives until a moment, and says when
//! something happens next. It has nodes with kubelets that obey the reboot pod, controllers, a scheduler and disruption
//! budgets, and it answers evictions by the same [`crate::rules`] that the planner uses, so their agreement proves
//! nothing; a real control plane does.
//!
//! [`Sandbox`] puts a clock, a place to save to and an HTTP API around it; [`Port`] is the same cluster behind the traits
//! of [`crate::provider`].

mod accept;
mod access;
mod actor;
mod admit;
mod api;
mod concern;
mod deletion;
mod discovery;
mod due;
mod evict;
mod failure;
mod file;
mod http;
mod index;
pub mod json;
mod kind;
mod known;
mod manifest;
mod object;
mod ownership;
mod patch;
mod path;
mod port;
mod request;
mod sandbox;
mod select;
mod serve;
mod store;
mod table;
mod view;
mod watch;
mod world;

pub use access::{Access, AccessError, KubeconfigEntry, kubeconfig};
pub use failure::Failure;
pub use file::{SandboxFile, schema};
pub use kind::{Key, Kind};
pub use patch::PatchKind;
pub use port::{Port, Seen, Witness};
pub use request::{Filter, Options, Request, Response, Subresource, Validation, Verb};
pub use sandbox::{Clock, Sandbox, SandboxError, Store};
pub use serve::serve;
pub use store::Change;
pub use world::{Delays, Unreadable, World};
