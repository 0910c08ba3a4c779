//! What all scenarios together have shown.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::Verdict;

/// How the drain of a node's pods really went on the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// Every eviction was accepted the first time.
    AtOnce,
    /// Some were refused, and accepted once the replacements of others were Ready.
    AfterWaiting,
    /// Some were refused to the end.
    Refused,
}

/// Where the rules say that a pod may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fits {
    Yes,
    No,
}

/// The counts. Rows and filters count a scenario once, however often they decide in it.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) scenarios: usize,
    /// How often each verdict met each outcome, and the first scenarios in which it did.
    pub(super) drains: BTreeMap<(Verdict, Outcome), (usize, Vec<String>)>,
    /// The same for nodes and pods: whether the rules say that it fits, and whether the scheduler put it there.
    pub(super) places: BTreeMap<(Fits, Fits), (usize, Vec<String>)>,
    /// The scenarios that each row of what is known decided.
    pub(super) rows: BTreeMap<&'static str, BTreeSet<String>>,
}

const EXAMPLES: usize = 3;

fn count<K: Ord>(map: &mut BTreeMap<K, (usize, Vec<String>)>, key: K, scenario: &str) {
    let (count, examples) = map.entry(key).or_default();
    *count += 1;
    if examples.len() < EXAMPLES {
        examples.push(scenario.to_owned());
    }
}

impl Tally {
    pub(super) fn drain(&mut self, verdict: Verdict, outcome: Outcome, scenario: &str) {
        count(&mut self.drains, (verdict, outcome), scenario);
    }

    pub(super) fn place(&mut self, rules: Fits, real: Fits, scenario: &str) {
        count(&mut self.places, (rules, real), scenario);
    }

    pub(super) fn row(&mut self, row: &'static str, scenario: &str) {
        self.rows.entry(row).or_default().insert(scenario.to_owned());
    }

    pub(super) fn add(&mut self, other: Self) {
        self.scenarios += other.scenarios;
        for (key, (number, examples)) in other.drains {
            let (count, known) = self.drains.entry(key).or_default();
            *count += number;
            known.extend(examples);
            known.truncate(EXAMPLES);
        }
        for (key, (number, examples)) in other.places {
            let (count, known) = self.places.entry(key).or_default();
            *count += number;
            known.extend(examples);
            known.truncate(EXAMPLES);
        }
        for (row, scenarios) in other.rows {
            self.rows.entry(row).or_default().extend(scenarios);
        }
    }
}
