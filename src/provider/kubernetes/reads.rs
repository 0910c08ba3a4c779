//! What is read of a cluster.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures::stream::BoxStream;
use http::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tokio::sync::mpsc;

use super::access::Via;
use super::cluster::KubernetesCluster;
use super::failure::{Failure, lost_read, malformed};
use super::kinds::{Attachments, Budgets, DaemonSets, Nodes, Pods, ServingRequests};
use super::list::{Kind, Listing, Pages};
use super::transport::{Answer, JSON, READ_DEADLINE, Target};
use super::watch::{follow, receive};
use super::wire::{self, Misfit, SERVING_SIGNER};
use crate::model::{
    Budget, BudgetKey, Certificates, DaemonSet, Foreign, MANAGED_NAMESPACE, Node, NodeName, Pod, PodKey, RunId, Uid,
    reboot_pod_name,
};
use crate::provider::{ClusterReads, Followed, NodeLease, PodScope, ReadError, RebootPodState, Volumes};

/// How many batches of a list may wait for their reader.
const AHEAD: usize = 4;
/// How often, and with which pauses, a single read is repeated where the server asks to come back later.
const PAUSES: [std::time::Duration; 2] =
    [std::time::Duration::from_millis(500), std::time::Duration::from_millis(1500)];
/// The longest that a `Retry-After` is obeyed by a single read.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// A stream of batches of a list.
type Batches<T> = BoxStream<'static, Result<(Vec<T>, u32), ReadError>>;

impl KubernetesCluster {
    fn list<K: Kind>(&self, listing: Listing, kind: K) -> Batches<K::Model> {
        let mut pages = Pages::new(self.transport.clone(), listing, kind);
        let (batches, inbox) = mpsc::channel(AHEAD);
        // A task of its own, so that kinds are decoded at the same time and while their reader does something else.
        let task = tokio::spawn(async move {
            while let Some(batch) = pages.next().await {
                if batches.send(batch).await.is_err() {
                    return;
                }
            }
        });
        receive(inbox, task)
    }

    /// Reads one object afresh; `None` where it does not exist.
    pub(super) async fn get(&self, path: String, operation: &str) -> Result<Option<Answer>, ReadError> {
        let target = Target::new(path);
        let mut pauses = PAUSES.into_iter();
        let whole = async {
            loop {
                let answer = self
                    .transport
                    .ask(Method::GET, &target, JSON, None, READ_DEADLINE)
                    .await
                    .map_err(|lost| lost_read(&lost, operation))?;
                let Some(failure) = Failure::of(&answer) else { return Ok(Some(answer)) };
                if failure.is_absent() {
                    return Ok(None);
                }
                let again = failure.come_back().zip(pauses.next()).map(|(wanted, pause)| wanted.unwrap_or(pause));
                match again {
                    Some(pause) if pause <= PATIENCE => tokio::time::sleep(pause).await,
                    // Whoever asked knows better what to do with so long a wait.
                    Some(_) | None => return Err(failure.into_read(operation)),
                }
            }
        };
        tokio::time::timeout(READ_DEADLINE, whole)
            .await
            .unwrap_or_else(|_| Err(lost_read(&super::transport::Lost::Deadline(READ_DEADLINE), operation)))
    }

    /// Reads one object afresh and understands it.
    pub(super) async fn get_as<W: DeserializeOwned, M>(
        &self,
        path: String,
        operation: String,
        take: impl FnOnce(W) -> Result<M, Misfit>,
    ) -> Result<Option<M>, ReadError> {
        let Some(answer) = self.get(path, &operation).await? else { return Ok(None) };
        let wire = serde_json::from_slice(&answer.body).map_err(|error| malformed(&operation, error))?;
        take(wire).map(Some).map_err(|misfit| malformed(&operation, super::transport::causes(&misfit)))
    }

    fn nodes_kind(&self) -> Nodes {
        Nodes(self.pool_label.clone())
    }
}

fn listing(operation: &str, path: &str) -> Listing {
    Listing { operation: operation.to_owned(), target: Target::new(path) }
}

