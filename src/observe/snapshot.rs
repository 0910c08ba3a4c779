//! The reads, and how a snapshot is put together of them.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use jiff::Timestamp;

use super::gap::{of_failure, of_objects};
use crate::model::{
    Advice, Budgets, CertificatePlace, Certificates, ClusterName, ControlPlane, DaemonSet, Explain, Foreign, Gap,
    GapSubject, HeldLock, Kind, Node, NodeName, Pod, SeenCertificate, Snapshot, Uid,
};
use crate::provider::{ClusterReads, LockActs, PodScope, ReadError, ReadErrorKind};

/// How often a list is begun anew that grew too old while it was read.
const RESTARTS: u32 = 3;

/// A cluster of which nothing can be planned.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// Its nodes cannot be read.
    #[error("observe cluster {cluster}")]
    Nodes {
        /// The cluster.
        cluster: ClusterName,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// Its API server cannot be believed, and its certificate says why.
    #[error("observe cluster {cluster}: the certificate of the API server {} ({}) {said}",
        address.sanitised(), subject.sanitised().shortened(80))]
    Certificate {
        /// The cluster.
        cluster: ClusterName,
        /// Where the API server was seen.
        address: Foreign,
        /// Whose certificate it presents.
        subject: Foreign,
        /// What is wrong with it.
        said: String,
        /// What to do about it.
        advice: &'static str,
        /// What was to be read.
        #[source]
        source: ReadError,
    },
}

impl Explain for ObserveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Nodes { source, .. } | Self::Certificate { source, .. } => source.kind(),
        }
    }

    fn advice(&self) -> Option<Advice> {
        match self {
            Self::Nodes { source, .. } if source.kind == ReadErrorKind::Forbidden && source.status != Some(401) => {
                Some(Advice::new("allow get, list and watch on nodes (haulout doctor shows all that is missing)"))
            }
            Self::Nodes { source, .. } => source.advice(),
            Self::Certificate { advice, .. } => Some(Advice::new(*advice)),
        }
    }
}

impl ObserveError {
    /// An API server that does not answer, with what is wrong with its certificate where that is why.
    fn unread<'c>(cluster: ClusterName, source: ReadError, certificates: &'c Certificates, now: Timestamp) -> Self {
        let own = |seen: &'c SeenCertificate| match (&seen.place, &seen.x509) {
            (CertificatePlace::ApiServer(address), Some(x509)) => Some((address, x509, seen.distrusted.as_ref())),
            _ => None,
        };
        let found = certificates.seen.iter().find_map(own);
        let Some((address, x509, distrusted)) = found.filter(|_| source.kind == ReadErrorKind::Unreachable) else {
            return Self::Nodes { cluster, source };
        };
        let day = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M UTC").to_string();
        let (said, advice) = if x509.not_after <= now {
            (format!("ended at {}", day(x509.not_after)), RENEW)
        } else if now < x509.not_before {
            (
                format!("is valid only from {} on", day(x509.not_before)),
                "check the clocks of this machine and of the API server",
            )
        } else if let Some(why) = distrusted {
            (format!("is not trusted: {}", why.sanitised()), TRUST)
        } else {
            return Self::Nodes { cluster, source };
        };
        let (address, subject) = (address.clone(), x509.subject.clone());
        Self::Certificate { cluster, address, subject, said, advice, source }
    }
}

/// What helps against an API server whose certificate has ended.
const RENEW: &str = "renew it on the control plane (kubeadm: `kubeadm certs renew all` on each of its nodes, then \
    restart its static pods; k3s, RKE2: restart the server; AKS: `az aks rotate-certs`, which takes the cluster down)";
/// What helps against an API server that the kubeconfig does not trust.
const TRUST: &str = "fetch a new kubeconfig if the cluster's certificates were rotated; otherwise somebody else answers \
    at this address";

/// What of a cluster is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What planning asks for. Certificates only where they may say why nothing else can be read.
    Plan,
    /// With it every certificate that can be seen.
    Certificates,
}

