//! Thirty nodes in three zones and two pools roll while a watch from outside looks for the least violation.

use std::time::Duration;

use libtest_mimic::Failed;

use super::cluster::ControlPlane;
use super::scene::{self, SimNode};
use super::thin::wait_for_nodes;
use super::watcher::{Limits, Watcher};

const NODES: usize = 30;
/// Two nodes do not ask for a reboot, and one more is cordoned by a person.
const QUIET: [usize; 2] = [4, 19];
const FOREIGN: usize = 11;

pub(crate) fn thirty_nodes_roll_under_budgets() -> Result<(), Failed> {
    let plane = ControlPlane::start(&[])?;
    let mut manifest = String::new();
    for index in 0..NODES {
        manifest += &scene::node(&SimNode {
            name: format!("node-{index:02}"),
            pool: if index % 2 == 0 { "apps" } else { "data" },
            zone: ["z1", "z2", "z3"][index % 3],
            asks: (!QUIET.contains(&index)).then_some("linux-image-6.8.0-1021-azure"),
            unschedulable: false,
        });
    }
    plane.create(&manifest)?;
    wait_for_nodes(&plane, NODES)?;
    let mut manifest = scene::namespace("shop") + &scene::namespace("db") + &scene::namespace("infra");
    for index in 0..20 {
        let app = format!("app-{index:02}");
        manifest += &scene::deployment("shop", &app, 3 + index % 4);
        manifest += &scene::budget("shop", &app, if index % 2 == 0 { "maxUnavailable: 1" } else { "minAvailable: 2" });
    }
    for app in ["pg", "kafka", "redis"] {
        manifest += &scene::stateful_set("db", app, 3);
        manifest += &scene::budget("db", app, "maxUnavailable: 1");
    }
    for app in ["cni", "logs", "metrics"] {
        manifest += &scene::daemon_set("infra", app);
    }
    plane.create(&manifest)?;
    plane.until("all pods Ready", Duration::from_secs(120), |plane| {
        let pods = plane.get(&["pods", "-A"])?;
        let items = pods["items"].as_array().cloned().unwrap_or_default();
        let ready = items.iter().filter(|pod| {
            pod["status"]["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
        });
        let budgets = plane.get(&["pdb", "-A"])?;
        let counted = budgets["items"]
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one["status"]["currentHealthy"] == one["status"]["expectedPods"]));
        Ok(items.len() == 90 + 9 + 90 && ready.count() == items.len() && counted)
    })?;
    let foreign = format!("node-{FOREIGN:02}");
    plane.kubectl(&["cordon", &foreign])?;

    let config = plane.config(
        "max_unavailable = 5\n\n[reboot.linux]\nwhen_required = true\nmax_unavailable = 3\n\
         max_unavailable_per_zone = 2\nsettle = \"1s\"\n",
    )?;
    let config = config.to_str().ok_or("path")?;
    let watcher = Watcher::start(&plane)?;
    // The node that a person cordoned is blocked, so that all is done but something remains: exit 9.
    let said = plane.haulout(&["apply", config, "--auto-approve"], Duration::from_secs(600))?.expect(9)?;
    let (most_out, boots) = watcher.end(&Limits { cluster: 5, pool: 3, zone: 2 })?;
    if most_out < 3 {
        return Err(format!("never more than {most_out} nodes out: nothing ran side by side").into());
    }
    for (index, (node, boots)) in boots.iter().enumerate() {
        let expected = if QUIET.contains(&index) || index == FOREIGN { 1 } else { 2 };
        if boots.len() != expected {
            return Err(format!("{node} had {} boot ids, not {expected}: {}", boots.len(), said.all()).into());
        }
    }
    let nodes = plane.get(&["nodes"])?;
    for node in nodes["items"].as_array().cloned().unwrap_or_default() {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let annotations = node["metadata"]["annotations"].to_string();
        for mark in ["haulout.dev/cordon", "haulout.dev/phase", "haulout.dev/run\"", "scale-down-disabled"] {
            if annotations.contains(mark) {
                return Err(format!("{name}: {mark} is left: {annotations}").into());
            }
        }
        if (node["spec"]["unschedulable"] == true) != (name == foreign) {
            return Err(format!("{name}: unschedulable is not what it should be").into());
        }
    }
    let pods = plane.get(&["pods", "-n", "haulout-system"])?;
    if pods["items"].as_array().is_some_and(|pods| !pods.is_empty()) {
        return Err(format!("reboot pods are left: {pods}").into());
    }
    let again = plane.haulout(&["plan", config, "--format", "json"], Duration::from_secs(30))?.expect(0)?;
    let plan: serde_json::Value = serde_json::from_str(&again.out)?;
    let steps = &plan["clusters"][0]["steps"];
    if !steps.as_array().is_some_and(Vec::is_empty) {
        return Err(format!("the second plan has steps: {steps}").into());
    }
    if plan["clusters"][0]["blocked"].as_array().map(Vec::len) != Some(1) {
        return Err(format!("exactly the foreign cordon should be blocked: {}", again.out).into());
    }
    eprintln!("thirty nodes: {:?}, at most {most_out} out", said.took);
    Ok(())
}
