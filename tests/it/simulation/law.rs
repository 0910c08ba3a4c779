//! What must hold in every run, looked at after every single change of the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use haulout::model::FIELD_MANAGER;
use haulout::run::{NodeOutcome, Summary};
use haulout::twin::json::Value;
use haulout::twin::{Key, Kind, Seen, World};
use jiff::{SignedDuration, Timestamp};

use super::scene::Limits;

/// After this long everybody has heard of what somebody else did, where no watch is broken.
const HEARD: SignedDuration = SignedDuration::from_secs(10);
/// The controllers have counted what others did.
const COUNTED: SignedDuration = SignedDuration::from_secs(1);

pub(super) struct Law {
    limits: Limits,
    /// Whether a watch may be silent for longer than [`HEARD`].
    deaf: bool,
    /// Since when each node is out for reasons that are not the run's.
    out_by_others: BTreeMap<String, Timestamp>,
    /// When somebody else last changed a pod, a workload or a budget.
    disturbed: Option<Timestamp>,
    /// Triggers by UID of the node and run; boots by UID.
    triggers: BTreeMap<(String, String), u32>,
    boots: BTreeMap<String, u32>,
    /// Boots that somebody else asked for.
    pub(super) plugs: BTreeMap<String, u32>,
    pub(super) broken: Vec<String>,
    pub(super) evictions: u32,
    pub(super) reboots: u32,
}

pub(super) type SharedLaw = Arc<Mutex<Law>>;

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"]["annotations"][key].as_str().unwrap_or_default()
}

fn cordoned(node: &Value) -> bool {
    node["spec"]["unschedulable"].as_bool().unwrap_or_default()
}

fn is(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|it| it["type"] == kind && it["status"] == "True"))
}

/// Who owns the cordon.
fn owner(node: &Value) -> Option<&str> {
    let fields = node["metadata"]["managedFields"].as_array()?;
    fields.iter().find(|entry| !entry["fieldsV1"]["f:spec"]["f:unschedulable"].is_null())?["manager"].as_str()
}

pub(super) fn ours(node: &Value) -> bool {
    cordoned(node) && owner(node) == Some(FIELD_MANAGER)
}

fn terminating(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// Whether a drain has to make the pod leave.
fn must_leave(pod: &Value) -> bool {
    let daemon =
        pod["metadata"]["ownerReferences"].as_array().is_some_and(|all| all.iter().any(|it| it["kind"] == "DaemonSet"));
    let finished = matches!(text(pod, "/status/phase"), "Succeeded" | "Failed");
    !daemon && !finished && text(pod, "/metadata/namespace") != "haulout-system"
}

fn selects(budget: &Value, pod: &Value) -> bool {
    let wanted = budget["spec"]["selector"]["matchLabels"].as_object();
    wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| pod["metadata"]["labels"][key.as_str()] == *value))
}

impl Law {
    pub(super) fn new(limits: Limits, deaf: bool, world: &World) -> Self {
        let mut law = Self {
            limits,
            deaf,
            out_by_others: BTreeMap::new(),
            disturbed: None,
            triggers: BTreeMap::new(),
            boots: BTreeMap::new(),
            plugs: BTreeMap::new(),
            broken: Vec::new(),
            evictions: 0,
            reboots: 0,
        };
        for node in world.objects(Kind::Node) {
            law.note_out(node, Timestamp::UNIX_EPOCH);
        }
        law
    }

    pub(super) fn violated(&mut self, at: Timestamp, what: String) {
        self.broken.push(format!("{at} {what}"));
    }

    fn note_out(&mut self, node: &Value, at: Timestamp) {
        let name = text(node, "/metadata/name").to_owned();
        let marked = !annotation(node, "haulout.dev/run").is_empty();
        let out = (cordoned(node) && !ours(node)) || (!marked && !is(node, "Ready"));
        if out {
            self.out_by_others.entry(name).or_insert(at);
        } else {
            self.out_by_others.remove(&name);
        }
    }

    pub(super) fn see(&mut self, world: &World, seen: Seen<'_>) {
        let change = seen.change;
        let before = change.before.as_deref();
        let by_us = seen.by == FIELD_MANAGER;
        match change.key.kind {
            Kind::Node => self.see_node(world, seen, before, by_us),
            Kind::Pod => self.see_pod(world, seen, before, by_us),
            Kind::PodDisruptionBudget | Kind::Deployment | Kind::StatefulSet if !by_us && !seen.by.is_empty() => {
                self.disturbed = Some(seen.at);
            }
            _ => {}
        }
    }

