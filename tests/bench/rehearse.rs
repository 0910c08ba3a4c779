//! `haulout rehearse` of a large cluster, from a snapshot: no API server takes part.
//!
//! 50 pools in 3 zones, three DaemonSets, 2,500 workloads with a budget each, one in ten of them a StatefulSet. Every
//! node is to be rebooted, a tenth of each pool at a time. What is judged is the CPU time of the process, all threads
//! together, which is the same however busy the machine is; the run is on one thread.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::Error;
use super::measure::{Spent, spend};

/// A rehearsal of 5,000 nodes may take this many seconds of CPU.
pub(crate) const CPU_SECONDS: f64 = 10.0;

const DAEMONS: [&str; 3] = ["logs", "metrics", "proxy"];
const POOLS: usize = 50;
const WORKLOADS: usize = 2500;
/// Every so many workloads one is a StatefulSet.
const STATEFUL: usize = 10;
const NAMESPACES: usize = 50;

/// Rehearses the reboot of so many nodes with so many pods each.
pub(crate) fn run(nodes: usize, pods: usize) -> Result<Spent, Error> {
    if nodes == 0 || pods < DAEMONS.len() {
        return Err(format!("a cluster has nodes, and each at least {} pods", DAEMONS.len()).into());
    }
    let folder = tempfile::Builder::new().prefix("haulout-bench-").tempdir()?;
    write(folder.path(), nodes, pods)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_haulout"));
    command.args(["rehearse", "--snapshot", "snapshot.json"]).current_dir(folder.path()).env("TZ", "UTC");
    let spent = spend(&mut command, super::PATIENCE)?;
    // A rehearsal that stops early would be quick and prove nothing.
    if spent.stdout.contains(" nodes done, 0 failed, 0 skipped, 0 interrupted, 0 not started") {
        Ok(spent)
    } else {
        Err(format!("not every node was done:\n{}", spent.stdout).into())
    }
}

fn write(folder: &Path, nodes: usize, pods: usize) -> Result<(), Error> {
    std::fs::write(folder.join("snapshot.json"), serde_json::to_vec(&snapshot(nodes, pods))?)?;
    let digest = "0".repeat(64);
    let config = format!(
        "version = 1\nname = \"large\"\n\n[cluster.large]\ncontext = \"admin\"\nmax_unavailable = \"10%\"\n\
         node_pod = {{ image = \"example.invalid/haulout@sha256:{digest}\" }}\n\n\
         [reboot.linux]\nwhen_required = true\nmax_unavailable = \"10%\"\n"
    );
    std::fs::write(folder.join("haulout.toml"), config)?;
    Ok(())
}

fn node(index: usize) -> Value {
    let (name, boot) = (format!("node-{index:05}"), format!("boot-{index:05}"));
    let (pool, zone) = (format!("np{:02}", index % POOLS), format!("z{}", index / POOLS % 3));
    json!({
        "name": name, "uid": format!("uid-{name}"), "resource_version": "1",
        "labels": {
            "kubernetes.io/os": "linux", "kubernetes.io/hostname": name, "pool": pool,
            "topology.kubernetes.io/zone": zone,
        },
        "pool": pool, "zone": zone, "linux": true, "readiness": "ready", "boot_id": boot, "kernel": "6.8.0",
        "report": {
            "reboot": { "required": "kernel" }, "boot_id": boot, "booted_at": "2026-10-01T00:00:00Z",
            "reported_at": "2026-11-23T11:59:00Z",
        },
        "allocatable": { "cpu": "8", "memory": "32Gi", "pods": "110" }, "created_at": "2026-01-01T00:00:00Z",
    })
}

fn shape(labels: &Value, kind: &str, owner: &str, daemon: bool) -> Value {
    json!({
        "labels": labels, "grace_seconds": 30, "tolerates_cordon": daemon,
        "owner": { "api_version": "apps/v1", "kind": kind, "name": owner, "uid": format!("uid-{owner}") },
    })
}

fn pod(namespace: &str, name: &str, node: usize, shape: usize) -> Value {
    json!({
        "namespace": namespace, "name": name, "uid": format!("uid-{name}"), "node": format!("node-{node:05}"),
        "phase": "Running", "ready": true, "shape": shape,
    })
}

/// A snapshot, format 1.0.
fn snapshot(nodes: usize, per_node: usize) -> Value {
    let (mut shapes, mut pods, mut budgets) = (Vec::new(), Vec::new(), Vec::new());
    for daemon in DAEMONS {
        shapes.push(shape(&json!({ "app": daemon }), "DaemonSet", daemon, true));
        let shape = shapes.len() - 1;
        pods.extend((0..nodes).map(|node| pod("kube-system", &format!("{daemon}-{node:05}"), node, shape)));
    }
    let workloads = WORKLOADS.min(nodes / 2).max(1);
    let replicas = (per_node - DAEMONS.len()) * nodes / workloads;
    for workload in 0..workloads {
        let (name, namespace) = (format!("app-{workload:04}"), format!("team-{:02}", workload % NAMESPACES));
        let stateful = workload % STATEFUL == 0;
        for replica in 0..replicas {
            let own = if stateful { format!("{name}-{replica}") } else { format!("{name}-5d4f8c7b9-{replica:05}") };
            if stateful {
                let labels = json!({ "app": name, "statefulset.kubernetes.io/pod-name": own });
                shapes.push(shape(&labels, "StatefulSet", &name, false));
            } else if replica == 0 {
                let labels = json!({ "app": name, "pod-template-hash": "5d4f8c7b9" });
                shapes.push(shape(&labels, "ReplicaSet", &format!("{name}-5d4f8c7b9"), false));
            }
            let node = (workload * 37 + replica * (nodes / replicas + 1) * 7 + replica) % nodes;
            pods.push(pod(&namespace, &own, node, shapes.len() - 1));
        }
        let may_go = (replicas * 20).div_ceil(100);
        budgets.push(json!({
            "namespace": namespace, "name": name, "uid": format!("budget-{name}"),
            "spec": { "max_unavailable": { "percent": 20 } }, "selector": format!("app={name}"),
            "unhealthy_pod_eviction_policy": "IfHealthyBudget", "expected": replicas, "desired": replicas - may_go,
            "healthy": replicas, "allowed": may_go, "observed": true,
        }));
    }
    let daemon_sets: Vec<Value> = DAEMONS
        .iter()
        .map(|name| json!({ "namespace": "kube-system", "name": name, "uid": format!("uid-{name}") }))
        .collect();
    json!({
        "kind": "snapshot", "format_version": "1.0", "cluster": "large", "via": "bench", "identity": "uid-large",
        "version": "1.34.1", "taken_at": "2026-11-23T12:00:00Z", "sandbox": false, "lock": null, "gaps": [],
        "etcd_members": {}, "nodes": (0..nodes).map(node).collect::<Vec<_>>(), "budgets": budgets,
        "daemon_sets": daemon_sets, "shapes": shapes, "pods": pods,
    })
}
