//! What goes over the wire to an API server, and what is made of its answers: against scripted servers in this process,
//! with answers of a real one where it matters.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use futures::StreamExt as _;
use haulout::journal::Journal;
use haulout::model::{
    BootId, ClusterName, Foreign, Gap, GapSubject, Grace, LastReboot, Mark, Namespace, Node, NodeName, NodePod, Phase,
    Pod, PodKey, PodName, RebootMethod, ReportedReboot, RunId, TableName, Uid,
};
use haulout::observe::{Extent, ObserveError, observe};
use haulout::provider::kubernetes::{Access, KubernetesCluster, connect, reboot_pod_manifest};
use haulout::provider::{
    ActError, ClusterActs, ClusterReads, CordonWrite, Followed, LockActs, NodeReports, Permit, PodScope, Probes,
    ReadError, ReadErrorKind, RebootPod, RebootPodState, Refusal, ReportWrite, UncordonWrite,
};
use haulout::run::Intent;
use serde_json::{Value, json};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    method: String,
    path: String,
    query: String,
    agent: String,
    accept: String,
    content_type: String,
    body: Value,
}

impl Seen {
    fn line(&self) -> String {
        if self.query.is_empty() {
            format!("{} {}", self.method, self.path)
        } else {
            format!("{} {}?{}", self.method, self.path, self.query)
        }
    }
}

/// An API server whose answers a test writes.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<Seen>>>);

impl Server {
    async fn start(
        answer: impl Fn(&Seen, usize) -> Response + Clone + Send + Sync + 'static,
    ) -> (Self, Arc<KubernetesCluster>) {
        let server = Self::default();
        let log = server.clone();
        let router = Router::new().fallback(move |request: Request| {
            let (log, answer) = (log.clone(), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let header = |name: &str| {
                    head.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
                };
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                let seen = Seen {
                    method: head.method.to_string(),
                    path: head.uri.path().to_owned(),
                    query: head.uri.query().unwrap_or_default().to_owned(),
                    agent: header("user-agent"),
                    accept: header("accept"),
                    content_type: header("content-type"),
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                };
                let number = {
                    let mut log = log.0.lock().unwrap();
                    log.push(seen.clone());
                    log.len() - 1
                };
                let response = answer(&seen, number);
                if response.status() == 599 {
                    std::future::pending::<()>().await;
                }
                response
            }
        });
        let cluster = connect(Access::InProcess(router), "plan", None).await.unwrap();
        (server, cluster)
    }

    fn seen(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

fn reply(status: u16, content_type: &str, body: impl Into<Body>) -> Response {
    Response::builder().status(status).header("content-type", content_type).body(body.into()).unwrap()
}

fn ok(body: Value) -> Response {
    reply(200, JSON, body.to_string())
}

/// A server that never answers.
fn silence() -> Response {
    reply(599, JSON, "")
}

fn failure(code: u16, reason: &str, message: &str) -> Response {
    reply(code, JSON, status(code, reason, message, json!([])).to_string())
}

fn status(code: u16, reason: &str, message: &str, causes: Value) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "details": {"causes": causes}, "code": code,
    })
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/cases/wire/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The captured cluster, in one of the encodings.
fn captured(seen: &Seen, extension: &'static str) -> Response {
    let name = match seen.path.as_str() {
        "/api/v1/nodes" => "nodes",
        "/api/v1/pods" => "pods",
        "/apis/policy/v1/poddisruptionbudgets" => "budgets",
        "/apis/apps/v1/daemonsets" => "daemonsets",
        "/apis/storage.k8s.io/v1/volumeattachments" => "volumeattachments",
        "/version" => return ok(json!({"major": "1", "gitVersion": "v1.37.2"})),
        "/api/v1/namespaces/kube-system" => {
            return ok(json!({"metadata": {"name": "kube-system", "uid": "u-cluster"}}));
        }
        _ => return failure(404, "NotFound", "not found"),
    };
    let kind = if extension == "pb" { PROTOBUF } else { JSON };
    reply(200, kind, fixture(&format!("{name}.{extension}")))
}

fn cluster_name() -> ClusterName {
    ClusterName::new("prod").unwrap()
}

fn now() -> jiff::Timestamp {
    "2026-11-23T22:00:00Z".parse().unwrap()
}

fn run() -> RunId {
    RunId::new("run-1").unwrap()
}

fn node_name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

async fn permit() -> Permit {
    let (seen, _) = tokio::sync::mpsc::unbounded_channel();
    let encode = Box::new(|_: &haulout::run::Event| Vec::new());
    let (journal, _) = Journal::start("memory".into(), Box::new(Vec::new()), encode, now, seen).unwrap();
    journal.intend(None, Intent::Cordon).await.unwrap()
}

async fn all<T>(mut list: futures::stream::BoxStream<'_, Result<(Vec<T>, u32), ReadError>>) -> (Vec<T>, u32) {
    let (mut all, mut bad) = (Vec::new(), 0);
    while let Some(batch) = list.next().await {
        let (more, worse) = batch.unwrap();
        all.extend(more);
        bad += worse;
    }
    (all, bad)
}

#[tokio::test]
async fn one_object_in_both_encodings_is_the_same_object() {
    let (_, json) = Server::start(|seen, _| captured(seen, "json")).await;
    let (_, protobuf) = Server::start(|seen, _| captured(seen, "pb")).await;
    let nodes = all(protobuf.nodes()).await;
    assert_eq!(all(json.nodes()).await, nodes);
    assert_eq!((nodes.0.len(), nodes.1), (2, 0));
    let pods = all(protobuf.pods(PodScope::Cluster)).await;
    assert_eq!(all(json.pods(PodScope::Cluster)).await, pods);
    assert_eq!((pods.0.len(), pods.1), (5, 0));
    let budgets = all(protobuf.budgets()).await;
    assert_eq!(all(json.budgets()).await, budgets);
    assert_eq!((budgets.0.len(), budgets.1), (3, 0));
    let daemon_sets = all(protobuf.daemon_sets()).await;
    assert_eq!(all(json.daemon_sets()).await, daemon_sets);
    assert_eq!((daemon_sets.0.len(), daemon_sets.1), (1, 0));
    let node = node_name("aks-np1-000003");
    let volumes = protobuf.volumes(&node).await.unwrap();
    assert_eq!(json.volumes(&node).await.unwrap(), volumes);
    assert_eq!(volumes.attached.iter().map(Foreign::raw).collect::<Vec<_>>(), ["pvx"]);
}

