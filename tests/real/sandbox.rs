//! A served sandbox under a real kubectl: every line of the list that `haulout sandbox --help` publishes, and what is
//! printed beside what the real server has printed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use haulout::twin::Kind;
use libtest_mimic::Failed;

use super::cluster::{Cluster, ControlPlane, kubectl_with, program};
use super::scene::{self, SimNode};
use super::thin::wait_for_nodes;

/// A served sandbox, ended when it is dropped.
pub(crate) struct Served {
    child: Child,
    cluster: Cluster,
}

impl Deref for Served {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl Served {
    pub(crate) fn start(manifest: &str) -> Result<Self, Failed> {
        let folder = tempfile::Builder::new().prefix("haulout-sandbox-").tempdir()?;
        std::fs::write(folder.path().join("cluster.yaml"), manifest)?;
        std::fs::write(folder.path().join("cluster.toml"), "version = 1\nmanifests = [\"cluster.yaml\"]\n")?;
        let kubeconfig = folder.path().join("kubeconfig");
        let mut child = Command::new(env!("CARGO_BIN_EXE_haulout"))
            .args(["sandbox", "cluster.toml", "--kubeconfig", "kubeconfig"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or("the sandbox has no stderr")?;
        let mut said = String::new();
        let mut lines = BufReader::new(stderr);
        while !said.contains("Ctrl-C ends it") {
            if lines.read_line(&mut said)? == 0 {
                return Err(format!("the sandbox ended: {said}").into());
            }
        }
        // Named after the description that is served.
        let context = "sandbox-cluster".to_owned();
        Ok(Self { child, cluster: Cluster { folder, kubeconfig, context } })
    }

    /// Runs kubectl and expects it to do well; gives what it printed, on stdout and then on stderr.
    fn kubectl(&self, arguments: &[&str]) -> Result<String, Failed> {
        self.fed(arguments, None)
    }

    fn fed(&self, arguments: &[&str], input: Option<&str>) -> Result<String, Failed> {
        let output = kubectl_with(&self.kubeconfig, arguments, input)?;
        let said = format!("{}{}", String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        if output.status.success() { Ok(said) } else { Err(format!("kubectl {arguments:?}: {said}").into()) }
    }

    /// Runs kubectl, expects it to do well and to say something.
    fn says(&self, arguments: &str, expected: &str) -> Result<(), Failed> {
        let said = self.kubectl(&arguments.split(' ').collect::<Vec<_>>())?;
        if said.contains(expected) {
            return Ok(());
        }
        Err(format!("kubectl {arguments}: {expected:?} is not in\n{said}").into())
    }

    /// Runs kubectl and expects it to fail with certain words.
    fn refuses(&self, arguments: &str, expected: &str) -> Result<(), Failed> {
        let output = kubectl_with(&self.kubeconfig, &arguments.split(' ').collect::<Vec<_>>(), None)?;
        let said = String::from_utf8(output.stderr)?;
        if !output.status.success() && said.contains(expected) {
            return Ok(());
        }
        Err(format!("kubectl {arguments}: expected a failure with {expected:?}, and it said\n{said}").into())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nodes() -> String {
    let node = |name: &str, zone: &'static str| {
        scene::node(&SimNode { name: name.to_owned(), pool: "np1", zone, asks: None, unschedulable: false })
    };
    // A real kubelet says what it runs on, which those of the real control plane here do not.
    (node("node-a", "z1") + &node("node-b", "z2"))
        .replace("    kubernetes.io/os: linux\n", "    kubernetes.io/os: linux\n    kubernetes.io/arch: amd64\n")
}

fn workloads() -> String {
    scene::namespace("shop")
        + &scene::deployment("shop", "web", 3)
        + &scene::budget("shop", "web", "maxUnavailable: 1")
        + &scene::stateful_set("shop", "db", 2)
        + &scene::daemon_set("shop", "logs")
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n\
           ---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\ndata: {colour: blue}\n"
}

pub(crate) fn kubectl_works_on_a_sandbox() -> Result<(), Failed> {
    let served = Served::start(&format!("{}{}", nodes(), workloads()))?;
    reading(&served)?;
    writing(&served)?;
    every_kind(&served)?;
    watching(&served)?;
    draining(&served)?;
    for (what, path) in [
        ("logs -n shop db-0", "GET /api/v1/namespaces/shop/pods/db-0/log"),
        ("exec -n shop db-0 -- ls", "/api/v1/namespaces/shop/pods/db-0/exec"),
        ("scale -n shop deployment/web --replicas=2", "PATCH /apis/apps/v1/namespaces/shop/deployments/web/scale"),
        ("get --raw /apis/example.invalid/v1/things", "GET /apis/example.invalid/v1/things"),
    ] {
        served.refuses(what, &format!("the simulated cluster does not serve {path}")).or_else(|_| {
            // exec says POST or GET, by the protocol that it tries.
            served.refuses(what, path)
        })?;
    }
    served.refuses("create namespace made", "--dry-run=client -o yaml | kubectl apply -f -")?;
    // Without its token nobody gets in, and with another neither.
    let text = std::fs::read_to_string(&served.kubeconfig)?;
    let token = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("token: "))
        .map(|token| token.trim_matches('"'))
        .ok_or("no token")?;
    let stranger = served.folder.path().join("stranger");
    for other in ["0".repeat(token.len()), "x".to_owned()] {
        std::fs::write(&stranger, text.replace(token, &other))?;
        let output = kubectl_with(&stranger, &["get", "nodes"], None)?;
        let said = String::from_utf8(output.stderr)?;
        if output.status.success() || !said.contains("You must be logged in") {
            return Err(format!("a stranger got in: {said}").into());
        }
    }
    Ok(())
}

fn reading(served: &Served) -> Result<(), Failed> {
    for (arguments, expected) in [
        ("get nodes", "NAME     STATUS   ROLES    AGE   VERSION\nnode-a   Ready"),
        ("get nodes -o wide", "INTERNAL-IP"),
        ("get node node-a -o json", "\"kind\": \"Node\""),
        ("get node node-a -o yaml", "kind: Node"),
        ("get nodes -o name", "node/node-a\nnode/node-b"),
        ("get nodes -o jsonpath={.items[*].metadata.name}", "node-a node-b"),
        ("get nodes -l topology.kubernetes.io/zone=z2 -o name", "node/node-b"),
        ("get pods -A --field-selector spec.nodeName=node-a", "Running"),
        ("get all -n shop", "deployment.apps/web"),
        ("get no,po,pdb,deploy,rs,sts,ds,svc,cm,sa,ns,ev,pv,pvc,sc,csr,pc -A", "poddisruptionbudget.policy/web"),
        ("describe node node-a", "Non-terminated Pods:"),
        ("describe pod -n shop db-0", "Controlled By:  StatefulSet/db"),
        ("describe pdb -n shop web", "Allowed disruptions:  1"),
        ("describe deployment -n shop web", "3 available | 0 unavailable"),
        ("describe service -n shop web", "TargetPort:        80/TCP"),
        ("get events -A", "No resources found"),
        ("events -n shop", "No events found"),
        ("auth can-i delete nodes", "yes"),
        ("api-resources", "poddisruptionbudgets"),
        ("version", "Server Version: v1.37.2"),
        ("rollout status -n shop deployment/web --timeout=20s", "successfully rolled out"),
        ("wait --for=condition=Ready node/node-a --timeout=20s", "condition met"),
    ] {
        served.says(arguments, expected)?;
    }
    served.refuses("get node nobody", "nodes \"nobody\" not found")
}

fn writing(served: &Served) -> Result<(), Failed> {
    for (arguments, expected) in [
        ("cordon node-b", "node/node-b cordoned"),
        ("get node node-b", "Ready,SchedulingDisabled"),
        ("uncordon node-b", "node/node-b uncordoned"),
        ("label node node-b colour=blue", "labeled"),
        ("get nodes -l colour=blue -o name", "node/node-b"),
        ("label node node-b colour-", "unlabeled"),
        ("annotate node node-b example.invalid/a=b", "annotated"),
        ("get node node-b -o yaml", "example.invalid/a: b"),
        ("annotate node node-b example.invalid/a-", "annotated"),
        ("taint node node-b example.invalid/t=v:NoSchedule", "tainted"),
        ("taint node node-b example.invalid/t-", "untainted"),
        ("patch node node-b -p {\"spec\":{\"unschedulable\":true}}", "patched"),
        ("patch node node-b --type=merge -p {\"metadata\":{\"labels\":{\"q\":\"r\"}}}", "patched"),
        ("patch node node-b --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/unschedulable\"}]", "patched"),
        ("get node node-b", "Ready    <none>"),
        ("delete pod -n shop db-0 --timeout=30s", "pod \"db-0\" deleted"),
    ] {
        served.says(arguments, expected)?;
    }
    let config = |colour: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: applied, namespace: shop}}\ndata: {{colour: {colour}}}\n"
        )
    };
    let more = scene::deployment("shop", "api", 1) + &scene::budget("shop", "api", "minAvailable: 1");
    for (arguments, input, expected) in [
        (&["apply", "-f", "-"][..], config("red"), "configmap/applied created"),
        (&["apply", "-f", "-"], config("red"), "configmap/applied unchanged"),
        (&["apply", "-f", "-"], config("green"), "configmap/applied configured"),
        (&["apply", "-f", "-", "--dry-run=server"], config("blue"), "configured (server dry run)"),
        (&["get", "configmap", "-n", "shop", "applied", "-o", "yaml"], String::new(), "colour: green"),
        (&["apply", "-f", "-", "--server-side", "--force-conflicts"], config("blue"), "serverside-applied"),
        (&["replace", "-f", "-"], config("white"), "configmap/applied replaced"),
        (&["apply", "-f", "-"], more.clone(), "deployment.apps/api created"),
        (&["rollout", "status", "-n", "shop", "deployment/api", "--timeout=20s"], String::new(), "successfully"),
        (&["apply", "-f", "-"], more.replace("replicas: 1", "replicas: 2"), "deployment.apps/api configured"),
        (&["delete", "-f", "-"], more, "deployment.apps \"api\" deleted"),
        (&["create", "-f", "-"], scene::namespace("spare"), "namespace/spare created"),
        (&["delete", "namespace", "spare"], String::new(), "namespace \"spare\" deleted"),
    ] {
        let said = served.fed(arguments, Some(&input))?;
        if !said.contains(expected) {
            return Err(format!("kubectl {arguments:?}: {expected:?} is not in\n{said}").into());
        }
    }
    Ok(())
}

