//! What the planner says of a node with certain pods on it, from what haulout itself reads of the real control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use futures::StreamExt as _;
use haulout::config::{Cluster, Config, OutOfService, Reach, Scope};
use haulout::model::{
    BootId, Budgets, Certificates, ClusterName, ControlPlane, DrainRule, Foreign, Labels, Limit, Namespace, Node,
    NodeName, Pod, PodKey, PodName, PoolName, Readiness, Report, Snapshot, TableName, Uid, UnmanagedPods, ZoneName,
};
use haulout::plan::{Impact, Selection, plan};
use haulout::provider::ClusterReads;
use haulout::provider::kubernetes::{Access, KubeconfigEnv, KubernetesCluster, connect};
use jiff::Timestamp;
use libtest_mimic::Failed;

/// The planner's word on the drain of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// Nothing holds it up.
    Feasible,
    /// A budget lets its pods go a few at a time, or has nothing to give at the moment.
    Paced,
    /// It cannot be done as things stand.
    Blocked,
}

/// Reads the real control plane as haulout does, and plans.
pub(super) struct Judge {
    cluster: Arc<KubernetesCluster>,
}

impl Judge {
    pub(super) async fn new(kubeconfig: &Path) -> Result<Self, Failed> {
        let access =
            Access::Kubeconfig { path: Some(kubeconfig.to_owned()), context: None, env: KubeconfigEnv::default() };
        let cluster = connect(access, "differential", None).await.map_err(|error| error.to_string())?;
        Ok(Self { cluster })
    }

    /// The verdict over a node that has exactly these pods, and the reasons where it is blocked.
    pub(super) async fn drain(
        &self,
        namespace: &str,
        pods: &[String],
        budgets: &[String],
    ) -> Result<(Verdict, String), Failed> {
        let node_name = NodeName::new("node-under-judgement")?;
        let space = Namespace::new(namespace)?;
        let key = |name: &String| -> Result<PodKey, Failed> {
            Ok(PodKey { namespace: space.clone(), name: PodName::new(name)? })
        };
        let mut snapshot = empty(&node_name)?;
        for name in pods {
            let pod = self.cluster.pod(&key(name)?).await.map_err(|error| format!("{error:?}"))?;
            if let Some(pod) = pod {
                snapshot.pods.push(Pod { node: Some(node_name.clone()), ..pod });
            }
        }
        for name in budgets {
            let PodKey { namespace, name } = key(name)?;
            let key = haulout::model::BudgetKey { namespace, name };
            if let Some(budget) = self.cluster.budget(&key).await.map_err(|error| format!("{error:?}"))? {
                snapshot.budgets.insert(budget);
            }
        }
        let mut daemon_sets = self.cluster.daemon_sets();
        while let Some(page) = daemon_sets.next().await {
            let (page, _) = page.map_err(|error| format!("{error:?}"))?;
            snapshot.daemon_sets.extend(page.into_iter().map(|set| (set.uid.clone(), set)));
        }
        snapshot.sort();
        let plan = plan(
            &config(&node_name)?,
            &BTreeMap::from([(snapshot.cluster.clone(), snapshot.clone())]),
            snapshot.taken_at,
            &Selection::default(),
        )
        .map_err(|error| error.to_string())?;
        let cluster = plan.clusters().first().ok_or("no cluster in the plan")?;
        if let Some(blocked) = cluster.blocked.iter().find(|blocked| blocked.node == node_name) {
            return Ok((Verdict::Blocked, format!("{:?}", blocked.reasons)));
        }
        let outage = cluster.outages.iter().find(|outage| outage.node == node_name).ok_or("the plan has no outage")?;
        let paced =
            outage.impact.iter().any(|impact| matches!(impact, Impact::BudgetPaces { .. } | Impact::BudgetBusy { .. }));
        Ok((if paced { Verdict::Paced } else { Verdict::Feasible }, String::new()))
    }
}

fn cluster_name() -> Result<ClusterName, Failed> {
    Ok(ClusterName::new("real")?)
}

fn empty(name: &NodeName) -> Result<Snapshot, Failed> {
    let node = Node {
        name: name.clone(),
        uid: Uid::new("node-under-judgement")?,
        resource_version: "1".into(),
        labels: Arc::new(Labels::from([("kubernetes.io/os".into(), "linux".into())])),
        pool: PoolName::new("pool")?,
        zone: ZoneName::new("zone")?,
        control_plane: false,
        linux: true,
        readiness: Readiness::Ready,
        cordon: None,
        boot_id: Some(BootId::new("boot")?),
        kernel: Foreign::new("6.8"),
        mark: None,
        report: Report { reboot: None, boot_id: None, booted_at: None, reported_at: None },
        kured_wants_since: None,
        last_reboot: None,
        scale_down_before: None,
        scale_down_disabled: None,
        taints: Vec::new(),
        allocatable: Default::default(),
        addresses: Arc::default(),
        kubelet_port: 0,
        created_at: None,
        terminating: false,
    };
    Ok(Snapshot {
        cluster: cluster_name()?,
        via: Foreign::new("real"),
        identity: None,
        version: Foreign::new("1.37.2"),
        taken_at: Timestamp::now(),
        nodes: BTreeMap::from([(name.clone(), node)]),
        pods: Vec::new(),
        budgets: Budgets::default(),
        daemon_sets: BTreeMap::new(),
        control_plane: ControlPlane::default(),
        certificates: Certificates::default(),
        lock: None,
        sandbox: false,
        gaps: Vec::new(),
    })
}

/// The node is to be out of service, and the drain may take everything that the API would let go.
fn config(node: &NodeName) -> Result<Config, Failed> {
    let drain = DrainRule { unmanaged: UnmanagedPods::Evict, delete_emptydir_data: true, ..DrainRule::DEFAULT };
    let scope = Scope { clusters: BTreeSet::from([cluster_name()?]), nodes: [node.clone()].into(), ..Scope::default() };
    Ok(Config {
        name: Foreign::new("differential"),
        clusters: BTreeMap::from([(
            cluster_name()?,
            Cluster {
                reach: Reach::Sandbox("cluster.toml".into()),
                tags: BTreeMap::new(),
                after: BTreeSet::new(),
                max_unavailable: Limit::Count(1),
                pool_label: None,
                node_pod: None,
            },
        )]),
        reboots: BTreeMap::new(),
        out_of_service: BTreeMap::from([(
            TableName::new("rack")?,
            OutOfService { scope, reason: Foreign::new("differential"), until: None, drain },
        )]),
        protect: BTreeMap::new(),
    })
}
