//! Formats: schemas that hold, snapshots and events that come back as they went, and clear words for what cannot be read.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use haulout::format::{FormatError, Kind, plan, run, schema, snapshot};
use haulout::model::{
    AddressKind, BootId, Bound, Budget, BudgetKey, BudgetSpec, Budgets, Certificates, ClusterName, ControlPlane,
    Cordon, DaemonSet, Explain as _, Foreign, Gap, GapSubject, HeldLock, KuredLock, Labels, LastReboot, Mark,
    Namespace, Node, NodeAddress, NodeName, Owner, Phase, Pod, PodKey, PodName, PodPhase, PodShape, PodStatus,
    PoolName, Readiness, Reboots, Report, ReportedReboot, RunId, Selector, Shapes, Snapshot, TableName, Taint,
    TaintEffect, Uid, UnhealthyPolicy, ZoneName,
};
use haulout::plan::{
    Adopts, BlockedReason, BudgetProof, ClusterPlan, Impact, Kured, Notice, Precondition, Slot, Standing, StepId,
    UnknownReason, Verb, Wanted, Why,
};
use haulout::run::{Conclusion, Event, EventKind, Evidence, FailureKind, Intent, StepFailure, Wait, WaitFor};
use jiff::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::plans::{Done, add, at, blocked, budget, cluster, empty, node, now, pod, required, table, unknown, wave};

fn schema_file(kind: Kind) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{kind}.v1.json"))
}

/// `UPDATE_SCHEMAS=1` writes them anew.
#[test]
fn the_published_schemas_are_those_of_the_code() {
    for kind in Kind::ALL {
        let made = format!("{:#}\n", schema(kind));
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            std::fs::write(schema_file(kind), &made).unwrap();
        }
        let published = std::fs::read_to_string(schema_file(kind)).unwrap_or_default();
        assert!(published == made, "schemas/{kind}.v1.json is stale: run the tests with UPDATE_SCHEMAS=1");
    }
}

fn valid(kind: Kind, bytes: &[u8]) {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let validator = jsonschema::draft202012::new(&schema(kind)).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&value).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
}

