//! What can be said of a plan against what was observed: identities, whose nodes they are, limits, budgets.

use std::collections::{BTreeMap, BTreeSet};

use super::Notes;
use crate::model::{BootId, NodeName};
use crate::plan::facts::{CordonOf, Facts, NodeFacts};
use crate::plan::{Adopts, ClusterPlan, Outage, Slot, Verb};

pub(super) fn check(plan: &ClusterPlan, facts: &Facts, notes: &mut Notes<'_>) {
    let planned: BTreeSet<&NodeName> = plan.outages.iter().map(|outage| &outage.node).collect();
    for outage in &plan.outages {
        match facts.nodes.get(&outage.node) {
            Some(node) => {
                identity(plan, outage, node, notes);
                holds(outage, node, facts, notes);
            }
            None => notes.push(format!("node {} was not observed", outage.node)),
        }
    }
    notes.expect(usize::try_from(plan.counts.observed) == Ok(facts.nodes.len()), || {
        format!("it counts {} nodes, but {} were observed", plan.counts.observed, facts.nodes.len())
    });
    let blocked = plan.blocked.iter().filter(|blocked| facts.nodes.contains_key(&blocked.node)).count();
    notes.expect(usize::try_from(plan.counts.blocked) == Ok(blocked), || {
        format!("it counts {} blocked nodes, but there are {blocked}", plan.counts.blocked)
    });
    capacities(plan, facts, &planned, notes);
}

/// The node is the one that was observed, and the plan may act on it.
fn identity(plan: &ClusterPlan, outage: &Outage, node: &NodeFacts, notes: &mut Notes<'_>) {
    let name = &outage.node;
    notes.expect(outage.uid == node.uid, || format!("node {name} is another object than was observed"));
    notes.expect(outage.pool == node.pool && outage.zone == node.zone, || {
        format!("node {name} is said to be in another pool or zone than was observed")
    });
    notes.expect(outage.already_out == node.out, || format!("whether node {name} is out already is said wrongly"));
    notes.expect(!node.protected, || format!("node {name} is protected"));
    notes.expect(node.cordon != CordonOf::Others, || format!("node {name} is cordoned by somebody else"));
    let first = outage.steps.first().map(|id| id.verb);
    let cordon_fits = match &outage.adopts {
        None => {
            notes.expect(!node.in_progress, || format!("node {name} is marked by a run"));
            let expected = if first == Some(Verb::Cordon) { CordonOf::Nobody } else { CordonOf::Us };
            node.cordon == expected
        }
        // Without a cordon, marks are all that is left of the run.
        Some(_) if first == Some(Verb::AwaitReady) => node.cordon == CordonOf::Us,
        Some(_) => true,
    };
    notes.expect(cordon_fits, || format!("the cordon of node {name} is not as its first step needs it"));
    let before = match &outage.adopts {
        Some(adopts) => adopted(outage, adopts, node, notes),
        None => node.boot_id.as_ref(),
    };
    notes.expect(outage.boot_id.as_ref() == before, || format!("node {name} was observed on another boot"));
    if outage.steps.iter().any(|id| id.verb == Verb::Reboot) {
        notes.expect(node.ready, || format!("node {name} is to be rebooted but is not Ready"));
        notes.expect(plan.sandbox || plan.node_pod.is_some(), || format!("nothing can reboot node {name}"));
    }
}

