use super::*;

fn manifest() -> String {
    format!("{}{}{}", nodes(3), shop(), workload("Deployment", "web", 3, ""))
}

#[tokio::test]
async fn lists_are_paged_and_selected() {
    let lab = Lab::new(&manifest());
    let first = lab.get("/api/v1/nodes?limit=2").await;
    assert_eq!(first.names(), ["n1", "n2"]);
    assert_eq!(first.body["kind"], "NodeList");
    assert_eq!(first.body["metadata"]["remainingItemCount"], 1);
    let token = first.body["metadata"]["continue"].as_str().unwrap();
    let second = lab.get(&format!("/api/v1/nodes?limit=2&continue={}", token.replace('/', "%2F"))).await;
    assert_eq!(second.names(), ["n3"]);
    assert_eq!(second.body["metadata"]["continue"], Value::Null);
    assert_eq!(
        lab.get("/api/v1/nodes?labelSelector=topology.kubernetes.io%2Fzone+in+(z1,z2)").await.names(),
        ["n1", "n2"]
    );
    assert_eq!(lab.get("/api/v1/nodes?fieldSelector=metadata.name%3Dn2").await.names(), ["n2"]);
    assert_eq!(lab.get("/api/v1/nodes?fieldSelector=spec.podCIDR%3Dx").await.code, 400);
    assert_eq!(lab.get("/api/v1/nodes?labelSelector=%3D%3D").await.code, 400);
    let on_first = lab.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await;
    assert_eq!(on_first.names().len(), 1, "spread over the nodes");
}

#[tokio::test]
async fn what_is_not_served_is_named() {
    let lab = Lab::new(&manifest());
    let answer = lab.get("/apis/metrics.k8s.io/v1beta1/nodes").await;
    assert_eq!(answer.code, 404);
    assert_eq!(answer.body["message"], "the simulated cluster does not serve GET /apis/metrics.k8s.io/v1beta1/nodes");
    assert_eq!(lab.send("POST", "/api/v1/nodes/n1", "application/json", "{}").await.code, 405);
    assert_eq!(lab.get("/api/v1/nodes/nobody").await.body["message"], "nodes \"nobody\" not found");
    assert_eq!(lab.get("/version").await.body["gitVersion"], "v1.37.2");
    assert_eq!(lab.get("/readyz").await.code, 200);
    let groups = lab.get("/apis").await.body;
    assert!(groups["groups"].as_array().unwrap().iter().any(|group| group["name"] == "policy"));
    let resources = lab.get("/api/v1").await.body;
    assert!(resources["resources"].as_array().unwrap().iter().any(|known| known["name"] == "pods/eviction"));
    let review = lab.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &json!({ "spec": {} })).await;
    assert_eq!(review.body["status"]["allowed"], true);
}

#[tokio::test]
async fn creating_is_checked() {
    let lab = Lab::new(&manifest());
    let maps = "/api/v1/namespaces/shop/configmaps";
    let map = json!({ "metadata": { "name": "c" }, "data": { "a": "b" } });
    assert_eq!(lab.post(&format!("{maps}?dryRun=All"), &map).await.code, 201);
    assert_eq!(lab.get(&format!("{maps}/c")).await.code, 404);
    assert_eq!(lab.post(maps, &map).await.code, 201);
    let again = lab.post(maps, &map).await;
    assert_eq!((again.code, again.body["reason"].as_str()), (409, Some("AlreadyExists")));
    let nowhere = lab.post("/api/v1/namespaces/nowhere/configmaps", &map).await;
    assert_eq!((nowhere.code, nowhere.body["message"].as_str()), (404, Some("namespaces \"nowhere\" not found")));
    assert_eq!(lab.post(maps, &json!({ "metadata": { "name": "Not a name" } })).await.code, 422);
    assert_eq!(lab.post(maps, &json!([])).await.code, 400);
    assert_eq!(lab.send("POST", maps, "application/vnd.kubernetes.protobuf", "k8s").await.code, 415);
    assert_eq!(lab.send("POST", maps, "application/json", "{").await.code, 400);
    assert_eq!(lab.send("POST", maps, "application/json", &"[".repeat(100_000)).await.code, 400);
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [] } });
    assert_eq!(lab.post("/api/v1/namespaces/shop/pods", &pod).await.code, 422);
    let both = json!({ "metadata": { "name": "b" }, "spec": { "minAvailable": 1, "maxUnavailable": 1 } });
    assert_eq!(lab.post("/apis/policy/v1/namespaces/shop/poddisruptionbudgets", &both).await.code, 422);
    let large = json!({ "metadata": { "name": "b" }, "spec": { "maxUnavailable": "150%" } });
    assert_eq!(lab.post("/apis/policy/v1/namespaces/shop/poddisruptionbudgets", &large).await.code, 422);
}

