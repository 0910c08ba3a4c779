//! Waiting for a lock: whom it waits for, for how long, and what it takes for proof that a holder is dead.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use haulout::apply::{Awaited, LockError, vacancy};
use haulout::model::{ClusterName, Foreign, RunId};
use haulout::provider::{ActError, LeaseRead, LockActs, ReadError};
use jiff::{SignedDuration, Timestamp};

/// A Lease that is read; each look takes the next of its states, and the last one stays.
struct Lease(Mutex<Vec<Option<LeaseRead>>>);

#[async_trait]
impl LockActs for Lease {
    async fn read_lease(&self) -> Result<Option<LeaseRead>, ReadError> {
        let mut states = self.0.lock().unwrap();
        Ok(if states.len() > 1 { states.remove(0) } else { states[0].clone() })
    }

    async fn create_lease(&self, _: &RunId, _: Timestamp) -> Result<LeaseRead, ActError> {
        panic!("waiting writes nothing")
    }

    async fn write_lease(&self, _: &LeaseRead, _: Option<&RunId>, _: Timestamp) -> Result<LeaseRead, ActError> {
        panic!("waiting writes nothing")
    }
}

/// Held by a run whose last sign of life was so many seconds ago, in a version.
fn held(holder: &str, ago: i64, version: &str) -> Option<LeaseRead> {
    Some(LeaseRead {
        holder: Some(Foreign::new(holder)),
        renewed_at: Some(haulout::provider::clock::now() - SignedDuration::from_secs(ago)),
        duration: Duration::from_secs(60),
        resource_version: version.into(),
    })
}

struct Waited {
    /// `Ok(true)` is a proved silence.
    result: Result<bool, LockError>,
    took: Duration,
    told: Vec<Awaited>,
}

async fn wait(states: Vec<Option<LeaseRead>>, patience: u64) -> Waited {
    let began = haulout::provider::clock::monotonic();
    let mut told = Vec::new();
    let (cluster, me) = (ClusterName::new("prod").unwrap(), RunId::new("me").unwrap());
    let lease = Lease(Mutex::new(states));
    let silence =
        vacancy(&lease, &cluster, &me, Duration::from_secs(patience), |awaited| told.push(awaited.clone())).await;
    Waited { result: silence.map(|silence| silence.is_some()), took: began.elapsed(), told }
}

#[tokio::test(start_paused = true)]
async fn nobody_or_the_run_itself_is_not_waited_for() {
    let released = held("x", 1, "1").map(|lease| LeaseRead { holder: None, ..lease });
    for states in [vec![None], vec![released], vec![held("me", 1, "1")]] {
        let waited = wait(states, 0).await;
        assert!(matches!(waited.result, Ok(false)));
        assert_eq!((waited.took, waited.told.len()), (Duration::ZERO, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_is_waited_for_as_long_as_was_asked() {
    let at_once = wait(vec![held("x", 1, "1")], 0).await;
    assert!(matches!(at_once.result, Err(LockError::Held { .. })));
    assert_eq!(at_once.took, Duration::ZERO);
    let later = wait(vec![held("x", 1, "1")], 20).await;
    assert!(matches!(later.result, Err(LockError::Held { .. })));
    assert_eq!((later.took, later.told), (Duration::from_secs(20), vec![Awaited::Release(Foreign::new("x"))]));
    // It gives the lock back.
    let released = held("x", 1, "3").map(|lease| LeaseRead { holder: None, ..lease });
    let freed = wait(vec![held("x", 1, "1"), held("x", 1, "2"), released], 20).await;
    assert!(matches!(freed.result, Ok(false)));
    assert_eq!(freed.took, Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn silence_counts_only_as_observed_here() {
    // Its clock says that it is long dead, or ahead of ours that it is alive: a minute is observed either way.
    for ago in [61, 100_000, -3_000] {
        let waited = wait(vec![held("x", ago, "1")], 90).await;
        assert!(matches!(waited.result, Ok(true)), "{ago}");
        assert_eq!(waited.took, Duration::from_secs(60));
    }
    // That minute is no wait for a live lock, so that no patience is needed for it.
    let dead = wait(vec![held("x", 61, "1")], 0).await;
    assert!(matches!(dead.result, Ok(true)));
    assert_eq!(dead.told, [Awaited::Silence(Foreign::new("x"))]);
    // Any sign of life begins it anew, however old its time says it is.
    let mut states = vec![held("x", 61, "1"); 20];
    states.push(held("x", 61, "2"));
    assert_eq!(wait(states, 0).await.took, Duration::from_secs(40 + 60));
    // Alive again: then it is a live lock.
    let woken = wait(vec![held("x", 61, "1"), held("x", 61, "1"), held("x", 0, "2")], 0).await;
    assert!(matches!(woken.result, Err(LockError::Held { .. })));
}
