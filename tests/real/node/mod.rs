//! What runs on nodes, as it runs there: the real process, its pod's token, a PID 1 that records.

mod cut;
pub(crate) mod recorder;

use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::account::{agent_pod, kubectl_with, shipped, token_of_pod};
use super::cluster::ControlPlane;
use cut::Way;
use recorder::{Pod, Recorded};

const RUN: &str = "20261124-000000-abcd";
/// systemd's request to reboot, SIGRTMIN+5 by glibc's count.
const SIGNAL: &str = "signal 39";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A control plane and a pod's credentials on it.
struct Scene {
    plane: ControlPlane,
    account: PathBuf,
    port: u16,
    boot_id: String,
}

impl Scene {
    fn new() -> Result<Self, Failed> {
        let plane = ControlPlane::start(&[])?;
        kubectl_with(&plane, &["create", "-f", "-"], &shipped("base.yaml")?)?;
        let text = std::fs::read_to_string(&plane.kubeconfig)?;
        let port = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("server: https://127.0.0.1:")?.parse().ok())
            .ok_or("the port of the API server")?;
        let account = plane.folder.path().join("serviceaccount");
        std::fs::create_dir(&account)?;
        std::fs::copy(plane.folder.path().join("plane/pki/ca.crt"), account.join("ca.crt"))?;
        std::fs::write(account.join("namespace"), "haulout-system")?;
        let boot_id = std::fs::read_to_string(BOOT_ID)?.trim().to_owned();
        Ok(Self { plane, account, port, boot_id })
    }

    fn log_in(&self, token: &str) -> Result<(), Failed> {
        Ok(std::fs::write(self.account.join("token"), token)?)
    }

    fn pod(&self, port: u16) -> Pod<'_> {
        Pod { account: &self.account, port }
    }

    /// A Node that nothing but the test writes. Its kubelet is this machine's, as far as the boot id goes.
    fn node(&self, name: &str, boot_id: &str) -> Result<String, Failed> {
        let node = json!({ "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "labels": { "kubernetes.io/os": "linux" } } });
        kubectl_with(&self.plane, &["create", "-f", "-"], &[node])?;
        // Room for the pod of the agent.
        let room = json!({ "cpu": "4", "memory": "8Gi", "pods": "20" });
        let status = json!({ "nodeInfo": { "bootID": boot_id }, "capacity": room, "allocatable": room });
        self.patch(name, "kubelet", &["--subresource=status"], &json!({ "status": status }))?;
        let node = self.plane.get(&["node", name])?;
        Ok(node["metadata"]["uid"].as_str().ok_or("a node without uid")?.to_owned())
    }

    fn patch(&self, node: &str, manager: &str, more: &[&str], body: &Value) -> Result<(), Failed> {
        let (manager, body) = (format!("--field-manager={manager}"), body.to_string());
        let arguments = ["patch", "node", node, "--type=merge", &manager, "--patch", &body];
        self.plane.kubectl(&[&arguments, more].concat()).map(|_| ())
    }

    /// Cordons a node as a run does, or changes what it wrote.
    fn mark(&self, node: &str, manager: &str, run: &str, phase: &str, cordoned: bool) -> Result<(), Failed> {
        self.patch(node, manager, &[], &marks(run, phase, cordoned))
    }

    fn phase(&self, node: &str, phase: &str) -> Result<(), Failed> {
        self.mark(node, "haulout", RUN, phase, true)
    }

    fn start(&self, name: &str, port: u16, asked: &Asked) -> Result<Recorded, Failed> {
        let not_after = jiff::Timestamp::now() + asked.life;
        let arguments = [
            "node",
            "reboot",
            "--node",
            name,
            "--node-uid",
            &asked.uid,
            "--boot-id",
            &asked.boot_id,
            "--run",
            RUN,
            "--not-after",
            &not_after.to_string(),
            "--method",
            "signal",
        ]
        .map(str::to_owned);
        Recorded::start(self.plane.folder.path(), name, &self.pod(port), &arguments)
    }
}

fn marks(run: &str, phase: &str, cordoned: bool) -> Value {
    let cordon = json!({ "config": "real-test", "table": "linux", "run": run, "since": "2026-11-24T00:00:00Z" });
    json!({
        "metadata": { "annotations": {
            "haulout.dev/cordon": cordon.to_string(), "haulout.dev/run": run, "haulout.dev/phase": phase,
        } },
        "spec": { "unschedulable": if cordoned { json!(true) } else { Value::Null } },
    })
}

/// What the process is told.
struct Asked {
    uid: String,
    boot_id: String,
    life: jiff::SignedDuration,
}

/// How a case ends: haulout's exit code, and what it must say.
struct End(i32, &'static str);

/// One case: makes its Node, starts the process, does what it is about, and says how it must end. The second part is
/// whether the process must have been armed before.
type Case = fn(&Scene, &str) -> Result<(Recorded, bool, End), Failed>;

const CASES: &[(&str, Case)] = &[
    ("other-boot-asked", other_boot_asked),
    ("other-boot-seen", other_boot_seen),
    ("uncordoned", uncordoned),
    ("foreign-cordon", foreign_cordon),
    ("late", late),
    ("other-run", other_run),
    ("other-uid", other_uid),
    ("made-again", made_again),
    ("api-away", api_away),
    ("past", past),
];

fn usual(scene: &Scene, name: &str) -> Result<Asked, Failed> {
    let uid = scene.node(name, &scene.boot_id)?;
    scene.phase(name, "cordoned")?;
    Ok(Asked { uid, boot_id: scene.boot_id.clone(), life: jiff::SignedDuration::from_secs(600) })
}

/// Starts the process on a Node on which everything matches but the phase, and waits until it is armed.
fn armed(scene: &Scene, name: &str, port: u16, asked: &Asked) -> Result<Recorded, Failed> {
    let mut recorded = scene.start(name, port, asked)?;
    recorded.until("armed", Duration::from_secs(30), |lines| lines.iter().any(|line| line == "armed"))?;
    Ok(recorded)
}

fn other_boot_asked(scene: &Scene, name: &str) -> Result<(Recorded, bool, End), Failed> {
    let asked = Asked { boot_id: "3f1c0a52-0000-4000-8000-000000000001".to_owned(), ..usual(scene, name)? };
    scene.phase(name, "reboot")?;
    Ok((scene.start(name, scene.port, &asked)?, false, End(0, "the node has booted already")))
}

fn other_boot_seen(scene: &Scene, name: &str) -> Result<(Recorded, bool, End), Failed> {
    let asked = usual(scene, name)?;
    let other = json!({ "status": { "nodeInfo": { "bootID": "3f1c0a52-0000-4000-8000-000000000001" } } });
    scene.patch(name, "kubelet", &["--subresource=status"], &other)?;
    scene.phase(name, "reboot")?;
    Ok((scene.start(name, scene.port, &asked)?, false, End(1, "names another boot id")))
}

fn uncordoned(scene: &Scene, name: &str) -> Result<(Recorded, bool, End), Failed> {
    let recorded = armed(scene, name, scene.port, &usual(scene, name)?)?;
    scene.mark(name, "haulout", RUN, "reboot", false)?;
    Ok((recorded, true, End(1, "the node is not cordoned")))
}

fn foreign_cordon(scene: &Scene, name: &str) -> Result<(Recorded, bool, End), Failed> {
    let asked = usual(scene, name)?;
    scene.mark(name, "haulout", RUN, "cordoned", false)?;
    scene.mark(name, "kubectl-cordon", RUN, "reboot", true)?;
    Ok((scene.start(name, scene.port, &asked)?, false, End(1, "the cordon on the node is not haulout's")))
}

fn late(scene: &Scene, name: &str) -> Result<(Recorded, bool, End), Failed> {
    let asked = Asked { life: jiff::SignedDuration::from_secs(8), ..usual(scene, name)? };
    let recorded = armed(scene, name, scene.port, &asked)?;
    std::thread::sleep(Duration::from_secs(8));
    scene.phase(name, "reboot")?;
    Ok((recorded, true, End(1, "the time for it ended at")))
}

fn other_run(scene: &Scene, name: &str) -> Result<(Recorded, bool, End), Failed> {
    let recorded = armed(scene, name, scene.port, &usual(scene, name)?)?;
    scene.mark(name, "haulout", "20261124-111111-ffff", "reboot", true)?;
    Ok((recorded, true, End(1, "is that of run 20261124-111111-ffff")))
}

fn other_uid(scene: &Scene, name: &str) -> Result<(Recorded, bool, End), Failed> {
    let asked = Asked { uid: "3f1c0a52-0000-4000-8000-000000000002".to_owned(), ..usual(scene, name)? };
    scene.phase(name, "reboot")?;
    Ok((scene.start(name, scene.port, &asked)?, false, End(1, "not the one of the plan")))
}

fn made_again(scene: &Scene, name: &str) -> Result<(Recorded, bool, End), Failed> {
    let recorded = armed(scene, name, scene.port, &usual(scene, name)?)?;
    scene.plane.kubectl(&["delete", "node", name])?;
    // Gone, or there again under the name with everything but the UID: it ends at whichever it sees first.
    scene.node(name, &scene.boot_id)?;
    scene.phase(name, "reboot")?;
    Ok((recorded, true, End(1, "its Node object")))
}

fn api_away(scene: &Scene, name: &str) -> Result<(Recorded, bool, End), Failed> {
    let way = Way::to(scene.port)?;
    let recorded = armed(scene, name, way.port(), &usual(scene, name)?)?;
    way.cut();
    // It cannot hear this, and must not come to believe it later.
    scene.phase(name, "reboot")?;
    Ok((recorded, true, End(1, "it could not be read for 6")))
}

fn past(scene: &Scene, name: &str) -> Result<(Recorded, bool, End), Failed> {
    let recorded = armed(scene, name, scene.port, &usual(scene, name)?)?;
    scene.phase(name, "returned")?;
    Ok((recorded, true, End(1, "the node has returned already")))
}

/// Everything matches: one signal, and only one, at the phase and not before it.
fn fires(scene: &Scene) -> Result<(), Failed> {
    let name = "all-matches";
    let asked = usual(scene, name)?;
    let mut recorded = armed(scene, name, scene.port, &asked)?;
    for phase in ["armed", "drained"] {
        scene.phase(name, phase)?;
        std::thread::sleep(Duration::from_secs(3));
        if !recorded.signals().is_empty() {
            return Err(format!("it fired at phase {phase}: {:?}", recorded.lines()).into());
        }
    }
    scene.phase(name, "reboot")?;
    recorded.until("the signal", Duration::from_secs(15), |lines| lines.iter().any(|line| line == SIGNAL))?;
    // Three more looks would have been had by now, if it still looked.
    std::thread::sleep(Duration::from_secs(7));
    if recorded.signals() != [SIGNAL] || recorded.lines().iter().any(|line| line.starts_with("exit")) {
        return Err(format!("not one signal, or it ended: {:?}: {}", recorded.lines(), recorded.said()).into());
    }
    Ok(())
}

fn holds_fire(scene: &Scene, name: &str, case: Case) -> Result<(), Failed> {
    let (mut recorded, was_armed, End(code, says)) = case(scene, name)?;
    // The longest is the API server that is away: 60 s blind and one deadline of a read.
    let exit = recorded.exit(Duration::from_secs(100))?;
    let lines = recorded.lines();
    let fired = !recorded.signals().is_empty();
    if fired || exit != code || was_armed != lines.iter().any(|line| line == "armed") || !recorded.said().contains(says)
    {
        return Err(
            format!("{name}: recorded {lines:?}, expected exit {code} with {says:?}: {}", recorded.said()).into()
        );
    }
    Ok(())
}

/// A pod of the shipped account, as it is bound to a node, and its token.
fn reboot_token(scene: &Scene) -> Result<String, Failed> {
    scene.node("token", &scene.boot_id)?;
    let pod = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "token", "namespace": "haulout-system" },
        "spec": { "nodeName": "token", "serviceAccountName": "haulout-node",
            "containers": [{ "name": "main", "image": "example.invalid/haulout:test" }] } });
    kubectl_with(&scene.plane, &["create", "-f", "-"], &[pod])?;
    token_of_pod(&scene.plane, "haulout-node", &scene.plane.get(&["pod", "token", "--namespace", "haulout-system"])?)
}

