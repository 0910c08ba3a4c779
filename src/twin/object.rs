//! Objects as JSON, and how to read and write parts of them.

use super::json::{Map, Text, Value, json};
use jiff::Timestamp;

use super::kind::{Key, Kind};

/// Reading parts of an object. Paths are JSON pointers; what is missing reads as nothing.
pub(super) trait Look {
    fn at(&self, path: &str) -> &Value;
    fn text(&self, path: &str) -> &str;
    fn number(&self, path: &str) -> Option<i64>;
    fn flag(&self, path: &str) -> bool;
    fn items(&self, path: &str) -> &[Value];
    fn entries(&self, path: &str) -> impl Iterator<Item = (&Text, &Value)>;
    fn time(&self, path: &str) -> Option<Timestamp>;

    fn name(&self) -> &str {
        self.text("/metadata/name")
    }
    fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }
    fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }
    fn label(&self, key: &str) -> Option<&str> {
        self.at("/metadata/labels").get(key).and_then(Value::as_str)
    }
    fn annotation(&self, key: &str) -> Option<&str> {
        self.at("/metadata/annotations").get(key).and_then(Value::as_str)
    }
    fn is_terminating(&self) -> bool {
        !self.at("/metadata/deletionTimestamp").is_null()
    }
    /// The owner reference with `controller: true`.
    fn controller(&self) -> Option<&Value> {
        self.items("/metadata/ownerReferences").iter().find(|owner| owner.flag("/controller"))
    }
    /// Whether the object of this UID controls this one.
    fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|owner| owner.text("/uid") == uid)
    }
    /// The condition of a type.
    fn condition(&self, kind: &str) -> Option<&Value> {
        self.items("/status/conditions").iter().find(|condition| condition.text("/type") == kind)
    }
    /// Whether a condition is True.
    fn is_true(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|condition| condition.text("/status") == "True")
    }
    /// Whether a pod has ended.
    fn is_finished(&self) -> bool {
        matches!(self.text("/status/phase"), "Succeeded" | "Failed")
    }
}

impl Look for Value {
    fn at(&self, path: &str) -> &Value {
        // As `Value::pointer`, but quicker: no path here has an escape in it.
        let mut value = self;
        let mut rest = path;
        // Parts are short, and looked up again and again: to compare bytes is quicker than to search.
        while rest.as_bytes().first() == Some(&b'/') {
            let part = &rest[1..];
            let end = part.bytes().position(|byte| byte == b'/').unwrap_or(part.len());
            let (part, later) = part.split_at(end);
            let next = match value {
                Value::Object(map) => map.get(part),
                Value::Array(list) => part.parse::<usize>().ok().and_then(|index| list.get(index)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            };
            match next {
                Some(next) => value = next,
                None => return &Value::Null,
            }
            rest = later;
        }
        value
    }

    fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or_default()
    }

    fn number(&self, path: &str) -> Option<i64> {
        self.at(path).as_i64()
    }

    fn flag(&self, path: &str) -> bool {
        self.at(path).as_bool().unwrap_or_default()
    }

    fn items(&self, path: &str) -> &[Value] {
        self.at(path).as_array().map(Vec::as_slice).unwrap_or_default()
    }

    fn entries(&self, path: &str) -> impl Iterator<Item = (&Text, &Value)> {
        self.at(path).as_object().into_iter().flatten()
    }

    fn time(&self, path: &str) -> Option<Timestamp> {
        self.text(path).parse().ok()
    }
}

/// What the parts of the cluster ask of a pod again and again, looked up once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PodFacts<'a> {
    pub(super) uid: &'a str,
    pub(super) labels: &'a Value,
    pub(super) owners: &'a Value,
    pub(super) spec: &'a Value,
    pub(super) phase: &'a str,
    pub(super) terminating: bool,
    pub(super) ready: bool,
}

