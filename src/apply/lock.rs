//! The Lease that lets one run act on a cluster.
//!
//! It is renewed on a thread, a runtime and a client of its own, so that neither a long request nor a stalled terminal
//! can let it lapse. A Lease is not a fence: every mutation first asks [`Lock::check`], and is itself guarded.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::context::said;
use super::vacancy::Silence;
use crate::model::{Advice, ClusterName, Explain, Foreign, Kind, RunId};
use crate::provider::{ActError, LeaseRead, LockActs, ReadError, ReadErrorKind, Refusal, clock};

/// How often the holder renews: twelve chances before the lock is lost.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// One request of the renewal may take this long: three fit between a renewal and the moment acting stops.
const RENEW_WITHIN: Duration = Duration::from_secs(8);
/// Acting stops after this long without renewal: well before anybody may take over, with room for clocks that run at
/// different speeds and for a request already on its way.
const ACT_WITHIN: Duration = Duration::from_secs(40);

/// How long denials are borne. An API server knows the roles within seconds of its start, and a token is renewed within
/// a minute of its end.
pub(super) const DENIALS_BORNE: Duration = Duration::from_secs(60);

/// How often the first renewal is tried, and a request whose answer never came is read back.
const TRIES: u32 = 3;
/// The pause between two of those tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes the client that renews, inside the renewing thread's own runtime.
pub type Connect =
    Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<Arc<dyn LockActs>, ReadError>> + Send>> + Send>;

/// How a lock is renewed while it is held.
pub enum Renew {
    /// On a thread and runtime of its own, by a client made there.
    Apart(Connect),
    /// Beside the run: where time is simulated nothing can stall, and another thread would not share that time.
    Beside(Arc<dyn LockActs>),
}

/// Why the lock was not taken, or no longer holds.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A live run holds it.
    #[error("lock cluster {cluster}: run {} holds the lock, last renewed {renewed_at}", holder.sanitised())]
    Held {
        /// The cluster.
        cluster: ClusterName,
        /// The run.
        holder: Foreign,
        /// Its last renewal, by its own clock.
        renewed_at: Timestamp,
    },
    /// The Lease could not be read.
    #[error("lock cluster {cluster}")]
    Read {
        /// The cluster.
        cluster: ClusterName,
        /// What went wrong.
        #[source]
        source: ReadError,
    },
    /// The Lease could not be written.
    #[error("lock cluster {cluster}")]
    Write {
        /// The cluster.
        cluster: ClusterName,
        /// What went wrong.
        #[source]
        source: Box<ActError>,
    },
    /// It was taken, but the connection of its own that renews it does not work; it was given back.
    #[error("renew the lock of cluster {cluster} over a connection of its own")]
    Renew {
        /// The cluster.
        cluster: ClusterName,
        /// What went wrong.
        #[source]
        source: ReadError,
    },
    /// No thread could be started to renew it.
    #[error("start the thread that renews the lock of cluster {cluster}")]
    Thread {
        /// The cluster.
        cluster: ClusterName,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for LockError {
    fn kind(&self) -> Kind {
        match self {
            LockError::Held { .. } => Kind::Locked,
            LockError::Read { .. } | LockError::Write { .. } | LockError::Renew { .. } | LockError::Thread { .. } => {
                Kind::Outside
            }
        }
    }

    fn advice(&self) -> Option<Advice> {
        match self {
            LockError::Held { .. } => Some(Advice::new(
                "wait until that run has ended (--lock-timeout); if its process is dead, apply --resume goes on with it at once on the machine that it ran on, and elsewhere the lock can be taken after 60 seconds of observed silence",
            )),
            LockError::Read { source, .. } | LockError::Renew { source, .. } => source.advice(),
            LockError::Write { .. } => Some(Advice::new(
                "give this identity the right to create and update leases in namespace haulout-system (deploy/base.yaml)",
            )),
            LockError::Thread { .. } => None,
        }
    }
}

struct Renewal {
    /// When the last successful renewal was sent, by both clocks: a sleeping machine stops the monotonic one.
    monotonic: Instant,
    wall: Timestamp,
}

/// Denials of the renewal that came one after the other.
struct Denied {
    since: Instant,
    said: Foreign,
}

struct Shared {
    last: Mutex<Renewal>,
    lost: AtomicBool,
    denied: Mutex<Option<Denied>>,
    ending: tokio::sync::watch::Sender<bool>,
}

/// A lock that is held and renewed until it is released.
pub struct Lock {
    shared: Arc<Shared>,
    renewing: Option<Renewing>,
}

/// What renews a lock. Ends with whether the Lease was given back.
enum Renewing {
    Thread(JoinHandle<bool>),
    Beside(tokio::task::JoinHandle<bool>),
}

/// The lock does not let this run act now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LockLost {
    /// Another run has it, or it was deleted: for good.
    #[error("the lock of the cluster was taken by another run")]
    Taken,
    /// It was not renewed in time; the renewal goes on, and may succeed again when the API server is back.
    #[error("the lock of the cluster could not be renewed in time")]
    Lapsed,
}

