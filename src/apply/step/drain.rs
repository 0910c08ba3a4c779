//! Drain: arm the reboot pod, evict what must leave, and prove that it left.
//!
//! Success is a node without pods that must leave, by the watch and by a fresh list, because pods may have been bound
//! around the cordon. Waits are woken by watches of the node's pods and of all budgets, and read again every 30
//! seconds. On an interrupt it stops evicting at once; evictions already sent are always awaited.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::Instant;

use super::super::context::{Baseline, StepContext, StepError, signed};
use super::super::live::{REREAD, changed_before};
use super::cordon::pause;
use super::eviction::{Evictions, Standing};
use super::uncordon;
use crate::model::{Cordon, DrainRule, Foreign, Phase, Pod, PodKey, reboot_pod_name};
use crate::plan::Action;
use crate::provider::{ActError, Followed, PodScope, ReadError, RebootPod, RebootPodState, Refusal, clock};
use crate::rules::{self, Departure, Refused};
use crate::run::{EventKind, Evidence, FailureKind, Intent, WaitFor};

/// The longest wait for the reboot pod to be armed: an image is pulled in it.
const ARM_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The longest wait for volumes to be detached after the last pod left. What is attached then is most likely in use by
/// a DaemonSet's pod and will never be; a reboot then is what such pods live with (tuppr waits as long).
const DETACH_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// The pods of the node by key, as the watch tells them.
pub(super) type NodePods = BTreeMap<PodKey, Pod>;

pub(super) async fn execute(context: &StepContext, rule: DrainRule, reboots: bool) -> Result<Evidence, StepError> {
    let result = drain(context, rule, reboots).await;
    let now = clock::monotonic();
    context.notes().drained_at = Some(now);
    if !reboots && context.outage.steps.iter().all(|step| step.verb != crate::plan::Verb::Uncordon) {
        // The cordon stays whatever came of the drain; the run's marks must not, or every later plan would think that
        // a run is still at work here.
        let settled = uncordon::settle(context).await;
        if result.is_ok() {
            settled?;
        }
    }
    result
}

async fn drain(context: &StepContext, rule: DrainRule, reboots: bool) -> Result<Evidence, StepError> {
    let began = clock::monotonic();
    let until = began + rule.timeout;
    // Nothing is evicted from a node that is not the one that was planned, or whose cordon is gone.
    super::cordon::check(context, &context.same_node(until).await?)?;
    let scope = PodScope::Node(context.node_name().clone());
    let mut news = context.cluster.acts.follow_pods(scope.clone());
    let mut pods = NodePods::new();
    first_list(context, &mut news, &mut pods, began, until).await?;

    let refused = refused(context, &rule, &pods);
    if !refused.is_empty() {
        return Err(StepError::stale(format!("the drain rule does not let these go: {}", refused.join(", "))));
    }
    if reboots {
        let baseline = baseline(context, &pods).await?;
        context.notes().baseline = Some(baseline);
        arm(context, &rule, &mut news, &mut pods, began).await?;
        write_phase(context, Phase::Armed, until).await?;
    }
    let mut evictions = Evictions::new(context, rule);
    loop {
        let wake = evict_all(context, &mut evictions, &mut news, &mut pods, began, until).await.err();
        // Whatever happened, what was sent is awaited.
        evictions.settle().await;
        if let Some(error) = wake {
            return Err(error);
        }
        // The watch says that all is gone; a list of its own must agree.
        let listed = fresh(context, &scope, began, until).await?;
        if leaving(context, &rule, &listed).next().is_none() {
            break;
        }
        pods = listed;
    }
    if evictions.any_volumes() {
        detached(context, until.min(clock::monotonic() + DETACH_TIMEOUT)).await?;
    }
    if reboots {
        write_phase(context, Phase::Drained, clock::monotonic() + Duration::from_secs(60)).await?;
    }
    let (evicted, gone) = evictions.counts();
    Ok(Evidence::Drained { evicted, gone })
}

