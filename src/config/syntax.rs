//! The TOML of a config, and what can be said of text that is none.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Code, Diagnostic, Sink, quoted};
use super::source::first_hidden;

/// The largest text in which all syntax errors are looked for, in bytes; of a larger one only the first is told,
/// because a hostile file could have one per byte.
const RECOVER_MAX: usize = 64 * 1024;

/// What the parser says of a key that is given twice; the document is read on without the second.
const DUPLICATE: &str = "duplicate key";

/// The deepest that lists and tables may lie within one another: as deep as the parser goes.
const DEEPEST: usize = 80;

/// The version of the format that this haulout reads.
const VERSION: i64 = 1;

/// Parses a text. The flag tells whether the document is whole; with syntax errors, parts of it are missing. Where
/// nothing sensible can be read on, there is no document.
pub(super) fn document<'t>(text: &'t str, sink: &mut Sink) -> Option<(Spanned<DeTable<'t>>, bool)> {
    if let Some(at) = too_deep(text) {
        sink.push(too_deep_problem(Some(at)));
        return None;
    }
    let first = match DeTable::parse(text) {
        Ok(document) => return Some((document, true)),
        Err(error) => error,
    };
    if first.message().contains("recurs") {
        // Of a key with too many dots, the parser does not say where it is.
        sink.push(too_deep_problem(first.span().map(|span| place(text, Some(span)).start)));
        return None;
    }
    if text.len() > RECOVER_MAX {
        sink.push(problem(text, &first));
        return None;
    }
    let (document, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| place(text, error.span()).start);
    let mut told_up_to = None;
    let (mut readable, mut whole) = (true, true);
    for error in &errors {
        let at = place(text, error.span()).start;
        // One slip often makes several errors on its line; the first is the one to be read.
        if told_up_to.is_some_and(|end| at <= end) {
            continue;
        }
        let line = line_of(text, at);
        told_up_to = Some(line.end);
        if sink.is_full() {
            sink.skip();
            whole = false;
            continue;
        }
        sink.push(problem(text, error));
        if error.message() != DUPLICATE {
            // What the parser made of the rest of this line was never meant.
            sink.silence(line);
            whole = false;
        }
        // What is not closed swallows what follows.
        let swallows = ["unclosed", "missing comma", "invalid multi-line"];
        readable &= !swallows.iter().any(|start| error.message().starts_with(start));
    }
    readable.then_some((document, whole))
}

/// Where lists and tables in braces get too deep. The parser has a limit of its own, but takes the whole text apart
/// before it applies it, in many times the size of the text.
fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > DEEPEST {
                    return Some(at);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'#' => at = line_of(text, at).end,
            b'"' | b'\'' => at = string_end(text, at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The last byte of the string that begins at `at`; of one that does not end, the last of its line or of the text.
fn string_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let quote = bytes[at];
    let long = bytes[at..].starts_with(&[quote; 3]);
    let mut next = if long { at + 3 } else { at + 1 };
    while let Some(byte) = bytes.get(next) {
        if *byte == b'\\' && quote == b'"' {
            next += 1;
        } else if long && bytes[next..].starts_with(&[quote; 3]) {
            // Up to two more belong to the string itself: `""""a""""` is `"a"` in long quotes.
            let own = bytes[next + 3..].iter().take(2).take_while(|byte| **byte == quote).count();
            return next + 2 + own;
        } else if !long && (*byte == quote || *byte == b'\n') {
            return next;
        }
        next += 1;
    }
    next
}

/// The comments of a text that is TOML, each from its `#` to the end of its line.
pub(super) fn comments(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'#' => {
                    let comment = at..line_of(text, at).end;
                    at = comment.end;
                    return text.get(comment);
                }
                b'"' | b'\'' => at = string_end(text, at),
                _ => {}
            }
            at += 1;
        }
        None
    })
}

fn too_deep_problem(at: Option<usize>) -> Diagnostic {
    let problem =
        Diagnostic::error(Code::TooDeep, format!("tables or lists lie within one another, more than {DEEPEST} deep"))
            .with_help("no table of a config is deeper than [reboot.NAME.drain]");
    match at {
        Some(at) => problem.with_label(at..at, "deeper from here"),
        None => problem,
    }
}

fn place(text: &str, span: Option<Range<usize>>) -> Range<usize> {
    let span = span.unwrap_or(0..0);
    let start = span.start.min(text.len());
    start..span.end.clamp(start, text.len())
}

/// The bytes of the line that a place is on, without its end.
fn line_of(text: &str, at: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let start = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length);
    start..end
}

