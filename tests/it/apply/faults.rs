//! What goes wrong while a node is worked on.

use super::*;

const N1: &str = "/api/v1/nodes/n1";

/// Whether it is a list of the pods of one node.
fn lists_pods(asked: &Asked) -> bool {
    asked.is("GET", "/api/v1/pods") && asked.query.contains("spec.nodeName") && !asked.query.contains("watch=")
}

fn is_eviction(asked: &Asked) -> bool {
    asked.method == "POST" && asked.path.ends_with("/eviction")
}

fn daemon_set(name: &str) -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": name, "namespace": "shop" },
        "spec": { "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "c", "image": "x" }] } } } })
}

#[tokio::test]
async fn a_node_is_rebooted_where_nothing_goes_wrong() {
    let scene = Scene::new();
    let ran = scene.run(|_| Fate::Pass).await;
    assert!(ran.is_done(), "{:?}", ran.outcome());
    assert!(!scene.is_cordoned().await);
    assert_eq!(scene.lock_holder().await, Value::Null);
    assert!(ran.has(|kind| matches!(kind, EventKind::LockReleased { .. })));
}

#[tokio::test]
async fn a_denial_that_passes_ends_no_step() {
    let scene = Scene::new();
    let fault = |asked: &Asked| {
        let once = asked.is("PATCH", N1) || asked.is("POST", POD) || lists_pods(asked) || is_eviction(asked);
        if once && asked.before == 0 && !asked.query.contains("dryRun") { denied() } else { Fate::Pass }
    };
    let ran = scene.run(fault).await;
    assert!(ran.is_done(), "{:?}", ran.outcome());
    assert!(ran.waited(|wait| matches!(wait, WaitFor::ApiServer(why) if why.raw().contains("cannot do this"))));
}

#[tokio::test]
async fn a_node_whose_reboot_pod_is_gone_and_that_lives_on_is_said_to_and_stays_cordoned() {
    let scene = Scene::new();
    let pod = format!(
        "{POD}/{}",
        haulout::model::reboot_pod_name(&haulout::model::NodeName::new("n1").unwrap(), &RunId::new("run-1").unwrap(),)
    );
    let pod: &'static str = pod.leak();
    let ran = scene
        .run(move |asked| {
            if asked.writes_phase("reboot") {
                return Fate::After("DELETE", pod, json!({ "gracePeriodSeconds": 0 }), Box::new(Fate::Pass));
            }
            Fate::Pass
        })
        .await;
    let (message, cordoned) = ran.failure();
    assert!(message.contains("does not reboot") && cordoned, "{message}");
    // What it reads itself is no news to it: it asks every few seconds, not as fast as it is answered.
    let reads = scene.asked().iter().filter(|asked| asked.is("GET", N1)).count();
    assert!(reads < 60, "{reads} reads of one node");
    assert!(ran.waited(|wait| matches!(wait, WaitFor::NodeReady(why) if why.raw().contains("its reboot pod is gone"))));
    assert!(scene.is_cordoned().await);
}

fn add_unreadable(list: &mut Value) {
    // Without a UID nothing can be said of it.
    let odd = json!({ "metadata": { "name": "odd", "namespace": "shop" }, "spec": { "nodeName": "n1" } });
    list["items"].as_array_mut().unwrap().push(odd);
}

#[tokio::test]
async fn a_pod_that_cannot_be_understood_is_named_before_anything_is_evicted() {
    let scene = Scene::new();
    let ran = scene.run(|asked| if lists_pods(asked) { Fate::Edit(add_unreadable) } else { Fate::Pass }).await;
    let (message, _) = ran.failure();
    assert!(message.contains("shop/odd"), "{message}");
    assert!(!scene.asked().iter().any(is_eviction));
}

#[tokio::test]
async fn a_pod_that_cannot_be_understood_counts_as_left_on_the_node() {
    let mut scene = Scene::new();
    scene.config = scene.config.replace("timeout = \"300s\"", "timeout = \"8s\"");
    let evicted = std::sync::atomic::AtomicBool::new(false);
    let ran = scene
        .run(move |asked| {
            let before = evicted.fetch_or(is_eviction(asked), std::sync::atomic::Ordering::SeqCst);
            if before && lists_pods(asked) { Fate::Edit(add_unreadable) } else { Fate::Pass }
        })
        .await;
    let (message, cordoned) = ran.failure();
    assert!(message.contains("shop/odd") && !cordoned, "{message}");
    assert!(!scene.asked().iter().any(|asked| asked.writes_phase("reboot")));
}

