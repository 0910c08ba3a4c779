//! The JSON Schema of the config, made from the raw types; the walker checks files by it, and it is published.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::raw::RawConfig;

/// The JSON Schema of the config (draft 2020-12), as `schemas/config.v1.json` holds it.
///
/// It is complete in what it describes, but not in what it refuses: selectors, references between tables and
/// everything else that takes more than one value to judge are checked by `parse` alone.
#[must_use]
pub fn schema() -> Value {
    rules().json.clone()
}

/// The schema as the walker uses it.
pub(super) struct Rules {
    /// The schema itself.
    pub(super) json: Value,
    /// The whole numbers among the defaults, as text: what is parsed lazily must be kept somewhere.
    numbers: Vec<(i64, String)>,
}

impl Rules {
    /// The digits of a number that is a default somewhere in the schema.
    pub(super) fn digits(&self, number: i64) -> Option<&str> {
        self.numbers.iter().find(|(known, _)| *known == number).map(|(_, digits)| digits.as_str())
    }
}

/// The rules, made at the first use.
pub(super) fn rules() -> &'static Rules {
    static RULES: OnceLock<Rules> = OnceLock::new();
    RULES.get_or_init(|| {
        let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<RawConfig>();
        let mut json = Value::from(schema);
        without_null(&mut json);
        let mut numbers = Vec::new();
        collect_numbers(&json, &mut numbers);
        Rules { json, numbers }
    })
}

/// Takes the `null` out of optional values: TOML has none, and an editor should not offer it.
fn without_null(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            unwrap_option(map);
            map.values_mut().for_each(without_null);
        }
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Turns `anyOf: [X, null]` into `X`.
fn unwrap_option(map: &mut Map<String, Value>) {
    let null = |option: &Value| option.get("type").is_some_and(|name| name == "null");
    let Some(Value::Array(options)) = map.get("anyOf") else { return };
    let [Value::Object(inner), last] = options.as_slice() else { return };
    if !null(last) {
        return;
    }
    let inner = inner.clone();
    map.remove("anyOf");
    for (key, value) in inner {
        map.entry(key).or_insert(value);
    }
}

fn collect_numbers(value: &Value, numbers: &mut Vec<(i64, String)>) {
    match value {
        Value::Object(map) => {
            if let Some(number) = map.get("default").and_then(Value::as_i64) {
                numbers.push((number, number.to_string()));
            }
            map.values().for_each(|value| collect_numbers(value, numbers));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_numbers(value, numbers)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A schema together with the definition that it refers to.
#[derive(Clone, Copy)]
pub(super) struct Shape<'s> {
    outer: &'s Value,
    inner: &'s Value,
}

impl<'s> Shape<'s> {
    /// The schema at `value`, within the document `root`.
    pub(super) fn new(root: &'s Value, value: &'s Value) -> Self {
        let inner = value
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|path| root.pointer(path.strip_prefix('#')?))
            .unwrap_or(value);
        Self { outer: value, inner }
    }

    /// A keyword; what is written beside a reference goes before what the definition says.
    pub(super) fn get(&self, key: &str) -> Option<&'s Value> {
        self.outer.get(key).or_else(|| self.inner.get(key))
    }

    /// A keyword that is a text.
    pub(super) fn text(&self, key: &str) -> Option<&'s str> {
        self.get(key).and_then(Value::as_str)
    }

    /// A keyword that is a whole number.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key).and_then(Value::as_u64)
    }

    /// Whether values of this JSON type fit.
    pub(super) fn allows(&self, name: &str) -> bool {
        match self.get("type") {
            Some(Value::String(only)) => only == name,
            Some(Value::Array(types)) => types.iter().any(|one| one == name),
            _ => name == "string" && !self.words().is_empty(),
        }
    }

    /// The words that may be written, where only certain words may.
    pub(super) fn words(&self) -> Vec<&'s str> {
        let options = self.get("oneOf").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let named = options.iter().filter_map(|option| option.get("const").and_then(Value::as_str));
        let listed = self.get("enum").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        named.chain(listed.iter().filter_map(Value::as_str)).collect()
    }

    /// The keys of a table with their schemas.
    pub(super) fn properties(&self) -> impl Iterator<Item = (&'s str, &'s Value)> + use<'s> {
        self.get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|map| map.iter().map(|(key, value)| (key.as_str(), value)))
    }

    /// The schema of one key of a table.
    pub(super) fn property(&self, key: &str) -> Option<&'s Value> {
        self.get("properties").and_then(|map| map.get(key))
    }

    /// The schema of what is under any key, where the keys are the user's.
    pub(super) fn entries(&self) -> Option<&'s Value> {
        self.get("additionalProperties").filter(|value| value.is_object())
    }
}
