//! The rows of what is known of evictions, budgets and the scheduler's filters, and which of them decided an answer.
//!
//! Which row decides is worked out here from what the real control plane showed just before the request, in words of
//! its own and not by `haulout::rules`; and each row says what its answer looks like, so that a row which no longer
//! holds is found too.

use serde_json::Value;

use super::side::Answer;

/// Rows that decide at least [`LEAST`] scenarios each.
pub(super) const ROWS: &[&str] = &[
    "names in URL and body differ",
    "namespaces in URL and body differ",
    "dry runs of query and body differ",
    "the namespace is terminating",
    "Pending, Succeeded or Failed",
    "Pending, Succeeded or Failed under two budgets",
    "terminating already",
    "terminating already, shorter grace",
    "terminating already, longer grace",
    "no budget",
    "two budgets",
    "two budgets, dry run",
    "unready, AlwaysAllow",
    "unready, enough are healthy",
    "unready, not enough are healthy",
    "unready, nothing is healthy and the budget forbids nothing",
    "being processed",
    "never counted: an owner without a scale",
    "never counted: an owner of a kind that nobody knows",
    "too many disrupted",
    "exhausted",
    "exhausted, and the count failed later",
    "exhausted, although enough are healthy",
    "spent",
    "spent by a dry run in the query",
    "spent by a dry run in the body",
    "phase Unknown",
    "stale uid, Ready: the budget is burned",
    "stale resourceVersion, Ready: the budget is burned",
    "stale uid, unready",
    "stale resourceVersion, unready: not looked at",
    "stale uid, not running",
    "stale uid, no budget",
    "nothing expected: pods without a controller",
    "pods without a controller beside controlled ones",
    "neither minAvailable nor maxUnavailable",
    "an ended pod that is still Ready counts",
    "a percentage is rounded up",
    "an empty selector covers all",
    "a null selector covers none",
    "an unknown field without validation: evicted, with a warning",
    "an unknown field with strict validation",
    "many at once: as many pass as the budget allows",
    "an invalid budget is not accepted",
    "a negative allowance is not accepted",
    "one of two overlapping budgets goes",
    "filter: unschedulable",
    "filter: a pod that names its node is not scheduled",
    "filter: taint",
    "filter: node affinity or selector",
    "filter: host ports",
    "filter: resources",
    "filter: too many pods",
    "filter: volume node affinity",
    "filter: volume zone",
    "filter: volume of one pod only",
    "filter: volume limit",
    "filter: topology spread",
    "filter: topology spread, missing label",
    "filter: pod affinity",
    "filter: pod anti-affinity",
    "filter: anti-affinity of pods there",
    "filter: scheduling gates",
    "filter: a claim that is not there",
];

/// What is known and not played, and why.
pub(super) const NOT_PLAYED: &[(&str, &str)] = &[
    (
        "disruptionsAllowed below 0 (403)",
        "the API refuses to store such a status, which is what is played; no eviction can meet it",
    ),
    ("20 conflicts in a row (504)", "nobody can bring them about at will"),
    (
        "RBAC and admission policies (403, 422)",
        "they answer before the eviction is looked at, and the twin has neither",
    ),
    (
        "SyncFailed stays after its cause is gone",
        "the cause would have to go without an event of a pod or the budget, as when a custom resource gains a scale; \
         the twin has no custom resources",
    ),
    ("the budget not chosen among two that overlap", "which one is counted is chance; what is played is how it ends"),
    ("node down, zone outage", "about the node lifecycle controller, and a minute each; other tests have them"),
    ("kubectl drain on a budget being processed", "about kubectl"),
    ("privileged pods, webhooks on DELETE, DaemonSet pods that come back", "no answer of the eviction API"),
    ("the filters NodeDeclaredFeatures and DynamicResources", "haulout does not judge them"),
    ("the text of scheduler messages about preemption", "no pod in the scenarios has a priority"),
];

/// How many scenarios each row must decide.
pub(super) const LEAST: usize = 10;

/// What the real control plane showed of the pod just before an eviction.
pub(super) struct Facts {
    pub(super) pod: Value,
    /// All pods of the namespace.
    pub(super) pods: Vec<Value>,
    /// The budgets whose selector covers it.
    pub(super) covers: Vec<Value>,
    /// Whether its namespace is going.
    pub(super) leaving: bool,
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, path: &str) -> i64 {
    value.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

pub(super) fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"].as_array().is_some_and(|conditions| {
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    })
}