/// One object of each kind that the sandbox has and `workloads` has not.
const OTHERS: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: others}
---
apiVersion: v1
kind: Node
metadata: {name: other-node}
---
apiVersion: v1
kind: Pod
metadata: {name: other-pod, namespace: others}
spec: {containers: [{name: main, image: example.invalid/app}]}
---
apiVersion: v1
kind: Service
metadata: {name: other-service, namespace: others}
spec: {ports: [{port: 80}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: other-account, namespace: others}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: other-map, namespace: others}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: other-volume}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], csi: {driver: csi.example.invalid, volumeHandle: h}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: other-claim, namespace: others}
spec: {accessModes: [ReadWriteOnce], volumeName: other-volume, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Event
metadata: {name: other-event, namespace: others}
involvedObject: {kind: Pod, name: other-pod, namespace: others}
reason: Other
type: Normal
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other-deployment, namespace: others}
spec:
  replicas: 1
  selector: {matchLabels: {app: other}}
  template: {metadata: {labels: {app: other}}, spec: {containers: [{name: main, image: example.invalid/app}]}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: other-replicas, namespace: others}
spec:
  selector: {matchLabels: {app: replicas}}
  template: {metadata: {labels: {app: replicas}}, spec: {containers: [{name: main, image: example.invalid/app}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: other-set, namespace: others}
spec:
  serviceName: other
  selector: {matchLabels: {app: set}}
  template: {metadata: {labels: {app: set}}, spec: {containers: [{name: main, image: example.invalid/app}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: other-daemon, namespace: others}
spec:
  selector: {matchLabels: {app: daemon}}
  template: {metadata: {labels: {app: daemon}}, spec: {containers: [{name: main, image: example.invalid/app}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: other-job, namespace: others}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: example.invalid/app}]}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: other-budget, namespace: others}
spec: {minAvailable: 1, selector: {matchLabels: {app: set}}}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: other-lease, namespace: others}
spec: {holderIdentity: somebody}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: other-class}
provisioner: csi.example.invalid
---
apiVersion: storage.k8s.io/v1
kind: CSINode
metadata: {name: other-csi}
spec: {drivers: [{name: csi.example.invalid, nodeID: other}]}
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttachment
metadata: {name: other-attachment}
spec: {attacher: csi.example.invalid, nodeName: node-a, source: {persistentVolumeName: other-volume}}
---
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: other-request}
spec: {signerName: example.invalid/signer, request: bm90aGluZw==, usages: [client auth]}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: other-priority}
value: 7
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: other-role, namespace: others}
rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: other-binding, namespace: others}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: other-role}
subjects: [{kind: ServiceAccount, name: other-account, namespace: others}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: other-cluster-role}
rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: other-cluster-binding}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: other-cluster-role}
subjects: [{kind: Group, apiGroup: rbac.authorization.k8s.io, name: somebodies}]
";

