//! What dead runs have left: finished at the phase that the cluster proves, and never begun anew before that is settled.

use super::scene::*;
use haulout::model::*;
use haulout::plan::{
    Adopts, BlockedReason, Draft, LeftBy, Notice, Outage, Plan, Precondition, Selection, Slot, Standing, Verb, Why,
    check, draft,
};
use std::collections::BTreeMap;

fn boot(text: &str) -> BootId {
    BootId::new(text).unwrap()
}

/// `a`, left in a phase by `run-1`, which was to end the boot `boot-before` of a node that is on `on` now.
fn scene(phase: Phase, on: &str) -> Snapshot {
    let mut node = left(node("a", "np1", "z1"), phase);
    node.boot_id = Some(boot(on));
    node.report.boot_id = Some(boot(on));
    snapshot([node])
}

fn only(plan: &Plan) -> &Outage {
    let cluster = &plan.clusters()[0];
    assert!(cluster.blocked.is_empty(), "{:?}", cluster.blocked);
    assert_eq!(cluster.outages.len(), 1);
    &cluster.outages[0]
}

fn verbs(outage: &Outage) -> Vec<Verb> {
    outage.steps.iter().map(|step| step.verb).collect()
}

fn adopts(requested: bool) -> Option<Adopts> {
    let run = RunId::new("run-1").unwrap();
    Some(Adopts { run, requested, cordoned: true, reason: Foreign::new("linux-image") })
}

const WHOLE: [Verb; 5] = [Verb::Cordon, Verb::Drain, Verb::Reboot, Verb::AwaitReady, Verb::Uncordon];
const FINISH: [Verb; 2] = [Verb::AwaitReady, Verb::Uncordon];

