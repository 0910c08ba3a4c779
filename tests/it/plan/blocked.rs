//! Every "no", one by one, and what is not one although it looks like it.

use super::scene::*;
use haulout::config::{Config, Scope};
use haulout::model::*;
use haulout::plan::{BlockedReason, BudgetProof, Impact, Slot, Standing, Wanted};
use std::collections::BTreeMap;

/// The reasons for which the one node `a` is blocked.
fn reasons(config: &Config, snapshot: &Snapshot) -> Vec<BlockedReason> {
    let plan = plan(config, snapshot);
    let cluster = &plan.clusters()[0];
    assert!(cluster.outages.iter().all(|outage| outage.node.as_str() != "a"), "a is in the plan");
    let mut of_a = cluster.blocked.iter().filter(|blocked| blocked.node.as_str() == "a");
    let reasons = of_a.next().expect("a is blocked").reasons.clone();
    assert!(of_a.next().is_none());
    reasons
}

fn one(config: &Config, snapshot: &Snapshot) -> BlockedReason {
    let mut reasons = reasons(config, snapshot);
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    reasons.remove(0)
}

fn a() -> Node {
    node("a", "np1", "z1")
}

fn key(text: &str) -> PodKey {
    pod(text, "a", "x").key
}

#[test]
fn budgets_that_never_allow() {
    let never = budget("shop/web", "web", BudgetSpec::MinAvailable(Bound::Count(3)), 3, 0);
    let scene = with_pods(snapshot([a()]), [pod("shop/web-1", "a", "web"), pod("shop/x", "a", "x")], [never.clone()]);
    assert_eq!(
        one(&config(1), &scene),
        BlockedReason::BudgetNever {
            budget: never.key.clone(),
            proof: BudgetProof::Arithmetic { desired: 3, expected: 3 },
            pods: vec![key("shop/web-1")],
        }
    );
    // The same budget over pods elsewhere, or of a pod that is not yet running, blocks nothing here.
    let elsewhere =
        with_pods(snapshot([a(), calm(node("b", "np1", "z1"))]), [pod("shop/web-1", "b", "web")], [never.clone()]);
    assert_eq!(plan(&config(1), &elsewhere).clusters()[0].counts.reboot, 1);
    let mut pending = pod("shop/web-1", "a", "web");
    pending.status = PodStatus { phase: PodPhase::Pending, ready: false, terminating: false };
    assert_eq!(
        plan(&config(1), &with_pods(snapshot([a()]), [pending], [never.clone()])).clusters()[0].counts.reboot,
        1
    );

    let busy = budget("shop/web", "web", BudgetSpec::MinAvailable(Bound::Count(2)), 3, 0);
    let planned = plan(&config(1), &with_pods(snapshot([a()]), [pod("shop/web-1", "a", "web")], [busy]));
    assert!(matches!(planned.clusters()[0].outages[0].impact[..], [Impact::BudgetBusy { .. }]));

    let mut operated = never;
    operated.owner = Some(owner("postgresql.cnpg.io/v1", "Cluster", "pg"));
    let planned = plan(&config(1), &with_pods(snapshot([a()]), [pod("shop/web-1", "a", "web")], [operated]));
    assert!(matches!(
        planned.clusters()[0].outages[0].impact[..],
        [Impact::ClearsAfterCordon { operator: "CloudNativePG", .. }]
    ));
}

#[test]
fn two_budgets_over_one_pod() {
    let budgets =
        ["shop/one", "shop/two"].map(|key| budget(key, "web", BudgetSpec::MaxUnavailable(Bound::Count(1)), 3, 1));
    let running = with_pods(snapshot([a()]), [pod("shop/web-1", "a", "web")], budgets.clone());
    let keys: Vec<BudgetKey> = budgets.iter().map(|budget| budget.key.clone()).collect();
    assert_eq!(one(&config(1), &running), BlockedReason::TwoBudgets { pod: key("shop/web-1"), budgets: keys });
    let mut finished = pod("shop/web-1", "a", "web");
    finished.status.phase = PodPhase::Failed;
    assert_eq!(plan(&config(1), &with_pods(snapshot([a()]), [finished], budgets)).clusters()[0].counts.reboot, 1);
}

