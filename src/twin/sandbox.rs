//! A simulated cluster that people work with: a [`World`] with a clock, a place to save to, and an HTTP API.
//!
//! Its clock goes with the given one while somebody asks it something, and stands still in between: when it is opened
//! again, every time in it is moved to now, so that nobody has grown older; but for the lock of runs, whose holders live
//! outside (see [`World::shift`]). Its `now` is therefore always that of the
//! clock it was given, and everything that is compared with it (reports, leases, marks) can be planned with either.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use super::failure::Failure;
use super::file::SandboxFile;
use super::manifest;
use super::request::{Request, Response};
use super::world::{Unreadable, World};
use crate::model::{Advice, Explain, Kind as ErrorKind, sanitise};

/// Where the state of a sandbox is kept. Called before every answer after which there is something new, so that
/// killing the process never takes back what somebody has been told.
pub trait Store: Send + Sync {
    /// Keeps the state, in place of the one before.
    ///
    /// # Errors
    /// Whatever the medium says; the request is then answered with an error.
    fn save(&self, state: &[u8]) -> io::Result<()>;
}

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How long a new cluster has lived before anybody sees it: its pods run, its budgets are counted.
const PAST: SignedDuration = SignedDuration::from_hours(1);

/// Why a sandbox cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// `cluster.toml` is wrong.
    #[error("{}{}: {}", sanitise(.file), Line::new(*.line), sanitise(.message))]
    File {
        /// Its name.
        file: String,
        /// The line, where known.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// A manifest is wrong.
    #[error("{}{}, document {document}: {}", sanitise(.file), Line::new(.line.map(|line| usize::try_from(line).unwrap_or(0))), sanitise(.message))]
    Manifest {
        /// Its name.
        file: String,
        /// Which of its documents, from 1.
        document: usize,
        /// The line, where known.
        line: Option<u64>,
        /// What is wrong.
        message: String,
    },
    /// The saved state cannot be read.
    #[error("the saved state of the simulated cluster cannot be read: {}", sanitise(&.0.to_string()))]
    State(#[source] Unreadable),
    /// The cluster never comes to rest: its controllers undo each other's work.
    #[error("the simulated cluster does not come to rest: its objects contradict each other")]
    Restless,
    /// The state cannot be saved.
    #[error("the state of the simulated cluster cannot be saved: {}", sanitise(.0))]
    Save(String),
}

/// `:LINE`, where there is one.
struct Line(Option<usize>);

impl Line {
    fn new(line: Option<usize>) -> Self {
        Self(line)
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

impl Explain for SandboxError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File { .. } | Self::Manifest { .. } | Self::Restless => ErrorKind::Input,
            Self::State(_) | Self::Save(_) => ErrorKind::Outside,
        }
    }

    fn advice(&self) -> Option<Advice> {
        match self {
            Self::State(_) => Some(Advice::new("delete the state file: the simulated cluster then starts anew")),
            Self::Restless => {
                Some(Advice::new("look for pods with a node name whose node's taints they do not tolerate"))
            }
            Self::Save(_) => Some(Advice::new("make room or make the folder writable")),
            Self::File { .. } | Self::Manifest { .. } => None,
        }
    }
}

/// A simulated cluster. Cheap to clone; all clones are the same cluster.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    clock: Clock,
    store: Arc<dyn Store>,
    /// Told whenever there is a new version.
    changed: tokio::sync::watch::Sender<u64>,
    is_changed: bool,
}

struct State {
    world: World,
    /// The version that was saved last.
    saved: Option<u64>,
}

