//! The steps of one node, with what must hold before each, what follows its failure, and how long it may take.

use std::collections::BTreeSet;
use std::time::Duration;

use super::drain::Prospect;
use super::types::{
    Action, Adopts, HeldUntil, Hold, NodeEnd, OnFailure, Outage, Precondition, Rest, Slot, Step, StepId, Verb,
};
use crate::config::{OnFailure as TableOnFailure, OutOfService, Reboot};
use crate::diff::Adoption;
use crate::model::{BootId, ClusterName, Cordon, DrainRule, Node, OnTimeout, RunId};

/// What an outage is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    /// cordon → drain → reboot → await-ready → uncordon.
    Reboot(&'a Reboot),
    /// cordon → drain, or the drain alone where our cordon is on it already.
    OutOfService(&'a OutOfService),
    /// uncordon.
    Release,
    /// await-ready → uncordon: the reboot that a dead run has requested, on this boot. By the rules of the table where
    /// it is still there.
    Finish(&'a BootId, Option<&'a Reboot>),
}

/// How long steps are expected to take where nothing is known of the node: for showing, never for deciding.
struct Estimates {
    patch: Duration,
    drain: Duration,
    idle_drain: Duration,
    request: Duration,
    boot: Duration,
}

/// On a real cluster: a drain is mostly the grace of its pods and the start of their replacements, a reboot of a
/// virtual machine takes one to three minutes until its node is Ready.
const REAL: Estimates = Estimates {
    patch: Duration::from_secs(1),
    drain: Duration::from_secs(120),
    idle_drain: Duration::from_secs(10),
    request: Duration::from_secs(5),
    boot: Duration::from_secs(180),
};

/// On a sandbox, whose delays are scaled down to be watched.
const SANDBOX: Estimates = Estimates {
    patch: Duration::from_secs(1),
    drain: Duration::from_secs(5),
    idle_drain: Duration::from_secs(1),
    request: Duration::from_secs(1),
    boot: Duration::from_secs(5),
};

/// How long the reboot of a dead run is awaited whose table is gone: the defaults of the table's keys.
const READY_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const SETTLE: Duration = Duration::from_secs(10);

/// Makes the outage of a node. Table, reasons and rank are the caller's to fill in.
pub(super) fn build(
    cluster: &ClusterName,
    sandbox: bool,
    node: &Node,
    purpose: Purpose<'_>,
    adoption: Option<&Adoption>,
    slots: Vec<Slot>,
    prospect: Prospect,
) -> (Outage, Vec<Step>) {
    let estimates = if sandbox { &SANDBOX } else { &REAL };
    let mut chain = Chain { cluster, node, left_by: adoption.map(|left| &left.run), estimates, steps: Vec::new() };
    let boot_id = match purpose {
        Purpose::Finish(before, _) => Some(before.clone()),
        Purpose::Reboot(_) | Purpose::OutOfService(_) | Purpose::Release => node.boot_id.clone(),
    };
    match purpose {
        Purpose::Reboot(table) => chain.reboot(table, prospect.evicts.is_empty()),
        Purpose::OutOfService(table) => chain.out_of_service(table, prospect.evicts.is_empty()),
        Purpose::Release => chain.release(),
        Purpose::Finish(_, table) => chain.finish(table),
    }
    let steps = chain.steps;
    let holds = slots.into_iter().map(|slot| Hold { slot, units: 1, until: HeldUntil::OutageEnds });
    let outage = Outage {
        node: node.name.clone(),
        pool: node.pool.clone(),
        zone: node.zone.clone(),
        table: None,
        why: Vec::new(),
        steps: steps.iter().map(|step| step.id.clone()).collect(),
        holds: holds.chain(prospect.holds).collect(),
        already_out: node.is_out(),
        rank: 0,
        evicts: prospect.evicts,
        impact: prospect.impact,
        boot_id,
        uid: node.uid.clone(),
        adopts: adoption.map(|left| Adopts {
            run: left.run.clone(),
            requested: left.must_be_finished(),
            cordoned: left.cordoned,
            reason: left.reboots.as_ref().map(|reboots| reboots.reason.clone()).unwrap_or_default(),
        }),
    };
    (outage, steps)
}

struct Chain<'a> {
    cluster: &'a ClusterName,
    node: &'a Node,
    left_by: Option<&'a RunId>,
    estimates: &'static Estimates,
    steps: Vec<Step>,
}

