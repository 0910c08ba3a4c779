//! What all cases share: nodes with their habits, a config with short limits, and what must hold at every end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;

use super::super::cluster::{Cluster, Said};
use super::super::crash::Machine;
use super::super::scene::{self, SimNode};
use super::super::thin::wait_for_nodes;
use super::super::watcher::{Limits, Watcher};

/// No case takes longer, even on a machine that is busy with others.
pub(super) const LIMIT: Duration = Duration::from_secs(150);

/// The habits of a node, as annotations of its simulated kubelet.
pub(super) type Habits<'a> = &'a [(&'a str, &'a str)];

/// A node of pool `np1`; one that asks for a reboot is of the pool named like itself, so that `order` can put it first.
pub(super) fn node(name: &str, asks: bool, habits: Habits<'_>) -> String {
    let asks = asks.then_some("kernel");
    let text = scene::node(&SimNode { name: name.to_owned(), pool: name, zone: "z1", asks, unschedulable: false });
    habits.iter().fold(text, |text, (habit, value)| {
        let line = format!("    sim.haulout.dev/{habit}: {value:?}\n");
        let default = "    sim.haulout.dev/reboot-takes: \"2s\"\n";
        match *habit {
            "reboot-takes" => text.replace(default, &line),
            _ => text.replace("  annotations:\n", &format!("  annotations:\n{line}")),
        }
    })
}

/// A cluster that is ready for a case, and watched.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) machine: Machine<'a>,
    config: PathBuf,
    pub(super) watcher: Watcher,
}

impl<'a> Stage<'a> {
    /// Creates nodes, the first of them before the workloads, which are therefore on it; and a config.
    ///
    /// `of_cluster` goes into the table of the cluster, `of_reboot` into that of the reboots.
    pub(super) fn set(
        cluster: &'a Cluster,
        nodes: &[String],
        workloads: &str,
        [of_cluster, of_reboot]: [&str; 2],
    ) -> Result<Self, Failed> {
        let (first, others) = nodes.split_first().ok_or("no node")?;
        cluster.create(first)?;
        wait_for_nodes(cluster, 1)?;
        if !workloads.is_empty() {
            cluster.create(&(scene::namespace("shop") + workloads))?;
            cluster.until("pods running", Duration::from_secs(60), |cluster| {
                let pods = cluster.get(&["pods", "-n", "shop"])?;
                let pods = pods["items"].as_array().cloned().unwrap_or_default();
                Ok(!pods.is_empty() && pods.iter().all(is_ready))
            })?;
        }
        if !others.is_empty() {
            cluster.create(&others.concat())?;
            wait_for_nodes(cluster, nodes.len())?;
        }
        let config = cluster.config(&format!(
            "{of_cluster}\n[reboot.linux]\nwhen_required = true\n{}{}{}{of_reboot}\n",
            if of_reboot.contains("settle") { "" } else { "settle = \"1s\"\n" },
            if of_reboot.contains("ready_timeout") { "" } else { "ready_timeout = \"20s\"\n" },
            if of_reboot.contains("drain") { "" } else { "drain = { timeout = \"20s\" }\n" },
        ))?;
        let machine = Machine::new(cluster, "one");
        Ok(Self { cluster, machine, config, watcher: Watcher::start(cluster)? })
    }

    pub(super) fn config(&self) -> Result<&str, Failed> {
        self.config.to_str().ok_or_else(|| "path".into())
    }

    /// Applies, expects an exit code, and holds what is left against what was said.
    pub(super) fn apply(&self, code: i32) -> Result<Said, Failed> {
        self.apply_while(code, || Ok(()))
    }

    /// Applies, and does something meanwhile.
    pub(super) fn apply_while(
        &self,
        code: i32,
        meanwhile: impl FnOnce() -> Result<(), Failed>,
    ) -> Result<Said, Failed> {
        let began = Instant::now();
        let child = self.machine.spawn(&["apply", self.config()?, "--auto-approve"])?;
        let done = meanwhile();
        let said = self.machine.end(child, began, LIMIT)?;
        done.map_err(|error| format!("{:?}: {}", error, said.all()))?;
        let said = said.expect(code)?;
        self.nothing_unnamed(&said)?;
        Ok(said)
    }

