//! What the API says of itself: its version, its groups and resources, and just enough of its schema for `kubectl apply`.

use super::json::{Map, Value, json};
use super::kind::Kind;
use super::object::set;

/// The version that the simulated cluster says it is: the one whose answers it gives.
pub(super) const GIT_VERSION: &str = "v1.37.2";

/// `/version`.
pub(super) fn version() -> Value {
    json!({
        "major": "1", "minor": "37", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-11-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64",
    })
}

/// What may be done with every kind.
const VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

/// The names that people type.
fn short_names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Namespace => &["ns"],
        Kind::Node => &["no"],
        Kind::ServiceAccount => &["sa"],
        Kind::ConfigMap => &["cm"],
        Kind::Service => &["svc"],
        Kind::PersistentVolume => &["pv"],
        Kind::PersistentVolumeClaim => &["pvc"],
        Kind::Event => &["ev"],
        Kind::Pod => &["po"],
        Kind::Deployment => &["deploy"],
        Kind::ReplicaSet => &["rs"],
        Kind::StatefulSet => &["sts"],
        Kind::DaemonSet => &["ds"],
        Kind::PodDisruptionBudget => &["pdb"],
        Kind::StorageClass => &["sc"],
        Kind::CertificateSigningRequest => &["csr"],
        Kind::PriorityClass => &["pc"],
        Kind::Job
        | Kind::Lease
        | Kind::CSINode
        | Kind::VolumeAttachment
        | Kind::Role
        | Kind::RoleBinding
        | Kind::ClusterRole
        | Kind::ClusterRoleBinding => &[],
    }
}

/// Whether `kubectl get all` means it too.
fn is_in_all(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Service
            | Kind::Pod
            | Kind::Deployment
            | Kind::ReplicaSet
            | Kind::StatefulSet
            | Kind::DaemonSet
            | Kind::Job
    )
}

/// A resource with a path of its own below a group's.
struct Resource {
    name: String,
    /// The group and version of what it takes, where they are not those of its path.
    takes: Option<(&'static str, &'static str)>,
    kind: &'static str,
    of: Kind,
    verbs: &'static [&'static str],
}

/// A kind's resources: itself first, then its parts.
fn resources_of(kind: Kind) -> Vec<Resource> {
    let part = |name: &str, of_kind: &'static str, verbs: &'static [&'static str]| Resource {
        name: if name.is_empty() { kind.plural().to_owned() } else { format!("{}/{name}", kind.plural()) },
        takes: None,
        kind: of_kind,
        of: kind,
        verbs,
    };
    let mut all = vec![part("", kind.name(), VERBS)];
    if kind.has_status() {
        all.push(part("status", kind.name(), &["get", "patch", "update"]));
    }
    if kind == Kind::Pod {
        all.push(Resource { takes: Some(("policy", "v1")), ..part("eviction", "Eviction", &["create"]) });
    }
    all
}

/// The groups and versions, in the order of [`Kind::ALL`]; the core group has no name.
fn groups_and_versions() -> Vec<(&'static str, &'static str)> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        if !all.contains(&(kind.group(), kind.version())) {
            all.push((kind.group(), kind.version()));
        }
    }
    all
}

fn in_group(group: &str, version: &str) -> impl Iterator<Item = Kind> {
    Kind::ALL.iter().copied().filter(move |kind| kind.group() == group && kind.version() == version)
}

/// `/api` or `/apis`.
pub(super) fn groups(core: bool) -> Value {
    if core {
        return json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] });
    }
    let groups: Vec<Value> = groups_and_versions()
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, version)| {
            let version = json!({ "groupVersion": format!("{group}/{version}"), "version": version });
            json!({ "name": group, "versions": [version], "preferredVersion": version })
        })
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// `/api` or `/apis` for clients that take everything at once.
pub(super) fn everything(core: bool) -> Value {
    let groups: Vec<Value> = groups_and_versions()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, version)| {
            let resources: Vec<Value> = in_group(group, version).map(described).collect();
            let mut metadata = json!({});
            if !group.is_empty() {
                set(&mut metadata, "/name", group);
            }
            let version = json!({ "version": version, "resources": resources, "freshness": "Current" });
            json!({ "metadata": metadata, "versions": [version] })
        })
        .collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": groups })
}

