//! Each rule broken on purpose, to see that the simulation notices.

use super::play;

/// A rule that a run is made to break, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// Plans and acts by limits that are not those of the config.
    Limits,
    /// Deletes pods in place of evicting them.
    Budgets,
    /// Sees no pods on a node.
    Drain,
    /// Asks for the reboot once more after the node has returned.
    Twice,
    /// Believes to have uncordoned.
    Named,
    /// Takes a foreign cordon off.
    Foreign,
    /// Believes to have the lock.
    Lock,
    /// Waits for ever for an answer.
    Patience,
    /// Plans by the order in which it happened to read.
    Order,
    /// Shows what others wrote as it came.
    Sanitiser,
    /// Shows what was none of its business.
    Secrets,
    /// Asks once more, when it is taken up again, for what it had asked for before it was killed.
    Forgets,
    /// Reports nothing of what it and those before it have left.
    Silent,
}

impl Broken {
    const ALL: [(Self, &str); 13] = [
        (Self::Limits, "are out, of"),
        (Self::Budgets, "without asking its budget"),
        (Self::Drain, "is to reboot with"),
        (Self::Twice, "for the second time in one run"),
        (Self::Named, "is left cordoned and the report says"),
        (Self::Foreign, "the foreign cordon of"),
        (Self::Lock, "while the lock is"),
        (Self::Patience, "does not end"),
        (Self::Order, "the same inputs gave another plan"),
        (Self::Sanitiser, "is not inert"),
        (Self::Secrets, "tells a secret"),
        (Self::Forgets, "for the second time in one run"),
        (Self::Silent, "is left cordoned and no report says so"),
    ];
}

/// How many seeds a broken rule may take to be noticed: not in every run does it matter.
const WITHIN: u64 = 60;

#[test]
fn every_broken_rule_is_noticed() {
    let mut unnoticed = Vec::new();
    for (broken, words) in Broken::ALL {
        let noticed = (1..=WITHIN).any(|seed| play(seed, Some(broken)).wrong.iter().any(|what| what.contains(words)));
        if !noticed {
            unnoticed.push(broken);
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
