//! DaemonSets: one pod on every node that takes it, cordoned ones too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::deployments::pod_of;
use crate::model::{Place, PlacedPod, TaintEffect};
use crate::twin::json::{Text, Value, json};
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

/// What a DaemonSet has on each node.
#[derive(Debug, Clone)]
pub(in crate::twin) struct Daemons {
    uid: String,
    template: Value,
    /// Its pod as any node would get it; `None` where it cannot be understood.
    probe: Option<PlacedPod>,
    on: BTreeMap<Text, Daemon>,
    counts: Counts,
}

/// On how many nodes its pod is wanted, and of these has it, and has it Ready.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    wanted: usize,
    present: usize,
    ready: usize,
}

impl Daemons {
    /// Notes what there is on a node; nothing, where the node is gone.
    fn note(&mut self, node: Text, daemon: Option<Daemon>) {
        let before = match daemon {
            Some(daemon) => self.on.insert(node, daemon),
            None => self.on.remove(&node),
        };
        let counts = &mut self.counts;
        if let Some(Daemon { wanted: true, present, ready }) = before {
            counts.wanted -= 1;
            counts.present -= usize::from(present);
            counts.ready -= usize::from(ready);
        }
        if let Some(Daemon { wanted: true, present, ready }) = daemon {
            counts.wanted += 1;
            counts.present += usize::from(present);
            counts.ready += usize::from(ready);
        }
    }
}

/// A node as every DaemonSet sees it. What is done for one of them changes neither the node nor the pods of another, so
/// that each node is looked at once for all of them.
struct Seen {
    /// `None` where it cannot be understood.
    place: Option<Place>,
    /// The pods on it, or made for it, that have a controller, with the UID of that.
    pods: Vec<(Text, Key, Arc<Value>)>,
}

impl Seen {
    /// `None` where the node is gone.
    fn new(world: &World, node: &str) -> Option<Self> {
        let store = &world.store;
        let place = view::place(store.get(&Key::cluster(Kind::Node, node))?, store).ok();
        let controlled = |(key, pod): (&Key, &Arc<Value>)| {
            let owner = pod.controller()?;
            Some((owner.text("/uid").into(), key.clone(), Arc::clone(pod)))
        };
        let pods = store.pods_on(node).chain(store.pods_meant_for(node)).filter_map(controlled).collect();
        Some(Self { place, pods })
    }
}

/// Nodes as every DaemonSet sees them; `None` for one that is gone.
type Places = BTreeMap<Text, Option<Seen>>;

/// What a DaemonSet has on a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Daemon {
    wanted: bool,
    present: bool,
    ready: bool,
}

/// Looks at DaemonSets that have changed, on all nodes; at all of them on nodes that have; and at single ones on single
/// nodes.
pub(super) fn run(world: &mut World, changed: &BTreeSet<Key>) {
    let nodes = std::mem::take(&mut world.work.daemon_nodes);
    let mut due: BTreeMap<Key, BTreeSet<Text>> = BTreeMap::new();
    for (key, node) in std::mem::take(&mut world.work.daemon_pods) {
        due.entry(key).or_default().insert(node);
    }
    if !nodes.is_empty() {
        let all: Vec<Key> = world.store.entries(Kind::DaemonSet).map(|(key, _)| key.clone()).collect();
        for key in all {
            due.entry(key).or_default().extend(nodes.iter().cloned());
        }
    }
    for key in changed {
        due.entry(key.clone()).or_default();
    }
    let mut places = Places::new();
    for (key, nodes) in due {
        daemon_set(world, &key, nodes, &mut places);
        world.work.workloads.unmark(&key);
    }
}

