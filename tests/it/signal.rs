//! Stopping the binary by signals, also where nobody reads what it says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Far longer than any wait here takes, so that only what hangs meets it.
const TRIES: u32 = 600;
const PAUSE: Duration = Duration::from_millis(100);

/// A node whose reboot takes longer than any test.
fn scene() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "haulout.toml",
        "version = 1\nname = \"test\"\n[cluster.demo]\nsandbox = \"cluster.toml\"\n[reboot.linux]\nwhen_required = true\n",
    );
    write("cluster.toml", "version = 1\nmanifests = [\"cluster.yaml\"]\n[delays]\npod_ready = \"50ms\"\n");
    write(
        "cluster.yaml",
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: node-a\n  annotations:\n    sim.haulout.dev/reboot-required: kernel\n    \
         sim.haulout.dev/reboot-takes: 1h\n",
    );
    folder
}

/// An apply under way; a test that fails leaves none behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn apply(folder: &Path, err: Stdio) -> Running {
    let child = Command::new(env!("CARGO_BIN_EXE_haulout"))
        .args(["apply", "--auto-approve"])
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("XDG_STATE_HOME", folder.join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(err)
        .spawn()
        .unwrap();
    Running(child)
}

fn signal(child: &Running, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.0.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits until the journal of the only run has a line with this.
fn until_journal_has(folder: &Path, text: &str) {
    for _ in 0..TRIES {
        let runs = fs::read_dir(folder.join("state/haulout/runs")).into_iter().flatten();
        for run in runs {
            let journal = fs::read_to_string(run.unwrap().path().join("0001.jsonl")).unwrap_or_default();
            if journal.contains(text) {
                return;
            }
        }
        std::thread::sleep(PAUSE);
    }
    panic!("the journal never said {text}");
}

fn exit_code(mut child: Running) -> i32 {
    for _ in 0..TRIES {
        if let Some(status) = child.0.try_wait().unwrap() {
            return status.code().unwrap();
        }
        std::thread::sleep(PAUSE);
    }
    panic!("it did not end");
}

const REBOOTING: &str = "\"step\":\"demo/node/node-a/await-ready\"";
const INTERRUPTED: &str = "\"type\":\"interrupted\"";

#[test]
fn a_second_interrupt_leaves_at_once_and_names_what_is_held() {
    let folder = scene();
    let mut child = apply(folder.path(), Stdio::piped());
    let mut err = child.0.stderr.take().unwrap();
    until_journal_has(folder.path(), REBOOTING);
    signal(&child, "INT");
    until_journal_has(folder.path(), INTERRUPTED);
    signal(&child, "INT");
    assert_eq!(exit_code(child), 7);
    let mut said = String::new();
    err.read_to_string(&mut said).unwrap();
    for part in [
        "demo/node/node-a: cordoned, in phase reboot; its reboot was requested",
        "delete .haulout/demo.json",
        "The lock of demo stays until 1m after its last renewal",
        "state/haulout/runs/",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// A pipe that is full stands for a terminal that was stopped: whoever writes to it waits for ever.
#[test]
fn a_stopped_terminal_holds_up_no_interrupt() {
    let folder = scene();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let child = apply(folder.path(), writer.try_clone().unwrap().into());
    // What the child says first may find room; what fills the rest blocks here, until the reader is gone.
    let filler = std::thread::spawn(move || while writer.write_all(&[b'\n'; 4096]).is_ok() {});
    until_journal_has(folder.path(), REBOOTING);
    signal(&child, "INT");
    until_journal_has(folder.path(), INTERRUPTED);
    // The first signal has been taken; only now is the second one a second.
    signal(&child, "INT");
    assert_eq!(exit_code(child), 7);
    drop(reader);
    filler.join().unwrap();
}

#[test]
fn a_closed_terminal_interrupts_once_and_only_once() {
    let folder = scene();
    let mut child = apply(folder.path(), Stdio::null());
    until_journal_has(folder.path(), REBOOTING);
    signal(&child, "HUP");
    until_journal_has(folder.path(), INTERRUPTED);
    signal(&child, "HUP");
    // Were the second hangup to end it, it would have ended by now.
    std::thread::sleep(PAUSE * 10);
    assert_eq!(child.0.try_wait().unwrap(), None);
    signal(&child, "TERM");
    assert_eq!(exit_code(child), 7);
}
