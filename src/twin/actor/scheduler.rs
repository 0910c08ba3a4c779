//! The scheduler: every filter of [`crate::rules::placement`], and a score that is always the same.
//!
//! The real one breaks ties at random and has scores that nobody outside can see; this one is deterministic, so that
//! the same seed gives the same cluster.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{NodeName, PlacedPod, TaintEffect, Uid};
use crate::rules::placement::{Fit, Scene, Site, Unready, fit, fit_from};
use crate::twin::json::{Text, Value, json};
use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Condition, Look, PodFacts, set, set_condition};
use crate::twin::store::Store;
use crate::twin::view;
use crate::twin::world::World;

/// The scheduler that pods have where they name none. Those of another wait for ever: nobody else is here.
const NAME: &str = "default-scheduler";

/// What becomes of a pod that waits for a node.
enum Outcome {
    Placed(NodeName),
    Waits(&'static str, String),
}

/// The scheduler's picture of the cluster, brought up to date when there is a pod to place.
#[derive(Debug, Clone, Default)]
pub(in crate::twin) struct Placing {
    scene: Scene,
    /// Where each pod of the picture is.
    placed: BTreeMap<Key, Placed>,
    /// Nodes and pods that are no longer as in the picture.
    pub(in crate::twin) nodes: BTreeSet<Text>,
    pub(in crate::twin) pods: BTreeSet<Key>,
    /// Whether all of it has to be made anew.
    pub(in crate::twin) stale: bool,
    /// Whether a pod may ever have asked for neighbours, whose namespaces are chosen by their labels.
    pub(in crate::twin) has_peers: bool,
}

impl Placing {
    fn refresh(&mut self, store: &Store) {
        if std::mem::take(&mut self.stale) {
            *self = Self { has_peers: self.has_peers, ..Self::default() };
            self.nodes = store.all(Kind::Node).map(|node| node.name().into()).collect();
            self.pods = store.entries(Kind::Pod).map(|(key, _)| key.clone()).collect();
        }
        for name in std::mem::take(&mut self.nodes) {
            let Ok(node_name) = NodeName::new(&name) else { continue };
            let node = store.get(&Key::cluster(Kind::Node, &name));
            match node.and_then(|node| view::place(node, store).ok()) {
                Some(place) => {
                    if self.scene.site(&name).is_none() {
                        self.pods.extend(store.pods_on(&name).map(|(key, _)| key.clone()));
                    }
                    self.scene.place(place);
                }
                None => self.scene.leave(&node_name),
            }
        }
        for key in std::mem::take(&mut self.pods) {
            let known = self.placed.remove(&key);
            let taken = known.as_ref().and_then(|known| self.scene.take(&known.uid, &known.node));
            let pod = store.get(&key);
            let bound = pod.map(|pod| PodFacts::of(pod)).filter(|pod| !pod.node().is_empty() && !pod.is_finished());
            let (Some(pod), Some(facts)) = (pod, bound) else { continue };
            if let (Some(known), Some(taken)) = (known, taken)
                && known.is_as(&facts)
            {
                // Of all that is seen here, only whether it is to end may have changed.
                let mut taken = Arc::unwrap_or_clone(taken);
                taken.terminating = facts.terminating;
                self.put(key, &Arc::new(taken), known.node, Some(&facts));
            } else if let Ok(pod) = view::placed(pod, store)
                && let Some(node) = pod.node.clone()
            {
                self.put(key, &Arc::new(pod), node, Some(&facts));
            }
        }
    }

    fn put(&mut self, key: Key, pod: &Arc<PlacedPod>, node: NodeName, facts: Option<&PodFacts<'_>>) {
        self.has_peers |= !pod.near.is_empty() || !pod.apart.is_empty();
        if self.scene.put(pod, &node) {
            // What a claim stands for may change without the pod.
            let read = facts.filter(|_| pod.volumes.is_empty()).map(Read::new);
            self.placed.insert(key, Placed { uid: pod.uid.clone(), node, claims: !pod.volumes.is_empty(), read });
        }
    }

