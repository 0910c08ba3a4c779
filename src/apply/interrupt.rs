//! The one thing a person can tell a run: stop.

use tokio_util::sync::CancellationToken;

/// Tells a run to stop. Cheap to clone. Steps look at it only while they wait: what was sent is never abandoned.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(CancellationToken);

impl Interrupt {
    /// One that is asked whenever this one is, and can be asked alone: a halt of one cluster.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Asks the run to start nothing new and to park what is under way.
    pub fn request(&self) {
        self.0.cancel();
    }

    /// Whether it was asked.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Ends when it is asked.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }
}
