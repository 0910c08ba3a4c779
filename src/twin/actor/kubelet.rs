//! The simulated kubelets, with the agent and the reboot pod that run below them.

use jiff::{SignedDuration, Timestamp};

use super::machine::{Boot, Kept, Machine, PodRun, asked, sim, wished};
use super::pod_status::{bring, is_reboot, is_waiting};
use super::{later, sooner};
use crate::model::{
    ANNOTATION_BOOT_ID, ANNOTATION_BOOTED_AT, ANNOTATION_PHASE, ANNOTATION_REBOOT_REASON, ANNOTATION_REBOOT_REQUIRED,
    ANNOTATION_REPORTED_AT, ANNOTATION_RUN, LABEL_RUN, Phase,
};
use crate::twin::json::{Text, Value, json};
use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Condition, Look, annotate, hash, map, micro_stamp, place, set, set_condition, stamp};
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
            return Some(until).filter(|until| *until != Timestamp::MAX);
        }
        come_up(world, key, machine);
    }
    let mut next = keep_status(world, key, machine);
    next = sooner(next, keep_report(world, key, machine));
    sooner(next, obey(world, key, machine))
}

/// Starts the machine again: with a new boot id, unless it is asked to keep the one that it had.
fn come_up(world: &mut World, key: &Key, machine: &mut Machine) {
    let now = world.now;
    let Some(node) = world.object(key) else { return };
    let ready_at = later(now, asked(sim::NODE_READY_AFTER, world.delays.node_ready, &[&node]));
    machine.dark_until = None;
    machine.last_lease = None;
    machine.kept = None;
    let kept = &machine.boot;
    machine.boot = if wished(sim::KEEPS_BOOT_ID, &[&node]) {
        // It has not booted: what waited for a reboot still does, and of this boot all has been said.
        Boot { id: kept.id.clone(), at: kept.at, ready_at, again: kept.again, shown: kept.shown, told: kept.told }
    } else {
        Boot { id: world.uuid(), at: now, ready_at, again: true, shown: false, told: false }
    };
    restart_pods(world, key, machine);
    if wished(sim::RETURNS_AS_NEW_NODE, &[&node]) {
        register_anew(world, key, &node, machine);
    }
}

/// What a boot does to the pods of a machine: their containers end, and start again where the restart policy says so.
fn restart_pods(world: &mut World, key: &Key, machine: &mut Machine) {
    let now = world.now;
    for (pod_key, pod) in world.store.pods_on(&key.name) {
        world.work.pods.mark(pod_key.clone());
        let Some(run) = machine.pods.get_mut(pod.uid()) else { continue };
        let runs = pod.text("/status/phase") == "Running";
        if runs && pod.text("/spec/restartPolicy") == "Never" {
            run.lost = true;
            continue;
        }
        run.restarts += i64::from(runs);
        run.since = now;
    }
}

/// Registers a machine as another Node of the same name, as one does whose Node was deleted while it was away: with its
/// labels and what the simulation is asked for, and with nothing that anybody else has written on it.
fn register_anew(world: &mut World, key: &Key, node: &Value, machine: &mut Machine) {
    world.remove(key);
    let mut object = json!({ "metadata": { "name": key.name, "labels": node.at("/metadata/labels") } });
    for part in ["/status/allocatable", "/status/capacity", "/status/addresses"] {
        // The machine is the same.
        set(&mut object, part, node.at(part).clone());
    }
    for (name, value) in node.entries("/metadata/annotations").filter(|(name, _)| name.starts_with(sim::PREFIX)) {
        // What was asked for the way here has happened.
        if ![sim::RETURNS_AS_NEW_NODE, sim::REBOOT_REQUIRED, sim::BOOTED_AT].contains(&name.as_str()) {
            annotate(&mut object, name, value.as_str());
        }
    }
    // The name is good and free: it was this very node's.
    if let Ok(made) = world.create(Kind::Node, object) {
        made.uid().clone_into(&mut machine.uid);
    }
}

