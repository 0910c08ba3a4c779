//! The kinds of PATCH that the API takes.

use super::failure::Failure;
use super::json::{Map, Value, unescaped};
use super::object::{Look, map};

/// How a patch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7396.
    Merge,
    /// RFC 6902.
    Json,
    /// As merge, but some lists are merged by a key of their elements.
    Strategic,
    /// Server-side apply, in its plain form: merged as [`PatchKind::Strategic`], creating what is missing.
    Apply,
}

/// Applies a patch.
pub(super) fn patch(target: &mut Value, kind: PatchKind, body: &Value) -> Result<(), Failure> {
    match kind {
        PatchKind::Merge => merge(target, body),
        PatchKind::Strategic | PatchKind::Apply => strategic(target, body, ""),
        PatchKind::Json => {
            let steps = body.as_array().ok_or_else(|| Failure::bad_request("a JSON patch is a list"))?;
            for step in steps {
                json_step(target, step)?;
            }
        }
    }
    Ok(())
}

/// Merges by RFC 7396: null takes out, maps are merged, everything else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    let target = map(target);
    for (name, value) in patch.iter() {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.part(name), value);
        }
    }
}

/// The key by which elements of a list are told apart; lists without one are replaced whole.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "conditions" | "addresses" => Some("type"),
        "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "env" | "imagePullSecrets" => {
            Some("name")
        }
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        "ownerReferences" => Some("uid"),
        "topologySpreadConstraints" => Some("topologyKey"),
        _ => None,
    }
}

fn strategic(target: &mut Value, patch: &Value, name: &str) {
    match patch {
        Value::Object(patch) => {
            if patch.get("$patch").and_then(Value::as_str) == Some("replace") {
                let rest = patch.iter().filter(|(name, _)| !name.starts_with('$'));
                *target = rest.map(|(name, value)| (name.clone(), value.clone())).collect::<Map>().into();
                return;
            }
            let target = map(target);
            for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
                if value.is_null() {
                    target.remove(name);
                } else {
                    strategic(target.part(name), value, name);
                }
            }
        }
        Value::Array(elements) => strategic_list(target, elements, name),
        _ => *target = patch.clone(),
    }
}

fn strategic_list(target: &mut Value, elements: &[Value], name: &str) {
    if name == "finalizers" {
        let mut merged: Vec<Value> = target.as_array().cloned().unwrap_or_default();
        merged.extend(elements.iter().filter(|element| !merged.contains(element)).cloned().collect::<Vec<_>>());
        *target = merged.into();
        return;
    }
    let Some(key) = merge_key(name) else {
        *target = elements.into();
        return;
    };
    let mut merged: Vec<Value> = target.as_array().cloned().unwrap_or_default();
    for element in elements {
        let same = |known: &Value| known.get(key).is_some() && known.get(key) == element.get(key);
        match element.get("$patch").and_then(Value::as_str) {
            Some("delete") => merged.retain(|known| !same(known)),
            Some("replace") => merged.clear(),
            Some(_) | None => match merged.iter_mut().find(|known| same(known)) {
                Some(known) => strategic(known, element, ""),
                None => {
                    let mut new = Value::from(Map::new());
                    strategic(&mut new, element, "");
                    merged.push(new);
                }
            },
        }
    }
    *target = merged.into();
}

fn json_step(target: &mut Value, step: &Value) -> Result<(), Failure> {
    let path = step.text("/path");
    let wrong = |why: &str| Failure { code: 422, ..Failure::bad_request(format!("JSON patch at {path:?}: {why}")) };
    let value = || step.get("value").cloned().ok_or_else(|| wrong("the step has no value"));
    match step.text("/op") {
        "add" => insert(target, path, value()?).ok_or_else(|| wrong("there is no such place")),
        "remove" => remove(target, path).map(|_| ()).ok_or_else(|| wrong("there is no such value")),
        "replace" => {
            let place = target.pointer_mut(path).ok_or_else(|| wrong("there is no such value"))?;
            *place = value()?;
            Ok(())
        }
        "test" => {
            let same = target.pointer(path).unwrap_or(&Value::Null) == step.get("value").unwrap_or(&Value::Null);
            if same { Ok(()) } else { Err(wrong("the test failed")) }
        }
        "copy" | "move" => {
            let from = step.text("/from");
            let moved = target.pointer(from).cloned().ok_or_else(|| wrong("there is nothing to take"))?;
            if step.text("/op") == "move" {
                remove(target, from).ok_or_else(|| wrong("there is nothing to take"))?;
            }
            insert(target, path, moved).ok_or_else(|| wrong("there is no such place"))
        }
        _ => Err(wrong("the operation is unknown")),
    }
}

fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, unescaped(last)))
}

fn insert(target: &mut Value, path: &str, value: Value) -> Option<()> {
    let (parent, last) = split(path)?;
    let parent = target.pointer_mut(parent)?;
    if let Some(map) = parent.as_object_mut() {
        map.insert(last, value);
        return Some(());
    }
    let list = parent.as_array_mut()?;
    let at = if last == "-" { list.len() } else { last.parse().ok().filter(|at| *at <= list.len())? };
    list.insert(at, value);
    Some(())
}

fn remove(target: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = split(path)?;
    let parent = target.pointer_mut(parent)?;
    if let Some(map) = parent.as_object_mut() {
        return map.remove(&last);
    }
    let list = parent.as_array_mut()?;
    let at = last.parse::<usize>().ok().filter(|at| *at < list.len())?;
    Some(list.remove(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::json::json;

    fn patched(kind: PatchKind, mut target: Value, body: &Value) -> Value {
        patch(&mut target, kind, body).unwrap();
        target
    }

    #[test]
    fn merge_takes_out_what_is_null() {
        let target = json!({"a": 1, "b": {"c": 2, "d": [1]}});
        let body = json!({"a": null, "b": {"d": [2], "e": {"f": null, "g": 3}}});
        assert_eq!(patched(PatchKind::Merge, target, &body), json!({"b": {"c": 2, "d": [2], "e": {"g": 3}}}));
    }

    #[test]
    fn strategic_merges_conditions_by_type() {
        let target = json!({"status": {"conditions": [{"type": "A", "status": "True"}, {"type": "B"}]}});
        let body =
            json!({"status": {"conditions": [{"type": "A", "status": "False"}, {"type": "B", "$patch": "delete"}]}});
        assert_eq!(
            patched(PatchKind::Strategic, target, &body),
            json!({"status": {"conditions": [{"type": "A", "status": "False"}]}})
        );
    }

    #[test]
    fn json_patches_follow_their_path() {
        let target = json!({"metadata": {"annotations": {"a/b": "1"}}, "list": [1, 2]});
        let body = json!([
            {"op": "test", "path": "/metadata/annotations/a~1b", "value": "1"},
            {"op": "replace", "path": "/metadata/annotations/a~1b", "value": "2"},
            {"op": "add", "path": "/list/-", "value": 3},
            {"op": "remove", "path": "/list/0"},
        ]);
        assert_eq!(
            patched(PatchKind::Json, target.clone(), &body),
            json!({"metadata": {"annotations": {"a/b": "2"}}, "list": [2, 3]})
        );
        let failing = json!([{"op": "test", "path": "/list/0", "value": 9}]);
        assert_eq!(patch(&mut target.clone(), PatchKind::Json, &failing).unwrap_err().code, 422);
    }
}
