//! What a run says, in words: its waits, its proofs, its failures. With [`crate::plan::words`], which it passes on, the
//! one place for the words of steps: plan, progress and summary say the same.

pub use crate::plan::words::*;

use jiff::Timestamp;

use crate::model::Phase;
use crate::plan::Verb;
use crate::run::{Evidence, FailureKind, HeldAt, HeldNode, LeftAs, StepFailure, StepId, StopCause, Wait, WaitFor};

/// How many pods a wait names.
const NAMED: usize = 3;

/// What a wait waits for.
#[must_use]
pub fn wait_for(what: &WaitFor) -> String {
    let said = |text: &crate::model::Foreign| {
        let text = foreign(text);
        if text.is_empty() { text } else { format!(": {text}") }
    };
    match what {
        WaitFor::Slot(place) => format!("waits for a place {}", slot(place)),
        WaitFor::Budget { budget, healthy, expected, desired, pods } => {
            let held = if *pods > 1 { format!(", holds {}", count(*pods as usize, "pod")) } else { String::new() };
            format!("{budget}: {}{held}", budget_standing(*healthy, *expected, *desired))
        }
        WaitFor::PodsToEnd(pods) => {
            format!("waits for {} to end: {}", count(pods.len(), "pod"), names(pods, NAMED))
        }
        WaitFor::Webhook { pod, message } => format!("an admission webhook refuses to let {pod} go{}", said(message)),
        WaitFor::ApiServer(message) => format!("waits for the API server{}", said(message)),
        WaitFor::VolumesToDetach(volumes) => format!("waits for {} to be detached", count(*volumes as usize, "volume")),
        WaitFor::RebootPod(state) => format!("waits for the reboot pod to be Ready{}", said(state)),
        WaitFor::RebootPodToEnd => "waits for the reboot pod to be gone".to_owned(),
        WaitFor::Boot => "waits for the node to boot".to_owned(),
        WaitFor::NodeReady(missing) => format!("waits for the node to be Ready{}", said(missing)),
        WaitFor::Settle => "looks a second time".to_owned(),
        WaitFor::Report => "waits for the agent's report on the new boot".to_owned(),
        WaitFor::Lock(holder) => format!("waits for the lock, held by run {}", foreign(holder)),
    }
}

/// A wait: what for, how long already, and how long at the most.
#[must_use]
pub fn wait(wait: &Wait, now: Timestamp) -> String {
    format!(
        "{}; {} of {}",
        wait_for(&wait.what),
        duration(between(wait.since, now)),
        duration(between(wait.since, wait.until))
    )
}

/// What proved a step.
#[must_use]
pub fn evidence(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Cordoned => "cordoned".to_owned(),
        Evidence::Drained { evicted, gone: 0 } => format!("drained, {} evicted", count(*evicted as usize, "pod")),
        Evidence::Drained { evicted, gone } => {
            format!("drained, {} evicted, {gone} gone before", count(*evicted as usize, "pod"))
        }
        Evidence::Requested => "reboot requested".to_owned(),
        Evidence::Booted { from, to } => format!("back and Ready, boot id {from} -> {to}"),
        Evidence::Uncordoned => "uncordoned".to_owned(),
        Evidence::AlreadyHeld => "was so already".to_owned(),
    }
}

/// Why a run did not begin, or did not finish, with a node on which nothing failed; fits after "because".
#[must_use]
pub fn stop_cause(cause: &StopCause) -> String {
    match cause {
        StopCause::Interrupted => "the run was interrupted".to_owned(),
        StopCause::Halted { by } => {
            format!("{}/node/{} failed to {}, after which nothing new is started", by.cluster, by.node, to_do(by.verb))
        }
        StopCause::LockLost => "another run took the lock".to_owned(),
        StopCause::JournalLost => "the journal could not be written any more".to_owned(),
        StopCause::NoPlace { slot: place, held_by } if held_by.is_empty() => {
            format!("there was no place {}", slot(place))
        }
        StopCause::NoPlace { slot: place, held_by } => format!(
            "there was no place {}: {} {} left cordoned",
            slot(place),
            names(held_by, NAMED),
            if held_by.len() == 1 { "was" } else { "were" }
        ),
        StopCause::ComesAfter { node } => {
            format!("in the order of its table it comes after {node}, which did not come to its end")
        }
        StopCause::ClusterBefore { cluster } => {
            format!("cluster {cluster} comes first, and not everything was done there")
        }
        StopCause::Lost => {
            "haulout lost track of it, which is a mistake: please report it, with the journal".to_owned()
        }
    }
}

/// How far a run has come with a node that it holds; fits after the node's name and a colon.
#[must_use]
pub fn held(node: &HeldNode) -> String {
    let at = match node.at {
        HeldAt::Cordoning => "its cordon was being written, it may be cordoned".to_owned(),
        HeldAt::Uncordoning => "its uncordon was being written, it may still be cordoned".to_owned(),
        HeldAt::Phase(phase) => format!("cordoned, in phase {phase}"),
    };
    let back = node.at == HeldAt::Phase(Phase::Returned) || node.at == HeldAt::Uncordoning;
    match (node.requested, back) {
        (false, _) => format!("{at}; no reboot was requested"),
        (true, false) => format!("{at}; its reboot was requested, and it may be down for some minutes"),
        (true, true) => format!("{at}; it has rebooted"),
    }
}

/// As what a node is left after a run, in a word or two.
#[must_use]
pub fn left_as(left: LeftAs) -> &'static str {
    match left {
        LeftAs::Failed => "failed",
        LeftAs::Skipped => "skipped",
        LeftAs::Interrupted => "interrupted",
        LeftAs::NotStarted => "not started",
        LeftAs::Blocked => "blocked",
        LeftAs::Unknown => "unknown",
        LeftAs::New => "new",
    }
}

/// What to do about a failed step: what it advises itself, else what its kind advises.
#[must_use]
pub fn failure_advice(step: &StepId, failure: &StepFailure) -> String {
    if let Some(advice) = &failure.advice {
        return crate::model::sanitise(advice).shortened(400);
    }
    let node = &step.node;
    match failure.kind {
        FailureKind::Stale => "somebody else changed it meanwhile: plan again".to_owned(),
        FailureKind::TimedOut => match step.verb {
            Verb::Cordon | Verb::Reboot | Verb::Uncordon => {
                "see whether the API server answers, then apply again".to_owned()
            }
            Verb::Drain => "see what held its pods, or give drain.timeout more, then apply again".to_owned(),
            Verb::AwaitReady => {
                format!("see what the node's console and kubectl describe node {node} say, and make it Ready")
            }
        },
        FailureKind::Refused => "remove what refused it, then apply again".to_owned(),
        FailureKind::Unclear => format!("look at it with kubectl describe node {node}, then apply again"),
        FailureKind::Interrupted => "apply again to go on".to_owned(),
        FailureKind::LockLost => {
            "see who holds the lock, kubectl --namespace haulout-system describe lease haulout, then \
                                  apply again"
                .to_owned()
        }
        FailureKind::Panicked => "this is a mistake in haulout: please report it, with the journal".to_owned(),
    }
}
