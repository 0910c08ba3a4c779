//! Scenarios about evictions and budgets. No node takes part: pods are never scheduled, and the test writes the status
//! that a kubelet would write.

use serde_json::{Value, json};

use super::dice::Dice;
use super::scenario::{Step, bare, budget, workload};

/// What a family makes of chance, in a namespace: the steps.
pub(super) type Make = fn(&mut Dice, &str) -> Vec<Step>;

/// The families, with how many scenarios of each are played.
pub(super) const FAMILIES: &[(&str, u32, Make)] = &[
    ("budgets", 70, budgets),
    ("bare", 30, bare_pods),
    ("mixed", 12, mixed),
    ("unready", 36, unready),
    ("feasible", 40, feasible),
    ("not-running", 20, not_running),
    ("terminating", 20, terminating),
    ("two-budgets", 12, two_budgets),
    ("unscalable", 24, unscalable),
    ("fails-later", 24, fails_later),
    ("too-many", 10, too_many),
    ("negative", 10, negative),
    ("wrong-request", 40, wrong_request),
    ("stale-uid", 60, stale_uid),
    ("dry-run", 14, dry_run),
    ("unknown-phase", 10, unknown_phase),
    ("ended-ready", 10, ended_ready),
    ("selectors", 20, selectors),
    ("invalid", 10, invalid),
    ("leaving", 10, leaving),
    ("rush", 12, rush),
    ("overlap", 10, overlap),
];

const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "ReplicaSet"];

fn names(alias: &str, count: u32) -> Vec<String> {
    (0..count).map(|number| format!("{alias}-{number}")).collect()
}

fn status(pod: &str, ready: bool) -> Step {
    Step::Status { pod: pod.to_owned(), phase: "Running", ready }
}

fn evict(pod: &str) -> Step {
    Step::Evict { pod: pod.to_owned(), query: "", body: Value::Null }
}

fn evict_with(pod: &str, query: &'static str, body: Value) -> Step {
    Step::Evict { pod: pod.to_owned(), query, body }
}

/// A workload of so many pods, the first of which are Ready.
fn pods(space: &str, kind: &str, count: u32, ready: u32) -> Vec<Step> {
    let mut steps = vec![
        Step::Make(workload(space, kind, "web", "web", count)),
        Step::Name { selector: "web".to_owned(), alias: "web", count: count as usize },
    ];
    steps.extend(names("web", count).iter().enumerate().map(|(index, pod)| status(pod, (index as u32) < ready)));
    if kind == "StatefulSet" {
        // Without a node a pod is gone at once, and the controller may never see it go before its namesake is there.
        // Held back, it goes as pods with a grace do.
        steps.extend(names("web", count).into_iter().map(|pod| Step::Change {
            what: format!("pods/{pod}"),
            part: "",
            body: json!({ "metadata": { "finalizers": ["example.com/hold"] } }),
        }));
    }
    steps
}

fn bare_running(space: &str, count: u32, ready: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    for (index, name) in names("bare", count).iter().enumerate() {
        steps.push(Step::Make(bare(space, name, "web")));
        steps.push(status(name, (index as u32) < ready));
    }
    steps
}

/// The spec of a budget over the pods of `web`.
fn spec(field: &str, bound: Value, policy: &str) -> Value {
    let mut spec = json!({ "selector": { "matchLabels": { "app": "web" } } });
    if !field.is_empty() {
        spec[field] = bound;
    }
    if !policy.is_empty() {
        spec["unhealthyPodEvictionPolicy"] = policy.into();
    }
    spec
}

fn any_policy(dice: &mut Dice) -> &'static str {
    dice.of(&["", "IfHealthyBudget", "AlwaysAllow"])
}

fn any_bound(dice: &mut Dice, count: u32) -> (&'static str, Value) {
    let field = dice.of(&["minAvailable", "maxUnavailable"]);
    let bound = if dice.chance(50) {
        json!(dice.between(0, count + 1))
    } else {
        json!(format!("{}%", dice.of(&[0, 1, 10, 20, 25, 33, 34, 50, 51, 66, 67, 75, 80, 90, 99, 100])))
    };
    (field, bound)
}

fn over_web(space: &str, spec: Value) -> Step {
    Step::Make(budget(space, "web", spec))
}

fn drain(pods: Vec<String>) -> Step {
    Step::Drain { pods }
}

