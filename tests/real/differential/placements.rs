//! Scenarios about where an evicted pod can go.

use serde_json::{Value, json};

use super::evictions::Make;

/// The families, with how many scenarios of each are played.
pub(super) const FAMILIES: &[(&str, u32, Make)] = &[];

/// A node that nobody runs, with labels and further parts of its `spec`.
pub(super) fn node(name: &str, labels: &Value, spec: &Value) -> Value {
    let resources = json!({ "cpu": "4", "memory": "8Gi", "ephemeral-storage": "10Gi", "pods": "10" });
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": labels },
        "spec": spec,
        "status": {
            "capacity": resources, "allocatable": resources,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
                "lastHeartbeatTime": null, "lastTransitionTime": null,
            }],
        },
    });
    node["metadata"]["labels"]["kubernetes.io/hostname"] = name.into();
    node
}
