//! DaemonSets: one pod on every node that takes it, cordoned ones too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::deployments::{keys, pod_of, pods_of};
use crate::model::TaintEffect;
use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Look, list, set};
use crate::twin::view;
use crate::twin::world::World;

/// What the controller lets its pods tolerate, whatever the template says.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];

pub(super) fn run(world: &mut World) {
    for key in keys(world, Kind::DaemonSet) {
        daemon_set(world, &key);
    }
}

fn daemon_set(world: &mut World, key: &Key) {
    let Some(owner) = world.object(key) else { return };
    let nodes: Vec<String> = world.store.all(Kind::Node).map(|node| node.name().to_owned()).collect();
    let pods = pods_of(world, &key.namespace, owner.uid());
    let mut by_node: BTreeMap<String, Vec<(Key, std::sync::Arc<Value>)>> = BTreeMap::new();
    for (pod_key, pod) in pods {
        let node = pod_node(&pod).to_owned();
        by_node.entry(node).or_default().push((pod_key, pod));
    }
    let mut wanted = BTreeSet::new();
    for node in &nodes {
        let pod = daemon_pod(&owner, node);
        let present = by_node.get(node);
        let (here, stays) = eligible(world, &pod, node);
        if here {
            wanted.insert(node.clone());
        }
        match present {
            None if here => {
                // Where it cannot be made now, it is tried again at the next change.
                let _ = world.create(Kind::Pod, pod);
            }
            Some(present) => {
                for (pod_key, pod) in present {
                    // One that has ended is made anew; one that its node no longer takes goes.
                    if !pod.is_terminating() && (pod.is_finished() || !stays) {
                        world.begin_deletion(pod_key, None);
                    }
                }
            }
            None => {}
        }
    }
    let count = |all: bool| {
        wanted
            .iter()
            .filter(|node| {
                by_node.get(*node).is_some_and(|pods| pods.iter().any(|(_, pod)| all || pod.is_true("Ready")))
            })
            .count()
    };
    world.edit(key, |object| {
        set(object, "/status/desiredNumberScheduled", wanted.len());
        set(object, "/status/currentNumberScheduled", count(true));
        set(object, "/status/updatedNumberScheduled", count(true));
        set(object, "/status/numberMisscheduled", 0);
        set(object, "/status/numberReady", count(false));
        set(object, "/status/numberAvailable", count(false));
        let generation = object.number("/metadata/generation").unwrap_or(0);
        set(object, "/status/observedGeneration", generation);
    });
}

/// The node that a pod of a DaemonSet is bound to, or made for.
fn pod_node(pod: &Value) -> &str {
    const TERMS: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    match pod.text("/spec/nodeName") {
        "" => pod.text(&format!("{TERMS}/0/matchFields/0/values/0")),
        node => node,
    }
}

/// Whether a node gets such a pod, and whether one that runs there may stay.
fn eligible(world: &World, pod: &Value, node: &str) -> (bool, bool) {
    let Some(object) = world.store.get(&Key::cluster(Kind::Node, node)) else { return (false, false) };
    let mut probe = pod.clone();
    set(&mut probe, "/metadata/name", "probe");
    set(&mut probe, "/metadata/uid", "probe");
    let (Ok(place), Ok(placed)) = (view::place(object, &world.store), view::placed(&probe, &world.store)) else {
        return (false, true);
    };
    let untolerated = |effects: &[TaintEffect]| {
        place.taints.iter().any(|taint| effects.contains(&taint.effect) && !placed.tolerates(taint))
    };
    let wanted = placed.wants(&place);
    (
        wanted && !untolerated(&[TaintEffect::NoSchedule, TaintEffect::NoExecute]),
        wanted && !untolerated(&[TaintEffect::NoExecute]),
    )
}

fn daemon_pod(owner: &Value, node: &str) -> Value {
    const REQUIRED: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    let mut pod = pod_of(owner);
    let field = json!([{ "key": "metadata.name", "operator": "In", "values": [node] }]);
    let mut terms = pod.items(&format!("{REQUIRED}/nodeSelectorTerms")).to_vec();
    if terms.is_empty() {
        terms.push(json!({}));
    }
    for term in &mut terms {
        set(term, "/matchFields", field.clone());
    }
    set(&mut pod, &format!("{REQUIRED}/nodeSelectorTerms"), Value::Array(terms));
    for (key, effect) in TOLERATED {
        list(&mut pod, "/spec/tolerations").push(json!({ "key": key, "operator": "Exists", "effect": effect }));
    }
    pod
}
