//! The folders of runs: where they are, making one, finding the one to go on with.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::Failure;
use super::output::Output;
use super::progress;
use crate::format;
use crate::journal::{Hold, Journal, Past, Segment, write_whole};
use crate::model::{Foreign, RunId, sanitise};
use crate::plan::Plan;
use crate::provider::clock;
use crate::run::{Event, Held};

/// The file in a run's folder that holds its plan.
const PLAN_FILE: &str = "plan.json";
/// What follows where a run's folder has no plan.
const NO_PLAN: &str = "apply without --resume, which finishes what that run has left";
/// The largest plan that is read back.
const PLAN_MAX: u64 = 512 << 20;

/// A new run's id: the moment, and a part that no other run has. The cli is where randomness may come from.
pub(super) fn new_id() -> RunId {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    let at = clock::now().strftime("%Y%m%d-%H%M%S").to_string();
    let text = format!("{at}-{:06x}", hasher.finish() & 0xff_ffff);
    RunId::new(&text).expect("a run id is made of digits, '-' and hexadecimal digits")
}

/// `$XDG_STATE_HOME/haulout/runs`, by default below `~/.local/state`.
fn folder() -> Result<PathBuf, Failure> {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = var("XDG_STATE_HOME").or_else(|| Some(var("HOME")?.join(".local/state"))).ok_or_else(|| {
        Failure::input(
            "there is no folder for the journal: neither XDG_STATE_HOME nor HOME is set",
            "set XDG_STATE_HOME to a folder that can be written",
        )
    })?;
    Ok(base.join("haulout").join("runs"))
}

/// The record of a run that is under way.
pub(super) struct Record {
    pub(super) journal: Journal,
    pub(super) folder: PathBuf,
    /// What the run holds in its clusters, as of the last line of the journal.
    pub(super) held: Arc<Mutex<Held>>,
    keeper: std::thread::JoinHandle<()>,
    reporter: std::thread::JoinHandle<()>,
    _hold: Hold,
}

impl Record {
    /// Opens the record of a run, and starts the reporter that listens to it. `before` is the run's past where it is
    /// taken up again; its plan then stays as it was.
    pub(super) fn open(run: &RunId, before: Option<Earlier>, plan: &Plan, output: &Output) -> Result<Self, Failure> {
        let folder = folder()?.join(run.as_str());
        let failed = |error: &std::io::Error| {
            Failure::io(
                format!("open the journal in {}", folder.display()),
                error,
                "set XDG_STATE_HOME to a folder that can be written; nothing was changed",
            )
        };
        let (hold, recorded) = match before {
            Some(Earlier { hold, past, .. }) => (hold, past.last),
            None => {
                let hold = Hold::take(&folder).map_err(|error| failed(&error))?.ok_or_else(|| under_way(run))?;
                let bytes = format::plan::write(plan, env!("CARGO_PKG_VERSION"));
                write_whole(&folder, PLAN_FILE, &bytes).map_err(|error| failed(&error))?;
                (hold, 0)
            }
        };
        let segment = Segment::open(&folder).map_err(|error| failed(&error))?;
        let path = segment.path().to_owned();
        let (seen, events) = tokio::sync::mpsc::unbounded_channel();
        let reporter = progress::report(plan.clusters(), events, output).map_err(|error| failed(&error))?;
        let held = Arc::new(Mutex::new(Held::new(plan.clusters())));
        let follows = Arc::clone(&held);
        let encode = Box::new(move |event: &Event| {
            follows.lock().unwrap_or_else(PoisonError::into_inner).take(&event.kind);
            format::run::write(event)
        });
        let (journal, keeper) = Journal::start_after(recorded, path, Box::new(segment), encode, clock::now, seen)
            .map_err(|error| failed(&error))?;
        Ok(Self { journal, folder, held, keeper, reporter, _hold: hold })
    }

