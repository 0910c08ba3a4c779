//! What an identity must be allowed to do, by what it is needed for.
//!
//! This is the one list of it: `doctor` asks the API server about every line, `deploy/base.yaml` grants exactly these
//! lines under the same roles, and tests hold the two together.

use crate::model::MANAGED_NAMESPACE;

/// What rights are needed for; each has a role of its own in `deploy/base.yaml`. Whatever needs a later one needs the
/// earlier ones too, except that nothing needs [`Feature::Certificates`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// To plan. Reads only.
    Plan,
    /// To apply anything: the lock, cordons, drains. All that `out_of_service` needs.
    Apply,
    /// To reboot nodes.
    Reboot,
    /// To see certificates that only the cluster shows. Every plan looks for them; none waits for them. Reads only.
    Certificates,
}

impl Feature {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Plan, Self::Apply, Self::Reboot, Self::Certificates];

    /// The name of its roles.
    #[must_use]
    pub fn role(self) -> &'static str {
        match self {
            Self::Plan => "haulout-plan",
            Self::Apply => "haulout-apply",
            Self::Reboot => "haulout-reboot",
            Self::Certificates => "haulout-certificates",
        }
    }

    /// Whether everything else works without it.
    #[must_use]
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Certificates)
    }
}

/// Where a right holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In the whole cluster: a rule of a ClusterRole.
    Cluster,
    /// In one namespace: a rule of a Role.
    Namespace(&'static str),
}

/// What a right is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Objects of a kind.
    Objects {
        /// The API group; empty is the core.
        group: &'static str,
        /// The resource, with its subresource as `pods/eviction`.
        resource: &'static str,
        /// The only object meant; `None` is all of them.
        name: Option<&'static str>,
    },
    /// A path of the API server that is no object.
    Url(&'static str),
}

/// One rule: some verbs on one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// What it is needed for.
    pub feature: Feature,
    /// Where.
    pub place: Place,
    /// On what.
    pub target: Target,
    /// Which verbs.
    pub verbs: &'static [&'static str],
    /// What haulout does with it, in words that follow a colon.
    pub why: &'static str,
}

const MANAGED: Place = Place::Namespace(MANAGED_NAMESPACE);
const SYSTEM: Place = Place::Namespace("kube-system");
const NODE_LEASES: Place = Place::Namespace("kube-node-lease");

const fn objects(group: &'static str, resource: &'static str) -> Target {
    Target::Objects { group, resource, name: None }
}

const fn object(group: &'static str, resource: &'static str, name: &'static str) -> Target {
    Target::Objects { group, resource, name: Some(name) }
}

