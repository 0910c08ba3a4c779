//! `policy/v1.PodDisruptionBudget`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::meta::{Condition, Meta};
use super::misfit::Misfit;
use super::scalar::{IntOrString, Time};
use crate::model::{
    Bound, Budget, BudgetKey, BudgetSpec, Foreign, Namespace, Owner, PodName, Requirement, Selector, Test, Uid,
    UnhealthyPolicy,
};

/// `policy/v1.PodDisruptionBudget`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
pub(in super::super) struct PodDisruptionBudget {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Meta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<PodDisruptionBudgetSpec>,
    #[prost(message, optional, tag = "3")]
    status: Option<PodDisruptionBudgetStatus>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodDisruptionBudgetSpec {
    #[prost(message, optional, tag = "1")]
    min_available: Option<IntOrString>,
    #[prost(message, optional, tag = "2")]
    selector: Option<LabelSelector>,
    #[prost(message, optional, tag = "3")]
    max_unavailable: Option<IntOrString>,
    #[prost(string, tag = "4")]
    unhealthy_pod_eviction_policy: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodDisruptionBudgetStatus {
    #[prost(int64, tag = "1")]
    observed_generation: i64,
    #[prost(btree_map = "string, message", tag = "2")]
    disrupted_pods: BTreeMap<String, Time>,
    #[prost(int32, tag = "3")]
    disruptions_allowed: i32,
    #[prost(int32, tag = "4")]
    current_healthy: i32,
    #[prost(int32, tag = "5")]
    desired_healthy: i32,
    #[prost(int32, tag = "6")]
    expected_pods: i32,
    #[prost(message, repeated, tag = "7")]
    conditions: Vec<Condition>,
}

/// `metav1.LabelSelector`.
#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LabelSelector {
    #[prost(btree_map = "string, string", tag = "1")]
    match_labels: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "2")]
    match_expressions: Vec<LabelSelectorRequirement>,
}

#[derive(Clone, PartialEq, Eq, prost::Message, Deserialize)]
#[serde(default)]
struct LabelSelectorRequirement {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    operator: String,
    #[prost(string, repeated, tag = "3")]
    values: Vec<String>,
}

impl TryFrom<IntOrString> for Bound {
    type Error = Misfit;

    fn try_from(value: IntOrString) -> Result<Self, Misfit> {
        let unknown = |_| Misfit::Value { field: "spec.minAvailable or spec.maxUnavailable" };
        if value.kind == 0 {
            return u32::try_from(value.number).map(Bound::Count).map_err(|_| unknown(()));
        }
        let percent = value.text.strip_suffix('%').ok_or_else(|| unknown(()))?;
        percent.parse().map(Bound::Percent).map_err(|_| unknown(()))
    }
}

impl TryFrom<LabelSelector> for Selector {
    type Error = Misfit;

    fn try_from(selector: LabelSelector) -> Result<Self, Misfit> {
        let mut requirements = Vec::with_capacity(selector.match_labels.len() + selector.match_expressions.len());
        for (key, value) in &selector.match_labels {
            requirements.push(Requirement::new(key, Test::In([Arc::from(value.as_str())].into()))?);
        }
        for expression in selector.match_expressions {
            let values = expression.values.iter().map(|value| Arc::from(value.as_str())).collect();
            let test = match expression.operator.as_str() {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Absent,
                _ => return Err(Misfit::Value { field: "spec.selector.matchExpressions.operator" }),
            };
            requirements.push(Requirement::new(&expression.key, test)?);
        }
        Ok(Self::from_requirements(requirements))
    }
}

impl TryFrom<PodDisruptionBudget> for Budget {
    type Error = Misfit;

    fn try_from(budget: PodDisruptionBudget) -> Result<Self, Misfit> {
        let meta = budget.metadata.ok_or(Misfit::Missing("metadata"))?;
        let spec = budget.spec.unwrap_or_default();
        let status = budget.status.unwrap_or_default();
        // The API server never writes negative counts; a negative one cannot allow more than none.
        let count = |number: i32| u32::try_from(number).unwrap_or(0);
        let failed = status.conditions.iter().find(|condition| {
            condition.r#type == "DisruptionAllowed" && condition.status == "False" && condition.reason == "SyncFailed"
        });
        Ok(Self {
            key: BudgetKey { namespace: Namespace::new(&meta.namespace)?, name: PodName::new(&meta.name)? },
            uid: Uid::new(&meta.uid)?,
            spec: match (spec.min_available, spec.max_unavailable) {
                (Some(least), _) => BudgetSpec::MinAvailable(least.try_into()?),
                (None, Some(most)) => BudgetSpec::MaxUnavailable(most.try_into()?),
                (None, None) => BudgetSpec::Neither,
            },
            selector: spec.selector.map(Selector::try_from).transpose()?,
            unhealthy: match spec.unhealthy_pod_eviction_policy.as_str() {
                "AlwaysAllow" => UnhealthyPolicy::AlwaysAllow,
                // Policies of the future: clients are told to assume that unhealthy pods may not be evicted, and the
                // default is the policy that allows the least of those known.
                _ => UnhealthyPolicy::IfHealthyBudget,
            },
            expected: count(status.expected_pods),
            desired: count(status.desired_healthy),
            healthy: count(status.current_healthy),
            allowed: count(status.disruptions_allowed),
            observed: status.observed_generation >= meta.generation,
            sync_failed: failed.map(|condition| Foreign::new(&condition.message)),
            disrupted: status.disrupted_pods.into_keys().map(Arc::from).collect(),
            owner: meta.controller().map(Owner::try_from).transpose()?,
            labels: meta.shared_labels(),
        })
    }
}
