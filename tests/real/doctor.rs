//! `doctor` against missing rules and other faults, and each feature with only the role that deploy/ ships for it.

use std::collections::BTreeSet;
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::account::{
    account, agent_pod, grant_nothing_to_everybody, kubeconfig_of, kubectl_with, log_in, shipped, token_of_pod,
};
use super::cluster::{ControlPlane, Said};
use super::scene::{self, SimNode};
use super::thin::wait_for_nodes;
use haulout::provider::right::{Feature, RULES, Target};

const LIMIT: Duration = Duration::from_secs(30);
const REBOOT: &str = "[reboot.linux]\nwhen_required = true\nsettle = \"1s\"\n";

fn sim_node(name: &str, asks: Option<&str>) -> String {
    scene::node(&SimNode { name: name.to_owned(), pool: "np1", zone: "z1", asks, unschedulable: false })
}

/// A cluster with what deploy/base.yaml has, in which nobody has any right that is not in it.
fn base() -> Result<ControlPlane, Failed> {
    let plane = ControlPlane::start(&[])?;
    kubectl_with(&plane, &["create", "-f", "-"], &shipped("base.yaml")?)?;
    grant_nothing_to_everybody(&plane)?;
    Ok(plane)
}

/// One right of a shipped role: an entry of `rules` with one resource, one name, one verb.
fn rights(role: &Value) -> Vec<Value> {
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut out = Vec::new();
    for rule in all(&role["rules"]) {
        for verb in all(&rule["verbs"]) {
            for url in all(&rule["nonResourceURLs"]) {
                out.push(json!({ "nonResourceURLs": [url], "verbs": [verb] }));
            }
            for resource in all(&rule["resources"]) {
                let one = json!({ "apiGroups": rule["apiGroups"], "resources": [resource], "verbs": [verb] });
                let names = all(&rule["resourceNames"]);
                if names.is_empty() {
                    out.push(one);
                    continue;
                }
                out.extend(names.into_iter().map(|name| {
                    let mut one = one.clone();
                    one["resourceNames"] = json!([name]);
                    one
                }));
            }
        }
    }
    out
}

/// How `doctor` must name a right: what may not be done, and the rule that grants it.
fn expected(right: &Value) -> [String; 2] {
    let text = |key: &str| right[key][0].as_str().unwrap_or_default();
    let verb = text("verbs");
    let name = right.get("resourceNames").map(|names| format!(" {}", names[0].as_str().unwrap_or_default()));
    let (what, line) = match text("nonResourceURLs") {
        "" => (
            text("resources").to_owned() + &name.unwrap_or_default(),
            format!("  resources: [\"{}\"]", text("resources")),
        ),
        url => (url.to_owned(), format!("- nonResourceURLs: [\"{url}\"]")),
    };
    [format!("may not {verb} {what}"), format!("{line}\n")]
}

/// Runs `doctor` until it says what is expected: the API server's own view of roles lags behind by a moment.
fn doctor_until(
    plane: &ControlPlane,
    kubeconfig: &std::path::Path,
    config: &str,
    what: &str,
    mut holds: impl FnMut(&Said) -> bool,
) -> Result<Said, Failed> {
    let mut last = None;
    let reached = plane.until(what, Duration::from_secs(15), |plane| {
        let said = plane.haulout_as(kubeconfig, &["doctor", config], LIMIT)?;
        let reached = holds(&said);
        last = Some(said);
        Ok(reached)
    });
    match (reached, last) {
        (Ok(()), Some(said)) => Ok(said),
        (_, Some(said)) => Err(format!("{what}: {}", said.all()).into()),
        (_, None) => Err(what.into()),
    }
}

