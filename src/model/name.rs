//! Names and identifiers, one type per kind, so that a pool can never be passed for a zone.
//!
//! A name is checked when it is made: it holds only the characters that the Kubernetes API accepts for
//! that kind of name, and may therefore be printed as it is. Cheap to clone: the text is shared.

use std::fmt;
use std::sync::Arc;

/// A text that is not a valid name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a valid {kind}: {rule}", super::sanitise(.text))]
pub struct InvalidName {
    /// What the text was to name, in words, such as `node name`.
    pub kind: &'static str,
    /// The text as given, not yet sanitised.
    pub text: String,
    /// The rule that the text breaks, in words.
    pub rule: &'static str,
}

/// The longest name that Kubernetes accepts for an object (a DNS subdomain, RFC 1123), in bytes.
const SUBDOMAIN_MAX: usize = 253;
/// The longest label value and label name that Kubernetes accepts, in bytes.
const LABEL_MAX: usize = 63;

fn is_subdomain(text: &str) -> bool {
    text.len() <= SUBDOMAIN_MAX && !text.is_empty() && text.split('.').all(is_dns_label)
}

fn is_dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(&first), Some(&last)) => inner(first) && inner(last) && bytes.iter().all(|&b| inner(b) || b == b'-'),
        _ => false,
    }
}

fn is_label_value(text: &str) -> bool {
    let outer = |b: u8| b.is_ascii_alphanumeric();
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (None, None) => true,
        (Some(&first), Some(&last)) => {
            text.len() <= LABEL_MAX
                && outer(first)
                && outer(last)
                && bytes.iter().all(|&b| outer(b) || matches!(b, b'-' | b'_' | b'.'))
        }
        _ => false,
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

macro_rules! names {
    ($($(#[$doc:meta])* $type:ident, $kind:literal, $check:ident, $rule:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            #[doc = concat!("Checks `text` and makes a ", $kind, " of it.")]
            ///
            /// # Errors
            /// [`InvalidName`] when the text breaks the rule for this kind of name.
            pub fn new(text: impl AsRef<str>) -> Result<Self, InvalidName> {
                let text = text.as_ref();
                if $check(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { kind: $kind, text: text.to_owned(), rule: $rule })
                }
            }

            /// The name as text; it holds no character that would need escaping on a terminal.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

names! {
    /// The name of a cluster, as the config gives it.
    ClusterName, "cluster name", is_dns_label_63, "it needs 1 to 63 lower-case letters, digits or '-', and a letter or digit at both ends";
    /// The name of a config table below `reboot`, `out_of_service` or `protect`.
    TableName, "table name", is_dns_label_63, "it needs 1 to 63 lower-case letters, digits or '-', and a letter or digit at both ends";
    /// The name of a Node object.
    NodeName, "node name", is_subdomain, "it must be a DNS subdomain of at most 253 characters (RFC 1123)";
    /// The name of a namespace.
    Namespace, "namespace", is_dns_label_63, "it must be a DNS label of at most 63 characters (RFC 1123)";
    /// The name of a pod or of a disruption budget.
    PodName, "object name", is_subdomain, "it must be a DNS subdomain of at most 253 characters (RFC 1123)";
    /// The name of a node pool: the value of the pool label. The empty name is the one pool of clusters without pools.
    PoolName, "pool name", is_label_value, "it must be a label value of at most 63 characters";
    /// The name of a zone: the value of `topology.kubernetes.io/zone`. Empty where nodes carry none.
    ZoneName, "zone name", is_label_value, "it must be a label value of at most 63 characters";
    /// The key of a label, with its optional prefix.
    LabelKey, "label key", is_label_key, "it must be NAME or PREFIX/NAME as Kubernetes defines label keys";
    /// The UID that the API server gave an object.
    Uid, "UID", is_token, "it must be 1 to 128 printable ASCII characters";
    /// A Linux boot id: changes exactly when a node boots.
    BootId, "boot id", is_token, "it must be 1 to 128 printable ASCII characters";
    /// The id of one run of `apply`.
    RunId, "run id", is_dns_label_63, "it needs 1 to 63 lower-case letters, digits or '-'";
}

fn is_dns_label_63(text: &str) -> bool {
    text.len() <= LABEL_MAX && is_dns_label(text)
}

fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && !name.is_empty() && is_label_value(name),
        None => !text.is_empty() && is_label_value(text),
    }
}

/// Namespace and name of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// The pod's namespace.
    pub namespace: Namespace,
    /// The pod's name.
    pub name: PodName,
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Namespace and name of a disruption budget.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetKey {
    /// The budget's namespace.
    pub namespace: Namespace,
    /// The budget's name.
    pub name: PodName,
}

impl fmt::Display for BudgetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_follow_rfc_1123() {
        assert!(NodeName::new("aks-np1-000003").is_ok());
        assert!(NodeName::new("ip-10-0-0-1.ec2.internal").is_ok());
        for bad in ["", "A", "-a", "a-", "a..b", "a_b", "a\u{1b}[31m", &"a".repeat(254)] {
            assert!(NodeName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn label_keys_may_have_a_prefix() {
        assert!(LabelKey::new("topology.kubernetes.io/zone").is_ok());
        assert!(LabelKey::new("agentpool").is_ok());
        assert!(LabelKey::new("/zone").is_err());
        assert!(LabelKey::new("a/").is_err());
    }
}