#[tokio::test]
async fn observing_takes_eight_requests_that_only_read() {
    let (server, cluster) = Server::start(|seen, _| captured(seen, "pb")).await;
    let snapshot =
        observe(&*cluster, Some(&*cluster as &dyn LockActs), cluster_name(), now, Extent::Plan).await.unwrap();
    let mut lines = server.lines();
    lines.sort();
    assert_eq!(
        lines,
        [
            "GET /api/v1/namespaces/kube-system",
            "GET /api/v1/nodes?limit=5000",
            "GET /api/v1/pods?limit=5000",
            "GET /apis/apps/v1/daemonsets?limit=5000",
            "GET /apis/certificates.k8s.io/v1/certificatesigningrequests?fieldSelector=spec.signerName%3Dkubernetes.io%2Fkubelet-serving&limit=5000",
            "GET /apis/coordination.k8s.io/v1/namespaces/haulout-system/leases/haulout",
            "GET /apis/policy/v1/poddisruptionbudgets?limit=5000",
            "GET /version",
        ]
    );
    for seen in server.seen() {
        assert_eq!(seen.agent, format!("haulout/{} plan", env!("CARGO_PKG_VERSION")));
        let list = seen.query.contains("limit=");
        assert_eq!(seen.accept, if list { format!("{PROTOBUF}, {JSON}") } else { JSON.to_owned() });
    }
    assert_eq!(snapshot.gaps, []);
    assert_eq!((snapshot.via.raw(), snapshot.sandbox), ("sandbox", true));
    assert_eq!((snapshot.version.raw(), snapshot.identity.clone()), ("1.37.2", Some(Uid::new("u-cluster").unwrap())));
    assert_eq!(snapshot.control_plane.etcd_members, BTreeMap::from([(node_name("cp-0"), true)]));
    assert_eq!(snapshot.pods_on(&node_name("aks-np1-000003")).len(), 3);
    assert_eq!(snapshot.taken_at, now());
}

#[tokio::test]
async fn what_cannot_be_read_is_a_gap_with_the_rule_that_closes_it() {
    let answer = |seen: &Seen, _| match seen.path.as_str() {
        "/api/v1/nodes" => captured(seen, "pb"),
        path => failure(403, "Forbidden", &format!("\u{1b}[31m{path} is forbidden")),
    };
    let (_, cluster) = Server::start(answer).await;
    let snapshot =
        observe(&*cluster, Some(&*cluster as &dyn LockActs), cluster_name(), now, Extent::Plan).await.unwrap();
    let remedies: Vec<(GapSubject, &str)> =
        snapshot.gaps.iter().map(|gap| (gap.subject, gap.remedy.as_str())).collect();
    assert_eq!(
        remedies,
        [
            (GapSubject::Budgets, "allow list on poddisruptionbudgets of policy in all namespaces"),
            (GapSubject::DaemonSets, "allow list on daemonsets of apps in all namespaces"),
            (GapSubject::Pods, "allow list on pods in all namespaces"),
            (GapSubject::Version, "allow get on the non-resource URL /version"),
            (GapSubject::Identity, "allow get on the namespace kube-system"),
            (GapSubject::Lock, "allow get on the lease haulout of coordination.k8s.io in namespace haulout-system"),
            (GapSubject::Etcd, "allow list on pods in all namespaces"),
        ]
    );
    assert_eq!(
        snapshot.gaps[0].why.raw(),
        "list poddisruptionbudgets: \u{1b}[31m/apis/policy/v1/poddisruptionbudgets is forbidden"
    );
    assert_eq!(snapshot.nodes.len(), 2);

    let (_, cluster) = Server::start(|_, _| failure(403, "Forbidden", "no")).await;
    let error = observe(&*cluster, None, cluster_name(), now, Extent::Plan).await.unwrap_err();
    let ObserveError::Nodes { source, .. } = &error else { panic!("{error:?}") };
    assert_eq!((error.to_string().as_str(), source.kind), ("observe cluster prod", ReadErrorKind::Forbidden));
}

#[tokio::test]
async fn objects_that_make_no_sense_are_counted_and_left_out() {
    let answer = |seen: &Seen, _| match seen.path.as_str() {
        "/api/v1/nodes" => ok(json!({"kind": "NodeList", "metadata": {}, "items": [
            {"metadata": {"name": "a", "uid": "u"}}, {"metadata": {"name": "NOT A NAME", "uid": "u"}}, {"metadata": 1},
        ]})),
        _ => captured(seen, "json"),
    };
    let (_, cluster) = Server::start(answer).await;
    let snapshot = observe(&*cluster, None, cluster_name(), now, Extent::Plan).await.unwrap();
    assert_eq!(snapshot.nodes.len(), 1);
    let [Gap { subject: GapSubject::Objects, why, .. }] = snapshot.gaps.as_slice() else {
        panic!("{:?}", snapshot.gaps)
    };
    assert_eq!(why.raw(), "2 objects in the list of nodes could not be understood and are left out");
}

/// A page of a list in protobuf, with the daemon sets of the capture as its items.
fn page(token: &str) -> Vec<u8> {
    fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
        out.push(number << 3 | 2);
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
    }
    let (mut meta, mut object, mut item, mut list, mut kind) = (vec![], vec![], vec![], vec![], vec![]);
    field(&mut meta, 2, b"42");
    field(&mut meta, 3, token.as_bytes());
    for (number, text) in [(1, "agent"), (3, "kube-system"), (5, "u-1")] {
        field(&mut object, number, text.as_bytes());
    }
    field(&mut item, 1, &object);
    field(&mut list, 1, &meta);
    field(&mut list, 2, &item);
    field(&mut kind, 1, b"apps/v1");
    field(&mut kind, 2, b"DaemonSetList");
    let mut body = b"k8s\0".to_vec();
    field(&mut body, 1, &kind);
    field(&mut body, 2, &list);
    field(&mut body, 3, b"");
    field(&mut body, 4, b"");
    body
}

