//! Why a node is to be rebooted, and when nobody can say.

use super::scene::*;
use haulout::config::Config;
use haulout::diff::{DiffError, Notice};
use haulout::model::*;
use haulout::plan::{PlanError, Selection, UnknownReason, Why};
use std::time::Duration;

fn config_of(change: impl FnOnce(&mut haulout::config::Reboot)) -> Config {
    let mut config = config(1);
    change(config.reboots.get_mut("linux").unwrap());
    config
}

fn why(config: &Config, node: Node) -> Option<Vec<Why>> {
    plan(config, &snapshot([node])).clusters()[0].outages.first().map(|outage| outage.why.clone())
}

fn unknown(config: &Config, node: Node) -> Option<UnknownReason> {
    plan(config, &snapshot([node])).clusters()[0].unknown.first().map(|unknown| unknown.why.clone())
}

fn a() -> Node {
    node("a", "np1", "z1")
}

/// A change to a node whose report counts, and what is then unknown.
type Case = (fn(&mut Node), Option<UnknownReason>);

#[test]
fn a_report_counts_only_for_its_boot_and_its_day() {
    let report = |change: fn(&mut Node)| {
        let mut node = a();
        change(&mut node);
        node
    };
    let cases: [Case; 9] = [
        (|_| {}, None),
        (
            |node| node.report = Report { reboot: None, boot_id: None, booted_at: None, reported_at: None },
            Some(UnknownReason::NoReport),
        ),
        (|node| node.report.boot_id = None, Some(UnknownReason::Unreadable)),
        (|node| node.report.reboot = None, Some(UnknownReason::Unreadable)),
        (|node| node.boot_id = Some(BootId::new("later").unwrap()), Some(UnknownReason::OtherBoot)),
        (|node| node.boot_id = None, Some(UnknownReason::OtherBoot)),
        (|node| node.report.reported_at = None, Some(UnknownReason::Stale { reported_at: None })),
        (
            |node| node.report.reported_at = Some(at("2026-11-22T12:00:00Z")),
            Some(UnknownReason::Stale { reported_at: Some(at("2026-11-22T12:00:00Z")) }),
        ),
        (
            |node| node.report.reported_at = Some(at("2026-11-23T12:05:01Z")),
            Some(UnknownReason::FromTheFuture { reported_at: at("2026-11-23T12:05:01Z") }),
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(unknown(&config(1), report(change)), expected);
    }
    for fresh in ["2026-11-22T12:00:01Z", "2026-11-23T12:05:00Z"] {
        let mut node = a();
        node.report.reported_at = Some(at(fresh));
        assert!(why(&config(1), node).is_some(), "{fresh}");
    }
}

#[test]
fn triggers_are_ored() {
    let long_up = config_of(|table| table.max_uptime = Some(Duration::from_secs(86400)));
    let booted_at = at("2026-11-01T00:00:00Z");
    let uptime = Why::UptimeExceeded { booted_at, limit: Duration::from_secs(86400) };
    assert_eq!(why(&long_up, calm(a())), Some(vec![uptime.clone()]));
    assert_eq!(why(&long_up, a()), Some(vec![Why::RebootRequired(Foreign::new("linux-image")), uptime]));
    // One definite yes beats the unknown of another trigger; one unknown beats any no.
    let mut no_boot_time = a();
    no_boot_time.report.booted_at = None;
    assert!(why(&long_up, no_boot_time.clone()).is_some());
    assert_eq!(unknown(&long_up, calm(no_boot_time)), Some(UnknownReason::NoBootTime));

    let after = |moment| config_of(|table| table.booted_after = Some(at(moment)));
    assert!(matches!(why(&after("2026-11-20T00:00:00Z"), calm(a())).as_deref(), Some([Why::BootedBefore { .. }])));
    assert_eq!(why(&after("2026-10-20T00:00:00Z"), calm(a())), None);
    // A reboot before a moment still to come would have to be repeated.
    assert_eq!(why(&after("2026-12-20T00:00:00Z"), calm(a())), None);
}

#[test]
fn kured_counts_only_after_the_boot() {
    let with = |since: &str, booted: bool| {
        let mut node = calm(a());
        node.kured_wants_since = Some(at(since));
        if !booted {
            node.report.booted_at = None;
        }
        node
    };
    let since = at("2026-11-10T00:00:00Z");
    assert_eq!(why(&config(1), with("2026-11-10T00:00:00Z", true)), Some(vec![Why::KuredWants(since)]));
    assert_eq!(why(&config(1), with("2026-10-10T00:00:00Z", true)), None);
    assert_eq!(unknown(&config(1), with("2026-11-10T00:00:00Z", false)), Some(UnknownReason::NoBootTime));
}

#[test]
fn tables_select_by_their_rank() {
    let mut two = config(1);
    two.reboots.insert(table("second"), reboot());
    let error = try_plan(&two, &snapshot([a()]), &Selection::default()).unwrap_err();
    assert!(matches!(error, PlanError::Compare(DiffError::TwoRebootTables { .. })), "{error}");

    let mut all = config(1);
    all.out_of_service.insert(table("rack"), out_of_service(&["a", "b"]));
    all.protect.insert(table("keep"), protect("pool=np2"));
    all.protect.insert(table("empty"), protect("pool=np9"));
    let mut control_plane = node("c", "np1", "z1");
    control_plane.control_plane = true;
    let scene = snapshot([a(), node("b", "np2", "z1"), control_plane]);
    let planned = plan(&all, &scene);
    let cluster = &planned.clusters()[0];
    let counts = &cluster.counts;
    assert_eq!((counts.drain, counts.protected, counts.not_selected, counts.reboot), (1, 1, 1, 0));
    assert_eq!(
        cluster.notices,
        [
            Notice::MatchesNothing { kind: "protect", table: table("empty") },
            Notice::RebootDeferred { node: name("a"), table: table("rack") },
            Notice::ProtectedFromService { node: name("b"), protect: table("keep"), table: table("rack") },
        ]
    );
}

#[test]
fn a_release_tells_of_the_reboot_that_comes_after_it() {
    let released = |mut node: Node| {
        node.cordon = Some(Cordon::Marked(mark("platform", Some("rack"), None)));
        let planned = plan(&config(1), &snapshot([node]));
        let cluster = &planned.clusters()[0];
        (cluster.counts.release, cluster.notices.clone())
    };
    let notice = Notice::RebootAfterRelease { node: name("a"), table: table("linux") };
    assert_eq!(released(a()), (1, vec![notice]));
    assert_eq!(released(calm(a())), (1, vec![]));
}