const fn rule(
    feature: Feature,
    place: Place,
    target: Target,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Rule {
    Rule { feature, place, target, verbs, why }
}

/// Every rule.
pub const RULES: &[Rule] = &[
    rule(
        Feature::Plan,
        Place::Cluster,
        objects("", "nodes"),
        &["list"],
        "which nodes there are, and which wait for a reboot or are out",
    ),
    rule(Feature::Plan, Place::Cluster, objects("", "pods"), &["list"], "what runs on the nodes"),
    rule(
        Feature::Plan,
        Place::Cluster,
        objects("policy", "poddisruptionbudgets"),
        &["list"],
        "which pods may be evicted, and when",
    ),
    rule(Feature::Plan, Place::Cluster, objects("apps", "daemonsets"), &["list"], "which pods a drain leaves alone"),
    rule(
        Feature::Plan,
        Place::Cluster,
        object("", "namespaces", "kube-system"),
        &["get"],
        "its UID identifies the cluster",
    ),
    rule(
        Feature::Plan,
        Place::Cluster,
        objects("certificates.k8s.io", "certificatesigningrequests"),
        &["list"],
        "which kubelets wait for a serving certificate",
    ),
    rule(Feature::Plan, Place::Cluster, Target::Url("/version"), &["get"], "the version of the API server"),
    rule(
        Feature::Plan,
        MANAGED,
        object("coordination.k8s.io", "leases", "haulout"),
        &["get"],
        "whether a run is going on, and whose",
    ),
    rule(
        Feature::Apply,
        Place::Cluster,
        objects("", "nodes"),
        &["get", "patch", "watch"],
        "to look at a node before each change, and to cordon, mark and uncordon it",
    ),
    rule(
        Feature::Apply,
        Place::Cluster,
        objects("", "pods"),
        &["get", "watch"],
        "to see evicted pods go and their replacements come",
    ),
    rule(Feature::Apply, Place::Cluster, objects("", "pods/eviction"), &["create"], "to drain nodes"),
    rule(
        Feature::Apply,
        Place::Cluster,
        objects("policy", "poddisruptionbudgets"),
        &["get", "watch"],
        "to know when a budget allows the next eviction, and why it refused one",
    ),
    rule(
        Feature::Apply,
        Place::Cluster,
        objects("storage.k8s.io", "volumeattachments"),
        &["list"],
        "to see the volumes of a drained node detached",
    ),
    rule(
        Feature::Apply,
        Place::Cluster,
        object("", "namespaces", MANAGED_NAMESPACE),
        &["get"],
        "to see that the namespace of the lock is there",
    ),
    rule(Feature::Apply, MANAGED, objects("coordination.k8s.io", "leases"), &["create"], "to take the first lock"),
    rule(
        Feature::Apply,
        MANAGED,
        object("coordination.k8s.io", "leases", "haulout"),
        &["patch"],
        "to take, renew and release the lock",
    ),
    rule(
        Feature::Reboot,
        Place::Cluster,
        objects("storage.k8s.io", "csinodes"),
        &["get"],
        "to see the CSI drivers of a rebooted node registered again",
    ),
    rule(
        Feature::Reboot,
        Place::Cluster,
        object("rbac.authorization.k8s.io", "clusterroles", "haulout-node"),
        &["get"],
        "to see that the role of reboot pods is there",
    ),
    rule(
        Feature::Reboot,
        Place::Cluster,
        object("rbac.authorization.k8s.io", "clusterrolebindings", "haulout-node"),
        &["get"],
        "to see that reboot pods have their role",
    ),
    rule(
        Feature::Reboot,
        Place::Cluster,
        Target::Url("/readyz"),
        &["get"],
        "the health of the API server, between two nodes of the control plane",
    ),
    rule(
        Feature::Reboot,
        MANAGED,
        objects("", "pods"),
        &["create", "delete"],
        "to start the pods that reboot nodes, and to end them",
    ),
    rule(
        Feature::Reboot,
        MANAGED,
        object("", "serviceaccounts", "haulout-node"),
        &["get"],
        "to see that the account of reboot pods is there",
    ),
    rule(
        Feature::Reboot,
        NODE_LEASES,
        objects("coordination.k8s.io", "leases"),
        &["get"],
        "to see that the kubelet of a rebooted node is alive",
    ),
    rule(
        Feature::Certificates,
        Place::Cluster,
        objects("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
        &["list"],
        "the authorities of webhooks, without which no pod can be made",
    ),
    rule(
        Feature::Certificates,
        Place::Cluster,
        objects("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        &["list"],
        "the authorities of webhooks, without which no pod can be made",
    ),
    rule(
        Feature::Certificates,
        Place::Cluster,
        objects("apiregistration.k8s.io", "apiservices"),
        &["list"],
        "the authorities of servers that extend the API",
    ),
    rule(
        Feature::Certificates,
        Place::Cluster,
        objects("apiextensions.k8s.io", "customresourcedefinitions"),
        &["list"],
        "the authorities of webhooks that convert",
    ),
    rule(
        Feature::Certificates,
        Place::Cluster,
        objects("cert-manager.io", "certificates"),
        &["list"],
        "when cert-manager's certificates end; it renews them by itself",
    ),
    rule(
        Feature::Certificates,
        SYSTEM,
        object("", "configmaps", "kube-root-ca.crt"),
        &["get"],
        "the authority that pods trust",
    ),
    rule(
        Feature::Certificates,
        SYSTEM,
        object("", "configmaps", "extension-apiserver-authentication"),
        &["get"],
        "the authorities of client certificates and of the front proxy",
    ),
    rule(
        Feature::Certificates,
        Place::Namespace("default"),
        objects("discovery.k8s.io", "endpointslices"),
        &["list"],
        "the addresses of all API servers, each of which has a certificate of its own",
    ),
];

impl Target {
    /// What is meant, in words: `pods`, `poddisruptionbudgets in group policy`, `namespaces kube-system`, `/version`.
    #[must_use]
    pub fn words(&self) -> String {
        match *self {
            Self::Url(path) => path.to_owned(),
            Self::Objects { group, resource, name } => {
                let name = name.map(|name| format!(" {name}")).unwrap_or_default();
                let group = if group.is_empty() { String::new() } else { format!(" in group {group}") };
                format!("{resource}{name}{group}")
            }
        }
    }
}

impl Rule {
    /// Whether every identity has it that the API server knows, by the roles that each cluster comes with (`/version` by
    /// system:public-info-viewer, `/readyz` by the same): having it tells nothing of a role that was bound.
    #[must_use]
    pub fn is_everybodys(&self) -> bool {
        matches!(self.target, Target::Url(_))
    }

    /// The rule with some of its verbs, as an entry of the list `rules` of a role, in the form that `deploy/` has.
    #[must_use]
    pub fn yaml(&self, verbs: &[&str]) -> String {
        let quoted = |texts: &[&str]| texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ");
        let target = match self.target {
            Target::Url(path) => format!("- nonResourceURLs: [{path:?}]\n"),
            Target::Objects { group, resource, name } => {
                let names = name.map(|name| format!("  resourceNames: [{name:?}]\n")).unwrap_or_default();
                format!("- apiGroups: [{group:?}]\n  resources: [{resource:?}]\n{names}")
            }
        };
        format!("{target}  verbs: [{}]\n", quoted(verbs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_right_is_listed_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for rule in RULES {
            assert!(!rule.verbs.is_empty() && !rule.why.is_empty());
            for verb in rule.verbs {
                assert!(seen.insert((rule.place, rule.target, *verb)), "{verb} {}", rule.target.words());
            }
        }
    }

    #[test]
    fn planning_only_reads() {
        for rule in RULES.iter().filter(|rule| matches!(rule.feature, Feature::Plan | Feature::Certificates)) {
            assert!(rule.verbs.iter().all(|verb| matches!(*verb, "get" | "list" | "watch")), "{rule:?}");
        }
    }

    #[test]
    fn a_rule_is_written_as_in_a_role() {
        let lease = RULES.iter().find(|rule| rule.verbs == ["patch"]).unwrap();
        let expected = "- apiGroups: [\"coordination.k8s.io\"]\n  resources: [\"leases\"]\n  resourceNames: [\"haulout\"]\n  verbs: [\"patch\"]\n";
        assert_eq!(lease.yaml(lease.verbs), expected);
        let version = RULES.iter().find(|rule| rule.target == Target::Url("/version")).unwrap();
        assert_eq!(version.yaml(version.verbs), "- nonResourceURLs: [\"/version\"]\n  verbs: [\"get\"]\n");
    }
}
