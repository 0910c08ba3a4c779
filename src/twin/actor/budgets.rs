//! The disruption controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{later, sooner};
use crate::model::Uid;
use crate::rules::budget::{Controller, DISRUPTED_FOR, Member, count, still_disrupted};
use crate::twin::json::{Map, Value, json};
use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Condition, Look, list, set, set_condition, stamp, unset};
use crate::twin::store::Store;
use crate::twin::world::World;

pub(super) fn run(world: &mut World) -> Option<Timestamp> {
    for key in world.work.budgets.take(world.now) {
        let next = recount(world, &key);
        world.work.budgets.unmark(&key);
        world.work.budgets.again(&key, next);
    }
    world.work.budgets.next()
}

/// Counts one budget. Returns when it has to be counted again even if nothing changes.
fn recount(world: &mut World, key: &Key) -> Option<Timestamp> {
    let now = world.now;
    let mut next = None;
    {
        let object = world.object(key)?;
        let covered = world.covered.get_mut(key)?;
        if std::mem::take(&mut covered.rescaled) {
            for (pod, known) in covered.pods.iter().zip(&mut covered.members) {
                if let Some(pod) = world.store.get(pod) {
                    known.controller = controller(pod, &world.store);
                }
            }
        }
        let spec = covered.budget.spec;
        let members = &covered.members;
        let disrupted: BTreeMap<Arc<str>, Timestamp> = object
            .entries("/status/disruptedPods")
            .filter_map(|(name, at)| Some((Arc::from(name.as_str()), at.as_str()?.parse().ok()?)))
            .collect();
        let disrupted = still_disrupted(&disrupted, members, now);
        for at in disrupted.values() {
            next = sooner(next, Some(later(*at, DISRUPTED_FOR)));
        }
        let counted = count(spec, members, &disrupted, now);
        world.edit(key, |object| match &counted {
            Ok(count) => {
                set(object, "/status/expectedPods", count.expected);
                set(object, "/status/desiredHealthy", count.desired);
                set(object, "/status/currentHealthy", count.healthy);
                set(object, "/status/disruptionsAllowed", count.allowed);
                let generation = object.number("/metadata/generation").unwrap_or(0);
                set(object, "/status/observedGeneration", generation);
                if disrupted.is_empty() {
                    unset(object, "/status/disruptedPods");
                } else {
                    let entries = disrupted.iter().map(|(name, at)| (&**name, json!(stamp(*at))));
                    set(object, "/status/disruptedPods", entries.collect::<Map>());
                }
                let (status, reason) =
                    if count.allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
                let condition = Condition { kind: "DisruptionAllowed", status, reason, message: "" };
                tell(object, &condition, now);
            }
            // Nothing else of the status is touched, observedGeneration neither.
            Err(failed) => {
                set(object, "/status/disruptionsAllowed", 0);
                let message = failed.to_string();
                let condition =
                    Condition { kind: "DisruptionAllowed", status: "False", reason: "SyncFailed", message: &message };
                tell(object, &condition, now);
            }
        });
    }
    next
}

/// Writes the condition, which says what generation of the budget was counted last.
fn tell(object: &mut Value, condition: &Condition<'_>, now: Timestamp) {
    set_condition(object, condition, now);
    let Some(observed) = object.number("/status/observedGeneration") else { return };
    for known in list(object, "/status/conditions") {
        if known.text("/type") == condition.kind {
            set(known, "/observedGeneration", observed);
        }
    }
}

/// A pod as it is counted.
pub(in crate::twin) fn member(pod: &Value, store: &Store) -> Member {
    Member {
        name: pod.name().into(),
        ready: pod.is_true("Ready"),
        terminating: pod.is_terminating(),
        controller: controller(pod, store),
    }
}

/// Whose pod it is, and how many that one wants: through the ReplicaSet to its Deployment.
fn controller(pod: &Value, store: &Store) -> Controller {
    let Some(owner) = pod.controller() else { return Controller::None };
    let find = |kind, owner: &Value| store.get(&Key::new(kind, pod.namespace(), owner.text("/name"))).cloned();
    let kind = Kind::of_object(owner.text("/apiVersion"), owner.text("/kind"));
    let scaled = |object: &Value| match Uid::new(object.uid()) {
        Ok(uid) => {
            let replicas = object.number("/spec/replicas").and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
            Controller::Scaled { uid, replicas }
        }
        Err(_) => Controller::Gone,
    };
    // A namesake of the owner is not the owner.
    let same = |object: &std::sync::Arc<Value>| object.uid() == owner.text("/uid");
    match kind {
        Some(kind @ (Kind::Deployment | Kind::StatefulSet)) => {
            find(kind, owner).filter(same).as_deref().map_or(Controller::Gone, scaled)
        }
        Some(Kind::ReplicaSet) => {
            let Some(set) = find(Kind::ReplicaSet, owner).filter(same) else { return Controller::Gone };
            let above = set.controller().filter(|above| above.text("/kind") == "Deployment");
            let deployment = above.and_then(|above| find(Kind::Deployment, above));
            scaled(deployment.as_deref().unwrap_or(&set))
        }
        Some(kind) => Controller::Unscalable { resource: kind.resource().into() },
        None => {
            Controller::Unserved { kind: owner.text("/kind").into(), api_version: owner.text("/apiVersion").into() }
        }
    }
}
