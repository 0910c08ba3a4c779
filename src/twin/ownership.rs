//! `metadata.managedFields`: who wrote which field last. Kept for what clients ask of it, above all who owns
//! `spec.unschedulable`.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::json::{Map, Value, json};
use super::object::{Look, list, map, stamp, unset};

/// A field, by the names on the way to it.
type Path = Vec<String>;

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Writer<'a> {
    pub(super) manager: &'a str,
    /// `Update`, or `Apply` for server-side apply.
    pub(super) operation: &'a str,
    /// `status`, where that subresource is written.
    pub(super) subresource: &'a str,
}

/// Brings the owners up to date after a write: whatever changed belongs to the writer, whatever is gone to nobody. A
/// field that is written with the value that it has keeps its owner.
pub(super) fn record(before: Option<&Value>, after: &mut Value, writer: &Writer<'_>, now: Timestamp) {
    let none = Value::Null;
    let (mut changed, mut gone) = (BTreeSet::new(), BTreeSet::new());
    compare(before.unwrap_or(&none), after, &mut Vec::new(), &mut changed, &mut gone);
    if changed.is_empty() && gone.is_empty() {
        return;
    }
    let api_version = after.text("/apiVersion").to_owned();
    let entries = list(after, "/metadata/managedFields");
    for entry in entries.iter_mut() {
        let before = entry.at("/fieldsV1").clone();
        for path in changed.iter().chain(&gone) {
            if let Some(fields) = entry.pointer_mut("/fieldsV1") {
                forget(fields, path);
            }
        }
        if *entry.at("/fieldsV1") != before {
            super::object::set(entry, "/time", stamp(now));
        }
    }
    entries.retain(|entry| entry.at("/fieldsV1").as_object().is_some_and(|fields| !fields.is_empty()));
    if !changed.is_empty() {
        let mine = entries.iter().position(|entry| {
            entry.text("/manager") == writer.manager
                && entry.text("/operation") == writer.operation
                && entry.text("/subresource") == writer.subresource
        });
        let at = mine.unwrap_or_else(|| {
            let mut entry = json!({
                "manager": writer.manager, "operation": writer.operation, "apiVersion": api_version,
                "fieldsType": "FieldsV1", "fieldsV1": {},
            });
            if !writer.subresource.is_empty() {
                super::object::set(&mut entry, "/subresource", writer.subresource);
            }
            entries.push(entry);
            entries.len() - 1
        });
        super::object::set(&mut entries[at], "/time", stamp(now));
        for path in &changed {
            let fields = super::object::place(&mut entries[at], "/fieldsV1");
            map(path.iter().fold(fields, |fields, part| map(fields).part(&format!("f:{part}"))));
        }
    }
    if entries.is_empty() {
        unset(after, "/metadata/managedFields");
    }
}

/// Collects the fields that differ. Lists are taken whole.
fn compare(before: &Value, after: &Value, at: &mut Path, changed: &mut BTreeSet<Path>, gone: &mut BTreeSet<Path>) {
    if before == after || unowned(at) {
        return;
    }
    match (before, after) {
        (_, Value::Object(new)) if !new.is_empty() || before.is_object() => {
            let empty = Map::new();
            let old = before.as_object().unwrap_or(&empty);
            for (name, value) in new.iter() {
                at.push(name.to_string());
                compare(old.get(name).unwrap_or(&Value::Null), value, at, changed, gone);
                at.pop();
            }
            for (name, value) in old.iter().filter(|(name, _)| !new.contains_key(name)) {
                at.push(name.to_string());
                vanish(value, at, gone);
                at.pop();
            }
        }
        (_, Value::Null) => vanish(before, at, gone),
        _ => {
            changed.insert(at.clone());
        }
    }
}

fn vanish(value: &Value, at: &mut Path, gone: &mut BTreeSet<Path>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map.iter() {
                at.push(name.to_string());
                vanish(value, at, gone);
                at.pop();
            }
        }
        _ => {
            gone.insert(at.clone());
        }
    }
}

/// Fields that belong to the server.
fn unowned(path: &[String]) -> bool {
    match path {
        [first] => first == "apiVersion" || first == "kind",
        [first, second, ..] if first == "metadata" => {
            !matches!(second.as_str(), "labels" | "annotations" | "ownerReferences" | "finalizers")
        }
        _ => false,
    }
}

/// Takes a field out of a tree, with the branches that it leaves empty.
fn forget(fields: &mut Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    let Some(map) = fields.as_object_mut() else { return };
    let name = format!("f:{first}");
    if rest.is_empty() {
        map.remove(&name);
    } else if let Some(inner) = map.get_mut(&name) {
        forget(inner, rest);
        if inner.as_object().is_none_or(Map::is_empty) {
            map.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner_of_cordon(object: &Value) -> Option<String> {
        let owns = |entry: &&Value| entry.pointer("/fieldsV1/f:spec/f:unschedulable").is_some();
        object.items("/metadata/managedFields").iter().find(owns).map(|entry| entry.text("/manager").to_owned())
    }

    fn write(object: &mut Value, manager: &str, change: impl FnOnce(&mut Value)) {
        let before = object.clone();
        change(object);
        let writer = Writer { manager, operation: "Update", subresource: "" };
        record(Some(&before), object, &writer, Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn the_owner_of_a_cordon_is_who_made_it() {
        let mut node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}, "spec": {}});
        write(&mut node, "haulout", |node| super::super::object::set(node, "/spec/unschedulable", true));
        assert_eq!(owner_of_cordon(&node).as_deref(), Some("haulout"));
        // The same value, and annotations, by somebody else change nothing.
        write(&mut node, "kubectl", |node| super::super::object::annotate(node, "a/b", Some("c")));
        write(&mut node, "kubectl", |node| super::super::object::set(node, "/spec/unschedulable", true));
        assert_eq!(owner_of_cordon(&node).as_deref(), Some("haulout"));
        write(&mut node, "kubectl", |node| unset(node, "/spec/unschedulable"));
        assert_eq!(owner_of_cordon(&node), None);
        write(&mut node, "kubectl", |node| super::super::object::set(node, "/spec/unschedulable", true));
        assert_eq!(owner_of_cordon(&node).as_deref(), Some("kubectl"));
        assert_eq!(node.items("/metadata/managedFields").len(), 1);
    }
}