/// Evicts until the watch shows nothing left that must leave.
async fn evict_all(
    context: &StepContext,
    evictions: &mut Evictions<'_>,
    news: &mut BoxStream<'static, Result<Followed<Pod, PodKey>, ReadError>>,
    pods: &mut NodePods,
    began: Instant,
    until: Instant,
) -> Result<(), StepError> {
    let mut changes = context.cluster.live.watch();
    let mut shown = (0, 0);
    let mut next_reread = clock::monotonic() + REREAD;
    loop {
        changes.mark_unchanged();
        let standing = evictions.advance(pods).await?;
        let progress = evictions.progress();
        if progress != shown {
            shown = progress;
            let (done, total) = progress;
            let step = context.id().clone();
            context.cluster.journal.record(EventKind::StepProgress { step, done, total }).await?;
        }
        if let Some(node) = context.cluster.live.node(context.node_name())
            && !holds(context, &node)
            && !holds(context, &context.same_node(until).await?)
        {
            evictions.stop();
            return Err(StepError::stale("somebody uncordoned the node, or took our marks off, while it was drained"));
        }
        let now = clock::monotonic();
        let (wait, wake) = match standing {
            Standing::Empty => return Ok(()),
            Standing::Stuck(error) => {
                evictions.stop();
                return Err(error);
            }
            Standing::Waiting { wait, wake } => (wait, wake),
        };
        if context.cluster.interrupt.is_requested() {
            evictions.stop();
            return Err(StepError::new(FailureKind::Interrupted, "interrupted; nothing more is evicted"));
        }
        if now >= until {
            evictions.stop();
            return Err(evictions.timed_out(pods));
        }
        if let Some(wait) = wait {
            context.waits(wait, began, until).await?;
        }
        if now >= next_reread {
            // A watch may have died without a sound, also where others stir all the time.
            evictions.reread(pods).await;
            next_reread = clock::monotonic() + REREAD;
            continue;
        }
        let wake = wake.unwrap_or(until).min(next_reread).min(until);
        tokio::select! {
            biased;
            () = context.cluster.interrupt.requested() => {}
            () = evictions.answered() => {}
            told = news.next() => match told {
                Some(Ok(told)) => take(pods, told),
                Some(Err(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                None => *news = context.cluster.acts.follow_pods(PodScope::Node(context.node_name().clone())),
            },
            _ = changed_before(&mut changes, wake) => {}
        }
    }
}

/// Whether the node is cordoned by this run, as far as an object of it says.
fn holds(context: &StepContext, node: &crate::model::Node) -> bool {
    node.uid == context.outage.uid
        && matches!(&node.cordon, Some(Cordon::Marked(mark))
            if mark.run == context.cluster.run || mark.config == context.cluster.config)
}

pub(super) fn take(pods: &mut NodePods, told: Followed<Pod, PodKey>) {
    match told {
        Followed::All(all) => *pods = all.into_iter().map(|pod| (pod.key.clone(), pod)).collect(),
        Followed::Is(pod) => {
            pods.insert(pod.key.clone(), pod);
        }
        Followed::Gone(key) => {
            pods.remove(&key);
        }
    }
}

async fn first_list(
    context: &StepContext,
    news: &mut BoxStream<'static, Result<Followed<Pod, PodKey>, ReadError>>,
    pods: &mut NodePods,
    since: Instant,
    until: Instant,
) -> Result<(), StepError> {
    loop {
        match news.next().await {
            Some(Ok(told)) => {
                take(pods, told);
                return Ok(());
            }
            Some(Err(error)) => context.bear(&error, since, until).await?,
            None => *news = context.cluster.acts.follow_pods(PodScope::Node(context.node_name().clone())),
        }
    }
}

/// All pods of a scope, as a fresh list has them.
pub(super) async fn list(context: &StepContext, scope: PodScope) -> Result<NodePods, ReadError> {
    let mut pods = NodePods::new();
    let mut pages = context.cluster.acts.pods(scope);
    while let Some(page) = pages.next().await {
        pods.extend(page?.0.into_iter().map(|pod| (pod.key.clone(), pod)));
    }
    Ok(pods)
}

async fn fresh(context: &StepContext, scope: &PodScope, since: Instant, until: Instant) -> Result<NodePods, StepError> {
    loop {
        match list(context, scope.clone()).await {
            Ok(pods) => return Ok(pods),
            Err(error) => context.bear(&error, since, until).await?,
        }
    }
}

/// The pods that the drain of this outage would still have to remove.
pub(super) async fn left_on(context: &StepContext, scope: PodScope) -> Result<Vec<Pod>, ReadError> {
    let rule = context.outage.steps.iter().find_map(|step| match context.cluster.plan.steps.get(step)?.action {
        Action::Drain { rule, .. } => Some(rule),
        Action::Cordon | Action::Reboot { .. } | Action::AwaitReady { .. } | Action::Uncordon => None,
    });
    let pods = list(context, scope).await?;
    Ok(rule.map_or_else(Vec::new, |rule| leaving(context, &rule, &pods).cloned().collect()))
}

fn departure(context: &StepContext, rule: &DrainRule, pod: &Pod) -> Departure {
    rules::departure(pod, rule, &context.cluster.daemon_sets, context.cluster.daemon_sets_known)
}

fn leaving<'a>(
    context: &'a StepContext,
    rule: &'a DrainRule,
    pods: &'a NodePods,
) -> impl Iterator<Item = &'a Pod> + 'a {
    pods.values().filter(move |pod| match departure(context, rule, pod) {
        Departure::Leaves | Departure::Refused(_) => true,
        Departure::Stays(_) => false,
    })
}

/// The pods that the rule does not let go, in words.
fn refused(context: &StepContext, rule: &DrainRule, pods: &NodePods) -> Vec<String> {
    pods.values()
        .filter(|pod| !pod.status.terminating)
        .filter_map(|pod| match departure(context, rule, pod) {
            Departure::Refused(why) => Some(format!("{} ({})", pod.key, in_words(why))),
            Departure::Leaves | Departure::Stays(_) => None,
        })
        .take(5)
        .collect()
}

async fn baseline(context: &StepContext, pods: &NodePods) -> Result<Baseline, StepError> {
    let ready = || pods.values().filter(|pod| pod.status.ready && !pod.status.terminating);
    for pod in pods.values().filter(|pod| !pod.status.ready && !pod.status.is_finished()) {
        if pod.shape.owner.as_ref().is_some_and(crate::model::Owner::is_daemon_set) {
            context.note(format!("{} was not Ready before; its return is not awaited", pod.key)).await?;
        }
    }
    let node = context.cluster.live.node(context.node_name());
    Ok(Baseline {
        daemon_sets: ready()
            .filter_map(|pod| pod.shape.owner.as_ref())
            .filter(|owner| owner.is_daemon_set())
            .map(|owner| owner.uid.clone())
            .collect(),
        mirrors: ready().filter(|pod| pod.shape.mirror).map(|pod| Foreign::new(pod.key.to_string())).collect(),
        // A cluster whose drivers may not be read has none to prove; the other proofs stand.
        csi_drivers: context.cluster.acts.csi_drivers(context.node_name()).await.unwrap_or_default(),
        allocatable: node.as_ref().map(|node| node.allocatable.clone()).unwrap_or_default(),
        pending_requests: context
            .cluster
            .acts
            .pending_serving_requests(context.node_name())
            .await
            .is_ok_and(|pending| pending > 0),
        taints: node
            .as_ref()
            .map(|node| node.taints.iter().map(|taint| taint.key.clone()).collect())
            .unwrap_or_default(),
        lease: None,
        reports: node.is_some_and(|node| node.report.reported_at.is_some() && node.report.boot_id.is_some()),
    })
}

/// Starts the reboot pod and waits until it is armed. Nothing is evicted before.
async fn arm(
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
    let until = began + rule.timeout.min(ARM_TIMEOUT);
    context.notes().reboot_pod = true;
    loop {
        let permit = context.permit(Intent::StartRebootPod).await?;
        match context.cluster.acts.start_reboot_pod(permit, &pod).await {
            Ok(()) | Err(ActError::Refused { refusal: Refusal::AlreadyExists, .. }) => break,
            Err(ActError::Refused { refusal: Refusal::Throttled { retry_after }, .. }) => {
                pause(context, "the API server asked to slow down", retry_after, began, until).await?;
            }
            Err(ActError::Refused { refusal: Refusal::TryAgain { message, retry_after }, .. }) => {
                pause(context, message.raw(), retry_after, began, until).await?;
            }
            // Its name is its own: creating it again answers AlreadyExists if it was made.
            Err(ActError::Unclear { cause, .. }) => context.bear(&cause, began, until).await?,
            Err(error) => {
                return Err(
                    StepError::from_act(&error).advise("see deploy/base.yaml for what namespace haulout-system needs")
                );
            }
        }
        if clock::monotonic() >= until {
            return Err(StepError::new(FailureKind::TimedOut, "the reboot pod could not be created in time"));
        }
    }
    let name = reboot_pod_name(&outage.node, &context.cluster.run);
    let mut said = Foreign::default();
    loop {
        let seen = pods.values().find(|pod| pod.shape.ours && pod.key.name.as_str() == name);
        if seen.is_some_and(|pod| pod.status.ready && !pod.status.terminating) {
            return Ok(());
        }
        if context.cluster.interrupt.is_requested() {
            return Err(StepError::new(FailureKind::Interrupted, "interrupted before anything was evicted"));
        }
        if seen.is_some_and(|pod| pod.status.is_finished()) || clock::monotonic() >= until {
            // Not a drain that takes long: on the next node it would be the same, so that `on_failure` decides.
            return Err(not_armed(context, rule, seen, &said));
        }
        context.waits(WaitFor::RebootPod(said.clone()), began, until).await?;
        let ask = (clock::monotonic() + Duration::from_secs(5)).min(until);
        tokio::select! {
            biased;
            () = context.cluster.interrupt.requested() => {}
            told = tokio::time::timeout_at(ask, news.next()) => match told {
                Ok(Some(Ok(told))) => take(pods, told),
                Ok(Some(Err(_))) => tokio::time::sleep(Duration::from_millis(100)).await,
                Ok(None) => *news = context.cluster.acts.follow_pods(PodScope::Node(outage.node.clone())),
                Err(_) => match context.cluster.acts.reboot_pod(&outage.node, &context.cluster.run).await {
                    Ok(RebootPodState::Armed) => return Ok(()),
                    Ok(RebootPodState::Starting(message)) => said = message,
                    Ok(RebootPodState::Ended(message)) => {
                        return Err(StepError::new(
                            FailureKind::Refused,
                            format!("the reboot pod ended before it was armed: {}", message.raw()),
                        )
                        .advise("see the pod's log in namespace haulout-system; nothing was evicted"));
                    }
                    Ok(RebootPodState::Absent) => said = Foreign::new("it is gone"),
                    Err(error) => said = error.message,
                },
            },
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
            super::await_ready::in_table(context, rule.timeout)
        ))
    } else {
        error.advise(image)
    }
}

