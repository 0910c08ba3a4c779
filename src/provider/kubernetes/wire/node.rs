//! `v1.Node`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::meta::share;
use super::misfit::Misfit;
use super::scalar::{FieldsV1, Quantity, Time};
use crate::model::{
    ANNOTATION_BOOT_ID, ANNOTATION_BOOTED_AT, ANNOTATION_CORDON, ANNOTATION_LAST_REBOOT, ANNOTATION_PHASE,
    ANNOTATION_REBOOT_REASON, ANNOTATION_REBOOT_REQUIRED, ANNOTATION_REPORTED_AT, ANNOTATION_SCALE_DOWN_BEFORE,
    ANNOTATION_SCALE_DOWN_DISABLED, AddressKind, BootId, Cordon, FIELD_MANAGER, Foreign, LabelKey, Mark,
    Node as ModelNode, NodeAddress as ModelAddress, NodeName, Phase, PoolName, Readiness, Report, ReportedReboot,
    Taint as ModelTaint, TaintEffect, Uid, ZoneName,
};
use crate::provider::kubernetes::annotation;

/// Labels by which providers name the pool of a node, the more specific first. The first one present counts.
const POOL_LABELS: [&str; 11] = [
    "kubernetes.azure.com/agentpool",
    "agentpool",
    "eks.amazonaws.com/nodegroup",
    "alpha.eksctl.io/nodegroup-name",
    "cloud.google.com/gke-nodepool",
    "karpenter.sh/nodepool",
    "doks.digitalocean.com/node-pool",
    "k8s.scaleway.com/pool-name",
    "oke.oraclecloud.com/pool.name",
    "kops.k8s.io/instancegroup",
    "node.kubernetes.io/pool",
];
/// Labels by which the zone is named, the current one first.
const ZONE_LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];
/// Labels and taints of nodes that run the control plane.
const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// kured writes here since when it has wanted to reboot a node.
const KURED: &str = "weave.works/kured-reboot-in-progress";

/// `v1.Node`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
pub(in super::super) struct Node {
    #[prost(message, optional, tag = "1")]
    metadata: Option<NodeMeta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<NodeSpec>,
    #[prost(message, optional, tag = "3")]
    status: Option<NodeStatus>,
}

/// `metav1.ObjectMeta` with what only nodes are asked for.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(message, optional, tag = "8")]
    creation_timestamp: Option<Time>,
    #[prost(message, optional, tag = "9")]
    deletion_timestamp: Option<Time>,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "12")]
    annotations: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "17")]
    managed_fields: Vec<ManagedFieldsEntry>,
}

