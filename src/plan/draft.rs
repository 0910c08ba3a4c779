//! Changes → draft: what is to be done where, in which order, and what cannot be.
//!
//! A draft is not yet a plan. Anybody may build one; only [`super::check`] makes a [`super::Plan`] of it.

use jiff::Timestamp;
use petgraph::algo::{tarjan_scc, toposort};
use petgraph::graphmap::DiGraphMap;
use std::collections::{BTreeMap, BTreeSet};

use super::blocked::{Blocked, BlockedReason, Notice, Unknown, Wanted};
use super::certificate::CertificateReport;
use super::drain::{Judge, Prospect};
use super::error::PlanError;
use super::facts::Facts;
use super::limits::Limits;
use super::outage::{Purpose, build};
use super::select::{Chosen, Selection, choose};
use super::types::{Capacity, ClusterPlan, Counts, Slot};
use super::wave::waves;
use crate::config::{Cluster, Config, Order, Reboot, Scope};
use crate::diff::{Adoption, Change, Differences, Hindrance, Missing, Verdict, Why, compare};
use crate::model::{ClusterName, Foreign, GapSubject, Node, NodeName, Readiness, Snapshot, TableName};

/// A plan that nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The `name` of the config.
    pub config: Foreign,
    /// The moment that it is made for.
    pub now: Timestamp,
    /// The clusters, each after those it comes after.
    pub clusters: Vec<DraftCluster>,
}

/// One cluster of a draft, with what it is to be checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftCluster {
    /// What is to be done.
    pub plan: ClusterPlan,
    /// What is known.
    pub facts: Facts,
}

/// Drafts what brings the observed clusters to the state that the config wants at `now`, within the selection.
///
/// # Errors
/// [`PlanError`], but never its `Unsound`: that is the checker's.
pub fn draft(
    config: &Config,
    snapshots: &BTreeMap<ClusterName, Snapshot>,
    now: Timestamp,
    selection: &Selection,
) -> Result<Draft, PlanError> {
    let chosen = choose(selection, snapshots)?;
    let mut clusters = Vec::new();
    let mut reported = BTreeSet::new();
    for name in in_order(config, &chosen.clusters)? {
        let Some(snapshot) = snapshots.get(name) else { continue };
        let mut differences = compare(config, snapshot, now)?;
        differences.missing.retain(|missing| {
            !chosen.is_targeted()
                && is_missing_everywhere(config, missing, snapshots)
                && reported.insert((missing.table.clone(), missing.wanted, missing.node.clone()))
        });
        // `compare` has already refused a cluster that the config does not have.
        let Some(cluster) = config.clusters.get(name) else { continue };
        let work = Work { config, cluster, snapshot, now, chosen: &chosen, differences: &differences };
        clusters.push(DraftCluster { plan: work.plan(), facts: Facts::of(config, snapshot, &differences, now) });
    }
    Ok(Draft { config: config.name.clone(), now, clusters })
}

/// The chosen clusters, each after those it comes after, and by name where that leaves a choice.
fn in_order<'a>(config: &Config, chosen: &BTreeSet<&'a ClusterName>) -> Result<Vec<&'a ClusterName>, PlanError> {
    let mut graph: DiGraphMap<&ClusterName, ()> = DiGraphMap::new();
    for &name in chosen {
        graph.add_node(name);
        for before in config.clusters.get(name).into_iter().flat_map(|cluster| &cluster.after) {
            if let Some(&before) = chosen.get(before) {
                graph.add_edge(before, name, ());
            }
        }
    }
    let Ok(sorted) = toposort(&graph, None) else {
        let circle = tarjan_scc(&graph)
            .into_iter()
            .find(|part| part.len() > 1 || part.iter().any(|name| graph.contains_edge(name, name)))
            .unwrap_or_default();
        let mut clusters: Vec<ClusterName> = circle.into_iter().cloned().collect();
        clusters.sort();
        return Err(PlanError::ClusterCycle { clusters });
    };
    let mut depth: BTreeMap<&ClusterName, usize> = BTreeMap::new();
    for &name in &sorted {
        let before = graph.neighbors_directed(name, petgraph::Direction::Incoming);
        let deepest = before.filter_map(|before| depth.get(before)).max().map_or(0, |deepest| deepest + 1);
        depth.insert(name, deepest);
    }
    let mut ordered: Vec<&'a ClusterName> = chosen.iter().copied().collect();
    ordered.sort_by_key(|name| (depth.get(name).copied().unwrap_or(0), *name));
    Ok(ordered)
}

