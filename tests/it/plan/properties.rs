//! What holds for every cluster: limits are kept whatever fails, however long it takes; the same input gives the same
//! plan; every node is counted once.

use super::scene::*;
use haulout::config::{Config, OnFailure, Order};
use haulout::model::*;
use haulout::plan::{ClusterPlan, Ending, HeldUntil, Occupancy, Slot, StepId, StepState, Verb, replay, startable};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Clone)]
struct Scene {
    config: Config,
    snapshot: Snapshot,
}

fn any_node() -> impl Strategy<Value = (u8, u8, u8, u8)> {
    (0_u8..3, 0_u8..3, 0_u8..12, 0_u8..12)
}

fn scene() -> impl Strategy<Value = Scene> {
    let limits = (1_u32..5, 1_u32..4, proptest::option::of(1_u32..3), any::<bool>(), any::<bool>());
    let pods = proptest::collection::vec((0_usize..14, 0_u8..4, 0_u8..12), 0..40);
    let budgets = proptest::collection::vec((0_u8..4, 0_u32..4, 0_u32..3), 0..5);
    (proptest::collection::vec(any_node(), 1..14), pods, budgets, limits).prop_map(
        |(nodes, pods, budgets, (per_cluster, per_pool, per_zone, ordered, go_on))| {
            let mut config = config(per_cluster);
            config.out_of_service.insert(table("rack"), out_of_service(&["n00", "n01"]));
            config.protect.insert(table("keep"), protect("pool=np2"));
            let rule = config.reboots.get_mut("linux").unwrap();
            rule.max_unavailable = Limit::Count(per_pool);
            rule.max_unavailable_per_zone = per_zone.map(Limit::Count);
            if ordered {
                rule.order = vec![Order::Selector(Selector::parse("pool=np1").unwrap()), Order::Rest];
            }
            if go_on {
                rule.on_failure = OnFailure::Continue;
            }
            let count = nodes.len();
            let nodes = nodes.into_iter().enumerate().map(|(at, (pool, zone, state, report))| {
                let mut node = node(&format!("n{at:02}"), &format!("np{pool}"), &format!("z{zone}"));
                match state {
                    0 => node.readiness = Readiness::NotReady,
                    1 => node.cordon = Some(Cordon::Foreign { manager: None, since: None, mark: None }),
                    2 => node.cordon = Some(Cordon::Marked(mark("platform", Some("rack"), None))),
                    3 => node.cordon = Some(Cordon::Marked(mark("platform", Some("linux"), Some(Phase::Armed)))),
                    _ => {}
                }
                match report {
                    0 => node.report.reported_at = None,
                    1 | 2 => node = calm(node),
                    _ => {}
                }
                node
            });
            let snapshot = snapshot(nodes);
            let pods = pods.into_iter().enumerate().map(|(at, (on, app, kind))| {
                let mut pod = pod(&format!("shop/p{at}"), &format!("n{:02}", on % count), &format!("app{app}"));
                match kind {
                    0 => pod.status.ready = false,
                    1 => pod = shaped(pod, |shape| shape.owner = None),
                    2 => pod.status.phase = PodPhase::Succeeded,
                    _ => {}
                }
                pod
            });
            let budgets = budgets.into_iter().enumerate().map(|(at, (app, min, allowed))| {
                let spec = BudgetSpec::MinAvailable(Bound::Count(min));
                budget(&format!("shop/b{at}"), &format!("app{app}"), spec, 3, allowed)
            });
            Scene { config, snapshot: with_pods(snapshot, pods, budgets) }
        },
    )
}