#[tokio::test]
async fn an_interrupt_ends_a_drain_whose_reads_are_never_answered() {
    let scene = Scene::new();
    let interrupt = scene.interrupt.clone();
    let ran = scene
        .run(move |asked| {
            if lists_pods(asked) {
                interrupt.request();
                return Fate::Silence;
            }
            Fate::Pass
        })
        .await;
    assert!(matches!(ran.outcome(), NodeOutcome::Interrupted { cordoned: false, .. }), "{:?}", ran.outcome());
    assert!(!scene.is_cordoned().await);
}

#[tokio::test]
async fn a_drain_whose_reads_are_never_answered_ends_with_its_limit() {
    let mut scene = Scene::new();
    scene.config = scene.config.replace("timeout = \"300s\"", "timeout = \"3s\"");
    let ran = scene.run(|asked| if lists_pods(asked) { Fate::Silence } else { Fate::Pass }).await;
    let (message, cordoned) = ran.failure();
    assert!(message.contains("time is up") && !cordoned, "{message}");
    assert!(!scene.is_cordoned().await);
}

#[tokio::test]
async fn a_daemon_set_that_was_deleted_meanwhile_is_not_awaited() {
    let scene = Scene::new();
    let ran = scene
        .run(|asked| {
            if asked.writes_phase("reboot") {
                let path = "/apis/apps/v1/namespaces/shop/daemonsets/logs";
                return Fate::After("DELETE", path, json!({}), Box::new(Fate::Pass));
            }
            Fate::Pass
        })
        .await;
    assert!(ran.is_done(), "{:?}", ran.outcome());
    assert!(ran.noted("DaemonSet shop/logs was deleted meanwhile"));
}

#[tokio::test]
async fn pods_of_a_daemon_set_made_after_the_plan_stay() {
    for at in ["cordoned", "armed"] {
        let scene = Scene::new();
        let ran = scene
            .run(move |asked| {
                if asked.writes_phase(at) {
                    let path = "/apis/apps/v1/namespaces/shop/daemonsets";
                    return Fate::After("POST", path, daemon_set("late"), Box::new(Fate::Pass));
                }
                Fate::Pass
            })
            .await;
        assert!(ran.is_done(), "{at}: {:?}", ran.outcome());
    }
}

#[tokio::test]
async fn what_comes_to_the_node_between_two_tries_of_the_trigger_is_seen() {
    let scene = Scene::new();
    let ran = scene
        .run(|asked| {
            if asked.writes_phase("reboot") {
                let pod = json!({ "apiVersion": "v1", "kind": "Pod",
                    "metadata": { "name": "stray", "namespace": "shop" },
                    "spec": { "nodeName": "n1", "containers": [{ "name": "c", "image": "x" }] } });
                let busy = json!({ "kind": "Status", "status": "Failure", "code": 429, "message": "later" });
                return Fate::After("POST", "/api/v1/namespaces/shop/pods", pod, Box::new(Fate::Answer(429, busy)));
            }
            Fate::Pass
        })
        .await;
    let (message, cordoned) = ran.failure();
    assert!(message.contains("shop/stray") && !cordoned, "{message}");
    assert_eq!(scene.asked().iter().filter(|asked| asked.writes_phase("reboot")).count(), 1);
}

#[tokio::test]
async fn a_trigger_whose_answer_is_lost_is_read_back() {
    // Written, it is not written again; not written, it is.
    for (written, tries) in [(true, 1), (false, 2)] {
        let scene = Scene::new();
        let once = std::sync::atomic::AtomicBool::new(false);
        let ran = scene
            .run(move |asked| {
                if asked.writes_phase("reboot") && !once.swap(true, std::sync::atomic::Ordering::SeqCst) {
                    return if written { Fate::Lost } else { Fate::Answer(502, Value::Null) };
                }
                Fate::Pass
            })
            .await;
        assert!(ran.is_done(), "{written}: {:?}", ran.outcome());
        assert_eq!(scene.asked().iter().filter(|asked| asked.writes_phase("reboot")).count(), tries);
    }
}

