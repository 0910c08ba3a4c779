//! What is not in the plan: blocked, unknown, not readable; and what is worth knowing.

use std::collections::{BTreeMap, BTreeSet};

use super::fold::{Fold, fold};
use super::page::{Page, Symbol};
use crate::model::{NodeName, TableName};
use crate::plan::words::{
    CertificateLine, Told, Words, blocked_kind, cannot, count, headline, names, number, unknown_code,
};
use crate::plan::{Blocked, ClusterPlan, Notice, Outage, Unknown};
use crate::run::{LeftAs, Remaining};

/// Up to so many blocked nodes are shown one by one.
const MOST_BLOCKED: usize = 20;
/// Up to so many unknown nodes are shown one by one; their blocks differ little.
const MOST_UNKNOWN: usize = 5;
/// Up to so many notices or gaps are shown.
const MOST_NOTES: usize = 20;

fn nodes<'a>(of: impl Iterator<Item = &'a NodeName>) -> Vec<&'a NodeName> {
    of.collect()
}

pub(super) fn blocked(page: &mut Page<'_>, words: &Words<'_>, cluster: &ClusterPlan) {
    if cluster.blocked.is_empty() {
        return;
    }
    page.heading("Blocked");
    let general = |blocked: &Blocked| -> Vec<Told> {
        blocked.reasons.iter().map(|reason| words.blocked_of(blocked, reason, &"NODE")).collect()
    };
    let folds = fold(
        cluster.blocked.iter().collect(),
        MOST_BLOCKED,
        |blocked| (blocked.wanted, blocked.table.clone(), general(blocked)),
        |blocked| {
            let kinds: Vec<&str> = blocked.reasons.iter().map(blocked_kind).collect();
            (blocked.wanted, blocked.table.clone(), kinds)
        },
    );
    for fold in folds {
        match fold {
            Fold::One(blocked) => {
                page.subject(Symbol::Blocked, &format!("node/{}", blocked.node), cannot(blocked.wanted));
                for reason in &blocked.reasons {
                    page.told(&words.blocked(blocked, reason), "to unblock:");
                }
            }
            Fold::Same(all) => {
                many_blocked(page, &all);
                for told in all.first().map(|first| general(first)).unwrap_or_default() {
                    page.told(&told, "to unblock:");
                }
            }
            Fold::Alike(all) => {
                many_blocked(page, &all);
                let Some(first) = all.first() else { continue };
                let mut kinds: Vec<&str> = first.reasons.iter().map(blocked_kind).collect();
                kinds.dedup();
                page.because(&format!("of {}", kinds.join(", ")));
                for reason in &first.reasons {
                    let told = words.blocked(first, reason);
                    page.line(6, &format!("for example {}: {}", first.node, told.text));
                    page.advice(6, "to unblock it:", &told.advice);
                }
            }
        }
    }
}

fn many_blocked(page: &mut Page<'_>, all: &[&Blocked]) {
    let Some(first) = all.first() else { return };
    let listed = names(&nodes(all.iter().map(|blocked| &blocked.node)), page.style.names());
    page.subject(Symbol::Blocked, &count(all.len(), "node"), &format!("{}: {listed}", cannot(first.wanted)));
}

pub(super) fn unknown(page: &mut Page<'_>, words: &Words<'_>, cluster: &ClusterPlan) {
    if cluster.unknown.is_empty() {
        return;
    }
    page.heading("Unknown");
    let general = |unknown: &Unknown| words.unknown_of(&unknown.why, &"NODE", &unknown.table);
    let folds = fold(
        cluster.unknown.iter().collect(),
        MOST_UNKNOWN,
        |unknown| general(unknown),
        |unknown| (unknown_code(&unknown.why), unknown.table.clone()),
    );
    for fold in folds {
        match fold {
            Fold::One(unknown) => {
                let rest = format!("cannot be judged by reboot.{}", unknown.table);
                page.subject(Symbol::Unknown, &format!("node/{}", unknown.node), &rest);
                page.told(&words.unknown(unknown), "to find out:");
            }
            Fold::Same(all) => {
                many_unknown(page, &all);
                if let Some(first) = all.first() {
                    page.told(&general(first), "to find out:");
                }
            }
            Fold::Alike(all) => {
                many_unknown(page, &all);
                if let Some(first) = all.first() {
                    let told = general(first);
                    page.line(6, &format!("for example {}: {}", first.node, told.text));
                    page.advice(6, "to find out:", &told.advice);
                }
            }
        }
    }
}

