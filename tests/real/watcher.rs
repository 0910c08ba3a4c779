//! Watches a control plane from outside and holds what happens against the invariants, event by event.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use libtest_mimic::Failed;
use serde_json::Value;

use super::cluster::Cluster;

/// How many nodes may be out, by pool, by zone, and in all. Foreign nodes that are out from the start count too.
pub(crate) struct Limits {
    pub(crate) cluster: usize,
    pub(crate) pool: usize,
    pub(crate) zone: usize,
}

/// Out, pool, zone, boot ids in order.
type Known = (bool, String, String, Vec<String>);

#[derive(Default)]
struct Seen {
    nodes: BTreeMap<String, Known>,
    violations: Vec<String>,
    most_out: usize,
    events: usize,
}

/// A watch of nodes and budgets, through two processes of kubectl.
pub(crate) struct Watcher {
    children: Vec<Child>,
    readers: Vec<JoinHandle<()>>,
    events: Receiver<Value>,
    /// Whether a budget with too few healthy pods is a mistake of the run; not where somebody tightens it.
    pub(crate) holds_budgets: bool,
}

impl Watcher {
    pub(crate) fn start(plane: &Cluster) -> Result<Self, Failed> {
        let (send, events) = channel();
        let mut watcher = Self { children: Vec::new(), readers: Vec::new(), events, holds_budgets: true };
        for path in ["/api/v1/nodes", "/apis/policy/v1/poddisruptionbudgets"] {
            let program = std::env::var_os("HAULOUT_CONTROLPLANE").ok_or("HAULOUT_CONTROLPLANE is not set")?;
            let list: Value = serde_json::from_str(&plane.kubectl(&["get", "--raw", path])?)?;
            let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
            let kind = if path.ends_with("nodes") { "Node" } else { "PodDisruptionBudget" };
            for mut item in list["items"].as_array().cloned().unwrap_or_default() {
                item["kind"] = kind.into();
                send.send(item)?;
            }
            let mut child = Command::new(program)
                .arg("kubectl")
                .arg("--kubeconfig")
                .arg(&plane.kubeconfig)
                .args(["get", "--raw", &format!("{path}?watch=1&resourceVersion={version}&timeoutSeconds=1800")])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            let out = child.stdout.take().ok_or("kubectl has no stdout")?;
            let send = send.clone();
            watcher.readers.push(std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
                    if send.send(event["object"].clone()).is_err() {
                        return;
                    }
                }
            }));
            watcher.children.push(child);
        }
        Ok(watcher)
    }

    /// Ends the watch and says what it saw: how many nodes were out at most, and the boot ids of each node.
    pub(crate) fn end(mut self, limits: &Limits) -> Result<(usize, BTreeMap<String, Vec<String>>), Failed> {
        // What was written last is on its way.
        std::thread::sleep(std::time::Duration::from_secs(1));
        self.stop();
        let mut seen = Seen::default();
        while let Ok(object) = self.events.try_recv() {
            seen.events += 1;
            match object["kind"].as_str() {
                Some("Node") => node(&mut seen, &object, limits),
                Some("PodDisruptionBudget") if self.holds_budgets => budget(&mut seen, &object),
                _ => {}
            }
        }
        if !seen.violations.is_empty() {
            return Err(format!("{} violations: {:#?}", seen.violations.len(), seen.violations).into());
        }
        if seen.events == 0 {
            return Err("the watch saw nothing, which proves nothing".into());
        }
        Ok((seen.most_out, seen.nodes.into_iter().map(|(name, (_, _, _, boots))| (name, boots)).collect()))
    }

    fn stop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop();
    }
}

fn node(seen: &mut Seen, object: &Value, limits: &Limits) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&object["metadata"]["name"]);
    let ready = object["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
    let out = object["spec"]["unschedulable"] == true || !ready;
    let labels = &object["metadata"]["labels"];
    let entry = seen.nodes.entry(name.clone()).or_default();
    entry.0 = out;
    entry.1 = text(&labels["agentpool"]);
    entry.2 = text(&labels["topology.kubernetes.io/zone"]);
    let boot = text(&object["status"]["nodeInfo"]["bootID"]);
    if entry.3.last() != Some(&boot) {
        entry.3.push(boot);
    }
    let (pool, zone) = (entry.1.clone(), entry.2.clone());
    let count = |of: &dyn Fn(&Known) -> bool| seen.nodes.values().filter(|node| node.0 && of(node)).count();
    let (all, in_pool, in_zone) = (count(&|_| true), count(&|node| node.1 == pool), count(&|node| node.2 == zone));
    seen.most_out = seen.most_out.max(all);
    if all > limits.cluster || in_pool > limits.pool || in_zone > limits.zone {
        seen.violations.push(format!("{name}: {all} out in all, {in_pool} in pool {pool}, {in_zone} in zone {zone}"));
    }
}

fn budget(seen: &mut Seen, object: &Value) {
    let status = &object["status"];
    let count = |name: &str| status[name].as_u64().unwrap_or(0);
    if count("currentHealthy") < count("desiredHealthy") {
        seen.violations.push(format!(
            "budget {}: {} healthy, needs {}",
            object["metadata"]["name"],
            count("currentHealthy"),
            count("desiredHealthy")
        ));
    }
}
