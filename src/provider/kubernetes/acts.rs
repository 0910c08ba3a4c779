//! What is changed on a cluster: each change is one request, guarded, and its answer is read with care.

use std::collections::BTreeMap;

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};

use super::annotation::{encode_cordon, encode_last_reboot};
use super::cluster::KubernetesCluster;
use super::failure::{Failure, genuine, lost_act, malformed};
use super::manifest;
use super::transport::{Answer, JSON, Target, WRITE_DEADLINE};
use super::wire;
use crate::model::{
    ANNOTATION_BOOT_ID, ANNOTATION_BOOTED_AT, ANNOTATION_CORDON, ANNOTATION_LAST_REBOOT, ANNOTATION_PHASE,
    ANNOTATION_REBOOT_REASON, ANNOTATION_REBOOT_REQUIRED, ANNOTATION_REPORTED_AT, ANNOTATION_RUN,
    ANNOTATION_SCALE_DOWN_BEFORE, ANNOTATION_SCALE_DOWN_DISABLED, FIELD_MANAGER, Foreign, Grace, MANAGED_NAMESPACE,
    Namespace, Node, NodeName, Phase, Pod, ReportedReboot, RunId, Uid, reboot_pod_name,
};
use crate::provider::{
    ActError, ClusterActs, CordonWrite, Eviction, NodeReports, Permit, ReadError, ReadErrorKind, RebootPod, Refusal,
    ReportWrite, UncordonWrite,
};

/// RFC 7386: `null` takes a field away.
const MERGE_PATCH: &str = "application/merge-patch+json";
/// The agent's own name as a field manager, so that its reports never move the time of a cordon of ours.
const AGENT_MANAGER: &str = "haulout-node";

/// A change about to be sent.
pub(super) struct Change<'a> {
    pub(super) operation: &'a str,
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) content_type: &'static str,
    pub(super) body: Value,
    /// The namespace of the object, for reading the causes of a refusal.
    pub(super) namespace: Option<&'a Namespace>,
}

impl KubernetesCluster {
    /// Sends a change once, and says whether it happened.
    pub(super) async fn change(&self, change: Change<'_>) -> Result<Answer, ActError> {
        let body = Some((change.content_type, change.body.to_string().into_bytes()));
        let answer = self
            .transport
            .ask(change.method, &change.target, JSON, body, WRITE_DEADLINE)
            .await
            .map_err(|lost| lost_act(&lost, change.operation))?;
        if let Some(failure) = Failure::of(&answer) {
            return Err(failure.into_act(change.operation, change.namespace));
        }
        if let Err(why) = genuine(&answer) {
            // The page of a proxy: nobody can tell whether the request came through.
            let cause = malformed(change.operation, why);
            return Err(ActError::Unclear { operation: change.operation.to_owned(), cause: Box::new(cause) });
        }
        Ok(answer)
    }

    /// Patches a node, guarded by the version that was read, and returns it as written.
    async fn patch_node(&self, operation: String, node: &Node, body: Value) -> Result<Node, ActError> {
        let change = Change {
            operation: &operation,
            method: Method::PATCH,
            target: Target::new(format!("/api/v1/nodes/{}", node.name))
                .with("fieldManager", FIELD_MANAGER)
                .with("fieldValidation", "Strict"),
            content_type: MERGE_PATCH,
            body,
            namespace: None,
        };
        let answer = self.change(change).await?;
        let written =
            serde_json::from_slice::<wire::Node>(&answer.body).map_err(|error| malformed(&operation, error)).and_then(
                |wire| Node::try_from((wire, self.pool_label.as_ref())).map_err(|misfit| malformed(&operation, misfit)),
            );
        written.map_err(|cause| ActError::Unclear { operation, cause: Box::new(cause) })
    }

