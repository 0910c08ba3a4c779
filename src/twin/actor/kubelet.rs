//! The simulated kubelets, with the agent and the reboot pod that run below them.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::machine::{Boot, Machine, PodRun, asked, sim};
use super::pod_status::{bring, is_reboot};
use super::{later, sooner};
use crate::model::{
    ANNOTATION_BOOT_ID, ANNOTATION_BOOTED_AT, ANNOTATION_PHASE, ANNOTATION_REBOOT_REASON, ANNOTATION_REBOOT_REQUIRED,
    ANNOTATION_REPORTED_AT, ANNOTATION_RUN, LABEL_RUN, Phase,
};
use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Condition, Look, annotate, hash, micro_stamp, set, set_condition, stamp};
use crate::twin::world::{World, owner_reference};

/// How long the reboot pod takes to act on the phase.
const OBEY_DELAY: SignedDuration = SignedDuration::from_millis(200);
/// The agent's interval for a report that did not change.
const REPORT_EVERY: SignedDuration = SignedDuration::from_hours(6);
/// How long a kubelet's lease is good for.
const LEASE_SECONDS: i64 = 40;

pub(super) fn run(world: &mut World) -> Option<Timestamp> {
    let now = world.now;
    for name in world.work.machines.take(now) {
        let key = Key::cluster(Kind::Node, &name);
        let known = world.machines.remove(&name);
        let Some(node) = world.object(&key) else { continue };
        let mut machine = match known.filter(|machine| machine.uid == node.uid()) {
            Some(machine) => machine,
            None => Machine::new(&node, || world.uuid(), now),
        };
        let next = step(world, &key, &mut machine);
        world.machines.insert(name.clone(), machine);
        // It has done all that its own writes could ask of it.
        world.work.machines.unmark(&name);
        world.work.machines.again(&name, next);
    }
    for key in world.work.pods.take(now) {
        let next = keep_pod(world, &key);
        world.work.pods.unmark(&key);
        world.work.pods.again(&key, next);
    }
    sooner(world.work.machines.next(), world.work.pods.next())
}

/// Does what is due on one machine. Returns when something is due next.
fn step(world: &mut World, key: &Key, machine: &mut Machine) -> Option<Timestamp> {
    let now = world.now;
    if let Some(until) = machine.dark_until {
        if now < until {
            return Some(until);
        }
        come_up(world, key, machine);
    }
    let mut next = keep_status(world, key, machine);
    next = sooner(next, keep_report(world, key, machine));
    sooner(next, obey(world, key, machine))
}

/// Starts the machine again with a new boot id.
fn come_up(world: &mut World, key: &Key, machine: &mut Machine) {
    let now = world.now;
    let ready_after = world
        .store
        .get(key)
        .map_or(world.delays.node_ready, |node| asked(sim::NODE_READY_AFTER, world.delays.node_ready, &[node]));
    machine.dark_until = None;
    machine.last_lease = None;
    machine.boot =
        Boot { id: world.uuid(), at: now, ready_at: later(now, ready_after), again: true, shown: false, told: false };
    let pods: Vec<(Key, std::sync::Arc<Value>)> =
        world.store.pods_on(&key.name).map(|(key, pod)| (key.clone(), std::sync::Arc::clone(pod))).collect();
    let never: Vec<String> = pods
        .iter()
        .map(|(_, pod)| pod)
        .filter(|pod| pod.text("/spec/restartPolicy") == "Never" && pod.text("/status/phase") == "Running")
        .map(|pod| pod.uid().to_owned())
        .collect();
    for (uid, pod) in &mut machine.pods {
        if never.contains(uid) {
            pod.lost = true;
        } else {
            pod.restarts += 1;
            pod.since = now;
        }
    }
    for (pod, _) in pods {
        world.work.pods.mark(pod);
    }
}

fn keep_status(world: &mut World, key: &Key, machine: &mut Machine) -> Option<Timestamp> {
    let now = world.now;
    let ready = now >= machine.boot.ready_at;
    let booted = machine.boot.again && !machine.boot.shown;
    world.edit(key, |node| {
        describe(node, &machine.boot.id);
        if booted {
            // Conditions are said anew after a boot, even if they say the same.
            set(node, "/status/conditions", json!([]));
        }
        for (kind, reason, message) in [
            ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ] {
            set_condition(node, &Condition { kind, status: "False", reason, message }, now);
        }
        let condition = if ready {
            Condition {
                kind: "Ready",
                status: "True",
                reason: "KubeletReady",
                message: "kubelet is posting ready status",
            }
        } else {
            Condition {
                kind: "Ready",
                status: "False",
                reason: "KubeletNotReady",
                message: "container runtime is starting",
            }
        };
        set_condition(node, &condition, now);
    });
    if booted {
        tell_rebooted(world, key, &machine.boot.id);
    }
    machine.boot.shown = true;
    keep_lease(world, key, machine);
    (!ready).then_some(machine.boot.ready_at)
}