/// Every variant of everything that a plan can hold.
fn full_plan() -> ClusterPlan {
    let mut plan = empty("prod-weu");
    let text = || Foreign::new("say \u{1b}[31m \"this\"");
    let first = add(
        &mut plan,
        "a",
        Done::Reboot,
        vec![
            required("linux-image"),
            Why::KuredWants(now()),
            Why::UptimeExceeded { booted_at: now(), limit: Duration::from_secs(60) },
            Why::BootedBefore { booted_at: now(), wanted: now() },
            Why::OutOfService(text()),
            Why::ReleasedFromService,
        ],
    );
    plan.outages[first].evicts = vec![pod("shop/web-1")];
    plan.outages[first].impact = vec![
        Impact::BudgetPaces { budget: budget("shop/web"), allowed: 1, expected: 3, here: 1 },
        Impact::ClearsAfterCordon { budget: budget("db/pg"), operator: "CloudNativePG" },
        Impact::BudgetBusy { budget: budget("db/pg"), healthy: 1, desired: 1 },
        Impact::EmptyDirData(1),
        Impact::Unmanaged(1),
        Impact::MayReturn(1),
    ];
    let run = || RunId::new("r").unwrap();
    plan.outages[first].why.insert(0, Why::LeftByRun { run: run(), phase: Some(Phase::Armed), since: now() });
    plan.outages[first].adopts = Some(Adopts { run: run(), requested: false, cordoned: true, reason: text() });
    if let Some(step) = plan.steps.get_mut(&plan.outages[first].steps[0]) {
        step.requires.push(Precondition::LeftByRun(run()));
    }
    add(&mut plan, "b", Done::Drain, vec![Why::OutOfService(text())]);
    add(&mut plan, "c", Done::Release, vec![Why::ReleasedFromService]);
    wave(&mut plan, &["a", "b", "c"]);
    let slots = [
        Slot::Cluster,
        Slot::Pool(table("linux"), PoolName::new("np1").unwrap()),
        Slot::Zone(table("linux"), ZoneName::new("").unwrap()),
        Slot::ControlPlane,
        Slot::Budget(budget("db/pg")),
    ];
    let mut reasons: Vec<BlockedReason> = [
        BudgetProof::Arithmetic { desired: 3, expected: 3 },
        BudgetProof::SyncFailed,
        BudgetProof::NothingExpected,
        BudgetProof::NeitherField,
        BudgetProof::NothingHealthy,
    ]
    .into_iter()
    .map(|proof| BlockedReason::BudgetNever { budget: budget("db/pg"), proof, pods: vec![pod("db/pg-0")] })
    .collect();
    for standing in [Standing::Live, Standing::OtherConfig, Standing::LockUnknown, Standing::BootUnknown] {
        let run = RunId::new("r").unwrap();
        reasons.push(BlockedReason::MarkedByRun { run, config: text(), standing });
    }
    reasons.extend(slots.into_iter().map(|slot| BlockedReason::LimitFilled { slot, total: 1, out: vec![node("x")] }));
    reasons.extend([
        BlockedReason::TwoBudgets { pod: pod("a/b"), budgets: vec![budget("a/x"), budget("a/y")] },
        BlockedReason::UnmanagedPods(vec![pod("a/b")]),
        BlockedReason::EmptyDirData(vec![pod("a/b")]),
        BlockedReason::ForeignCordon { manager: Some(text()), since: Some(now()) },
        BlockedReason::ForeignCordon { manager: None, since: None },
        BlockedReason::HeldByKured(kured()),
        BlockedReason::RebootDidNotClear { at: now(), reason: text() },
        BlockedReason::NoNodePod,
        BlockedReason::NoSuchNode { similar: vec![node("a")] },
        BlockedReason::EtcdQuorum { healthy: Some(1) },
        BlockedReason::EtcdQuorum { healthy: None },
        BlockedReason::NotLinux,
        BlockedReason::NotReady,
        BlockedReason::ServingRequestPending { request: PodName::new("csr-abcde").unwrap(), sound: true },
        BlockedReason::ServingRequestPending { request: PodName::new("csr-forged").unwrap(), sound: false },
        BlockedReason::CannotJudge(GapSubject::DaemonSets),
    ]);
    for wanted in [Wanted::Reboot, Wanted::OutOfService, Wanted::Release] {
        plan.blocked.push(blocked("d", wanted, reasons.clone()));
    }
    for why in [
        UnknownReason::NoReport,
        UnknownReason::OtherBoot,
        UnknownReason::Stale { reported_at: Some(now()) },
        UnknownReason::Stale { reported_at: None },
        UnknownReason::NoBootTime,
        UnknownReason::Unreadable,
        UnknownReason::FromTheFuture { reported_at: now() },
    ] {
        plan.unknown.push(unknown("e", why));
    }
    plan.notices = vec![
        Notice::MatchesNothing { kind: "reboot", table: table("gpu") },
        Notice::Expired { table: table("rack-7"), until: now() },
        Notice::LockHeld { holder: text(), renewed_at: now() },
        Notice::LeftAlone { node: node("c"), run: run(), cordoned: true },
        Notice::RebootDeferred { node: node("a"), table: table("rack-7") },
        Notice::RebootAfterRelease { node: node("d"), table: table("linux") },
        Notice::KuredAtWork { node: node("a"), kured: kured(), exists: true },
        Notice::KuredUnreadable { daemon_set: text(), namespace: Namespace::new("kube-system").unwrap() },
        Notice::ProtectedFromService { node: node("g"), protect: table("payments"), table: table("rack-7") },
    ];
    plan.gaps = subjects().into_iter().map(|subject| Gap { subject, why: text(), remedy: "do".to_owned() }).collect();
    plan.node_pod = Some(haulout::model::NodePod { image: text(), pull_secrets: vec![text()] });
    plan
}

fn kured() -> Kured {
    let namespace = Namespace::new("kube-system").unwrap();
    Kured { daemon_set: Foreign::new("kured"), namespace, since: Some(now()), until: None }
}