/// Whether a node that a table names is in none of the table's clusters. A table of several clusters names nodes of
/// any of them, so that this can be said only once all of them were observed.
fn is_missing_everywhere(config: &Config, missing: &Missing, snapshots: &BTreeMap<ClusterName, Snapshot>) -> bool {
    let scope: Option<&Scope> = match missing.wanted {
        Wanted::Reboot => config.reboots.get(&missing.table).map(|table| &table.scope),
        Wanted::OutOfService => config.out_of_service.get(&missing.table).map(|table| &table.scope),
        Wanted::Protection => config.protect.get(&missing.table).map(|table| &table.scope),
        Wanted::Release => None,
    };
    let Some(scope) = scope else { return true };
    config
        .clusters
        .iter()
        .filter(|(name, _)| scope.clusters.contains(*name))
        .all(|(name, _)| snapshots.get(name).is_some_and(|snapshot| !snapshot.nodes.contains_key(&missing.node)))
}

/// A change that nothing on its node forbids.
struct Candidate<'a> {
    node: &'a Node,
    wanted: Wanted,
    change: &'a Change,
    /// What a dead run has left on the node.
    adoption: Option<&'a Adoption>,
    prospect: Prospect,
    rank: u32,
}

impl<'a> Candidate<'a> {
    /// The table that it is done for.
    fn table(&self) -> Option<&'a TableName> {
        self.change.table.as_ref().filter(|_| self.wanted == self.change.wanted)
    }

    fn why(&self) -> Vec<Why> {
        let of_wish = |why: &&Why| self.wanted == self.change.wanted || matches!(why, Why::LeftByRun { .. });
        self.change.why.iter().filter(of_wish).cloned().collect()
    }
}

/// The drafting of one cluster.
struct Work<'a> {
    config: &'a Config,
    cluster: &'a Cluster,
    snapshot: &'a Snapshot,
    now: Timestamp,
    chosen: &'a Chosen<'a>,
    differences: &'a Differences,
}

impl<'a> Work<'a> {
    fn plan(&self) -> ClusterPlan {
        let snapshot = self.snapshot;
        let mut plan = ClusterPlan {
            cluster: snapshot.cluster.clone(),
            after: self.after(),
            via: snapshot.via.clone(),
            version: snapshot.version.clone(),
            identity: snapshot.identity.clone(),
            observed_at: snapshot.taken_at,
            sandbox: snapshot.sandbox,
            steps: BTreeMap::new(),
            outages: Vec::new(),
            capacities: BTreeMap::new(),
            waves: Vec::new(),
            blocked: self.missing(),
            unknown: Vec::new(),
            notices: self.notices(),
            gaps: snapshot.gaps.clone(),
            certificates: CertificateReport::of(self.snapshot, self.now),
            counts: Counts::default(),
            node_pod: if snapshot.sandbox { None } else { self.cluster.node_pod.clone() },
        };
        let (candidates, outside) =
            self.sort_out(&plan.certificates, &mut plan.counts, &mut plan.blocked, &mut plan.unknown);
        self.lay_out(candidates, &outside, &mut plan);
        plan.notices.extend(self.left_alone(&plan));
        plan.blocked.sort_by(|a, b| (&a.node, a.wanted, &a.table).cmp(&(&b.node, b.wanted, &b.table)));
        plan.waves = waves(&plan, self.now);
        plan
    }

    fn after(&self) -> Vec<ClusterName> {
        let mut after: Vec<ClusterName> =
            self.cluster.after.iter().filter(|name| self.chosen.clusters.contains(name)).cloned().collect();
        after.sort();
        after.dedup();
        after
    }

    fn missing(&self) -> Vec<Blocked> {
        let blocked = self.differences.missing.iter().map(|missing| Blocked {
            node: missing.node.clone(),
            table: Some(missing.table.clone()),
            wanted: missing.wanted,
            reasons: vec![BlockedReason::NoSuchNode { similar: missing.similar.clone() }],
        });
        blocked.collect()
    }

