//! The config: desired state, from TOML text.

mod types;

pub use types::{Cluster, ClusterRef, Config, OnFailure, Order, OutOfService, Protect, Reach, Reboot, Scope};