/// Any budget over any workload.
fn budgets(dice: &mut Dice, space: &str) -> Vec<Step> {
    let count = dice.between(1, 6);
    let ready = if dice.chance(70) { count } else { dice.between(0, count) };
    let kind = dice.of(&KINDS);
    let mut steps = pods(space, kind, count, ready);
    let (field, bound) = if dice.chance(4) { ("", Value::Null) } else { any_bound(dice, count) };
    let policy = any_policy(dice);
    steps.push(over_web(space, spec(field, bound, policy)));
    let here = dice.between(1, count.min(3));
    steps.push(drain(names("web", here)));
    if dice.chance(30) {
        // The budget is changed, and what was true of it is not any more.
        let (field, bound) = any_bound(dice, count);
        let mut body = json!({ "spec": { "minAvailable": null, "maxUnavailable": null } });
        body["spec"][field] = bound;
        steps.push(Step::Change { what: "poddisruptionbudgets/web".to_owned(), part: "", body });
        steps.push(Step::Settle);
    } else if dice.chance(30) && kind != "StatefulSet" {
        let plural = format!("{}s", kind.to_lowercase());
        let body = json!({ "spec": { "replicas": count + 1 } });
        steps.push(Step::Change { what: format!("{plural}/web"), part: "", body });
        steps.push(Step::Settle);
    }
    steps
}

/// Pods that nobody would make again.
fn bare_pods(dice: &mut Dice, space: &str) -> Vec<Step> {
    let count = dice.between(1, 4);
    let ready = if dice.chance(80) { count } else { dice.between(1, count) };
    let mut steps = bare_running(space, count, ready);
    let (field, bound) = match dice.turn(5) {
        0 | 1 => ("", ""),
        2 | 3 => dice.of(&[
            ("maxUnavailable", "1"),
            ("maxUnavailable", "50%"),
            ("minAvailable", "50%"),
            ("minAvailable", "1%"),
        ]),
        _ => ("minAvailable", "0"),
    };
    let bound = match bound.parse::<u32>() {
        Ok(0) => json!(dice.between(0, count)),
        Ok(number) => json!(number),
        Err(_) => json!(bound),
    };
    steps.push(over_web(space, spec(field, bound, any_policy(dice))));
    steps.push(drain(names("bare", dice.between(1, count))));
    steps
}

/// Pods with and without a controller under one budget.
fn mixed(dice: &mut Dice, space: &str) -> Vec<Step> {
    let (count, more) = (dice.between(1, 3), dice.between(1, 3));
    let mut steps = pods(space, dice.of(&["Deployment", "StatefulSet"]), count, count);
    // A ReplicaSet would adopt them, and then have too many; others go by the owner alone.
    for (index, name) in names("bare", more).iter().enumerate() {
        let mut pod = bare(space, name, "web");
        pod["metadata"]["labels"]["pod-template-hash"] = "none".into();
        steps.push(Step::Make(pod));
        steps.push(status(name, index == 0 || dice.chance(80)));
    }
    let field = dice.of(&["maxUnavailable", "minAvailable"]);
    let bound = if field == "maxUnavailable" && dice.chance(50) {
        json!(dice.between(0, 2))
    } else {
        json!(format!("{}%", dice.of(&[10, 50, 90, 100])))
    };
    steps.push(over_web(space, spec(field, bound, "")));
    steps.push(drain(vec!["bare-0".to_owned(), "web-0".to_owned()]));
    steps
}

/// Evictions of pods that are not Ready.
fn unready(dice: &mut Dice, space: &str) -> Vec<Step> {
    let count = dice.between(2, 5);
    let if_healthy = dice.of(&["", "IfHealthyBudget"]);
    let (ready, (field, bound), policy) = match dice.turn(3) {
        // Nothing is healthy, and the budget forbids nothing.
        0 => {
            let bounds = [("minAvailable", json!(0)), ("minAvailable", json!("0%")), ("maxUnavailable", json!("100%"))];
            let bound = bounds[dice.between(0, 2) as usize].clone();
            (0, bound, if_healthy)
        }
        // Enough are.
        1 => (count - 1, ("minAvailable", json!(dice.between(1, count - 1))), if_healthy),
        _ => {
            let ready = dice.between(0, count - 1);
            (ready, ("minAvailable", json!(dice.between(0, count))), any_policy(dice))
        }
    };
    let mut steps = pods(space, dice.of(&KINDS), count, ready);
    steps.push(over_web(space, spec(field, bound, policy)));
    steps.push(drain(vec![format!("web-{}", count - 1)]));
    steps
}

