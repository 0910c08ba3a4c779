//! Clusters and nodes that refuse the reboot pod.

use std::time::Duration;

use libtest_mimic::Failed;

use super::super::cluster::Cluster;
use super::super::scene;
use super::stage::{Stage, node, says};

fn one<'a>(cluster: &'a Cluster, habits: super::stage::Habits<'_>) -> Result<Stage<'a>, Failed> {
    let nodes = [node("node-a", true, habits), node("node-b", false, &[])];
    Stage::set(cluster, &nodes, &scene::deployment("shop", "web", 1), ["", ""])
}

/// Nothing was done to the node.
fn untouched(stage: &Stage<'_>) -> Result<(), Failed> {
    let node = stage.node("node-a")?;
    if node["spec"]["unschedulable"] == true || stage.intents("evict")? + stage.intents("cordon")? > 0 {
        return Err(format!("something was done before it was proved that the pod is admitted: {node:#}").into());
    }
    Ok(())
}

const POLICY: &str = "\
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-host-pid}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  validations:
  - expression: '!has(object.spec.hostPID) || !object.spec.hostPID'
    message: no pod of ours may see the processes of its host
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-host-pid}
spec: {policyName: no-host-pid, validationActions: [Deny]}
";

const PROBE: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: probe, namespace: shop}
spec: {hostPID: true, containers: [{name: main, image: example.invalid/app}]}
";

/// On the real control plane only: the sandbox has no admission policies.
pub(super) fn an_admission_policy_refuses_the_reboot_pod(cluster: &Cluster) -> Result<(), Failed> {
    let stage = one(cluster, &[])?;
    cluster.create(POLICY)?;
    // A policy takes a moment to be in force.
    cluster.until("the policy in force", Duration::from_secs(30), |cluster| {
        Ok(!cluster.try_kubectl(&["create", "--dry-run=server", "-f", "-"], Some(PROBE))?.status.success())
    })?;
    let said = stage.apply(1)?;
    says(
        &said,
        &["node-a", "ValidatingAdmissionPolicy 'no-host-pid'", "no pod of ours may see the processes of its host"],
    )?;
    untouched(&stage)?;
    stage.again(2, &["node/node-a will be drained and rebooted"])?;
    stage.end(0, &[("node-a", 0)])
}

/// On the real control plane only: the sandbox does not judge what a pod may do.
pub(super) fn pod_security_refuses_the_reboot_pod(cluster: &Cluster) -> Result<(), Failed> {
    let stage = one(cluster, &[])?;
    cluster.create(&scene::namespace("haulout-system").replace(
        "{name: haulout-system}",
        "{name: haulout-system, labels: {pod-security.kubernetes.io/enforce: restricted}}",
    ))?;
    let said = stage.apply(1)?;
    says(
        &said,
        &["node-a", "violates PodSecurity \"restricted:latest\"", "pod-security.kubernetes.io/enforce=privileged"],
    )?;
    untouched(&stage)?;
    stage.end(0, &[("node-a", 0)])
}

pub(super) fn an_image_that_cannot_be_pulled(cluster: &Cluster) -> Result<(), Failed> {
    // The pods of the workload are on the node before its registry is lost.
    let stage = one(cluster, &[])?;
    cluster.kubectl(&["annotate", "node", "node-a", "sim.haulout.dev/pull-fails=true"])?;
    let said = stage.apply(8)?;
    says(
        &said,
        &[
            "real/node/node-a failed to drain: the reboot pod was not armed within 20s: it was Pending and not Ready",
            "ImagePullBackOff",
            "not left cordoned by this run",
            "check that the image of node_pod can be pulled and started on this node; nothing was evicted",
        ],
    )?;
    if stage.intents("evict")? > 0 {
        return Err(format!("something was evicted: {}", said.all()).into());
    }
    stage.again(2, &["node/node-a will be drained and rebooted"])?;
    stage.end(1, &[("node-a", 0)])
}
