//! How a cluster is reached: kubeconfig files as `kubectl` finds them, the service account of a pod, or a simulated
//! cluster in this process.
//!
//! Nothing here reads the environment: what counts of it comes in [`KubeconfigEnv`]. `kube`'s own inference is not
//! used, because it fails on a missing file of a `KUBECONFIG` list, matches `NO_PROXY` against the proxy instead of the
//! cluster, and lets variables of its own redirect it to another server.

mod describe;

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use http::Uri;
use kube::Config;
use kube::config::{Cluster, ExecAuthCluster, Kubeconfig};

use super::proxy::proxy_for;
use super::transport::{CONNECT_DEADLINE, causes};
use crate::model::{Advice, Explain, Foreign, Kind, sanitise};
use crate::provider::tls::x509::{certificates, decode_base64};

pub(super) use describe::client_certificate;
pub use describe::{AccessRead, Credential, CredentialRead, ServerProof};

/// A kubeconfig with hundreds of clusters has some hundred kilobytes.
const KUBECONFIG_MAX: u64 = 4 << 20;

/// What of the environment decides how a cluster is reached; read by the composition root.
#[derive(Debug, Clone, Default)]
pub struct KubeconfigEnv {
    /// `KUBECONFIG`: a list of files.
    pub kubeconfig: Option<OsString>,
    /// The home folder, whose `.kube/config` is the default.
    pub home: Option<PathBuf>,
    /// `HTTPS_PROXY` or `https_proxy`.
    pub https_proxy: Option<String>,
    /// `HTTP_PROXY` or `http_proxy`, for API servers without TLS.
    pub http_proxy: Option<String>,
    /// `NO_PROXY` or `no_proxy`.
    pub no_proxy: Option<String>,
    /// Whether `KUBERNETES_SERVICE_HOST` is set: this process runs in a pod.
    pub in_pod: bool,
}

/// How to reach a cluster.
#[derive(Debug, Clone)]
pub enum Access {
    /// As `kubectl` would: an explicit file, else the files of `KUBECONFIG`, else the default file; without any and
    /// without a context, the service account of the pod that this process runs in.
    Kubeconfig {
        /// `--kubeconfig`: this file alone, which must be there.
        path: Option<PathBuf>,
        /// The context; `None` is the current one.
        context: Option<String>,
        /// The environment.
        env: KubeconfigEnv,
    },
    /// The service account of the pod that this process runs in.
    InCluster,
    /// A simulated cluster, served by this process: no socket, no credentials.
    InProcess(axum::Router),
}

/// A cluster that cannot be reached, before any request.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No kubeconfig anywhere, and not in a pod.
    #[error("find a kubeconfig: none of {} is there", list(.looked))]
    NoKubeconfig {
        /// Where one was looked for.
        looked: Vec<PathBuf>,
    },
    /// A file that cannot be read.
    #[error("read the kubeconfig {}", sanitise(&.path.display().to_string()))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file that is no kubeconfig.
    #[error("understand the kubeconfig {}", sanitise(&.path.display().to_string()))]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ForeignError,
    },
    /// No context was named, and the files name no current one.
    #[error("choose a context: the kubeconfig has no current-context")]
    NoCurrentContext {
        /// The contexts there are.
        known: Vec<String>,
    },
    /// A context that no file defines.
    #[error("find context {} in the kubeconfig", sanitise(.context))]
    UnknownContext {
        /// The context.
        context: String,
        /// The contexts there are.
        known: Vec<String>,
        /// The one that was probably meant.
        meant: Option<String>,
    },
    /// A context whose cluster is missing, or has no address.
    #[error("find the cluster of context {} in the kubeconfig", sanitise(.context))]
    UnknownCluster {
        /// The context.
        context: String,
    },
    /// The cluster's entry is wrong: its address, proxy or certificate authority.
    #[error("use the {what} of the kubeconfig's cluster")]
    Cluster {
        /// What is wrong.
        what: &'static str,
        /// Why.
        #[source]
        source: ForeignError,
    },
    /// The service account of the pod cannot be used.
    #[error("use the pod's service account")]
    InCluster {
        /// Why.
        #[source]
        source: ForeignError,
    },
    /// The credentials cannot be had: a plugin failed, a certificate is broken.
    #[error("prepare the credentials for {}", .via.sanitised())]
    Credentials {
        /// The server.
        via: Foreign,
        /// Why.
        #[source]
        source: ForeignError,
    },
    /// The name of the verb cannot be sent in a header.
    #[error("name this program to the API server")]
    Agent,
}

/// What a library said, on one safe line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.sanitised())]
pub struct ForeignError(Foreign);

impl ForeignError {
    pub(super) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(Foreign::new(causes(error)))
    }

    fn text(text: &str) -> Self {
        Self(Foreign::new(text))
    }
}

