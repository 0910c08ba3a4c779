//! The first act of a drain that a reboot follows: the reboot pod is started and armed before anything is evicted.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::Instant;

use super::super::context::{Limit, StepContext, StepError, signed};
use super::await_ready::in_table;
use super::drain::{NodePods, over, still_held, take};
use crate::model::{DrainRule, Foreign, Pod, PodKey, reboot_pod_name};
use crate::plan::Action;
use crate::provider::{ActError, Followed, PodScope, ReadError, RebootPod, RebootPodState, Refusal, clock};
use crate::run::{FailureKind, Intent, WaitFor};

/// The longest wait for the reboot pod to be armed: an image is pulled in it.
const ARM_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Starts the reboot pod and waits until it is armed. Nothing is evicted before.
pub(super) async fn arm(
    context: &StepContext,
    rule: &DrainRule,
    news: &mut BoxStream<'static, Result<Followed<Pod, PodKey>, ReadError>>,
    pods: &mut NodePods,
    began: Instant,
) -> Result<(), StepError> {
    let outage = &context.outage;
    let planned = |step: &crate::plan::StepId| context.cluster.plan.steps.get(step).map(|step| step.action.clone());
    let (mut method, mut ready_timeout) = (crate::model::RebootMethod::Signal, Duration::ZERO);
    for action in outage.steps.iter().filter_map(planned) {
        match action {
            Action::Reboot { method: wanted } => method = wanted,
            Action::AwaitReady { timeout, .. } => ready_timeout = timeout,
            Action::Cordon | Action::Drain { .. } | Action::Uncordon => {}
        }
    }
    let Some(boot_id) = outage.boot_id.clone() else {
        return Err(StepError::stale("the node does not say its boot id"));
    };
    let life = rule.timeout + ready_timeout;
    let pod = RebootPod {
        node: outage.node.clone(),
        node_uid: outage.uid.clone(),
        boot_id,
        run: context.cluster.run.clone(),
        method,
        image: context.cluster.plan.node_pod.clone(),
        not_after: clock::now() + signed(life),
        active_deadline: life,
    };
    let limit = Limit::stoppable(began + rule.timeout.min(ARM_TIMEOUT));
    create(context, &pod, began, limit).await?;
    armed(context, rule, news, pods, began, limit).await
}

/// Creates the reboot pod. Its name is its own, so that one that is there already is the one.
async fn create(context: &StepContext, pod: &RebootPod, began: Instant, limit: Limit) -> Result<(), StepError> {
    let cluster = &context.cluster;
    loop {
        let permit = context.permit(Intent::StartRebootPod, limit).await?;
        context.notes().reboot_pod = true;
        let error = match cluster.acts.start_reboot_pod(permit, pod).await {
            Ok(()) | Err(ActError::Refused { refusal: Refusal::AlreadyExists, .. }) => return Ok(()),
            Err(error) => error,
        };
        context.bear_act(&error, began, limit).await.map_err(|failure| {
            if failure.is_interrupted() {
                return failure;
            }
            failure.advise("see deploy/base.yaml for what namespace haulout-system needs")
        })?;
        if matches!(error, ActError::Unclear { .. }) {
            match context.within(limit, cluster.acts.reboot_pod(&pod.node, &pod.run)).await? {
                // Created again, it is at worst there already.
                Ok(RebootPodState::Absent) | Err(_) => {}
                Ok(_) => return Ok(()),
            }
        }
        if clock::monotonic() >= limit.until {
            return Err(StepError::new(FailureKind::TimedOut, "the reboot pod could not be created in time"));
        }
    }
}

