//! The objects that haulout makes.

use serde_json::{Value, json};

use crate::model::{
    FIELD_MANAGER, LABEL_COMPONENT, LABEL_RUN, MANAGED_NAMESPACE, REBOOT_COMPONENT, RebootMethod, reboot_pod_name,
};
use crate::provider::RebootPod;

/// The ServiceAccount of node pods, in [`MANAGED_NAMESPACE`]; also the name of its role and binding.
pub const NODE_ACCOUNT: &str = "haulout-node";
/// Where the image of node pods has its binary.
pub const NODE_BINARY: &str = "/haulout";
/// The file that `haulout node reboot` makes when it is armed; `haulout node reboot --armed` tests for it.
pub const ARMED_FILE: &str = "/run/haulout/armed";
/// The folder of [`ARMED_FILE`], in memory: the root of the container's files is read-only.
const RUN_FOLDER: &str = "/run/haulout";
/// The image written where there is none: nothing pulls it on a sandbox.
const PLACEHOLDER_IMAGE: &str = "haulout.dev/sandbox:none";

/// The pod that reboots a node.
///
/// It is bound by name and tolerates everything, because the node is cordoned and may be tainted; it never restarts,
/// because it acts once; and it ends by itself after `active_deadline`. Its container is Ready when it is armed. By
/// signal it needs no more than CAP_KILL in the host's PID namespace; AppArmor's default profile would deny the signal
/// to PID 1, which is not confined by it. By command it enters the host's mount namespace, for which it is privileged.
#[must_use]
pub fn reboot_pod_manifest(pod: &RebootPod) -> Value {
    let method = match pod.method {
        RebootMethod::Signal => "signal",
        RebootMethod::Command => "command",
    };
    let security = match pod.method {
        RebootMethod::Signal => json!({
            "allowPrivilegeEscalation": false,
            "appArmorProfile": { "type": "Unconfined" },
            "capabilities": { "add": ["KILL"], "drop": ["ALL"] },
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsUser": 0,
            "seccompProfile": { "type": "RuntimeDefault" },
        }),
        RebootMethod::Command => json!({
            "privileged": true,
            "readOnlyRootFilesystem": true,
            "runAsUser": 0,
        }),
    };
    let image = pod.image.as_ref().map_or(PLACEHOLDER_IMAGE, |image| image.image.raw());
    let secrets: Vec<Value> =
        pod.image.iter().flat_map(|image| &image.pull_secrets).map(|secret| json!({ "name": secret.raw() })).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": reboot_pod_name(&pod.node, &pod.run),
            "namespace": MANAGED_NAMESPACE,
            "labels": {
                LABEL_COMPONENT: REBOOT_COMPONENT,
                LABEL_RUN: pod.run.as_str(),
                "app.kubernetes.io/managed-by": FIELD_MANAGER,
            },
        },
        "spec": {
            "nodeName": pod.node.as_str(),
            "tolerations": [{ "operator": "Exists" }],
            "restartPolicy": "Never",
            "hostPID": true,
            "serviceAccountName": NODE_ACCOUNT,
            "activeDeadlineSeconds": pod.active_deadline.as_secs().max(1),
            "terminationGracePeriodSeconds": 5,
            "enableServiceLinks": false,
            "imagePullSecrets": secrets,
            "containers": [{
                "name": REBOOT_COMPONENT,
                "image": image,
                "command": [NODE_BINARY],
                "args": [
                    "node", "reboot",
                    "--node", pod.node.as_str(),
                    "--node-uid", pod.node_uid.as_str(),
                    "--boot-id", pod.boot_id.as_str(),
                    "--run", pod.run.as_str(),
                    "--not-after", pod.not_after.to_string(),
                    "--method", method,
                ],
                "readinessProbe": {
                    "exec": { "command": [NODE_BINARY, "node", "reboot", "--armed"] },
                    "periodSeconds": 1,
                    "timeoutSeconds": 5,
                    "failureThreshold": 1,
                },
                "securityContext": security,
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": [{ "name": "run", "mountPath": RUN_FOLDER }],
            }],
            "volumes": [{ "name": "run", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }],
        },
    })
}

/// The namespace of the lock and of node pods, which are privileged.
pub(super) fn namespace() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": MANAGED_NAMESPACE,
            "labels": {
                "pod-security.kubernetes.io/enforce": "privileged",
                "app.kubernetes.io/managed-by": FIELD_MANAGER,
            },
        },
    })
}

/// The account of node pods, its role and its binding, each with the path of its collection.
pub(super) fn node_account() -> [(&'static str, String, Value); 3] {
    let labels = json!({ "app.kubernetes.io/managed-by": FIELD_MANAGER });
    let accounts = format!("/api/v1/namespaces/{MANAGED_NAMESPACE}/serviceaccounts");
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles".to_owned();
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned();
    [
        (
            "serviceaccount",
            accounts,
            json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": { "name": NODE_ACCOUNT, "namespace": MANAGED_NAMESPACE, "labels": labels },
            }),
        ),
        (
            "clusterrole",
            roles,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": { "name": NODE_ACCOUNT, "labels": labels },
                "rules": [{ "apiGroups": [""], "resources": ["nodes"], "verbs": ["get"] }],
            }),
        ),
        (
            "clusterrolebinding",
            bindings,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": { "name": NODE_ACCOUNT, "labels": labels },
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": NODE_ACCOUNT,
                },
                "subjects": [{ "kind": "ServiceAccount", "name": NODE_ACCOUNT, "namespace": MANAGED_NAMESPACE }],
            }),
        ),
    ]
}
