//! A simulated cluster that looks as a snapshot says.
//!
//! A snapshot knows of pods what planning needs. What made them is put together from their owners: a controller of that
//! name with as many replicas as there are pods. What pods ask of their node beyond that (resources, affinities) is not
//! in a snapshot, so that every node with room for one more pod takes any.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::model::*;
use crate::provider::kubernetes::{encode_cordon, encode_last_reboot};
use crate::twin::json::{Map, Value, json};
use crate::twin::{Delays, Kind, World};

/// How long a pod takes to be Ready, and to end: what is usual for services; a snapshot does not tell.
const POD_READY: SignedDuration = SignedDuration::from_secs(10);
const POD_STOP: SignedDuration = SignedDuration::from_secs(5);
/// How long after its boot a node's kubelet takes to be Ready.
const NODE_READY: SignedDuration = SignedDuration::from_secs(5);
/// For ever, as far as any run goes.
pub(super) const NEVER: &str = "20000h";
/// How long the cluster has been as it is when the run begins: its controllers have looked at everything.
const SETTLED: SignedDuration = SignedDuration::from_mins(1);

/// What the rehearsal asks of single nodes and pods.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// How long each node is dark when it reboots, as a Go duration.
    pub(super) boots: BTreeMap<NodeName, String>,
    /// Pods that a finalizer holds.
    pub(super) held: BTreeSet<PodKey>,
}

/// Makes the cluster.
pub(super) fn build(snapshot: &Snapshot, wishes: &Wishes, began: Timestamp) -> World {
    let now = began.saturating_sub(SETTLED).unwrap_or(began);
    let delays = Delays { pod_ready: POD_READY, pod_stop: POD_STOP, node_ready: NODE_READY, ..Delays::default() };
    let mut world = World::new(now, 1, delays);
    let budgets = snapshot.budgets.iter().map(|budget| &budget.key.namespace);
    let namespaces: BTreeSet<&Namespace> = snapshot.pods.iter().map(|pod| &pod.key.namespace).chain(budgets).collect();
    for namespace in namespaces {
        world.place(
            Kind::Namespace,
            json!({ "metadata": { "name": namespace.as_str(), "uid": format!("ns-{namespace}") } }),
        );
    }
    let owners = owners(snapshot);
    let mut daemons: BTreeMap<&NodeName, Vec<&Uid>> = BTreeMap::new();
    for (uid, owner) in &owners {
        for node in &owner.nodes {
            daemons.entry(node).or_default().push(uid);
        }
    }
    for node in snapshot.nodes.values() {
        world.place(Kind::Node, self::node(node, wishes, daemons.get(&node.name).map_or(&[], Vec::as_slice)));
        if node.readiness != Readiness::Ready {
            // Nobody knows why, and nothing says that it will come back.
            world.pull_plug_for_good(node.name.as_str());
        }
    }
    for (uid, owner) in &owners {
        world.place(owner.kind, owner.object(uid));
    }
    // Pods of one shape share what they are made of.
    let mut shapes: HashMap<*const PodShape, Made> = HashMap::new();
    for pod in &snapshot.pods {
        let held = wishes.held.contains(&pod.key);
        let made = shapes.entry(Arc::as_ptr(&pod.shape)).or_insert_with(|| Made::new(&pod.shape, &owners));
        world.place(Kind::Pod, self::pod(pod, made, held, now));
    }
    for budget in snapshot.budgets.iter() {
        world.place(Kind::PodDisruptionBudget, self::budget(budget));
    }
    world.advance(began);
    world
}

fn pairs(labels: &Labels) -> Map {
    labels.iter().map(|(key, value)| (key.to_string(), json!(**value))).collect()
}

/// The label that lets a DaemonSet's pod on the nodes that have one, and on no others.
fn daemon_label(uid: &Uid) -> String {
    format!("rehearsal.haulout.dev/{uid}")
}

