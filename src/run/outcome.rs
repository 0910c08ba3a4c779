//! How nodes come out of a run, defined once: the summary, what is left and the progress of a run all count by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::event::{FailureKind, StepFailure};
use crate::model::{ClusterName, NodeName};
use crate::plan::{self, ClusterPlan, Outage, Slot, StepId, StepState, Verb};

/// In which of five ways a node comes out of a run. [`ending`] decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Every step was proved.
    Done,
    /// A step of its own failed.
    Failed,
    /// Its drain took too long; it was given back, and the others went on.
    Skipped,
    /// Begun, and ended early although nothing of its own failed.
    Interrupted,
    /// Nothing was done to it.
    NotStarted,
}

/// In which way a node came out, by the states of its steps and by the failure that counts (see [`counts_more`]).
/// `timeout_halts` is whether a drain that takes too long stops the cluster.
#[must_use]
pub fn ending(states: &BTreeMap<Verb, StepState>, failure: Option<(Verb, FailureKind)>, timeout_halts: bool) -> Ending {
    let given_back = states.get(&Verb::Uncordon) == Some(&StepState::Succeeded);
    match failure {
        // A cordon is interrupted only before it is sent.
        Some((Verb::Cordon, FailureKind::Interrupted)) => Ending::NotStarted,
        Some((_, FailureKind::Interrupted)) => Ending::Interrupted,
        Some((Verb::Drain, FailureKind::TimedOut)) if given_back && !timeout_halts => Ending::Skipped,
        Some(_) => Ending::Failed,
        None if !states.is_empty() && states.values().all(|state| *state == StepState::Succeeded) => Ending::Done,
        None => {
            let begun = |state: &StepState| matches!(state, StepState::Running | StepState::Succeeded);
            if states.values().any(begun) { Ending::Interrupted } else { Ending::NotStarted }
        }
    }
}

/// Whether a failure takes the place of an earlier one in what is told of a node: the first that is no mere stop
/// counts, because a node that was stopped and then could not be given back has failed.
#[must_use]
pub fn counts_more(earlier: Option<FailureKind>, later: FailureKind) -> bool {
    match earlier {
        None => true,
        Some(FailureKind::Interrupted) => later != FailureKind::Interrupted,
        Some(_) => false,
    }
}

/// Whether the plan stops the cluster when the drain of an outage takes too long.
#[must_use]
pub fn timeout_halts(plan: &ClusterPlan, outage: &Outage) -> bool {
    let drain = outage.steps.iter().find(|step| step.verb == Verb::Drain);
    drain.is_some_and(|drain| plan::after_failure(plan, drain, true).halt)
}

/// Why a run did not begin, or did not finish, with a node on which nothing failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopCause {
    /// The person interrupted the run.
    Interrupted,
    /// The failure of this step halted the cluster.
    Halted {
        /// The step that failed.
        by: StepId,
    },
    /// Another run took the lock.
    LockLost,
    /// The journal could not be written any more.
    JournalLost,
    /// There was no place under a limit.
    NoPlace {
        /// The limit.
        slot: Slot,
        /// Nodes of this run that keep it filled, because they were not given back.
        held_by: Vec<NodeName>,
    },
    /// In the `order` of its table it comes after this node, which did not come to its end.
    ComesAfter {
        /// The node.
        node: NodeName,
    },
    /// Its cluster comes after this one, in which not everything was done.
    ClusterBefore {
        /// The cluster.
        cluster: ClusterName,
    },
    /// A mistake in haulout: what worked on its cluster was lost.
    Lost,
}

/// How a node came out of the run. Every node of the plan has exactly one outcome; the first that fits:
///
/// 1. *not started*: nothing was done to it, not even its cordon. One that only waited for its place counts here too.
/// 2. *failed*: a step of its own failed, whatever became of it then.
/// 3. *skipped*: its drain took longer than it may, it was made schedulable again, and the run went on, as
///    `on_timeout = "skip"` says.
/// 4. *done*: every step was proved.
/// 5. *interrupted*: begun, and ended early because the whole run was stopped: by a person, by the failure of another
///    node, by the loss of lock or journal. A node that was drained and then made schedulable again because of such a
///    stop counts here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeOutcome {
    /// What was wanted is done.
    Done,
    /// A step failed; how the node was left is in `cordoned`.
    Failed {
        /// The step.
        step: StepId,
        /// Why.
        failure: StepFailure,
        /// Why it could not be made schedulable again after that, where that failed too.
        uncordon: Option<StepFailure>,
        /// Whether the node was left cordoned by us.
        cordoned: bool,
    },
    /// Its drain took too long; it is schedulable again.
    Skipped {
        /// The drain.
        step: StepId,
        /// What it waited for.
        failure: StepFailure,
    },
    /// Begun, and ended early although nothing of its own failed.
    Interrupted {
        /// The first step that was not done.
        step: StepId,
        /// What stopped it.
        cause: StopCause,
        /// Whether the node was left cordoned by us.
        cordoned: bool,
    },
    /// Nothing was done to it.
    NotStarted {
        /// Why not.
        cause: StopCause,
    },
}