/// Whether a budget covers a pod; the scenarios use `matchLabels` alone, the empty selector and null.
pub(super) fn covers(budget: &Value, pod: &Value) -> bool {
    let selector = &budget["spec"]["selector"];
    selector.is_object()
        && selector["matchLabels"]
            .as_object()
            .is_none_or(|wanted| wanted.iter().all(|(key, value)| pod["metadata"]["labels"].get(key) == Some(value)))
}

/// What a row expects of an answer: the code, and `Retry-After`.
type Expected = (u16, Option<&'static str>);

/// The rows that decided an eviction, or why its answer is not the row's.
pub(super) fn decided(facts: &Facts, query: &str, body: &Value, answer: &Answer) -> Result<Vec<&'static str>, String> {
    let mut rows = Vec::new();
    let expected = row_of(facts, query, body, &mut rows);
    let got = (answer.code, answer.retry_after.as_deref());
    if got == expected {
        return Ok(rows);
    }
    Err(format!("the row {rows:?} expects {expected:?} and the real control plane answered {got:?}: {}", answer.body))
}

fn row_of(facts: &Facts, query: &str, body: &Value, rows: &mut Vec<&'static str>) -> Expected {
    let pod = &facts.pod;
    let options = &body["deleteOptions"];
    let dry_query = query.contains("dryRun");
    let dry_body = options["dryRun"].as_array().is_some_and(|list| !list.is_empty());
    if query.contains("Strict") && body.get("delete_options").is_some() {
        rows.push("an unknown field with strict validation");
        return (400, None);
    }
    if body.pointer("/metadata/namespace").is_some_and(|space| *space != pod["metadata"]["namespace"]) {
        rows.push("namespaces in URL and body differ");
        return (400, None);
    }
    if body["metadata"]["name"] != pod["metadata"]["name"] {
        rows.push("names in URL and body differ");
        return (400, None);
    }
    if dry_query && dry_body && options["dryRun"] != serde_json::json!(["All"]) {
        rows.push("dry runs of query and body differ");
        return (500, None);
    }
    if facts.leaving {
        rows.push("the namespace is terminating");
        return (403, None);
    }
    if body.get("delete_options").is_some() {
        rows.push("an unknown field without validation: evicted, with a warning");
    }
    let asked = |field: &str, path: &str| {
        options["preconditions"].get(field).and_then(Value::as_str).map(|sent| sent == text(pod, path))
    };
    let stale_uid = asked("uid", "/metadata/uid") == Some(false);
    let version = asked("resourceVersion", "/metadata/resourceVersion");
    let stale = stale_uid || version == Some(false);
    let phase = text(pod, "/status/phase");
    let terminating = pod["metadata"]["deletionTimestamp"].is_string();
    if terminating || matches!(phase, "Pending" | "Succeeded" | "Failed") {
        if stale_uid {
            rows.push("stale uid, not running");
        }
        if stale {
            return (409, None);
        }
        if terminating {
            rows.push("terminating already");
            let now = number(pod, "/metadata/deletionGracePeriodSeconds");
            match options["gracePeriodSeconds"].as_i64() {
                Some(sent) if sent < now => rows.push("terminating already, shorter grace"),
                Some(sent) if sent > now => rows.push("terminating already, longer grace"),
                _ => {}
            }
        } else {
            rows.push("Pending, Succeeded or Failed");
            if facts.covers.len() > 1 {
                rows.push("Pending, Succeeded or Failed under two budgets");
            }
        }
        return (201, None);
    }
    let budget = match facts.covers.as_slice() {
        [] => {
            if stale {
                rows.push(if stale_uid { "stale uid, no budget" } else { "no budget" });
                return (409, None);
            }
            rows.push("no budget");
            return (201, None);
        }
        [budget] => budget,
        _ => {
            rows.push(if dry_query || dry_body { "two budgets, dry run" } else { "two budgets" });
            return (500, None);
        }
    };
    if phase == "Unknown" {
        rows.push("phase Unknown");
    }
    of_budget(facts, budget, rows);
    let (healthy, desired) = (number(budget, "/status/currentHealthy"), number(budget, "/status/desiredHealthy"));
    if !is_ready(pod) {
        let always = text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow";
        if always || healthy >= desired && desired > 0 {
            if stale_uid {
                rows.push("stale uid, unready");
                return if version.is_some() { (409, None) } else { (429, Some("10")) };
            }
            if stale {
                rows.push("stale resourceVersion, unready: not looked at");
            }
            rows.push(if always { "unready, AlwaysAllow" } else { "unready, enough are healthy" });
            return (201, None);
        }
        rows.push("unready, not enough are healthy");
        if healthy == 0 && desired == 0 {
            rows.push("unready, nothing is healthy and the budget forbids nothing");
        }
    }
    let condition = &budget["status"]["conditions"][0];
    let failed = text(condition, "/reason") == "SyncFailed";
    if number(budget, "/status/observedGeneration") < number(budget, "/metadata/generation") {
        rows.push("being processed");
        if failed {
            let unknown = text(condition, "/message").contains("no matches for kind");
            rows.push(if unknown {
                "never counted: an owner of a kind that nobody knows"
            } else {
                "never counted: an owner without a scale"
            });
        }
        return (429, Some("10"));
    }
    if budget["status"]["disruptedPods"].as_object().is_some_and(|pods| pods.len() > 2000) {
        rows.push("too many disrupted");
        return (403, None);
    }
    if number(budget, "/status/disruptionsAllowed") == 0 {
        rows.push("exhausted");
        if failed {
            rows.push("exhausted, and the count failed later");
        } else if healthy > desired {
            rows.push("exhausted, although enough are healthy");
        }
        return (429, None);
    }
    if dry_query {
        rows.push("spent by a dry run in the query");
    }
    if dry_body {
        rows.push("spent by a dry run in the body");
    }
    if stale {
        let dry = dry_query || dry_body;
        if !dry {
            rows.push(if stale_uid {
                "stale uid, Ready: the budget is burned"
            } else {
                "stale resourceVersion, Ready: the budget is burned"
            });
        }
        return (409, None);
    }
    rows.push("spent");
    (201, None)
}

