use super::*;

async fn lab() -> (Lab, Vec<String>) {
    let manifest = format!(
        "{}{}{}{}",
        nodes(4),
        shop(),
        workload("Deployment", "web", 3, ""),
        budget("web", "web", "maxUnavailable: 1")
    );
    let lab = Lab::new(&manifest);
    let pods = lab.pods("web").await.into_iter().map(|(name, ..)| name).collect();
    (lab, pods)
}

#[tokio::test]
async fn an_eviction_spends_the_budget_until_the_replacement_is_ready() {
    let (lab, pods) = lab().await;
    assert_eq!(lab.budget("web").await["disruptionsAllowed"], 1);
    let first = lab.evict(&pods[0]).await;
    assert_eq!(first.code, 201);
    assert_eq!(
        first.body,
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
    );
    let spent = lab.budget("web").await;
    assert_eq!(spent["disruptionsAllowed"], 0);
    assert!(spent["disruptedPods"][&pods[0]].is_string());
    let second = lab.evict(&pods[1]).await;
    assert_eq!(second.code, 429);
    assert_eq!(second.headers.get("retry-after"), None);
    assert_eq!(
        second.body,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "TooManyRequests", "code": 429,
            "message": "Cannot evict pod as it would violate the pod's disruption budget.",
            "details": { "causes": [{
                "reason": "DisruptionBudget", "message": "The disruption budget web does not allow evicting pods currently",
            }] },
        })
    );
    // The controller counts, the replacement comes while the old pod still ends.
    lab.pass(150);
    let counted = lab.budget("web").await;
    assert_eq!((&counted["currentHealthy"], &counted["disruptedPods"]), (&json!(2), &Value::Null));
    assert_eq!(lab.pods("web").await.len(), 3);
    assert_eq!(lab.get("/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb").await.names().len(), 4);
    lab.pass(2000);
    let counted = lab.budget("web").await;
    assert_eq!((&counted["currentHealthy"], &counted["disruptionsAllowed"]), (&json!(3), &json!(1)));
    assert_eq!(lab.get("/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb").await.names().len(), 3);
    assert_eq!(lab.evict(&pods[1]).await.code, 201);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let (lab, pods) = lab().await;
    let path = format!("/api/v1/namespaces/shop/pods/{}/eviction", pods[0]);
    let body = json!({ "metadata": { "name": pods[0] } });
    assert_eq!(lab.post(&format!("{path}?dryRun=All"), &body).await.code, 201);
    let inside = json!({ "metadata": { "name": pods[0] }, "deleteOptions": { "dryRun": ["All"] } });
    assert_eq!(lab.post(&path, &inside).await.code, 201);
    assert_eq!(lab.budget("web").await["disruptionsAllowed"], 1);
    assert_eq!(lab.pods("web").await.len(), 3);
}

#[tokio::test]
async fn a_stale_uid_burns_a_disruption_for_two_minutes() {
    let (lab, pods) = lab().await;
    let path = format!("/api/v1/namespaces/shop/pods/{}/eviction", pods[0]);
    let body = json!({ "metadata": { "name": pods[0] }, "deleteOptions": { "preconditions": { "uid": "other" } } });
    // A dry run with the uid tells, and burns nothing.
    assert_eq!(lab.post(&format!("{path}?dryRun=All"), &body).await.code, 409);
    assert_eq!(lab.budget("web").await["disruptionsAllowed"], 1);
    let answer = lab.post(&path, &body).await;
    assert_eq!((answer.code, answer.body["reason"].as_str()), (409, Some("Conflict")));
    assert!(answer.body["message"].as_str().unwrap().contains("the UID in the precondition (other)"));
    lab.pass(1000);
    assert_eq!(lab.evict(&pods[1]).await.code, 429);
    lab.pass(117_000);
    assert_eq!(lab.evict(&pods[1]).await.code, 429);
    lab.pass(3_000);
    assert_eq!(lab.evict(&pods[1]).await.code, 201);
}

#[tokio::test]
async fn unknown_fields_are_an_error_only_where_that_is_asked_for() {
    let (lab, pods) = lab().await;
    let path = format!("/api/v1/namespaces/shop/pods/{}/eviction", pods[0]);
    let body = json!({ "metadata": { "name": pods[0] }, "delete_options": { "dryRun": ["All"] } });
    let strict = lab.post(&format!("{path}?fieldValidation=Strict"), &body).await;
    assert_eq!(strict.code, 400);
    assert!(
        strict.body["message"].as_str().unwrap().ends_with("strict decoding error: unknown field \"delete_options\"")
    );
    assert_eq!(lab.pods("web").await.len(), 3);
    // Without, the pod is really evicted, with a warning.
    let lax = lab.post(&path, &body).await;
    assert_eq!(lax.code, 201);
    assert_eq!(lax.headers["warning"], "299 - \"unknown field \\\"delete_options\\\"\"");
    let wrong_name = json!({ "metadata": { "name": "other" } });
    assert_eq!(lab.post(&path, &wrong_name).await.code, 400);
    assert_eq!(lab.evict("nobody").await.code, 404);
}