pub(crate) fn doctor_names_each_missing_rule() -> Result<(), Failed> {
    let plane = base()?;
    plane.create(&sim_node("node-a", None))?;
    wait_for_nodes(&plane, 1)?;
    account(&plane, "runner", &Feature::ALL)?;
    let runner = log_in(&plane, "runner")?;
    let config = plane.config(REBOOT)?;
    let config = config.to_str().ok_or("path")?;
    let sound = |said: &Said| said.code == 0 && said.out.contains("no problem found");
    doctor_until(&plane, &runner, config, "nothing is missing at first", sound)?;

    let mut tried = 0;
    for role in shipped("base.yaml")? {
        let name = role["metadata"]["name"].as_str().unwrap_or_default();
        if !matches!(role["kind"].as_str(), Some("ClusterRole" | "Role"))
            || !Feature::ALL.iter().any(|feature| feature.role() == name)
        {
            continue;
        }
        let all = rights(&role);
        for (missing, right) in all.iter().enumerate() {
            let mut less = role.clone();
            let kept: Vec<&Value> =
                all.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, one)| one).collect();
            less["rules"] = json!(kept);
            kubectl_with(&plane, &["replace", "-f", "-"], &[less])?;
            let wanted = expected(right);
            let what = format!("doctor names {wanted:?} of {name}");
            // What nothing needs is told, and is no problem.
            let code = i32::from(name != Feature::Certificates.role());
            doctor_until(&plane, &runner, config, &what, |said| {
                said.code == code
                    && wanted.iter().all(|text| said.out.contains(text.as_str()))
                    && said.out.matches("may not ").count() == 1
                    && said.out.contains(&format!("{name} "))
            })?;
            tried += 1;
        }
        kubectl_with(&plane, &["replace", "-f", "-"], std::slice::from_ref(&role))?;
    }
    let listed: usize = RULES.iter().map(|rule| rule.verbs.len()).sum();
    if tried != listed {
        return Err(format!("{tried} rights were taken away, {listed} are listed").into());
    }
    doctor_until(&plane, &runner, config, "nothing is missing at the end", sound)?;
    only_asked(&plane)
}

/// Nothing that `doctor` sent may have changed anything: reads, reviews, dry runs.
fn only_asked(plane: &ControlPlane) -> Result<(), Failed> {
    let agent = format!("haulout/{} doctor", env!("CARGO_PKG_VERSION"));
    let events = plane.requests(&agent)?;
    if events.len() < 100 {
        return Err(format!("only {} requests of doctor were seen", events.len()).into());
    }
    for event in &events {
        let uri = event["requestURI"].as_str().unwrap_or_default();
        let review = ["selfsubjectaccessreviews", "selfsubjectreviews"].iter().any(|kind| uri.ends_with(kind));
        let harmless = match event["verb"].as_str() {
            Some("get" | "list") => true,
            Some("create") => review || uri.contains("dryRun=All"),
            _ => false,
        };
        if !harmless {
            return Err(format!("doctor sent {event}").into());
        }
    }
    Ok(())
}

pub(crate) fn doctor_shows_every_problem_at_once() -> Result<(), Failed> {
    let plane = base()?;
    plane.create(&sim_node("node-a", None))?;
    wait_for_nodes(&plane, 1)?;
    account(&plane, "planner", &[Feature::Plan])?;
    account(&plane, "runner", &Feature::ALL)?;
    let config = plane.config(REBOOT)?;
    let path = config.to_str().ok_or("path")?;

    // Who only plans lacks the other roles as a whole, and nothing for what it is for.
    let planner = log_in(&plane, "planner")?;
    plane.haulout_as(&planner, &["doctor", path, "--for", "plan"], LIMIT)?.expect(0)?;
    let said = plane.haulout_as(&planner, &["doctor", path], LIMIT)?.expect(1)?;
    for text in [
        "lacks 10 of 10",
        "kubectl create clusterrolebinding NAME --clusterrole=haulout-reboot --user=system:serviceaccount:default:planner",
        "kubectl create rolebinding NAME --role=haulout-apply --user=system:serviceaccount:default:planner --namespace haulout-system",
    ] {
        contains(&said, text)?;
    }

    // A namespace that refuses reboot pods, an account that is gone, a role bound to somebody else, a cluster that is
    // away and one that no kubeconfig knows.
    plane.kubectl(&["label", "--overwrite", "ns", "haulout-system", "pod-security.kubernetes.io/enforce=baseline"])?;
    plane.kubectl(&["delete", "clusterrolebinding", "haulout-node"])?;
    let runner = log_in(&plane, "runner")?;
    let mut text = std::fs::read_to_string(&config)?;
    text += "\n[cluster.lost]\ncontext = \"amdin\"\n\n[cluster.away]\ncontext = \"away\"\n";
    std::fs::write(&config, text)?;
    let mut kubeconfig = std::fs::read_to_string(&runner)?;
    kubeconfig = kubeconfig
        .replace("clusters:\n", "clusters:\n- cluster: {server: \"http://127.0.0.1:1\"}\n  name: away\n")
        .replace("contexts:\n", "contexts:\n- context: {cluster: away, user: admin}\n  name: away\n");
    std::fs::write(&runner, kubeconfig)?;
    let said = plane.haulout_as(&runner, &["doctor", path], LIMIT)?.expect(1)?;
    for text in [
        "x   namespace haulout-system: does not have the label",
        "kubectl label --overwrite namespace haulout-system pod-security.kubernetes.io/enforce=privileged",
        "x   ClusterRoleBinding haulout-node: is not there, and this identity may not make it",
        "x   reboot pod by signal: would be refused",
        "violates PodSecurity",
        "did you mean admin?",
        "x   TLS: the address is http://",
        "ok  credentials: the token of the kubeconfig ends in 59m",
        "ok  clock",
        "3 clusters examined",
    ] {
        contains(&said, text)?;
    }

    // A token that ends before one node could be done, and one that is none.
    let short = plane.kubectl(&["create", "token", "runner", "--namespace", "default", "--duration", "10m"])?;
    let short = kubeconfig_of(&plane, "short", &short)?;
    let said = plane.haulout_as(&short, &["doctor", path, "--cluster", "real"], LIMIT)?.expect(1)?;
    contains(&said, "sooner than one node may take, 25m")?;
    let wrong = kubeconfig_of(&plane, "wrong", "nobody")?;
    let said = plane.haulout_as(&wrong, &["doctor", path, "--cluster", "real"], LIMIT)?.expect(1)?;
    contains(&said, "the API server does not accept these credentials")?;
    contains(&said, "?   rights: not looked at")?;

    // The end of a client certificate; the one at hand is good for a year.
    let pki = plane.folder.path().join("plane").join("pki");
    let (certificate, key) = (pki.join("apiserver.crt"), pki.join("apiserver.key"));
    let pair = format!("client-certificate: {}\n    client-key: {}\n    token:", certificate.display(), key.display());
    let admin = std::fs::read_to_string(&plane.kubeconfig)?;
    let with_certificate = plane.folder.path().join("certificate.kubeconfig");
    std::fs::write(&with_certificate, admin.replace("token:", &pair))?;
    let said = plane.haulout_as(&with_certificate, &["doctor", path, "--cluster", "real"], LIMIT)?;
    contains(&said, "the client certificate ends in 364d 2")
}

