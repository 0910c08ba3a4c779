//! Values that the two encodings write differently.

use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

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
        let mut raw = Vec::new();
        Copied(&mut raw).deserialize(deserializer)?;
        Ok(Self { raw })
    }
}

/// Writes a JSON document as it is read, without making anything of it in between: nodes have long ones.
struct Copied<'a>(&'a mut Vec<u8>);

impl Copied<'_> {
    fn write<E: serde::de::Error>(self, value: impl serde::Serialize) -> Result<(), E> {
        serde_json::to_writer(self.0, &value).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Copied<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Copied<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.write(())
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<(), E> {
        self.write(flag)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        self.write(number)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        self.write(number)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<(), E> {
        self.write(number)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.write(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut between = b'[';
        loop {
            let end = self.0.len();
            self.0.push(between);
            if list.next_element_seed(Copied(self.0))?.is_none() {
                self.0.truncate(end);
                break;
            }
            between = b',';
        }
        self.0.extend_from_slice(if between == b'[' { b"[]" } else { b"]" });
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut between = b'{';
        loop {
            let end = self.0.len();
            self.0.push(between);
            if map.next_key_seed(Copied(self.0))?.is_none() {
                self.0.truncate(end);
                break;
            }
            self.0.push(b':');
            map.next_value_seed(Copied(self.0))?;
            between = b',';
        }
        self.0.extend_from_slice(if between == b'{' { b"{}" } else { b"}" });
        Ok(())
    }
}

/// A message of which only the presence counts.
#[derive(Clone, PartialEq, Eq, prost::Message, serde::Deserialize)]
pub(in super::super) struct Present {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_copied_as_it_was() {
        for document in [
            r#"{}"#,
            r#"[]"#,
            r#"{"f:metadata":{"f:labels":{".":{},"f:a/b":{}}},"f:spec":{"k:{\"a\":1}":[1,-2,0.5,true,null,"\n",[],{}]}}"#,
        ] {
            let read: FieldsV1 = serde_json::from_str(document).unwrap();
            assert_eq!(String::from_utf8(read.raw).unwrap(), document);
            let twin: crate::twin::json::Value = serde_json::from_str(document).unwrap();
            assert_eq!(FieldsV1::deserialize(&twin).unwrap().raw, serde_json::to_vec(&twin).unwrap());
        }
    }
}
