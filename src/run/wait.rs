//! Every wait says what for, how long already, and until when.

use jiff::Timestamp;

use crate::model::{BudgetKey, Foreign, PodKey};
use crate::plan::Slot;

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitFor {
    /// A place under a limit, taken by nodes that are out for other reasons.
    Slot(Slot),
    /// A budget to allow the next eviction.
    Budget {
        /// The budget.
        budget: BudgetKey,
        /// Healthy pods now.
        healthy: u32,
        /// Pods it expects.
        expected: u32,
        /// Healthy pods it needs.
        desired: u32,
        /// Pods of the node that it holds.
        pods: u32,
    },
    /// Pods that were told to end.
    PodsToEnd(Vec<PodKey>),
    /// An admission webhook that refuses to let a pod go, in its words.
    Webhook {
        /// The pod.
        pod: PodKey,
        /// What it said.
        message: Foreign,
    },
    /// The API server to take more requests (throttling), or to answer at all.
    ApiServer(Foreign),
    /// Volumes to be detached from the node.
    VolumesToDetach(u32),
    /// The reboot pod to be Ready.
    RebootPod(Foreign),
    /// The reboot pod to be gone or ended.
    RebootPodToEnd,
    /// The node to boot: its boot id has not changed yet.
    Boot,
    /// The node to be Ready, with what is still missing.
    NodeReady(Foreign),
    /// The second of two checks.
    Settle,
    /// The node's agent to report on the new boot.
    Report,
    /// The lock, held by this run.
    Lock(Foreign),
}

/// A wait, with its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// What for.
    pub what: WaitFor,
    /// Since when.
    pub since: Timestamp,
    /// Until when at the latest.
    pub until: Timestamp,
}
