//! The plan played through, with nodes counted where they are and not by the slots that the plan says they hold.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

use super::Notes;
use crate::model::{BudgetKey, NodeName, TableName};
use crate::plan::facts::{Facts, NodeFacts};
use crate::plan::replay::{Ending, replay};
use crate::plan::{ClusterPlan, Outage, Slot, StepId, StepState, Verb};

pub(super) fn check(plan: &ClusterPlan, facts: &Facts, now: Timestamp, notes: &mut Notes<'_>) {
    let estimate = |id: &StepId| plan.steps.get(id).map_or(Duration::ZERO, |step| step.estimate);
    // Once as the waves have it, and once with everything taking equally long, which orders the ends differently.
    play(plan, facts, now, estimate, notes);
    play(plan, facts, now, |_| Duration::from_secs(1), notes);
}

fn play(plan: &ClusterPlan, facts: &Facts, now: Timestamp, lasts: impl Fn(&StepId) -> Duration, notes: &mut Notes<'_>) {
    let mut counted = Counted::new(plan, facts);
    let mut ranks = Ranks::new(plan);
    let mut wrong: Vec<String> = Vec::new();
    let ends = replay(
        plan,
        now,
        |id| (lasts(id), Ending::Succeeds),
        |_, id, state| {
            counted.see(id, state, &mut wrong);
            ranks.see(id, state, &mut wrong);
        },
    );
    wrong.sort();
    wrong.dedup();
    for what in wrong {
        notes.push(what);
    }
    for (id, state) in &ends.states {
        notes.expect(*state == StepState::Succeeded, || format!("step {id} is never reached"));
    }
}

/// The outages that have not ended, by table and rank.
struct Ranks<'a> {
    of_node: BTreeMap<&'a NodeName, &'a Outage>,
    open: BTreeMap<&'a TableName, BTreeMap<u32, usize>>,
}

impl<'a> Ranks<'a> {
    fn new(plan: &'a ClusterPlan) -> Self {
        let mut open: BTreeMap<&TableName, BTreeMap<u32, usize>> = BTreeMap::new();
        for outage in &plan.outages {
            if let Some(table) = &outage.table {
                *open.entry(table).or_default().entry(outage.rank).or_default() += 1;
            }
        }
        Self { of_node: plan.outages.iter().map(|outage| (&outage.node, outage)).collect(), open }
    }

    fn see(&mut self, id: &StepId, state: StepState, wrong: &mut Vec<String>) {
        let Some(outage) = self.of_node.get(&id.node) else { return };
        let Some(ranks) = outage.table.as_ref().and_then(|table| self.open.get_mut(table)) else { return };
        if state == StepState::Running && outage.steps.first() == Some(id) {
            if ranks.range(..outage.rank).any(|(_, open)| *open > 0) {
                wrong.push(format!("node {} begins before those that its table puts first have ended", id.node));
            }
        } else if state == StepState::Succeeded
            && outage.steps.last() == Some(id)
            && let Some(open) = ranks.get_mut(&outage.rank)
        {
            *open = open.saturating_sub(1);
        }
    }
}

/// How many nodes are out in a place, and how many may be.
struct Place {
    what: String,
    limit: u32,
    out: u32,
}

/// The nodes that are out, counted by place.
struct Counted<'a> {
    facts: &'a Facts,
    places: Vec<Place>,
    /// For each node, the places that count it.
    of_node: BTreeMap<&'a NodeName, Vec<usize>>,
    out: BTreeMap<&'a NodeName, bool>,
    /// For each node, what its drain takes of budgets.
    takes: BTreeMap<&'a NodeName, Vec<(&'a BudgetKey, u32)>>,
    budgets: BTreeMap<&'a BudgetKey, u32>,
}

