//! What people see: each case is a file below `tests/cases/render`. `INSTA_UPDATE=always` writes them anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use haulout::model::{Foreign, Gap, GapSubject, Phase, PodName, RunId, sanitise};
use haulout::plan::{
    Adopts, BlockedReason, BudgetProof, ClusterPlan, Counts, Impact, Kured, Notice, Slot, Standing, StepState,
    UnknownReason, Verb, Wanted, Why,
};
use haulout::render::progress::{self, Progress};
use haulout::render::{TerminalStyle, terminal, words};
use haulout::run::{
    Conclusion, Event, EventKind, Evidence, FailureKind, LeftAs, NodeOutcome, Remaining, StepFailure, StopCause,
    Summary, Wait, WaitFor,
};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

use crate::plans::{
    Done, add, at, blocked, budget, cluster, empty, node, now, pod, required, step, table, unknown, wave,
};

fn style() -> TerminalStyle {
    TerminalStyle { timezone: TimeZone::get("Europe/Paris").unwrap(), ..TerminalStyle::default() }
}

fn shown(clusters: Vec<ClusterPlan>, style: &TerminalStyle) -> String {
    let clusters: Vec<Arc<ClusterPlan>> = clusters.into_iter().map(Arc::new).collect();
    terminal::clusters(&Foreign::new("platform-prod"), now(), &clusters, style)
}

/// Compares with the case file. Escapes are shown, so that the files are plain text.
fn case(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../cases/render",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!(name, text.replace('\u{1b}', "␛")) });
}

fn linux() -> Why {
    required("/run/reboot-required is present: linux-image-6.8.0-1021-azure")
}

/// The plan of the design's sample, with one of everything.
fn sample() -> ClusterPlan {
    let mut plan = empty("prod-weu");
    let first = add(&mut plan, "aks-np1-000003", Done::Reboot, vec![linux()]);
    plan.outages[first].evicts = (0..14).map(|n| pod(&format!("shop/web-{n}"))).collect();
    plan.outages[first].impact =
        vec![Impact::BudgetPaces { budget: budget("shop/web"), allowed: 1, expected: 3, here: 1 }];
    let second = add(
        &mut plan,
        "aks-np1-000004",
        Done::Reboot,
        vec![
            required(""),
            Why::KuredWants(at("2026-11-22T03:00:00Z")),
            Why::UptimeExceeded { booted_at: at("2026-10-01T10:00:00Z"), limit: Duration::from_secs(30 * 86_400) },
            Why::BootedBefore { booted_at: at("2026-10-01T10:00:00Z"), wanted: at("2026-11-20T00:00:00Z") },
        ],
    );
    plan.outages[second].evicts = vec![pod("db/pg-0"), pod("shop/web-20")];
    plan.outages[second].impact = vec![
        Impact::BudgetPaces { budget: budget("shop/web"), allowed: 1, expected: 30, here: 4 },
        Impact::ClearsAfterCordon { budget: budget("db/pg-primary"), operator: "CloudNativePG" },
        Impact::BudgetBusy { budget: budget("mq/rabbit"), healthy: 2, desired: 2 },
        Impact::EmptyDirData(2),
        Impact::Unmanaged(1),
        Impact::MayReturn(3),
    ];
    add(&mut plan, "aks-np1-000005", Done::Drain, vec![Why::OutOfService(Foreign::new("disk replacement CHG0042"))]);
    add(&mut plan, "aks-np1-000006", Done::Release, vec![Why::ReleasedFromService]);
    wave(&mut plan, &["aks-np1-000003"]);
    wave(&mut plan, &["aks-np1-000004", "aks-np1-000005", "aks-np1-000006"]);
    plan.blocked.push(blocked(
        "aks-np1-000007",
        Wanted::Reboot,
        vec![BlockedReason::BudgetNever {
            budget: budget("db/pg"),
            proof: BudgetProof::Arithmetic { desired: 3, expected: 3 },
            pods: vec![pod("db/pg-0")],
        }],
    ));
    plan.unknown.push(unknown("aks-np1-000008", UnknownReason::NoReport));
    plan.counts = Counts {
        observed: 12,
        reboot: 2,
        drain: 1,
        release: 1,
        blocked: 1,
        unknown: 1,
        up_to_date: 2,
        out_of_service: 1,
        protected: 1,
        not_selected: 1,
        excluded: 1,
    };
    plan
}

#[test]
fn a_plan_with_one_of_everything() {
    case("everything", &shown(vec![sample()], &style()));
}

