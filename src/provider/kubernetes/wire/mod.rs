//! The objects of the Kubernetes API as they travel, in protobuf or in JSON, with only the fields that are needed.
//!
//! One struct per kind derives both `prost::Message` and `Deserialize`. The field numbers are those of the public
//! `generated.proto` files of `k8s.io/api` and `k8s.io/apimachinery`; a field that is left out here is skipped on the
//! wire. Only what the two encodings write differently (times, quantities, numbers that may be texts, managed fields)
//! has a `Deserialize` of its own. `TryFrom` into the types of [`crate::model`] is the only way out.

mod budget;
mod kured;
mod meta;
mod misfit;
mod node;
mod pod;
mod scalar;
mod status;
mod storage;
mod trust;

pub(super) use budget::PodDisruptionBudget;
pub(super) use meta::{ListMeta, Named, TypeMeta};
pub(super) use misfit::Misfit;
pub(super) use node::Node;
pub(super) use pod::{Interner, Pod};
pub(super) use scalar::Time;
pub(super) use status::Status;
pub(super) use storage::{CertificateSigningRequest, SERVING_SIGNER, VolumeAttachment};
pub(super) use trust::{ApiService, CustomResourceDefinition, ManagedCertificate, NamedBundle, WebhookConfiguration};

#[cfg(test)]
mod tests;
