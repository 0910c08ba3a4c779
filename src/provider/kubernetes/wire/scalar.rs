//! Values that the two encodings write differently.

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, Error as _};

/// `metav1.Time` and `MicroTime`: seconds and nanoseconds in protobuf, RFC 3339 in JSON.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(in super::super) struct Time {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl Time {
    /// The moment; `None` for the zero time, which Go writes where there is none.
    pub(in super::super) fn timestamp(&self) -> Option<Timestamp> {
        if self.seconds == 0 && self.nanos == 0 {
            return None;
        }
        Timestamp::new(self.seconds, self.nanos).ok()
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment: Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(Self { seconds: moment.as_second(), nanos: moment.subsec_nanosecond() })
    }
}

/// `resource.Quantity`: a message around a text in protobuf, a text or a number in JSON.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(in super::super) struct Quantity {
    #[prost(string, tag = "1")]
    pub(super) text: String,
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Number(serde_json::Number),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Text(text) => Self { text },
            Either::Number(number) => Self { text: number.to_string() },
        })
    }
}

/// `intstr.IntOrString`: a tagged message in protobuf, a number or a text in JSON.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(in super::super) struct IntOrString {
    /// 0 for a number, 1 for a text.
    #[prost(int64, tag = "1")]
    pub(super) kind: i64,
    #[prost(int32, tag = "2")]
    pub(super) number: i32,
    #[prost(string, tag = "3")]
    pub(super) text: String,
}

impl<'de> Deserialize<'de> for IntOrString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(i32),
            Text(String),
        }
        Ok(match Either::deserialize(deserializer)? {
            Either::Number(number) => Self { kind: 0, number, text: String::new() },
            Either::Text(text) => Self { kind: 1, number: 0, text },
        })
    }
}

/// `metav1.FieldsV1`: the bytes of a JSON document in protobuf, the document itself in JSON.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(in super::super) struct FieldsV1 {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) raw: Vec<u8>,
}

impl<'de> Deserialize<'de> for FieldsV1 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = serde_json::Value::deserialize(deserializer)?;
        Ok(Self { raw: serde_json::to_vec(&document).map_err(D::Error::custom)? })
    }
}

/// A message of which only the presence counts.
#[derive(Clone, PartialEq, Eq, prost::Message, serde::Deserialize)]
pub(in super::super) struct Present {}
