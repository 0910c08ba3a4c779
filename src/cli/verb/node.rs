//! STUB
use crate::cli::args::Node;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
pub(in crate::cli) async fn run(_args: &Node, _output: &Output) -> Result<Exit, Failure> { Ok(Exit::Error) }
