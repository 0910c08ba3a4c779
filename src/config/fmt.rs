//! The canonical layout of a config.
//!
//! Order and comments are the author's; spaces, quotes and blank lines are not:
//!
//! - one space around `=` and before a comment; no indentation; comments at the ends of neighbouring lines in one column;
//! - keys without quotes where that is possible, strings in double quotes where nothing has to be escaped for it;
//! - lists and inline tables on one line; a list that is wider than 100 columns or holds comments, one entry to a line;
//! - at most one blank line, one before each table, none after its header, none at the ends of the file;
//! - lines end with a line feed, and the file begins without byte-order mark.
//!
//! Formatting twice changes nothing more, and never changes what the file says: every value and every comment stays.

use similar::TextDiff;
use toml_edit::{Array, DocumentMut, Item, Key, RawString, Table, Value};

use super::diagnostic::{Code, Diagnostic, Problems, Sink};
use super::source::{MAX_BYTES, Source};
use super::syntax;

/// The widest line that a list may make, in characters.
const WIDTH: usize = 100;
/// The widest line beside which comments are put into one column, in characters.
const COLUMN_MAX: usize = 60;

/// The file in its canonical layout, ending with a line feed.
///
/// # Errors
/// [`Problems`] when the text is not TOML. What the config means is not looked at: a file with an unknown key can
/// still be laid out.
pub fn fmt(source: &Source) -> Result<String, Problems> {
    let text = source.text().replace("\r\n", "\n");
    let mut sink = Sink::default();
    if text.len() > MAX_BYTES {
        sink.push(Diagnostic::error(Code::TooLarge, "the file is larger than 1 MiB, the most that haulout reads"));
        return Err(sink.into_problems(source.clone()));
    }
    if syntax::document(&text, &mut sink).is_none() || sink.failed() {
        return Err(sink.into_problems(Source::new(source.name(), text)));
    }
    let laid_out = text.parse::<DocumentMut>().ok().map(|document| layout(&document));
    // Whatever a parser or this code may get wrong, a file must never be written that says something else.
    match laid_out {
        Some(out) if same_meaning(&text, &out) && same_comments(&text, &out) => Ok(out),
        _ => {
            let problem = Diagnostic::error(Code::Internal, "laying the file out would change or lose a part of it")
                .with_help("this is a mistake in haulout; please report it with this file");
            Err(Problems::one(source.clone(), problem))
        }
    }
}

/// The difference between two texts as a unified diff, empty where there is none. The names stand in its header, and
/// both texts are made safe to print.
#[must_use]
pub fn diff(name: &str, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let safe = |text: &str| crate::model::sanitise_same_length(text);
    let (before, after) = (safe(before), safe(after));
    let name = crate::model::sanitise(name).to_string();
    TextDiff::from_lines(&before, &after).unified_diff().header(&format!("a/{name}"), &format!("b/{name}")).to_string()
}

fn same_meaning(before: &str, after: &str) -> bool {
    match (before.parse::<toml::Table>(), after.parse::<toml::Table>()) {
        // `nan` is equal to nothing, so the values are compared as they are shown.
        (Ok(before), Ok(after)) => before == after || format!("{before:?}") == format!("{after:?}"),
        _ => false,
    }
}

/// Whether no comment was lost or made up. Words are compared, because two comments may come to stand on one line, and
/// sorted ones, because a comment moves with its key.
fn same_comments(before: &str, after: &str) -> bool {
    let words = |text| {
        let mut words: Vec<&str> = syntax::comments(text).flat_map(str::split_whitespace).collect();
        words.sort_unstable();
        words
    };
    words(before) == words(after)
}

/// One line of the result.
enum Line {
    Blank,
    Comment(String),
    Header(String, Option<String>),
    /// A key with its value on one line, and the comment behind it.
    Entry(String, Option<String>),
    /// A key with a value of several lines.
    Long(String),
}

/// A table with the keys that lead to it.
struct Section<'d> {
    path: Vec<&'d Key>,
    table: &'d Table,
    repeated: bool,
}

