//! Nodes and pods that do not do what is expected of them, as the simulated kubelets on a real control plane do it.

use super::nodes::{boot_id, mark, start_reboot_pod};
use super::*;

const W1: &str = "/api/v1/nodes/w1";
const REBOOT_POD: &str = "/api/v1/namespaces/haulout-system/pods/reboot-w1";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/w1";

/// A node `w1` that is asked for something, another, and a DaemonSet.
fn asked(annotations: &str) -> Lab {
    let node = format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: w1\n  labels: {{ pool: a }}\n  annotations: {{ sim.haulout.dev/reboot-required: linux-image, {annotations} }}\n---\n"
    );
    let daemon = workload("DaemonSet", "agent", 0, "").replace("  replicas: 0\n", "");
    Lab::new(&format!("{node}{}{}{daemon}", nodes(1), shop()))
}

/// Takes the node as far as the phase that its reboot pod waits for.
async fn ask_to_reboot(lab: &Lab) {
    lab.merge(W1, &json!({ "spec": { "unschedulable": true } })).await;
    start_reboot_pod(lab, "r1").await;
    lab.pass(1500);
    let armed = lab.get(REBOOT_POD).await.body;
    assert!(is_true(&armed, "Ready"), "{armed:#}");
    lab.merge(W1, &mark("r1", "reboot")).await;
}

fn ready(node: &Value) -> &str {
    let conditions = node["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|known| known["type"] == "Ready").unwrap()["status"].as_str().unwrap()
}

fn noted<'a>(object: &'a Value, key: &str) -> &'a Value {
    &object["metadata"]["annotations"][key]
}

#[tokio::test]
async fn a_node_can_stay_dark_for_ever() {
    let lab = asked("sim.haulout.dev/never-returns: \"true\"");
    let before = boot_id(&lab.node("w1").await);
    ask_to_reboot(&lab).await;
    lab.pass(60_000);
    assert_eq!(ready(&lab.node("w1").await), "Unknown");
    lab.pass(400 * 86_400_000);
    let lost = lab.node("w1").await;
    assert_eq!((ready(&lost), boot_id(&lost)), ("Unknown", before));
    // It stays so over a restart of the sandbox, whichever way the clock went meanwhile.
    let saved = lab.sandbox.state().unwrap();
    for by in [-3_600_000, 86_400_000] {
        let later = Lab::open("", 1, Some(&saved), lab.clock.load(Ordering::Relaxed) + by).unwrap();
        later.pass(86_400_000);
        assert_eq!(ready(&later.node("w1").await), "Unknown", "{by}");
    }
}

#[tokio::test]
async fn a_node_can_come_back_with_the_boot_id_that_it_had() {
    let lab = asked("sim.haulout.dev/keeps-boot-id: \"true\"");
    let before = boot_id(&lab.node("w1").await);
    ask_to_reboot(&lab).await;
    lab.pass(2000);
    let dark = lab.get(LEASE).await.body["spec"]["renewTime"].clone();
    lab.pass(1000);
    assert_eq!(lab.get(LEASE).await.body["spec"]["renewTime"], dark);
    lab.pass(350);
    assert_eq!(ready(&lab.node("w1").await), "False", "not at once");
    lab.pass(10_000);
    let back = lab.node("w1").await;
    assert_eq!((ready(&back), boot_id(&back)), ("True", before));
    // Nothing says that it booted, and what it waited for it still waits for.
    assert_eq!(*noted(&back, "haulout.dev/reboot-required"), "true");
    assert!(lab.get("/api/v1/namespaces/default/events?fieldSelector=reason%3DRebooted").await.names().is_empty());
    assert_eq!(lab.get(REBOOT_POD).await.body["status"]["phase"], "Succeeded", "it fires once");
    lab.pass(60_000);
    assert_ne!(lab.get(LEASE).await.body["spec"]["renewTime"], dark);
    assert_eq!(ready(&lab.node("w1").await), "True");
}