/// Budgets with room to spare, or none: what most drains meet.
fn feasible(dice: &mut Dice, space: &str) -> Vec<Step> {
    let count = dice.between(3, 6);
    let mut steps = pods(space, dice.of(&KINDS), count, count);
    match dice.between(0, 3) {
        0 => {}
        1 => steps.push(over_web(space, spec("minAvailable", json!(dice.between(0, count - 3)), any_policy(dice)))),
        2 => steps.push(over_web(space, spec("maxUnavailable", json!(dice.between(3, count)), any_policy(dice)))),
        _ => steps.push(over_web(space, spec("maxUnavailable", json!("100%"), any_policy(dice)))),
    }
    steps.push(drain(names("web", dice.between(1, 2))));
    steps
}

/// Pods that have not begun or have ended, under a budget that allows nothing, or two.
fn not_running(dice: &mut Dice, space: &str) -> Vec<Step> {
    let phase = dice.of(&["Pending", "Succeeded", "Failed"]);
    let mut steps = vec![
        Step::Make(bare(space, "subject", "web")),
        Step::Status { pod: "subject".to_owned(), phase, ready: dice.chance(50) },
        Step::Make(bare(space, "other", "web")),
        status("other", true),
        over_web(space, spec("maxUnavailable", json!(0), "")),
    ];
    let two = dice.chance(60);
    if two {
        steps.push(Step::Make(budget(space, "second", spec("minAvailable", json!(1), ""))));
    } else {
        steps.push(Step::Settle);
    }
    steps.push(if two { evict("subject") } else { drain(vec!["subject".to_owned()]) });
    steps
}

/// Pods that are going already.
fn terminating(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut pod = bare(space, "subject", "web");
    pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
    // Only a pod that has a node has a grace to wait for.
    let node = format!("{space}-a");
    pod["spec"]["nodeName"] = node.as_str().into();
    pod["spec"]["terminationGracePeriodSeconds"] = 3600.into();
    let mut steps = vec![
        Step::Make(super::placements::node(&node, &json!({}), &json!({}))),
        Step::Make(pod),
        status("subject", true),
        over_web(space, spec("maxUnavailable", json!(0), "")),
        Step::Delete { what: "pods/subject".to_owned(), body: json!({ "gracePeriodSeconds": 1800 }) },
    ];
    let grace = dice.of(&[None, Some(60), Some(900), Some(1800), Some(3600), Some(7200)]);
    let body = grace.map_or(Value::Null, |grace| json!({ "deleteOptions": { "gracePeriodSeconds": grace } }));
    steps.push(evict_with("subject", "", body));
    let again = if dice.chance(50) { 30 } else { 3000 };
    steps.push(evict_with("subject", "", json!({ "deleteOptions": { "gracePeriodSeconds": again } })));
    steps.push(Step::Same { what: "pods/subject".to_owned(), at: "/metadata/deletionGracePeriodSeconds" });
    steps.push(Step::Change {
        what: "pods/subject".to_owned(),
        part: "",
        body: json!({ "metadata": { "finalizers": null } }),
    });
    steps
}

/// More than one budget over a pod.
fn two_budgets(dice: &mut Dice, space: &str) -> Vec<Step> {
    let count = dice.between(2, 4);
    let mut steps = pods(space, dice.of(&KINDS), count, if dice.chance(80) { count } else { 1 });
    steps.push(over_web(space, spec("minAvailable", json!(dice.between(0, 2)), any_policy(dice))));
    let everything = json!({ "minAvailable": 0, "selector": {} });
    steps.push(Step::Make(budget(space, "everything", everything)));
    if dice.chance(60) {
        steps.push(evict_with("web-0", "?dryRun=All", Value::Null));
    } else {
        steps.push(evict_with("web-0", "", json!({ "deleteOptions": { "dryRun": ["All"] } })));
    }
    steps.push(Step::DrainUnsettled { pods: vec!["web-0".to_owned()] });
    steps
}

const OWNERS: [(&str, &str, &str); 3] =
    [("v1", "ConfigMap", "configmaps"), ("v1", "Service", "services"), ("coordination.k8s.io/v1", "Lease", "leases")];

