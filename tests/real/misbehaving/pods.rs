//! Pods that do not leave as they should.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::super::cluster::Cluster;
use super::super::scene;
use super::stage::{Habits, LIMIT, Stage, node, says};

/// A node that asks, with these workloads on it, and another one.
fn one<'a>(
    cluster: &'a Cluster,
    workloads: &str,
    [habits, of_other]: [Habits<'_>; 2],
    of_reboot: &str,
) -> Result<Stage<'a>, Failed> {
    let nodes = [node("node-a", true, habits), node("node-b", false, of_other)];
    Stage::set(cluster, &nodes, workloads, ["", of_reboot])
}

/// A deployment whose pods have more than those of others: lines of their `metadata` or their `spec`.
fn deployment(app: &str, replicas: u32, metadata: &str, spec: &str) -> String {
    scene::deployment("shop", app, replicas)
        .replace(&format!("      labels: {{app: {app}}}\n"), &format!("      labels: {{app: {app}}}\n{metadata}"))
        .replace("    spec:\n      terminationGracePeriodSeconds: 5\n", &format!("    spec:\n{spec}"))
}

const GRACE: &str = "      terminationGracePeriodSeconds: 5\n";

/// How a drain ends whose time is up: the node is given back, and nothing was rebooted.
const GIVEN_BACK: &[&str] =
    &["real/node/node-a failed to drain: time is up; still there: ", "not left cordoned by this run"];

/// Its drain has ended without a reboot, and the node is as it was.
fn as_before(stage: &Stage<'_>) -> Result<(), Failed> {
    let node = stage.node("node-a")?;
    let marks = node["metadata"]["annotations"].to_string();
    if node["spec"]["unschedulable"] == true
        || marks.contains("haulout.dev/cordon")
        || marks.contains("haulout.dev/phase")
    {
        return Err(format!("not as it was: {node:#}").into());
    }
    stage.again(2, &["node/node-a will be drained and rebooted", "Plan: 1 node to reboot"])?;
    Ok(())
}

pub(super) fn a_pod_held_by_a_finalizer(cluster: &Cluster) -> Result<(), Failed> {
    let held = deployment("web", 1, "      finalizers: [example.invalid/backup]\n", GRACE);
    let stage = one(cluster, &held, [&[], &[]], "")?;
    let said = stage.apply(8)?;
    says(&said, GIVEN_BACK)?;
    says(&said, &["shop/web-", "still ending, held by finalizer example.invalid/backup"])?;
    as_before(&stage)?;
    // Nobody but its owner may take a finalizer off.
    let pods = cluster.get(&["pods", "-n", "shop"])?;
    if !pods.to_string().contains("example.invalid/backup") {
        return Err("the finalizer is gone".into());
    }
    stage.end(1, &[("node-a", 0)])
}

pub(super) fn a_pod_with_an_hours_grace(cluster: &Cluster) -> Result<(), Failed> {
    let slow = deployment(
        "web",
        1,
        "      annotations: {sim.haulout.dev/stops-after: 2h}\n",
        "      terminationGracePeriodSeconds: 3600\n",
    );
    let stage = one(cluster, &slow, [&[], &[]], "")?;
    let said = stage.apply(8)?;
    says(&said, GIVEN_BACK)?;
    says(&said, &["shop/web-", "still ending, with a grace period of 1h"])?;
    as_before(&stage)?;
    stage.end(1, &[("node-a", 0)])
}

pub(super) fn a_pod_that_comes_back(cluster: &Cluster) -> Result<(), Failed> {
    let back = deployment(
        "web",
        1,
        "",
        &format!(
            "{GRACE}      nodeSelector: {{kubernetes.io/hostname: node-a}}\n      tolerations: [{{operator: Exists}}]\n"
        ),
    );
    let stage = one(cluster, &back, [&[], &[]], "drain = { timeout = \"40s\" }")?;
    let said = stage.apply(8)?;
    says(
        &said,
        &[
            "real/node/node-a failed to drain: pods cannot be evicted: shop/web-",
            "its owner places pods on the cordoned node again and again",
            "what to do: take the toleration of node.kubernetes.io/unschedulable from its owner, or scale it down",
            "not left cordoned by this run",
        ],
    )?;
    let evictions = stage.intents("evict")?;
    if evictions > 3 {
        return Err(format!("it was evicted {evictions} times: {}", said.all()).into());
    }
    as_before(&stage)?;
    stage.end(1, &[("node-a", 0)])
}

