//! What is asked of the objects again and again, kept so that nobody has to look at all of them: which pods are on a
//! node, which objects an owner has, which pods use claims.

use std::collections::{BTreeMap, BTreeSet};

use super::actor::meant_node;
use super::json::{Text, Value};
use super::kind::{Key, Kind};
use super::object::{Look, PodFacts};

/// How many pods a controller has that neither have ended nor are to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) active: usize,
    /// Those of them that are Ready.
    pub(super) ready: usize,
}

/// Follows every change of the objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    /// Pods by the node that they are bound to; those that are bound to none under the empty name.
    on: BTreeMap<Text, BTreeSet<Key>>,
    /// Pods that are bound to none, by the node that they were made for.
    meant: BTreeMap<Text, BTreeSet<Key>>,
    /// Objects by the UID of each of their owners.
    owned: BTreeMap<Text, BTreeSet<Key>>,
    /// By the UID of a controller: for each namespace in which it has pods, how many.
    tallies: BTreeMap<Text, Vec<(Text, Tally)>>,
    /// How many objects have a UID: one, but for objects that a client gave the same.
    uids: BTreeMap<Text, u32>,
    /// Pods with volumes that are claims.
    claiming: BTreeSet<Key>,
    none: BTreeSet<Key>,
}

impl Index {
    /// Takes a change in.
    pub(super) fn change(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        if key.kind == Kind::Pod {
            let (was, is) = (before.map(PodFacts::of), after.map(PodFacts::of));
            if was.map(|was| was.spec) != is.map(|is| is.spec) {
                fn meant(pod: &Value) -> Option<&str> {
                    Some(meant_node(pod)).filter(|meant| pod.text("/spec/nodeName").is_empty() && !meant.is_empty())
                }
                refile(&mut self.on, key, was.map(|was| was.node()), is.map(|is| is.node()));
                refile(&mut self.meant, key, before.and_then(meant), after.and_then(meant));
                if after.is_some_and(claims) {
                    self.claiming.insert(key.clone());
                } else if before.is_some() {
                    self.claiming.remove(key);
                }
            }
            self.tally(&key.namespace, was, is);
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
                self.owned.entry(owner.text("/uid").into()).or_default().insert(key.clone());
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
                *self.uids.entry(is.into()).or_default() += 1;
            }
        }
    }

    /// Keeps the tallies.
    fn tally(&mut self, namespace: &str, was: Option<PodFacts<'_>>, is: Option<PodFacts<'_>>) {
        fn counts<'a>(pod: PodFacts<'a>) -> Option<(&'a str, bool)> {
            pod.counts_for().map(|owner| (owner, pod.ready))
        }
        let (was, is) = (was.and_then(counts), is.and_then(counts));
        if was == is {
            return;
        }
        for (counted, more) in [(was, false), (is, true)] {
            let Some((owner, ready)) = counted else { continue };
            let all = self.tallies.entry(owner.into()).or_default();
            let at = all.iter().position(|(known, _)| known == namespace).unwrap_or_else(|| {
                all.push((namespace.into(), Tally::default()));
                all.len() - 1
            });
            let tally = &mut all[at].1;
            if more {
                tally.active += 1;
                tally.ready += usize::from(ready);
            } else {
                tally.active -= 1;
                tally.ready -= usize::from(ready);
                if tally.active == 0 {
                    all.swap_remove(at);
                }
                if all.is_empty() {
                    self.tallies.remove(owner);
                }
            }
        }
    }

    /// How many pods a controller has in a namespace that neither have ended nor are to.
    pub(super) fn tally_of(&self, uid: &str, namespace: &str) -> Tally {
        let all = self.tallies.get(uid).into_iter().flatten();
        all.into_iter().find(|(known, _)| known == namespace).map(|(_, tally)| *tally).unwrap_or_default()
    }

    /// The pods bound to a node; to none, for the empty name.
    pub(super) fn on(&self, node: &str) -> &BTreeSet<Key> {
        self.on.get(node).unwrap_or(&self.none)
    }

    /// The pods that are bound to no node, and were made for this one.
    pub(super) fn meant_for(&self, node: &str) -> &BTreeSet<Key> {
        self.meant.get(node).unwrap_or(&self.none)
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

/// Files a key under another name than before.
fn refile(map: &mut BTreeMap<Text, BTreeSet<Key>>, key: &Key, was: Option<&str>, is: Option<&str>) {
    if was == is {
        return;
    }
    if let Some(was) = was {
        forget(map, was, key);
    }
    if let Some(is) = is {
        map.entry(is.into()).or_default().insert(key.clone());
    }
}

fn forget(map: &mut BTreeMap<Text, BTreeSet<Key>>, name: &str, key: &Key) {
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
