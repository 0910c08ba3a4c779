//! The proof that a mutation was announced.

/// Proof that the line that announces one mutation is on disk. Neither cloneable nor made anywhere but here: one
/// permit, one request.
#[derive(Debug)]
#[must_use = "a permit announces a request that should be sent"]
pub struct Permit {
    seq: u64,
}

impl Permit {
    pub(super) fn new(seq: u64) -> Self {
        Self { seq }
    }

    /// The number of the journal line that announces the mutation.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }
}
