//! What the cluster does not show of a node: whether its machine runs, since when, and what its pods are up to.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::later;
use crate::model::{ANNOTATION_BOOT_ID, ANNOTATION_BOOTED_AT};
use crate::twin::json::{Text, Value};
use crate::twin::object::{Look, duration};

/// What scenarios may ask of a node and its pods; the simulated kubelets on a real control plane obey the same.
pub(in crate::twin) mod sim {
    /// What all of their names begin with.
    pub(in crate::twin) const PREFIX: &str = "sim.haulout.dev/";
    /// Node: how long it is dark when it reboots.
    pub(in crate::twin) const REBOOT_TAKES: &str = "sim.haulout.dev/reboot-takes";
    /// Node: how long after its boot it stays NotReady.
    pub(in crate::twin) const NODE_READY_AFTER: &str = "sim.haulout.dev/node-ready-after";
    /// Node: `false` means that nothing reports.
    pub(in crate::twin) const AGENT: &str = "sim.haulout.dev/agent";
    /// Node: why it waits for a reboot; booting removes it.
    pub(in crate::twin) const REBOOT_REQUIRED: &str = "sim.haulout.dev/reboot-required";
    /// Node: `true` means that booting does not remove it.
    pub(in crate::twin) const REASON_SURVIVES: &str = "sim.haulout.dev/reason-survives";
    /// Node: when its first boot was, RFC 3339; booting removes it.
    pub(in crate::twin) const BOOTED_AT: &str = "sim.haulout.dev/booted-at";
    /// Node: `true` means that it stays dark for ever once it reboots.
    pub(in crate::twin) const NEVER_RETURNS: &str = "sim.haulout.dev/never-returns";
    /// Node: `true` means that it comes back from the dark with the boot id that it had.
    pub(in crate::twin) const KEEPS_BOOT_ID: &str = "sim.haulout.dev/keeps-boot-id";
    /// Node: `true` means that it comes back as another Node object of the same name; coming back removes it.
    pub(in crate::twin) const RETURNS_AS_NEW_NODE: &str = "sim.haulout.dev/returns-as-new-node";
    /// Node: how many times it is NotReady and Ready again once it was Ready after a boot.
    pub(in crate::twin) const FLAPS: &str = "sim.haulout.dev/flaps";
    /// Node: `true` means that nothing reports any more once it has booted again.
    pub(in crate::twin) const REPORT_ENDS: &str = "sim.haulout.dev/report-ends";
    /// Node: how long its reboot pod takes to act on the phase.
    pub(in crate::twin) const FIRES_AFTER: &str = "sim.haulout.dev/fires-after";
    /// Pod, or node for all its pods: `true` means that no image can be pulled, so that no container starts.
    pub(in crate::twin) const PULL_FAILS: &str = "sim.haulout.dev/pull-fails";
    /// Node: a JSON object of resources.
    pub(in crate::twin) const ALLOCATABLE: &str = "sim.haulout.dev/allocatable";
    /// Pod, or node for all its pods: how long a container takes to be Ready.
    pub(in crate::twin) const READY_AFTER: &str = "sim.haulout.dev/ready-after";
    /// Pod, or node for all its pods: how long a container takes to stop.
    pub(in crate::twin) const STOPS_AFTER: &str = "sim.haulout.dev/stops-after";
    /// Pod: `true` keeps it Running but unready.
    pub(in crate::twin) const NEVER_READY: &str = "sim.haulout.dev/never-ready";
    /// Pod: how long after its start it succeeds, unless its restart policy is Always.
    pub(in crate::twin) const COMPLETE_AFTER: &str = "sim.haulout.dev/complete-after";
}

/// How often a kubelet renews its lease.
const LEASE_EVERY_MS: i64 = 10_000;

/// How long a node that flaps stays Ready, and NotReady.
const FLAP: SignedDuration = SignedDuration::from_secs(2);

/// One simulated machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::twin) struct Machine {
    /// The UID of its Node: another Node of this name is another machine.
    pub(super) uid: String,
    /// Until when nothing runs on it; `None` while it runs.
    pub(super) dark_until: Option<Timestamp>,
    /// When it went dark, and gave its last sign of life before.
    pub(super) last_lease: Option<Timestamp>,
    /// When the reboot that was asked for happens.
    pub(super) obey_at: Option<Timestamp>,
    pub(super) boot: Boot,
    /// What its kubelet last found or left, if nothing of that needs to be found out anew.
    #[serde(skip)]
    pub(super) kept: Option<Kept>,
    /// Its pods, by UID.
    pub(super) pods: BTreeMap<Text, PodRun>,
}

