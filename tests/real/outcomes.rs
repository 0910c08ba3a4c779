//! What becomes of a run when its disk is full, its terminal closes or stalls, or nobody reads what it prints.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::cluster::ControlPlane;
use super::crash::{Machine, boot, kill, path, phase, settled, two_nodes};

const LIMIT: Duration = Duration::from_secs(120);

pub(crate) fn a_full_disk_stops_a_run_that_says_what_it_left() -> Result<(), Failed> {
    let (plane, config) = two_nodes(60)?;
    let config = path(&config)?;
    let before = boot(&plane.get(&["node", "node-a"])?);
    let machine = Machine::new(&plane, "one");
    // No file may grow beyond this: the plan fits, the evictions of sixty pods do not. With SIGXFSZ ignored, writing
    // more is an error, as on a disk that is full.
    let mut command = machine.command_of_small_files(&["apply", config, "--auto-approve"]);
    let began = Instant::now();
    let out = std::fs::File::create(plane.folder.path().join("full.out"))?;
    let mut child = command.stdout(Stdio::piped()).stderr(out).spawn()?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().ok_or("no stdout")?, &mut text)?;
    let code = child.wait()?.code();
    let said = std::fs::read_to_string(plane.folder.path().join("full.out"))?;
    if code != Some(8) || began.elapsed() > LIMIT || !said.contains("failed to write the journal") {
        return Err(format!("exit {code:?}\n{text}\n{said}").into());
    }
    // The report names the node that it had to leave, and nothing was rebooted.
    let node = plane.get(&["node", "node-a"])?;
    let summary = text.rsplit("\nApply:").next().unwrap_or_default();
    if boot(&node) != before || (node["spec"]["unschedulable"] == true && !summary.contains("node-a")) {
        return Err(format!("not named, or rebooted: {text}").into());
    }
    machine.run(&["apply", config, "--auto-approve", "--resume"], LIMIT)?.expect(0)?;
    settled(&plane, config, &[("node-a", &before)])
}

pub(crate) fn no_folder_for_the_journal_is_an_error_before_any_work() -> Result<(), Failed> {
    let (plane, config) = two_nodes(1)?;
    let config = path(&config)?;
    let mut machine = Machine::new(&plane, "one");
    // A file where the folder should be made: nobody can write below it, whoever they are.
    let file = plane.folder.path().join("file");
    std::fs::write(&file, "")?;
    machine.state = file;
    let said = machine.run(&["apply", config, "--auto-approve"], LIMIT)?.expect(1)?;
    if !said.err.contains("failed to open the journal in") || !said.err.contains("XDG_STATE_HOME") {
        return Err(said.all().into());
    }
    let sent = plane.requests("haulout/")?;
    match sent.iter().find(|event| !matches!(event["verb"].as_str(), Some("get" | "list" | "watch"))) {
        Some(event) => Err(format!("it changed something: {event}").into()),
        None => Ok(()),
    }
}

fn wait_drained(plane: &ControlPlane, node: &str) -> Result<(), Failed> {
    plane.until("drain begun", Duration::from_secs(60), |plane| {
        Ok(phase(plane, node)?.is_some_and(|phase| phase == "armed"))
    })
}

pub(crate) fn a_closed_terminal_brings_nodes_to_a_safe_end() -> Result<(), Failed> {
    let (plane, config) = two_nodes(1)?;
    let config = path(&config)?;
    let before = boot(&plane.get(&["node", "node-a"])?);
    // A pod that takes its time keeps the drain going.
    plane.kubectl(&["annotate", "node", "node-a", "sim.haulout.dev/stops-after=4s"])?;
    let machine = Machine::new(&plane, "one");
    let began = Instant::now();
    let child = machine.spawn(&["apply", config, "--auto-approve"])?;
    wait_drained(&plane, "node-a")?;
    // The kernel tells, and the shell passes it on: twice is not "leave at once".
    for _ in 0..2 {
        if !Command::new("kill").args(["-HUP", &child.id().to_string()]).status()?.success() {
            return Err("kill -HUP failed".into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let said = machine.end(child, began, LIMIT)?.expect(7)?;
    let node = plane.get(&["node", "node-a"])?;
    if node["spec"]["unschedulable"] == true || boot(&node) != before {
        return Err(format!("not brought to a safe end: {}", said.all()).into());
    }
    machine.run(&["apply", config, "--auto-approve", "--resume"], LIMIT)?.expect(0)?;
    settled(&plane, config, &[("node-a", &before)])
}

pub(crate) fn nobody_reads_and_the_run_goes_on() -> Result<(), Failed> {
    let (plane, config) = two_nodes(1)?;
    let config = path(&config)?;
    let before = boot(&plane.get(&["node", "node-a"])?);
    // An image that is not pinned would be warned of before the run begins, and there a stalled terminal does stall.
    let pinned = format!("haulout@sha256:{}", "0".repeat(64));
    std::fs::write(config, std::fs::read_to_string(config)?.replace("haulout:test", &pinned))?;
    let machine = Machine::new(&plane, "one");
    // Stdout is closed at the other end, and stderr is as full as a terminal that was stopped.
    let (reader, stdout) = std::io::pipe()?;
    drop(reader);
    let (stalled, mut stderr) = std::io::pipe()?;
    /// What a pipe holds on Linux.
    const PIPE: usize = 65_536;
    stderr.write_all(&vec![b'x'; PIPE])?;
    let mut command = machine.command(&["apply", config, "--auto-approve"]);
    let child = command.stdout(stdout).stderr(stderr).spawn()?;
    plane.until("the run done behind a stalled terminal", LIMIT, |plane| {
        let lease = plane.get(&["lease", "haulout", "-n", "haulout-system"]);
        let released = lease.is_ok_and(|lease| lease["spec"]["holderIdentity"].is_null());
        Ok(released && boot(&plane.get(&["node", "node-a"])?) != before)
    })?;
    kill(child)?;
    drop(stalled);
    settled(&plane, config, &[("node-a", &before)])
}
