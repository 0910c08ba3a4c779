//! The scheduler: every filter of [`crate::rules::placement`], and a score that is always the same.
//!
//! The real one breaks ties at random and has scores that nobody outside can see; this one is deterministic, so that
//! the same seed gives the same cluster.

use std::cmp::Reverse;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::{NodeName, Place, PlacedPod, TaintEffect};
use crate::rules::placement::{Scene, Site, Unready, fit};
use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Condition, Look, set, set_condition};
use crate::twin::view;
use crate::twin::world::World;

/// The scheduler that pods have where they name none. Those of another wait for ever: nobody else is here.
const NAME: &str = "default-scheduler";

/// What becomes of a pod that waits for a node.
enum Outcome {
    Placed(NodeName),
    Waits(&'static str, String),
}

pub(super) fn run(world: &mut World) -> Option<Timestamp> {
    let store = &world.store;
    let waiting = |pod: &Value| {
        pod.text("/spec/nodeName").is_empty()
            && pod.text("/spec/schedulerName") == NAME
            && !pod.is_terminating()
            && !pod.is_finished()
    };
    let mut pending: Vec<(Key, Result<PlacedPod, String>, String)> = Vec::new();
    for (key, pod) in store.entries(Kind::Pod).filter(|(_, pod)| waiting(pod)) {
        let placed = view::placed(pod, store).map_err(|misfit| format!("{}: {}", misfit.field, misfit.why));
        pending.push((key.clone(), placed, pod.text("/metadata/creationTimestamp").to_owned()));
    }
    if pending.is_empty() {
        return None;
    }
    pending.sort_by_key(|(key, pod, created)| {
        (Reverse(pod.as_ref().map_or(0, |pod| pod.priority)), created.clone(), key.clone())
    });
    let places: Vec<Place> = store.all(Kind::Node).filter_map(|node| view::place(node, store).ok()).collect();
    let bound: Vec<PlacedPod> = store
        .all(Kind::Pod)
        .filter(|pod| !pod.text("/spec/nodeName").is_empty() && !pod.is_finished())
        .filter_map(|pod| view::placed(pod, store).ok())
        .collect();
    let mut scene = Scene::new(&places, &bound);
    let mut outcomes = Vec::with_capacity(pending.len());
    for (key, pod, _) in &pending {
        let outcome = match pod {
            Err(why) => Outcome::Waits("SchedulerError", why.clone()),
            Ok(pod) => match fit(pod, &scene) {
                Err(Unready::Gated) => Outcome::Waits(
                    "SchedulingGated",
                    "Scheduling is blocked due to non-empty scheduling gates".to_owned(),
                ),
                Err(Unready::ClaimMissing(claim)) => Outcome::Waits(
                    "Unschedulable",
                    none(&places, &format!("persistentvolumeclaim \"{claim}\" not found")),
                ),
                Err(Unready::ClaimUnbound(_)) => {
                    Outcome::Waits("Unschedulable", none(&places, "pod has unbound immediate PersistentVolumeClaims"))
                }
                Ok(found) => match choose(pod, &found.feasible, &scene, world.seed) {
                    Some(node) => {
                        scene.put(pod, &node);
                        Outcome::Placed(node)
                    }
                    None => Outcome::Waits("Unschedulable", found.message()),
                },
            },
        };
        outcomes.push((key.clone(), outcome));
    }
    let now = world.now;
    for (key, outcome) in outcomes {
        match outcome {
            Outcome::Placed(node) => {
                provide(world, &key, &node);
                world.edit(&key, |pod| {
                    set(pod, "/spec/nodeName", node.as_str());
                    set_condition(
                        pod,
                        &Condition { kind: "PodScheduled", status: "True", reason: "", message: "" },
                        now,
                    );
                });
            }
            Outcome::Waits(reason, message) => {
                world.edit(&key, |pod| {
                    let condition = Condition { kind: "PodScheduled", status: "False", reason, message: &message };
                    set_condition(pod, &condition, now);
                });
            }
        }
    }
    None
}

/// The scheduler's message where it has not tried any node.
fn none(places: &[Place], why: &str) -> String {
    format!("0/{} nodes are available: {why}.", places.len())
}

/// The best of the feasible nodes: wished for, without soft taints, least allocated, fewest pods of the same owner.
fn choose(pod: &PlacedPod, feasible: &[NodeName], scene: &Scene<'_>, seed: u64) -> Option<NodeName> {
    let best = feasible.iter().filter_map(|name| {
        let site = scene.site(name)?;
        Some((score(pod, site, scene), Reverse(tie(seed, pod, name)), name))
    });
    best.max_by_key(|(score, tie, _)| (*score, *tie)).map(|(_, _, name)| name.clone())
}

fn score(pod: &PlacedPod, site: &Site<'_>, scene: &Scene<'_>) -> i128 {
    let free = ["cpu", "memory"].map(|resource| {
        let all = site.place.allocatable.of(resource).0;
        let left = site.left(resource).0 - pod.requests.of(resource).0;
        if all > 0 { (left * 100 / all).clamp(0, 100) } else { 0 }
    });
    let soft = site
        .place
        .taints
        .iter()
        .filter(|taint| taint.effect == TaintEffect::PreferNoSchedule && !pod.tolerates(taint))
        .count();
    let wishes: i128 = pod
        .preferred
        .iter()
        .filter(|(_, term)| term.matches(&site.place.name, &site.place.labels))
        .map(|(weight, _)| i128::from(*weight))
        .sum();
    let siblings = |other: &Site<'_>| {
        let of_owner = other.pods.iter().filter(|sibling| pod.owner.is_some() && sibling.owner == pod.owner);
        i128::try_from(of_owner.count()).unwrap_or(0)
    };
    const ZONE: &str = "topology.kubernetes.io/zone";
    let zone = site.place.labels.get(ZONE);
    let in_zone: i128 = match zone {
        Some(_) => scene.sites().filter(|other| other.place.labels.get(ZONE) == zone).map(siblings).sum(),
        None => 0,
    };
    let soft = i128::try_from(soft).unwrap_or(0);
    (free[0] + free[1]) / 2 + 2 * wishes - 300 * soft - 200 * siblings(site) - 60 * in_zone
}

