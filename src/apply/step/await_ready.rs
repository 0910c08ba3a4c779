//! AwaitReady: the proof of a reboot.
//!
//! Proof is another boot id on the same Node UID; then Ready with a lease renewed since, the DaemonSet pods that were
//! Ready before Ready again, allocatable and CSI drivers back, readiness taints gone, no serving request Pending, and
//! all of that twice, `settle` apart. After a reboot request this step keeps waiting even when it was interrupted: a
//! node in mid-boot is nothing to walk away from.

use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use tokio::time::Instant;

use super::super::context::{Baseline, DaemonSets, Limit, StepContext, StepError};
use super::super::live::{REREAD, reread_before};
use super::super::waiting::Changes;
use super::adopt;
use super::drain::over;
use crate::model::{BootId, Foreign, Node, Phase, Pod, Readiness, Uid};
use crate::provider::{ActError, PodScope, ReadError, RebootPodState, clock};
use crate::run::{Evidence, FailureKind, Intent, WaitFor};

/// How often what no watch tells is asked again: pods of the node, lease, drivers, requests.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// How often the DaemonSets are listed again while a pod of one is missed: one that was deleted has no pods to wait for.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// How long a node must live on after its reboot pod ended before it is called one that does not reboot: a kubelet is
/// stopped within seconds of a shutdown's beginning, and renews its lease every 10 seconds until then.
const LIVES_ON: Duration = Duration::from_secs(60);

pub(super) async fn execute(context: &StepContext, timeout: Duration, settle: Duration) -> Result<Evidence, StepError> {
    let requested = context.notes().requested_at.unwrap_or_else(clock::monotonic);
    // A node that was told to reboot is nothing to walk away from, so that no interrupt ends these waits.
    // And one that a dead run told to is given the time in which it can be proved that its reboot will not come.
    let timeout = if context.is_taken_over() { timeout.max(adopt::PROVED_WITHIN) } else { timeout };
    let limit = Limit::firm(requested + timeout);
    let Some(before) = context.outage.boot_id.clone() else {
        return Err(StepError::stale("the plan does not know which boot id must change"));
    };
    if context.is_taken_over() {
        super::cordon::check(context, &context.same_node(limit).await?)?;
        let baseline = adopt::baseline(context, limit).await?;
        context.notes().baseline = Some(baseline);
    }
    let now = booted(context, &before, requested, limit, LIVES_ON.min(timeout / 4)).await?;
    context.notes().booted = Some((before.clone(), now.clone()));
    write_returned(context, limit).await?;
    proved(context, &now, requested, limit, settle).await?;
    context.notes().ready_at = Some(clock::monotonic());
    Ok(Evidence::Booted { from: before, to: now })
}

/// Waits for another boot id. A reboot pod that ended or is gone can fire no more: where its node lives on with the
/// same boot id, it will not boot.
async fn booted(
    context: &StepContext,
    before: &BootId,
    since: Instant,
    limit: Limit,
    lives_on: Duration,
) -> Result<BootId, StepError> {
    let changes = context.cluster.live.watch(context.node_name());
    let mut stillness = context.is_taken_over().then(adopt::Stillness::default);
    let mut over: Option<PodOver> = None;
    let mut next_read = clock::monotonic() + REREAD;
    let not_booted = || {
        let advice = format!(
            "look at the node's console; it stays cordoned. If it only boots slowly, raise ready_timeout{}",
            in_table(context, limit.until.saturating_duration_since(since))
        );
        StepError::new(FailureKind::TimedOut, "the node has not booted: its boot id is the same").advise(advice)
    };
    loop {
        changes.mark_unchanged();
        let differs = context.cluster.live.look_at(context.node_name(), |node| {
            node.uid != context.outage.uid || node.boot_id.as_ref().is_some_and(|id| id != before)
        }) != Some(false);
        if differs || over.is_some() || clock::monotonic() >= next_read {
            // A watch may lag behind, or have died without a sound: only the node itself is proof.
            next_read = clock::monotonic() + REREAD;
            let node = context.read_node(limit).await.map_err(|error| error.or_lacking(not_booted()))?;
            if node.as_ref().is_some_and(|node| node.uid != context.outage.uid) {
                // The cordon went with the Node that bore it.
                context.notes().released = true;
                context.cluster.live.hold(context.node_name(), false);
                return Err(StepError::new(FailureKind::Refused, "the node came back as another Node object")
                    .advise("it was replaced, not rebooted; plan again to see what it needs"));
            }
            if let Some(boot_id) = node.as_ref().and_then(|node| node.boot_id.clone()).filter(|id| id != before) {
                return Ok(boot_id);
            }
            if node.is_none() {
                // Some providers take the object of a machine away that is down; it comes back as another one.
                if clock::monotonic() >= limit.until {
                    return Err(context.gone(false));
                }
                let what = Foreign::new("its Node object is gone");
                context.waits(WaitFor::NodeReady(what), since, limit.until).await?;
                changes.before((clock::monotonic() + ASK_EVERY).min(limit.until)).await;
                continue;
            }
            if let Some(over) = &over
                && over.is_proof(node.as_ref(), lives_on)
            {
                let message =
                    format!("the node does not reboot: {}, and it lives on with the same boot id", over.said.raw());
                return Err(StepError::new(FailureKind::Refused, message)
                    .advise("see the reboot pod's log and the node's console; it stays cordoned"));
            }
        }
        if clock::monotonic() >= limit.until {
            return Err(not_booted());
        }
        if let Some(stillness) = &mut stillness {
            // The pods of the run before have other names: whether one can still fire is looked at for all of them.
            context.waits(WaitFor::Boot, since, limit.until).await?;
            stillness.look(context, before, limit).await?;
            changes.before((clock::monotonic() + ASK_EVERY).min(limit.until)).await;
            continue;
        }
        over = look_at_pod(context, over, limit).await.map_err(|error| error.or_lacking(not_booted()))?;
        let wait = match &over {
            None => WaitFor::Boot,
            Some(over) => WaitFor::NodeReady(Foreign::new(format!("{}; its boot id is the same", over.said.raw()))),
        };
        context.waits(wait, since, limit.until).await?;
        changes.before((clock::monotonic() + ASK_EVERY).min(limit.until)).await;
    }
}