    fn notices(&self) -> Vec<Notice> {
        let lock = self.snapshot.lock.iter();
        lock.map(|lock| Notice::LockHeld { holder: lock.holder.clone(), renewed_at: lock.renewed_at })
            .chain(self.differences.notices.iter().cloned())
            .collect()
    }

    /// The nodes that dead runs have left marked and that this plan does nothing about: no cordon goes unnamed.
    fn left_alone(&self, plan: &ClusterPlan) -> Vec<Notice> {
        let named: BTreeSet<&NodeName> = plan
            .outages
            .iter()
            .map(|outage| &outage.node)
            .chain(plan.blocked.iter().map(|blocked| &blocked.node))
            .collect();
        let left = self.differences.adoptions.iter().filter(|(node, _)| !named.contains(node));
        let notice = |(node, left): (&NodeName, &Adoption)| Notice::LeftAlone {
            node: node.clone(),
            run: left.run.clone(),
            cordoned: left.cordoned,
        };
        left.map(notice).collect()
    }

    /// Gives every observed node its place: counted, unknown, blocked for what is on it, or a candidate. Returns the
    /// candidates that also find room under the limits, and how much of each slot nodes outside the plan have taken.
    fn sort_out(
        &self,
        certificates: &CertificateReport,
        counts: &mut Counts,
        blocked: &mut Vec<Blocked>,
        unknown: &mut Vec<Unknown>,
    ) -> (Vec<Candidate<'a>>, BTreeMap<Slot, u32>) {
        let mut judge = Judge::new(self.snapshot);
        let mut candidates = Vec::new();
        for node in self.snapshot.nodes.values() {
            counts.observed += 1;
            if !self.chosen.includes(&self.snapshot.cluster, &node.name) {
                counts.excluded += 1;
                continue;
            }
            match self.differences.nodes.get(&node.name) {
                None | Some(Verdict::NotSelected) => counts.not_selected += 1,
                Some(Verdict::Protected(_)) => counts.protected += 1,
                Some(Verdict::UpToDate(_)) => counts.up_to_date += 1,
                Some(Verdict::OutOfService(_)) => counts.out_of_service += 1,
                Some(Verdict::Unknown(why)) => {
                    counts.unknown += 1;
                    unknown.push(why.clone());
                }
                Some(Verdict::Change { change, hindrances }) => {
                    let mut reasons: Vec<BlockedReason> = hindrances.iter().map(of_hindrance).collect();
                    reasons.extend(self.obstacles(node, change, certificates));
                    let adoption = self.differences.adoptions.get(&node.name);
                    let rank = match self.reboot_of(change) {
                        // What a dead run has taken out goes first: it holds its places already, and those before it
                        // in the order might wait for them.
                        Some(table) if adoption.is_none() => rank(&table.order, node),
                        Some(_) | None => 0,
                    };
                    let mut prospect = self.prospect(&mut judge, node, change);
                    reasons.append(&mut prospect.reasons);
                    let wanted = change.wanted;
                    let gives_back = wanted == Wanted::Reboot && adoption.is_some_and(|left| left.cordoned);
                    if reasons.is_empty() {
                        candidates.push(Candidate { node, wanted, change, adoption, prospect, rank });
                    } else if gives_back {
                        // The run would have uncordoned it when its drain failed; the next plan says what blocks it.
                        let (wanted, prospect) = (Wanted::Release, Prospect::default());
                        candidates.push(Candidate { node, wanted, change, adoption, prospect, rank: 0 });
                    } else {
                        blocked.push(block(node, change, reasons));
                    }
                }
            }
        }
        let (candidates, without_room, outside) = self.find_room(candidates);
        blocked.extend(without_room);
        counts.blocked =
            u32::try_from(blocked.iter().filter(|blocked| self.snapshot.nodes.contains_key(&blocked.node)).count())
                .unwrap_or(u32::MAX);
        for candidate in &candidates {
            match candidate.wanted {
                Wanted::Reboot => counts.reboot += 1,
                Wanted::OutOfService => counts.drain += 1,
                Wanted::Release | Wanted::Protection => counts.release += 1,
            }
        }
        (candidates, outside)
    }