fn contains(said: &Said, text: &str) -> Result<(), Failed> {
    if said.out.contains(text) { Ok(()) } else { Err(format!("{text:?} is not said: {}", said.all()).into()) }
}

/// What an account asked for by the audit log, and did not only try; each a verb on something in a place.
fn used(plane: &ControlPlane, account: &str) -> Result<BTreeSet<String>, Failed> {
    let user = format!("system:serviceaccount:default:{account}");
    // Plans look for these, and do without them.
    let optional = granted(&[Feature::Certificates]);
    let mut used = BTreeSet::new();
    for event in plane.requests("haulout/")? {
        if event["user"]["username"] != user.as_str() {
            continue;
        }
        let refused = matches!(event["responseStatus"]["code"].as_u64(), Some(401 | 403));
        let verb = event["verb"].as_str().unwrap_or_default();
        let reference = &event["objectRef"];
        let text = |key: &str| reference[key].as_str().unwrap_or_default();
        let line = if reference.is_null() {
            let uri = event["requestURI"].as_str().unwrap_or_default();
            format!("{verb} {}", uri.split('?').next().unwrap_or_default())
        } else {
            let sub = if text("subresource").is_empty() { String::new() } else { format!("/{}", text("subresource")) };
            format!("{verb} {}{sub}.{}", text("resource"), text("apiGroup"))
        };
        if refused && optional.contains(&line) {
            continue;
        }
        if refused {
            return Err(format!("{account} was refused {event}").into());
        }
        used.insert(line);
    }
    Ok(used)
}

/// The rights of some features, as [`used`] writes them.
fn granted(features: &[Feature]) -> BTreeSet<String> {
    let rules = RULES.iter().filter(|rule| features.contains(&rule.feature));
    rules
        .flat_map(|rule| {
            rule.verbs.iter().map(|verb| match rule.target {
                Target::Url(path) => format!("{verb} {path}"),
                Target::Objects { group, resource, .. } => format!("{verb} {resource}.{group}"),
            })
        })
        .collect()
}

