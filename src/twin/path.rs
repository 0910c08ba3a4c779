//! Which object or list a URL speaks of.

use super::kind::Kind;
use super::request::Subresource;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// An object, a list of them, or a part of an object.
    Resource { kind: Kind, namespace: Option<String>, name: Option<String>, subresource: Option<Subresource> },
    /// `/version`.
    Version,
    /// `/readyz`, `/livez`, `/healthz`, and what is below them.
    Health,
    /// `/api` or `/apis`, the list of groups.
    Groups { core: bool },
    /// `/openapi/v3`.
    Schemas,
    /// `/openapi/v3/api/v1` or `/openapi/v3/apis/GROUP/VERSION`.
    SchemaOf { group: String, version: String },
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    Resources { group: String, version: String },
    /// A question about one's own rights.
    AccessReview,
}

impl Target {
    pub(super) fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match parts.as_slice() {
            ["version"] => Some(Self::Version),
            ["readyz" | "livez" | "healthz", ..] => Some(Self::Health),
            ["api"] => Some(Self::Groups { core: true }),
            ["apis"] => Some(Self::Groups { core: false }),
            ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"] => Some(Self::AccessReview),
            ["openapi", "v3"] => Some(Self::Schemas),
            ["openapi", "v3", "api", version] => Self::schema_of("", version),
            ["openapi", "v3", "apis", group, version] => Self::schema_of(group, version),
            ["api", version] => Self::resources("", version),
            ["apis", group, version] => Self::resources(group, version),
            ["api", version, rest @ ..] => Self::resource("", version, rest),
            ["apis", group, version, rest @ ..] => Self::resource(group, version, rest),
            _ => None,
        }
    }

    fn resources(group: &str, version: &str) -> Option<Self> {
        is_known(group, version).then(|| Self::Resources { group: group.to_owned(), version: version.to_owned() })
    }

    fn schema_of(group: &str, version: &str) -> Option<Self> {
        is_known(group, version).then(|| Self::SchemaOf { group: group.to_owned(), version: version.to_owned() })
    }

    fn resource(group: &str, version: &str, rest: &[&str]) -> Option<Self> {
        let (namespace, rest) = match rest {
            // `namespaces/NAME` alone, or with `status`, is the Namespace itself.
            ["namespaces", _] | ["namespaces", _, "status"] => (None, rest),
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            _ => (None, rest),
        };
        let (plural, rest) = rest.split_first()?;
        let kind = Kind::of_path(group, version, plural)?;
        if namespace.is_some() && !kind.is_namespaced() {
            return None;
        }
        let (name, subresource) = match rest {
            [] => (None, None),
            [name] => (Some((*name).to_owned()), None),
            [name, "status"] if kind.has_status() => (Some((*name).to_owned()), Some(Subresource::Status)),
            [name, "eviction"] if kind == Kind::Pod => (Some((*name).to_owned()), Some(Subresource::Eviction)),
            _ => return None,
        };
        if name.is_some() && kind.is_namespaced() && namespace.is_none() {
            return None;
        }
        Some(Self::Resource { kind, namespace, name, subresource })
    }
}

fn is_known(group: &str, version: &str) -> bool {
    Kind::ALL.iter().any(|kind| kind.group() == group && kind.version() == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        let resource = |kind, namespace: Option<&str>, name: Option<&str>, subresource| {
            Some(Target::Resource {
                kind,
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
                subresource,
            })
        };
        let rows = [
            ("/api/v1/nodes", resource(Kind::Node, None, None, None)),
            ("/api/v1/nodes/a", resource(Kind::Node, None, Some("a"), None)),
            ("/api/v1/nodes/a/status", resource(Kind::Node, None, Some("a"), Some(Subresource::Status))),
            ("/api/v1/namespaces", resource(Kind::Namespace, None, None, None)),
            ("/api/v1/namespaces/shop", resource(Kind::Namespace, None, Some("shop"), None)),
            ("/api/v1/pods", resource(Kind::Pod, None, None, None)),
            ("/api/v1/namespaces/shop/pods", resource(Kind::Pod, Some("shop"), None, None)),
            (
                "/api/v1/namespaces/shop/pods/web/eviction",
                resource(Kind::Pod, Some("shop"), Some("web"), Some(Subresource::Eviction)),
            ),
            (
                "/apis/policy/v1/namespaces/shop/poddisruptionbudgets/web",
                resource(Kind::PodDisruptionBudget, Some("shop"), Some("web"), None),
            ),
            ("/apis/policy/v1beta1/poddisruptionbudgets", None),
            ("/api/v1/pods/web", None),
            ("/api/v1/namespaces/shop/nodes", None),
            ("/api/v1/namespaces/shop/pods/web/exec", None),
            ("/apis/apps/v1/deployments/web/scale", None),
            ("/", None),
            ("/metrics", None),
        ];
        for (path, target) in rows {
            assert_eq!(Target::of(path), target, "{path}");
        }
    }
}