#[test]
fn pods_that_may_not_be_lost() {
    let bare = shaped(pod("shop/bare", "a", "x"), |shape| shape.owner = None);
    let data = shaped(pod("shop/data", "a", "x"), |shape| shape.empty_dir = true);
    let scene = with_pods(snapshot([a()]), [bare, data], []);
    assert_eq!(
        reasons(&config(1), &scene),
        [BlockedReason::UnmanagedPods(vec![key("shop/bare")]), BlockedReason::EmptyDirData(vec![key("shop/data")])]
    );
    let mut consenting = config(1);
    let rule = &mut consenting.reboots.get_mut("linux").unwrap().drain;
    rule.delete_emptydir_data = true;
    rule.unmanaged = UnmanagedPods::Evict;
    let planned = plan(&consenting, &scene);
    assert_eq!(planned.clusters()[0].outages[0].impact, [Impact::EmptyDirData(1), Impact::Unmanaged(1)]);
}

#[test]
fn a_node_that_kured_holds() {
    let kured_on = |lock: KuredLock| {
        let set = DaemonSet {
            namespace: Namespace::new("kube-system").unwrap(),
            name: Foreign::new("kured"),
            uid: Uid::new("kured").unwrap(),
            kured_locks: vec![lock],
        };
        let mut scene = snapshot([a(), node("b", "np2", "z1")]);
        scene.daemon_sets.insert(set.uid.clone(), set);
        scene
    };
    let since = now() - jiff::SignedDuration::from_mins(10);
    let held = |node: &str, lasts| KuredLock::Held { node: NodeName::new(node).unwrap(), since: Some(since), lasts };
    // It counts as out, though it is not cordoned yet: with one place, nothing is left for the other node.
    let scene = kured_on(held("a", None));
    assert!(
        matches!(&reasons(&config(1), &scene)[..], [BlockedReason::HeldByKured(kured)] if kured.since == Some(since))
    );
    let of = |scene: &Snapshot, limit| plan(&config(limit), scene).clusters()[0].counts.reboot;
    assert_eq!((of(&scene, 1), of(&scene, 2)), (0, 1));
    // A lock whose time is up, one for a node that is gone, and one that says nothing hold nobody.
    let minutes = |minutes| Some(jiff::SignedDuration::from_mins(minutes));
    assert_eq!(of(&kured_on(held("a", minutes(10))), 1), 2);
    assert_eq!(of(&kured_on(held("a", minutes(11))), 2), 1);
    for (lock, told) in [
        (held("gone", None), "kubectl --namespace kube-system annotate daemonset kured weave.works/kured-node-lock-"),
        (KuredLock::Unreadable, "cannot be understood"),
    ] {
        let planned = plan(&config(1), &kured_on(lock));
        let cluster = &planned.clusters()[0];
        let words = haulout::plan::words::Words {
            cluster: &cluster.cluster,
            simulated: false,
            now: now(),
            zone: &jiff::tz::TimeZone::UTC,
        };
        assert_eq!((cluster.counts.reboot, cluster.blocked.len()), (2, 0));
        assert!(cluster.notices.iter().any(|notice| words.notice(notice).contains(told)), "{:?}", cluster.notices);
    }
}

