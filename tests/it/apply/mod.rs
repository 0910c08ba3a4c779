//! The executor on a simulated cluster, with whatever can go wrong between the two put in between.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use haulout::apply::{Access, ApplyError, Connect, Input, Interrupt, Outcome, apply};
use haulout::config::{Source, parse};
use haulout::journal::{Journal, Sink};
use haulout::model::{ClusterName, RunId};
use haulout::observe::{Extent, observe};
use haulout::plan::{Plan, Selection, plan};
use haulout::provider::kubernetes::{Access as Reach, KubernetesCluster, connect};
use haulout::provider::{LockActs, ReadError, ReadErrorKind, clock};
use haulout::run::{Event, EventKind, NodeOutcome, WaitFor};
use haulout::twin::{Sandbox, SandboxFile, Store};
use serde_json::{Value, json};
use tower::ServiceExt;

mod faults;
mod lock;

/// How fast the simulated cluster lives: its nodes renew their leases every second.
const SPEED: i64 = 10;
/// The longest that a run of these tests may take before it counts as one that never ends; shorter than the deadline of
/// a list, which must not be what ends a wait.
const NEVER: Duration = Duration::from_secs(60);

const POD: &str = "/api/v1/namespaces/haulout-system/pods";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/haulout-system/leases";

struct Nowhere;

impl Store for Nowhere {
    fn save(&self, _state: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
}

/// A request on its way.
#[derive(Debug, Clone)]
struct Asked {
    method: String,
    path: String,
    query: String,
    body: Value,
    /// How many requests of this method and path came before.
    before: usize,
}

impl Asked {
    fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }

    /// Whether it writes this phase on a node.
    fn writes_phase(&self, phase: &str) -> bool {
        self.method == "PATCH" && self.body["metadata"]["annotations"]["haulout.dev/phase"] == phase
    }
}

/// What becomes of a request.
enum Fate {
    Pass,
    /// It never reaches the cluster.
    Answer(u16, Value),
    /// It is done, and its answer is lost on the way.
    Lost,
    /// Nobody ever answers.
    Silence,
    /// This happens first.
    After(&'static str, &'static str, Value, Box<Fate>),
    /// Its answer is changed.
    Edit(fn(&mut Value)),
}

type Fault = dyn Fn(&Asked) -> Fate + Send + Sync;

fn denied() -> Fate {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": "User \"ci\" cannot do this" });
    Fate::Answer(403, status)
}