/// Writes a phase on the node, guarded by its version.
async fn write_phase(context: &StepContext, phase: Phase, until: Instant) -> Result<(), StepError> {
    let since = clock::monotonic();
    let mut tries = 0;
    loop {
        let node = context.node_to_write(tries, until).await?;
        tries += 1;
        if node.mark.as_ref().is_none_or(|mark| mark.run != context.cluster.run) || !node.is_unschedulable() {
            return Err(StepError::stale("somebody uncordoned the node or took our marks off"));
        }
        let permit = context.permit(Intent::Phase(phase)).await?;
        match context.cluster.acts.write_phase(permit, &node, phase).await {
            Ok(node) => {
                context.cluster.live.read_node(node);
                return Ok(());
            }
            Err(ActError::Refused { refusal: Refusal::Conflict { .. }, .. }) => {}
            Err(ActError::Refused { refusal: Refusal::Throttled { retry_after }, .. }) => {
                pause(context, "the API server asked to slow down", retry_after, since, until).await?;
            }
            Err(ActError::Refused { refusal: Refusal::TryAgain { message, retry_after }, .. }) => {
                pause(context, message.raw(), retry_after, since, until).await?;
            }
            Err(ActError::Unclear { cause, .. }) => context.bear(&cause, since, until).await?,
            Err(error) => return Err(StepError::from_act(&error)),
        }
        if clock::monotonic() >= until {
            return Err(StepError::new(
                FailureKind::TimedOut,
                format!("the phase {phase} could not be written in time"),
            ));
        }
    }
}