/// Pods of an owner whose scale nobody can tell.
fn unscalable(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let count = dice.between(1, 3);
    if dice.turn(2) == 0 {
        for (index, name) in names("pod", count).iter().enumerate() {
            let mut pod = bare(space, name, "web");
            pod["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "controller": true,
                "uid": format!("00000000-0000-4000-8000-{:012}", 7),
            }]);
            steps.push(Step::Make(pod));
            steps.push(status(name, index == 0 || dice.chance(80)));
        }
    } else if dice.chance(40) {
        steps.push(Step::Make(workload(space, "Job", "batch", "web", count)));
        steps.push(Step::Name { selector: "web".to_owned(), alias: "pod", count: count as usize });
        steps.extend(names("pod", count).iter().map(|name| status(name, true)));
    } else {
        let (api, kind, plural) = dice.of(&OWNERS);
        steps.push(Step::Make(owner(space, api, kind)));
        for name in names("pod", count) {
            steps.push(Step::Make(owned(space, &name, api, kind, plural)));
            steps.push(status(&name, true));
        }
    }
    let (field, bound) = dice.of(&[
        ("maxUnavailable", "1"),
        ("maxUnavailable", "100%"),
        ("minAvailable", "50%"),
        ("minAvailable", "1%"),
        ("maxUnavailable", "0"),
    ]);
    let bound = bound.parse::<u32>().map_or_else(|_| json!(bound), |number| json!(number));
    steps.push(over_web(space, spec(field, bound, "")));
    steps.push(drain(names("pod", 1)));
    steps
}

fn owner(space: &str, api: &str, kind: &str) -> Value {
    let mut object = json!({ "apiVersion": api, "kind": kind, "metadata": { "name": "owner", "namespace": space } });
    if kind == "Service" {
        object["spec"] = json!({ "clusterIP": "None", "selector": { "none": "none" } });
    }
    object
}

fn owned(space: &str, name: &str, api: &str, kind: &str, plural: &str) -> Value {
    let mut pod = bare(space, name, "web");
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": api, "kind": kind, "name": "owner", "controller": true, "uid": format!("@uid:{plural}/owner"),
    }]);
    pod
}

/// A budget that was counted once and cannot be any more, because another pod has come.
fn fails_later(dice: &mut Dice, space: &str) -> Vec<Step> {
    let count = dice.between(2, 4);
    let mut steps = pods(space, dice.of(&["Deployment", "StatefulSet"]), count, count);
    steps.push(over_web(space, spec("maxUnavailable", json!(dice.between(1, 2)), "")));
    steps.push(Step::Settle);
    let (api, kind, plural) = dice.of(&OWNERS);
    steps.push(Step::Make(owner(space, api, kind)));
    steps.push(Step::Make(owned(space, "stranger", api, kind, plural)));
    steps.push(Step::Settle);
    if dice.turn(2) == 0 {
        steps.push(drain(vec!["web-0".to_owned()]));
    } else {
        // And one that was changed since it was counted last: it is being processed, for as long as the count fails.
        let body = json!({ "spec": { "maxUnavailable": 2 + count } });
        steps.push(Step::Change { what: "poddisruptionbudgets/web".to_owned(), part: "", body });
        steps.push(drain(vec!["web-0".to_owned()]));
    }
    steps.push(Step::Delete { what: "pods/stranger".to_owned(), body: json!({ "gracePeriodSeconds": 0 }) });
    steps.push(drain(vec!["web-1".to_owned()]));
    steps
}

/// A budget whose evictions were never confirmed. Only one that cannot be counted keeps such a list.
fn too_many(dice: &mut Dice, space: &str) -> Vec<Step> {
    let (api, kind, plural) = dice.of(&OWNERS);
    let mut steps = vec![Step::Make(owner(space, api, kind))];
    steps.push(Step::Make(owned(space, "pod-0", api, kind, plural)));
    steps.push(status("pod-0", true));
    steps.push(over_web(space, spec("maxUnavailable", json!(1), "")));
    steps.push(Step::Settle);
    let many = dice.between(2001, 2010);
    let disrupted: serde_json::Map<String, Value> =
        (0..many).map(|number| (format!("gone-{number}"), json!("2026-01-01T00:00:00Z"))).collect();
    let body = json!({ "status": {
        "observedGeneration": 1, "disruptedPods": disrupted, "currentHealthy": 1, "desiredHealthy": 0,
        "expectedPods": 1, "disruptionsAllowed": 0,
    } });
    steps.push(Step::Change { what: "poddisruptionbudgets/web".to_owned(), part: "/status", body });
    steps.push(Step::Settle);
    steps.push(evict("pod-0"));
    steps
}

/// A budget that allows less than nothing cannot be made.
fn negative(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut steps = pods(space, "ReplicaSet", 1, 1);
    steps.push(over_web(space, spec("maxUnavailable", json!(1), "")));
    steps.push(Step::Settle);
    let body = json!({ "status": { "disruptionsAllowed": -i64::from(dice.between(1, 9)) } });
    steps.push(Step::Change { what: "poddisruptionbudgets/web".to_owned(), part: "/status", body });
    steps.push(drain(names("web", 1)));
    steps
}