/// Waits until the reboot pod is armed.
async fn armed(
    context: &StepContext,
    rule: &DrainRule,
    news: &mut BoxStream<'static, Result<Followed<Pod, PodKey>, ReadError>>,
    pods: &mut NodePods,
    began: Instant,
    limit: Limit,
) -> Result<(), StepError> {
    /// How often the pod itself is asked what it says.
    const ASK_EVERY: Duration = Duration::from_secs(5);
    let (node, run) = (&context.outage.node, &context.cluster.run);
    let name = reboot_pod_name(node, run);
    let mut said = Foreign::default();
    loop {
        let seen = pods.values().find(|pod| pod.shape.ours && pod.key.name.as_str() == name);
        if seen.is_some_and(|pod| pod.status.ready && !pod.status.terminating) {
            return Ok(());
        }
        if context.cluster.interrupt.is_requested() {
            return Err(StepError::interrupted("interrupted before anything was evicted"));
        }
        still_held(context, limit).await?;
        // Not a drain that takes long: on the next node it would be the same, so that `on_failure` decides.
        if clock::monotonic() >= limit.until {
            return Err(not_armed(context, rule, seen, &said));
        }
        context.waits(WaitFor::RebootPod(said.clone()), began, limit.until).await?;
        let ask = (clock::monotonic() + ASK_EVERY).min(limit.until);
        let finished = seen.is_some_and(|pod| pod.status.is_finished());
        let told = tokio::select! {
            biased;
            () = context.cluster.interrupt.requested() => continue,
            // What the watch calls finished is looked at itself, for its words.
            () = std::future::ready(()), if finished => None,
            told = tokio::time::timeout_at(ask, news.next()) => told.ok(),
        };
        match told {
            Some(Some(Ok(told))) => take(pods, told),
            Some(Some(Err(_))) => context.rest(Duration::from_millis(100), limit).await.or_else(over)?,
            Some(None) => *news = context.cluster.acts.follow_pods(PodScope::Node(node.clone())),
            None => match context.within(limit, context.cluster.acts.reboot_pod(node, run)).await {
                Ok(Ok(RebootPodState::Armed)) => return Ok(()),
                Ok(Ok(RebootPodState::Starting(message))) => said = message,
                Ok(Ok(RebootPodState::Ended(message))) => {
                    return Err(StepError::new(
                        FailureKind::Refused,
                        format!("the reboot pod ended before it was armed: {}", message.raw()),
                    )
                    .advise("see the pod's log in namespace haulout-system; nothing was evicted"));
                }
                Ok(Ok(RebootPodState::Absent)) => said = Foreign::new("it is gone"),
                Ok(Err(error)) => said = error.message,
                Err(error) => over(error)?,
            },
        }
        if finished {
            // The watch lags behind, or the pod cannot be read: not again at once.
            context.rest(Duration::from_secs(1), limit).await.or_else(over)?;
        }
    }
}

/// The reboot pod ended, or its time was up, before it was armed: what was last seen of it, and what may help.
fn not_armed(context: &StepContext, rule: &DrainRule, seen: Option<&Pod>, said: &Foreign) -> StepError {
    let image = "check that the image of node_pod can be pulled and started on this node; nothing was evicted";
    let said = if said.is_empty() { String::new() } else { format!(" ({})", said.raw()) };
    let state = match seen {
        None if said.is_empty() => "nothing was seen of it".to_owned(),
        None => format!("it was not seen on the node{said}"),
        Some(pod) if pod.status.is_finished() => {
            return StepError::new(FailureKind::Refused, format!("the reboot pod ended before it was armed{said}"))
                .advise(image);
        }
        Some(pod) if pod.status.terminating => format!("it was being deleted{said}"),
        Some(pod) => format!("it was {:?} and not Ready{said}", pod.status.phase),
    };
    let limit = rule.timeout.min(ARM_TIMEOUT);
    let message = format!("the reboot pod was not armed within {}: {state}", crate::plan::words::duration(limit));
    let error = StepError::new(FailureKind::Refused, message);
    if rule.timeout < ARM_TIMEOUT {
        error.advise(format!(
            "raise drain.timeout{}: the reboot pod starts within it. If that does not help, {image}",
            in_table(context, rule.timeout)
        ))
    } else {
        error.advise(image)
    }
}
