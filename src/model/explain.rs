//! What an error must be able to say about itself beyond its message.

use std::error::Error;

/// Who can do something about an error; decides the exit code in one place, `cli::exit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What the person gave is wrong: a flag, a file, a name.
    Input,
    /// The outside did not do what was asked: network, API server, disk.
    Outside,
    /// Somebody else holds the lock.
    Locked,
    /// A mistake in haulout itself.
    Bug,
}

/// One sentence that says what to do next; shown as `hint: …` after the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice(pub String);

impl Advice {
    /// Makes an advice of a sentence without its final stop.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Implemented by every error type that can reach a person.
pub trait Explain: Error {
    /// Who can do something about it.
    fn kind(&self) -> Kind;
    /// What to do next, where something sensible can be said.
    fn advice(&self) -> Option<Advice>;
    /// Whether the message is a whole sentence (`--target x matches nothing`), to be printed as it is. Else it is a
    /// phrase that names operation and object, and fits after "failed to".
    fn is_sentence(&self) -> bool {
        false
    }
}
