//! What all objects have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::misfit::Misfit;
use super::scalar::Time;
use crate::model::{ANNOTATION_KURED_LOCK, DaemonSet, Foreign, Labels, Namespace, Owner, Uid};

/// `metav1.TypeMeta`, as the envelope of a protobuf answer has it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(in super::super) struct TypeMeta {
    #[prost(string, tag = "1")]
    pub(in super::super) api_version: String,
    #[prost(string, tag = "2")]
    pub(in super::super) kind: String,
}

/// `metav1.ListMeta`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in super::super) struct ListMeta {
    #[prost(string, tag = "2")]
    pub(in super::super) resource_version: String,
    /// Where the next page begins; empty on the last.
    #[prost(string, tag = "3")]
    pub(in super::super) r#continue: String,
}

/// `metav1.ObjectMeta` without `managedFields`, which make up a third of a pod.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in super::super) struct Meta {
    #[prost(string, tag = "1")]
    pub(in super::super) name: String,
    #[prost(string, tag = "3")]
    pub(in super::super) namespace: String,
    #[prost(string, tag = "5")]
    pub(in super::super) uid: String,
    #[prost(int64, tag = "7")]
    pub(super) generation: i64,
    #[prost(message, optional, tag = "8")]
    pub(super) creation_timestamp: Option<Time>,
    #[prost(message, optional, tag = "9")]
    pub(super) deletion_timestamp: Option<Time>,
    #[prost(btree_map = "string, string", tag = "11")]
    pub(super) labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    pub(super) annotations: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "13")]
    pub(super) owner_references: Vec<OwnerReference>,
    #[prost(string, repeated, tag = "14")]
    pub(super) finalizers: Vec<String>,
}

impl Meta {
    /// The labels, for objects of which there are few.
    pub(super) fn shared_labels(&self) -> Arc<Labels> {
        Arc::new(share(&self.labels))
    }

    /// The owner reference with `controller: true`.
    pub(super) fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

pub(super) fn share(labels: &BTreeMap<String, String>) -> Labels {
    labels.iter().map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str()))).collect()
}

/// `metav1.OwnerReference`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in super::super) struct OwnerReference {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "3")]
    pub(super) name: String,
    #[prost(string, tag = "4")]
    pub(super) uid: String,
    #[prost(string, tag = "5")]
    pub(super) api_version: String,
    #[prost(bool, tag = "6")]
    pub(super) controller: bool,
}

impl TryFrom<&OwnerReference> for Owner {
    type Error = Misfit;

    fn try_from(owner: &OwnerReference) -> Result<Self, Misfit> {
        Ok(Self {
            api_version: owner.api_version.as_str().into(),
            kind: owner.kind.as_str().into(),
            name: owner.name.as_str().into(),
            uid: Uid::new(&owner.uid)?,
        })
    }
}

/// `metav1.Condition` and its cousins, as far as type, status, reason and message go. The numbers are those of
/// `metav1.Condition`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in super::super) struct Condition {
    #[prost(string, tag = "1")]
    pub(super) r#type: String,
    #[prost(string, tag = "2")]
    pub(super) status: String,
    #[prost(string, tag = "5")]
    pub(super) reason: String,
    #[prost(string, tag = "6")]
    pub(super) message: String,
}

/// Any object of which only the metadata count: a DaemonSet, a Namespace.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
pub(in super::super) struct Named {
    #[prost(message, optional, tag = "1")]
    pub(in super::super) metadata: Option<Meta>,
}

impl TryFrom<Named> for DaemonSet {
    type Error = Misfit;

    fn try_from(object: Named) -> Result<Self, Misfit> {
        let meta = object.metadata.ok_or(Misfit::Missing("metadata"))?;
        Ok(Self {
            namespace: Namespace::new(&meta.namespace)?,
            name: Foreign::new(&meta.name),
            uid: Uid::new(&meta.uid)?,
            kured_locks: super::kured::locks(meta.annotations.get(ANNOTATION_KURED_LOCK).map(String::as_str)),
        })
    }
}

impl TryFrom<Named> for Uid {
    type Error = Misfit;

    fn try_from(object: Named) -> Result<Self, Misfit> {
        Ok(Self::new(object.metadata.ok_or(Misfit::Missing("metadata"))?.uid)?)
    }
}