#[test]
fn colours_are_only_added() {
    let coloured = shown(vec![sample()], &TerminalStyle { color: true, ..style() });
    let mut plain = coloured.clone();
    for code in ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[35m", "\u{1b}[36m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, shown(vec![sample()], &style()));
    case("colours", &coloured);
}

fn all_reasons() -> Vec<BlockedReason> {
    let never = |proof| BlockedReason::BudgetNever { budget: budget("db/pg"), proof, pods: vec![pod("db/pg-0")] };
    let filled = |slot, total, out: &[&str]| BlockedReason::LimitFilled {
        slot,
        total,
        out: out.iter().map(|name| node(name)).collect(),
    };
    let pool = |name| Slot::Pool(table("linux"), haulout::model::PoolName::new(name).unwrap());
    let zone = |name| Slot::Zone(table("linux"), haulout::model::ZoneName::new(name).unwrap());
    vec![
        never(BudgetProof::Arithmetic { desired: 3, expected: 3 }),
        never(BudgetProof::Arithmetic { desired: 5, expected: 1 }),
        never(BudgetProof::SyncFailed),
        never(BudgetProof::NothingExpected),
        never(BudgetProof::NeitherField),
        never(BudgetProof::NothingHealthy),
        BlockedReason::TwoBudgets { pod: pod("shop/web-1"), budgets: vec![budget("shop/a"), budget("shop/b")] },
        BlockedReason::UnmanagedPods(vec![pod("shop/bare")]),
        BlockedReason::UnmanagedPods((0..9).map(|n| pod(&format!("shop/bare-{n}"))).collect()),
        BlockedReason::EmptyDirData(vec![pod("shop/cache")]),
        BlockedReason::EmptyDirData((0..9).map(|n| pod(&format!("shop/cache-{n}"))).collect()),
        BlockedReason::ForeignCordon {
            manager: Some(Foreign::new("kubectl-cordon")),
            since: Some(at("2026-11-20T09:00:00Z")),
        },
        BlockedReason::ForeignCordon { manager: None, since: None },
        BlockedReason::MarkedByRun {
            run: RunId::new("r-7f3a").unwrap(),
            config: Foreign::new("platform-prod"),
            standing: Standing::Live,
        },
        BlockedReason::HeldByKured(kured(None, None)),
        BlockedReason::HeldByKured(kured(Some("2026-11-23T12:40:00Z"), Some("2026-11-23T13:10:00Z"))),
        filled(Slot::Cluster, 3, &["a", "b", "c"]),
        filled(pool("np1"), 1, &["a"]),
        filled(pool(""), 1, &["a", "b", "c", "d", "e", "f"]),
        filled(zone("zone-1"), 1, &["a"]),
        filled(zone(""), 2, &["a", "b"]),
        filled(Slot::ControlPlane, 1, &["cp-1"]),
        filled(Slot::Budget(budget("db/pg")), 1, &[]),
        BlockedReason::RebootDidNotClear {
            at: at("2026-11-22T21:00:00Z"),
            reason: Foreign::new("linux-image-6.8.0-1021-azure"),
        },
        BlockedReason::RebootDidNotClear { at: at("2026-11-23T04:00:00Z"), reason: Foreign::default() },
        BlockedReason::NoNodePod,
        BlockedReason::NoSuchNode { similar: vec![node("aks-np1-000003"), node("aks-np1-000004")] },
        BlockedReason::NoSuchNode { similar: Vec::new() },
        BlockedReason::EtcdQuorum { healthy: Some(1) },
        BlockedReason::EtcdQuorum { healthy: None },
        BlockedReason::NotLinux,
        BlockedReason::NotReady,
        BlockedReason::ServingRequestPending { request: PodName::new("csr-abcde").unwrap(), sound: true },
        BlockedReason::ServingRequestPending { request: PodName::new("csr-forged").unwrap(), sound: false },
        BlockedReason::CannotJudge(GapSubject::Pods),
        BlockedReason::CannotJudge(GapSubject::Budgets),
    ]
}

#[test]
fn every_blocked_reason_says_what_would_unblock_it() {
    // Three clusters' worth, so that none is folded.
    let clusters: Vec<ClusterPlan> = all_reasons()
        .chunks(16)
        .enumerate()
        .map(|(index, reasons)| {
            let mut plan = empty(&format!("part-{index}"));
            for (number, reason) in reasons.iter().enumerate() {
                plan.blocked.push(blocked(&format!("n{number:02}"), Wanted::Reboot, vec![reason.clone()]));
            }
            plan
        })
        .collect();
    case("blocked", &shown(clusters, &style()));
    let mut plan = empty("wanted");
    plan.blocked.push(blocked(
        "out",
        Wanted::OutOfService,
        vec![BlockedReason::UnmanagedPods(vec![pod("a/b")]), BlockedReason::EmptyDirData(vec![pod("a/c")])],
    ));
    plan.blocked.push(blocked(
        "back",
        Wanted::Release,
        vec![BlockedReason::ForeignCordon { manager: None, since: None }],
    ));
    plan.counts = Counts { observed: 3, blocked: 2, not_selected: 1, ..Counts::default() };
    case("blocked-only", &shown(vec![plan], &style()));
}

#[test]
fn many_blocked_and_unknown_nodes_are_folded() {
    let mut plan = empty("large");
    for n in 0..400 {
        let name = format!("n{n:04}");
        let reason = match n {
            0..100 => BlockedReason::NotReady,
            // Each its own pod: alike, never the same.
            100..390 => BlockedReason::UnmanagedPods(vec![pod(&format!("shop/bare-{n}"))]),
            _ => BlockedReason::NoNodePod,
        };
        plan.blocked.push(blocked(&name, Wanted::Reboot, vec![reason]));
        let at = at("2026-11-20T00:00:00Z").checked_add(jiff::SignedDuration::from_secs(n)).unwrap();
        let why = if n < 300 { UnknownReason::NoReport } else { UnknownReason::Stale { reported_at: Some(at) } };
        plan.unknown.push(unknown(&format!("u{n:04}"), why));
    }
    plan.counts = Counts { observed: 800, blocked: 400, unknown: 400, ..Counts::default() };
    case("folded-blocked", &shown(vec![plan], &style()));
}

#[test]
fn every_unknown_reason_says_what_would_tell() {
    let reasons = [
        UnknownReason::NoReport,
        UnknownReason::OtherBoot,
        UnknownReason::Stale { reported_at: Some(at("2026-11-20T09:00:00Z")) },
        UnknownReason::Stale { reported_at: None },
        UnknownReason::NoBootTime,
        UnknownReason::Unreadable,
        UnknownReason::FromTheFuture { reported_at: at("2027-01-01T00:00:00Z") },
    ];
    // Two clusters, so that none is folded.
    let clusters: Vec<ClusterPlan> = reasons
        .chunks(5)
        .enumerate()
        .map(|(index, reasons)| {
            let mut plan = empty(&format!("part-{index}"));
            for (number, why) in reasons.iter().enumerate() {
                plan.unknown.push(unknown(&format!("n{number}"), why.clone()));
            }
            plan.counts = Counts { observed: 5, unknown: u32::try_from(reasons.len()).unwrap(), ..Counts::default() };
            plan
        })
        .collect();
    case("unknown", &shown(clusters, &style()));
}

fn kured(since: Option<&str>, until: Option<&str>) -> Kured {
    let namespace = haulout::model::Namespace::new("kube-system").unwrap();
    Kured { daemon_set: Foreign::new("kured"), namespace, since: since.map(at), until: until.map(at) }
}

#[test]
fn what_a_dead_run_left_says_whose_it_was_and_what_becomes_of_it() {
    let run = || RunId::new("20261123-120000-7f3a00").unwrap();
    let left = |phase| Why::LeftByRun { run: run(), phase: Some(phase), since: at("2026-11-23T11:00:00Z") };
    let mut plan = empty("prod-weu");
    let anew = add(&mut plan, "n1", Done::Reboot, vec![left(Phase::Armed), linux()]);
    let finish = add(&mut plan, "n2", Done::Release, vec![left(Phase::Reboot)]);
    let uncordon = plan.outages[finish].steps[0].clone();
    plan.outages[finish].steps.insert(0, haulout::plan::StepId { verb: Verb::AwaitReady, ..uncordon });
    let release = add(&mut plan, "n3", Done::Release, vec![left(Phase::Drained)]);
    for (outage, requested) in [(anew, false), (finish, true), (release, false)] {
        let reason = Foreign::default();
        plan.outages[outage].adopts = Some(Adopts { run: run(), requested, cordoned: true, reason });
    }
    plan.notices.push(Notice::LeftAlone { node: node("n4"), run: run(), cordoned: true });
    plan.notices.push(Notice::LeftAlone { node: node("n5"), run: run(), cordoned: false });
    wave(&mut plan, &["n1", "n2", "n3"]);
    plan.counts = Counts { observed: 5, reboot: 1, release: 2, protected: 2, ..Counts::default() };
    case("adopted", &shown(vec![plan], &style()));
}

#[test]
fn notices_and_gaps_are_shown() {
    let mut plan = empty("prod-weu");
    plan.notices = vec![
        Notice::MatchesNothing { kind: "reboot", table: table("gpu") },
        Notice::Expired { table: table("rack-7"), until: at("2026-11-01T06:00:00Z") },
        Notice::LockHeld { holder: Foreign::new("r-7f3a"), renewed_at: at("2026-11-23T13:02:00Z") },
        Notice::KuredAtWork { node: node("a"), kured: kured(Some("2026-11-23T12:40:00Z"), None), exists: true },
        Notice::KuredAtWork { node: node("gone"), kured: kured(None, None), exists: false },
        Notice::KuredUnreadable { daemon_set: Foreign::new("kured"), namespace: kured(None, None).namespace },
        Notice::RebootDeferred { node: node("a"), table: table("rack-7") },
        Notice::RebootDeferred { node: node("b"), table: table("rack-7") },
        Notice::RebootDeferred { node: node("c"), table: table("rack-8") },
        Notice::RebootAfterRelease { node: node("d"), table: table("linux") },
        Notice::RebootAfterRelease { node: node("e"), table: table("linux") },
        Notice::RebootAfterRelease { node: node("f"), table: table("other") },
        Notice::ProtectedFromService { node: node("g"), protect: table("payments"), table: table("rack-7") },
        Notice::ProtectedFromService { node: node("h"), protect: table("payments"), table: table("rack-7") },
        Notice::ProtectedFromService { node: node("h"), protect: table("payments"), table: table("rack-8") },
    ];
    plan.gaps = vec![
        Gap {
            subject: GapSubject::Lock,
            why: Foreign::new("leases.coordination.k8s.io \"haulout\" is forbidden"),
            remedy: "allow get on leases in haulout-system".to_owned(),
        },
        Gap { subject: GapSubject::Version, why: Foreign::default(), remedy: String::new() },
    ];
    plan.version = Foreign::default();
    plan.counts = Counts { observed: 4, up_to_date: 3, out_of_service: 1, ..Counts::default() };
    case("notices", &shown(vec![plan], &style()));
}

#[test]
fn no_changes_is_said_only_when_it_is_known() {
    let settled = |observed, up_to_date| {
        let mut plan = empty("prod-weu");
        plan.counts = Counts { observed, up_to_date, not_selected: observed - up_to_date, ..Counts::default() };
        plan
    };
    let mut out = String::new();
    let mut say = |what: &str, clusters: Vec<ClusterPlan>| {
        let text = shown(clusters, &style());
        out.push_str(&format!("{what}: {}\n", text.lines().last().unwrap()));
    };
    say("all up to date", vec![settled(12, 12)]);
    say("one", vec![settled(3, 1)]);
    say("none selected", vec![settled(3, 0)]);
    let mut other = settled(5_000, 4_000);
    other.cluster = cluster("other");
    other.observed_at = at("2026-11-22T13:00:00Z");
    say("two clusters", vec![settled(12, 12), other]);
    let mut plan = settled(12, 12);
    plan.gaps.push(Gap { subject: GapSubject::Objects, why: Foreign::new("3 nodes"), remedy: String::new() });
    say("unreadable objects", vec![plan]);
    let mut plan = settled(12, 12);
    plan.gaps.push(Gap { subject: GapSubject::Version, why: Foreign::new("403"), remedy: String::new() });
    say("unreadable version", vec![plan]);
    let mut plan = settled(12, 0);
    plan.unknown = (0..12).map(|n| unknown(&format!("n{n}"), UnknownReason::NoReport)).collect();
    say("unknown", vec![plan.clone()]);
    plan.blocked.push(blocked("x", Wanted::Reboot, vec![BlockedReason::NotReady]));
    say("unknown and blocked", vec![plan.clone()]);
    plan.unknown.clear();
    say("blocked", vec![plan]);
    case("nothing-to-do", &out);
}

#[test]
fn three_clusters_come_in_their_order() {
    let mut first = sample();
    first.cluster = cluster("staging-weu");
    let mut second = empty("prod-weu");
    second.after = vec![cluster("staging-weu")];
    let mut third = empty("prod-neu");
    third.after = vec![cluster("staging-weu"), cluster("prod-weu")];
    third.sandbox = true;
    third.via = Foreign::new("sandbox");
    add(&mut third, "n1", Done::Release, vec![Why::ReleasedFromService]);
    wave(&mut third, &["n1"]);
    second.counts = Counts { observed: 4, up_to_date: 4, ..Counts::default() };
    third.counts = Counts { observed: 1, release: 1, ..Counts::default() };
    case("three-clusters", &shown(vec![first, second, third], &style()));
}

#[test]
fn a_large_wave_is_folded() {
    let mut plan = empty("large");
    let mut names = Vec::new();
    for n in 0..300 {
        let name = format!("n{n:04}");
        let why = match n {
            0..200 => linux(),
            200 => required("only here"),
            _ => Why::UptimeExceeded {
                booted_at: at("2026-10-01T10:00:00Z").checked_sub(jiff::SignedDuration::from_hours(n)).unwrap(),
                limit: Duration::from_secs(30 * 86_400),
            },
        };
        let index = add(&mut plan, &name, Done::Reboot, vec![why]);
        plan.outages[index].evicts = (0..30).map(|p| pod(&format!("shop/web-{n}-{p}"))).collect();
        plan.outages[index].impact = vec![
            Impact::BudgetPaces { budget: budget(&format!("shop/web-{}", n % 7)), allowed: 1, expected: 3, here: 1 },
            Impact::EmptyDirData(1),
        ];
        names.push(name);
    }
    wave(&mut plan, &names.iter().map(String::as_str).collect::<Vec<_>>());
    plan.counts = Counts { observed: 300, reboot: 300, ..Counts::default() };
    case("folded-wave", &shown(vec![plan], &style()));
}

#[test]
fn five_thousand_nodes_one_at_a_time_stay_readable() {
    let mut plan = empty("large");
    for n in 0..5_000 {
        let name = format!("n{n:04}");
        add(&mut plan, &name, Done::Reboot, vec![linux()]);
        wave(&mut plan, &[&name]);
    }
    plan.counts = Counts { observed: 5_000, reboot: 5_000, ..Counts::default() };
    let text = shown(vec![plan], &style());
    assert!(text.lines().count() < 120, "{}", text.lines().count());
    case("folded-waves", &text);
}

fn event(seconds: i64, kind: EventKind) -> Event {
    let at = at("2026-11-23T11:00:00Z").checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap();
    Event { seq: 1, at, kind }
}

fn waits() -> Vec<WaitFor> {
    let said = || Foreign::new("said so");
    vec![
        WaitFor::Slot(Slot::Cluster),
        WaitFor::Slot(Slot::Pool(table("linux"), haulout::model::PoolName::new("np1").unwrap())),
        WaitFor::Slot(Slot::Zone(table("linux"), haulout::model::ZoneName::new("zone-1").unwrap())),
        WaitFor::Slot(Slot::ControlPlane),
        WaitFor::Slot(Slot::Budget(budget("shop/web"))),
        WaitFor::Budget { budget: budget("shop/web"), healthy: 2, expected: 3, desired: 2, pods: 1 },
        WaitFor::Budget { budget: budget("shop/web"), healthy: 2, expected: 3, desired: 2, pods: 4 },
        WaitFor::Budget { budget: budget("shop/web"), healthy: 3, expected: 3, desired: 2, pods: 1 },
        WaitFor::PodsToEnd(vec![pod("shop/web-1")]),
        WaitFor::PodsToEnd((0..9).map(|n| pod(&format!("shop/web-{n}"))).collect()),
        WaitFor::Webhook { pod: pod("shop/web-1"), message: said() },
        WaitFor::ApiServer(said()),
        WaitFor::ApiServer(Foreign::default()),
        WaitFor::VolumesToDetach(1),
        WaitFor::RebootPod(said()),
        WaitFor::RebootPodToEnd,
        WaitFor::Boot,
        WaitFor::NodeReady(said()),
        WaitFor::Settle,
        WaitFor::Report,
        WaitFor::Lock(Foreign::new("r-7f3a")),
    ]
}

#[test]
fn every_wait_says_what_for_and_how_long() {
    let lines: Vec<String> = waits()
        .into_iter()
        .map(|what| {
            let wait = Wait { what, since: at("2026-11-23T11:00:00Z"), until: at("2026-11-23T11:15:00Z") };
            words::wait(&wait, at("2026-11-23T11:03:00Z"))
        })
        .collect();
    case("waits", &lines.join("\n"));
}

fn story() -> Vec<Event> {
    let drain = || step("prod", "a", Verb::Drain);
    let web = |seconds| EventKind::StepWaiting {
        step: drain(),
        wait: Wait {
            what: WaitFor::Budget { budget: budget("shop/web"), healthy: 2, expected: 3, desired: 2, pods: 1 },
            since: event(seconds, EventKind::Interrupted).at,
            until: event(900, EventKind::Interrupted).at,
        },
    };
    vec![
        event(
            0,
            EventKind::RunStarted {
                run: RunId::new("r-7f3a").unwrap(),
                config: Foreign::new("platform-prod"),
                version: "0.1.0".to_owned(),
            },
        ),
        event(0, EventKind::LockTaken { cluster: cluster("prod") }),
        event(1, EventKind::StepStarted { step: step("prod", "a", Verb::Cordon) }),
        event(1, EventKind::Intended { step: None, intent: haulout::run::Intent::Cordon }),
        event(2, EventKind::StepSucceeded { step: step("prod", "a", Verb::Cordon), evidence: Evidence::Cordoned }),
        event(2, EventKind::StepStarted { step: drain() }),
        event(3, EventKind::StepProgress { step: drain(), done: 3, total: 14 }),
        event(4, EventKind::StepProgress { step: drain(), done: 4, total: 14 }),
        event(5, web(0)),
        event(6, web(0)),
        event(180, web(0)),
        event(181, EventKind::StepNote { step: drain(), note: Foreign::new("pod shop/old was unready before") }),
        event(200, EventKind::StepProgress { step: drain(), done: 14, total: 14 }),
        event(201, EventKind::StepSucceeded { step: drain(), evidence: Evidence::Drained { evicted: 13, gone: 1 } }),
        event(202, EventKind::StepStarted { step: step("prod", "a", Verb::Reboot) }),
        event(202, EventKind::StepSucceeded { step: step("prod", "a", Verb::Reboot), evidence: Evidence::Requested }),
        event(202, EventKind::StepStarted { step: step("prod", "a", Verb::AwaitReady) }),
        event(
            280,
            EventKind::StepSucceeded {
                step: step("prod", "a", Verb::AwaitReady),
                evidence: Evidence::Booted {
                    from: haulout::model::BootId::new("3f1c").unwrap(),
                    to: haulout::model::BootId::new("77aa").unwrap(),
                },
            },
        ),
        event(281, EventKind::StepStarted { step: step("prod", "a", Verb::Uncordon) }),
        event(
            281,
            EventKind::StepSucceeded { step: step("prod", "a", Verb::Uncordon), evidence: Evidence::Uncordoned },
        ),
        event(282, EventKind::StepStarted { step: step("prod", "b", Verb::Cordon) }),
        event(
            283,
            EventKind::StepFailed {
                step: step("prod", "b", Verb::Cordon),
                failure: StepFailure {
                    kind: FailureKind::Stale,
                    message: Foreign::new("somebody cordoned it meanwhile"),
                    advice: None,
                },
            },
        ),
        event(283, EventKind::StepSkipped { step: step("prod", "b", Verb::Drain) }),
        event(283, EventKind::ClusterHalted { cluster: cluster("prod"), step: step("prod", "b", Verb::Cordon) }),
        event(284, EventKind::Interrupted),
        event(284, EventKind::LockReleased { cluster: cluster("prod") }),
        event(285, EventKind::RunFinished { conclusion: Conclusion::Partial }),
    ]
}

fn run_plan() -> Vec<Arc<ClusterPlan>> {
    let mut plan = empty("prod");
    for name in ["a", "b", "c"] {
        add(&mut plan, name, Done::Reboot, vec![linux()]);
    }
    vec![Arc::new(plan)]
}

#[test]
fn a_run_as_plain_lines() {
    let mut progress = Progress::new(&run_plan(), TimeZone::UTC);
    let mut lines = Vec::new();
    for event in story() {
        lines.extend(progress.take(&event));
        // What a live display and the heartbeat show in the middle of it.
        if event.at == at("2026-11-23T11:00:06Z") {
            let now = at("2026-11-23T11:03:00Z");
            for row in progress.rows(now) {
                lines.push(format!("--- row: {}", row.text(200)));
                lines.push(format!("--- narrow: {}", row.text(40)));
            }
            lines.push(format!("--- heartbeat: {}", progress.heartbeat(now)));
        }
    }
    lines.push(format!("--- {:?}", progress.standing()));
    case("progress", &lines.join("\n"));
}

fn failure(kind: FailureKind) -> StepFailure {
    StepFailure { kind, message: Foreign::new("it was not to be"), advice: None }
}

fn failed(verb: Verb, name: &str, kind: FailureKind, cordoned: bool) -> NodeOutcome {
    NodeOutcome::Failed { step: step("prod", name, verb), failure: failure(kind), uncordon: None, cordoned }
}

fn causes() -> Vec<StopCause> {
    let place = |held_by: &[&str]| StopCause::NoPlace {
        slot: Slot::Cluster,
        held_by: held_by.iter().map(|name| node(name)).collect(),
    };
    vec![
        StopCause::Interrupted,
        StopCause::Halted { by: step("prod", "c", Verb::AwaitReady) },
        StopCause::LockLost,
        StopCause::JournalLost,
        place(&[]),
        place(&["c"]),
        place(&["c", "e"]),
        StopCause::ComesAfter { node: node("c") },
        StopCause::ClusterBefore { cluster: cluster("staging") },
        StopCause::Lost,
    ]
}

#[test]
fn the_last_block_names_what_was_left_and_how() {
    let mut summary = Summary { took: Duration::from_secs(840), interrupted: true, ..Summary::default() };
    let mut insert = |name: &str, outcome| summary.nodes.insert((cluster("prod"), node(name)), outcome);
    insert("a", NodeOutcome::Done);
    insert("b", NodeOutcome::Skipped { step: step("prod", "b", Verb::Drain), failure: failure(FailureKind::TimedOut) });
    insert("c", failed(Verb::AwaitReady, "c", FailureKind::TimedOut, true));
    insert("d", failed(Verb::Cordon, "d", FailureKind::Stale, false));
    insert("e", failed(Verb::Reboot, "e", FailureKind::Unclear, true));
    let stopped = |name: &str, cordoned| NodeOutcome::Interrupted {
        step: step("prod", name, Verb::Drain),
        cause: StopCause::Halted { by: step("prod", "c", Verb::AwaitReady) },
        cordoned,
    };
    insert("f", stopped("f", false));
    insert("f2", stopped("f2", true));
    insert("g", failed(Verb::Uncordon, "g", FailureKind::LockLost, true));
    insert("h", failed(Verb::Drain, "h", FailureKind::Panicked, true));
    insert("i", failed(Verb::Cordon, "i", FailureKind::Refused, false));
    insert(
        "j",
        NodeOutcome::Failed {
            step: step("prod", "j", Verb::Drain),
            failure: failure(FailureKind::Refused),
            uncordon: Some(StepFailure {
                kind: FailureKind::TimedOut,
                message: Foreign::new("the node could not be uncordoned in time"),
                advice: None,
            }),
            cordoned: true,
        },
    );
    let causes = causes();
    for n in 0..30 {
        insert(&format!("z{n:02}"), NodeOutcome::NotStarted { cause: causes[n % causes.len()].clone() });
    }
    summary.nodes.insert((cluster("box"), node("a")), failed(Verb::Uncordon, "a", FailureKind::TimedOut, true));
    summary.sandboxes.insert(cluster("box"));
    let left = [
        ("c", LeftAs::Failed),
        ("b", LeftAs::Skipped),
        ("f", LeftAs::Interrupted),
        ("z00", LeftAs::NotStarted),
        ("z01", LeftAs::NotStarted),
        ("n1", LeftAs::Blocked),
        ("n2", LeftAs::Unknown),
        ("n3", LeftAs::New),
    ];
    let remaining =
        Remaining { nodes: left.into_iter().map(|(name, left)| ((cluster("prod"), node(name)), left)).collect() };
    case("summary", &progress::summary(&summary, Some(&remaining), &style()));
    let mut well = Summary { took: Duration::from_secs(59), ..Summary::default() };
    well.nodes.insert((cluster("prod"), node("a")), NodeOutcome::Done);
    case("summary-well", &progress::summary(&well, Some(&Remaining::default()), &style()));
}

#[test]
fn what_is_left_after_a_run_is_named() {
    let mut after = sample();
    after.steps.clear();
    let after = [Arc::new(after)];
    let remaining = Remaining::after(&Summary::default(), &after);
    case("left", &terminal::left(now(), &after, &remaining, &style()));
    let done = [Arc::new(empty("done"))];
    assert_eq!(terminal::left(now(), &done, &Remaining::after(&Summary::default(), &done), &style()), "");
}

#[test]
fn what_is_left_at_once_is_named() {
    use haulout::model::Phase;
    use haulout::run::{Held, Intent};
    let mut plan = empty("prod");
    for name in ["cordoning", "draining", "rebooting", "back", "returning", "returned", "untouched", "refused"] {
        add(&mut plan, name, Done::Reboot, vec![linux()]);
    }
    add(&mut plan, "out", Done::Drain, vec![linux()]);
    add(&mut plan, "settled", Done::Drain, vec![linux()]);
    let mut simulated = empty("box");
    simulated.sandbox = true;
    add(&mut simulated, "a", Done::Reboot, vec![linux()]);
    let mut held = Held::new(&[Arc::new(plan), Arc::new(simulated)]);
    let folder = "/state/runs/r-7f3a";
    let mut text = progress::left_at_once(&held, folder);
    for name in ["prod", "box"] {
        held.take(&EventKind::LockTaken { cluster: cluster(name) });
    }
    let mut go = |of: &str, name: &str, intents: &[(Verb, Intent)], done: &[Verb]| {
        for (verb, intent) in intents {
            held.take(&EventKind::Intended { step: Some(step(of, name, *verb)), intent: intent.clone() });
        }
        for verb in done {
            held.take(&EventKind::StepSucceeded { step: step(of, name, *verb), evidence: Evidence::AlreadyHeld });
        }
    };
    let cordon = (Verb::Cordon, Intent::Cordon);
    let armed = (Verb::Drain, Intent::Phase(Phase::Armed));
    let boot_id = haulout::model::BootId::new("3f1c").unwrap();
    let trigger = (Verb::Reboot, Intent::TriggerReboot { boot_id });
    let back = (Verb::AwaitReady, Intent::Phase(Phase::Returned));
    let uncordon = (Verb::Uncordon, Intent::Uncordon);
    let all = [cordon, armed, trigger, back, uncordon];
    go("prod", "cordoning", &all[..1], &[]);
    go("prod", "refused", &all[..1], &[]);
    go("prod", "draining", &all[..2], &[]);
    go("prod", "rebooting", &all[..3], &[]);
    go("prod", "back", &all[..4], &[]);
    go("prod", "returning", &all, &[]);
    go("prod", "returned", &all, &[Verb::Uncordon]);
    go("prod", "out", &all[..1], &[Verb::Cordon]);
    go("prod", "settled", &all[..1], &[Verb::Cordon, Verb::Drain]);
    go("box", "a", &all[..1], &[Verb::Cordon]);
    let refused = step("prod", "refused", Verb::Cordon);
    held.take(&EventKind::StepFailed { step: refused, failure: failure(FailureKind::Refused) });
    text += &progress::left_at_once(&held, folder);
    case("left-at-once", &text);
}

#[test]
fn a_simulated_cluster_is_never_told_to_kubectl() {
    for simulated in [false, true] {
        let mut plan = empty("box");
        plan.sandbox = simulated;
        let run = RunId::new("r-7f3a").unwrap();
        let reason =
            BlockedReason::MarkedByRun { run, config: Foreign::new("platform-prod"), standing: Standing::OtherConfig };
        plan.blocked.push(blocked("a", Wanted::Reboot, vec![reason]));
        let text = shown(vec![plan], &style());
        assert_eq!(text.contains("kubectl"), !simulated, "{text}");
        assert_eq!(text.contains(".haulout/box.json"), simulated, "{text}");
    }
}

#[test]
fn what_a_run_did_not_finish_is_not_called_new() {
    let mut plan = empty("prod");
    for name in ["done", "failed", "skipped", "interrupted", "waiting", "new"] {
        add(&mut plan, name, Done::Reboot, vec![linux()]);
    }
    // What a failure left marked is blocked for the look: it is counted once, as what the run made of it.
    for name in ["marked", "blocked"] {
        let run = RunId::new("r").unwrap();
        let reason =
            BlockedReason::MarkedByRun { run, config: Foreign::new("platform-prod"), standing: Standing::OtherConfig };
        plan.blocked.push(blocked(name, Wanted::Reboot, vec![reason]));
    }
    let mut summary = Summary::default();
    let mut insert = |name: &str, outcome| summary.nodes.insert((cluster("prod"), node(name)), outcome);
    insert("done", NodeOutcome::Done);
    insert("failed", failed(Verb::Drain, "failed", FailureKind::Refused, false));
    insert("marked", failed(Verb::AwaitReady, "marked", FailureKind::TimedOut, true));
    let drain = |name| step("prod", name, Verb::Drain);
    insert("skipped", NodeOutcome::Skipped { step: drain("skipped"), failure: failure(FailureKind::TimedOut) });
    let cause = StopCause::Interrupted;
    let interrupted = NodeOutcome::Interrupted { step: drain("interrupted"), cause: cause.clone(), cordoned: false };
    insert("interrupted", interrupted);
    insert("waiting", NodeOutcome::NotStarted { cause });
    insert("gone", failed(Verb::Cordon, "gone", FailureKind::Stale, false));
    let look = [Arc::new(plan)];
    let remaining = Remaining::after(&summary, &look);
    assert_eq!(
        progress::left_line(&remaining),
        "Left: 8 nodes = 2 failed, 1 skipped, 1 interrupted, 1 not started, 1 blocked, 2 new."
    );
    let text = terminal::left(now(), &look, &remaining, &style());
    assert!(text.contains("2 nodes to be drained and rebooted by another apply: done and new"), "{text}");
}

/// How the events of one node count, while the run goes on and after it, and how the same states end in the summary.
#[test]
fn progress_counts_nodes_as_the_summary_does() {
    use StepState::{Failed, Pending, Skipped, Succeeded};
    use haulout::run::Ending;
    let all = [Verb::Cordon, Verb::Drain, Verb::Reboot, Verb::AwaitReady, Verb::Uncordon];
    let out = &all[..2];
    type Case<'a> = (&'a str, &'a [Verb], &'a [StepState], &'a [(Verb, FailureKind)], Ending);
    let cases: &[Case<'_>] = &[
        ("untouched", &all, &[Pending; 5], &[], Ending::NotStarted),
        ("done", &all, &[Succeeded; 5], &[], Ending::Done),
        (
            "its place was waited for",
            &all,
            &[Failed, Skipped, Skipped, Skipped, Skipped],
            &[(Verb::Cordon, FailureKind::Interrupted)],
            Ending::NotStarted,
        ),
        (
            "the cordon was refused",
            &all,
            &[Failed, Skipped, Skipped, Skipped, Skipped],
            &[(Verb::Cordon, FailureKind::Refused)],
            Ending::Failed,
        ),
        (
            "the drain took too long",
            &all,
            &[Succeeded, Failed, Skipped, Skipped, Succeeded],
            &[(Verb::Drain, FailureKind::TimedOut)],
            Ending::Skipped,
        ),
        (
            "the drain took too long and the node could not be given back",
            &all,
            &[Succeeded, Failed, Skipped, Skipped, Failed],
            &[(Verb::Drain, FailureKind::TimedOut), (Verb::Uncordon, FailureKind::Refused)],
            Ending::Failed,
        ),
        (
            "the drain was interrupted",
            &all,
            &[Succeeded, Failed, Skipped, Skipped, Succeeded],
            &[(Verb::Drain, FailureKind::Interrupted)],
            Ending::Interrupted,
        ),
        (
            "the drain was interrupted and the node could not be given back",
            &all,
            &[Succeeded, Failed, Skipped, Skipped, Failed],
            &[(Verb::Drain, FailureKind::Interrupted), (Verb::Uncordon, FailureKind::Refused)],
            Ending::Failed,
        ),
        (
            "drained, and given back because of a halt",
            &all,
            &[Succeeded, Succeeded, Skipped, Skipped, Succeeded],
            &[],
            Ending::Interrupted,
        ),
        ("out of service, and never drained", out, &[Succeeded, Pending], &[], Ending::Interrupted),
    ];
    for (what, verbs, states, failures, wanted) in cases {
        let mut plan = empty("prod");
        let done = if verbs.len() == 2 { Done::Drain } else { Done::Reboot };
        add(&mut plan, "a", done, vec![linux()]);
        // As `on_timeout = "skip"` has it.
        let drain = plan.steps.get_mut(&step("prod", "a", Verb::Drain)).unwrap();
        drain.on_timeout =
            Some(haulout::plan::OnFailure { rest: haulout::plan::Rest::Continue, ..drain.on_failure.clone() });
        let mut progress = Progress::new(&[Arc::new(plan)], TimeZone::UTC);
        for (verb, state) in verbs.iter().zip(*states) {
            let step = || step("prod", "a", *verb);
            let started = EventKind::StepStarted { step: step() };
            let kinds = match state {
                Pending | StepState::Running => vec![],
                Succeeded => vec![started, EventKind::StepSucceeded { step: step(), evidence: Evidence::AlreadyHeld }],
                Failed => {
                    let kind = failures.iter().find(|(failed, _)| failed == verb).unwrap().1;
                    vec![started, EventKind::StepFailed { step: step(), failure: failure(kind) }]
                }
                Skipped => vec![EventKind::StepSkipped { step: step() }],
            };
            for kind in kinds {
                progress.take(&event(0, kind));
            }
        }
        let is_over = !states.contains(&Pending);
        assert_eq!(
            progress.standing().ended() + progress.standing().to_start == 1,
            is_over || states[0] == Pending,
            "{what}"
        );
        progress.take(&event(1, EventKind::RunFinished { conclusion: Conclusion::Partial }));
        let standing = progress.standing();
        let counted = [
            (standing.done, Ending::Done),
            (standing.failed, Ending::Failed),
            (standing.skipped, Ending::Skipped),
            (standing.interrupted, Ending::Interrupted),
            (standing.to_start, Ending::NotStarted),
        ];
        assert_eq!(counted.into_iter().find(|(n, _)| *n == 1).map(|(_, ending)| ending), Some(*wanted), "{what}");
        assert_eq!(standing.under_way, 0, "{what}");
    }
}

/// Text that tries to do harm: escapes, controls, bidirectional overrides, log commands, fake lines.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\u{1b}[31m".to_owned()),
        Just("\u{9b}2J".to_owned()),
        Just("\n".to_owned()),
        Just("\r\n::set-output name=x::y".to_owned()),
        Just("::error::".to_owned()),
        Just(" ".to_owned()),
        Just("##vso[task.setvariable]".to_owned()),
        Just("##[error]".to_owned()),
        Just("#".to_owned()),
        Just("\u{202e}".to_owned()),
        Just("\u{200b}".to_owned()),
        Just("\n  x node/fake cannot be rebooted".to_owned()),
        Just("```".to_owned()),
        "[a-z\"\\\\]{0,300}",
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// A plan in which everything that others can write is `text`.
fn told(text: &str) -> ClusterPlan {
    let foreign = || Foreign::new(text);
    let mut plan = sample();
    plan.via = foreign();
    plan.version = foreign();
    plan.outages[0].why = vec![Why::RebootRequired(foreign()), Why::OutOfService(foreign())];
    plan.blocked.push(blocked(
        "a",
        Wanted::Reboot,
        vec![
            BlockedReason::ForeignCordon { manager: Some(foreign()), since: None },
            BlockedReason::MarkedByRun {
                run: RunId::new("r").unwrap(),
                config: foreign(),
                standing: Standing::OtherConfig,
            },
            BlockedReason::RebootDidNotClear { at: now(), reason: foreign() },
            BlockedReason::HeldByKured(Kured { daemon_set: foreign(), ..kured(None, None) }),
        ],
    ));
    plan.notices.push(Notice::LockHeld { holder: foreign(), renewed_at: now() });
    plan.gaps.push(Gap { subject: GapSubject::Pods, why: foreign(), remedy: text.to_owned() });
    plan.node_pod = Some(haulout::model::NodePod { image: foreign(), pull_secrets: vec![foreign()] });
    plan
}

/// What must hold of every output: nothing dangerous, nothing that a log would take for a command.
fn inert(text: &str) {
    for line in text.split('\n') {
        assert_eq!(line, sanitise(line).as_str(), "{line:?}");
        assert!(!line.trim_start().starts_with("::"), "{line:?}");
        assert!(!line.contains("##vso[") && !line.contains("##["), "{line:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn hostile_text_stays_inert(text in hostile()) {
        let foreign = || Foreign::new(&text);
        let plan = vec![Arc::new(told(&text))];
        let shown = terminal::clusters(&foreign(), now(), &plan, &style());
        inert(&shown);
        // No text makes or takes a line of its own.
        let harmless = terminal::clusters(&Foreign::new("x"), now(), &[Arc::new(told("x"))], &style());
        prop_assert!(text.is_empty() || shown.lines().count() == harmless.lines().count());
        inert(&terminal::left(now(), &plan, &Remaining::after(&Summary::default(), &plan), &style()));
        let json = haulout::format::plan::write_parts(&foreign(), now(), &plan, "0.1.0");
        inert(std::str::from_utf8(&json).unwrap());

        let mut progress = Progress::new(&plan, TimeZone::UTC);
        let drain = step("prod", "a", Verb::Drain);
        let failure = StepFailure { kind: FailureKind::Refused, message: foreign(), advice: Some(text.clone()) };
        for kind in [
            EventKind::RunStarted { run: RunId::new("r").unwrap(), config: foreign(), version: text.clone() },
            EventKind::StepStarted { step: drain.clone() },
            EventKind::StepNote { step: drain.clone(), note: foreign() },
            EventKind::StepWaiting { step: drain.clone(), wait: Wait {
                what: WaitFor::Webhook { pod: pod("a/b"), message: foreign() }, since: now(), until: now() } },
            EventKind::StepWaiting { step: drain.clone(), wait: Wait {
                what: WaitFor::Lock(foreign()), since: now(), until: now() } },
            EventKind::StepWaiting { step: drain.clone(), wait: Wait {
                what: WaitFor::NodeReady(foreign()), since: now(), until: now() } },
        ] {
            let event = Event { seq: 1, at: now(), kind };
            if let Some(line) = progress.take(&event) {
                prop_assert!(!line.contains('\n'));
                inert(&line);
            }
            inert(&progress.heartbeat(now()));
            for row in progress.rows(now()) {
                inert(&row.text(60));
            }
            inert(std::str::from_utf8(&haulout::format::run::write(&event)).unwrap());
        }
        let event = Event { seq: 1, at: now(), kind: EventKind::StepFailed { step: drain.clone(), failure: failure.clone() } };
        inert(&progress.take(&event).unwrap());
        let mut summary = Summary::default();
        summary.nodes.insert((cluster("prod"), node("a")), NodeOutcome::Failed {
            step: drain, uncordon: Some(failure.clone()), failure, cordoned: true });
        inert(&progress::summary(&summary, None, &style()));
    }
}