/// The status that a kubelet keeps: while the node has it and is as Ready, nothing is missing in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Shared with the node, so that to find it there takes no look at what it holds.
    pub(super) status: Value,
    pub(super) ready: bool,
}

/// One boot of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Boot {
    pub(super) id: String,
    pub(super) at: Timestamp,
    /// When the node may call itself Ready.
    pub(super) ready_at: Timestamp,
    /// Not the first.
    pub(super) again: bool,
    /// The status has shown it.
    pub(super) shown: bool,
    /// The agent has reported it.
    pub(super) told: bool,
}

/// What the cluster does not show of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PodRun {
    /// When its containers were started last.
    pub(super) since: Timestamp,
    /// When it was told to stop.
    pub(super) stopping: Option<Timestamp>,
    /// When it is killed, by the grace in seconds that it was given last.
    #[serde(default)]
    pub(super) killed: Option<(i64, Timestamp)>,
    pub(super) restarts: i64,
    /// Its containers ended with the last boot, for good.
    pub(super) lost: bool,
}

impl Machine {
    /// A machine for a Node; it takes over what the Node already says of its boot.
    pub(super) fn new(node: &Value, new_boot_id: impl FnOnce() -> String, now: Timestamp) -> Self {
        let shown = node.text("/status/nodeInfo/bootID");
        let id = if shown.is_empty() { new_boot_id() } else { shown.to_owned() };
        let reported = node.annotation(ANNOTATION_BOOT_ID) == Some(id.as_str());
        let at = node
            .annotation(sim::BOOTED_AT)
            .or_else(|| node.annotation(ANNOTATION_BOOTED_AT).filter(|_| reported))
            .and_then(|text| text.parse().ok())
            .or_else(|| node.time("/metadata/creationTimestamp"))
            .unwrap_or(now);
        let boot = Boot { id, at, ready_at: now, again: false, shown: false, told: false };
        Self {
            uid: node.uid().to_owned(),
            dark_until: None,
            last_lease: None,
            obey_at: None,
            boot,
            kept: None,
            pods: BTreeMap::new(),
        }
    }

    /// When the lease was renewed last.
    pub(in crate::twin) fn renewed(&self, now: Timestamp) -> Timestamp {
        if let Some(last) = self.last_lease {
            return last;
        }
        // Not all at the same moment: each by its boot, within its interval.
        let since = now.as_millisecond().saturating_sub(self.boot.at.as_millisecond()).max(0);
        later(now, SignedDuration::from_millis(-(since % LEASE_EVERY_MS)))
    }

    /// Whether it runs.
    pub(in crate::twin) fn is_up(&self) -> bool {
        self.dark_until.is_none()
    }

    /// Forgets a pod that is gone.
    pub(in crate::twin) fn forget(&mut self, pod: &str) {
        self.pods.remove(pod);
    }

    /// Moves every time in it; for ever is for ever.
    pub(in crate::twin) fn shift(&mut self, by: SignedDuration) {
        let move_by = |at: &mut Timestamp| *at = later(*at, by);
        self.dark_until.iter_mut().filter(|until| **until != Timestamp::MAX).for_each(move_by);
        self.last_lease.iter_mut().for_each(move_by);
        self.obey_at.iter_mut().for_each(move_by);
        move_by(&mut self.boot.at);
        move_by(&mut self.boot.ready_at);
        for pod in self.pods.values_mut() {
            move_by(&mut pod.since);
            pod.stopping.iter_mut().for_each(move_by);
            pod.killed.iter_mut().for_each(|(_, at)| move_by(at));
        }
    }
}

impl Boot {
    /// Whether the node calls itself Ready, and when that changes next. `flaps` is how often it is lost again.
    pub(super) fn readiness(&self, flaps: u32, now: Timestamp) -> (bool, Option<Timestamp>) {
        if now < self.ready_at {
            return (false, Some(self.ready_at));
        }
        let mut ready = true;
        let mut until = later(self.ready_at, FLAP);
        for _ in 0..flaps.saturating_mul(2) {
            if now < until {
                return (ready, Some(until));
            }
            ready = !ready;
            until = later(until, FLAP);
        }
        (true, None)
    }
}

/// Whether the first of the objects that says something about it says `true`.
pub(super) fn wished(annotation: &str, objects: &[&Value]) -> bool {
    objects.iter().find_map(|object| object.annotation(annotation)) == Some("true")
}

/// A duration from the first of the objects that has the annotation and says it in a way that can be read.
pub(super) fn asked(annotation: &str, otherwise: SignedDuration, objects: &[&Value]) -> SignedDuration {
    objects.iter().find_map(|object| object.annotation(annotation).and_then(duration)).unwrap_or(otherwise)
}