/// Requests that are wrong in themselves.
fn wrong_request(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut steps = pods(space, dice.of(&KINDS), 2, 2);
    if dice.chance(70) {
        steps.push(over_web(space, spec("minAvailable", json!(dice.between(0, 2)), "")));
    }
    steps.push(Step::Settle);
    steps.push(match dice.turn(4) {
        0 => evict_with("web-0", "", json!({ "metadata": { "name": "another" } })),
        1 => evict_with("web-0", "", json!({ "metadata": { "namespace": "another" } })),
        2 => evict_with("web-0", "?dryRun=All", json!({ "deleteOptions": { "dryRun": ["All", "All"] } })),
        _ => evict_with("web-0", "?fieldValidation=Strict", json!({ "delete_options": { "dryRun": ["All"] } })),
    });
    if dice.chance(45) {
        steps.push(evict_with("web-0", "", json!({ "delete_options": { "dryRun": ["All"] } })));
    }
    steps.push(Step::Settle);
    steps
}

/// Preconditions that do not hold.
fn stale_uid(dice: &mut Dice, space: &str) -> Vec<Step> {
    let uid = json!({ "deleteOptions": { "preconditions": { "uid": "00000000-0000-4000-8000-000000000000" } } });
    let version = json!({ "deleteOptions": { "preconditions": { "resourceVersion": "1" } } });
    let body = if dice.turn(2) == 0 { uid.clone() } else { version };
    match dice.turn(6) {
        // Ready, under a budget with room.
        0 | 1 => {
            let mut steps = pods(space, dice.of(&KINDS), 3, 3);
            steps.push(over_web(space, spec("maxUnavailable", json!(dice.between(1, 2)), "")));
            steps.push(Step::Settle);
            if dice.chance(30) {
                steps.push(evict_with("web-0", "?dryRun=All", body.clone()));
                steps.push(Step::Settle);
            }
            steps.push(evict_with("web-0", "", body));
            steps.push(Step::Settle);
            steps.push(evict("web-1"));
            steps.push(Step::Settle);
            steps
        }
        // Unready.
        2 | 3 => {
            let mut steps = pods(space, dice.of(&KINDS), 3, 2);
            steps.push(over_web(space, spec("minAvailable", json!(dice.between(1, 2)), dice.of(&["", "AlwaysAllow"]))));
            steps.push(Step::Settle);
            steps.push(evict_with("web-2", "", body));
            steps.push(Step::Settle);
            steps
        }
        4 => {
            let mut steps = pods(space, "ReplicaSet", 1, 1);
            steps.push(evict_with("web-0", "", uid));
            steps
        }
        // Not running: the server tries for ten seconds.
        _ => {
            let phase = dice.of(&["Pending", "Succeeded", "Failed"]);
            vec![
                Step::Make(bare(space, "subject", "web")),
                Step::Status { pod: "subject".to_owned(), phase, ready: false },
                evict_with("subject", "", uid),
            ]
        }
    }
}

/// Evictions that change nothing.
fn dry_run(dice: &mut Dice, space: &str) -> Vec<Step> {
    let count = dice.between(2, 4);
    let mut steps = pods(space, dice.of(&KINDS), count, count);
    steps.push(over_web(space, spec("maxUnavailable", json!(dice.between(1, 2)), "")));
    steps.push(Step::Settle);
    let inside = json!({ "deleteOptions": { "dryRun": ["All"] } });
    for pod in names("web", 2) {
        steps.push(match dice.between(0, 2) {
            0 => evict_with(&pod, "?dryRun=All", Value::Null),
            1 => evict_with(&pod, "", inside.clone()),
            _ => evict_with(&pod, "?dryRun=All", inside.clone()),
        });
        steps.push(Step::Settle);
    }
    steps.push(drain(names("web", 1)));
    steps
}

/// A pod of which nobody can tell how it is.
fn unknown_phase(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut steps = pods(space, dice.of(&KINDS), 3, 3);
    steps.push(Step::Status { pod: "web-0".to_owned(), phase: "Unknown", ready: dice.chance(60) });
    steps.push(over_web(space, spec("maxUnavailable", json!(dice.between(0, 1)), any_policy(dice))));
    steps.push(drain(names("web", 1)));
    steps
}