    /// Waits until everything recorded is written and shown.
    pub(super) async fn close(self) {
        let Self { journal, keeper, reporter, .. } = self;
        drop(journal);
        // The journal's thread ends with its last handle, and with it the reporter's.
        let _ = tokio::task::spawn_blocking(move || (keeper.join(), reporter.join())).await;
    }
}

/// A run that is taken up again: nobody else works on it as long as this lives.
pub(super) struct Earlier {
    pub(super) run: RunId,
    pub(super) past: Past,
    pub(super) scope: format::plan::Scope,
    hold: Hold,
}

fn under_way(run: &RunId) -> Failure {
    Failure::locked(
        format!("run {run} is under way in another process on this machine"),
        "wait until that process has ended",
    )
}

/// The name of a config's folder can look like a run's id: where there is no such run, but such a path, it was meant as
/// the config.
pub(super) fn is_no_path(named: &RunId) -> Result<(), Failure> {
    if folder()?.join(named.as_str()).is_dir() || !Path::new(named.as_str()).exists() {
        return Ok(());
    }
    Err(Failure::input(
        format!("{named} is a path, and --resume takes the id of a run"),
        format!("put the config first: haulout apply {named} --resume [RUN]"),
    ))
}

/// Finds the run to go on with: the one that is named, else the newest of this config that was killed or interrupted.
pub(super) fn find(named: Option<&RunId>, config: &Foreign) -> Result<Earlier, Failure> {
    let runs = folder()?;
    let shown = sanitise(&runs.display().to_string()).to_string();
    match named {
        Some(run) => {
            let path = runs.join(run.as_str());
            if !path.is_dir() {
                return Err(Failure::input(
                    format!("there is no run {run} in {shown}"),
                    "a run is resumed on the machine that it was begun on; on any other one, apply without --resume \
                     finishes what it left",
                ));
            }
            let found = open(run, &path)?;
            if found.scope.config != *config {
                return Err(Failure::input(
                    format!("run {run} is of config {}, not of this one", found.scope.config.sanitised()),
                    "name the config that the run was made from",
                ));
            }
            Ok(found)
        }
        None => newest(&runs, config)?.ok_or_else(|| {
            Failure::input(
                format!("no run of this config in {shown} was killed or interrupted after it had begun"),
                "apply without --resume plans anew, and finishes what runs of other machines have left",
            )
        }),
    }
}

fn newest(runs: &Path, config: &Foreign) -> Result<Option<Earlier>, Failure> {
    let Ok(entries) = std::fs::read_dir(runs) else { return Ok(None) };
    let mut ids: Vec<RunId> = entries.filter_map(|entry| RunId::new(entry.ok()?.file_name().to_str()?).ok()).collect();
    // Ids begin with the moment at which the run was made.
    ids.sort_by(|a, b| b.as_str().cmp(a.as_str()));
    for run in ids {
        let path = runs.join(run.as_str());
        // What cannot be read is not the one; nobody has named it.
        let Ok(past) = Past::read(&path) else { continue };
        if !past.is_unfinished() || past.config.as_ref() != Some(config) {
            continue;
        }
        return open(&run, &path).map(Some);
    }
    Ok(None)
}

fn open(run: &RunId, path: &Path) -> Result<Earlier, Failure> {
    let failed = |error: &std::io::Error| {
        let shown = sanitise(&path.display().to_string()).to_string();
        Failure::io(format!("take up the run in {shown}"), error, "make the folder readable and writable for this user")
    };
    let hold = Hold::take(path).map_err(|error| failed(&error))?.ok_or_else(|| under_way(run))?;
    let bytes = super::load::read(&path.join(PLAN_FILE), "plan of the run", PLAN_MAX, NO_PLAN)?;
    let scope = format::plan::read_scope(&bytes)?;
    let past = Past::read(path).map_err(|error| failed(&error))?;
    Ok(Earlier { run: run.clone(), past, scope, hold })
}