impl<'a> PodFacts<'a> {
    pub(super) fn of(pod: &'a Value) -> Self {
        let (metadata, status) = (pod.at("/metadata"), pod.at("/status"));
        let ready = |condition: &&Value| condition.text("/type") == "Ready";
        Self {
            uid: metadata.text("/uid"),
            labels: metadata.at("/labels"),
            owners: metadata.at("/ownerReferences"),
            spec: pod.at("/spec"),
            phase: status.text("/phase"),
            terminating: !metadata.at("/deletionTimestamp").is_null(),
            ready: status.items("/conditions").iter().find(ready).is_some_and(|ready| ready.text("/status") == "True"),
        }
    }

    /// The node that it is bound to.
    pub(super) fn node(&self) -> &'a str {
        self.spec.text("/nodeName")
    }

    /// Whether it has ended.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.phase, "Succeeded" | "Failed")
    }

    /// The UID of its controller, where it counts for it: it neither has ended nor is to.
    pub(super) fn counts_for(&self) -> Option<&'a str> {
        if self.terminating || self.is_finished() {
            return None;
        }
        let owners = self.owners.as_array()?;
        owners.iter().find(|owner| owner.flag("/controller")).map(|owner| owner.text("/uid"))
    }
}

/// The object's place.
pub(super) fn key_of(kind: Kind, object: &Value) -> Key {
    Key::new(kind, if kind.is_namespaced() { object.namespace() } else { "" }, object.name())
}

/// A map, made where there is none.
pub(super) fn map(value: &mut Value) -> &mut Map {
    value.parts()
}

/// A place in an object, made where it is missing. The path's parts are separated by slashes; keys that hold slashes
/// themselves are written with [`annotate`].
pub(super) fn place<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts.fold(value, |value, part| map(value).part(part))
}

/// Writes a part of an object.
pub(super) fn set(value: &mut Value, path: &str, part: impl Into<Value>) {
    let part = part.into();
    // What is not changed stays shared with its copies.
    if part.is_null() || *value.at(path) != part {
        *place(value, path) = part;
    }
}

/// Takes a part out of an object.
pub(super) fn unset(value: &mut Value, path: &str) {
    if let Some((parent, name)) = path.rsplit_once('/')
        && value.at(parent).get(name).is_some()
        && let Some(map) = value.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        map.remove(name);
    }
}

/// Writes an annotation, or takes it off.
pub(super) fn annotate(object: &mut Value, key: &str, value: Option<&str>) {
    let annotations = place(object, "/metadata/annotations");
    match value {
        Some(value) => {
            map(annotations).insert(key.to_owned(), value.into());
        }
        None => {
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.remove(key);
            }
        }
    }
    if object.at("/metadata/annotations").as_object().is_none_or(Map::is_empty) {
        unset(object, "/metadata/annotations");
    }
}

/// A list in an object, made where there is none.
pub(super) fn list<'a>(object: &'a mut Value, path: &str) -> &'a mut Vec<Value> {
    place(object, path).list()
}

/// A condition to be written.
pub(super) struct Condition<'a> {
    pub(super) kind: &'a str,
    pub(super) status: &'a str,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
}

/// Writes a condition; its time moves only when its status does. Conditions of nodes also say when the kubelet last
/// spoke of them, which it does when the status changes; that it has fallen silent is said by somebody else.
pub(super) fn set_condition(object: &mut Value, condition: &Condition<'_>, now: Timestamp) {
    let is_node = object.text("/kind") == "Node";
    if object.condition(condition.kind).is_some_and(|known| says(known, condition, is_node)) {
        return;
    }
    let conditions = list(object, "/status/conditions");
    let mut new = json!({ "type": condition.kind, "status": condition.status, "lastTransitionTime": stamp(now) });
    if !condition.reason.is_empty() {
        set(&mut new, "/reason", condition.reason);
    }
    if !condition.message.is_empty() {
        set(&mut new, "/message", condition.message);
    }
    let known = conditions.iter_mut().find(|known| known.text("/type") == condition.kind);
    let same = known.as_ref().is_some_and(|known| known.text("/status") == condition.status);
    if is_node {
        let heard = known.as_ref().map(|known| known.text("/lastHeartbeatTime").to_owned()).unwrap_or_default();
        let silent = same || condition.status == "Unknown";
        set(&mut new, "/lastHeartbeatTime", if silent && !heard.is_empty() { heard } else { stamp(now) });
    }
    match known {
        Some(known) => {
            if same {
                let since = known.text("/lastTransitionTime").to_owned();
                set(&mut new, "/lastTransitionTime", since);
            }
            *known = new;
        }
        None => conditions.push(new),
    }
}

