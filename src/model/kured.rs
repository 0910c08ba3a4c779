//! The lock of kured, which reboots nodes of its own accord: a cluster that moves from it to haulout has both.

use jiff::{SignedDuration, Timestamp};

use super::NodeName;

/// Where kured keeps its lock unless its `--lock-annotation` says otherwise: on its own DaemonSet.
pub const ANNOTATION_KURED_LOCK: &str = "weave.works/kured-node-lock";

/// An entry in the lock of a kured. Its holder drains and reboots one node at a time, and uncordons it afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KuredLock {
    /// Held for a node.
    Held {
        /// The node that kured works on.
        node: NodeName,
        /// Since when; kured up to 1.4.0 does not say.
        since: Option<Timestamp>,
        /// How long it counts; `None` is until it is released.
        lasts: Option<SignedDuration>,
    },
    /// There is something that cannot be understood.
    Unreadable,
}

impl KuredLock {
    /// When it stops to count by itself, if ever. kured lets go of it at the moment itself, not only after it.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Held { since: Some(since), lasts: Some(lasts), .. } => since.checked_add(*lasts).ok(),
            Self::Held { .. } | Self::Unreadable => None,
        }
    }

    /// The node that kured works on at `now`.
    #[must_use]
    pub fn node_at(&self, now: Timestamp) -> Option<&NodeName> {
        match self {
            Self::Held { node, .. } if self.until().is_none_or(|until| now < until) => Some(node),
            Self::Held { .. } | Self::Unreadable => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_counts_until_its_time_is_up() {
        let since: Timestamp = "2026-03-02T01:00:00Z".parse().unwrap();
        let held = |since, lasts| KuredLock::Held { node: NodeName::new("a").unwrap(), since, lasts };
        let minutes = SignedDuration::from_mins;
        for (lock, after, counts) in [
            (held(Some(since), None), minutes(60 * 24 * 365), true),
            (held(None, Some(minutes(30))), minutes(60), true),
            (held(Some(since), Some(minutes(30))), minutes(29), true),
            (held(Some(since), Some(minutes(30))), minutes(30), false),
            // The clock of the node may be ahead of ours.
            (held(Some(since), Some(minutes(30))), minutes(-5), true),
            (KuredLock::Unreadable, minutes(0), false),
        ] {
            assert_eq!(lock.node_at(since + after).is_some(), counts, "{lock:?} after {after}");
        }
    }
}