/// Waits until no VolumeAttachment names the node.
async fn detached(context: &StepContext, until: Instant) -> Result<(), StepError> {
    let since = clock::monotonic();
    loop {
        match context.cluster.acts.volumes(context.node_name()).await {
            Ok(volumes) if volumes.attached.is_empty() => return Ok(()),
            Ok(volumes) => {
                let count = u32::try_from(volumes.attached.len()).unwrap_or(u32::MAX);
                if clock::monotonic() >= until {
                    return context.note(format!("{count} volume(s) are still attached to the node")).await;
                }
                context.waits(WaitFor::VolumesToDetach(count), since, until).await?;
            }
            // Not to know is no reason not to go on: the pods are gone, and detaching is then only a matter of time.
            Err(error) => return context.note(format!("{error}: {}", error.message.raw())).await,
        }
        tokio::select! {
            biased;
            () = context.cluster.interrupt.requested() => {
                return Err(StepError::new(FailureKind::Interrupted, "interrupted while volumes were being detached"));
            }
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

/// Why a pod is not let go, in words.
pub(super) fn in_words(refused: Refused) -> &'static str {
    match refused {
        Refused::Unmanaged => "no controller would make it again",
        Refused::EmptyDir => "its emptyDir data would be lost",
        Refused::UnmanagedWithEmptyDir => "no controller would make it again, and its emptyDir data would be lost",
    }
}
