//! A valid config, without any trace of the text that it came from.

use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    ClusterName, DrainRule, Foreign, LabelKey, Limit, NodeName, NodePod, RebootMethod, Selector, TableName,
};

/// A whole config.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Who this is: written on every cordon that this config makes.
    pub name: Foreign,
    /// The clusters.
    pub clusters: BTreeMap<ClusterName, Cluster>,
    /// What is to be rebooted.
    pub reboots: BTreeMap<TableName, Reboot>,
    /// What is to be out of service.
    pub out_of_service: BTreeMap<TableName, OutOfService>,
    /// What is never touched.
    pub protect: BTreeMap<TableName, Protect>,
}

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// A context of the kubeconfig that kubectl would use.
    Context(Foreign),
    /// A simulated cluster, described by this file, relative to the config.
    Sandbox(PathBuf),
}

/// A cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// How it is reached.
    pub reach: Reach,
    /// Its tags.
    pub tags: BTreeMap<Arc<str>, Arc<str>>,
    /// The clusters whose changes come first.
    pub after: BTreeSet<ClusterName>,
    /// Nodes out in the whole cluster, for any reason.
    pub max_unavailable: Limit,
    /// The label that names a node's pool; `None` is the well-known ones.
    pub pool_label: Option<LabelKey>,
    /// The image that reboots nodes.
    pub node_pod: Option<NodePod>,
}

/// What a table speaks of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    /// Clusters, tags resolved; at least one.
    pub clusters: BTreeSet<ClusterName>,
    /// Nodes by name. A name that no node has is for the planner to report.
    pub nodes: BTreeSet<NodeName>,
    /// Nodes by label.
    pub selector: Option<Selector>,
}

impl Scope {
    /// Whether the table neither names nor selects nodes; what that means is the table's own matter.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        self.nodes.is_empty() && self.selector.is_none()
    }
}

/// One entry of `order`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The nodes that match.
    Selector(Selector),
    /// `*`: all others.
    Rest,
}

/// `on_failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Start nothing new.
    Halt,
    /// The other nodes go on.
    Continue,
}

/// A `reboot` table.
#[derive(Debug, Clone, PartialEq)]
pub struct Reboot {
    /// What it speaks of; no nodes and no selector is: Linux nodes that are not control plane.
    pub scope: Scope,
    /// No node waits for a reboot.
    pub when_required: bool,
    /// No node is up longer.
    pub max_uptime: Option<Duration>,
    /// Every node booted after this.
    pub booted_after: Option<Timestamp>,
    /// Each entry finishes before the next starts; empty is no order.
    pub order: Vec<Order>,
    /// Per pool.
    pub max_unavailable: Limit,
    /// Per zone; `None` is no limit.
    pub max_unavailable_per_zone: Option<Limit>,
    /// What a failure does to the rest.
    pub on_failure: OnFailure,
    /// How nodes are rebooted.
    pub method: RebootMethod,
    /// The longest wait for a node to come back.
    pub ready_timeout: Duration,
    /// The pause between two checks.
    pub settle: Duration,
    /// How nodes are drained.
    pub drain: DrainRule,
    /// Reboot control-plane nodes although etcd may lose its quorum.
    pub accept_api_outage: bool,
}

/// An `out_of_service` table.
#[derive(Debug, Clone, PartialEq)]
pub struct OutOfService {
    /// What it speaks of.
    pub scope: Scope,
    /// Why.
    pub reason: Foreign,
    /// After it the plan warns.
    pub until: Option<Timestamp>,
    /// How nodes are drained.
    pub drain: DrainRule,
}

/// A `protect` table.
#[derive(Debug, Clone, PartialEq)]
pub struct Protect {
    /// What it speaks of; no nodes and no selector is: every node of its clusters.
    pub scope: Scope,
}
