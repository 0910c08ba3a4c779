//! Reboot: the journaled, guarded PATCH of the phase that the armed reboot pod waits for.
//!
//! It asks once: the pod fires only if phase, run, UID, boot id and cordon match, and the phase is the same however
//! often it is written. Success is the phase read back; that the node boots is for the next step to prove.

use std::time::Duration;

use super::super::context::{StepContext, StepError};
use super::cordon::pause;
use super::{drain, uncordon};
use crate::model::{Cordon, Phase};
use crate::plan::Precondition;
use crate::provider::{ActError, PodScope, RebootPodState, Refusal, clock};
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
    let until = since + TIMEOUT;
    still_drained(context, until).await?;
    loop {
        let node = context.same_node(until).await?;
        for precondition in &context.step.requires {
            match precondition {
                Precondition::BootId(boot_id) => {
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
        // What the lease says now must have changed by the time the node is back. A lease that cannot be read proves
        // nothing either way; the other proofs stand.
        let lease = context.cluster.acts.node_lease(context.node_name()).await.ok().flatten();
        if let Some(baseline) = &mut context.notes().baseline {
            baseline.allocatable.clone_from(&node.allocatable);
            baseline.lease = lease.and_then(|lease| lease.renewed_at);
        }
        if context.cluster.interrupt.is_requested() {
            return Err(StepError::new(FailureKind::Interrupted, "interrupted before the reboot was requested"));
        }
        let permit = context.permit(Intent::TriggerReboot { boot_id }).await?;
        {
            let mut notes = context.notes();
            notes.requested_at = Some(clock::monotonic());
            notes.trigger_sent = true;
        }
        let answer = context.cluster.acts.write_phase(permit, &node, Phase::Reboot).await;
        if matches!(answer, Err(ActError::Refused { .. })) {
            context.notes().trigger_sent = false;
        }
        match answer {
            Ok(node) => {
                context.cluster.live.read_node(node);
                break;
            }
            Err(ActError::Refused { refusal: Refusal::Conflict { .. }, .. }) => {}
            Err(ActError::Refused { refusal: Refusal::Throttled { retry_after }, .. }) => {
                pause(context, "the API server asked to slow down", retry_after, since, until).await?;
            }
            Err(ActError::Refused { refusal: Refusal::TryAgain { message, retry_after }, .. }) => {
                pause(context, message.raw(), retry_after, since, until).await?;
            }
            Err(ActError::Unclear { cause, .. }) => {
                // It may have been written, and the node may be going down this moment. If it was, the boot id tells,
                // which the next step waits for; asking again could only end another boot.
                context.note(format!("whether the reboot was requested is not known: {}", cause.message.raw())).await?;
                break;
            }
            Err(error) => return Err(StepError::from_act(&error)),
        }
        if clock::monotonic() >= until {
            return Err(StepError::new(FailureKind::TimedOut, "the reboot could not be requested in time"));
        }
    }
    Ok(Evidence::Requested)
}

/// No reboot of an undrained node: what came after the drain's last look is seen here, and the reboot pod must be
/// armed still.
async fn still_drained(context: &StepContext, until: tokio::time::Instant) -> Result<(), StepError> {
    let since = clock::monotonic();
    let left = loop {
        match drain::left_on(context, PodScope::Node(context.node_name().clone())).await {
            Ok(left) => break left,
            Err(error) => context.bear(&error, since, until).await?,
        }
    };
    if !left.is_empty() {
        let names: Vec<_> = left.iter().take(3).map(|pod| pod.key.to_string()).collect();
        return Err(StepError::stale(format!("pods came to the node after it was drained: {}", names.join(", "))));
    }
    loop {
        match context.cluster.acts.reboot_pod(context.node_name(), &context.cluster.run).await {
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
            Err(error) => context.bear(&error, since, until).await?,
        }
    }
}