impl NodeOutcome {
    /// Which of the five it is.
    #[must_use]
    pub fn ending(&self) -> Ending {
        match self {
            NodeOutcome::Done => Ending::Done,
            NodeOutcome::Failed { .. } => Ending::Failed,
            NodeOutcome::Skipped { .. } => Ending::Skipped,
            NodeOutcome::Interrupted { .. } => Ending::Interrupted,
            NodeOutcome::NotStarted { .. } => Ending::NotStarted,
        }
    }
}

/// As what a node is left after the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftAs {
    /// This run failed on it.
    Failed,
    /// This run skipped it.
    Skipped,
    /// This run ended early on it.
    Interrupted,
    /// This run did not start it.
    NotStarted,
    /// Not in this run's plan, or done by it: it is blocked.
    Blocked,
    /// Not in this run's plan, or done by it: its state is not known.
    Unknown,
    /// Not in this run's plan, or done by it: something is to do there now.
    New,
}

/// What is left after the run, from the look after it: every node on which something wanted is not so, once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remaining {
    /// As what each is left.
    pub nodes: BTreeMap<(ClusterName, NodeName), LeftAs>,
}

impl Remaining {
    /// What is left by the plan made of the look after a run. A node that this run did not finish is left as that,
    /// also where the look finds it blocked now: its marks may be what blocks it.
    #[must_use]
    pub fn after(summary: &Summary, look: &[Arc<ClusterPlan>]) -> Self {
        let mut nodes = BTreeMap::new();
        for cluster in look {
            let blocked = cluster.blocked.iter().map(|blocked| (&blocked.node, LeftAs::Blocked));
            let unknown = cluster.unknown.iter().map(|unknown| (&unknown.node, LeftAs::Unknown));
            let wanted = cluster.outages.iter().map(|outage| (&outage.node, LeftAs::New));
            for (node, otherwise) in blocked.chain(unknown).chain(wanted) {
                let address = (cluster.cluster.clone(), node.clone());
                let left = match summary.nodes.get(&address).map(NodeOutcome::ending) {
                    None | Some(Ending::Done) => otherwise,
                    Some(Ending::Failed) => LeftAs::Failed,
                    Some(Ending::Skipped) => LeftAs::Skipped,
                    Some(Ending::Interrupted) => LeftAs::Interrupted,
                    Some(Ending::NotStarted) => LeftAs::NotStarted,
                };
                nodes.entry(address).or_insert(left);
            }
        }
        Self { nodes }
    }

    /// What a run that was only rehearsed would leave of its plan, without a look after it: what was planned and done is
    /// done.
    #[must_use]
    pub fn foreseen(summary: &Summary, plan: &[Arc<ClusterPlan>]) -> Self {
        let mut remaining = Self::after(summary, plan);
        remaining.nodes.retain(|_, left| *left != LeftAs::New);
        remaining
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The nodes left as something, in order.
    #[must_use]
    pub fn all(&self, left: LeftAs) -> Vec<&(ClusterName, NodeName)> {
        self.nodes.iter().filter(|(_, as_what)| **as_what == left).map(|(address, _)| address).collect()
    }
}

/// The last block of every run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// How each node came out, by cluster and node.
    pub nodes: BTreeMap<(ClusterName, NodeName), NodeOutcome>,
    /// The clusters that are simulated, which kubectl cannot reach.
    pub sandboxes: BTreeSet<ClusterName>,
    /// Whether it was only rehearsed: then nothing was left, and nobody has to free anything.
    pub rehearsed: bool,
    /// Whether the run was interrupted.
    pub interrupted: bool,
    /// How long it took.
    pub took: Duration,
}
