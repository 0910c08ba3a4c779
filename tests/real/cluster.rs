//! One control plane for one scenario.

use std::io::{BufRead, BufReader, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;
use tempfile::TempDir;

/// A cluster that kubectl and haulout reach through a kubeconfig: a real control plane or a served sandbox.
pub(crate) struct Cluster {
    pub(crate) folder: TempDir,
    pub(crate) kubeconfig: PathBuf,
    /// Its context in the kubeconfig.
    pub(crate) context: String,
}

/// A control plane, stopped when it is dropped.
pub(crate) struct ControlPlane {
    child: Child,
    cluster: Cluster,
}

impl Deref for ControlPlane {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

/// What a finished haulout said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

impl ControlPlane {
    pub(crate) fn start(arguments: &[&str]) -> Result<Self, Failed> {
        let folder = tempfile::Builder::new().prefix("haulout-real-").tempdir()?;
        let mut child = Command::new(program()?)
            .arg("serve")
            .arg("--dir")
            .arg(folder.path().join("plane"))
            .arg("--audit")
            .arg("--exit-with-stdin")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("the control plane has no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line)
            .map_err(|error| format!("the control plane did not become ready: {error}: {line:?}"))?;
        let kubeconfig = ready["kubeconfig"].as_str().ok_or("no kubeconfig")?.into();
        Ok(Self { child, cluster: Cluster { folder, kubeconfig, context: "admin".to_owned() } })
    }

    /// The requests of the audit log that have ended, by user agent prefix.
    pub(crate) fn requests(&self, agent: &str) -> Result<Vec<Value>, Failed> {
        // The log is written a moment after the answer.
        std::thread::sleep(Duration::from_secs(1));
        let text = std::fs::read_to_string(self.folder.path().join("plane").join("audit.log"))?;
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["stage"] == "ResponseComplete" || event["stage"] == "ResponseStarted")
            .filter(|event| event["userAgent"].as_str().is_some_and(|text| text.starts_with(agent)))
            .collect())
    }
}

impl Cluster {
    /// Runs kubectl of the same version.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Result<String, Failed> {
        let output = self.try_kubectl(arguments, None)?;
        if !output.status.success() {
            return Err(format!("kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Creates objects from a manifest.
    pub(crate) fn create(&self, manifest: &str) -> Result<(), Failed> {
        let output = self.try_kubectl(&["create", "-f", "-"], Some(manifest))?;
        if !output.status.success() {
            return Err(format!("kubectl create: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(())
    }

    pub(crate) fn try_kubectl(&self, arguments: &[&str], input: Option<&str>) -> Result<Output, Failed> {
        kubectl_with(&self.kubeconfig, arguments, input)
    }

    pub(crate) fn get(&self, what: &[&str]) -> Result<Value, Failed> {
        let text = self.kubectl(&[&["get"], what, &["-o", "json"]].concat())?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Waits until something holds.
    pub(crate) fn until(
        &self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&Self) -> Result<bool, Failed>,
    ) -> Result<(), Failed> {
        let began = Instant::now();
        while !holds(self)? {
            if began.elapsed() > limit {
                return Err(format!("{what}: not within {limit:?}").into());
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        Ok(())
    }

    /// Writes a config that reaches this cluster as `real`.
    pub(crate) fn config(&self, text: &str) -> Result<PathBuf, Failed> {
        let path = self.folder.path().join("haulout.toml");
        std::fs::write(
            &path,
            format!(
                "version = 1\nname = \"real-test\"\n\n[cluster.real]\ncontext = \"{}\"\n\
                 node_pod = {{ image = \"example.invalid/haulout:test\" }}\n{text}",
                self.context
            ),
        )?;
        Ok(path)
    }

    /// Runs haulout to its end, for at most `limit`.
    pub(crate) fn haulout(&self, arguments: &[&str], limit: Duration) -> Result<Said, Failed> {
        self.haulout_as(&self.kubeconfig, arguments, limit)
    }

    pub(crate) fn haulout_as(&self, kubeconfig: &Path, arguments: &[&str], limit: Duration) -> Result<Said, Failed> {
        let began = Instant::now();
        let (out, err) = (self.folder.path().join("stdout"), self.folder.path().join("stderr"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_haulout"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("KUBECONFIG", kubeconfig)
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&out)?)
            .stderr(std::fs::File::create(&err)?)
            .spawn()?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if began.elapsed() > limit {
                child.kill()?;
                child.wait()?;
                return Err(format!(
                    "haulout {arguments:?} took longer than {limit:?}\n{}\n{}",
                    std::fs::read_to_string(&out)?,
                    std::fs::read_to_string(&err)?
                )
                .into());
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        Ok(Said {
            code: status.code().unwrap_or(-1),
            out: std::fs::read_to_string(&out)?,
            err: std::fs::read_to_string(&err)?,
            took: began.elapsed(),
        })
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // Closing its stdin asks it to stop; it is given a while, and then no choice.
        drop(self.child.stdin.take());
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs kubectl of the control plane's version on whatever a kubeconfig leads to.
pub(crate) fn kubectl_with(kubeconfig: &Path, arguments: &[&str], input: Option<&str>) -> Result<Output, Failed> {
    let mut child = Command::new(program()?)
        .arg("kubectl")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        // What kubectl remembers it files under the port, which another server may have had a while ago.
        .arg("--cache-dir")
        .arg(kubeconfig.with_file_name("kubectl-cache"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("kubectl has no stdin")?;
    let input = input.unwrap_or_default().to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    // A kubectl that does not read its input closes the pipe, which is its own affair.
    let _ = writer.join();
    Ok(output)
}

pub(crate) fn program() -> Result<std::ffi::OsString, Failed> {
    std::env::var_os("HAULOUT_CONTROLPLANE").ok_or_else(|| "HAULOUT_CONTROLPLANE is not set".into())
}

impl Said {
    /// Everything it said, for the message of a test that failed.
    pub(crate) fn all(&self) -> String {
        format!("exit {} after {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.took, self.out, self.err)
    }

    pub(crate) fn expect(self, code: i32) -> Result<Self, Failed> {
        if self.code == code { Ok(self) } else { Err(format!("expected exit {code}: {}", self.all()).into()) }
    }
}
