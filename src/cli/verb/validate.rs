//! `haulout validate`.

use crate::cli::args::ConfigPath;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::cli::{load, sandbox};
use crate::config::Reach;
use crate::model::sanitise;

pub(in crate::cli) fn run(args: &ConfigPath, output: &Output) -> Result<Exit, Failure> {
    let loaded = load::config(&args.path, output)?;
    let mut sound = true;
    for (name, cluster) in &loaded.config.clusters {
        let Reach::Sandbox(file) = &cluster.reach else { continue };
        for failure in sandbox::check(&loaded.folder, name, file) {
            failure.print(output);
            sound = false;
        }
    }
    if !sound {
        return Err(Failure::said(Exit::Error));
    }
    output.say(&format!("{} is valid.", sanitise(&loaded.file.display().to_string())));
    Ok(Exit::Ok)
}