async fn send(sandbox: &Sandbox, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    let body = if method == "GET" { Body::empty() } else { Body::from(body.to_string()) };
    let response = sandbox.router().oneshot(request.body(body).unwrap()).await.unwrap();
    let code = response.status().as_u16();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

fn reply(code: u16, body: String) -> Response {
    Response::builder().status(code).header("content-type", "application/json").body(Body::from(body)).unwrap()
}

/// The cluster's API behind a fault.
fn behind(sandbox: &Sandbox, log: &Arc<Mutex<Vec<Asked>>>, fault: Arc<Fault>) -> Router {
    let (inner, log) = (sandbox.clone(), Arc::clone(log));
    sandbox.router().layer(axum::middleware::from_fn(move |request: Request, next: Next| {
        let (inner, log, fault) = (inner.clone(), Arc::clone(&log), Arc::clone(&fault));
        async move {
            let (head, body) = request.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let asked = {
                let mut log = log.lock().unwrap();
                let (method, path) = (head.method.to_string(), head.uri.path().to_owned());
                let asked = Asked {
                    before: log.iter().filter(|asked| asked.is(&method, &path)).count(),
                    method,
                    path,
                    query: head.uri.query().unwrap_or_default().to_owned(),
                    body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
                };
                log.push(asked.clone());
                asked
            };
            let request = Request::from_parts(head, Body::from(bytes));
            let mut fate = fault(&asked);
            while let Fate::After(method, path, body, then) = fate {
                let (code, answer) = send(&inner, method, path, &body).await;
                assert!(code < 300, "{method} {path}: {answer}");
                fate = *then;
            }
            match fate {
                Fate::After(..) => unreachable!("all of them have happened"),
                Fate::Pass => next.run(request).await,
                Fate::Answer(code, body) => reply(code, body.to_string()),
                Fate::Silence => std::future::pending().await,
                Fate::Lost => {
                    next.run(request).await;
                    reply(502, "the way back is broken".to_owned())
                }
                Fate::Edit(edit) => {
                    let (head, body) = next.run(request).await.into_parts();
                    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                    let mut value: Value = serde_json::from_slice(&bytes).unwrap();
                    edit(&mut value);
                    Response::from_parts(head, Body::from(value.to_string()))
                }
            }
        }
    }))
}

/// Keeps lines, and fails at the ones it is told to.
struct Lines(fn(&str) -> bool);

impl Sink for Lines {
    fn append(&mut self, line: &[u8]) -> std::io::Result<()> {
        if (self.0)(&String::from_utf8_lossy(line)) { Err(std::io::Error::other("no space left")) } else { Ok(()) }
    }
}

/// One run to be.
struct Scene {
    sandbox: Sandbox,
    log: Arc<Mutex<Vec<Asked>>>,
    interrupt: Interrupt,
    /// What goes wrong with the lock's own connection.
    lock_fault: Arc<Fault>,
    lock_connects: bool,
    journal_fails: fn(&str) -> bool,
    config: String,
}

/// How a run went.
struct Ran {
    result: Result<Outcome, ApplyError>,
    events: Vec<Event>,
}

impl Ran {
    fn outcome(&self) -> &NodeOutcome {
        self.result.as_ref().unwrap().summary.nodes.values().next().unwrap()
    }

    fn is_done(&self) -> bool {
        matches!(self.outcome(), NodeOutcome::Done)
    }

    /// The failure of the only node, and whether it was left cordoned.
    fn failure(&self) -> (String, bool) {
        match self.outcome() {
            NodeOutcome::Failed { failure, cordoned, .. } => (failure.message.raw().to_owned(), *cordoned),
            // The node was put back by the step itself.
            NodeOutcome::Skipped { failure, .. } => (failure.message.raw().to_owned(), false),
            other => panic!("{other:?}"),
        }
    }

    fn has(&self, wanted: impl Fn(&EventKind) -> bool) -> bool {
        self.events.iter().any(|event| wanted(&event.kind))
    }

    fn waited(&self, wanted: impl Fn(&WaitFor) -> bool) -> bool {
        self.has(|kind| matches!(kind, EventKind::StepWaiting { wait, .. } if wanted(&wait.what)))
    }

    fn noted(&self, text: &str) -> bool {
        self.has(|kind| matches!(kind, EventKind::StepNote { note, .. } if note.raw().contains(text)))
    }
}

/// Two nodes, of which `n1` waits for a reboot, a Deployment of two pods, and a DaemonSet.
fn manifest() -> String {
    let workload = |kind: &str, name: &str, more: &str| {
        format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{ name: {name}, namespace: shop }}\nspec:\n  {more}\n  selector: {{ matchLabels: {{ app: {name} }} }}\n  template:\n    metadata: {{ labels: {{ app: {name} }} }}\n    spec:\n      containers: [{{ name: c, image: x }}]\n---\n"
        )
    };
    let node = |name: &str, why: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels: {{ kubernetes.io/os: linux, node: {name} }}\n  annotations: {{ sim.haulout.dev/reboot-required: \"{why}\" }}\n---\n"
        )
    };
    [
        node("n1", "kernel"),
        node("n2", ""),
        "apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n---\n".to_owned(),
        workload("Deployment", "web", "replicas: 4"),
        workload("DaemonSet", "logs", ""),
    ]
    .concat()
}

impl Scene {
    fn new() -> Self {
        let text = "version = 1\nmanifests = [\"o.yaml\"]\n[delays]\npod_ready = \"500ms\"\npod_stop = \"200ms\"\nreboot = \"3s\"\nnode_ready = \"1s\"\n";
        let file = SandboxFile::parse("cluster.toml", text).unwrap();
        let began = clock::now();
        let now = move || began + clock::now().duration_since(began) * i32::try_from(SPEED).unwrap();
        let sandbox =
            Sandbox::open(&file, &[("o.yaml".to_owned(), manifest())], None, Arc::new(now), Arc::new(Nowhere)).unwrap();
        Self {
            sandbox,
            log: Arc::default(),
            interrupt: Interrupt::default(),
            lock_fault: Arc::new(|_: &Asked| Fate::Pass),
            lock_connects: true,
            journal_fails: |_| false,
            config: "version = 1\nname = \"test\"\n[cluster.demo]\nsandbox = \"cluster.toml\"\n[reboot.linux]\nwhen_required = true\nready_timeout = \"20s\"\nsettle = \"1s\"\ndrain = { timeout = \"300s\" }\n".to_owned(),
        }
    }