pub(crate) fn a_node_is_rebooted_only_when_all_matches() -> Result<(), Failed> {
    let scene = Scene::new()?;
    scene.log_in(&reboot_token(&scene)?)?;
    let scene = &scene;
    let failures: Vec<String> = std::thread::scope(|threads| {
        let mut running = vec![("all-matches", threads.spawn(move || fires(scene)))];
        for (name, case) in CASES {
            running.push((*name, threads.spawn(move || holds_fire(scene, name, *case))));
        }
        running
            .into_iter()
            .filter_map(|(name, case)| match case.join() {
                Ok(Ok(())) => None,
                Ok(Err(failed)) => Some(format!("{name}: {}", failed.message().unwrap_or_default())),
                Err(_) => Some(format!("{name} panicked")),
            })
            .collect()
    });
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// The agent's annotations on a node.
fn report(scene: &Scene, node: &str) -> Result<Value, Failed> {
    Ok(scene.plane.get(&["node", node])?["metadata"]["annotations"].clone())
}

fn await_report(scene: &Scene, agent: &Recorded, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value, Failed> {
    let mut last = Value::Null;
    let reached = scene.plane.until(what, Duration::from_secs(20), |_| {
        last = report(scene, "node-a")?;
        Ok(holds(&last))
    });
    reached.map_err(|_| format!("{what}: {last:#}\nthe agent said {}", agent.said()))?;
    Ok(last)
}

fn agent_arguments(node: &str, root: &Path) -> Vec<String> {
    let root = format!("--host-root={}", root.display());
    ["node", "agent", "--node", node, &root, "--sentinel=/var/run/reboot-required", "--interval=1s"]
        .map(str::to_owned)
        .to_vec()
}

pub(crate) fn the_agent_reports_its_own_node() -> Result<(), Failed> {
    let scene = Scene::new()?;
    kubectl_with(&scene.plane, &["create", "-f", "-"], &shipped("agent.yaml")?)?;
    for name in ["node-a", "node-b"] {
        scene.node(name, &scene.boot_id)?;
    }
    scene.log_in(&token_of_pod(&scene.plane, "haulout-agent", &agent_pod(&scene.plane, "node-a")?)?)?;
    let root = scene.plane.folder.path().join("host");
    std::fs::create_dir_all(root.join("run"))?;
    std::fs::create_dir_all(root.join("var"))?;
    std::os::unix::fs::symlink("/run", root.join("var/run"))?;
    let (sentinel, packages) = (root.join("run/reboot-required"), root.join("run/reboot-required.pkgs"));

    let folder = scene.plane.folder.path();
    let agent = Recorded::start(folder, "agent", &scene.pod(scene.port), &agent_arguments("node-a", &root))?;
    let first = await_report(&scene, &agent, "a first report", |seen| seen["haulout.dev/reboot-required"] == "false")?;
    let stat = std::fs::read_to_string("/proc/stat")?;
    let booted: i64 = stat.lines().find_map(|line| line.strip_prefix("btime ")?.parse().ok()).ok_or("no btime")?;
    let time = |key: &str| first[key].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let apart = time("haulout.dev/booted-at").ok_or("no booted-at")?.as_second() - booted;
    let age = jiff::Timestamp::now().duration_since(time("haulout.dev/reported-at").ok_or("no reported-at")?);
    if first["haulout.dev/boot-id"] != scene.boot_id.as_str() || apart.abs() > 5 || age.as_secs().abs() > 30 {
        return Err(format!("booted {booted}, boot id {}: {first:#}", scene.boot_id).into());
    }

    std::fs::write(&packages, "linux-image-6.8.0-1021-azure\nlinux-base\n")?;
    std::fs::write(&sentinel, "*** System restart required ***\n")?;
    let seen =
        await_report(&scene, &agent, "a reboot asked for", |seen| seen["haulout.dev/reboot-required"] == "true")?;
    if seen["haulout.dev/reboot-reason"] != "linux-image-6.8.0-1021-azure, linux-base" {
        return Err(format!("the reason is not told: {seen:#}").into());
    }
    std::fs::remove_file(&sentinel)?;
    let seen = await_report(&scene, &agent, "quiet again", |seen| seen["haulout.dev/reboot-required"] == "false")?;
    if !seen["haulout.dev/reboot-reason"].is_null() {
        return Err(format!("the reason is left: {seen:#}").into());
    }
    // It looks every second, and writes only what is new: three reports, one each.
    std::thread::sleep(Duration::from_secs(4));
    let agent_name = format!("haulout/{} node-agent", env!("CARGO_PKG_VERSION"));
    let sent = scene.plane.requests(&agent_name)?;
    if sent.len() != 3 || sent.iter().any(|event| event["verb"] != "patch" || event["objectRef"]["name"] != "node-a") {
        return Err(format!("expected three PATCHes of node-a: {sent:#?}").into());
    }
    drop(agent);

    // The same token for another node, whose agent it is not. What refuses it must be in force first.
    let before = report(&scene, "node-b")?;
    let mut other = Recorded::start(folder, "other", &scene.pod(scene.port), &agent_arguments("node-b", &root))?;
    let limit = Duration::from_secs(20);
    let began = std::time::Instant::now();
    while !other.said().contains("failed to write the report of node node-b") && began.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(200));
    }
    other.until("the agent to live on", Duration::from_secs(1), |lines| lines == ["ready"])?;
    let after = report(&scene, "node-b")?;
    let refused = scene.plane.requests(&agent_name)?;
    let refused =
        refused.iter().any(|event| event["objectRef"]["name"] == "node-b" && event["responseStatus"]["code"] == 422);
    if !other.said().contains("failed to write the report of node node-b") || after != before || !refused {
        return Err(format!("not refused: {}: {after:#}", other.said()).into());
    }
    Ok(())
}
