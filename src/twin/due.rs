//! What each actor has yet to look at. Every change marks what it may concern, so that the time that an actor takes goes
//! with what changed and not with the size of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::json::Text;
use super::kind::Key;

/// What one actor has to look at: because it changed, or because its time has come.
#[derive(Debug, Clone)]
pub(super) struct Due<T> {
    changed: BTreeSet<T>,
    timed: BTreeSet<(Timestamp, T)>,
    times: BTreeMap<T, Timestamp>,
}

impl<T> Default for Due<T> {
    fn default() -> Self {
        Self { changed: BTreeSet::new(), timed: BTreeSet::new(), times: BTreeMap::new() }
    }
}

impl<T: Ord + Clone> Due<T> {
    /// Something changed that concerns it.
    pub(super) fn mark(&mut self, what: T) {
        self.changed.insert(what);
    }

    /// It was looked at after all that changed.
    pub(super) fn unmark(&mut self, what: &T) {
        self.changed.remove(what);
    }

    /// Takes what has to be looked at now, in order. Times that were set for it are no more.
    pub(super) fn take(&mut self, now: Timestamp) -> BTreeSet<T> {
        let mut due = std::mem::take(&mut self.changed);
        while self.timed.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, what)) = self.timed.pop_first() else { break };
            self.times.remove(&what);
            due.insert(what);
        }
        for what in &due {
            self.forget(what);
        }
        due
    }

    /// Takes what has changed of those that are meant.
    pub(super) fn take_where(&mut self, meant: impl Fn(&T) -> bool) -> Vec<T> {
        let taken: Vec<T> = self.changed.iter().filter(|what| meant(what)).cloned().collect();
        for what in &taken {
            self.changed.remove(what);
        }
        taken
    }

    /// Wants it to be looked at again at a moment, in place of the one that was set before; never, for `None`.
    pub(super) fn again(&mut self, what: &T, at: Option<Timestamp>) {
        self.forget(what);
        if let Some(at) = at {
            self.times.insert(what.clone(), at);
            self.timed.insert((at, what.clone()));
        }
    }

    fn forget(&mut self, what: &T) {
        if let Some(before) = self.times.remove(what) {
            self.timed.remove(&(before, what.clone()));
        }
    }

    /// When the first of it wants to be looked at.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.timed.first().map(|(at, _)| *at)
    }

    /// Whether something has changed that was not looked at.
    pub(super) fn is_marked(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Moves every time.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        let timed = std::mem::take(&mut self.timed);
        self.times.clear();
        for (at, what) in timed {
            let at = at.saturating_add(by).unwrap_or(at);
            self.again(&what, Some(at));
        }
    }
}

/// What all actors have to look at.
#[derive(Debug, Clone, Default)]
pub(super) struct Work {
    /// Kubelets: machines by their node's name.
    pub(super) machines: Due<Text>,
    /// Kubelets: pods.
    pub(super) pods: Due<Key>,
    /// The disruption controller: budgets.
    pub(super) budgets: Due<Key>,
    /// The scheduler: whether something changed that could let a pod be placed.
    pub(super) placing: bool,
    /// The node lifecycle controller: nodes by name.
    pub(super) nodes: Due<Text>,
    /// The controllers of workloads: their objects.
    pub(super) workloads: Due<Key>,
    /// The DaemonSet controller: nodes on which every DaemonSet, or one of them, has to be looked at.
    pub(super) daemon_nodes: BTreeSet<Text>,
    pub(super) daemon_pods: BTreeSet<(Key, Text)>,
    /// The attacher: whether something changed that concerns volumes.
    pub(super) volumes: bool,
    /// The collector: objects that may be garbage.
    pub(super) garbage: Due<Key>,
    /// The collector: namespaces that are being deleted.
    pub(super) leaving: BTreeSet<Text>,
}