#[tokio::test]
async fn a_node_can_come_back_as_another_of_its_name() {
    let lab = asked("sim.haulout.dev/returns-as-new-node: \"true\", sim.haulout.dev/flaps: \"1\"");
    let before = lab.node("w1").await;
    ask_to_reboot(&lab).await;
    lab.pass(60_000);
    let after = lab.node("w1").await;
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_ne!(boot_id(&after), boot_id(&before));
    assert_eq!(ready(&after), "True");
    assert_eq!(after["metadata"]["labels"]["pool"], "a");
    assert_eq!(after["spec"]["unschedulable"], Value::Null);
    assert_eq!(after["spec"]["taints"], Value::Null);
    assert_eq!(*noted(&after, "sim.haulout.dev/flaps"), "1");
    for gone in ["sim.haulout.dev/returns-as-new-node", "sim.haulout.dev/reboot-required", "haulout.dev/phase"] {
        assert_eq!(*noted(&after, gone), Value::Null, "{gone}");
    }
    // Nobody has written on it but its own agent.
    assert_eq!(*noted(&after, "haulout.dev/reboot-required"), "false");
    assert_eq!(*noted(&after, "haulout.dev/run"), Value::Null);
    let lease = lab.get(LEASE).await.body;
    assert_eq!(lease["metadata"]["ownerReferences"][0]["uid"], after["metadata"]["uid"]);
    let daemon = lab.pods("agent").await.into_iter().find(|(_, node, _)| node == "w1").unwrap();
    assert!(daemon.2, "its pods have gone on");
    // The next reboot is like any other.
    lab.delete(REBOOT_POD).await;
    lab.pass(60_000);
    ask_to_reboot(&lab).await;
    lab.pass(60_000);
    let again = lab.node("w1").await;
    assert_eq!(again["metadata"]["uid"], after["metadata"]["uid"]);
    assert_ne!(boot_id(&again), boot_id(&after));
}

#[tokio::test]
async fn a_node_can_flap_after_a_boot() {
    let lab = asked("sim.haulout.dev/flaps: \"2\"");
    let mut seen = String::new();
    ask_to_reboot(&lab).await;
    for _ in 0..200 {
        lab.pass(100);
        seen.push_str(&ready(&lab.node("w1").await)[..1]);
    }
    // Dark it is still taken for Ready; 500 ms it starts, then 2 s each.
    let times: Vec<(char, usize)> = seen.chars().fold(Vec::new(), |mut times, now| {
        match times.last_mut() {
            Some((last, count)) if *last == now => *count += 1,
            _ => times.push((now, 1)),
        }
        times
    });
    let states: String = times.iter().map(|(state, _)| *state).collect();
    assert_eq!(states, "TFTFTFT", "{times:?}");
    assert!(times[2..6].iter().all(|(_, count)| (19..=21).contains(count)), "{times:?}");
}

#[tokio::test]
async fn a_report_can_end_with_a_boot() {
    let lab = asked("sim.haulout.dev/report-ends: \"true\"");
    let before = lab.node("w1").await;
    assert_eq!(*noted(&before, "haulout.dev/boot-id"), boot_id(&before), "until then it is there");
    ask_to_reboot(&lab).await;
    lab.pass(7 * 3_600_000);
    let after = lab.node("w1").await;
    assert_ne!(boot_id(&after), boot_id(&before));
    for kept in ["haulout.dev/boot-id", "haulout.dev/reboot-required"] {
        assert_eq!(noted(&after, kept), noted(&before, kept));
    }
}