#[tokio::test]
async fn two_budgets_are_refused_with_a_500_without_reason() {
    let (lab, pods) = lab().await;
    let second = json!({
        "metadata": { "name": "all" }, "spec": { "minAvailable": 0, "selector": {} },
    });
    assert_eq!(lab.post("/apis/policy/v1/namespaces/shop/poddisruptionbudgets", &second).await.code, 201);
    let answer = lab.evict(&pods[0]).await;
    assert_eq!(
        answer.body,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 500,
            "message": "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        })
    );
}

#[tokio::test]
async fn a_new_budget_is_being_processed_for_a_moment() {
    let manifest = format!("{}{}{}", nodes(2), shop(), workload("Deployment", "web", 2, ""));
    let lab = Lab::new(&manifest);
    let (pod, ..) = lab.pods("web").await.remove(0);
    let body = json!({ "metadata": { "name": "web" }, "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": "web" } } } });
    lab.post("/apis/policy/v1/namespaces/shop/poddisruptionbudgets", &body).await;
    let answer = lab.evict(&pod).await;
    assert_eq!((answer.code, answer.headers.get("retry-after").map(String::as_str)), (429, Some("10")));
    let cause = &answer.body["details"]["causes"][0]["message"];
    assert_eq!(cause, "The disruption budget web is still being processed by the server.");
    lab.pass(50);
    assert_eq!(lab.evict(&pod).await.code, 201);
}

#[tokio::test]
async fn budgets_that_cannot_be_counted_say_so() {
    let daemon = workload("DaemonSet", "agent", 0, "").replace("  replicas: 0\n", "");
    let lab = Lab::new(&format!("{}{}{daemon}", nodes(2), shop()));
    let body = json!({ "metadata": { "name": "agent" }, "spec": { "maxUnavailable": 1, "selector": {} } });
    lab.post("/apis/policy/v1/namespaces/shop/poddisruptionbudgets", &body).await;
    lab.pass(1000);
    let status = lab.budget("agent").await;
    assert_eq!(status["conditions"][0]["reason"], "SyncFailed");
    assert_eq!(status["observedGeneration"], Value::Null);
    let (pod, ..) = lab.pods("agent").await.remove(0);
    // It never was counted, so that the server takes it for new, for ever.
    let answer = lab.evict(&pod).await;
    assert_eq!((answer.code, answer.headers.get("retry-after").map(String::as_str)), (429, Some("10")));
}

#[tokio::test]
async fn a_stateful_pod_is_replaced_only_when_the_old_one_is_gone() {
    let more =
        "  volumeClaimTemplates:\n    - metadata: { name: data }\n      spec: { accessModes: [ReadWriteOnce] }\n";
    let manifest = format!("{}{}{}", nodes(3), shop(), workload("StatefulSet", "db", 2, more));
    let lab = Lab::new(&manifest);
    let pods = lab.pods("db").await;
    assert_eq!(pods.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["db-0", "db-1"]);
    let attached = lab.get("/apis/storage.k8s.io/v1/volumeattachments").await;
    assert_eq!(attached.names().len(), 2);
    let node = pods[0].1.clone();
    lab.merge(&format!("/api/v1/nodes/{node}"), &json!({ "spec": { "unschedulable": true } })).await;
    assert_eq!(lab.evict("db-0").await.code, 201);
    lab.pass(300);
    assert_eq!(lab.pods("db").await.len(), 1, "the old one still ends");
    lab.pass(3000);
    // Its volume is in the zone of the node, which has no other: it waits, and says why.
    let pod = lab.get("/api/v1/namespaces/shop/pods/db-0").await.body;
    let scheduled =
        pod["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "PodScheduled").unwrap();
    assert_eq!(scheduled["reason"], "Unschedulable");
    assert_eq!(
        scheduled["message"],
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't match PersistentVolume's node affinity."
    );
    let attached = lab.get("/apis/storage.k8s.io/v1/volumeattachments").await;
    assert_eq!(attached.names().len(), 1, "detached");
    lab.merge(&format!("/api/v1/nodes/{node}"), &json!({ "spec": { "unschedulable": false } })).await;
    lab.pass(2000);
    assert!(lab.pods("db").await.iter().all(|(_, _, ready)| *ready));
}