fn node(node: &Node, wishes: &Wishes, daemons: &[&Uid]) -> Value {
    let mut labels = pairs(&node.labels);
    labels.extend(daemons.iter().map(|uid| (daemon_label(uid), json!(""))));
    let mut annotations = Map::new();
    let mut note = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            annotations.insert(key.to_owned(), json!(value));
        }
    };
    let report = &node.report;
    note(ANNOTATION_BOOT_ID, report.boot_id.as_ref().map(ToString::to_string));
    note(ANNOTATION_BOOTED_AT, report.booted_at.map(|at| at.to_string()));
    note(ANNOTATION_REPORTED_AT, report.reported_at.map(|at| at.to_string()));
    match &report.reboot {
        Some(ReportedReboot::Required(reason)) => {
            note(ANNOTATION_REBOOT_REQUIRED, Some("true".to_owned()));
            note(ANNOTATION_REBOOT_REASON, Some(reason.raw().to_owned()));
            let reason = if reason.is_empty() { "required" } else { reason.raw() };
            note("sim.haulout.dev/reboot-required", Some(reason.to_owned()));
        }
        Some(ReportedReboot::NotRequired) => note(ANNOTATION_REBOOT_REQUIRED, Some("false".to_owned())),
        None => {}
    }
    if report.boot_id.is_none() || report.reported_at.is_none() {
        note("sim.haulout.dev/agent", Some("false".to_owned()));
    }
    note("sim.haulout.dev/reboot-takes", wishes.boots.get(&node.name).cloned());
    if let Some(mark) = &node.mark {
        note(ANNOTATION_CORDON, Some(encode_cordon(mark)));
        note(ANNOTATION_RUN, mark.phase.map(|_| mark.run.to_string()));
        note(ANNOTATION_PHASE, mark.phase.map(|phase| phase.to_string()));
    }
    note(ANNOTATION_LAST_REBOOT, node.last_reboot.as_ref().map(encode_last_reboot));
    note(ANNOTATION_SCALE_DOWN_DISABLED, node.scale_down_disabled.as_ref().map(|value| value.raw().to_owned()));
    note(ANNOTATION_SCALE_DOWN_BEFORE, node.scale_down_before.as_ref().map(|value| value.raw().to_owned()));
    note("weave.works/kured-reboot-in-progress", node.kured_wants_since.map(|at| at.to_string()));
    let effect = |effect: TaintEffect| match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    };
    let taints: Vec<Value> = node
        .taints
        .iter()
        .map(|taint| json!({ "key": *taint.key, "value": *taint.value, "effect": effect(taint.effect) }))
        .collect();
    let ready = match node.readiness {
        Readiness::Ready => "True",
        Readiness::NotReady => "False",
        Readiness::Unknown => "Unknown",
    };
    let allocatable: Map = node.allocatable.iter().map(|(key, value)| (key.to_string(), json!(**value))).collect();
    let mut object = json!({
        "metadata": { "name": node.name.as_str(), "uid": node.uid.as_str(), "labels": labels, "annotations": annotations },
        "spec": { "taints": taints },
        "status": {
            "nodeInfo": { "kernelVersion": node.kernel.raw(), "operatingSystem": if node.linux { "linux" } else { "windows" } },
            "conditions": [{ "type": "Ready", "status": ready }],
        },
    });
    if !allocatable.is_empty() {
        object["status"]["allocatable"] = allocatable.into();
    }
    if let Some(boot_id) = &node.boot_id {
        object["status"]["nodeInfo"]["bootID"] = json!(boot_id.as_str());
    }
    if let Some(created) = node.created_at {
        object["metadata"]["creationTimestamp"] = json!(created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    if let Some(cordon) = &node.cordon {
        object["spec"]["unschedulable"] = json!(true);
        let manager = match cordon {
            Cordon::Marked(_) => FIELD_MANAGER.to_owned(),
            Cordon::Foreign { manager, .. } => manager.as_ref().map_or("unknown", Foreign::raw).to_owned(),
        };
        object["metadata"]["managedFields"] = json!([{
            "manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": { "f:spec": { "f:unschedulable": {} } },
        }]);
    }
    object
}

/// What makes the pods of an owner.
struct Maker {
    kind: Kind,
    namespace: Namespace,
    name: String,
    replicas: i64,
    shape: Arc<PodShape>,
    /// The nodes that have a pod of a DaemonSet.
    nodes: BTreeSet<NodeName>,
}

impl Maker {
    fn object(&self, uid: &Uid) -> Value {
        let mut labels = pairs(&self.shape.labels);
        for own in ["statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"] {
            labels.remove(own);
        }
        let mut spec = spec(&self.shape);
        if self.kind == Kind::DaemonSet {
            spec["nodeSelector"] = Map::from_iter([(daemon_label(uid), json!(""))]).into();
        }
        if self.kind == Kind::Job {
            spec["restartPolicy"] = json!("Never");
        }
        let template = json!({ "metadata": { "labels": labels }, "spec": spec });
        let mut spec = json!({ "template": template, "selector": { "matchLabels": {} } });
        match self.kind {
            Kind::DaemonSet => {}
            Kind::Job => {
                spec["parallelism"] = json!(self.replicas);
                spec["completions"] = json!(self.replicas);
                // It is not what is rehearsed whether a job gives up.
                spec["backoffLimit"] = json!(1_000_000);
            }
            _ => spec["replicas"] = json!(self.replicas),
        }
        // Pods that come back one by one wait for those that never were Ready, which are not for a rehearsal to mend.
        if self.kind == Kind::StatefulSet {
            spec["podManagementPolicy"] = json!("Parallel");
        }
        json!({ "metadata": { "name": self.name, "namespace": self.namespace.as_str(), "uid": uid.as_str() }, "spec": spec })
    }
}

/// Who makes the pods, by UID. An owner whose kind is not simulated is a ReplicaSet: it makes its pods anew.
fn owners(snapshot: &Snapshot) -> BTreeMap<Uid, Maker> {
    let mut owners: BTreeMap<Uid, Maker> = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| !pod.shape.mirror && !pod.status.is_finished()) {
        let Some(owner) = &pod.shape.owner else { continue };
        let kind = kind_of(owner);
        let gone = kind == Kind::DaemonSet && !snapshot.daemon_sets.contains_key(&owner.uid);
        if gone && !snapshot.has_gap(GapSubject::DaemonSets) {
            continue;
        }
        let maker = owners.entry(owner.uid.clone()).or_insert_with(|| Maker {
            kind,
            namespace: pod.key.namespace.clone(),
            name: owner.name.to_string(),
            replicas: 0,
            shape: Arc::clone(&pod.shape),
            nodes: BTreeSet::new(),
        });
        match kind {
            Kind::DaemonSet => maker.nodes.extend(pod.node.clone()),
            Kind::StatefulSet => {
                let ordinal = pod.key.name.as_str().rsplit_once('-').and_then(|(_, number)| number.parse::<i64>().ok());
                maker.replicas = maker.replicas.max(ordinal.unwrap_or(0).saturating_add(1).min(100_000));
            }
            _ if pod.status.terminating => {}
            _ => maker.replicas += 1,
        }
    }
    owners
}