fn tie(seed: u64, pod: &PlacedPod, node: &NodeName) -> u64 {
    let text = [pod.key.namespace.as_str(), pod.key.name.as_str(), node.as_str()];
    text.iter()
        .flat_map(|part| part.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64 ^ seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Makes volumes for claims that have waited for their first consumer, in the zone of the node that it was placed on.
fn provide(world: &mut World, key: &Key, node: &NodeName) {
    let Some(pod) = world.object(key) else { return };
    let zone = world
        .store
        .get(&Key::cluster(Kind::Node, node.as_str()))
        .and_then(|node| node.label("topology.kubernetes.io/zone").map(str::to_owned));
    for volume in pod.items("/spec/volumes") {
        let name = volume.text("/persistentVolumeClaim/claimName");
        let claim_key = Key::new(Kind::PersistentVolumeClaim, &key.namespace, name);
        let Some(claim) = world.object(&claim_key).filter(|claim| claim.text("/spec/volumeName").is_empty()) else {
            continue;
        };
        let name = format!("pvc-{}", claim.uid());
        let mut volume = json!({
            "metadata": { "name": name },
            "spec": {
                "capacity": claim.at("/spec/resources/requests").clone(),
                "accessModes": claim.at("/spec/accessModes").clone(),
                "persistentVolumeReclaimPolicy": "Delete",
                "csi": { "driver": "disk.csi.sandbox", "volumeHandle": name },
                "claimRef": { "kind": "PersistentVolumeClaim", "namespace": key.namespace, "name": claim.name(), "uid": claim.uid() },
            },
        });
        if let Some(zone) = &zone {
            let expression = json!({ "key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone] });
            let terms = json!([{ "matchExpressions": [expression] }]);
            set(&mut volume, "/spec/nodeAffinity/required/nodeSelectorTerms", terms);
        }
        if world.create(Kind::PersistentVolume, volume).is_ok() {
            world.edit(&Key::cluster(Kind::PersistentVolume, &name), |volume| set(volume, "/status/phase", "Bound"));
            world.edit(&claim_key, |claim| {
                set(claim, "/spec/volumeName", name.as_str());
                set(claim, "/status/phase", "Bound");
            });
        }
    }
}
