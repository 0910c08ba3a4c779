//! What is asked of the objects again and again, kept so that nobody has to look at all of them: which pods are on a
//! node, which objects an owner has, which pods use claims.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::kind::{Key, Kind};
use super::object::Look;

/// Follows every change of the objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Pods by the node that they are bound to; those that are bound to none under the empty name.
    on: BTreeMap<String, BTreeSet<Key>>,
    /// Objects by the UID of each of their owners.
    owned: BTreeMap<String, BTreeSet<Key>>,
    /// How many objects have a UID: one, but for objects that a client gave the same.
    uids: BTreeMap<String, u32>,
    /// Pods with volumes that are claims.
    claiming: BTreeSet<Key>,
    none: BTreeSet<Key>,
}

impl Index {
    /// Takes a change in.
    pub(super) fn change(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        if key.kind == Kind::Pod {
            let node = |pod: &Value| pod.text("/spec/nodeName").to_owned();
            let (was, is) = (before.map(node), after.map(node));
            if was != is {
                if let Some(was) = was {
                    forget(&mut self.on, &was, key);
                }
                if let Some(is) = is {
                    self.on.entry(is).or_default().insert(key.clone());
                }
            }
            if after.is_some_and(claims) {
                self.claiming.insert(key.clone());
            } else if before.is_some() {
                self.claiming.remove(key);
            }
        }
        let owners = |object: Option<&Value>| -> Vec<Value> {
            object.map(|object| object.items("/metadata/ownerReferences").to_vec()).unwrap_or_default()
        };
        let same = before.map(|object| object.at("/metadata/ownerReferences"))
            == after.map(|object| object.at("/metadata/ownerReferences"));
        if !same {
            for owner in owners(before) {
                forget(&mut self.owned, owner.text("/uid"), key);
            }
            for owner in owners(after) {
                self.owned.entry(owner.text("/uid").to_owned()).or_default().insert(key.clone());
            }
        }
        let (was, is) = (before.map(Look::uid), after.map(Look::uid));
        if was != is {
            if let Some(was) = was
                && let Some(count) = self.uids.get_mut(was)
            {
                *count -= 1;
                if *count == 0 {
                    self.uids.remove(was);
                }
            }
            if let Some(is) = is {
                *self.uids.entry(is.to_owned()).or_default() += 1;
            }
        }
    }

    /// The pods bound to a node; to none, for the empty name.
    pub(super) fn on(&self, node: &str) -> &BTreeSet<Key> {
        self.on.get(node).unwrap_or(&self.none)
    }

    /// The objects that an owner has.
    pub(super) fn owned(&self, uid: &str) -> &BTreeSet<Key> {
        self.owned.get(uid).unwrap_or(&self.none)
    }

    /// Whether there is an object with a UID.
    pub(super) fn has_uid(&self, uid: &str) -> bool {
        self.uids.contains_key(uid)
    }

    /// The pods with volumes that are claims.
    pub(super) fn claiming(&self) -> &BTreeSet<Key> {
        &self.claiming
    }
}

fn forget(map: &mut BTreeMap<String, BTreeSet<Key>>, name: &str, key: &Key) {
    if let Some(keys) = map.get_mut(name) {
        keys.remove(key);
        if keys.is_empty() {
            map.remove(name);
        }
    }
}

/// Whether a pod has a volume that is a claim.
pub(super) fn claims(pod: &Value) -> bool {
    pod.items("/spec/volumes").iter().any(|volume| !volume.at("/persistentVolumeClaim").is_null())
}
