//! Checks a spanned TOML document against the schema: unknown keys, missing keys, types, words, bounds.
//!
//! Nothing here knows a key of the config. What does not fit is reported and taken out, and the defaults of the
//! schema are filled in, so that what remains can be read by serde without an error, and validation can look for
//! further problems in it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::diagnostic::{Code, Diagnostic, Sink, listed, nearest, quoted};
use super::schema::{Rules, Shape};
use super::source::first_hidden;
use super::words::{expectation, found, mismatch_help};

/// Where a walk is in the document.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The keys that lead here, safe to print; empty at the top.
    path: &'a str,
    /// The key in the text; `None` at the top.
    key: Option<&'a Range<usize>>,
}

/// What a walk needs at hand.
pub(super) struct Walk<'a> {
    rules: &'static Rules,
    text: &'a str,
    sink: &'a mut Sink,
    spoiled: BTreeSet<String>,
    strict: bool,
}

/// The path of `key` below `path`, as TOML writes it, safe to print.
pub(super) fn below(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let key = if bare { quoted(key) } else { format!("\"{}\"", quoted(key)) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// How a table is named in a sentence.
fn in_table(path: &str) -> String {
    if path.is_empty() { "at the top level".to_owned() } else { format!("in [{path}]") }
}

impl<'a> Walk<'a> {
    /// A walk over the document parsed from `text`. One that is not `strict` is for documents with syntax errors, of
    /// which parts may be missing: it asks for no key.
    pub(super) fn new(rules: &'static Rules, text: &'a str, sink: &'a mut Sink, strict: bool) -> Self {
        Self { rules, text, sink, spoiled: BTreeSet::new(), strict }
    }

    /// Checks the document and takes out what does not fit. Returns the paths of everything that was taken out, and
    /// of the tables that it was in: what is missing there is no further problem.
    pub(super) fn document(mut self, document: &mut DeTable<'_>) -> BTreeSet<String> {
        let rules = self.rules;
        self.table(document, Shape::new(&rules.json, &rules.json), Place { path: "", key: None });
        self.spoiled
    }

    fn report(&mut self, problem: Diagnostic) {
        self.sink.push(problem);
    }

    fn table(&mut self, table: &mut DeTable<'_>, shape: Shape<'static>, place: Place<'_>) {
        let entries: Vec<(String, Range<usize>)> =
            table.iter().map(|(key, _)| (key.get_ref().to_string(), key.span())).collect();
        if shape.number("minProperties").is_some_and(|least| least > 0) && entries.is_empty() {
            self.empty_table(shape, place);
        }
        let most = shape.number("maxProperties").and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        if entries.len() > most {
            let problem =
                Diagnostic::error(Code::OutOfRange, format!("there are more than {most} [{}.NAME]", place.path));
            let past = entries.iter().map(|(_, span)| span.clone()).max_by_key(|span| span.start);
            self.report(match past {
                Some(span) => problem.with_label(span, "one of them"),
                None => problem,
            });
            *table = DeTable::new();
            self.spoiled.insert(place.path.to_owned());
            return;
        }
        let misplaced = self.misplaced(table, shape, place);
        for (key, span) in &entries {
            let path = below(place.path, key);
            let schema = shape.property(key).or_else(|| shape.entries());
            let fits = if misplaced.contains(key) {
                false
            } else if let Some((at, c)) = first_hidden(key) {
                self.hidden(&format!("the key `{}`", quoted(key)), span, &at, c, key);
                false
            } else if let (Some(schema), Some(value)) = (schema, table.get_mut(key.as_str())) {
                let shape = Shape::new(&self.rules.json, schema);
                self.value(value, shape, Place { path: &path, key: Some(span) })
            } else {
                let is_table = table.get(key.as_str()).is_some_and(|value| holds_tables(value.get_ref()));
                self.unknown_key(key, span, is_table, shape, place.path);
                false
            };
            if !fits {
                table.remove(key.as_str());
                self.spoiled.insert(path);
                self.spoiled.insert(place.path.to_owned());
            }
        }
        self.required(table, shape, place);
        self.defaults(table, shape, place);
    }

    /// The entries of a table of tables that are not tables: somebody forgot the name. Reported once for all.
    fn misplaced(&mut self, table: &DeTable<'_>, shape: Shape<'static>, place: Place<'_>) -> BTreeSet<String> {
        let Some(inner) = shape.entries().map(|entries| Shape::new(&self.rules.json, entries)) else {
            return BTreeSet::new();
        };
        let first = table
            .iter()
            .filter(|(key, value)| inner.property(key.get_ref()).is_some() && !value.get_ref().is_table())
            .min_by_key(|(key, _)| key.span().start);
        let Some((key, _)) = first else { return BTreeSet::new() };
        let problem = Diagnostic::error(Code::MissingKey, format!("[{}] needs a name of your choice", place.path))
            .with_label(key.span(), format!("belongs in [{}.NAME]", place.path))
            .with_help(format!("write [{}.NAME] above this key", place.path));
        self.report(problem);
        table
            .keys()
            .filter(|key| inner.property(key.get_ref()).is_some())
            .map(|key| key.get_ref().to_string())
            .collect()
    }

    fn empty_table(&mut self, shape: Shape<'static>, place: Place<'_>) {
        let problem = if shape.entries().is_some() {
            Diagnostic::error(Code::Empty, format!("there is no [{}.NAME]", place.path))
                .with_help(format!("add one, such as: [{}.prod]", place.path))
        } else {
            let keys = listed(shape.properties().map(|(key, _)| key), "or");
            Diagnostic::error(Code::NoEffect, format!("[{}] is empty and would do nothing", place.path))
                .with_help(format!("give it at least one of {keys}"))
        };
        let problem = match place.key {
            Some(span) => problem.with_label(span.clone(), "this table"),
            None => problem,
        };
        self.report(problem);
    }

    fn required(&mut self, table: &DeTable<'_>, shape: Shape<'static>, place: Place<'_>) {
        if !self.strict {
            return;
        }
        let names = shape.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for key in names.iter().filter_map(Value::as_str) {
            let path = below(place.path, key);
            if table.contains_key(key) || self.spoiled.contains(&path) {
                continue;
            }
            let Some(property) = shape.property(key).map(|schema| Shape::new(&self.rules.json, schema)) else {
                continue;
            };
            let problem = match (place.key, property.entries()) {
                (None, Some(_)) => Diagnostic::error(Code::MissingKey, format!("the file has no [{key}.NAME]")),
                (None, None) => {
                    Diagnostic::error(Code::MissingKey, format!("the key `{key}` is missing at the top level"))
                }
                (Some(_), _) => Diagnostic::error(Code::MissingKey, format!("[{}] needs `{key}`", place.path)),
            };
            let problem = match place.key {
                Some(span) => problem.with_label(span.clone(), format!("`{key}` is missing")),
                None if self.text.trim().is_empty() => problem,
                None => problem.with_label(0..0, format!("`{key}` is missing")),
            };
            let line = property.get("examples").and_then(|list| list.get(0)).or_else(|| property.get("const"));
            let problem = match (line, property.entries()) {
                (Some(example), _) => problem.with_help(format!("such as: {key} = {example}")),
                (None, Some(_)) => problem.with_help(format!("add one, such as: [{key}.prod]")),
                (None, None) => problem.with_help_if(property.text("description")),
            };
            self.report(problem);
        }
    }

    fn defaults(&mut self, table: &mut DeTable<'_>, shape: Shape<'static>, place: Place<'_>) {
        for (key, schema) in shape.properties() {
            let property = Shape::new(&self.rules.json, schema);
            let Some(default) = property.get("default").filter(|_| !table.contains_key(key)) else { continue };
            let Some(value) = self.made(default) else { continue };
            let mut value = Spanned::new(0..0, value);
            // The defaults within a default table come from its own schema.
            if let DeValue::Table(inner) = value.get_mut() {
                self.table(inner, property, Place { path: &below(place.path, key), key: Some(&(0..0)) });
            }
            table.insert(Spanned::new(0..0, Cow::Borrowed(key)), value);
        }
    }

    /// A default of the schema as a TOML value.
    fn made(&self, default: &'static Value) -> Option<DeValue<'static>> {
        match default {
            Value::String(text) => Some(DeValue::String(Cow::Borrowed(text))),
            Value::Bool(value) => Some(DeValue::Boolean(*value)),
            Value::Number(number) => DeValue::parse(self.rules.digits(number.as_i64()?)?).ok().map(Spanned::into_inner),
            Value::Array(items) => {
                let items = items.iter().filter_map(|item| self.made(item)).map(|item| Spanned::new(0..0, item));
                Some(DeValue::Array(items.collect()))
            }
            Value::Object(_) => Some(DeValue::Table(DeTable::new())),
            Value::Null => None,
        }
    }

    /// Checks one value; `false` when it must be taken out.
    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, shape: Shape<'static>, place: Place<'_>) -> bool {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) if shape.allows("string") && shape.text("format") != Some("date-time") => {
                self.string(text, &span, shape, place)
            }
            DeValue::Integer(number) if shape.allows("integer") => {
                self.integer(i128::from_str_radix(number.as_str(), number.radix()).ok(), &span, shape, place)
            }
            DeValue::Boolean(_) if shape.allows("boolean") => true,
            DeValue::Datetime(moment) if shape.text("format") == Some("date-time") => {
                let whole = moment.date.is_some() && moment.time.is_some() && moment.offset.is_some();
                if !whole {
                    self.moment_in_part(moment, &span, place);
                }
                whole
            }
            DeValue::Array(items) if shape.allows("array") => {
                self.list(items, &span, shape, place);
                true
            }
            DeValue::Table(table) if shape.allows("object") => {
                self.table(table, shape, place);
                true
            }
            other => {
                let problem = Diagnostic::error(
                    Code::WrongType,
                    format!("`{}` must be {}", place.path, expectation(&self.rules.json, shape)),
                );
                // A table has no text of its own to point at: its name is pointed at instead.
                let at = if holds_tables(other) { place.key.cloned().unwrap_or(span) } else { span };
                let help = mismatch_help(&self.rules.json, place.path, other, shape);
                self.report(problem.with_label(at, format!("this is {}", found(other))).with_help_if(help));
                false
            }
        }
    }

    fn string(&mut self, text: &str, span: &Range<usize>, shape: Shape<'static>, place: Place<'_>) -> bool {
        if let Some((at, c)) = first_hidden(text) {
            self.hidden(&format!("`{}`", place.path), span, &at, c, text);
            return false;
        }
        let words = shape.words();
        if !words.is_empty() && !words.contains(&text) {
            let help = match nearest(text, words.iter().copied()) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => format!("write one of \"{}\"", words.join("\", \"")),
            };
            let problem =
                Diagnostic::error(Code::WrongValue, format!("`{}` cannot be \"{}\"", place.path, quoted(text)));
            self.report(
                problem.with_label(span.clone(), format!("not one of \"{}\"", words.join("\", \""))).with_help(help),
            );
            return false;
        }
        if shape.number("minLength").is_some_and(|least| least > 0) && text.trim().is_empty() {
            let problem = Diagnostic::error(Code::Empty, format!("`{}` cannot be empty", place.path));
            let example = shape.get("examples").and_then(|examples| examples.get(0));
            let help = example.map(|example| format!("such as {example}"));
            self.report(problem.with_label(span.clone(), "empty").with_help_if(help));
            return false;
        }
        // Values with a pattern have a rule of their own, and validation a better message.
        let most = shape.number("maxLength").filter(|_| shape.get("pattern").is_none());
        let length = text.chars().count() as u64;
        if let Some(most) = most.filter(|most| length > *most) {
            let problem = Diagnostic::error(Code::OutOfRange, format!("`{}` is too long", place.path));
            self.report(problem.with_label(span.clone(), format!("{length} characters; at most {most} are allowed")));
            return false;
        }
        true
    }

    fn integer(&mut self, number: Option<i128>, span: &Range<usize>, shape: Shape<'static>, place: Place<'_>) -> bool {
        let bound = |key: &str| shape.get(key).and_then(Value::as_i64);
        let (least, most) = (bound("minimum").unwrap_or(0), bound("maximum").unwrap_or(i64::from(u32::MAX)));
        if number.is_some_and(|number| (i128::from(least)..=i128::from(most)).contains(&number)) {
            return true;
        }
        let low = number.is_some_and(|number| number < i128::from(least));
        let limit = if low { format!("at least {least}") } else { format!("at most {most}") };
        let problem = Diagnostic::error(Code::OutOfRange, format!("`{}` must be {limit}", place.path))
            .with_label(span.clone(), if low { "too small" } else { "too large" });
        let help = (number == Some(0) && shape.text("title") == Some("number of nodes"))
            .then_some("a limit of 0 would only stop everything; to leave nodes alone, use [protect.NAME]");
        self.report(problem.with_help_if(help));
        false
    }

    fn list(&mut self, items: &mut DeArray<'_>, span: &Range<usize>, shape: Shape<'static>, place: Place<'_>) {
        if items.is_empty() && shape.number("minItems").is_some_and(|least| least > 0) {
            let problem = Diagnostic::error(Code::Empty, format!("`{}` is empty and would select nothing", place.path))
                .with_label(span.clone(), "empty list")
                .with_help("remove the key, or list something");
            self.report(problem);
        }
        let Some(inner) = shape.get("items").map(|schema| Shape::new(&self.rules.json, schema)) else { return };
        let mut seen: BTreeMap<String, Range<usize>> = BTreeMap::new();
        let unique = shape.get("uniqueItems").and_then(Value::as_bool).unwrap_or(false);
        let all = std::mem::replace(items, DeArray::new());
        for mut item in all {
            if !self.value(&mut item, inner, place) {
                self.spoiled.insert(place.path.to_owned());
                continue;
            }
            let text = item.get_ref().as_str().filter(|_| unique).map(str::to_owned);
            if let Some(text) = text {
                if let Some(first) = seen.get(&text) {
                    if self.skipped() {
                        continue;
                    }
                    let problem = Diagnostic::error(
                        Code::DuplicateEntry,
                        format!("\"{}\" is twice in `{}`", quoted(&text), place.path),
                    );
                    self.report(problem.with_label(item.span(), "again").with_label(first.clone(), "first here"));
                    continue;
                }
                seen.insert(text, item.span());
            }
            items.push(item);
        }
    }

    fn moment_in_part(&mut self, moment: &toml::value::Datetime, span: &Range<usize>, place: Place<'_>) {
        let (message, help) = match (moment.date, moment.time) {
            (Some(_), Some(_)) => (
                format!("`{}` has no offset from UTC", place.path),
                format!("add it: {moment}Z for UTC, or an offset such as {moment}+01:00"),
            ),
            (Some(date), None) => (
                format!("`{}` has no time of day", place.path),
                format!("write date, time and offset: {date}T00:00:00Z"),
            ),
            (None, _) => (
                format!("`{}` has no date", place.path),
                "write date, time and offset: 2026-11-20T00:00:00Z".to_owned(),
            ),
        };
        self.report(
            Diagnostic::error(Code::BadDate, message)
                .with_label(span.clone(), "not one moment everywhere")
                .with_help(help),
        );
    }

    /// Whether a problem was only counted, because too many are known already.
    fn skipped(&mut self) -> bool {
        let full = self.sink.is_full();
        if full {
            self.sink.skip();
        }
        full
    }

    fn hidden(&mut self, what: &str, span: &Range<usize>, at: &Range<usize>, c: char, text: &str) {
        let problem = Diagnostic::error(
            Code::HiddenCharacter,
            format!("{what} contains the character U+{:04X}, which cannot be seen", u32::from(c)),
        );
        let place = inside(self.text, span, text, at).unwrap_or_else(|| span.clone());
        self.report(problem.with_label(place, "here").with_help("remove it"));
    }

    fn unknown_key(&mut self, key: &str, span: &Range<usize>, is_table: bool, shape: Shape<'static>, path: &str) {
        if self.skipped() {
            return;
        }
        let noun = if is_table && path.is_empty() { "table" } else { "key" };
        let problem = if noun == "table" {
            Diagnostic::error(Code::UnknownKey, format!("unknown table [{}]", quoted(key)))
        } else {
            Diagnostic::error(Code::UnknownKey, format!("unknown key `{}` {}", quoted(key), in_table(path)))
        };
        let known: Vec<&str> = shape.properties().map(|(name, _)| name).collect();
        let help = if let Some(name) = nearest(key, known.iter().copied()) {
            format!("did you mean `{name}`?")
        } else if let Some(place) = self.home(key) {
            format!("`{}` belongs {place}", quoted(key))
        } else if noun == "table" {
            let tables = self.tables().into_iter().map(|name| format!("[{name}.NAME]")).collect::<Vec<_>>();
            format!("this version knows {}", tables.join(", "))
        } else {
            format!("this version knows {}", listed(known, "and"))
        };
        self.report(problem.with_label(span.clone(), format!("unknown {noun}")).with_help(help));
    }

    /// The tables of the top level whose keys are names.
    fn tables(&self) -> Vec<&'static str> {
        let root = Shape::new(&self.rules.json, &self.rules.json);
        root.properties()
            .filter(|(_, schema)| Shape::new(&self.rules.json, schema).entries().is_some())
            .map(|(name, _)| name)
            .collect()
    }

    /// Where a key belongs that is unknown where it stands.
    fn home(&self, key: &str) -> Option<String> {
        let json = &self.rules.json;
        let root = Shape::new(json, json);
        let mut places = Vec::new();
        for name in self.tables() {
            let Some(entry) = root.property(name).and_then(|schema| Shape::new(json, schema).entries()) else {
                continue;
            };
            let table = Shape::new(json, entry);
            if table.property(key).is_some() {
                places.push(format!("[{name}.NAME]"));
            }
            for (inner, schema) in table.properties() {
                if Shape::new(json, schema).property(key).is_some() {
                    places.push(format!("[{name}.NAME.{inner}]"));
                }
            }
        }
        if root.property(key).is_some() {
            return Some("at the top of the file, before the first table".to_owned());
        }
        let (last, others) = places.split_last()?;
        Some(if others.is_empty() { format!("in {last}") } else { format!("in {} or {last}", others.join(", ")) })
    }
}

/// Whether a value is written by table headers or braces.
fn holds_tables(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(_) => true,
        DeValue::Array(items) => items.iter().any(|item| item.get_ref().is_table()),
        _ => false,
    }
}

/// The place in the file of the part `part` of a string value, where the string is written without escapes.
pub(super) fn inside(text: &str, span: &Range<usize>, value: &str, part: &Range<usize>) -> Option<Range<usize>> {
    let written = text.get(span.clone())?;
    // A key may stand without quotes; a string has one quote before it.
    let start = if written == value {
        span.start
    } else if written.get(1..written.len().checked_sub(1)?) == Some(value) {
        span.start + 1
    } else {
        return None;
    };
    Some(start + part.start..start + part.end)
}
