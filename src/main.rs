//! The binary: everything is in the library, see [`haulout::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    haulout::cli::run()
}