    /// Creates an object; `Ok(false)` where it exists already.
    async fn create(&self, operation: &str, collection: String, body: Value) -> Result<bool, ActError> {
        let change = Change {
            operation,
            method: Method::POST,
            target: Target::new(collection).with("fieldManager", FIELD_MANAGER),
            content_type: JSON,
            body,
            namespace: None,
        };
        match self.change(change).await {
            Ok(_) => Ok(true),
            Err(ActError::Refused { refusal: Refusal::AlreadyExists, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates an object where it is missing. It is looked for first, because an identity that may not create it may
    /// well be one for which somebody else did.
    async fn ensure(&self, kind: &str, collection: String, body: Value) -> Result<bool, ActError> {
        let name = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let found: Result<_, ReadError> =
            self.get(format!("{collection}/{name}"), &format!("read {kind} {name}")).await;
        // The page of a proxy is no object, whatever its status says.
        let there =
            |found: &Result<Option<Answer>, ReadError>| matches!(found, Ok(Some(answer)) if genuine(answer).is_ok());
        if there(&found) {
            return Ok(false);
        }
        let operation = format!("create {kind} {name}");
        let path = format!("{collection}/{name}");
        match self.create(&operation, collection, body).await {
            // It may have been made: the object itself tells.
            Err(error @ ActError::Unclear { .. }) => {
                let found = self.get(path, &format!("read {kind} {name}")).await;
                if there(&found) { Ok(true) } else { Err(error) }
            }
            answer => answer,
        }
    }

    /// The UID of the reboot pod of a node and run, for telling it from another of the same name.
    async fn reboot_pod_uid(&self, operation: &str, name: &str) -> Result<Uid, ActError> {
        let refused = |refusal| ActError::Refused { operation: operation.to_owned(), refusal };
        let path = format!("/api/v1/namespaces/{MANAGED_NAMESPACE}/pods/{name}");
        let pod = self.get_as(path, operation.to_owned(), |pod: wire::Pod| Pod::try_from(pod)).await;
        match pod {
            Ok(Some(pod)) if pod.shape.ours => Ok(pod.uid),
            Ok(Some(_)) => {
                let message = Foreign::new("a pod of this name is there that haulout has not made");
                Err(refused(Refusal::Invalid { status: 409, message }))
            }
            Ok(None) => Err(refused(Refusal::NotFound)),
            // Nothing was sent that changes anything.
            Err(error) if error.kind == ReadErrorKind::Forbidden => {
                Err(refused(Refusal::Forbidden { message: error.message }))
            }
            Err(error) => Err(refused(Refusal::TryAgain { message: error.message, retry_after: error.retry_after })),
        }
    }

    pub(super) async fn post_reboot_pod(
        &self,
        operation: &str,
        pod: &RebootPod,
        dry_run: bool,
    ) -> Result<(), ActError> {
        let mut target =
            Target::new(format!("/api/v1/namespaces/{MANAGED_NAMESPACE}/pods")).with("fieldManager", FIELD_MANAGER);
        if dry_run {
            target = target.with("dryRun", "All");
        }
        let change = Change {
            operation,
            method: Method::POST,
            target,
            content_type: JSON,
            body: manifest::reboot_pod_manifest(pod),
            namespace: None,
        };
        self.change(change).await.map(|_| ())
    }
}

/// A merge patch of a node: annotations to write (`None` takes one away), and what becomes of its schedulability.
#[derive(Default)]
struct NodePatch {
    annotations: BTreeMap<&'static str, Option<String>>,
    /// `Some(true)` cordons, `Some(false)` uncordons.
    unschedulable: Option<bool>,
}

impl NodePatch {
    fn set(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.annotations.insert(key, Some(value.into()));
        self
    }

    fn unset(mut self, key: &'static str) -> Self {
        self.annotations.insert(key, None);
        self
    }

    fn body(self, guard: Option<&Node>) -> Value {
        let mut metadata = json!({ "annotations": self.annotations });
        if let Some(node) = guard {
            metadata["resourceVersion"] = json!(&*node.resource_version);
        }
        let mut body = json!({ "metadata": metadata });
        match self.unschedulable {
            Some(true) => body["spec"] = json!({ "unschedulable": true }),
            // Taken away rather than set to false, so that nobody owns the field afterwards.
            Some(false) => body["spec"] = json!({ "unschedulable": null }),
            None => {}
        }
        body
    }
}

/// The patch that cordons a node, with our marks and the autoscaler kept away, guarded by the version that was read.
pub(super) fn cordon_patch(node: &Node, write: &CordonWrite) -> Value {
    let mark = &write.mark;
    let mut patch = NodePatch { unschedulable: Some(true), ..NodePatch::default() }
        .set(ANNOTATION_CORDON, encode_cordon(mark))
        .set(ANNOTATION_PHASE, mark.phase.unwrap_or(Phase::Cordoned).as_str())
        .set(ANNOTATION_RUN, mark.run.as_str())
        .set(ANNOTATION_SCALE_DOWN_DISABLED, "true");
    // On a node that already has our marks the annotation is ours too, and its former value already kept.
    if node.mark.is_none() {
        patch = match &node.scale_down_disabled {
            Some(former) => patch.set(ANNOTATION_SCALE_DOWN_BEFORE, former.raw()),
            None => patch.unset(ANNOTATION_SCALE_DOWN_BEFORE),
        };
    }
    patch.body(Some(node))
}

/// The patch that writes a phase.
pub(super) fn phase_patch(node: &Node, phase: Phase) -> Value {
    NodePatch::default().set(ANNOTATION_PHASE, phase.as_str()).body(Some(node))
}

/// The patch that takes the run's marks off and leaves the cordon.
pub(super) fn settle_patch(node: &Node) -> Value {
    NodePatch::default().unset(ANNOTATION_PHASE).unset(ANNOTATION_RUN).body(Some(node))
}

/// The patch that uncordons a node.
pub(super) fn uncordon_patch(node: &Node, write: &UncordonWrite) -> Value {
    let mut patch = NodePatch { unschedulable: Some(false), ..NodePatch::default() }
        .unset(ANNOTATION_CORDON)
        .unset(ANNOTATION_PHASE)
        .unset(ANNOTATION_RUN)
        .unset(ANNOTATION_SCALE_DOWN_BEFORE);
    // A value that is no longer the one we wrote is somebody's later wish, and stays.
    if node.scale_down_disabled.as_ref().is_some_and(|value| value.raw() == "true") {
        patch = match &node.scale_down_before {
            Some(former) => patch.set(ANNOTATION_SCALE_DOWN_DISABLED, former.raw()),
            None => patch.unset(ANNOTATION_SCALE_DOWN_DISABLED),
        };
    }
    if let Some(reboot) = &write.last_reboot {
        patch = patch.set(ANNOTATION_LAST_REBOOT, encode_last_reboot(reboot));
    }
    patch.body(Some(node))
}

/// The body of an eviction.
pub(super) fn eviction(pod: &Pod, grace: Grace) -> Value {
    let mut options = json!({ "preconditions": { "uid": pod.uid.as_str() } });
    if let Grace::Fixed(grace) = grace {
        // Zero would kill without notice, which nobody has asked for.
        options["gracePeriodSeconds"] = json!(grace.as_secs().max(1));
    }
    json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": pod.key.name.as_str(), "namespace": pod.key.namespace.as_str() },
        "deleteOptions": options,
    })
}

/// The patch that writes a node's report.
pub(super) fn report_patch(report: &ReportWrite) -> Value {
    let patch = match &report.reboot {
        ReportedReboot::Required(reason) => {
            NodePatch::default().set(ANNOTATION_REBOOT_REQUIRED, "true").set(ANNOTATION_REBOOT_REASON, reason.raw())
        }
        ReportedReboot::NotRequired => {
            NodePatch::default().set(ANNOTATION_REBOOT_REQUIRED, "false").unset(ANNOTATION_REBOOT_REASON)
        }
    };
    patch
        .set(ANNOTATION_BOOT_ID, report.boot_id.as_str())
        .set(ANNOTATION_BOOTED_AT, report.booted_at.to_string())
        .set(ANNOTATION_REPORTED_AT, report.reported_at.to_string())
        .body(None)
}

#[async_trait]
impl ClusterActs for KubernetesCluster {
    async fn cordon(&self, _permit: Permit, node: &Node, write: &CordonWrite) -> Result<Node, ActError> {
        self.patch_node(format!("cordon node {}", node.name), node, cordon_patch(node, write)).await
    }

    async fn write_phase(&self, _permit: Permit, node: &Node, phase: Phase) -> Result<Node, ActError> {
        self.patch_node(format!("mark node {} as {phase}", node.name), node, phase_patch(node, phase)).await
    }

    async fn settle_cordon(&self, _permit: Permit, node: &Node) -> Result<Node, ActError> {
        self.patch_node(format!("settle the cordon of node {}", node.name), node, settle_patch(node)).await
    }

    async fn uncordon(&self, _permit: Permit, node: &Node, write: &UncordonWrite) -> Result<Node, ActError> {
        self.patch_node(format!("uncordon node {}", node.name), node, uncordon_patch(node, write)).await
    }

    async fn evict(&self, _permit: Permit, pod: &Pod, grace: Grace) -> Result<Eviction, ActError> {
        let operation = format!("evict pod {}", pod.key);
        let (namespace, name) = (&pod.key.namespace, &pod.key.name);
        let change = Change {
            operation: &operation,
            method: Method::POST,
            target: Target::new(format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction"))
                .with("fieldValidation", "Strict"),
            content_type: JSON,
            body: eviction(pod, grace),
            namespace: Some(namespace),
        };
        let answer = self.change(change).await?;
        // Any other object is not an eviction's answer.
        let status: Option<wire::Status> = serde_json::from_slice(&answer.body).ok();
        if status.is_none_or(|status| status.status != "Success") {
            let cause = malformed(&operation, "it is no Status");
            return Err(ActError::Unclear { operation, cause: Box::new(cause) });
        }
        Ok(Eviction { warnings: answer.warnings() })
    }

    async fn start_reboot_pod(&self, _permit: Permit, pod: &RebootPod) -> Result<(), ActError> {
        self.post_reboot_pod(&format!("start the reboot pod of node {}", pod.node), pod, false).await
    }

    async fn delete_reboot_pod(&self, _permit: Permit, node: &NodeName, run: &RunId) -> Result<(), ActError> {
        let name = reboot_pod_name(node, run);
        let operation = format!("delete the reboot pod of node {node}");
        let uid = self.reboot_pod_uid(&operation, &name).await?;
        let change = Change {
            operation: &operation,
            method: Method::DELETE,
            target: Target::new(format!("/api/v1/namespaces/{MANAGED_NAMESPACE}/pods/{name}")),
            content_type: JSON,
            body: json!({
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "preconditions": { "uid": uid.as_str() },
            }),
            namespace: None,
        };
        self.change(change).await.map(|_| ())
    }

    async fn ensure_namespace(&self, _permit: Permit) -> Result<bool, ActError> {
        self.ensure("namespace", "/api/v1/namespaces".to_owned(), manifest::namespace()).await
    }

    async fn ensure_node_account(&self, _permit: Permit) -> Result<bool, ActError> {
        let mut made = false;
        for (kind, collection, body) in manifest::node_account() {
            made |= self.ensure(kind, collection, body).await?;
        }
        Ok(made)
    }
}

#[async_trait]
impl NodeReports for KubernetesCluster {
    async fn write_report(&self, node: &NodeName, report: &ReportWrite) -> Result<(), ActError> {
        let change = Change {
            operation: &format!("write the report of node {node}"),
            method: Method::PATCH,
            target: Target::new(format!("/api/v1/nodes/{node}")).with("fieldManager", AGENT_MANAGER),
            content_type: MERGE_PATCH,
            // Without a guard: the agent is the only writer of these, and its boot id says which boot of which machine
            // they are of, so that on any other Node of this name they count for nothing.
            body: report_patch(report),
            namespace: None,
        };
        self.change(change).await.map(|_| ())
    }
}