/// Holds what an account used against what its roles grant. `rare` is what is granted for situations that this run
/// does not meet, each with its situation at the call.
fn exactly(plane: &ControlPlane, account: &str, features: &[Feature], rare: &[&str]) -> Result<(), Failed> {
    let (used, granted) = (used(plane, account)?, granted(features));
    let more: Vec<_> = used.difference(&granted).collect();
    let idle: Vec<_> = granted.difference(&used).filter(|right| !rare.contains(&right.as_str())).collect();
    if more.is_empty() && idle.is_empty() {
        return Ok(());
    }
    Err(format!("{account} used what the list lacks: {more:?}, and did not use: {idle:?}").into())
}

pub(crate) fn each_feature_works_with_only_its_role() -> Result<(), Failed> {
    let plane = base()?;
    plane.create(&sim_node("node-a", None))?;
    wait_for_nodes(&plane, 1)?;
    plane.create(
        &(scene::namespace("shop") + &scene::deployment("shop", "web", 2) + &scene::stateful_set("shop", "db", 1)),
    )?;
    plane.until("pods Ready", Duration::from_secs(60), |plane| {
        let pods = plane.get(&["pods", "-n", "shop"])?;
        let ready = |pod: &&Value| pod["status"]["conditions"].to_string().contains("\"type\":\"Ready\"");
        Ok(pods["items"].as_array().is_some_and(|pods| pods.iter().filter(ready).count() == 3))
    })?;
    // The pods go to the second node when the first is taken out, and back when the second is rebooted.
    plane.create(&sim_node("node-b", Some("kernel")))?;
    wait_for_nodes(&plane, 2)?;
    let path = plane.config(REBOOT)?;
    let path = path.to_str().ok_or("path")?;

    account(&plane, "planner", &[Feature::Plan])?;
    let planner = log_in(&plane, "planner")?;
    let said = plane.haulout_as(&planner, &["plan", path, "--format", "json"], LIMIT)?.expect(0)?;
    let plan: Value = serde_json::from_str(&said.out)?;
    if plan["clusters"][0]["steps"].as_array().is_none_or(Vec::is_empty) || plan["clusters"][0]["gaps"] != json!([]) {
        return Err(format!("no steps, or gaps: {}", said.all()).into());
    }
    exactly(&plane, "planner", &[Feature::Plan], &[])?;

    let out = [Feature::Plan, Feature::Apply];
    account(&plane, "outer", &out)?;
    let outer = log_in(&plane, "outer")?;
    plane.config("[out_of_service.disk]\nnodes = [\"node-a\"]\nreason = \"disk\"\n")?;
    plane.haulout_as(&outer, &["apply", path, "--auto-approve"], Duration::from_secs(120))?.expect(0)?;
    plane.config("")?;
    plane.haulout_as(&outer, &["apply", path, "--auto-approve"], Duration::from_secs(120))?.expect(0)?;
    let rare = [
        "get poddisruptionbudgets.policy", // to understand a refusal, which nothing here brings about
        "list volumeattachments.storage.k8s.io", // after pods with volumes, which none has here
    ];
    exactly(&plane, "outer", &out, &rare)?;

    account(&plane, "rebooter", &Feature::ALL)?;
    let rebooter = log_in(&plane, "rebooter")?;
    plane.config(REBOOT)?;
    plane.haulout_as(&rebooter, &["plan", path], LIMIT)?.expect(0)?;
    plane.haulout_as(&rebooter, &["apply", path, "--auto-approve"], Duration::from_secs(180))?.expect(0)?;
    let rare = [
        "get poddisruptionbudgets.policy",
        "list volumeattachments.storage.k8s.io",
        "get /readyz",                       // between two nodes of the control plane
        "create leases.coordination.k8s.io", // the first lock of a cluster: the run before made it
        "get namespaces.",
    ];
    exactly(&plane, "rebooter", &Feature::ALL, &rare)
}