/// Whether a condition says this already, so that writing it would change nothing.
fn says(known: &Value, condition: &Condition<'_>, is_node: bool) -> bool {
    let parts = 3
        + usize::from(is_node)
        + usize::from(!condition.reason.is_empty())
        + usize::from(!condition.message.is_empty());
    known.as_object().is_some_and(|known| known.len() == parts)
        && known.text("/status") == condition.status
        && known.text("/reason") == condition.reason
        && known.text("/message") == condition.message
        && !known.text("/lastTransitionTime").is_empty()
        && (!is_node || !known.text("/lastHeartbeatTime").is_empty())
}

/// A moment as the API writes it: whole seconds.
pub(super) fn stamp(at: Timestamp) -> String {
    // A moment without a fraction is written in just this form, and in a fraction of the time that a format takes.
    let whole = at.as_second() - i64::from(at.subsec_nanosecond() < 0);
    Timestamp::from_second(whole).unwrap_or(at).to_string()
}

/// A moment with microseconds, as leases have it.
pub(super) fn micro_stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// A number that belongs to a text, so that what is made of it is the same each time (FNV-1a).
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Takes every `null` out, as the API does: it knows no difference between null and missing.
pub(super) fn without_nulls(value: &mut Value) {
    fn has_nulls(value: &Value) -> bool {
        match value {
            Value::Object(map) => map.values().any(|part| part.is_null() || has_nulls(part)),
            Value::Array(list) => list.iter().any(has_nulls),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    // What has none stays shared with its copies.
    if !has_nulls(value) {
        return;
    }
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, part| !part.is_null());
        map.values_mut().for_each(without_nulls);
    } else if let Some(list) = value.as_array_mut() {
        list.iter_mut().for_each(without_nulls);
    }
}

/// Reads a duration as Go writes it: `300ms`, `1.5s`, `1m30s`, `2h`.
pub(super) fn duration(text: &str) -> Option<jiff::SignedDuration> {
    let mut rest = text.trim();
    let mut nanos = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    if rest == "0" {
        return Some(jiff::SignedDuration::ZERO);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(end);
        let number: f64 = number.parse().ok()?;
        let units = [("ms", 1e6), ("us", 1e3), ("ns", 1.0), ("s", 1e9), ("m", 6e10), ("h", 3.6e12)];
        let (unit, scale) = units.into_iter().find(|(unit, _)| tail.starts_with(unit))?;
        nanos += number * scale;
        rest = &tail[unit.len()..];
    }
    // Beyond some days nothing here makes sense; the bound also keeps the conversion exact enough and in range.
    if !(0.0..=1e17).contains(&nanos) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked to be in range just above")]
    let nanos = nanos.round() as i64;
    Some(jiff::SignedDuration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        let millis = |text| duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("300ms"), Some(300));
        assert_eq!(millis("1.5s"), Some(1500));
        assert_eq!(millis("1m30s"), Some(90_000));
        assert_eq!(millis("2h"), Some(7_200_000));
        assert_eq!(millis("0"), Some(0));
        for bad in ["", "5", "s", "-1s", "1d", "1e3s", "99999999999999h", "1.2.3s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn parts_are_made_and_taken_out() {
        let mut object = json!({});
        set(&mut object, "/spec/unschedulable", true);
        annotate(&mut object, "haulout.dev/run", Some("r"));
        assert_eq!(
            object,
            json!({"spec": {"unschedulable": true}, "metadata": {"annotations": {"haulout.dev/run": "r"}}})
        );
        annotate(&mut object, "haulout.dev/run", None);
        unset(&mut object, "/spec/unschedulable");
        assert_eq!(object, json!({"spec": {}, "metadata": {}}));
    }
}
