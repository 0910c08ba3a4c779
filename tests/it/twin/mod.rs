//! The simulated cluster, through the door that haulout uses: its HTTP API.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use futures::StreamExt;
use haulout::twin::{Kind, Sandbox, SandboxError, SandboxFile, Store};
use http::{Method, Request};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::ServiceExt;

mod evictions;
mod hostile;
mod kubectl;
mod misbehaving;
mod nodes;
mod reads;

/// When the tests take place, in milliseconds.
const START: i64 = 1_795_000_000_000;

/// Keeps the state in memory, and can be told to fail.
#[derive(Default)]
struct Memory {
    state: Mutex<Option<Vec<u8>>>,
    fails: std::sync::atomic::AtomicBool,
}

impl Store for Memory {
    fn save(&self, state: &[u8]) -> std::io::Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("no space left"));
        }
        *self.state.lock().unwrap() = Some(state.to_vec());
        Ok(())
    }
}

/// A cluster under test, with a clock that the test moves.
struct Lab {
    sandbox: Sandbox,
    clock: Arc<AtomicI64>,
    memory: Arc<Memory>,
}

/// An answer.
#[derive(Debug, PartialEq)]
struct Answer {
    code: u16,
    headers: BTreeMap<String, String>,
    body: Value,
}

impl Answer {
    fn names(&self) -> Vec<String> {
        self.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn file(seed: u32) -> SandboxFile {
    let text = format!("version = 1\nmanifests = [\"objects.yaml\"]\nseed = {seed}\n");
    SandboxFile::parse("cluster.toml", &text).unwrap()
}

impl Lab {
    fn new(manifest: &str) -> Self {
        Self::open(manifest, 1, None, START).unwrap()
    }

    fn open(manifest: &str, seed: u32, state: Option<&[u8]>, at: i64) -> Result<Self, SandboxError> {
        let clock = Arc::new(AtomicI64::new(at));
        let reader = Arc::clone(&clock);
        let memory = Arc::new(Memory::default());
        let sandbox = Sandbox::open(
            &file(seed),
            &[("objects.yaml".to_owned(), manifest.to_owned())],
            state,
            Arc::new(move || Timestamp::from_millisecond(reader.load(Ordering::Relaxed)).unwrap()),
            Arc::<Memory>::clone(&memory),
        )?;
        Ok(Self { sandbox, clock, memory })
    }

    /// Lets time pass.
    fn pass(&self, millis: i64) {
        self.clock.fetch_add(millis, Ordering::Relaxed);
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("user-agent", "tester/1")
            .header("content-type", content_type)
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.sandbox.router().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
        Answer {
            code: head.status.as_u16(),
            headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", "").await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, "application/json", &body.to_string()).await
    }

    async fn merge(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, "application/merge-patch+json", &body.to_string()).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "", "").await
    }

    /// Evicts a pod as haulout does.
    async fn evict(&self, pod: &str) -> Answer {
        let body =
            json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": pod, "namespace": "shop" } });
        self.post(&format!("/api/v1/namespaces/shop/pods/{pod}/eviction?fieldValidation=Strict"), &body).await
    }

    async fn node(&self, name: &str) -> Value {
        self.get(&format!("/api/v1/nodes/{name}")).await.body
    }

    /// The pods of a label `app` that are not terminating, by name, with node and readiness.
    async fn pods(&self, app: &str) -> Vec<(String, String, bool)> {
        let list = self.get(&format!("/api/v1/namespaces/shop/pods?labelSelector=app%3D{app}")).await;
        let pods =
            list.body["items"].as_array().unwrap().iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods.map(|pod| {
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            let node = pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
            (name, node, is_true(pod, "Ready"))
        })
        .collect()
    }

    async fn budget(&self, name: &str) -> Value {
        let path = format!("/apis/policy/v1/namespaces/shop/poddisruptionbudgets/{name}");
        self.get(&path).await.body["status"].clone()
    }
}

fn is_true(object: &Value, condition: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|known| known["type"] == condition && known["status"] == "True")
}

fn nodes(count: usize) -> String {
    (1..=count)
        .map(|index| {
            format!(
                "apiVersion: v1\nkind: Node\nmetadata:\n  name: n{index}\n  labels:\n    topology.kubernetes.io/zone: z{}\n---\n",
                index % 3
            )
        })
        .collect()
}

fn shop() -> String {
    "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n---\n".to_owned()
}

fn workload(kind: &str, name: &str, replicas: u32, more: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  replicas: {replicas}\n  selector: {{ matchLabels: {{ app: {name} }} }}\n  template:\n    metadata: {{ labels: {{ app: {name} }} }}\n    spec:\n      containers: [{{ name: c, image: x, resources: {{ requests: {{ cpu: 100m }} }} }}]\n{more}---\n"
    )
}