#[test]
fn cordons_and_marks_of_others() {
    let with = |cordon: Cordon| {
        let mut node = a();
        node.mark = match &cordon {
            Cordon::Marked(mark) => Some(mark.clone()),
            Cordon::Foreign { .. } => None,
        };
        node.cordon = Some(cordon);
        snapshot([node])
    };
    let kubectl = Cordon::Foreign { manager: Some(Foreign::new("kubectl-cordon")), since: None, mark: None };
    assert_eq!(
        one(&config(1), &with(kubectl)),
        BlockedReason::ForeignCordon { manager: Some(Foreign::new("kubectl-cordon")), since: None }
    );
    let run = RunId::new("run-1").unwrap();
    for (config_name, standing) in [("platform", Standing::Live), ("other", Standing::OtherConfig)] {
        let working = Cordon::Marked(mark(config_name, Some("linux"), Some(Phase::Drained)));
        let mut scene = with(working);
        scene.lock = (standing == Standing::Live).then(|| lock("run-1", 10));
        assert_eq!(
            one(&config(1), &scene),
            BlockedReason::MarkedByRun { run: run.clone(), config: Foreign::new(config_name), standing }
        );
    }
    let settled_by_other = Cordon::Marked(mark("other", Some("rack"), None));
    assert!(matches!(one(&config(1), &with(settled_by_other)), BlockedReason::ForeignCordon { manager: Some(_), .. }));
    // What a dead run left is never "up to date", even where nothing else is wanted of the node.
    let mut left = calm(a());
    left.cordon = Some(Cordon::Marked(mark("platform", Some("linux"), Some(Phase::Returned))));
    let mut scene = snapshot([left]);
    scene.lock = Some(lock("run-1", 10));
    let planned = plan(&config(1), &scene);
    assert_eq!(planned.clusters()[0].blocked[0].wanted, Wanted::Release);
}

#[test]
fn limits_filled_by_others() {
    let mut broken = calm(node("b", "np1", "z1"));
    broken.readiness = Readiness::NotReady;
    let filled = |slot| BlockedReason::LimitFilled { slot, total: 1, out: vec![name("b")] };
    let pool = Slot::Pool(table("linux"), PoolName::new("np1").unwrap());
    assert_eq!(reasons(&config(1), &snapshot([a(), broken.clone()])), [filled(Slot::Cluster), filled(pool.clone())]);
    assert_eq!(one(&config(2), &snapshot([a(), broken.clone()])), filled(pool));
    // In another pool it fills only the cluster.
    broken.pool = PoolName::new("np2").unwrap();
    assert_eq!(one(&config(1), &snapshot([a(), broken.clone()])), filled(Slot::Cluster));
    assert_eq!(plan(&config(2), &snapshot([a(), broken])).clusters()[0].counts.reboot, 1);
}

#[test]
fn a_reboot_that_did_not_clear_its_reason() {
    let mut rebooted = a();
    rebooted.last_reboot = Some(LastReboot {
        at: at("2026-11-22T00:00:00Z"),
        run: RunId::new("run-0").unwrap(),
        boot_id: rebooted.boot_id.clone().unwrap(),
        reason: Foreign::new("linux-image"),
        drain_seconds: 30,
        boot_seconds: 60,
    });
    assert!(matches!(one(&config(1), &snapshot([rebooted.clone()])), BlockedReason::RebootDidNotClear { .. }));
    let mut new_reason = rebooted.clone();
    new_reason.report.reboot = Some(ReportedReboot::Required(Foreign::new("libc6")));
    assert_eq!(plan(&config(1), &snapshot([new_reason])).clusters()[0].counts.reboot, 1);
    rebooted.last_reboot.as_mut().unwrap().boot_id = BootId::new("another").unwrap();
    assert_eq!(plan(&config(1), &snapshot([rebooted])).clusters()[0].counts.reboot, 1);
}

#[test]
fn what_the_node_itself_forbids() {
    let by_name = |config: &mut Config| config.reboots.get_mut("linux").unwrap().scope.nodes = [name("a")].into();
    let mut windows = a();
    windows.linux = false;
    let mut named = config(1);
    by_name(&mut named);
    assert_eq!(one(&named, &snapshot([windows])), BlockedReason::NotLinux);
    let mut broken = a();
    broken.readiness = Readiness::Unknown;
    assert_eq!(one(&config(1), &snapshot([broken])), BlockedReason::NotReady);
    let mut real = snapshot([a()]);
    real.sandbox = false;
    assert_eq!(one(&config(1), &real), BlockedReason::NoNodePod);
    let mut with_image = config(1);
    with_image.clusters.get_mut("prod").unwrap().node_pod =
        Some(NodePod { image: Foreign::new("i"), pull_secrets: Vec::new() });
    assert_eq!(plan(&with_image, &real).clusters()[0].counts.reboot, 1);
    for subject in [GapSubject::Pods, GapSubject::Budgets] {
        let mut blind = snapshot([a()]);
        blind.gaps.push(Gap { subject, why: Foreign::new("forbidden"), remedy: "list".into() });
        assert_eq!(one(&config(1), &blind), BlockedReason::CannotJudge(subject));
    }
}

