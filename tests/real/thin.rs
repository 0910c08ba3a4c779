//! A thin line through everything.

use std::time::Duration;

use libtest_mimic::Failed;

use super::cluster::{Cluster, ControlPlane};
use super::scene::{self, SimNode};

pub(crate) fn wait_for_nodes(plane: &Cluster, count: usize) -> Result<(), Failed> {
    plane.until("nodes Ready and reported on", Duration::from_secs(60), |plane| {
        let nodes = plane.get(&["nodes"])?;
        let items = nodes["items"].as_array().cloned().unwrap_or_default();
        Ok(items.len() == count
            && items.iter().all(|node| {
                let ready = node["status"]["conditions"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
                let tainted = node["spec"]["taints"]
                    .as_array()
                    .is_some_and(|taints| taints.iter().any(|taint| taint["key"] == "node.kubernetes.io/not-ready"));
                ready && !tainted && node["metadata"]["annotations"]["haulout.dev/reported-at"].is_string()
            }))
    })
}

pub(crate) fn available(plane: &Cluster, namespace: &str, name: &str, count: u64) -> Result<(), Failed> {
    plane.until("pods available", Duration::from_secs(60), |plane| {
        let deployment = plane.get(&["deployment", name, "-n", namespace])?;
        Ok(deployment["status"]["availableReplicas"].as_u64() == Some(count))
    })
}

pub(crate) fn one_node_one_pod_one_reboot() -> Result<(), Failed> {
    let plane = ControlPlane::start(&[])?;
    let node = |name: &str, asks| {
        scene::node(&SimNode { name: name.to_owned(), pool: "np1", zone: "z1", asks, unschedulable: false })
    };
    plane.create(&node("node-a", Some("linux-image-6.8.0-1021-azure")))?;
    wait_for_nodes(&plane, 1)?;
    plane.create(&(scene::namespace("shop") + &scene::deployment("shop", "web", 1)))?;
    available(&plane, "shop", "web", 1)?;
    plane.create(&node("node-b", None))?;
    wait_for_nodes(&plane, 2)?;
    let before = plane.get(&["node", "node-a"])?;

    let config = plane.config("[reboot.linux]\nwhen_required = true\nsettle = \"1s\"\n")?;
    let config = config.to_str().ok_or("path")?;
    let planned = plane.haulout(&["plan", config, "--detailed-exitcode"], Duration::from_secs(30))?.expect(2)?;
    if !planned.out.contains("node/node-a will be drained and rebooted") {
        return Err(planned.all().into());
    }
    plane.haulout(&["apply", config, "--auto-approve"], Duration::from_secs(120))?.expect(0)?;
    let after = plane.get(&["node", "node-a"])?;
    let boot = |node: &serde_json::Value| node["status"]["nodeInfo"]["bootID"].clone();
    if boot(&before) == boot(&after) {
        return Err("the boot id did not change".into());
    }
    let annotations = after["metadata"]["annotations"].to_string();
    for mark in ["haulout.dev/cordon", "haulout.dev/phase", "haulout.dev/run", "scale-down-disabled"] {
        if annotations.contains(mark) {
            return Err(format!("mark {mark} is left: {annotations}").into());
        }
    }
    if !annotations.contains("haulout.dev/last-reboot") || after["spec"]["unschedulable"] == true {
        return Err(format!("not as it should be: {after:#}").into());
    }
    let web = plane.get(&["pods", "-n", "shop"])?;
    if web["items"][0]["spec"]["nodeName"] != "node-b" {
        return Err("the pod did not move".into());
    }
    let again = plane.haulout(&["plan", config, "--detailed-exitcode"], Duration::from_secs(30))?.expect(0)?;
    if !again.out.contains("No changes.") {
        return Err(again.all().into());
    }
    Ok(())
}

pub(crate) fn out_of_service_and_back() -> Result<(), Failed> {
    let plane = ControlPlane::start(&[])?;
    for name in ["node-a", "node-b"] {
        let node = SimNode { name: name.to_owned(), pool: "np1", zone: "z1", asks: None, unschedulable: false };
        plane.create(&scene::node(&node))?;
    }
    wait_for_nodes(&plane, 2)?;
    plane.create(&(scene::namespace("shop") + &scene::deployment("shop", "web", 4)))?;
    available(&plane, "shop", "web", 4)?;
    let reboot = "[reboot.linux]\nwhen_required = true\n";
    let out = format!("{reboot}[out_of_service.disk]\nnodes = [\"node-a\"]\nreason = \"disk replacement CHG0042\"\n");
    let config = plane.config(&out)?;
    let path = config.to_str().ok_or("path")?;
    plane.haulout(&["apply", path, "--auto-approve"], Duration::from_secs(120))?.expect(0)?;
    let node = plane.get(&["node", "node-a"])?;
    if node["spec"]["unschedulable"] != true || node["metadata"]["annotations"]["haulout.dev/run"].is_string() {
        return Err(format!("not out of service, or still marked by the run: {node:#}").into());
    }
    let pods = plane.get(&["pods", "-n", "shop"])?;
    if pods["items"].as_array().is_some_and(|pods| pods.iter().any(|pod| pod["spec"]["nodeName"] == "node-a")) {
        return Err("pods are left on the node".into());
    }
    let again = plane.haulout(&["plan", path, "--detailed-exitcode"], Duration::from_secs(30))?.expect(0)?;
    if !again.out.contains("No changes.") {
        return Err(again.all().into());
    }
    plane.config(reboot)?;
    let release = plane.haulout(&["plan", path], Duration::from_secs(30))?.expect(0)?;
    if !release.out.contains("node/node-a will be uncordoned") {
        return Err(release.all().into());
    }
    plane.haulout(&["apply", path, "--auto-approve"], Duration::from_secs(60))?.expect(0)?;
    let node = plane.get(&["node", "node-a"])?;
    if node["spec"]["unschedulable"] == true || node["metadata"]["annotations"]["haulout.dev/cordon"].is_string() {
        return Err(format!("not released: {node:#}").into());
    }
    Ok(())
}

pub(crate) fn no_terminal_no_work() -> Result<(), Failed> {
    let plane = ControlPlane::start(&[])?;
    let config = plane.config("[reboot.linux]\nwhen_required = true\n")?;
    let said = plane.haulout(&["apply", config.to_str().ok_or("path")?], Duration::from_secs(30))?.expect(1)?;
    if !said.err.contains("--auto-approve") || !plane.requests("haulout/")?.is_empty() {
        return Err(said.all().into());
    }
    Ok(())
}
