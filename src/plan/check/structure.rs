//! What can be said of a plan without knowing the cluster: addresses, order, failure edges, slots, counts, waves.

use petgraph::algo::is_cyclic_directed;
use petgraph::graphmap::DiGraphMap;
use std::collections::{BTreeMap, BTreeSet};

use super::Notes;
use crate::model::NodeName;
use crate::plan::{Action, ClusterPlan, HeldUntil, NodeEnd, OnFailure, Outage, Precondition, Slot, Step, StepId, Verb};

/// The sequences of steps that an outage may consist of.
const SEQUENCES: [&[Verb]; 5] = [
    &[Verb::Cordon, Verb::Drain, Verb::Reboot, Verb::AwaitReady, Verb::Uncordon],
    &[Verb::Cordon, Verb::Drain],
    &[Verb::Drain],
    &[Verb::Uncordon],
    // The rest of a reboot that a dead run has requested.
    &[Verb::AwaitReady, Verb::Uncordon],
];

pub(super) fn check(plan: &ClusterPlan, notes: &mut Notes<'_>) {
    addresses(plan, notes);
    edges(plan, notes);
    for outage in &plan.outages {
        sequence(plan, outage, notes);
        slots(plan, outage, notes);
    }
    exclusive(plan, notes);
    counts(plan, notes);
    waves(plan, notes);
}

/// Every step has its address, and belongs to the one outage of its node.
fn addresses(plan: &ClusterPlan, notes: &mut Notes<'_>) {
    let mut owned: BTreeSet<&StepId> = BTreeSet::new();
    let mut nodes: BTreeSet<&NodeName> = BTreeSet::new();
    for outage in &plan.outages {
        notes.expect(nodes.insert(&outage.node), || format!("node {} has two outages", outage.node));
        for id in &outage.steps {
            notes.expect(owned.insert(id), || format!("step {id} is in an outage twice"));
            notes.expect(plan.steps.contains_key(id), || format!("step {id} of an outage does not exist"));
            notes.expect(id.node == outage.node, || format!("step {id} is in the outage of node {}", outage.node));
        }
    }
    for (id, step) in &plan.steps {
        notes.expect(step.id == *id, || format!("step {} is filed under {id}", step.id));
        notes.expect(id.cluster == plan.cluster, || format!("step {id} is of another cluster"));
        notes.expect(owned.contains(id), || format!("step {id} belongs to no outage"));
    }
}

/// The steps are a graph without a circle, and no edge leads to a step that does not exist.
fn edges(plan: &ClusterPlan, notes: &mut Notes<'_>) {
    let numbers: BTreeMap<&StepId, u32> = plan.steps.keys().zip(0..).collect();
    let mut graph: DiGraphMap<u32, ()> = DiGraphMap::with_capacity(numbers.len(), numbers.len());
    for (id, step) in &plan.steps {
        for before in &step.after {
            match (numbers.get(before), numbers.get(id)) {
                (Some(&from), Some(&to)) => {
                    graph.add_edge(from, to, ());
                }
                (None, _) | (_, None) => notes.push(format!("step {id} comes after {before}, which does not exist")),
            }
        }
    }
    notes.expect(!is_cyclic_directed(&graph), || "its steps come after each other in a circle".to_owned());
}