fn node_listing() -> Listing {
    listing("list nodes", "/api/v1/nodes")
}

fn pod_listing(scope: &PodScope) -> Listing {
    let pods = Target::new("/api/v1/pods");
    match scope {
        PodScope::Cluster => Listing { operation: "list pods".to_owned(), target: pods },
        PodScope::Node(node) => Listing {
            operation: format!("list pods of node {node}"),
            target: pods.with("fieldSelector", &format!("spec.nodeName={node}")),
        },
    }
}

fn budget_listing() -> Listing {
    listing("list poddisruptionbudgets", "/apis/policy/v1/poddisruptionbudgets")
}

/// The requests for serving certificates of kubelets, decided or not.
pub(super) fn serving_listing() -> Listing {
    let target = Target::new("/apis/certificates.k8s.io/v1/certificatesigningrequests")
        .with("fieldSelector", &format!("spec.signerName={SERVING_SIGNER}"));
    Listing { operation: "list certificatesigningrequests".to_owned(), target }
}

/// A Lease, as far as its times go.
#[derive(Deserialize)]
struct LeaseRenewal {
    spec: Option<LeaseRenewalSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeaseRenewalSpec {
    renew_time: Option<wire::Time>,
}

/// A CSINode.
#[derive(Deserialize)]
struct CsiNode {
    spec: Option<CsiNodeSpec>,
}

#[derive(Deserialize)]
struct CsiNodeSpec {
    drivers: Option<Vec<CsiDriver>>,
}

#[derive(Deserialize)]
struct CsiDriver {
    name: String,
}

/// A pod of ours, with what its container says.
#[derive(Deserialize)]
struct RebootPodRead {
    metadata: RebootPodMeta,
    #[serde(default)]
    status: RebootPodStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RebootPodMeta {
    deletion_timestamp: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RebootPodStatus {
    phase: String,
    reason: String,
    message: String,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    ready: bool,
    state: ContainerState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Said>,
    terminated: Option<Said>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Said {
    reason: String,
    message: String,
    exit_code: Option<i32>,
}

impl Said {
    fn text(&self) -> Foreign {
        let exit = self.exit_code.filter(|code| *code != 0).map(|code| format!("exit code {code}"));
        let parts = [Some(self.reason.clone()), exit, Some(self.message.trim().to_owned())];
        let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        Foreign::new(parts.join(": "))
    }
}

impl RebootPodRead {
    fn state(self) -> RebootPodState {
        let whole = Said { reason: self.status.reason, message: self.status.message, exit_code: None };
        let container = self.status.container_statuses.into_iter().next().unwrap_or_default();
        if matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            let said = container.state.terminated.map(|said| said.text()).filter(|text| !text.is_empty());
            return RebootPodState::Ended(said.unwrap_or_else(|| whole.text()));
        }
        // One that is being deleted is about to end, whatever its container still says.
        if self.metadata.deletion_timestamp.is_some() {
            return RebootPodState::Starting(Foreign::new("Terminating"));
        }
        if container.ready {
            return RebootPodState::Armed;
        }
        let said = container.state.waiting.map(|said| said.text()).filter(|text| !text.is_empty());
        RebootPodState::Starting(said.unwrap_or_else(|| whole.text()))
    }
}

/// How a reboot pod stands, by its object.
pub(super) fn reboot_pod_state<'de>(object: impl Deserializer<'de>) -> Option<RebootPodState> {
    RebootPodRead::deserialize(object).ok().map(RebootPodRead::state)
}

/// When a node's lease was renewed last, by its object.
pub(super) fn renewal<'de>(object: impl Deserializer<'de>) -> Option<NodeLease> {
    let lease = LeaseRenewal::deserialize(object).ok()?;
    let renewed = lease.spec.and_then(|spec| spec.renew_time);
    Some(NodeLease { renewed_at: renewed.and_then(|time| time.timestamp()) })
}

/// The CSI drivers that a CSINode names.
pub(super) fn drivers<'de>(object: impl Deserializer<'de>) -> BTreeSet<Foreign> {
    let drivers = CsiNode::deserialize(object).ok().and_then(|node| node.spec).and_then(|spec| spec.drivers);
    drivers.unwrap_or_default().into_iter().map(|driver| Foreign::new(driver.name)).collect()
}

