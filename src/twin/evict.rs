//! The eviction subresource.

use super::api::broken_precondition;
use super::failure::Failure;
use super::json::{Value, json};
use super::kind::{Key, Kind};
use super::object::{Look, map, place, set, stamp};
use super::request::{Request, Response, Validation};
use super::view;
use super::world::World;
use crate::model::{Budget, BudgetKey};
use crate::rules::eviction::{Denied, Passed, Subject, Verdict, covers, decide};

/// The fields of an `Eviction`; `/` parts nested ones.
const FIELDS: &[&str] = &["apiVersion", "kind", "metadata", "deleteOptions"];
const OPTIONS: &[&str] = &[
    "apiVersion",
    "kind",
    "gracePeriodSeconds",
    "preconditions",
    "orphanDependents",
    "propagationPolicy",
    "dryRun",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
];
const PRECONDITIONS: &[&str] = &["uid", "resourceVersion"];

impl World {
    /// Answers an eviction. A dry run comes here with a copy of the world.
    pub(super) fn evict(&mut self, request: &Request, key: &Key, body: &Value) -> Result<Response, Failure> {
        let unknown = unknown_fields(body);
        let mut warnings = Vec::new();
        match request.options.validation {
            Validation::Strict if !unknown.is_empty() => {
                let list: Vec<String> = unknown.iter().map(|field| format!("unknown field \"{field}\"")).collect();
                return Err(Failure::bad_request(format!(
                    "Eviction in version \"v1\" cannot be handled as a Eviction: strict decoding error: {}",
                    list.join(", ")
                )));
            }
            Validation::Warn => {
                warnings = unknown.iter().map(|field| format!("unknown field \"{field}\"")).collect();
            }
            Validation::Strict | Validation::Ignore => {}
        }
        if !body.name().is_empty() && body.name() != key.name {
            return Err(Failure::bad_request("name in URL does not match name in Eviction object"));
        }
        if !body.namespace().is_empty() && body.namespace() != key.namespace {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let home = Key::cluster(Kind::Namespace, &key.namespace);
        if self.object(&home).is_some_and(|namespace| namespace.is_terminating()) {
            return Err(Failure::namespace_terminating(Kind::Pod, &key.name, &key.namespace));
        }
        let dry_runs: Vec<&str> = body.items("/deleteOptions/dryRun").iter().filter_map(Value::as_str).collect();
        let dry = !dry_runs.is_empty();
        if dry && request.options.dry_run && dry_runs != ["All"] {
            return Err(Failure::different_dry_runs(&["All"], &dry_runs));
        }
        let decided = if dry && !request.options.dry_run {
            // Asked for in the body alone: the same as in the query.
            let mut copy = self.clone();
            copy.decide_eviction(key, body)
        } else {
            self.decide_eviction(key, body)
        };
        // Refusals carry the warnings too.
        Ok(Response { warnings, ..decided.unwrap_or_else(Response::from) })
    }

    fn decide_eviction(&mut self, key: &Key, body: &Value) -> Result<Response, Failure> {
        let pod = self.found(key)?;
        let preconditions = body.at("/deleteOptions/preconditions");
        let sent = |field: &str, current: &str| {
            preconditions.get(field).and_then(Value::as_str).filter(|sent| !sent.is_empty()).map(|sent| sent == current)
        };
        let subject = Subject {
            phase: view::phase(&pod),
            ready: pod.is_true("Ready"),
            terminating: pod.is_terminating(),
            uid: sent("uid", pod.uid()),
            resource_version: sent("resourceVersion", pod.text("/metadata/resourceVersion")),
        };
        let budgets: Vec<Budget> = self.budgets_over(key).cloned().collect();
        let grace = body.number("/deleteOptions/gracePeriodSeconds");
        match decide(&subject, &covers(&budgets)) {
            Verdict::Evicted(passed) => {
                if let (Passed::Spent, Some(budget)) = (passed, budgets.first()) {
                    self.spend(&budget.key, &key.name);
                }
                self.evict_now(key, grace);
                let body = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
                });
                Ok(Response::new(201, body))
            }
            Verdict::Refused(denied) => {
                if let (Denied::Conflict { burns: true, .. }, Some(budget)) = (&denied, budgets.first()) {
                    self.spend(&budget.key, &key.name);
                }
                let why = broken_precondition(preconditions, &pod).unwrap_or_default();
                Err(Failure::eviction(&denied.answer(&key.name, &why)))
            }
        }
    }

    /// Takes one disruption off a budget, before the pod is deleted.
    fn spend(&mut self, budget: &BudgetKey, pod: &str) {
        let key = Key::new(Kind::PodDisruptionBudget, budget.namespace.as_str(), budget.name.as_str());
        let now = stamp(self.now);
        self.edit(&key, |budget| {
            let allowed = budget.number("/status/disruptionsAllowed").unwrap_or(0);
            set(budget, "/status/disruptionsAllowed", (allowed - 1).max(0));
            map(place(budget, "/status/disruptedPods")).insert(pod.to_owned(), json!(now));
        });
    }
}

/// Fields of the body that an Eviction does not have.
fn unknown_fields(body: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    for (path, prefix, known) in [
        ("", "", FIELDS),
        ("/deleteOptions", "deleteOptions.", OPTIONS),
        ("/deleteOptions/preconditions", "deleteOptions.preconditions.", PRECONDITIONS),
    ] {
        for (name, _) in body.entries(path) {
            if !known.contains(&name.as_str()) {
                unknown.push(format!("{prefix}{name}"));
            }
        }
    }
    unknown
}
