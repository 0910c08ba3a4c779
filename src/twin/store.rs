//! The objects, their versions, and what changed lately.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

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
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    version: u64,
    log: VecDeque<Change>,
    /// Changes after this version are in the log.
    floor: u64,
}

impl Store {
    /// Takes saved objects over. Nothing is known of how they came about, so that older watches cannot resume.
    pub(super) fn restore(version: u64, objects: impl IntoIterator<Item = (Kind, Value)>) -> Self {
        let objects = objects.into_iter().map(|(kind, object)| (key_of(kind, &object), Arc::new(object))).collect();
        Self { objects, version, log: VecDeque::new(), floor: version }
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
        if self.log.len() > REMEMBERED
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

    /// Rewrites every object in place, without new versions: only for moving the times of a cluster that stood still.
    pub(super) fn rewrite(&mut self, change: impl Fn(&Key, &mut Value)) {
        for (key, object) in &mut self.objects {
            change(key, Arc::make_mut(object));
        }
        self.log.clear();
        self.floor = self.version;
    }
}
