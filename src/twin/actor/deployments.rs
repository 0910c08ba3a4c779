//! Deployments and ReplicaSets.
//!
//! A new template makes a new ReplicaSet at once and scales the old ones to nothing: rollouts are not what this cluster
//! is for.

use crate::twin::json::{Value, json};
use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Look, map, place, set, unset};
use crate::twin::world::{World, owner_reference};

/// The pods that an object controls, with their keys.
pub(super) fn pods_of(world: &World, namespace: &str, uid: &str) -> Vec<(Key, std::sync::Arc<Value>)> {
    world
        .store
        .owned(uid)
        .filter(|(key, pod)| key.kind == Kind::Pod && key.namespace == namespace && pod.is_controlled_by(uid))
        .map(|(key, pod)| (key.clone(), std::sync::Arc::clone(pod)))
        .collect()
}

/// Makes a pod of an owner's template.
pub(super) fn pod_of(owner: &Value) -> Value {
    let template = owner.at("/spec/template");
    let mut pod = json!({ "metadata": {}, "spec": template.at("/spec").clone() });
    for part in ["labels", "annotations", "finalizers"] {
        let given = template.at(&format!("/metadata/{part}"));
        if given.is_object() || given.is_array() {
            set(&mut pod, &format!("/metadata/{part}"), given.clone());
        }
    }
    set(&mut pod, "/metadata/namespace", owner.namespace());
    set(&mut pod, "/metadata/generateName", format!("{}-", owner.name()));
    set(&mut pod, "/metadata/ownerReferences", json!([owner_reference(owner, true)]));
    pod
}

/// A stable name for a template.
fn template_hash(template: &Value) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let text = template.to_string();
    let mut hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut name = String::new();
    for _ in 0..9 {
        name.push(char::from(LETTERS[usize::try_from(hash % 27).unwrap_or(0)]));
        hash /= 27;
    }
    name
}

pub(super) fn deployment(world: &mut World, key: &Key) {
    const HASH: &str = "pod-template-hash";
    let Some(deployment) = world.object(key) else { return };
    let hash = template_hash(deployment.at("/spec/template"));
    let replicas = deployment.number("/spec/replicas").unwrap_or(1);
    let current = Key::new(Kind::ReplicaSet, &key.namespace, &format!("{}-{hash}", key.name));
    if world.store.get(&current).is_none() {
        let mut set_object = json!({
            "metadata": { "name": current.name, "namespace": key.namespace,
                          "ownerReferences": [owner_reference(&deployment, true)] },
            "spec": { "replicas": replicas, "selector": deployment.at("/spec/selector").clone(),
                      "template": deployment.at("/spec/template").clone() },
        });
        for path in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
            map(place(&mut set_object, path)).insert(HASH.to_owned(), json!(hash));
        }
        let labels = set_object.at("/spec/template/metadata/labels").clone();
        set(&mut set_object, "/metadata/labels", labels);
        // What cannot be made now (its namespace is ending) is tried again at the next change.
        if world.create(Kind::ReplicaSet, set_object).is_err() {
            return;
        }
    }
    let sets: Vec<(Key, bool)> = world
        .store
        .owned(deployment.uid())
        .filter(|(other, set)| {
            other.kind == Kind::ReplicaSet && other.namespace == key.namespace && set.is_controlled_by(deployment.uid())
        })
        .map(|(other, _)| (other.clone(), *other == current))
        .collect();
    for (other, is_current) in sets {
        let wanted = if is_current { replicas } else { 0 };
        world.edit(&other, |set_object| {
            if set_object.number("/spec/replicas") != Some(wanted) {
                set(set_object, "/spec/replicas", wanted);
                let generation = set_object.number("/metadata/generation").unwrap_or(0) + 1;
                set(set_object, "/metadata/generation", generation);
            }
        });
    }
    let Some(current) = world.object(&current) else { return };
    world.edit(key, |deployment| {
        for count in ["replicas", "readyReplicas", "availableReplicas"] {
            copy_count(deployment, count, current.number(&format!("/status/{count}")));
        }
        copy_count(deployment, "updatedReplicas", current.number("/status/replicas"));
        let generation = deployment.number("/metadata/generation").unwrap_or(0);
        set(deployment, "/status/observedGeneration", generation);
    });
}

/// Writes a count of a status; none is left out, as the API does.
pub(super) fn copy_count(object: &mut Value, name: &str, count: Option<i64>) {
    let path = format!("/status/{name}");
    match count {
        Some(count) if count != 0 || name == "replicas" => set(object, &path, count),
        _ => unset(object, &path),
    }
}

pub(super) fn replica_set(world: &mut World, key: &Key) {
    let Some(owner) = world.object(key) else { return };
    let wanted = usize::try_from(owner.number("/spec/replicas").unwrap_or(1)).unwrap_or(0);
    // A replacement is made as soon as a pod is told to end: terminating ones are not counted.
    let active = world.store.tally(owner.uid(), &key.namespace).active;
    for _ in active..wanted {
        if world.create(Kind::Pod, pod_of(&owner)).is_err() {
            break;
        }
    }
    if active > wanted {
        let mut active: Vec<_> = pods_of(world, &key.namespace, owner.uid())
            .into_iter()
            .filter(|(_, pod)| !pod.is_terminating() && !pod.is_finished())
            .collect();
        // Those that serve least go first: unready before ready, then the newest.
        active.sort_by_key(|(key, pod)| {
            (
                pod.is_true("Ready"),
                std::cmp::Reverse(pod.text("/metadata/creationTimestamp").to_owned()),
                key.name.clone(),
            )
        });
        for (surplus, _) in active.iter().take(active.len() - wanted) {
            world.begin_deletion(surplus, None);
        }
    }
    let tally = world.store.tally(owner.uid(), &key.namespace);
    let (active, ready) = (i64::try_from(tally.active).ok(), i64::try_from(tally.ready).ok());
    world.edit(key, |set_object| {
        copy_count(set_object, "replicas", active);
        copy_count(set_object, "fullyLabeledReplicas", active);
        copy_count(set_object, "readyReplicas", ready);
        copy_count(set_object, "availableReplicas", ready);
        let generation = set_object.number("/metadata/generation").unwrap_or(0);
        set(set_object, "/status/observedGeneration", generation);
    });
}
