//! The kinds that name an authority for a server which the API server calls, and the Certificates of cert-manager.

use serde::{Deserialize, Deserializer};

use super::meta::Meta;
use super::scalar::Time;
use crate::model::{CertificatePlace, Foreign, Namespace, SeenCertificate};

/// Bytes that JSON writes in base64.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    Option::<k8s_openapi::ByteString>::deserialize(deserializer)
        .map(|bytes| bytes.map(|bytes| bytes.0).unwrap_or_default())
}

/// `admissionregistration.k8s.io/v1.ValidatingWebhookConfiguration`, and the mutating one, which has the same numbers.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
pub(in super::super) struct WebhookConfiguration {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Meta>,
    #[prost(message, repeated, tag = "2")]
    webhooks: Vec<Webhook>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Webhook {
    #[prost(message, optional, tag = "2")]
    client_config: Option<ClientConfig>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClientConfig {
    #[prost(bytes = "vec", tag = "2")]
    #[serde(deserialize_with = "bytes")]
    ca_bundle: Vec<u8>,
}

/// `apiregistration.k8s.io/v1.APIService`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
pub(in super::super) struct ApiService {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Meta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<ApiServiceSpec>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ApiServiceSpec {
    #[prost(bytes = "vec", tag = "5")]
    #[serde(deserialize_with = "bytes")]
    ca_bundle: Vec<u8>,
}

/// `apiextensions.k8s.io/v1.CustomResourceDefinition`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
pub(in super::super) struct CustomResourceDefinition {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Meta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<CustomResourceDefinitionSpec>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct CustomResourceDefinitionSpec {
    #[prost(message, optional, tag = "9")]
    conversion: Option<Conversion>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct Conversion {
    #[prost(message, optional, tag = "2")]
    webhook: Option<ConversionWebhook>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConversionWebhook {
    #[prost(message, optional, tag = "2")]
    client_config: Option<ClientConfig>,
}

/// An authority in PEM, and who is called by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct NamedBundle {
    /// The name of the object.
    pub(in super::super) name: String,
    /// Its certificates.
    pub(in super::super) pem: Vec<u8>,
}

impl NamedBundle {
    /// `None` where none is named: the API server then trusts what its own machine does.
    fn of(name: String, pem: Vec<u8>) -> Option<Self> {
        (!pem.is_empty()).then_some(Self { name, pem })
    }
}

impl WebhookConfiguration {
    /// The authorities of its webhooks.
    pub(in super::super) fn bundles(self) -> Vec<NamedBundle> {
        // Its webhooks nearly always are those of one server, whose authority stands in each.
        let own = self.metadata.map(|meta| meta.name).unwrap_or_default();
        let mut pems: Vec<Vec<u8>> =
            self.webhooks.into_iter().filter_map(|webhook| Some(webhook.client_config?.ca_bundle)).collect();
        pems.sort();
        pems.dedup();
        pems.into_iter().filter_map(|pem| NamedBundle::of(own.clone(), pem)).collect()
    }
}

impl ApiService {
    /// Its authority.
    pub(in super::super) fn bundle(self) -> Option<NamedBundle> {
        NamedBundle::of(self.metadata?.name, self.spec?.ca_bundle)
    }
}

impl CustomResourceDefinition {
    /// The authority of its webhook that converts.
    pub(in super::super) fn bundle(self) -> Option<NamedBundle> {
        let config = self.spec?.conversion?.webhook?.client_config?;
        NamedBundle::of(self.metadata?.name, config.ca_bundle)
    }
}

/// `cert-manager.io/v1.Certificate`, which travels as JSON only; the numbers mean nothing.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
pub(in super::super) struct ManagedCertificate {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Meta>,
    #[prost(message, optional, tag = "2")]
    status: Option<ManagedStatus>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ManagedStatus {
    #[prost(message, optional, tag = "1")]
    not_after: Option<Time>,
    #[prost(message, optional, tag = "2")]
    renewal_time: Option<Time>,
}

impl ManagedCertificate {
    /// What it says of its end; `None` where it was not issued yet.
    pub(in super::super) fn seen(self) -> Option<SeenCertificate> {
        let (meta, status) = (self.metadata?, self.status?);
        Some(SeenCertificate {
            place: CertificatePlace::CertManager(Namespace::new(&meta.namespace).ok()?, Foreign::new(&meta.name)),
            ends: status.not_after?.timestamp()?,
            x509: None,
            renews_at: status.renewal_time.and_then(|time| time.timestamp()),
            distrusted: None,
        })
    }
}
