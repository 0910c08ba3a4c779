//! The parts of a cluster that act by themselves. Each looks at the whole state and does what is missing, so that it
//! needs no memory of how the state came about.

mod budgets;
mod collector;
mod daemons;
mod deployments;
mod kubelet;
mod machine;
mod nodes;
mod pod_status;
mod scheduler;
mod stateful;
mod volumes;
mod work;

pub(super) use machine::{Machine, sim};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::world::World;

/// A part of the cluster that acts by itself; in the order in which they act where several are due at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Actor {
    Kubelets,
    Budgets,
    Scheduler,
    Nodes,
    Workloads,
    Volumes,
    Collector,
}

impl Actor {
    pub(super) const ALL: &'static [Actor] = &[
        Actor::Kubelets,
        Actor::Budgets,
        Actor::Scheduler,
        Actor::Nodes,
        Actor::Workloads,
        Actor::Volumes,
        Actor::Collector,
    ];

    /// How long after a change it looks; about what was seen of the real ones.
    pub(super) fn reaction(self) -> SignedDuration {
        SignedDuration::from_millis(match self {
            Actor::Kubelets => 10,
            Actor::Budgets => 25,
            Actor::Scheduler => 20,
            Actor::Nodes => 30,
            Actor::Workloads => 70,
            Actor::Volumes | Actor::Collector => 100,
        })
    }

    /// Does what is missing now. Returns when it wants to look again even if nothing changes.
    pub(super) fn run(self, world: &mut World) -> Option<Timestamp> {
        match self {
            Actor::Kubelets => kubelet::run(world),
            Actor::Budgets => budgets::run(world),
            Actor::Scheduler => scheduler::run(world),
            Actor::Nodes => nodes::run(world),
            Actor::Workloads => {
                deployments::run(world);
                stateful::run(world);
                daemons::run(world);
                work::run(world);
                None
            }
            Actor::Volumes => volumes::run(world),
            Actor::Collector => {
                collector::run(world);
                None
            }
        }
    }
}

/// The earlier of two moments that may not be.
fn sooner(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// A moment later by so much.
fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(at)
}
