//! Nodes that do not come back as they should.

use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::Value;

use super::super::cluster::Cluster;
use super::super::crash::boot;
use super::super::scene;
use super::super::thin::wait_for_nodes;
use super::stage::{Habits, Stage, never_says, node, says};

/// Each node that asks has a pool of its own; `node-a` comes first.
const FIRST_A: &str = "order = [\"agentpool=node-a\", \"*\"]";

/// A node that stays dark, and one that waits for its turn behind it.
fn never_back<'a>(cluster: &'a Cluster, on_failure: &str) -> Result<Stage<'a>, Failed> {
    // Whoever only knows how long a boot takes cannot tell an hour from never; both are the same here.
    let dark = [("never-returns", "true"), ("reboot-takes", "1h")];
    let nodes = [node("node-a", true, &dark), node("node-b", true, &[]), node("node-c", false, &[])];
    let web = scene::deployment("shop", "web", 2);
    Stage::set(cluster, &nodes, &web, ["max_unavailable = 2", &format!("{FIRST_A}\non_failure = \"{on_failure}\"")])
}

const NEVER_BACK: &[&str] = &[
    "real/node/node-a failed to come back after its reboot: the node has not booted: its boot id is the same",
    "left cordoned by this run",
    "look at the node's console; it stays cordoned. If it only boots slowly, raise ready_timeout in [reboot.linux] (now 20s)",
];

/// What the next plan makes of a node whose reboot was requested and not proved.
const LEFT: &str = "node/node-a will be awaited and uncordoned; its reboot was requested already";

pub(super) fn never_back_and_the_others_go_on(cluster: &Cluster) -> Result<(), Failed> {
    let stage = never_back(cluster, "continue")?;
    let said = stage.apply(8)?;
    says(&said, NEVER_BACK)?;
    says(&said, &["Apply: 1 node done, 1 failed"])?;
    stage.again(2, &[LEFT, "Plan: 0 nodes to reboot, 0 to drain, 1 to uncordon."])?;
    stage.end(2, &[("node-a", 0), ("node-b", 1), ("node-c", 0)])
}

pub(super) fn never_back_and_nothing_new_starts(cluster: &Cluster) -> Result<(), Failed> {
    let stage = never_back(cluster, "halt")?;
    let said = stage.apply(8)?;
    says(&said, NEVER_BACK)?;
    says(&said, &["Not started\n  real/node/node-b\n"])?;
    stage.again(2, &[LEFT, "node/node-b will be drained and rebooted"])?;
    stage.end(2, &[("node-a", 0), ("node-b", 0), ("node-c", 0)])
}

/// One node that asks, another for its pods.
fn one<'a>(cluster: &'a Cluster, habits: Habits<'_>, of_reboot: &str) -> Result<Stage<'a>, Failed> {
    let nodes = [node("node-a", true, habits), node("node-b", false, &[])];
    Stage::set(cluster, &nodes, &scene::deployment("shop", "web", 1), ["", of_reboot])
}

pub(super) fn slow_to_boot_and_to_be_ready(cluster: &Cluster) -> Result<(), Failed> {
    let stage = one(cluster, &[("reboot-takes", "12s"), ("node-ready-after", "5s")], "ready_timeout = \"40s\"")?;
    let said = stage.apply(0)?;
    says(&said, &["waits for the node to boot; 10s of 40s", "waits for the node to be Ready: it is not Ready"])?;
    stage.again(0, &["No changes."])?;
    stage.end(1, &[("node-a", 1)])
}

pub(super) fn back_with_the_same_boot_id(cluster: &Cluster) -> Result<(), Failed> {
    let stage = one(cluster, &[("keeps-boot-id", "true")], "")?;
    let said = stage.apply(8)?;
    says(
        &said,
        &[
            "real/node/node-a failed to come back after its reboot: the node does not reboot: its reboot pod ended",
            "and it lives on with the same boot id",
            "left cordoned by this run",
            "what to do: see the reboot pod's log and the node's console; it stays cordoned",
        ],
    )?;
    stage.again(2, &["node/node-a"])?;
    stage.end(1, &[("node-a", 0)])
}