impl Sandbox {
    /// Opens a simulated cluster. `manifests` are name and text of the files that [`SandboxFile::manifests`] names, in
    /// that order. With a saved `state` it goes on where it stood and the manifests are only compared; without, it is
    /// made of them and lives until it has come to rest.
    ///
    /// # Errors
    /// [`SandboxError`], which names file and document.
    pub fn open(
        file: &SandboxFile,
        manifests: &[(String, String)],
        state: Option<&[u8]>,
        clock: Clock,
        store: Arc<dyn Store>,
    ) -> Result<Self, SandboxError> {
        let description = describe(file, manifests);
        let mut world = match state {
            Some(bytes) => World::restore(bytes, file.delays).map_err(SandboxError::State)?,
            None => {
                let mut world = make(file, manifests, clock())?;
                world.description.clone_from(&description);
                world
            }
        };
        // Whole seconds, because that is how most times in it are written, and never into the future.
        let behind = clock().duration_since(world.now());
        let seconds = behind.as_secs() - i64::from(behind.is_negative() && behind.subsec_nanos() != 0);
        if seconds != 0 {
            world.shift(SignedDuration::from_secs(seconds));
        }
        let (changed, _) = tokio::sync::watch::channel(world.version());
        let is_changed = world.description != description;
        let state = Mutex::new(State { world, saved: None });
        Ok(Self { shared: Arc::new(Shared { state, clock, store, changed, is_changed }) })
    }

    /// The moment in the cluster: that of the clock, except that it never goes back. Sound to plan with.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.shared.clock)().max(self.lock().world.now())
    }

    /// Whether `cluster.toml` or its manifests are others than those that the saved cluster was made of. It goes on as
    /// it is; deleting its state starts it anew.
    #[must_use]
    pub fn is_description_changed(&self) -> bool {
        self.shared.is_changed
    }

    /// Everything, as it would be saved now.
    ///
    /// # Errors
    /// [`SandboxError::Save`] when it cannot be put into bytes.
    pub fn state(&self) -> Result<Vec<u8>, SandboxError> {
        self.lock().world.save().map_err(|error| SandboxError::Save(error.to_string()))
    }

    /// Answers a request.
    pub fn apply(&self, request: &Request) -> Response {
        let now = self.now();
        let mut state = self.lock();
        let response = state.world.apply(now, request);
        match self.save(&mut state) {
            Ok(()) => response,
            Err(error) => Failure::internal(error.to_string()).into(),
        }
    }

    /// Looks at the cluster as it is now.
    pub(super) fn look<T>(&self, look: impl FnOnce(&World) -> T) -> Result<T, SandboxError> {
        let now = self.now();
        let mut state = self.lock();
        state.world.advance(now);
        self.save(&mut state)?;
        Ok(look(&state.world))
    }

    /// How long until something happens by itself, as far as can be told now.
    pub(super) fn pause(&self) -> Option<Duration> {
        let now = self.now();
        let next = self.lock().world.next()?;
        Some(Duration::try_from(next.duration_since(now)).unwrap_or(Duration::ZERO))
    }

    /// Told of every new version.
    pub(super) fn subscribe(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// Saves what is new, and tells those who watch. Nothing is told that is not saved.
    fn save(&self, state: &mut State) -> Result<(), SandboxError> {
        let version = state.world.version();
        if state.saved == Some(version) {
            return Ok(());
        }
        let bytes = state.world.save().map_err(|error| SandboxError::Save(error.to_string()))?;
        self.shared.store.save(&bytes).map_err(|error| SandboxError::Save(error.to_string()))?;
        state.saved = Some(version);
        self.shared.changed.send_replace(version);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in another request must not take the whole cluster with it: the world is changed in small steps.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a cluster and lets it live until now.
fn make(file: &SandboxFile, manifests: &[(String, String)], now: Timestamp) -> Result<World, SandboxError> {
    let mut found = Vec::new();
    for (name, text) in manifests {
        manifest::read(name, text, &mut found)?;
    }
    let start = now.saturating_sub(PAST).unwrap_or(now);
    let mut world = World::new(start, file.seed, file.delays);
    manifest::create(&mut world, found)?;
    world.advance(now);
    if world.is_restless() { Err(SandboxError::Restless) } else { Ok(world) }
}

/// A digest of what a cluster is made of. The delays may change at any time and are not part of it.
fn describe(file: &SandboxFile, manifests: &[(String, String)]) -> String {
    let mut digest = Sha256::new();
    digest.update(file.seed.to_le_bytes());
    // Not the names: where the files lie does not matter.
    for (_, text) in manifests {
        digest.update(text.as_bytes());
        digest.update([0]);
    }
    let mut hex = String::new();
    for byte in digest.finalize() {
        hex.push_str(&format!("{byte:02x}"));
    }
    hex
}
