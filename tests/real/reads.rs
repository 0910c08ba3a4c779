//! Verbs that read only read, and rights that are missing are gaps.

use std::time::Duration;

use libtest_mimic::Failed;

use super::cluster::ControlPlane;
use super::scene::{self, SimNode};
use super::thin::wait_for_nodes;

fn one_node() -> Result<ControlPlane, Failed> {
    let plane = ControlPlane::start(&[])?;
    plane.create(&scene::node(&SimNode {
        name: "node-a".to_owned(),
        pool: "np1",
        zone: "z1",
        asks: Some("kernel"),
        unschedulable: false,
    }))?;
    wait_for_nodes(&plane, 1)?;
    Ok(plane)
}

pub(crate) fn reading_verbs_only_read() -> Result<(), Failed> {
    let plane = one_node()?;
    let config = plane.config("[reboot.linux]\nwhen_required = true\n")?;
    let config = config.to_str().ok_or("path")?;
    let limit = Duration::from_secs(30);
    plane.haulout(&["validate", config], limit)?.expect(0)?;
    plane.haulout(&["plan", config], limit)?.expect(0)?;
    let snapshot = plane.haulout(&["snapshot", config], limit)?.expect(0)?;
    let file = plane.folder.path().join("snapshot.json");
    std::fs::write(&file, &snapshot.out)?;
    let sent = plane.requests("haulout/")?;
    for (verb, count) in [("validate", 0), ("plan", 1), ("snapshot", 1)] {
        let agent = format!("haulout/{} {verb}", env!("CARGO_PKG_VERSION"));
        let mine: Vec<_> = sent.iter().filter(|event| event["userAgent"] == agent.as_str()).collect();
        if mine.len() < count || (count == 0 && !mine.is_empty()) {
            return Err(format!("{verb}: {} requests", mine.len()).into());
        }
    }
    for event in &sent {
        if !matches!(event["verb"].as_str(), Some("get" | "list" | "watch")) {
            return Err(format!("a reading verb sent {event}").into());
        }
    }
    // From a snapshot no request is sent at all, and the plan is the same.
    let file = file.to_str().ok_or("path")?;
    let live = plane.haulout(&["plan", config, "--format", "json"], limit)?.expect(0)?;
    let before = plane.requests("haulout/")?.len();
    let offline = plane.haulout(&["plan", config, "--snapshot", file, "--format", "json"], limit)?.expect(0)?;
    if plane.requests("haulout/")?.len() != before {
        return Err("planning from a snapshot sent requests".into());
    }
    let steps = |text: &str| -> Result<serde_json::Value, Failed> {
        Ok(serde_json::from_str::<serde_json::Value>(text)?["clusters"][0]["steps"].clone())
    };
    if steps(&live.out)? != steps(&offline.out)? || steps(&live.out)?.is_null() {
        return Err(format!("the plans differ:\n{}\n{}", live.out, offline.out).into());
    }
    Ok(())
}

pub(crate) fn what_may_not_be_read_is_a_gap() -> Result<(), Failed> {
    let plane = one_node()?;
    plane.create(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: nodes-only}\nrules:\n\
         - {apiGroups: [\"\"], resources: [nodes], verbs: [get, list, watch]}\n---\n\
         apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: reader, namespace: default}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: nodes-only}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: nodes-only}\n\
         subjects:\n- {kind: ServiceAccount, name: reader, namespace: default}\n",
    )?;
    let token = plane.kubectl(&["create", "token", "reader", "-n", "default"])?;
    let admin = std::fs::read_to_string(&plane.kubeconfig)?;
    let reader: String = admin
        .lines()
        .map(|line| match line.split_once("token:") {
            Some((indent, _)) => format!("{indent}token: {}\n", token.trim()),
            None => format!("{line}\n"),
        })
        .collect();
    let kubeconfig = plane.folder.path().join("reader.kubeconfig");
    std::fs::write(&kubeconfig, reader)?;
    let config = plane.config("[reboot.linux]\nwhen_required = true\n")?;
    let config = config.to_str().ok_or("path")?;
    let said =
        plane.haulout_as(&kubeconfig, &["plan", config, "--detailed-exitcode"], Duration::from_secs(30))?.expect(2)?;
    for word in ["pods", "poddisruptionbudgets"] {
        if !said.out.contains(word) {
            return Err(format!("the gap about {word} is not shown: {}", said.all()).into());
        }
    }
    if said.out.contains("will be drained") {
        return Err(format!("planned a drain that nobody could judge: {}", said.all()).into());
    }
    Ok(())
}