#[test]
fn etcd_keeps_its_quorum() {
    let mut named = config(1);
    named.reboots.get_mut("linux").unwrap().scope.nodes = [name("a")].into();
    let scene = |members: &[(&str, bool)]| {
        let mut control_plane = a();
        control_plane.control_plane = true;
        let mut snapshot = snapshot([control_plane]);
        snapshot.control_plane.etcd_members = members.iter().map(|(node, healthy)| (name(node), *healthy)).collect();
        snapshot
    };
    let quorum = |healthy| BlockedReason::EtcdQuorum { healthy };
    assert_eq!(one(&named, &scene(&[])), quorum(None));
    assert_eq!(one(&named, &scene(&[("a", true)])), quorum(Some(1)));
    assert_eq!(one(&named, &scene(&[("a", true), ("b", true), ("c", false)])), quorum(Some(2)));
    // Three of five are a majority only as long as none of them goes.
    let five = [("a", true), ("b", true), ("c", true), ("d", false), ("e", false)];
    assert_eq!(one(&named, &scene(&five)), quorum(Some(3)));
    let good = scene(&[("a", true), ("b", true), ("c", true)]);
    assert!(plan(&named, &good).clusters()[0].capacities.contains_key(&Slot::ControlPlane));
    named.reboots.get_mut("linux").unwrap().accept_api_outage = true;
    assert_eq!(plan(&named, &scene(&[])).clusters()[0].counts.reboot, 1);
}

#[test]
fn names_that_no_node_has() {
    let mut named = config(1);
    named.reboots.get_mut("linux").unwrap().scope.nodes = [name("aks-np1-000004")].into();
    named.protect.insert(
        table("keep"),
        haulout::config::Protect {
            scope: Scope { clusters: super::scene::all(), nodes: [name("zzz")].into(), ..Scope::default() },
        },
    );
    let scene = snapshot([node("aks-np1-000003", "np1", "z1")]);
    let planned = plan(&named, &scene);
    let cluster = &planned.clusters()[0];
    let found: Vec<_> = cluster.blocked.iter().map(|blocked| (blocked.node.as_str(), blocked.wanted)).collect();
    assert_eq!(found, [("aks-np1-000004", Wanted::Reboot), ("zzz", Wanted::Protection)]);
    assert_eq!(cluster.blocked[0].reasons, [BlockedReason::NoSuchNode { similar: vec![name("aks-np1-000003")] }]);
    assert_eq!((cluster.counts.blocked, cluster.counts.observed), (0, 1));

    // A table of two clusters names nodes of either.
    let mut fleet = named.clone();
    fleet.protect.clear();
    fleet.clusters.insert(cluster_name("staging"), super::scene::cluster(1));
    let mut staging = snapshot([node("aks-np1-000004", "np1", "z1")]);
    staging.cluster = cluster_name("staging");
    let snapshots = BTreeMap::from([(scene.cluster.clone(), scene.clone()), (staging.cluster.clone(), staging)]);
    let planned = haulout::plan::plan(&fleet, &snapshots, now(), &Default::default()).unwrap();
    assert!(planned.clusters().iter().all(|cluster| cluster.blocked.is_empty()));
    fleet.reboots.get_mut("linux").unwrap().scope.clusters = [cluster_name("prod")].into();
    let planned = haulout::plan::plan(&fleet, &snapshots, now(), &Default::default()).unwrap();
    assert_eq!(planned.clusters()[0].blocked.len(), 1);
}