/// Fills in what does not change between two boots; what a manifest has set itself stays, except the boot id.
fn describe(node: &mut Value, boot_id: &str) {
    let resources = node
        .annotation(sim::ALLOCATABLE)
        .and_then(|text| serde_json::from_str::<Value>(text).ok())
        .filter(Value::is_object)
        .or_else(|| Some(node.at("/status/allocatable").clone()).filter(Value::is_object))
        .unwrap_or_else(|| json!({ "cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "pods": "110" }));
    set(node, "/status/capacity", resources.clone());
    set(node, "/status/allocatable", resources);
    let name = node.name().to_owned();
    let hash = hash(&name);
    if node.items("/status/addresses").is_empty() {
        let address = format!("10.{}.{}.{}", hash & 0x3f, (hash >> 8) & 0xff, (hash >> 16) & 0xff);
        set(
            node,
            "/status/addresses",
            json!([{ "type": "InternalIP", "address": address }, { "type": "Hostname", "address": name }]),
        );
    }
    set(node, "/status/nodeInfo/bootID", boot_id);
    let uid = node.uid().to_owned();
    for (field, value) in [
        ("machineID", format!("{hash:x}")),
        ("systemUUID", uid),
        ("kernelVersion", "6.8.0-1021-sim".to_owned()),
        ("osImage", "Simulated Linux".to_owned()),
        ("containerRuntimeVersion", "containerd://2.1.4".to_owned()),
        ("kubeletVersion", super::super::discovery::GIT_VERSION.to_owned()),
        ("kubeProxyVersion", String::new()),
        ("operatingSystem", "linux".to_owned()),
        ("architecture", "amd64".to_owned()),
    ] {
        let path = format!("/status/nodeInfo/{field}");
        if node.at(&path).is_null() {
            set(node, &path, value);
        }
    }
}

fn tell_rebooted(world: &mut World, key: &Key, boot_id: &str) {
    let event = json!({
        "metadata": { "generateName": format!("{}.", key.name), "namespace": "default" },
        "involvedObject": { "kind": "Node", "name": key.name, "uid": key.name },
        "type": "Warning", "reason": "Rebooted",
        "message": format!("Node {} has been rebooted, boot id: {boot_id}", key.name),
        "source": { "component": "kubelet", "host": key.name },
        "firstTimestamp": stamp(world.now), "lastTimestamp": stamp(world.now), "count": 1,
    });
    // An event that cannot be written is lost, as the real one is.
    let _ = world.create(Kind::Event, event);
}

/// The lease is there from the start; its renewals are worked out when somebody reads it, see [`World::renew_leases`].
fn keep_lease(world: &mut World, key: &Key, machine: &Machine) {
    let lease = Key::new(Kind::Lease, "kube-node-lease", &key.name);
    if world.store.get(&lease).is_some() {
        return;
    }
    let Some(node) = world.object(key) else { return };
    let object = json!({
        "metadata": { "name": key.name, "namespace": "kube-node-lease",
                      "ownerReferences": [owner_reference(&node, false)] },
        "spec": { "holderIdentity": key.name, "leaseDurationSeconds": LEASE_SECONDS,
                  "renewTime": micro_stamp(machine.renewed(world.now)) },
    });
    // Where somebody deletes the namespace of the leases, nodes live on without.
    let _ = world.create(Kind::Lease, object);
}

/// Writes what the agent reports: when it changed, when it is old, and after each boot.
fn keep_report(world: &mut World, key: &Key, machine: &mut Machine) -> Option<Timestamp> {
    let now = world.now;
    let node = world.object(key)?;
    if node.annotation(sim::AGENT) == Some("false") {
        return None;
    }
    let mut wanted = (*node).clone();
    if machine.boot.again && !machine.boot.told {
        // A machine that has booted runs what was installed before, so the reason is gone; and what was said of the
        // first boot is not true of this one.
        if wanted.annotation(sim::REASON_SURVIVES) != Some("true") {
            annotate(&mut wanted, sim::REBOOT_REQUIRED, None);
        }
        annotate(&mut wanted, sim::BOOTED_AT, None);
    }
    let reason = wanted.annotation(sim::REBOOT_REQUIRED).unwrap_or_default().to_owned();
    let required = if reason.is_empty() { "false" } else { "true" };
    annotate(&mut wanted, ANNOTATION_REBOOT_REQUIRED, Some(required));
    annotate(
        &mut wanted,
        ANNOTATION_REBOOT_REASON,
        Some(&reason).filter(|reason| !reason.is_empty()).map(|r| r.as_str()),
    );
    annotate(&mut wanted, ANNOTATION_BOOT_ID, Some(&machine.boot.id));
    annotate(&mut wanted, ANNOTATION_BOOTED_AT, Some(&stamp(machine.boot.at)));
    machine.boot.told = true;
    let due = node
        .annotation(ANNOTATION_REPORTED_AT)
        .and_then(|text| text.parse::<Timestamp>().ok())
        .map(|last| later(last, REPORT_EVERY));
    if wanted == *node
        && let Some(due) = due
        && now < due
    {
        return Some(due);
    }
    annotate(&mut wanted, ANNOTATION_REPORTED_AT, Some(&stamp(now)));
    world.write(key, wanted);
    Some(later(now, REPORT_EVERY))
}

/// Brings one pod up to date. Returns when something is due next.
fn keep_pod(world: &mut World, key: &Key) -> Option<Timestamp> {
    let now = world.now;
    let delays = world.delays;
    let pod = world.object(key)?;
    let name = pod.text("/spec/nodeName");
    let node = world.object(&Key::cluster(Kind::Node, name))?;
    // While a machine is dark nothing happens to its pods; all of them are looked at when it comes up.
    let machine = world.machines.get_mut(name).filter(|machine| machine.is_up())?;
    let run = machine.pods.entry(pod.uid().to_owned()).or_insert_with(|| PodRun {
        // One that ran before anybody looked goes on.
        since: pod.time("/status/startTime").unwrap_or(now),
        stopping: None,
        restarts: 0,
        lost: false,
    });
    if pod.is_terminating() && run.stopping.is_none() {
        run.stopping = Some(now);
    }
    let run = run.clone();
    let mut wanted = (*pod).clone();
    let next = bring(&mut wanted, &run, &node, &delays, now);
    let over = wanted.is_finished() || wanted.text("/status/phase") != "Running";
    world.write(key, wanted);
    if pod.is_terminating() && over {
        world.end(key);
    }
    next
}

/// Does what `haulout node reboot` does in the reboot pod: a Ready reboot pod of the run that the node is marked with
/// takes the node down once the phase says so and the node is cordoned.
fn obey(world: &mut World, key: &Key, machine: &mut Machine) -> Option<Timestamp> {
    let now = world.now;
    if !is_asked(world, key) {
        machine.obey_at = None;
        return None;
    }
    let at = *machine.obey_at.get_or_insert_with(|| later(now, OBEY_DELAY));
    if now < at {
        return Some(at);
    }
    let takes =
        world.store.get(key).map_or(world.delays.reboot, |node| asked(sim::REBOOT_TAKES, world.delays.reboot, &[node]));
    let until = later(now, takes);
    machine.last_lease = Some(machine.renewed(now));
    machine.obey_at = None;
    machine.dark_until = Some(until);
    // Nothing is written, but whoever counts the node's silence has to begin now.
    world.work.nodes.mark(key.name.clone());
    world.wake();
    Some(until)
}

fn is_asked(world: &World, key: &Key) -> bool {
    let Some(node) = world.store.get(key) else { return false };
    let Some(run) = node.annotation(ANNOTATION_RUN).filter(|run| !run.is_empty()) else { return false };
    node.annotation(ANNOTATION_PHASE) == Some(Phase::Reboot.as_str())
        && node.flag("/spec/unschedulable")
        && world.store.pods_on(&key.name).any(|(_, pod)| {
            is_reboot(pod) && pod.label(LABEL_RUN) == Some(run) && pod.is_true("Ready") && !pod.is_terminating()
        })
}

impl World {
    /// Takes a machine down at once, as somebody does who reboots it behind everybody's back. `false` where there is no
    /// such machine, or it is dark already.
    pub fn pull_plug(&mut self, node: &str) -> bool {
        let now = self.now;
        let key = Key::cluster(Kind::Node, node);
        let takes = self
            .store
            .get(&key)
            .map_or(self.delays.reboot, |node| asked(sim::REBOOT_TAKES, self.delays.reboot, &[node]));
        let Some(machine) = self.machines.get_mut(node).filter(|machine| machine.is_up()) else { return false };
        machine.last_lease = Some(machine.renewed(now));
        machine.obey_at = None;
        machine.dark_until = Some(later(now, takes));
        self.work.machines.mark(node.to_owned());
        self.work.nodes.mark(node.to_owned());
        self.wake();
        true
    }

    /// Lets a node have a machine of which nothing is heard, since long ago and for ever.
    pub fn pull_plug_for_good(&mut self, node: &str) {
        let now = self.now;
        let Some(object) = self.object(&Key::cluster(Kind::Node, node)) else { return };
        let mut machine = Machine::new(&object, || self.uuid(), now);
        machine.last_lease = Some(later(now, -self.delays.node_lost));
        machine.dark_until = Some(Timestamp::MAX);
        self.machines.insert(node.to_owned(), machine);
        self.work.nodes.mark(node.to_owned());
        self.wake();
    }

    /// Brings the lease of a node up to now. Kubelets renew them all the time, which nobody sees but who reads.
    pub(in crate::twin) fn renew_lease(&mut self, node: &str) {
        let Some(at) = self.machines.get(node).map(|machine| machine.renewed(self.now)) else { return };
        self.edit(&Key::new(Kind::Lease, "kube-node-lease", node), |lease| {
            // A lease never goes back, even where a boot moves the beat.
            if lease.time("/spec/renewTime").is_none_or(|before| before < at) {
                set(lease, "/spec/renewTime", micro_stamp(at));
            }
        });
    }

    /// Brings the leases of all nodes up to now.
    pub(in crate::twin) fn renew_leases(&mut self) {
        let nodes: Vec<String> = self.machines.keys().cloned().collect();
        for node in nodes {
            self.renew_lease(&node);
        }
    }
}
