//! A page that grows line by line.

use std::collections::BTreeSet;

use super::super::styles::{Style, Styles};
use crate::plan::words::Told;
use crate::render::TerminalStyle;

/// The symbols at the beginning of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Symbol {
    Change,
    Note,
    Blocked,
    Unknown,
}

impl Symbol {
    fn sign(self) -> &'static str {
        match self {
            Symbol::Change => "~",
            Symbol::Note => "!",
            Symbol::Blocked => "x",
            Symbol::Unknown => "?",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Symbol::Change => "will be changed",
            Symbol::Note => "worth knowing",
            Symbol::Blocked => "blocked",
            Symbol::Unknown => "unknown",
        }
    }

    fn style(self, styles: &Styles) -> Style {
        match self {
            Symbol::Change => styles.change,
            Symbol::Note => styles.note,
            Symbol::Blocked => styles.blocked,
            Symbol::Unknown => styles.unknown,
        }
    }
}

/// How far particulars stand to the right of their node.
const PARTICULARS: usize = 6;

/// The page.
pub(super) struct Page<'a> {
    pub style: &'a TerminalStyle,
    pub styles: Styles,
    out: String,
    used: BTreeSet<Symbol>,
}

impl<'a> Page<'a> {
    pub(super) fn new(style: &'a TerminalStyle) -> Self {
        Self { style, styles: style.styles(), out: String::new(), used: BTreeSet::new() }
    }

    /// One line; the text must be safe already.
    pub(super) fn line(&mut self, indent: usize, text: &str) {
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// An empty line, unless the page begins here or has one already.
    pub(super) fn gap(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// A heading after an empty line.
    pub(super) fn heading(&mut self, text: &str) {
        self.gap();
        let text = self.styles.heading.paint(text);
        self.line(0, &text);
    }

    /// The first line of a node's block.
    pub(super) fn subject(&mut self, symbol: Symbol, subject: &str, rest: &str) {
        let text = format!("{} {} {rest}", self.sign(symbol), self.styles.heading.paint(subject));
        self.line(2, &text);
    }

    /// A particular with its symbol.
    pub(super) fn particular(&mut self, symbol: Symbol, text: &str) {
        let text = format!("{} {text}", self.sign(symbol));
        self.line(PARTICULARS, &text);
    }

    /// A note that belongs to no node.
    pub(super) fn note(&mut self, text: &str) {
        let text = format!("{} {text}", self.sign(Symbol::Note));
        self.line(2, &text);
    }

    /// Why the thing above is so.
    pub(super) fn because(&mut self, text: &str) {
        self.line(PARTICULARS, &format!("(because {text})"));
    }

    /// Why the thing above is so, and what to do about it.
    pub(super) fn told(&mut self, told: &Told, lead: &str) {
        self.because(&told.text);
        self.advice(PARTICULARS, lead, &told.advice);
    }

    /// What to do about the thing above.
    pub(super) fn advice(&mut self, indent: usize, lead: &str, advice: &str) {
        let text = format!("{} {advice}", self.styles.advice.paint(lead));
        self.line(indent, &text);
    }

    /// Changes of attributes, their signs of equality in one column.
    pub(super) fn attributes(&mut self, attributes: &[(&str, String, &str)]) {
        let width = attributes.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        for (name, from, to) in attributes {
            self.particular(Symbol::Change, &format!("{name:width$} = {from} -> {to}"));
        }
    }

    fn sign(&mut self, symbol: Symbol) -> String {
        self.used.insert(symbol);
        symbol.style(&self.styles).paint(symbol.sign())
    }

    /// The page, below a legend of the symbols on it.
    pub(super) fn with_legend(self) -> String {
        if self.used.is_empty() {
            return self.out;
        }
        let legend: Vec<String> = self
            .used
            .iter()
            .map(|symbol| format!("{} {}", symbol.style(&self.styles).paint(symbol.sign()), symbol.meaning()))
            .collect();
        format!("Symbols: {}\n\n{}", legend.join(" · "), self.out)
    }

    /// The page as it is.
    pub(super) fn without_legend(self) -> String {
        self.out
    }
}