/// A pod that has ended and is still called Ready.
fn ended_ready(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut steps = bare_running(space, 2, if dice.chance(70) { 2 } else { 1 });
    steps.push(Step::Make(bare(space, "ended", "web")));
    steps.push(Step::Status { pod: "ended".to_owned(), phase: "Succeeded", ready: true });
    steps.push(over_web(space, spec("minAvailable", json!(dice.between(0, 3)), "")));
    steps.push(drain(names("bare", 1)));
    steps
}

/// Selectors that cover all, or none.
fn selectors(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut steps = pods(space, dice.of(&KINDS), 2, 2);
    let mut spec = json!({ "minAvailable": dice.between(0, 2) });
    if dice.turn(2) == 0 {
        spec["selector"] = json!({});
    }
    steps.push(Step::Make(budget(space, "web", spec)));
    steps.push(drain(names("web", 1)));
    steps
}

/// Budgets that are not accepted.
fn invalid(dice: &mut Dice, space: &str) -> Vec<Step> {
    let app = json!({ "matchLabels": { "app": "web" } });
    let wrong = [
        json!({ "selector": app, "maxUnavailable": "150%" }),
        json!({ "selector": app, "minAvailable": "12.5%" }),
        json!({ "selector": app, "minAvailable": -1 }),
        json!({ "selector": app, "minAvailable": "three" }),
        json!({ "selector": app, "minAvailable": 1, "maxUnavailable": 1 }),
        json!({ "selector": app, "minAvailable": 1, "unhealthyPodEvictionPolicy": "Sometimes" }),
        json!({ "selector": { "matchExpressions": [{ "key": "app", "operator": "Is" }] }, "minAvailable": 1 }),
        json!({ "selector": { "matchExpressions": [{ "key": "app", "operator": "In" }] }, "minAvailable": 1 }),
        json!({ "selector": { "matchExpressions": [{ "key": "app", "operator": "Exists", "values": ["a"] }] } }),
        json!({ "selector": { "matchLabels": { "a b": "c" } }, "minAvailable": 1 }),
        json!({ "selector": { "matchLabels": { "app": "-" } }, "minAvailable": 1 }),
    ];
    let mut steps = pods(space, "ReplicaSet", 1, 1);
    let first = dice.between(0, u32::try_from(wrong.len()).unwrap_or(1) - 1) as usize;
    for index in 0..wrong.len() {
        steps.push(Step::Make(budget(space, "web", wrong[(first + index) % wrong.len()].clone())));
    }
    steps.push(drain(names("web", 1)));
    steps
}

/// A namespace that is being deleted.
fn leaving(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut pod = bare(space, "subject", "web");
    pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
    vec![
        Step::Make(pod),
        Step::Status { pod: "subject".to_owned(), phase: dice.of(&["Running", "Pending"]), ready: dice.chance(50) },
        Step::Delete { what: format!("namespaces/{space}"), body: json!({}) },
        evict("subject"),
        Step::Change { what: "pods/subject".to_owned(), part: "", body: json!({ "metadata": { "finalizers": null } }) },
    ]
}

/// Many evictions at the same moment.
fn rush(dice: &mut Dice, space: &str) -> Vec<Step> {
    let count = dice.between(4, 8);
    let mut steps = pods(space, "ReplicaSet", count, count);
    let least = dice.between(count / 2, count - 1);
    steps.push(over_web(space, spec("minAvailable", json!(least), "")));
    steps.push(Step::Settle);
    steps.push(Step::Rush { pods: names("web", count) });
    steps.push(Step::Settle);
    steps
}

/// Two budgets, of which one goes; the other is counted again when something happens to its pods.
fn overlap(dice: &mut Dice, space: &str) -> Vec<Step> {
    let count = dice.between(2, 4);
    let mut steps = pods(space, dice.of(&KINDS), count, count);
    steps.push(over_web(space, spec("minAvailable", json!(dice.between(0, count)), "")));
    steps.push(Step::Make(budget(space, "second", spec("maxUnavailable", json!(1), ""))));
    steps.push(evict("web-0"));
    let (gone, _) = dice.of(&[("second", "web"), ("web", "second")]);
    steps.push(Step::Delete { what: format!("poddisruptionbudgets/{gone}"), body: json!({}) });
    let body = json!({ "metadata": { "labels": { "touched": "yes" } } });
    steps.push(Step::Change { what: "pods/web-0".to_owned(), part: "", body });
    steps.push(drain(names("web", 1)));
    steps.push(Step::Decided("one of two overlapping budgets goes"));
    steps
}