#[tokio::test(start_paused = true)]
async fn the_next_page_is_on_its_way_while_this_one_is_read() {
    // The end of each page arrives only after the next page was asked for: a reader that takes page by page never
    // gets there.
    let asked = tokio::sync::watch::Sender::new(0_usize);
    let answer = move |_: &Seen, number: usize| {
        asked.send_replace(number + 1);
        let bytes = page(["a+/=", "b", ""][number]);
        let waiting = asked.subscribe();
        let (head, tail) = bytes.split_at(48);
        let pieces = [head.to_vec(), tail.to_vec()];
        let body = futures::stream::iter(pieces.into_iter().enumerate()).then(move |(piece, bytes)| {
            let mut waiting = waiting.clone();
            async move {
                if piece == 1 && number < 2 {
                    waiting.wait_for(|asked| *asked > number + 1).await.unwrap();
                }
                Ok::<_, std::io::Error>(Bytes::from(bytes))
            }
        });
        reply(200, PROTOBUF, Body::from_stream(body))
    };
    let (server, cluster) = Server::start(answer).await;
    assert_eq!(all(cluster.daemon_sets()).await.0.len(), 3);
    let path = "GET /apis/apps/v1/daemonsets?limit=5000";
    assert_eq!(server.lines(), [path.to_owned(), format!("{path}&continue=a%2B%2F%3D"), format!("{path}&continue=b")]);
}

