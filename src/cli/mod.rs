//! The composition root: arguments, environment, terminal, exit codes, files. One file per verb.

mod args;
mod connect;
mod error;
mod exit;
mod load;
mod output;
mod progress;
mod runs;
mod sandbox;
mod signal;
mod vacant;
mod verb;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use args::{Cli, Verb};
use error::Failure;
pub use exit::Exit;
use output::Output;

/// Runs the command line and returns how it ended.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse_from(args::typed()) {
        Ok(cli) => cli,
        Err(error) => {
            let exit = match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok,
                _ => Exit::Usage,
            };
            // A closed pipe while printing help is nobody's problem.
            let _ = error.print();
            return ExitCode::from(exit.code());
        }
    };
    let output = Output::new(cli.color);
    let exit = match dispatch(&cli.verb, &output) {
        Ok(exit) => exit,
        Err(failure) => {
            failure.print(&output);
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}

fn dispatch(verb: &Verb, output: &Output) -> Result<Exit, Failure> {
    match verb {
        Verb::Validate(args) => verb::validate::run(args, output),
        Verb::Fmt(args) => verb::fmt::run(args, output),
        Verb::Schema(args) => verb::schema::run(args, output),
        Verb::Plan(args) => block_on(verb::plan::run(args, output)),
        Verb::Apply(args) => block_on(verb::apply::run(args, output)),
        Verb::Rehearse(args) => block_on(verb::rehearse::run(args, output)),
        Verb::Status(args) => block_on(verb::status::run(args, output)),
        Verb::Snapshot(args) => block_on(verb::snapshot::run(args, output)),
        Verb::Doctor(args) => block_on(verb::doctor::run(args, output)),
        Verb::Sandbox(args) => block_on(verb::sandbox::run(args, output)),
        Verb::Node(args) => block_on(verb::node::run(args, output)),
    }
}

fn block_on(verb: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("start the runtime", &error, "check the limits on threads of this process"))?;
    let result = runtime.block_on(verb);
    // What is still under way now are watches; nothing that changes anything outlives its step.
    runtime.shutdown_background();
    result
}