fn budget(name: &str, app: &str, rule: &str) -> String {
    format!(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  {rule}\n  selector: {{ matchLabels: {{ app: {app} }} }}\n---\n"
    )
}

#[test]
fn the_published_schema_is_the_one_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/sandbox.v1.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&haulout::twin::schema()).unwrap());
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap_or_default();
    assert!(published == text, "schemas/sandbox.v1.json is not that of the code; run with UPDATE_SCHEMAS=1");
}

/// Opens an example as the command line would.
fn example(name: &str) -> Lab {
    let folder = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
    let toml = read("cluster.toml");
    let schema = jsonschema::validator_for(&haulout::twin::schema()).unwrap();
    let value: Value = serde_json::to_value(toml::from_str::<toml::Table>(&toml).unwrap()).unwrap();
    assert!(schema.is_valid(&value), "{name}/cluster.toml does not fit its schema");
    let file = SandboxFile::parse("cluster.toml", &toml).unwrap();
    let manifests: Vec<(String, String)> = file.manifests.iter().map(|path| (path.clone(), read(path))).collect();
    let clock = Arc::new(AtomicI64::new(START));
    let reader = Arc::clone(&clock);
    let memory = Arc::new(Memory::default());
    let sandbox = Sandbox::open(
        &file,
        &manifests,
        None,
        Arc::new(move || Timestamp::from_millisecond(reader.load(Ordering::Relaxed)).unwrap()),
        Arc::<Memory>::clone(&memory),
    )
    .unwrap();
    Lab { sandbox, clock, memory }
}

#[tokio::test]
async fn the_examples_begin_steady() {
    for (name, nodes, pods) in [("quickstart", 12, 12 * 3 + 2 + 2 + 9 + 5 + 4 + 3 + 3 + 1), ("clean", 6, 6 + 4 + 2)] {
        let lab = example(name);
        let all = lab.get("/api/v1/nodes").await;
        assert_eq!(all.names().len(), nodes, "{name}");
        assert!(all.body["items"].as_array().unwrap().iter().all(|node| is_true(node, "Ready")), "{name}");
        let all = lab.get("/api/v1/pods").await;
        assert_eq!(all.names().len(), pods, "{name}");
        for pod in all.body["items"].as_array().unwrap() {
            assert!(is_true(pod, "Ready"), "{name}: {}", pod["metadata"]["name"]);
        }
        for budget in lab.get("/apis/policy/v1/poddisruptionbudgets").await.body["items"].as_array().unwrap() {
            let allows = budget["status"]["disruptionsAllowed"].as_i64().unwrap();
            let ledger = budget["metadata"]["name"] == "ledger";
            assert_eq!(allows == 0, ledger, "{name}: {budget:#}");
        }
    }
}