/// What the plan says of slots, asked anew of all states: the plain form of what `Occupancy` keeps up to date.
fn naive(plan: &ClusterPlan, states: &BTreeMap<StepId, StepState>) -> Vec<StepId> {
    let mut used: BTreeMap<&Slot, i64> = BTreeMap::new();
    let touched = |id: &StepId| match states[id] {
        StepState::Running | StepState::Succeeded => true,
        StepState::Failed => id.verb != Verb::Cordon,
        StepState::Pending | StepState::Skipped => false,
    };
    for outage in &plan.outages {
        let begun = outage.steps.iter().any(touched);
        let back = outage.steps.iter().any(|id| id.verb == Verb::Uncordon && states[id] == StepState::Succeeded);
        let draining = outage.steps.iter().any(|id| id.verb == Verb::Drain && !states[id].is_final());
        for hold in &outage.holds {
            let holds = match hold.until {
                HeldUntil::OutageEnds => (begun || outage.already_out) && !back,
                HeldUntil::DrainEnds => begun && draining,
            };
            *used.entry(&hold.slot).or_default() += i64::from(holds) * i64::from(hold.units);
        }
    }
    let mut found = Vec::new();
    for outage in &plan.outages {
        if outage.steps.iter().any(|id| states[id] != StepState::Pending) {
            continue;
        }
        let waits = plan.outages.iter().any(|other| {
            outage.table.is_some()
                && other.table == outage.table
                && other.rank < outage.rank
                && other.steps.iter().any(|id| !states[id].is_final())
        });
        let needs = || outage.holds.iter().filter(|hold| !(outage.already_out && hold.until == HeldUntil::OutageEnds));
        let room = |slot: &Slot| {
            let capacity = plan.capacities[slot];
            i64::from(capacity.total) - i64::from(capacity.taken) - used.get(slot).copied().unwrap_or(0)
        };
        if !waits && needs().all(|hold| room(&hold.slot) >= i64::from(hold.units)) {
            for hold in needs() {
                *used.entry(&hold.slot).or_default() += i64::from(hold.units);
            }
            found.push(outage.steps[0].clone());
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn limits_hold_whatever_happens(scene in scene(), seeds in proptest::collection::vec((1_u64..60, 0_u8..12), 64)) {
        let plan = plan(&scene.config, &scene.snapshot);
        let cluster = &plan.clusters()[0];
        let nodes = &scene.snapshot.nodes;
        let rule = &scene.config.reboots["linux"];
        let mut out: BTreeMap<NodeName, bool> =
            nodes.values().map(|node| (node.name.clone(), node.is_out())).collect();
        let mut states: BTreeMap<StepId, StepState> =
            cluster.steps.keys().map(|id| (id.clone(), StepState::Pending)).collect();
        let mut occupancy = Occupancy::new(cluster);
        let mut wrong = Vec::new();
        let mut turn = 0;
        let ended = replay(
            cluster,
            now(),
            |_| {
                let (seconds, fate) = seeds[turn % seeds.len()];
                turn += 1;
                let ending = match fate { 0 => Ending::Fails, 1 => Ending::TimesOut, _ => Ending::Succeeds };
                (Duration::from_secs(seconds), ending)
            },
            |_, id, state| {
                states.insert(id.clone(), state);
                occupancy.set(id, state);
                // Asking more often than needed must change nothing.
                let incremental = occupancy.startable(false, now());
                if incremental != startable(cluster, &|id| states[id], false, now()) {
                    wrong.push(format!("incremental differs after {id} {state:?}"));
                }
                let new: Vec<StepId> = incremental
                    .into_iter()
                    .filter(|id| cluster.outages.iter().any(|outage| {
                        outage.steps[0] == *id && outage.steps.iter().all(|id| states[id] == StepState::Pending)
                    }))
                    .collect();
                if new != naive(cluster, &states) {
                    wrong.push(format!("{new:?} is not what fits after {id} {state:?}"));
                }
                match (id.verb, state) {
                    (Verb::Cordon, StepState::Running) => {
                        if out.insert(id.node.clone(), true) == Some(true) {
                            return;
                        }
                        let of = |belongs: &dyn Fn(&Node) -> bool| {
                            nodes.values().filter(|node| belongs(node) && out[&node.name]).count() as u32
                        };
                        let node = &nodes[&id.node];
                        let selected = |other: &Node| other.linux;
                        if of(&|_| true) > scene.config.clusters["prod"].max_unavailable.of(0)
                            || (selected(node) && of(&|other| other.pool == node.pool) > rule.max_unavailable.of(0))
                            || rule.max_unavailable_per_zone
                                .is_some_and(|limit| of(&|other| other.zone == node.zone) > limit.of(0))
                        {
                            wrong.push(format!("too many out after {id}"));
                        }
                    }
                    (Verb::Cordon, StepState::Failed) | (Verb::Uncordon, StepState::Succeeded) => {
                        out.insert(id.node.clone(), false);
                    }
                    (Verb::Reboot, StepState::Running) if !out[&id.node] => wrong.push(format!("{id} in service")),
                    _ => {}
                }
            },
        );
        prop_assert!(wrong.is_empty(), "{wrong:?}");
        // A node is left out only where its reboot may be under way, it is to be out, or giving it back failed.
        for outage in cluster.outages.iter().filter(|outage| ended.states[&outage.steps[0]] != StepState::Pending) {
            let state = |verb| outage.steps.iter().find(|id| id.verb == verb).map(|id| ended.states[id]);
            if outage.steps.len() == 5 && out[&outage.node] {
                prop_assert!(
                    state(Verb::Reboot) == Some(StepState::Failed)
                        || state(Verb::AwaitReady) == Some(StepState::Failed)
                        || state(Verb::Uncordon) == Some(StepState::Failed)
                );
            }
        }
        if !ended.states.values().any(|state| *state == StepState::Failed) {
            prop_assert!(ended.states.values().all(|state| *state == StepState::Succeeded));
        }
    }

    #[test]
    fn the_same_input_gives_the_same_plan(scene in scene()) {
        let first = plan(&scene.config, &scene.snapshot);
        let mut shuffled = scene.snapshot.clone();
        shuffled.pods.reverse();
        let budgets: Vec<Budget> = shuffled.budgets.iter().cloned().collect();
        shuffled.budgets = Budgets::new(budgets.into_iter().rev());
        // Shapes that were not shared give the same as shapes that were.
        for pod in &mut shuffled.pods {
            pod.shape = std::sync::Arc::new((*pod.shape).clone());
        }
        shuffled.sort();
        prop_assert_eq!(&first, &plan(&scene.config, &shuffled));
        let cluster = &first.clusters()[0];
        prop_assert_eq!(cluster.counts.observed as usize, scene.snapshot.nodes.len());
    }

    #[test]
    fn a_satisfied_cluster_has_an_empty_plan(count in 1_usize..20) {
        let nodes = (0..count).map(|at| calm(node(&format!("n{at:02}"), "np1", "z1")));
        let planned = plan(&config(1), &snapshot(nodes));
        prop_assert!(planned.is_empty() && planned.is_settled());
    }
}
