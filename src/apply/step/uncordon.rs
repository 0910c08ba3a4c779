//! Uncordon: one guarded PATCH that makes the node schedulable, takes our marks off and restores the autoscaler's
//! annotation.
//!
//! Only a cordon that is ours is taken off. Where a reboot pod existed, the node stays cordoned until that pod is
//! confirmed gone or ended: a pod that could still fire must not meet new pods.

use std::time::Duration;

use super::super::context::{Limit, StepContext, StepError};
use super::adopt;
use crate::model::{Cordon, Foreign, LastReboot, MANAGED_NAMESPACE, Node, RunId, reboot_pod_name};
use crate::plan::{Outage, Why};
use crate::provider::{ActError, RebootPodState, Refusal, UncordonWrite, clock};
use crate::run::{Evidence, FailureKind, Intent, WaitFor};

/// The time limit of the PATCH with its retries: an API server that is away for a minute must not leave a node cordoned.
const TIMEOUT: Duration = Duration::from_secs(3 * 60);
/// The longest wait for the reboot pod to end after it was told to: its grace and then some.
const POD_TIMEOUT: Duration = Duration::from_secs(2 * 60);
/// How often the deletion of a reboot pod that has ended is tried: it can do nothing any more, and a node that is well must
/// not stay cordoned for it.
const DELETE_TRIES: u32 = 8;

pub(super) async fn execute(context: &StepContext) -> Result<Evidence, StepError> {
    if context.notes().reboot_pod {
        end_reboot_pod(context, &context.cluster.run, false).await?;
    }
    if context.outage.adopts.is_some() || context.outage.already_out {
        adopt::end_reboot_pods(context).await?;
    }
    let since = clock::monotonic();
    let limit = Limit::firm(since + TIMEOUT);
    let write = UncordonWrite { last_reboot: last_reboot(context) };
    loop {
        let node = match context.read_node(limit).await? {
            Some(node) if node.uid == context.outage.uid => node,
            Some(_) | None => {
                context.note("the node is gone, or another took its name: there is nothing to uncordon").await?;
                context.cluster.live.hold(context.node_name(), false);
                return Ok(Evidence::AlreadyHeld);
            }
        };
        match &node.cordon {
            Some(Cordon::Marked(mark)) if mark.is_requested() && context.notes().booted.is_none() => {
                return Err(StepError::stale("its reboot was requested meanwhile, and is not proved"));
            }
            Some(Cordon::Marked(mark))
                if mark.run == context.cluster.run
                    || (context.outage.already_out && mark.config == context.cluster.config) => {}
            Some(Cordon::Marked(_) | Cordon::Foreign { .. }) => {
                context.notes().released = true;
                return Err(StepError::stale("somebody else has cordoned the node meanwhile; their cordon stays"));
            }
            None if node.mark.is_none() => {
                context.cluster.live.hold(context.node_name(), false);
                return Ok(Evidence::AlreadyHeld);
            }
            // Somebody uncordoned it; our marks still have to go.
            None => {}
        }
        let permit = context.permit(Intent::Uncordon, limit).await?;
        match context.cluster.acts.uncordon(permit, &node, &write).await {
            Ok(node) => return prove(context, node),
            // Refused or not answered: the node, read again above, tells how it stands.
            Err(error) => context.bear_act(&error, since, limit).await?,
        }
        if clock::monotonic() >= limit.until {
            return Err(StepError::new(FailureKind::TimedOut, "the node could not be uncordoned in time"));
        }
    }
}

fn prove(context: &StepContext, node: Node) -> Result<Evidence, StepError> {
    let free = !node.is_unschedulable() && node.mark.is_none();
    context.cluster.live.read_node(node);
    if free {
        context.cluster.live.hold(context.node_name(), false);
        Ok(Evidence::Uncordoned)
    } else {
        Err(StepError::new(FailureKind::Refused, "the node was written but is still unschedulable or marked")
            .advise("look for a webhook or controller that rewrites nodes"))
    }
}

fn last_reboot(context: &StepContext) -> Option<LastReboot> {
    let notes = context.notes();
    let (_, boot_id) = notes.booted.clone()?;
    let seconds = |from: Option<tokio::time::Instant>, to: Option<tokio::time::Instant>| {
        let span = from.zip(to).map_or(Duration::ZERO, |(from, to)| to.saturating_duration_since(from));
        u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
    };
    Some(LastReboot {
        at: clock::now(),
        run: context.cluster.run.clone(),
        boot_id,
        reason: reason(&context.outage),
        drain_seconds: seconds(notes.cordoned_at, notes.drained_at),
        boot_seconds: seconds(notes.requested_at, notes.ready_at),
    })
}

