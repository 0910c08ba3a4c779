//! The confusion matrix: what the rules foresaw against what happened.

use std::fmt::Write as _;

use libtest_mimic::Failed;

use super::judge::Verdict;
use super::rows::{LEAST, ROWS};
use super::tally::{Fits, Outcome, Tally};

/// The counts of a run, for a person.
pub(super) fn show(tally: &Tally) -> String {
    let mut out = String::new();
    for ((verdict, outcome), (count, examples)) in &tally.drains {
        let _ = writeln!(out, "{verdict:?} -> {outcome:?}: {count} ({})", examples.join(", "));
    }
    for ((rules, real), (count, examples)) in &tally.places {
        let _ = writeln!(out, "fits {rules:?} -> placed {real:?}: {count} ({})", examples.join(", "));
    }
    for row in ROWS {
        let _ = writeln!(out, "{:4} {row}", tally.rows.get(row).map_or(0, std::collections::BTreeSet::len));
    }
    out
}

/// What must hold of all scenarios together.
pub(super) fn check(tally: &Tally) -> Result<(), Failed> {
    eprintln!("{}", show(tally));
    let mut wrong = Vec::new();
    for row in ROWS {
        let count = tally.rows.get(row).map_or(0, std::collections::BTreeSet::len);
        if count < LEAST {
            wrong.push(format!("{row:?} decided {count} scenarios, not {LEAST}"));
        }
    }
    for ((verdict, outcome), (count, examples)) in &tally.drains {
        let lie = matches!(
            (verdict, outcome),
            (Verdict::Feasible, Outcome::AfterWaiting | Outcome::Refused)
                | (Verdict::Blocked, Outcome::AtOnce | Outcome::AfterWaiting)
        );
        if lie {
            wrong.push(format!("{verdict:?} and {outcome:?}: {count} ({})", examples.join(", ")));
        }
    }
    for ((rules, real), (count, examples)) in &tally.places {
        if rules != real {
            wrong.push(format!("fits {rules:?} and placed {real:?}: {count} ({})", examples.join(", ")));
        }
    }
    let drains: usize = tally.drains.values().map(|(count, _)| count).sum();
    for verdict in [Verdict::Feasible, Verdict::Blocked] {
        let some: usize =
            tally.drains.iter().filter(|((other, _), _)| *other == verdict).map(|(_, (count, _))| count).sum();
        if some * 10 < drains * 3 {
            wrong.push(format!("{verdict:?} is the verdict on {some} of {drains} drains, less than 30 %"));
        }
    }
    let places: usize = tally.places.values().map(|(count, _)| count).sum();
    for fits in [Fits::Yes, Fits::No] {
        let some: usize =
            tally.places.iter().filter(|((other, _), _)| *other == fits).map(|(_, (count, _))| count).sum();
        if some * 10 < places * 3 {
            wrong.push(format!("fits {fits:?} is the verdict on {some} of {places} places, less than 30 %"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}