fn kind_of(owner: &Owner) -> Kind {
    match Kind::of_object(&owner.api_version, &owner.kind) {
        Some(kind @ (Kind::StatefulSet | Kind::DaemonSet | Kind::Job)) => kind,
        _ => Kind::ReplicaSet,
    }
}

fn spec(shape: &PodShape) -> Value {
    let mut spec = json!({
        "containers": [{ "name": "main", "image": "rehearsal" }],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": shape.grace_seconds,
    });
    if shape.tolerates_cordon {
        spec["tolerations"] = json!([{ "operator": "Exists" }]);
    }
    if shape.empty_dir {
        spec["volumes"] = json!([{ "name": "scratch", "emptyDir": {} }]);
    }
    spec
}

/// What pods of one shape have in common.
struct Made {
    labels: Value,
    /// Null where nobody makes the pod anew: an owner that is gone is left as it is.
    owners: Value,
    spec: Value,
}

impl Made {
    fn new(shape: &PodShape, owners: &BTreeMap<Uid, Maker>) -> Self {
        let mut references = Value::Null;
        if let Some(owner) = &shape.owner {
            let made = owners.get(&owner.uid);
            let (api, kind) = match made {
                Some(maker) if !shape.mirror => (maker.kind.api_version(), maker.kind.name().to_owned()),
                _ => (owner.api_version.to_string(), owner.kind.to_string()),
            };
            if made.is_some() || shape.mirror {
                references = json!([{
                    "apiVersion": api, "kind": kind, "name": *owner.name, "uid": owner.uid.as_str(), "controller": true,
                }]);
            }
        }
        Self { labels: pairs(&shape.labels).into(), owners: references, spec: spec(shape) }
    }
}

