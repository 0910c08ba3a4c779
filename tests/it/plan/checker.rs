//! The checker refuses what the drafter would never make.

use super::scene::*;
use haulout::model::*;
use haulout::plan::{
    Action, CordonOf, Draft, HeldUntil, NodeEnd, OnFailure, Precondition, Rest, Selection, Slot, Step, StepId, Verb,
    check, draft,
};
use std::collections::BTreeMap;

fn sound() -> Draft {
    let scene = with_pods(
        snapshot([node("a", "np1", "z1"), node("b", "np1", "z2"), calm(node("c", "np1", "z2"))]),
        [pod("shop/web-1", "a", "web")],
        [budget("shop/web", "web", BudgetSpec::MaxUnavailable(Bound::Count(1)), 3, 1)],
    );
    let snapshots = BTreeMap::from([(scene.cluster.clone(), scene)]);
    draft(&config(2), &snapshots, now(), &Selection::default()).unwrap()
}

fn id(node: &str, verb: Verb) -> StepId {
    StepId { cluster: cluster_name("prod"), node: name(node), verb }
}

fn step<'a>(draft: &'a mut Draft, node: &str, verb: Verb) -> &'a mut Step {
    draft.clusters[0].plan.steps.get_mut(&id(node, verb)).unwrap()
}

/// A change to a sound draft, and a word of the note that must follow.
type Case = (fn(&mut Draft), &'static str);

#[test]
fn every_lie_is_found() {
    assert!(check(sound()).is_ok());
    let cases: &[Case] = &[
        (|d| step(d, "a", Verb::Drain).after.clear(), "right after"),
        (|d| assert!(step(d, "a", Verb::Cordon).after.insert(id("a", Verb::Uncordon))), "circle"),
        (|d| assert!(step(d, "a", Verb::Cordon).after.insert(id("z", Verb::Uncordon))), "does not exist"),
        (
            |d| {
                step(d, "a", Verb::AwaitReady).on_failure =
                    OnFailure { node: NodeEnd::SkipTo(id("a", Verb::Uncordon)), rest: Rest::Halt };
            },
            "may be under way",
        ),
        (|d| step(d, "a", Verb::Drain).on_failure.node = NodeEnd::Leave, "leaves its node"),
        (|d| step(d, "a", Verb::Drain).on_failure.node = NodeEnd::SkipTo(id("b", Verb::Uncordon)), "cannot skip"),
        (|d| step(d, "a", Verb::Reboot).requires.retain(|p| *p != Precondition::CordonOurs), "whose cordon"),
        (|d| step(d, "a", Verb::Cordon).requires.clear(), "the same"),
        (|d| step(d, "a", Verb::Reboot).action = Action::Uncordon, "something else"),
        (|d| drop(d.clusters[0].plan.steps.remove(&id("a", Verb::Drain))), "does not exist"),
        (|d| drop(d.clusters[0].plan.outages.remove(0)), "no outage"),
        (
            |d| {
                let again = d.clusters[0].plan.outages[0].clone();
                d.clusters[0].plan.outages.push(again);
            },
            "two outages",
        ),
        (|d| d.clusters[0].plan.outages[0].holds.retain(|hold| hold.slot != Slot::Cluster), "no place in the cluster"),
        (|d| d.clusters[0].plan.outages[0].holds.retain(|hold| !matches!(hold.slot, Slot::Pool(..))), "does not hold"),
        (|d| d.clusters[0].plan.outages[0].holds[0].until = HeldUntil::DrainEnds, "wrong time"),
        (|d| d.clusters[0].plan.capacities.get_mut(&Slot::Cluster).unwrap().total = 3, "places"),
        (|d| d.clusters[0].facts.cluster_limit = 1, "places"),
        (|d| d.clusters[0].plan.counts.up_to_date = 7, "sum"),
        (|d| drop(d.clusters[0].plan.waves.pop()), "waves"),
        (|d| d.clusters[0].facts.nodes.get_mut("a").unwrap().protected = true, "protected"),
        (|d| d.clusters[0].facts.nodes.get_mut("a").unwrap().cordon = CordonOf::Others, "somebody else"),
        (|d| d.clusters[0].facts.nodes.get_mut("a").unwrap().in_progress = true, "marked by a run"),
        (|d| d.clusters[0].facts.nodes.get_mut("a").unwrap().uid = Uid::new("x").unwrap(), "another object"),
        (|d| d.clusters[0].facts.nodes.get_mut("a").unwrap().ready = false, "not Ready"),
        (|d| drop(d.clusters[0].facts.nodes.remove("a")), "not observed"),
        (|d| d.clusters[0].facts.nodes.get_mut("c").unwrap().out = true, "taken"),
        (|d| d.clusters[0].facts.budgets.values_mut().for_each(|allowed| *allowed = 0), "places"),
        (|d| d.clusters[0].plan.sandbox = false, "nothing can reboot"),
        (
            |d| {
                d.clusters[0].plan.blocked.push(haulout::plan::Blocked {
                    node: name("a"),
                    table: None,
                    wanted: haulout::plan::Wanted::Reboot,
                    reasons: vec![haulout::plan::BlockedReason::NotLinux],
                });
            },
            "both in the plan and blocked",
        ),
        (
            |d| {
                let again = d.clusters[0].clone();
                d.clusters.push(again);
            },
            "twice",
        ),
        (|d| d.clusters[0].plan.outages[1].table = Some(table("linux")), ""),
    ];
    for (change, word) in cases {
        let mut draft = sound();
        change(&mut draft);
        match check(draft) {
            Ok(_) => assert!(word.is_empty(), "not found: {word}"),
            Err(error) => {
                assert!(error.notes.iter().any(|note| note.what.contains(word)), "{word}: {error}");
                assert!(!word.is_empty(), "{error}");
            }
        }
    }
}

#[test]
fn a_plan_that_never_ends_is_found() {
    // Everything adds up, but the one place in the pool is taken by a node outside the plan.
    let mut draft = sound();
    draft.clusters[0].facts.nodes.get_mut("c").unwrap().out = true;
    for (slot, capacity) in &mut draft.clusters[0].plan.capacities {
        capacity.taken = u32::from(!matches!(slot, Slot::Budget(_)));
    }
    let error = check(draft).unwrap_err();
    assert_eq!(error.notes.len(), 10, "{error}");
    assert_eq!(error.notes[0].what, "step prod/node/a/await-ready is never reached");
    assert!(error.to_string().ends_with("; and 5 more"), "{error}");
}
