//! The binary as people and pipelines use it: exit codes, what goes where, and files that are not what they should be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

struct Scene {
    folder: TempDir,
}

const VALID: &str = "version = 1\nname = \"test\"\n\n[cluster.demo]\nsandbox = \"cluster.toml\"\n\n[reboot.linux]\nwhen_required = true\n";

/// Two nodes, one of which asks for a reboot; pods come and go at once.
const CLUSTER: &str = "version = 1\nmanifests = [\"cluster.yaml\"]\n\n[delays]\npod_ready = \"50ms\"\npod_stop = \"50ms\"\nreboot = \"200ms\"\nnode_ready = \"50ms\"\n";
const NODES: &str = "apiVersion: v1\nkind: Node\nmetadata:\n  name: node-a\n  labels: {kubernetes.io/os: linux, sim.haulout.dev/kubelet: \"true\"}\n  annotations: {sim.haulout.dev/reboot-required: kernel}\n---\napiVersion: v1\nkind: Node\nmetadata:\n  name: node-b\n  labels: {kubernetes.io/os: linux, sim.haulout.dev/kubelet: \"true\"}\n";

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("haulout.toml"), VALID).unwrap();
        fs::write(folder.path().join("cluster.toml"), CLUSTER).unwrap();
        fs::write(folder.path().join("cluster.yaml"), NODES).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_haulout"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn code(&self, arguments: &[&str]) -> i32 {
        self.run(arguments).status.code().unwrap()
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn wrong_usage_is_64_and_help_is_fine() {
    let scene = Scene::new();
    assert_eq!(scene.code(&["plna"]), 64);
    assert!(err(&scene.run(&["plna"])).contains("'plan'"));
    assert_eq!(scene.code(&["plan", "--no-such-flag"]), 64);
    assert_eq!(scene.code(&[]), 64);
    for verb in ["validate", "fmt", "schema", "plan", "apply", "snapshot", "sandbox", "node"] {
        let output = scene.run(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{verb}");
        assert!(out(&output).contains("Usage:"), "{verb}");
    }
    assert!(out(&scene.run(&["--version"])).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_whole_visit_on_a_simulated_cluster() {
    let scene = Scene::new();
    assert_eq!(scene.code(&["validate"]), 0);
    assert_eq!(scene.code(&["plan"]), 0);
    assert_eq!(scene.code(&["plan", "--detailed-exitcode"]), 2);
    let declined = scene.run(&["apply"]);
    assert_eq!(declined.status.code(), Some(1));
    assert!(err(&declined).contains("--auto-approve"), "{}", err(&declined));
    let applied = scene.run(&["apply", "--auto-approve"]);
    assert_eq!(applied.status.code(), Some(0), "{}\n{}", out(&applied), err(&applied));
    assert!(out(&applied).contains("1 node done"), "{}", out(&applied));
    let again = scene.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(again.status.code(), Some(0), "{}", out(&again));
    assert!(out(&again).contains("No changes."), "{}", out(&again));
    assert_eq!(scene.code(&["apply", "--auto-approve"]), 0);
    // Every line of the journal is of the published format, and each mutation was announced.
    let runs: Vec<_> = fs::read_dir(scene.path("state/haulout/runs")).unwrap().map(|run| run.unwrap().path()).collect();
    assert_eq!(runs.len(), 1, "a run that had nothing to do leaves no folder");
    let journal = fs::read(runs[0].join("0001.jsonl")).unwrap();
    let events: Vec<_> = journal
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| haulout::format::run::read(line).unwrap())
        .collect();
    assert!(events.iter().enumerate().all(|(index, event)| event.seq == index as u64 + 1));
    let intents = |wanted: &str| {
        events
            .iter()
            .filter(|event| matches!(&event.kind, haulout::run::EventKind::Intended { intent, .. } if format!("{intent:?}").starts_with(wanted)))
            .count()
    };
    for (intent, count) in [("Cordon", 1), ("StartRebootPod", 1), ("TriggerReboot", 1), ("Uncordon", 1)] {
        assert_eq!(intents(intent), count, "{intent}");
    }
}

#[test]
fn a_target_that_nothing_matches_is_an_error() {
    let scene = Scene::new();
    let output = scene.run(&["plan", "--target", "node-c"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("node-a") || err(&output).contains("node-b"), "{}", err(&output));
    assert_eq!(scene.code(&["plan", "--target", "node-b", "--detailed-exitcode"]), 0);
    let excluded = scene.run(&["plan", "--exclude", "node-a"]);
    assert!(out(&excluded).contains("1 left out"), "{}", out(&excluded));
}

#[test]
fn planning_from_a_snapshot_gives_the_same_bytes_each_time() {
    let scene = Scene::new();
    let snapshot = scene.run(&["snapshot"]);
    assert_eq!(snapshot.status.code(), Some(0), "{}", err(&snapshot));
    fs::write(scene.path("snapshot.json"), &snapshot.stdout).unwrap();
    let arguments = ["plan", "--snapshot", "snapshot.json", "--format", "json"];
    let (first, second) = (scene.run(&arguments), scene.run(&arguments));
    assert_eq!(first.status.code(), Some(0), "{}", err(&first));
    assert_eq!(first.stdout, second.stdout);
    let schema: serde_json::Value = serde_json::from_str(&out(&scene.run(&["schema", "plan"]))).unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&plan));
    assert_eq!(scene.code(&["plan", "--now", "2026-11-23T22:00:00Z"]), 64, "--now goes with --snapshot");
    fs::write(scene.path("snapshot.json"), "{").unwrap();
    assert_eq!(scene.code(&arguments), 1);
}

#[test]
fn fmt_checks_shows_and_rewrites() {
    let scene = Scene::new();
    let ragged = VALID.replace(" = ", "=") + "# the end\n";
    fs::write(scene.path("haulout.toml"), &ragged).unwrap();
    assert_eq!(scene.code(&["fmt", "--check"]), 3);
    let shown = scene.run(&["fmt", "--diff"]);
    assert_eq!(shown.status.code(), Some(0));
    assert!(out(&shown).contains("+name = \"test\""), "{}", out(&shown));
    assert_eq!(fs::read_to_string(scene.path("haulout.toml")).unwrap(), ragged);
    assert_eq!(scene.code(&["fmt"]), 0);
    assert_eq!(scene.code(&["fmt", "--check"]), 0);
    assert!(fs::read_to_string(scene.path("haulout.toml")).unwrap().contains("# the end"));
}

/// The most memory that a process of these arguments took, in KiB, with its output.
#[cfg(target_os = "linux")]
fn measured(scene: &Scene, arguments: &[&str]) -> (u64, Output) {
    let mut child = scene.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        most = most.max(peak.unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    (most, child.wait_with_output().unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn files_that_are_not_configs_are_one_clear_error_each() {
    let scene = Scene::new();
    let deep = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let big = "# filler\n".repeat(1 << 18);
    let cases: [(&str, &[u8], &str); 3] = [
        ("deep.toml", deep.as_bytes(), "deep"),
        ("big.toml", big.as_bytes(), "larger than the 1 MiB"),
        ("latin.toml", b"version = 1\nname = \"caf\xe9\"\n", "UTF-8"),
    ];
    for (name, bytes, word) in cases {
        fs::write(scene.path(name), bytes).unwrap();
        let (kib, output) = measured(&scene, &["validate", name]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(err(&output).contains(word), "{name}: {}", err(&output));
        assert!(kib < 64 * 1024, "{name} took {kib} KiB");
    }
    fs::create_dir(scene.path("empty")).unwrap();
    for (path, word) in [("missing.toml", "missing.toml"), ("empty", "empty/haulout.toml")] {
        let output = scene.run(&["validate", path]);
        assert_eq!(output.status.code(), Some(1), "{path}");
        assert!(err(&output).contains(word) && err(&output).contains("hint:"), "{path}: {}", err(&output));
    }
}

#[test]
fn byte_order_marks_and_crlf_are_fine() {
    let scene = Scene::new();
    fs::write(scene.path("haulout.toml"), format!("\u{feff}{}", VALID.replace('\n', "\r\n"))).unwrap();
    let output = scene.run(&["validate"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[test]
#[cfg(unix)]
fn a_closed_pipe_is_nobodys_problem() {
    let scene = Scene::new();
    let mut child = scene.command(&["schema", "config"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(!err(&output).contains("panicked"));
}

#[test]
fn colour_only_where_it_is_wanted() {
    let scene = Scene::new();
    assert!(!out(&scene.run(&["plan"])).contains('\u{1b}'));
    assert!(out(&scene.run(&["plan", "--color", "always"])).contains('\u{1b}'));
    assert!(!out(&scene.run(&["plan", "--color", "never"])).contains('\u{1b}'));
}

#[test]
fn hostile_text_reaches_no_terminal_raw() {
    let scene = Scene::new();
    let hostile = NODES.replace("kernel", "\"\\e[31mred\\u202e ::error::x\"");
    fs::write(scene.path("cluster.yaml"), hostile).unwrap();
    for arguments in [&["plan"][..], &["plan", "--format", "json"], &["snapshot"]] {
        let output = scene.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", err(&output));
        assert!(!out(&output).contains(['\u{1b}', '\u{202e}']), "{arguments:?}");
        assert!(out(&output).contains("red"), "{arguments:?}");
    }
}

#[test]
fn a_simulated_cluster_lives_in_one_process_at_a_time() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path(".haulout")).unwrap();
    let lock = fs::File::create(scene.path(".haulout/demo.lock")).unwrap();
    lock.lock().unwrap();
    let output = scene.run(&["plan"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("in use"), "{}", err(&output));
}

#[test]
#[cfg(unix)]
fn an_interrupt_brings_nodes_to_a_safe_end() {
    let scene = Scene::new();
    // A pod that takes long to stop keeps the drain waiting.
    let pod = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: default}\nspec:\n  replicas: 4\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata:\n      labels: {app: web}\n      annotations: {sim.haulout.dev/stops-after: \"60s\"}\n    spec:\n      terminationGracePeriodSeconds: 120\n      containers: [{name: main, image: web}]\n";
    fs::write(scene.path("cluster.yaml"), format!("{NODES}{pod}")).unwrap();
    let mut child = scene
        .command(&["apply", "--auto-approve"])
        .stdout(Stdio::piped())
        .stderr(fs::File::create(scene.path("stderr")).unwrap())
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(scene.path("stderr")).unwrap();
    for _ in 0..600 {
        if said().contains("to end") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(said().contains("to end"), "{}", said());
    signal(child.id());
    let output = {
        for _ in 0..600 {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        child.wait_with_output().unwrap()
    };
    assert_eq!(output.status.code(), Some(7), "{}\n{}", out(&output), said());
    let snapshot: serde_json::Value = serde_json::from_slice(&scene.run(&["snapshot"]).stdout).unwrap();
    assert!(!snapshot.to_string().contains("\"marked\""), "no node is left marked: {snapshot}");
    let plan = scene.run(&["plan"]);
    assert!(out(&plan).contains("node/node-a will be drained and rebooted"), "{}", out(&plan));
}

/// The Lease of runs in the saved state of the simulated cluster, once it names a holder.
fn held_lock(scene: &Scene) -> Option<serde_json::Value> {
    let state: serde_json::Value = serde_json::from_slice(&fs::read(scene.path(".haulout/demo.json")).ok()?).ok()?;
    let lease = state["objects"]
        .as_array()?
        .iter()
        .find(|object| object["kind"] == "Lease" && object["metadata"]["namespace"] == "haulout-system")?;
    lease["spec"]["holderIdentity"].is_string().then(|| lease.clone())
}

#[test]
fn the_lock_of_a_killed_run_can_be_taken_after_its_silence() {
    let scene = Scene::new();
    let slow = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: default}\nspec:\n  replicas: 4\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata:\n      labels: {app: web}\n      annotations: {sim.haulout.dev/stops-after: \"60s\"}\n    spec:\n      terminationGracePeriodSeconds: 120\n      containers: [{name: main, image: web}]\n";
    fs::write(scene.path("cluster.yaml"), format!("{NODES}---\n{slow}")).unwrap();
    let quiet = || Stdio::from(fs::File::create(scene.path("stderr")).unwrap());
    let mut killed = scene.command(&["apply", "--auto-approve"]).stdout(Stdio::null()).stderr(quiet()).spawn().unwrap();
    let pause = || std::thread::sleep(std::time::Duration::from_millis(50));
    for _ in 0..600 {
        if held_lock(&scene).is_some() {
            break;
        }
        pause();
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let lease = held_lock(&scene).expect("the run holds the lock");
    let renewed: jiff::Timestamp = lease["spec"]["renewTime"].as_str().unwrap().parse().unwrap();
    // A minute has not passed: refused, and the moment is the true one however often somebody looks.
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let output = scene.run(&["apply", "--auto-approve"]);
        assert_eq!(output.status.code(), Some(5), "{}", err(&output));
        assert!(err(&output).contains(&format!("last renewed {renewed}")), "{renewed}: {}", err(&output));
    }
    // What a minute would do to it.
    let state = fs::read_to_string(scene.path(".haulout/demo.json")).unwrap();
    let minute_ago = (renewed - jiff::SignedDuration::from_secs(61)).strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let before = lease["spec"]["renewTime"].as_str().unwrap();
    fs::write(scene.path(".haulout/demo.json"), state.replace(before, &minute_ago)).unwrap();
    let mut waiting =
        scene.command(&["apply", "--auto-approve"]).stdout(Stdio::null()).stderr(quiet()).spawn().unwrap();
    let said = || fs::read_to_string(scene.path("stderr")).unwrap();
    for _ in 0..600 {
        if said().contains("fell silent") || waiting.try_wait().unwrap().is_some() {
            break;
        }
        pause();
    }
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    assert!(said().contains("fell silent; observing for 60s before taking it over"), "{}", said());
}

/// A `haulout sandbox` that is ended with the test.
struct Served(std::process::Child);

impl Served {
    /// Starts it and waits until it says that it serves. What it says then goes to the file `stderr`.
    fn start(scene: &Scene, arguments: &[&str]) -> Self {
        let mut served = Self(
            scene
                .command(arguments)
                .stdout(fs::File::create(scene.path("stdout")).unwrap())
                .stderr(fs::File::create(scene.path("stderr")).unwrap())
                .spawn()
                .unwrap(),
        );
        let said = || fs::read_to_string(scene.path("stderr")).unwrap();
        for _ in 0..600 {
            if said().contains("Ctrl-C ends it") {
                return served;
            }
            assert!(served.0.try_wait().unwrap().is_none(), "{}", said());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("it does not serve: {}", said());
    }

    #[cfg(unix)]
    fn interrupt(mut self) -> Option<i32> {
        signal(self.0.id());
        for _ in 0..200 {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("it does not end");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A config that reaches a served sandbox as any other cluster, in a folder of its own.
fn from_outside(scene: &Scene, context: &str) -> PathBuf {
    let folder = scene.path("outside");
    fs::create_dir_all(&folder).unwrap();
    let config = VALID.replace("sandbox = \"cluster.toml\"", &format!("context = \"{context}\"")).replace(
        "[reboot.linux]\nwhen_required = true\n",
        "[out_of_service.x]\nnodes = [\"node-a\"]\nreason = \"disk\"\n",
    );
    fs::write(folder.join("haulout.toml"), config).unwrap();
    folder
}

#[test]
#[cfg(unix)]
fn a_served_sandbox_is_a_cluster_for_those_who_have_its_token() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    let served = Served::start(&scene, &["sandbox", "--kubeconfig", "kubeconfig"]);
    assert_eq!(fs::read_to_string(scene.path("stdout")).unwrap(), "", "the token goes to the file only");
    let mode = fs::metadata(scene.path("kubeconfig")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(scene.path("kubeconfig")).unwrap();
    assert!(!fs::read_to_string(scene.path("stderr")).unwrap().contains("token"));
    // Another process works on it as on any cluster.
    let outside = from_outside(&scene, "sandbox-demo");
    let outside = outside.to_str().unwrap();
    let apply = scene.run(&["apply", outside, "--auto-approve", "--kubeconfig", "kubeconfig"]);
    assert_eq!(apply.status.code(), Some(0), "{}{}", out(&apply), err(&apply));
    // Without its token, or for who trusts another authority, it is none.
    let token = text.lines().find_map(|line| line.trim().strip_prefix("token: ")).unwrap();
    fs::write(scene.path("stranger"), text.replace(token, "\"0\"")).unwrap();
    let stranger = scene.run(&["plan", outside, "--kubeconfig", "stranger"]);
    assert_eq!(stranger.status.code(), Some(1));
    assert!(err(&stranger).contains("Unauthorized"), "{}", err(&stranger));
    let other = Scene::new();
    let _other = Served::start(&other, &["sandbox", "--ephemeral"]);
    let others = fs::read_to_string(other.path("stdout")).unwrap();
    let authority = |text: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix("certificate-authority-data: ").map(str::to_owned))
            .unwrap()
    };
    assert_ne!(authority(&text), authority(&others));
    fs::write(scene.path("stranger"), text.replace(&authority(&text), &authority(&others))).unwrap();
    assert_eq!(scene.code(&["plan", outside, "--kubeconfig", "stranger"]), 1);
    // While it is served nobody else opens it; afterwards it is as it was left.
    assert!(err(&scene.run(&["plan"])).contains("in use"));
    assert_eq!(served.interrupt(), Some(0));
    let plan = scene.run(&["plan"]);
    assert!(out(&plan).contains("node-a"), "{}", out(&plan));
    let state = fs::read_to_string(scene.path(".haulout/demo.json")).unwrap();
    assert!(state.contains("haulout.dev/cordon"), "what was applied is kept");
    // The same file is written again; one that somebody else made is not.
    let again = Served::start(&scene, &["sandbox", ".", "--kubeconfig", "kubeconfig"]);
    assert_ne!(fs::read_to_string(scene.path("kubeconfig")).unwrap(), text);
    assert_eq!(again.interrupt(), Some(0));
    fs::write(scene.path("mine"), "apiVersion: v1\n").unwrap();
    let refused = scene.run(&["sandbox", "--kubeconfig", "mine"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("was not made by haulout sandbox"), "{}", err(&refused));
    assert_eq!(fs::read_to_string(scene.path("mine")).unwrap(), "apiVersion: v1\n");
}

#[test]
#[cfg(unix)]
fn a_sandbox_needs_no_config_and_keeps_what_it_is_told_to() {
    let scene = Scene::new();
    fs::remove_file(scene.path("haulout.toml")).unwrap();
    let served = Served::start(&scene, &["sandbox", "--ephemeral"]);
    let kubeconfig = fs::read_to_string(scene.path("stdout")).unwrap();
    assert!(kubeconfig.contains("current-context: sandbox-cluster\n"), "{kubeconfig}");
    assert_eq!(served.interrupt(), Some(0));
    assert!(!scene.path(".haulout").exists(), "nothing is kept");
    // A port that is taken is an error that names it.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = scene.run(&["sandbox", "cluster.toml", "--port", &port]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains(&port), "{}", err(&refused));
    drop(taken);
    let served = Served::start(&scene, &["sandbox", "cluster.toml", "--port", &port]);
    assert!(fs::read_to_string(scene.path("stdout")).unwrap().contains(&format!("https://127.0.0.1:{port}")));
    assert_eq!(served.interrupt(), Some(0));
    // Only clusters that are simulated can be served.
    let outside = from_outside(&scene, "somewhere");
    for (arguments, expected) in [
        (&[][..], "the config has no simulated cluster"),
        (&["--cluster", "demo"], "cluster demo of the config is a real one"),
        (&["--cluster", "dmo"], "the config has no cluster dmo"),
    ] {
        let output = scene.run(&[&["sandbox", outside.to_str().unwrap()], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(err(&output).contains(expected), "{}", err(&output));
    }
    assert_eq!(scene.code(&["sandbox", "nowhere"]), 1);
    // The published list names every kind.
    let help = out(&scene.run(&["sandbox", "--help"]));
    for kind in haulout::twin::Kind::ALL {
        assert!(help.split_whitespace().any(|word| word == kind.name()), "{} is not in the help", kind.name());
    }
    assert_eq!(scene.code(&["sandbox", "--port", "0"]), 64);
}

#[cfg(unix)]
fn signal(id: u32) {
    let status = Command::new("kill").args(["-INT", &id.to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_published_schemas_are_those_that_are_printed() {
    let scene = Scene::new();
    for of in ["config", "sandbox", "plan", "run", "snapshot"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{of}.v1.json"));
        let published: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let printed: serde_json::Value = serde_json::from_slice(&scene.run(&["schema", of]).stdout).unwrap();
        assert_eq!(published, printed, "{of}");
    }
}

#[test]
fn every_example_is_valid_and_can_be_planned() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let example = entry.unwrap().path();
        let scene = Scene::new();
        for file in fs::read_dir(&example).unwrap().map(|file| file.unwrap().path()).filter(|file| file.is_file()) {
            fs::copy(&file, scene.path(&file.file_name().unwrap().to_string_lossy())).unwrap();
        }
        assert_eq!(scene.code(&["validate"]), 0, "{}", example.display());
        assert_eq!(scene.code(&["fmt", "--check"]), 0, "{} is not in its canonical layout", example.display());
        let plan = scene.run(&["plan"]);
        assert_eq!(plan.status.code(), Some(0), "{}: {}", example.display(), err(&plan));
        count += 1;
    }
    assert!(count >= 2);
}
