//! The config file as it is written: one struct per table, one type per kind of value.
//!
//! From these types the JSON Schema is made, so their doc comments are what an editor shows, and every default that
//! the file has is written here, once. Every field is an `Option`, because a file is read on after its first problem:
//! the walker takes out what does not fit the schema and fills in the defaults, and validation skips what is missing.

use std::collections::BTreeMap;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// The largest number of nodes that may be given. Kubernetes itself ends at 5,000; far more is a slip of the hand.
pub(super) const NODES_MAX: u32 = 100_000;

/// The most clusters, and the most tables of each other kind, that a file may have. Every table holds its clusters, so
/// that without a bound a small file could ask for a great deal of memory.
const CLUSTERS_MAX: usize = 1_000;
const TABLES_MAX: usize = 200;

/// A value with its place in the file.
///
/// A place (`toml::Spanned`) that is also a schema: the schema of what is inside.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        let span = spanned.span();
        Ok(Self { value: spanned.into_inner(), span })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl<T: PartialOrd> PartialOrd for At<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl<T: Ord> Ord for At<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.value.cmp(&other.value)
    }
}

/// Named tables: `[reboot.linux]`, `[reboot.windows]`.
pub(super) type Tables<T> = BTreeMap<At<String>, At<T>>;

/// A length of time: one or more whole numbers, each with its unit, `d` (24 hours), `h`, `m` or `s`, the larger unit first: "90s", "15m", "1h30m", "30d".
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(
    rename = "Duration",
    title = "duration",
    extend("pattern" = "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$", "minLength" = 2, "examples" = ["15m", "90s", "30d"])
)]
pub(super) struct RawDuration(pub(super) String);

/// How long a pod has to end after its eviction: "pod" for what the pod itself asks for, or a duration such as "30s" for every pod.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(
    rename = "GracePeriod",
    title = "grace period",
    extend("pattern" = "^(pod|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?)$", "minLength" = 2, "examples" = ["pod", "30s"])
)]
pub(super) struct RawGrace(pub(super) String);

/// A number of nodes: an integer from 1, or a percentage such as "10%", rounded down but at least 1.
#[derive(Debug, Clone)]
pub(super) enum RawLimit {
    Count(u32),
    Share(String),
}

impl<'de> Deserialize<'de> for RawLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = RawLimit;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of nodes")
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<RawLimit, E> {
                u32::try_from(value).map(RawLimit::Count).map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<RawLimit, E> {
                Ok(RawLimit::Share(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for RawLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NodeCount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "title": "number of nodes",
            "description": "A number of nodes: an integer from 1, or a percentage such as \"10%\", rounded down but at least 1.",
            "type": ["integer", "string"],
            "minimum": 1,
            "maximum": NODES_MAX,
            "pattern": "^(100|[1-9][0-9]?)%$",
            "examples": [1, "10%"],
        })
    }
}

/// A moment: a TOML date and time with its offset from UTC, without quotes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(
    rename = "Moment",
    title = "date with an offset",
    extend("format" = "date-time", "examples" = ["2026-11-20T00:00:00Z"])
)]
pub(super) struct RawMoment(#[schemars(with = "String")] pub(super) toml::value::Datetime);

/// A Kubernetes label selector, as `kubectl --selector` takes it: "a=b,c!=d,e in (x,y),!f,g".
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(
    rename = "LabelSelector",
    title = "label selector",
    extend("minLength" = 1, "examples" = ["kubernetes.io/os=linux", "pool in (a,b),!gpu"])
)]
pub(super) struct RawSelector(pub(super) String);

/// A label selector, or "*" for the nodes that no other entry selects.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(
    rename = "OrderEntry",
    title = "label selector",
    extend("minLength" = 1, "examples" = ["kubernetes.azure.com/mode=system", "*"])
)]
pub(super) struct RawOrderEntry(pub(super) String);