impl<'a> Counted<'a> {
    fn new(plan: &'a ClusterPlan, facts: &'a Facts) -> Self {
        type Belongs<'a> = Box<dyn Fn(&NodeFacts) -> bool + 'a>;
        let mut limits: Vec<(String, u32, Belongs<'a>)> = vec![
            ("the cluster".to_owned(), facts.cluster_limit, Box::new(|_| true)),
            ("the control plane".to_owned(), 1, Box::new(|node| node.control_plane)),
        ];
        for ((table, pool), limit) in &facts.pool_limits {
            limits.push((format!("pool {pool} under reboot.{table}"), *limit, Box::new(move |n| n.pool == *pool)));
        }
        for ((table, zone), limit) in &facts.zone_limits {
            limits.push((format!("zone {zone} under reboot.{table}"), *limit, Box::new(move |n| n.zone == *zone)));
        }
        let mut places: Vec<Place> =
            limits.iter().map(|(what, limit, _)| Place { what: what.clone(), limit: *limit, out: 0 }).collect();
        let mut of_node = BTreeMap::new();
        for (name, node) in &facts.nodes {
            let belongs: Vec<usize> = (0..limits.len()).filter(|&at| (limits[at].2)(node)).collect();
            if node.out {
                for &at in &belongs {
                    places[at].out += 1;
                }
            }
            of_node.insert(name, belongs);
        }
        let takes = plan.outages.iter().map(|outage| {
            let budgets = outage.holds.iter().filter_map(|hold| match &hold.slot {
                Slot::Budget(key) => Some((key, hold.units)),
                Slot::Cluster | Slot::Pool(..) | Slot::Zone(..) | Slot::ControlPlane => None,
            });
            (&outage.node, budgets.collect())
        });
        Self {
            facts,
            places,
            of_node,
            out: facts.nodes.iter().map(|(name, node)| (name, node.out)).collect(),
            takes: takes.collect(),
            budgets: BTreeMap::new(),
        }
    }

    fn see(&mut self, id: &StepId, state: StepState, wrong: &mut Vec<String>) {
        match (id.verb, state) {
            (Verb::Cordon, StepState::Running) => self.leaves(&id.node, wrong),
            (Verb::Uncordon, StepState::Succeeded) => self.returns(&id.node),
            (Verb::Drain, StepState::Running) => self.drains(&id.node, true, wrong),
            (Verb::Drain, StepState::Succeeded) => self.drains(&id.node, false, wrong),
            (Verb::Reboot, StepState::Running) => {
                if self.out.get(&id.node) != Some(&true) {
                    wrong.push(format!("node {} is rebooted while it is in service", id.node));
                }
            }
            (Verb::Cordon | Verb::Drain | Verb::Reboot | Verb::AwaitReady | Verb::Uncordon, _) => {}
        }
    }

    fn leaves(&mut self, node: &NodeName, wrong: &mut Vec<String>) {
        let Some(out) = self.out.get_mut(node) else { return };
        if std::mem::replace(out, true) {
            return;
        }
        for &at in self.of_node.get(node).into_iter().flatten() {
            let place = &mut self.places[at];
            place.out += 1;
            if place.out > place.limit {
                wrong.push(format!("more than {} nodes are out in {}", place.limit, place.what));
            }
        }
    }

    fn returns(&mut self, node: &NodeName) {
        let Some(out) = self.out.get_mut(node) else { return };
        if !std::mem::replace(out, false) {
            return;
        }
        for &at in self.of_node.get(node).into_iter().flatten() {
            self.places[at].out = self.places[at].out.saturating_sub(1);
        }
    }

    fn drains(&mut self, node: &NodeName, begins: bool, wrong: &mut Vec<String>) {
        for &(budget, units) in self.takes.get(node).into_iter().flatten() {
            let taken = self.budgets.entry(budget).or_default();
            if !begins {
                *taken = taken.saturating_sub(units);
                continue;
            }
            *taken += units;
            let allowed = self.facts.budgets.get(budget).copied().unwrap_or(0);
            if *taken > allowed {
                wrong.push(format!("drains ask budget {budget} for more than the {allowed} that it allows"));
            }
        }
    }
}
