//! Errors on their way to a person: one message, its causes, one hint.

use std::error::Error;

use super::exit::Exit;
use super::output::Output;
use crate::model::{Advice, Explain, sanitise};

/// An error that ends the program.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// Fits after "failed to", or is a whole sentence where `said` is set; sanitised when printed.
    message: String,
    causes: Vec<String>,
    advice: Option<Advice>,
    /// Whether everything was already printed, such as the diagnostics of a config.
    said: bool,
}

impl Failure {
    /// What a person did wrong, in a whole sentence without its final stop, with what to do.
    pub(super) fn input(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            exit: Exit::Error,
            message: message.into(),
            causes: Vec::new(),
            advice: Some(Advice::new(advice)),
            said: false,
        }
    }

    /// An error whose text is on the terminal already.
    pub(super) fn said(exit: Exit) -> Self {
        Self { exit, message: String::new(), causes: Vec::new(), advice: None, said: true }
    }

    /// An I/O error: the operation, fits after "failed to".
    pub(super) fn io(operation: impl Into<String>, error: &std::io::Error, advice: impl Into<String>) -> Self {
        Self {
            exit: Exit::Error,
            message: format!("failed to {}", operation.into()),
            causes: vec![error.to_string()],
            advice: Some(Advice::new(advice)),
            said: false,
        }
    }

    /// What happened with its causes, and what to do, each on one line and safe to print.
    pub(super) fn words(&self) -> (String, Option<String>) {
        let parts: Vec<String> =
            std::iter::once(&self.message).chain(&self.causes).map(|part| sanitise(part).to_string()).collect();
        (parts.join(": "), self.advice.as_ref().map(|Advice(advice)| sanitise(advice).to_string()))
    }

    pub(super) fn print(&self, output: &Output) {
        if self.said {
            return;
        }
        output.say(&format!("{} {}", output.style().error("error:"), sanitise(&self.message)));
        for cause in &self.causes {
            output.say(&format!("  because: {}", sanitise(cause)));
        }
        if let Some(Advice(advice)) = &self.advice {
            output.say(&format!("{} {}", output.style().hint("hint:"), sanitise(advice)));
        }
    }
}

impl<E: Explain + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut causes = Vec::new();
        let mut source: Option<&dyn Error> = error.source();
        while let Some(cause) = source {
            let mut text = cause.to_string();
            // What a server said is no part of an error's Display, because it may hold anything.
            if let Some(read) = cause.downcast_ref::<crate::provider::ReadError>() {
                text = format!("{text}: {}", read.message.sanitised());
            }
            causes.push(text);
            source = cause.source();
        }
        Self {
            exit: Exit::of(error.kind()),
            message: format!("failed to {error}"),
            causes,
            advice: error.advice(),
            said: false,
        }
    }
}
