//! kured's lock, as its two formats have it: one holder, or a list of them with `--concurrency` above 1.

use jiff::SignedDuration;
use serde::Deserialize;

use crate::model::{KuredLock, NodeName};

/// Either format: the one without `locks` is a holder itself. Its `TTL` is in nanoseconds, and none or 0 is for ever.
#[derive(Deserialize)]
struct Annotation {
    #[serde(flatten)]
    one: Holder,
    #[serde(default)]
    locks: Option<Vec<Holder>>,
}

#[derive(Deserialize)]
struct Holder {
    #[serde(default, rename = "nodeID")]
    node: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default, rename = "TTL")]
    ttl: Option<i64>,
}

impl From<Holder> for KuredLock {
    fn from(holder: Holder) -> Self {
        let Some(node) = holder.node.and_then(|node| NodeName::new(node).ok()) else { return Self::Unreadable };
        let Ok(since) = holder.created.map(|at| at.parse()).transpose() else { return Self::Unreadable };
        let lasts = holder.ttl.filter(|ttl| *ttl > 0).map(SignedDuration::from_nanos);
        Self::Held { node, since, lasts }
    }
}

/// The entries of the annotation; none where it is absent or empty.
pub(super) fn locks(annotation: Option<&str>) -> Vec<KuredLock> {
    let Some(text) = annotation.filter(|text| !text.trim().is_empty()) else { return Vec::new() };
    match serde_json::from_str::<Annotation>(text) {
        Ok(Annotation { locks: Some(locks), .. }) => locks.into_iter().map(KuredLock::from).collect(),
        Ok(Annotation { one, locks: None }) => vec![one.into()],
        Err(_) => vec![KuredLock::Unreadable],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(node: &str, since: Option<&str>, seconds: Option<i64>) -> KuredLock {
        KuredLock::Held {
            node: NodeName::new(node).unwrap(),
            since: since.map(|since| since.parse().unwrap()),
            lasts: seconds.map(SignedDuration::from_secs),
        }
    }

    #[test]
    fn both_formats_are_read_and_nonsense_is_told() {
        let at = "2026-03-02T01:02:03.45Z";
        for (text, locks) in [
            ("", vec![]),
            (
                r#"{"nodeID":"n1","metadata":{"unschedulable":false},"created":"2026-03-02T01:02:03.45Z","TTL":1800000000000}"#,
                vec![held("n1", Some(at), Some(1800))],
            ),
            (
                r#"{"nodeID":"n1","metadata":{"unschedulable":false},"created":"2026-03-02T01:02:03.45Z","TTL":0}"#,
                vec![held("n1", Some(at), None)],
            ),
            // Without `created` and `TTL`, as kured wrote it up to 1.4.0.
            (r#"{"nodeID":"n1","metadata":{"unschedulable":true}}"#, vec![held("n1", None, None)]),
            (
                r#"{"maxOwners":2,"locks":[{"nodeID":"n1","metadata":{},"created":"2026-03-02T01:02:03.45Z","TTL":0},
                    {"nodeID":"n2","metadata":{},"created":"2026-03-02T01:02:03.45Z","TTL":0}]}"#,
                vec![held("n1", Some(at), None), held("n2", Some(at), None)],
            ),
            // A list stays when all have let go.
            (r#"{"maxOwners":2,"locks":[]}"#, vec![]),
            ("{}", vec![KuredLock::Unreadable]),
            ("[]", vec![KuredLock::Unreadable]),
            ("n1", vec![KuredLock::Unreadable]),
            (r#"{"nodeID":"n1","created":"yesterday"}"#, vec![KuredLock::Unreadable]),
            (r#"{"nodeID":"not a node"}"#, vec![KuredLock::Unreadable]),
            // The documented way to hold kured off: a node of that name may not be there.
            (r#"{"nodeID":"manual"}"#, vec![held("manual", None, None)]),
        ] {
            assert_eq!(super::locks(Some(text)), locks, "{text}");
        }
        assert_eq!(super::locks(None), []);
    }
}