/// Rows that are about how the budget was counted.
fn of_budget(facts: &Facts, budget: &Value, rows: &mut Vec<&'static str>) {
    let covered: Vec<&Value> = facts.pods.iter().filter(|pod| covers(budget, pod)).collect();
    let spec = &budget["spec"];
    let expected = number(budget, "/status/expectedPods");
    let bare = covered.iter().filter(|pod| pod["metadata"]["ownerReferences"].is_null()).count();
    let percentage = |field: &str| spec[field].as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok());
    let percent = percentage("minAvailable").or_else(|| percentage("maxUnavailable"));
    let by_scale = percent.is_some() || !spec["maxUnavailable"].is_null();
    if spec["minAvailable"].is_null() && spec["maxUnavailable"].is_null() {
        rows.push("neither minAvailable nor maxUnavailable");
    } else if by_scale && expected == 0 && bare == covered.len() {
        rows.push("nothing expected: pods without a controller");
    } else if by_scale && bare > 0 && bare < covered.len() {
        rows.push("pods without a controller beside controlled ones");
    }
    if percent.is_some_and(|percent| expected * percent % 100 != 0) {
        rows.push("a percentage is rounded up");
    }
    let ended = covered.iter().filter(|pod| text(pod, "/status/phase") == "Succeeded" && is_ready(pod)).count();
    if ended > 0 && number(budget, "/status/currentHealthy") > 0 {
        rows.push("an ended pod that is still Ready counts");
    }
    if spec["selector"].as_object().is_some_and(serde_json::Map::is_empty) {
        rows.push("an empty selector covers all");
    }
}

/// The filter that a reason of the scheduler's message belongs to.
pub(super) fn filter_of(reason: &str) -> Option<&'static str> {
    let known = [
        ("were unschedulable", "filter: unschedulable"),
        ("untolerated taint", "filter: taint"),
        ("didn't match Pod's node affinity/selector", "filter: node affinity or selector"),
        ("free ports", "filter: host ports"),
        ("Insufficient", "filter: resources"),
        ("Too many pods", "filter: too many pods"),
        ("PersistentVolume's node affinity", "filter: volume node affinity"),
        ("no available volume zone", "filter: volume zone"),
        ("ReadWriteOncePod", "filter: volume of one pod only"),
        ("max volume count", "filter: volume limit"),
        ("missing required label", "filter: topology spread, missing label"),
        ("topology spread constraints", "filter: topology spread"),
        ("existing pods anti-affinity", "filter: anti-affinity of pods there"),
        ("pod anti-affinity rules", "filter: pod anti-affinity"),
        ("pod affinity rules", "filter: pod affinity"),
        ("scheduling gates", "filter: scheduling gates"),
        ("persistentvolumeclaim", "filter: a claim that is not there"),
    ];
    known.iter().find(|(part, _)| reason.contains(part)).map(|(_, filter)| *filter)
}
