//! The parts of a cluster that act by themselves. Each looks at what has changed and does what is missing there, so that
//! it needs no memory of how the state came about.

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

pub(super) use budgets::member;
pub(super) use daemons::{Daemons, meant_node, pod_node as daemon_node};
pub(super) use machine::{Machine, sim};
pub(super) use pod_status::is_reboot;
pub(super) use scheduler::Placing;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::kind::{Key, Kind};
use super::object::Look;
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

    /// Whether there is something that it has not looked at.
    pub(super) fn is_wanted(self, world: &World) -> bool {
        let work = &world.work;
        match self {
            Actor::Kubelets => work.machines.is_marked() || work.pods.is_marked(),
            Actor::Budgets => work.budgets.is_marked(),
            Actor::Scheduler => work.placing && world.store.pods_on("").next().is_some(),
            Actor::Nodes => work.nodes.is_marked(),
            Actor::Workloads => {
                work.workloads.is_marked() || !work.daemon_nodes.is_empty() || !work.daemon_pods.is_empty()
            }
            Actor::Volumes => work.volumes,
            Actor::Collector => work.garbage.is_marked() || !work.leaving.is_empty(),
        }
    }

    /// Does what is missing now. Returns when it wants to look again even if nothing changes.
    pub(super) fn run(self, world: &mut World) -> Option<Timestamp> {
        match self {
            Actor::Kubelets => kubelet::run(world),
            Actor::Budgets => budgets::run(world),
            Actor::Scheduler => scheduler::run(world),
            Actor::Nodes => nodes::run(world),
            Actor::Workloads => {
                workloads(world);
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

/// The controllers of workloads, those first whose objects others come from.
fn workloads(world: &mut World) {
    let mut due = world.work.workloads.take(world.now);
    for kind in [Kind::Deployment, Kind::ReplicaSet, Kind::StatefulSet, Kind::DaemonSet, Kind::Job] {
        // What the one before has made is looked at at once.
        due.extend(world.work.workloads.take_where(|key| key.kind == kind));
        let keys: BTreeSet<Key> = due.iter().filter(|key| key.kind == kind).cloned().collect();
        if kind == Kind::DaemonSet {
            daemons::run(world, &keys);
            continue;
        }
        for key in keys {
            if world.store.get(&key).is_none_or(|object| object.is_terminating()) {
                continue;
            }
            match kind {
                Kind::Deployment => deployments::deployment(world, &key),
                Kind::ReplicaSet => deployments::replica_set(world, &key),
                Kind::StatefulSet => stateful::stateful_set(world, &key),
                _ => work::job(world, &key),
            }
            // It has done all that its own writes could ask of it.
            world.work.workloads.unmark(&key);
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
