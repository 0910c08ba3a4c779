//! Plans made by hand, for what shows and writes plans.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use haulout::model::{
    BootId, BudgetKey, ClusterName, DrainRule, Foreign, Namespace, NodeName, PodKey, PodName, PoolName, RebootMethod,
    TableName, Uid, ZoneName,
};
use haulout::plan::{
    Action, Blocked, BlockedReason, Capacity, CertificateReport, ClusterPlan, Counts, HeldUntil, Hold, NodeEnd,
    OnFailure, Outage, Precondition, Rest, Slot, Step, StepId, Unknown, UnknownReason, Verb, Wanted, Wave, Why,
};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    at("2026-11-23T13:02:30Z")
}

pub(crate) fn cluster(name: &str) -> ClusterName {
    ClusterName::new(name).unwrap()
}

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

pub(crate) fn table(name: &str) -> TableName {
    TableName::new(name).unwrap()
}

pub(crate) fn pod(text: &str) -> PodKey {
    let (namespace, name) = text.split_once('/').unwrap();
    PodKey { namespace: Namespace::new(namespace).unwrap(), name: PodName::new(name).unwrap() }
}

pub(crate) fn budget(text: &str) -> BudgetKey {
    let PodKey { namespace, name } = pod(text);
    BudgetKey { namespace, name }
}

pub(crate) fn step(cluster_name: &str, node_name: &str, verb: Verb) -> StepId {
    StepId { cluster: cluster(cluster_name), node: node(node_name), verb }
}

/// An observed cluster of which nothing is wanted.
pub(crate) fn empty(name: &str) -> ClusterPlan {
    ClusterPlan {
        cluster: cluster(name),
        after: Vec::new(),
        via: Foreign::new("aksmaxime/aksdemomax"),
        version: Foreign::new("1.34.2"),
        identity: Some(Uid::new("0a1b2c3d").unwrap()),
        observed_at: at("2026-11-23T13:02:11Z"),
        sandbox: false,
        steps: BTreeMap::new(),
        outages: Vec::new(),
        capacities: BTreeMap::new(),
        waves: Vec::new(),
        blocked: Vec::new(),
        unknown: Vec::new(),
        notices: Vec::new(),
        gaps: Vec::new(),
        certificates: CertificateReport::default(),
        counts: Counts::default(),
        node_pod: None,
    }
}

/// What is done to a node.
#[derive(Clone, Copy)]
pub(crate) enum Done {
    Reboot,
    Drain,
    Release,
}

impl Done {
    fn verbs(self) -> &'static [Verb] {
        match self {
            Done::Reboot => &[Verb::Cordon, Verb::Drain, Verb::Reboot, Verb::AwaitReady, Verb::Uncordon],
            Done::Drain => &[Verb::Cordon, Verb::Drain],
            Done::Release => &[Verb::Uncordon],
        }
    }
}

/// Adds a node with its steps; the wave is for [`wave`].
pub(crate) fn add(plan: &mut ClusterPlan, name: &str, done: Done, why: Vec<Why>) -> usize {
    let ids: Vec<StepId> = done.verbs().iter().map(|verb| step(plan.cluster.as_str(), name, *verb)).collect();
    let uncordon = ids.iter().find(|id| id.verb == Verb::Uncordon && id.verb != ids[0].verb);
    let mut before: Option<StepId> = None;
    for id in &ids {
        let early = matches!(id.verb, Verb::Cordon | Verb::Drain);
        let on_failure = OnFailure {
            node: match uncordon {
                Some(uncordon) if early => NodeEnd::SkipTo(uncordon.clone()),
                Some(_) | None => NodeEnd::Leave,
            },
            rest: Rest::Halt,
        };
        let action = match id.verb {
            Verb::Cordon => Action::Cordon,
            Verb::Drain => Action::Drain { rule: DrainRule::DEFAULT, reboots: matches!(done, Done::Reboot) },
            Verb::Reboot => Action::Reboot { method: RebootMethod::Signal },
            Verb::AwaitReady => {
                Action::AwaitReady { timeout: Duration::from_secs(600), settle: Duration::from_secs(10) }
            }
            Verb::Uncordon => Action::Uncordon,
        };
        plan.steps.insert(
            id.clone(),
            Step {
                id: id.clone(),
                action,
                after: before.iter().cloned().collect::<BTreeSet<_>>(),
                requires: vec![Precondition::NodeUid(Uid::new(format!("uid-{name}")).unwrap())],
                on_timeout: (id.verb == Verb::Drain).then(|| OnFailure { rest: Rest::Continue, ..on_failure.clone() }),
                on_failure,
                estimate: Duration::from_secs(120),
            },
        );
        before = Some(id.clone());
    }
    let table = match done {
        Done::Reboot => Some(table("linux")),
        Done::Drain => Some(table("rack-7")),
        Done::Release => None,
    };
    plan.outages.push(Outage {
        node: node(name),
        pool: PoolName::new("np1").unwrap(),
        zone: ZoneName::new("zone-1").unwrap(),
        table: table.clone(),
        why,
        steps: ids,
        holds: vec![
            Hold { slot: Slot::Cluster, units: 1, until: HeldUntil::OutageEnds },
            Hold { slot: Slot::Budget(budget("shop/web")), units: 1, until: HeldUntil::DrainEnds },
        ],
        already_out: matches!(done, Done::Release),
        rank: 0,
        evicts: Vec::new(),
        impact: Vec::new(),
        boot_id: Some(BootId::new(format!("3f1c{name}-boot-id")).unwrap()),
        uid: Uid::new(format!("uid-{name}")).unwrap(),
        adopts: None,
    });
    plan.capacities.insert(Slot::Cluster, Capacity { total: 3, taken: 1 });
    plan.outages.len() - 1
}

/// Adds a wave of 14 minutes after those there are.
pub(crate) fn wave(plan: &mut ClusterPlan, nodes: &[&str]) {
    let lasts = Duration::from_secs(831);
    let begins = lasts * u32::try_from(plan.waves.len()).unwrap();
    plan.waves.push(Wave { begins, lasts, nodes: nodes.iter().map(|name| node(name)).collect() });
}

pub(crate) fn blocked(name: &str, wanted: Wanted, reasons: Vec<BlockedReason>) -> Blocked {
    let table = match wanted {
        Wanted::Reboot => Some(table("linux")),
        Wanted::OutOfService => Some(table("rack-7")),
        Wanted::Release | Wanted::Protection => None,
    };
    Blocked { node: node(name), table, wanted, reasons }
}

pub(crate) fn unknown(name: &str, why: UnknownReason) -> Unknown {
    Unknown { node: node(name), table: table("linux"), why }
}

pub(crate) fn required(reason: &str) -> Why {
    Why::RebootRequired(Foreign::new(reason))
}