impl Explain for ConnectError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoKubeconfig { .. }
            | Self::Read { .. }
            | Self::Parse { .. }
            | Self::NoCurrentContext { .. }
            | Self::UnknownContext { .. }
            | Self::UnknownCluster { .. }
            | Self::Cluster { .. } => Kind::Input,
            Self::InCluster { .. } | Self::Credentials { .. } => Kind::Outside,
            Self::Agent => Kind::Bug,
        }
    }

    fn advice(&self) -> Option<Advice> {
        let known = |known: &[String]| {
            let mut names: Vec<_> = known.iter().map(|name| sanitise(name).to_string()).collect();
            let more = names.len().saturating_sub(10);
            names.truncate(10);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("it has {}{more}", names.join(", "))
        };
        match self {
            Self::NoKubeconfig { .. } => {
                Some(Advice::new("name one with --kubeconfig or KUBECONFIG, or log in with your cloud's command"))
            }
            Self::NoCurrentContext { known: names } if !names.is_empty() => {
                Some(Advice::new(format!("set context in the cluster's table; {}", known(names))))
            }
            Self::NoCurrentContext { .. } => Some(Advice::new("check KUBECONFIG: the files define no context at all")),
            Self::UnknownContext { meant: Some(meant), known: names, .. } => {
                Some(Advice::new(format!("did you mean {}? {}", sanitise(meant), known(names))))
            }
            Self::UnknownContext { known: names, .. } if !names.is_empty() => Some(Advice::new(known(names))),
            Self::UnknownContext { .. } => Some(Advice::new("check KUBECONFIG: the files define no context at all")),
            Self::Credentials { .. } => Some(Advice::new("log in again, and try the same with kubectl")),
            Self::Read { .. }
            | Self::Parse { .. }
            | Self::UnknownCluster { .. }
            | Self::Cluster { .. }
            | Self::InCluster { .. }
            | Self::Agent => None,
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| sanitise(&path.display().to_string()).to_string()).collect::<Vec<_>>().join(", ")
}

/// How a cluster is reached, for showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Via {
    /// Host and port of the API server.
    Server(Foreign),
    /// A simulated cluster.
    Sandbox,
}

/// Resolves a kubeconfig access to `kube`'s configuration.
pub(super) fn resolve(path: Option<&Path>, context: Option<&str>, env: &KubeconfigEnv) -> Result<Config, ConnectError> {
    match load(path, env)? {
        Ok(kubeconfig) => configure(kubeconfig, context, env),
        Err(_) if context.is_none() && env.in_pod => in_cluster(),
        Err(looked) => Err(ConnectError::NoKubeconfig { looked }),
    }
}

/// The configuration of the pod's service account.
pub(super) fn in_cluster() -> Result<Config, ConnectError> {
    let config = Config::incluster().map_err(|error| ConnectError::InCluster { source: ForeignError::of(&error) })?;
    Ok(finish(config))
}

/// Reads and merges the kubeconfig files; the inner error names where was looked in vain.
fn load(path: Option<&Path>, env: &KubeconfigEnv) -> Result<Result<Kubeconfig, Vec<PathBuf>>, ConnectError> {
    if let Some(path) = path {
        return match read(path)? {
            Some(kubeconfig) => Ok(Ok(kubeconfig)),
            None => Err(ConnectError::Read {
                path: path.to_owned(),
                source: std::io::Error::from(std::io::ErrorKind::NotFound),
            }),
        };
    }
    // Empty entries of the list are ignored, and a list of nothing else is as good as none.
    let listed: Vec<PathBuf> = env
        .kubeconfig
        .as_deref()
        .map(|list| std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect())
        .unwrap_or_default();
    let paths = if listed.is_empty() {
        env.home.iter().map(|home| home.join(".kube").join("config")).collect()
    } else {
        listed
    };
    let mut merged: Option<Kubeconfig> = None;
    for path in &paths {
        // A file of the list that is not there is skipped: people list files that only some machines have.
        let Some(next) = read(path)? else { continue };
        merged = Some(match merged {
            Some(first) => first
                .merge(next)
                .map_err(|error| ConnectError::Parse { path: path.clone(), source: ForeignError::of(&error) })?,
            None => next,
        });
    }
    Ok(merged.ok_or(paths))
}

