//! `haulout fmt`.

use std::io::Write;
use std::path::Path;

use crate::cli::args::Fmt;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::load;
use crate::cli::output::Output;
use crate::config;
use crate::model::sanitise;

pub(in crate::cli) fn run(args: &Fmt, output: &Output) -> Result<Exit, Failure> {
    let (source, file) = load::source(&args.config.path, output)?;
    let shown = sanitise(&file.display().to_string()).to_string();
    let formatted = config::fmt(&source).map_err(|problems| load::refused(&problems, output))?;
    // The bytes of the file decide: a byte-order mark or CRLF that reading took away is a difference too.
    let before = std::fs::read(&file)
        .map_err(|error| Failure::io(format!("read the config {shown}"), &error, "check the path"))?;
    if before == formatted.as_bytes() {
        return Ok(Exit::Ok);
    }
    if args.diff {
        let diff = config::diff(&shown, source.text(), &formatted);
        output.data(&diff).map_err(|error| Failure::io("print the difference", &error, "check the output"))?;
    }
    if args.check {
        output.say(&format!("{shown} is not in its canonical layout; run haulout fmt"));
        return Ok(Exit::Differs);
    }
    if !args.diff {
        replace(&file, formatted.as_bytes())
            .map_err(|error| Failure::io(format!("write the config {shown}"), &error, "make the file writable"))?;
        output.say(&format!("{shown} rewritten."));
    }
    Ok(Exit::Ok)
}

/// Puts new content in place of a file at once: a full disk or a crash leaves the old one whole. Links are followed,
/// permissions kept.
fn replace(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let file = file.canonicalize()?;
    let permissions = file.metadata()?.permissions();
    if permissions.readonly() {
        return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, "the file is read-only"));
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".haulout-fmt");
    let next = file.with_file_name(name);
    let result = (|| {
        let mut new = std::fs::OpenOptions::new().write(true).create_new(true).open(&next)?;
        new.write_all(content)?;
        new.set_permissions(permissions)?;
        new.sync_all()?;
        std::fs::rename(&next, &file)
    })();
    if result.is_err() {
        // What is left of the try is of no use; that it cannot be removed changes nothing about the error.
        let _ = std::fs::remove_file(&next);
    }
    result
}