fn described(kind: Kind) -> Value {
    let mut object = Value::Null;
    let mut parts = Vec::new();
    for resource in resources_of(kind) {
        let (group, version) = resource.takes.unwrap_or((kind.group(), kind.version()));
        let takes = json!({ "group": group, "version": version, "kind": resource.kind });
        match resource.name.split_once('/') {
            Some((_, part)) => {
                parts.push(json!({ "subresource": part, "responseKind": takes, "verbs": resource.verbs }));
            }
            None => {
                object = json!({
                    "resource": resource.name, "responseKind": takes,
                    "scope": if kind.is_namespaced() { "Namespaced" } else { "Cluster" },
                    "singularResource": kind.name().to_lowercase(), "verbs": resource.verbs,
                });
            }
        }
    }
    names(kind, &mut object);
    if !parts.is_empty() {
        set(&mut object, "/subresources", parts);
    }
    object
}

/// Adds the names that people type.
fn names(kind: Kind, object: &mut Value) {
    if !short_names(kind).is_empty() {
        set(object, "/shortNames", json!(short_names(kind)));
    }
    if is_in_all(kind) {
        set(object, "/categories", json!(["all"]));
    }
}

/// `/api/v1` or `/apis/GROUP/VERSION`.
pub(super) fn resources(group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for resource in in_group(group, version).flat_map(resources_of) {
        let kind = resource.of;
        let mut object = json!({
            "name": resource.name, "singularName": "", "namespaced": kind.is_namespaced(),
            "kind": resource.kind, "verbs": resource.verbs,
        });
        if let Some((group, version)) = resource.takes {
            set(&mut object, "/group", group);
            set(&mut object, "/version", version);
        }
        if !resource.name.contains('/') {
            set(&mut object, "/singularName", kind.name().to_lowercase());
            names(kind, &mut object);
        }
        list.push(object);
    }
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": joined(group, version), "resources": list })
}

fn joined(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Where a group's paths begin.
fn prefix(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// `/openapi/v3`: where the schema of each group is.
pub(super) fn schemas() -> Value {
    let paths: Map = groups_and_versions()
        .into_iter()
        .map(|(group, version)| {
            let prefix = prefix(group, version);
            let url = json!({ "serverRelativeURL": format!("/openapi/v3/{prefix}") });
            (prefix, url)
        })
        .collect();
    json!({ "paths": paths })
}

/// `/openapi/v3/…`: that PATCH takes `fieldValidation` for every kind. `kubectl apply` asks for no more than that, and
/// then leaves the checking to the server; there are no schemas of the kinds, so that `kubectl explain` finds nothing.
pub(super) fn schema_of(group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    for kind in in_group(group, version) {
        let scope = if kind.is_namespaced() { "namespaces/{namespace}/" } else { "" };
        let path = format!("/{}/{scope}{}/{{name}}", prefix(group, version), kind.plural());
        let text = json!({ "type": "string", "uniqueItems": true });
        let parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation"]
            .iter()
            .map(|name| json!({ "name": name, "in": "query", "schema": text }))
            .collect();
        let gvk = json!({ "group": group, "kind": kind.name(), "version": version });
        let patch = json!({
            "operationId": format!("patch{}", kind.name()), "parameters": parameters,
            "responses": { "200": { "description": "OK" } }, "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": gvk,
        });
        paths.insert(path, json!({ "patch": patch }));
    }
    json!({
        "openapi": "3.0.0", "info": { "title": "haulout sandbox", "version": GIT_VERSION }, "paths": paths,
        "components": { "schemas": {} },
    })
}