    fn see_node(&mut self, world: &World, seen: Seen<'_>, before: Option<&Value>, by_us: bool) {
        let node = &*seen.change.after;
        let name = text(node, "/metadata/name").to_owned();
        let uid = text(node, "/metadata/uid").to_owned();
        if let Some(before) = before
            && by_us
        {
            if cordoned(before)
                && owner(before) != Some(FIELD_MANAGER)
                && (!cordoned(node) || owner(node) != owner(before))
            {
                self.violated(seen.at, format!("the foreign cordon of {name} was touched"));
            }
            if !cordoned(before) && cordoned(node) {
                self.check_limits(world, node, seen.at);
            }
            let phase = |node: &Value| annotation(node, "haulout.dev/phase") == "reboot";
            if phase(node) && !phase(before) {
                self.check_reboot(world, node, &name, &uid, seen.at);
            }
        }
        if let Some(before) = before {
            let boot = |node: &Value| text(node, "/status/nodeInfo/bootID").to_owned();
            if !boot(before).is_empty() && boot(before) != boot(node) {
                self.reboots += 1;
                let boots = self.boots.entry(uid.clone()).or_default();
                *boots += 1;
                let asked: u32 = self.triggers.iter().filter(|((of, _), _)| *of == uid).map(|(_, count)| *count).sum();
                if *boots > asked + self.plugs.get(&name).copied().unwrap_or(0) {
                    self.violated(seen.at, format!("{name} booted and nobody asked for it"));
                }
            }
        }
        if seen.change.gone {
            self.out_by_others.remove(&name);
        } else {
            self.note_out(node, seen.at);
        }
    }

    fn check_limits(&mut self, world: &World, node: &Value, at: Timestamp) {
        let heard = |law: &Self, name: &str| {
            !law.deaf && law.out_by_others.get(name).is_some_and(|since| at.duration_since(*since) > HEARD)
        };
        let label = |node: &Value, key: &str| node["metadata"]["labels"][key].as_str().unwrap_or_default().to_owned();
        let name = text(node, "/metadata/name");
        if self.out_by_others.contains_key(name) {
            // It was out before: nobody else misses it.
            return;
        }
        let out: Vec<&Value> = world
            .objects(Kind::Node)
            .map(|other| &**other)
            .filter(|other| text(other, "/metadata/name") != name)
            .filter(|other| ours(other) || heard(self, text(other, "/metadata/name")))
            .collect();
        let in_same = |key: &str| out.iter().filter(|other| label(other, key) == label(node, key)).count() + 1;
        let (cluster, pool, zone) = (out.len() + 1, in_same("pool"), in_same("topology.kubernetes.io/zone"));
        let reboots = annotation(node, "haulout.dev/cordon").contains("\"all\"");
        let mut wrong = Vec::new();
        if cluster > self.limits.cluster {
            wrong.push(format!("{cluster} nodes of the cluster are out, of {}", self.limits.cluster));
        }
        if reboots && pool > self.limits.pool {
            wrong.push(format!("{pool} nodes of its pool are out, of {}", self.limits.pool));
        }
        if let Some(limit) = self.limits.zone.filter(|limit| reboots && zone > *limit) {
            wrong.push(format!("{zone} nodes of its zone are out, of {limit}"));
        }
        for wrong in wrong {
            self.violated(at, format!("{name} was cordoned: {wrong}"));
        }
    }

    fn check_reboot(&mut self, world: &World, node: &Value, name: &str, uid: &str, at: Timestamp) {
        let left: Vec<&str> = world
            .objects(Kind::Pod)
            .filter(|pod| text(pod, "/spec/nodeName") == name && must_leave(pod))
            .map(|pod| text(pod, "/metadata/name"))
            .collect();
        if !left.is_empty() {
            self.violated(at, format!("{name} is to reboot with {left:?} on it"));
        }
        if !ours(node) {
            self.violated(at, format!("{name} is to reboot and is not cordoned by us"));
        }
        let run = annotation(node, "haulout.dev/run").to_owned();
        let count = self.triggers.entry((uid.to_owned(), run)).or_default();
        *count += 1;
        if *count > 1 {
            self.violated(at, format!("{name} is to reboot for the second time in one run"));
        }
    }