#[tokio::test]
async fn a_reboot_pod_can_fire_late_and_still_looks_before_it_does() {
    for uncordoned in [false, true] {
        let lab = asked("sim.haulout.dev/fires-after: 20s");
        let before = boot_id(&lab.node("w1").await);
        ask_to_reboot(&lab).await;
        lab.pass(19_000);
        if uncordoned {
            lab.merge(W1, &json!({ "spec": { "unschedulable": null } })).await;
        }
        assert_eq!(boot_id(&lab.node("w1").await), before);
        lab.pass(10_000);
        assert_eq!(boot_id(&lab.node("w1").await) == before, uncordoned);
    }
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_keeps_pods_pending() {
    let lab = asked("sim.haulout.dev/agent: \"true\"");
    lab.merge(W1, &json!({ "metadata": { "annotations": { "sim.haulout.dev/pull-fails": "true" } } })).await;
    lab.pass(10_000);
    let daemon = |pods: Vec<(String, String, bool)>| pods.into_iter().find(|(_, node, _)| node == "w1").unwrap();
    let running = daemon(lab.pods("agent").await);
    assert!(running.2, "what runs goes on");
    start_reboot_pod(&lab, "r1").await;
    lab.pass(60_000);
    let stuck = lab.get(REBOOT_POD).await.body;
    assert_eq!(stuck["status"]["phase"], "Pending");
    let waiting = &stuck["status"]["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(*waiting, json!({ "reason": "ImagePullBackOff", "message": "Back-off pulling image \"sandbox\"" }));
    assert!(!is_true(&stuck, "Ready"));
    // It goes at once when it is deleted: nothing runs in it.
    lab.delete(REBOOT_POD).await;
    lab.pass(100);
    assert_eq!(lab.get(REBOOT_POD).await.code, 404);
    // A pod of it that is replaced waits too, until the image can be pulled.
    lab.evict(&running.0).await;
    lab.pass(10_000);
    let waiting = daemon(lab.pods("agent").await);
    assert!(waiting.0 != running.0 && !waiting.2);
    lab.merge(W1, &json!({ "metadata": { "annotations": { "sim.haulout.dev/pull-fails": null } } })).await;
    lab.pass(500);
    assert!(!daemon(lab.pods("agent").await).2, "its containers take their time");
    lab.pass(2000);
    assert_eq!(daemon(lab.pods("agent").await), (waiting.0, waiting.1, true));
}

#[tokio::test]
async fn a_pod_whose_image_cannot_be_pulled_ends_at_its_deadline() {
    let lab = asked("sim.haulout.dev/agent: \"true\"");
    let pod = json!({
        "metadata": { "name": "late", "annotations": { "sim.haulout.dev/pull-fails": "true" } },
        "spec": { "nodeName": "w1", "activeDeadlineSeconds": 30, "restartPolicy": "Never",
                  "containers": [{ "name": "c", "image": "x" }] },
    });
    assert_eq!(lab.post("/api/v1/namespaces/shop/pods", &pod).await.code, 201);
    lab.pass(29_000);
    let status = |pod: Answer| (pod.body["status"]["phase"].clone(), pod.body["status"]["reason"].clone());
    let late = "/api/v1/namespaces/shop/pods/late";
    assert_eq!(status(lab.get(late).await).0, "Pending");
    lab.pass(2_000);
    assert_eq!(status(lab.get(late).await), (json!("Failed"), json!("DeadlineExceeded")));
}

fn single(more: &str, grace: u32) -> Value {
    let mut pod = json!({ "metadata": { "name": "p", "annotations": { "sim.haulout.dev/stops-after": more } },
        "spec": { "nodeName": "w1", "terminationGracePeriodSeconds": grace, "containers": [{ "name": "c", "image": "x" }] } });
    pod["metadata"]["labels"] = json!({ "app": "p" });
    pod
}

const P: &str = "/api/v1/namespaces/shop/pods/p";

#[tokio::test]
async fn a_pod_with_a_finalizer_stays_after_its_end_until_that_is_taken_off() {
    let lab = asked("sim.haulout.dev/agent: \"true\"");
    let mut pod = single("1s", 30);
    pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
    lab.post("/api/v1/namespaces/shop/pods", &pod).await;
    lab.pass(2_000);
    assert_eq!(lab.evict("p").await.code, 201);
    lab.pass(500);
    let ends = lab.get(P).await.body;
    assert_eq!(
        (ends["status"]["phase"].as_str(), &ends["metadata"]["deletionGracePeriodSeconds"]),
        (Some("Running"), &json!(30))
    );
    lab.pass(3_600_000);
    let held = lab.get(P).await.body;
    assert_eq!(held["status"]["phase"], "Succeeded", "its containers have ended all the same");
    assert_eq!(held["metadata"]["deletionGracePeriodSeconds"], 0);
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    // Neither another eviction nor force makes it go.
    assert_eq!(lab.evict("p").await.code, 201);
    lab.send("DELETE", P, "application/json", &json!({ "gracePeriodSeconds": 0 }).to_string()).await;
    lab.pass(1000);
    assert_eq!(lab.get(P).await.code, 200);
    lab.merge(P, &json!({ "metadata": { "finalizers": null } })).await;
    assert_eq!(lab.get(P).await.code, 404);
}

