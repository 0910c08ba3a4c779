//! How objects go: pods after a grace period, others at once, all of them only when no finalizer holds them.

use jiff::SignedDuration;

use super::json::Value;
use super::kind::{Key, Kind};
use super::object::{Condition, Look, set, set_condition, stamp};
use super::world::World;

impl World {
    /// Deletes an object as a DELETE does. For a pod `grace` is in seconds, `None` its own.
    pub(super) fn begin_deletion(&mut self, key: &Key, grace: Option<i64>) {
        let Some(object) = self.object(key) else { return };
        if key.kind == Kind::Pod {
            self.begin_pod(key, &object, grace);
        } else if key.kind == Kind::Namespace || has_finalizers(&object) {
            let now = self.now;
            self.edit(key, |object| {
                if !object.is_terminating() {
                    set(object, "/metadata/deletionTimestamp", stamp(now));
                    set(object, "/metadata/deletionGracePeriodSeconds", 0);
                }
                if key.kind == Kind::Namespace {
                    set(object, "/status/phase", "Terminating");
                }
            });
        } else {
            self.remove(key);
        }
    }

    fn begin_pod(&mut self, key: &Key, pod: &Value, grace: Option<i64>) {
        let own = pod.number("/spec/terminationGracePeriodSeconds").unwrap_or(30);
        // What does not run yet, or has ended, has nothing to end.
        let idle = pod.text("/spec/nodeName").is_empty() || pod.is_finished();
        let grace = if idle { 0 } else { grace.unwrap_or(own).max(0) };
        if grace == 0 && !has_finalizers(pod) {
            self.remove(key);
            return;
        }
        let now = self.now;
        let at = now.saturating_add(SignedDuration::from_secs(grace)).unwrap_or(now);
        self.edit(key, |pod| {
            let before = pod.number("/metadata/deletionGracePeriodSeconds");
            // A shorter grace is applied to a pod that is ending already, a longer one ignored.
            if !pod.is_terminating() || before.is_none_or(|before| grace < before) {
                set(pod, "/metadata/deletionTimestamp", stamp(at));
                set(pod, "/metadata/deletionGracePeriodSeconds", grace);
            }
        });
    }

    /// Confirms that a pod has ended: it goes, unless a finalizer holds it.
    pub(super) fn end(&mut self, key: &Key) {
        match self.object(key) {
            Some(pod) if has_finalizers(&pod) => {
                self.edit(key, |pod| set(pod, "/metadata/deletionGracePeriodSeconds", 0));
            }
            Some(_) => self.remove(key),
            None => {}
        }
    }

    /// Marks a pod as evicted and deletes it.
    pub(super) fn evict_now(&mut self, key: &Key, grace: Option<i64>) {
        let now = self.now;
        self.edit(key, |pod| {
            let condition = Condition {
                kind: "DisruptionTarget",
                status: "True",
                reason: "EvictionByEvictionAPI",
                message: "Eviction API: evicting",
            };
            set_condition(pod, &condition, now);
        });
        self.begin_deletion(key, grace);
    }
}

/// Whether something holds an object back from going.
pub(super) fn has_finalizers(object: &Value) -> bool {
    !object.items("/metadata/finalizers").is_empty()
}
