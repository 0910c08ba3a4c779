//! Values from what they are made of, and beside what they are compared with.

use std::sync::Arc;

use serde_json::Number;

use super::{Map, Text, Value};

macro_rules! same {
    ($($kind:ty: |$value:ident, $other:ident| $equal:expr;)*) => {$(
        impl PartialEq<$kind> for Value {
            fn eq(&self, $other: &$kind) -> bool {
                let $value = self;
                $equal
            }
        }
    )*};
}

same! {
    str: |value, other| value.as_str() == Some(other);
    &str: |value, other| value.as_str() == Some(*other);
    String: |value, other| value.as_str() == Some(other.as_str());
    bool: |value, other| value.as_bool() == Some(*other);
    i64: |value, other| value.as_i64() == Some(*other);
    i32: |value, other| value.as_i64() == Some(i64::from(*other));
    u32: |value, other| value.as_i64() == Some(i64::from(*other));
    u64: |value, other| value.as_u64() == Some(*other);
    usize: |value, other| value.as_u64().is_some_and(|number| usize::try_from(number) == Ok(*other));
}

macro_rules! from {
    ($($kind:ty: |$from:ident| $value:expr;)*) => {$(
        impl From<$kind> for Value {
            fn from($from: $kind) -> Self {
                $value
            }
        }
    )*};
}

from! {
    bool: |flag| Self::Bool(flag);
    u8: |number| Self::Number(number.into());
    i32: |number| Self::Number(number.into());
    i64: |number| Self::Number(number.into());
    u16: |number| Self::Number(number.into());
    u32: |number| Self::Number(number.into());
    u64: |number| Self::Number(number.into());
    usize: |number| Self::Number(number.into());
    Number: |number| Self::Number(number);
    &str: |text| Self::String(text.into());
    String: |text| Self::String(text.into());
    &String: |text| Self::String(text.into());
    Text: |text| Self::String(text);
    &Text: |text| Self::String(text.clone());
    Map: |map| Self::Object(Arc::new(map));
    &Self: |value| value.clone();
    &Arc<Self>: |value| (**value).clone();
    Arc<Self>: |value| Arc::unwrap_or_clone(value);
    &&str: |text| Self::String((*text).into());
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Self {
        list.into_iter().collect()
    }
}

impl<T: Into<Self> + Clone> From<&[T]> for Value {
    fn from(list: &[T]) -> Self {
        list.iter().cloned().collect()
    }
}

impl<T: Into<Self>, const N: usize> From<[T; N]> for Value {
    fn from(list: [T; N]) -> Self {
        list.into_iter().collect()
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(flag) => Self::Bool(flag),
            serde_json::Value::Number(number) => Self::Number(number),
            serde_json::Value::String(text) => Self::String(text.into()),
            serde_json::Value::Array(list) => list.into_iter().collect(),
            serde_json::Value::Object(map) => {
                map.into_iter().map(|(key, part)| (key, part.into())).collect::<Map>().into()
            }
        }
    }
}

impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::String(text.to_string()),
            Value::Array(list) => Self::Array(list.iter().map(Into::into).collect()),
            Value::Object(map) => Self::Object(map.iter().map(|(key, part)| (key.to_string(), part.into())).collect()),
        }
    }
}

impl<T: Into<Self>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(list: I) -> Self {
        Self::Array(Arc::new(list.into_iter().map(Into::into).collect()))
    }
}
