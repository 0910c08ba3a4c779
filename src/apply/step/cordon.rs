//! Cordon: one guarded PATCH that also writes our marks.
//!
//! Before it, the limits are checked against the live nodes: whatever else went out since the plan was made counts
//! too, and then the step waits. Success is read from the answer: unschedulable, with our mark. Repeating it is
//! harmless.

use std::sync::Arc;
use std::time::Duration;

use super::super::context::{Limit, StepContext, StepError, said};
use super::super::live::reread_before;
use super::{adopt, uncordon};
use crate::model::{Cordon, Mark, Node, Phase, Reboots};
use crate::plan::{Action, Precondition, Slot, Verb};
use crate::provider::{ActError, CordonWrite, Refusal, clock};
use crate::run::{Evidence, FailureKind, Intent, WaitFor};

/// The longest wait for a place under a limit where no reboot follows, whose `ready_timeout` would say it; the default
/// of that key.
const PLACE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The time limit of the PATCH with its retries.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is tried: kubelets and controllers write nodes all the time, and a denial is borne for a minute.
const TRIES: u32 = 70;

pub(super) async fn execute(context: &StepContext) -> Result<Evidence, StepError> {
    let began = clock::monotonic();
    let place_timeout = context
        .outage
        .steps
        .iter()
        .find_map(|step| match context.cluster.plan.steps.get(step)?.action {
            Action::AwaitReady { timeout, .. } => Some(timeout),
            Action::Cordon | Action::Drain { .. } | Action::Reboot { .. } | Action::Uncordon => None,
        })
        .unwrap_or(PLACE_TIMEOUT);
    let changes = context.cluster.live.watch_places(context.node_name());
    let until = began + place_timeout;
    loop {
        changes.mark_unchanged();
        {
            let _gate = context.cluster.gate.lock().await;
            match filled(context) {
                None => {
                    if context.cluster.interrupt.is_requested() {
                        return Err(StepError::new(FailureKind::Interrupted, "interrupted before the cordon"));
                    }
                    context.cluster.live.hold(context.node_name(), true);
                    drop(_gate);
                    let result = take(context).await;
                    if result.is_err() && !context.notes().cordon_sent {
                        context.cluster.live.hold(context.node_name(), false);
                    }
                    return result;
                }
                Some(slot) => {
                    if context.cluster.interrupt.is_requested() {
                        return Err(StepError::new(FailureKind::Interrupted, "interrupted while waiting for a place"));
                    }
                    if clock::monotonic() >= until {
                        return Err(StepError::new(
                            FailureKind::TimedOut,
                            "other nodes filled the limit of nodes that may be out, and did not come back in time",
                        )
                        .advise("bring those nodes back, or raise the limit, and apply again"));
                    }
                    context.waits(WaitFor::Slot(slot), began, until).await?;
                }
            }
        }
        tokio::select! {
            biased;
            () = context.cluster.interrupt.requested() => {}
            _ = changes.before(reread_before(until)) => {}
        }
    }
}

/// The first limit that has no place left for this node, by the live nodes.
fn filled(context: &StepContext) -> Option<Slot> {
    // A node that is out already takes no further place.
    let out = context.cluster.live.look_at(context.node_name(), crate::model::Node::is_out) == Some(true);
    if out || context.outage.already_out {
        return None;
    }
    context.outage.holds.iter().find_map(|hold| {
        let capacity = context.cluster.plan.capacities.get(&hold.slot)?;
        let live = &context.cluster.live;
        let me = context.node_name();
        let out = match &hold.slot {
            Slot::Cluster => live.out(me, |_| true),
            Slot::Pool(_, pool) => live.out(me, |node| node.pool == *pool),
            Slot::Zone(_, zone) => live.out(me, |node| node.zone == *zone),
            Slot::ControlPlane => live.out(me, |node| node.control_plane),
            // A budget is not a place for nodes; evictions ask it one by one.
            Slot::Budget(_) => return None,
        };
        (out >= capacity.total).then(|| hold.slot.clone())
    })
}

/// Cordons the node. One that a dead run has left is then ours by one guarded write, after which nothing that run may
/// still have on its way can do anything to it; its reboot pods are ended before anything else begins.
async fn take(context: &StepContext) -> Result<Evidence, StepError> {
    let evidence = patch(context).await?;
    if context.outage.adopts.is_some() {
        adopt::end_reboot_pods(context).await?;
    }
    Ok(evidence)
}