fn subjects() -> [GapSubject; 8] {
    [
        GapSubject::Budgets,
        GapSubject::DaemonSets,
        GapSubject::Pods,
        GapSubject::Version,
        GapSubject::Identity,
        GapSubject::Lock,
        GapSubject::Objects,
        GapSubject::Etcd,
    ]
}

#[test]
fn a_plan_holds_to_its_schema_and_is_canonical() {
    let clusters = vec![Arc::new(full_plan()), Arc::new(empty("other"))];
    let bytes = plan::write_parts(&Foreign::new("platform-prod"), now(), &clusters, "0.1.0");
    valid(Kind::Plan, &bytes);
    assert_eq!(bytes, plan::write_parts(&Foreign::new("platform-prod"), now(), &clusters, "0.1.0"));
    assert!(bytes.ends_with(b"\n"));
    insta::with_settings!({
        snapshot_path => "../cases/format",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!("plan-json", String::from_utf8(bytes).unwrap()) });
}

#[test]
fn an_empty_plan_is_valid_too() {
    let bytes = plan::write_parts(&Foreign::default(), now(), &[], "0.1.0");
    valid(Kind::Plan, &bytes);
}

// What follows makes arbitrary snapshots and events.

fn text() -> impl Strategy<Value = Foreign> {
    prop_oneof![Just(String::new()), "[a-z \"\\\\#:]{0,12}", any::<String>()].prop_map(Foreign::new)
}

fn time() -> impl Strategy<Value = Timestamp> {
    (0_i64..4_000_000_000, 0_i32..1_000_000_000).prop_map(|(s, n)| Timestamp::new(s, n).unwrap())
}

fn label() -> impl Strategy<Value = String> {
    "[a-z]([a-z0-9-]{0,6}[a-z0-9])?"
}

fn node_name() -> impl Strategy<Value = NodeName> {
    "[a-z][a-z0-9]{0,3}(\\.[a-z0-9]{1,3})?".prop_map(|text| NodeName::new(text).unwrap())
}

fn token() -> impl Strategy<Value = String> {
    "[!#-\\[\\]-~]{1,12}"
}

fn uid() -> impl Strategy<Value = Uid> {
    token().prop_map(|text| Uid::new(text).unwrap())
}

fn boot_id() -> impl Strategy<Value = BootId> {
    token().prop_map(|text| BootId::new(text).unwrap())
}

fn run_id() -> impl Strategy<Value = RunId> {
    label().prop_map(|text| RunId::new(text).unwrap())
}

fn table_name() -> impl Strategy<Value = TableName> {
    label().prop_map(|text| TableName::new(text).unwrap())
}

fn pod_key() -> impl Strategy<Value = PodKey> {
    (label(), label()).prop_map(|(namespace, name)| PodKey {
        namespace: Namespace::new(namespace).unwrap(),
        name: PodName::new(name).unwrap(),
    })
}