fn layout(document: &DocumentMut) -> String {
    let mut sections = Vec::new();
    collect(document.as_table(), &mut Vec::new(), false, &mut sections);
    // The parser numbers tables as they come in the file; the root, which comes first, has no number.
    sections.sort_by_key(|section| section.table.position());
    let mut lines = Vec::new();
    for section in &sections {
        let root = section.path.is_empty();
        if root {
            comments(raw(section.table.decor().prefix()), &mut lines);
        } else if !section.table.is_implicit() {
            header(section, &mut lines);
        }
        for (path, value) in section.table.get_values() {
            let prefix = path.last().and_then(|key| key.leaf_decor().prefix());
            comments(raw(prefix), &mut lines);
            entry(&path, value, &mut lines);
        }
    }
    // A file need not end with a line feed; its last line is a line all the same.
    comments(&format!("{}\n", raw(Some(document.trailing()))), &mut lines);
    while matches!(lines.last(), Some(Line::Blank)) {
        lines.pop();
    }
    write(&lines)
}

fn collect<'d>(table: &'d Table, path: &mut Vec<&'d Key>, repeated: bool, out: &mut Vec<Section<'d>>) {
    if !table.is_dotted() {
        out.push(Section { path: path.clone(), table, repeated });
    }
    for (name, item) in table {
        let Some(key) = table.key(name) else { continue };
        path.push(key);
        match item {
            Item::Table(inner) => collect(inner, path, false, out),
            Item::ArrayOfTables(tables) => tables.iter().for_each(|inner| collect(inner, path, true, out)),
            Item::None | Item::Value(_) => {}
        }
        path.pop();
    }
}

fn raw(text: Option<&RawString>) -> &str {
    text.and_then(RawString::as_str).unwrap_or_default()
}

/// Adds the comment lines of what stands before something.
fn comments(text: &str, lines: &mut Vec<Line>) {
    // What follows the last line feed is the indentation of what comes next.
    let Some((text, _)) = text.rsplit_once('\n') else { return };
    for line in text.split('\n').map(str::trim) {
        if !line.is_empty() {
            lines.push(Line::Comment(line.to_owned()));
        } else if !matches!(lines.last(), None | Some(Line::Blank | Line::Header(..))) {
            lines.push(Line::Blank);
        }
    }
}

/// The comment behind something on its line.
fn comment(text: &str) -> Option<String> {
    let text = text.trim();
    text.starts_with('#').then(|| text.to_owned())
}

fn header(section: &Section<'_>, lines: &mut Vec<Line>) {
    let prefix = raw(section.table.decor().prefix());
    let before = lines.len();
    comments(prefix, lines);
    // A comment right above a header belongs to it, so the blank line goes before; where the author left a blank line
    // somewhere, that one already parts the two tables.
    if before > 0 && !lines[before - 1..].iter().any(|line| matches!(line, Line::Blank)) {
        lines.insert(before, Line::Blank);
    }
    let path = keys(&section.path);
    let text = if section.repeated { format!("[[{path}]]") } else { format!("[{path}]") };
    lines.push(Line::Header(text, comment(raw(section.table.decor().suffix()))));
}

fn entry(path: &[&Key], value: &Value, lines: &mut Vec<Line>) {
    let head = format!("{} = ", keys(path));
    let text = format!("{head}{}", laid_out(value, head.chars().count(), 0));
    let comment = comment(raw(value.decor().suffix()));
    lines.push(match (text.contains('\n'), comment) {
        (false, comment) => Line::Entry(text, comment),
        (true, Some(comment)) => Line::Long(format!("{text} {comment}")),
        (true, None) => Line::Long(text),
    });
}

fn keys(path: &[&Key]) -> String {
    path.iter()
        .map(|key| key.default_repr().as_raw().as_str().unwrap_or_default().to_owned())
        .collect::<Vec<_>>()
        .join(".")
}

