use super::*;
use haulout::model::{ANNOTATION_PHASE, ANNOTATION_RUN, LABEL_COMPONENT, LABEL_RUN};

fn manifest() -> String {
    let waiting = "apiVersion: v1\nkind: Node\nmetadata:\n  name: w1\n  annotations: { sim.haulout.dev/reboot-required: linux-image }\n---\n";
    let daemon = workload("DaemonSet", "agent", 0, "").replace("  replicas: 0\n", "");
    format!("{waiting}{}{}{daemon}{}", nodes(2), shop(), workload("Deployment", "web", 3, ""))
}

pub(super) async fn start_reboot_pod(lab: &Lab, run: &str) {
    lab.post("/api/v1/namespaces", &json!({ "metadata": { "name": "haulout-system" } })).await;
    let pod = json!({
        "metadata": { "name": "reboot-w1", "labels": { LABEL_COMPONENT: "reboot", LABEL_RUN: run } },
        "spec": {
            "nodeName": "w1", "restartPolicy": "Never", "tolerations": [{ "operator": "Exists" }],
            "containers": [{ "name": "reboot", "image": "sandbox" }],
        },
    });
    assert_eq!(lab.post("/api/v1/namespaces/haulout-system/pods", &pod).await.code, 201);
}

pub(super) fn mark(run: &str, phase: &str) -> Value {
    json!({ "metadata": { "annotations": { ANNOTATION_RUN: run, ANNOTATION_PHASE: phase } } })
}

