//! Each rule broken on purpose, to see that the simulation notices.

use super::net::Broken;
use super::play;

/// How many seeds a broken rule may take to be noticed: not in every run does it matter.
const WITHIN: u64 = 60;

#[test]
fn every_broken_rule_is_noticed() {
    let mut unnoticed = Vec::new();
    for broken in Broken::ALL {
        let words = match broken {
            Broken::Limits => "are out, of",
            Broken::Budgets => "without asking its budget",
            Broken::Drain => "is to reboot with",
            Broken::Twice => "for the second time in one run",
            Broken::Named => "is left cordoned and the report says",
            Broken::Foreign => "the foreign cordon of",
            Broken::Lock => "while the lock is",
            Broken::Patience => "does not end",
        };
        let noticed = (1..=WITHIN).any(|seed| play(seed, Some(broken)).wrong.iter().any(|what| what.contains(words)));
        if !noticed {
            unnoticed.push(broken);
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:?}");
}
