//! Kubernetes objects for scenarios, as manifests.

use std::fmt::Write as _;

pub(crate) struct SimNode<'a> {
    pub(crate) name: String,
    pub(crate) pool: &'a str,
    pub(crate) zone: &'a str,
    /// The reason for which the node asks for a reboot, if it does.
    pub(crate) asks: Option<&'a str>,
    pub(crate) unschedulable: bool,
}

pub(crate) fn node(node: &SimNode<'_>) -> String {
    let SimNode { name, pool, zone, asks, unschedulable } = node;
    let asks = asks.map(|reason| format!("    sim.haulout.dev/reboot-required: {reason:?}\n")).unwrap_or_default();
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels:\n    sim.haulout.dev/kubelet: \"true\"\n    \
         kubernetes.io/os: linux\n    kubernetes.io/hostname: {name}\n    agentpool: {pool}\n    \
         topology.kubernetes.io/zone: {zone}\n  annotations:\n    sim.haulout.dev/reboot-takes: \"2s\"\n{asks}\
         spec:\n  unschedulable: {unschedulable}\n"
    )
}

fn template(app: &str, grace: u32) -> String {
    format!(
        "  selector:\n    matchLabels: {{app: {app}}}\n  template:\n    metadata:\n      labels: {{app: {app}}}\n    spec:\n      \
         terminationGracePeriodSeconds: {grace}\n      containers:\n      - name: main\n        image: example.invalid/app\n        \
         resources: {{requests: {{cpu: 50m, memory: 32Mi}}}}\n"
    )
}

pub(crate) fn namespace(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

pub(crate) fn deployment(namespace: &str, app: &str, replicas: u32) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {app}, namespace: {namespace}}}\nspec:\n  replicas: {replicas}\n{}",
        template(app, 5)
    )
}

pub(crate) fn stateful_set(namespace: &str, app: &str, replicas: u32) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: {app}, namespace: {namespace}}}\nspec:\n  \
         replicas: {replicas}\n  serviceName: {app}\n  podManagementPolicy: Parallel\n{}",
        template(app, 5)
    )
}

pub(crate) fn daemon_set(namespace: &str, app: &str) -> String {
    let mut text = format!(
        "---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: {app}, namespace: {namespace}}}\nspec:\n{}",
        template(app, 5)
    );
    let _ = writeln!(text, "      tolerations: [{{operator: Exists}}]");
    text
}

pub(crate) fn budget(namespace: &str, app: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: {app}, namespace: {namespace}}}\nspec:\n  \
         {spec}\n  selector:\n    matchLabels: {{app: {app}}}\n"
    )
}
