//! `haulout schema`.

use crate::cli::args::{Schema, SchemaOf};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::{config, format, twin};

pub(in crate::cli) fn run(args: &Schema, output: &Output) -> Result<Exit, Failure> {
    let schema = match args.of {
        SchemaOf::Config => config::schema(),
        SchemaOf::Sandbox => twin::schema(),
        SchemaOf::Plan => format::schema(format::Kind::Plan),
        SchemaOf::Run => format::schema(format::Kind::Run),
        SchemaOf::Snapshot => format::schema(format::Kind::Snapshot),
    };
    let text = format!("{schema:#}\n");
    output.data(&text).map_err(|error| Failure::io("print the schema", &error, "check the output"))?;
    Ok(Exit::Ok)
}