impl Lock {
    /// Takes the lock for a run, or says who has it. A Lease whose holder fell silent is taken over only after its
    /// silence was observed here for its whole length: before, which `silence` proves, or now; `silent` is called when
    /// that wait begins. Returns once what renews it has renewed it for the first time.
    ///
    /// # Errors
    /// [`LockError`].
    pub async fn take(
        acts: &dyn LockActs,
        cluster: &ClusterName,
        run: &RunId,
        renew: Renew,
        silence: Option<&Silence>,
        silent: impl FnOnce(Foreign),
    ) -> Result<Self, LockError> {
        let (lease, sent) = acquire(acts, cluster, run, silence, silent).await?;
        let shared = Arc::new(Shared {
            last: Mutex::new(sent),
            lost: AtomicBool::new(false),
            denied: Mutex::new(None),
            ending: tokio::sync::watch::Sender::new(false),
        });
        let (begun, beginning) = oneshot::channel();
        let (mine, holder, renewed) = (Arc::clone(&shared), run.clone(), lease.clone());
        let spawned =
            match renew {
                Renew::Apart(connect) => std::thread::Builder::new()
                    .name("lock".to_owned())
                    .spawn(move || renew_apart(&mine, &holder, renewed, connect, begun))
                    .map(Renewing::Thread),
                Renew::Beside(acts) => Ok(Renewing::Beside(tokio::spawn(async move {
                    keep(&mine, &holder, renewed, acts.as_ref(), begun).await
                }))),
            };
        let renewing = match spawned {
            Ok(renewing) => renewing,
            Err(source) => {
                // It lapses by itself where it cannot be given back.
                let _ = give_back(acts, run, lease).await;
                return Err(LockError::Thread { cluster: cluster.clone(), source });
            }
        };
        // Each of its requests has a deadline, so that an answer comes; none means that it panicked.
        let source = match beginning.await {
            Ok(Ok(())) => return Ok(Self { shared, renewing: Some(renewing) }),
            Ok(Err(source)) => source,
            Err(_) => failed("what renews it ended"),
        };
        let _ = give_back(acts, run, lease).await;
        Err(LockError::Renew { cluster: cluster.clone(), source })
    }

    /// Whether this run may still act.
    ///
    /// # Errors
    /// [`LockLost`] when the last renewal is too long ago by either clock, or somebody else has the lock.
    pub fn check(&self) -> Result<(), LockLost> {
        if self.shared.lost.load(Ordering::SeqCst) {
            return Err(LockLost::Taken);
        }
        let last = self.shared.last.lock().unwrap_or_else(PoisonError::into_inner);
        let monotonic = clock::monotonic().saturating_duration_since(last.monotonic);
        let wall = Duration::try_from(clock::now().duration_since(last.wall)).unwrap_or(Duration::ZERO);
        if monotonic.max(wall) > ACT_WITHIN { Err(LockLost::Lapsed) } else { Ok(()) }
    }

    /// What the API server says where it has denied the renewal (401, 403) for so long that it will not pass by itself:
    /// credentials that have ended, or rights that were taken away. No waiting renews such a lock.
    pub(super) fn denied(&self) -> Option<Foreign> {
        let denied = self.shared.denied.lock().unwrap_or_else(PoisonError::into_inner);
        let denied = denied.as_ref().filter(|denied| clock::monotonic() >= denied.since + DENIALS_BORNE)?;
        Some(denied.said.clone())
    }

    /// Gives the lock back and waits until that is written, for at most a few seconds. `true` if it was.
    pub async fn release(mut self) -> bool {
        self.shared.ending.send_replace(true);
        // It ends by itself: each of its requests has a deadline.
        let ended = async {
            match self.renewing.take() {
                Some(Renewing::Thread(thread)) => {
                    matches!(tokio::task::spawn_blocking(move || thread.join().unwrap_or(false)).await, Ok(true))
                }
                Some(Renewing::Beside(renewing)) => matches!(renewing.await, Ok(true)),
                None => false,
            }
        };
        matches!(tokio::time::timeout(RENEW_WITHIN * 5, ended).await, Ok(true))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.shared.ending.send_replace(true);
    }
}

