//! Colours, as values: without them every function returns plain text.

use jiff::tz::TimeZone;

/// How a terminal shows things.
#[derive(Debug, Clone)]
pub struct TerminalStyle {
    /// Whether to colour.
    pub color: bool,
    /// How many columns there are. Lists of names and live rows keep to it; sentences are left whole, so that they can
    /// be searched and copied.
    pub width: usize,
    /// The time zone that times are shown in.
    pub timezone: TimeZone,
}

impl Default for TerminalStyle {
    /// No colour, 80 columns, UTC.
    fn default() -> Self {
        Self { color: false, width: 80, timezone: TimeZone::UTC }
    }
}

impl TerminalStyle {
    pub(super) fn styles(&self) -> Styles {
        if self.color { Styles::COLOURED } else { Styles::default() }
    }

    /// How many names fit on one line beside a sentence.
    pub(super) fn names(&self) -> usize {
        (self.width / 26).clamp(3, 8)
    }
}

/// What is written before a text of each role. Nothing at all by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Styles {
    pub heading: Style,
    pub change: Style,
    pub note: Style,
    pub blocked: Style,
    pub unknown: Style,
    pub advice: Style,
    pub good: Style,
}

/// The escape sequence that begins a style; empty for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Style(&'static str);

impl Styles {
    /// The eight colours that every terminal has, so that they follow its theme.
    const COLOURED: Self = Self {
        heading: Style("\u{1b}[1m"),
        change: Style("\u{1b}[33m"),
        note: Style("\u{1b}[35m"),
        blocked: Style("\u{1b}[31m"),
        unknown: Style("\u{1b}[36m"),
        advice: Style("\u{1b}[32m"),
        good: Style("\u{1b}[32m"),
    };
}

impl Style {
    /// The text in this style.
    pub(super) fn paint(self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { format!("{}{text}\u{1b}[0m", self.0) }
    }
}