/// The name of a node.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(
    rename = "NodeName",
    title = "node name",
    extend(
        "pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "minLength" = 1, "maxLength" = 253, "examples" = ["aks-np1-000003"]
    )
)]
pub(super) struct RawNodeName(pub(super) String);

/// The name of a cluster of this file, or a tag "key=value" that selects every cluster that carries it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(
    rename = "ClusterOrTag",
    title = "cluster name",
    extend("minLength" = 1, "examples" = ["prod-weu", "stage=prod"])
)]
pub(super) struct RawClusterOrTag(pub(super) String);

/// Makes the newtypes over text readable as text.
macro_rules! text {
    ($($type:ident)*) => {$(
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    )*};
}

text!(RawDuration RawGrace RawSelector RawOrderEntry RawNodeName RawClusterOrTag);

/// The desired maintenance state of one or more Kubernetes clusters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Config", title = "haulout config")]
pub(super) struct RawConfig {
    /// The version of this format.
    #[schemars(required, extend("const" = 1))]
    #[expect(dead_code, reason = "it is checked before anything else is read")]
    pub(super) version: Option<At<u32>>,

    /// Who this is: written on every cordon that this config makes, so that it finds its own again. At most 63 lower-case letters, digits and "-".
    #[schemars(required, extend("pattern" = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "minLength" = 1, "maxLength" = 63, "examples" = ["platform-prod"]))]
    pub(super) name: Option<At<String>>,

    /// The clusters, by a name of your choice.
    #[schemars(required, extend("minProperties" = 1, "maxProperties" = CLUSTERS_MAX))]
    pub(super) cluster: Option<At<Tables<RawCluster>>>,

    /// Which nodes are to be rebooted, and when. A node may be selected by one of these tables only.
    #[schemars(extend("default" = {}, "maxProperties" = TABLES_MAX))]
    pub(super) reboot: Option<At<Tables<RawReboot>>>,

    /// Nodes that are kept cordoned and drained for as long as their table is here; only removing it uncordons them.
    #[schemars(extend("default" = {}, "maxProperties" = TABLES_MAX))]
    pub(super) out_of_service: Option<At<Tables<RawOutOfService>>>,

    /// Nodes that are never touched, whatever else selects them.
    #[schemars(extend("default" = {}, "maxProperties" = TABLES_MAX))]
    pub(super) protect: Option<At<Tables<RawProtect>>>,
}

/// A cluster: how it is reached and what holds for all of its nodes. Exactly one of `context` and `sandbox` says where it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Cluster", extend("oneOf" = [{ "required": ["context"] }, { "required": ["sandbox"] }]))]
pub(super) struct RawCluster {
    /// The context of the kubeconfig that kubectl would use.
    #[schemars(extend("minLength" = 1, "examples" = ["aksdemomax"]))]
    pub(super) context: Option<At<String>>,

    /// The file of a simulated cluster, below the folder of this config.
    #[schemars(extend("minLength" = 1, "examples" = ["cluster.toml"]))]
    pub(super) sandbox: Option<At<String>>,

    /// Words to select several clusters by: `clusters = ["stage=prod"]`.
    #[schemars(extend("default" = {}, "examples" = [{ "stage": "prod" }]))]
    pub(super) tags: Option<At<BTreeMap<At<String>, At<String>>>>,

    /// The clusters whose changes come first, by name.
    #[schemars(extend("default" = [], "uniqueItems" = true, "examples" = [["staging-weu"]]))]
    pub(super) after: Option<At<Vec<At<String>>>>,

    /// How many nodes of the whole cluster may be out at the same time, for any reason.
    #[schemars(extend("default" = 1))]
    pub(super) max_unavailable: Option<At<RawLimit>>,

    /// The label whose value is the name of a node's pool. Without it, the well-known pool labels of the providers; a node without any is in one pool with its like.
    #[schemars(extend("minLength" = 1, "examples" = ["pool"]))]
    pub(super) pool_label: Option<At<String>>,

