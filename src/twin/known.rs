//! Objects as those outside of the cluster understand them, each read once for each of its versions.
//!
//! To read an object takes far longer than to copy what was read of it, and the same version of a node or a pod is asked
//! for again and again: by whoever follows it, by the answer to a write, and by all that look whether it has changed.

use std::sync::Arc;

use super::json::{Map, Value};
use super::kind::{ByKey, Key};
use super::object::Look;
use crate::model::{Budget, DaemonSet, LabelKey, Node, Pod};
use crate::provider::RebootPodState;
use crate::provider::kubernetes::json::{self as wire, Reader};

/// Reads objects, and remembers what it read.
pub(super) struct Known {
    reader: Reader,
    nodes: Versions<Option<Node>>,
    pods: Versions<Option<Pod>>,
    reboot_pods: Versions<RebootPodState>,
}

/// What was read of objects, each with the version that it was read of.
struct Versions<T>(ByKey<(Arc<Value>, T)>);

impl<T: Clone> Versions<T> {
    /// Reads an object; `again` has what was read of it last, and of which version.
    fn read(&mut self, key: &Key, object: &Arc<Value>, mut read: impl FnMut(Again<'_, T>) -> T) -> T {
        if let Some((version, known)) = self.0.get_mut(key) {
            if !Arc::ptr_eq(version, object) {
                *known = read(Again { object, before: Some((&**version, &*known)) });
                *version = Arc::clone(object);
            }
            return known.clone();
        }
        let known = read(Again { object, before: None });
        self.0.insert(key.clone(), (Arc::clone(object), known.clone()));
        known
    }
}

/// An object that is to be read, and what was read of it before.
struct Again<'a, T> {
    object: &'a Value,
    before: Option<(&'a Value, &'a T)>,
}

impl<'a, T> Again<'a, Option<T>> {
    /// What was read of it before, if all of these parts are as they were.
    fn same(&self, parts: &[&str]) -> Option<&'a T> {
        let (object, known) = self.before?;
        parts.iter().all(|part| self.object.at(part) == object.at(part)).then_some(known.as_ref()).flatten()
    }

    /// The object without some of its parts, and without some of its metadata.
    fn without(&self, parts: &[&str], metadata: &[&str]) -> Value {
        let but = |value: &Value, left_out: &[&str]| -> Map {
            let rest = value.as_object().into_iter().flatten().filter(|(key, _)| !left_out.contains(&key.as_str()));
            rest.map(|(key, part)| (key.clone(), part.clone())).collect()
        };
        let mut rest = but(self.object, parts);
        if let Some(known) = rest.get_mut("metadata") {
            *known = but(known, metadata).into();
        }
        rest.into()
    }
}

impl Known {
    /// `pool_label` names the pool of a node, where the config gives one.
    pub(super) fn new(pool_label: Option<LabelKey>) -> Self {
        Self {
            reader: Reader::new(pool_label),
            nodes: Versions(ByKey::default()),
            pods: Versions(ByKey::default()),
            reboot_pods: Versions(ByKey::default()),
        }
    }

    /// A Node; what cannot be understood is `None`, here and below.
    pub(super) fn node(&mut self, key: &Key, object: &Arc<Value>) -> Option<Node> {
        self.nodes.read(key, object, |again| {
            // The marks of a run change far more often than the rest.
            let before = again.same(&["/metadata/uid", "/metadata/labels", "/status"]);
            let known =
                before.and_then(|before| self.reader.node_again(&again.without(&["status"], &["labels"]), before));
            known.or_else(|| self.reader.node(again.object))
        })
    }

    /// A Pod.
    pub(super) fn pod(&mut self, key: &Key, object: &Arc<Value>) -> Option<Pod> {
        self.pods.read(key, object, |again| {
            const SHAPE: [&str; 4] = ["labels", "annotations", "ownerReferences", "finalizers"];
            let before = again.same(&[
                "/metadata/uid",
                "/spec",
                "/metadata/labels",
                "/metadata/annotations",
                "/metadata/ownerReferences",
                "/metadata/finalizers",
            ]);
            let known = before.and_then(|before| self.reader.pod_again(&again.without(&["spec"], &SHAPE), before));
            known.or_else(|| self.reader.pod(again.object))
        })
    }

    /// How a reboot pod stands.
    pub(super) fn reboot_pod(&mut self, key: &Key, object: &Arc<Value>) -> RebootPodState {
        self.reboot_pods.read(key, object, |again| wire::reboot_pod_state(again.object))
    }

    /// A `PodDisruptionBudget`. These are few, and asked for once.
    pub(super) fn budget(&self, object: &Value) -> Option<Budget> {
        self.reader.budget(object)
    }

