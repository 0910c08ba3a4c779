//! The machine, as far as rebooting it goes.

use async_trait::async_trait;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use crate::model::{Advice, BootId, Explain, Foreign, Kind};

/// The file that says that the process is armed, for the readiness probe of its container.
pub const ARMED_FILE: &str = "/run/haulout/armed";
/// Below `/proc`: the id of the running boot. The kernel has one for all containers, so it is the host's.
const BOOT_ID_FILE: &str = "sys/kernel/random/boot_id";
/// The program that enters the host's mount namespace; it must be in the image of node pods for method `command`.
const NSENTER: &str = "/usr/bin/nsenter";
/// What is run with it: `systemctl` of the host, by the host's files.
const REBOOT_COMMAND: [&str; 4] = ["-m/proc/1/ns/mnt", "--", "/bin/systemctl", "reboot"];
/// How long the command gets to answer; systemd may take the machine down before it does.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// How much of what the command says is kept, in bytes.
const SAID_LIMIT: usize = 512;
/// What systemd takes as the request to reboot: its SIGRTMIN+5. The number is that of glibc, which systemd is built
/// with. Counted from the SIGRTMIN of another libc (musl's is one higher) it would be another request, a kexec.
#[cfg(target_os = "linux")]
const REBOOT_SIGNAL: i32 = 39;