#[tokio::test]
async fn no_change_is_made_twice_for_an_answer_that_was_lost() {
    let scene = Scene::new();
    let seen: Mutex<std::collections::BTreeSet<String>> = Mutex::default();
    let ran = scene
        .run(move |asked| {
            let writes = matches!(asked.method.as_str(), "POST" | "PATCH") && !asked.query.contains("dryRun");
            let what = format!("{} {} {}", asked.method, asked.path, asked.body["metadata"]["annotations"]);
            if writes && !asked.path.contains("/leases") && seen.lock().unwrap().insert(what) {
                return Fate::Lost;
            }
            Fate::Pass
        })
        .await;
    assert!(ran.is_done(), "{:?}", ran.outcome());
    let mut sent: Vec<String> = Vec::new();
    for asked in scene.asked().iter().filter(|asked| !asked.query.contains("dryRun")) {
        if is_eviction(asked) || asked.is("POST", POD) || asked.is("PATCH", N1) {
            let phase = asked.body["metadata"]["annotations"]["haulout.dev/phase"].to_string();
            sent.push(format!("{} {phase}", asked.path));
        }
    }
    let mut once = sent.clone();
    once.sort();
    once.dedup();
    assert_eq!(sent.len(), once.len(), "{sent:#?}");
}

#[tokio::test]
async fn a_watch_that_lags_behind_ends_no_step() {
    let scene = Scene::new();
    let ran = scene
        .run(|asked| {
            let list = asked.is("GET", "/api/v1/nodes") && !asked.query.contains("watch=");
            if list {
                return Fate::Edit(|list| {
                    for node in list["items"].as_array_mut().unwrap() {
                        node["spec"]["unschedulable"] = json!(true);
                        node["metadata"]["resourceVersion"] = json!("1");
                    }
                });
            }
            Fate::Pass
        })
        .await;
    assert!(ran.is_done(), "{:?}", ran.outcome());
}

#[tokio::test]
async fn a_budget_with_room_is_not_what_a_drain_waits_for() {
    let scene = Scene::new();
    // Two of four pods are on the node, and one may go at a time.
    let budget = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "minAvailable": 3, "selector": { "matchLabels": { "app": "web" } } } });
    send(&scene.sandbox, "POST", "/apis/policy/v1/namespaces/shop/poddisruptionbudgets", &budget).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ran = scene.run(|_| Fate::Pass).await;
    assert!(ran.is_done(), "{:?}", ran.outcome());
    let budget = |wanted: fn(u32, u32) -> bool| {
        ran.waited(|wait| matches!(wait, WaitFor::Budget { healthy, desired, .. } if wanted(*healthy, *desired)))
    };
    assert!(budget(|healthy, desired| healthy <= desired), "{:#?}", ran.events);
    assert!(!budget(|healthy, desired| healthy > desired), "{:#?}", ran.events);
}

#[tokio::test]
async fn each_method_of_rebooting_is_tried_before_the_first_cordon() {
    let mut scene = Scene::new();
    let annotations = json!({ "metadata": { "annotations": { "sim.haulout.dev/reboot-required": "kernel" } } });
    send(&scene.sandbox, "PATCH", "/api/v1/nodes/n2", &annotations).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    scene.config = "version = 1\nname = \"test\"\n[cluster.demo]\nsandbox = \"cluster.toml\"\n[reboot.a]\nselector = \"node=n1\"\nwhen_required = true\n[reboot.b]\nselector = \"node=n2\"\nwhen_required = true\nmethod = \"command\"\n".to_owned();
    let ran = scene
        .run(|asked| {
            let privileged = asked.body["spec"]["containers"][0]["securityContext"]["privileged"] == true;
            if asked.is("POST", POD) && privileged { denied() } else { Fate::Pass }
        })
        .await;
    match ran.result {
        Err(ApplyError::Admission { node, .. }) => assert_eq!(node.as_str(), "n2"),
        other => panic!("{other:?}"),
    }
    assert!(!scene.asked().iter().any(|asked| asked.method == "PATCH" && asked.path.contains("/nodes/")));
}