    /// The pod that runs on a node to reboot it. Required where something must run on a node; a sandbox needs none.
    pub(super) node_pod: Option<At<RawNodePod>>,
}

/// The pod that runs on a node to reboot it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NodePod")]
pub(super) struct RawNodePod {
    /// Its image, best pinned by its digest.
    #[schemars(required, extend("minLength" = 1, "examples" = ["registry.example.com/haulout@sha256:0123…"]))]
    pub(super) image: Option<At<String>>,

    /// The names of the secrets, in the namespace haulout-system, to pull the image with.
    #[schemars(extend("default" = [], "uniqueItems" = true))]
    pub(super) pull_secrets: Option<At<Vec<At<String>>>>,
}

/// Nodes that are to be rebooted when one of the triggers `when_required`, `max_uptime` and `booted_after` says so. At least one trigger is needed.
///
/// Without `selector` and `nodes`: every Linux node that is not control plane.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    rename = "Reboot",
    extend("anyOf" = [{ "required": ["when_required"] }, { "required": ["max_uptime"] }, { "required": ["booted_after"] }])
)]
pub(super) struct RawReboot {
    /// The clusters that this table is about, by name or by tag. Without it: every cluster of the file.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true))]
    pub(super) clusters: Option<At<Vec<At<RawClusterOrTag>>>>,

    /// Selects nodes by their labels. With `nodes` too, a node is selected by either.
    pub(super) selector: Option<At<RawSelector>>,

    /// Selects nodes by their names. With `selector` too, a node is selected by either.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true))]
    pub(super) nodes: Option<At<Vec<At<RawNodeName>>>>,

    /// Trigger: the node itself reports that it waits for a reboot.
    #[schemars(extend("default" = false))]
    pub(super) when_required: Option<At<bool>>,

    /// Trigger: the node is up for longer than this.
    #[schemars(extend("examples" = ["30d"]))]
    pub(super) max_uptime: Option<At<RawDuration>>,

    /// Trigger: the node booted before this moment.
    pub(super) booted_after: Option<At<RawMoment>>,

    /// Label selectors: each entry finishes before the next starts. "*" stands for the nodes that no other entry selects, and for the end where it is not written.
    #[schemars(extend("default" = ["*"], "minItems" = 1, "uniqueItems" = true, "examples" = [["kubernetes.azure.com/mode=system", "*"]]))]
    pub(super) order: Option<At<Vec<At<RawOrderEntry>>>>,

    /// How many nodes of one pool may be out at the same time, for any reason.
    #[schemars(extend("default" = 1))]
    pub(super) max_unavailable: Option<At<RawLimit>>,

    /// How many nodes of one zone may be out at the same time, for any reason. Without it: no limit.
    pub(super) max_unavailable_per_zone: Option<At<RawLimit>>,

    /// What a failure on one node does to the others.
    #[schemars(extend("default" = "halt"))]
    pub(super) on_failure: Option<At<RawOnFailure>>,

    /// How a node is told to reboot.
    #[schemars(extend("default" = "signal"))]
    pub(super) method: Option<At<RawMethod>>,

    /// How long a node may take from the reboot until it is ready again; also how long a step waits for a place that other nodes hold.
    #[schemars(extend("default" = "10m"))]
    pub(super) ready_timeout: Option<At<RawDuration>>,

    /// How the node is drained before it is rebooted.
    #[schemars(extend("default" = {}))]
    pub(super) drain: Option<At<RawDrain>>,

    /// Whether control-plane nodes may be rebooted where this interrupts the API.
    #[schemars(extend("default" = false))]
    pub(super) accept_api_outage: Option<At<bool>>,

    /// How long a node must stay ready before it counts as back.
    #[schemars(extend("default" = "10s"))]
    pub(super) settle: Option<At<RawDuration>>,
}