pub(super) fn a_budget_tightened_in_mid_drain(cluster: &Cluster) -> Result<(), Failed> {
    let web = deployment("web", 4, "      annotations: {sim.haulout.dev/stops-after: 3s}\n", GRACE)
        + &scene::budget("shop", "web", "maxUnavailable: 1");
    let mut stage = one(cluster, &web, [&[], &[]], "")?;
    stage.watcher.holds_budgets = false;
    let mut evicted = 0;
    let said = stage.apply_while(8, || {
        stage.until_phase("node-a", &["armed"])?;
        cluster.until("a pod told to end", Duration::from_secs(20), |_| Ok(stage.intents("evict")? > 0))?;
        cluster.kubectl(&[
            "patch",
            "pdb",
            "web",
            "-n",
            "shop",
            "--type=merge",
            "-p",
            r#"{"spec":{"maxUnavailable":0}}"#,
        ])?;
        evicted = stage.intents("evict")?;
        Ok(())
    })?;
    says(
        &said,
        &["real/node/node-a failed to drain: ", "disruption budget shop/web", "not left cordoned by this run"],
    )?;
    // What was sent while the patch was under way may have been the last.
    if stage.intents("evict")? > evicted + 1 {
        return Err(format!("it went on evicting: {}", said.all()).into());
    }
    stage.again(2, &["node/node-a cannot be rebooted", "disruption budget shop/web allows 0 disruptions"])?;
    stage.end(1, &[("node-a", 0)])
}

pub(super) fn five_blocked_pods_do_not_hold_up_a_sixth(cluster: &Cluster) -> Result<(), Failed> {
    // What starts on the other node is never ready in time, so that the budget lets one go, and then none.
    let web = deployment("web", 6, "", GRACE)
        + &scene::budget("shop", "web", "maxUnavailable: 1")
        + &deployment("zlast", 1, "", GRACE);
    let stage = one(cluster, &web, [&[], &[("ready-after", "10m")]], "drain = { timeout = \"30s\" }")?;
    let mut took = Duration::MAX;
    let said = stage.apply_while(8, || {
        stage.until_phase("node-a", &["armed"])?;
        let began = Instant::now();
        cluster.until("the sixth gone", Duration::from_secs(25), |cluster| {
            let left = cluster.kubectl(&[
                "get",
                "pods",
                "-n",
                "shop",
                "-l",
                "app=zlast",
                "--field-selector",
                "spec.nodeName=node-a",
                "-o",
                "name",
            ])?;
            Ok(left.is_empty())
        })?;
        took = began.elapsed();
        Ok(())
    })?;
    if took > Duration::from_secs(10) {
        return Err(format!("the sixth was held up for {took:?}: {}", said.all()).into());
    }
    says(&said, GIVEN_BACK)?;
    says(&said, &["held by disruption budget shop/web: 5 of 6 healthy, needs 5"])?;
    // It may be waited for while it ends, and is not among those that are left.
    if said.out.contains("shop/zlast-") {
        return Err(format!("the sixth is left: {}", said.all()).into());
    }
    if stage.intents("evict")? < 2 {
        return Err(format!("nothing was evicted: {}", said.all()).into());
    }
    stage.end(1, &[("node-a", 0)])
}

/// A volume that is attached to a node by a driver of which nothing runs here, and a pod that mounts it.
const VOLUME: &str = "\
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: data}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: none
  csi: {driver: csi.example.invalid, volumeHandle: data}
  claimRef: {namespace: shop, name: data-db-0}
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttachment
metadata: {name: data-on-node-a}
spec: {attacher: csi.example.invalid, nodeName: node-a, source: {persistentVolumeName: data}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data-db-0, namespace: shop}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: none
  volumeName: data
  resources: {requests: {storage: 1Gi}}
";

pub(super) fn a_volume_that_detaches_late(cluster: &Cluster) -> Result<(), Failed> {
    let db = scene::stateful_set("shop", "db", 1).replace(
        "      containers:\n",
        "      volumes: [{name: data, persistentVolumeClaim: {claimName: data-db-0}}]\n      containers:\n",
    );
    let stage = one(cluster, &(VOLUME.to_owned() + &db), [&[], &[]], "drain = { timeout = \"60s\" }")?;
    let said = stage.apply_while(0, || {
        cluster.until("the pod gone from the node", LIMIT, |cluster| {
            let left = cluster.kubectl(&[
                "get",
                "pods",
                "-n",
                "shop",
                "--field-selector",
                "spec.nodeName=node-a",
                "-o",
                "name",
            ])?;
            Ok(stage.intents("evict")? > 0 && left.is_empty())
        })?;
        std::thread::sleep(Duration::from_secs(5));
        let node = stage.node("node-a")?;
        if node["metadata"]["annotations"]["haulout.dev/phase"] != "armed" {
            return Err(format!("it does not wait for the volume: {node:#}").into());
        }
        cluster.kubectl(&["delete", "volumeattachment", "data-on-node-a"])?;
        Ok(())
    })?;
    says(&said, &["waits for 1 volume to be detached"])?;
    stage.again(0, &["No changes."])?;
    stage.end(1, &[("node-a", 1)])
}