/// Observes a cluster. `lock` is where the lock can be read; without it the snapshot knows of no lock, and there is no
/// gap about it. Sends only requests that read.
///
/// # Errors
/// [`ObserveError`] when the nodes cannot be read.
pub async fn observe(
    reads: &dyn ClusterReads,
    lock: Option<&dyn LockActs>,
    cluster: ClusterName,
    now: fn() -> Timestamp,
    extent: Extent,
) -> Result<Snapshot, ObserveError> {
    let held = async {
        match lock {
            Some(lock) => lock.read_lease().await,
            None => Ok(None),
        }
    };
    // Whether a kubelet can be reached is found out while the pods are being read.
    let nodes_with_kubelets = async {
        let nodes = whole(|| reads.nodes()).await;
        let kubelets = match &nodes {
            Ok((nodes, _)) if extent == Extent::Certificates => reads.kubelet_certificates(nodes).await,
            Ok(_) | Err(_) => Certificates::default(),
        };
        (nodes, kubelets)
    };
    let certificates = async {
        match extent {
            Extent::Certificates => reads.certificates().await,
            Extent::Plan => Certificates::default(),
        }
    };
    // Each kind is read once, all at the same time: that is the bound.
    let ((nodes, kubelets), pods, budgets, daemon_sets, version, identity, held, requests, mut certificates) = futures::join!(
        nodes_with_kubelets,
        whole(|| reads.pods(PodScope::Cluster)),
        whole(|| reads.budgets()),
        whole(|| reads.daemon_sets()),
        reads.version(),
        reads.identity(),
        held,
        reads.serving_requests(),
        certificates,
    );
    certificates.extend(requests);
    certificates.extend(kubelets);

    let mut gaps = Vec::new();
    let (nodes, bad) = match nodes {
        Ok(read) => read,
        Err(source) => {
            if extent == Extent::Plan && source.kind == ReadErrorKind::Unreachable {
                certificates.extend(reads.certificates().await);
            }
            return Err(ObserveError::unread(cluster, source, &certificates, now()));
        }
    };
    note(&mut gaps, "nodes", bad);
    let pods_read = pods.is_ok();
    let pods = or_gap(&mut gaps, GapSubject::Pods, "pods", pods);
    if !pods_read {
        let why = Foreign::new("etcd's members are counted by their pods, and those could not be read");
        let remedy = "allow list on pods in all namespaces".to_owned();
        gaps.push(Gap { subject: GapSubject::Etcd, why, remedy });
    }
    let budgets = or_gap(&mut gaps, GapSubject::Budgets, "poddisruptionbudgets", budgets);
    let daemon_sets: Vec<DaemonSet> = or_gap(&mut gaps, GapSubject::DaemonSets, "daemonsets", daemon_sets);
    let version = version.unwrap_or_else(|error| {
        gaps.push(of_failure(GapSubject::Version, &error));
        Foreign::default()
    });
    let identity = identity.map_err(|error| gaps.push(of_failure(GapSubject::Identity, &error))).ok();
    let lock = match held {
        Ok(lease) => lease.and_then(|lease| {
            Some(HeldLock {
                holder: lease.holder?,
                renewed_at: lease.renewed_at.unwrap_or(Timestamp::UNIX_EPOCH),
                duration: lease.duration,
            })
        }),
        Err(error) => {
            gaps.push(of_failure(GapSubject::Lock, &error));
            None
        }
    };

    let mut snapshot = Snapshot {
        cluster,
        via: reads.via(),
        identity,
        version,
        taken_at: now(),
        control_plane: control_plane(&pods),
        nodes: by_name(nodes),
        pods,
        budgets: Budgets::new(budgets),
        certificates,
        daemon_sets: daemon_sets.into_iter().map(|set| (set.uid.clone(), set)).collect::<BTreeMap<Uid, _>>(),
        lock,
        sandbox: reads.is_sandbox(),
        gaps,
    };
    snapshot.sort();
    Ok(snapshot)
}

type Batches<'a, T> = BoxStream<'a, Result<(Vec<T>, u32), ReadError>>;

/// Reads a list to its end. A list that grew too old on the way is begun anew: what was read of it must not be mixed
/// with a later state.
async fn whole<'a, T>(list: impl Fn() -> Batches<'a, T>) -> Result<(Vec<T>, u32), ReadError> {
    let mut restarts = 0;
    'anew: loop {
        let (mut all, mut bad) = (Vec::new(), 0);
        let mut batches = list();
        while let Some(batch) = batches.next().await {
            match batch {
                Ok((more, worse)) => {
                    all.extend(more);
                    bad += worse;
                }
                Err(error) if error.kind == ReadErrorKind::Expired && restarts < RESTARTS => {
                    restarts += 1;
                    continue 'anew;
                }
                Err(error) => return Err(error),
            }
        }
        return Ok((all, bad));
    }
}

fn note(gaps: &mut Vec<Gap>, what: &str, bad: u32) {
    if bad > 0 {
        gaps.push(of_objects(what, bad));
    }
}

fn or_gap<T>(gaps: &mut Vec<Gap>, subject: GapSubject, what: &str, read: Result<(Vec<T>, u32), ReadError>) -> Vec<T> {
    match read {
        Ok((all, bad)) => {
            note(gaps, what, bad);
            all
        }
        Err(error) => {
            gaps.push(of_failure(subject, &error));
            Vec::new()
        }
    }
}

fn by_name(nodes: Vec<Node>) -> BTreeMap<NodeName, Node> {
    nodes.into_iter().map(|node| (node.name.clone(), node)).collect()
}

/// The etcd members that run as static pods of kubeadm: the only ones that can be seen through the API.
fn control_plane(pods: &[Pod]) -> ControlPlane {
    let members = pods.iter().filter(|pod| {
        pod.key.namespace.as_str() == "kube-system"
            && pod.shape.labels.get("component").is_some_and(|component| &**component == "etcd")
    });
    ControlPlane { etcd_members: members.filter_map(|pod| Some((pod.node.clone()?, pod.status.ready))).collect() }
}