/// Something that could not be done on the machine. Fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The boot id cannot be read.
    #[error("read the boot id of this machine")]
    BootId {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// What was read is no boot id.
    #[error("read the boot id of this machine: {} is none", .text.sanitised().shortened(64))]
    BootIdMalformed {
        /// What was read.
        text: Foreign,
    },
    /// The armed file cannot be written.
    #[error("write {}", .path.display())]
    Arm {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// This process is PID 1 itself, so the host's PID 1 is out of its sight.
    #[error("find the host's PID 1: this container has a PID namespace of its own")]
    OwnPidNamespace,
    /// The signal could not be sent.
    #[error("signal PID 1")]
    Signal {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The command could not be started.
    #[error("run {}", .program.display())]
    CommandStart {
        /// The program.
        program: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The command ran and failed.
    #[error("reboot by command: {status}, saying {}", .said.sanitised())]
    CommandFailed {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        said: Foreign,
    },
    /// This method does not exist on this system.
    #[error("reboot this machine: it does not run Linux")]
    NotLinux,
}

impl Explain for HostError {
    fn kind(&self) -> Kind {
        Kind::Outside
    }

    fn advice(&self) -> Option<Advice> {
        let text = match self {
            HostError::BootId { .. } | HostError::BootIdMalformed { .. } => {
                "run it in a container that sees the host's kernel, not in a virtual machine of its own"
            }
            HostError::Arm { .. } => "mount an emptyDir at the folder of the file",
            HostError::OwnPidNamespace => "give the pod hostPID: true",
            HostError::Signal { .. } => {
                "give the container the capability KILL as user 0 and the AppArmor profile Unconfined, or use method = \"command\""
            }
            HostError::CommandStart { .. } => {
                "use an image that has /usr/bin/nsenter, or method = \"signal\", which needs no program"
            }
            HostError::CommandFailed { .. } => {
                "see on the node whether systemctl reboot works; the pod must be privileged"
            }
            HostError::NotLinux => "select only nodes with kubernetes.io/os=linux",
        };
        Some(Advice::new(text))
    }
}

/// What the process that reboots a node does to the machine.
#[async_trait]
pub trait Host: Send + Sync {
    /// The id of the running boot.
    fn boot_id(&self) -> Result<BootId, HostError>;

    /// Says that from now on a request will be followed.
    fn arm(&self) -> Result<(), HostError>;

    /// Asks PID 1 by signal to reboot.
    fn signal(&self) -> Result<(), HostError>;

    /// Asks systemd by command to reboot. An answer that does not come is no failure: the machine may be going down.
    async fn command(&self) -> Result<(), HostError>;
}

/// The machine that this process runs on.
#[derive(Debug, Clone)]
pub struct LinuxHost {
    /// Where proc is mounted.
    pub proc: PathBuf,
    /// The file that says that this process is armed.
    pub armed: PathBuf,
    /// The program that enters the host's mount namespace.
    pub nsenter: PathBuf,
}

impl Default for LinuxHost {
    fn default() -> Self {
        Self { proc: "/proc".into(), armed: ARMED_FILE.into(), nsenter: NSENTER.into() }
    }
}

#[async_trait]
impl Host for LinuxHost {
    fn boot_id(&self) -> Result<BootId, HostError> {
        read_boot_id(&self.proc)
    }

    fn arm(&self) -> Result<(), HostError> {
        // Without the host's PID namespace both methods would end in this container: better known before the drain
        // than after it.
        if std::process::id() == 1 {
            return Err(HostError::OwnPidNamespace);
        }
        let write = || {
            if let Some(folder) = self.armed.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&self.armed, b"")
        };
        write().map_err(|source| HostError::Arm { path: self.armed.clone(), source })
    }

    #[cfg(target_os = "linux")]
    fn signal(&self) -> Result<(), HostError> {
        use rustix_libc_wrappers::process::SignalExt;
        use rustix_libc_wrappers::rustix::process::{Pid, Signal, kill_process};

        let signal = Signal::from_raw(REBOOT_SIGNAL).ok_or(HostError::NotLinux)?;
        kill_process(Pid::INIT, signal).map_err(|errno| HostError::Signal { source: errno.into() })
    }

    #[cfg(not(target_os = "linux"))]
    fn signal(&self) -> Result<(), HostError> {
        Err(HostError::NotLinux)
    }

    async fn command(&self) -> Result<(), HostError> {
        let output = tokio::process::Command::new(&self.nsenter)
            .args(REBOOT_COMMAND)
            .stdin(Stdio::null())
            .kill_on_drop(false)
            .output();
        match tokio::time::timeout(COMMAND_LIMIT, output).await {
            Ok(Ok(output)) => judge(&output),
            Ok(Err(source)) => Err(HostError::CommandStart { program: self.nsenter.clone(), source }),
            // No answer: it may well have worked, and the caller waits for the end in either case.
            Err(_) => Ok(()),
        }
    }
}

/// Only a command that says by its own exit code that it failed has failed: one that was ended by a signal may have
/// been ended by the shutdown that it asked for.
fn judge(output: &Output) -> Result<(), HostError> {
    match output.status.code() {
        Some(0) | None => Ok(()),
        Some(_) => {
            let start = output.stderr.len().saturating_sub(SAID_LIMIT);
            let said = String::from_utf8_lossy(output.stderr.get(start..).unwrap_or_default());
            Err(HostError::CommandFailed { status: output.status, said: Foreign::new(said.trim()) })
        }
    }
}

/// The id of the running boot, by a mounted proc.
pub(super) fn read_boot_id(proc: &Path) -> Result<BootId, HostError> {
    let text = std::fs::read_to_string(proc.join(BOOT_ID_FILE)).map_err(|source| HostError::BootId { source })?;
    BootId::new(text.trim()).map_err(|_| HostError::BootIdMalformed { text: Foreign::new(text.trim()) })
}

/// Whether the process that reboots this node is armed, for the readiness probe of its container.
#[must_use]
pub fn is_armed(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(root: &Path, nsenter: &str) -> LinuxHost {
        LinuxHost { proc: root.join("proc"), armed: root.join("run/haulout/armed"), nsenter: nsenter.into() }
    }

    #[test]
    fn the_boot_id_is_read_and_checked() {
        let root = tempfile::tempdir().unwrap();
        let host = host(root.path(), "false");
        assert!(matches!(host.boot_id(), Err(HostError::BootId { .. })));
        let file = root.path().join("proc").join(BOOT_ID_FILE);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "3f1c0a52-0000-4000-8000-000000000001\n").unwrap();
        assert_eq!(host.boot_id().unwrap().as_str(), "3f1c0a52-0000-4000-8000-000000000001");
        for bad in ["", "\n", "two words", "\u{1b}[31m"] {
            std::fs::write(&file, bad).unwrap();
            let error = host.boot_id().unwrap_err();
            assert!(matches!(error, HostError::BootIdMalformed { .. }), "{bad:?}");
            assert!(!error.to_string().contains('\u{1b}'));
        }
    }

    #[test]
    fn arming_is_what_the_probe_sees() {
        let root = tempfile::tempdir().unwrap();
        let host = host(root.path(), "false");
        assert!(!is_armed(&host.armed));
        host.arm().unwrap();
        assert!(is_armed(&host.armed));
        host.arm().unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("run"), "a file where a folder should be").unwrap();
        let error = host(root.path(), "false").arm().unwrap_err();
        assert!(matches!(error, HostError::Arm { .. }));
        assert!(error.advice().is_some());
    }

    #[test]
    fn the_command_enters_only_the_mounts_of_pid_1() {
        let line = format!("{NSENTER} {}", REBOOT_COMMAND.join(" "));
        assert_eq!(line, "/usr/bin/nsenter -m/proc/1/ns/mnt -- /bin/systemctl reboot");
    }

    // These put `true` and `false` where nsenter would be: no test runs the command itself.
    #[tokio::test]
    async fn the_exit_code_of_the_command_decides() {
        let root = tempfile::tempdir().unwrap();
        host(root.path(), "true").command().await.unwrap();
        let error = host(root.path(), "false").command().await.unwrap_err();
        assert!(matches!(error, HostError::CommandFailed { .. }), "{error}");
        let error = host(root.path(), "/nowhere/nsenter").command().await.unwrap_err();
        assert!(matches!(error, HostError::CommandStart { .. }), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_signal_can_be_named_under_every_libc() {
        use rustix_libc_wrappers::process::SignalExt;
        use rustix_libc_wrappers::rustix::process::Signal;
        assert_eq!(Signal::from_raw(REBOOT_SIGNAL).map(Signal::as_raw), Some(39));
    }
}