/// Nodes that are kept cordoned and drained for as long as this table is here. At least one of `nodes` and `selector` is needed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OutOfService", extend("anyOf" = [{ "required": ["nodes"] }, { "required": ["selector"] }]))]
pub(super) struct RawOutOfService {
    /// The clusters that this table is about, by name or by tag. Without it: every cluster of the file.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true))]
    pub(super) clusters: Option<At<Vec<At<RawClusterOrTag>>>>,

    /// Selects nodes by their labels. With `nodes` too, a node is selected by either.
    pub(super) selector: Option<At<RawSelector>>,

    /// Selects nodes by their names. With `selector` too, a node is selected by either.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true))]
    pub(super) nodes: Option<At<Vec<At<RawNodeName>>>>,

    /// Why, for whoever finds the node cordoned. One line of at most 200 characters.
    #[schemars(required, extend("minLength" = 1, "maxLength" = 200, "examples" = ["disk replacement CHG0042"]))]
    pub(super) reason: Option<At<String>>,

    /// Until when this is expected to last. After it the plan warns; only removing the table uncordons.
    pub(super) until: Option<At<RawMoment>>,

    /// How the nodes are drained.
    #[schemars(extend("default" = {}))]
    pub(super) drain: Option<At<RawDrain>>,
}

/// Nodes that are never touched. At least one of `clusters`, `nodes` and `selector` is needed; `clusters` alone protects every node of these clusters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Protect", extend("minProperties" = 1))]
pub(super) struct RawProtect {
    /// The clusters that this table is about, by name or by tag. Without it: every cluster of the file.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true))]
    pub(super) clusters: Option<At<Vec<At<RawClusterOrTag>>>>,

    /// Selects nodes by their labels. With `nodes` too, a node is selected by either.
    pub(super) selector: Option<At<RawSelector>>,

    /// Selects nodes by their names. With `selector` too, a node is selected by either.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true))]
    pub(super) nodes: Option<At<Vec<At<RawNodeName>>>>,
}

/// How a node is drained. Pods are evicted, never deleted, and disruption budgets are always kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Drain")]
pub(super) struct RawDrain {
    /// How long the drain of one node may take, waits for disruption budgets included.
    #[schemars(extend("default" = "15m"))]
    pub(super) timeout: Option<At<RawDuration>>,

    /// How long pods have to end.
    #[schemars(extend("default" = "pod"))]
    pub(super) grace_period: Option<At<RawGrace>>,

    /// What happens when the node is not drained within `timeout`.
    #[schemars(extend("default" = "skip"))]
    pub(super) on_timeout: Option<At<RawOnTimeout>>,

    /// Whether pods may be evicted although the data in their emptyDir volumes is lost with them.
    #[schemars(extend("default" = false))]
    pub(super) delete_emptydir_data: Option<At<bool>>,

    /// What happens to pods that no controller would make again.
    #[schemars(extend("default" = "block"))]
    pub(super) unmanaged_pods: Option<At<RawUnmanagedPods>>,
}

/// What a failure on one node does to the others.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "OnFailure")]
pub(super) enum RawOnFailure {
    /// Nothing new is started.
    Halt,
    /// The other nodes go on.
    Continue,
}

/// How a node is told to reboot.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "RebootMethod")]
pub(super) enum RawMethod {
    /// By the signal that asks systemd to reboot. Needs no privileged container.
    Signal,
    /// By the reboot command of the node.
    Command,
}

/// What happens when a node is not drained within its time.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "OnTimeout")]
pub(super) enum RawOnTimeout {
    /// The node is left as it was found, and the others go on.
    Skip,
    /// Nothing new is started.
    Halt,
}

/// What happens to pods that no controller would make again.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "UnmanagedPods")]
pub(super) enum RawUnmanagedPods {
    /// They make their node blocked.
    Block,
    /// They are evicted, and are gone afterwards.
    Evict,
}