/// Every kind is applied, printed, described, changed and deleted.
fn every_kind(served: &Served) -> Result<(), Failed> {
    let applied = served.fed(&["apply", "-f", "-"], Some(OTHERS))?;
    let again = served.fed(&["apply", "-f", "-"], Some(OTHERS))?;
    for kind in Kind::ALL {
        let dot = if kind.group().is_empty() { String::new() } else { format!(".{}", kind.group()) };
        let prefix = format!("{}{dot}/", kind.name().to_lowercase());
        let Some(name) = applied.lines().find_map(|line| line.strip_prefix(&prefix)?.strip_suffix(" created")) else {
            return Err(format!("no {prefix} was applied:\n{applied}").into());
        };
        // kubectl always sends the selector of a budget again, to any server.
        let known = if *kind == Kind::PodDisruptionBudget { "configured" } else { "unchanged" };
        if !again.contains(&format!("{prefix}{name} {known}")) {
            return Err(format!("{prefix}{name} is changed by applying it again:\n{again}").into());
        }
        let object = format!("{prefix}{name}");
        for what in [
            format!("get -n others {object} -o wide"),
            format!("describe -n others {object}"),
            format!("label -n others {object} example.invalid/a=b"),
        ] {
            // To describe a request kubectl reads it, and this one is none.
            if *kind != Kind::CertificateSigningRequest || !what.starts_with("describe") {
                served.says(&what, name)?;
            }
        }
        served.says(&format!("get {} -A -l example.invalid/a=b -o name", kind.resource()), &object)?;
    }
    // The namespace, which comes first, takes along what is in it.
    served.fed(&["delete", "-f", "-", "--ignore-not-found", "--timeout=60s"], Some(OTHERS))?;
    for kind in Kind::ALL {
        served.says(&format!("get {} -A -l example.invalid/a=b", kind.resource()), "No resources found")?;
    }
    Ok(())
}