/// The one PATCH, with its retries.
pub(super) async fn patch(context: &StepContext) -> Result<Evidence, StepError> {
    let since = clock::monotonic();
    let limit = Limit::stoppable(since + TIMEOUT);
    let mut afresh = false;
    // The version that a cordon was sent for whose answer never came, for as long as it may still be done.
    let mut sent_for: Option<Arc<str>> = None;
    for _ in 0..TRIES {
        let node = context.node_to_write(afresh, limit).await?;
        if let Err(error) = check(context, &node) {
            if afresh {
                return Err(error);
            }
            // A watch may lag behind: only the node itself ends a step.
            afresh = true;
            continue;
        }
        afresh = true;
        let permit = context.permit(Intent::Cordon, limit).await?;
        let mark = Mark {
            config: context.cluster.config.clone(),
            table: context.outage.table.clone().or_else(|| node.mark.as_ref().and_then(|mark| mark.table.clone())),
            run: context.cluster.run.clone(),
            // Of this write and no other: a node that a run takes up again shows by it that the write was done.
            since: clock::now(),
            phase: Some(Phase::Cordoned),
            reboots: reboots(context),
        };
        context.notes().cordon_sent = true;
        let error = match context.cluster.acts.cordon(permit, &node, &CordonWrite { mark: mark.clone() }).await {
            Ok(node) => return prove(context, node, &mark),
            Err(error) => error,
        };
        if matches!(error, ActError::Unclear { .. }) {
            // It may have happened; the node itself tells, and is asked even after an interrupt.
            let firm = Limit::firm(limit.until);
            context.bear_act(&error, since, firm).await?;
            let now = context.same_node(firm).await?;
            if carries(&now, &mark) {
                return prove(context, now, &mark);
            }
            // What was sent is guarded by this version, and can be done no more once it is another.
            sent_for = Some(node.resource_version).filter(|sent| *sent == now.resource_version);
            context.notes().cordon_sent = sent_for.is_some();
            continue;
        }
        context.notes().cordon_sent = sent_for.is_some();
        context
            .bear_act(&error, since, limit)
            .await
            .map_err(|failure| if failure.is_interrupted() { failure } else { failure.advise(advice(&error)) })?;
    }
    Err(StepError::new(FailureKind::Refused, "the node was written by others each time it was to be cordoned"))
}

fn advice(error: &ActError) -> String {
    match error {
        ActError::Refused { refusal: Refusal::Forbidden { .. }, .. } => {
            "give this identity the right to patch nodes (deploy/ has the roles)".to_owned()
        }
        ActError::Refused { refusal, .. } => format!("see what the API server says{}", said(refusal)),
        ActError::Unclear { .. } => "look at the node before anything else".to_owned(),
    }
}

pub(super) fn check(context: &StepContext, node: &Node) -> Result<(), StepError> {
    for precondition in &context.step.requires {
        match precondition {
            Precondition::NodeUid(uid) => {
                if node.uid != *uid {
                    return Err(StepError::stale("the node was replaced by another of the same name"));
                }
            }
            Precondition::BootId(boot_id) => {
                if node.boot_id != *boot_id {
                    return Err(StepError::stale("the node has booted since the plan was made"));
                }
            }
            Precondition::NotCordoned => {
                if node.is_unschedulable() && !is_ours(context, node) {
                    return Err(StepError::stale("the node was cordoned by somebody else"));
                }
            }
            Precondition::CordonOurs => {
                if !matches!(&node.cordon, Some(Cordon::Marked(mark)) if mark.config == context.cluster.config) {
                    return Err(StepError::stale("the cordon on the node is no longer ours"));
                }
            }
            Precondition::LeftByRun(run) => adopt::check(context, node, run)?,
        }
    }
    Ok(())
}

fn is_ours(context: &StepContext, node: &Node) -> bool {
    matches!(&node.cordon, Some(Cordon::Marked(mark)) if mark.run == context.cluster.run)
}

/// Whether exactly this mark is on the node.
fn carries(node: &Node, mark: &Mark) -> bool {
    matches!(&node.cordon, Some(Cordon::Marked(found)) if found.run == mark.run && found.since == mark.since)
}

/// What the run is to reboot on the node, where it is to: whoever finds the mark can tell by it whether it happened.
fn reboots(context: &StepContext) -> Option<Reboots> {
    let is_rebooted = context.outage.steps.iter().any(|step| matches!(step.verb, Verb::Reboot | Verb::AwaitReady));
    let boot_id = context.outage.boot_id.clone().filter(|_| is_rebooted)?;
    Some(Reboots { boot_id, reason: uncordon::reason(&context.outage) })
}

fn prove(context: &StepContext, node: Node, mark: &Mark) -> Result<Evidence, StepError> {
    let ours = carries(&node, mark);
    context.cluster.live.read_node(node);
    if ours {
        context.notes().cordoned_at = Some(clock::monotonic());
        Ok(Evidence::Cordoned)
    } else {
        Err(StepError::new(FailureKind::Refused, "the node was written but does not carry our cordon")
            .advise("look for a webhook or controller that rewrites nodes"))
    }
}
