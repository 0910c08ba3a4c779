//! Why an object could not become one of the model's.

use crate::model::{InvalidName, SelectorError};

/// An object that cannot be understood: it is counted and left out, never guessed at.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Misfit {
    /// A part without which it means nothing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A name that breaks the rules of its kind.
    #[error("a name of it is invalid")]
    Name(#[from] InvalidName),
    /// A label selector that no API server accepts.
    #[error("its selector is invalid")]
    Selector(#[from] SelectorError),
    /// A value outside what the API defines.
    #[error("its {field} has an unknown value")]
    Value {
        /// The field.
        field: &'static str,
    },
}