/// Where a time limit stands in the config, and what it is now; fits after the name of its key.
pub(super) fn in_table(context: &StepContext, now: Duration) -> String {
    let table = context.outage.table.as_ref().map(|table| format!(" in [reboot.{table}]")).unwrap_or_default();
    format!("{table} (now {})", crate::plan::words::duration(now))
}

/// A reboot pod that can fire no more, and the signs of life of its node since.
struct PodOver {
    said: Foreign,
    since: Instant,
    lease: Option<Timestamp>,
    /// When the lease was last seen renewed; `None` while it could not be read even once.
    renewed: Option<Instant>,
}

impl PodOver {
    /// Whether the node has outlived the pod for so long that no reboot is under way. A node that cannot be read, or is
    /// not Ready, may well be going down.
    fn is_proof(&self, node: Option<&Node>, lives_on: Duration) -> bool {
        let alive_at = match self.renewed {
            Some(renewed) => renewed,
            // By its condition alone it takes longer to tell: a silent node is called Ready for up to 50 s more.
            None => clock::monotonic().checked_sub(lives_on).unwrap_or(self.since),
        };
        node.is_some_and(|node| node.readiness == Readiness::Ready) && alive_at >= self.since + lives_on
    }
}

/// Looks whether the reboot pod can still fire, and where it cannot, whether its node still lives. What cannot be read
/// changes nothing.
async fn look_at_pod(context: &StepContext, over: Option<PodOver>, limit: Limit) -> Result<Option<PodOver>, StepError> {
    let reads = &context.cluster.acts;
    let mut over = match over {
        Some(over) => over,
        None => {
            let state = reads.reboot_pod(context.node_name(), &context.cluster.run);
            let said = match context.within(limit, state).await? {
                Ok(RebootPodState::Ended(said)) if said.is_empty() => Foreign::new("its reboot pod ended"),
                Ok(RebootPodState::Ended(said)) => Foreign::new(format!("its reboot pod ended ({})", said.raw())),
                Ok(RebootPodState::Absent) => Foreign::new("its reboot pod is gone"),
                Ok(RebootPodState::Armed | RebootPodState::Starting(_)) | Err(_) => return Ok(None),
            };
            PodOver { said, since: clock::monotonic(), lease: None, renewed: None }
        }
    };
    if let Ok(Some(lease)) = context.within(limit, reads.node_lease(context.node_name())).await?
        && lease.renewed_at.is_some()
        && lease.renewed_at != over.lease
    {
        // The first reading says nothing of when it was renewed, only that the lease can be read.
        over.renewed = Some(if over.lease.is_none() { over.since } else { clock::monotonic() });
        over.lease = lease.renewed_at;
    }
    Ok(Some(over))
}

