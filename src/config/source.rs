//! The text of a config file, from bytes that anybody may have written.

use std::ops::Range;

use crate::model::is_dangerous;

use super::diagnostic::{Code, Diagnostic, Problems};

/// The largest config that is read, in bytes: 1 MiB. A config of hundreds of clusters is a tenth of it; a larger
/// file could make the parser take a thousand times its size.
///
/// Whoever opens the file should look at its metadata first, to tell a missing file, a folder and an unreadable file
/// apart, and read at most `MAX_BYTES + 1` bytes of it: [`read_bytes`] then says that the file is too large.
pub const MAX_BYTES: usize = 1024 * 1024;

/// A config file: its name for showing, and its text without byte-order mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Takes a text. A byte-order mark at its start is dropped; places in diagnostics count without it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let text = match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        };
        Self { name: name.into(), text }
    }

    /// What the file is called, as it was given: not yet safe to print.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Makes a source of the bytes of a file; `name` is for showing only. A byte-order mark and CRLF line ends are fine.
///
/// # Errors
/// [`Problems`] with one diagnostic when the bytes are more than [`MAX_BYTES`] or not UTF-8.
pub fn read_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Source, Problems> {
    let name = name.into();
    if bytes.len() > MAX_BYTES {
        let problem = Diagnostic::error(Code::TooLarge, "the file is larger than 1 MiB, the most that haulout reads")
            .with_help("a config names clusters and rules; it needs no more than a few KiB");
        return Err(Problems::one(Source::new(name, ""), problem));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let bytes = error.into_bytes();
            Err(not_utf8(name, &bytes, at))
        }
    }
}

/// The problem of a file whose first byte that is not UTF-8 stands at `at`.
fn not_utf8(name: String, bytes: &[u8], at: usize) -> Problems {
    let message = |line: usize, column: usize| {
        format!("line {line}, column {column}: the file is not UTF-8 text (byte 0x{:02X})", bytes.get(at).unwrap_or(&0))
    };
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let help = if utf16 {
        "this looks like UTF-16, which some editors write; save the file as UTF-8"
    } else {
        "save the file as UTF-8"
    };
    // What comes before is text, so that lines and columns can be counted as an editor does.
    let before = String::from_utf8_lossy(&bytes[..at]);
    let text = before.trim_start_matches('\u{feff}');
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    // The line is shown with every bad byte as one question mark: nothing has to be guessed, and nothing shifts.
    let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length);
    let rest: String =
        bytes[at..end].iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect();
    let start = text.len();
    let problem = Diagnostic::error(Code::NotUtf8, message(line, column))
        .with_label(start..start + 1, "not UTF-8 from here")
        .with_help(help);
    Problems::one(Source::new(name, format!("{text}{rest}\n")), problem)
}

/// The first place that a reader would not see, or a terminal would act on. Line ends of two bytes are none.
pub(super) fn first_hidden(text: &str) -> Option<(Range<usize>, char)> {
    text.char_indices().find_map(|(at, c)| {
        let range = at..at + c.len_utf8();
        let plain = matches!(c, '\n' | '\t') || (c == '\r' && text[range.end..].starts_with('\n'));
        (!plain && is_dangerous(c)).then_some((range, c))
    })
}
