//! Waiting for a lock before anything is planned: a plan made while another run acts would be out of date.

use std::sync::Arc;
use std::time::Duration;

use super::lock::{LockError, held};
use crate::model::{ClusterName, Foreign, RunId};
use crate::provider::{LeaseRead, LockActs, clock};

/// How often a lock that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The proof that the holder of a lock is dead: its Lease did not change for its whole length, as observed here. It
/// stands for as long as the Lease is still the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    version: Arc<str>,
    holder: Foreign,
}

impl Silence {
    /// Whether it is about a Lease as it was read.
    pub(super) fn is_of(&self, lease: &LeaseRead) -> bool {
        self.version == lease.resource_version
    }

    /// The dead run.
    #[must_use]
    pub fn holder(&self) -> &Foreign {
        &self.holder
    }
}

/// What is waited for while a lock is not free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// A live run, which will give it back.
    Release(Foreign),
    /// The end of the silence of a run that has shown no sign of life for longer than its lock lasts.
    Silence(Foreign),
}

/// Waits until a lock can be taken by `run`: at once where nobody else holds it. A holder that gives signs of life is
/// waited for during `patience`; one that gives none is observed for as long as its Lease lasts, because the clocks of
/// two machines may differ by more than that. Each new wait is told.
///
/// # Errors
/// [`LockError::Held`] when patience is over; [`LockError::Read`] when the Lease cannot be read.
pub async fn vacancy(
    acts: &dyn LockActs,
    cluster: &ClusterName,
    run: &RunId,
    patience: Duration,
    mut told: impl FnMut(&Awaited),
) -> Result<Option<Silence>, LockError> {
    let began = clock::monotonic();
    let mut seen: Option<(Arc<str>, tokio::time::Instant)> = None;
    let mut said: Option<Awaited> = None;
    loop {
        let read = acts.read_lease().await;
        let lease = read.map_err(|source| LockError::Read { cluster: cluster.clone(), source })?;
        let Some((lease, holder)) = lease.and_then(|lease| lease.holder.clone().map(|holder| (lease, holder))) else {
            return Ok(None);
        };
        if holder.raw() == run.as_str() {
            return Ok(None);
        }
        let now = clock::monotonic();
        let since = match &seen {
            Some((version, since)) if *version == lease.resource_version => *since,
            Some(_) | None => {
                seen = Some((Arc::clone(&lease.resource_version), now));
                now
            }
        };
        if now.saturating_duration_since(since) >= lease.duration {
            return Ok(Some(Silence { version: lease.resource_version, holder }));
        }
        let live = lease.is_live(clock::now());
        if live && now.saturating_duration_since(began) >= patience {
            return Err(held(cluster, Some(lease)));
        }
        let awaited = if live { Awaited::Release(holder) } else { Awaited::Silence(holder) };
        if said.as_ref() != Some(&awaited) {
            told(&awaited);
            said = Some(awaited);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
