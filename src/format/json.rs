//! The one JSON writer: canonical, line by line where a document is long, and harmless to look at.
//!
//! Canonical: fields in the order of the schema, maps in the order of their keys, no spaces, no floats, a final line
//! feed. Line feeds stand only between the elements of the outer lists, so that long documents can be searched,
//! compared by line, and wrong ones pointed into.

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};
use std::io;

use super::{FormatError, Kind};
use crate::model::is_dangerous;

/// One document with its line feeds: elements of lists and objects down to `depth` levels have lines of their own.
pub(super) fn write<T: Serialize>(value: &T, depth: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut out, Lines { depth, level: 0 });
    // Neither the types nor a Vec can fail: no maps with keys other than text, no fallible Serialize.
    if value.serialize(&mut serializer).is_err() {
        out.clear();
    }
    if depth > 0 {
        out.push(b'\n');
    }
    out
}

/// Reads a document of a kind, and of which version it is before anything else.
pub(super) fn read<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8], kind: Kind, most: usize) -> Result<T, FormatError> {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        #[serde(borrow, default)]
        kind: Option<std::borrow::Cow<'a, str>>,
        #[serde(borrow, default)]
        format_version: Option<std::borrow::Cow<'a, str>>,
    }
    if bytes.len() > most {
        return Err(FormatError::TooLarge { kind, size: bytes.len(), most });
    }
    let head: Head<'_> = serde_json::from_slice(bytes).map_err(|error| FormatError::malformed(kind, &error))?;
    kind.accept(head.kind.as_deref(), head.format_version.as_deref())?;
    serde_json::from_slice(bytes).map_err(|error| FormatError::malformed(kind, &error))
}

/// Breaks lines between elements of the outer levels, and escapes what could steer a terminal, mislead a reader or be
/// taken for a command by a log. The text that a reader of the JSON gets is unchanged.
struct Lines {
    depth: usize,
    level: usize,
}

impl Lines {
    fn begin<W: ?Sized + io::Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.level += 1;
        out.write_all(bracket)
    }

    fn end<W: ?Sized + io::Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.level = self.level.saturating_sub(1);
        out.write_all(bracket)
    }

    fn element<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        if self.level <= self.depth { out.write_all(b"\n") } else { Ok(()) }
    }
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.element(out, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.element(out, first)
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut plain = 0;
        let mut before = '\0';
        for (at, c) in fragment.char_indices() {
            // A second number sign: `##vso[` and `##[` are commands to Azure Pipelines wherever they stand.
            if is_dangerous(c) || (c == '#' && before == '#') {
                out.write_all(&fragment.as_bytes()[plain..at])?;
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
                plain = at + c.len_utf8();
            }
            before = c;
        }
        out.write_all(&fragment.as_bytes()[plain..])
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        // As the default does, but spelled out: short escapes for what has one, four digits for other controls.
        let short: &[u8] = match escape {
            CharEscape::Quote => b"\\\"",
            CharEscape::ReverseSolidus => b"\\\\",
            CharEscape::Solidus => b"\\/",
            CharEscape::Backspace => b"\\b",
            CharEscape::FormFeed => b"\\f",
            CharEscape::LineFeed => b"\\n",
            CharEscape::CarriageReturn => b"\\r",
            CharEscape::Tab => b"\\t",
            CharEscape::AsciiControl(byte) => return write!(out, "\\u{byte:04x}"),
        };
        out.write_all(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_break_only_in_the_outer_levels() {
        let value = serde_json::json!({"a": [[1, 2], [3]], "b": {}});
        let text = String::from_utf8(write(&value, 2)).unwrap();
        assert_eq!(text, "{\n\"a\":[\n[1,2],\n[3]],\n\"b\":{}}\n");
        assert_eq!(write(&value, 0), br#"{"a":[[1,2],[3]],"b":{}}"#);
    }

    #[test]
    fn what_could_do_harm_is_escaped() {
        let text = String::from_utf8(write(&"\u{7f}\u{9b}\u{202e}\u{1b}\u{e0041}##vso[x]", 0)).unwrap();
        assert_eq!(text, "\"\\u007f\\u009b\\u202e\\u001b\\udb40\\udc41#\\u0023vso[x]\"");
    }

    proptest! {
        #[test]
        fn every_text_comes_back_as_it_was(text in any::<String>()) {
            let written = write(&text, 0);
            let shown = std::str::from_utf8(&written).unwrap();
            prop_assert!(!shown.chars().any(is_dangerous));
            prop_assert!(!shown.contains("##"));
            prop_assert_eq!(serde_json::from_slice::<String>(&written).unwrap(), text);
        }
    }
}
