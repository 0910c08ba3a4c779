//! Reading a cluster.

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use std::collections::BTreeSet;

use crate::model::{
    Advice, Budget, BudgetKey, Certificates, DaemonSet, Explain, Foreign, Kind, Node, NodeName, Pod, PodKey, RunId, Uid,
};

/// What kind of failure a read met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadErrorKind {
    /// 401 or 403: a right is missing.
    Forbidden,
    /// 404 of the whole kind, or of the object asked for.
    NotFound,
    /// The server asked to slow down (429).
    Throttled,
    /// A list or watch went stale (410): start it again.
    Expired,
    /// No connection, no answer in time, or an answer that is none of the server's.
    Unreachable,
    /// The server failed (5xx).
    Server,
    /// The answer could not be understood.
    Malformed,
}

/// A read that failed: names the operation and its object once, fits after "failed to".
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation}")]
pub struct ReadError {
    /// Such as `list nodes` or `read pod shop/web-1`.
    pub operation: String,
    /// What kind of failure.
    pub kind: ReadErrorKind,
    /// What the other side said; may hold anything.
    pub message: Foreign,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// How long the server asked to wait.
    pub retry_after: Option<std::time::Duration>,
}

impl ReadError {
    /// What was to be done, and what the other side said to it; may hold anything.
    #[must_use]
    pub fn told(&self) -> Foreign {
        let said = self.message.raw();
        Foreign::new(if said.is_empty() { self.operation.clone() } else { format!("{}: {said}", self.operation) })
    }
}

impl Explain for ReadError {
    fn kind(&self) -> Kind {
        Kind::Outside
    }

    fn advice(&self) -> Option<Advice> {
        let text = match self.kind {
            ReadErrorKind::Forbidden if self.status == Some(401) => "log in again, or fetch a new kubeconfig",
            ReadErrorKind::Forbidden => "give this identity the right to do it (deploy/ has the roles)",
            ReadErrorKind::NotFound => "check that it exists and that the context points to the cluster meant",
            ReadErrorKind::Throttled => "try again when the API server is less busy",
            ReadErrorKind::Expired | ReadErrorKind::Server => "try again",
            ReadErrorKind::Unreachable => "check the address, the network and the proxy settings",
            ReadErrorKind::Malformed => "check that the address is that of a Kubernetes API server",
        };
        Some(Advice::new(text))
    }
}

/// Which pods to list or follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodScope {
    /// All of them.
    Cluster,
    /// Those bound to a node (`fieldSelector=spec.nodeName=…`).
    Node(NodeName),
}

/// An event of a watch, in the order of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed<T, K> {
    /// The whole set anew: at the start, and whenever the watch had to be made again.
    All(Vec<T>),
    /// One object is new or changed.
    Is(T),
    /// One object is gone.
    Gone(K),
}

/// The lease that a node's kubelet renews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLease {
    /// Its last renewal, by the node's clock.
    pub renewed_at: Option<Timestamp>,
}

/// What still hangs on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volumes {
    /// Names of the PersistentVolumes that VolumeAttachments still attach to it.
    pub attached: BTreeSet<Foreign>,
}

/// How a node's reboot pod stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebootPodState {
    /// There is none.
    Absent,
    /// It is there and not Ready yet, with what its container says (such as `ErrImagePull`).
    Starting(Foreign),
    /// Its container is Ready: armed.
    Armed,
    /// It ended, with what it said.
    Ended(Foreign),
}

/// Everything that may be read. Each method has a deadline of its own; none retries for longer than it.
#[async_trait]
pub trait ClusterReads: Send + Sync {
    /// How the cluster is reached, for showing: the server's host and port, or `sandbox`.
    fn via(&self) -> Foreign;

    /// Whether this is a simulated cluster.
    fn is_sandbox(&self) -> bool;

    /// The API server's version without its `v`, such as `1.37.2`.
    async fn version(&self) -> Result<Foreign, ReadError>;