#[tokio::test]
async fn pods_have_the_finalizers_of_their_template() {
    let web = workload("Deployment", "web", 1, "").replace(
        "metadata: { labels: { app: web } }",
        "metadata: { labels: { app: web }, finalizers: [example.com/hold] }",
    );
    let lab = Lab::new(&format!("{}{}{web}", nodes(1), shop()));
    let (pod, ..) = lab.pods("web").await.remove(0);
    let pod = lab.get(&format!("/api/v1/namespaces/shop/pods/{pod}")).await.body;
    assert_eq!(pod["metadata"]["finalizers"], json!(["example.com/hold"]));
}

#[tokio::test]
async fn a_finalizer_that_is_taken_off_early_cuts_no_grace_short() {
    let lab = asked("sim.haulout.dev/agent: \"true\"");
    let mut pod = single("10s", 30);
    pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
    lab.post("/api/v1/namespaces/shop/pods", &pod).await;
    lab.pass(2_000);
    lab.evict("p").await;
    lab.pass(5_000);
    lab.merge(P, &json!({ "metadata": { "finalizers": null } })).await;
    lab.pass(4_000);
    assert_eq!(lab.get(P).await.body["status"]["phase"], "Running");
    lab.pass(2_000);
    assert_eq!(lab.get(P).await.code, 404);
}

#[tokio::test]
async fn an_hour_of_grace_is_given_and_can_be_shortened_and_not_lengthened() {
    for (again, ends) in [(None, 3600), (Some(10), 20), (Some(7200), 3600)] {
        let lab = asked("sim.haulout.dev/agent: \"true\"");
        lab.post("/api/v1/namespaces/shop/pods", &single("48h", 3600)).await;
        lab.pass(2_000);
        assert_eq!(lab.evict("p").await.code, 201);
        lab.pass(10_000);
        if let Some(seconds) = again {
            let body = json!({ "gracePeriodSeconds": seconds }).to_string();
            lab.send("DELETE", P, "application/json", &body).await;
        }
        lab.pass((ends - 11) * 1000);
        assert_eq!(lab.get(P).await.body["status"]["phase"], "Running", "{again:?}");
        lab.pass(2_000);
        assert_eq!(lab.get(P).await.code, 404, "{again:?}");
    }
}

#[tokio::test]
async fn a_volume_that_is_detached_late_stays_on_its_node_meanwhile() {
    let more =
        "  volumeClaimTemplates:\n    - metadata: { name: data }\n      spec: { accessModes: [ReadWriteOnce] }\n";
    let manifest = format!("{}{}{}", nodes(1), shop(), workload("StatefulSet", "db", 1, more));
    let text = "version = 1\nmanifests = [\"o.yaml\"]\n[delays]\nvolume_detach = \"3m\"\n";
    let clock = Arc::new(AtomicI64::new(START));
    let reader = Arc::clone(&clock);
    let memory = Arc::new(Memory::default());
    let now = Arc::new(move || Timestamp::from_millisecond(reader.load(Ordering::Relaxed)).unwrap());
    let file = SandboxFile::parse("cluster.toml", text).unwrap();
    let sandbox =
        Sandbox::open(&file, &[("o.yaml".to_owned(), manifest)], None, now, Arc::<Memory>::clone(&memory)).unwrap();
    let lab = Lab { sandbox, clock, memory };
    let attached = async || lab.get("/apis/storage.k8s.io/v1/volumeattachments").await.names().len();
    lab.merge("/api/v1/nodes/n1", &json!({ "spec": { "unschedulable": true } })).await;
    assert_eq!(lab.evict("db-0").await.code, 201);
    lab.pass(170_000);
    assert_eq!(attached().await, 1);
    lab.pass(15_000);
    assert_eq!(attached().await, 0);
}
