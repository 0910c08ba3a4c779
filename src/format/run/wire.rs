//! What an event looks like as one line of JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::format::snapshot::MarkPhase;

/// One event of a run: a line of the journal, of `--format json`, and later the body of a webhook. Texts are as others
/// wrote them, not made safe to show.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "haulout run v1")]
pub(in crate::format) struct Line {
    /// Always `run`.
    pub kind: Kind,
    /// The version of this format, such as `1.0`. A newer one has to be refused.
    pub format_version: String,
    /// Its number in the run, from 1, without gaps.
    pub seq: u64,
    /// When it was recorded, RFC 3339.
    pub at: String,
    pub event: Event,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum Kind {
    Run,
}

/// What happened. Steps are named by their address, such as `prod-weu/node/aks-np1-000003/drain`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::format) enum Event {
    /// The run began.
    RunStarted { run: String, config: String, version: String },
    /// A cluster's lock was taken.
    LockTaken { cluster: String },
    /// A cluster's lock was given back.
    LockReleased { cluster: String },
    /// A step began.
    StepStarted { step: String },
    /// A change is about to be sent.
    Intended {
        /// Null for what a run needs as a whole, and for what it tidies up at its end.
        step: Option<String>,
        intent: Intent,
    },
    /// A step waits.
    StepWaiting {
        step: String,
        what: WaitFor,
        /// RFC 3339.
        since: String,
        /// At the latest, RFC 3339.
        until: String,
    },
    /// So many of so many pods have left.
    StepProgress { step: String, done: u32, total: u32 },
    /// Neither progress nor failure.
    StepNote { step: String, note: String },
    /// A step was proved.
    StepSucceeded { step: String, evidence: Evidence },
    /// A step failed.
    StepFailed { step: String, failure: FailureKind, message: String, advice: Option<String> },
    /// A step is left out.
    StepSkipped { step: String },
    /// Nothing new is started in this cluster, because of this step.
    ClusterHalted { cluster: String, step: String },
    /// The run was asked to stop.
    Interrupted,
    /// The run ended.
    RunFinished { conclusion: Conclusion },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::format) enum Intent {
    Cordon,
    StartRebootPod,
    DeleteRebootPod,
    Evict {
        /// As `namespace/name`.
        pod: String,
        uid: String,
    },
    Phase {
        phase: MarkPhase,
    },
    /// The boot id is the one that must change.
    TriggerReboot {
        boot_id: String,
    },
    Uncordon,
    /// Take the marks of the run off a node that stays cordoned.
    SettleCordon {
        cluster: String,
        node: String,
    },
    /// Create what runs need.
    EnsureBase {
        what: String,
    },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::format) enum WaitFor {
    /// A place under a limit.
    Slot {
        slot: Slot,
    },
    Budget {
        /// As `namespace/name`.
        budget: String,
        healthy: u32,
        expected: u32,
        desired: u32,
        pods: u32,
    },
    PodsToEnd {
        pods: Vec<String>,
    },
    Webhook {
        pod: String,
        message: String,
    },
    ApiServer {
        message: String,
    },
    VolumesToDetach {
        volumes: u32,
    },
    RebootPod {
        state: String,
    },
    RebootPodToEnd,
    Boot,
    NodeReady {
        missing: String,
    },
    Settle,
    Report,
    Lock {
        holder: String,
    },
}

/// A place under a limit, as in a plan.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::format) enum Slot {
    Cluster,
    Pool { table: String, pool: String },
    Zone { table: String, zone: String },
    ControlPlane,
    Budget { budget: String },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::format) enum Evidence {
    Cordoned,
    Drained { evicted: u32, gone: u32 },
    Requested,
    Booted { from: String, to: String },
    Uncordoned,
    AlreadyHeld,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum FailureKind {
    Stale,
    TimedOut,
    Refused,
    Unclear,
    Interrupted,
    LockLost,
    Panicked,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum Conclusion {
    Done,
    Partial,
    Interrupted,
}
