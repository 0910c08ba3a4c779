//! The kinds of objects that the simulated cluster keeps, and where the API has them.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use serde::{Deserialize, Serialize};

use super::json::Text;

macro_rules! kinds {
    ($($kind:ident $group:literal $version:literal $plural:literal $namespaced:literal $status:literal;)*) => {
        /// A kind of object.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the names are those of the Kubernetes API")]
        pub enum Kind { $($kind,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)*];

            /// The name of the kind, as `kind` has it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => stringify!($kind),)* }
            }

            /// The API group; empty for the core group.
            #[must_use]
            pub fn group(self) -> &'static str {
                match self { $(Kind::$kind => $group,)* }
            }

            /// The version of the group.
            #[must_use]
            pub fn version(self) -> &'static str {
                match self { $(Kind::$kind => $version,)* }
            }

            /// The name in paths.
            #[must_use]
            pub fn plural(self) -> &'static str {
                match self { $(Kind::$kind => $plural,)* }
            }

            /// Whether its objects live in namespaces.
            #[must_use]
            pub fn is_namespaced(self) -> bool {
                match self { $(Kind::$kind => $namespaced,)* }
            }

            /// Whether its status is written through a subresource of its own.
            #[must_use]
            pub fn has_status(self) -> bool {
                match self { $(Kind::$kind => $status,)* }
            }
        }
    };
}

kinds! {
    Namespace "" "v1" "namespaces" false true;
    Node "" "v1" "nodes" false true;
    ServiceAccount "" "v1" "serviceaccounts" true false;
    ConfigMap "" "v1" "configmaps" true false;
    Service "" "v1" "services" true true;
    PersistentVolume "" "v1" "persistentvolumes" false true;
    PersistentVolumeClaim "" "v1" "persistentvolumeclaims" true true;
    Event "" "v1" "events" true false;
    Pod "" "v1" "pods" true true;
    Deployment "apps" "v1" "deployments" true true;
    ReplicaSet "apps" "v1" "replicasets" true true;
    StatefulSet "apps" "v1" "statefulsets" true true;
    DaemonSet "apps" "v1" "daemonsets" true true;
    Job "batch" "v1" "jobs" true true;
    PodDisruptionBudget "policy" "v1" "poddisruptionbudgets" true true;
    Lease "coordination.k8s.io" "v1" "leases" true false;
    StorageClass "storage.k8s.io" "v1" "storageclasses" false false;
    CSINode "storage.k8s.io" "v1" "csinodes" false false;
    VolumeAttachment "storage.k8s.io" "v1" "volumeattachments" false true;
    CertificateSigningRequest "certificates.k8s.io" "v1" "certificatesigningrequests" false true;
    PriorityClass "scheduling.k8s.io" "v1" "priorityclasses" false false;
    Role "rbac.authorization.k8s.io" "v1" "roles" true false;
    RoleBinding "rbac.authorization.k8s.io" "v1" "rolebindings" true false;
    ClusterRole "rbac.authorization.k8s.io" "v1" "clusterroles" false false;
    ClusterRoleBinding "rbac.authorization.k8s.io" "v1" "clusterrolebindings" false false;
}

impl Kind {
    /// `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(self) -> String {
        if self.group().is_empty() { self.version().to_owned() } else { format!("{}/{}", self.group(), self.version()) }
    }

    /// The kind that a path names.
    #[must_use]
    pub fn of_path(group: &str, version: &str, plural: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.group() == group && kind.version() == version && kind.plural() == plural)
    }

    /// The kind that an object names.
    #[must_use]
    pub fn of_object(api_version: &str, kind: &str) -> Option<Self> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let is = |known: &Self| known.name() == kind && known.group() == group && known.version() == version;
        Self::ALL.iter().copied().find(is)
    }

    /// How error messages name the resource: plural and group.
    #[must_use]
    pub fn resource(self) -> String {
        if self.group().is_empty() { self.plural().to_owned() } else { format!("{}.{}", self.plural(), self.group()) }
    }

    /// Whether `metadata.generation` counts the changes of `spec`.
    pub(super) fn counts_generation(self) -> bool {
        !matches!(
            self,
            Kind::Namespace
                | Kind::Node
                | Kind::ServiceAccount
                | Kind::ConfigMap
                | Kind::Event
                | Kind::Lease
                | Kind::PersistentVolume
                | Kind::PersistentVolumeClaim
                | Kind::CSINode
                | Kind::VolumeAttachment
                | Kind::Service
                | Kind::StorageClass
                | Kind::PriorityClass
                | Kind::CertificateSigningRequest
                | Kind::Role
                | Kind::RoleBinding
                | Kind::ClusterRole
                | Kind::ClusterRoleBinding
        )
    }
}

/// Hashes [`Key`]s: far quicker than what withstands keys that somebody has chosen to collide, which does nothing but
/// slow down whoever does it to a cluster of their own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(last));
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number.cast_unsigned() as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        // The high bits depend on all that was written, and tables look at the low ones.
        self.0.rotate_left(26)
    }
}

/// Something for each of many objects, in no order.
pub(super) type ByKey<T> = HashMap<Key, T, BuildHasherDefault<Quick>>;

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty where the kind has none.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
}

impl Key {
    /// Names an object.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// Names an object of a kind without namespaces.
    pub fn cluster(kind: Kind, name: &str) -> Self {
        Self::new(kind, "", name)
    }
}
