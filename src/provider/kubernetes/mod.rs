//! Clusters of Kubernetes, real or simulated: the only place that knows `kube` and the API's own types.
//!
//! [`connect`] makes a [`KubernetesCluster`], which implements every trait of [`crate::provider`]. Requests are made
//! by hand on `kube`'s client, which is used for what it is good at: kubeconfig, credentials, TLS. Its retries are off,
//! its eviction is not used, and its reading of errors is not used either.

pub mod json;

mod access;
mod acts;
mod annotation;
mod certificates;
mod cluster;
mod failure;
mod kinds;
mod list;
mod lock;
mod manifest;
mod probes;
mod proxy;
mod reads;
mod transport;
mod watch;
mod wire;

pub use access::{
    Access, AccessRead, ConnectError, Credential, CredentialRead, ForeignError, KubeconfigEnv, ServerProof,
};
pub use annotation::{decode_cordon, decode_last_reboot, encode_cordon, encode_last_reboot};
pub use cluster::{KubernetesCluster, connect};
pub use manifest::{ARMED_FILE, NODE_ACCOUNT, NODE_BINARY, reboot_pod_manifest};
