//! From a config to clusters that can be talked to: kubeconfig contexts, in-cluster, simulated ones.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;

use super::error::Failure;
use super::load::Loaded;
use super::output::Output;
use super::sandbox::{self, Patience, Place};
use crate::apply::Connect;
use crate::config::{Config, Reach};
use crate::model::{ClusterName, Foreign, LabelKey, Snapshot, sanitise};
use crate::observe::{Extent, observe};
use crate::provider::kubernetes::{self, Access, KubeconfigEnv, KubernetesCluster};
use crate::provider::{LockActs, ReadError, ReadErrorKind, clock};

/// What the environment says about reaching clusters; read here and nowhere else.
pub(super) struct Environment {
    kubeconfig: Option<PathBuf>,
    env: KubeconfigEnv,
}

impl Environment {
    pub(super) fn read(kubeconfig: Option<PathBuf>) -> Self {
        let var = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let text = |names: &[&str]| names.iter().find_map(|name| var(name)).and_then(|text| text.into_string().ok());
        Self {
            kubeconfig,
            env: KubeconfigEnv {
                kubeconfig: var("KUBECONFIG"),
                home: var("HOME").or_else(|| var("USERPROFILE")).map(PathBuf::from),
                https_proxy: text(&["HTTPS_PROXY", "https_proxy"]),
                http_proxy: text(&["HTTP_PROXY", "http_proxy"]),
                no_proxy: text(&["NO_PROXY", "no_proxy"]),
                in_pod: var("KUBERNETES_SERVICE_HOST").is_some(),
            },
        }
    }
}

impl Environment {
    /// How a pod on a node reaches its cluster: by its service account, or by KUBECONFIG where one is set.
    pub(super) fn pod_access(self) -> Access {
        if self.env.in_pod && self.env.kubeconfig.is_none() {
            Access::InCluster
        } else {
            Access::Kubeconfig { path: self.kubeconfig, context: None, env: self.env }
        }
    }
}

/// How one cluster is reached; kept to reach it once more.
#[derive(Clone)]
struct Route {
    access: Access,
    verb: &'static str,
    pool_label: Option<LabelKey>,
}

impl Route {
    async fn connect(self) -> Result<Arc<KubernetesCluster>, kubernetes::ConnectError> {
        kubernetes::connect(self.access, self.verb, self.pool_label).await
    }
}

/// One cluster that can be talked to.
pub(super) struct Connection {
    pub(super) cluster: Arc<KubernetesCluster>,
    route: Route,
    /// Keeps a simulated cluster alive, and others out of it.
    _sandbox: Option<sandbox::Running>,
}

impl Connection {
    /// What the kubeconfig says about the way to the cluster; `None` is a simulated one. Sends nothing.
    pub(super) fn describe(&self) -> Result<Option<kubernetes::AccessRead>, Failure> {
        Ok(self.route.access.describe()?)
    }

    /// Makes the client that renews the lock, in the runtime that will use it.
    pub(super) fn connect_again(&self) -> Connect {
        let route = self.route.clone();
        Box::new(move || {
            Box::pin(async move {
                let cluster = route.connect().await.map_err(|error| ReadError {
                    operation: "connect to the cluster once more, for its lock".to_owned(),
                    kind: ReadErrorKind::Unreachable,
                    message: Foreign::new(error.to_string()),
                    status: None,
                    retry_after: None,
                })?;
                let lock: Arc<dyn LockActs> = cluster;
                Ok(lock)
            })
        })
    }
}

/// The clusters of one command.
pub(super) struct Connections {
    pub(super) clusters: BTreeMap<ClusterName, Connection>,
}

impl Connections {
    /// One cluster of the config by the name that a person typed.
    pub(super) fn known(config: &Config, typed: &str) -> Result<ClusterName, Failure> {
        if let Some((name, _)) = config.clusters.get_key_value(typed) {
            return Ok(name.clone());
        }
        let mut names: Vec<&str> = config.clusters.keys().map(ClusterName::as_str).collect();
        names.sort_by(|a, b| strsim::jaro_winkler(b, typed).total_cmp(&strsim::jaro_winkler(a, typed)));
        Err(Failure::input(
            format!("the config has no cluster {}", sanitise(typed)),
            format!("it has: {}", names.join(", ")),
        ))
    }

    /// The clusters that a person named; all where none was.
    pub(super) fn wanted(config: &Config, typed: &[String]) -> Result<Vec<ClusterName>, Failure> {
        if typed.is_empty() {
            return Ok(config.clusters.keys().cloned().collect());
        }
        let mut names = Vec::new();
        for typed in typed {
            let name = Self::known(config, typed)?;
            // A cluster that is named twice is meant once.
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Opens connections; nothing is sent to any cluster but what its authentication asks for. A simulated cluster that
    /// another process has is an error.
    pub(super) async fn open(
        loaded: &Loaded,
        names: &[ClusterName],
        environment: &Environment,
        verb: &'static str,
        output: &Output,
    ) -> Result<Self, Failure> {
        Self::open_patiently(loaded, names, environment, verb, Patience::None, output).await
    }

    /// The same, for verbs that wait for locks: another process has to give a simulated cluster back as it has to give
    /// a lock back.
    pub(super) async fn open_patiently(
        loaded: &Loaded,
        names: &[ClusterName],
        environment: &Environment,
        verb: &'static str,
        patience: Patience,
        output: &Output,
    ) -> Result<Self, Failure> {
        let mut clusters = BTreeMap::new();
        for name in names {
            let Some(cluster) = loaded.config.clusters.get(name) else { continue };
            let (access, sandbox) = match &cluster.reach {
                Reach::Sandbox(file) => {
                    let place = Place { folder: &loaded.folder, name, file, kept: true };
                    let running = sandbox::open(&place, patience, output).await?;
                    (Access::InProcess(running.router()), Some(running))
                }
                Reach::Context(context) => {
                    let access = Access::Kubeconfig {
                        path: environment.kubeconfig.clone(),
                        context: Some(context.raw().to_owned()),
                        env: environment.env.clone(),
                    };
                    (access, None)
                }
            };
            let route = Route { access, verb, pool_label: cluster.pool_label.clone() };
            let cluster = route.clone().connect().await?;
            let connection = Connection { cluster, route, _sandbox: sandbox };
            clusters.insert(name.clone(), connection);
        }
        Ok(Self { clusters })
    }

    /// Observes all clusters at the same time.
    pub(super) async fn observe(
        &self,
        extent: Extent,
        output: &Output,
    ) -> Result<BTreeMap<ClusterName, Snapshot>, Failure> {
        let looking = output.spinner("observing the clusters");
        let snapshots = join_all(self.clusters.iter().map(async |(name, connection)| {
            let cluster = connection.cluster.as_ref();
            observe(cluster, Some(cluster), name.clone(), clock::now, extent).await
        }))
        .await;
        looking.finish();
        let mut seen = BTreeMap::new();
        for snapshot in snapshots {
            let snapshot = snapshot?;
            seen.insert(snapshot.cluster.clone(), snapshot);
        }
        Ok(seen)
    }

    /// The moment to plan for.
    pub(super) fn now(&self) -> Timestamp {
        clock::now()
    }
}
