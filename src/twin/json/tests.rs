use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value as Plain;

use super::*;
use crate::twin::object::{Look, set};

fn plain() -> impl Strategy<Value = Plain> {
    let leaf = prop_oneof![
        Just(Plain::Null),
        any::<bool>().prop_map(Plain::from),
        any::<i64>().prop_map(Plain::from),
        any::<u64>().prop_map(Plain::from),
        (-1e9..1e9_f64).prop_map(Plain::from),
        ".{0,30}".prop_map(Plain::from),
    ];
    leaf.prop_recursive(4, 40, 24, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Plain::from),
            // More keys than are searched from the front.
            prop::collection::btree_map("[a-z/~.]{0,3}", inner, 0..24)
                .prop_map(|parts| Plain::Object(parts.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn it_is_written_and_read_as_others_write_and_read_it(plain in plain()) {
        let value = Value::from(plain.clone());
        prop_assert_eq!(value.to_string(), plain.to_string());
        prop_assert_eq!(format!("{value:#}"), format!("{plain:#}"));
        prop_assert_eq!(Plain::from(&value), plain.clone());
        prop_assert_eq!(Plain::deserialize(&value).unwrap(), plain.clone());
        prop_assert_eq!(Value::deserialize(&plain).unwrap(), value.clone());
        prop_assert_eq!(serde_json::from_str::<Value>(&plain.to_string()).unwrap().to_string(), plain.to_string());
    }

    #[test]
    fn parts_are_found_where_others_find_them(plain in plain(), pointer in "(/[a-z0-2~.]{0,3}){0,3}") {
        let mut value = Value::from(plain.clone());
        prop_assert_eq!(value.pointer(&pointer).map(Plain::from), plain.pointer(&pointer).cloned());
        let found = value.pointer_mut(&pointer).map(|part| Plain::from(&*part));
        prop_assert_eq!(found, plain.pointer(&pointer).cloned());
        prop_assert_eq!(Plain::from(&value), plain);
    }

    #[test]
    fn a_change_of_a_copy_is_no_change_of_what_it_was_copied_from(plain in plain(), path in "(/[a-z.]{1,3}){1,3}") {
        let value = Value::from(plain.clone());
        let mut copy = value.clone();
        set(&mut copy, &path, "changed");
        prop_assert_eq!(copy.text(&path), "changed");
        prop_assert_eq!(Plain::from(&value), plain);
        let mut again = copy.clone();
        set(&mut again, &path, "changed");
        prop_assert_eq!(again, copy);
    }
}

#[test]
fn it_is_written_in_the_program_as_others_are() {
    let (name, missing, list) = (String::from("a"), None::<&str>, vec![1, 2]);
    let value = json!({
        "name": name, "missing": missing, "list": list, "empty": [], "none": {},
        "deep": { "flag": true, "numbers": [1, -2, [null]], "parts": [{ "x": name.as_str() }, "y", name.len()] },
    });
    let plain = serde_json::json!({
        "name": name, "missing": missing, "list": list, "empty": [], "none": {},
        "deep": { "flag": true, "numbers": [1, -2, [null]], "parts": [{ "x": name.as_str() }, "y", name.len()] },
    });
    assert_eq!(value.to_string(), plain.to_string());
}

#[test]
fn types_are_read_from_it() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Read {
        name: String,
        kind: Kind,
        count: Option<u32>,
        labels: BTreeMap<String, String>,
        #[serde(default)]
        flags: Vec<bool>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    enum Kind {
        Node,
    }
    let value = json!({ "name": "a", "kind": "Node", "count": null, "labels": { "x": "y" }, "other": [1, { "z": 2 }] });
    let labels = BTreeMap::from([("x".to_owned(), "y".to_owned())]);
    let read = Read { name: "a".to_owned(), kind: Kind::Node, count: None, labels, flags: Vec::new() };
    assert_eq!(Read::deserialize(&value).unwrap(), read);
    for bad in [json!({ "kind": 1 }), json!({ "kind": { "Node": null } }), json!({ "kind": "Other" }), json!([])] {
        assert!(Read::deserialize(&bad).is_err(), "{bad}");
    }
}