pub(super) fn boot_id(node: &Value) -> String {
    node["status"]["nodeInfo"]["bootID"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_reboot_pod_reboots_its_node_once() {
    let lab = Lab::new(&manifest());
    let before = lab.node("w1").await;
    assert_eq!(before["metadata"]["annotations"]["haulout.dev/reboot-reason"], "linux-image");
    let daemon = |pods: Vec<(String, String, bool)>| pods.into_iter().find(|(_, node, _)| node == "w1").unwrap();
    let agent = daemon(lab.pods("agent").await);
    lab.merge("/api/v1/nodes/w1", &json!({ "spec": { "unschedulable": true } })).await;
    start_reboot_pod(&lab, "r1").await;
    lab.pass(1500);
    let armed = lab.get("/api/v1/namespaces/haulout-system/pods/reboot-w1").await.body;
    assert!(is_true(&armed, "Ready"));
    // Neither another phase nor another run fires it.
    for (run, phase) in [("r1", "drained"), ("r2", "reboot")] {
        lab.merge("/api/v1/nodes/w1", &mark(run, phase)).await;
        lab.pass(10_000);
        assert_eq!(boot_id(&lab.node("w1").await), boot_id(&before), "{run} {phase}");
    }
    lab.merge("/api/v1/nodes/w1", &mark("r1", "reboot")).await;
    lab.pass(2000);
    // Dark: the cluster still shows what it knew, and the lease stands still.
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/w1";
    let renewed = lab.get(lease).await.body["spec"]["renewTime"].clone();
    lab.pass(1000);
    assert_eq!(lab.get(lease).await.body["spec"]["renewTime"], renewed);
    assert!(is_true(&lab.node("w1").await, "Ready"));
    lab.pass(350);
    let back = lab.node("w1").await;
    assert_ne!(boot_id(&back), boot_id(&before));
    assert!(!is_true(&back, "Ready"), "not at once");
    assert!(!daemon(lab.pods("agent").await).2, "its pods start again");
    lab.pass(2000);
    let back = lab.node("w1").await;
    assert!(is_true(&back, "Ready"));
    let annotations = &back["metadata"]["annotations"];
    assert_eq!(annotations["haulout.dev/reboot-required"], "false");
    assert_eq!(annotations["haulout.dev/reboot-reason"], Value::Null);
    assert_eq!(annotations["haulout.dev/boot-id"], boot_id(&back));
    let again = daemon(lab.pods("agent").await);
    assert_eq!((again.0, again.2), (agent.0, true), "the same pod, Ready again");
    let ended = lab.get("/api/v1/namespaces/haulout-system/pods/reboot-w1").await.body;
    assert_eq!(ended["status"]["phase"], "Succeeded");
    assert_ne!(lab.get(lease).await.body["spec"]["renewTime"], renewed);
    lab.pass(60_000);
    assert_eq!(boot_id(&lab.node("w1").await), boot_id(&back), "once");
    let events = lab.get("/api/v1/namespaces/default/events?fieldSelector=reason%3DRebooted").await;
    assert_eq!(events.names().len(), 1);
}

#[tokio::test]
async fn a_node_that_is_uncordoned_is_not_rebooted() {
    let lab = Lab::new(&manifest());
    let before = boot_id(&lab.node("w1").await);
    start_reboot_pod(&lab, "r1").await;
    lab.pass(1500);
    lab.merge("/api/v1/nodes/w1", &mark("r1", "reboot")).await;
    lab.pass(10_000);
    assert_eq!(boot_id(&lab.node("w1").await), before);
}

#[tokio::test]
async fn a_reason_can_survive_and_a_node_can_stay_dark() {
    let manifest = manifest().replace(
        "sim.haulout.dev/reboot-required: linux-image",
        "sim.haulout.dev/reboot-required: linux-image, sim.haulout.dev/reason-survives: \"true\", sim.haulout.dev/reboot-takes: 10m",
    );
    let lab = Lab::new(&manifest);
    lab.merge("/api/v1/nodes/w1", &json!({ "spec": { "unschedulable": true } })).await;
    start_reboot_pod(&lab, "r1").await;
    lab.pass(1500);
    lab.merge("/api/v1/nodes/w1", &mark("r1", "reboot")).await;
    lab.pass(39_000);
    assert!(is_true(&lab.node("w1").await, "Ready"));
    lab.pass(12_000);
    let lost = lab.node("w1").await;
    let ready = lost["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
    assert_eq!(ready["status"], "Unknown");
    let taints = lost["spec"]["taints"].to_string();
    assert!(taints.contains("unreachable") && taints.contains("NoExecute"), "{taints}");
    assert!(lab.pods("agent").await.iter().any(|(_, node, ready)| node == "w1" && !ready));
    lab.pass(600_000);
    let back = lab.node("w1").await;
    assert!(is_true(&back, "Ready"));
    assert!(!back["spec"]["taints"].to_string().contains("unreachable"));
    assert_eq!(back["metadata"]["annotations"]["haulout.dev/reboot-required"], "true");
}

#[tokio::test]
async fn a_cordon_has_an_owner_and_taints_the_node() {
    let lab = Lab::new(&manifest());
    let owner = |node: &Value| -> Option<String> {
        let entries = node["metadata"]["managedFields"].as_array()?.clone();
        let owns = |entry: &&Value| !entry["fieldsV1"]["f:spec"]["f:unschedulable"].is_null();
        entries.iter().find(owns).map(|entry| entry["manager"].as_str().unwrap().to_owned())
    };
    let cordon = json!({ "spec": { "unschedulable": true } });
    let ours = lab.merge("/api/v1/nodes/n1?fieldManager=haulout", &cordon).await.body;
    assert_eq!(owner(&ours).as_deref(), Some("haulout"));
    lab.pass(100);
    let tainted = lab.node("n1").await;
    assert_eq!(tainted["spec"]["taints"][0]["key"], "node.kubernetes.io/unschedulable");
    let version = tainted["metadata"]["resourceVersion"].clone();
    let same = lab.merge("/api/v1/nodes/n1?fieldManager=kubectl", &cordon).await.body;
    assert_eq!(
        (owner(&same).as_deref(), &same["metadata"]["resourceVersion"]),
        (Some("haulout"), &version),
        "nothing changed"
    );
    let freed =
        lab.merge("/api/v1/nodes/n1?fieldManager=kubectl", &json!({ "spec": { "unschedulable": false } })).await.body;
    assert_eq!((owner(&freed), &freed["spec"]["unschedulable"]), (None, &Value::Null));
    lab.pass(100);
    assert_eq!(lab.node("n1").await["spec"]["taints"], Value::Null);
    // Without fieldManager the user agent names the owner.
    let foreign = lab.merge("/api/v1/nodes/n1", &cordon).await.body;
    assert_eq!(owner(&foreign).as_deref(), Some("tester"));
    let stale = json!({ "metadata": { "resourceVersion": version }, "spec": { "unschedulable": null } });
    let conflict = lab.merge("/api/v1/nodes/n1", &stale).await;
    assert_eq!((conflict.code, conflict.body["reason"].as_str()), (409, Some("Conflict")));
}

#[tokio::test]
async fn a_drained_node_stays_empty_but_for_its_daemons() {
    let lab = Lab::new(&manifest());
    let (pod, node, _) = lab.pods("web").await.remove(0);
    lab.merge(&format!("/api/v1/nodes/{node}"), &json!({ "spec": { "unschedulable": true } })).await;
    let on_node: Vec<String> =
        lab.pods("web").await.into_iter().filter(|(_, at, _)| *at == node).map(|(name, ..)| name).collect();
    assert!(on_node.contains(&pod));
    for pod in &on_node {
        assert_eq!(lab.evict(pod).await.code, 201);
    }
    lab.pass(4000);
    let web = lab.pods("web").await;
    assert!(web.len() == 3 && web.iter().all(|(_, at, ready)| *at != node && *ready), "{web:?}");
    let rest = lab.get(&format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")).await;
    assert_eq!(rest.names().len(), 1, "its daemon");
    // A daemon that is evicted comes back to the cordoned node.
    assert_eq!(lab.evict(&rest.names()[0]).await.code, 201);
    lab.pass(3000);
    let again = lab.get(&format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")).await;
    assert!(again.names().len() == 1 && again.names() != rest.names());
}

#[tokio::test]
async fn what_is_owned_goes_with_its_owner() {
    let lab = Lab::new(&manifest());
    assert_eq!(lab.delete("/apis/apps/v1/namespaces/shop/deployments/web").await.code, 200);
    lab.pass(5000);
    assert!(lab.pods("web").await.is_empty());
    assert!(lab.get("/apis/apps/v1/replicasets").await.names().is_empty());
    assert_eq!(lab.delete("/api/v1/nodes/n1").await.code, 200);
    lab.pass(1000);
    assert!(lab.pods("agent").await.iter().all(|(_, node, _)| node != "n1"));
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1";
    assert_eq!(lab.get(lease).await.code, 404);
    assert_eq!(lab.delete("/api/v1/namespaces/shop").await.code, 200);
    let refused = lab.post("/api/v1/namespaces/shop/configmaps", &json!({ "metadata": { "name": "c" } })).await;
    assert_eq!((refused.code, &refused.body["details"]["causes"][0]["reason"]), (403, &json!("NamespaceTerminating")));
    lab.pass(5000);
    assert_eq!(lab.get("/api/v1/namespaces/shop").await.code, 404);
}

#[tokio::test]
async fn jobs_run_to_their_end() {
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: { name: once, namespace: shop }\nspec:\n  completions: 2\n  template:\n    metadata: { labels: { app: once }, annotations: { sim.haulout.dev/complete-after: 2s } }\n    spec: { containers: [{ name: c, image: x }] }\n---\n";
    let lab = Lab::new(&format!("{}{}{job}", nodes(1), shop()));
    let job = lab.get("/apis/batch/v1/namespaces/shop/jobs/once").await.body;
    assert_eq!(job["status"]["succeeded"], 2);
    assert!(is_true(&job, "Complete"));
}