/// A node is taken over only from a run that is known to be dead, and by the shape that fits how far that run came:
/// once the reboot was requested, nothing but the proof of it. Returns the boot that the outage has to speak of.
fn adopted<'n>(outage: &Outage, adopts: &Adopts, node: &'n NodeFacts, notes: &mut Notes<'_>) -> Option<&'n BootId> {
    let name = &outage.node;
    let Some(left) = &node.left_by else {
        notes.push(format!("node {name} is taken over although no dead run of this config left it"));
        return node.boot_id.as_ref();
    };
    let cordoned = node.cordon == CordonOf::Us;
    notes.expect(adopts.run == left.run && adopts.requested == left.requested && adopts.cordoned == cordoned, || {
        format!("what run {} left on node {name} is said wrongly", left.run)
    });
    let fits = match outage.steps.first().map(|id| id.verb) {
        Some(Verb::Cordon) => !left.requested,
        Some(Verb::AwaitReady) => left.requested,
        Some(Verb::Uncordon) => !left.requested || !cordoned,
        Some(Verb::Drain | Verb::Reboot) | None => false,
    };
    notes.expect(fits, || format!("the steps of node {name} do not fit how far run {} came", left.run));
    let awaits = outage.steps.first().is_some_and(|id| id.verb == Verb::AwaitReady);
    notes.expect(!awaits || left.boot_id.is_some(), || format!("nothing says which boot of node {name} is to end"));
    if awaits { left.boot_id.as_ref() } else { node.boot_id.as_ref() }
}

/// The slots that every outage must hold, by where its node is.
fn holds(outage: &Outage, node: &NodeFacts, facts: &Facts, notes: &mut Notes<'_>) {
    let held: BTreeSet<&Slot> = outage.holds.iter().map(|hold| &hold.slot).collect();
    let mut wanted = vec![Slot::Cluster];
    for (table, pool) in facts.pool_limits.keys().filter(|(_, pool)| *pool == node.pool) {
        wanted.push(Slot::Pool(table.clone(), pool.clone()));
    }
    for (table, zone) in facts.zone_limits.keys().filter(|(_, zone)| *zone == node.zone) {
        wanted.push(Slot::Zone(table.clone(), zone.clone()));
    }
    if node.control_plane {
        wanted.push(Slot::ControlPlane);
    }
    for slot in &wanted {
        notes.expect(held.contains(slot), || format!("node {} does not hold {slot:?}", outage.node));
    }
    for slot in held {
        let per_node = match slot {
            Slot::Cluster | Slot::Pool(..) | Slot::Zone(..) | Slot::ControlPlane => true,
            Slot::Budget(_) => false,
        };
        notes.expect(!per_node || wanted.contains(slot), || format!("node {} holds {slot:?} for nothing", outage.node));
    }
}

/// Slots are as large as the config says, and as much of them is taken as nodes outside the plan are out.
fn capacities(plan: &ClusterPlan, facts: &Facts, planned: &BTreeSet<&NodeName>, notes: &mut Notes<'_>) {
    let outside: Vec<&NodeFacts> =
        facts.nodes.iter().filter(|(name, node)| node.out && !planned.contains(name)).map(|(_, node)| node).collect();
    let taken = |belongs: &dyn Fn(&NodeFacts) -> bool| outside.iter().filter(|node| belongs(node)).count();
    let used: BTreeMap<&Slot, ()> =
        plan.outages.iter().flat_map(|outage| &outage.holds).map(|hold| (&hold.slot, ())).collect();
    for (slot, capacity) in &plan.capacities {
        notes.expect(used.contains_key(slot), || format!("{slot:?} has a capacity but nobody holds it"));
        let (total, out) = match slot {
            Slot::Cluster => (Some(facts.cluster_limit), taken(&|_| true)),
            Slot::Pool(table, pool) => {
                (facts.pool_limits.get(&(table.clone(), pool.clone())).copied(), taken(&|node| node.pool == *pool))
            }
            Slot::Zone(table, zone) => {
                (facts.zone_limits.get(&(table.clone(), zone.clone())).copied(), taken(&|node| node.zone == *zone))
            }
            Slot::ControlPlane => (Some(1), taken(&|node| node.control_plane)),
            Slot::Budget(budget) => (facts.budgets.get(budget).copied(), 0),
        };
        notes.expect(total == Some(capacity.total), || {
            format!("{slot:?} is said to have {} places, but has {total:?}", capacity.total)
        });
        notes.expect(usize::try_from(capacity.taken) == Ok(out), || {
            format!("{slot:?} is said to have {} places taken, but {out} are", capacity.taken)
        });
    }
}
