//! Runs that are killed, and what the next one makes of what they left.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;

use super::cluster::{ControlPlane, Said};
use super::scene::{self, SimNode};
use super::thin::wait_for_nodes;

/// A haulout on a machine of its own: its state is where no other machine looks.
pub(crate) struct Machine<'p> {
    plane: &'p ControlPlane,
    state: PathBuf,
    log: PathBuf,
}

impl<'p> Machine<'p> {
    pub(crate) fn new(plane: &'p ControlPlane, name: &str) -> Self {
        let folder = plane.folder.path();
        Self { plane, state: folder.join(format!("state-{name}")), log: folder.join(format!("log-{name}")) }
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Result<Child, Failed> {
        let file = |end: &str| std::fs::File::create(self.log.with_extension(end));
        Ok(Command::new(env!("CARGO_BIN_EXE_haulout"))
            .args(arguments)
            .current_dir(self.plane.folder.path())
            .env("KUBECONFIG", &self.plane.kubeconfig)
            .env("XDG_STATE_HOME", &self.state)
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(file("out")?)
            .stderr(file("err")?)
            .spawn()?)
    }

    /// Waits for a haulout to end, for at most `limit`; then it is killed and the test has failed.
    pub(crate) fn end(&self, mut child: Child, began: Instant, limit: Duration) -> Result<Said, Failed> {
        let read = |end: &str| std::fs::read_to_string(self.log.with_extension(end)).unwrap_or_default();
        while child.try_wait()?.is_none() {
            if began.elapsed() > limit {
                child.kill()?;
                child.wait()?;
                return Err(format!("longer than {limit:?}\n{}\n{}", read("out"), read("err")).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let code = child.wait()?.code().unwrap_or(-1);
        Ok(Said { code, out: read("out"), err: read("err"), took: began.elapsed() })
    }

    pub(crate) fn run(&self, arguments: &[&str], limit: Duration) -> Result<Said, Failed> {
        let began = Instant::now();
        let child = self.spawn(arguments)?;
        self.end(child, began, limit)
    }

    #[expect(dead_code, reason = "for resuming, which comes next")]
    /// The folders of its runs, the oldest first.
    pub(crate) fn runs(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = std::fs::read_dir(self.state.join("haulout/runs"))
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        all.sort();
        all
    }
}

/// SIGKILL: the process has no say in it.
pub(crate) fn kill(mut child: Child) -> Result<(), Failed> {
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn path(config: &Path) -> Result<&str, Failed> {
    config.to_str().ok_or_else(|| "path".into())
}

pub(crate) fn phase(plane: &ControlPlane, node: &str) -> Result<Option<String>, Failed> {
    let node = plane.get(&["node", node])?;
    Ok(node["metadata"]["annotations"]["haulout.dev/phase"].as_str().map(str::to_owned))
}

fn boot(node: &Value) -> String {
    node["status"]["nodeInfo"]["bootID"].as_str().unwrap_or_default().to_owned()
}

/// A node that asks for a reboot, with a pod of one deployment on it, and another that the pod can go to.
fn two_nodes() -> Result<(ControlPlane, PathBuf), Failed> {
    let plane = ControlPlane::start(&[])?;
    let node = |name: &str, asks| {
        scene::node(&SimNode { name: name.to_owned(), pool: "np1", zone: "z1", asks, unschedulable: false })
    };
    plane.create(&node("node-a", Some("linux-image")))?;
    wait_for_nodes(&plane, 1)?;
    plane.create(&(scene::namespace("shop") + &scene::deployment("shop", "web", 1)))?;
    plane.until("pod available", Duration::from_secs(60), |plane| {
        Ok(plane.get(&["deployment", "web", "-n", "shop"])?["status"]["availableReplicas"] == 1)
    })?;
    plane.create(&node("node-b", None))?;
    wait_for_nodes(&plane, 2)?;
    let config = plane.config("[reboot.linux]\nwhen_required = true\nsettle = \"1s\"\n")?;
    Ok((plane, config))
}

/// Waits until the first run has brought the node to a phase, and kills it.
fn kill_at(plane: &ControlPlane, child: Child, node: &str, wanted: &[&str]) -> Result<(), Failed> {
    plane.until("the node marked", Duration::from_secs(60), |plane| {
        Ok(phase(plane, node)?.is_some_and(|phase| wanted.contains(&phase.as_str())))
    })?;
    kill(child)
}

/// Everything is done, and nothing of any run is left.
fn settled(plane: &ControlPlane, config: &str, reboots: &[(&str, &str)]) -> Result<(), Failed> {
    for (name, before) in reboots {
        let node = plane.get(&["node", name])?;
        let annotations = node["metadata"]["annotations"].to_string();
        for mark in ["haulout.dev/cordon", "haulout.dev/phase", "haulout.dev/run\"", "scale-down-disabled"] {
            if annotations.contains(mark) {
                return Err(format!("{name}: {mark} is left: {annotations}").into());
            }
        }
        if boot(&node) == *before || node["spec"]["unschedulable"] == true {
            return Err(format!("{name} is not as it should be: {node:#}").into());
        }
    }
    let pods = plane.get(&["pods", "-n", "haulout-system"])?;
    if pods["items"].as_array().is_some_and(|pods| !pods.is_empty()) {
        return Err(format!("reboot pods are left: {pods}").into());
    }
    let again = plane.haulout(&["plan", config, "--detailed-exitcode"], Duration::from_secs(30))?.expect(0)?;
    if again.out.contains("No changes.") { Ok(()) } else { Err(again.all().into()) }
}

pub(crate) fn another_machine_finishes_what_a_killed_run_began() -> Result<(), Failed> {
    let (plane, config) = two_nodes()?;
    let config = path(&config)?;
    let before = boot(&plane.get(&["node", "node-a"])?);
    let first = Machine::new(&plane, "first");
    let child = first.spawn(&["apply", config, "--auto-approve"])?;
    kill_at(&plane, child, "node-a", &["cordoned", "armed", "drained"])?;

    // While its lock is live, nobody touches what it has marked.
    let second = Machine::new(&plane, "second");
    let live = second.run(&["plan", config], Duration::from_secs(30))?.expect(0)?;
    if !live.out.contains("has marked it and not finished") {
        return Err(live.all().into());
    }
    std::thread::sleep(Duration::from_secs(61));
    let dead = second.run(&["plan", config], Duration::from_secs(30))?.expect(0)?;
    if !dead.out.contains("which is dead, cordoned it") {
        return Err(dead.all().into());
    }
    second.run(&["apply", config, "--auto-approve"], Duration::from_secs(180))?.expect(0)?;
    settled(&plane, config, &[("node-a", &before)])
}
