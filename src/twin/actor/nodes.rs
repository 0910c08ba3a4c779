//! The node lifecycle controller: taints that follow a node's state, nodes that are given up, and pods that must leave.

use jiff::{SignedDuration, Timestamp};

use super::{later, sooner};
use crate::model::TaintEffect;
use crate::twin::json::{Value, json};
use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Condition, Look, list, set, set_condition, stamp, unset};
use crate::twin::view;
use crate::twin::world::World;

const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

pub(super) fn run(world: &mut World) -> Option<Timestamp> {
    for name in world.work.nodes.take(world.now) {
        let key = Key::cluster(Kind::Node, &name);
        let mut next = give_up(world, &key);
        taint(world, &key);
        next = sooner(next, expel(world, &key));
        world.work.nodes.unmark(&name);
        world.work.nodes.again(&name, next);
    }
    world.work.nodes.next()
}

/// Calls a node Unknown whose kubelet has been silent for too long.
fn give_up(world: &mut World, key: &Key) -> Option<Timestamp> {
    let now = world.now;
    let machine = world.machines.get(&key.name).filter(|machine| !machine.is_up())?;
    let lost = later(machine.renewed(now), world.delays.node_lost);
    if now < lost {
        return Some(lost);
    }
    let known = world.store.get(key)?.condition("Ready").is_some_and(|ready| ready.text("/status") == "Unknown");
    if known {
        return None;
    }
    world.edit(key, |node| {
        for kind in ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"] {
            let message = "Kubelet stopped posting node status.";
            set_condition(node, &Condition { kind, status: "Unknown", reason: "NodeStatusUnknown", message }, now);
        }
    });
    let pods: Vec<Key> =
        world.store.pods_on(&key.name).filter(|(_, pod)| pod.is_true("Ready")).map(|(key, _)| key.clone()).collect();
    for pod in pods {
        world.edit(&pod, |pod| {
            set_condition(pod, &Condition { kind: "Ready", status: "False", reason: "NodeNotReady", message: "" }, now);
        });
    }
    None
}

/// Keeps the taints that the controller owns.
fn taint(world: &mut World, key: &Key) {
    let now = world.now;
    world.edit(key, |node| {
        let ready = node.condition("Ready").map(|ready| ready.text("/status").to_owned());
        let health = match ready.as_deref() {
            Some("True") | None => None,
            Some("False") => Some(NOT_READY),
            Some(_) => Some(UNREACHABLE),
        };
        let cordoned = node.flag("/spec/unschedulable");
        let wanted = |key: &str, effect: &str| match key {
            UNSCHEDULABLE => cordoned && effect == "NoSchedule",
            NOT_READY | UNREACHABLE => health == Some(key),
            _ => true,
        };
        let mut taints = node.items("/spec/taints").to_vec();
        taints.retain(|taint| wanted(taint.text("/key"), taint.text("/effect")));
        let mut have = |key: &str, effect: &str| {
            if !taints.iter().any(|taint| taint.text("/key") == key && taint.text("/effect") == effect) {
                taints.push(json!({ "key": key, "effect": effect, "timeAdded": stamp(now) }));
            }
        };
        if cordoned {
            have(UNSCHEDULABLE, "NoSchedule");
        }
        if let Some(health) = health {
            have(health, "NoSchedule");
            have(health, "NoExecute");
        }
        for taint in &mut taints {
            // Of taints that people set the moment counts too, from when it is first seen.
            if taint.text("/effect") == "NoExecute" && taint.at("/timeAdded").is_null() {
                set(taint, "/timeAdded", stamp(now));
            }
        }
        if taints.is_empty() {
            unset(node, "/spec/taints");
        } else if taints != node.items("/spec/taints") {
            *list(node, "/spec/taints") = taints;
        }
    });
}

/// Deletes pods that do not tolerate a `NoExecute` taint, or no longer. Budgets are not asked.
fn expel(world: &mut World, key: &Key) -> Option<Timestamp> {
    let now = world.now;
    let node = world.object(key)?;
    if !node.items("/spec/taints").iter().any(|taint| taint.text("/effect") == "NoExecute") {
        return None;
    }
    let times: Vec<Timestamp> =
        node.items("/spec/taints").iter().map(|taint| taint.time("/timeAdded").unwrap_or(now)).collect();
    let taints = view::taints(&node);
    let pods: Vec<(Key, std::sync::Arc<Value>)> = world
        .store
        .pods_on(&key.name)
        .filter(|(_, pod)| !pod.is_terminating() && !pod.is_finished())
        .map(|(key, pod)| (key.clone(), std::sync::Arc::clone(pod)))
        .collect();
    let mut next = None;
    for (pod_key, pod) in pods {
        let tolerations = view::tolerations(pod.at("/spec"));
        let mut leaves: Option<Timestamp> = None;
        for (taint, since) in taints.iter().zip(&times).filter(|(taint, _)| taint.effect == TaintEffect::NoExecute) {
            let mut borne = tolerations.iter().filter(|toleration| toleration.tolerates(taint)).peekable();
            let until = if borne.peek().is_none() {
                Some(*since)
            } else {
                // The shortest limit counts; one without a limit does not shorten it.
                let seconds = borne.filter_map(|toleration| toleration.seconds).min();
                seconds.map(|seconds| later(*since, SignedDuration::from_secs(seconds.clamp(0, 1_000_000_000))))
            };
            leaves = sooner(leaves, until);
        }
        match leaves {
            Some(at) if at <= now => world.begin_deletion(&pod_key, None),
            Some(at) => next = sooner(next, Some(at)),
            None => {}
        }
    }
    next
}