impl Chain<'_> {
    fn id(&self, verb: Verb) -> StepId {
        StepId { cluster: self.cluster.clone(), node: self.node.name.clone(), verb }
    }

    fn add(
        &mut self,
        verb: Verb,
        action: Action,
        requires: Vec<Precondition>,
        on_failure: OnFailure,
        estimate: Duration,
    ) {
        let after: BTreeSet<StepId> = self.steps.last().map(|step| step.id.clone()).into_iter().collect();
        self.steps.push(Step { id: self.id(verb), action, after, requires, on_failure, on_timeout: None, estimate });
    }

    fn same_node(&self) -> Precondition {
        Precondition::NodeUid(self.node.uid.clone())
    }

    /// Whose cordon may be on the node when it is cordoned: nobody's, or that of the dead run that left it.
    fn free(&self) -> Precondition {
        self.left_by.map_or(Precondition::NotCordoned, |run| Precondition::LeftByRun(run.clone()))
    }

    fn same_boot(&self) -> Precondition {
        Precondition::BootId(self.node.boot_id.clone())
    }

    fn drain_estimate(&self, idle: bool) -> Duration {
        let last = self.node.last_reboot.as_ref().map(|last| Duration::from_secs(u64::from(last.drain_seconds)));
        if idle { self.estimates.idle_drain } else { last.unwrap_or(self.estimates.drain) }
    }

    fn reboot(&mut self, table: &Reboot, idle: bool) {
        let rest = match table.on_failure {
            TableOnFailure::Halt => Rest::Halt,
            TableOnFailure::Continue => Rest::Continue,
        };
        // A cordon that failed did nothing to the node; from the reboot request on, nobody may declare it fit again
        // but the proof that it is back.
        let leave = OnFailure { node: NodeEnd::Leave, rest };
        let give_back = |rest| OnFailure { node: NodeEnd::SkipTo(self.id(Verb::Uncordon)), rest };
        let (on_failure, on_timeout) = (give_back(rest), give_back(after_timeout(&table.drain)));
        let (node, boot) = (self.same_node(), self.same_boot());
        let ours = [node.clone(), boot.clone(), Precondition::CordonOurs];
        let drain = self.drain_estimate(idle);
        let boot_time = self.node.last_reboot.as_ref().map(|last| Duration::from_secs(u64::from(last.boot_seconds)));
        let back = boot_time.unwrap_or(self.estimates.boot).saturating_add(table.settle);
        let Estimates { patch, request, .. } = *self.estimates;
        self.add(Verb::Cordon, Action::Cordon, vec![node.clone(), boot, self.free()], leave.clone(), patch);
        self.add(Verb::Drain, Action::Drain { rule: table.drain, reboots: true }, ours.to_vec(), on_failure, drain);
        self.time_out(on_timeout);
        self.add(Verb::Reboot, Action::Reboot { method: table.method }, ours.to_vec(), leave.clone(), request);
        let wait = Action::AwaitReady { timeout: table.ready_timeout, settle: table.settle };
        self.add(Verb::AwaitReady, wait, vec![node.clone()], leave.clone(), back);
        self.add(Verb::Uncordon, Action::Uncordon, vec![node, Precondition::CordonOurs], leave, patch);
    }

    /// A node that goes out of service is left cordoned whatever becomes of its drain: that much of what is wanted is
    /// done, and the next plan goes on from there.
    fn out_of_service(&mut self, table: &OutOfService, idle: bool) {
        let leave = |rest| OnFailure { node: NodeEnd::Leave, rest };
        let node = self.same_node();
        if self.left_by.is_some() || !matches!(self.node.cordon, Some(Cordon::Marked(_))) {
            let requires = vec![node.clone(), self.free()];
            self.add(Verb::Cordon, Action::Cordon, requires, leave(Rest::Halt), self.estimates.patch);
        }
        let action = Action::Drain { rule: table.drain, reboots: false };
        let requires = vec![node, Precondition::CordonOurs];
        self.add(Verb::Drain, action, requires, leave(Rest::Halt), self.drain_estimate(idle));
        self.time_out(leave(after_timeout(&table.drain)));
    }

    /// The proof of a reboot that was requested already.
    fn finish(&mut self, table: Option<&Reboot>) {
        let requires = vec![self.same_node(), Precondition::CordonOurs];
        let rest = if table.is_none_or(|table| table.on_failure == TableOnFailure::Halt) {
            Rest::Halt
        } else {
            Rest::Continue
        };
        let leave = OnFailure { node: NodeEnd::Leave, rest };
        let (timeout, settle) = table.map_or((READY_TIMEOUT, SETTLE), |table| (table.ready_timeout, table.settle));
        let last = self.node.last_reboot.as_ref().map(|last| Duration::from_secs(u64::from(last.boot_seconds)));
        let back = last.unwrap_or(self.estimates.boot).saturating_add(settle);
        let wait = Action::AwaitReady { timeout, settle };
        self.add(Verb::AwaitReady, wait, requires.clone(), leave.clone(), back);
        self.add(Verb::Uncordon, Action::Uncordon, requires, leave, self.estimates.patch);
    }

    fn release(&mut self) {
        let requires = vec![self.same_node(), Precondition::CordonOurs];
        let leave = OnFailure { node: NodeEnd::Leave, rest: Rest::Continue };
        self.add(Verb::Uncordon, Action::Uncordon, requires, leave, self.estimates.patch);
    }

    /// What follows when the time of the step just added is up.
    fn time_out(&mut self, follows: OnFailure) {
        if let Some(step) = self.steps.last_mut() {
            step.on_timeout = Some(follows);
        }
    }
}

fn after_timeout(rule: &DrainRule) -> Rest {
    match rule.on_timeout {
        OnTimeout::Skip => Rest::Continue,
        OnTimeout::Halt => Rest::Halt,
    }
}