/// A value, on one line where it fits behind `column` characters; further lines are indented by `indent`.
fn laid_out(value: &Value, column: usize, indent: usize) -> String {
    match value {
        Value::String(text) => plain_string(text.value(), text.display_repr().as_ref()),
        Value::Integer(number) => number.display_repr().into_owned(),
        Value::Float(number) => number.display_repr().into_owned(),
        Value::Boolean(value) => value.display_repr().into_owned(),
        Value::Datetime(moment) => moment.display_repr().into_owned(),
        Value::Array(items) => list(items, column, indent),
        Value::InlineTable(table) => {
            // What stands around the value, such as the comment behind it, is not part of it.
            let mut bare = table.clone();
            bare.decor_mut().clear();
            let written = bare.to_string();
            // Comments within braces are new in TOML 1.1 and rare: the author's layout is kept.
            if written.contains('\n') && written.contains('#') {
                return written.trim().to_owned();
            }
            let pairs: Vec<String> = table
                .get_values()
                .into_iter()
                .map(|(path, value)| format!("{} = {}", keys(&path), laid_out(value, 0, indent)))
                .collect();
            if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
        }
    }
}

/// A string in double quotes where these need no escape.
fn plain_string(value: &str, written: &str) -> String {
    let literal = written.starts_with('\'') && !written.starts_with("'''");
    if literal && !value.chars().any(|c| matches!(c, '"' | '\\') || c.is_control()) {
        format!("\"{value}\"")
    } else {
        written.to_owned()
    }
}

fn list(items: &Array, column: usize, indent: usize) -> String {
    let around = |value: &Value| [raw(value.decor().prefix()).to_owned(), raw(value.decor().suffix()).to_owned()];
    let commented =
        items.iter().flat_map(around).any(|text| text.contains('#')) || raw(Some(items.trailing())).contains('#');
    if !commented {
        let texts: Vec<String> = items.iter().map(|item| laid_out(item, 0, indent)).collect();
        let line = format!("[{}]", texts.join(", "));
        if !line.contains('\n') && column + line.chars().count() <= WIDTH {
            return line;
        }
    }
    let inner = indent + 2;
    let pad = " ".repeat(inner);
    let mut lines = vec!["[".to_owned()];
    for item in items {
        between(raw(item.decor().prefix()), &pad, &mut lines);
        lines.push(format!("{pad}{},", laid_out(item, inner, inner)));
        between(raw(item.decor().suffix()), &pad, &mut lines);
    }
    between(raw(Some(items.trailing())), &pad, &mut lines);
    format!("{}\n{}]", lines.join("\n"), " ".repeat(indent))
}

/// Adds the comments between two entries of a list: the one on the line of the first stays there.
fn between(text: &str, pad: &str, lines: &mut Vec<String>) {
    for (index, part) in text.split('\n').map(str::trim).enumerate() {
        match (part.is_empty(), index, lines.last_mut()) {
            (true, ..) => {}
            (false, 0, Some(last)) => *last = format!("{last} {part}"),
            (false, ..) => lines.push(format!("{pad}{part}")),
        }
    }
}

fn write(lines: &[Line]) -> String {
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        match line {
            Line::Blank => {}
            Line::Comment(text) | Line::Long(text) | Line::Header(text, None) | Line::Entry(text, None) => {
                out.push_str(text);
            }
            Line::Header(text, Some(comment)) => {
                out.push_str(text);
                out.push(' ');
                out.push_str(comment);
            }
            Line::Entry(text, Some(comment)) => {
                let width = text.chars().count();
                let column = column(lines, index).max(width);
                out.push_str(text);
                out.push_str(&" ".repeat(if width > COLUMN_MAX { 1 } else { column - width + 1 }));
                out.push_str(comment);
            }
        }
        out.push('\n');
    }
    out
}

/// The widest entry with a comment among the neighbours of an entry.
fn column(lines: &[Line], index: usize) -> usize {
    let width = |line: &Line| match line {
        Line::Entry(text, Some(_)) => Some(text.chars().count()).filter(|width| *width <= COLUMN_MAX),
        _ => None,
    };
    let entry = |line: &&Line| matches!(line, Line::Entry(..));
    let above = lines[..index].iter().rev().take_while(entry).filter_map(width).max();
    let below = lines[index..].iter().take_while(entry).filter_map(width).max();
    above.max(below).unwrap_or(0)
}
