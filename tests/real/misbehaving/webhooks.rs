//! Admission webhooks that answer evictions badly. All on the real control plane only: the sandbox calls no webhooks.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use libtest_mimic::Failed;
use serde_json::Value;

use super::super::cluster::{Cluster, Said, program};
use super::super::scene;
use super::stage::{Stage, node, says};

/// A server of webhooks, ended when it is dropped.
struct Webhook {
    child: Child,
}

impl Webhook {
    /// Starts the server and registers it for evictions in namespace `shop`, with what its path tells it to answer.
    fn register(cluster: &Cluster, path: &str) -> Result<Self, Failed> {
        let mut child = Command::new(program()?).arg("webhook").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let webhook = Self { child };
        let ready: Value = serde_json::from_str(&line)?;
        let (url, ca) = (ready["url"].as_str().ok_or("no url")?, ready["ca"].as_str().ok_or("no ca")?);
        cluster.create(&format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {{name: drain}}\n\
             webhooks:\n- name: drain.example.invalid\n  admissionReviewVersions: [v1]\n  sideEffects: None\n  \
             failurePolicy: Fail\n  timeoutSeconds: 3\n  clientConfig: {{url: \"{url}{path}\", caBundle: {ca}}}\n  \
             namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: shop}}}}\n  rules:\n  \
             - {{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [pods/eviction]}}\n"
        ))?;
        Ok(webhook)
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Applies under a webhook that lets no pod of `shop` go for a while.
fn under(cluster: &Cluster, path: &str, timeout: &str, code: i32, boots: usize) -> Result<Said, Failed> {
    let nodes = [node("node-a", true, &[]), node("node-b", false, &[])];
    let web = scene::deployment("shop", "web", 1);
    let stage = Stage::set(cluster, &nodes, &web, ["", &format!("drain = {{ timeout = \"{timeout}\" }}")])?;
    let _webhook = Webhook::register(cluster, path)?;
    // A webhook takes a moment to be in force.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let said = stage.apply(code)?;
    if boots == 0 {
        says(
            &said,
            &["real/node/node-a failed to drain: time is up; still there: shop/web-", "not left cordoned by this run"],
        )?;
        stage.again(2, &["node/node-a will be drained and rebooted"])?;
    } else {
        stage.again(0, &["No changes."])?;
    }
    stage.end(1, &[("node-a", boots)])?;
    Ok(said)
}

const DENIED: &str = "Pod will be rolled by the operator";

pub(super) fn a_webhook_says_429(cluster: &Cluster) -> Result<(), Failed> {
    let said = under(cluster, "/deny/429", "20s", 8, 0)?;
    says(&said, &["held by an admission webhook: ", "drain.example.invalid", DENIED])
}

pub(super) fn a_webhook_says_500(cluster: &Cluster) -> Result<(), Failed> {
    let said = under(cluster, "/error", "20s", 8, 0)?;
    says(&said, &["held by an admission webhook: ", "drain.example.invalid", "the webhook has lost its database"])
}

pub(super) fn a_webhook_hangs(cluster: &Cluster) -> Result<(), Failed> {
    let said = under(cluster, "/hang", "20s", 8, 0)?;
    says(&said, &["held by an admission webhook: ", "drain.example.invalid"])
}

/// As operators do that roll the pod themselves meanwhile.
pub(super) fn a_webhook_denies_first_and_allows_later(cluster: &Cluster) -> Result<(), Failed> {
    let said = under(cluster, "/deny/403/3", "60s", 0, 1)?;
    says(&said, &["drain.example.invalid", DENIED])
}