    async fn cluster(&self, fault: Arc<Fault>) -> Arc<KubernetesCluster> {
        connect(Reach::InProcess(behind(&self.sandbox, &self.log, fault)), "test", None).await.unwrap()
    }

    async fn plan(&self) -> Plan {
        let reads = self.cluster(Arc::new(|_: &Asked| Fate::Pass)).await;
        let name = ClusterName::new("demo").unwrap();
        let snapshot = observe(reads.as_ref(), None, name.clone(), clock::now, Extent::Plan).await.unwrap();
        let (config, _) = parse(&Source::new("haulout.toml", &self.config)).unwrap();
        let plan =
            plan(&config, &BTreeMap::from([(name, snapshot)]), self.sandbox.now(), &Selection::default()).unwrap();
        self.log.lock().unwrap().clear();
        plan
    }

    async fn run(&self, fault: impl Fn(&Asked) -> Fate + Send + Sync + 'static) -> Ran {
        let plan = self.plan().await;
        self.execute(plan, fault).await
    }

    async fn execute(&self, plan: Plan, fault: impl Fn(&Asked) -> Fate + Send + Sync + 'static) -> Ran {
        let name = ClusterName::new("demo").unwrap();
        let snapshot = {
            let reads = self.cluster(Arc::new(|_: &Asked| Fate::Pass)).await;
            observe(reads.as_ref(), None, name.clone(), clock::now, Extent::Plan).await.unwrap()
        };
        self.log.lock().unwrap().clear();
        let cluster = self.cluster(Arc::new(fault)).await;
        let (router, connects) =
            (behind(&self.sandbox, &Arc::default(), Arc::clone(&self.lock_fault)), self.lock_connects);
        let renew: Connect = Box::new(move || {
            Box::pin(async move {
                if !connects {
                    return Err(ReadError {
                        operation: "connect once more".to_owned(),
                        kind: ReadErrorKind::Unreachable,
                        message: haulout::model::Foreign::new("no route to host"),
                        status: None,
                        retry_after: None,
                    });
                }
                let cluster: Arc<dyn LockActs> = connect(Reach::InProcess(router), "test", None).await.unwrap();
                Ok(cluster)
            })
        });
        let access = Access {
            acts: cluster.clone(),
            lock: cluster.clone(),
            probes: cluster,
            renew: haulout::apply::Renew::Apart(renew),
            silence: None,
            sweep: std::collections::BTreeSet::new(),
            daemon_sets: snapshot.daemon_sets,
            daemon_sets_known: true,
        };
        let (seen, mut told) = tokio::sync::mpsc::unbounded_channel();
        let encode = Box::new(|event: &Event| format!("{:?}", event.kind).into_bytes());
        let (journal, _keeper) =
            Journal::start("memory".into(), Box::new(Lines(self.journal_fails)), encode, clock::now, seen).unwrap();
        let input = Input {
            plan,
            run: RunId::new("run-1").unwrap(),
            version: "test".to_owned(),
            clusters: BTreeMap::from([(name, access)]),
            journal,
            interrupt: self.interrupt.clone(),
            silent: |_, _| {},
        };
        let result = tokio::time::timeout(NEVER, apply(input)).await.expect("the run does not end");
        let mut events = Vec::new();
        while let Ok(event) = told.try_recv() {
            events.push(event);
        }
        Ran { result, events }
    }

    /// What was asked, so far.
    fn asked(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    async fn get(&self, path: &str) -> Value {
        send(&self.sandbox, "GET", path, &Value::Null).await.1
    }

    async fn is_cordoned(&self) -> bool {
        self.get("/api/v1/nodes/n1").await["spec"]["unschedulable"] == true
    }

    async fn lock_holder(&self) -> Value {
        self.get(&format!("{LEASE}/haulout")).await["spec"]["holderIdentity"].clone()
    }
}
