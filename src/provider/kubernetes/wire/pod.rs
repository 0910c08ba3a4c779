//! `v1.Pod`, of which there are a hundred thousand: decoded without its containers, and interned.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;

use super::meta::{Meta, OwnerReference};
use super::misfit::Misfit;
use super::scalar::Present;
use crate::model::{
    LABEL_COMPONENT, MANAGED_NAMESPACE, Namespace, NodeName, Owner, Pod as ModelPod, PodKey, PodName, PodPhase,
    PodShape, PodStatus as ModelPodStatus, Shapes, Uid,
};

/// The kubelet marks the API's image of a static pod with this annotation.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The taint that a cordon brings.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// What the API server writes where a pod names no grace.
const DEFAULT_GRACE: u32 = 30;

/// `v1.Pod`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
pub(in super::super) struct Pod {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Meta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<PodSpec>,
    #[prost(message, optional, tag = "3")]
    status: Option<PodStatus>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    #[prost(message, repeated, tag = "1")]
    volumes: Vec<Volume>,
    #[prost(int64, optional, tag = "4")]
    termination_grace_period_seconds: Option<i64>,
    #[prost(string, tag = "10")]
    node_name: String,
    #[prost(message, repeated, tag = "22")]
    tolerations: Vec<Toleration>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct PodStatus {
    #[prost(string, tag = "1")]
    phase: String,
    #[prost(message, repeated, tag = "2")]
    conditions: Vec<PodCondition>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct PodCondition {
    #[prost(string, tag = "1")]
    r#type: String,
    #[prost(string, tag = "2")]
    status: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct Volume {
    /// A message of its own in protobuf; its fields stand in the volume itself in JSON.
    #[prost(message, optional, tag = "2")]
    #[serde(flatten)]
    source: Option<VolumeSource>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeSource {
    #[prost(message, optional, tag = "2")]
    empty_dir: Option<Present>,
    #[prost(message, optional, tag = "10")]
    persistent_volume_claim: Option<Present>,
    #[prost(message, optional, tag = "29")]
    ephemeral: Option<Present>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct Toleration {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    operator: String,
    #[prost(string, tag = "3")]
    value: String,
    #[prost(string, tag = "4")]
    effect: String,
}

impl Toleration {
    /// Whether it tolerates the taint that a cordon brings.
    fn tolerates_cordon(&self) -> bool {
        let exists = self.operator == "Exists";
        let key = self.key == UNSCHEDULABLE || (self.key.is_empty() && exists);
        let value = exists || self.value.is_empty();
        key && value && (self.effect.is_empty() || self.effect == "NoSchedule")
    }
}

impl Pod {
    /// What of it changes while it lives.
    pub(in super::super) fn status(&self) -> ModelPodStatus {
        let status = self.status.as_ref();
        let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
        ModelPodStatus {
            phase: match status.map_or("", |status| status.phase.as_str()) {
                // A pod that nobody has looked at yet has no phase, and is as good as Pending.
                "Pending" | "" => PodPhase::Pending,
                "Running" => PodPhase::Running,
                "Succeeded" => PodPhase::Succeeded,
                "Failed" => PodPhase::Failed,
                _ => PodPhase::Unknown,
            },
            ready: conditions.any(|condition| condition.r#type == "Ready" && condition.status == "True"),
            terminating: self.metadata.as_ref().is_some_and(|meta| meta.deletion_timestamp.is_some()),
        }
    }
}

/// Makes pods of one stream share what they have in common: shapes, namespaces, node names and label texts.
#[derive(Debug, Default)]
pub(in super::super) struct Interner {
    shapes: Shapes,
    texts: HashSet<Arc<str>>,
    namespaces: HashMap<String, Namespace>,
    nodes: HashMap<String, NodeName>,
}

impl Interner {
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&text));
        text
    }

    fn owner(&mut self, owner: &OwnerReference) -> Result<Owner, Misfit> {
        Ok(Owner {
            api_version: self.text(&owner.api_version),
            kind: self.text(&owner.kind),
            name: self.text(&owner.name),
            uid: Uid::new(&owner.uid)?,
        })
    }

    fn namespace(&mut self, name: &str) -> Result<Namespace, Misfit> {
        if let Some(known) = self.namespaces.get(name) {
            return Ok(known.clone());
        }
        let namespace = Namespace::new(name)?;
        self.namespaces.insert(name.to_owned(), namespace.clone());
        Ok(namespace)
    }

    fn node(&mut self, name: &str) -> Result<Option<NodeName>, Misfit> {
        if name.is_empty() {
            return Ok(None);
        }
        if let Some(known) = self.nodes.get(name) {
            return Ok(Some(known.clone()));
        }
        let node = NodeName::new(name)?;
        self.nodes.insert(name.to_owned(), node.clone());
        Ok(Some(node))
    }

    /// Makes a pod of the model of one from the wire.
    pub(in super::super) fn pod(&mut self, pod: &Pod) -> Result<ModelPod, Misfit> {
        let meta = pod.metadata.as_ref().ok_or(Misfit::Missing("metadata"))?;
        let nothing = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&nothing);
        let has = |what: fn(&VolumeSource) -> bool| {
            spec.volumes.iter().any(|volume| volume.source.as_ref().is_some_and(what))
        };
        let shape = PodShape {
            labels: meta.labels.iter().map(|(key, value)| (self.text(key), self.text(value))).collect(),
            owner: meta.controller().map(|owner| self.owner(owner)).transpose()?,
            mirror: meta.annotations.contains_key(MIRROR),
            empty_dir: has(|source| source.empty_dir.is_some()),
            grace_seconds: spec
                .termination_grace_period_seconds
                .map_or(DEFAULT_GRACE, |seconds| u32::try_from(seconds).unwrap_or(0)),
            tolerates_cordon: spec.tolerations.iter().any(Toleration::tolerates_cordon),
            volumes: has(|source| source.persistent_volume_claim.is_some() || source.ephemeral.is_some()),
            finalizers: meta.finalizers.iter().map(|finalizer| self.text(finalizer)).collect(),
            ours: meta.namespace == MANAGED_NAMESPACE && meta.labels.contains_key(LABEL_COMPONENT),
        };
        Ok(ModelPod {
            key: PodKey { namespace: self.namespace(&meta.namespace)?, name: PodName::new(&meta.name)? },
            uid: Uid::new(&meta.uid)?,
            node: self.node(&spec.node_name)?,
            status: pod.status(),
            shape: self.shapes.intern(shape),
        })
    }
}

impl TryFrom<Pod> for ModelPod {
    type Error = Misfit;

    fn try_from(pod: Pod) -> Result<Self, Misfit> {
        Interner::default().pod(&pod)
    }
}
