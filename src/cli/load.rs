//! From a path to a valid config: reading files, with one clear error for each way in which that can go wrong.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use crate::config::{self, Config, Problems, Source, Style};
use crate::model::sanitise;

/// A config, and where it is.
pub(super) struct Loaded {
    pub(super) config: Config,
    /// The folder that its relative paths start from.
    pub(super) folder: PathBuf,
    pub(super) file: PathBuf,
}

/// The file meant by a path: itself, or `haulout.toml` in it where it is a folder.
pub(super) fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("haulout.toml") } else { path.to_owned() }
}

/// Reads a whole file of at most `most` bytes. `missing` says what to do where there is none.
pub(super) fn read(path: &Path, what: &str, most: u64, missing: &str) -> Result<Vec<u8>, Failure> {
    let shown = sanitise(&path.display().to_string()).to_string();
    let failed = |error: &io::Error, advice: &str| Failure::io(format!("read the {what} {shown}"), error, advice);
    let file = File::open(path).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => missing,
            io::ErrorKind::PermissionDenied => "make the file readable for this user",
            _ => "check the path",
        };
        failed(&error, advice)
    })?;
    let metadata = file.metadata().map_err(|error| failed(&error, "check the path"))?;
    if metadata.is_dir() {
        return Err(Failure::input(format!("{shown} is a folder, not a {what}"), "name the file in it"));
    }
    let too_large = || {
        Failure::input(
            format!("{shown} is larger than the {} that a {what} may have", size(most)),
            "check that this is the file meant",
        )
    };
    if metadata.len() > most {
        return Err(too_large());
    }
    // A pipe or a growing file has no length of its own: the bound holds while reading too.
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| failed(&error, "check the path"))?;
    if bytes.len() as u64 > most {
        return Err(too_large());
    }
    Ok(bytes)
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    format!("{} MiB", bytes / MIB)
}

/// How diagnostics are drawn on stderr.
fn style(output: &Output) -> Style {
    Style { colour: output.talk().color, unicode: true, width: output.talk().width.max(100) }
}

fn show(problems: &Problems, output: &Output) -> Failure {
    output.say(problems.render(style(output)).trim_end());
    Failure::said(Exit::Error)
}

/// Reads a config's text; with it comes the file that it is from.
pub(super) fn source(path: &Path, output: &Output) -> Result<(Source, PathBuf), Failure> {
    let file = file_of(path);
    let missing = "check the path; without one, ./haulout.toml is read";
    let bytes = read(&file, "config", config::MAX_BYTES as u64, missing)?;
    match config::read_bytes(file.display().to_string(), bytes) {
        Ok(source) => Ok((source, file)),
        Err(problems) => Err(show(&problems, output)),
    }
}

/// Reads and checks a config. Problems and warnings go to stderr.
pub(super) fn config(path: &Path, output: &Output) -> Result<Loaded, Failure> {
    let (source, file) = source(path, output)?;
    match config::parse(&source) {
        Ok((config, warnings)) => {
            if !warnings.is_empty() {
                output.say(config::render(&source, &warnings, style(output)).trim_end());
            }
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(Loaded { config, folder: folder.to_owned(), file })
        }
        Err(problems) => Err(show(&problems, output)),
    }
}

/// Rewrites problems of formatting as a failure.
pub(super) fn refused(problems: &Problems, output: &Output) -> Failure {
    show(problems, output)
}
