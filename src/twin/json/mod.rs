//! JSON whose copies share their parts.
//!
//! A cluster in which everything changes all the time keeps each object twice, before and after a change, and shows it
//! to many. Here a copy costs a count, a change copies only the maps and lists on its way, and two objects that share a
//! part are known to be equal in it without a look. Keys are in order, as in [`serde_json::Value`] without its feature
//! `preserve_order`, so that both are written in the same bytes.

mod convert;
mod map;
mod serial;
mod text;

use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use serde_json::Number;

pub use map::{Map, Parts};
pub(crate) use text::{Literal, Part, json, list, parts};

/// A text that is cheap to copy; a short one, as most are, lies in its place.
pub use smol_str::SmolStr as Text;

/// A JSON value.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    String(Text),
    /// A list.
    Array(Arc<Vec<Value>>),
    /// An object.
    Object(Arc<Map>),
}

static NULL: Value = Value::Null;

/// What finds a part of a value: a key or a place in a list.
pub trait At {
    /// The part.
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value>;
    /// The part, to change it.
    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value>;
}

impl At for str {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        value.as_object()?.get(self)
    }

    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        value.as_object_mut()?.get_mut(self)
    }
}

impl At for String {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.as_str().of(value)
    }

    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        self.as_str().of_mut(value)
    }
}

impl At for usize {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        value.as_array()?.get(*self)
    }

    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        value.as_array_mut()?.get_mut(*self)
    }
}

impl<T: At + ?Sized> At for &T {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        (**self).of(value)
    }

    fn of_mut<'a>(&self, value: &'a mut Value) -> Option<&'a mut Value> {
        (**self).of_mut(value)
    }
}

impl Value {
    /// Whether it is nothing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// Whether it is a list.
    #[must_use]
    pub fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }

    /// Whether it is a text.
    #[must_use]
    pub fn is_string(&self) -> bool {
        matches!(self, Self::String(_))
    }

    /// The text, where it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// True or false, where it is one of them.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(flag) = self { Some(*flag) } else { None }
    }

    /// The number, where it is a whole one in range.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Number(number) = self { number.as_i64() } else { None }
    }

    /// The number, where it is a whole one that is not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Number(number) = self { number.as_u64() } else { None }
    }

    /// The list, where it is one.
    #[must_use]
    pub fn as_array(&self) -> Option<&Vec<Self>> {
        if let Self::Array(list) = self { Some(list) } else { None }
    }

    /// The list, to change it, where it is one.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Self>> {
        if let Self::Array(list) = self { Some(Arc::make_mut(list)) } else { None }
    }

    /// The parts, where it is an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&Map> {
        if let Self::Object(map) = self { Some(map) } else { None }
    }

    /// The parts, to change them, where it is an object.
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        if let Self::Object(map) = self { Some(Arc::make_mut(map)) } else { None }
    }

    /// A part, by its key or its place in the list.
    pub fn get(&self, at: impl At) -> Option<&Self> {
        at.of(self)
    }

    /// A part, to change it.
    pub fn get_mut(&mut self, at: impl At) -> Option<&mut Self> {
        at.of_mut(self)
    }

    /// The part that a JSON pointer names (RFC 6901).
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        let mut value = self;
        for part in pointer.strip_prefix('/')?.split('/') {
            value = match value {
                Self::Object(map) if part.contains('~') => map.get(&unescaped(part))?,
                Self::Object(map) => map.get(part)?,
                Self::Array(list) => list.get(place(part)?)?,
                Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => return None,
            };
        }
        Some(value)
    }

    /// The part that a JSON pointer names, to change it.
    pub fn pointer_mut(&mut self, pointer: &str) -> Option<&mut Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        let mut value = self;
        for part in pointer.strip_prefix('/')?.split('/') {
            value = match value {
                Self::Object(map) => Arc::make_mut(map).get_mut(&unescaped(part))?,
                Self::Array(list) => Arc::make_mut(list).get_mut(place(part)?)?,
                Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => return None,
            };
        }
        Some(value)
    }

    /// Takes it, and leaves nothing.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// A part of a JSON pointer without its escapes.
pub(super) fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// A place in a list as a pointer says it: without a sign, and without zeros in front.
fn place(part: &str) -> Option<usize> {
    let plain = !part.starts_with('+') && (part == "0" || !part.starts_with('0'));
    part.parse().ok().filter(|_| plain)
}

impl<T: At> Index<T> for Value {
    type Output = Self;

    fn index(&self, at: T) -> &Self {
        at.of(self).unwrap_or(&NULL)
    }
}

impl IndexMut<&str> for Value {
    /// The part, made where it is missing; anything but an object becomes one.
    fn index_mut(&mut self, key: &str) -> &mut Self {
        self.parts().part(key)
    }
}

impl Value {
    /// The parts, to change them; anything but an object becomes an empty one.
    pub fn parts(&mut self) -> &mut Map {
        if !self.is_object() {
            *self = Self::Object(Arc::default());
        }
        match self {
            Self::Object(map) => Arc::make_mut(map),
            // Just made an object of it.
            _ => unreachable!("the value is an object"),
        }
    }

    /// The list, to change it; anything but a list becomes an empty one.
    pub fn list(&mut self) -> &mut Vec<Self> {
        if !self.is_array() {
            *self = Self::Array(Arc::default());
        }
        match self {
            Self::Array(list) => Arc::make_mut(list),
            // Just made a list of it.
            _ => unreachable!("the value is a list"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if f.alternate() { serde_json::to_string_pretty(self) } else { serde_json::to_string(self) };
        // Every value can be written.
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