/// Writes the phase `returned`; it only informs, so that a failure to write it is no failure of the step.
async fn write_returned(context: &StepContext, limit: Limit) -> Result<(), StepError> {
    let since = clock::monotonic();
    for tries in 0..10 {
        let node = context.node_to_write(tries > 0, limit).await?;
        match node.mark.as_ref().filter(|mark| context.is_mine(mark)) {
            Some(mark) if mark.phase != Some(Phase::Returned) => {}
            // A watch may lag behind.
            Some(_) | None if tries == 0 => continue,
            Some(_) | None => return Ok(()),
        }
        let permit = context.permit(Intent::Phase(Phase::Returned), limit).await?;
        match context.cluster.acts.write_phase(permit, &node, Phase::Returned).await {
            Ok(node) => {
                context.cluster.live.read_node(node);
                return Ok(());
            }
            // Whether it was written, where the answer never came, is read back above.
            Err(error) => match (context.bear_act(&error, since, limit).await, error) {
                (Ok(()), _) => {}
                (Err(failure), ActError::Unclear { .. }) => return Err(failure),
                (Err(_), ActError::Refused { .. }) => return Ok(()),
            },
        }
    }
    Ok(())
}

/// Waits until everything that worked before works again, twice.
async fn proved(
    context: &StepContext,
    boot_id: &BootId,
    since: Instant,
    limit: Limit,
    settle: Duration,
) -> Result<(), StepError> {
    let mut baseline = context.notes().baseline.clone().unwrap_or_default();
    let changes = context.cluster.live.watch(context.node_name());
    let mut good_since: Option<Instant> = None;
    let mut next_list = clock::monotonic() + LIST_EVERY;
    let mut lacks: Option<String> = None;
    let not_as_it_was = |lacks: &str| {
        let advice = format!(
            "it stays cordoned; mend it, then uncordon it or apply again. If it only needs longer, raise \
             ready_timeout{}",
            in_table(context, limit.until.saturating_duration_since(since))
        );
        StepError::new(FailureKind::TimedOut, format!("the node is not as it was: {lacks}")).advise(advice)
    };
    loop {
        changes.mark_unchanged();
        if good_since.is_none() && clock::monotonic() >= next_list {
            next_list = clock::monotonic() + LIST_EVERY;
            forget_deleted(context, &mut baseline, limit).await?;
        }
        let node = context.node_to_write(false, limit).await?;
        let looked = context.within(limit, missing(context, &node, boot_id, &baseline)).await;
        let looked = looked.map_err(|error| match &lacks {
            Some(lacks) => error.or_lacking(not_as_it_was(lacks)),
            None => error,
        });
        let missing = match looked? {
            Ok(missing) => missing,
            Err(error) => {
                context.bear(&error, since, limit).await?;
                continue;
            }
        };
        let now = clock::monotonic();
        let wake = match (missing, good_since) {
            (None, None) => {
                good_since = Some(now);
                if settle.is_zero() {
                    return reported(context, boot_id, &baseline, since, limit).await;
                }
                context.waits(WaitFor::Settle, now, now + settle).await?;
                now + settle
            }
            (None, Some(good)) if now >= good + settle => {
                return reported(context, boot_id, &baseline, since, limit).await;
            }
            (None, Some(good)) => good + settle,
            (Some(missing), _) => {
                good_since = None;
                if now >= limit.until {
                    return Err(not_as_it_was(&missing));
                }
                lacks = Some(missing.clone());
                context.waits(WaitFor::NodeReady(Foreign::new(missing)), since, limit.until).await?;
                now + ASK_EVERY
            }
        };
        if good_since.is_some() {
            // The second check comes when it is due, not when something stirs; but a node that was not Ready for a
            // moment in between has not settled.
            if !stays_up(context, boot_id, &changes, wake).await {
                good_since = None;
            }
        } else {
            changes.before(wake).await;
        }
    }
}

/// Follows the node until `wake`; `false` as soon as it is not Ready, or booted again.
async fn stays_up(context: &StepContext, boot_id: &BootId, changes: &Changes, wake: Instant) -> bool {
    loop {
        let node = context.cluster.live.node(context.node_name());
        if !node.is_some_and(|node| node.readiness == Readiness::Ready && node.boot_id.as_ref() == Some(boot_id)) {
            return false;
        }
        if !changes.before(wake).await {
            return true;
        }
    }
}

/// Takes DaemonSets that exist no more out of what is waited for.
async fn forget_deleted(context: &StepContext, baseline: &mut Baseline, limit: Limit) -> Result<(), StepError> {
    let former = context.cluster.daemon_sets();
    // What could not be listed is waited for; so is all, where not every one was understood.
    if !matches!(context.within(limit, context.cluster.list_daemon_sets()).await?, Ok(true)) {
        return Ok(());
    }
    let now = context.cluster.daemon_sets();
    let gone: Vec<Uid> = baseline.daemon_sets.iter().filter(|uid| !now.all.contains_key(*uid)).cloned().collect();
    for uid in gone {
        baseline.daemon_sets.remove(&uid);
        let name = named(&former, &uid);
        context.note(format!("DaemonSet {name} was deleted meanwhile; its pod is not awaited")).await?;
    }
    Ok(())
}

