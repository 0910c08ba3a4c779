//! Drain: arm the reboot pod, evict what must leave, and prove that it left.
//!
//! Success is a node without pods that must leave, by the watch and by a fresh list, because pods may have been bound
//! around the cordon. Waits are woken by watches of the node's pods and of the budgets that hold them, and read again
//! every 30 seconds. On an interrupt it stops evicting at once; evictions already sent are always awaited.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::Instant;

use super::super::context::{Baseline, Limit, StepContext, StepError};
use super::super::live::REREAD;
use super::arm;
use super::eviction::{Evictions, Standing};
use super::uncordon;
use crate::model::{Cordon, DrainRule, Foreign, Node, Phase, Pod, PodKey};
use crate::plan::{Action, Verb};
use crate::provider::{Followed, PodScope, ReadError, ReadErrorKind, clock};
use crate::rules::{self, Departure, Refused};
use crate::run::{EventKind, Evidence, FailureKind, Intent, WaitFor};

/// The longest wait for volumes to be detached after the last pod left. What is attached then is most likely in use by
/// a DaemonSet's pod and will never be; a reboot then is what such pods live with (tuppr waits as long).
const DETACH_TIMEOUT: Duration = Duration::from_secs(2 * 60);
/// The time limit of the phase that ends a drain, with its retries.
const PHASE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is looked whether this run may still act while nothing else stirs.
const LOCK_LOOK: Duration = Duration::from_secs(5);
/// How often it is looked whether pods that cannot be understood are gone.
const UNREADABLE_LOOK: Duration = Duration::from_secs(2);

/// The pods of the node by key, as the watch tells them.
pub(super) type NodePods = BTreeMap<PodKey, Pod>;

