//! Everybody else: people, the autoscaler, kured.

use std::time::Duration;

use haulout::twin::{Kind, PatchKind, Port, Verb};
use serde_json::{Value, json};

use haulout::provider::clock::Simulated;
use jiff::SignedDuration;

use super::chance::Chance;
use super::law::SharedLaw;
use super::scene::{cordon, request};

/// Does something every now and then, for as long as it is polled.
pub(super) async fn meddle(port: Port, law: SharedLaw, mut chance: Chance) {
    loop {
        let millis = chance.from(500, 40_000);
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let names = |kind: Kind| -> Vec<String> {
            port.look(|world| {
                let objects = world.objects(kind).filter(|it| it["metadata"]["namespace"] != "haulout-system");
                objects.map(|it| it["metadata"]["name"].as_str().unwrap().to_owned()).collect()
            })
        };
        let nodes = names(Kind::Node);
        if nodes.is_empty() {
            return;
        }
        let node = chance.pick(&nodes).clone();
        match chance.from(0, 13) {
            0..=1 => drop(port.apply(&cordon(&node, true, "kubectl-cordon"))),
            2..=4 => drop(port.apply(&cordon(&node, false, "kubectl-uncordon"))),
            5..=7 => {
                let pods = names(Kind::Pod);
                if !pods.is_empty() {
                    let pod = chance.pick(&pods).clone();
                    let delete = Verb::Delete(json!({}).into());
                    port.apply(&request(Kind::Pod, Some("default"), Some(&pod), delete, "kubectl"));
                }
            }
            8 => {
                if chance.per_mille(300) {
                    port.apply(&request(Kind::Node, None, Some(&node), Verb::Delete(json!({}).into()), "autoscaler"));
                }
            }
            9 => {
                if port.reach(|world| world.pull_plug(&node)) {
                    *law.lock().unwrap().plugs.entry(node).or_default() += 1;
                }
            }
            10 => {
                // kured takes its lock for some node, or gives it back; where there is no kured nothing happens.
                let lock = json!({ "nodeID": node, "created": super::scene::START, "TTL": 0 }).to_string();
                let lock = if chance.per_mille(500) { json!(lock) } else { Value::Null };
                let patch = json!({ "metadata": { "annotations": { "weave.works/kured-node-lock": lock } } });
                let patch = Verb::Patch(PatchKind::Merge, patch.into());
                port.apply(&request(Kind::DaemonSet, Some("kube-system"), Some("kured"), patch, "kured"));
            }
            11 => {
                // Whatever held the pods has done its work.
                for pod in names(Kind::Pod) {
                    let patch = Verb::Patch(PatchKind::Merge, json!({ "metadata": { "finalizers": null } }).into());
                    port.apply(&request(Kind::Pod, Some("default"), Some(&pod), patch, "holder"));
                }
            }
            _ => {
                let budgets = names(Kind::PodDisruptionBudget);
                if !budgets.is_empty() {
                    let budget = chance.pick(&budgets).clone();
                    let bound = chance.from(0, 2);
                    let spec = json!({ "spec": { "minAvailable": bound, "maxUnavailable": null } });
                    let patch = Verb::Patch(PatchKind::Merge, spec.into());
                    port.apply(&request(Kind::PodDisruptionBudget, Some("default"), Some(&budget), patch, "kubectl"));
                }
            }
        }
    }
}

/// Sets the clock of the machine wrong and right again every now and then, for as long as it is polled.
pub(super) async fn jump(mut chance: Chance) {
    loop {
        let seconds = chance.from(5, 300);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let by = i64::try_from(chance.from(0, 1200)).unwrap() - 600;
        Simulated::set_wrong(SignedDuration::from_secs(if chance.per_mille(300) { 0 } else { by }));
    }
}