/// The steps of an outage are one of the known sequences, each after the one before it, with legal failure edges.
fn sequence(plan: &ClusterPlan, outage: &Outage, notes: &mut Notes<'_>) {
    let node = &outage.node;
    let verbs: Vec<Verb> = outage.steps.iter().map(|id| id.verb).collect();
    if !SEQUENCES.contains(&verbs.as_slice()) {
        notes.push(format!("the steps of node {node} are no known sequence"));
        return;
    }
    let reboots = verbs.contains(&Verb::Reboot);
    let adopts = outage.adopts.as_ref();
    let mut before: Option<&StepId> = None;
    let mut requested = verbs.first() == Some(&Verb::AwaitReady);
    notes.expect(!requested || adopts.is_some(), || format!("node {node} awaits a reboot that nobody requested"));
    for id in &outage.steps {
        let Some(step) = plan.steps.get(id) else { continue };
        let expected: BTreeSet<StepId> = before.cloned().into_iter().collect();
        notes.expect(step.after == expected, || format!("step {id} does not come right after the one before it"));
        before = Some(id);
        notes.expect(fits(&step.action, id.verb, reboots), || format!("step {id} does something else than its name"));
        notes.expect(step.requires.contains(&Precondition::NodeUid(outage.uid.clone())), || {
            format!("step {id} does not require that the node is the same")
        });
        cordon_precondition(step, outage, notes);
        requested |= id.verb == Verb::Reboot;
        failure(step, &step.on_failure, outage, requested, notes);
        if let Some(on_timeout) = &step.on_timeout {
            failure(step, on_timeout, outage, requested, notes);
            notes.expect(on_timeout.node == step.on_failure.node, || {
                format!("step {id} leaves its node otherwise after a timeout than after a failure")
            });
        }
        if id.verb == Verb::Drain && reboots {
            let gives_back = matches!(step.on_failure.node, NodeEnd::SkipTo(_));
            notes.expect(gives_back, || format!("step {id} leaves its node cordoned if it fails"));
        }
        if matches!(id.verb, Verb::Drain | Verb::Reboot) && reboots {
            let same_boot = step.requires.contains(&Precondition::BootId(outage.boot_id.clone()));
            notes.expect(same_boot, || format!("step {id} does not require that the node has not booted since"));
        }
    }
}

fn fits(action: &Action, verb: Verb, reboots: bool) -> bool {
    match (action, verb) {
        (Action::Cordon, Verb::Cordon)
        | (Action::Reboot { .. }, Verb::Reboot)
        | (Action::AwaitReady { .. }, Verb::AwaitReady)
        | (Action::Uncordon, Verb::Uncordon) => true,
        (Action::Drain { reboots: armed, .. }, Verb::Drain) => *armed == reboots,
        (
            Action::Cordon
            | Action::Drain { .. }
            | Action::Reboot { .. }
            | Action::AwaitReady { .. }
            | Action::Uncordon,
            Verb::Cordon | Verb::Drain | Verb::Reboot | Verb::AwaitReady | Verb::Uncordon,
        ) => false,
    }
}

/// Nothing is done to a node under somebody else's cordon.
fn cordon_precondition(step: &Step, outage: &Outage, notes: &mut Notes<'_>) {
    let id = &step.id;
    let wanted = match (id.verb, &outage.adopts) {
        (Verb::Cordon, None) => Precondition::NotCordoned,
        (Verb::Cordon, Some(adopts)) => Precondition::LeftByRun(adopts.run.clone()),
        (Verb::Drain | Verb::Reboot | Verb::Uncordon, _) => Precondition::CordonOurs,
        (Verb::AwaitReady, _) if outage.steps.first() == Some(id) => Precondition::CordonOurs,
        (Verb::AwaitReady, _) => return,
    };

    notes.expect(step.requires.contains(&wanted), || format!("step {id} does not ask whose cordon is on the node"));
}

/// A failure may skip forward to the uncordon of the same outage, but never once the reboot may have been requested.
fn failure(step: &Step, follows: &OnFailure, outage: &Outage, requested: bool, notes: &mut Notes<'_>) {
    let id = &step.id;
    match &follows.node {
        NodeEnd::Leave => {}
        NodeEnd::SkipTo(target) => {
            notes.expect(!requested, || format!("step {id} skips to {target} although a reboot may be under way"));
            let forward = outage.steps.contains(target) && target.verb > id.verb;
            notes.expect(forward && target.verb == Verb::Uncordon, || format!("step {id} cannot skip to {target}"));
        }
    }
}