#[async_trait]
impl ClusterReads for KubernetesCluster {
    fn via(&self) -> Foreign {
        match &self.transport.via {
            Via::Server(server) => server.clone(),
            Via::Sandbox => Foreign::new("sandbox"),
        }
    }

    fn is_sandbox(&self) -> bool {
        self.transport.via == Via::Sandbox
    }

    async fn version(&self) -> Result<Foreign, ReadError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Version {
            git_version: String,
        }
        let operation = "read the version of the API server".to_owned();
        let absent = || malformed("read the version of the API server", "there is no /version");
        let take = |version: Version| Ok(Foreign::new(version.git_version.trim_start_matches('v')));
        self.get_as("/version".to_owned(), operation, take).await?.ok_or_else(absent)
    }

    async fn identity(&self) -> Result<Uid, ReadError> {
        let operation = "read namespace kube-system".to_owned();
        let absent = || malformed("read namespace kube-system", "it does not exist");
        let path = "/api/v1/namespaces/kube-system".to_owned();
        self.get_as(path, operation, |wire: wire::Named| wire.try_into()).await?.ok_or_else(absent)
    }

    fn nodes(&self) -> BoxStream<'_, Result<(Vec<Node>, u32), ReadError>> {
        self.list(node_listing(), self.nodes_kind())
    }

    fn pods(&self, scope: PodScope) -> BoxStream<'_, Result<(Vec<Pod>, u32), ReadError>> {
        self.list(pod_listing(&scope), Pods::default())
    }

    async fn unreadable_pods(&self, node: &NodeName) -> Result<Vec<Foreign>, ReadError> {
        #[derive(Deserialize)]
        struct List {
            #[serde(default)]
            items: Vec<serde_json::Value>,
        }
        // In JSON, of which even an object that makes no sense has a name that can be read.
        let Listing { operation, target } = pod_listing(&PodScope::Node(node.clone()));
        let answer = self
            .transport
            .ask(Method::GET, &target, JSON, None, READ_DEADLINE)
            .await
            .map_err(|lost| lost_read(&lost, &operation))?;
        if let Some(failure) = Failure::of(&answer) {
            return Err(failure.into_read(operation));
        }
        let list: List = serde_json::from_slice(&answer.body).map_err(|error| malformed(&operation, error))?;
        let mut pods = Pods::default();
        let unreadable = list.items.into_iter().filter_map(|item| {
            let text = |key: &str| item.pointer(key).and_then(serde_json::Value::as_str).unwrap_or("?").to_owned();
            let name = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
            let understood = wire::Pod::deserialize(item).is_ok_and(|pod| pods.take(pod).is_ok());
            (!understood).then(|| Foreign::new(name))
        });
        Ok(unreadable.collect())
    }

    fn budgets(&self) -> BoxStream<'_, Result<(Vec<Budget>, u32), ReadError>> {
        self.list(budget_listing(), Budgets)
    }

    fn daemon_sets(&self) -> BoxStream<'_, Result<(Vec<DaemonSet>, u32), ReadError>> {
        self.list(listing("list daemonsets", "/apis/apps/v1/daemonsets"), DaemonSets)
    }

    async fn node(&self, name: &NodeName) -> Result<Option<Node>, ReadError> {
        let label = self.pool_label.as_ref();
        let take = |wire: wire::Node| (wire, label).try_into();
        self.get_as(format!("/api/v1/nodes/{name}"), format!("read node {name}"), take).await
    }

    async fn pod(&self, key: &PodKey) -> Result<Option<Pod>, ReadError> {
        let path = format!("/api/v1/namespaces/{}/pods/{}", key.namespace, key.name);
        self.get_as(path, format!("read pod {key}"), |wire: wire::Pod| wire.try_into()).await
    }

    async fn budget(&self, key: &BudgetKey) -> Result<Option<Budget>, ReadError> {
        let path = format!("/apis/policy/v1/namespaces/{}/poddisruptionbudgets/{}", key.namespace, key.name);
        let take = |wire: wire::PodDisruptionBudget| wire.try_into();
        self.get_as(path, format!("read disruption budget {key}"), take).await
    }

    async fn node_lease(&self, name: &NodeName) -> Result<Option<NodeLease>, ReadError> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}");
        let take = |lease: LeaseRenewal| {
            let renewed = lease.spec.and_then(|spec| spec.renew_time);
            Ok(NodeLease { renewed_at: renewed.and_then(|time| time.timestamp()) })
        };
        self.get_as(path, format!("read the lease of node {name}"), take).await
    }

    async fn volumes(&self, name: &NodeName) -> Result<Volumes, ReadError> {
        // Volume attachments cannot be selected by node, so all of them are read.
        let all = listing("list volumeattachments", "/apis/storage.k8s.io/v1/volumeattachments");
        let (volumes, _) = Pages::new(self.transport.clone(), all, Attachments(name.clone())).all().await?;
        Ok(Volumes { attached: volumes.into_iter().flatten().collect() })
    }

    async fn csi_drivers(&self, name: &NodeName) -> Result<BTreeSet<Foreign>, ReadError> {
        let path = format!("/apis/storage.k8s.io/v1/csinodes/{name}");
        let take = |node: CsiNode| {
            let drivers = node.spec.and_then(|spec| spec.drivers).unwrap_or_default();
            Ok(drivers.into_iter().map(|driver| Foreign::new(driver.name)).collect())
        };
        let drivers = self.get_as(path, format!("read the CSI drivers of node {name}"), take).await?;
        Ok(drivers.unwrap_or_default())
    }

    async fn pending_serving_requests(&self, name: &NodeName) -> Result<u32, ReadError> {
        let (pending, _) =
            Pages::new(self.transport.clone(), serving_listing(), ServingRequests(name.clone())).all().await?;
        Ok(u32::try_from(pending.into_iter().filter(|pending| *pending).count()).unwrap_or(u32::MAX))
    }

    async fn serving_requests(&self) -> Certificates {
        self.requests().await
    }

    async fn certificates(&self) -> Certificates {
        self.look_for_certificates().await
    }

    async fn kubelet_certificates(&self, nodes: &[Node]) -> Certificates {
        self.look_at_kubelets(nodes).await
    }

    async fn reboot_pod(&self, node: &NodeName, run: &RunId) -> Result<RebootPodState, ReadError> {
        let name = reboot_pod_name(node, run);
        let path = format!("/api/v1/namespaces/{MANAGED_NAMESPACE}/pods/{name}");
        let operation = format!("read the reboot pod of node {node}");
        let state = self.get_as(path, operation, |pod: RebootPodRead| Ok(pod.state())).await?;
        Ok(state.unwrap_or(RebootPodState::Absent))
    }

    async fn ready(&self) -> Result<bool, ReadError> {
        let operation = "ask whether the API server is healthy";
        let answer = self
            .transport
            .ask(Method::GET, &Target::new("/readyz"), "*/*", None, READ_DEADLINE)
            .await
            .map_err(|lost| lost_read(&lost, operation))?;
        match Failure::of(&answer) {
            None => Ok(true),
            // Its own words for "not healthy"; anything else says nothing about health.
            Some(failure) if failure.status >= 500 => Ok(false),
            Some(failure) => Err(failure.into_read(operation)),
        }
    }

    fn follow_nodes(&self) -> BoxStream<'static, Result<Followed<Node, NodeName>, ReadError>> {
        let kind = self.nodes_kind();
        follow(self.transport.clone(), node_listing(), move || kind.clone())
    }

    fn follow_pods(&self, scope: PodScope) -> BoxStream<'static, Result<Followed<Pod, PodKey>, ReadError>> {
        follow(self.transport.clone(), pod_listing(&scope), Pods::default)
    }

    fn follow_budgets(&self) -> BoxStream<'static, Result<Followed<Budget, BudgetKey>, ReadError>> {
        follow(self.transport.clone(), budget_listing(), || Budgets)
    }
}
