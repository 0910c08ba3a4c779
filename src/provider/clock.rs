//! The one place that reads the time.

use std::cell::Cell;

use jiff::{SignedDuration, Timestamp};

thread_local! {
    /// The moment that a simulated cluster's clock showed when the runtime's showed this.
    static SIMULATED: Cell<Option<(Timestamp, tokio::time::Instant)>> = const { Cell::new(None) };
}

/// Now, by the wall clock; on a thread with [`Simulated`] time, by the runtime's own clock.
#[must_use]
pub fn now() -> Timestamp {
    if let Some((start, since)) = SIMULATED.get() {
        let passed = monotonic().saturating_duration_since(since);
        return start.saturating_add(SignedDuration::try_from(passed).unwrap_or_default()).unwrap_or(start);
    }
    #[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
    Timestamp::now()
}

/// Now, for measuring and for deadlines; stands still while the machine sleeps.
#[must_use]
pub fn monotonic() -> tokio::time::Instant {
    #[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
    tokio::time::Instant::now()
}

/// Simulated time on this thread, for as long as the value lives: [`now`] goes with the clock of the runtime, so that on
/// a runtime whose clock is paused an hour passes as soon as everybody waits for it. Other threads are not touched,
/// which is why such a runtime must have one thread only.
#[derive(Debug)]
#[must_use = "the time is simulated while this lives"]
pub struct Simulated {
    before: Option<(Timestamp, tokio::time::Instant)>,
    /// Of this thread, and never of another.
    _here: std::marker::PhantomData<*const ()>,
}

impl Simulated {
    /// Begins at a moment. To be called on the runtime whose clock counts.
    pub fn begin(start: Timestamp) -> Self {
        Self { before: SIMULATED.replace(Some((start, monotonic()))), _here: std::marker::PhantomData }
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        SIMULATED.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn simulated_time_goes_with_the_paused_clock_and_ends_with_its_guard() {
        let start = Timestamp::UNIX_EPOCH;
        let time = Simulated::begin(start);
        assert_eq!(now(), start);
        tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
        assert_eq!(now(), start + SignedDuration::from_hours(1));
        drop(time);
        assert!(now() > start + SignedDuration::from_hours(2));
    }
}
