//! The objects, their versions, and what changed lately.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use super::index::{Index, Tally};
use super::kind::{Key, Kind};
use super::object::{key_of, set};

/// How many changes are remembered for watches that resume; older ones answer 410.
const REMEMBERED: usize = 8192;

/// What happened to an object.
#[derive(Debug, Clone)]
pub struct Change {
    /// The version of the cluster after it.
    pub version: u64,
    /// Which object.
    pub key: Key,
    /// What it was; `None` where it is new.
    pub before: Option<Arc<Value>>,
    /// What it is now, or was last.
    pub after: Arc<Value>,
    /// Whether it is gone.
    pub gone: bool,
}

/// All objects.
#[derive(Debug, Clone)]
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    index: Index,
    version: u64,
    log: VecDeque<Change>,
    /// Changes after this version are in the log.
    floor: u64,
    /// How many changes are remembered.
    remembered: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self::restore(0, [])
    }
}

impl Store {
    /// Takes saved objects over. Nothing is known of how they came about, so that older watches cannot resume.
    pub(super) fn restore(version: u64, objects: impl IntoIterator<Item = (Kind, Value)>) -> Self {
        let objects: BTreeMap<Key, Arc<Value>> =
            objects.into_iter().map(|(kind, object)| (key_of(kind, &object), Arc::new(object))).collect();
        let mut index = Index::default();
        for (key, object) in &objects {
            index.change(key, None, Some(object));
        }
        Self { objects, index, version, log: VecDeque::new(), floor: version, remembered: REMEMBERED }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// The objects of a kind, by namespace and name.
    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = &Arc<Value>> {
        self.entries(kind).map(|(_, object)| object)
    }

    /// The objects of a kind with their keys.
    pub(super) fn entries(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        let first = Key::new(kind, "", "");
        self.objects.range((Bound::Included(first), Bound::Unbounded)).take_while(move |(key, _)| key.kind == kind)
    }

    /// The objects of a kind in a namespace, with their keys.
    pub(super) fn within<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        let first = Key::new(kind, namespace, "");
        self.objects
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
    }

    /// The pods that are bound to a node, with their keys; to none, for the empty name.
    pub(super) fn pods_on(&self, node: &str) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.of(self.index.on(node))
    }

    /// The pods that are bound to no node and were made for this one, with their keys.
    pub(super) fn pods_meant_for(&self, node: &str) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.of(self.index.meant_for(node))
    }

    /// The objects that an owner has, with their keys.
    pub(super) fn owned(&self, uid: &str) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.of(self.index.owned(uid))
    }

    /// How many pods a controller has in a namespace that neither have ended nor are to.
    pub(super) fn tally(&self, uid: &str, namespace: &str) -> Tally {
        self.index.tally_of(uid, namespace)
    }

    /// The pods with volumes that are claims.
    pub(super) fn claiming(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.of(self.index.claiming())
    }

    /// Whether there is an object with a UID.
    pub(super) fn has_uid(&self, uid: &str) -> bool {
        self.index.has_uid(uid)
    }

    fn of<'a>(&'a self, keys: &'a BTreeSet<Key>) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        keys.iter().filter_map(|key| self.objects.get(key).map(|object| (key, object)))
    }

    /// Every object.
    pub(super) fn every(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// Writes an object under a new version.
    pub(super) fn put(&mut self, key: &Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        set(&mut object, "/metadata/resourceVersion", self.version.to_string());
        let after = Arc::new(object);
        let before = self.objects.insert(key.clone(), Arc::clone(&after));
        self.index.change(key, before.as_deref(), Some(&after));
        self.remember(Change {
            version: self.version,
            key: key.clone(),
            before,
            after: Arc::clone(&after),
            gone: false,
        });
        after
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?;
        self.index.change(key, Some(&before), None);
        self.version += 1;
        let mut last = (*before).clone();
        set(&mut last, "/metadata/resourceVersion", self.version.to_string());
        let after = Arc::new(last);
        let change = Change {
            version: self.version,
            key: key.clone(),
            before: Some(before),
            after: Arc::clone(&after),
            gone: true,
        };
        self.remember(change);
        Some(after)
    }

    fn remember(&mut self, change: Change) {
        self.log.push_back(change);
        if self.log.len() > self.remembered
            && let Some(oldest) = self.log.pop_front()
        {
            self.floor = oldest.version;
        }
    }

    /// The changes after a version; `None` where they are no longer known.
    pub(super) fn since(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        let start = self.log.partition_point(|change| change.version <= version);
        (version >= self.floor).then(|| self.log.range(start..))
    }

    /// Forgets the changes up to now: for a cluster whose every reader was told of them.
    pub(super) fn forget(&mut self) {
        self.log.clear();
        self.floor = self.version;
    }

    /// Remembers every change until [`Store::forget`].
    pub(super) fn remember_all(&mut self) {
        self.remembered = usize::MAX;
    }

    /// Rewrites every object in place, without new versions: only for moving the times of a cluster that stood still.
    pub(super) fn rewrite(&mut self, change: impl Fn(&Key, &mut Value)) {
        for (key, object) in &mut self.objects {
            change(key, Arc::make_mut(object));
        }
        self.log.clear();
        self.floor = self.version;
    }
}
