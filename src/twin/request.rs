//! What may be asked of the simulated cluster, and what it answers.

use super::failure::Failure;
use super::json::Value;
use super::kind::Kind;
use super::patch::PatchKind;

/// A part of an object with a path of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subresource {
    /// `status`.
    Status,
    /// `eviction` of a pod.
    Eviction,
}

/// Which objects of a list are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// `labelSelector`.
    pub labels: String,
    /// `fieldSelector`.
    pub fields: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Verb {
    /// Read one object.
    Get,
    /// Read many.
    List {
        /// Which.
        filter: Filter,
        /// At most so many; 0 is all.
        limit: usize,
        /// The token of the page before.
        token: String,
    },
    /// Make an object, or evict a pod.
    Create(Value),
    /// Replace an object.
    Replace(Value),
    /// Change an object.
    Patch(PatchKind, Value),
    /// Delete an object, with `DeleteOptions`.
    Delete(Value),
}

/// `fieldValidation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validation {
    /// Unknown fields are dropped.
    Ignore,
    /// Unknown fields are dropped and warned of. The default of the server.
    #[default]
    Warn,
    /// Unknown fields are an error.
    Strict,
}

/// How it is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `dryRun=All`: answer as if, and store nothing.
    pub dry_run: bool,
    /// `fieldManager`, or what the user agent says.
    pub manager: String,
    /// `fieldValidation`.
    pub validation: Validation,
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The kind.
    pub kind: Kind,
    /// The namespace; `None` for kinds without, and for lists over all of them.
    pub namespace: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The part.
    pub subresource: Option<Subresource>,
    /// What.
    pub verb: Verb,
    /// How.
    pub options: Options,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub code: u16,
    /// The body.
    pub body: Value,
    /// Headers `Warning`.
    pub warnings: Vec<String>,
    /// The header `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

impl Response {
    pub(super) fn new(code: u16, body: Value) -> Self {
        Self { code, body, warnings: Vec::new(), retry_after: None }
    }
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, body: failure.body(), warnings: Vec::new(), retry_after: failure.retry_after }
    }
}
