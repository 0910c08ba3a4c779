//! Reboot: the journaled, guarded PATCH of the phase that the armed reboot pod waits for.
//!
//! It asks once: the pod fires only if phase, run, UID, boot id and cordon match, and the phase is the same however
//! often it is written. Success is the phase read back; that the node boots is for the next step to prove.

use std::sync::Arc;
use std::time::Duration;

use super::super::context::{Limit, StepContext, StepError};
use super::{drain, uncordon};
use crate::model::{Cordon, Phase};
use crate::plan::Precondition;
use crate::provider::{ActError, PodScope, RebootPodState, clock};
use crate::run::{Evidence, FailureKind, Intent};

/// The time limit of the request with its retries.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn execute(context: &StepContext) -> Result<Evidence, StepError> {
    let result = request(context).await;
    if result.is_err() && !context.notes().trigger_sent && uncordon::execute(context).await.is_ok() {
        // Nothing was requested, so that the node need not stay out.
        context.notes().released = true;
    }
    result
}

async fn request(context: &StepContext) -> Result<Evidence, StepError> {
    let since = clock::monotonic();
    let limit = Limit::stoppable(since + TIMEOUT);
    // The version that a trigger was sent for whose answer never came, for as long as it may still be written.
    let mut sent_for: Option<Arc<str>> = None;
    loop {
        let node = context.same_node(limit).await?;
        for precondition in &context.step.requires {
            match precondition {
                Precondition::BootId(boot_id) => {
                    if node.boot_id != *boot_id && sent_for.is_some() {
                        // The request whose answer never came was written after all.
                        return Ok(Evidence::Requested);
                    }
                    if node.boot_id != *boot_id {
                        return Err(StepError::stale("the node has booted since the plan was made"));
                    }
                }
                Precondition::NodeUid(_)
                | Precondition::NotCordoned
                | Precondition::CordonOurs
                | Precondition::LeftByRun(_) => {}
            }
        }
        let mark = match &node.cordon {
            Some(Cordon::Marked(mark)) if mark.run == context.cluster.run => mark,
            Some(Cordon::Marked(_) | Cordon::Foreign { .. }) | None => {
                return Err(StepError::stale("the cordon on the node is no longer this run's"));
            }
        };
        if mark.phase == Some(Phase::Reboot) {
            break;
        }
        let Some(boot_id) = node.boot_id.clone() else {
            return Err(StepError::stale("the node does not say its boot id"));
        };
        // Waiting for the lock comes first, so that nothing lies between this look and the request.
        context.locked(limit).await?;
        still_drained(context, limit).await?;
        // What the lease says now must have changed by the time the node is back. A lease that cannot be read proves
        // nothing either way; the other proofs stand.
        let lease = context.within(limit, context.cluster.acts.node_lease(context.node_name())).await?.ok().flatten();
        if let Some(baseline) = &mut context.notes().baseline {
            baseline.allocatable.clone_from(&node.allocatable);
            baseline.lease = lease.and_then(|lease| lease.renewed_at);
        }
        if context.cluster.interrupt.is_requested() {
            return Err(StepError::new(FailureKind::Interrupted, "interrupted before the reboot was requested"));
        }
        let permit = context.permit(Intent::TriggerReboot { boot_id }, limit).await?;
        {
            let mut notes = context.notes();
            notes.requested_at = Some(clock::monotonic());
            notes.trigger_sent = true;
        }
        let error = match context.cluster.acts.write_phase(permit, &node, Phase::Reboot).await {
            Ok(node) => {
                context.cluster.live.read_node(node);
                break;
            }
            Err(error) => error,
        };
        if let ActError::Unclear { cause, .. } = &error {
            // It may have been written, and the node may be going down this moment; the node itself tells, and is asked
            // even after an interrupt. Where it cannot be asked, the next step waits for another boot.
            let message = cause.message.raw();
            context.note(format!("whether the reboot was requested is not known yet: {message}")).await?;
            let firm = Limit::firm(limit.until);
            let Ok(now) = context.same_node(firm).await else { break };
            if now.boot_id != node.boot_id || now.mark.as_ref().is_some_and(|mark| mark.phase == Some(Phase::Reboot)) {
                break;
            }
            // What was sent is guarded by this version, and can be written no more once it is another.
            sent_for = Some(node.resource_version).filter(|sent| *sent == now.resource_version);
            if sent_for.is_none() {
                context.notes().trigger_sent = false;
            }
            context.bear_act(&error, since, limit).await?;
        } else {
            context.notes().trigger_sent = sent_for.is_some();
            context.bear_act(&error, since, limit).await?;
        }
        if clock::monotonic() >= limit.until {
            return Err(StepError::new(FailureKind::TimedOut, "the reboot could not be requested in time"));
        }
    }
    Ok(Evidence::Requested)
}

/// No reboot of an undrained node: what came after the drain's last look is seen here, and the reboot pod must be
/// armed still. Repeated before each try.
async fn still_drained(context: &StepContext, limit: Limit) -> Result<(), StepError> {
    let since = clock::monotonic();
    let left = loop {
        match context.within(limit, drain::left_on(context, PodScope::Node(context.node_name().clone()))).await? {
            Ok(left) => break left,
            Err(error) => context.bear(&error, since, limit).await?,
        }
    };
    if !left.is_empty() {
        let names = left.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        return Err(StepError::stale(format!("pods came to the node after it was drained: {names}")));
    }
    loop {
        let pod = context.cluster.acts.reboot_pod(context.node_name(), &context.cluster.run);
        match context.within(limit, pod).await? {
            Ok(RebootPodState::Armed) => return Ok(()),
            Ok(RebootPodState::Absent) => {
                return Err(StepError::new(FailureKind::Refused, "the reboot pod is gone")
                    .advise("see who deletes pods in namespace haulout-system"));
            }
            Ok(RebootPodState::Starting(message) | RebootPodState::Ended(message)) => {
                return Err(StepError::new(
                    FailureKind::Refused,
                    format!("the reboot pod is no longer armed: {}", message.raw()),
                ));
            }
            Err(error) => context.bear(&error, since, limit).await?,
        }
    }
}
