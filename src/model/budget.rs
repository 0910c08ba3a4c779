//! A PodDisruptionBudget: what it asks for and what the disruption controller last said of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{BudgetKey, Foreign, Namespace, Owner, Selector, Uid};

/// A number of pods or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bound {
    /// So many pods.
    Count(u32),
    /// So many percent; Kubernetes rounds up, for both fields.
    Percent(u32),
}

/// `spec.minAvailable` or `spec.maxUnavailable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetSpec {
    /// At least so many stay healthy.
    MinAvailable(Bound),
    /// At most so many may be unhealthy.
    MaxUnavailable(Bound),
    /// Neither field: the API accepts it, and it allows nothing, for ever.
    Neither,
}

/// `spec.unhealthyPodEvictionPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnhealthyPolicy {
    /// Pods that are not Ready may be evicted only while the budget has enough healthy ones. The default.
    IfHealthyBudget,
    /// Pods that are not Ready may always be evicted.
    AlwaysAllow,
}

/// One disruption budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Namespace and name.
    pub key: BudgetKey,
    /// Its UID.
    pub uid: Uid,
    /// What it asks for.
    pub spec: BudgetSpec,
    /// Which pods of its namespace it covers; `None` covers none (a null selector).
    pub selector: Option<Selector>,
    /// What holds for pods that are not Ready.
    pub unhealthy: UnhealthyPolicy,
    /// `status.expectedPods`.
    pub expected: u32,
    /// `status.desiredHealthy`.
    pub desired: u32,
    /// `status.currentHealthy`.
    pub healthy: u32,
    /// `status.disruptionsAllowed`.
    pub allowed: u32,
    /// Whether the controller has seen the current spec (`observedGeneration` = `generation`).
    pub observed: bool,
    /// The message of a `DisruptionAllowed` condition whose reason is `SyncFailed`: the controller cannot count.
    pub sync_failed: Option<Foreign>,
    /// Pods whose eviction was accepted but not yet seen (`status.disruptedPods`), by name.
    pub disrupted: Vec<Arc<str>>,
    /// The controller among its owner references: an operator that may move the budget by itself.
    pub owner: Option<Owner>,
    /// Its labels, which also tell operators.
    pub labels: Arc<super::Labels>,
}

/// Budgets by namespace and name, with the question that everybody asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Budgets(BTreeMap<Namespace, Vec<Budget>>);

impl Budgets {
    /// Sorts budgets by namespace and name.
    pub fn new(budgets: impl IntoIterator<Item = Budget>) -> Self {
        let mut map: BTreeMap<Namespace, Vec<Budget>> = BTreeMap::new();
        for budget in budgets {
            map.entry(budget.key.namespace.clone()).or_default().push(budget);
        }
        for budgets in map.values_mut() {
            budgets.sort_by(|a, b| a.key.cmp(&b.key));
        }
        Self(map)
    }

    /// The budgets that cover a pod, in order of their names.
    pub fn covering<'a>(&'a self, pod: &'a super::Pod) -> impl Iterator<Item = &'a Budget> + 'a {
        self.0.get(&pod.key.namespace).into_iter().flatten().filter(|budget| budget.covers(pod))
    }

    /// One budget.
    #[must_use]
    pub fn get(&self, key: &BudgetKey) -> Option<&Budget> {
        self.0.get(&key.namespace)?.iter().find(|budget| budget.key == *key)
    }

    /// All budgets in order.
    pub fn iter(&self) -> impl Iterator<Item = &Budget> {
        self.0.values().flatten()
    }

    /// Puts a budget in, in place of one of the same name.
    pub fn insert(&mut self, budget: Budget) {
        let budgets = self.0.entry(budget.key.namespace.clone()).or_default();
        match budgets.binary_search_by(|known| known.key.cmp(&budget.key)) {
            Ok(at) => budgets[at] = budget,
            Err(at) => budgets.insert(at, budget),
        }
    }

    /// Takes a budget out.
    pub fn remove(&mut self, key: &BudgetKey) {
        if let Some(budgets) = self.0.get_mut(&key.namespace) {
            budgets.retain(|budget| budget.key != *key);
        }
    }
}

impl Budget {
    /// Whether the budget covers a pod: same namespace, labels match. A null selector covers none, an empty one all.
    #[must_use]
    pub fn covers(&self, pod: &super::Pod) -> bool {
        self.key.namespace == pod.key.namespace
            && self.selector.as_ref().is_some_and(|selector| selector.matches(&pod.shape.labels))
    }
}