/// Every slot that is held exists, is large enough, and is held for as long as its kind asks.
fn slots(plan: &ClusterPlan, outage: &Outage, notes: &mut Notes<'_>) {
    let node = &outage.node;
    let mut held = BTreeSet::new();
    for hold in &outage.holds {
        notes.expect(held.insert(&hold.slot), || format!("node {node} holds {:?} twice", hold.slot));
        notes.expect(hold.units > 0, || format!("node {node} holds nothing of {:?}", hold.slot));
        let (until, per_node) = match &hold.slot {
            Slot::Cluster | Slot::Pool(..) | Slot::Zone(..) | Slot::ControlPlane => (HeldUntil::OutageEnds, true),
            Slot::Budget(_) => (HeldUntil::DrainEnds, false),
        };
        notes.expect(hold.until == until, || format!("node {node} holds {:?} for the wrong time", hold.slot));
        notes.expect(!per_node || hold.units == 1, || {
            format!("node {node} holds {} units of {:?}", hold.units, hold.slot)
        });
        let Some(capacity) = plan.capacities.get(&hold.slot) else {
            notes.push(format!("node {node} holds {:?}, which has no capacity", hold.slot));
            continue;
        };
        notes.expect(hold.units <= capacity.total || outage.already_out, || {
            format!("node {node} can never have its part of {:?}", hold.slot)
        });
    }
    notes.expect(held.contains(&Slot::Cluster), || format!("node {node} holds no place in the cluster"));
}

/// No node is both in the plan and blocked or unknown.
fn exclusive(plan: &ClusterPlan, notes: &mut Notes<'_>) {
    let planned: BTreeSet<&NodeName> = plan.outages.iter().map(|outage| &outage.node).collect();
    let unknown: BTreeSet<&NodeName> = plan.unknown.iter().map(|unknown| &unknown.node).collect();
    for blocked in &plan.blocked {
        let node = &blocked.node;
        notes.expect(!planned.contains(node), || format!("node {node} is both in the plan and blocked"));
        notes.expect(!unknown.contains(node), || format!("node {node} is both blocked and unknown"));
        notes.expect(!blocked.reasons.is_empty(), || format!("node {node} is blocked without a reason"));
    }
    for node in &unknown {
        notes.expect(!planned.contains(*node), || format!("node {node} is both in the plan and unknown"));
    }
}

/// The counts sum to what was observed, and say what the plan says.
fn counts(plan: &ClusterPlan, notes: &mut Notes<'_>) {
    let counts = &plan.counts;
    let parts = [
        counts.reboot,
        counts.drain,
        counts.release,
        counts.blocked,
        counts.unknown,
        counts.up_to_date,
        counts.out_of_service,
        counts.protected,
        counts.not_selected,
        counts.excluded,
    ];
    let sum: u64 = parts.iter().map(|part| u64::from(*part)).sum();
    notes.expect(sum == u64::from(counts.observed), || {
        format!("its counts sum to {sum}, but {} nodes were observed", counts.observed)
    });
    let of = |verb: Verb| {
        let first = plan.outages.iter().filter(|outage| outage.steps.iter().any(|id| id.verb == verb)).count();
        u64::try_from(first).unwrap_or(u64::MAX)
    };
    let (reboots, drains) = (of(Verb::Reboot), of(Verb::Drain));
    let all = u64::try_from(plan.outages.len()).unwrap_or(u64::MAX);
    let expected = [
        ("to reboot", counts.reboot, reboots),
        ("to drain", counts.drain, drains.saturating_sub(reboots)),
        ("to release", counts.release, all.saturating_sub(drains)),
        ("unknown", counts.unknown, u64::try_from(plan.unknown.len()).unwrap_or(u64::MAX)),
    ];
    for (what, said, is) in expected {
        notes.expect(u64::from(said) == is, || format!("it counts {said} nodes {what}, but there are {is}"));
    }
}

/// Every outage is in one wave.
fn waves(plan: &ClusterPlan, notes: &mut Notes<'_>) {
    let mut begun: Vec<&NodeName> = plan.waves.iter().flat_map(|wave| &wave.nodes).collect();
    let mut planned: Vec<&NodeName> = plan.outages.iter().map(|outage| &outage.node).collect();
    begun.sort();
    planned.sort();
    notes.expect(begun == planned, || "its waves do not hold every outage once".to_owned());
}