#[tokio::test]
async fn leases_are_made_and_written_under_a_version() {
    let lab = Lab::new(&manifest());
    let leases = "/apis/coordination.k8s.io/v1/namespaces/shop/leases";
    let lease =
        json!({ "metadata": { "name": "haulout" }, "spec": { "holderIdentity": "r1", "leaseDurationSeconds": 60 } });
    let made = lab.post(leases, &lease).await.body;
    let mut renewed = made.clone();
    renewed["spec"]["renewTime"] = json!("2026-11-23T10:00:00.000001Z");
    let path = format!("{leases}/haulout");
    let put = |body: Value| async move { body.to_string() };
    let first = lab.send("PUT", &path, "application/json", &put(renewed.clone()).await).await;
    assert_eq!(first.code, 200);
    assert_ne!(first.body["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let stale = lab.send("PUT", &path, "application/json", &put(renewed).await).await;
    assert_eq!(stale.code, 409);
}

#[tokio::test]
async fn server_side_apply_makes_what_is_missing() {
    let lab = Lab::new(&manifest());
    let path = "/api/v1/namespaces/haulout-system?fieldManager=haulout&force=true";
    let body = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: haulout-system\n  labels: { a: b }\n";
    let made = lab.send("PATCH", path, "application/apply-patch+yaml", body).await;
    assert_eq!((made.code, &made.body["metadata"]["labels"]["a"]), (201, &json!("b")));
    let again = lab.send("PATCH", path, "application/apply-patch+yaml", body).await;
    assert_eq!(
        (again.code, &again.body["metadata"]["resourceVersion"]),
        (200, &made.body["metadata"]["resourceVersion"])
    );
}

#[tokio::test]
async fn a_watch_tells_what_changes_and_resumes() {
    let lab = Lab::new(&manifest());
    let list = lab.get("/api/v1/nodes").await;
    let version = list.body["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    lab.merge("/api/v1/nodes/n1", &json!({ "spec": { "unschedulable": true } })).await;
    lab.pass(200);
    let path = format!("/api/v1/nodes?watch=true&resourceVersion={version}&timeoutSeconds=1");
    let mut count = 0;
    let events = watched(&lab, &path, |_| {
        count += 1;
        count == 2
    })
    .await;
    assert_eq!(events[0]["type"], "MODIFIED");
    assert_eq!(events[0]["object"]["spec"]["unschedulable"], true);
    assert_eq!(events[1]["object"]["spec"]["taints"][0]["key"], "node.kubernetes.io/unschedulable");
    // From the beginning: everything that is there.
    let all =
        watched(&lab, "/api/v1/nodes?watch=true&timeoutSeconds=1", |event| event["object"]["metadata"]["name"] == "n3")
            .await;
    assert!(all.len() == 3 && all.iter().all(|event| event["type"] == "ADDED"));
    let initial =
        "/api/v1/nodes?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let all = watched(&lab, initial, |event| event["type"] == "BOOKMARK").await;
    assert_eq!(all[3]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    // A version that is no longer known.
    let saved = lab.sandbox.state().unwrap();
    let again = Lab::open(&manifest(), 1, Some(&saved), START).unwrap();
    let old = watched(&again, "/api/v1/nodes?watch=true&resourceVersion=1", |_| true).await;
    assert_eq!((&old[0]["type"], &old[0]["object"]["code"]), (&json!("ERROR"), &json!(410)));
}

#[tokio::test]
async fn a_watch_over_one_node_sees_pods_come_and_go() {
    let lab = Lab::new(&manifest());
    let version = lab.get("/api/v1/pods").await.body["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let (pod, node, _) = lab.pods("web").await.remove(0);
    lab.evict(&pod).await;
    lab.pass(2000);
    let path = format!(
        "/api/v1/pods?watch=true&fieldSelector=spec.nodeName%3D{node}&resourceVersion={version}&timeoutSeconds=1"
    );
    let events = watched(&lab, &path, |event| event["type"] == "DELETED").await;
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["object"]["metadata"]["name"]), (&json!("DELETED"), &json!(pod)));
}

#[tokio::test(start_paused = true)]
async fn a_watch_lives_on_while_nobody_asks() {
    let lab = Lab::new(&manifest());
    let clock = Arc::clone(&lab.clock);
    // The test's clock goes with the runtime's, which leaps while everybody sleeps.
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            clock.fetch_add(10, Ordering::Relaxed);
        }
    });
    let version = lab.get("/api/v1/pods").await.body["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let (pod, ..) = lab.pods("web").await.remove(0);
    lab.evict(&pod).await;
    let path = format!("/api/v1/pods?watch=1&resourceVersion={version}");
    let events =
        watched(&lab, &path, |event| event["object"]["metadata"]["name"] != pod && is_true(&event["object"], "Ready"))
            .await;
    assert!(events.iter().any(|event| event["type"] == "DELETED"));
    assert_eq!(events.last().unwrap()["type"], "MODIFIED");
}