fn named(daemon_sets: &DaemonSets, uid: &Uid) -> String {
    daemon_sets
        .all
        .get(uid)
        .map_or_else(|| uid.to_string(), |daemon_set| format!("{}/{}", daemon_set.namespace, daemon_set.name.raw()))
}

/// The first thing that is not as it was; `None` when all is.
async fn missing(
    context: &StepContext,
    node: &Node,
    boot_id: &BootId,
    baseline: &Baseline,
) -> Result<Option<String>, ReadError> {
    if node.boot_id.as_ref() != Some(boot_id) {
        return Ok(Some("it booted again".to_owned()));
    }
    if node.readiness != Readiness::Ready {
        return Ok(Some("it is not Ready".to_owned()));
    }
    for taint in &node.taints {
        if &*taint.key != "node.kubernetes.io/unschedulable"
            && taint.effect != crate::model::TaintEffect::PreferNoSchedule
            && !baseline.taints.contains(&taint.key)
        {
            return Ok(Some(format!("taint {} is on it", taint.key)));
        }
    }
    for (name, before) in &*baseline.allocatable {
        // Memory and the like may differ a little from boot to boot; devices must all be back.
        let back = match node.allocatable.get(name) {
            None => false,
            Some(now) => !name.contains('/') || now == before,
        };
        if !back {
            return Ok(Some(format!("allocatable {name} is not back to {before}")));
        }
    }
    let reads = &context.cluster.acts;
    if let Some(before) = baseline.lease {
        let lease = reads.node_lease(context.node_name()).await?;
        if lease.and_then(|lease| lease.renewed_at).is_none_or(|renewed| renewed == before) {
            return Ok(Some("its lease was not renewed since".to_owned()));
        }
    }
    let mut pods: Vec<Pod> = Vec::new();
    let mut pages = reads.pods(PodScope::Node(context.node_name().clone()));
    while let Some(page) = pages.next().await {
        pods.extend(page?.0);
    }
    drop(pages);
    let ready: Vec<&Pod> = pods.iter().filter(|pod| pod.status.ready && !pod.status.terminating).collect();
    let daemon_set = |uid: &Uid| {
        ready.iter().any(|pod| pod.shape.owner.as_ref().is_some_and(|owner| owner.is_daemon_set() && owner.uid == *uid))
    };
    if let Some(uid) = baseline.daemon_sets.iter().find(|uid| !daemon_set(uid)) {
        let name = named(&context.cluster.daemon_sets(), uid);
        return Ok(Some(format!("the pod of DaemonSet {name} is not Ready again")));
    }
    let mirror = |name: &Foreign| ready.iter().any(|pod| pod.shape.mirror && pod.key.to_string() == name.raw());
    if let Some(name) = baseline.mirrors.iter().find(|name| !mirror(name)) {
        return Ok(Some(format!("static pod {} is not Ready again", name.raw())));
    }
    if !baseline.csi_drivers.is_empty() {
        let drivers = reads.csi_drivers(context.node_name()).await?;
        if let Some(driver) = baseline.csi_drivers.difference(&drivers).next() {
            return Ok(Some(format!("CSI driver {} is not registered again", driver.raw())));
        }
    }
    if !baseline.pending_requests
        && let Ok(pending) = reads.pending_serving_requests(context.node_name()).await
        && pending > 0
    {
        return Ok(Some(format!("{pending} request(s) for its serving certificate are Pending")));
    }
    if node.control_plane && !reads.ready().await? {
        return Ok(Some("the API server is not ready (/readyz)".to_owned()));
    }
    Ok(None)
}

/// Waits for the agent's word on the new boot, where an agent had spoken before; that it does not come is worth a note,
/// not a failure: the node itself is proved.
async fn reported(
    context: &StepContext,
    boot_id: &BootId,
    baseline: &Baseline,
    since: Instant,
    limit: Limit,
) -> Result<(), StepError> {
    if !baseline.reports {
        return Ok(());
    }
    let changes = context.cluster.live.watch(context.node_name());
    loop {
        changes.mark_unchanged();
        let reported = context
            .cluster
            .live
            .node(context.node_name())
            .is_some_and(|node| node.report.boot_id.as_ref() == Some(boot_id));
        if reported {
            return Ok(());
        }
        if clock::monotonic() >= limit.until || context.cluster.interrupt.is_requested() {
            return context
                .note("its agent has not reported on the new boot; until it does, the node is unknown")
                .await;
        }
        context.waits(WaitFor::Report, since, limit.until).await?;
        tokio::select! {
            biased;
            () = context.cluster.interrupt.requested() => {}
            changed = changes.before(reread_before(limit.until)) => {
                // Where time is up, the look above ends this; the node itself is proved.
                if !changed && clock::monotonic() < limit.until {
                    context.read_node(limit).await.map(drop).or_else(over)?;
                }
            }
        }
    }
}
