//! Small kinds that are looked at only while a node comes back: volume attachments and certificate requests.

use serde::Deserialize;

use super::meta::{Condition, Meta};
use super::scalar::Time;
use super::trust::bytes;
use crate::model::{Foreign, NodeName, PodName, ServingRequest};
use crate::provider::tls::x509;

/// `storage.k8s.io/v1.VolumeAttachment`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
pub(in super::super) struct VolumeAttachment {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Meta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<VolumeAttachmentSpec>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeAttachmentSpec {
    #[prost(message, optional, tag = "2")]
    source: Option<VolumeAttachmentSource>,
    #[prost(string, tag = "3")]
    node_name: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeAttachmentSource {
    #[prost(string, tag = "1")]
    persistent_volume_name: String,
}

impl VolumeAttachment {
    /// The name of the volume, where the attachment is one of `node`. The object exists until the volume is detached.
    pub(in super::super) fn volume_on(self, node: &str) -> Option<String> {
        let spec = self.spec?;
        if spec.node_name != node {
            return None;
        }
        let volume = spec.source.map(|source| source.persistent_volume_name).filter(|name| !name.is_empty());
        // An inline volume has no PersistentVolume; the attachment's own name then has to do.
        volume.or_else(|| self.metadata.map(|meta| meta.name))
    }
}

/// `certificates.k8s.io/v1.CertificateSigningRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
pub(in super::super) struct CertificateSigningRequest {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Meta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<CertificateSigningRequestSpec>,
    #[prost(message, optional, tag = "3")]
    status: Option<CertificateSigningRequestStatus>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CertificateSigningRequestSpec {
    #[prost(bytes = "vec", tag = "1")]
    #[serde(deserialize_with = "bytes")]
    request: Vec<u8>,
    #[prost(string, tag = "2")]
    username: String,
    #[prost(string, repeated, tag = "4")]
    groups: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    usages: Vec<String>,
    #[prost(string, tag = "7")]
    signer_name: String,
    #[prost(int32, optional, tag = "8")]
    expiration_seconds: Option<i32>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct CertificateSigningRequestStatus {
    /// Of these only `type` has the number of `metav1.Condition`, and only that is read.
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<Condition>,
}

/// Who signs the certificates that kubelets serve with.
pub(in super::super) const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";

impl CertificateSigningRequest {
    /// The node for which it asks for a serving certificate, where nobody has decided on it yet.
    fn pending_node(&self) -> Option<&str> {
        let spec = self.spec.as_ref().filter(|spec| spec.signer_name == SERVING_SIGNER)?;
        // Approved, Denied and Failed are all the conditions there are: none of them is what `kubectl` calls Pending.
        let undecided = self.status.as_ref().is_none_or(|status| status.conditions.is_empty());
        spec.username.strip_prefix("system:node:").filter(|_| undecided)
    }

    /// Whether it asks for a serving certificate of `node` and nobody has decided on it yet.
    pub(in super::super) fn is_pending_serving(&self, node: &str) -> bool {
        self.pending_node() == Some(node)
    }

    /// The request, where it asks for a serving certificate of a node and nobody has decided on it yet.
    pub(in super::super) fn pending_serving(self) -> Option<ServingRequest> {
        let node = NodeName::new(self.pending_node()?).ok()?;
        let (meta, spec) = (self.metadata?, self.spec?);
        let foreign = |texts: Vec<String>| texts.iter().map(Foreign::new).collect();
        Some(ServingRequest {
            node,
            created_at: meta.creation_timestamp.as_ref().and_then(Time::timestamp),
            name: PodName::new(&meta.name).ok()?,
            groups: foreign(spec.groups),
            usages: foreign(spec.usages),
            expiration_seconds: spec.expiration_seconds,
            asked: x509::asked(&spec.request).map_err(Foreign::new),
        })
    }
}
