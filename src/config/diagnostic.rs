//! What can be said about a config file: problems and warnings, each with its places.

use std::fmt;
use std::ops::Range;

use crate::model::{Advice, Explain, Kind, sanitise};

use super::source::Source;

/// The most diagnostics that are kept of one file. The others are only counted: nobody reads so many, and a hostile
/// file could have one per byte.
const KEPT: usize = 100;

/// What a diagnostic is about; stable, for filters and for looking it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The file is too large to be read.
    TooLarge,
    /// The file is not UTF-8.
    NotUtf8,
    /// The text is not TOML.
    Syntax,
    /// Tables or lists within one another, far deeper than any config.
    TooDeep,
    /// A key is given twice.
    DuplicateKey,
    /// The format is of another version.
    Version,
    /// A key or a table that haulout does not know.
    UnknownKey,
    /// A key that must be given is not.
    MissingKey,
    /// A value of the wrong type.
    WrongType,
    /// A value that is not one of those allowed.
    WrongValue,
    /// A number or length outside of its bounds.
    OutOfRange,
    /// An empty text, list or table where that means nothing.
    Empty,
    /// The same entry twice in a list.
    DuplicateEntry,
    /// A character that a reader would not see.
    HiddenCharacter,
    /// Not a valid name.
    BadName,
    /// Not a valid label selector.
    BadSelector,
    /// Not a valid duration.
    BadDuration,
    /// Not a valid date.
    BadDate,
    /// Not a valid number of nodes.
    BadLimit,
    /// A path that leads out of the folder of the config.
    BadPath,
    /// A cluster or tag that the file does not define.
    UnknownCluster,
    /// Clusters that wait for one another in a circle.
    Cycle,
    /// Two things that cannot both be.
    Conflict,
    /// A table that would do nothing.
    NoEffect,
    /// Allowed, but dangerous.
    Risky,
    /// A mistake in haulout itself.
    Internal,
}

impl Code {
    /// The code as text: `config::unknown_key`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "config::too_large",
            Self::NotUtf8 => "config::not_utf8",
            Self::Syntax => "config::syntax",
            Self::TooDeep => "config::too_deep",
            Self::DuplicateKey => "config::duplicate_key",
            Self::Version => "config::version",
            Self::UnknownKey => "config::unknown_key",
            Self::MissingKey => "config::missing_key",
            Self::WrongType => "config::wrong_type",
            Self::WrongValue => "config::wrong_value",
            Self::OutOfRange => "config::out_of_range",
            Self::Empty => "config::empty",
            Self::DuplicateEntry => "config::duplicate_entry",
            Self::HiddenCharacter => "config::hidden_character",
            Self::BadName => "config::bad_name",
            Self::BadSelector => "config::bad_selector",
            Self::BadDuration => "config::bad_duration",
            Self::BadDate => "config::bad_date",
            Self::BadLimit => "config::bad_limit",
            Self::BadPath => "config::bad_path",
            Self::UnknownCluster => "config::unknown_cluster",
            Self::Cycle => "config::cycle",
            Self::Conflict => "config::conflict",
            Self::NoEffect => "config::no_effect",
            Self::Risky => "config::risky",
            Self::Internal => "config::internal",
        }
    }
}

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but somebody should look.
    Warning,
}

/// A place in the file with what is to be said there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Bytes of the source's text.
    pub span: Range<usize>,
    /// A few words.
    pub text: String,
}

/// One thing to be said about a config file. Its texts are safe to print: what they quote has been sanitised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What it is about.
    pub code: Code,
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// One sentence without its final stop.
    pub message: String,
    /// The places, the most telling first; none where the file as a whole is meant.
    pub labels: Vec<Label>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A problem.
    pub(super) fn error(code: Code, message: impl AsRef<str>) -> Self {
        Self::new(code, Severity::Error, message.as_ref())
    }

    /// A warning.
    pub(super) fn warning(code: Code, message: impl AsRef<str>) -> Self {
        Self::new(code, Severity::Warning, message.as_ref())
    }

    fn new(code: Code, severity: Severity, message: &str) -> Self {
        // Sanitising twice changes nothing, so texts that were quoted with care stay as they are.
        Self { code, severity, message: sanitise(message).to_string(), labels: Vec::new(), help: None }
    }

    pub(super) fn with_label(mut self, span: Range<usize>, text: impl AsRef<str>) -> Self {
        self.labels.push(Label { span, text: sanitise(text.as_ref()).to_string() });
        self
    }

    pub(super) fn with_help(mut self, help: impl AsRef<str>) -> Self {
        self.help = Some(sanitise(help.as_ref()).to_string());
        self
    }

    pub(super) fn with_help_if(self, help: Option<impl AsRef<str>>) -> Self {
        match help {
            Some(help) => self.with_help(help),
            None => self,
        }
    }

    /// Where it begins; the end of the file where it has no place.
    fn place(&self) -> usize {
        self.labels.first().map_or(usize::MAX, |label| label.span.start)
    }
}

/// Everything that is wrong with a config file, with the file.
#[derive(Debug, Clone)]
pub struct Problems {
    source: Source,
    diagnostics: Vec<Diagnostic>,
    more: usize,
}

impl Problems {
    /// A single problem.
    pub(super) fn one(source: Source, problem: Diagnostic) -> Self {
        Self { source, diagnostics: vec![problem], more: 0 }
    }