/// `metav1.ManagedFieldsEntry`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct ManagedFieldsEntry {
    #[prost(string, tag = "1")]
    manager: String,
    #[prost(message, optional, tag = "4")]
    time: Option<Time>,
    #[prost(message, optional, tag = "7")]
    #[serde(rename = "fieldsV1")]
    fields: Option<FieldsV1>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct NodeSpec {
    #[prost(bool, tag = "4")]
    unschedulable: bool,
    #[prost(message, repeated, tag = "5")]
    taints: Vec<Taint>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct Taint {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
    #[prost(string, tag = "3")]
    effect: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeStatus {
    #[prost(btree_map = "string, message", tag = "2")]
    allocatable: BTreeMap<String, Quantity>,
    #[prost(message, repeated, tag = "4")]
    conditions: Vec<NodeCondition>,
    #[prost(message, repeated, tag = "5")]
    addresses: Vec<NodeAddress>,
    #[prost(message, optional, tag = "6")]
    daemon_endpoints: Option<NodeDaemonEndpoints>,
    #[prost(message, optional, tag = "7")]
    node_info: Option<NodeSystemInfo>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct NodeCondition {
    #[prost(string, tag = "1")]
    r#type: String,
    #[prost(string, tag = "2")]
    status: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct NodeAddress {
    #[prost(string, tag = "1")]
    r#type: String,
    #[prost(string, tag = "2")]
    address: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeDaemonEndpoints {
    #[prost(message, optional, tag = "1")]
    kubelet_endpoint: Option<DaemonEndpoint>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct DaemonEndpoint {
    #[prost(int32, tag = "1")]
    #[serde(rename = "Port")]
    port: i32,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NodeSystemInfo {
    #[prost(string, tag = "3")]
    #[serde(rename = "bootID")]
    boot_id: String,
    #[prost(string, tag = "4")]
    kernel_version: String,
    #[prost(string, tag = "9")]
    operating_system: String,
}

impl ManagedFieldsEntry {
    /// Whether this manager owns `spec.unschedulable`.
    fn owns_unschedulable(&self) -> bool {
        #[derive(Deserialize)]
        struct Fields {
            #[serde(rename = "f:spec")]
            spec: Option<Spec>,
        }
        #[derive(Deserialize)]
        struct Spec {
            #[serde(rename = "f:unschedulable")]
            unschedulable: Option<serde::de::IgnoredAny>,
        }
        self.fields
            .as_ref()
            .and_then(|fields| serde_json::from_slice::<Fields>(&fields.raw).ok())
            .and_then(|fields| fields.spec)
            .is_some_and(|spec| spec.unschedulable.is_some())
    }
}

impl NodeMeta {
    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    fn foreign(&self, key: &str) -> Option<Foreign> {
        self.annotation(key).map(Foreign::new)
    }

    fn mark(&self) -> Option<Mark> {
        let mark = annotation::decode_cordon(self.annotation(ANNOTATION_CORDON)?)?;
        Some(Mark { phase: self.annotation(ANNOTATION_PHASE).and_then(Phase::parse), ..mark })
    }

    /// Whose cordon it is. Several managers may own the field with the same value; ours among them makes it ours.
    fn cordon(&self) -> Cordon {
        let mut owners = self.managed_fields.iter().filter(|entry| entry.owns_unschedulable());
        let first = owners.next();
        let ours = first.into_iter().chain(owners).any(|entry| entry.manager == FIELD_MANAGER);
        match self.mark() {
            Some(mark) if ours => Cordon::Marked(mark),
            mark => Cordon::Foreign {
                manager: first.map(|entry| Foreign::new(&entry.manager)),
                since: first.and_then(|entry| entry.time.as_ref()).and_then(Time::timestamp),
                mark,
            },
        }
    }

    fn report(&self) -> Report {
        let reason = || self.foreign(ANNOTATION_REBOOT_REASON).unwrap_or_default();
        let moment = |key| self.annotation(key).and_then(|text| text.trim().parse().ok());
        Report {
            reboot: match self.annotation(ANNOTATION_REBOOT_REQUIRED) {
                Some("true") => Some(ReportedReboot::Required(reason())),
                Some("false") => Some(ReportedReboot::NotRequired),
                Some(_) | None => None,
            },
            boot_id: self.annotation(ANNOTATION_BOOT_ID).and_then(|text| BootId::new(text).ok()),
            booted_at: moment(ANNOTATION_BOOTED_AT),
            reported_at: moment(ANNOTATION_REPORTED_AT),
        }
    }

    fn pool(&self, label: Option<&LabelKey>) -> Result<PoolName, Misfit> {
        let value = match label {
            Some(key) => self.labels.get(key.as_str()),
            None => POOL_LABELS.iter().find_map(|key| self.labels.get(*key)),
        };
        Ok(PoolName::new(value.map_or("", String::as_str))?)
    }
}

impl TryFrom<Taint> for ModelTaint {
    type Error = Misfit;

    fn try_from(taint: Taint) -> Result<Self, Misfit> {
        Ok(Self {
            key: taint.key.into(),
            value: taint.value.into(),
            effect: match taint.effect.as_str() {
                "NoSchedule" => TaintEffect::NoSchedule,
                "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
                "NoExecute" => TaintEffect::NoExecute,
                _ => return Err(Misfit::Value { field: "spec.taints.effect" }),
            },
        })
    }
}

impl NodeAddress {
    /// The address, where its type is one that the API defines.
    fn known(&self) -> Option<ModelAddress> {
        let kind = match self.r#type.as_str() {
            "InternalIP" => AddressKind::InternalIp,
            "ExternalIP" => AddressKind::ExternalIp,
            "Hostname" | "InternalDNS" | "ExternalDNS" => AddressKind::Name,
            _ => return None,
        };
        Some(ModelAddress { kind, address: Foreign::new(&self.address) })
    }
}

/// A node is understood together with the label that names its pool, where the config gives one.
impl TryFrom<(Node, Option<&LabelKey>)> for ModelNode {
    type Error = Misfit;

    fn try_from((node, pool_label): (Node, Option<&LabelKey>)) -> Result<Self, Misfit> {
        let meta = node.metadata.ok_or(Misfit::Missing("metadata"))?;
        let spec = node.spec.unwrap_or_default();
        let status = node.status.unwrap_or_default();
        let info = status.node_info.unwrap_or_default();
        let ready = status.conditions.iter().find(|condition| condition.r#type == "Ready");
        let zone = ZONE_LABELS.iter().find_map(|key| meta.labels.get(*key)).map_or("", String::as_str);
        let system = meta.labels.get("kubernetes.io/os").unwrap_or(&info.operating_system);
        Ok(Self {
            name: NodeName::new(&meta.name)?,
            uid: Uid::new(&meta.uid)?,
            resource_version: meta.resource_version.as_str().into(),
            labels: Arc::new(share(&meta.labels)),
            pool: meta.pool(pool_label)?,
            zone: ZoneName::new(zone)?,
            control_plane: CONTROL_PLANE
                .iter()
                .any(|key| meta.labels.contains_key(*key) || spec.taints.iter().any(|taint| taint.key == *key)),
            linux: system == "linux",
            readiness: match ready.map(|condition| condition.status.as_str()) {
                Some("True") => Readiness::Ready,
                Some("False") => Readiness::NotReady,
                Some(_) | None => Readiness::Unknown,
            },
            cordon: spec.unschedulable.then(|| meta.cordon()),
            boot_id: BootId::new(&info.boot_id).ok(),
            kernel: Foreign::new(&info.kernel_version),
            mark: meta.mark(),
            report: meta.report(),
            kured_wants_since: meta.annotation(KURED).and_then(|text| text.trim().parse().ok()),
            last_reboot: meta.annotation(ANNOTATION_LAST_REBOOT).and_then(annotation::decode_last_reboot),
            scale_down_before: meta.foreign(ANNOTATION_SCALE_DOWN_BEFORE),
            scale_down_disabled: meta.foreign(ANNOTATION_SCALE_DOWN_DISABLED),
            taints: spec.taints.into_iter().map(ModelTaint::try_from).collect::<Result<_, _>>()?,
            allocatable: Arc::new(
                status
                    .allocatable
                    .into_iter()
                    .map(|(resource, quantity)| (resource.into(), quantity.text.into()))
                    .collect(),
            ),
            addresses: status.addresses.iter().filter_map(NodeAddress::known).collect(),
            kubelet_port: status
                .daemon_endpoints
                .and_then(|endpoints| endpoints.kubelet_endpoint)
                .and_then(|endpoint| u16::try_from(endpoint.port).ok())
                .unwrap_or(0),
            created_at: meta.creation_timestamp.as_ref().and_then(Time::timestamp),
            terminating: meta.deletion_timestamp.is_some(),
        })
    }
}
