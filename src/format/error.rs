//! What may be wrong with a document, and what a document is.

use std::fmt;

use crate::model::{Advice, Explain};

/// The newest version of each format that this haulout writes and reads.
const VERSION: (u32, u32) = (1, 0);

/// A kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `plan.v1`: a plan.
    Plan,
    /// `run.v1`: one event of a run.
    Run,
    /// `snapshot.v1`: what was observed of a cluster.
    Snapshot,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plan, Self::Run, Self::Snapshot];

    /// The word in `kind`, and the beginning of the schema's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Plan => "plan",
            Kind::Run => "run",
            Kind::Snapshot => "snapshot",
        }
    }

    /// The value of `format_version` that is written.
    #[must_use]
    pub fn version(self) -> String {
        let (major, minor) = VERSION;
        format!("{major}.{minor}")
    }

    /// Whether a document's `kind` and `format_version` can be read as this kind.
    pub(super) fn accept(self, kind: Option<&str>, version: Option<&str>) -> Result<(), FormatError> {
        let Some(kind) = kind else { return Err(FormatError::NotOurs { expected: self }) };
        if kind != self.as_str() {
            let found = crate::model::sanitise(kind).shortened(40);
            return Err(FormatError::OtherKind { expected: self, found });
        }
        let number = |text: &str| -> Option<(u32, u32)> {
            let (major, minor) = text.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        };
        let Some(found) = version.and_then(number) else {
            return Err(FormatError::Invalid {
                kind: self,
                at: "format_version".to_owned(),
                message: "expected a version such as \"1.0\"".to_owned(),
            });
        };
        match found.cmp(&VERSION) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => {
                Err(FormatError::Newer { kind: self, found: format!("{}.{}", found.0, found.1) })
            }
            std::cmp::Ordering::Less => Err(FormatError::Invalid {
                kind: self,
                at: "format_version".to_owned(),
                message: format!("there never was a version {}.{}", found.0, found.1),
            }),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why bytes are not a document of a kind. The messages hold no raw text of the document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// There is more of it than any honest document has.
    #[error("the {kind} has {size} bytes, and at most {most} are read")]
    TooLarge {
        /// What was to be read.
        kind: Kind,
        /// How large it is.
        size: usize,
        /// How large it may be.
        most: usize,
    },
    /// No JSON, or JSON of another form.
    #[error("the {kind} is malformed at line {line}, column {column}: {message}")]
    Malformed {
        /// What was to be read.
        kind: Kind,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there, sanitised.
        message: String,
    },
    /// The form is right, but a value cannot be.
    #[error("the {kind} is invalid at {at}: {message}")]
    Invalid {
        /// What was to be read.
        kind: Kind,
        /// The path to the value, such as `pods[12].name`.
        at: String,
        /// What is wrong with it, sanitised.
        message: String,
    },
    /// A document of another kind.
    #[error("this is a {found} and not a {expected}")]
    OtherKind {
        /// What was to be read.
        expected: Kind,
        /// What it says it is, sanitised.
        found: String,
    },
    /// JSON, but nothing of haulout's.
    #[error("this is not a {expected} of haulout: it has no \"kind\"")]
    NotOurs {
        /// What was to be read.
        expected: Kind,
    },
    /// Written by a newer haulout.
    #[error("the {kind} has format {found}, and this haulout reads up to {}", kind.version())]
    Newer {
        /// What was to be read.
        kind: Kind,
        /// Its version.
        found: String,
    },
}

impl FormatError {
    pub(super) fn malformed(kind: Kind, error: &serde_json::Error) -> Self {
        // The message ends in " at line L column C", which has fields of its own here.
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        Self::Malformed {
            kind,
            line: error.line(),
            column: error.column(),
            message: crate::model::sanitise(message).shortened(200),
        }
    }
}

impl Explain for FormatError {
    fn kind(&self) -> crate::model::Kind {
        crate::model::Kind::Input
    }

    fn advice(&self) -> Option<Advice> {
        Some(match self {
            FormatError::TooLarge { kind, .. }
            | FormatError::Malformed { kind, .. }
            | FormatError::Invalid { kind, .. } => {
                Advice::new(format!("make the {kind} again; it is not meant to be written by hand"))
            }
            FormatError::OtherKind { expected, .. } | FormatError::NotOurs { expected } => {
                Advice::new(format!("give a {expected} that haulout has written"))
            }
            FormatError::Newer { .. } => Advice::new("use the haulout that wrote it, or a newer one"),
        })
    }

    fn is_sentence(&self) -> bool {
        true
    }
}
