//! A real API server with a large cluster in it.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Error;

/// An API server, stopped when it is dropped.
pub(crate) struct ControlPlane {
    child: Child,
    folder: TempDir,
    pub(crate) kubeconfig: PathBuf,
}

impl ControlPlane {
    /// Starts etcd and the API server alone: nothing else shall take part in what is measured.
    pub(crate) fn start(fill: &str) -> Result<Self, Error> {
        let folder = tempfile::Builder::new().prefix("haulout-bench-").tempdir()?;
        let mut child = Command::new(program()?)
            .args(["serve", "--only-api", "--exit-with-stdin", "--fill", fill, "--dir"])
            .arg(folder.path().join("plane"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("the control plane has no stdout")?;
        let mut plane = Self { child, folder, kubeconfig: PathBuf::new() };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ready: serde_json::Value = serde_json::from_str(&line)
            .map_err(|error| format!("the control plane did not become ready: {error}: {line:?}"))?;
        plane.kubeconfig = ready["kubeconfig"].as_str().ok_or("no kubeconfig")?.into();
        Ok(plane)
    }

    /// Writes a config under which one node in ten is to be rebooted.
    pub(crate) fn config(&self) -> Result<PathBuf, Error> {
        let path = self.folder.path().join("haulout.toml");
        std::fs::write(
            &path,
            "version = 1\nname = \"large\"\n\n\
             [cluster.large]\ncontext = \"admin\"\nmax_unavailable = 50\n\
             node_pod = { image = \"example.invalid/haulout:bench\" }\n\n\
             [reboot.linux]\nwhen_required = true\nmax_unavailable = 10\n",
        )?;
        Ok(path)
    }

    /// A command that reaches it, and nothing else of this machine's settings.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.folder.path())
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .env("TZ", "UTC");
        command
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // Closing its stdin asks it to stop; it is given a while, and then no choice.
        drop(self.child.stdin.take());
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The control plane, which is its own kubectl too.
pub(crate) fn program() -> Result<OsString, Error> {
    std::env::var_os("HAULOUT_CONTROLPLANE")
        .ok_or_else(|| "HAULOUT_CONTROLPLANE is not set: it names what `tests/run --build-only` prints".into())
}
