//! AwaitReady: the proof of a reboot.
//!
//! Proof is another boot id on the same Node UID; then Ready with a lease renewed since, the DaemonSet pods that were
//! Ready before Ready again, allocatable and CSI drivers back, readiness taints gone, no serving request Pending, and
//! all of that twice, `settle` apart. After a reboot request this step keeps waiting even when it was interrupted: a
//! node in mid-boot is nothing to walk away from.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::Instant;

use super::super::context::{Baseline, StepContext, StepError};
use super::super::live::{changed_before, reread_before};
use super::adopt;
use crate::model::{BootId, Foreign, Node, Phase, Pod, Readiness, Uid};
use crate::provider::{ActError, PodScope, ReadError, Refusal, clock};
use crate::run::{Evidence, FailureKind, Intent, WaitFor};

/// How often what no watch tells is asked again: pods of the node, lease, drivers, requests.
const ASK_EVERY: Duration = Duration::from_secs(2);

pub(super) async fn execute(context: &StepContext, timeout: Duration, settle: Duration) -> Result<Evidence, StepError> {
    let requested = context.notes().requested_at.unwrap_or_else(clock::monotonic);
    let until = requested + timeout;
    let Some(before) = context.outage.boot_id.clone() else {
        return Err(StepError::stale("the plan does not know which boot id must change"));
    };
    if context.is_taken_over() {
        super::cordon::check(context, &context.same_node(until).await?)?;
        let baseline = adopt::baseline(context, until).await?;
        context.notes().baseline = Some(baseline);
    }
    let now = booted(context, &before, requested, until).await?;
    context.notes().booted = Some((before.clone(), now.clone()));
    write_returned(context, until).await?;
    proved(context, &now, requested, until, settle).await?;
    context.notes().ready_at = Some(clock::monotonic());
    Ok(Evidence::Booted { from: before, to: now })
}

/// Waits for another boot id.
async fn booted(context: &StepContext, before: &BootId, since: Instant, until: Instant) -> Result<BootId, StepError> {
    let mut changes = context.cluster.live.watch();
    let mut stillness = context.is_taken_over().then(adopt::Stillness::default);
    loop {
        changes.mark_unchanged();
        if let Some(node) = context.cluster.live.node(context.node_name()) {
            if node.uid != context.outage.uid {
                return Err(StepError::new(FailureKind::Refused, "the node came back as another Node object")
                    .advise("it was replaced, not rebooted; plan again to see what it needs"));
            }
            if let Some(boot_id) = node.boot_id.filter(|boot_id| boot_id != before) {
                return Ok(boot_id);
            }
        }
        if clock::monotonic() >= until {
            return Err(StepError::new(FailureKind::TimedOut, "the node has not booted: its boot id is the same")
                .advise(format!(
                    "look at the node's console; it stays cordoned. If it only boots slowly, raise ready_timeout{}",
                    in_table(context, until.saturating_duration_since(since))
                )));
        }
        context.waits(WaitFor::Boot, since, until).await?;
        if let Some(stillness) = &mut stillness {
            stillness.look(context, before).await?;
            changed_before(&mut changes, until.min(clock::monotonic() + ASK_EVERY)).await;
            continue;
        }
        if !changed_before(&mut changes, reread_before(until)).await {
            // A watch may have died silently.
            let _ = context.read_node(until).await?;
        }
    }
}

/// Where a time limit stands in the config, and what it is now; fits after the name of its key.
pub(super) fn in_table(context: &StepContext, now: Duration) -> String {
    let table = context.outage.table.as_ref().map(|table| format!(" in [reboot.{table}]")).unwrap_or_default();
    format!("{table} (now {})", crate::plan::words::duration(now))
}

/// Writes the phase `returned`; it only informs, so that a failure to write it is no failure of the step.
async fn write_returned(context: &StepContext, until: Instant) -> Result<(), StepError> {
    for tries in 0..10 {
        let node = context.node_to_write(tries, until).await?;
        if !node.mark.as_ref().is_some_and(|mark| context.is_mine(mark)) {
            return Ok(());
        }
        let permit = context.permit(Intent::Phase(Phase::Returned)).await?;
        match context.cluster.acts.write_phase(permit, &node, Phase::Returned).await {
            Ok(node) => {
                context.cluster.live.read_node(node);
                return Ok(());
            }
            Err(ActError::Refused { refusal: Refusal::Conflict { .. }, .. }) => {}
            Err(ActError::Refused { .. } | ActError::Unclear { .. }) => return Ok(()),
        }
    }
    Ok(())
}

/// Waits until everything that worked before works again, twice.
async fn proved(
    context: &StepContext,
    boot_id: &BootId,
    since: Instant,
    until: Instant,
    settle: Duration,
) -> Result<(), StepError> {
    let baseline = context.notes().baseline.clone().unwrap_or_default();
    let mut changes = context.cluster.live.watch();
    let mut good_since: Option<Instant> = None;
    loop {
        changes.mark_unchanged();
        let node = context.cluster.live.node(context.node_name());
        let missing = match node {
            None => Some("the node is gone".to_owned()),
            Some(node) => match missing(context, &node, boot_id, &baseline).await {
                Ok(missing) => missing,
                Err(error) => {
                    context.bear(&error, since, until).await?;
                    continue;
                }
            },
        };
        let now = clock::monotonic();
        let wake = match (missing, good_since) {
            (None, None) => {
                good_since = Some(now);
                if settle.is_zero() {
                    return reported(context, boot_id, &baseline, since, until).await;
                }
                context.waits(WaitFor::Settle, now, now + settle).await?;
                now + settle
            }
            (None, Some(good)) if now >= good + settle => {
                return reported(context, boot_id, &baseline, since, until).await;
            }
            (None, Some(good)) => good + settle,
            (Some(missing), _) => {
                good_since = None;
                if now >= until {
                    return Err(StepError::new(FailureKind::TimedOut, format!("the node is not as it was: {missing}"))
                        .advise(format!(
                            "it stays cordoned; mend it, then uncordon it or apply again. If it only needs longer, \
                             raise ready_timeout{}",
                            in_table(context, until.saturating_duration_since(since))
                        )));
                }
                context.waits(WaitFor::NodeReady(Foreign::new(missing)), since, until).await?;
                now + ASK_EVERY
            }
        };
        if good_since.is_some() {
            // The second check comes when it is due, not when something stirs.
            tokio::time::sleep_until(wake).await;
        } else {
            changed_before(&mut changes, wake).await;
        }
    }
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
    for (name, before) in &baseline.allocatable {
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
        let name = context.cluster.daemon_sets.get(uid).map_or_else(
            || uid.to_string(),
            |daemon_set| format!("{}/{}", daemon_set.namespace, daemon_set.name.raw()),
        );
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
    until: Instant,
) -> Result<(), StepError> {
    if !baseline.reports {
        return Ok(());
    }
    let mut changes = context.cluster.live.watch();
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
        if clock::monotonic() >= until || context.cluster.interrupt.is_requested() {
            return context
                .note("its agent has not reported on the new boot; until it does, the node is unknown")
                .await;
        }
        context.waits(WaitFor::Report, since, until).await?;
        tokio::select! {
            biased;
            () = context.cluster.interrupt.requested() => {}
            changed = changed_before(&mut changes, reread_before(until)) => {
                if !changed {
                    let _ = context.read_node(until).await?;
                }
            }
        }
    }
}