/// Why a node is rebooted, for its record.
pub(super) fn reason(outage: &Outage) -> Foreign {
    let of_wish = outage.why.iter().find_map(|why| match why {
        Why::RebootRequired(reason) => Some(reason.clone()),
        Why::KuredWants(_) => Some(Foreign::new("kured asked for it")),
        Why::UptimeExceeded { .. } => Some(Foreign::new("max_uptime")),
        Why::BootedBefore { .. } => Some(Foreign::new("booted_after")),
        Why::OutOfService(_) | Why::ReleasedFromService | Why::LeftByRun { .. } => None,
    });
    // Where a dead run has requested the reboot, it alone knew why.
    of_wish.or_else(|| Some(outage.adopts.as_ref()?.reason.clone())).unwrap_or_default()
}

/// Whether the Node object of the plan exists no more. The watch may lag behind: only the node itself is proof.
async fn is_gone(context: &StepContext, limit: Limit) -> Result<bool, StepError> {
    let is_it = |node: &Node| node.uid == context.outage.uid;
    if context.cluster.live.node(context.node_name()).as_ref().is_some_and(is_it) {
        return Ok(false);
    }
    Ok(!context.read_node(limit).await?.as_ref().is_some_and(is_it))
}

/// Deletes the reboot pod of a run and waits until it has ended, or is even `gone`.
pub(super) async fn end_reboot_pod(context: &StepContext, run: &RunId, gone: bool) -> Result<(), StepError> {
    let since = clock::monotonic();
    let limit = Limit::firm(since + POD_TIMEOUT);
    let node = context.node_name();
    let mut told = false;
    let mut tries = 0;
    loop {
        match context.within(limit, context.cluster.acts.reboot_pod(node, run)).await? {
            Ok(RebootPodState::Absent) => return Ok(()),
            Ok(state) => {
                let ended = matches!(state, RebootPodState::Ended(_));
                let mut again = false;
                if !told {
                    let permit = context.permit(Intent::DeleteRebootPod, limit).await?;
                    match context.cluster.acts.delete_reboot_pod(permit, node, run).await {
                        Ok(()) | Err(ActError::Refused { refusal: Refusal::NotFound, .. }) => told = true,
                        // The pod is read again above, and told again if it is still there: an ended pod that nobody
                        // deletes would stay for good.
                        Err(ActError::Unclear { .. }) => again = true,
                        Err(error @ ActError::Refused { .. }) => {
                            again = matches!(
                                &error,
                                ActError::Refused {
                                    refusal: Refusal::TryAgain { .. }
                                        | Refusal::Throttled { .. }
                                        | Refusal::Conflict { .. }
                                        | Refusal::Webhook { failed: true, .. },
                                    ..
                                }
                            );
                            if !ended && clock::monotonic() >= limit.until {
                                return Err(StepError::from_act(&error));
                            }
                        }
                    }
                }
                tries += 1;
                if ended && !gone && (!again || tries >= DELETE_TRIES) {
                    if again {
                        let name = reboot_pod_name(node, run);
                        context
                            .note(format!("pod {MANAGED_NAMESPACE}/{name} has ended and could not be deleted"))
                            .await?;
                    }
                    return Ok(());
                }
            }
            Err(error) => {
                context.bear(&error, since, limit).await?;
                continue;
            }
        }
        if clock::monotonic() >= limit.until {
            return Err(StepError::new(FailureKind::TimedOut, "the reboot pod does not end, and might still fire")
                .advise(format!(
                    "delete pod haulout-system/{} and, once it is gone, uncordon the node",
                    reboot_pod_name(node, run)
                )));
        }
        if told && is_gone(context, limit).await? {
            // Nobody confirms the end of a pod whose node is gone, until the cluster sweeps it up; and there is no node
            // left that it could take down, for it looks at the UID.
            return Ok(());
        }
        context.waits(WaitFor::RebootPodToEnd, since, limit.until).await?;
        context.rest(Duration::from_millis(300), limit).await?;
    }
}

/// The phases of a node whose cordon stays although its run is over, kept here with the rest of a node's end.
pub(in crate::apply) async fn settle(context: &StepContext) -> Result<(), StepError> {
    let since = clock::monotonic();
    let limit = Limit::firm(since + TIMEOUT);
    loop {
        let node = context.same_node(limit).await?;
        if !matches!(&node.cordon, Some(Cordon::Marked(mark)) if mark.run == context.cluster.run) {
            return Ok(());
        }
        let (cluster, node_name) = (context.id().cluster.clone(), context.node_name().clone());
        let permit = context.permit(Intent::SettleCordon { cluster, node: node_name }, limit).await?;
        match context.cluster.acts.settle_cordon(permit, &node).await {
            Ok(node) => {
                context.cluster.live.read_node(node);
                return Ok(());
            }
            // Refused or not answered: the node, read again above, tells how it stands.
            Err(error) => context.bear_act(&error, since, limit).await?,
        }
        if clock::monotonic() >= limit.until {
            return Err(StepError::new(FailureKind::TimedOut, "the node's marks could not be settled in time"));
        }
    }
}