fn keep_status(world: &mut World, key: &Key, machine: &mut Machine) -> Option<Timestamp> {
    let now = world.now;
    let node = world.object(key)?;
    // Only after a boot: a node that is there from the start is calm.
    let flaps = node.annotation(sim::FLAPS).filter(|_| machine.boot.again).and_then(|text| text.parse::<u16>().ok());
    let (ready, turns) = machine.boot.readiness(u32::from(flaps.unwrap_or(0)), now);
    let booted = machine.boot.again && !machine.boot.shown;
    // What is asked of the node's resources may change without its status.
    let asked = node.annotation(sim::ALLOCATABLE).is_some();
    let as_it_was = |kept: &Kept| kept.ready == ready && kept.status == *node.at("/status");
    if !booted && !asked && machine.kept.as_ref().is_some_and(as_it_was) {
        keep_lease(world, key, &node, machine);
        return turns;
    }
    let known = node.text("/status/nodeInfo/bootID");
    let told_so = booted && !known.is_empty() && known != machine.boot.id;
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
    if told_so {
        tell_rebooted(world, key, &machine.boot.id);
    }
    machine.boot.shown = true;
    let node = world.object(key)?;
    machine.kept = Some(Kept { status: node.at("/status").clone(), ready });
    keep_lease(world, key, &node, machine);
    turns
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
    let id = format!("{hash:x}");
    let uid = node.uid().to_owned();
    for (field, value) in [
        ("machineID", id.as_str()),
        ("systemUUID", &uid),
        ("kernelVersion", "6.8.0-1021-sim"),
        ("osImage", "Simulated Linux"),
        ("containerRuntimeVersion", "containerd://2.1.4"),
        ("kubeletVersion", super::super::discovery::GIT_VERSION),
        ("kubeProxyVersion", ""),
        ("operatingSystem", "linux"),
        ("architecture", "amd64"),
    ] {
        if node.at("/status/nodeInfo").get(field).is_none_or(Value::is_null) {
            map(place(node, "/status/nodeInfo")).insert(field, value.into());
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
fn keep_lease(world: &mut World, key: &Key, node: &Value, machine: &Machine) {
    let lease = Key::new(Kind::Lease, "kube-node-lease", &key.name);
    if let Some(known) = world.store.get(&lease) {
        if known.items("/metadata/ownerReferences").iter().all(|owner| owner.text("/uid") == node.uid()) {
            return;
        }
        // It is that of an earlier Node of this name, and goes with it.
        world.remove(&lease);
    }
    let object = json!({
        "metadata": { "name": key.name, "namespace": "kube-node-lease",
                      "ownerReferences": [owner_reference(node, false)] },
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
    let silent = machine.boot.again && wished(sim::REPORT_ENDS, &[&node]);
    if silent || node.annotation(sim::AGENT) == Some("false") {
        return None;
    }
    let due = node
        .annotation(ANNOTATION_REPORTED_AT)
        .and_then(|text| text.parse::<Timestamp>().ok())
        .map(|last| later(last, REPORT_EVERY));
    if let Some(due) = due
        && now < due
        && says_all(&node, machine)
    {
        machine.boot.told = true;
        return Some(due);
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

/// Whether the report on a node says what its agent would say now, so that it needs not be made to be compared.
fn says_all(node: &Value, machine: &Machine) -> bool {
    if machine.boot.again && !machine.boot.told {
        return false;
    }
    let says = node.at("/metadata/annotations");
    let reason = node.annotation(sim::REBOOT_REQUIRED).unwrap_or_default();
    let reasoned = match says.get(ANNOTATION_REBOOT_REASON) {
        Some(said) => !reason.is_empty() && *said == reason,
        None => reason.is_empty(),
    };
    reasoned
        && says[ANNOTATION_REBOOT_REQUIRED] == if reason.is_empty() { "false" } else { "true" }
        && says[ANNOTATION_BOOT_ID] == machine.boot.id
        && says[ANNOTATION_BOOTED_AT] == stamp(machine.boot.at)
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
    let run = machine.pods.entry(pod.uid().into()).or_insert_with(|| PodRun {
        // One that ran before anybody looked goes on.
        since: pod.time("/status/startTime").unwrap_or(now),
        stopping: None,
        killed: None,
        restarts: 0,
        lost: false,
    });
    if pod.is_terminating() {
        run.stopping.get_or_insert(now);
        // A grace that is shortened counts from when it is.
        let grace = pod.number("/metadata/deletionGracePeriodSeconds").unwrap_or(30);
        if run.killed.is_none_or(|(given, _)| given != grace) {
            run.killed = Some((grace, later(now, SignedDuration::from_secs(grace))));
        }
    }
    let mut wanted = (*pod).clone();
    if is_waiting(&pod) && !wished(sim::PULL_FAILS, &[&pod, &node]) {
        // Its image could be pulled at last.
        run.since = now;
    }
    let run = run.clone();
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
    let after = world.store.get(key).map_or(OBEY_DELAY, |node| asked(sim::FIRES_AFTER, OBEY_DELAY, &[node]));
    let at = *machine.obey_at.get_or_insert_with(|| later(now, after));
    if now < at {
        return Some(at);
    }
    let until = world.go_dark(&key.name, machine);
    world.wake();
    Some(until).filter(|until| *until != Timestamp::MAX)
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
        let Some(mut machine) = self.machines.remove(node) else { return false };
        let up = machine.is_up();
        if up {
            self.go_dark(node, &mut machine);
            self.work.machines.mark(node.into());
        }
        self.machines.insert(node.into(), machine);
        self.wake();
        up
    }

    /// Stops everything on a machine. What the cluster shows of the node stays as it was. Returns until when.
    fn go_dark(&mut self, node: &str, machine: &mut Machine) -> Timestamp {
        let now = self.now;
        let object = self.store.get(&Key::cluster(Kind::Node, node));
        let takes = object.map_or(self.delays.reboot, |node| asked(sim::REBOOT_TAKES, self.delays.reboot, &[node]));
        let never = object.is_some_and(|node| wished(sim::NEVER_RETURNS, &[node]));
        let until = if never { Timestamp::MAX } else { later(now, takes) };
        machine.last_lease = Some(machine.renewed(now));
        machine.obey_at = None;
        machine.dark_until = Some(until);
        // Nothing is written, but whoever counts the node's silence has to begin now.
        self.work.nodes.mark(node.into());
        until
    }

    /// Lets a node have a machine of which nothing is heard, since long ago and for ever.
    pub fn pull_plug_for_good(&mut self, node: &str) {
        let now = self.now;
        let Some(object) = self.object(&Key::cluster(Kind::Node, node)) else { return };
        let mut machine = Machine::new(&object, || self.uuid(), now);
        machine.last_lease = Some(later(now, -self.delays.node_lost));
        machine.dark_until = Some(Timestamp::MAX);
        self.machines.insert(node.into(), machine);
        self.work.nodes.mark(node.into());
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
        let nodes: Vec<Text> = self.machines.keys().cloned().collect();
        for node in nodes {
            self.renew_lease(&node);
        }
    }
}