#[tokio::test]
async fn a_list_that_grew_too_old_is_begun_anew_but_not_for_ever() {
    let expired = || failure(410, "Expired", "The provided continue parameter is too old");
    let once = move |seen: &Seen, number: usize| match (seen.path.as_str(), number) {
        ("/api/v1/nodes", 0) => ok(json!({"kind": "NodeList", "metadata": {"continue": "t"}, "items": [
            {"metadata": {"name": "gone", "uid": "u"}},
        ]})),
        ("/api/v1/nodes", _) if seen.query.contains("continue") => expired(),
        _ => captured(seen, "pb"),
    };
    let (_, cluster) = Server::start(once).await;
    let snapshot = observe(&*cluster, None, cluster_name(), now, Extent::Plan).await.unwrap();
    assert_eq!(snapshot.nodes.len(), 2, "what was read before is not mixed in");

    let (server, cluster) = Server::start(move |_, _| expired()).await;
    let error = observe(&*cluster, None, cluster_name(), now, Extent::Plan).await.unwrap_err();
    assert!(matches!(error, ObserveError::Nodes { source, .. } if source.kind == ReadErrorKind::Expired));
    assert_eq!(server.seen().iter().filter(|seen| seen.path == "/api/v1/nodes").count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_again_and_then_believed() {
    let (server, cluster) = Server::start(|seen, number| match number {
        0 => reply(429, "text/plain", "Too many requests"),
        1 => failure(503, "ServiceUnavailable", "later"),
        _ => captured(seen, "pb"),
    })
    .await;
    assert_eq!(all(cluster.nodes()).await.0.len(), 2);
    assert_eq!(server.seen().len(), 3);
    let (server, cluster) = Server::start(|_, _| reply(429, "text/plain", "Too many requests")).await;
    let error = cluster.nodes().next().await.unwrap().unwrap_err();
    assert_eq!((error.kind, server.seen().len()), (ReadErrorKind::Throttled, 4));
    let error = cluster.node(&node_name("a")).await.unwrap_err();
    assert_eq!((error.kind, server.seen().len()), (ReadErrorKind::Throttled, 7));
}

#[tokio::test]
async fn a_stream_of_pages_ends_with_its_error() {
    let (_, cluster) = Server::start(|_, _| reply(200, PROTOBUF, page("")[..30].to_vec())).await;
    let mut list = cluster.daemon_sets();
    assert_eq!(list.next().await.unwrap().unwrap_err().kind, ReadErrorKind::Malformed);
    assert!(list.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn errors_of_reads_are_clean_whoever_writes_them() {
    let page = "<html><head><title>502 Bad\u{1b}[31m Gateway</title></head><body>nginx</body></html>";
    type Answer = Arc<dyn Fn() -> Response + Send + Sync>;
    let cases: [(Answer, ReadErrorKind, &str); 9] = [
        (
            Arc::new(move || reply(502, "text/html", page)),
            ReadErrorKind::Unreachable,
            "the answer is a web page titled 502 Bad\\u{1b}[31m Gateway, not one of a Kubernetes API server",
        ),
        (
            Arc::new(move || reply(404, "text/html", "<p>nothing")),
            ReadErrorKind::NotFound,
            "the answer is a web page, not one of a Kubernetes API server",
        ),
        (Arc::new(move || reply(401, JSON, "")), ReadErrorKind::Forbidden, "HTTP 401 Unauthorized"),
        (
            Arc::new(move || reply(404, "text/plain", "404 page not found\n")),
            ReadErrorKind::NotFound,
            "404 page not found",
        ),
        (
            Arc::new(move || reply(500, PROTOBUF, fixture("status-two-budgets.pb"))),
            ReadErrorKind::Server,
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ),
        (Arc::new(move || failure(403, "Forbidden", "no")), ReadErrorKind::Forbidden, "no"),
        (
            Arc::new(move || reply(200, JSON, status(410, "Gone", "too old", json!([])).to_string())),
            ReadErrorKind::Expired,
            "too old",
        ),
        (
            Arc::new(move || reply(418, "text/plain", "a".repeat(3 << 20))),
            ReadErrorKind::Malformed,
            &("a".repeat(199) + "…"),
        ),
        (Arc::new(silence), ReadErrorKind::Unreachable, "no answer within 15 s"),
    ];
    for (response, kind, message) in cases {
        let (_, cluster) = Server::start(move |_, _| response()).await;
        let error = cluster.node(&node_name("a")).await.unwrap_err();
        assert_eq!((error.kind, error.message.raw(), error.to_string().as_str()), (kind, message, "read node a"));
    }
    let (_, cluster) = Server::start(move |_, _| reply(200, "text/html", page)).await;
    let error = cluster.node(&node_name("a")).await.unwrap_err();
    assert_eq!(error.kind, ReadErrorKind::Malformed);
    let (_, cluster) = Server::start(|_, _| failure(404, "NotFound", "nodes \"a\" not found")).await;
    assert_eq!(cluster.node(&node_name("a")).await.unwrap(), None);
    assert_eq!(cluster.csi_drivers(&node_name("a")).await.unwrap().len(), 0);
    assert_eq!(cluster.read_lease().await.unwrap(), None);
}

fn pod() -> Pod {
    Pod {
        key: PodKey { namespace: Namespace::new("shop").unwrap(), name: PodName::new("web-1").unwrap() },
        uid: Uid::new("u-1").unwrap(),
        node: None,
        status: haulout::model::PodStatus { phase: haulout::model::PodPhase::Running, ready: true, terminating: false },
        shape: Arc::default(),
    }
}

async fn evict(response: Response) -> Result<haulout::provider::Eviction, ActError> {
    let response = Arc::new(Mutex::new(Some(response)));
    let (_, cluster) = Server::start(move |_, _| response.lock().unwrap().take().unwrap()).await;
    cluster.evict(permit().await, &pod(), Grace::Pod).await
}

#[tokio::test]
async fn an_eviction_is_one_strict_request_that_names_the_uid() {
    let (server, cluster) = Server::start(|_, _| ok(json!({"kind": "Status", "status": "Success", "code": 201}))).await;
    cluster.evict(permit().await, &pod(), Grace::Pod).await.unwrap();
    cluster.evict(permit().await, &pod(), Grace::Fixed(Duration::from_secs(7))).await.unwrap();
    let [first, second] = server.seen().try_into().unwrap();
    assert_eq!(first.line(), "POST /api/v1/namespaces/shop/pods/web-1/eviction?fieldValidation=Strict");
    assert_eq!(
        first.body,
        json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": "web-1", "namespace": "shop"},
            "deleteOptions": {"preconditions": {"uid": "u-1"}},
        })
    );
    assert_eq!(second.body["deleteOptions"], json!({"preconditions": {"uid": "u-1"}, "gracePeriodSeconds": 7}));
    assert_eq!(first.content_type, JSON);
}

#[tokio::test]
async fn warnings_of_an_eviction_are_kept() {
    let warned = Response::builder()
        .status(201)
        .header("warning", "299 - \"unknown field \\\"delete_options\\\"\"")
        .body(json!({"kind": "Status", "status": "Success"}).to_string().into())
        .unwrap();
    let eviction = evict(warned).await.unwrap();
    assert_eq!(eviction.warnings, [Foreign::new("299 - \"unknown field \\\"delete_options\\\"\"")]);
}

#[tokio::test]
async fn every_refusal_of_an_eviction_has_its_meaning() {
    let budget = |text: &str| {
        let causes = json!([{"reason": "DisruptionBudget", "message": text}]);
        status(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.", causes)
    };
    let key = |name: &str| haulout::model::BudgetKey {
        namespace: Namespace::new("shop").unwrap(),
        name: PodName::new(name).unwrap(),
    };
    let later = |status: u16, body: Value| {
        let mut response = reply(status, JSON, body.to_string());
        response.headers_mut().insert("retry-after", "10".parse().unwrap());
        response
    };
    let ten = Some(Duration::from_secs(10));
    let foreign = Foreign::new;
    let denied = "admission webhook \"evict.example\" denied the request: moving the pod";
    let uncalled = "Internal error occurred: failed calling webhook \"evict.example\": EOF";
    let conflicts = "couldn't update PodDisruptionBudget \"web\" due to conflicts";
    let rbac = "pods \"web-1\" is forbidden: User \"u\" cannot create resource \"pods/eviction\"";
    let policy = "pods \"web-1\" is forbidden: ValidatingAdmissionPolicy 'x' with binding 'y' denied request: no";
    let terminating = json!([{"reason": "NamespaceTerminating", "message": "namespace shop is being terminated"}]);
    let huge = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
    let cases: Vec<(Response, Refusal)> = vec![
        (
            reply(429, JSON, fixture("status-budget.json")),
            Refusal::Budget { budget: Some(key("web")), retry_after: None },
        ),
        (
            reply(429, PROTOBUF, fixture("status-budget.pb")),
            Refusal::Budget { budget: Some(key("web")), retry_after: None },
        ),
        (
            later(429, budget("The disruption budget web is still being processed by the server.")),
            Refusal::Budget { budget: Some(key("web")), retry_after: ten },
        ),
        (reply(429, JSON, budget("in other words").to_string()), Refusal::Budget { budget: None, retry_after: None }),
        (later(429, status(429, "TooManyRequests", "busy", json!([]))), Refusal::Throttled { retry_after: ten }),
        (reply(429, "text/plain", "Too many requests"), Refusal::Throttled { retry_after: None }),
        (failure(403, "Forbidden", denied), Refusal::Webhook { message: foreign(denied), failed: false }),
        (failure(429, "TooManyRequests", denied), Refusal::Webhook { message: foreign(denied), failed: false }),
        (failure(500, "InternalError", denied), Refusal::Webhook { message: foreign(denied), failed: false }),
        (failure(500, "InternalError", uncalled), Refusal::Webhook { message: foreign(uncalled), failed: true }),
        (reply(500, JSON, fixture("status-two-budgets.json")), Refusal::TwoBudgets),
        (reply(500, PROTOBUF, fixture("status-two-budgets.pb")), Refusal::TwoBudgets),
        (reply(201, JSON, fixture("status-two-budgets.json")), Refusal::TwoBudgets),
        (
            reply(403, JSON, status(403, "Forbidden", "is forbidden", terminating).to_string()),
            Refusal::NamespaceTerminating,
        ),
        (failure(403, "Forbidden", rbac), Refusal::Forbidden { message: foreign(rbac) }),
        (failure(403, "Forbidden", huge), Refusal::Invalid { status: 403, message: foreign(huge) }),
        (failure(401, "Unauthorized", "Unauthorized"), Refusal::Forbidden { message: foreign("Unauthorized") }),
        (failure(404, "NotFound", "pods \"web-1\" not found"), Refusal::NotFound),
        (failure(409, "Conflict", "uid differs"), Refusal::Conflict { message: foreign("uid differs") }),
        (failure(409, "AlreadyExists", "exists"), Refusal::AlreadyExists),
        (failure(422, "Invalid", policy), Refusal::Invalid { status: 422, message: foreign(policy) }),
        (failure(400, "BadRequest", "strict"), Refusal::Invalid { status: 400, message: foreign("strict") }),
        (
            later(504, status(504, "Timeout", conflicts, json!([]))),
            Refusal::TryAgain { message: foreign(conflicts), retry_after: ten },
        ),
        (
            reply(503, "text/plain", "The apiserver is shutting down, please try again later.\n"),
            Refusal::TryAgain {
                message: foreign("The apiserver is shutting down, please try again later."),
                retry_after: None,
            },
        ),
    ];
    for (response, wanted) in cases {
        match evict(response).await {
            Err(ActError::Refused { operation, refusal }) => {
                assert_eq!(refusal, wanted);
                assert_eq!(operation, "evict pod shop/web-1");
            }
            other => panic!("{wanted:?}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_may_have_happened_is_unclear() {
    let cut = || {
        let pieces = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("reset"))];
        reply(201, JSON, Body::from_stream(futures::stream::iter(pieces)))
    };
    let cases = [
        ("a connection that broke", cut()),
        ("an answer that never came", silence()),
        ("a proxy's own success", reply(200, "text/html", "<html>Welcome</html>")),
        ("another object", ok(json!({"kind": "Pod"}))),
        ("a server that failed", failure(500, "InternalError", "etcdserver: request timed out")),
        ("a proxy that failed", reply(502, "text/html", "<html>")),
        (
            "a gateway that gave up",
            failure(504, "Timeout", "Timeout: request did not complete within requested timeout"),
        ),
        ("a server that may have begun", failure(503, "ServiceUnavailable", "etcd leader changed")),
    ];
    for (what, response) in cases {
        let error = evict(response).await.unwrap_err();
        assert!(matches!(error, ActError::Unclear { .. }), "{what}: {error:?}");
    }
}

/// A node of the capture, as the model has it.
async fn captured_node(name: &str) -> Node {
    let (_, cluster) = Server::start(|seen, _| captured(seen, "pb")).await;
    all(cluster.nodes()).await.0.into_iter().find(|node| node.name.as_str() == name).unwrap()
}

/// Writes to a node, and gives the one request that was sent.
async fn node_write<F>(act: impl FnOnce(Arc<KubernetesCluster>, Permit) -> F) -> Seen
where
    F: Future<Output = Result<Node, ActError>>,
{
    let (server, cluster) =
        Server::start(|_, _| ok(json!({"kind": "Node", "metadata": {"name": "written", "uid": "u"}}))).await;
    let written = act(cluster, permit().await).await.unwrap();
    assert_eq!(written.name.as_str(), "written");
    let [seen] = server.seen().try_into().unwrap();
    assert_eq!((seen.method.as_str(), seen.content_type.as_str()), ("PATCH", "application/merge-patch+json"));
    assert_eq!(seen.query, "fieldManager=haulout&fieldValidation=Strict");
    seen
}

#[tokio::test]
async fn a_node_is_written_by_one_guarded_patch() {
    let mut node = captured_node("aks-np1-000003").await;
    node.scale_down_disabled = Some(Foreign::new("false"));
    let version = json!(&*node.resource_version);
    let mark = Mark {
        reboots: None,
        config: Foreign::new("platform-prod"),
        table: Some(TableName::new("linux").unwrap()),
        run: run(),
        since: now(),
        phase: None,
    };
    let cordoned =
        node_write(async |cluster, permit| cluster.cordon(permit, &node, &CordonWrite { mark: mark.clone() }).await);
    let cordoned = cordoned.await;
    assert_eq!(cordoned.path, "/api/v1/nodes/aks-np1-000003");
    assert_eq!(
        cordoned.body,
        json!({
            "metadata": {
                "resourceVersion": version,
                "annotations": {
                    "haulout.dev/cordon":
                        r#"{"config":"platform-prod","table":"linux","run":"run-1","since":"2026-11-23T22:00:00Z"}"#,
                    "haulout.dev/phase": "cordoned",
                    "haulout.dev/run": "run-1",
                    "cluster-autoscaler.kubernetes.io/scale-down-disabled": "true",
                    "haulout.dev/scale-down-disabled-before": "false",
                },
            },
            "spec": {"unschedulable": true},
        })
    );

    let phase = node_write(async |cluster, permit| cluster.write_phase(permit, &node, Phase::Reboot).await).await;
    let annotations = json!({"haulout.dev/phase": "reboot"});
    assert_eq!(phase.body, json!({"metadata": {"resourceVersion": version, "annotations": annotations}}));

    let settled = node_write(async |cluster, permit| cluster.settle_cordon(permit, &node).await).await;
    let annotations = json!({"haulout.dev/phase": null, "haulout.dev/run": null});
    assert_eq!(settled.body, json!({"metadata": {"resourceVersion": version, "annotations": annotations}}));
}

#[tokio::test]
async fn an_uncordon_takes_all_marks_off_and_restores_the_autoscalers_annotation() {
    let node = captured_node("cp-0").await;
    let reboot = LastReboot {
        at: now(),
        run: run(),
        boot_id: BootId::new("b-2").unwrap(),
        reason: Foreign::new("kernel"),
        drain_seconds: 12,
        boot_seconds: 40,
    };
    let write = UncordonWrite { last_reboot: Some(reboot) };
    let uncordoned = node_write(async |cluster, permit| cluster.uncordon(permit, &node, &write).await).await;
    assert_eq!(
        uncordoned.body,
        json!({
            "metadata": {
                "resourceVersion": &*node.resource_version,
                "annotations": {
                    "haulout.dev/cordon": null,
                    "haulout.dev/phase": null,
                    "haulout.dev/run": null,
                    "haulout.dev/scale-down-disabled-before": null,
                    "cluster-autoscaler.kubernetes.io/scale-down-disabled": "false",
                    "haulout.dev/last-reboot": "{\"at\":\"2026-11-23T22:00:00Z\",\"run\":\"run-1\",\"boot_id\":\"b-2\",\
                        \"reason\":\"kernel\",\"drain_seconds\":12,\"boot_seconds\":40}",
                },
            },
            "spec": {"unschedulable": null},
        })
    );

    let mut node = node;
    node.scale_down_before = None;
    let nothing = UncordonWrite::default();
    let uncordoned = node_write(async |cluster, permit| cluster.uncordon(permit, &node, &nothing).await).await;
    let key = "/metadata/annotations/cluster-autoscaler.kubernetes.io~1scale-down-disabled";
    assert_eq!(uncordoned.body.pointer(key), Some(&Value::Null), "what we brought goes");
    node.scale_down_disabled = Some(Foreign::new("false"));
    let uncordoned = node_write(async |cluster, permit| cluster.uncordon(permit, &node, &nothing).await).await;
    assert_eq!(uncordoned.body.pointer(key), None, "what somebody wrote since stays");
    // A cordon over our own marks, as when a dead run's node is taken over, keeps the former value that was kept.
    let mark = Mark { phase: Some(Phase::Drained), ..node.mark.clone().unwrap() };
    let again = node_write(async |cluster, permit| cluster.cordon(permit, &node, &CordonWrite { mark }).await).await;
    assert_eq!(again.body.pointer("/metadata/annotations/haulout.dev~1scale-down-disabled-before"), None);
    assert_eq!(again.body.pointer("/metadata/annotations/haulout.dev~1phase"), Some(&json!("drained")));
}

#[tokio::test]
async fn a_page_is_no_answer_to_any_change() {
    let page = |_: &Seen, _: usize| reply(200, "text/html", "<html><title>Sign in</title></html>");
    let (_, cluster) = Server::start(page).await;
    let node = captured_node("aks-np1-000003").await;
    let acts = [
        cluster.start_reboot_pod(permit().await, &reboot_pod(RebootMethod::Signal)).await,
        cluster.write_phase(permit().await, &node, haulout::model::Phase::Armed).await.map(drop),
        cluster.ensure_namespace(permit().await).await.map(drop),
        cluster.ensure_node_account(permit().await).await.map(drop),
        cluster.create_lease(&run(), now()).await.map(drop),
    ];
    for act in acts {
        let Err(ActError::Unclear { cause, .. }) = act else { panic!("{act:?}") };
        assert!(cause.message.raw().contains("a web page titled Sign in"), "{cause:?}");
    }
}

#[tokio::test]
async fn a_write_whose_answer_makes_no_sense_is_unclear() {
    let node = captured_node("cp-0").await;
    let (_, cluster) = Server::start(|_, _| reply(200, "text/html", "<html>")).await;
    let error = cluster.write_phase(permit().await, &node, Phase::Armed).await.unwrap_err();
    assert_eq!(error.to_string(), "mark node cp-0 as armed: whether it happened is not known");
    let (_, cluster) = Server::start(|_, _| failure(409, "Conflict", "modified")).await;
    let error = cluster.write_phase(permit().await, &node, Phase::Armed).await.unwrap_err();
    assert!(matches!(error, ActError::Refused { refusal: Refusal::Conflict { .. }, .. }), "{error:?}");
}

fn reboot_pod(method: RebootMethod) -> RebootPod {
    RebootPod {
        node: node_name("aks-np1-000003"),
        node_uid: Uid::new("u-node").unwrap(),
        boot_id: BootId::new("b-1").unwrap(),
        run: run(),
        method,
        image: Some(NodePod {
            image: Foreign::new("reg.example/haulout@sha256:1"),
            pull_secrets: vec![Foreign::new("s")],
        }),
        not_after: now(),
        active_deadline: Duration::from_secs(1500),
    }
}

#[test]
fn the_reboot_pod_asks_for_no_more_than_its_method_needs() {
    let pod = reboot_pod_manifest(&reboot_pod(RebootMethod::Signal));
    let spec = &pod["spec"];
    assert_eq!(pod["metadata"]["namespace"], "haulout-system");
    assert_eq!(pod["metadata"]["labels"]["haulout.dev/component"], "reboot");
    assert_eq!(pod["metadata"]["labels"]["haulout.dev/run"], "run-1");
    assert_eq!(spec["nodeName"], "aks-np1-000003");
    assert_eq!(spec["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!(spec["restartPolicy"], "Never");
    assert_eq!((&spec["hostPID"], &spec["activeDeadlineSeconds"]), (&json!(true), &json!(1500)));
    assert_eq!(spec["serviceAccountName"], "haulout-node");
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "s"}]));
    let container = &spec["containers"][0];
    let args: Vec<&str> = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    assert_eq!(
        args.join(" "),
        "node reboot --node aks-np1-000003 --node-uid u-node --boot-id b-1 --run run-1 \
         --not-after 2026-11-23T22:00:00Z --method signal"
    );
    assert_eq!(container["readinessProbe"]["exec"]["command"], json!(["/haulout", "node", "reboot", "--armed"]));
    let security = &container["securityContext"];
    assert_eq!(security["capabilities"], json!({"add": ["KILL"], "drop": ["ALL"]}));
    assert_eq!((&security["privileged"], &security["allowPrivilegeEscalation"]), (&json!(false), &json!(false)));
    assert_eq!(security["appArmorProfile"], json!({"type": "Unconfined"}));
    let pod = reboot_pod_manifest(&reboot_pod(RebootMethod::Command));
    assert_eq!(pod["spec"]["containers"][0]["securityContext"]["privileged"], true);
    let pod = reboot_pod_manifest(&RebootPod { image: None, ..reboot_pod(RebootMethod::Signal) });
    assert_eq!(pod["spec"]["containers"][0]["image"], "haulout.dev/sandbox:none");
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([]));
}

#[tokio::test]
async fn the_reboot_pod_is_tried_made_read_and_deleted() {
    let pods = "/api/v1/namespaces/haulout-system/pods";
    let ours = json!({"kind": "Pod", "metadata": {
        "name": "reboot", "namespace": "haulout-system", "uid": "u-pod", "labels": {"haulout.dev/component": "reboot"},
    }});
    let answer = ours.clone();
    let (server, cluster) = Server::start(move |_, _| ok(answer.clone())).await;
    let pod = reboot_pod(RebootMethod::Signal);
    cluster.admit_reboot_pod(&pod).await.unwrap();
    cluster.start_reboot_pod(permit().await, &pod).await.unwrap();
    cluster.delete_reboot_pod(permit().await, &pod.node, &pod.run).await.unwrap();
    let name = haulout::model::reboot_pod_name(&pod.node, &pod.run);
    assert_eq!(
        server.lines(),
        [
            format!("POST {pods}?fieldManager=haulout&dryRun=All"),
            format!("POST {pods}?fieldManager=haulout"),
            format!("GET {pods}/{name}"),
            format!("DELETE {pods}/{name}"),
        ]
    );
    assert_eq!(server.seen()[0].body, server.seen()[1].body);
    // Another pod of the same name is left alone, whether it is seen before or comes in between.
    assert_eq!(server.seen()[3].body["preconditions"], json!({"uid": "u-pod"}));
    let mut foreign = ours;
    foreign["metadata"]["labels"] = json!({});
    let (server, cluster) = Server::start(move |_, _| ok(foreign.clone())).await;
    let error = cluster.delete_reboot_pod(permit().await, &pod.node, &pod.run).await.unwrap_err();
    assert!(matches!(error, ActError::Refused { refusal: Refusal::Invalid { .. }, .. }), "{error:?}");
    assert_eq!(server.lines(), [format!("GET {pods}/{name}")]);
    let (_, cluster) = Server::start(|_, _| failure(409, "AlreadyExists", "exists")).await;
    cluster.admit_reboot_pod(&pod).await.unwrap();
    let error = cluster.start_reboot_pod(permit().await, &pod).await.unwrap_err();
    assert!(matches!(error, ActError::Refused { refusal: Refusal::AlreadyExists, .. }));

    let ready = |ready: bool, state: Value| json!({"containerStatuses": [{"ready": ready, "state": state}]});
    let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
    let ended = json!({"phase": "Failed", "containerStatuses": [
        {"ready": false, "state": {"terminated": {"reason": "Error", "exitCode": 3, "message": "no such node"}}}
    ]});
    let cases = [
        (json!({"metadata": {}}), RebootPodState::Starting(Foreign::new(""))),
        (
            json!({"metadata": {}, "status": ready(false, waiting)}),
            RebootPodState::Starting(Foreign::new("ErrImagePull: not found")),
        ),
        (json!({"metadata": {}, "status": ready(true, json!({"running": {}}))}), RebootPodState::Armed),
        (
            json!({"metadata": {"deletionTimestamp": "2026-11-23T22:00:00Z"}, "status": ready(true, json!({}))}),
            RebootPodState::Starting(Foreign::new("Terminating")),
        ),
        (
            json!({"metadata": {}, "status": ended}),
            RebootPodState::Ended(Foreign::new("Error: exit code 3: no such node")),
        ),
        (
            json!({"metadata": {}, "status": {"phase": "Failed", "reason": "DeadlineExceeded"}}),
            RebootPodState::Ended(Foreign::new("DeadlineExceeded")),
        ),
    ];
    for (object, wanted) in cases {
        let (_, cluster) = Server::start(move |_, _| ok(object.clone())).await;
        assert_eq!(cluster.reboot_pod(&pod.node, &pod.run).await.unwrap(), wanted);
    }
}

#[tokio::test]
async fn what_is_missing_is_made_and_what_is_there_is_left() {
    let (server, cluster) = Server::start(|seen, _| match seen.method.as_str() {
        "GET" => failure(404, "NotFound", "not found"),
        _ => ok(json!({"kind": "Made"})),
    })
    .await;
    assert!(cluster.ensure_namespace(permit().await).await.unwrap());
    assert!(cluster.ensure_node_account(permit().await).await.unwrap());
    let seen = server.seen();
    assert_eq!(seen.len(), 8);
    assert_eq!(seen[1].body["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
    let rules = &seen.iter().find(|seen| seen.body["kind"] == "ClusterRole").unwrap().body["rules"];
    assert_eq!(*rules, json!([{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]));
    let (server, cluster) = Server::start(|_, _| ok(json!({"kind": "Found"}))).await;
    assert!(!cluster.ensure_namespace(permit().await).await.unwrap());
    assert!(!cluster.ensure_node_account(permit().await).await.unwrap());
    assert!(server.seen().iter().all(|seen| seen.method == "GET"));
    // Somebody else was faster.
    let (_, cluster) = Server::start(|seen, _| match seen.method.as_str() {
        "GET" => failure(404, "NotFound", "not found"),
        _ => failure(409, "AlreadyExists", "exists"),
    })
    .await;
    assert!(!cluster.ensure_namespace(permit().await).await.unwrap());
}

#[tokio::test]
async fn the_lock_is_a_guarded_lease() {
    let path = "/apis/coordination.k8s.io/v1/namespaces/haulout-system/leases";
    let lease = json!({
        "kind": "Lease",
        "metadata": {"resourceVersion": "7"},
        "spec": {
            "holderIdentity": "run-1", "leaseDurationSeconds": 60, "renewTime": "2026-11-23T22:00:00.000000Z",
            "leaseTransitions": 3,
        },
    });
    let (server, cluster) = Server::start(move |_, _| ok(lease.clone())).await;
    let read = cluster.create_lease(&run(), now()).await.unwrap();
    assert_eq!(cluster.read_lease().await.unwrap().as_ref(), Some(&read));
    assert_eq!(read.holder.as_ref().map(Foreign::raw), Some("run-1"));
    assert_eq!((read.renewed_at, read.duration, &*read.resource_version), (Some(now()), Duration::from_secs(60), "7"));
    cluster.write_lease(&read, Some(&run()), now()).await.unwrap();
    cluster.write_lease(&read, Some(&RunId::new("run-2").unwrap()), now()).await.unwrap();
    cluster.write_lease(&read, None, now()).await.unwrap();
    let [created, _, renewed, taken, released] = server.seen().try_into().unwrap();
    let time = "2026-11-23T22:00:00.000000Z";
    assert_eq!(created.line(), format!("POST {path}?fieldManager=haulout"));
    assert_eq!(
        created.body["spec"],
        json!({"holderIdentity": "run-1", "leaseDurationSeconds": 60, "acquireTime": time, "renewTime": time})
    );
    assert_eq!(renewed.line(), format!("PATCH {path}/haulout?fieldManager=haulout"));
    assert_eq!(
        renewed.body,
        json!({
            "metadata": {"resourceVersion": "7"},
            "spec": {"holderIdentity": "run-1", "leaseDurationSeconds": 60, "renewTime": time},
        })
    );
    assert_eq!(taken.body["spec"]["acquireTime"], time);
    assert_eq!(released.body["spec"]["holderIdentity"], Value::Null);
}

#[tokio::test]
async fn a_report_is_annotations_of_the_agents_own() {
    let (server, cluster) = Server::start(|_, _| ok(json!({"kind": "Node"}))).await;
    let report =
        |reboot| ReportWrite { reboot, boot_id: BootId::new("b").unwrap(), booted_at: now(), reported_at: now() };
    let required = ReportedReboot::Required(Foreign::new("kernel"));
    cluster.write_report(&node_name("a"), &report(required)).await.unwrap();
    cluster.write_report(&node_name("a"), &report(ReportedReboot::NotRequired)).await.unwrap();
    let [first, second] = server.seen().try_into().unwrap();
    assert_eq!(first.line(), "PATCH /api/v1/nodes/a?fieldManager=haulout-node");
    assert_eq!(
        first.body,
        json!({"metadata": {"annotations": {
            "haulout.dev/reboot-required": "true",
            "haulout.dev/reboot-reason": "kernel",
            "haulout.dev/boot-id": "b",
            "haulout.dev/booted-at": "2026-11-23T22:00:00Z",
            "haulout.dev/reported-at": "2026-11-23T22:00:00Z",
        }}})
    );
    assert_eq!(second.body["metadata"]["annotations"]["haulout.dev/reboot-reason"], Value::Null);
}

#[tokio::test]
async fn health_is_the_servers_own_word() {
    for (response, healthy) in
        [(reply(200, "text/plain", "ok"), true), (reply(500, "text/plain", "[-]etcd failed"), false)]
    {
        let response = Arc::new(Mutex::new(Some(response)));
        let (_, cluster) = Server::start(move |_, _| response.lock().unwrap().take().unwrap()).await;
        assert_eq!(cluster.ready().await.unwrap(), healthy);
    }
    let (_, cluster) = Server::start(|_, _| failure(403, "Forbidden", "no")).await;
    assert_eq!(cluster.ready().await.unwrap_err().kind, ReadErrorKind::Forbidden);
}

fn event(kind: &str, name: &str, version: &str) -> String {
    let object = json!({"metadata": {"name": name, "uid": name, "resourceVersion": version}});
    json!({"type": kind, "object": object}).to_string() + "\n"
}

fn nodes(names: &[&str], version: &str) -> Response {
    let items: Vec<Value> = names.iter().map(|name| json!({"metadata": {"name": name, "uid": name}})).collect();
    ok(json!({"kind": "NodeList", "metadata": {"resourceVersion": version}, "items": items}))
}

/// What was followed, in few words.
async fn words(
    follow: &mut futures::stream::BoxStream<'static, Result<Followed<Node, NodeName>, ReadError>>,
    count: usize,
) -> Vec<String> {
    let mut words = Vec::new();
    for _ in 0..count {
        words.push(match follow.next().await.unwrap() {
            Ok(Followed::All(nodes)) => {
                format!("all {}", nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(" "))
            }
            Ok(Followed::Is(node)) => format!("is {}", node.name),
            Ok(Followed::Gone(name)) => format!("gone {name}"),
            Err(error) => format!("{}: {:?}", error, error.kind),
        });
    }
    words
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_from_where_it_ended() {
    let answer = |_: &Seen, number: usize| match number {
        0 => nodes(&["a", "b"], "10"),
        1 => {
            let lines = event("ADDED", "c", "11")
                + &event("MODIFIED", "NOT A NAME", "12")
                + &event("DELETED", "a", "13")
                + &event("BOOKMARK", "", "20")
                + "{\"type\":\"MODIFIED\",\"obj";
            reply(200, JSON, lines)
        }
        2 => {
            let lines = [Ok(Bytes::from(event("MODIFIED", "b", "21"))), Err(std::io::Error::other("reset"))];
            reply(200, JSON, Body::from_stream(futures::stream::iter(lines)))
        }
        3 => failure(500, "InternalError", "no"),
        4 => reply(
            200,
            JSON,
            json!({"type": "ERROR", "object": status(410, "Expired", "too old", json!([]))}).to_string() + "\n",
        ),
        5 => nodes(&["d"], "30"),
        6 => failure(410, "Expired", "too old"),
        7 => failure(403, "Forbidden", "no"),
        8 => nodes(&["e"], "40"),
        _ => silence(),
    };
    let (server, cluster) = Server::start(answer).await;
    let mut follow = cluster.follow_nodes();
    assert_eq!(
        words(&mut follow, 8).await,
        ["all a b", "is c", "gone a", "is b", "watch nodes: Server", "all d", "list nodes: Forbidden", "all e"]
    );
    let list = "GET /api/v1/nodes?limit=5000";
    let watch = |version: &str| {
        format!("GET /api/v1/nodes?watch=true&allowWatchBookmarks=true&timeoutSeconds=290&resourceVersion={version}")
    };
    let wanted = [
        list.to_owned(),
        watch("10"),
        watch("20"),
        watch("21"),
        watch("21"),
        list.to_owned(),
        watch("30"),
        list.to_owned(),
        list.to_owned(),
    ];
    assert_eq!(server.lines()[..9], wanted);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_is_not_asked_without_pause() {
    let (server, cluster) =
        Server::start(|seen, _| if seen.query.contains("watch") { reply(200, JSON, "") } else { nodes(&[], "1") })
            .await;
    let mut follow = cluster.follow_nodes();
    assert_eq!(words(&mut follow, 1).await, ["all "]);
    let more = tokio::time::timeout(Duration::from_secs(60), follow.next()).await;
    assert!(more.is_err(), "a watch that ends is no news");
    let count = server.seen().len();
    assert!((8..20).contains(&count), "{count} requests in a minute");
    drop(follow);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(server.seen().len() <= count + 1, "a stream that was dropped asks for nothing");
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_taken_up_again() {
    let answer = |seen: &Seen, number: usize| match number {
        0 => nodes(&["a"], "1"),
        1 => reply(200, JSON, Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())),
        2 => reply(200, JSON, event("MODIFIED", "a", seen.query.rsplit('=').next().unwrap())),
        _ => silence(),
    };
    let (_, cluster) = Server::start(answer).await;
    let mut follow = cluster.follow_nodes();
    assert_eq!(words(&mut follow, 2).await, ["all a", "is a"]);
}

#[tokio::test]
async fn pods_of_one_node_are_followed_by_one_list_and_one_watch() {
    let empty = json!({"kind": "PodList", "metadata": {"resourceVersion": "5"}, "items": []});
    let (server, cluster) =
        Server::start(move |seen, _| if seen.query.contains("watch") { silence() } else { ok(empty.clone()) }).await;
    let mut follow = cluster.follow_pods(PodScope::Node(node_name("a")));
    assert_eq!(follow.next().await.unwrap().unwrap(), Followed::All(Vec::new()));
    while server.seen().len() < 2 {
        tokio::task::yield_now().await;
    }
    let lines = server.lines();
    assert_eq!(lines[0], "GET /api/v1/pods?fieldSelector=spec.nodeName%3Da&limit=5000");
    assert!(lines[1].starts_with("GET /api/v1/pods?fieldSelector=spec.nodeName%3Da&watch=true"), "{lines:?}");
}
