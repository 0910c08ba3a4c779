//! What will be done, in its order.

use std::collections::{BTreeMap, BTreeSet};

use super::fold::{Fold, fold};
use super::page::{Page, Symbol};
use crate::model::{BootId, BudgetKey, NodeName};
use crate::plan::words::{Words, count, duration, estimate, headline, names, number, on_failure};
use crate::plan::{Action, ClusterPlan, Impact, Outage, Wave, Why};

/// Up to so many waves are shown one by one.
const MOST_WAVES: usize = 20;
/// So many waves are shown one by one where there are more.
const FIRST_WAVES: usize = 10;
/// Up to so many nodes of a wave are shown one by one.
const MOST_NODES: usize = 20;
/// Up to so many budgets are told of in one block.
const MOST_BUDGETS: usize = 4;

pub(super) fn waves(page: &mut Page<'_>, words: &Words<'_>, cluster: &ClusterPlan) {
    let by_node: BTreeMap<&NodeName, &Outage> = cluster.outages.iter().map(|outage| (&outage.node, outage)).collect();
    let outages = |waves: &[Wave]| -> Vec<&Outage> {
        waves.iter().flat_map(|wave| &wave.nodes).filter_map(|node| by_node.get(node).copied()).collect()
    };
    let single = if cluster.waves.len() > MOST_WAVES { FIRST_WAVES } else { cluster.waves.len() };
    let (first, rest) = cluster.waves.split_at(single);
    for (index, wave) in first.iter().enumerate() {
        let mut title = vec![format!("Wave {}", index + 1)];
        if !wave.begins.is_zero() {
            title.push(format!("after {}", estimate(wave.begins)));
        }
        // The sample of the first wave has only its length: that it begins at once goes without saying.
        title.push(if wave.begins.is_zero() {
            estimate(wave.lasts)
        } else {
            format!("takes {}", estimate(wave.lasts))
        });
        if wave.nodes.len() > 1 {
            title.push(count(wave.nodes.len(), "node"));
        }
        page.heading(&title.join(" · "));
        blocks(page, words, outages(std::slice::from_ref(wave)));
    }
    if let (Some(next), Some(last)) = (rest.first(), rest.last()) {
        let all = outages(rest);
        page.heading(&format!(
            "Waves {} to {} · {} to {} from the start · {}",
            number(single as u64 + 1),
            number(cluster.waves.len() as u64),
            estimate(next.begins),
            estimate(last.begins.saturating_add(last.lasts)).trim_start_matches("about "),
            count(all.len(), "node")
        ));
        blocks(page, words, all);
    }
    let placed: BTreeSet<&NodeName> = cluster.waves.iter().flat_map(|wave| &wave.nodes).collect();
    let unplaced: Vec<&Outage> = cluster.outages.iter().filter(|outage| !placed.contains(&outage.node)).collect();
    if !unplaced.is_empty() {
        page.heading("Without an estimate");
        blocks(page, words, unplaced);
    }
}

fn blocks(page: &mut Page<'_>, words: &Words<'_>, outages: Vec<&Outage>) {
    let reasons = |outage: &Outage| -> Vec<String> {
        outage.why.iter().map(|why| words.why(why, outage.table.as_ref())).collect()
    };
    let kinds = |outage: &Outage| -> Vec<String> {
        outage.why.iter().map(|why| words.why_of_many(why, outage.table.as_ref())).collect()
    };
    let folds = fold(
        outages,
        MOST_NODES,
        |outage| (headline(outage), reasons(outage)),
        |outage| (headline(outage), kinds(outage)),
    );
    for fold in folds {
        let (outages, why) = match fold {
            Fold::One(outage) => (vec![outage], reasons(outage)),
            Fold::Same(all) => {
                let why = all.first().map(|first| reasons(first)).unwrap_or_default();
                (all, why)
            }
            Fold::Alike(all) => {
                let why = all.first().map(|first| kinds(first)).unwrap_or_default();
                (all, why)
            }
        };
        block(page, words, &outages, &why);
    }
}

/// One block for one outage, or for many of which the same is said.
fn block(page: &mut Page<'_>, words: &Words<'_>, outages: &[&Outage], why: &[String]) {
    let Some(first) = outages.first() else { return };
    if outages.len() == 1 {
        page.subject(Symbol::Change, &format!("node/{}", first.node), headline(first));
    } else {
        let nodes: Vec<&NodeName> = outages.iter().map(|outage| &outage.node).collect();
        let listed = names(&nodes, page.style.names());
        page.subject(Symbol::Change, &count(outages.len(), "node"), &format!("{}: {listed}", headline(first)));
    }
    for why in why {
        page.because(why);
    }
    page.attributes(&attributes(first, outages.len() == 1));
    for line in impacts(words, outages) {
        page.particular(Symbol::Note, &line);
    }
}

