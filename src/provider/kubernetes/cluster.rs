//! A connected cluster.

use std::sync::Arc;

use http::HeaderValue;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::{Client, Config};
use tower::Layer;

use super::access::{Access, ConnectError, ForeignError, Via, in_cluster, resolve};
use super::certificates::Way;
use super::transport::Transport;
use crate::model::{Foreign, LabelKey};

/// One cluster, reached through its API server. Cheap to clone.
///
/// A client belongs to the runtime that it was made on: whoever acts from a thread and runtime of its own, as the lock
/// does, connects a second time from there.
#[derive(Clone)]
pub struct KubernetesCluster {
    pub(super) transport: Transport,
    pub(super) pool_label: Option<LabelKey>,
    /// What the way to the cluster shows of certificates; `None` where it is simulated in this process.
    pub(super) way: Option<Arc<Way>>,
}

impl KubernetesCluster {
    fn new(transport: Transport, pool_label: Option<LabelKey>, way: Option<Arc<Way>>) -> Self {
        Self { transport, pool_label, way }
    }
}

/// Connects to a cluster; sends no request. `verb` is the command that is running, for the User-Agent
/// `haulout/VERSION VERB`; `pool_label` is the label that names the pool of a node, where the config gives one.
///
/// Must be called on the runtime that will use it. A credential plugin named by the kubeconfig runs once, where it
/// answers with a token (as those of the large clouds do), and again when the token ends.
///
/// # Errors
/// [`ConnectError`] when no usable configuration is found, or the credentials cannot be prepared.
pub async fn connect(
    access: Access,
    verb: &str,
    pool_label: Option<LabelKey>,
) -> Result<Arc<KubernetesCluster>, ConnectError> {
    let agent = HeaderValue::from_str(&format!("haulout/{} {verb}", env!("CARGO_PKG_VERSION")))
        .map_err(|_| ConnectError::Agent)?;
    let config = match access {
        Access::InProcess(router) => {
            let transport = Transport::new(Client::new(router, "default"), agent, Via::Sandbox);
            return Ok(Arc::new(KubernetesCluster::new(transport, pool_label, None)));
        }
        Access::InCluster => in_cluster()?,
        Access::Kubeconfig { path, context, env } => resolve(path.as_deref(), context.as_deref(), &env)?,
    };
    let way = Arc::new(Way::of(&config));
    let (client, via) = client(config).await?;
    Ok(Arc::new(KubernetesCluster::new(Transport::new(client, agent, via), pool_label, Some(way))))
}

/// Makes a client. Credential plugins run in here and may ask people things, so it happens where blocking is allowed.
async fn client(config: Config) -> Result<(Client, Via), ConnectError> {
    let host = config.cluster_url.authority().map(|authority| {
        // Whoever puts a password into the address does not want to see it.
        authority.as_str().rsplit('@').next().unwrap_or_default().to_owned()
    });
    let via = Foreign::new(host.unwrap_or_default());
    let broken = |source| ConnectError::Credentials { via: via.clone(), source };
    let runtime = tokio::runtime::Handle::current();
    let client = tokio::task::spawn_blocking(move || {
        let _runtime = runtime.enter();
        build(config)
    })
    .await
    .map_err(|error| broken(ForeignError::of(&error)))?
    .map_err(|error| broken(ForeignError::of(&error)))?;
    Ok((client, Via::Server(via)))
}

/// `kube` runs a credential plugin three times per client: for the token, for a client certificate in its place, and
/// for the end of that certificate. Where the plugin answers with a token, once is enough: its layer is put around a
/// client that knows of no plugin.
fn build(mut config: Config) -> Result<Client, kube::Error> {
    let plugin = config.auth_info.exec.is_some() || config.auth_info.auth_provider.is_some();
    if plugin && let Some(layer) = config.auth_layer()? {
        let namespace = config.default_namespace.clone();
        config.auth_info.exec = None;
        config.auth_info.auth_provider = None;
        let inner = ClientBuilder::try_from(config)?.build();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let inner = inner.clone();
            async move { inner.send(request).await.map_err(tower::BoxError::from) }
        });
        return Ok(Client::new(layer.layer(service), namespace));
    }
    Ok(ClientBuilder::try_from(config)?.build())
}
