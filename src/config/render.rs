//! Diagnostics as text, through miette: the line, a caret below the place, what to write instead.

use std::fmt::{self, Write as _};

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan,
    SpanContents, ThemeCharacters, ThemeStyles,
};

use crate::model::{sanitise, sanitise_same_length};

use super::diagnostic::{Diagnostic, Problems, Severity};
use super::source::Source;

/// How diagnostics are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// With ANSI colours.
    pub colour: bool,
    /// With box-drawing characters; without, ASCII alone is drawn (what the file itself contains is shown as it is).
    pub unicode: bool,
    /// In so many columns.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self { colour: false, unicode: true, width: 100 }
    }
}

/// The longest line of a file that is shown, in bytes; of a longer one only the place is named.
const LINE_MAX: usize = 200;

/// The lines around a place that are asked for. [`Shown`] gives the line of the place alone, but tells by this number
/// whether a line or a column is wanted.
const CONTEXT: usize = 1;

/// How many lines may lie between two places that are drawn in one piece.
const APART: usize = 2;

impl Problems {
    /// All diagnostics as text, ending with a line feed.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let mut out = render(self.source(), self.diagnostics(), style);
        if self.more() > 0 {
            let _ = writeln!(out, "\nand {} more", self.more());
        }
        out
    }
}

/// Diagnostics of `source` as text, ending with a line feed; such as the warnings that come with a valid config.
#[must_use]
pub fn render(source: &Source, diagnostics: &[Diagnostic], style: Style) -> String {
    let characters = if style.unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() };
    let styles = if style.colour { ThemeStyles::ansi() } else { ThemeStyles::none() };
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme { characters, styles })
        .with_width(style.width.max(40))
        .with_context_lines(CONTEXT)
        .with_links(false)
        .with_urls(false);
    let shown = Shown::new(source);
    let mut out = String::new();
    for (index, diagnostic) in diagnostics.iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let report = Report { diagnostic, snippet: shown.fits(diagnostic), shown: &shown };
        let mut text = String::new();
        // Drawing fails only where a place lies outside of the text; the message alone is better than nothing.
        if handler.render_report(&mut text, &report).is_err() {
            text = format!("{}: {report}\n", diagnostic.code.as_str());
        }
        for line in text.trim_matches('\n').lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

/// The text of a file made safe without moving a byte, so that places hold.
fn safe(text: &str) -> String {
    // A carriage return before a line feed is a line end, not something to be shown.
    sanitise_same_length(&text.replace("\r\n", " \n"))
        // Continuous-integration services take these for commands wherever they stand.
        .replace("##vso[", "#?vso[")
        .replace("##[", "#?[")
}

/// What is drawn from.
struct Shown {
    name: String,
    text: String,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl Shown {
    fn new(source: &Source) -> Self {
        let text = safe(source.text());
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        Self { name: sanitise(source.name()).to_string(), text, lines }
    }

    /// The line of a place, from 0, and where it begins.
    fn line(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at).saturating_sub(1);
        (line, self.lines.get(line).copied().unwrap_or(0))
    }

    /// Whether all places of the diagnostic lie on lines that are short enough to be shown.
    fn fits(&self, diagnostic: &Diagnostic) -> bool {
        let bytes = self.text.as_bytes();
        diagnostic.labels.iter().all(|label| {
            let before = bytes[..label.span.start].iter().rev().take(LINE_MAX).position(|byte| *byte == b'\n');
            let after = bytes[label.span.end..].iter().take(LINE_MAX).position(|byte| *byte == b'\n');
            let starts = before.is_some() || label.span.start < LINE_MAX;
            let ends = after.is_some() || bytes.len() - label.span.end < LINE_MAX;
            starts && ends && label.span.len() < LINE_MAX
        })
    }

    /// Line and column of a place, both from 1, the column in characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let (line, start) = self.line(at);
        (line + 1, self.text[start..at].chars().count() + 1)
    }
}

/// Miette's own sources cut a line at the place where no lines around it are wanted, and join places however far they
/// lie apart; a config is best read in whole lines, and no more of them than have something to say.
impl SourceCode for Shown {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        _after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (from, to) = (span.offset(), span.offset() + span.len());
        if self.text.get(from..to).is_none() {
            return Err(MietteError::OutOfBounds);
        }
        let (line, start) = self.line(from);
        let end = self.text[to..].find('\n').map_or(self.text.len(), |length| to + length + 1);
        // Without lines around it, it is the place itself that is asked for, to be named by line and column.
        let (start, end, column) =
            if before == 0 { (from, to, self.text[start..from].chars().count()) } else { (start, end, 0) };
        let data = &self.text[start..end];
        let lines = data.bytes().filter(|byte| *byte == b'\n').count() + APART;
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            data.as_bytes(),
            (start, end - start).into(),
            line,
            column,
            lines,
        )))
    }
}

/// One diagnostic as miette wants it.
#[derive(Debug)]
struct Report<'a> {
    diagnostic: &'a Diagnostic,
    snippet: bool,
    shown: &'a Shown,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)?;
        match self.diagnostic.labels.first() {
            Some(label) if !self.snippet => {
                let (line, column) = self.shown.position(label.span.start);
                write!(f, ": {} ({}:{line}:{column})", label.text, self.shown.name)
            }
            Some(_) => Ok(()),
            None => write!(f, " ({})", self.shown.name),
        }
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn code(&self) -> Option<Box<dyn fmt::Display + '_>> {
        Some(Box::new(self.diagnostic.code.as_str()))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.snippet.then_some(self.shown as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if !self.snippet || self.diagnostic.labels.is_empty() {
            return None;
        }
        Some(Box::new(
            self.diagnostic
                .labels
                .iter()
                .map(|label| LabeledSpan::new(Some(label.text.clone()), label.span.start, label.span.len())),
        ))
    }
}
