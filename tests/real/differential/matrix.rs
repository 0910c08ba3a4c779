//! The confusion matrix: what the rules foresaw against what happened. It is published in `matrix.md`, beside this file.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use libtest_mimic::Failed;

use super::judge::Verdict;
use super::rows::{LEAST, NOT_PLAYED, ROWS};
use super::tally::{Fits, Outcome, Tally};

const HEAD: &str = "# What was foreseen, and what happened

Generated scenarios are played on a real control plane (kube-apiserver, scheduler and controllers 1.37.2) and on
haulout's simulated cluster, and compared after each step; see the folder's `mod.rs`. This page is written by the test
itself (`HAULOUT_PUBLISH=1`), from the scenarios that every run plays. The test fails where a cell, a row or a filter
below comes or goes, where a drain that was called feasible had to wait or was refused, where a blocked one went
through, and where a pod was placed against the rules or not placed against them.
";

const CELLS: [(Verdict, Outcome, &str); 9] = [
    (Verdict::Feasible, Outcome::AtOnce, ""),
    (Verdict::Feasible, Outcome::AfterWaiting, "would be a mistake"),
    (Verdict::Feasible, Outcome::Refused, "would be a mistake"),
    (Verdict::Paced, Outcome::AtOnce, "the pods here are just as many as the budget gives at a time"),
    (Verdict::Paced, Outcome::AfterWaiting, ""),
    (Verdict::Paced, Outcome::Refused, "the budget waits for unready pods that never become Ready in the scenario"),
    (Verdict::Blocked, Outcome::AtOnce, "would be a mistake"),
    (Verdict::Blocked, Outcome::AfterWaiting, "would be a mistake"),
    (Verdict::Blocked, Outcome::Refused, ""),
];

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Feasible => "feasible",
        Verdict::Paced => "paced",
        Verdict::Blocked => "blocked",
    }
}

fn ending(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::AtOnce => "all evicted at the first try",
        Outcome::AfterWaiting => "all evicted, some after waiting",
        Outcome::Refused => "refused to the end",
    }
}

/// The page.
pub(super) fn page(tally: &Tally) -> String {
    let mut out = HEAD.to_owned();
    let _ = writeln!(out, "\n{} scenarios.\n\n## Drains: the planner's verdict\n", tally.scenarios);
    let _ = writeln!(out, "| verdict | what happened | drains | |\n|---|---|---|---|");
    for (verdict, outcome, note) in CELLS {
        let count = tally.drains.get(&(verdict, outcome)).map_or(0, |(count, _)| *count);
        let note = if note == "would be a mistake" && count == 0 { "" } else { note };
        let _ = writeln!(out, "| {} | {} | {count} | {note} |", name(verdict), ending(outcome));
    }
    let _ = writeln!(out, "\n## Places: whether a pod fits\n\n| the rules say | the scheduler | pods |\n|---|---|---|");
    for rules in [Fits::Yes, Fits::No] {
        for real in [Fits::Yes, Fits::No] {
            let count = tally.places.get(&(rules, real)).map_or(0, |(count, _)| *count);
            let rules = if rules == Fits::Yes { "it fits" } else { "it fits nowhere" };
            let real = if real == Fits::Yes {
                "placed it, on a node that fits"
            } else {
                "left it Pending, for the same reasons"
            };
            let _ = writeln!(out, "| {rules} | {real} | {count} |");
        }
    }
    let _ =
        writeln!(out, "\n## Rows and filters\n\nHow many scenarios each decided.\n\n| row | scenarios |\n|---|---|");
    for row in ROWS {
        let _ = writeln!(out, "| {row} | {} |", tally.rows.get(row).map_or(0, BTreeSet::len));
    }
    let _ = writeln!(out, "\n## Not played\n");
    for (what, why) in NOT_PLAYED {
        let _ = writeln!(out, "- {what}: {why}");
    }
    out
}

/// What must hold of all scenarios together.
pub(super) fn check(tally: &Tally) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for row in ROWS {
        let count = tally.rows.get(row).map_or(0, BTreeSet::len);
        if count < LEAST {
            wrong.push(format!("{row:?} decided {count} scenarios, not {LEAST}"));
        }
    }
    for row in tally.rows.keys().filter(|row| !ROWS.contains(row)) {
        wrong.push(format!("{row:?} is not among the rows"));
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
    if wrong.is_empty() { published(tally) } else { Err(format!("{}\n{}", wrong.join("\n"), page(tally)).into()) }
}

/// Compares with the published page: its rows with and without cases. The numbers may differ, where chance among
/// evictions that are under way at once has its part.
fn published(tally: &Tally) -> Result<(), Failed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/differential/matrix.md");
    let page = page(tally);
    if std::env::var_os("HAULOUT_PUBLISH").is_some() {
        std::fs::write(&path, &page)?;
    }
    let known = std::fs::read_to_string(&path)?;
    let (known, now) = (categories(&known), categories(&page));
    if known == now {
        return Ok(());
    }
    let lines = |one: &BTreeSet<String>, other: &BTreeSet<String>| {
        one.difference(other).cloned().collect::<Vec<_>>().join("\n  ")
    };
    Err(format!(
        "matrix.md is out of date; HAULOUT_PUBLISH=1 writes it anew\nonly published:\n  {}\nonly now:\n  {}",
        lines(&known, &now),
        lines(&now, &known)
    )
    .into())
}

/// The lines of tables and lists, with whether there were any in place of how many.
fn categories(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter(|line| line.starts_with(['|', '-']))
        .map(|line| {
            let parts = line.split('|').map(str::trim).map(|part| match part.parse::<u32>() {
                Ok(0) => "none",
                Ok(_) => "some",
                Err(_) => part,
            });
            parts.collect::<Vec<_>>().join("|")
        })
        .collect()
}