/// What changes on the node, as far as it shows.
fn attributes(outage: &Outage, alone: bool) -> Vec<(&'static str, String, &'static str)> {
    let mut attributes = Vec::new();
    let reboots = outage.steps.iter().any(|step| step.verb == crate::plan::Verb::Reboot);
    if outage.why.iter().any(|why| matches!(why, Why::RebootRequired(_))) {
        attributes.push(("reboot_required", "true".to_owned(), "false"));
    }
    if reboots {
        let from = match &outage.boot_id {
            Some(id) if alone => shortened(id),
            Some(_) => "(each its own)".to_owned(),
            None => "(unknown)".to_owned(),
        };
        attributes.push(("boot_id", from, "(known after reboot)"));
    }
    let booted_at = outage.why.iter().find_map(|why| match why {
        Why::UptimeExceeded { booted_at, .. } | Why::BootedBefore { booted_at, .. } => Some(booted_at),
        Why::RebootRequired(_) | Why::KuredWants(_) | Why::OutOfService(_) | Why::ReleasedFromService => None,
        Why::LeftByRun { .. } => None,
    });
    if let (Some(booted_at), true) = (booted_at, alone) {
        attributes.push(("booted_at", booted_at.to_string(), "(known after reboot)"));
    }
    // One that a dead run has left cordoned is so already.
    let left = outage.adopts.as_ref().is_some_and(|adopts| adopts.cordoned);
    let leaves = !left && outage.steps.iter().any(|step| step.verb == crate::plan::Verb::Cordon);
    let returns = outage.steps.iter().any(|step| step.verb == crate::plan::Verb::Uncordon);
    match (leaves, returns) {
        // It comes back as it was.
        (true, true) | (false, false) => {}
        (true, false) => attributes.push(("unschedulable", "false".to_owned(), "true")),
        (false, true) => attributes.push(("unschedulable", "true".to_owned(), "false")),
    }
    attributes
}

/// Four characters tell one boot from the next.
fn shortened(id: &BootId) -> String {
    if id.as_str().len() > 8 {
        format!("\"{}…\"", id.as_str().chars().take(4).collect::<String>())
    } else {
        format!("\"{id}\"")
    }
}

/// What the outages mean for pods, added up.
fn impacts(words: &Words<'_>, outages: &[&Outage]) -> Vec<String> {
    let evicted: usize = outages.iter().map(|outage| outage.evicts.len()).sum();
    let (mut lost, mut unmanaged, mut returning) = (0_u32, 0_u32, 0_u32);
    // By budget, so that one that holds pods of many nodes is told of once.
    let mut budgets: BTreeMap<&BudgetKey, &Impact> = BTreeMap::new();
    for impact in outages.iter().flat_map(|outage| &outage.impact) {
        match impact {
            Impact::BudgetPaces { budget, .. }
            | Impact::ClearsAfterCordon { budget, .. }
            | Impact::BudgetBusy { budget, .. } => {
                budgets.entry(budget).or_insert(impact);
            }
            Impact::EmptyDirData(pods) => lost = lost.saturating_add(*pods),
            Impact::Unmanaged(pods) => unmanaged = unmanaged.saturating_add(*pods),
            Impact::MayReturn(pods) => returning = returning.saturating_add(*pods),
        }
    }
    // Budgets that hold up the drain come before those that only pace it.
    let mut ordered: Vec<&Impact> = budgets.into_values().collect();
    ordered.sort_by_key(|impact| matches!(impact, Impact::BudgetPaces { .. }));
    let mut lines: Vec<String> = ordered.iter().take(MOST_BUDGETS).map(|impact| words.impact(impact)).collect();
    if let Some(more) = ordered.len().checked_sub(MOST_BUDGETS).filter(|more| *more > 0) {
        lines.push(format!("{} more hold pods here", count(more, "disruption budget")));
    }
    if evicted > 0 {
        let evicted = format!("{} evicted", count(evicted, "pod"));
        match lines.as_mut_slice() {
            [only] => *only = format!("{evicted}; {only}"),
            _ => lines.insert(0, evicted),
        }
    }
    for (pods, impact) in [
        (lost, Impact::EmptyDirData(lost)),
        (unmanaged, Impact::Unmanaged(unmanaged)),
        (returning, Impact::MayReturn(returning)),
    ] {
        if pods > 0 {
            lines.push(words.impact(&impact));
        }
    }
    lines
}

/// What follows if something fails, once for each way in which the plan decides it.
pub(super) fn failures(page: &mut Page<'_>, cluster: &ClusterPlan) {
    let mut lines: BTreeSet<(u8, String)> = BTreeSet::new();
    for step in cluster.steps.values() {
        let otherwise = on_failure(&step.on_failure);
        match &step.action {
            Action::Drain { rule, reboots } => {
                let late = step.on_timeout.as_ref().map_or_else(|| otherwise.clone(), on_failure);
                let (at, drain) =
                    if *reboots { (0, "the drain before a reboot") } else { (2, "the drain of a node out of service") };
                lines.insert((at, format!("{drain} takes longer than {}: {late}", duration(rule.timeout))));
                lines.insert((at + 1, format!("{drain} fails: {otherwise}")));
            }
            Action::AwaitReady { timeout, .. } => {
                lines.insert((4, format!("a node is not back {} after its reboot: {otherwise}", duration(*timeout))));
            }
            // What follows their failure differs only where nothing has happened to the node yet.
            Action::Cordon | Action::Reboot { .. } | Action::Uncordon => {}
        }
    }
    if lines.is_empty() {
        return;
    }
    page.heading("If something goes wrong");
    for (_, line) in lines {
        page.line(2, &line);
    }
}
