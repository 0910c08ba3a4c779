//! The one place that reads the time.

use std::cell::Cell;

use jiff::{SignedDuration, Timestamp};

thread_local! {
    static SIMULATED: Cell<Option<Start>> = const { Cell::new(None) };
}

/// How simulated time goes.
#[derive(Debug, Clone, Copy)]
struct Start {
    /// The moment that everybody's clock showed when the runtime's showed `since`.
    at: Timestamp,
    since: tokio::time::Instant,
    /// By how much the clock of this machine is wrong.
    wrong: SignedDuration,
}

impl Start {
    fn now(self) -> Timestamp {
        let passed = monotonic().saturating_duration_since(self.since);
        self.at.saturating_add(SignedDuration::try_from(passed).unwrap_or_default()).unwrap_or(self.at)
    }
}

/// Now, by the wall clock; on a thread with [`Simulated`] time, by the runtime's own clock.
#[must_use]
pub fn now() -> Timestamp {
    if let Some(start) = SIMULATED.get() {
        let right = start.now();
        return right.saturating_add(start.wrong).unwrap_or(right);
    }
    #[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
    Timestamp::now()
}

/// Now, by the clocks of other machines. It is [`now`], except in simulated time, where this machine's clock may be
/// wrong: a simulated cluster is another machine.
#[must_use]
pub fn elsewhere() -> Timestamp {
    SIMULATED.get().map_or_else(now, Start::now)
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
    before: Option<Start>,
    /// Of this thread, and never of another.
    _here: std::marker::PhantomData<*const ()>,
}

impl Simulated {
    /// Begins at a moment. To be called on the runtime whose clock counts.
    pub fn begin(start: Timestamp) -> Self {
        let start = Start { at: start, since: monotonic(), wrong: SignedDuration::ZERO };
        Self { before: SIMULATED.replace(Some(start)), _here: std::marker::PhantomData }
    }

    /// Sets this machine's clock wrong by so much, as a time server does that corrects a clock or spoils it: [`now`]
    /// jumps, and nothing else does. Without simulated time on this thread nothing happens.
    pub fn set_wrong(by: SignedDuration) {
        SIMULATED.set(SIMULATED.get().map(|start| Start { wrong: by, ..start }));
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
        Simulated::set_wrong(SignedDuration::from_mins(-10));
        assert_eq!(now(), start + SignedDuration::from_mins(50));
        assert_eq!(elsewhere(), start + SignedDuration::from_hours(1));
        drop(time);
        assert!(now() > start + SignedDuration::from_hours(2) && elsewhere() >= now() - SignedDuration::from_mins(1));
        Simulated::set_wrong(SignedDuration::from_hours(1));
        assert!(now() <= elsewhere());
    }
}
