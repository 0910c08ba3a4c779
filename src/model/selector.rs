//! Label selectors, by the grammar and the meaning that Kubernetes gives them.
//!
//! The grammar is that of `kubectl --selector`: requirements separated by commas, all of which must hold.
//!
//! | requirement | holds when |
//! |---|---|
//! | `key=value`, `key==value` | the label is there and has this value |
//! | `key!=value` | the label is not there, or has another value |
//! | `key in (a,b)` | the label is there and has one of these values |
//! | `key notin (a,b)` | the label is not there, or has none of these values |
//! | `key` | the label is there |
//! | `!key` | the label is not there |
//! | `key>5`, `key<5` | the label is there and is a greater, a smaller integer |

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

/// The longest part of a label key after its prefix, and the longest label value, in bytes.
const NAME_MAX: usize = 63;
/// The longest prefix of a label key, in bytes.
const PREFIX_MAX: usize = 253;

/// What a requirement asks of its label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Test {
    /// The label is there and has one of these values.
    In(BTreeSet<Arc<str>>),
    /// The label is not there, or has none of these values.
    NotIn(BTreeSet<Arc<str>>),
    /// The label is there.
    Exists,
    /// The label is not there.
    Absent,
    /// The label is there and is a greater integer.
    Greater(i64),
    /// The label is there and is a smaller integer.
    Less(i64),
}

/// One requirement of a selector.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirement {
    key: Arc<str>,
    test: Test,
}

impl Requirement {
    /// Makes a requirement, for selectors that come as objects (`matchLabels`, `matchExpressions`) and not as text.
    ///
    /// # Errors
    /// [`SelectorError`], with a span within the key or the value that is wrong, when the key is no label key, a value
    /// no label value, or a set of values empty.
    pub fn new(key: &str, test: Test) -> Result<Self, SelectorError> {
        check_key(key, 0)?;
        match &test {
            Test::In(values) | Test::NotIn(values) => {
                if values.is_empty() {
                    return Err(SelectorError::new(SelectorFault::NoValues, 0..key.len()));
                }
                for value in values {
                    check_value(value, 0)?;
                }
            }
            Test::Exists | Test::Absent | Test::Greater(_) | Test::Less(_) => {}
        }
        Ok(Self { key: key.into(), test })
    }

    /// The key of the label.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is asked of the label.
    #[must_use]
    pub fn test(&self) -> &Test {
        &self.test
    }

    fn holds(&self, value: Option<&str>) -> bool {
        let integer = |value: &str| value.parse::<i64>().ok();
        match (&self.test, value) {
            (Test::In(values), Some(value)) => values.contains(value),
            (Test::NotIn(values), Some(value)) => !values.contains(value),
            (Test::Exists, value) => value.is_some(),
            (Test::Absent, value) => value.is_none(),
            (Test::NotIn(_), None) => true,
            (Test::In(_) | Test::Greater(_) | Test::Less(_), None) => false,
            (Test::Greater(bound), Some(value)) => integer(value).is_some_and(|value| value > *bound),
            (Test::Less(bound), Some(value)) => integer(value).is_some_and(|value| value < *bound),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let list = |values: &BTreeSet<Arc<str>>| values.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(",");
        match &self.test {
            Test::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
            Test::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list(values)),
            Test::In(values) => write!(f, "{key} in ({})", list(values)),
            Test::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
            Test::Exists => write!(f, "{key}"),
            Test::Absent => write!(f, "!{key}"),
            Test::Greater(bound) => write!(f, "{key}>{bound}"),
            Test::Less(bound) => write!(f, "{key}<{bound}"),
        }
    }
}

/// A label selector: all of its requirements must hold. One without requirements matches everything.
///
/// Two selectors are equal when they have the same requirements, in whatever order they were written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Selector {
    requirements: BTreeSet<Requirement>,
}

impl Selector {
    /// The selector that matches everything: the empty selector of a disruption budget.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// A selector of requirements that were made one by one.
    pub fn from_requirements(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        Self { requirements: requirements.into_iter().collect() }
    }

