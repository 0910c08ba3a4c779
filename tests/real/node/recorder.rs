//! PID 1 of a PID namespace of its own, which only records the signals that it gets.
//!
//! This program starts itself once more under `unshare`, and what is tried runs as a child of that: "PID 1" is then the
//! recorder and never the machine's own. The recorder starts nothing before it has proved where it is. The folders
//! that a pod would have of its own (`/run`, with the token of its ServiceAccount) are mounted in the same namespaces.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::select_all;
use libtest_mimic::Failed;
use tokio::signal::unix::{SignalKind, signal};

/// The first argument that makes this program a recorder.
pub(crate) const WORD: &str = "pid1-recorder";
/// What runs between `unshare` and the recorder, in the new namespaces. `exec` keeps PID 1.
const MOUNTS: &str = "set -e\nmount -t tmpfs tmpfs /run\n[ -L /var/run ] || mount -t tmpfs tmpfs /var/run\n\
    mkdir -p /var/run/secrets/kubernetes.io\ncp -r \"$1\" /var/run/secrets/kubernetes.io/serviceaccount\nshift\nexec \"$@\"";
/// How `unshare` is tried: as root of a user namespace, which needs no rights where it is permitted, and as root.
const WAYS: [&[&str]; 2] = [&["-r", "-f", "-p", "--mount-proc"], &["-f", "-p", "--mount-proc"]];

/// The way in which `unshare` works here.
///
/// # Errors
/// Why it does not.
pub(crate) fn way() -> Result<&'static [&'static str], String> {
    let mut why = String::new();
    for way in WAYS {
        let tried = Command::new("unshare").args(way).args(["sh", "-c", "mount -t tmpfs tmpfs /run"]).output();
        match tried {
            Ok(output) if output.status.success() => return Ok(way),
            Ok(output) => why = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!("unshare is not permitted here: {why}"))
}

/// What a pod has.
pub(crate) struct Pod<'a> {
    /// The folder of its ServiceAccount: `token`, `ca.crt`, `namespace`.
    pub(crate) account: &'a Path,
    /// The port of the API server on loopback.
    pub(crate) port: u16,
}

/// A program that runs under a recorder; both end when it is dropped.
pub(crate) struct Recorded {
    child: Child,
    log: PathBuf,
    output: PathBuf,
}

impl Recorded {
    /// Starts haulout under a recorder, and returns once that has proved where it is.
    pub(crate) fn start(folder: &Path, name: &str, pod: &Pod<'_>, arguments: &[String]) -> Result<Self, Failed> {
        let (log, output) = (folder.join(format!("{name}.log")), folder.join(format!("{name}.out")));
        let outer = std::fs::read_link("/proc/self/ns/pid")?;
        let child = Command::new("unshare")
            .args(way()?)
            .args(["sh", "-c", MOUNTS, "sh"])
            .arg(pod.account)
            .arg(std::env::current_exe()?)
            .arg(WORD)
            .arg(outer)
            .arg(&log)
            .arg(&output)
            .arg(env!("CARGO_BIN_EXE_haulout"))
            .args(arguments)
            .env_remove("KUBECONFIG")
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", pod.port.to_string())
            .stdin(Stdio::piped())
            .stderr(File::create(&output)?)
            .spawn()?;
        let mut recorded = Self { child, log, output };
        recorded
            .until("the recorder to be ready", Duration::from_secs(20), |lines| lines.iter().any(|l| l == "ready"))?;
        Ok(recorded)
    }