pub(super) fn back_as_another_node_object(cluster: &Cluster) -> Result<(), Failed> {
    let stage = one(cluster, &[("returns-as-new-node", "true")], "")?;
    let said = stage.apply(8)?;
    says(
        &said,
        &[
            "real/node/node-a failed to come back after its reboot: the node came back as another Node object",
            "not left cordoned by this run",
            "what to do: it was replaced, not rebooted; plan again to see what it needs",
        ],
    )?;
    never_says(&said, &["to free it"])?;
    wait_for_nodes(cluster, 2)?;
    stage.again(0, &["No changes."])?;
    stage.end(1, &[("node-a", 1)])
}

pub(super) fn flapping_after_its_boot(cluster: &Cluster) -> Result<(), Failed> {
    // Twice `settle` fits into the time from one moment of being Ready to the next.
    let stage = one(cluster, &[("flaps", "3")], "settle = \"4s\"\nready_timeout = \"40s\"")?;
    let said = stage.apply(0)?;
    if said.took < Duration::from_secs(18) {
        return Err(format!("2 s of boot, 12 s of flapping and 4 s to settle are longer: {}", said.all()).into());
    }
    let node = stage.node("node-a")?;
    let ready = node["status"]["conditions"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["type"] == "Ready"))
        .and_then(|ready| ready["lastTransitionTime"].as_str())
        .ok_or("no Ready condition")?
        .parse::<jiff::Timestamp>()?;
    let record: Value =
        serde_json::from_str(node["metadata"]["annotations"]["haulout.dev/last-reboot"].as_str().unwrap_or("{}"))?;
    let freed = record["at"].as_str().ok_or("no record of the reboot")?.parse::<jiff::Timestamp>()?;
    // Times on conditions are whole seconds.
    if freed.duration_since(ready).as_secs() < 3 {
        return Err(format!("Ready at {ready} for good, and uncordoned at {freed}: {}", said.all()).into());
    }
    stage.end(1, &[("node-a", 1)])
}

pub(super) fn fires_late(cluster: &Cluster) -> Result<(), Failed> {
    let stage = one(cluster, &[("fires-after", "8s")], "")?;
    let said = stage.apply(0)?;
    if said.took < Duration::from_secs(10) {
        return Err(format!("not late: {}", said.all()).into());
    }
    stage.again(0, &["No changes."])?;
    stage.end(1, &[("node-a", 1)])
}

pub(super) fn fires_after_the_run_has_ended(cluster: &Cluster) -> Result<(), Failed> {
    let stage = one(cluster, &[("fires-after", "20s")], "ready_timeout = \"14s\"\ndrain = { timeout = \"40s\" }")?;
    let said = stage.apply(8)?;
    // A pod that could still fire must not meet new pods.
    says(&said, &["the node has not booted: its boot id is the same", "left cordoned by this run"])?;
    let before = stage.node("node-a")?;
    stage.again(2, &[LEFT])?;
    cluster.until("the late boot", Duration::from_secs(40), |cluster| {
        Ok(boot(&cluster.get(&["node", "node-a"])?) != boot(&before))
    })?;
    stage.apply(0)?;
    stage.again(0, &["No changes."])?;
    stage.end(1, &[("node-a", 1)])
}

pub(super) fn its_report_never_comes(cluster: &Cluster) -> Result<(), Failed> {
    let stage = one(cluster, &[("report-ends", "true")], "")?;
    let said = stage.apply(9)?;
    says(&said, &["note: its agent has not reported on the new boot; until it does, the node is unknown"])?;
    says(&said, &["Apply: 1 node done", "Left: 1 node = 1 unknown", "unknown: real/node/node-a"])?;
    if stage.node("node-a")?["spec"]["unschedulable"] == true {
        return Err(format!("the node itself was proved: {}", said.all()).into());
    }
    stage.again(2, &["node/node-a", "1 unknown"])?;
    stage.end(1, &[("node-a", 1)])
}

pub(super) fn a_reason_that_survives(cluster: &Cluster) -> Result<(), Failed> {
    let stage = one(cluster, &[("reason-survives", "true")], "")?;
    let said = stage.apply(9)?;
    says(&said, &["Apply: 1 node done", "Left: 1 node = 1 blocked", "blocked: real/node/node-a"])?;
    stage.again(2, &["node/node-a cannot be rebooted", "the reboot of ", " did not clear it"])?;
    // Nor does another run try again.
    stage.apply(4)?;
    stage.end(1, &[("node-a", 1)])
}
