//! The words in which a mismatch of types is told.

use serde_json::Value;
use toml::de::DeValue;

use super::diagnostic::quoted;
use super::schema::Shape;

/// The article of a noun.
pub(super) fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// What a schema wants, with its article: "a duration", "a list of node names".
pub(super) fn expectation(root: &Value, shape: Shape<'_>) -> String {
    if let Some(title) = shape.text("title") {
        return format!("{} {title}", article(title));
    }
    let words = shape.words();
    if !words.is_empty() {
        return format!("one of \"{}\"", words.join("\", \""));
    }
    if shape.allows("array") {
        let title = shape.get("items").and_then(|items| Shape::new(root, items).text("title"));
        return format!("a list of {}s", title.unwrap_or("string"));
    }
    if shape.allows("object") {
        return "a table".to_owned();
    }
    if shape.allows("boolean") {
        return "true or false".to_owned();
    }
    if shape.allows("integer") {
        return "an integer".to_owned();
    }
    "a string".to_owned()
}

/// What was found, with its article.
pub(super) fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a floating-point number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => "a list of tables",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// What to write instead of a value of the wrong type.
pub(super) fn mismatch_help(root: &Value, path: &str, value: &DeValue<'_>, shape: Shape<'_>) -> Option<String> {
    let example = || {
        let examples = shape.get("examples").and_then(Value::as_array)?;
        let examples: Vec<String> = examples.iter().map(plain).collect();
        Some(format!("such as {}", examples.join(" or ")))
    };
    match value {
        DeValue::Array(items) if holds(items) && shape.allows("object") => Some(match shape.entries() {
            Some(_) => format!("write [{path}.NAME] in single brackets, with a name of your choice"),
            None => format!("write [{path}] in single brackets"),
        }),
        DeValue::String(text) if shape.allows("array") => Some(format!("write it as a list: [\"{}\"]", quoted(text))),
        DeValue::Array(items) if shape.allows("string") => {
            let texts: Option<Vec<&str>> = items.iter().map(|item| item.get_ref().as_str()).collect();
            match texts.as_deref() {
                Some([only]) => Some(format!("write it without brackets: \"{}\"", quoted(only))),
                Some(several) if shape.text("title") == Some("label selector") && !several.is_empty() => {
                    Some(format!("write all requirements in one string: \"{}\"", quoted(&several.join(","))))
                }
                _ => example(),
            }
        }
        DeValue::String(_) if shape.text("format") == Some("date-time") => {
            Some("dates are written without quotes: 2026-11-20T00:00:00Z".to_owned())
        }
        DeValue::String(text) if shape.allows("boolean") => match text.as_ref() {
            "true" | "false" => Some(format!("write {text} without quotes")),
            _ => Some("write true or false, without quotes".to_owned()),
        },
        DeValue::Integer(_) | DeValue::Boolean(_) if shape.allows("array") => {
            let items = shape.get("items").map(|items| Shape::new(root, items));
            items.map(|items| format!("write a list of strings{}", example_of(items)))
        }
        DeValue::Integer(number) if shape.text("title") == Some("duration") && number.radix() == 10 => Some(format!(
            "a duration carries its unit: \"{}s\" or \"{}m\"",
            quoted(number.as_str()),
            quoted(number.as_str())
        )),
        _ if shape.allows("object") => Some(match shape.entries().map(|entries| Shape::new(root, entries)) {
            Some(entries) if entries.allows("object") => {
                format!("write [{path}.NAME], with its keys on the lines below")
            }
            Some(_) => "write a table: { KEY = \"VALUE\" }".to_owned(),
            None => {
                let keys: Vec<&str> = shape.properties().map(|(key, _)| key).collect();
                format!("write a table: {{ {} = … }}", keys.join(" = …, "))
            }
        }),
        DeValue::String(text) if shape.allows("integer") && text.parse::<u32>().is_ok() => {
            Some(format!("write {} without quotes", quoted(text)))
        }
        _ => example(),
    }
}

fn example_of(shape: Shape<'_>) -> String {
    match shape.get("examples").and_then(|examples| examples.get(0)) {
        Some(example) => format!(", such as [{}]", plain(example)),
        None => String::new(),
    }
}

/// A JSON example as TOML writes it; only texts and numbers are ever shown.
fn plain(example: &Value) -> String {
    // A date is the one text that TOML writes without quotes.
    match example.as_str() {
        Some(text) if text.parse::<jiff::Timestamp>().is_ok() => text.to_owned(),
        _ => example.to_string(),
    }
}

fn holds(items: &[toml::Spanned<DeValue<'_>>]) -> bool {
    items.iter().any(|item| item.get_ref().is_table())
}
