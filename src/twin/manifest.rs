//! YAML files of Kubernetes objects.

use serde_saphyr::Spanned;

use super::actor::sim;
use super::json::Value;
use super::kind::Kind;
use super::object::{Look, duration, set};
use super::sandbox::SandboxError;
use super::world::World;

/// The largest file that is read; a whole cluster of a thousand objects has less.
const SIZE_MAX: usize = 8 << 20;
/// The deepest that an object may be nested. Real ones stay below 20, and reading recurses: a file must not be able to
/// use up the stack. What is saved must be readable again, too.
pub(super) const DEPTH_MAX: usize = 40;

/// An object with the place that it came from.
pub(super) struct Found {
    file: String,
    document: usize,
    /// Where its document begins.
    line: Option<u64>,
    kind: Kind,
    object: Value,
}

/// Reads the objects of a file.
pub(super) fn read(file: &str, text: &str, found: &mut Vec<Found>) -> Result<(), SandboxError> {
    let wrong = |document: usize, line: Option<u64>, message: String| SandboxError::Manifest {
        file: file.to_owned(),
        document,
        line,
        message,
    };
    if text.len() > SIZE_MAX {
        return Err(wrong(1, None, format!("the file has more than {} MiB", SIZE_MAX >> 20)));
    }
    let mut reader = std::io::Cursor::new(text.strip_prefix('\u{feff}').unwrap_or(text).as_bytes());
    let documents = serde_saphyr::read_with_options::<_, Spanned<Value>>(&mut reader, options());
    for (index, document) in documents.enumerate() {
        let number = index + 1;
        let object = document.map_err(|error| {
            let error = error.without_snippet();
            let line = error.location().map(|location| location.line());
            let text = error.to_string();
            wrong(number, line, text.lines().next().unwrap_or_default().to_owned())
        })?;
        let line = Some(object.referenced.line()).filter(|line| *line > 0);
        take(object.value, &|message| wrong(number, line, message), (file, number, line), found)?;
    }
    Ok(())
}

/// How YAML is read, here and in requests.
pub(super) fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, flow_nesting_limit: DEPTH_MAX },
    }
}

fn take(
    object: Value,
    wrong: &dyn Fn(String) -> SandboxError,
    place: (&str, usize, Option<u64>),
    found: &mut Vec<Found>,
) -> Result<(), SandboxError> {
    if object.is_null() {
        return Ok(());
    }
    if !object.is_object() {
        return Err(wrong("it is no Kubernetes object".to_owned()));
    }
    if depth(&object) > DEPTH_MAX {
        return Err(wrong(format!("it is nested more than {DEPTH_MAX} deep")));
    }
    let (api_version, kind) = (object.text("/apiVersion"), object.text("/kind"));
    if kind.is_empty() || api_version.is_empty() {
        return Err(wrong("it has no `apiVersion` or no `kind`".to_owned()));
    }
    if kind.ends_with("List") && object.at("/items").is_array() {
        for item in object.items("/items") {
            take(item.clone(), wrong, place, found)?;
        }
        return Ok(());
    }
    let Some(kind) = Kind::of_object(api_version, kind) else {
        return Err(wrong(format!("the simulated cluster has no {kind} of {api_version}")));
    };
    check_wishes(&object).map_err(|message| wrong(format!("{} {}: {message}", kind.name(), object.name())))?;
    let (file, document, line) = place;
    found.push(Found { file: file.to_owned(), document, line, kind, object });
    Ok(())
}

/// Makes the objects, those first that others need.
pub(super) fn create(world: &mut World, mut found: Vec<Found>) -> Result<(), SandboxError> {
    found.sort_by_key(|found| match found.kind {
        Kind::Namespace => 0,
        Kind::PriorityClass | Kind::StorageClass | Kind::PersistentVolume => 1,
        Kind::Node | Kind::CSINode | Kind::PersistentVolumeClaim => 2,
        _ => 3,
    });
    for Found { file, document, line, kind, mut object } in found {
        if kind.is_namespaced() && object.namespace().is_empty() {
            set(&mut object, "/metadata/namespace", "default");
        }
        let name = object.name().to_owned();
        let builtin = kind == Kind::Namespace
            && matches!(name.as_str(), "default" | "kube-system" | "kube-public" | "kube-node-lease");
        if builtin {
            continue;
        }
        world.create_as(kind, object, "kubectl-create").map_err(|failure| SandboxError::Manifest {
            file,
            document,
            line,
            message: format!("{} {name}: {}", kind.name(), failure.message),
        })?;
    }
    Ok(())
}

/// How deep a value is nested; its own recursion is bounded by the reader's.
pub(super) fn depth(value: &Value) -> usize {
    match value {
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Checks what an object asks of the simulation: a typing error must not pass in silence.
fn check_wishes(object: &Value) -> Result<(), String> {
    for path in ["/metadata/annotations", "/spec/template/metadata/annotations"] {
        for (key, value) in object.entries(path).filter(|(key, _)| key.starts_with("sim.haulout.dev/")) {
            let Some(text) = value.as_str() else {
                return Err(format!("annotation {key} must be a text, in quotes"));
            };
            let (good, wanted) = match key.as_str() {
                sim::REBOOT_TAKES
                | sim::FIRES_AFTER
                | sim::NODE_READY_AFTER
                | sim::READY_AFTER
                | sim::STOPS_AFTER
                | sim::COMPLETE_AFTER => (duration(text).is_some(), "a duration such as \"300ms\" or \"2s\""),
                sim::AGENT
                | sim::REASON_SURVIVES
                | sim::NEVER_READY
                | sim::NEVER_RETURNS
                | sim::KEEPS_BOOT_ID
                | sim::RETURNS_AS_NEW_NODE
                | sim::REPORT_ENDS
                | sim::PULL_FAILS => (matches!(text, "true" | "false"), "\"true\" or \"false\""),
                sim::FLAPS => (text.parse::<u16>().is_ok(), "a number such as \"4\""),
                sim::BOOTED_AT => (text.parse::<jiff::Timestamp>().is_ok(), "a time such as 2026-11-20T00:00:00Z"),
                sim::ALLOCATABLE => {
                    let object = serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
                    (object, "a JSON object of resources")
                }
                sim::REBOOT_REQUIRED => (true, ""),
                _ => (false, "one that the simulation knows"),
            };
            if !good {
                return Err(format!("annotation {key} must be {wanted}"));
            }
        }
    }
    Ok(())
}
