//! Texts and documents in forms that are the same for both sides.

use std::collections::BTreeMap;

use serde_json::Value;

/// The reasons of a scheduler's message, without the numbers of all nodes, those of other scenarios, and preemption.
pub(super) fn reasons(message: &str) -> String {
    let Some((_, rest)) = message.split_once(" nodes are available: ") else { return without_ids(message) };
    // What comes after the first sentence is about preemption, which nothing here could gain by.
    let rest = rest.split(". ").next().unwrap_or_default().trim_end();
    let mut kept: Vec<&str> = rest
        .trim_end_matches('.')
        .split(", ")
        .filter(|reason| !reason.contains("didn't satisfy plugin(s) [NodeAffinity]"))
        .collect();
    kept.sort_unstable();
    kept.join(", ")
}

pub(super) fn gather(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if text.starts_with('@') => texts.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|part| gather(part, texts)),
        Value::Object(map) => map.values().for_each(|part| gather(part, texts)),
        _ => {}
    }
}

pub(super) fn replace(value: &mut Value, known: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => {
            if let Some(resolved) = known.get(text) {
                *text = resolved.clone();
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|part| replace(part, known)),
        Value::Object(map) => map.values_mut().for_each(|part| replace(part, known)),
        _ => {}
    }
}

pub(super) fn merge(body: &mut Value, extra: &Value) {
    match (body, extra) {
        (Value::Object(body), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(body.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (body, extra) => *body = extra.clone(),
    }
}

/// Text without UIDs and resource versions, which no two clusters share.
pub(super) fn without_ids(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let is_uid = rest.len() >= 36
            && rest.bytes().take(36).enumerate().all(|(index, byte)| match index {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            });
        if is_uid {
            out.push_str("<uid>");
            rest = &rest[36..];
            continue;
        }
        if let Some(inside) = rest.strip_prefix('(') {
            let digits = inside.bytes().take_while(u8::is_ascii_digit).count();
            if digits > 0 && inside[digits..].starts_with(')') {
                out.push_str("(n)");
                rest = &inside[digits + 1..];
                continue;
            }
        }
        out.push(next);
        rest = &rest[next.len_utf8()..];
    }
    out
}