    /// Reads a selector in the grammar of `kubectl --selector`.
    ///
    /// # Errors
    /// [`SelectorError`] when the text breaks the grammar, names an impossible key or value, or is empty: written by
    /// hand, an empty selector is a mistake, not the wish to select everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Parser { text, at: 0 }.selector()
    }

    /// Its requirements, in a stable order.
    pub fn requirements(&self) -> impl Iterator<Item = &Requirement> {
        self.requirements.iter()
    }

    /// Whether an object with these labels is selected; `label` answers the value of a label by its key.
    pub fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.holds(label(&requirement.key)))
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches<K, V>(&self, labels: &BTreeMap<K, V>) -> bool
    where
        K: Borrow<str> + Ord,
        V: AsRef<str>,
    {
        self.matches_by(|key| labels.get(key).map(AsRef::as_ref))
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

/// What is wrong with a selector. The messages hold no text of the selector itself, so they are safe to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelectorFault {
    /// There is no requirement.
    #[error("a selector needs at least one requirement, such as `key=value`")]
    Empty,
    /// A label key was expected.
    #[error("expected a label key here")]
    KeyExpected,
    /// Something follows a key that is no operator.
    #[error("expected `=`, `!=`, `in (…)`, `notin (…)`, `,` or the end here")]
    OperatorExpected,
    /// A requirement ended, and something other than a comma follows.
    #[error("expected `,` or the end here")]
    CommaExpected,
    /// `in` or `notin` without a list.
    #[error("expected `(` and a list of values here")]
    ListExpected,
    /// A list of values does not end.
    #[error("expected `,` or `)` here")]
    ListEndExpected,
    /// `in ()`.
    #[error("a list of values cannot be empty")]
    NoValues,
    /// `>` or `<` without an integer.
    #[error("expected an integer here")]
    IntegerExpected,
    /// A label key that Kubernetes would refuse.
    #[error("not a label key")]
    BadKey,
    /// The prefix of a label key that Kubernetes would refuse.
    #[error("not the prefix of a label key")]
    BadPrefix,
    /// A label value that Kubernetes would refuse.
    #[error("not a label value")]
    BadValue,
}

impl SelectorFault {
    /// The rule of Kubernetes that is broken, where it is one about characters.
    #[must_use]
    pub fn rule(self) -> Option<&'static str> {
        match self {
            Self::BadKey => Some(
                "a label key is NAME or PREFIX/NAME; NAME has at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
            ),
            Self::BadPrefix => {
                Some("the prefix of a label key is a DNS name: at most 253 lower-case letters, digits, '-' and '.'")
            }
            Self::BadValue => Some(
                "a label value has at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
            ),
            _ => None,
        }
    }
}

/// Why a text is not a selector, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct SelectorError {
    /// What is wrong.
    pub fault: SelectorFault,
    /// Where, in bytes of the text; empty at the place where something is missing.
    pub span: Range<usize>,
}

impl SelectorError {
    fn new(fault: SelectorFault, span: Range<usize>) -> Self {
        Self { fault, span }
    }
}

/// Whether `text` may stand at both ends of a label name or value and consists of what may stand between.
fn is_name(text: &str) -> bool {
    let outer = |byte: &u8| byte.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    text.len() <= NAME_MAX
        && bytes.first().is_some_and(outer)
        && bytes.last().is_some_and(outer)
        && bytes.iter().all(|byte| outer(byte) || matches!(byte, b'-' | b'_' | b'.'))
}

fn is_prefix(text: &str) -> bool {
    let outer = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= PREFIX_MAX
        && text.split('.').all(|part| {
            let bytes = part.as_bytes();
            bytes.first().is_some_and(outer)
                && bytes.last().is_some_and(outer)
                && bytes.iter().all(|byte| outer(byte) || *byte == b'-')
        })
}

fn check_key(key: &str, start: usize) -> Result<(), SelectorError> {
    let name = match key.split_once('/') {
        Some((prefix, _)) if !is_prefix(prefix) => {
            return Err(SelectorError::new(SelectorFault::BadPrefix, start..start + prefix.len().max(1)));
        }
        Some((_, name)) => name,
        None => key,
    };
    if is_name(name) { Ok(()) } else { Err(SelectorError::new(SelectorFault::BadKey, start..start + key.len())) }
}

