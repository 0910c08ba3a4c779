//! What a rehearsal found.

use jiff::Timestamp;
use std::collections::BTreeMap;

use super::{Conclusion, Event, Summary};
use crate::model::{BudgetKey, ClusterName, NodeName, PodKey};

/// A run that was rehearsed.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// When it would begin.
    pub began: Timestamp,
    /// When it is predicted to end.
    pub ends: Timestamp,
    /// Everything that happened, in order.
    pub events: Vec<Event>,
    /// What each cluster went through.
    pub clusters: BTreeMap<ClusterName, Endured>,
    /// What became of each node.
    pub summary: Summary,
    /// In short; `None` where the run was still going on after the longest time that is rehearsed.
    pub conclusion: Option<Conclusion>,
}

/// What one cluster went through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endured {
    /// What happened to each pod to which something happened.
    pub pods: BTreeMap<PodKey, Suffered>,
    /// The least healthy moment of every budget.
    pub budgets: BTreeMap<BudgetKey, Low>,
}

/// What happened to a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suffered {
    /// The node that it was on first.
    pub node: Option<NodeName>,
    /// How often it was evicted: more than once only where its name is used again.
    pub evictions: u32,
    /// How often its containers were restarted by a boot.
    pub restarts: u32,
}

/// The least healthy moment of a budget: when the fewest of its pods were healthy, measured by what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Low {
    /// When that was for the first time.
    pub at: Timestamp,
    /// Healthy pods then.
    pub healthy: u32,
    /// Healthy pods that it needs.
    pub desired: u32,
    /// Pods that it expects.
    pub expected: u32,
}

impl Low {
    /// Whether fewer were healthy than the budget needs.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.healthy < self.desired
    }
}

impl Rehearsal {
    /// Whether the run did all that it was to do.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.conclusion == Some(Conclusion::Done)
    }
}
