//! What decides where a pod may run: quantities, the demands of pods, and what nodes offer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Labels, Namespace, NodeName, Owner, PodKey, Selector, Taint, TaintEffect, Uid};

/// A text that is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a quantity: expected a number with an optional suffix, such as 500m, 2, 4Gi")]
pub struct AllocationError;

/// An amount of a resource, in thousandths of its unit, rounded up as the scheduler rounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity(pub i128);

impl Quantity {
    /// So many whole units.
    #[must_use]
    pub fn whole(units: u32) -> Self {
        Self(i128::from(units) * 1000)
    }

    /// Reads a quantity as Kubernetes writes it: `100m`, `1.5`, `4Gi`, `1e3`.
    ///
    /// # Errors
    /// [`AllocationError`] when it is none, or out of all bounds.
    pub fn parse(text: &str) -> Result<Self, AllocationError> {
        let text = text.trim();
        let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-'))).unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (numerator, denominator): (i128, i128) = match suffix {
            "n" => (1, 1_000_000),
            "u" => (1, 1000),
            "m" => (1, 1),
            "" => (1000, 1),
            "k" => (1_000_000, 1),
            "M" => (1_000_000_000, 1),
            "G" => (1_000_000_000_000, 1),
            "T" => (1_000_000_000_000_000, 1),
            "P" => (1_000_000_000_000_000_000, 1),
            "E" => (1_000_000_000_000_000_000_000, 1),
            "Ki" => (1000 << 10, 1),
            "Mi" => (1000 << 20, 1),
            "Gi" => (1000 << 30, 1),
            "Ti" => (1000 << 40, 1),
            "Pi" => (1000 << 50, 1),
            "Ei" => (1000 << 60, 1),
            exponent => {
                let power = exponent.strip_prefix(['e', 'E']).and_then(|power| power.parse::<i32>().ok());
                match power {
                    Some(power @ 0..=18) => (1000 * 10_i128.pow(power.unsigned_abs()), 1),
                    Some(power @ -9..=-1) => (1000, 10_i128.pow(power.unsigned_abs())),
                    Some(_) | None => return Err(AllocationError),
                }
            }
        };
        let (negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || whole.len() > 15 || fraction.len() > 9 {
            return Err(AllocationError);
        }
        let digits = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u64>().map(i128::from) };
        let scale = 10_i128.pow(u32::try_from(fraction.len()).map_err(|_| AllocationError)?);
        let value =
            digits(whole).map_err(|_| AllocationError)? * scale + digits(fraction).map_err(|_| AllocationError)?;
        let value = value.checked_mul(numerator).ok_or(AllocationError)?;
        let divisor = scale * denominator;
        let value = value / divisor + i128::from(value % divisor != 0);
        Ok(Self(if negative { -value } else { value }))
    }
}

/// Amounts by resource name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amounts(pub BTreeMap<Arc<str>, Quantity>);

impl Amounts {
    /// The amount of one resource; nothing where it is not named.
    #[must_use]
    pub fn of(&self, resource: &str) -> Quantity {
        self.0.get(resource).copied().unwrap_or_default()
    }

    /// Adds amounts to these.
    pub fn add(&mut self, other: &Self) {
        for (resource, amount) in &other.0 {
            let mine = self.0.entry(Arc::clone(resource)).or_default();
            mine.0 = mine.0.saturating_add(amount.0);
        }
    }

    /// Takes amounts off these.
    pub fn subtract(&mut self, other: &Self) {
        for (resource, amount) in &other.0 {
            if let Some(mine) = self.0.get_mut(resource) {
                mine.0 = mine.0.saturating_sub(amount.0);
            }
        }
    }

    /// Makes each amount at least that of the other.
    pub fn at_least(&mut self, other: &Self) {
        for (resource, amount) in &other.0 {
            let mine = self.0.entry(Arc::clone(resource)).or_default();
            *mine = (*mine).max(*amount);
        }
    }
}

/// What a toleration asks of a taint's key and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TolerationTest {
    /// Any taint (`operator: Exists` without key).
    Any,
    /// A taint with this key.
    Exists(Arc<str>),
    /// A taint with this key and value.
    Equal(Arc<str>, Arc<str>),
}

/// A toleration of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toleration {
    /// Which taints, by key and value.
    pub test: TolerationTest,
    /// Which effect; `None` is every one.
    pub effect: Option<TaintEffect>,
    /// How long a `NoExecute` taint is borne; `None` is for ever.
    pub seconds: Option<i64>,
}

impl Toleration {
    /// Whether it tolerates a taint.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_none_or(|effect| effect == taint.effect);
        effect
            && match &self.test {
                TolerationTest::Any => true,
                TolerationTest::Exists(key) => *key == taint.key,
                TolerationTest::Equal(key, value) => *key == taint.key && *value == taint.value,
            }
    }
}

/// A test of a field of the node; only `metadata.name` can be tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTest {
    /// The names.
    pub names: BTreeSet<Arc<str>>,
    /// Whether the node's name has to be one of them, or none of them.
    pub among: bool,
}

/// One term of a node affinity: all that it asks must hold. One that asks nothing matches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTerm {
    /// What it asks of the labels.
    pub labels: Selector,
    /// What it asks of the name.
    pub fields: Vec<FieldTest>,
}