    /// The UID of namespace `kube-system`.
    async fn identity(&self) -> Result<Uid, ReadError>;

    /// All nodes, page by page. An object that cannot be understood is counted in the second part and left out.
    fn nodes(&self) -> BoxStream<'_, Result<(Vec<Node>, u32), ReadError>>;

    /// Pods, page by page, as [`ClusterReads::nodes`]. Pods of one stream share their shapes.
    fn pods(&self, scope: PodScope) -> BoxStream<'_, Result<(Vec<Pod>, u32), ReadError>>;

    /// The names, such as `shop/web-1`, of the pods bound to a node that cannot be understood: those that
    /// [`ClusterReads::pods`] only counts. Empty where each can be, or none can be named.
    async fn unreadable_pods(&self, _node: &NodeName) -> Result<Vec<Foreign>, ReadError> {
        Ok(Vec::new())
    }

    /// All budgets, page by page, as [`ClusterReads::nodes`].
    fn budgets(&self) -> BoxStream<'_, Result<(Vec<Budget>, u32), ReadError>>;

    /// All DaemonSets, page by page, as [`ClusterReads::nodes`].
    fn daemon_sets(&self) -> BoxStream<'_, Result<(Vec<DaemonSet>, u32), ReadError>>;

    /// One node, read afresh (a quorum read).
    async fn node(&self, name: &NodeName) -> Result<Option<Node>, ReadError>;

    /// One pod, read afresh.
    async fn pod(&self, key: &PodKey) -> Result<Option<Pod>, ReadError>;

    /// One budget, read afresh.
    async fn budget(&self, key: &BudgetKey) -> Result<Option<Budget>, ReadError>;

    /// The lease that a node's kubelet renews.
    async fn node_lease(&self, name: &NodeName) -> Result<Option<NodeLease>, ReadError>;

    /// The volumes still attached to a node.
    async fn volumes(&self, name: &NodeName) -> Result<Volumes, ReadError>;

    /// The names of the CSI drivers registered on a node.
    async fn csi_drivers(&self, name: &NodeName) -> Result<BTreeSet<Foreign>, ReadError>;

    /// How many `kubernetes.io/kubelet-serving` certificate requests of a node are still Pending.
    async fn pending_serving_requests(&self, name: &NodeName) -> Result<u32, ReadError>;

    /// The requests for serving certificates on which nobody has decided. What cannot be seen is told in the answer, and
    /// never an error, here and in what follows.
    async fn serving_requests(&self) -> Certificates {
        Certificates::default()
    }

    /// The certificates of the cluster and of the way to it, except those of kubelets.
    async fn certificates(&self) -> Certificates {
        Certificates::default()
    }

    /// The certificates that the kubelets of these nodes serve with, as far as they can be reached from here.
    async fn kubelet_certificates(&self, _nodes: &[Node]) -> Certificates {
        Certificates::default()
    }

    /// How the reboot pod of a node and run stands.
    async fn reboot_pod(&self, node: &NodeName, run: &RunId) -> Result<RebootPodState, ReadError>;

    /// Whether the API server says it is healthy (`/readyz`).
    async fn ready(&self) -> Result<bool, ReadError>;

    /// Follows nodes: first [`Followed::All`] (before it [`ReadErrorKind::Malformed`] where some could not be understood
    /// and are left out), then changes; makes the watch again by itself. An error is reported in
    /// the stream and followed by another try; the stream ends only when it is dropped.
    fn follow_nodes(&self) -> BoxStream<'static, Result<Followed<Node, NodeName>, ReadError>>;

    /// Follows pods, as [`ClusterReads::follow_nodes`].
    fn follow_pods(&self, scope: PodScope) -> BoxStream<'static, Result<Followed<Pod, PodKey>, ReadError>>;

    /// Follows budgets, as [`ClusterReads::follow_nodes`].
    fn follow_budgets(&self) -> BoxStream<'static, Result<Followed<Budget, BudgetKey>, ReadError>>;
}
