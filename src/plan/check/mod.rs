//! The independent checker, and the only maker of a [`Plan`].
//!
//! It shares the types with what drafts plans, and [`super::startable`], which it replays; it shares none of the
//! reasoning. A plan read from a file and one just made pass the same way.

mod against_facts;
mod playing;
mod structure;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::draft::{Draft, DraftCluster};
use super::types::Plan;
use crate::model::{Advice, ClusterName, Explain, Kind};

/// One thing that is wrong with a draft.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The cluster.
    pub cluster: ClusterName,
    /// What is wrong, in words that name the node, step or slot.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cluster, self.what)
    }
}

/// A draft that is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckError {
    /// All that is wrong, in order.
    pub notes: Vec<Note>,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More would not be read.
        const SHOWN: usize = 5;
        f.write_str("the plan is unsound")?;
        for (at, note) in self.notes.iter().take(SHOWN).enumerate() {
            write!(f, "{} {note}", if at == 0 { ":" } else { ";" })?;
        }
        match self.notes.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for CheckError {}

impl Explain for CheckError {
    fn kind(&self) -> Kind {
        Kind::Bug
    }

    fn advice(&self) -> Option<Advice> {
        Some(Advice::new("nothing was done; please report this together with the output of `haulout snapshot`"))
    }

    fn is_sentence(&self) -> bool {
        true
    }
}

/// Collects notes about one cluster.
struct Notes<'a> {
    cluster: &'a ClusterName,
    notes: Vec<Note>,
}

impl Notes<'_> {
    fn push(&mut self, what: String) {
        self.notes.push(Note { cluster: self.cluster.clone(), what });
    }

    /// Notes `what` unless it holds.
    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.push(what());
        }
    }
}

/// Checks a draft and makes a plan of it.
///
/// # Errors
/// [`CheckError`] with everything that is wrong with it.
pub fn check(draft: Draft) -> Result<Plan, CheckError> {
    let mut notes = Vec::new();
    let mut seen: BTreeSet<&ClusterName> = BTreeSet::new();
    let all: BTreeSet<&ClusterName> = draft.clusters.iter().map(|cluster| &cluster.plan.cluster).collect();
    for DraftCluster { plan, facts } in &draft.clusters {
        let mut of_cluster = Notes { cluster: &plan.cluster, notes: Vec::new() };
        for before in &plan.after {
            of_cluster.expect(seen.contains(before) || !all.contains(before), || {
                format!("comes before cluster {before}, which it is to come after")
            });
        }
        of_cluster.expect(seen.insert(&plan.cluster), || "is in the plan twice".to_owned());
        structure::check(plan, &mut of_cluster);
        against_facts::check(plan, facts, &mut of_cluster);
        // Playing a broken plan would only say the same again, and less clearly.
        if of_cluster.notes.is_empty() {
            playing::check(plan, facts, draft.now, &mut of_cluster);
        }
        notes.append(&mut of_cluster.notes);
    }
    if !notes.is_empty() {
        notes.sort();
        notes.dedup();
        return Err(CheckError { notes });
    }
    let clusters = draft.clusters.into_iter().map(|cluster| Arc::new(cluster.plan)).collect();
    Ok(Plan { config: draft.config, now: draft.now, clusters })
}