fn check_value(value: &str, start: usize) -> Result<(), SelectorError> {
    if value.is_empty() || is_name(value) {
        Ok(())
    } else {
        Err(SelectorError::new(SelectorFault::BadValue, start..start + value.len()))
    }
}

/// Reads a selector from left to right; `at` is the place of the next byte.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn selector(mut self) -> Result<Selector, SelectorError> {
        let mut requirements = BTreeSet::new();
        self.skip_space();
        if self.rest().is_empty() {
            return Err(SelectorError::new(SelectorFault::Empty, 0..self.text.len()));
        }
        loop {
            requirements.insert(self.requirement()?);
            self.skip_space();
            if self.rest().is_empty() {
                return Ok(Selector { requirements });
            }
            if !self.take(",") {
                return Err(self.unexpected(SelectorFault::CommaExpected));
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        self.skip_space();
        if self.take("!") {
            let key = self.key()?;
            return Ok(Requirement { key, test: Test::Absent });
        }
        let key = self.key()?;
        self.skip_space();
        let test = if self.take("!=") {
            Test::NotIn(BTreeSet::from([self.value()?]))
        } else if self.take("==") || self.take("=") {
            Test::In(BTreeSet::from([self.value()?]))
        } else if self.take(">") {
            Test::Greater(self.integer()?)
        } else if self.take("<") {
            Test::Less(self.integer()?)
        } else if self.rest().is_empty() || self.rest().starts_with(',') {
            Test::Exists
        } else {
            let start = self.at;
            match self.word() {
                "in" => Test::In(self.list()?),
                "notin" => Test::NotIn(self.list()?),
                _ => {
                    self.at = start;
                    return Err(self.unexpected(SelectorFault::OperatorExpected));
                }
            }
        };
        Ok(Requirement { key, test })
    }

    fn key(&mut self) -> Result<Arc<str>, SelectorError> {
        self.skip_space();
        let start = self.at;
        let key = self.word();
        if key.is_empty() {
            return Err(self.unexpected(SelectorFault::KeyExpected));
        }
        check_key(key, start)?;
        Ok(key.into())
    }

    /// A value may be empty: `key=` asks for the empty value.
    fn value(&mut self) -> Result<Arc<str>, SelectorError> {
        self.skip_space();
        let start = self.at;
        let value = self.word();
        check_value(value, start)?;
        Ok(value.into())
    }

    fn integer(&mut self) -> Result<i64, SelectorError> {
        self.skip_space();
        let start = self.at;
        let word = self.word();
        word.parse().map_err(|_| {
            self.at = start;
            self.unexpected(SelectorFault::IntegerExpected)
        })
    }

    fn list(&mut self) -> Result<BTreeSet<Arc<str>>, SelectorError> {
        self.skip_space();
        let start = self.at;
        if !self.take("(") {
            return Err(self.unexpected(SelectorFault::ListExpected));
        }
        self.skip_space();
        if self.take(")") {
            return Err(SelectorError::new(SelectorFault::NoValues, start..self.at));
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value()?);
            self.skip_space();
            if self.take(")") {
                return Ok(values);
            }
            if !self.take(",") {
                return Err(self.unexpected(SelectorFault::ListEndExpected));
            }
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Everything up to the next space or symbol; empty where one of these comes next.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find([' ', '\t', '\r', '\n', '=', '!', '(', ')', ',', '<', '>']).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// The error for what stands at the present place: a whole word, one symbol, or nothing.
    fn unexpected(&mut self, fault: SelectorFault) -> SelectorError {
        let start = self.at;
        let word = self.word().len();
        let length = if word > 0 { word } else { self.rest().chars().next().map_or(0, char::len_utf8) };
        SelectorError::new(fault, start..start + length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(pairs: &[(&'static str, &'static str)]) -> BTreeMap<&'static str, &'static str> {
        pairs.iter().copied().collect()
    }

    #[test]
    fn each_operator_has_the_meaning_of_kubernetes() {
        let node = labels(&[("os", "linux"), ("size", "12"), ("empty", ""), ("example.com/team", "payments")]);
        for selector in [
            "os=linux",
            "os==linux",
            "os = linux",
            "os!=windows",
            "zone!=a",
            "os in (linux,windows)",
            "os in ( windows , linux )",
            "zone notin (a,b)",
            "os notin (windows)",
            "os",
            "!zone",
            "! zone",
            "size>11",
            "size<13",
            "size > 11",
            "empty=",
            "empty in (,a)",
            "empty",
            "os=linux,!zone,example.com/team in (payments)",
            " os=linux , size ",
            "os\n,size",
        ] {
            let parsed = Selector::parse(selector).unwrap();
            assert!(parsed.matches(&node), "{selector}");
        }
        for selector in [
            "os=windows",
            "os!=linux",
            "os notin (linux)",
            "zone=a",
            "zone in (a)",
            "zone",
            "!os",
            "size>12",
            "size<12",
            "os>1",
            "zone>1",
            "empty!=",
            "os=linux,zone",
        ] {
            let parsed = Selector::parse(selector).unwrap();
            assert!(!parsed.matches(&node), "{selector}");
        }
    }

    #[test]
    fn words_of_the_grammar_may_be_keys_and_values() {
        let node = labels(&[("in", "notin")]);
        assert!(Selector::parse("in=notin").unwrap().matches(&node));
        assert!(Selector::parse("in in (notin)").unwrap().matches(&node));
    }

    #[test]
    fn errors_point_at_the_place() {
        use SelectorFault as F;
        for (text, fault, span) in [
            ("", F::Empty, 0..0),
            ("  ", F::Empty, 0..2),
            (",", F::KeyExpected, 0..1),
            ("a=b,", F::KeyExpected, 4..4),
            ("a=b,,c", F::KeyExpected, 4..5),
            ("a b", F::OperatorExpected, 2..3),
            ("a=b c=d", F::CommaExpected, 4..5),
            ("a==b==c", F::CommaExpected, 4..5),
            ("a!b", F::OperatorExpected, 1..2),
            ("!a=b", F::CommaExpected, 2..3),
            ("a in b", F::ListExpected, 5..6),
            ("a in", F::ListExpected, 4..4),
            ("a in ()", F::NoValues, 5..7),
            ("a in (b", F::ListEndExpected, 7..7),
            ("a in (b c)", F::ListEndExpected, 8..9),
            ("a in ((b)", F::ListEndExpected, 6..7),
            ("a>b", F::IntegerExpected, 2..3),
            ("a>", F::IntegerExpected, 2..2),
            ("-a=b", F::BadKey, 0..2),
            ("a/b/c=d", F::BadKey, 0..5),
            ("A.b/c=d", F::BadPrefix, 0..3),
            ("/c=d", F::BadPrefix, 0..1),
            ("a=b|c", F::BadValue, 2..5),
            ("a=é", F::BadValue, 2..4),
            ("é", F::BadKey, 0..2),
        ] {
            let error = Selector::parse(text).unwrap_err();
            assert_eq!((error.fault, error.span), (fault, span), "{text:?}");
        }
    }

    #[test]
    fn the_selector_of_an_object_follows_the_same_rules() {
        let made =
            Selector::from_requirements([Requirement::new("a", Test::In(BTreeSet::from(["b".into()]))).unwrap()]);
        assert_eq!(made, Selector::parse("a=b").unwrap());
        assert!(Requirement::new("a b", Test::Exists).is_err());
        assert!(Requirement::new("a", Test::In(BTreeSet::new())).is_err());
        assert!(Requirement::new("a", Test::NotIn(BTreeSet::from(["-".into()]))).is_err());
        assert!(Selector::everything().matches(&labels(&[])));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_spans_hold(text in "[ab,=!()<>/. \u{e9}\u{1b}innot-]{0,24}") {
            match Selector::parse(&text) {
                Ok(selector) => {
                    let shown = selector.to_string();
                    prop_assert_eq!(Selector::parse(&shown).unwrap(), selector, "{}", shown);
                }
                Err(error) => prop_assert!(text.get(error.span).is_some()),
            }
        }
    }
}
