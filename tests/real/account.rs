//! ServiceAccounts with the roles that deploy/ ships, and no others.

use std::path::{Path, PathBuf};

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::cluster::ControlPlane;
use haulout::provider::right::{Feature, Place, RULES};

/// The objects of a file of deploy/.
pub(crate) fn shipped(file: &str) -> Result<Vec<Value>, Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    let text = std::fs::read_to_string(path)?.replace("HAULOUT_IMAGE", "example.invalid/haulout:test");
    Ok(serde_saphyr::from_multiple(&text)?)
}

/// Several objects as one manifest.
pub(crate) fn manifest(objects: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()
}

/// Runs kubectl with a manifest on its stdin; it must succeed.
pub(crate) fn kubectl_with(plane: &ControlPlane, arguments: &[&str], objects: &[Value]) -> Result<(), Failed> {
    let output = plane.try_kubectl(arguments, Some(&manifest(objects)))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Takes from everybody what most clusters grant to everybody, so that only the shipped roles count.
pub(crate) fn grant_nothing_to_everybody(plane: &ControlPlane) -> Result<(), Failed> {
    for name in ["system:public-info-viewer", "system:discovery"] {
        plane.kubectl(&["delete", "clusterrolebinding", name])?;
    }
    Ok(())
}

/// Makes a ServiceAccount in namespace `default` and binds it to the roles of these features.
pub(crate) fn account(plane: &ControlPlane, name: &str, features: &[Feature]) -> Result<(), Failed> {
    let mut objects = vec![json!({ "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": name, "namespace": "default" } })];
    let subjects = json!([{ "kind": "ServiceAccount", "name": name, "namespace": "default" }]);
    let mut bound = Vec::new();
    for rule in RULES.iter().filter(|rule| features.contains(&rule.feature)) {
        let role = rule.feature.role();
        if bound.contains(&(role, rule.place)) {
            continue;
        }
        bound.push((role, rule.place));
        let mut metadata = json!({ "name": format!("{role}-{name}") });
        let (kind, binding) = match rule.place {
            Place::Cluster => ("ClusterRole", "ClusterRoleBinding"),
            Place::Namespace(namespace) => {
                metadata["namespace"] = json!(namespace);
                ("Role", "RoleBinding")
            }
        };
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": binding, "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
            "subjects": subjects,
        }));
    }
    kubectl_with(plane, &["create", "-f", "-"], &objects)
}

/// A kubeconfig that is the administrator's but for its token; its context keeps the name `admin`.
pub(crate) fn kubeconfig_of(plane: &ControlPlane, name: &str, token: &str) -> Result<PathBuf, Failed> {
    let admin = std::fs::read_to_string(&plane.kubeconfig)?;
    let text: String = admin
        .lines()
        .map(|line| match line.split_once("token:") {
            Some((indent, _)) => format!("{indent}token: {}\n", token.trim()),
            None => format!("{line}\n"),
        })
        .collect();
    let path = plane.folder.path().join(format!("{name}.kubeconfig"));
    std::fs::write(&path, text)?;
    Ok(path)
}

/// The kubeconfig of a ServiceAccount in namespace `default`, by a token of an hour.
pub(crate) fn log_in(plane: &ControlPlane, name: &str) -> Result<PathBuf, Failed> {
    let token = plane.kubectl(&["create", "token", name, "--namespace", "default"])?;
    kubeconfig_of(plane, name, &token)
}

/// A token of a ServiceAccount in `haulout-system` that is bound to a pod, as the kubelet mounts it.
pub(crate) fn token_of_pod(plane: &ControlPlane, account: &str, pod: &Value) -> Result<String, Failed> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).ok_or("a pod without name or uid");
    let (name, uid) = (text("/metadata/name")?, text("/metadata/uid")?);
    let token = plane.kubectl(&[
        "create",
        "token",
        account,
        "--namespace",
        "haulout-system",
        "--bound-object-kind",
        "Pod",
        "--bound-object-name",
        name,
        "--bound-object-uid",
        uid,
    ])?;
    Ok(token.trim().to_owned())
}

/// The pod of the shipped DaemonSet on a node, once there is one.
pub(crate) fn agent_pod(plane: &ControlPlane, node: &str) -> Result<Value, Failed> {
    let mut found = Value::Null;
    plane.until("the agent's pod on its node", std::time::Duration::from_secs(60), |plane| {
        let pods = plane.get(&["pods", "--namespace", "haulout-system"])?;
        found = pods["items"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|pod| pod["spec"]["nodeName"] == node && pod["spec"]["serviceAccountName"] == "haulout-agent")
            .cloned()
            .unwrap_or_default();
        Ok(!found.is_null())
    })?;
    Ok(found)
}
