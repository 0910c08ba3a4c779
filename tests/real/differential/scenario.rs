//! What a scenario is: objects and steps, played alike on both sides.

use serde_json::{Value, json};

/// One scenario.
pub(super) struct Scenario {
    /// What it is about.
    pub(super) family: &'static str,
    /// Which of its family; with it the seed.
    pub(super) number: u32,
    /// A namespace of its own, which also begins the names of its nodes and volumes.
    pub(super) namespace: String,
    pub(super) steps: Vec<Step>,
}

impl Scenario {
    /// How it is named when it is printed and replayed.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.family, self.number)
    }
}

/// One step. Texts of the form `@uid:PLURAL/NAME` in an object stand for the UID of an object of the scenario's
/// namespace, `@version:PLURAL/NAME` for its resourceVersion, and `@pod:ALIAS` for the name of a pod, on either side.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Makes an object. The answers are compared.
    Make(Value),
    /// Changes an object by a merge patch; `part` is empty or `/status`. The answers are compared.
    Change { what: String, part: &'static str, body: Value },
    /// Deletes an object. The answers are compared.
    Delete { what: String, body: Value },
    /// Gives pods that a controller made names that are the same on both sides: waits for so many, and names them in
    /// order of their own names.
    Name { selector: String, alias: &'static str, count: usize },
    /// Writes the status of a pod, as a kubelet would.
    Status { pod: String, phase: &'static str, ready: bool },
    /// Waits until both sides are at rest and say the same of budgets and pods.
    Settle,
    /// Evicts a pod with a body and a query of its own. The answers are compared.
    Evict { pod: String, query: &'static str, body: Value },
    /// Asks the planner about a node with these pods, then evicts them as a drain would, making replacements Ready.
    Drain { pods: Vec<String> },
    /// The same, where budgets overlap and never come to rest in the same way.
    DrainUnsettled { pods: Vec<String> },
    /// Compares one part of an object.
    Same { what: String, at: &'static str },
    /// Notes that the scenario was decided by a row that no answer shows.
    Decided(&'static str),
    /// Evicts these pods all at once, and counts the answers of each code.
    Rush { pods: Vec<String> },
    /// Waits until nodes are as their objects want them: no taint of a node that is not Ready, and that of a cordon.
    Calm { nodes: Vec<String> },
    /// Waits until a pod has been placed, or is said not to be, and compares where and why.
    Placed { pod: String },
    /// Asks for each node alone whether a copy of this pod fits there.
    Probe { pod: Value, nodes: Vec<String> },
}

pub(super) fn budget(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": name, "namespace": namespace }, "spec": spec,
    })
}

/// A pod template that no scheduler looks at.
pub(super) fn template(app: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": app } },
        "spec": {
            "schedulerName": "nobody", "terminationGracePeriodSeconds": 5,
            "containers": [{ "name": "main", "image": "example.invalid/app" }],
        },
    })
}

/// A pod without a controller.
pub(super) fn bare(namespace: &str, name: &str, app: &str) -> Value {
    let mut pod = template(app);
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = name.into();
    pod["metadata"]["namespace"] = namespace.into();
    pod
}

/// A controller with so many pods.
pub(super) fn workload(namespace: &str, kind: &str, name: &str, app: &str, replicas: u32) -> Value {
    let (api, mut spec) = match kind {
        "Job" => {
            let mut template = template(app);
            template["spec"]["restartPolicy"] = "Never".into();
            ("batch/v1", json!({ "parallelism": replicas, "completions": replicas, "template": template }))
        }
        _ => (
            "apps/v1",
            json!({ "replicas": replicas, "selector": { "matchLabels": { "app": app } }, "template": template(app) }),
        ),
    };
    if kind == "StatefulSet" {
        spec["serviceName"] = name.into();
        spec["podManagementPolicy"] = "Parallel".into();
    }
    json!({ "apiVersion": api, "kind": kind, "metadata": { "name": name, "namespace": namespace }, "spec": spec })
}

/// The collection that objects like this one are in.
pub(super) fn collection(object: &Value) -> String {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let plural = match text("/kind") {
        "StorageClass" => "storageclasses".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    let root = root(text("/apiVersion"));
    match text("/metadata/namespace") {
        "" => format!("{root}/{plural}"),
        namespace => format!("{root}/namespaces/{namespace}/{plural}"),
    }
}

fn root(api_version: &str) -> String {
    if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") }
}

/// The path of an object by plural and name, in the scenario's namespace where it has one.
pub(super) fn path(namespace: &str, what: &str) -> String {
    let (plural, name) = what.split_once('/').unwrap_or((what, ""));
    let (api, namespaced) = match plural {
        "nodes" | "persistentvolumes" | "namespaces" => ("v1", false),
        "storageclasses" | "csinodes" => ("storage.k8s.io/v1", false),
        "poddisruptionbudgets" => ("policy/v1", true),
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" => ("apps/v1", true),
        "jobs" => ("batch/v1", true),
        "leases" => ("coordination.k8s.io/v1", true),
        _ => ("v1", true),
    };
    let root = root(api);
    if namespaced {
        format!("{root}/namespaces/{namespace}/{plural}/{name}")
    } else {
        format!("{root}/{plural}/{name}")
    }
}

/// Restricts a pod to nodes by name: other scenarios' nodes are then no part of what the scheduler says of it.
pub(super) fn pin(pod: &mut Value, nodes: &[String]) {
    let required = &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = required["nodeSelectorTerms"].as_array().cloned().unwrap_or_else(|| vec![json!({})]);
    let pinned: Vec<Value> = terms
        .iter()
        .filter(|term| term["matchFields"].is_null())
        .flat_map(|term| {
            nodes.iter().map(move |node| {
                let mut term = term.clone();
                term["matchFields"] = json!([{ "key": "metadata.name", "operator": "In", "values": [node] }]);
                term
            })
        })
        .collect();
    required["nodeSelectorTerms"] = Value::Array(pinned);
}
