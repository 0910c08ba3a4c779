//! What a plan looks like: steps, edges, order, waves, selection.

use super::scene::*;
use haulout::config::{OnFailure, Order};
use haulout::model::*;
use haulout::plan::{
    BlockedReason, NodeEnd, Occupancy, PlanError, Precondition, Rest, Selection, Slot, StepState, Verb, after_failure,
    startable,
};
use std::collections::BTreeMap;
use std::time::Duration;

fn verbs(plan: &haulout::plan::Plan) -> Vec<String> {
    let cluster = &plan.clusters()[0];
    cluster.outages.iter().flat_map(|outage| outage.steps.iter().map(ToString::to_string)).collect()
}

#[test]
fn nothing_to_do_is_an_empty_plan() {
    let planned = plan(&config(1), &snapshot([calm(node("a", "np1", "z1"))]));
    assert!(planned.is_empty() && planned.is_settled());
    assert_eq!(planned.clusters()[0].counts.up_to_date, 1);
    assert!(planned.clusters()[0].capacities.is_empty());
}

#[test]
fn a_reboot_has_five_steps() {
    let planned = plan(
        &config(1),
        &with_pods(
            snapshot([node("a", "np1", "z1")]),
            [pod("shop/web-1", "a", "web")],
            [budget("shop/web", "web", BudgetSpec::MaxUnavailable(Bound::Count(1)), 3, 1)],
        ),
    );
    let cluster = &planned.clusters()[0];
    assert_eq!(
        verbs(&planned),
        [
            "prod/node/a/cordon",
            "prod/node/a/drain",
            "prod/node/a/reboot",
            "prod/node/a/await-ready",
            "prod/node/a/uncordon"
        ]
    );
    let outage = &cluster.outages[0];
    assert_eq!(outage.evicts.len(), 1);
    assert_eq!(outage.holds.len(), 3, "cluster, pool, budget");
    let step = |at: usize| &cluster.steps[&outage.steps[at]];
    let uncordon = outage.steps[4].clone();
    assert!(step(0).requires.contains(&Precondition::NotCordoned));
    assert_eq!(step(0).on_failure.node, NodeEnd::Leave);
    assert_eq!(step(1).on_failure.node, NodeEnd::SkipTo(uncordon.clone()));
    assert_eq!(step(1).on_failure.rest, Rest::Halt);
    assert_eq!(step(1).on_timeout.as_ref().unwrap().rest, Rest::Continue);
    assert_eq!(step(2).on_failure.node, NodeEnd::Leave);
    assert_eq!(cluster.waves.len(), 1);

    let failed = after_failure(cluster, &outage.steps[1], true);
    assert_eq!(failed.skip, outage.steps[2..4]);
    assert_eq!((failed.next, failed.halt, failed.left_cordoned), (Some(uncordon), false, false));
    let lost = after_failure(cluster, &outage.steps[3], true);
    assert_eq!((lost.skip.len(), lost.next, lost.halt, lost.left_cordoned), (1, None, true, true));
    let refused = after_failure(cluster, &outage.steps[0], false);
    assert_eq!((refused.skip.len(), refused.next, refused.left_cordoned), (4, None, false));
}