#[tokio::test]
async fn one_node_of_the_quickstart_is_blocked_and_one_unknown() {
    let lab = example("quickstart");
    let ledger = lab.get("/api/v1/namespaces/billing/pods/ledger-0").await.body;
    assert_eq!(ledger["spec"]["nodeName"], "demo-apps-3");
    let reports = |node: &Value| node["metadata"]["annotations"]["haulout.dev/reboot-required"].clone();
    assert_eq!(reports(&lab.node("demo-apps-1").await), "true");
    assert_eq!(reports(&lab.node("demo-apps-7").await), Value::Null);
    assert_eq!(reports(&lab.node("demo-apps-9").await), "false");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_bytes_and_another_others() {
    let manifest = format!("{}{}{}", nodes(3), shop(), workload("Deployment", "web", 5, ""));
    let mut states = Vec::new();
    for seed in [1, 1, 2] {
        let lab = Lab::open(&manifest, seed, None, START).unwrap();
        let pods = lab.pods("web").await;
        for (pod, _, _) in pods.iter().take(2) {
            lab.evict(pod).await;
            lab.pass(137);
        }
        lab.pass(5000);
        lab.get("/version").await;
        lab.get("/api/v1/pods").await;
        states.push(lab.sandbox.state().unwrap());
    }
    assert!(states[0] == states[1]);
    assert!(states[0] != states[2]);
}

#[tokio::test]
async fn a_saved_cluster_goes_on_where_it_stood() {
    let manifest = format!("{}{}{}", nodes(3), shop(), workload("Deployment", "web", 3, ""));
    let lab = Lab::new(&manifest);
    let (pod, ..) = lab.pods("web").await.remove(0);
    lab.evict(&pod).await;
    lab.pass(100);
    lab.get("/api/v1/pods").await;
    let saved = lab.memory.state.lock().unwrap().clone().unwrap();
    // At the same moment it is the same, byte for byte.
    let now = lab.clock.load(Ordering::Relaxed);
    let again = Lab::open(&manifest, 1, Some(&saved), now).unwrap();
    assert!(again.sandbox.state().unwrap() == saved);
    assert!(!again.sandbox.is_description_changed());
    // Two days later nobody has grown older, and the replacement still comes.
    let later = Lab::open(&manifest, 1, Some(&saved), now + 2 * 86_400_000).unwrap();
    let report = |node: &Value| -> Timestamp {
        node["metadata"]["annotations"]["haulout.dev/reported-at"].as_str().unwrap().parse().unwrap()
    };
    let age = later.sandbox.now().duration_since(report(&later.node("n1").await));
    assert!(age.as_hours() < 2, "{age:?}");
    later.pass(3000);
    let pods = later.pods("web").await;
    assert!(pods.len() == 3 && pods.iter().all(|(_, _, ready)| *ready), "{pods:?}");
    let changed = Lab::open(&format!("{manifest}{}", nodes(1)), 1, Some(&saved), now).unwrap();
    assert!(changed.sandbox.is_description_changed());
}

#[tokio::test]
async fn the_lock_of_a_dead_run_ages_while_the_cluster_stands_still() {
    let lab = Lab::new(&nodes(1));
    lab.post("/api/v1/namespaces", &json!({ "metadata": { "name": "haulout-system" } })).await;
    let stamp =
        |millis: i64| Timestamp::from_millisecond(millis).unwrap().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let leases = "/apis/coordination.k8s.io/v1/namespaces/haulout-system/leases";
    for name in ["haulout", "other"] {
        let spec = json!({ "holderIdentity": "run", "leaseDurationSeconds": 60, "renewTime": stamp(START) });
        let made = lab.post(leases, &json!({ "metadata": { "name": name }, "spec": spec })).await;
        assert_eq!(made.code, 201);
    }
    let mut saved = lab.memory.state.lock().unwrap().clone().unwrap();
    // However often it is opened, the silence of the run is that of the clock.
    for at in [10_000, 50_000, 61_000] {
        let lab = Lab::open(&nodes(1), 1, Some(&saved), START + at).unwrap();
        let renewed = |lease: Answer| lease.body["spec"]["renewTime"].as_str().unwrap().to_owned();
        assert_eq!(renewed(lab.get(&format!("{leases}/haulout")).await), stamp(START));
        assert_eq!(renewed(lab.get(&format!("{leases}/other")).await), stamp(START + at));
        saved = lab.sandbox.state().unwrap();
    }
    // A clock that was set back does not make the lock one of the future, which nobody could ever take.
    let back = Lab::open(&nodes(1), 1, Some(&saved), START - 3_600_000).unwrap();
    let lease = back.get(&format!("{leases}/haulout")).await.body;
    let renewed: Timestamp = lease["spec"]["renewTime"].as_str().unwrap().parse().unwrap();
    assert!(renewed <= back.sandbox.now(), "{renewed}");
}

#[tokio::test]
async fn nothing_is_told_that_is_not_saved() {
    let lab = Lab::new(&nodes(1));
    lab.get("/api/v1/nodes").await;
    lab.memory.fails.store(true, Ordering::Relaxed);
    let answer = lab.merge("/api/v1/nodes/n1", &json!({ "spec": { "unschedulable": true } })).await;
    assert_eq!((answer.code, answer.body["reason"].as_str()), (500, Some("InternalError")));
    lab.memory.fails.store(false, Ordering::Relaxed);
    assert_eq!(lab.get("/api/v1/nodes/n1").await.code, 200);
    assert!(String::from_utf8(lab.memory.state.lock().unwrap().clone().unwrap()).unwrap().contains("unschedulable"));
}

/// Reads events of a watch until `enough` says so.
async fn watched(lab: &Lab, path: &str, mut enough: impl FnMut(&Value) -> bool) -> Vec<Value> {
    let request = Request::builder().uri(path).body(Body::empty()).unwrap();
    let response = lab.sandbox.router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = response.into_body().into_data_stream();
    let mut events = Vec::new();
    while let Some(chunk) = stream.next().await {
        for line in chunk.unwrap().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let event: Value = serde_json::from_slice(line).unwrap();
            let last = enough(&event);
            events.push(event);
            if last {
                return events;
            }
        }
    }
    events
}

#[test]
fn every_kind_has_a_path_of_its_own() {
    let mut paths: Vec<String> = Kind::ALL.iter().map(|kind| kind.resource()).collect();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), Kind::ALL.len());
}
