//! The objects, their versions, and what changed lately.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::index::{Index, Tally};
use super::json::Value;
use super::kind::{ByKey, Key, Kind};
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
    /// Where each object lies, in order; and the same for finding one, which happens far more often than all the rest.
    order: BTreeMap<Key, usize>,
    places: ByKey<usize>,
    /// The objects; those that are gone leave their places to others.
    objects: Vec<Option<Arc<Value>>>,
    vacant: Vec<usize>,
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
        let mut store = Self {
            order: BTreeMap::new(),
            places: ByKey::default(),
            objects: Vec::new(),
            vacant: Vec::new(),
            index: Index::default(),
            version,
            log: VecDeque::new(),
            floor: version,
            remembered: REMEMBERED,
        };
        for (kind, object) in objects {
            let key = key_of(kind, &object);
            let object = Arc::new(object);
            let before = store.keep(&key, Arc::clone(&object));
            store.index.change(&key, before.as_deref(), Some(&object));
        }
        store
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.places.get(key).and_then(|at| self.objects[*at].as_ref())
    }

    /// Puts an object in its place. Returns what was there.
    fn keep(&mut self, key: &Key, object: Arc<Value>) -> Option<Arc<Value>> {
        if let Some(at) = self.places.get(key) {
            return self.objects[*at].replace(object);
        }
        let at = match self.vacant.pop() {
            Some(at) => {
                self.objects[at] = Some(object);
                at
            }
            None => {
                self.objects.push(Some(object));
                self.objects.len() - 1
            }
        };
        self.order.insert(key.clone(), at);
        self.places.insert(key.clone(), at);
        None
    }

    /// Takes an object out of its place.
    fn drop(&mut self, key: &Key) -> Option<Arc<Value>> {
        let at = self.places.remove(key)?;
        self.order.remove(key);
        self.vacant.push(at);
        self.objects[at].take()
    }

    fn at<'a>(&'a self, (key, at): (&'a Key, &usize)) -> Option<(&'a Key, &'a Arc<Value>)> {
        Some((key, self.objects[*at].as_ref()?))
    }

    /// The objects of a kind, by namespace and name.
    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = &Arc<Value>> {
        self.entries(kind).map(|(_, object)| object)
    }

    /// The objects of a kind with their keys.
    pub(super) fn entries(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        let first = Key::new(kind, "", "");
        let later = self.order.range((Bound::Included(first), Bound::Unbounded));
        later.take_while(move |(key, _)| key.kind == kind).filter_map(|entry| self.at(entry))
    }

    /// The objects of a kind in a namespace, with their keys.
    pub(super) fn within<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
        let first = Key::new(kind, namespace, "");
        let later = self.order.range((Bound::Included(first), Bound::Unbounded));
        later
            .take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
            .filter_map(|entry| self.at(entry))
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
        keys.iter().filter_map(|key| Some((key, self.get(key)?)))
    }

    /// Every object.
    pub(super) fn every(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.order.iter().filter_map(|entry| self.at(entry))
    }

    /// Writes an object under a new version.
    pub(super) fn put(&mut self, key: &Key, mut object: Value) -> Arc<Value> {
        self.version += 1;
        set(&mut object, "/metadata/resourceVersion", self.version.to_string());
        let after = Arc::new(object);
        let before = self.keep(key, Arc::clone(&after));
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
        let before = self.drop(key)?;
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

    /// Takes the changes up to now: for a cluster whose every reader is told of them.
    pub(super) fn take(&mut self) -> VecDeque<Change> {
        self.floor = self.version;
        std::mem::take(&mut self.log)
    }

    /// Forgets the changes up to now.
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
        for (key, at) in &self.order {
            if let Some(object) = &mut self.objects[*at] {
                change(key, Arc::make_mut(object));
            }
        }
        self.log.clear();
        self.floor = self.version;
    }
}