    fn reboot_of(&self, change: &Change) -> Option<&'a Reboot> {
        match change.wanted {
            Wanted::Reboot => self.config.reboots.get(change.table.as_ref()?),
            Wanted::OutOfService | Wanted::Release | Wanted::Protection => None,
        }
    }

    /// What forbids a change, apart from pods, budgets and limits.
    fn obstacles(&self, node: &Node, change: &Change, certificates: &CertificateReport) -> Vec<BlockedReason> {
        let Some(table) = self.reboot_of(change) else { return Vec::new() };
        let mut reasons = Vec::new();
        if !node.linux {
            reasons.push(BlockedReason::NotLinux);
        }
        if node.readiness != Readiness::Ready || node.terminating {
            reasons.push(BlockedReason::NotReady);
        }
        reasons.extend(certificates.request_of(&node.name).map(|judged| BlockedReason::ServingRequestPending {
            request: judged.request.name.clone(),
            sound: judged.faults.is_empty(),
        }));
        if self.cluster.node_pod.is_none() && !self.snapshot.sandbox {
            reasons.push(BlockedReason::NoNodePod);
        }
        if node.control_plane && !table.accept_api_outage {
            reasons.extend(self.quorum(node));
        }
        reasons
    }

    /// Whether etcd survives the reboot of a node: three healthy members at least, and without the node's own still a
    /// majority of all members.
    fn quorum(&self, node: &Node) -> Option<BlockedReason> {
        let members = &self.snapshot.control_plane.etcd_members;
        if members.is_empty() || self.snapshot.has_gap(GapSubject::Etcd) {
            return Some(BlockedReason::EtcdQuorum { healthy: None });
        }
        let healthy = members.values().filter(|healthy| **healthy).count();
        let remaining = healthy - usize::from(members.get(&node.name).copied().unwrap_or(false));
        let majority = members.len() / 2 + 1;
        (healthy < 3 || remaining < majority)
            .then(|| BlockedReason::EtcdQuorum { healthy: u32::try_from(healthy).ok() })
    }

    fn prospect(&self, judge: &mut Judge<'a>, node: &Node, change: &Change) -> Prospect {
        let table = change.table.as_ref();
        let rule = match change.wanted {
            Wanted::Reboot => table.and_then(|table| self.config.reboots.get(table)).map(|table| &table.drain),
            Wanted::OutOfService => {
                table.and_then(|table| self.config.out_of_service.get(table)).map(|table| &table.drain)
            }
            Wanted::Release | Wanted::Protection => None,
        };
        rule.map_or_else(Prospect::default, |rule| judge.drain(&node.name, rule))
    }

    /// Puts candidates behind a limit that will never have room aside.
    ///
    /// What holds a slot for good is a node outside the plan that is out, and one that the plan takes out of service.
    /// Everything else gives its slots back, and takes them all at once, so that whatever finds one unit of each of
    /// its slots not held for good starts sooner or later, whatever the order in which steps happen to end.
    fn find_room(&self, candidates: Vec<Candidate<'a>>) -> (Vec<Candidate<'a>>, Vec<Blocked>, BTreeMap<Slot, u32>) {
        let mut limits = Limits::new(self.config, self.cluster, self.snapshot, self.differences);
        let planned: BTreeSet<&NodeName> = candidates.iter().map(|candidate| &candidate.node.name).collect();
        let mut outside: BTreeMap<Slot, u32> = BTreeMap::new();
        for node in self.snapshot.nodes.values() {
            let kured = self.differences.held_by_kured.contains_key(&node.name);
            if (node.is_out() || kured) && !planned.contains(&node.name) {
                limits.keep(node);
                for slot in limits.slots_of(node) {
                    *outside.entry(slot).or_default() += 1;
                }
            }
        }
        let stays_out = |candidate: &Candidate<'_>| candidate.wanted == Wanted::OutOfService;
        for candidate in candidates.iter().filter(|candidate| stays_out(candidate) && candidate.node.is_out()) {
            limits.keep(candidate.node);
        }
        let (mut found, mut without) = (Vec::new(), Vec::new());
        let mut offer = |candidate: Candidate<'a>, limits: &mut Limits| {
            let filled = if candidate.node.is_out() { Vec::new() } else { limits.filled(candidate.node) };
            if filled.is_empty() {
                if stays_out(&candidate) {
                    limits.keep(candidate.node);
                }
                found.push(candidate);
            } else {
                let reasons =
                    filled.into_iter().map(|(slot, total, out)| BlockedReason::LimitFilled { slot, total, out });
                without.push(block(candidate.node, candidate.change, reasons.collect()));
            }
        };
        // Out of service beats reboot, for room too.
        let (first, then): (Vec<_>, Vec<_>) = candidates.into_iter().partition(stays_out);
        for candidate in first.into_iter().chain(then) {
            offer(candidate, &mut limits);
        }
        (found, without, outside)
    }

    /// Makes outages of candidates, in the order in which they are offered a start: releases, which only give room
    /// back; then what goes out of service; then reboots by table, rank and name.
    fn lay_out(&self, mut candidates: Vec<Candidate<'a>>, outside: &BTreeMap<Slot, u32>, plan: &mut ClusterPlan) {
        let limits = Limits::new(self.config, self.cluster, self.snapshot, self.differences);
        let turn = |wanted: Wanted| match wanted {
            Wanted::Release | Wanted::Protection => 0,
            Wanted::OutOfService => 1,
            Wanted::Reboot => 2,
        };
        candidates.sort_by(|a, b| {
            let key = |candidate: &Candidate<'a>| (turn(candidate.wanted), candidate.table(), candidate.rank);
            (key(a), &a.node.name).cmp(&(key(b), &b.node.name))
        });
        for candidate in candidates {
            let (table, why) = (candidate.table(), candidate.why());
            let Candidate { node, wanted, adoption, prospect, rank, .. } = candidate;
            let purpose = match wanted {
                Wanted::Reboot => table.and_then(|table| self.config.reboots.get(table)).map(Purpose::Reboot),
                Wanted::OutOfService => {
                    table.and_then(|table| self.config.out_of_service.get(table)).map(Purpose::OutOfService)
                }
                Wanted::Release | Wanted::Protection => {
                    let table = || self.config.reboots.get(adoption?.table.as_ref()?);
                    let awaited = adoption.and_then(Adoption::awaits);
                    Some(awaited.map_or(Purpose::Release, |reboots| Purpose::Finish(&reboots.boot_id, table())))
                }
            };
            // A change names a table of this config, or none: it was made from it.
            let Some(purpose) = purpose else { continue };
            let slots = limits.slots_of(node);
            for slot in &slots {
                plan.capacities.entry(slot.clone()).or_insert_with(|| limits.capacity(slot, outside));
            }
            for (budget, allowed) in &prospect.allowed {
                let capacity = Capacity { total: *allowed, taken: 0 };
                plan.capacities.entry(Slot::Budget(budget.clone())).or_insert(capacity);
            }
            let (mut outage, steps) = build(&plan.cluster, plan.sandbox, node, purpose, adoption, slots, prospect);
            outage.table = table.cloned();
            outage.why = why;
            outage.rank = rank;
            plan.steps.extend(steps.into_iter().map(|step| (step.id.clone(), step)));
            plan.outages.push(outage);
        }
    }
}

fn of_hindrance(hindrance: &Hindrance) -> BlockedReason {
    match hindrance.clone() {
        Hindrance::ForeignCordon { manager, since } => BlockedReason::ForeignCordon { manager, since },
        Hindrance::MarkedByRun { run, config, standing } => BlockedReason::MarkedByRun { run, config, standing },
        Hindrance::HeldByKured(kured) => BlockedReason::HeldByKured(kured),
        Hindrance::RebootDidNotClear { at, reason } => BlockedReason::RebootDidNotClear { at, reason },
    }
}

fn block(node: &Node, change: &Change, reasons: Vec<BlockedReason>) -> Blocked {
    Blocked { node: node.name.clone(), table: change.table.clone(), wanted: change.wanted, reasons }
}

/// The place of a node in `order`: the first selector that matches, else `*`, else after all entries.
fn rank(order: &[Order], node: &Node) -> u32 {
    let selected = order.iter().position(|entry| match entry {
        Order::Selector(selector) => selector.matches(&node.labels),
        Order::Rest => false,
    });
    let rest = || order.iter().position(|entry| matches!(entry, Order::Rest));
    u32::try_from(selected.or_else(rest).unwrap_or(order.len())).unwrap_or(u32::MAX)
}
