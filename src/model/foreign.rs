//! Text that other people wrote, and the one way to show it.
//!
//! Annotations, condition messages, webhook texts and file contents may hold terminal escapes, control
//! characters or bidirectional overrides (CVE-2021-25743 was this in kubectl). [`Foreign`] therefore has
//! neither `Display` nor `Deref`: only [`Foreign::sanitised`] turns it into output.

use std::fmt;
use std::sync::Arc;

/// Text from a cluster, a webhook or a config file, never yet made safe to print.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Foreign(Arc<str>);

impl Foreign {
    /// Takes text as it came.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().into())
    }

    /// The text made safe for output: every control, bidirectional and invisible character is shown as a visible escape.
    #[must_use]
    pub fn sanitised(&self) -> Sanitised {
        sanitise(&self.0)
    }

    /// The text as it came, for comparing and for storing in formats that escape by themselves. Never for output.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// Whether there is any text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.sanitised().0)
    }
}

/// Text that is safe to print on a terminal: one line, nothing invisible.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sanitised(String);

impl Sanitised {
    /// At most `limit` characters of the text, with an ellipsis where something was cut.
    #[must_use]
    pub fn shortened(&self, limit: usize) -> String {
        if self.0.chars().count() <= limit {
            self.0.clone()
        } else {
            self.0.chars().take(limit.saturating_sub(1)).chain(['…']).collect()
        }
    }

    /// The safe text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sanitised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whether a character may mislead a reader or steer a terminal: C0, DEL, C1, bidirectional controls, zero-width
/// and other invisible formatting characters. Writers that have escapes of their own, such as JSON, ask this.
#[must_use]
pub fn is_dangerous(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Makes any text safe for output, on one line. Continuous-integration services act on lines that start with `::`
/// and on `##vso[` and `##[` anywhere, so these are broken up too.
#[must_use]
pub fn sanitise(text: &str) -> Sanitised {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    if out.contains("##") {
        out = out.replace("##vso[", "## vso[").replace("##[", "## [");
    }
    if let Some(rest) = out.strip_prefix("::") {
        out = format!(": :{rest}");
    }
    Sanitised(out)
}

/// Replaces dangerous characters by as many bytes of visible ones, so that byte positions in the text still hold.
/// Line feeds and tabs stay. For the source texts of diagnostics.
#[must_use]
pub fn sanitise_same_length(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && c != '\t' && is_dangerous(c) {
            // A replacement that has the same length in bytes: one visible character per byte.
            out.extend(std::iter::repeat_n('?', c.len_utf8()));
        } else {
            out.push(c);
        }
    }
    out
}

/// A value that must never be shown or stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes a secret.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().into())
    }

    /// The secret itself, for the one place that must send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_visible() {
        let text = sanitise("a\u{1b}[31mb\u{202e}c\r\n");
        assert_eq!(text.as_str(), "a\\u{1b}[31mb\\u{202e}c\\u{d}\\u{a}");
    }

    #[test]
    fn log_commands_are_broken_up() {
        assert_eq!(sanitise("::error::x").as_str(), ": :error::x");
        assert_eq!(sanitise("a ##vso[task.x]").as_str(), "a ## vso[task.x]");
    }

    proptest! {
        #[test]
        fn nothing_dangerous_survives(text in any::<String>()) {
            prop_assert!(!sanitise(&text).as_str().chars().any(is_dangerous));
            let same = sanitise_same_length(&text);
            prop_assert_eq!(same.len(), text.len());
            prop_assert!(!same.chars().any(|c| is_dangerous(c) && c != '\n' && c != '\t'));
        }
    }
}