/// A syntax error in words for people who do not know the grammar by heart.
fn problem(text: &str, error: &toml::de::Error) -> Diagnostic {
    let span = place(text, error.span());
    let line = line_of(text, span.start);
    let rest = text[span.start..line.end].trim();
    let say = |message: &str, label: &str| Diagnostic::error(Code::Syntax, message).with_label(span.clone(), label);
    let message = error.message();
    if message == DUPLICATE {
        return duplicate(text, span);
    }
    if message.starts_with("string values must be quoted") {
        let value = rest.split(" #").next().unwrap_or_default().trim();
        return match value {
            "" => say("a value is missing", "expected a value").with_help("write KEY = VALUE, or remove the line"),
            "yes" | "on" | "True" | "TRUE" => say("this is not a value", "not TOML").with_help("write true"),
            "no" | "off" | "False" | "FALSE" => say("this is not a value", "not TOML").with_help("write false"),
            _ if value.contains(" = ") => {
                say("this is not a value", "expected one value").with_help("write each key on a line of its own")
            }
            _ => say("this is not a value", "text needs quotes").with_help(format!("write \"{}\"", quoted(value))),
        };
    }
    if message.starts_with("key with no value") {
        return say("a key without a value", "expected `=` here").with_help("write KEY = VALUE");
    }
    if message.starts_with("invalid unquoted key") {
        let help = if rest.starts_with(':') { "write KEY = VALUE: TOML has no `:`" } else { "put the key in quotes" };
        return say("this character cannot be in a key", "only letters, digits, `-` and `_`").with_help(help);
    }
    if message.starts_with("unexpected key or value") {
        return say("there is something after the value", "expected the end of the line")
            .with_help("write each key on a line of its own, and comments after `#`");
    }
    if message.starts_with("unclosed table") {
        return say("the name of a table does not end", "expected `]` here");
    }
    if message.starts_with("unclosed array") {
        return say("a list does not end", "expected `]` here");
    }
    if message.starts_with("missing comma") {
        return say("two entries without a comma between them", "expected `,` before this")
            .with_help("put a comma between the entries, or close the list or table above");
    }
    if message.starts_with("unclosed inline table") {
        return say("a table in braces does not end", "expected `}` here");
    }
    if let Some((at, c)) = first_hidden(text.get(span.clone()).unwrap_or_default()) {
        let place = span.start + at.start..span.start + at.end;
        return Diagnostic::error(Code::Syntax, format!("the character U+{:04X} is not allowed here", u32::from(c)))
            .with_label(place, "a control character")
            .with_help("remove it");
    }
    if message.contains("string, expected `") {
        return say("a string does not end", "expected the closing quote here");
    }
    if message.starts_with("missing escaped value") {
        return say("this escape is not known", "after the `\\`")
            .with_help("write `\\\\` for a backslash, or the whole text in single quotes");
    }
    if message.starts_with("unexpected leading zero") {
        return say("a number cannot begin with 0", "remove this");
    }
    say(message, "here")
}

/// A key or table that is there twice, with the place of the first where it can be found.
fn duplicate(text: &str, span: Range<usize>) -> Diagnostic {
    let line = line_of(text, span.start);
    let key = text.get(span.clone()).unwrap_or_default();
    let written = text[line.clone()].trim();
    let header = written.strip_prefix('[').and_then(|rest| rest.split(']').next());
    // The first of two tables has the same header; the first of two keys is on a line of the same table.
    let starts = |candidate: &str| match header {
        Some(name) => candidate
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
            .is_some_and(|other| other.trim() == name.trim()),
        None => candidate.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')),
    };
    let mut first = None;
    let mut at = 0;
    for candidate in text[..line.start].split_inclusive('\n') {
        let trimmed = candidate.trim_start();
        if header.is_none() && trimmed.starts_with('[') {
            first = None;
        }
        if starts(trimmed) {
            let start = at + candidate.len() - trimmed.len();
            let length = if header.is_some() { trimmed.trim_end().len() } else { key.len() };
            first = first.or(Some(start..start + length));
        }
        at += candidate.len();
    }
    let what = match header {
        Some(name) => format!("the table [{}] is there twice", quoted(name.trim())),
        None => format!("the key `{}` is there twice", quoted(key)),
    };
    let problem = Diagnostic::error(Code::DuplicateKey, what).with_label(span, "again");
    let problem = match first {
        Some(first) => problem.with_label(first, "first here"),
        None => problem,
    };
    problem.with_help("keep one of the two")
}

/// Whether the file is of the version that is read here; if it says another, nothing else about it can be judged.
pub(super) fn version(document: &Spanned<DeTable<'_>>, sink: &mut Sink) -> bool {
    let Some(value) = document.get_ref().get("version") else { return true };
    let DeValue::Integer(number) = value.get_ref() else { return true };
    let number = i64::from_str_radix(number.as_str(), number.radix());
    if number == Ok(VERSION) {
        return true;
    }
    let help = match number {
        Ok(number) if number < VERSION => "the first version is 1: write version = 1",
        _ => "a newer haulout may read this file; if it was written for this one, write version = 1",
    };
    let problem = Diagnostic::error(Code::Version, "the file is of a version that this haulout does not read")
        .with_label(value.span(), format!("only {VERSION} is known"))
        .with_help(help);
    sink.push(problem);
    false
}

/// Warns of a character that cannot be seen where it changes no value: a reviewer may be shown another text than is
/// there.
pub(super) fn hidden(text: &str, sink: &mut Sink) {
    // Where a value has such a character, the file is refused for it, and that says enough.
    let Some((span, c)) = first_hidden(text).filter(|_| !sink.failed()) else { return };
    let warning = Diagnostic::warning(
        Code::HiddenCharacter,
        format!("the file contains the character U+{:04X}, which cannot be seen", u32::from(c)),
    );
    sink.push(warning.with_label(span, "here").with_help("what a reviewer sees may not be what is there"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_told_from_strings() {
        let text = r###"# a
b = "\"# no" # c
d = """"# no
# no"""" # e
f = '\' #g
h = ''# i # j"###;
        assert_eq!(comments(text).collect::<Vec<_>>(), ["# a", "# c", "# e", "#g", "# i # j"]);
    }
}
