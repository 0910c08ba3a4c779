//! What haulout writes on a node: marks while it works there, and the record of the last reboot.
//!
//! A mark is written in the same PATCH as the side effect it announces, so that whoever reads the node knows at any
//! moment who acts on it and how far it came. The annotation keys are a public interface.

use jiff::Timestamp;
use std::fmt;

use super::{BootId, Foreign, NodeName, RunId, TableName};

/// Mark: who cordoned, as JSON (config name, table, run, since).
pub const ANNOTATION_CORDON: &str = "haulout.dev/cordon";
/// Mark: how far the run came on this node, one of [`Phase`].
pub const ANNOTATION_PHASE: &str = "haulout.dev/phase";
/// Mark: the id of the run that works on this node.
pub const ANNOTATION_RUN: &str = "haulout.dev/run";
/// Stays: what the last reboot by haulout was, as JSON.
pub const ANNOTATION_LAST_REBOOT: &str = "haulout.dev/last-reboot";
/// Report of the node's agent: `true` or `false`.
pub const ANNOTATION_REBOOT_REQUIRED: &str = "haulout.dev/reboot-required";
/// Report of the node's agent: free text, why a reboot is required.
pub const ANNOTATION_REBOOT_REASON: &str = "haulout.dev/reboot-reason";
/// Report of the node's agent: the boot id that the report was made under.
pub const ANNOTATION_BOOT_ID: &str = "haulout.dev/boot-id";
/// Report of the node's agent: when the node booted, RFC 3339.
pub const ANNOTATION_BOOTED_AT: &str = "haulout.dev/booted-at";
/// Report of the node's agent: when the report was made, RFC 3339.
pub const ANNOTATION_REPORTED_AT: &str = "haulout.dev/reported-at";
/// The cluster autoscaler leaves nodes with this annotation set to `true` alone.
pub const ANNOTATION_SCALE_DOWN_DISABLED: &str = "cluster-autoscaler.kubernetes.io/scale-down-disabled";
/// What [`ANNOTATION_SCALE_DOWN_DISABLED`] was before our cordon; absent where it was absent.
pub const ANNOTATION_SCALE_DOWN_BEFORE: &str = "haulout.dev/scale-down-disabled-before";
/// The field manager of every write of ours; the owner of `spec.unschedulable` in `managedFields` after our cordon.
pub const FIELD_MANAGER: &str = "haulout";
/// The namespace of the lock, the node pods and their service account.
pub const MANAGED_NAMESPACE: &str = "haulout-system";
/// The Lease that lets one run act on a cluster, in [`MANAGED_NAMESPACE`].
pub const LEASE_NAME: &str = "haulout";
/// Label of pods that haulout makes: what they are for.
pub const LABEL_COMPONENT: &str = "haulout.dev/component";
/// Label of pods that haulout makes: the run that made them.
pub const LABEL_RUN: &str = "haulout.dev/run";
/// The value of [`LABEL_COMPONENT`] on a reboot pod.
pub const REBOOT_COMPONENT: &str = "reboot";

/// The name of a node's reboot pod. Deterministic, so that creating it twice answers `AlreadyExists` and never makes
/// two; the run is part of it because a finished pod of an earlier run may still be there.
#[must_use]
pub fn reboot_pod_name(node: &NodeName, run: &RunId) -> String {
    // 253 is the limit of a name; node names may be as long themselves, so the node's part is cut and made unique by
    // a checksum of the whole (FNV-1a: stable, and nothing here depends on its being hard to invert).
    let digest = node
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let head: String = node.as_str().chars().take(40).collect();
    format!("reboot-{}-{:08x}-{run}", head.trim_end_matches(['.', '-']).replace('.', "-"), digest as u32)
}

/// How far a run came on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Unschedulable; nothing evicted yet.
    Cordoned,
    /// The reboot pod is Ready on it; evictions may have begun.
    Armed,
    /// Nothing that must leave is left on it.
    Drained,
    /// The reboot was requested.
    Reboot,
    /// It is back with another boot id.
    Returned,
}

impl Phase {
    /// The value of [`ANNOTATION_PHASE`].
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Cordoned => "cordoned",
            Phase::Armed => "armed",
            Phase::Drained => "drained",
            Phase::Reboot => "reboot",
            Phase::Returned => "returned",
        }
    }

    /// Reads the value of [`ANNOTATION_PHASE`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Phase::Cordoned, Phase::Armed, Phase::Drained, Phase::Reboot, Phase::Returned]
            .into_iter()
            .find(|phase| phase.as_str() == text)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The marks of a run on a node, as read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The `name` of the config that cordoned the node; compared, and shown sanitised.
    pub config: Foreign,
    /// The table of that config that wanted it.
    pub table: Option<TableName>,
    /// The run that wrote the mark.
    pub run: RunId,
    /// When the node was cordoned.
    pub since: Timestamp,
    /// How far the run came; `None` where the annotation is missing or not one of ours.
    pub phase: Option<Phase>,
    /// What the run was to reboot, where it was to.
    pub reboots: Option<Reboots>,
}

/// What a run that means to reboot a node says of the node when it cordons it, so that whoever finds the mark can tell
/// whether that reboot has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reboots {
    /// The boot that is to end: with any other one the node has rebooted since.
    pub boot_id: BootId,
    /// Why it is rebooted.
    pub reason: Foreign,
}

impl Mark {
    /// Whether the reboot was requested: from then on it may happen at any time, or has.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        matches!(self.phase, Some(Phase::Reboot | Phase::Returned))
    }

    /// Whether it is that of a finished `out_of_service` cordon: the run that made it took its phase away.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.phase.is_none() && self.table.is_some()
    }
}

/// What [`ANNOTATION_LAST_REBOOT`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastReboot {
    /// When the node was uncordoned after it.
    pub at: Timestamp,
    /// The run that did it.
    pub run: RunId,
    /// The boot id after it.
    pub boot_id: BootId,
    /// Why it was done: the reason of the report then, or the trigger in words.
    pub reason: Foreign,
    /// Seconds from the cordon to the end of the drain.
    pub drain_seconds: u32,
    /// Seconds from the request until the node was Ready again.
    pub boot_seconds: u32,
}