fn is_held_by(lease: &LeaseRead, run: &RunId) -> bool {
    lease.holder.as_ref().is_some_and(|holder| holder.raw() == run.as_str())
}

fn failed(why: &str) -> ReadError {
    ReadError {
        operation: "renew the lock".to_owned(),
        kind: ReadErrorKind::Unreachable,
        message: Foreign::new(why),
        status: None,
        retry_after: None,
    }
}

/// Writes the run into the Lease, and says since when it holds.
async fn acquire(
    acts: &dyn LockActs,
    cluster: &ClusterName,
    run: &RunId,
    silence: Option<&Silence>,
    silent: impl FnOnce(Foreign),
) -> Result<(LeaseRead, Renewal), LockError> {
    let read_error = |source| LockError::Read { cluster: cluster.clone(), source };
    let mut lease = acts.read_lease().await.map_err(read_error)?;
    if let Some(known) = lease {
        let silent_before = silence.is_some_and(|silence| silence.is_of(&known));
        lease = Some(if silent_before { known } else { free(acts, cluster, run, known, silent).await? });
    }
    let mut tries = 1;
    loop {
        // Its age counts from before the request, which is the safe side.
        let sent = Renewal { monotonic: clock::monotonic(), wall: clock::now() };
        let written = match &lease {
            None => acts.create_lease(run, sent.wall).await,
            Some(lease) => acts.write_lease(lease, Some(run), sent.wall).await,
        };
        let error = match written {
            Ok(lease) => return Ok((lease, sent)),
            Err(error) => error,
        };
        let (raced, unclear) = match &error {
            ActError::Refused { refusal: Refusal::AlreadyExists | Refusal::Conflict { .. }, .. } => (true, false),
            ActError::Refused { .. } => (false, false),
            ActError::Unclear { .. } => (false, true),
        };
        if !raced && !unclear {
            return Err(LockError::Write { cluster: cluster.clone(), source: Box::new(error) });
        }
        // Somebody was faster, or it may have been written all the same: the Lease itself tells.
        let now = read_back(acts).await.map_err(read_error)?;
        match now {
            Some(now) if is_held_by(&now, run) => return Ok((now, sent)),
            // As it was: the request never came through.
            now if unclear && tries < TRIES && version(now.as_ref()) == version(lease.as_ref()) => {}
            now if unclear && version(now.as_ref()) == version(lease.as_ref()) => {
                return Err(LockError::Write { cluster: cluster.clone(), source: Box::new(error) });
            }
            now => return Err(held(cluster, now)),
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

fn version(lease: Option<&LeaseRead>) -> Option<&str> {
    lease.map(|lease| &*lease.resource_version)
}

/// Reads the Lease, more than once where that fails: what was sent before hangs on it.
async fn read_back(acts: &dyn LockActs) -> Result<Option<LeaseRead>, ReadError> {
    let mut tries = 1;
    loop {
        match acts.read_lease().await {
            Err(_) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// Gives a Lease back that this run holds; `true` once nobody, or somebody else, holds it.
async fn give_back(acts: &dyn LockActs, run: &RunId, mut lease: LeaseRead) -> bool {
    for _ in 0..TRIES {
        let release = tokio::time::timeout(RENEW_WITHIN, acts.write_lease(&lease, None, clock::now())).await;
        if matches!(release, Ok(Ok(_))) {
            return true;
        }
        // Refused, or not answered: the Lease itself tells.
        match tokio::time::timeout(RENEW_WITHIN, acts.read_lease()).await {
            Ok(Ok(Some(now))) if is_held_by(&now, run) => lease = now,
            Ok(Ok(_)) => return true,
            Ok(Err(_)) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
    false
}

pub(super) fn held(cluster: &ClusterName, lease: Option<LeaseRead>) -> LockError {
    let (holder, renewed_at) = lease.map_or((None, None), |lease| (lease.holder, lease.renewed_at));
    LockError::Held {
        cluster: cluster.clone(),
        holder: holder.unwrap_or_else(|| Foreign::new("unknown")),
        renewed_at: renewed_at.unwrap_or_else(clock::now),
    }
}

/// Waits until a Lease is free: at once where nobody holds it, after observed silence where a dead run does.
async fn free(
    acts: &dyn LockActs,
    cluster: &ClusterName,
    run: &RunId,
    lease: LeaseRead,
    silent: impl FnOnce(Foreign),
) -> Result<LeaseRead, LockError> {
    let Some(holder) = lease.holder.clone().filter(|holder| !holder.is_empty() && holder.raw() != run.as_str()) else {
        return Ok(lease);
    };
    if lease.is_live(clock::now()) {
        return Err(held(cluster, Some(lease)));
    }
    // The clocks of two machines may differ by more than the Lease's length: only silence that was observed here counts.
    silent(holder);
    let until = clock::monotonic() + lease.duration;
    while clock::monotonic() < until {
        tokio::time::sleep(RENEW_EVERY.min(until.saturating_duration_since(clock::monotonic()))).await;
        let now = acts.read_lease().await.map_err(|source| LockError::Read { cluster: cluster.clone(), source })?;
        match now {
            Some(now) if now.resource_version == lease.resource_version => {}
            now => return Err(held(cluster, now)),
        }
    }
    Ok(lease)
}

/// As [`keep`], on a runtime of its own and by a client made there.
fn renew_apart(
    shared: &Shared,
    run: &RunId,
    lease: LeaseRead,
    connect: Connect,
    begun: oneshot::Sender<Result<(), ReadError>>,
) -> bool {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = begun.send(Err(failed(&error.to_string())));
            return false;
        }
    };
    runtime.block_on(async move {
        match connect().await {
            Ok(acts) => keep(shared, run, lease, acts.as_ref(), begun).await,
            Err(error) => {
                let _ = begun.send(Err(error));
                false
            }
        }
    })
}

/// Renews the Lease until the lock ends; `true` if it was given back then. `begun` is told how the first renewal went:
/// a run whose lock nobody renews must not begin.
async fn keep(
    shared: &Shared,
    run: &RunId,
    mut lease: LeaseRead,
    acts: &dyn LockActs,
    begun: oneshot::Sender<Result<(), ReadError>>,
) -> bool {
    let mut tries = 1;
    while let Err(error) = once(shared, run, &mut lease, acts).await {
        if tries == TRIES || shared.lost.load(Ordering::SeqCst) {
            let _ = begun.send(Err(error));
            return false;
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
    if begun.send(Ok(())).is_err() {
        // Nobody waits for the lock any more.
        return give_back(acts, run, lease).await;
    }
    let mut ending = shared.ending.subscribe();
    loop {
        if tokio::time::timeout(RENEW_EVERY, ending.wait_for(|ending| *ending)).await.is_ok() {
            return give_back(acts, run, lease).await;
        }
        // Where it cannot be renewed, the age of the last renewal decides.
        let _ = once(shared, run, &mut lease, acts).await;
        if shared.lost.load(Ordering::SeqCst) {
            return false;
        }
    }
}

/// Renews the Lease once.
async fn once(shared: &Shared, run: &RunId, lease: &mut LeaseRead, acts: &dyn LockActs) -> Result<(), ReadError> {
    let sent = Renewal { monotonic: clock::monotonic(), wall: clock::now() };
    // One request that hangs must not cost the lock: what comes late is found by the read below.
    let written = tokio::time::timeout(RENEW_WITHIN, acts.write_lease(lease, Some(run), sent.wall)).await;
    let error = match written {
        Ok(Ok(next)) => {
            *lease = next;
            *shared.last.lock().unwrap_or_else(PoisonError::into_inner) = sent;
            *shared.denied.lock().unwrap_or_else(PoisonError::into_inner) = None;
            return Ok(());
        }
        Ok(Err(ActError::Refused { refusal: Refusal::Forbidden { message }, .. })) => {
            let mut denied = shared.denied.lock().unwrap_or_else(PoisonError::into_inner);
            let since = denied.as_ref().map_or(sent.monotonic, |denied| denied.since);
            let error = failed(message.raw());
            *denied = Some(Denied { since, said: message });
            error
        }
        Ok(Err(ActError::Unclear { cause, .. })) => *cause,
        Ok(Err(ActError::Refused { refusal, .. })) => failed(&format!("{refusal}{}", said(&refusal))),
        Err(_) => failed("no answer in time"),
    };
    // Somebody wrote it, or a renewal of ours arrived whose answer was lost: the Lease itself tells.
    match tokio::time::timeout(RENEW_WITHIN, acts.read_lease()).await {
        Ok(Ok(Some(now))) if is_held_by(&now, run) => *lease = now,
        Ok(Ok(_)) => shared.lost.store(true, Ordering::SeqCst),
        Ok(Err(_)) | Err(_) => {}
    }
    Err(error)
}
