//! One node's drain beside `kubectl drain` on the same scene: requests counted from the audit log, and time.

use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;

use super::cluster::ControlPlane;
use super::scene::{self, SimNode};
use super::thin::wait_for_nodes;

/// A busy node, with 32 pods and a DaemonSet's: it is the only one while they are placed. What one run reads whatever
/// it drains (the cluster before and after, the namespace of the Lease) is a part of its requests; kubectl's part is
/// per pod, so a node with few pods would measure the former more than the drain.
fn scene() -> Result<ControlPlane, Failed> {
    let plane = ControlPlane::start(&[])?;
    let node = |name: &str| {
        scene::node(&SimNode { name: name.to_owned(), pool: "np1", zone: "z1", asks: None, unschedulable: false })
    };
    plane.create(&node("node-a"))?;
    plane.kubectl(&["annotate", "node", "node-a", "sim.haulout.dev/stops-after=4s"])?;
    wait_for_nodes(&plane, 1)?;
    let mut manifest = scene::namespace("shop");
    // Pods take four seconds to stop, as real ones do that close their connections first; the budgets let them go in rounds.
    for (app, replicas, budget) in [("web", 6, "maxUnavailable: 1"), ("api", 8, "minAvailable: 6"), ("worker", 18, "")]
    {
        manifest += &scene::deployment("shop", app, replicas);
        if !budget.is_empty() {
            manifest += &scene::budget("shop", app, budget);
        }
    }
    plane.create(&(manifest + &scene::namespace("infra") + &scene::daemon_set("infra", "logs")))?;
    plane.until("all pods Ready", Duration::from_secs(60), |plane| {
        let deployments = plane.get(&["deployments", "-A"])?;
        let budgets = plane.get(&["pdb", "-A"])?;
        let items = |value: &Value| value["items"].as_array().cloned().unwrap_or_default();
        Ok(items(&deployments).iter().all(|one| one["status"]["availableReplicas"] == one["spec"]["replicas"])
            && items(&budgets).iter().all(|one| one["status"]["currentHealthy"] == one["status"]["expectedPods"]))
    })?;
    plane.create(&node("node-b"))?;
    wait_for_nodes(&plane, 2)?;
    Ok(plane)
}

/// All requests but discovery and Leases.
fn counted(events: &[Value]) -> usize {
    events
        .iter()
        .filter(|event| event["stage"] == "ResponseComplete" || event["verb"] == "watch")
        .filter(|event| event["stage"] != "ResponseComplete" || event["verb"] != "watch")
        .filter(|event| event["objectRef"]["resource"] != "leases")
        .filter(|event| {
            let uri = event["requestURI"].as_str().unwrap_or_default();
            let path = uri.split('?').next().unwrap_or_default();
            let discovery = ["/api", "/apis", "/version", "/api/v1", "/openapi"];
            !(discovery.contains(&path)
                || path.starts_with("/openapi")
                || path.matches('/').count() == 3 && path.starts_with("/apis/"))
        })
        .count()
}

pub(crate) fn one_drain_beside_kubectl() -> Result<(), Failed> {
    let plane = scene()?;
    let before = plane.requests("kubectl")?.len();
    let began = Instant::now();
    plane.kubectl(&["drain", "node-a", "--ignore-daemonsets"])?;
    let kubectl_took = began.elapsed();
    // Nobody else uses kubectl while it drains.
    let kubectl = counted(&plane.requests("kubectl")?[before..]);
    drop(plane);

    let plane = scene()?;
    let config = plane.config("[out_of_service.disk]\nnodes = [\"node-a\"]\nreason = \"disk\"\n")?;
    let said = plane
        .haulout(&["apply", config.to_str().ok_or("path")?, "--auto-approve"], Duration::from_secs(120))?
        .expect(0)?;
    let events = plane.requests("haulout/")?;
    let ours = counted(&events);
    eprintln!("drain: haulout {ours} requests in {:?}; kubectl {kubectl} requests in {kubectl_took:?}", said.took);
    if ours * 2 > kubectl {
        let lines: Vec<String> = events
            .iter()
            .map(|event| format!("{} {} {}", event["stage"], event["verb"], event["requestURI"]))
            .collect();
        return Err(format!("{ours} requests, more than half of kubectl's {kubectl}:\n{}", lines.join("\n")).into());
    }
    if said.took > kubectl_took {
        return Err(format!("{:?}, kubectl took {kubectl_took:?}", said.took).into());
    }
    Ok(())
}
