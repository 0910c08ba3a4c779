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
use tokio::time::Instant;

use super::vacancy::Silence;
use crate::model::{Advice, ClusterName, Explain, Foreign, Kind, RunId};
use crate::provider::{ActError, LeaseRead, LockActs, ReadError, Refusal, clock};

/// How often the holder renews: twelve chances before the lock is lost.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// One request of the renewal may take this long: three fit between a renewal and the moment acting stops.
const RENEW_WITHIN: Duration = Duration::from_secs(8);
/// Acting stops after this long without renewal: well before anybody may take over, with room for clocks that run at
/// different speeds and for a request already on its way.
const ACT_WITHIN: Duration = Duration::from_secs(40);

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
            LockError::Read { .. } | LockError::Write { .. } | LockError::Thread { .. } => Kind::Outside,
        }
    }

    fn advice(&self) -> Option<Advice> {
        match self {
            LockError::Held { .. } => Some(Advice::new(
                "wait until that run has ended; if its process is dead, the lock can be taken 60 seconds after its last sign of life",
            )),
            LockError::Read { source, .. } => source.advice(),
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

struct Shared {
    last: Mutex<Renewal>,
    lost: AtomicBool,
    ending: tokio::sync::watch::Sender<bool>,
}

/// A lock that is held and renewed until it is released.
pub struct Lock {
    shared: Arc<Shared>,
    renewing: Option<Renewing>,
}

enum Renewing {
    Thread(JoinHandle<()>),
    Beside(tokio::task::JoinHandle<()>),
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
    /// that wait begins.
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
        let read_error = |source| LockError::Read { cluster: cluster.clone(), source };
        let write_error = |source: ActError| LockError::Write { cluster: cluster.clone(), source: Box::new(source) };
        let sent = Renewal { monotonic: clock::monotonic(), wall: clock::now() };
        let lease = match acts.read_lease().await.map_err(read_error)? {
            None => match acts.create_lease(run, sent.wall).await {
                Ok(lease) => lease,
                Err(ActError::Refused { refusal: Refusal::AlreadyExists, .. }) => {
                    return Err(held(cluster, acts.read_lease().await.map_err(read_error)?));
                }
                Err(error) => return Err(write_error(error)),
            },
            Some(lease) => {
                let known = silence.is_some_and(|silence| silence.is_of(&lease));
                let lease = if known { lease } else { free(acts, cluster, run, lease, silent).await? };
                match acts.write_lease(&lease, Some(run), clock::now()).await {
                    Ok(lease) => lease,
                    Err(ActError::Refused { refusal: Refusal::Conflict { .. }, .. }) => {
                        return Err(held(cluster, acts.read_lease().await.map_err(read_error)?));
                    }
                    Err(error) => return Err(write_error(error)),
                }
            }
        };
        let shared = Arc::new(Shared {
            last: Mutex::new(Renewal { monotonic: clock::monotonic(), wall: clock::now() }),
            lost: AtomicBool::new(false),
            ending: tokio::sync::watch::Sender::new(false),
        });
        let (mine, run) = (Arc::clone(&shared), run.clone());
        let renewing = match renew {
            Renew::Apart(connect) => std::thread::Builder::new()
                .name("lock".to_owned())
                .spawn(move || renew_apart(&mine, &run, lease, connect))
                .map(Renewing::Thread)
                .map_err(|source| LockError::Thread { cluster: cluster.clone(), source })?,
            Renew::Beside(acts) => Renewing::Beside(tokio::spawn(async move {
                keep(&mine, &run, lease, acts.as_ref()).await;
            })),
        };
        Ok(Self { shared, renewing: Some(renewing) })
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

    /// Gives the lock back and waits until that is written, for at most a few seconds.
    pub async fn release(mut self) {
        self.shared.ending.send_replace(true);
        // It ends by itself: each of its requests has a deadline.
        let ended = async {
            match self.renewing.take() {
                Some(Renewing::Thread(thread)) => drop(tokio::task::spawn_blocking(move || thread.join()).await),
                Some(Renewing::Beside(renewing)) => drop(renewing.await),
                None => {}
            }
        };
        let _ = tokio::time::timeout(RENEW_WITHIN * 4, ended).await;
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.shared.ending.send_replace(true);
    }
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

fn renew_apart(shared: &Shared, run: &RunId, lease: LeaseRead, connect: Connect) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        // Without renewal the lock lapses by itself, which is the safe side.
        return;
    };
    runtime.block_on(async move {
        let Ok(acts) = connect().await else { return };
        keep(shared, run, lease, acts.as_ref()).await;
    });
}

/// Renews a lease until the lock is lost or given back.
async fn keep(shared: &Shared, run: &RunId, mut lease: LeaseRead, acts: &dyn LockActs) {
    let mut ending = shared.ending.subscribe();
    loop {
        let ended = tokio::time::timeout(RENEW_EVERY, ending.wait_for(|ending| *ending)).await.is_ok();
        let sent = Renewal { monotonic: clock::monotonic(), wall: clock::now() };
        let holder = if ended { None } else { Some(run) };
        // One request that hangs must not cost the lock: what comes late is found by the read below.
        let written = tokio::time::timeout(RENEW_WITHIN, acts.write_lease(&lease, holder, sent.wall)).await;
        match written {
            Ok(Ok(next)) => {
                lease = next;
                *shared.last.lock().unwrap_or_else(PoisonError::into_inner) = sent;
            }
            // Somebody wrote it, or a renewal of ours arrived whose answer was lost: the Lease itself tells.
            Ok(Err(_)) | Err(_) => match tokio::time::timeout(RENEW_WITHIN, acts.read_lease()).await {
                Ok(Ok(Some(now))) if now.holder.as_ref().is_some_and(|holder| holder.raw() == run.as_str()) => {
                    lease = now;
                    if ended {
                        let release = acts.write_lease(&lease, None, clock::now());
                        let _ = tokio::time::timeout(RENEW_WITHIN, release).await;
                    }
                }
                Ok(Ok(_)) => {
                    shared.lost.store(true, Ordering::SeqCst);
                    return;
                }
                // The API server cannot be reached: the age of the last renewal decides.
                Ok(Err(_)) | Err(_) => {}
            },
        }
        if ended {
            return;
        }
    }
}