    /// Takes in that a pod is bound where it was put.
    fn confirm(&mut self, key: &Key, pod: &PodFacts<'_>) {
        let placed = self.placed.get_mut(key);
        if let Some(placed) = placed.filter(|placed| !placed.claims && placed.uid.as_str() == pod.uid) {
            placed.read = Some(Read::new(pod));
            self.pods.remove(key);
        }
    }
}

/// A pod in the picture: where it is, and what was read of it.
#[derive(Debug, Clone)]
struct Placed {
    uid: Uid,
    node: NodeName,
    /// Whether it has claims; it is then read anew each time.
    claims: bool,
    /// What it was read from; while that is the same, it need not be read again.
    read: Option<Read>,
}

/// The parts of a pod that decide where it may run, but for whether it is to end. They are shared with the pod itself, so
/// that to find them unchanged takes no look at what they hold.
#[derive(Debug, Clone)]
struct Read {
    labels: Value,
    owners: Value,
    spec: Value,
}

impl Read {
    fn new(pod: &PodFacts<'_>) -> Self {
        Self { labels: pod.labels.clone(), owners: pod.owners.clone(), spec: pod.spec.clone() }
    }
}

impl Placed {
    /// Whether what was read of it is true of this pod.
    fn is_as(&self, pod: &PodFacts<'_>) -> bool {
        self.uid.as_str() == pod.uid
            && self
                .read
                .as_ref()
                .is_some_and(|read| read.spec == *pod.spec && read.labels == *pod.labels && read.owners == *pod.owners)
    }
}

/// With more nodes than this, the scheduler is content with a share of them; the real one's bound.
const SMALL: usize = 100;
/// How many feasible nodes are enough then. The real one looks for at least [`SMALL`]; which of them it takes cannot be
/// foreseen either way.
const ENOUGH: usize = 32;

pub(super) fn run(world: &mut World) -> Option<Timestamp> {
    world.work.placing = false;
    let store = &world.store;
    let waiting = |pod: &Value| pod.text("/spec/schedulerName") == NAME && !pod.is_terminating() && !pod.is_finished();
    let mut pending: Vec<(Key, Result<Arc<PlacedPod>, String>, String)> = Vec::new();
    for (key, pod) in store.pods_on("").filter(|(_, pod)| waiting(pod)) {
        let placed =
            view::placed(pod, store).map(Arc::new).map_err(|misfit| format!("{}: {}", misfit.field, misfit.why));
        pending.push((key.clone(), placed, pod.text("/metadata/creationTimestamp").to_owned()));
    }
    if pending.is_empty() {
        return None;
    }
    pending.sort_by_key(|(key, pod, created)| {
        (Reverse(pod.as_ref().map_or(0, |pod| pod.priority)), created.clone(), key.clone())
    });
    let mut site = std::mem::take(&mut world.site);
    site.refresh(store);
    let mut outcomes = Vec::with_capacity(pending.len());
    // Pods of one owner that ask the same: where the first finds no node, no other does.
    let mut hopeless: BTreeMap<Uid, String> = BTreeMap::new();
    for (key, pod, _) in pending {
        let pod = match pod {
            Err(why) => {
                outcomes.push((key, Outcome::Waits("SchedulerError", why)));
                continue;
            }
            Ok(pod) => pod,
        };
        let alike = pod.owner.as_ref().filter(|owner| {
            &*owner.kind == "ReplicaSet" && pod.near.is_empty() && pod.spread.is_empty() && pod.volumes.is_empty()
        });
        if let Some(message) = alike.and_then(|owner| hopeless.get(&owner.uid)) {
            outcomes.push((key, Outcome::Waits("Unschedulable", message.clone())));
            continue;
        }
        let outcome = match feasible(&pod, &site.scene, world.seed) {
            Err(Unready::Gated) => {
                Outcome::Waits("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates".to_owned())
            }
            Err(Unready::ClaimMissing(claim)) => Outcome::Waits(
                "Unschedulable",
                none(&site.scene, &format!("persistentvolumeclaim \"{claim}\" not found")),
            ),
            Err(Unready::ClaimUnbound(_)) => {
                Outcome::Waits("Unschedulable", none(&site.scene, "pod has unbound immediate PersistentVolumeClaims"))
            }
            Ok(found) => match choose(&pod, &found.feasible, &site.scene, world.seed) {
                Some(node) => {
                    // The next one sees it there already.
                    let bound = PlacedPod { node: Some(node.clone()), ..Arc::unwrap_or_clone(pod) };
                    site.put(key.clone(), &Arc::new(bound), node.clone(), None);
                    Outcome::Placed(node)
                }
                None => {
                    let message = found.message();
                    if let Some(owner) = alike {
                        hopeless.insert(owner.uid.clone(), message.clone());
                    }
                    Outcome::Waits("Unschedulable", message)
                }
            },
        };
        outcomes.push((key, outcome));
    }
    world.site = site;
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
                if let Some(pod) = world.store.get(&key) {
                    world.site.confirm(&key, &PodFacts::of(pod));
                }
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

/// The nodes that would take a pod, or enough of them.
fn feasible(pod: &PlacedPod, scene: &Scene, seed: u64) -> Result<Fit, Unready> {
    if scene.len() <= SMALL {
        return fit(pod, scene);
    }
    // Not always from the first: the real one goes round.
    let hash = pod
        .key
        .name
        .as_str()
        .bytes()
        .fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let at = usize::try_from(hash % u64::try_from(scene.len()).unwrap_or(1)).unwrap_or(0);
    scene.nth(at).map_or_else(|| fit(pod, scene), |start| fit_from(pod, scene, start, ENOUGH))
}

/// The scheduler's message where it has not tried any node.
fn none(scene: &Scene, why: &str) -> String {
    format!("0/{} nodes are available: {why}.", scene.len())
}

/// The best of the feasible nodes: wished for, without soft taints, least allocated, fewest pods of the same owner.
fn choose(pod: &PlacedPod, feasible: &[NodeName], scene: &Scene, seed: u64) -> Option<NodeName> {
    let in_zones = in_zones(pod, scene);
    let best = feasible.iter().filter_map(|name| {
        let site = scene.site(name.as_str())?;
        Some((score(pod, site, scene, &in_zones), Reverse(tie(seed, pod, name)), name))
    });
    best.max_by_key(|(score, tie, _)| (*score, *tie)).map(|(_, _, name)| name.clone())
}

const ZONE: &str = "topology.kubernetes.io/zone";

/// How many pods of the same owner each zone has.
fn in_zones<'a>(pod: &PlacedPod, scene: &'a Scene) -> BTreeMap<&'a str, i128> {
    let mut zones = BTreeMap::new();
    for (node, count) in pod.owner.iter().flat_map(|owner| scene.family(&owner.uid)) {
        if let Some(zone) = scene.site(node.as_str()).and_then(|site| site.place.labels.get(ZONE)) {
            *zones.entry(&**zone).or_default() += i128::from(count);
        }
    }
    zones
}

fn score(pod: &PlacedPod, site: &Site, scene: &Scene, in_zones: &BTreeMap<&str, i128>) -> i128 {
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
    let siblings = pod.owner.as_ref().map_or(0, |owner| i128::from(scene.siblings(&owner.uid, &site.place.name)));
    let zone = site.place.labels.get(ZONE);
    let in_zone = zone.and_then(|zone| in_zones.get(&**zone)).copied().unwrap_or(0);
    let soft = i128::try_from(soft).unwrap_or(0);
    (free[0] + free[1]) / 2 + 2 * wishes - 300 * soft - 200 * siblings - 60 * in_zone
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