impl NodeTerm {
    /// Whether a node of this name with these labels is meant.
    #[must_use]
    pub fn matches(&self, name: &NodeName, labels: &Labels) -> bool {
        let asks = self.labels.requirements().next().is_some() || !self.fields.is_empty();
        asks && self.labels.matches(labels)
            && self.fields.iter().all(|field| field.names.contains(name.as_str()) == field.among)
    }
}

/// A port of the node that a pod takes for itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// The address; `0.0.0.0` is every one.
    pub address: Arc<str>,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Arc<str>,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        const EVERY: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || &*self.address == EVERY || &*other.address == EVERY)
    }
}

/// A topology spread constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// The label whose values are the domains.
    pub topology: Arc<str>,
    /// How many more pods a domain may have than the one with the fewest.
    pub max_skew: u32,
    /// `DoNotSchedule`; else only a wish.
    pub required: bool,
    /// Which pods count.
    pub selector: Selector,
    /// With fewer domains than this the fewest counts as none.
    pub min_domains: Option<u32>,
    /// Whether nodes that the pod's node affinity rules out are left out (`nodeAffinityPolicy: Honor`, the default).
    pub honour_affinity: bool,
    /// Whether nodes whose taints the pod does not tolerate are left out. By default (`Ignore`) they stay domains, the
    /// cordoned node among them, with no pods.
    pub honour_taints: bool,
}

/// A term of an inter-pod affinity or anti-affinity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers {
    /// The label whose equal values are "together".
    pub topology: Arc<str>,
    /// Which pods; `None` is none.
    pub selector: Option<Selector>,
    /// Of which namespaces, resolved already.
    pub namespaces: BTreeSet<Namespace>,
}

/// What a volume of a pod asks of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeNeed {
    /// Its claim does not exist, or is bound to a volume that does not.
    Missing(Arc<str>),
    /// Its claim waits for a volume that nobody makes.
    Unbound(Arc<str>),
    /// Bound to a volume that is reachable from some nodes only (any of the terms); no terms is anywhere.
    Bound {
        /// The PersistentVolume.
        volume: Arc<str>,
        /// Where it is reachable.
        terms: Vec<NodeTerm>,
        /// What its own labels say of zone and region: the label, and the values that a node may have for it.
        zones: Vec<(Arc<str>, BTreeSet<Arc<str>>)>,
        /// The CSI driver, for the limit of volumes per node.
        driver: Option<Arc<str>>,
        /// Whether only one pod may use it (`ReadWriteOncePod`).
        exclusive: bool,
    },
}

/// A pod with all that decides where it may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedPod {
    /// Namespace and name.
    pub key: PodKey,
    /// UID.
    pub uid: Uid,
    /// The node it is bound to.
    pub node: Option<NodeName>,
    /// Labels.
    pub labels: Labels,
    /// Its controller.
    pub owner: Option<Owner>,
    /// Whether its deletion has begun.
    pub terminating: bool,
    /// What it asks for, one `pods` included.
    pub requests: Amounts,
    /// `spec.nodeSelector`.
    pub node_selector: Labels,
    /// Required node affinity: any of the terms; `None` where there is none.
    pub required: Option<Vec<NodeTerm>>,
    /// Preferred node affinity, with weights.
    pub preferred: Vec<(i32, NodeTerm)>,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
    /// Host ports.
    pub ports: BTreeSet<HostPort>,
    /// Topology spread constraints.
    pub spread: Vec<Spread>,
    /// Required inter-pod affinity.
    pub near: Vec<Peers>,
    /// Required inter-pod anti-affinity.
    pub apart: Vec<Peers>,
    /// Volumes that are claims.
    pub volumes: Vec<VolumeNeed>,
    /// Whether scheduling gates hold it back.
    pub gated: bool,
    /// `spec.priority`.
    pub priority: i32,
}

impl PlacedPod {
    /// Whether it tolerates a taint.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.tolerations.iter().any(|toleration| toleration.tolerates(taint))
    }

    /// Whether its node selector and required node affinity let it run on a node.
    #[must_use]
    pub fn wants(&self, place: &Place) -> bool {
        self.node_selector.iter().all(|(key, value)| place.labels.get(key) == Some(value))
            && self
                .required
                .as_ref()
                .is_none_or(|terms| terms.iter().any(|term| term.matches(&place.name, &place.labels)))
    }
}

/// A node with all that decides what may run on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: NodeName,
    /// Its labels.
    pub labels: Labels,
    /// Its taints.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// What it offers.
    pub allocatable: Amounts,
    /// How many volumes of a CSI driver it takes (CSINode `allocatable.count`), where limited.
    pub volume_limits: BTreeMap<Arc<str>, u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let rows = [
            ("100m", 100),
            ("1", 1000),
            ("1.5", 1500),
            (".5", 500),
            ("2k", 2_000_000),
            ("1Ki", 1_024_000),
            ("4Gi", 4 * 1024 * 1024 * 1024 * 1000),
            ("1e3", 1_000_000),
            ("1E", 1_000_000_000_000_000_000_000),
            ("1n", 1),
            ("0.0001", 1),
            ("-1", -1000),
            ("0", 0),
        ];
        for (text, milli) in rows {
            assert_eq!(Quantity::parse(text), Ok(Quantity(milli)), "{text}");
        }
        for bad in ["", "m", "1x", "1.2.3", "--1", "1e99", "999999999999999999999", "Gi", "1 Gi"] {
            assert_eq!(Quantity::parse(bad), Err(AllocationError), "{bad}");
        }
    }
}
