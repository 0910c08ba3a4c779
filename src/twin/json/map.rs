//! The parts of an object.

use super::{Text, Value};

/// The parts of an object, in order of their keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Map(Vec<(Text, Value)>);

/// Maps of up to this many keys are searched from the front, which is quicker than to halve.
const FEW: usize = 16;

impl Map {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Where a key is.
    fn position(&self, key: &str) -> Option<usize> {
        if self.0.len() <= FEW {
            // Most keys differ in their length.
            return self.0.iter().position(|(known, _)| known.len() == key.len() && **known == *key);
        }
        self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()
    }

    /// Where a key is, or where it belongs.
    fn find(&self, key: &str) -> Result<usize, usize> {
        self.position(key).ok_or_else(|| self.0.partition_point(|(known, _)| **known < *key))
    }

    /// One part.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.position(key).map(|at| &self.0[at].1)
    }

    /// One part, to change it.
    #[must_use]
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.position(key).map(|at| &mut self.0[at].1)
    }

    /// One part, made where it is missing.
    pub fn part(&mut self, key: &str) -> &mut Value {
        let at = match self.find(key) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (key.into(), Value::Null));
                at
            }
        };
        &mut self.0[at].1
    }

    /// Whether there is such a part.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Writes a part. Returns what it was.
    pub fn insert(&mut self, key: impl Into<Text>, part: Value) -> Option<Value> {
        let key = key.into();
        match self.find(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, part)),
            Err(at) => {
                self.0.insert(at, (key, part));
                None
            }
        }
    }

    /// Takes a part out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.position(key).map(|at| self.0.remove(at).1)
    }

    /// Keeps the parts that are meant.
    pub fn retain(&mut self, mut meant: impl FnMut(&Text, &mut Value) -> bool) {
        self.0.retain_mut(|(key, part)| meant(key, part));
    }

    /// How many parts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts with their keys.
    pub fn iter(&self) -> Parts<'_> {
        self.0.iter().map(|(key, part)| (key, part))
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &Text> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The parts.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|(_, part)| part)
    }

    /// The parts, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.0.iter_mut().map(|(_, part)| part)
    }
}

/// The parts of an object with their keys.
pub type Parts<'a> =
    std::iter::Map<std::slice::Iter<'a, (Text, Value)>, fn(&'a (Text, Value)) -> (&'a Text, &'a Value)>;

impl<'a> IntoIterator for &'a Map {
    type Item = (&'a Text, &'a Value);
    type IntoIter = Parts<'a>;

    fn into_iter(self) -> Parts<'a> {
        self.iter()
    }
}

impl<K: Into<Text>> FromIterator<(K, Value)> for Map {
    fn from_iter<T: IntoIterator<Item = (K, Value)>>(parts: T) -> Self {
        let mut map = Self::new();
        map.extend(parts);
        map
    }
}

impl<K: Into<Text>> Extend<(K, Value)> for Map {
    fn extend<T: IntoIterator<Item = (K, Value)>>(&mut self, parts: T) {
        for (key, part) in parts {
            self.insert(key, part);
        }
    }
}

impl IntoIterator for Map {
    type Item = (Text, Value);
    type IntoIter = std::vec::IntoIter<(Text, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
