//! A cluster that still runs kured: the node that kured works on is its own.

use std::time::Duration;

use libtest_mimic::Failed;

use super::cluster::ControlPlane;
use super::scene::{self, SimNode};
use super::thin::wait_for_nodes;

const LIMIT: Duration = Duration::from_secs(120);
const LOCK: &str = "weave.works/kured-node-lock";

pub(crate) fn kured_keeps_the_node_that_it_holds() -> Result<(), Failed> {
    let plane = ControlPlane::start(&[])?;
    for name in ["node-a", "node-b"] {
        let node =
            SimNode { name: name.to_owned(), pool: "np1", zone: "z1", asks: Some("kernel"), unschedulable: false };
        plane.create(&scene::node(&node))?;
    }
    wait_for_nodes(&plane, 2)?;
    plane.create(&scene::daemon_set("kube-system", "kured"))?;
    // As kured writes it on its own DaemonSet before it drains a node, and takes it away when the node is back.
    let lock = r#"{"nodeID":"node-a","metadata":{"unschedulable":false},"created":"2026-03-02T01:02:03.45Z","TTL":0}"#;
    let set = ["annotate", "daemonset", "kured", "-n", "kube-system"];
    plane.kubectl(&[&set[..], &[&format!("{LOCK}={lock}")]].concat())?;
    let boot = |name: &str| -> Result<String, Failed> {
        Ok(plane.get(&["node", name])?["status"]["nodeInfo"]["bootID"].to_string())
    };
    let (a, b) = (boot("node-a")?, boot("node-b")?);

    // Where one node may be out, it is kured's.
    let one = plane.config("[reboot.linux]\nwhen_required = true\nsettle = \"1s\"\n")?;
    let one = one.to_str().ok_or("path")?;
    let said = plane.haulout(&["apply", one, "--auto-approve"], LIMIT)?;
    let held = "kured works on it: it holds the lock on daemonset kube-system/kured";
    if !said.out.contains(held) || !said.out.contains("node/node-b cannot be rebooted") {
        return Err(format!("kured's lock is not told: {}", said.all()).into());
    }
    if (boot("node-a")?, boot("node-b")?) != (a.clone(), b.clone()) {
        return Err("a node was rebooted beside kured".into());
    }

    // Where two may be out, the other one is done, and kured's is left alone.
    let two = plane
        .config("max_unavailable = 2\n[reboot.linux]\nwhen_required = true\nmax_unavailable = 2\nsettle = \"1s\"\n")?;
    let two = two.to_str().ok_or("path")?;
    let said = plane.haulout(&["apply", two, "--auto-approve"], LIMIT)?;
    if boot("node-b")? == b || boot("node-a")? != a {
        return Err(format!("not the other node alone: {}", said.all()).into());
    }
    let node = plane.get(&["node", "node-a"])?;
    if node["spec"]["unschedulable"] == true || node["metadata"]["annotations"].to_string().contains("haulout.dev/run")
    {
        return Err(format!("kured's node was touched: {node:#}").into());
    }

    // kured has let go without a reboot: now it is haulout's.
    plane.kubectl(&[&set[..], &[&format!("{LOCK}-")]].concat())?;
    plane.haulout(&["apply", two, "--auto-approve"], LIMIT)?.expect(0)?;
    if boot("node-a")? == a {
        return Err("the node that kured let go of was not rebooted".into());
    }
    Ok(())
}
