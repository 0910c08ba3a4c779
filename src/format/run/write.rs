//! Event → line.

use super::wire::{self, Line};
use crate::format::Kind;
use crate::model::Foreign;
use crate::plan::Slot;
use crate::run::{Conclusion, Event, EventKind, Evidence, FailureKind, Intent, WaitFor};

/// An event as one line, without its line feed.
#[must_use]
pub fn write(event: &Event) -> Vec<u8> {
    let line = Line {
        kind: wire::Kind::Run,
        format_version: Kind::Run.version(),
        seq: event.seq,
        at: event.at.to_string(),
        event: of_event(&event.kind),
    };
    crate::format::json::write(&line, 0)
}

fn of_event(kind: &EventKind) -> wire::Event {
    use wire::Event as W;
    match kind {
        EventKind::RunStarted { run, config, version } => {
            W::RunStarted { run: run.to_string(), config: raw(config), version: version.clone() }
        }
        EventKind::LockTaken { cluster } => W::LockTaken { cluster: cluster.to_string() },
        EventKind::LockReleased { cluster } => W::LockReleased { cluster: cluster.to_string() },
        EventKind::StepStarted { step } => W::StepStarted { step: step.to_string() },
        EventKind::Intended { step, intent } => {
            W::Intended { step: step.as_ref().map(ToString::to_string), intent: of_intent(intent) }
        }
        EventKind::StepWaiting { step, wait } => W::StepWaiting {
            step: step.to_string(),
            what: of_wait(&wait.what),
            since: wait.since.to_string(),
            until: wait.until.to_string(),
        },
        EventKind::StepProgress { step, done, total } => {
            W::StepProgress { step: step.to_string(), done: *done, total: *total }
        }
        EventKind::StepNote { step, note } => W::StepNote { step: step.to_string(), note: raw(note) },
        EventKind::StepSucceeded { step, evidence } => {
            W::StepSucceeded { step: step.to_string(), evidence: of_evidence(evidence) }
        }
        EventKind::StepFailed { step, failure } => W::StepFailed {
            step: step.to_string(),
            failure: of_failure(failure.kind),
            message: raw(&failure.message),
            advice: failure.advice.clone(),
        },
        EventKind::StepSkipped { step } => W::StepSkipped { step: step.to_string() },
        EventKind::ClusterHalted { cluster, step } => {
            W::ClusterHalted { cluster: cluster.to_string(), step: step.to_string() }
        }
        EventKind::Interrupted => W::Interrupted,
        EventKind::RunFinished { conclusion } => W::RunFinished {
            conclusion: match conclusion {
                Conclusion::Done => wire::Conclusion::Done,
                Conclusion::Partial => wire::Conclusion::Partial,
                Conclusion::Interrupted => wire::Conclusion::Interrupted,
            },
        },
    }
}

fn of_intent(intent: &Intent) -> wire::Intent {
    use wire::Intent as W;
    match intent {
        Intent::Cordon => W::Cordon,
        Intent::StartRebootPod => W::StartRebootPod,
        Intent::DeleteRebootPod => W::DeleteRebootPod,
        Intent::Evict { pod, uid } => W::Evict { pod: pod.to_string(), uid: uid.to_string() },
        Intent::Phase(phase) => W::Phase { phase: (*phase).into() },
        Intent::TriggerReboot { boot_id } => W::TriggerReboot { boot_id: boot_id.to_string() },
        Intent::Uncordon => W::Uncordon,
        Intent::SettleCordon { cluster, node } => {
            W::SettleCordon { cluster: cluster.to_string(), node: node.to_string() }
        }
        Intent::EnsureBase(what) => W::EnsureBase { what: (*what).to_owned() },
    }
}

fn of_wait(what: &WaitFor) -> wire::WaitFor {
    use wire::WaitFor as W;
    match what {
        WaitFor::Slot(slot) => W::Slot { slot: of_slot(slot) },
        WaitFor::Budget { budget, healthy, expected, desired, pods } => W::Budget {
            budget: budget.to_string(),
            healthy: *healthy,
            expected: *expected,
            desired: *desired,
            pods: *pods,
        },
        WaitFor::PodsToEnd(pods) => W::PodsToEnd { pods: pods.iter().map(ToString::to_string).collect() },
        WaitFor::Webhook { pod, message } => W::Webhook { pod: pod.to_string(), message: raw(message) },
        WaitFor::ApiServer(message) => W::ApiServer { message: raw(message) },
        WaitFor::VolumesToDetach(volumes) => W::VolumesToDetach { volumes: *volumes },
        WaitFor::RebootPod(state) => W::RebootPod { state: raw(state) },
        WaitFor::RebootPodToEnd => W::RebootPodToEnd,
        WaitFor::Boot => W::Boot,
        WaitFor::NodeReady(missing) => W::NodeReady { missing: raw(missing) },
        WaitFor::Settle => W::Settle,
        WaitFor::Report => W::Report,
        WaitFor::Lock(holder) => W::Lock { holder: raw(holder) },
    }
}

fn of_slot(slot: &Slot) -> wire::Slot {
    match slot {
        Slot::Cluster => wire::Slot::Cluster,
        Slot::Pool(table, pool) => wire::Slot::Pool { table: table.to_string(), pool: pool.to_string() },
        Slot::Zone(table, zone) => wire::Slot::Zone { table: table.to_string(), zone: zone.to_string() },
        Slot::ControlPlane => wire::Slot::ControlPlane,
        Slot::Budget(budget) => wire::Slot::Budget { budget: budget.to_string() },
    }
}

fn of_evidence(evidence: &Evidence) -> wire::Evidence {
    match evidence {
        Evidence::Cordoned => wire::Evidence::Cordoned,
        Evidence::Drained { evicted, gone } => wire::Evidence::Drained { evicted: *evicted, gone: *gone },
        Evidence::Requested => wire::Evidence::Requested,
        Evidence::Booted { from, to } => wire::Evidence::Booted { from: from.to_string(), to: to.to_string() },
        Evidence::Uncordoned => wire::Evidence::Uncordoned,
        Evidence::AlreadyHeld => wire::Evidence::AlreadyHeld,
    }
}

fn of_failure(kind: FailureKind) -> wire::FailureKind {
    match kind {
        FailureKind::Stale => wire::FailureKind::Stale,
        FailureKind::TimedOut => wire::FailureKind::TimedOut,
        FailureKind::Refused => wire::FailureKind::Refused,
        FailureKind::Unclear => wire::FailureKind::Unclear,
        FailureKind::Interrupted => wire::FailureKind::Interrupted,
        FailureKind::LockLost => wire::FailureKind::LockLost,
        FailureKind::Panicked => wire::FailureKind::Panicked,
    }
}

fn raw(text: &Foreign) -> String {
    text.raw().to_owned()
}
