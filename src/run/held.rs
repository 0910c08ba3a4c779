//! The nodes that a run holds out of service at this moment, from its events: what has to be said when it is left at
//! once, without a summary.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::event::{EventKind, FailureKind, Intent};
use crate::model::{ClusterName, NodeName, Phase};
use crate::plan::{ClusterPlan, StepId, Verb};

/// How far a run has come with a node that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldAt {
    /// Its cordon was announced; whether it was done is not known.
    Cordoning,
    /// The phase that was written on it, or is being written.
    Phase(Phase),
    /// Its uncordon was announced; whether it was done is not known.
    Uncordoning,
}

/// A node that a run holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldNode {
    /// How far the run has come with it.
    pub at: HeldAt,
    /// Whether its reboot may have been requested.
    pub requested: bool,
}

/// What a run holds, brought up to date with every event. Events are taken in before they are acted on, so that a node
/// is rather named too early than too late.
#[derive(Debug, Clone, Default)]
pub struct Held {
    nodes: BTreeMap<(ClusterName, NodeName), HeldNode>,
    locks: BTreeSet<ClusterName>,
    sandboxes: BTreeSet<ClusterName>,
    /// The nodes that are to be schedulable in the end; the others are wanted cordoned.
    returning: BTreeSet<(ClusterName, NodeName)>,
}

fn address(step: &StepId) -> (ClusterName, NodeName) {
    (step.cluster.clone(), step.node.clone())
}

impl Held {
    /// Before the first event of a run of these clusters.
    #[must_use]
    pub fn new(clusters: &[Arc<ClusterPlan>]) -> Self {
        let simulated = clusters.iter().filter(|cluster| cluster.sandbox);
        let steps = clusters.iter().flat_map(|cluster| cluster.steps.keys());
        Self {
            sandboxes: simulated.map(|cluster| cluster.cluster.clone()).collect(),
            returning: steps.filter(|step| step.verb == Verb::Uncordon).map(address).collect(),
            ..Self::default()
        }
    }

    /// Takes an event in.
    pub fn take(&mut self, event: &EventKind) {
        match event {
            EventKind::LockTaken { cluster } => {
                self.locks.insert(cluster.clone());
            }
            EventKind::LockReleased { cluster } => {
                self.locks.remove(cluster);
            }
            EventKind::Intended { step: Some(step), intent } => self.intended(step, intent),
            EventKind::Intended { step: None, intent: Intent::SettleCordon { cluster, node } } => {
                self.nodes.remove(&(cluster.clone(), node.clone()));
            }
            EventKind::StepSucceeded { step, .. } => self.succeeded(step),
            EventKind::StepFailed { step, failure } if step.verb == Verb::Cordon => match failure.kind {
                // A definite no: the node was not touched.
                FailureKind::Stale | FailureKind::Interrupted | FailureKind::Refused => {
                    self.nodes.remove(&address(step));
                }
                FailureKind::TimedOut | FailureKind::Unclear | FailureKind::LockLost | FailureKind::Panicked => {}
            },
            EventKind::Intended { step: None, .. }
            | EventKind::RunStarted { .. }
            | EventKind::StepStarted { .. }
            | EventKind::StepWaiting { .. }
            | EventKind::StepProgress { .. }
            | EventKind::StepNote { .. }
            | EventKind::StepFailed { .. }
            | EventKind::StepSkipped { .. }
            | EventKind::ClusterHalted { .. }
            | EventKind::Interrupted
            | EventKind::RunFinished { .. } => {}
        }
    }

    fn at(&mut self, step: &StepId, at: HeldAt) -> &mut HeldNode {
        let node = self.nodes.entry(address(step)).or_insert(HeldNode { at, requested: false });
        node.at = at;
        node
    }

    fn intended(&mut self, step: &StepId, intent: &Intent) {
        match intent {
            Intent::Cordon => {
                self.at(step, HeldAt::Cordoning);
            }
            Intent::Phase(phase) => {
                self.at(step, HeldAt::Phase(*phase));
            }
            Intent::TriggerReboot { .. } => self.at(step, HeldAt::Phase(Phase::Reboot)).requested = true,
            // A node that was cordoned before this run began is this run's to speak of only once it was touched.
            Intent::Uncordon => {
                self.at(step, HeldAt::Uncordoning);
            }
            Intent::SettleCordon { .. } => {
                self.nodes.remove(&address(step));
            }
            Intent::StartRebootPod | Intent::DeleteRebootPod | Intent::Evict { .. } | Intent::EnsureBase(_) => {}
        }
    }

    fn succeeded(&mut self, step: &StepId) {
        match step.verb {
            Verb::Cordon => {
                self.at(step, HeldAt::Phase(Phase::Cordoned));
            }
            Verb::Uncordon => {
                self.nodes.remove(&address(step));
            }
            // Out of service, as wanted: nothing is left to undo.
            Verb::Drain if !self.returning.contains(&address(step)) => {
                self.nodes.remove(&address(step));
            }
            Verb::Drain | Verb::Reboot | Verb::AwaitReady => {}
        }
    }

    /// The nodes that are held, in order.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<(ClusterName, NodeName), HeldNode> {
        &self.nodes
    }

    /// The clusters whose lock is held.
    #[must_use]
    pub fn locks(&self) -> &BTreeSet<ClusterName> {
        &self.locks
    }

    /// Whether a cluster is simulated.
    #[must_use]
    pub fn is_simulated(&self, cluster: &ClusterName) -> bool {
        self.sandboxes.contains(cluster)
    }
}
