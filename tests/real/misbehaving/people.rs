//! Others who act on the nodes of a run.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::super::cluster::Cluster;
use super::super::crash::boot;
use super::super::scene;
use super::stage::{Stage, never_says, node, says};

/// A node that asks, whose pods take their time to stop.
fn slow_to_drain(cluster: &Cluster) -> Result<Stage<'_>, Failed> {
    let nodes = [node("node-a", true, &[("stops-after", "12s")]), node("node-b", false, &[])];
    let web = scene::deployment("shop", "web", 2).replace("GracePeriodSeconds: 5", "GracePeriodSeconds: 60");
    Stage::set(cluster, &nodes, &web, ["", "drain = { timeout = \"60s\" }"])
}

/// Waits until the first pod was told to end.
fn mid_drain(stage: &Stage<'_>) -> Result<(), Failed> {
    stage.until_phase("node-a", &["armed"])?;
    stage.cluster.until("an eviction", Duration::from_secs(20), |_| Ok(stage.intents("evict")? > 0))
}

pub(super) fn the_autoscaler_deletes_a_node_in_mid_drain(cluster: &Cluster) -> Result<(), Failed> {
    let stage = slow_to_drain(cluster)?;
    let mut deleted = Instant::now();
    let said = stage.apply_while(8, || {
        mid_drain(&stage)?;
        cluster.kubectl(&["delete", "node", "node-a"])?;
        deleted = Instant::now();
        Ok(())
    })?;
    if deleted.elapsed() > Duration::from_secs(9) {
        return Err(format!("noticed only after {:?}: {}", deleted.elapsed(), said.all()).into());
    }
    says(
        &said,
        &["real/node/node-a failed to drain: the node no longer exists", "not left cordoned by this run", "plan again"],
    )?;
    never_says(&said, &["to free it"])?;
    stage.again(0, &["No changes."])?;
    stage.end(1, &[("node-a", 0)])
}

pub(super) fn a_person_uncordons_a_node_in_mid_drain(cluster: &Cluster) -> Result<(), Failed> {
    let stage = slow_to_drain(cluster)?;
    let mut uncordoned = Instant::now();
    let said = stage.apply_while(8, || {
        mid_drain(&stage)?;
        cluster.kubectl(&["uncordon", "node-a"])?;
        uncordoned = Instant::now();
        Ok(())
    })?;
    if uncordoned.elapsed() > Duration::from_secs(9) {
        return Err(format!("noticed only after {:?}: {}", uncordoned.elapsed(), said.all()).into());
    }
    says(&said, &["real/node/node-a failed to drain: somebody uncordoned the node", "not left cordoned by this run"])?;
    let node = stage.node("node-a")?;
    let marks = node["metadata"]["annotations"].to_string();
    if node["spec"]["unschedulable"] == true
        || marks.contains("haulout.dev/cordon")
        || marks.contains("haulout.dev/run")
    {
        return Err(format!("cordoned again, or marks are left: {node:#}").into());
    }
    if stage.intents("cordon")? != 1 {
        return Err(format!("it fought: {}", said.all()).into());
    }
    stage.again(2, &["node/node-a will be drained and rebooted"])?;
    stage.end(1, &[("node-a", 0)])
}

/// On the real control plane only: the nodes of the sandbox boot for nobody but their reboot pod.
pub(super) fn a_person_reboots_a_node_in_mid_drain(cluster: &Cluster) -> Result<(), Failed> {
    let stage = slow_to_drain(cluster)?;
    let before = stage.node("node-a")?;
    let said = stage.apply_while(8, || {
        mid_drain(&stage)?;
        cluster.kubectl(&["annotate", "node", "node-a", "sim.haulout.dev/power-cycle=once"])?;
        Ok(())
    })?;
    says(&said, &["somebody rebooted the node while it was drained", "not left cordoned by this run", "plan again"])?;
    let node = stage.node("node-a")?;
    if boot(&node) == boot(&before) || node["spec"]["unschedulable"] == true {
        return Err(format!("not booted, or left cordoned: {node:#}").into());
    }
    stage.again(0, &["No changes."])?;
    stage.end(1, &[("node-a", 1)])
}