    /// What was recorded so far: `ready`, `armed`, `signal N`, `exit N`.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How often a signal that could be a request to reboot was recorded: any at all.
    pub(crate) fn signals(&self) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.starts_with("signal ")).collect()
    }

    /// What haulout said.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits until what is recorded holds something.
    pub(crate) fn until(
        &mut self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&[String]) -> bool,
    ) -> Result<(), Failed> {
        let began = Instant::now();
        loop {
            let lines = self.lines();
            if holds(&lines) {
                return Ok(());
            }
            if began.elapsed() > limit || self.child.try_wait()?.is_some() {
                return Err(format!("{what}: recorded {lines:?}; haulout said {}", self.said()).into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until haulout has ended, and returns its exit code.
    pub(crate) fn exit(&mut self, limit: Duration) -> Result<i32, Failed> {
        let code = |lines: &[String]| lines.iter().find_map(|line| line.strip_prefix("exit ")?.parse().ok());
        self.until("haulout to end", limit, |lines| code(lines).is_some())?;
        code(&self.lines()).ok_or_else(|| "no exit code".into())
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // Without its stdin the recorder ends, and with PID 1 everything in its namespace.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The recorder itself: arguments OUTER LOG OUTPUT PROGRAM ARGUMENT…
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let [outer, log, output, program, arguments @ ..] = arguments else { return ExitCode::from(64) };
    let Ok(mut log) = OpenOptions::new().create(true).append(true).open(log) else { return ExitCode::from(74) };
    if let Err(why) = prove(outer) {
        let _ = writeln!(log, "refused: {why}");
        return ExitCode::from(99);
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::from(70);
    };
    match runtime.block_on(record(&mut log, output, program, arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(log, "failed: {error}");
            ExitCode::from(70)
        }
    }
}

/// Proves that this process is PID 1 of a PID namespace that is not the machine's, by three witnesses.
fn prove(outer: &str) -> Result<(), String> {
    if std::process::id() != 1 {
        return Err(format!("this is PID {}, not 1", std::process::id()));
    }
    let own = std::fs::read_link("/proc/self/ns/pid").map_err(|error| error.to_string())?;
    if own == Path::new(outer) || !outer.starts_with("pid:[") {
        return Err(format!("PID namespace {} is that of the machine, {outer}", own.display()));
    }
    let line = std::fs::read("/proc/1/cmdline").map_err(|error| error.to_string())?;
    if !line.split(|byte| *byte == 0).any(|word| word == WORD.as_bytes()) {
        return Err(format!("PID 1 is {}", String::from_utf8_lossy(&line)));
    }
    Ok(())
}

async fn record(log: &mut File, output: &str, program: &str, arguments: &[String]) -> std::io::Result<()> {
    // Each of them that can be caught, so that none is lost on a PID 1 without a handler. Two of the same within
    // microseconds count as one; whoever asks twice here asks with seconds in between.
    let mut streams = Vec::new();
    for number in (1..=64).filter(|number| !matches!(number, 17 | 32 | 33)) {
        if let Ok(stream) = std::panic::catch_unwind(|| signal(SignalKind::from_raw(number)))
            && let Ok(stream) = stream
        {
            streams.push((number, stream));
        }
    }
    if !streams.iter().any(|(number, _)| *number == 39) {
        return Err(std::io::Error::other("the signal that reboots cannot be recorded"));
    }
    writeln!(log, "ready")?;
    // The test closes stdin when it is done.
    let (ended, mut end) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(ended);
    });
    let said = OpenOptions::new().append(true).open(output)?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said)
        .spawn()?;
    let reboots = arguments.get(1).is_some_and(|verb| verb == "reboot");
    let (mut running, mut armed) = (true, !reboots);
    loop {
        let caught = select_all(streams.iter_mut().map(|(number, stream)| {
            let number = *number;
            async move {
                let _ = stream.recv().await;
                number
            }
            .boxed_local()
        }));
        tokio::select! {
            biased;
            (number, _, _) = caught => writeln!(log, "signal {number}")?,
            status = child.wait(), if running => {
                running = false;
                writeln!(log, "exit {}", status?.code().unwrap_or(-1))?;
            }
            _ = &mut end => return Ok(()),
            () = tokio::time::sleep(Duration::from_millis(200)), if running && !armed => {
                // The readiness probe of the shipped pod.
                let probe = tokio::process::Command::new(program).args(["node", "reboot", "--armed"]).status().await?;
                if probe.success() {
                    armed = true;
                    writeln!(log, "armed")?;
                }
            }
        }
    }
}
