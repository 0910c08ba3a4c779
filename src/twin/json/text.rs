//! Values as a program's text has them.

use std::sync::Arc;

use serde_json::Number;

use super::{Map, Text, Value};

/// A [`Value`] as JSON is written, with expressions where values stand.
macro_rules! json {
    (null) => { $crate::twin::json::Value::Null };
    ([$($list:tt)*]) => { $crate::twin::json::Value::from_iter::<Vec<$crate::twin::json::Value>>($crate::twin::json::list!([] $($list)*)) };
    ({$($parts:tt)*}) => {{
        #[allow(unused_mut, reason = "an object may have no parts")]
        let mut map = $crate::twin::json::Map::new();
        $crate::twin::json::parts!(map $($parts)*);
        $crate::twin::json::Value::from(map)
    }};
    ($text:literal) => { $crate::twin::json::Literal::value($text) };
    ($value:expr) => { $crate::twin::json::Part::part(&$value) };
}

/// The parts of an object, one after the other.
macro_rules! parts {
    ($map:ident) => {};
    ($map:ident $key:literal : null $(, $($rest:tt)*)?) => { $crate::twin::json::parts!(@ $map $key (null) $($($rest)*)?) };
    ($map:ident $key:literal : [$($list:tt)*] $(, $($rest:tt)*)?) => {
        $crate::twin::json::parts!(@ $map $key ([$($list)*]) $($($rest)*)?)
    };
    ($map:ident $key:literal : {$($parts:tt)*} $(, $($rest:tt)*)?) => {
        $crate::twin::json::parts!(@ $map $key ({$($parts)*}) $($($rest)*)?)
    };
    ($map:ident $key:literal : $text:literal $(, $($rest:tt)*)?) => {
        $crate::twin::json::parts!(@ $map $key ($text) $($($rest)*)?)
    };
    ($map:ident $key:literal : $value:expr $(, $($rest:tt)*)?) => {
        $crate::twin::json::parts!(@ $map $key ($value) $($($rest)*)?)
    };
    (@ $map:ident $key:literal ($($value:tt)*) $($rest:tt)*) => {
        $map.insert($crate::twin::json::Text::new_static($key), $crate::twin::json::json!($($value)*));
        $crate::twin::json::parts!($map $($rest)*);
    };
}

/// The elements of a list, one after the other.
macro_rules! list {
    ([$($done:expr,)*]) => { vec![$($done,)*] };
    ([$($done:expr,)*] null $(, $($rest:tt)*)?) => {
        $crate::twin::json::list!([$($done,)* $crate::twin::json::json!(null),] $($($rest)*)?)
    };
    ([$($done:expr,)*] [$($list:tt)*] $(, $($rest:tt)*)?) => {
        $crate::twin::json::list!([$($done,)* $crate::twin::json::json!([$($list)*]),] $($($rest)*)?)
    };
    ([$($done:expr,)*] {$($parts:tt)*} $(, $($rest:tt)*)?) => {
        $crate::twin::json::list!([$($done,)* $crate::twin::json::json!({$($parts)*}),] $($($rest)*)?)
    };
    ([$($done:expr,)*] $text:literal $(, $($rest:tt)*)?) => {
        $crate::twin::json::list!([$($done,)* $crate::twin::json::json!($text),] $($($rest)*)?)
    };
    ([$($done:expr,)*] $value:expr $(, $($rest:tt)*)?) => {
        $crate::twin::json::list!([$($done,)* $crate::twin::json::json!($value),] $($($rest)*)?)
    };
}

pub(crate) use {json, list, parts};

/// What can stand in [`json!`]: it is borrowed there, not taken.
pub(crate) trait Part {
    fn part(&self) -> Value;
}

macro_rules! part {
    ($($kind:ty),*) => {$(
        impl Part for $kind {
            fn part(&self) -> Value {
                self.clone().into()
            }
        }
    )*};
}

part!(Value, Arc<Value>, Map, Text, bool, u8, u16, u32, u64, usize, i32, i64, Number);

impl Part for str {
    fn part(&self) -> Value {
        self.into()
    }
}

impl Part for String {
    fn part(&self) -> Value {
        self.into()
    }
}

impl<T: Part + ?Sized> Part for &T {
    fn part(&self) -> Value {
        (**self).part()
    }
}

impl<T: Part> Part for Option<T> {
    fn part(&self) -> Value {
        self.as_ref().map_or(Value::Null, Part::part)
    }
}

impl<T: Part> Part for [T] {
    fn part(&self) -> Value {
        self.iter().map(Part::part).collect()
    }
}

impl<T: Part> Part for Vec<T> {
    fn part(&self) -> Value {
        self.as_slice().part()
    }
}

impl<T: Part, const N: usize> Part for [T; N] {
    fn part(&self) -> Value {
        self.as_slice().part()
    }
}

/// What is written in the program itself: a text needs no copy then.
pub(crate) trait Literal {
    fn value(self) -> Value;
}

impl Literal for &'static str {
    fn value(self) -> Value {
        Value::String(Text::new_static(self))
    }
}

impl Literal for bool {
    fn value(self) -> Value {
        Value::Bool(self)
    }
}

impl Literal for i32 {
    fn value(self) -> Value {
        self.into()
    }
}
