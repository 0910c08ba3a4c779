//! The config file: from TOML text to a valid [`Config`], with every problem told at once.
//!
//! ```text
//! bytes ─ read_bytes ─► Source ─ toml ─► spanned document ─ walk (by the schema) ─► raw ─ validate ─► Config
//! ```
//!
//! The raw types are the one description of the file: the published JSON [`schema`] is made from them, and the walker
//! that finds unknown keys and wrong types knows no key but by that schema. Validation then adds what takes meaning:
//! selectors, references between tables, bounds. Each step goes on after a problem, and leaves out what it concerns.
//!
//! Nothing in a config is executed, no address in it is contacted, and no path in it leads out of its folder: a plan
//! may be made from anybody's pull request. There is no I/O here: the caller reads the file, see [`MAX_BYTES`].

mod diagnostic;
mod duration;
mod fmt;
mod raw;
mod render;
mod schema;
mod source;
mod syntax;
mod types;
mod validate;
mod walk;
mod words;

use serde::Deserialize;

pub use diagnostic::{Code, Diagnostic, Label, Problems, Severity};
pub use fmt::{diff, fmt};
pub use render::{Style, render};
pub use schema::schema;
pub use source::{MAX_BYTES, Source, read_bytes};
pub use types::{Cluster, Config, OnFailure, Order, OutOfService, Protect, Reach, Reboot, Scope};

use diagnostic::Sink;
use raw::RawConfig;
use validate::Check;
use walk::Walk;

/// Reads a config. With it come the warnings, in the order of the file; [`render`] draws them.
///
/// # Errors
/// [`Problems`] with everything that is wrong with the file, and the warnings.
pub fn parse(source: &Source) -> Result<(Config, Vec<Diagnostic>), Problems> {
    let mut sink = Sink::default();
    match read(source.text(), &mut sink) {
        Some(config) if !sink.failed() => Ok((config, sink.into_warnings())),
        _ => {
            if !sink.failed() {
                sink.push(internal("a config was refused, and no problem was found"));
            }
            Err(sink.into_problems(source.clone()))
        }
    }
}

fn read(text: &str, sink: &mut Sink) -> Option<Config> {
    if text.len() > MAX_BYTES {
        sink.push(Diagnostic::error(Code::TooLarge, "the file is larger than 1 MiB, the most that haulout reads"));
        return None;
    }
    let (mut document, whole) = syntax::document(text, sink)?;
    if !syntax::version(&document, sink) {
        return None;
    }
    let spoiled = Walk::new(schema::rules(), text, sink, whole).document(document.get_mut());
    let raw = RawConfig::deserialize(toml::Deserializer::from(document));
    let config = match raw {
        Ok(raw) => Check { text, sink, spoiled: &spoiled, whole }.config(&raw),
        Err(error) => {
            sink.push(internal(error.message()));
            None
        }
    };
    syntax::hidden(text, sink);
    config
}

/// What can only be a mistake of ours.
fn internal(message: &str) -> Diagnostic {
    Diagnostic::error(Code::Internal, message)
        .with_help("this is a mistake in haulout; please report it with this file")
}