#[test]
fn a_halt_gives_nodes_back_that_were_not_yet_rebooted() {
    let planned = plan(&config(1), &snapshot([node("a", "np1", "z1"), node("b", "np2", "z1")]));
    let cluster = &planned.clusters()[0];
    let mut states: BTreeMap<_, _> = cluster.steps.keys().map(|id| (id.clone(), StepState::Pending)).collect();
    let ask = |states: &BTreeMap<_, StepState>, halted| -> Vec<String> {
        startable(cluster, &|id| states[id], halted, now()).iter().map(ToString::to_string).collect()
    };
    assert_eq!(ask(&states, false), ["prod/node/a/cordon"]);
    assert!(ask(&states, true).is_empty());
    let steps = &cluster.outages[0].steps;
    for id in &steps[..2] {
        states.insert(id.clone(), StepState::Succeeded);
    }
    assert_eq!(ask(&states, false), ["prod/node/a/reboot"]);
    assert_eq!(ask(&states, true), ["prod/node/a/uncordon"]);
    states.insert(steps[2].clone(), StepState::Running);
    assert!(ask(&states, true).is_empty());
    states.insert(steps[2].clone(), StepState::Succeeded);
    assert_eq!(ask(&states, true), ["prod/node/a/await-ready"]);
    // What is left cordoned keeps its slots, and the run goes no further.
    states.insert(steps[3].clone(), StepState::Failed);
    states.insert(steps[4].clone(), StepState::Skipped);
    assert!(ask(&states, false).is_empty());
    let mut occupancy = Occupancy::new(cluster);
    for (id, state) in &states {
        occupancy.set(id, *state);
    }
    let _ = occupancy.startable(false, now());
    assert_eq!(occupancy.lacks(&name("b")), Some(&Slot::Cluster));
}

#[test]
fn order_finishes_each_entry_before_the_next() {
    let mut ordered = config(9);
    let table = ordered.reboots.get_mut("linux").unwrap();
    table.order = vec![Order::Rest, Order::Selector(Selector::parse("pool=late").unwrap())];
    table.max_unavailable = Limit::Count(9);
    let planned = plan(&ordered, &snapshot([node("a", "late", "z1"), node("b", "np1", "z1"), node("c", "np1", "z1")]));
    let waves: Vec<Vec<&str>> =
        planned.clusters()[0].waves.iter().map(|wave| wave.nodes.iter().map(NodeName::as_str).collect()).collect();
    assert_eq!(waves, [vec!["b", "c"], vec!["a"]]);
}

#[test]
fn estimates_come_from_the_last_reboot() {
    let mut known = node("a", "np1", "z1");
    known.last_reboot = Some(LastReboot {
        at: at("2026-10-22T00:00:00Z"),
        run: RunId::new("run-0").unwrap(),
        boot_id: BootId::new("former").unwrap(),
        reason: Foreign::new("x"),
        drain_seconds: 33,
        boot_seconds: 77,
    });
    let planned = plan(&config(1), &with_pods(snapshot([known]), [pod("shop/web-1", "a", "web")], []));
    let cluster = &planned.clusters()[0];
    let of = |at: usize| cluster.steps[&cluster.outages[0].steps[at]].estimate;
    assert_eq!((of(1), of(3)), (Duration::from_secs(33), Duration::from_secs(87)));
}

#[test]
fn out_of_service_comes_and_goes() {
    let mut wanting = config(2);
    wanting.out_of_service.insert(table("rack"), out_of_service(&["a"]));
    let fresh = plan(&wanting, &snapshot([node("a", "np1", "z1"), node("b", "np2", "z1")]));
    assert_eq!(verbs(&fresh)[..2], ["prod/node/a/cordon", "prod/node/a/drain"]);
    assert_eq!(fresh.clusters()[0].counts.reboot, 1);
    // With one place in the cluster, the node out of service keeps it, and nothing else will ever start.
    let mut tight = wanting.clone();
    tight.clusters.get_mut("prod").unwrap().max_unavailable = Limit::ONE;
    let planned = plan(&tight, &snapshot([node("a", "np1", "z1"), node("b", "np2", "z1")]));
    assert_eq!(
        planned.clusters()[0].blocked[0].reasons,
        [BlockedReason::LimitFilled { slot: Slot::Cluster, total: 1, out: vec![name("a")] }]
    );

    let mut settled = node("a", "np1", "z1");
    settled.cordon = Some(Cordon::Marked(mark("platform", Some("rack"), None)));
    settled.mark = Some(mark("platform", Some("rack"), None));
    let done = plan(&wanting, &snapshot([settled.clone()]));
    assert!(done.is_empty() && done.is_settled());
    assert_eq!(done.clusters()[0].counts.out_of_service, 1);
    let refilled = plan(&wanting, &with_pods(snapshot([settled.clone()]), [pod("shop/web-1", "a", "web")], []));
    assert_eq!(verbs(&refilled), ["prod/node/a/drain"]);
    let released = plan(&config(1), &snapshot([settled, node("b", "np1", "z1")]));
    assert_eq!(verbs(&released)[..2], ["prod/node/a/uncordon", "prod/node/b/cordon"]);
    assert_eq!(released.clusters()[0].waves.len(), 2, "b waits for the place that a gives back");
}

