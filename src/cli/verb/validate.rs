//! `haulout validate`.

use crate::cli::args::ConfigPath;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::load;
use crate::cli::output::Output;
use crate::model::sanitise;

pub(in crate::cli) fn run(args: &ConfigPath, output: &Output) -> Result<Exit, Failure> {
    let loaded = load::config(&args.path, output)?;
    output.say(&format!("{} is valid.", sanitise(&loaded.file.display().to_string())));
    Ok(Exit::Ok)
}