    fn see_pod(&mut self, world: &World, seen: Seen<'_>, before: Option<&Value>, by_us: bool) {
        let pod = &*seen.change.after;
        if !by_us {
            if !seen.by.is_empty() {
                self.disturbed = Some(seen.at);
            }
            return;
        }
        let Some(before) = before else { return };
        let ends = !terminating(before) && (terminating(pod) || seen.change.gone);
        if !ends || text(pod, "/metadata/namespace") == "haulout-system" {
            return;
        }
        self.evictions += 1;
        if !is(before, "Ready") {
            return;
        }
        let disturbed = self.disturbed.is_some_and(|last| seen.at.duration_since(last) < COUNTED);
        let name = text(pod, "/metadata/name");
        let budgets = world.objects(Kind::PodDisruptionBudget).filter(|budget| selects(budget, pod));
        for budget in budgets {
            if budget["status"]["disruptedPods"][name].is_null() {
                self.broken.push(format!("{} {name} was taken without asking its budget", seen.at));
            }
            let members = world.objects(Kind::Pod).filter(|other| selects(budget, other));
            let healthy = members
                .filter(|other| is(other, "Ready") && !terminating(other) && text(other, "/metadata/name") != name);
            let (healthy, desired) = (healthy.count(), budget["status"]["desiredHealthy"].as_u64().unwrap_or(0));
            if !disturbed && (healthy as u64) < desired {
                self.broken.push(format!("{} {name} was evicted: {healthy} healthy are left of {desired}", seen.at));
            }
        }
    }

    /// At the end of a run that has said what became of each node.
    pub(super) fn at_exit(&mut self, world: &World, run: &str, stays: &BTreeSet<String>, summary: &Summary) {
        for node in world.objects(Kind::Node).filter(|node| ours(node)) {
            let name = text(node, "/metadata/name");
            let of_run = annotation(node, "haulout.dev/cordon").contains(&format!("\"run\":\"{run}\""));
            let named = summary.nodes.iter().any(|((_, known), outcome)| {
                known.as_str() == name
                    && match outcome {
                        NodeOutcome::Failed { cordoned, .. } | NodeOutcome::Interrupted { cordoned, .. } => *cordoned,
                        NodeOutcome::Done => stays.contains(name),
                        NodeOutcome::Skipped { .. } | NodeOutcome::NotStarted { .. } => false,
                    }
            });
            let said = summary.nodes.iter().find(|((_, known), _)| known.as_str() == name).map(|(_, outcome)| outcome);
            // An earlier process of the run took it out of service, for good, as the config wants it.
            let wanted = annotation(node, "haulout.dev/run").is_empty()
                && annotation(node, "haulout.dev/cordon").contains("\"x\"");
            if of_run && !named && !(wanted && said.is_none()) {
                self.broken.push(format!("{name} is left cordoned and the report says {said:?}"));
            }
        }
    }

    /// At the end of the last of several processes: whatever run has marked a node, a person was told of it.
    pub(super) fn all_named(&mut self, world: &World, named: impl Fn(&str) -> bool) {
        for node in world.objects(Kind::Node).filter(|node| ours(node)) {
            let name = text(node, "/metadata/name");
            if !annotation(node, "haulout.dev/run").is_empty() && !named(name) {
                self.broken.push(format!("{name} is left cordoned and no report says so"));
            }
        }
    }

    /// While a run acts, the lock must be its own. Who holds it where it is not.
    pub(super) fn owns_lock(&self, world: &World, run: &str) -> Result<(), String> {
        let lease = world.object(&Key::new(Kind::Lease, "haulout-system", "haulout"));
        let holder = lease.as_deref().map(|lease| text(lease, "/spec/holderIdentity").to_owned()).unwrap_or_default();
        if holder == run { Ok(()) } else { Err(holder) }
    }

    pub(super) fn acted_without(&mut self, world: &World, run: &str, what: &str, holder: &str) {
        self.violated(world.now(), format!("{run} would {what} while the lock is {holder:?}'s"));
    }
}