/// `get --watch` prints a row for each change, and its columns once.
fn watching(served: &Served) -> Result<(), Failed> {
    let mut watch = Command::new(program()?)
        .args(["kubectl", "--kubeconfig"])
        .arg(&served.kubeconfig)
        .args(["get", "nodes", "--watch"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut rows = BufReader::new(watch.stdout.take().ok_or("no stdout")?).lines();
    let mut seen = Vec::new();
    let began = Instant::now();
    let mut cordoned = false;
    for row in &mut rows {
        seen.push(row?);
        // Both nodes are printed, so that the watch is under way or about to be.
        if seen.len() == 3 && !cordoned {
            cordoned = true;
            served.kubectl(&["cordon", "node-a"])?;
        }
        if seen.last().is_some_and(|row| row.contains("SchedulingDisabled")) || began.elapsed().as_secs() > 30 {
            break;
        }
    }
    watch.kill()?;
    watch.wait()?;
    served.kubectl(&["uncordon", "node-a"])?;
    let headings = seen.iter().filter(|row| row.contains("STATUS")).count();
    if headings != 1 || !seen.last().is_some_and(|row| row.starts_with("node-a") && row.contains("Disabled")) {
        return Err(format!("get --watch printed\n{}", seen.join("\n")).into());
    }
    Ok(())
}

/// A drain under a budget that lets one go at a time: refused at first, retried, done; and kubectl waits for it.
fn draining(served: &Served) -> Result<(), Failed> {
    served.kubectl(&["cordon", "node-b"])?;
    served.kubectl(&["delete", "pod", "-n", "shop", "-l", "app=web", "--timeout=60s"])?;
    served.says("rollout status -n shop deployment/web --timeout=30s", "successfully")?;
    served.kubectl(&["uncordon", "node-b"])?;
    let said = served.kubectl(&["drain", "node-a", "--ignore-daemonsets", "--timeout=90s"])?;
    for expected in ["node/node-a drained", "ignoring DaemonSet-managed Pods", "violate the pod's disruption budget"] {
        if !said.contains(expected) {
            return Err(format!("drain did not say {expected:?}:\n{said}").into());
        }
    }
    let left = served.kubectl(&["get", "pods", "-A", "--field-selector", "spec.nodeName=node-a", "-o", "name"])?;
    if left.lines().count() != 1 {
        return Err(format!("left on the drained node:\n{left}").into());
    }
    served.says("uncordon node-a", "uncordoned")
}

/// The same small scene on both; what kubectl prints may differ only in names, times and addresses.
pub(crate) fn a_sandbox_prints_what_the_real_server_prints() -> Result<(), Failed> {
    let plane = ControlPlane::start(&[])?;
    plane.create(&nodes())?;
    wait_for_nodes(&plane, 2)?;
    plane.create(&workloads())?;
    let served = Served::start(&format!("{}{}", nodes(), workloads()))?;
    plane.kubectl(&["rollout", "status", "-n", "shop", "deployment/web", "--timeout=60s"])?;
    plane.kubectl(&["rollout", "status", "-n", "shop", "statefulset/db", "--timeout=60s"])?;
    plane.until("the budget counts three", Duration::from_secs(30), |plane| {
        Ok(plane.get(&["pdb", "-n", "shop", "web"])?["status"]["disruptionsAllowed"] == 1)
    })?;
    for cordon in [false, true] {
        if cordon {
            plane.kubectl(&["cordon", "node-a"])?;
            served.kubectl(&["cordon", "node-a"])?;
        }
        for what in [
            "get nodes",
            "get nodes -o wide",
            "get pods -n shop -l app=db",
            "get pods -n shop -l app=db -o wide",
            "get pdb -n shop",
            "get deployments,statefulsets,daemonsets -n shop -o wide",
            "get configmap,service -n shop settings web --ignore-not-found -o wide",
            "get namespace shop",
            "describe pdb -n shop web",
        ] {
            let arguments: Vec<&str> = what.split(' ').collect();
            let (real, ours) = (plane.kubectl(&arguments)?, served.kubectl(&arguments)?);
            let (real, ours) = (leveled(&real), leveled(&ours));
            if real != ours {
                return Err(format!("kubectl {what}\n--- real\n{real}\n--- sandbox\n{ours}").into());
            }
        }
        let node = ["describe", "node", "node-a"];
        let (real, ours) = (sections(&plane.kubectl(&node)?), sections(&served.kubectl(&node)?));
        if real != ours {
            return Err(format!("kubectl describe node\n--- real\n{real:#?}\n--- sandbox\n{ours:#?}").into());
        }
    }
    Ok(())
}

/// Words of a print with its spacing evened out, and whatever differs from run to run replaced: ages, addresses, nodes
/// that a pod is on.
fn leveled(text: &str) -> String {
    let age = |word: &str| {
        word.len() > 1
            && word.starts_with(|c: char| c.is_ascii_digit())
            && word.chars().all(|c| c.is_ascii_digit() || "smhd".contains(c))
            && word.ends_with(['s', 'm', 'h', 'd'])
    };
    let address = |word: &str| word.split('.').count() == 4 && word.split('.').all(|part| part.parse::<u8>().is_ok());
    let line = |line: &str| {
        let pod = line.starts_with("db-");
        let words = line.split_whitespace().map(|word| match word {
            word if age(word) => "AGE",
            word if address(word) => "ADDRESS",
            word if pod && word.starts_with("node-") => "NODE",
            word => word,
        });
        words.collect::<Vec<_>>().join(" ")
    };
    let lines: Vec<String> = text.lines().map(line).collect();
    // Events come from controllers, of which the sandbox has its own.
    lines.join("\n").split("\nEvents:").next().unwrap_or_default().to_owned()
}

/// What `describe node` says, by section: its headings, and the rows that are the same on every run.
fn sections(text: &str) -> BTreeSet<String> {
    const FROM_RUN_TO_RUN: &[&str] = &[
        "CreationTimestamp:",
        "RenewTime:",
        "System UUID:",
        "Boot ID:",
        "haulout.dev/",
        "Annotations:",
        "node.alpha.kubernetes.io/ttl",
        "shop ",
        "Non-terminated Pods:",
        "cpu ",
        "memory ",
    ];
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let bare = words.join(" ");
        if bare.starts_with("Events:") {
            break;
        }
        if FROM_RUN_TO_RUN.iter().any(|start| bare.starts_with(start)) {
            continue;
        }
        // Of a condition: all but its two times.
        let condition = words.len() > 13 && ["True", "False", "Unknown"].contains(&words[1]);
        found.insert(if condition { [&words[..2], &words[14..]].concat().join(" ") } else { bare });
    }
    found
}