fn budget_key() -> impl Strategy<Value = BudgetKey> {
    pod_key().prop_map(|PodKey { namespace, name }| BudgetKey { namespace, name })
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map(label(), label(), 0..3)
        .prop_map(|map| map.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
}

fn any_text() -> impl Strategy<Value = Arc<str>> {
    any::<String>().prop_map(Arc::from)
}

fn owner() -> impl Strategy<Value = Owner> {
    (any_text(), any_text(), any_text(), uid()).prop_map(|(api_version, kind, name, uid)| Owner {
        api_version,
        kind,
        name,
        uid,
    })
}

fn selector() -> impl Strategy<Value = Selector> {
    let texts = vec!["", "a=b", "a!=b,c in (d,e)", "a=,!b,c>5,d", "a in (,b),example.com/c notin (d)"];
    proptest::sample::select(texts).prop_map(|text| match text {
        "" => Selector::everything(),
        text => Selector::parse(text).unwrap(),
    })
}

fn phase() -> impl Strategy<Value = Phase> {
    proptest::sample::select(vec![Phase::Cordoned, Phase::Armed, Phase::Drained, Phase::Reboot, Phase::Returned])
}

fn mark() -> impl Strategy<Value = Mark> {
    let reboots = (boot_id(), text()).prop_map(|(boot_id, reason)| Reboots { boot_id, reason });
    (text(), option::of(table_name()), run_id(), time(), option::of(phase()), option::of(reboots))
        .prop_map(|(config, table, run, since, phase, reboots)| Mark { config, table, run, since, phase, reboots })
}

fn cordon() -> impl Strategy<Value = Cordon> {
    prop_oneof![
        mark().prop_map(Cordon::Marked),
        (option::of(text()), option::of(time()), option::of(mark()))
            .prop_map(|(manager, since, mark)| Cordon::Foreign { manager, since, mark }),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    let reboot = prop_oneof![text().prop_map(ReportedReboot::Required), Just(ReportedReboot::NotRequired)];
    (option::of(reboot), option::of(boot_id()), option::of(time()), option::of(time()))
        .prop_map(|(reboot, boot_id, booted_at, reported_at)| Report { reboot, boot_id, booted_at, reported_at })
}

fn last_reboot() -> impl Strategy<Value = LastReboot> {
    (time(), run_id(), boot_id(), text(), any::<u32>(), any::<u32>()).prop_map(
        |(at, run, boot_id, reason, drain_seconds, boot_seconds)| LastReboot {
            at,
            run,
            boot_id,
            reason,
            drain_seconds,
            boot_seconds,
        },
    )
}

fn taint() -> impl Strategy<Value = Taint> {
    let effects = vec![TaintEffect::NoSchedule, TaintEffect::PreferNoSchedule, TaintEffect::NoExecute];
    (label(), label(), proptest::sample::select(effects)).prop_map(|(key, value, effect)| Taint {
        key: key.into(),
        value: value.into(),
        effect,
    })
}

fn address() -> impl Strategy<Value = NodeAddress> {
    let kinds = vec![AddressKind::InternalIp, AddressKind::ExternalIp, AddressKind::Name];
    (proptest::sample::select(kinds), text()).prop_map(|(kind, address)| NodeAddress { kind, address })
}

fn any_node() -> impl Strategy<Value = Node> {
    let readiness = proptest::sample::select(vec![Readiness::Ready, Readiness::NotReady, Readiness::Unknown]);
    let identity =
        (node_name(), uid(), any_text(), labels(), label(), label(), any::<bool>(), any::<bool>(), readiness);
    let state = (option::of(cordon()), option::of(boot_id()), text(), option::of(mark()), report());
    let rest = (
        option::of(time()),
        option::of(last_reboot()),
        option::of(text()),
        option::of(text()),
        vec(taint(), 0..3),
        labels(),
        option::of(time()),
        any::<bool>(),
        (vec(address(), 0..3), any::<u16>()),
    );
    (identity, state, rest).prop_map(|(identity, state, rest)| {
        let (name, uid, resource_version, labels, pool, zone, control_plane, linux, readiness) = identity;
        let (cordon, boot_id, kernel, mark, report) = state;
        let (
            kured,
            last_reboot,
            scale_down_before,
            scale_down_disabled,
            taints,
            allocatable,
            created_at,
            terminating,
            (addresses, kubelet_port),
        ) = rest;
        Node {
            name,
            uid,
            resource_version,
            labels: Arc::new(labels),
            pool: PoolName::new(pool).unwrap(),
            zone: ZoneName::new(zone).unwrap(),
            control_plane,
            linux,
            readiness,
            cordon,
            boot_id,
            kernel,
            mark,
            report,
            kured_wants_since: kured,
            last_reboot,
            scale_down_before,
            scale_down_disabled,
            taints,
            allocatable: Arc::new(allocatable),
            addresses: addresses.into(),
            kubelet_port,
            created_at,
            terminating,
        }
    })
}

fn any_budget() -> impl Strategy<Value = Budget> {
    let bound = || prop_oneof![any::<u32>().prop_map(Bound::Count), any::<u32>().prop_map(Bound::Percent)];
    let spec = prop_oneof![
        bound().prop_map(BudgetSpec::MinAvailable),
        bound().prop_map(BudgetSpec::MaxUnavailable),
        Just(BudgetSpec::Neither),
    ];
    let policy = proptest::sample::select(vec![UnhealthyPolicy::IfHealthyBudget, UnhealthyPolicy::AlwaysAllow]);
    let what = (budget_key(), uid(), spec, option::of(selector()), policy);
    let counts = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>());
    let rest = (option::of(text()), vec(any_text(), 0..3), option::of(owner()), labels());
    (what, counts, rest).prop_map(
        |(
            (key, uid, spec, selector, unhealthy),
            (expected, desired, healthy, allowed, observed),
            (sync_failed, disrupted, owner, labels),
        )| Budget {
            key,
            uid,
            spec,
            selector,
            unhealthy,
            expected,
            desired,
            healthy,
            allowed,
            observed,
            sync_failed,
            disrupted,
            owner,
            labels: Arc::new(labels),
        },
    )
}

fn shape() -> impl Strategy<Value = PodShape> {
    (labels(), option::of(owner()), any::<[bool; 5]>(), any::<u32>()).prop_map(
        |(labels, owner, [mirror, empty_dir, tolerates_cordon, volumes, ours], grace_seconds)| PodShape {
            labels,
            owner,
            mirror,
            empty_dir,
            grace_seconds,
            tolerates_cordon,
            volumes,
            finalizers: Vec::new(),
            ours,
        },
    )
}

fn any_pod() -> impl Strategy<Value = Pod> {
    let phases = vec![PodPhase::Pending, PodPhase::Running, PodPhase::Succeeded, PodPhase::Failed, PodPhase::Unknown];
    (
        pod_key(),
        uid(),
        option::of(node_name()),
        proptest::sample::select(phases),
        any::<bool>(),
        any::<bool>(),
        prop_oneof![3 => Just(PodShape::default()), 1 => shape()],
    )
        .prop_map(|(key, uid, node, phase, ready, terminating, shape)| Pod {
            key,
            uid,
            node,
            status: PodStatus { phase, ready, terminating },
            shape: Arc::new(shape),
        })
}

fn gap() -> impl Strategy<Value = Gap> {
    (proptest::sample::select(subjects().to_vec()), text(), any::<String>()).prop_map(|(subject, why, remedy)| Gap {
        subject,
        why,
        remedy,
    })
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let head = (label(), text(), option::of(uid()), text(), time(), any::<bool>(), option::of((text(), time())));
    let held = (node_name(), option::of(time()), option::of(any::<i64>())).prop_map(|(node, since, lasts)| {
        KuredLock::Held { node, since, lasts: lasts.map(jiff::SignedDuration::from_nanos) }
    });
    let lock = prop_oneof![Just(KuredLock::Unreadable), held];
    let daemon_set = (label(), text(), uid(), vec(lock, 0..2)).prop_map(|(namespace, name, uid, kured_locks)| {
        DaemonSet { namespace: Namespace::new(namespace).unwrap(), name, uid, kured_locks }
    });
    let body = (
        vec(any_node(), 0..4),
        vec(any_pod(), 0..8),
        vec(any_budget(), 0..4),
        vec(daemon_set, 0..3),
        btree_map(node_name(), any::<bool>(), 0..3),
        vec(gap(), 0..3),
        crate::certificates::any_certificates(),
    );
    (head, body).prop_map(|(head, (nodes, pods, budgets, sets, etcd_members, gaps, certificates))| {
        let (cluster, via, identity, version, taken_at, sandbox, lock) = head;
        let budgets: BTreeMap<BudgetKey, Budget> = budgets.into_iter().map(|of| (of.key.clone(), of)).collect();
        let mut snapshot = Snapshot {
            cluster: ClusterName::new(cluster).unwrap(),
            via,
            identity,
            version,
            taken_at,
            nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(),
            pods,
            budgets: Budgets::new(budgets.into_values()),
            daemon_sets: sets.into_iter().map(|set| (set.uid.clone(), set)).collect(),
            control_plane: ControlPlane { etcd_members },
            certificates,
            lock: lock.map(|(holder, renewed_at)| HeldLock { holder, renewed_at, duration: Duration::from_secs(60) }),
            sandbox,
            gaps,
        };
        snapshot.sort();
        snapshot
    })
}

fn step() -> impl Strategy<Value = StepId> {
    let verbs = vec![Verb::Cordon, Verb::Drain, Verb::Reboot, Verb::AwaitReady, Verb::Uncordon];
    (label(), node_name(), proptest::sample::select(verbs)).prop_map(|(cluster, node, verb)| StepId {
        cluster: ClusterName::new(cluster).unwrap(),
        node,
        verb,
    })
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![
        Just(Slot::Cluster),
        (table_name(), label()).prop_map(|(table, pool)| Slot::Pool(table, PoolName::new(pool).unwrap())),
        (table_name(), label()).prop_map(|(table, zone)| Slot::Zone(table, ZoneName::new(zone).unwrap())),
        Just(Slot::ControlPlane),
        budget_key().prop_map(Slot::Budget),
    ]
}

fn wait_for() -> impl Strategy<Value = WaitFor> {
    prop_oneof![
        slot().prop_map(WaitFor::Slot),
        (budget_key(), any::<[u32; 4]>()).prop_map(|(budget, [healthy, expected, desired, pods])| WaitFor::Budget {
            budget,
            healthy,
            expected,
            desired,
            pods,
        }),
        vec(pod_key(), 0..4).prop_map(WaitFor::PodsToEnd),
        (pod_key(), text()).prop_map(|(pod, message)| WaitFor::Webhook { pod, message }),
        text().prop_map(WaitFor::ApiServer),
        any::<u32>().prop_map(WaitFor::VolumesToDetach),
        text().prop_map(WaitFor::RebootPod),
        Just(WaitFor::RebootPodToEnd),
        Just(WaitFor::Boot),
        text().prop_map(WaitFor::NodeReady),
        Just(WaitFor::Settle),
        Just(WaitFor::Report),
        text().prop_map(WaitFor::Lock),
    ]
}

fn intent() -> impl Strategy<Value = Intent> {
    prop_oneof![
        Just(Intent::Cordon),
        Just(Intent::StartRebootPod),
        Just(Intent::DeleteRebootPod),
        (pod_key(), uid()).prop_map(|(pod, uid)| Intent::Evict { pod, uid }),
        phase().prop_map(Intent::Phase),
        boot_id().prop_map(|boot_id| Intent::TriggerReboot { boot_id }),
        Just(Intent::Uncordon),
        Just(Intent::SettleCordon { cluster: cluster("prod"), node: node("a") }),
        proptest::sample::select(run::BASES.to_vec()).prop_map(Intent::EnsureBase),
    ]
}

fn evidence() -> impl Strategy<Value = Evidence> {
    prop_oneof![
        Just(Evidence::Cordoned),
        (any::<u32>(), any::<u32>()).prop_map(|(evicted, gone)| Evidence::Drained { evicted, gone }),
        Just(Evidence::Requested),
        (boot_id(), boot_id()).prop_map(|(from, to)| Evidence::Booted { from, to }),
        Just(Evidence::Uncordoned),
        Just(Evidence::AlreadyHeld),
    ]
}

fn failure() -> impl Strategy<Value = StepFailure> {
    let kinds = vec![
        FailureKind::Stale,
        FailureKind::TimedOut,
        FailureKind::Refused,
        FailureKind::Unclear,
        FailureKind::Interrupted,
        FailureKind::LockLost,
        FailureKind::Panicked,
    ];
    (proptest::sample::select(kinds), text(), option::of(any::<String>()))
        .prop_map(|(kind, message, advice)| StepFailure { kind, message, advice })
}

fn any_event() -> impl Strategy<Value = Event> {
    let cluster = || label().prop_map(|text| ClusterName::new(text).unwrap());
    let conclusions = vec![Conclusion::Done, Conclusion::Partial, Conclusion::Interrupted];
    let kind = prop_oneof![
        (run_id(), text(), any::<String>()).prop_map(|(run, config, version)| EventKind::RunStarted {
            run,
            config,
            version
        }),
        cluster().prop_map(|cluster| EventKind::LockTaken { cluster }),
        cluster().prop_map(|cluster| EventKind::LockReleased { cluster }),
        step().prop_map(|step| EventKind::StepStarted { step }),
        (option::of(step()), intent()).prop_map(|(step, intent)| EventKind::Intended { step, intent }),
        (step(), wait_for(), time(), time())
            .prop_map(|(step, what, since, until)| EventKind::StepWaiting { step, wait: Wait { what, since, until } }),
        (step(), any::<u32>(), any::<u32>()).prop_map(|(step, done, total)| EventKind::StepProgress {
            step,
            done,
            total
        }),
        (step(), text()).prop_map(|(step, note)| EventKind::StepNote { step, note }),
        (step(), evidence()).prop_map(|(step, evidence)| EventKind::StepSucceeded { step, evidence }),
        (step(), failure()).prop_map(|(step, failure)| EventKind::StepFailed { step, failure }),
        step().prop_map(|step| EventKind::StepSkipped { step }),
        (cluster(), step()).prop_map(|(cluster, step)| EventKind::ClusterHalted { cluster, step }),
        Just(EventKind::Interrupted),
        proptest::sample::select(conclusions).prop_map(|conclusion| EventKind::RunFinished { conclusion }),
    ];
    (any::<u64>(), time(), kind).prop_map(|(seq, at, kind)| Event { seq, at, kind })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_snapshot_comes_back_as_it_was(made in any_snapshot()) {
        let bytes = snapshot::write(&made);
        let read = snapshot::read(&bytes).unwrap();
        prop_assert_eq!(&read, &made);
        prop_assert_eq!(snapshot::write(&read), bytes);
    }

    #[test]
    fn every_event_comes_back_as_it_was(made in any_event()) {
        let line = run::write(&made);
        prop_assert!(!line.contains(&b'\n'));
        prop_assert_eq!(run::read(&line).unwrap(), made);
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in vec(any::<u8>(), 0..200), cut in 0_usize..2000, made in any_snapshot()) {
        prop_assert!(snapshot::read(&bytes).is_err());
        prop_assert!(run::read(&bytes).is_err());
        let written = snapshot::write(&made);
        // Anything shorter than the whole is refused; only the final line feed may be missing.
        let cut = cut.min(written.len().saturating_sub(2));
        prop_assert!(snapshot::read(&written[..cut]).is_err());
    }
}

proptest! {
    // Building a validator is slow.
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn snapshots_and_events_hold_to_their_schemas(made in any_snapshot(), events in vec(any_event(), 16)) {
        valid(Kind::Snapshot, &snapshot::write(&made));
        for event in events {
            valid(Kind::Run, &run::write(&event));
        }
    }
}

fn small() -> Snapshot {
    let mut shapes = Shapes::default();
    let shape = shapes.intern(PodShape { grace_seconds: 30, ..PodShape::default() });
    let mut snapshot = Snapshot {
        cluster: cluster("prod"),
        via: Foreign::new("sandbox"),
        identity: None,
        version: Foreign::new("1.37.2"),
        taken_at: at("2026-11-23T13:00:00Z"),
        nodes: BTreeMap::new(),
        pods: Vec::new(),
        budgets: Budgets::default(),
        daemon_sets: BTreeMap::new(),
        control_plane: ControlPlane::default(),
        certificates: Certificates::default(),
        lock: None,
        sandbox: true,
        gaps: Vec::new(),
    };
    for n in 0..3 {
        snapshot.pods.push(Pod {
            key: pod(&format!("shop/web-{n}")),
            uid: Uid::new(format!("u{n}")).unwrap(),
            node: Some(node("a")),
            status: PodStatus { phase: PodPhase::Running, ready: true, terminating: false },
            shape: Arc::clone(&shape),
        });
    }
    snapshot
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    let good = String::from_utf8(snapshot::write(&small())).unwrap();
    assert!(snapshot::read(good.as_bytes()).is_ok());
    let mut out = format!("{good}\n");
    let mut say = |what: &str, bytes: &[u8]| {
        let error = snapshot::read(bytes).unwrap_err();
        let advice = error.advice().map(|advice| advice.0).unwrap_or_default();
        out.push_str(&format!("{what}: {error} ({advice})\n"));
    };
    let replaced = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1).into_bytes()
    };
    say("empty", b"");
    say("not JSON", b"hello");
    say("a list", b"[]");
    say("not ours", br#"{"apiVersion":"v1"}"#);
    say("a plan", br#"{"kind":"plan","format_version":"1.0"}"#);
    say("an evil kind", b"{\"kind\":\"\\u001b[31m\",\"format_version\":\"1.0\"}");
    say("no version", br#"{"kind":"snapshot"}"#);
    say("newer", br#"{"kind":"snapshot","format_version":"1.1","new":[]}"#);
    say("much newer", br#"{"kind":"snapshot","format_version":"2.0"}"#);
    say("older", br#"{"kind":"snapshot","format_version":"0.9"}"#);
    say("cut", &good.as_bytes()[..good.len() - 20]);
    say("unknown field", &replaced("\"sandbox\":", "\"sand\\u001bbox\":"));
    say("wrong type", &replaced("\"ready\":true", "\"ready\":1"));
    say("bad name", &replaced("web-1", "Web_1\\u001b"));
    say("bad time", &replaced("2026-11-23T13:00:00Z", "yesterday"));
    say("no such shape", &replaced("\"shape\":0", "\"shape\":7"));
    say("not UTF-8", &[good.as_bytes(), b"\xff"].concat());
    let deep = format!("{{\"kind\":\"snapshot\",\"format_version\":\"1.0\",\"x\":{}", "[".repeat(100_000));
    say("deep", deep.as_bytes());
    insta::with_settings!({
        snapshot_path => "../cases/format",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!("unreadable", out) });
}

#[test]
fn a_damaged_line_of_a_journal_is_refused() {
    for (line, place) in [
        (r#"{"kind":"run","format_version":"1.0","seq":1,"at":"x","event":{"type":"interrupted"}}"#, "at"),
        (
            r#"{"kind":"run","format_version":"1.0","seq":1,"at":"2026-11-23T13:00:00Z","event":{"type":"step_started","step":"a/b"}}"#,
            "event.step",
        ),
    ] {
        match run::read(line.as_bytes()).unwrap_err() {
            FormatError::Invalid { at, .. } => assert_eq!(at, place),
            other => panic!("{other}"),
        }
    }
    let newer = r#"{"kind":"run","format_version":"1.9","seq":1}"#;
    assert!(matches!(run::read(newer.as_bytes()), Err(FormatError::Newer { .. })));
}

/// 30,000 pods of 3,000 shapes, a fifth of the largest cluster planned for: the shapes are written once, and read back shared.
#[test]
fn a_large_snapshot_shares_its_shapes() {
    let mut snapshot = small();
    snapshot.pods.clear();
    let mut shapes = Shapes::default();
    for n in 0_u32..30_000 {
        let app = n % 3_000;
        let labels: Labels = [("app".into(), format!("app-{app}").into())].into();
        snapshot.pods.push(Pod {
            key: pod(&format!("ns-{}/app-{app}-{n}", app % 100)),
            uid: Uid::new(format!("0a1b2c3d-0000-0000-0000-{n:012}")).unwrap(),
            node: Some(node(&format!("node-{}", n % 5_000))),
            status: PodStatus { phase: PodPhase::Running, ready: true, terminating: false },
            shape: shapes.intern(PodShape { labels, grace_seconds: 30, ..PodShape::default() }),
        });
    }
    snapshot.sort();
    let bytes = snapshot::write(&snapshot);
    assert!(bytes.len() < 5 * 1024 * 1024, "{}", bytes.len());
    let read = snapshot::read(&bytes).unwrap();
    assert!(read == snapshot);
    let distinct: std::collections::HashSet<*const PodShape> =
        read.pods.iter().map(|pod| Arc::as_ptr(&pod.shape)).collect();
    assert_eq!(distinct.len(), 3_000);
}
