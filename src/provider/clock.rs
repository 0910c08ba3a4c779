//! The one place that reads the time.

use jiff::Timestamp;

/// Now, by the wall clock.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
    Timestamp::now()
}

/// Now, for measuring and for deadlines; stands still while the machine sleeps.
#[must_use]
pub fn monotonic() -> tokio::time::Instant {
    #[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
    tokio::time::Instant::now()
}
