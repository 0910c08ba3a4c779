//! Taking over a node that a dead run has left: that nothing of that run can act on it any more, and whether the
//! reboot that it requested is still to come.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::super::context::{Baseline, Limit, StepContext, StepError};
use super::{cordon, drain, uncordon};
use crate::model::{BootId, Cordon, Node, Pod, Readiness, RunId};
use crate::provider::{PodScope, ReadError, clock};
use crate::run::FailureKind;

/// For how long a node must stay up after the last pod that could reboot it has ended, until it is believed that none
/// did. A machine that goes down stops its kubelet within seconds, and a kubelet that is up renews its lease every ten.
const STILL_FOR: Duration = Duration::from_secs(60);
/// In what time that can be proved, with the reads that it takes. A shorter `ready_timeout` would end each wait just
/// before the proof, for ever.
pub(super) const PROVED_WITHIN: Duration = Duration::from_secs(90);
/// The longest wait for the list of the pods on a node.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);

/// The node is as the dead run left it: still marked by it, and no reboot requested.
pub(super) fn check(context: &StepContext, node: &Node, run: &RunId) -> Result<(), StepError> {
    let mark = match &node.cordon {
        Some(Cordon::Marked(mark)) => Some(mark),
        Some(Cordon::Foreign { .. }) => return Err(StepError::stale("the node was cordoned by somebody else")),
        None => node.mark.as_ref(),
    };
    match mark {
        Some(mark) if mark.run != *run && mark.run != context.cluster.run => {
            Err(StepError::stale("another run has taken the node over"))
        }
        Some(mark) if mark.is_requested() => Err(StepError::stale("the reboot of the node was requested meanwhile")),
        Some(_) => Ok(()),
        None => Err(StepError::stale("somebody took the marks off the node")),
    }
}

/// The pods on the node that could reboot it, whichever run made them, and whether every pod there was understood.
async fn reboot_pods(context: &StepContext) -> Result<(Vec<(RunId, Pod)>, bool), ReadError> {
    let listed = drain::list(context, PodScope::Node(context.node_name().clone())).await?;
    let pods = listed.pods.into_values().filter_map(|pod| Some((pod.reboots_for()?, pod))).collect();
    Ok((pods, listed.unreadable.is_empty()))
}

/// Ends every reboot pod on the node. Returns once each is gone or has ended; one of this run's own name must be gone,
/// because this run may make it anew.
pub(super) async fn end_reboot_pods(context: &StepContext) -> Result<(), StepError> {
    let since = clock::monotonic();
    // A pod that could still fire is ended whatever a person says.
    let limit = Limit::firm(since + LIST_TIMEOUT);
    let (pods, _) = loop {
        match context.within(limit, reboot_pods(context)).await? {
            Ok(found) => break found,
            Err(error) => context.bear(&error, since, limit).await?,
        }
    };
    let runs: BTreeSet<RunId> = pods.into_iter().map(|(run, _)| run).collect();
    for run in &runs {
        uncordon::end_reboot_pod(context, run, *run == context.cluster.run).await?;
    }
    Ok(())
}

/// What has to work again on a node whose state before the reboot nobody wrote down: a lease renewed from now on, its
/// DaemonSet pods, no taint that says that it is not ready. Devices and drivers cannot be compared.
pub(super) async fn baseline(context: &StepContext, limit: Limit) -> Result<Baseline, StepError> {
    let since = clock::monotonic();
    let node = context.same_node(limit).await?;
    let (lease, pods) = loop {
        let lease = context.cluster.acts.node_lease(context.node_name()).await;
        match (lease, drain::list(context, PodScope::Node(context.node_name().clone())).await) {
            (Ok(lease), Ok(listed)) => break (lease, listed.pods),
            (Err(error), _) | (_, Err(error)) => context.bear(&error, since, limit).await?,
        }
    };
    let known = context.cluster.daemon_sets();
    let says_not_ready = |key: &str| {
        key.starts_with("node.kubernetes.io/")
            || ["not-ready", "unreachable", "uninitialized", "startup"].iter().any(|word| key.contains(word))
    };
    Ok(Baseline {
        daemon_sets: pods
            .values()
            .filter(|pod| !pod.status.terminating)
            .filter_map(|pod| pod.shape.owner.as_ref())
            .filter(|owner| owner.is_daemon_set() && known.all.contains_key(&owner.uid))
            .map(|owner| owner.uid.clone())
            .collect(),
        taints: node.taints.iter().map(|taint| taint.key.clone()).filter(|key| !says_not_ready(key)).collect(),
        lease: lease.and_then(|lease| lease.renewed_at),
        reports: node.report.reported_at.is_some() && node.report.boot_id.is_some(),
        // Whether any were Pending before is not known, and where nobody approves them they stay so.
        pending_requests: true,
        ..Baseline::default()
    })
}

/// The proof that a requested reboot will not come: every pod that could do it has ended, and the node has stayed up
/// on the same boot since.
#[derive(Default)]
pub(super) struct Stillness {
    since: Option<(Instant, jiff::Timestamp)>,
}

impl Stillness {
    /// Looks once. Ends the step, with the node marked so that the next plan begins anew on it, once it is proved.
    pub(super) async fn look(&mut self, context: &StepContext, before: &BootId, limit: Limit) -> Result<(), StepError> {
        // What cannot be read proves nothing, and the time limit of the step stands.
        let Ok((pods, whole)) = context.within(limit, reboot_pods(context)).await? else { return Ok(()) };
        if !whole || pods.iter().any(|(_, pod)| !pod.status.is_finished()) {
            self.since = None;
            return Ok(());
        }
        let node = context.cluster.acts.node(context.node_name()).await.ok().flatten();
        let lease = context.cluster.acts.node_lease(context.node_name()).await.ok().flatten();
        let up = node.is_some_and(|node| {
            node.uid == context.outage.uid
                && node.boot_id.as_ref() == Some(before)
                && node.readiness == Readiness::Ready
        });
        let (true, Some(renewed)) = (up, lease.and_then(|lease| lease.renewed_at)) else {
            self.since = None;
            return Ok(());
        };
        let now = clock::monotonic();
        let (since, first) = *self.since.get_or_insert((now, renewed));
        let grown = Duration::try_from(renewed.duration_since(first)).unwrap_or_default();
        // The lease grows by the node's own clock: one that is a renewal short of the whole time is good enough.
        if now < since + STILL_FOR || grown < STILL_FOR / 2 {
            return Ok(());
        }
        cordon::patch(context).await?;
        Err(StepError::new(
            FailureKind::Refused,
            "the requested reboot will not come: the pod that was to do it has ended, and the node is up on the same boot",
        )
        .advise("it stays cordoned; apply again, which begins anew on it"))
    }
}
