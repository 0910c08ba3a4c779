//! What deploy/ asks of a cluster: exactly what the code needs, and no more.

use haulout::model::{
    ANNOTATION_BOOT_ID, ANNOTATION_BOOTED_AT, ANNOTATION_REBOOT_REASON, ANNOTATION_REBOOT_REQUIRED,
    ANNOTATION_REPORTED_AT,
};
use haulout::node::DEFAULT_SENTINELS;
use haulout::provider::kubernetes::{NODE_ACCOUNT, NODE_BINARY};
use haulout::provider::right::{Feature, Place, RULES};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

fn objects(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    serde_saphyr::from_multiple(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let first = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "more than one {kind} {name}");
    first
}

fn role<'a>(objects: &'a [Value], namespace: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| {
            let metadata = &object["metadata"];
            object["kind"] == "Role" && metadata["name"] == name && metadata["namespace"] == namespace
        })
        .unwrap_or_else(|| panic!("no Role {name} in {namespace}"))
}

/// Every right that a role gives, one a line: `VERB RESOURCE.GROUP` with the only name it is for, if any.
fn rights(role: &Value) -> BTreeSet<String> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        let mut targets = texts(&rule["nonResourceURLs"]);
        for resource in texts(&rule["resources"]) {
            for group in texts(&rule["apiGroups"]) {
                let what = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
                let names = texts(&rule["resourceNames"]);
                if names.is_empty() {
                    targets.push(what);
                } else {
                    targets.extend(names.iter().map(|name| format!("{what}/{name}")));
                }
            }
        }
        assert!(!targets.is_empty(), "a rule for nothing: {rule}");
        for target in targets {
            for verb in texts(&rule["verbs"]) {
                assert!(rights.insert(format!("{verb} {target}")), "given twice: {verb} {target}");
            }
        }
    }
    rights
}

fn assert_rights(role: &Value, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|right| (*right).to_owned()).collect();
    assert_eq!(rights(role), expected, "{}", role["metadata"]);
}

#[test]
fn every_object_is_of_a_known_kind_and_named_for_haulout() {
    for object in objects("base.yaml").iter().chain(&objects("agent.yaml")) {
        let version = match object["kind"].as_str().unwrap() {
            "Namespace" | "ServiceAccount" => "v1",
            "ClusterRole" | "ClusterRoleBinding" | "Role" => "rbac.authorization.k8s.io/v1",
            "DaemonSet" => "apps/v1",
            "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding" => "admissionregistration.k8s.io/v1",
            other => panic!("{other}"),
        };
        assert_eq!(object["apiVersion"], version);
        assert!(object["metadata"]["name"].as_str().unwrap().starts_with("haulout-"));
    }
}

#[test]
fn the_namespace_admits_reboot_pods() {
    let base = objects("base.yaml");
    let namespace = find(&base, "Namespace", "haulout-system");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
}

/// Every right of a role by the one list that the code has.
fn listed(feature: Feature, place: Place) -> BTreeSet<String> {
    let rules = RULES.iter().filter(|rule| rule.feature == feature && rule.place == place);
    let rules: Vec<Value> =
        rules.flat_map(|rule| serde_saphyr::from_str::<Vec<Value>>(&rule.yaml(rule.verbs)).unwrap()).collect();
    rights(&json!({ "rules": rules }))
}

