//! Simulated clusters in this process: their files, and where their state is kept.
//!
//! The state lies in `.haulout/NAME.json` beside the config, so that plan, apply and plan again behave as on a real
//! cluster. It is written before each answer: killing this process kills the cluster too, and what was told must stay
//! true. `haulout sandbox` keeps a cluster that has no config in the same way beside its description, or nowhere.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::Failure;
use super::load;
use super::output::Output;
use crate::model::{Advice, ClusterName, sanitise};
use crate::provider::clock;
use crate::twin::{Sandbox, SandboxError, SandboxFile, Store};

/// The largest description or manifest that is read.
const FILE_MAX: u64 = 16 << 20;
/// The largest state that is read.
const STATE_MAX: u64 = 512 << 20;
/// How often a simulated cluster that another process has is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A simulated cluster that is running. While it does, no other process may open it.
pub(super) struct Running {
    sandbox: Sandbox,
    /// None where nothing of it is kept, so that nobody else can have it.
    _lock: Option<File>,
}

/// Where a simulated cluster is described, and where its state is kept.
pub(super) struct Place<'a> {
    /// The folder that paths start from, and that has `.haulout/`.
    pub(super) folder: &'a Path,
    /// What it is called.
    pub(super) name: &'a ClusterName,
    /// Its description, from the folder.
    pub(super) file: &'a Path,
    /// Whether its state is kept at all.
    pub(super) kept: bool,
}

impl Place<'_> {
    /// The file of its state, where it is kept.
    pub(super) fn state_file(&self) -> Option<PathBuf> {
        self.kept.then(|| self.folder.join(".haulout").join(format!("{}.json", self.name)))
    }
}

impl Running {
    /// The cluster.
    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Its API.
    pub(super) fn router(&self) -> axum::Router {
        self.sandbox.router()
    }
}

/// The text of a manifest, with its path as it is shown.
type Manifest = (String, String);

/// Reads what describes a simulated cluster; of the manifests that cannot be read, each is a failure.
fn describe(
    folder: &Path,
    name: &ClusterName,
    file: &Path,
) -> Result<(SandboxFile, Vec<Result<Manifest, Failure>>), Failure> {
    let described = folder.join(file);
    let shown = described.display().to_string();
    let missing = format!("check `sandbox` of [cluster.{name}]: it is a path that starts at the folder of the config");
    let text = text(&described, "description of a simulated cluster", &missing)?;
    let description = SandboxFile::parse(&shown, &text)?;
    let beside = described.parent().unwrap_or(folder);
    let missing = format!("check `manifests` in {}: its paths start at the folder of that file", sanitise(&shown));
    let manifests = description
        .manifests
        .iter()
        .map(|manifest| {
            let path = beside.join(manifest);
            Ok((path.display().to_string(), self::text(&path, "manifest", &missing)?))
        })
        .collect();
    Ok((description, manifests))
}

/// Everything that is wrong with the files of a simulated cluster. Its state is neither read nor written.
pub(super) fn check(folder: &Path, name: &ClusterName, file: &Path) -> Vec<Failure> {
    let (description, manifests) = match describe(folder, name, file) {
        Ok(described) => described,
        Err(failure) => return vec![failure],
    };
    let mut failures = Vec::new();
    let mut readable = Vec::new();
    for manifest in manifests {
        match manifest {
            Ok(manifest) => readable.push(manifest),
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() {
        failures.extend(Sandbox::check(&description, &readable, clock::now()).into_iter().map(Failure::from));
    }
    failures
}

/// How long a simulated cluster that another process has is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// Not at all, and nobody can ask for it.
    None,
    /// Until then: what `--lock-timeout` says.
    Until(Instant),
}

/// Opens a simulated cluster; one that another process has is waited for.
pub(super) async fn open(place: &Place<'_>, patience: Patience, output: &Output) -> Result<Running, Failure> {
    let Place { folder, name, file, .. } = place;
    let (description, manifests) = describe(folder, name, file)?;
    let manifests = manifests.into_iter().collect::<Result<Vec<_>, Failure>>()?;

    let Some(state_file) = place.state_file() else {
        let sandbox = Sandbox::open(&description, &manifests, None, Arc::new(clock::now), Arc::new(Nowhere))?;
        return Ok(Running { sandbox, _lock: None });
    };
    let kept = state_file.parent().unwrap_or(folder);
    let shown = sanitise(&kept.display().to_string()).to_string();
    let failed = |error: &io::Error| {
        Failure::io(
            format!("keep the state of the simulated cluster {name} in {shown}"),
            error,
            "make the folder of the config writable, or copy the config elsewhere",
        )
    };
    std::fs::create_dir_all(kept).map_err(|error| failed(&error))?;
    let lock = File::create(kept.join(format!("{name}.lock"))).map_err(|error| failed(&error))?;
    let mut told = false;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
            Err(TryLockError::WouldBlock) => {}
        }
        match patience {
            Patience::Until(until) if clock::monotonic() < until => {}
            Patience::Until(_) | Patience::None => return Err(in_use(name, patience)),
        }
        if !told {
            output.say(&format!("{name}: waiting for another haulout, which has this simulated cluster"));
            told = true;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let shown = sanitise(&state_file.display().to_string()).to_string();
    let state = if state_file.exists() {
        Some(load::read(&state_file, "simulated cluster's state", STATE_MAX, "it was deleted just now; try again")?)
    } else {
        None
    };
    let store = Arc::new(StateFile { next: state_file.with_extension("json.new"), path: state_file });
    let sandbox = match Sandbox::open(&description, &manifests, state.as_deref(), Arc::new(clock::now), store) {
        Err(SandboxError::State(cause)) => {
            let operation = format!("read the state of the simulated cluster {name} in {shown}");
            let advice = Advice::new(format!("delete {shown}: the simulated cluster then starts anew"));
            return Err(Failure::caused(operation, &cause, Some(advice)));
        }
        opened => opened?,
    };
    if sandbox.is_description_changed() {
        let style = output.style();
        output.say(&format!(
            "{} {} or its manifests changed after the simulated cluster {name} was made; it goes on as it was",
            style.warning("warning:"),
            sanitise(&folder.join(file).display().to_string())
        ));
        output.say(&format!("{} delete {shown} to start it anew", style.hint("hint:")));
    }
    Ok(Running { sandbox, _lock: Some(lock) })
}

fn in_use(name: &ClusterName, patience: Patience) -> Failure {
    let flag = match patience {
        Patience::None => "",
        Patience::Until(_) => " (--lock-timeout)",
    };
    Failure::locked(
        format!("the simulated cluster {name} is in use by another haulout"),
        format!("wait until that has ended{flag}: a simulated cluster lives in one process at a time"),
    )
}

fn text(path: &Path, what: &str, missing: &str) -> Result<String, Failure> {
    let bytes = load::read(path, what, FILE_MAX, missing)?;
    String::from_utf8(bytes).map_err(|_| {
        Failure::input(format!("{} is not UTF-8", sanitise(&path.display().to_string())), "save it as UTF-8")
    })
}

/// The file of a state, put in place at once: whoever reads it sees the old state or the new one, whole.
struct StateFile {
    path: PathBuf,
    next: PathBuf,
}

impl Store for StateFile {
    fn save(&self, state: &[u8]) -> io::Result<()> {
        // Not fsynced: a killed process loses nothing that the kernel has, and a simulated cluster need not outlive a
        // power cut.
        std::fs::write(&self.next, state)?;
        std::fs::rename(&self.next, &self.path)
    }
}

/// Keeps nothing: the cluster ends with its process.
struct Nowhere;

impl Store for Nowhere {
    fn save(&self, _state: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
