//! Runs that are killed, and what the next one makes of what they left.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;

use super::cluster::{Cluster, ControlPlane, Said};
use super::kills::{account, changes, user};
use super::scene::{self, SimNode};
use super::thin::wait_for_nodes;
use super::watcher::{Limits, Watcher};

/// A haulout on a machine of its own: its state is where no other machine looks.
pub(crate) struct Machine<'p> {
    plane: &'p Cluster,
    pub(crate) state: PathBuf,
    log: PathBuf,
    pub(crate) kubeconfig: PathBuf,
}

impl<'p> Machine<'p> {
    pub(crate) fn new(plane: &'p Cluster, name: &str) -> Self {
        let folder = plane.folder.path();
        let state = folder.join(format!("state-{name}"));
        Self { plane, state, log: folder.join(format!("log-{name}")), kubeconfig: plane.kubeconfig.clone() }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haulout"));
        command.args(arguments);
        self.settle_in(command)
    }

    /// A haulout whose files cannot grow beyond eight kilobytes; bash counts in those.
    pub(crate) fn command_of_small_files(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("bash");
        let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
        command.args(["-c", script, env!("CARGO_BIN_EXE_haulout")]).args(arguments);
        self.settle_in(command)
    }

    fn settle_in(&self, mut command: Command) -> Command {
        command
            .current_dir(self.plane.folder.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("XDG_STATE_HOME", &self.state)
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Result<Child, Failed> {
        let file = |end: &str| std::fs::File::create(self.log.with_extension(end));
        Ok(self.command(arguments).stdout(file("out")?).stderr(file("err")?).spawn()?)
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

pub(crate) fn path(config: &Path) -> Result<&str, Failed> {
    config.to_str().ok_or_else(|| "path".into())
}

pub(crate) fn phase(plane: &Cluster, node: &str) -> Result<Option<String>, Failed> {
    let node = plane.get(&["node", node])?;
    Ok(node["metadata"]["annotations"]["haulout.dev/phase"].as_str().map(str::to_owned))
}

pub(crate) fn boot(node: &Value) -> String {
    node["status"]["nodeInfo"]["bootID"].as_str().unwrap_or_default().to_owned()
}

/// A node that asks for a reboot, with the pods of one deployment on it, and another that they can go to.
pub(crate) fn two_nodes(pods: u32) -> Result<(ControlPlane, PathBuf), Failed> {
    let plane = ControlPlane::start(&[])?;
    let node = |name: &str, asks| {
        scene::node(&SimNode { name: name.to_owned(), pool: "np1", zone: "z1", asks, unschedulable: false })
    };
    plane.create(&node("node-a", Some("linux-image")))?;
    wait_for_nodes(&plane, 1)?;
    plane.create(&(scene::namespace("shop") + &scene::deployment("shop", "web", pods)))?;
    plane.until("pod available", Duration::from_secs(60), |plane| {
        Ok(plane.get(&["deployment", "web", "-n", "shop"])?["status"]["availableReplicas"] == pods)
    })?;
    plane.create(&node("node-b", None))?;
    wait_for_nodes(&plane, 2)?;
    let config = plane.config("[reboot.linux]\nwhen_required = true\nsettle = \"1s\"\n")?;
    Ok((plane, config))
}

/// A run that is killed once it has brought the node to a phase. What stops and boots slowly leaves time to see it.
fn killed_at(
    plane: &ControlPlane,
    machine: &Machine<'_>,
    config: &str,
    node: &str,
    wanted: &[&str],
) -> Result<(), Failed> {
    let slow = ["sim.haulout.dev/stops-after=4s", "sim.haulout.dev/reboot-takes=6s"];
    plane.kubectl(&[&["annotate", "node", node, "--overwrite"], &slow[..]].concat())?;
    let child = machine.spawn(&["apply", config, "--auto-approve"])?;
    plane.until("the node marked", Duration::from_secs(60), |plane| {
        Ok(phase(plane, node)?.is_some_and(|phase| wanted.contains(&phase.as_str())))
    })?;
    kill(child)
}

/// Everything is done, and nothing of any run is left.
pub(crate) fn settled(plane: &Cluster, config: &str, reboots: &[(&str, &str)]) -> Result<(), Failed> {
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
    let (plane, config) = two_nodes(1)?;
    let config = path(&config)?;
    let before = boot(&plane.get(&["node", "node-a"])?);
    let first = Machine::new(&plane, "first");
    killed_at(&plane, &first, config, "node-a", &["cordoned", "armed", "drained"])?;

    // While its lock is live, nobody touches what it has marked.
    let second = Machine::new(&plane, "second");
    let limit = Duration::from_secs(30);
    let live = second.run(&["plan", config], limit)?.expect(0)?;
    if !live.out.contains("has marked it and not finished") {
        return Err(live.all().into());
    }
    second.run(&["apply", config, "--auto-approve"], limit)?.expect(5)?;
    let status = second.run(&["status", config], limit)?.expect(0)?;
    for words in ["alive", "node/node-a is cordoned", "wait for run"] {
        if !status.out.contains(words) {
            return Err(format!("{words} is not in {}", status.all()).into());
        }
    }
    let done = second.run(&["apply", config, "--auto-approve", "--lock-timeout", "90s"], Duration::from_secs(180))?;
    let done = done.expect(0)?;
    if !done.out.contains("which has ended, cordoned it") {
        return Err(done.all().into());
    }
    settled(&plane, config, &[("node-a", &before)])
}

/// The run that the last reboot of a node is recorded under.
fn rebooted_by(plane: &ControlPlane, node: &str) -> Result<String, Failed> {
    let node = plane.get(&["node", node])?;
    let text = node["metadata"]["annotations"]["haulout.dev/last-reboot"].as_str().unwrap_or("{}");
    let record: Value = serde_json::from_str(text)?;
    Ok(record["run"].as_str().unwrap_or_default().to_owned())
}

pub(crate) fn a_killed_run_is_resumed_under_its_own_id() -> Result<(), Failed> {
    // Before the request all is done anew; after it the reboot is proved and never asked for again.
    for phases in [&["armed", "drained"][..], &["reboot"]] {
        let (plane, config) = two_nodes(1)?;
        let config = path(&config)?;
        let before = boot(&plane.get(&["node", "node-a"])?);
        let machine = Machine::new(&plane, "one");
        let watcher = Watcher::start(&plane)?;
        killed_at(&plane, &machine, config, "node-a", phases)?;
        let folder = machine.runs().pop().ok_or("no run")?;
        // Torn at some byte of its last line, as by a machine that lost its power.
        let segment = folder.join("0001.jsonl");
        let text = std::fs::read(&segment)?;
        std::fs::write(&segment, [&text[..], b"{\"kind\":\"run\",\"format_ver"].concat())?;

        let limit = Duration::from_secs(120);
        let elsewhere = Machine::new(&plane, "two").run(&["apply", config, "--auto-approve", "--resume"], limit)?;
        elsewhere.expect(1)?;
        let resumed = machine.run(&["apply", config, "--auto-approve", "--resume"], limit)?.expect(0)?;
        if resumed.took > Duration::from_secs(55) {
            return Err(format!("its own lock was not retaken at once: {}", resumed.all()).into());
        }
        settled(&plane, config, &[("node-a", &before)])?;
        let run = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if rebooted_by(&plane, "node-a")? != run || machine.runs().len() != 1 || !folder.join("0002.jsonl").exists() {
            return Err(format!("not under its own id: {}", resumed.all()).into());
        }
        let (_, boots) = watcher.end(&Limits { cluster: 1, pool: 1, zone: 1 })?;
        if boots["node-a"].len() != 2 {
            return Err(format!("{phases:?}: rebooted {} times", boots["node-a"].len() - 1).into());
        }
        machine.run(&["apply", config, "--auto-approve", "--resume"], limit)?.expect(1)?;
    }
    Ok(())
}

pub(crate) fn a_dead_run_is_given_up() -> Result<(), Failed> {
    let (plane, config) = two_nodes(1)?;
    let config = path(&config)?;
    let before = boot(&plane.get(&["node", "node-a"])?);
    let first = Machine::new(&plane, "first");
    killed_at(&plane, &first, config, "node-a", &["armed", "drained"])?;
    let run = first.runs().pop().and_then(|path| Some(path.file_name()?.to_str()?.to_owned())).ok_or("no run")?;
    let second = Machine::new(&plane, "second");
    let limit = Duration::from_secs(150);
    second.run(&["status", "abandon", &run, config, "--auto-approve"], limit)?.expect(5)?;
    second.run(&["status", "abandon", "19990101-000000-000000", config, "--auto-approve"], limit)?.expect(1)?;
    let wait = ["--auto-approve", "--lock-timeout", "90s"];
    second.run(&[&["status", "abandon", &run, config], &wait[..]].concat(), limit)?.expect(0)?;
    let node = plane.get(&["node", "node-a"])?;
    let annotations = node["metadata"]["annotations"].to_string();
    if boot(&node) != before || node["spec"]["unschedulable"] == true || annotations.contains("haulout.dev/cordon") {
        return Err(format!("not given up: {node:#}").into());
    }
    let pods = plane.get(&["pods", "-n", "haulout-system"])?;
    if pods["items"].as_array().is_some_and(|pods| !pods.is_empty()) {
        return Err(format!("reboot pods are left: {pods}").into());
    }
    let status = second.run(&["status", config], limit)?.expect(0)?;
    if !status.out.contains("lock: free") || !status.out.contains("No run has left anything here.") {
        return Err(status.all().into());
    }
    if second.runs().len() != 1 {
        return Err("giving up is not in a journal of its own".into());
    }
    Ok(())
}

pub(crate) fn a_reboot_that_will_not_come_is_proved_before_another() -> Result<(), Failed> {
    let (plane, config) = two_nodes(1)?;
    let config = path(&config)?;
    let before = boot(&plane.get(&["node", "node-a"])?);
    let watcher = Watcher::start(&plane)?;
    let first = Machine::new(&plane, "first");
    killed_at(&plane, &first, config, "node-a", &["armed", "drained"])?;
    // As if the run had asked, and the pod had gone without doing it.
    plane.kubectl(&["delete", "pods", "-n", "haulout-system", "--all", "--wait"])?;
    plane.kubectl(&["annotate", "node", "node-a", "haulout.dev/phase=reboot", "--overwrite"])?;

    let second = Machine::new(&plane, "second");
    let limit = Duration::from_secs(240);
    let apply = ["apply", config, "--auto-approve", "--lock-timeout", "90s"];
    let proved = second.run(&apply, limit)?.expect(8)?;
    if !proved.out.contains("its reboot was requested already") || !proved.out.contains("will not come") {
        return Err(proved.all().into());
    }
    let node = plane.get(&["node", "node-a"])?;
    if boot(&node) != before
        || node["spec"]["unschedulable"] != true
        || phase(&plane, "node-a")?.as_deref() != Some("cordoned")
    {
        return Err(format!("not left for the next plan: {node:#}").into());
    }
    second.run(&apply, limit)?.expect(0)?;
    settled(&plane, config, &[("node-a", &before)])?;
    let (_, boots) = watcher.end(&Limits { cluster: 1, pool: 1, zone: 1 })?;
    if boots["node-a"].len() == 2 { Ok(()) } else { Err(format!("{boots:?}").into()) }
}

pub(crate) fn a_run_that_slept_touches_nothing_when_it_wakes() -> Result<(), Failed> {
    let (plane, config) = two_nodes(3)?;
    let config = path(&config)?;
    let before = boot(&plane.get(&["node", "node-a"])?);
    let watcher = Watcher::start(&plane)?;
    // What stops slowly keeps the drain going until the machine sleeps.
    plane.kubectl(&["annotate", "node", "node-a", "sim.haulout.dev/stops-after=4s"])?;
    let mut first = Machine::new(&plane, "first");
    first.kubeconfig = user(&plane, "first")?;
    let mut second = Machine::new(&plane, "second");
    second.kubeconfig = user(&plane, "second")?;
    let signal = |name: &str, id: u32| Command::new("kill").args([name, &id.to_string()]).status();

    let began = Instant::now();
    let child = first.spawn(&["apply", config, "--auto-approve"])?;
    plane.until("the node marked", Duration::from_secs(60), |plane| {
        Ok(phase(plane, "node-a")?.is_some_and(|phase| phase == "armed"))
    })?;
    signal("-STOP", child.id())?;
    let limit = Duration::from_secs(240);
    let other = second.run(&["apply", config, "--auto-approve", "--lock-timeout", "120s"], limit)?.expect(0)?;
    settled(&plane, config, &[("node-a", &before)])?;
    let of_first = |plane: &ControlPlane| -> Result<Vec<String>, Failed> {
        let all = changes(plane)?.into_iter().filter(|change| change.user == account("first"));
        Ok(all.map(|change| change.what).collect())
    };
    let asleep = of_first(&plane)?;
    signal("-CONT", child.id())?;
    let said = first.end(child, began, limit)?.expect(8)?;
    let awake = of_first(&plane)?;
    if awake.len() != asleep.len() {
        return Err(format!("it went on: {:?}\n{}", &awake[asleep.len()..], said.all()).into());
    }
    if !said.out.contains("node-a") || !said.out.contains("the lock of the cluster") {
        return Err(format!("not said why: {}", said.all()).into());
    }
    let (_, boots) = watcher.end(&Limits { cluster: 1, pool: 1, zone: 1 })?;
    settled(&plane, config, &[("node-a", &before)])?;
    if boots["node-a"].len() == 2 { Ok(()) } else { Err(format!("{boots:?}\n{}", other.all()).into()) }
}

/// A node on which nothing can be let go yet: what can be removed is, the rest is named, and the next apply proves that
/// the reboot will not come, although its own `ready_timeout` is shorter than that takes.
pub(crate) fn a_dead_run_whose_reboot_is_pending_is_given_up_as_far_as_it_can_be() -> Result<(), Failed> {
    let (plane, _) = two_nodes(1)?;
    let config = plane.config("[reboot.linux]\nwhen_required = true\nsettle = \"1s\"\nready_timeout = \"30s\"\n")?;
    let config = path(&config)?;
    let before = boot(&plane.get(&["node", "node-a"])?);
    // It goes down and comes back, but it has not booted.
    plane.kubectl(&["annotate", "node", "node-a", "sim.haulout.dev/keeps-boot-id=true"])?;
    let first = Machine::new(&plane, "first");
    killed_at(&plane, &first, config, "node-a", &["reboot"])?;
    let run = first.runs().pop().and_then(|path| Some(path.file_name()?.to_str()?.to_owned())).ok_or("no run")?;
    let second = Machine::new(&plane, "second");
    let limit = Duration::from_secs(200);
    let abandon = ["status", "abandon", &run, config, "--auto-approve"];
    second.run(&abandon, limit)?.expect(5)?;
    let given_up = second.run(&[&abandon[..], &["--lock-timeout", "90s"]].concat(), limit)?.expect(0)?;
    if !given_up.err.contains("node-a is left as it is: its reboot was requested") {
        return Err(format!("not named: {}", given_up.all()).into());
    }
    let pods = plane.get(&["pods", "-n", "haulout-system"])?;
    if pods["items"].as_array().is_some_and(|pods| !pods.is_empty()) {
        return Err(format!("reboot pods are left: {pods}\n{}", given_up.all()).into());
    }
    let node = plane.get(&["node", "node-a"])?;
    if node["spec"]["unschedulable"] != true || boot(&node) != before {
        return Err(format!("not left as it was: {node:#}").into());
    }
    let proved = second.run(&["apply", config, "--auto-approve"], limit)?.expect(8)?;
    if !proved.out.contains("the requested reboot will not come") {
        return Err(format!("not proved: {}", proved.all()).into());
    }
    plane.kubectl(&["annotate", "node", "node-a", "sim.haulout.dev/keeps-boot-id-"])?;
    second.run(&["apply", config, "--auto-approve"], limit)?.expect(0)?;
    settled(&plane, config, &[("node-a", &before)])
}