#[test]
fn selections_match_or_are_errors() {
    let scene = snapshot([node("a1", "np1", "z1"), node("a2", "np1", "z1"), node("b1", "np2", "z1")]);
    let choose = |target: &[&str], exclude: &[&str]| {
        let own = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        try_plan(&config(9), &scene, &Selection { target: own(target), exclude: own(exclude), ..Selection::default() })
    };
    let nodes = |target: &[&str], exclude: &[&str]| -> Vec<String> {
        let plan = choose(target, exclude).unwrap();
        let cluster = &plan.clusters()[0];
        assert_eq!(cluster.counts.excluded as usize, 3 - cluster.outages.len());
        cluster.outages.iter().map(|outage| outage.node.to_string()).collect()
    };
    assert_eq!(nodes(&[], &[]), ["a1", "a2", "b1"]);
    assert_eq!(nodes(&["a1"], &[]), ["a1"]);
    assert_eq!(nodes(&["node/a1", "prod/node/b1"], &[]), ["a1", "b1"]);
    assert_eq!(nodes(&["pool/np1"], &["a2"]), ["a1"]);
    assert_eq!(nodes(&[], &["prod/pool/np1"]), ["b1"]);
    for wrong in ["a3", "pool/np3", "stage/node/a1", "a/b/c/d", ""] {
        assert!(matches!(choose(&[wrong], &[]), Err(PlanError::NoMatch { .. })), "{wrong}");
        assert!(matches!(choose(&[], &[wrong]), Err(PlanError::NoMatch { .. })), "{wrong}");
    }
    let Err(PlanError::NoMatch { similar, .. }) = choose(&["a3"], &[]) else { panic!() };
    assert_eq!(similar, ["a1", "a2", "b1"].map(String::from)[..similar.len()]);
}

#[test]
fn clusters_follow_each_other() {
    let mut fleet = config(1);
    let mut first = cluster(1);
    fleet.clusters.get_mut("prod").unwrap().after = [cluster_name("staging")].into();
    fleet.clusters.insert(cluster_name("staging"), first.clone());
    let mut snapshots = BTreeMap::new();
    for text in ["prod", "staging"] {
        let mut scene = snapshot([node("a", "np1", "z1")]);
        scene.cluster = cluster_name(text);
        snapshots.insert(scene.cluster.clone(), scene);
    }
    let planned = haulout::plan::plan(&fleet, &snapshots, now(), &Selection::default()).unwrap();
    let order: Vec<&str> = planned.clusters().iter().map(|cluster| cluster.cluster.as_str()).collect();
    assert_eq!(order, ["staging", "prod"]);
    assert_eq!(planned.clusters()[1].after, [cluster_name("staging")]);
    first.after = [cluster_name("prod")].into();
    fleet.clusters.insert(cluster_name("staging"), first);
    let circle = haulout::plan::plan(&fleet, &snapshots, now(), &Selection::default()).unwrap_err();
    assert!(matches!(circle, PlanError::ClusterCycle { .. }));
    let only = Selection { cluster: vec!["prod".into()], ..Selection::default() };
    assert_eq!(haulout::plan::plan(&fleet, &snapshots, now(), &only).unwrap().clusters().len(), 1);
}

#[test]
fn a_table_may_let_the_rest_go_on() {
    let mut going = config(1);
    going.reboots.get_mut("linux").unwrap().on_failure = OnFailure::Continue;
    let planned = plan(&going, &snapshot([node("a", "np1", "z1")]));
    let cluster = &planned.clusters()[0];
    let reboot = cluster.outages[0].steps.iter().find(|id| id.verb == Verb::Reboot).unwrap();
    assert!(!after_failure(cluster, reboot, false).halt);
}