fn standing(scene: &Snapshot) -> Standing {
    let planned = plan(&config(1), scene);
    let cluster = &planned.clusters()[0];
    assert!(cluster.steps.is_empty());
    match cluster.blocked[0].reasons[..] {
        [BlockedReason::MarkedByRun { standing, .. }] => standing,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn before_the_request_all_is_done_anew_under_the_new_run() {
    for phase in [Phase::Cordoned, Phase::Armed, Phase::Drained] {
        let planned = plan(&config(1), &scene(phase, "boot-now"));
        let outage = only(&planned);
        assert_eq!(verbs(outage), WHOLE);
        assert_eq!(outage.adopts, adopts(false));
        assert_eq!(outage.boot_id, Some(boot("boot-now")));
        assert!(outage.already_out, "it holds its places from the start");
        let cordon = &planned.clusters()[0].steps[&outage.steps[0]];
        assert!(cordon.requires.contains(&Precondition::LeftByRun(RunId::new("run-1").unwrap())));
        assert!(!cordon.requires.contains(&Precondition::NotCordoned));
        let since = at("2026-11-20T00:00:00Z");
        let run = RunId::new("run-1").unwrap();
        assert_eq!(outage.why[0], Why::LeftByRun { run, phase: Some(phase), since });
        assert_eq!(outage.why[1], Why::RebootRequired(Foreign::new("linux-image")));
    }
}

#[test]
fn after_the_request_there_is_only_the_proof_of_it() {
    // Whether the boot has changed or not, and whatever the report asks for: it may be of before the reboot.
    for (phase, on) in [(Phase::Reboot, "boot-before"), (Phase::Reboot, "boot-now"), (Phase::Returned, "boot-now")] {
        for calmed in [false, true] {
            let mut scene = scene(phase, on);
            if calmed {
                scene.nodes = scene.nodes.into_values().map(|node| (node.name.clone(), calm(node))).collect();
            }
            let planned = plan(&config(1), &scene);
            let outage = only(&planned);
            assert_eq!(verbs(outage), FINISH);
            assert_eq!((outage.boot_id.clone(), outage.table.clone()), (Some(boot("boot-before")), None));
            assert_eq!(outage.adopts, adopts(true));
            assert_eq!(planned.clusters()[0].counts.release, 1);
        }
    }
    // A node in mid-boot is not Ready, which is what is awaited.
    let mut dark = scene(Phase::Reboot, "boot-before");
    dark.nodes.values_mut().for_each(|node| node.readiness = Readiness::Unknown);
    assert_eq!(verbs(only(&plan(&config(1), &dark))), FINISH);
    // Of a mark that does not say which boot was to end, nothing can be proved.
    for phase in [Phase::Reboot, Phase::Returned] {
        let mut unknown = scene(phase, "boot-now");
        for node in unknown.nodes.values_mut() {
            let mark = Mark { reboots: None, ..node.mark.clone().unwrap() };
            node.cordon = Some(Cordon::Marked(mark));
        }
        assert_eq!(standing(&unknown), Standing::BootUnknown);
    }
}

#[test]
fn what_nobody_wants_any_more_is_given_back() {
    let mut calmed = scene(Phase::Drained, "boot-now");
    calmed.nodes = calmed.nodes.into_values().map(|node| (node.name.clone(), calm(node))).collect();
    let planned = plan(&config(1), &calmed);
    assert_eq!(verbs(only(&planned)), [Verb::Uncordon]);
    assert!(matches!(only(&planned).why[..], [Why::LeftByRun { .. }]));
    // So is what is wanted and cannot be: the drain of the dead run would have ended so.
    let bare = shaped(pod("shop/bare", "a", "x"), |shape| shape.owner = None);
    let planned = plan(&config(1), &with_pods(scene(Phase::Armed, "boot-now"), [bare], []));
    assert_eq!(verbs(only(&planned)), [Verb::Uncordon]);
    assert!(only(&planned).evicts.is_empty() && only(&planned).table.is_none());
    // What the report says is not known, but the cordon is.
    let mut silent = scene(Phase::Armed, "boot-now");
    silent.nodes.values_mut().for_each(|node| node.report.reported_at = None);
    assert_eq!(verbs(only(&plan(&config(1), &silent))), [Verb::Uncordon]);
}

#[test]
fn what_goes_out_of_service_stays_cordoned() {
    let mut with_table = config(1);
    with_table.out_of_service.insert(table("rack"), out_of_service(&["a"]));
    let planned = plan(&with_table, &scene(Phase::Cordoned, "boot-now"));
    assert_eq!(verbs(only(&planned)), [Verb::Cordon, Verb::Drain]);
    // But a reboot that is under way is seen to its end first.
    assert_eq!(verbs(only(&plan(&with_table, &scene(Phase::Reboot, "boot-now")))), FINISH);
}

#[test]
fn only_the_dead_are_taken_over_from() {
    let with = |held: Option<HeldLock>| Snapshot { lock: held, ..scene(Phase::Armed, "boot-now") };
    // A live lock that names the run, or one from a clock that runs ahead.
    for ago in [0, 59, -30] {
        assert_eq!(standing(&with(Some(lock("run-1", ago)))), Standing::Live, "{ago}");
    }
    // Silence, another holder, no holder.
    for held in [Some(lock("run-1", 60)), Some(lock("run-2", 1)), None] {
        assert_eq!(verbs(only(&plan(&config(1), &with(held)))), WHOLE);
    }
    let mut blind = with(None);
    blind.gaps.push(Gap { subject: GapSubject::Lock, why: Foreign::new("forbidden"), remedy: "get".into() });
    assert_eq!(standing(&blind), Standing::LockUnknown);
    let mut other = with(None);
    for node in other.nodes.values_mut() {
        node.cordon = Some(Cordon::Marked(mark("another", Some("linux"), Some(Phase::Armed))));
    }
    assert_eq!(standing(&other), Standing::OtherConfig);
}

#[test]
fn a_cordon_of_a_person_is_theirs_whatever_marks_are_under_it() {
    let mut scene = scene(Phase::Reboot, "boot-before");
    for node in scene.nodes.values_mut() {
        node.cordon = Some(Cordon::Foreign { manager: None, since: None, mark: node.mark.clone() });
    }
    let planned = plan(&config(1), &scene);
    assert!(matches!(planned.clusters()[0].blocked[0].reasons[..], [BlockedReason::ForeignCordon { .. }]));
    // Where a person uncordoned it, the marks are all that is left: they go, with whatever could still reboot it.
    for node in scene.nodes.values_mut() {
        node.cordon = None;
    }
    assert_eq!(verbs(only(&plan(&config(1), &scene))), [Verb::Uncordon]);
    for node in scene.nodes.values_mut() {
        node.mark.as_mut().unwrap().phase = Some(Phase::Armed);
    }
    let planned = plan(&config(1), &scene);
    assert_eq!(verbs(only(&planned)), WHOLE);
    assert!(!only(&planned).already_out);
}

#[test]
fn no_node_left_cordoned_goes_unnamed() {
    let mut with_table = config(1);
    with_table.protect.insert(table("keep"), protect("pool=np1"));
    let run = RunId::new("run-1").unwrap();
    let notice = Notice::LeftAlone { node: name("a"), run, cordoned: true };
    let planned = plan(&with_table, &scene(Phase::Armed, "boot-now"));
    assert_eq!(planned.clusters()[0].notices, std::slice::from_ref(&notice));
    let mut two = scene(Phase::Armed, "boot-now");
    two.nodes.insert(name("b"), node("b", "np1", "z1"));
    let selection = Selection { exclude: vec!["a".to_owned()], ..Selection::default() };
    let planned = try_plan(&config(2), &two, &selection).unwrap();
    assert_eq!(planned.clusters()[0].notices, [notice]);
}

#[test]
fn places_are_held_and_never_counted_twice() {
    // Both places of the cluster are taken by what was left, and a third node wants one.
    let mut reboots = config(2);
    reboots.reboots.get_mut("linux").unwrap().max_unavailable = Limit::Count(2);
    let nodes = [
        left(node("a", "np1", "z1"), Phase::Armed),
        left(node("b", "np1", "z1"), Phase::Reboot),
        node("c", "np1", "z1"),
    ];
    let planned = plan(&reboots, &snapshot(nodes.clone()));
    let cluster = &planned.clusters()[0];
    assert_eq!((cluster.counts.reboot, cluster.counts.release, cluster.counts.blocked), (2, 1, 0));
    assert_eq!((cluster.capacities[&Slot::Cluster].total, cluster.capacities[&Slot::Cluster].taken), (2, 0));
    assert_eq!(cluster.waves[0].nodes.len(), 2, "what was left begins at once, although every place is taken");
    // Even where more are out than may be, and although its table would put another one first.
    let rule = reboots.reboots.get_mut("linux").unwrap();
    rule.max_unavailable = Limit::ONE;
    rule.order = vec![
        haulout::config::Order::Selector(Selector::parse("kubernetes.io/hostname=c").unwrap()),
        haulout::config::Order::Rest,
    ];
    let planned = plan(&reboots, &snapshot(nodes));
    assert_eq!(planned.clusters()[0].outages.len(), 3);
    assert!(
        planned.clusters()[0].outages.iter().filter(|outage| outage.adopts.is_some()).all(|outage| outage.rank == 0)
    );
}

#[test]
fn the_checker_takes_these_shapes_and_no_others() {
    let made = |phase, on| -> Draft {
        let scene = scene(phase, on);
        let snapshots = BTreeMap::from([(scene.cluster.clone(), scene)]);
        draft(&config(1), &snapshots, now(), &Selection::default()).unwrap()
    };
    type Case = (fn(&mut Draft), &'static str);
    let requested: &[Case] = &[
        (|_| {}, ""),
        (|d| d.clusters[0].plan.outages[0].adopts = None, "nobody requested"),
        (|d| d.clusters[0].facts.nodes.get_mut("a").unwrap().left_by = None, "no dead run"),
        (|d| left_by(d).requested = false, "do not fit"),
        (|d| left_by(d).boot_id = None, "which boot"),
        (|d| left_by(d).boot_id = Some(boot("x")), "another boot"),
        (|d| left_by(d).run = RunId::new("run-9").unwrap(), "said wrongly"),
        (
            |d| d.clusters[0].facts.nodes.get_mut("a").unwrap().cordon = haulout::plan::CordonOf::Nobody,
            "not as its first step",
        ),
    ];
    let before: &[Case] = &[
        (|_| {}, ""),
        (|d| d.clusters[0].plan.outages[0].adopts = None, "marked by a run"),
        (|d| left_by(d).requested = true, "do not fit"),
        (|d| d.clusters[0].plan.outages[0].already_out = false, "out already"),
        (
            |d| {
                let id = d.clusters[0].plan.outages[0].steps[0].clone();
                let step = d.clusters[0].plan.steps.get_mut(&id).unwrap();
                for requires in &mut step.requires {
                    if matches!(requires, Precondition::LeftByRun(_)) {
                        *requires = Precondition::NotCordoned;
                    }
                }
            },
            "whose cordon",
        ),
    ];
    for (cases, phase, on) in [(requested, Phase::Reboot, "boot-before"), (before, Phase::Armed, "boot-now")] {
        for (change, word) in cases {
            let mut draft = made(phase, on);
            change(&mut draft);
            match check(draft) {
                Ok(_) => assert!(word.is_empty(), "not found: {word}"),
                Err(error) => {
                    assert!(!word.is_empty(), "{error}");
                    assert!(error.notes.iter().any(|note| note.what.contains(word)), "{word}: {error}");
                }
            }
        }
    }
}

fn left_by(draft: &mut Draft) -> &mut LeftBy {
    draft.clusters[0].facts.nodes.get_mut("a").unwrap().left_by.as_mut().unwrap()
}

#[test]
fn status_says_how_each_run_stands_and_what_to_do_next() {
    use haulout::render::{TerminalStyle, terminal};
    let style = TerminalStyle { timezone: jiff::tz::TimeZone::UTC, ..TerminalStyle::default() };
    let mut scene = scene(Phase::Armed, "boot-now");
    let mut out_of_service = node("b", "np1", "z1");
    out_of_service.mark = Some(mark("platform", Some("rack"), None));
    out_of_service.cordon = out_of_service.mark.clone().map(Cordon::Marked);
    let mut foreign = left(node("c", "np1", "z1"), Phase::Drained);
    foreign.cordon = Some(Cordon::Foreign { manager: None, since: None, mark: foreign.mark.clone() });
    let mut others = node("d", "np1", "z1");
    others.mark = Some(mark("other \u{1b}[31m", Some("linux"), Some(Phase::Cordoned)));
    others.cordon = others.mark.clone().map(Cordon::Marked);
    for node in [out_of_service, foreign, others] {
        scene.nodes.insert(node.name.clone(), node);
    }
    let reboot_pod = |on: &str, ready| {
        let mut pod = shaped(pod(&format!("haulout-system/reboot-{on}"), on, "x"), |shape| {
            shape.ours = true;
            shape.labels =
                Labels::from([(LABEL_COMPONENT.into(), REBOOT_COMPONENT.into()), (LABEL_RUN.into(), "run-1".into())]);
        });
        pod.status.ready = ready;
        pod
    };
    let mut scene = with_pods(scene, [reboot_pod("a", true), reboot_pod("z", false)], []);
    let say = |scene: &Snapshot| terminal::status(&Foreign::new("platform"), now(), [scene], &style);
    assert_eq!(
        say(&scene),
        "Cluster prod · sandbox\n  lock: free\n  \
         ! node/a is cordoned: run run-1 of config platform, since 2026-11-20 00:00 UTC, phase armed\n      \
         ! its reboot pod is armed\n  \
         ! node/b is out of service: run run-1 of config platform, since 2026-11-20 00:00 UTC\n  \
         ! node/c is cordoned by somebody else, and carries marks: run run-1 of config platform, since 2026-11-20 00:00 UTC, phase drained\n  \
         ! node/d is cordoned: run run-1 of config other \\u{1b}[31m, since 2026-11-20 00:00 UTC, phase cordoned\n  \
         ! reboot pod reboot-z on node z is not armed yet\n  \
         next: apply config other \\u{1b}[31m, which finishes what run run-1 has begun\n  \
         next: ask who cordoned c; haulout takes no cordon off that is not its own\n  \
         next: haulout apply finishes what run run-1 has begun (on the machine that it ran on, haulout apply --resume); haulout status abandon run-1 gives it up\n  \
         next: haulout status abandon run-1 removes what that run has left\n"
    );
    scene.lock = Some(lock("run-1", 5));
    let text = say(&scene);
    assert!(text.contains("lock: held by run run-1, which seems to be alive; last renewed 5s ago"), "{text}");
    assert!(
        text.contains("next: wait for run run-1; if its process is dead, haulout apply --resume goes on"),
        "{text}"
    );
    scene.lock = Some(lock("run-1", 300));
    assert!(say(&scene).contains("silent, and so most likely dead"));
}