pub(super) async fn execute(context: &StepContext, rule: DrainRule, reboots: bool) -> Result<Evidence, StepError> {
    let result = drain(context, rule, reboots).await;
    let now = clock::monotonic();
    context.notes().drained_at = Some(now);
    if !reboots && context.outage.steps.iter().all(|step| step.verb != Verb::Uncordon) {
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
    let limit = Limit::stoppable(began + rule.timeout);
    // Nothing is evicted from a node that is not the one that was planned, or whose cordon is gone.
    super::cordon::check(context, &context.same_node(limit).await?)?;
    know_daemon_sets(context, began, limit).await?;
    let scope = PodScope::Node(context.node_name().clone());
    let mut news = context.cluster.acts.follow_pods(scope.clone());
    let mut pods = NodePods::new();
    if !first_list(context, &mut news, &mut pods, began, limit).await? {
        let unreadable = fresh(context, &scope, began, limit).await?.unreadable;
        if !unreadable.is_empty() {
            let names = unreadable.join(", ");
            let message = format!("haulout cannot understand these pods, and so cannot see them leave: {names}");
            return Err(StepError::stale(message));
        }
    }

    let refused = refused(context, &rule, &pods);
    if !refused.is_empty() {
        return Err(StepError::stale(format!("the drain rule does not let these go: {}", refused.join(", "))));
    }
    if reboots {
        let baseline = baseline(context, &pods, limit).await?;
        context.notes().baseline = Some(baseline);
        arm::arm(context, &rule, &mut news, &mut pods, began).await?;
        write_phase(context, Phase::Armed, limit).await?;
    }
    let mut evictions = Evictions::new(context, rule, limit);
    loop {
        let wake = evict_all(context, &mut evictions, &mut news, &mut pods, began, limit).await.err();
        if wake.is_some() {
            evictions.stop();
        }
        // Whatever happened, what was sent is awaited.
        evictions.settle().await;
        if let Some(error) = wake {
            return Err(error);
        }
        // The watch says that all is gone; a list of its own must agree.
        let listed = fresh(context, &scope, began, limit).await?;
        if leaving(context, &rule, &listed.pods).next().is_some() {
            pods = listed.pods;
        } else if listed.unreadable.is_empty() {
            break;
        } else {
            let names = listed.unreadable.join(", ");
            let why = Foreign::new(format!("to be rid of pods that haulout cannot understand: {names}"));
            context.waits(WaitFor::ApiServer(why), began, limit.until).await?;
            context.rest(UNREADABLE_LOOK, limit).await?;
            if clock::monotonic() >= limit.until {
                let message = format!("time is up; pods are left that haulout cannot understand: {names}");
                return Err(StepError::new(FailureKind::TimedOut, message));
            }
        }
    }
    if evictions.any_volumes() {
        detached(context, limit.at_most(clock::monotonic() + DETACH_TIMEOUT)).await?;
    }
    if reboots {
        write_phase(context, Phase::Drained, Limit::stoppable(clock::monotonic() + PHASE_TIMEOUT)).await?;
    }
    let (evicted, gone) = evictions.counts();
    Ok(Evidence::Drained { evicted, gone })
}

/// Lists the DaemonSets anew: they decide what stays on the node, and hours may lie between the plan and this drain. An
/// identity that may not list them goes by what was known when the plan was made.
async fn know_daemon_sets(context: &StepContext, since: Instant, limit: Limit) -> Result<(), StepError> {
    loop {
        match context.within(limit, context.cluster.list_daemon_sets()).await? {
            Ok(_) => return Ok(()),
            Err(error) if matches!(error.kind, ReadErrorKind::Forbidden | ReadErrorKind::NotFound) => return Ok(()),
            Err(error) => context.bear(&error, since, limit).await?,
        }
    }
}

/// Whether a pod belongs to a DaemonSet that is younger than the last list of them, or gone since.
fn owner_is_new(context: &StepContext, pods: &NodePods) -> bool {
    let daemon_sets = context.cluster.daemon_sets();
    daemon_sets.known
        && pods.values().any(|pod| {
            let owner = pod.shape.owner.as_ref().filter(|owner| owner.is_daemon_set());
            owner.is_some_and(|owner| !daemon_sets.all.contains_key(&owner.uid))
        })
}

/// Evicts until the watch shows nothing left that must leave.
async fn evict_all(
    context: &StepContext,
    evictions: &mut Evictions<'_>,
    news: &mut BoxStream<'static, Result<Followed<Pod, PodKey>, ReadError>>,
    pods: &mut NodePods,
    began: Instant,
    limit: Limit,
) -> Result<(), StepError> {
    let until = limit.until;
    let changes = context.cluster.live.watch(context.node_name());
    let mut shown = (0, 0);
    let mut next_reread = clock::monotonic() + REREAD;
    let mut next_owners = clock::monotonic();
    loop {
        changes.mark_unchanged();
        if clock::monotonic() >= next_owners && owner_is_new(context, pods) {
            // A DaemonSet made meanwhile puts its pods on cordoned nodes too; they are no strangers.
            let _ = context.within(limit, context.cluster.list_daemon_sets()).await?;
            next_owners = clock::monotonic() + REREAD;
        }
        let standing = evictions.advance(pods, &changes).await?;
        let progress = evictions.progress();
        if progress != shown {
            shown = progress;
            let (done, total) = progress;
            let step = context.id().clone();
            context.cluster.journal.record(EventKind::StepProgress { step, done, total }).await?;
        }
        still_held(context, limit).await?;
        let now = clock::monotonic();
        let (wait, wake) = match standing {
            Standing::Empty => return Ok(()),
            Standing::Stuck(error) => return Err(error),
            Standing::Waiting { wait, wake } => (wait, wake),
        };
        if context.cluster.interrupt.is_requested() {
            return Err(StepError::new(FailureKind::Interrupted, "interrupted; nothing more is evicted"));
        }
        if now >= until {
            return Err(evictions.timed_out(pods));
        }
        // Without the lock nothing is evicted, and what budgets and pods say is no reason to wait for.
        if let Some(wait) = context.lapsed()?.or(wait) {
            context.waits(wait, began, until).await?;
        }
        if now >= next_reread {
            // A watch may have died without a sound, also where others stir all the time.
            context.within(limit, evictions.reread(pods)).await.or_else(over)?;
            next_reread = clock::monotonic() + REREAD;
            continue;
        }
        let wake = wake.unwrap_or(until).min(next_reread).min(now + LOCK_LOOK).min(until);
        tokio::select! {
            biased;
            () = context.cluster.interrupt.requested() => {}
            () = evictions.answered() => {}
            told = news.next() => match told {
                Some(Ok(told)) => take(pods, told),
                Some(Err(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                None => *news = context.cluster.acts.follow_pods(PodScope::Node(context.node_name().clone())),
            },
            _ = changes.before(wake) => {}
        }
    }
}

/// What a wait of a loop does that looks at interrupt and deadline itself, and has better words for them: nothing.
pub(super) fn over(error: StepError) -> Result<(), StepError> {
    match error {
        StepError::Failed(_) => Ok(()),
        StepError::Journal(_) => Err(error),
    }
}

/// The node is still there, still cordoned by this run, and still on the boot that is to be ended. The watch may lag
/// behind: only the node itself ends a step.
pub(super) async fn still_held(context: &StepContext, limit: Limit) -> Result<(), StepError> {
    let good = |node: &Node| holds(context, node) && !is_rebooted(context, node);
    if context.cluster.live.look_at(context.node_name(), good) == Some(true) {
        return Ok(());
    }
    let node = context.same_node(limit).await?;
    if !holds(context, &node) {
        Err(StepError::stale("somebody uncordoned the node, or took our marks off, while it was drained"))
    } else if is_rebooted(context, &node) {
        Err(StepError::stale("somebody rebooted the node while it was drained"))
    } else {
        Ok(())
    }
}

/// Whether the boot is over that this outage was to end: then nothing needs to leave for it any more.
fn is_rebooted(context: &StepContext, node: &Node) -> bool {
    let reboots = context.outage.steps.iter().any(|step| step.verb == Verb::Reboot);
    reboots && context.outage.boot_id.is_some() && node.boot_id.is_some() && node.boot_id != context.outage.boot_id
}

/// Whether the node is cordoned by this run, as far as an object of it says.
fn holds(context: &StepContext, node: &Node) -> bool {
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

/// Takes the first list of the watch; `false` where not everything in it may have been understood.
async fn first_list(
    context: &StepContext,
    news: &mut BoxStream<'static, Result<Followed<Pod, PodKey>, ReadError>>,
    pods: &mut NodePods,
    since: Instant,
    limit: Limit,
) -> Result<bool, StepError> {
    let mut whole = true;
    loop {
        match context.within(limit, news.next()).await? {
            Some(Ok(told)) => {
                take(pods, told);
                return Ok(whole);
            }
            Some(Err(error)) if error.kind == ReadErrorKind::Malformed && whole => whole = false,
            Some(Err(error)) => context.bear(&error, since, limit).await?,
            None => *news = context.cluster.acts.follow_pods(PodScope::Node(context.node_name().clone())),
        }
    }
}

/// What a fresh list of a scope has.
pub(super) struct Listed {
    pub(super) pods: NodePods,
    /// The names of pods that are there and cannot be understood, which therefore never count as gone.
    pub(super) unreadable: Vec<String>,
}

/// All pods of the node, as a fresh list has them.
pub(super) async fn list(context: &StepContext, scope: PodScope) -> Result<Listed, ReadError> {
    let mut pods = NodePods::new();
    let mut bad = 0_u32;
    {
        let mut pages = context.cluster.acts.pods(scope);
        while let Some(page) = pages.next().await {
            let (good, unreadable) = page?;
            bad += unreadable;
            pods.extend(good.into_iter().map(|pod| (pod.key.clone(), pod)));
        }
    }
    let mut unreadable: Vec<String> = Vec::new();
    if bad > 0 {
        let named = context.cluster.acts.unreadable_pods(context.node_name()).await?;
        unreadable.extend(named.iter().map(|name| name.raw().to_owned()));
        if unreadable.is_empty() {
            // They went between the two lists, or nobody can name them; the next list tells.
            unreadable.push(format!("{bad} without a name"));
        }
    }
    Ok(Listed { pods, unreadable })
}

async fn fresh(context: &StepContext, scope: &PodScope, since: Instant, limit: Limit) -> Result<Listed, StepError> {
    loop {
        match context.within(limit, list(context, scope.clone())).await? {
            Ok(listed) => return Ok(listed),
            Err(error) => context.bear(&error, since, limit).await?,
        }
    }
}

/// The names of the pods that the drain of this outage would still have to remove.
pub(super) async fn left_on(context: &StepContext, scope: PodScope) -> Result<Vec<String>, ReadError> {
    let rule = context.outage.steps.iter().find_map(|step| match context.cluster.plan.steps.get(step)?.action {
        Action::Drain { rule, .. } => Some(rule),
        Action::Cordon | Action::Reboot { .. } | Action::AwaitReady { .. } | Action::Uncordon => None,
    });
    let Some(rule) = rule else { return Ok(Vec::new()) };
    let listed = list(context, scope).await?;
    let mut left: Vec<String> = leaving(context, &rule, &listed.pods).map(|pod| pod.key.to_string()).collect();
    left.extend(listed.unreadable);
    Ok(left)
}

fn departure(context: &StepContext, rule: &DrainRule, pod: &Pod) -> Departure {
    let daemon_sets = context.cluster.daemon_sets();
    rules::departure(pod, rule, &daemon_sets.all, daemon_sets.known)
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

async fn baseline(context: &StepContext, pods: &NodePods, limit: Limit) -> Result<Baseline, StepError> {
    let ready = || pods.values().filter(|pod| pod.status.ready && !pod.status.terminating);
    for pod in pods.values().filter(|pod| !pod.status.ready && !pod.status.is_finished()) {
        if pod.shape.owner.as_ref().is_some_and(crate::model::Owner::is_daemon_set) {
            context.note(format!("{} was not Ready before; its return is not awaited", pod.key)).await?;
        }
    }
    let node = context.cluster.live.node(context.node_name());
    let reads = &context.cluster.acts;
    // A cluster whose drivers may not be read has none to prove; the other proofs stand.
    let drivers = context.within(limit, reads.csi_drivers(context.node_name())).await?;
    let requests = context.within(limit, reads.pending_serving_requests(context.node_name())).await?;
    Ok(Baseline {
        daemon_sets: ready()
            .filter_map(|pod| pod.shape.owner.as_ref())
            .filter(|owner| owner.is_daemon_set())
            .map(|owner| owner.uid.clone())
            .collect(),
        mirrors: ready().filter(|pod| pod.shape.mirror).map(|pod| Foreign::new(pod.key.to_string())).collect(),
        csi_drivers: drivers.unwrap_or_default(),
        allocatable: node.as_ref().map(|node| node.allocatable.clone()).unwrap_or_default(),
        pending_requests: requests.is_ok_and(|pending| pending > 0),
        taints: node
            .as_ref()
            .map(|node| node.taints.iter().map(|taint| taint.key.clone()).collect())
            .unwrap_or_default(),
        lease: None,
        reports: node.is_some_and(|node| node.report.reported_at.is_some() && node.report.boot_id.is_some()),
    })
}

/// Writes a phase on the node, guarded by its version.
async fn write_phase(context: &StepContext, phase: Phase, limit: Limit) -> Result<(), StepError> {
    let since = clock::monotonic();
    let mut afresh = false;
    loop {
        let node = context.node_to_write(afresh, limit).await?;
        let mark = node.mark.as_ref().filter(|mark| mark.run == context.cluster.run);
        let Some(mark) = mark.filter(|_| node.is_unschedulable()) else {
            if !afresh {
                // A watch may lag behind: only the node itself ends a step.
                afresh = true;
                continue;
            }
            return Err(StepError::stale("somebody uncordoned the node or took our marks off"));
        };
        if afresh && mark.phase == Some(phase) {
            // Written by a request whose answer never came.
            return Ok(());
        }
        afresh = true;
        let permit = context.permit(Intent::Phase(phase), limit).await?;
        match context.cluster.acts.write_phase(permit, &node, phase).await {
            Ok(node) => {
                context.cluster.live.read_node(node);
                return Ok(());
            }
            Err(error) => context.bear_act(&error, since, limit).await?,
        }
        if clock::monotonic() >= limit.until {
            return Err(StepError::new(
                FailureKind::TimedOut,
                format!("the phase {phase} could not be written in time"),
            ));
        }
    }
}

/// Waits until no VolumeAttachment names the node.
async fn detached(context: &StepContext, limit: Limit) -> Result<(), StepError> {
    let since = clock::monotonic();
    loop {
        still_held(context, Limit::stoppable(clock::monotonic() + PHASE_TIMEOUT)).await?;
        match context.within(limit, context.cluster.acts.volumes(context.node_name())).await {
            Err(error) if error.is_interrupted() => return Err(error),
            Err(error) => {
                over(error)?;
                return context.note("it is not known whether volumes are still attached to the node").await;
            }
            Ok(read) => match read {
                Ok(volumes) if volumes.attached.is_empty() => return Ok(()),
                Ok(volumes) => {
                    let count = u32::try_from(volumes.attached.len()).unwrap_or(u32::MAX);
                    if clock::monotonic() >= limit.until {
                        return context.note(format!("{count} volume(s) are still attached to the node")).await;
                    }
                    context.waits(WaitFor::VolumesToDetach(count), since, limit.until).await?;
                }
                // Not to know is no reason not to go on: the pods are gone, and detaching is then only a matter of time.
                Err(error) => return context.note(format!("{error}: {}", error.message.raw())).await,
            },
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