    /// A DaemonSet.
    pub(super) fn daemon_set(&self, object: &Value) -> Option<DaemonSet> {
        self.reader.daemon_set(object)
    }

    /// A Node as an answer shows it, which is nowhere else.
    pub(super) fn answered_node(&self, object: &Value) -> Option<Node> {
        self.reader.node(object)
    }

    /// Forgets an object that is gone.
    pub(super) fn forget(&mut self, key: &Key) {
        self.nodes.0.remove(key);
        self.pods.0.remove(key);
        self.reboot_pods.0.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::json::json;
    use crate::twin::kind::Kind;
    use crate::twin::object::{annotate, set, unset};

    /// Every change, whatever it leaves as it was, is read as by somebody who has never seen the object.
    fn proved<T: PartialEq + std::fmt::Debug>(
        key: &Key,
        mut object: Value,
        changes: &[&dyn Fn(&mut Value)],
        read: impl Fn(&mut Known, &Key, &Arc<Value>) -> Option<T>,
    ) {
        let mut known = Known::new(None);
        for change in changes {
            change(&mut object);
            let version = Arc::new(object.clone());
            let afresh = read(&mut Known::new(None), key, &version);
            assert_eq!(read(&mut known, key, &version), afresh, "{object}");
            assert_eq!(read(&mut known, key, &version), afresh, "{object}");
        }
    }

    #[test]
    fn a_node_that_was_read_before_is_read_as_one_that_was_not() {
        let node = json!({
            "metadata": {
                "name": "a", "uid": "1", "resourceVersion": "1",
                "labels": { "agentpool": "blue", "topology.kubernetes.io/zone": "z1", "kubernetes.io/os": "linux" },
            },
            "spec": {},
            "status": {
                "conditions": [{ "type": "Ready", "status": "True" }], "allocatable": { "cpu": "8" },
                "nodeInfo": { "bootID": "b", "kernelVersion": "6" },
                "addresses": [{ "type": "InternalIP", "address": "10.0.0.4" }],
                "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
            },
        });
        let changes: &[&dyn Fn(&mut Value)] = &[
            &|_| {},
            &|node| annotate(node, "haulout.dev/phase", Some("cordoned")),
            &|node| set(node, "/spec/unschedulable", true),
            &|node| set(node, "/metadata/resourceVersion", "2"),
            &|node| set(node, "/spec/taints", json!([{ "key": "a", "effect": "NoSchedule" }])),
            &|node| set(node, "/status/nodeInfo/bootID", "c"),
            &|node| set(node, "/metadata/labels/agentpool", "green"),
            &|node| set(node, "/metadata/deletionTimestamp", "2026-01-01T00:00:00Z"),
            &|node| {
                let taint = json!([{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }]);
                set(node, "/spec/taints", taint);
            },
            &|node| unset(node, "/spec/taints"),
            &|node| set(node, "/spec/taints", json!([{ "key": "a", "effect": "Never" }])),
            &|node| set(node, "/metadata/uid", "2"),
            &|node| unset(node, "/spec/taints"),
        ];
        proved(&Key::cluster(Kind::Node, "a"), node, changes, Known::node);
    }

    #[test]
    fn a_pod_that_was_read_before_is_read_as_one_that_was_not() {
        let pod = json!({
            "metadata": {
                "name": "web-0", "namespace": "shop", "uid": "1", "labels": { "app": "web" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "s", "controller": true }],
            },
            "spec": { "nodeName": "a", "terminationGracePeriodSeconds": 5 },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        let changes: &[&dyn Fn(&mut Value)] = &[
            &|_| {},
            &|pod| set(pod, "/status/phase", "Failed"),
            &|pod| set(pod, "/status/conditions", json!([{ "type": "Ready", "status": "False" }])),
            &|pod| set(pod, "/metadata/deletionTimestamp", "2026-01-01T00:00:00Z"),
            &|pod| set(pod, "/metadata/finalizers", json!(["x"])),
            &|pod| set(pod, "/metadata/labels/app", "db"),
            &|pod| annotate(pod, "kubernetes.io/config.mirror", Some("x")),
            &|pod| unset(pod, "/metadata/ownerReferences"),
            &|pod| set(pod, "/spec/nodeName", "b"),
            &|pod| set(pod, "/metadata/uid", "2"),
            &|pod| set(pod, "/status/phase", 1),
            &|pod| set(pod, "/status/phase", "Pending"),
        ];
        proved(&Key::new(Kind::Pod, "shop", "web-0"), pod, changes, Known::pod);
    }
}