fn daemon_set(world: &mut World, key: &Key, mut nodes: BTreeSet<Text>, places: &mut Places) {
    let Some(owner) = world.object(key) else {
        world.daemons.remove(key);
        return;
    };
    if owner.is_terminating() {
        return;
    }
    let known = world
        .daemons
        .remove(key)
        .filter(|known| known.uid == owner.uid() && known.template == *owner.at("/spec/template"));
    let mut daemons = match known {
        Some(known) => known,
        None => {
            nodes.extend(world.store.all(Kind::Node).map(|node| node.name().into()));
            let template = owner.at("/spec/template").clone();
            let probe = probe(&owner, world);
            Daemons { uid: owner.uid().to_owned(), template, probe, on: BTreeMap::new(), counts: Counts::default() }
        }
    };
    for node in nodes {
        let seen = places.entry(node.clone()).or_insert_with(|| Seen::new(world, &node));
        let daemon = seen.as_ref().map(|seen| on_node(world, &owner, daemons.probe.as_ref(), &node, seen));
        daemons.note(node, daemon);
    }
    let Counts { wanted, present, ready } = daemons.counts;
    world.daemons.insert(key.clone(), daemons);
    world.edit(key, |object| {
        set(object, "/status/desiredNumberScheduled", wanted);
        set(object, "/status/currentNumberScheduled", present);
        set(object, "/status/updatedNumberScheduled", present);
        set(object, "/status/numberMisscheduled", 0);
        set(object, "/status/numberReady", ready);
        set(object, "/status/numberAvailable", ready);
        let generation = object.number("/metadata/generation").unwrap_or(0);
        set(object, "/status/observedGeneration", generation);
    });
}

/// Makes or ends the pod on one node.
fn on_node(world: &mut World, owner: &Value, probe: Option<&PlacedPod>, node: &str, seen: &Seen) -> Daemon {
    let (here, stays) = match (&seen.place, probe) {
        (Some(place), Some(probe)) => eligible(probe, place),
        _ => (false, true),
    };
    let uid = owner.uid();
    let pods: Vec<(&Key, &Arc<Value>)> =
        seen.pods.iter().filter(|(owner, ..)| owner == uid).map(|(_, key, pod)| (key, pod)).collect();
    if pods.is_empty() && here {
        // Where it cannot be made now, it is tried again at the next change.
        let _ = world.create(Kind::Pod, daemon_pod(owner, node));
    }
    for (key, pod) in &pods {
        // One that has ended is made anew; one that its node no longer takes goes.
        if !pod.is_terminating() && (pod.is_finished() || !stays) {
            world.begin_deletion(key, None);
        }
    }
    let ready = pods.iter().any(|(_, pod)| pod.is_true("Ready"));
    Daemon { wanted: here, present: !pods.is_empty(), ready }
}

/// The node that a pod of a DaemonSet is bound to, or made for.
pub(in crate::twin) fn pod_node(pod: &Value) -> &str {
    match pod.text("/spec/nodeName") {
        "" => meant_node(pod),
        node => node,
    }
}

/// The node that a pod was made for.
pub(in crate::twin) fn meant_node(pod: &Value) -> &str {
    const TERMS: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    pod.at(TERMS).text("/0/matchFields/0/values/0")
}

/// Its pod as any node would get it, without the name of one.
fn probe(owner: &Value, world: &World) -> Option<PlacedPod> {
    let mut pod = pod_of(owner);
    tolerate(&mut pod);
    set(&mut pod, "/metadata/name", "probe");
    set(&mut pod, "/metadata/uid", "probe");
    view::placed(&pod, &world.store).ok()
}

/// Whether a node gets such a pod, and whether one that runs there may stay.
fn eligible(probe: &PlacedPod, place: &Place) -> (bool, bool) {
    let untolerated = |effects: &[TaintEffect]| {
        place.taints.iter().any(|taint| effects.contains(&taint.effect) && !probe.tolerates(taint))
    };
    let wanted = probe.wants(place);
    (
        wanted && !untolerated(&[TaintEffect::NoSchedule, TaintEffect::NoExecute]),
        wanted && !untolerated(&[TaintEffect::NoExecute]),
    )
}

fn tolerate(pod: &mut Value) {
    for (key, effect) in TOLERATED {
        list(pod, "/spec/tolerations").push(json!({ "key": key, "operator": "Exists", "effect": effect }));
    }
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
    set(&mut pod, &format!("{REQUIRED}/nodeSelectorTerms"), terms);
    tolerate(&mut pod);
    pod
}