fn pod(pod: &Pod, made: &Made, held: bool, now: Timestamp) -> Value {
    let shape = &pod.shape;
    let mut metadata = json!({
        "name": pod.key.name.as_str(), "namespace": pod.key.namespace.as_str(), "uid": pod.uid.as_str(),
        "labels": made.labels,
    });
    if !made.owners.is_null() {
        metadata["ownerReferences"] = made.owners.clone();
    }
    if shape.mirror {
        metadata["annotations"] = json!({ "kubernetes.io/config.mirror": "rehearsal" });
    } else if !pod.status.ready {
        // What is not Ready now is not for a rehearsal to mend.
        metadata["annotations"] = json!({ "sim.haulout.dev/never-ready": "true" });
    }
    if held {
        metadata["finalizers"] = json!(["rehearsal.haulout.dev/never-ends"]);
    }
    if pod.status.terminating {
        let end = now.saturating_add(SignedDuration::from_secs(shape.grace_seconds.into())).unwrap_or(now);
        metadata["deletionTimestamp"] = json!(end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        metadata["deletionGracePeriodSeconds"] = json!(shape.grace_seconds);
    }
    let mut spec = made.spec.clone();
    if let Some(node) = &pod.node {
        spec["nodeName"] = json!(node.as_str());
    }
    let phase = match pod.status.phase {
        PodPhase::Pending => "Pending",
        PodPhase::Running => "Running",
        PodPhase::Succeeded => "Succeeded",
        PodPhase::Failed => "Failed",
        PodPhase::Unknown => "Unknown",
    };
    let ready = if pod.status.ready { "True" } else { "False" };
    // Long enough ago to be Ready, if it ever is.
    let started = now.saturating_sub(SignedDuration::from_hours(1)).unwrap_or(now);
    json!({ "metadata": metadata, "spec": spec,
            "status": { "phase": phase, "startTime": started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                        "conditions": [{ "type": "Ready", "status": ready }] } })
}

fn budget(budget: &Budget) -> Value {
    let bound = |bound: Bound| match bound {
        Bound::Count(count) => json!(count),
        Bound::Percent(percent) => json!(format!("{percent}%")),
    };
    let mut spec = match budget.spec {
        BudgetSpec::MinAvailable(least) => json!({ "minAvailable": bound(least) }),
        BudgetSpec::MaxUnavailable(most) => json!({ "maxUnavailable": bound(most) }),
        BudgetSpec::Neither => json!({}),
    };
    if let Some(selector) = &budget.selector {
        let expression = |requirement: &Requirement| {
            let (operator, values): (_, Vec<String>) = match requirement.test() {
                Test::In(values) => ("In", values.iter().map(ToString::to_string).collect()),
                Test::NotIn(values) => ("NotIn", values.iter().map(ToString::to_string).collect()),
                Test::Exists => ("Exists", Vec::new()),
                Test::Absent => ("DoesNotExist", Vec::new()),
                Test::Greater(than) => ("Gt", vec![than.to_string()]),
                Test::Less(than) => ("Lt", vec![than.to_string()]),
            };
            json!({ "key": requirement.key(), "operator": operator, "values": values })
        };
        let all: Vec<Value> = selector.requirements().map(expression).collect();
        spec["selector"] = json!({ "matchExpressions": all });
    }
    if budget.unhealthy == UnhealthyPolicy::AlwaysAllow {
        spec["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
    }
    json!({
        "metadata": {
            "name": budget.key.name.as_str(), "namespace": budget.key.namespace.as_str(), "uid": budget.uid.as_str(),
            "labels": pairs(&budget.labels), "generation": 1,
        },
        "spec": spec,
        "status": {
            "expectedPods": budget.expected, "desiredHealthy": budget.desired, "currentHealthy": budget.healthy,
            "disruptionsAllowed": budget.allowed, "observedGeneration": 1,
        },
    })
}