    /// Plans again and expects words of it.
    pub(super) fn again(&self, code: i32, words: &[&str]) -> Result<Said, Failed> {
        let said = self.machine.run(&["plan", self.config()?, "--detailed-exitcode"], LIMIT)?.expect(code)?;
        says(&said, words)?;
        Ok(said)
    }

    pub(super) fn node(&self, name: &str) -> Result<Value, Failed> {
        self.cluster.get(&["node", name])
    }

    /// How often the runs so far have announced a change of one type, by their journals.
    pub(super) fn intents(&self, what: &str) -> Result<usize, Failed> {
        let mut count = 0;
        for run in self.machine.runs() {
            for file in std::fs::read_dir(run)? {
                let path = file?.path();
                if path.extension().is_some_and(|end| end == "jsonl") {
                    let text = std::fs::read_to_string(path)?;
                    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                    count += lines.filter(|line| line["event"]["intent"]["type"] == what).count();
                }
            }
        }
        Ok(count)
    }

    /// Waits until a node's marks say a phase.
    pub(super) fn until_phase(&self, name: &str, phases: &[&str]) -> Result<(), Failed> {
        self.cluster.until("the phase", Duration::from_secs(60), |cluster| {
            let node = cluster.get(&["node", name])?;
            let phase = node["metadata"]["annotations"]["haulout.dev/phase"].as_str();
            Ok(phase.is_some_and(|phase| phases.contains(&phase)))
        })
    }

    /// Every node that is still cordoned is named at the end of the run, and no reboot pod is left that could fire on a
    /// node that is free.
    fn nothing_unnamed(&self, said: &Said) -> Result<(), Failed> {
        let last = said.out.rfind("\nFailed\n").or_else(|| said.out.rfind("\nSkipped\n")).unwrap_or(0);
        let report = &said.out[last..];
        let nodes = self.cluster.get(&["nodes"])?;
        for node in nodes["items"].as_array().into_iter().flatten() {
            let name = node["metadata"]["name"].as_str().unwrap_or_default();
            let cordoned = node["spec"]["unschedulable"] == true;
            let ours = node["metadata"]["annotations"]["haulout.dev/cordon"].is_string();
            if ours && !report.contains(&format!("real/node/{name}")) {
                return Err(format!("{name} is marked and not named: {}", said.all()).into());
            }
            let pods = self.cluster.get(&[
                "pods",
                "-n",
                "haulout-system",
                "--field-selector",
                &format!("spec.nodeName={name},status.phase=Running"),
            ])?;
            if !cordoned && pods["items"].as_array().is_some_and(|pods| !pods.is_empty()) {
                return Err(format!("{name} is free with a reboot pod on it: {}", said.all()).into());
            }
        }
        Ok(())
    }

    /// Ends the watch: how often each node booted, and that never more than so many were out.
    pub(super) fn end(self, most_out: usize, boots: &[(&str, usize)]) -> Result<(), Failed> {
        let limits = Limits { cluster: most_out, pool: most_out, zone: most_out };
        let (_, seen) = self.watcher.end(&limits)?;
        for (name, wanted) in boots {
            let seen = seen.get(*name).map_or(0, |ids| ids.iter().filter(|id| !id.is_empty()).count() - 1);
            if seen != *wanted {
                return Err(format!("{name} booted {seen} times, not {wanted}").into());
            }
        }
        Ok(())
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
}

/// All of the words are in what was said.
pub(super) fn says(said: &Said, words: &[&str]) -> Result<(), Failed> {
    for word in words {
        if !said.out.contains(word) && !said.err.contains(word) {
            return Err(format!("{word:?} is not in what it said: {}", said.all()).into());
        }
    }
    Ok(())
}

/// None of the words are in what was said.
pub(super) fn never_says(said: &Said, words: &[&str]) -> Result<(), Failed> {
    match words.iter().find(|word| said.out.contains(**word) || said.err.contains(**word)) {
        Some(word) => Err(format!("{word:?} is in what it said: {}", said.all()).into()),
        None => Ok(()),
    }
}