    /// The file.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The problems and warnings, in the order of their places. At least one is a problem.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many more there are that were not kept.
    #[must_use]
    pub fn more(&self) -> usize {
        self.more
    }

    /// How many problems there are, warnings not counted.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.more + self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = sanitise(self.source.name());
        match self.errors() {
            1 => write!(f, "{name} has 1 problem"),
            count => write!(f, "{name} has {count} problems"),
        }
    }
}

impl std::error::Error for Problems {}

impl Explain for Problems {
    fn kind(&self) -> Kind {
        if self.diagnostics.iter().any(|diagnostic| diagnostic.code == Code::Internal) {
            Kind::Bug
        } else {
            Kind::Input
        }
    }

    fn advice(&self) -> Option<Advice> {
        None
    }

    fn is_sentence(&self) -> bool {
        true
    }
}

/// Collects diagnostics while a file is read.
#[derive(Debug, Default)]
pub(super) struct Sink {
    kept: Vec<Diagnostic>,
    more: usize,
    errors: usize,
    silent: Vec<Range<usize>>,
}

impl Sink {
    /// Nothing more is said about this part of the text.
    pub(super) fn silence(&mut self, span: Range<usize>) {
        self.silent.push(span);
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        let about = |span: &Range<usize>| {
            diagnostic.labels.iter().any(|label| (span.start..=span.end).contains(&label.span.start))
        };
        if !matches!(diagnostic.code, Code::Syntax | Code::DuplicateKey) && self.silent.iter().any(about) {
            return;
        }
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
        }
        if self.kept.len() < KEPT {
            self.kept.push(diagnostic);
        } else if diagnostic.severity == Severity::Error {
            // A problem is never lost to a warning: the file must not pass for want of room.
            match self.kept.iter_mut().rev().find(|kept| kept.severity == Severity::Warning) {
                Some(warning) => *warning = diagnostic,
                None => self.more += 1,
            }
        }
    }

    /// Whether the file cannot be used.
    pub(super) fn failed(&self) -> bool {
        self.errors > 0
    }

    /// Whether no further problem would be kept. What is costly to word is then only counted: see [`Sink::skip`].
    pub(super) fn is_full(&self) -> bool {
        self.kept.len() >= KEPT && self.kept.iter().all(|kept| kept.severity == Severity::Error)
    }

    /// Counts a problem that is not kept.
    pub(super) fn skip(&mut self) {
        self.errors += 1;
        self.more += 1;
    }

    /// What was collected, in the order of the file.
    fn sorted(self) -> (Vec<Diagnostic>, usize) {
        let mut kept = self.kept;
        kept.sort_by_key(Diagnostic::place);
        (kept, self.more)
    }

    /// The problems of `source`.
    pub(super) fn into_problems(self, source: Source) -> Problems {
        let (diagnostics, more) = self.sorted();
        Problems { source, diagnostics, more }
    }

    /// The warnings, of a file without problems.
    pub(super) fn into_warnings(self) -> Vec<Diagnostic> {
        self.sorted().0
    }
}

/// A text of the file as it may be quoted within a sentence: sanitised, and cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    // Cutting first keeps a value of a megabyte from being escaped as a whole.
    let head: String = text.chars().take(80).collect();
    let shown = sanitise(&head).shortened(64);
    if head.len() < text.len() && !shown.ends_with('…') { format!("{shown}…") } else { shown }
}

/// The candidate that is most like `given`, where one is like enough to have been meant.
pub(super) fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody mistypes a text of this length; comparing would cost its square.
    if given.len() > 64 {
        return None;
    }
    let given = given.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&given, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, candidate)| candidate)
}

/// Names for the end of a sentence: "`a`, `b` and `c`".
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    let mut names = names.into_iter().map(|name| format!("`{}`", quoted(name)));
    let shown: Vec<String> = names.by_ref().take(20).collect();
    let rest = names.count();
    if rest > 0 {
        return format!("{} {last} {rest} more", shown.join(", "));
    }
    match shown.split_last() {
        Some((only, [])) => only.clone(),
        Some((end, start)) => format!("{} {last} {end}", start.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_near_or_not_made() {
        let keys = ["selector", "settle", "max_unavailable", "max_uptime"];
        assert_eq!(nearest("selctor", keys), Some("selector"));
        assert_eq!(nearest("Max_Uptime", keys), Some("max_uptime"));
        assert_eq!(nearest("window", keys), None);
        assert_eq!(nearest(&"selector".repeat(20), keys), None);
    }

    #[test]
    fn quoted_text_is_short_and_safe() {
        assert_eq!(quoted("a\u{1b}b"), "a\\u{1b}b");
        assert!(quoted(&"x".repeat(1_000_000)).chars().count() <= 65);
        assert_eq!(listed(["a", "b", "c"], "and"), "`a`, `b` and `c`");
    }

    #[test]
    fn a_file_full_of_problems_is_cut_but_counted() {
        let mut sink = Sink::default();
        for _ in 0..KEPT {
            sink.push(Diagnostic::warning(Code::Risky, "w"));
        }
        for _ in 0..KEPT + 7 {
            sink.push(Diagnostic::error(Code::Syntax, "e"));
        }
        let problems = sink.into_problems(Source::new("x", ""));
        assert_eq!((problems.errors(), problems.more()), (KEPT + 7, 7));
    }
}
