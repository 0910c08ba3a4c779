//! The published JSON Schemas, made of the wire types.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::{Kind, plan, run, snapshot};

/// The JSON Schema of a kind of document (draft 2020-12). `schemas/KIND.v1.json` holds the same.
#[must_use]
pub fn schema(kind: Kind) -> Value {
    let generator = || SchemaSettings::draft2020_12().into_generator();
    let schema = match kind {
        Kind::Plan => generator().into_root_schema_for::<plan::Document>(),
        Kind::Run => generator().into_root_schema_for::<run::Line>(),
        Kind::Snapshot => generator().into_root_schema_for::<snapshot::Document<'static>>(),
    };
    schema.to_value()
}