/// Reads one file; `None` where it is not there.
fn read(path: &Path) -> Result<Option<Kubeconfig>, ConnectError> {
    let failed = |source| ConnectError::Read { path: path.to_owned(), source };
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    let mut start = Vec::new();
    file.by_ref().take(KUBECONFIG_MAX + 1).read_to_end(&mut start).map_err(failed)?;
    if start.len() as u64 > KUBECONFIG_MAX {
        let text = format!("it has more than {} MiB", KUBECONFIG_MAX >> 20);
        return Err(failed(std::io::Error::new(std::io::ErrorKind::FileTooLarge, text)));
    }
    drop(file);
    // Read by path, because only so `kube` resolves the paths in it against the file's folder. What can be read but
    // once (a pipe, as shells make of `<(…)`) has been read already, and can only name its files in full.
    let parsed = if metadata.is_file() {
        Kubeconfig::read_from(path)
    } else {
        Kubeconfig::from_yaml(&String::from_utf8_lossy(&start))
    };
    parsed.map(Some).map_err(|error| ConnectError::Parse { path: path.to_owned(), source: ForeignError::of(&error) })
}

/// Makes the configuration of a context. `kube` would do it too, but reads the proxy variables while it does.
fn configure(kubeconfig: Kubeconfig, context: Option<&str>, env: &KubeconfigEnv) -> Result<Config, ConnectError> {
    let known = || {
        let mut names: Vec<String> = kubeconfig.contexts.iter().map(|named| named.name.clone()).collect();
        names.sort();
        names
    };
    let current = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
    let Some(name) = context.or(current) else {
        return Err(ConnectError::NoCurrentContext { known: known() });
    };
    let found = kubeconfig.contexts.iter().find(|named| named.name == name).and_then(|named| named.context.as_ref());
    let Some(found) = found else {
        let known = known();
        let meant = closest(name, &known);
        return Err(ConnectError::UnknownContext { context: name.to_owned(), known, meant });
    };
    let unknown = || ConnectError::UnknownCluster { context: name.to_owned() };
    let cluster = kubeconfig
        .clusters
        .iter()
        .find(|named| named.name == found.cluster)
        .and_then(|named| named.cluster.as_ref())
        .ok_or_else(unknown)?;
    let server = cluster.server.as_deref().filter(|server| !server.is_empty()).ok_or_else(unknown)?;
    // As client-go does, an address without a scheme is one of HTTPS if it may be.
    let server = if server.contains("://") { server.to_owned() } else { format!("https://{server}") };
    let wrong = |what, source| ConnectError::Cluster { what, source };
    let url: Uri = server.parse().map_err(|error| wrong("server", ForeignError::of(&error)))?;
    if url.host().is_none_or(str::is_empty) {
        return Err(wrong("server", ForeignError::text("it names no host")));
    }

    let mut user = found
        .user
        .as_deref()
        .and_then(|user| kubeconfig.auth_infos.iter().find(|named| named.name == user))
        .and_then(|named| named.auth_info.clone())
        .unwrap_or_default();
    if let Some(exec) = user.exec.as_mut().filter(|exec| exec.provide_cluster_info) {
        let info = ExecAuthCluster::try_from(cluster).map_err(|error| wrong("entry", ForeignError::of(&error)))?;
        exec.cluster = Some(info);
    }

    let mut config = Config::new(url);
    config.root_cert = authority(cluster)?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.tls_server_name = cluster.tls_server_name.clone().filter(|name| !name.is_empty());
    config.default_namespace = found.namespace.clone().unwrap_or_else(|| "default".to_owned());
    config.proxy_url = proxy_for(&config.cluster_url, cluster.proxy_url.as_deref(), env)
        .map_err(|source| wrong("proxy", ForeignError::text(&source)))?;
    config.auth_info = user;
    Ok(finish(config))
}

/// The settings that every client of ours has.
fn finish(mut config: Config) -> Config {
    // Left on, a refused eviction would be sent 16 times over 345 s before anybody hears of it.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_DEADLINE);
    // Answers and bodies have deadlines of their own, which differ by what is asked for.
    config.read_timeout = None;
    config
}

/// The certificate authority of a cluster, as DER.
fn authority(cluster: &Cluster) -> Result<Option<Vec<Vec<u8>>>, ConnectError> {
    let wrong = |source| ConnectError::Cluster { what: "certificate authority", source };
    let data = cluster.certificate_authority_data.as_deref().filter(|data| !data.is_empty());
    let file = cluster.certificate_authority.as_deref().filter(|path| !path.is_empty());
    let pem = match (data, file) {
        (Some(data), _) => decode_base64(data).ok_or_else(|| wrong(ForeignError::text("it is not base64")))?,
        (None, Some(path)) => std::fs::read(path).map_err(|error| wrong(ForeignError::of(&error)))?,
        (None, None) => return Ok(None),
    };
    certificates(&pem).map(Some).map_err(|why| wrong(ForeignError::text(why)))
}

/// The known name that is most like the one given.
fn closest(name: &str, known: &[String]) -> Option<String> {
    let likeness = |other: &String| strsim::jaro_winkler(name, other);
    known
        .iter()
        .map(|other| (likeness(other), other))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, other)| other.clone())
}

#[cfg(test)]
mod tests;
