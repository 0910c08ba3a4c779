//! The events of a run: the journal's lines, the reporters' input, later the webhooks' body.

use jiff::Timestamp;

use super::Wait;
use crate::model::{BootId, ClusterName, Foreign, NodeName, PodKey, RunId, Uid};
use crate::plan::StepId;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its number in the run, from 1, without gaps.
    pub seq: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
}

/// What a mutation is about to do: written, fsynced, before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intent {
    /// Cordon a node, with our marks.
    Cordon,
    /// Create the reboot pod.
    StartRebootPod,
    /// Delete the reboot pod.
    DeleteRebootPod,
    /// Evict a pod.
    Evict {
        /// The pod.
        pod: PodKey,
        /// Its UID.
        uid: Uid,
    },
    /// Write a phase on the node.
    Phase(crate::model::Phase),
    /// Trigger the reboot.
    TriggerReboot {
        /// The boot id that must change.
        boot_id: BootId,
    },
    /// Uncordon the node, marks off.
    Uncordon,
    /// Take the marks of the run off a node that stays cordoned. It may follow a drain that was never begun, so that
    /// it names its node itself.
    SettleCordon {
        /// The cluster.
        cluster: ClusterName,
        /// The node.
        node: NodeName,
    },
    /// Create the namespace or service account that runs need.
    EnsureBase(&'static str),
}

/// What proved a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The node was read back unschedulable, with our marks.
    Cordoned,
    /// What left.
    Drained {
        /// Evictions accepted.
        evicted: u32,
        /// Pods that were gone before.
        gone: u32,
    },
    /// The trigger was written.
    Requested,
    /// The node came back with this boot id.
    Booted {
        /// Before.
        from: BootId,
        /// Now.
        to: BootId,
    },
    /// The node was read back schedulable, without our marks.
    Uncordoned,
    /// It was already so.
    AlreadyHeld,
}

/// What kind of failure: decides, with the plan, what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// A precondition no longer holds: somebody else acted.
    Stale,
    /// Its time was up.
    TimedOut,
    /// It was refused for good.
    Refused,
    /// Nobody knows whether it happened.
    Unclear,
    /// The person interrupted.
    Interrupted,
    /// The lock was lost.
    LockLost,
    /// A mistake in haulout: the step panicked.
    Panicked,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    /// Its kind.
    pub kind: FailureKind,
    /// What happened, fits after "failed to drain NODE: ". Sanitised when shown.
    pub message: Foreign,
    /// What to do next, where something can be said.
    pub advice: Option<String>,
}

/// How the run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    /// Everything planned is done.
    Done,
    /// Some steps failed or were not started.
    Partial,
    /// Interrupted.
    Interrupted,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// The run began.
    RunStarted {
        /// Its id.
        run: RunId,
        /// The config's name.
        config: Foreign,
        /// haulout's version.
        version: String,
    },
    /// A cluster's lock was taken.
    LockTaken {
        /// The cluster.
        cluster: ClusterName,
    },
    /// A cluster's lock was given back.
    LockReleased {
        /// The cluster.
        cluster: ClusterName,
    },
    /// A step began.
    StepStarted {
        /// Which.
        step: StepId,
    },
    /// A mutation is about to be sent.
    Intended {
        /// The step that sends it; `None` for what a run needs as a whole, and for what it tidies up at its end.
        step: Option<StepId>,
        /// What.
        intent: Intent,
    },
    /// A step waits. Repeated when what it waits for changes.
    StepWaiting {
        /// Which.
        step: StepId,
        /// For what.
        wait: Wait,
    },
    /// A step made progress worth showing: `done` of `total` pods have left.
    StepProgress {
        /// Which.
        step: StepId,
        /// So many.
        done: u32,
        /// Of so many.
        total: u32,
    },
    /// A note that is neither progress nor failure: an unready pod from before, an unexpected warning of the server.
    StepNote {
        /// Which.
        step: StepId,
        /// In words.
        note: Foreign,
    },
    /// A step was proved.
    StepSucceeded {
        /// Which.
        step: StepId,
        /// By what.
        evidence: Evidence,
    },
    /// A step failed.
    StepFailed {
        /// Which.
        step: StepId,
        /// Why.
        failure: StepFailure,
    },
    /// A step is left out.
    StepSkipped {
        /// Which.
        step: StepId,
    },
    /// Nothing new is started from here on in this cluster.
    ClusterHalted {
        /// The cluster.
        cluster: ClusterName,
        /// Because of this step.
        step: StepId,
    },
    /// The run was asked to stop.
    Interrupted,
    /// The run ended.
    RunFinished {
        /// How.
        conclusion: Conclusion,
    },
}

impl EventKind {
    /// The step that the event is about, where it is about one that it may change.
    #[must_use]
    pub fn step(&self) -> Option<&StepId> {
        match self {
            EventKind::StepStarted { step }
            | EventKind::StepWaiting { step, .. }
            | EventKind::StepProgress { step, .. }
            | EventKind::StepNote { step, .. }
            | EventKind::StepSucceeded { step, .. }
            | EventKind::StepFailed { step, .. }
            | EventKind::StepSkipped { step }
            | EventKind::Intended { step: Some(step), .. } => Some(step),
            EventKind::Intended { step: None, .. }
            | EventKind::RunStarted { .. }
            | EventKind::LockTaken { .. }
            | EventKind::LockReleased { .. }
            | EventKind::ClusterHalted { .. }
            | EventKind::Interrupted
            | EventKind::RunFinished { .. } => None,
        }
    }
}