#[test]
fn the_roles_grant_exactly_what_the_code_lists() {
    let base = objects("base.yaml");
    let mut seen = BTreeSet::new();
    for object in base.iter().filter(|object| matches!(object["kind"].as_str(), Some("ClusterRole" | "Role"))) {
        let name = object["metadata"]["name"].as_str().unwrap();
        let Some(feature) = Feature::ALL.into_iter().find(|feature| feature.role() == name) else {
            assert_eq!(name, NODE_ACCOUNT, "a role that nothing needs");
            continue;
        };
        let namespace = object["metadata"]["namespace"].as_str();
        let place = RULES.iter().map(|rule| rule.place).find(|place| match place {
            Place::Cluster => namespace.is_none(),
            Place::Namespace(listed) => namespace == Some(listed),
        });
        let place = place.unwrap_or_else(|| panic!("{name} in {namespace:?} is not listed"));
        assert_eq!(rights(object), listed(feature, place), "{name} in {namespace:?}");
        assert!(seen.insert((feature, place)), "{name} twice");
    }
    let expected: BTreeSet<_> = RULES.iter().map(|rule| (rule.feature, rule.place)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn nobody_who_does_not_reboot_may_create_pods() {
    let base = objects("base.yaml");
    for name in ["haulout-plan", "haulout-apply"] {
        let mut all = rights(find(&base, "ClusterRole", name));
        all.extend(rights(role(&base, "haulout-system", name)));
        assert!(
            !all.iter().any(|right| right.ends_with(" pods")
                && !right.starts_with("list ")
                && !right.starts_with("get ")
                && !right.starts_with("watch ")),
            "{name}: {all:?}"
        );
    }
}

#[test]
fn every_binding_that_the_comments_show_names_a_role_that_is_there() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/base.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let base = objects("base.yaml");
    let mut shown = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("#   kubectl create ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words[1];
        match words[0] {
            "clusterrolebinding" => {
                assert_eq!(words[2], format!("--clusterrole={name}"));
                find(&base, "ClusterRole", name);
                shown.insert((name.to_owned(), String::new()));
            }
            "rolebinding" => {
                assert_eq!(words[2], format!("--role={name}"));
                role(&base, words.last().unwrap(), name);
                shown.insert((name.to_owned(), (*words.last().unwrap()).to_owned()));
            }
            other => panic!("{other}"),
        }
    }
    let expected: BTreeSet<_> = RULES
        .iter()
        .map(|rule| {
            let namespace = match rule.place {
                Place::Cluster => "",
                Place::Namespace(namespace) => namespace,
            };
            (rule.feature.role().to_owned(), namespace.to_owned())
        })
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn the_policy_knows_the_report_and_the_account_of_the_agent() {
    let agent = objects("agent.yaml");
    let policy = &find(&agent, "ValidatingAdmissionPolicy", "haulout-agent")["spec"];
    assert_eq!(policy["failurePolicy"], "Fail");
    let user = policy["matchConditions"][0]["expression"].as_str().unwrap();
    assert_eq!(user, "request.userInfo.username == \"system:serviceaccount:haulout-system:haulout-agent\"");
    let report = policy["variables"][0]["expression"].as_str().unwrap();
    let keys: BTreeSet<&str> = report.split('"').filter(|part| part.contains('/')).collect();
    let expected = [
        ANNOTATION_REBOOT_REQUIRED,
        ANNOTATION_REBOOT_REASON,
        ANNOTATION_BOOT_ID,
        ANNOTATION_BOOTED_AT,
        ANNOTATION_REPORTED_AT,
    ];
    assert_eq!(keys, BTreeSet::from(expected));
    let binding = &find(&agent, "ValidatingAdmissionPolicyBinding", "haulout-agent")["spec"];
    assert_eq!(binding["policyName"], "haulout-agent");
    assert_eq!(binding["validationActions"], json!(["Deny"]));
}

#[test]
fn pods_on_nodes_may_touch_nothing_but_nodes() {
    for (file, name, right) in
        [("base.yaml", NODE_ACCOUNT, "get nodes"), ("agent.yaml", "haulout-agent", "patch nodes")]
    {
        let objects = objects(file);
        assert_eq!(find(&objects, "ServiceAccount", name)["metadata"]["namespace"], "haulout-system");
        assert_rights(find(&objects, "ClusterRole", name), &[right]);
        let binding = find(&objects, "ClusterRoleBinding", name);
        let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name });
        assert_eq!(binding["roleRef"], role);
        let subject = json!({ "kind": "ServiceAccount", "name": name, "namespace": "haulout-system" });
        assert_eq!(binding["subjects"], json!([subject]));
    }
}

#[test]
fn the_agent_is_unprivileged_and_sees_one_folder() {
    let agent = objects("agent.yaml");
    let set = find(&agent, "DaemonSet", "haulout-agent");
    let spec = &set["spec"]["template"]["spec"];
    for key in ["hostPID", "hostNetwork", "hostIPC", "initContainers"] {
        assert_eq!(spec.get(key), None, "{key}");
    }
    assert_eq!(spec["serviceAccountName"], "haulout-agent");
    assert_eq!(spec["tolerations"], json!([{ "operator": "Exists" }]));
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    let containers = spec["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    let container = &containers[0];
    assert_eq!(
        container["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        })
    );
    assert!(container["resources"]["requests"]["cpu"].is_string());
    assert!(container["resources"]["limits"]["memory"].is_string());
    let mounts = container["volumeMounts"].as_array().unwrap();
    assert!(mounts.iter().all(|mount| mount["readOnly"] == true));
    let paths: Vec<_> = spec["volumes"].as_array().unwrap().iter().map(|volume| &volume["hostPath"]["path"]).collect();
    assert_eq!(paths, ["/var/run"]);
}

#[test]
fn the_agent_finds_its_sentinel_where_the_folder_is_mounted() {
    let agent = objects("agent.yaml");
    let set = find(&agent, "DaemonSet", "haulout-agent");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["command"], json!([NODE_BINARY]));
    let argument = |name: &str| {
        let prefix = format!("--{name}=");
        let arguments = container["args"].as_array().unwrap();
        let text = arguments.iter().find_map(|argument| argument.as_str()?.strip_prefix(&prefix));
        text.unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    let sentinel = argument("sentinel");
    assert!(DEFAULT_SENTINELS.contains(&sentinel.as_str()));
    let folder = Path::new(&sentinel).parent().unwrap();
    assert_eq!(container["volumeMounts"][0]["mountPath"], format!("{}{}", argument("host-root"), folder.display()));
    // An image that was not set must not run: no name of an image has capital letters.
    assert!(container["image"].as_str().unwrap().chars().any(|c| c.is_ascii_uppercase()));
}