pub(crate) fn an_agent_writes_only_its_own_node() -> Result<(), Failed> {
    let plane = base()?;
    plane.create(&sim_node("node-a", None))?;
    plane.create(&sim_node("node-b", None))?;
    wait_for_nodes(&plane, 2)?;
    kubectl_with(&plane, &["create", "-f", "-"], &shipped("agent.yaml")?)?;
    // The agent itself may only patch. Everything else is granted here, so that what refuses is the policy.
    plane.create(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: much}\nrules:\n\
         - {apiGroups: [\"\"], resources: [nodes, nodes/status], verbs: [\"*\"]}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: much}\n\
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: much}\n\
         subjects:\n- {kind: ServiceAccount, name: haulout-agent, namespace: haulout-system}\n",
    )?;
    let token = token_of_pod(&plane, "haulout-agent", &agent_pod(&plane, "node-a")?)?;
    let unbound = plane.kubectl(&["create", "token", "haulout-agent", "--namespace", "haulout-system"])?;
    let unbound = unbound.trim().to_owned();
    plane.kubectl(&["annotate", "node", "node-a", "example.com/kept=1", "haulout.dev/reboot-reason=old"])?;

    let patch = |token: &str, node: &str, subresource: &str, body: &str| -> Result<Option<String>, Failed> {
        let mut arguments = vec!["--token", token, "patch", "node", node, "--type=merge", "--patch", body];
        if !subresource.is_empty() {
            arguments.extend(["--subresource", subresource]);
        }
        let output = plane.try_kubectl(&arguments, None)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(if output.status.success() { None } else { Some(said) })
    };
    let own =
        r#"{"metadata":{"annotations":{"haulout.dev/reboot-required":"true","haulout.dev/reboot-reason":"kernel"}}}"#;
    // The API server takes a new policy up within a second or two.
    plane.until("the policy is in force", Duration::from_secs(30), |_| {
        Ok(patch(&token, "node-b", "", own)?.is_some_and(|said| said.contains("ValidatingAdmissionPolicy")))
    })?;

    let allowed = [
        own,
        r#"{"metadata":{"annotations":{"haulout.dev/reboot-required":"false","haulout.dev/reboot-reason":null,"haulout.dev/boot-id":"b","haulout.dev/booted-at":"2026-11-24T00:00:00Z","haulout.dev/reported-at":"2026-11-24T00:00:00Z"}}}"#,
    ];
    for body in allowed {
        if let Some(said) = patch(&token, "node-a", "", body)? {
            return Err(format!("its own report {body} was refused: {said}").into());
        }
    }
    let long = format!(r#"{{"metadata":{{"annotations":{{"haulout.dev/reboot-reason":"{}"}}}}}}"#, "x".repeat(1025));
    let (only_own, only_report, only_annotations) = (
        "only the Node that its pod runs on",
        "no annotation but those of its report",
        "nothing of a Node but annotations",
    );
    let refused: [(&str, &str, &str, &str, &str); 12] = [
        (&token, "node-b", "", own, only_own),
        (&unbound, "node-a", "", own, only_own),
        (&token, "node-a", "", r#"{"metadata":{"annotations":{"haulout.dev/phase":"reboot"}}}"#, only_report),
        (&token, "node-a", "", r#"{"metadata":{"annotations":{"example.com/kept":"2"}}}"#, only_report),
        (&token, "node-a", "", r#"{"metadata":{"annotations":{"example.com/kept":null}}}"#, only_report),
        (&token, "node-a", "", r#"{"metadata":{"labels":{"team":"payments"}}}"#, only_annotations),
        (&token, "node-a", "", r#"{"metadata":{"labels":null}}"#, only_annotations),
        (&token, "node-a", "", r#"{"metadata":{"finalizers":["example.com/x"]}}"#, only_annotations),
        (&token, "node-a", "", r#"{"spec":{"unschedulable":true}}"#, only_annotations),
        (&token, "node-a", "", r#"{"spec":{"taints":[{"key":"x","effect":"NoExecute"}]}}"#, only_annotations),
        (&token, "node-a", "status", r#"{"status":{"nodeInfo":{"bootID":"other"}}}"#, "in no way but by writing"),
        (&token, "node-a", "", &long, "a report is short"),
    ];
    for (token, node, subresource, body, why) in refused {
        match patch(token, node, subresource, body)? {
            Some(said) if said.contains("ValidatingAdmissionPolicy") && said.contains(why) => {}
            other => return Err(format!("{body} on {node}: expected a refusal with {why:?}, got {other:?}").into()),
        }
    }
    let deleted = plane.try_kubectl(&["--token", &token, "delete", "node", "node-a", "--wait=false"], None)?;
    if deleted.status.success() {
        return Err("an agent deleted its Node".into());
    }
    let made = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"node-c"}}"#;
    let created = plane.try_kubectl(&["--token", &token, "create", "-f", "-"], Some(made))?;
    if created.status.success() {
        return Err("an agent made a Node".into());
    }
    // Others are none of the policy's business.
    plane.kubectl(&["label", "node", "node-b", "team=payments"])?;
    let node = plane.get(&["node", "node-a"])?;
    if node["metadata"]["annotations"]["example.com/kept"] != "1" || node["spec"]["unschedulable"] == true {
        return Err(format!("the node is not as it was: {node:#}").into());
    }
    Ok(())
}