fn many_unknown(page: &mut Page<'_>, all: &[&Unknown]) {
    let listed = names(&nodes(all.iter().map(|unknown| &unknown.node)), page.style.names());
    let mut tables: Vec<&TableName> = all.iter().map(|unknown| &unknown.table).collect();
    tables.sort();
    tables.dedup();
    let tables = names(&tables.iter().map(|table| format!("reboot.{table}")).collect::<Vec<_>>(), 3);
    page.subject(Symbol::Unknown, &count(all.len(), "node"), &format!("cannot be judged by {tables}: {listed}"));
}

pub(super) fn gaps(page: &mut Page<'_>, words: &Words<'_>, cluster: &ClusterPlan) {
    if cluster.gaps.is_empty() {
        return;
    }
    page.heading("Not readable");
    for gap in cluster.gaps.iter().take(MOST_NOTES) {
        let told = words.gap(gap);
        page.note(&told.text);
        if !told.advice.is_empty() {
            page.advice(6, "to close the gap:", &told.advice);
        }
    }
    more(page, cluster.gaps.len());
}

pub(super) fn notices(page: &mut Page<'_>, words: &Words<'_>, cluster: &ClusterPlan) {
    if cluster.notices.is_empty() {
        return;
    }
    page.heading("Worth knowing");
    // A table may take a whole rack out of service: its nodes share one line.
    let mut deferred: BTreeMap<&TableName, Vec<NodeName>> = BTreeMap::new();
    let mut released: BTreeMap<&TableName, Vec<NodeName>> = BTreeMap::new();
    let mut protected: BTreeMap<(&TableName, &TableName), Vec<NodeName>> = BTreeMap::new();
    let mut lines = Vec::new();
    for notice in &cluster.notices {
        match notice {
            Notice::RebootDeferred { node, table } => deferred.entry(table).or_default().push(node.clone()),
            Notice::RebootAfterRelease { node, table } => released.entry(table).or_default().push(node.clone()),
            Notice::ProtectedFromService { node, protect, table } => {
                protected.entry((protect, table)).or_default().push(node.clone());
            }
            Notice::MatchesNothing { .. }
            | Notice::Expired { .. }
            | Notice::LockHeld { .. }
            | Notice::LeftAlone { .. }
            | Notice::KuredAtWork { .. }
            | Notice::KuredUnreadable { .. } => lines.push(words.notice(notice)),
        }
    }
    lines.extend(deferred.iter().map(|(table, nodes)| words.reboot_deferred(nodes, table, page.style.names())));
    let most = page.style.names();
    lines.extend(released.iter().map(|(table, nodes)| words.reboot_after_release(nodes, table, most)));
    let protected = protected.iter();
    lines.extend(protected.map(|((by, table), nodes)| words.protected_from_service(nodes, by, table, most)));
    for line in lines.iter().take(MOST_NOTES) {
        page.note(line);
    }
    more(page, lines.len());
}

pub(super) fn certificates(page: &mut Page<'_>, words: &Words<'_>, cluster: &ClusterPlan) {
    let lines = words.certificates(&cluster.certificates);
    if lines.is_empty() {
        return;
    }
    page.heading("Certificates");
    for line in lines.iter().take(MOST_NOTES) {
        match line {
            CertificateLine::Fine(text) | CertificateLine::Unseen(text) => page.line(4, text),
            CertificateLine::Worry(told) => {
                page.note(&told.text);
                page.advice(6, "what to do:", &told.advice);
            }
        }
    }
    more(page, lines.len());
}

fn more(page: &mut Page<'_>, all: usize) {
    if let Some(more) = all.checked_sub(MOST_NOTES).filter(|more| *more > 0) {
        page.note(&format!("and {} more, all of them in --format json", number(more as u64)));
    }
}

/// What has come up since a run was planned: what is to do beside what that run left.
pub(super) fn news<'p>(cluster: &'p ClusterPlan, remaining: &Remaining) -> Vec<&'p Outage> {
    let new: BTreeSet<&NodeName> = remaining
        .all(LeftAs::New)
        .into_iter()
        .filter(|(name, _)| *name == cluster.cluster)
        .map(|(_, node)| node)
        .collect();
    cluster.outages.iter().filter(|outage| new.contains(&outage.node)).collect()
}

pub(super) fn new(page: &mut Page<'_>, outages: &[&Outage]) {
    let mut by_headline: BTreeMap<&str, Vec<&Outage>> = BTreeMap::new();
    for &outage in outages {
        by_headline.entry(headline(outage)).or_default().push(outage);
    }
    if by_headline.is_empty() {
        return;
    }
    page.heading("New");
    for (headline, outages) in by_headline {
        let listed = names(&nodes(outages.iter().map(|outage| &outage.node)), page.style.names());
        let what = headline.strip_prefix("will ").unwrap_or(headline);
        page.subject(Symbol::Change, &count(outages.len(), "node"), &format!("to {what} by another apply: {listed}"));
    }
}
