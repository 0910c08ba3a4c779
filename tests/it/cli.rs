//! The binary as people and pipelines use it: exit codes, what goes where, and files that are not what they should be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use haulout::provider::clock;
use tempfile::TempDir;

pub(super) struct Scene {
    folder: TempDir,
}

pub(super) const VALID: &str = "version = 1\nname = \"test\"\n\n[cluster.demo]\nsandbox = \"cluster.toml\"\n\n[reboot.linux]\nwhen_required = true\n";

/// Two nodes, one of which asks for a reboot; pods come and go at once.
const CLUSTER: &str = "version = 1\nmanifests = [\"cluster.yaml\"]\n\n[delays]\npod_ready = \"50ms\"\npod_stop = \"50ms\"\nreboot = \"200ms\"\nnode_ready = \"50ms\"\n";
const NODES: &str = "apiVersion: v1\nkind: Node\nmetadata:\n  name: node-a\n  labels: {kubernetes.io/os: linux, sim.haulout.dev/kubelet: \"true\"}\n  annotations: {sim.haulout.dev/reboot-required: kernel}\n---\napiVersion: v1\nkind: Node\nmetadata:\n  name: node-b\n  labels: {kubernetes.io/os: linux, sim.haulout.dev/kubelet: \"true\"}\n";

impl Scene {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("haulout.toml"), VALID).unwrap();
        fs::write(folder.path().join("cluster.toml"), CLUSTER).unwrap();
        fs::write(folder.path().join("cluster.yaml"), NODES).unwrap();
        Self { folder }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
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

    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(super) fn code(&self, arguments: &[&str]) -> i32 {
        self.run(arguments).status.code().unwrap()
    }
}

pub(super) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(super) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn wrong_usage_is_64_and_help_is_fine() {
    let scene = Scene::new();
    assert_eq!(scene.code(&["plna"]), 64);
    assert!(err(&scene.run(&["plna"])).contains("'plan'"));
    assert_eq!(scene.code(&["plan", "--no-such-flag"]), 64);
    assert_eq!(scene.code(&[]), 64);
    for wait in ["x", "-5s", "9999999h", "106751991167300d"] {
        assert_eq!(scene.code(&["apply", &format!("--lock-timeout={wait}")]), 64, "{wait}");
    }
    assert_eq!(scene.code(&["apply", "--resume", "--target", "a"]), 64);
    assert_eq!(scene.code(&["status", "abandon"]), 64);
    for verb in ["validate", "fmt", "schema", "plan", "apply", "status", "snapshot", "sandbox", "node"] {
        let output = scene.run(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{verb}");
        assert!(out(&output).contains("Usage:"), "{verb}");
    }
    assert!(out(&scene.run(&["--version"])).contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn where_nothing_is_left_there_is_nothing_to_go_on_with() {
    let scene = Scene::new();
    let none = scene.run(&["apply", "--auto-approve", "--resume"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(err(&none).contains("was killed or interrupted"), "{}", err(&none));
    let unknown = scene.run(&["apply", "--auto-approve", "--resume", "20261123-220000-1a2b3c"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(err(&unknown).contains("there is no run 20261123-220000-1a2b3c"), "{}", err(&unknown));
    let status = scene.run(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", err(&status));
    assert!(out(&status).contains("lock: free\n  No run has left anything here."), "{}", out(&status));
    let given_up = scene.run(&["status", "abandon", "20261123-220000-1a2b3c", "--auto-approve"]);
    assert_eq!(given_up.status.code(), Some(1));
    assert!(err(&given_up).contains("no node and no pod of run"), "{}", err(&given_up));
    // A run that has ended is not one to go on with; one that was interrupted, and named by its folder, is.
    assert_eq!(scene.code(&["apply", "--auto-approve"]), 0);
    assert_eq!(scene.code(&["apply", "--auto-approve", "--resume"]), 1);
    let folder = fs::read_dir(scene.path("state/haulout/runs")).unwrap().next().unwrap().unwrap().path();
    let journal = fs::read(folder.join("0001.jsonl")).unwrap();
    fs::write(folder.join("0001.jsonl"), &journal[..journal.len() / 2]).unwrap();
    let resumed = scene.run(&["apply", "--auto-approve", "--resume"]);
    assert_eq!(resumed.status.code(), Some(0), "{}", err(&resumed));
    assert!(err(&resumed).contains("Nothing of this run is left to do."), "{}", err(&resumed));
    // A plan that cannot be read names its file.
    fs::write(folder.join("plan.json"), "{").unwrap();
    assert_eq!(scene.code(&["apply", "--auto-approve", "--resume"]), 1);
}

#[test]
fn a_config_in_the_place_of_a_run_is_told_where_it_belongs() {
    let scene = Scene::new();
    fs::create_dir(scene.path("prod")).unwrap();
    for (typed, code) in [("haulout.toml", 64), ("./prod", 64), ("prod", 1)] {
        let output = scene.run(&["apply", "--auto-approve", "--resume", typed]);
        assert_eq!(output.status.code(), Some(code), "{typed}: {}", err(&output));
        assert!(err(&output).contains(&format!("haulout apply {typed} --resume [RUN]")), "{}", err(&output));
    }
    let output = scene.run(&["apply", "--auto-approve", "--resume", "Run_1"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(err(&output).contains("digits or '-'"), "{}", err(&output));
    assert!(
        err(&scene.run(&["apply", "haulout.toml", "--auto-approve", "--resume", "run-1"])).contains("no run run-1")
    );
}

#[test]
fn a_verb_that_asks_names_itself_where_nobody_can_answer() {
    let scene = Scene::new();
    for (arguments, verb) in [
        (&["apply"][..], "apply"),
        (&["apply", "--resume"], "apply"),
        (&["status", "abandon", "run-1"], "status abandon"),
    ] {
        let output = scene.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert!(err(&output).contains(&format!("error: {verb} asks before it acts")), "{}", err(&output));
    }
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
fn a_selection_of_nothing_is_an_error_and_never_no_changes() {
    let scene = Scene::new();
    for (arguments, said) in [
        (&["--target", "node-b", "--exclude", "node-b"][..], "--exclude takes away all that --target selected"),
        (&["--exclude", "node-a", "--exclude", "demo/node/node-b"], "--exclude takes away every node"),
    ] {
        let output = scene.run(&[&["plan", "--detailed-exitcode"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{}", out(&output));
        assert!(err(&output).starts_with("error: nothing is selected: "), "{}", err(&output));
        assert!(err(&output).contains(said) && err(&output).contains("hint:"), "{}", err(&output));
        assert!(!out(&output).contains("No changes"), "{}", out(&output));
    }
}

#[test]
fn no_changes_says_which_nodes_were_looked_at() {
    let plan = |scene: &Scene, arguments: &[&str]| {
        let output = scene.run(&[&["plan", "--detailed-exitcode"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
        out(&output)
    };
    let scene = Scene::new();
    let narrow = VALID.replace("when_required", "selector = \"only=this\"\nwhen_required");
    fs::write(scene.path("haulout.toml"), &narrow).unwrap();
    let text = plan(&scene, &["--target", "node-a"]);
    assert!(text.contains("No changes. No table of the config selects the node asked for, observed"), "{text}");
    let text = plan(&scene, &[]);
    assert!(text.contains("No changes. No table of the config selects any of the 2 nodes, observed"), "{text}");
    fs::write(scene.path("haulout.toml"), format!("{VALID}\n[protect.all]\nclusters = [\"demo\"]\n")).unwrap();
    let text = plan(&scene, &[]);
    assert!(text.contains("No changes. All 2 nodes are protected, observed"), "{text}");
    let text = plan(&scene, &["--exclude", "node-a"]);
    assert!(text.contains("No changes. The node asked for is protected, observed"), "{text}");
    fs::write(scene.path("haulout.toml"), format!("{narrow}\n[protect.one]\nnodes = [\"node-a\"]\n")).unwrap();
    let text = plan(&scene, &[]);
    assert!(text.contains("Of the 2 nodes, 1 is protected, and no table of the config selects the others"), "{text}");
}

#[test]
fn a_cluster_without_nodes_is_said_to_have_none() {
    let scene = Scene::new();
    let empty = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    fs::write(scene.path("cluster.yaml"), empty).unwrap();
    let snapshot = scene.run(&["snapshot"]);
    fs::write(scene.path("snapshot.json"), &snapshot.stdout).unwrap();
    for arguments in [&["plan"][..], &["plan", "--snapshot", "snapshot.json"], &["apply", "--auto-approve"]] {
        let output = scene.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        assert!(out(&output).contains("No changes. The cluster has no nodes, observed"), "{}", out(&output));
    }
    assert_eq!(scene.code(&["plan", "--target", "node-a"]), 1);
    fs::write(scene.path("cluster.toml"), "version = 1\nmanifests = []\n").unwrap();
    let output = scene.run(&["plan"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("cluster.toml:2: `manifests` names no file"), "{}", err(&output));
}

#[test]
fn a_cluster_named_twice_is_meant_once() {
    let scene = Scene::new();
    let output = scene.run(&["plan", "--cluster", "demo", "--cluster", "demo"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[test]
fn an_error_about_a_file_names_it_and_what_to_do() {
    let check = |scene: &Scene, arguments: &[&str], lines: &[&str]| {
        let output = scene.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(err(&output).trim_end(), lines.join("\n"), "{arguments:?}");
    };
    let scene = Scene::new();
    check(
        &scene,
        &["plan", "--snapshot", "gone.json"],
        &[
            "error: failed to read the snapshot gone.json",
            "  because: No such file or directory (os error 2)",
            "hint: check the path; `haulout snapshot` prints one",
        ],
    );
    fs::write(scene.path("cut.json"), "{").unwrap();
    check(
        &scene,
        &["plan", "--snapshot", "cut.json"],
        &[
            "error: failed to read the snapshot cut.json",
            "  because: the snapshot is malformed at line 1, column 1: EOF while parsing an object",
            "hint: make the snapshot again; it is not meant to be written by hand",
        ],
    );
    assert_eq!(scene.code(&["plan"]), 0);
    fs::write(scene.path(".haulout/demo.json"), "{").unwrap();
    check(
        &scene,
        &["plan"],
        &[
            "error: failed to read the state of the simulated cluster demo in ./.haulout/demo.json",
            "  because: EOF while parsing an object at line 1 column 1",
            "hint: delete ./.haulout/demo.json: the simulated cluster then starts anew",
        ],
    );
    for verb in ["plan", "validate"] {
        fs::remove_file(scene.path("cluster.yaml")).unwrap();
        check(
            &scene,
            &[verb],
            &[
                "error: failed to read the manifest ./cluster.yaml",
                "  because: No such file or directory (os error 2)",
                "hint: check `manifests` in ./cluster.toml: its paths start at the folder of that file",
            ],
        );
        fs::rename(scene.path("cluster.toml"), scene.path("other.toml")).unwrap();
        check(
            &scene,
            &[verb],
            &[
                "error: failed to read the description of a simulated cluster ./cluster.toml",
                "  because: No such file or directory (os error 2)",
                "hint: check `sandbox` of [cluster.demo]: it is a path that starts at the folder of the config",
            ],
        );
        fs::rename(scene.path("other.toml"), scene.path("cluster.toml")).unwrap();
        fs::write(scene.path("cluster.yaml"), NODES).unwrap();
    }
}

#[test]
fn validate_checks_the_files_of_a_simulated_cluster_and_writes_nothing() {
    let bad_kind = "apiVersion: v1\nkind: Node\nmetadata: {name: node-c}\n---\n# no such kind\napiVersion: v1\nkind: Nodes\nmetadata: {name: x}\n";
    let twice = format!("{NODES}---\napiVersion: v1\nkind: Node\nmetadata: {{name: node-a}}\n");
    let two = CLUSTER.replace("[\"cluster.yaml\"]", "[\"cluster.yaml\", \"more.yaml\"]");
    for (file, text, said) in [
        (
            "cluster.toml",
            CLUSTER.replace("\"200ms\"", "\"soon\""),
            &["cluster.toml:7: delays.reboot = \"soon\" is no duration"][..],
        ),
        ("cluster.toml", CLUSTER.replace("version = 1", "version = 2"), &["cluster.toml:1: version 2 is not known"]),
        ("cluster.toml", CLUSTER.replace("cluster.yaml", "../x"), &["cluster.toml:2: manifest `../x` must be"]),
        ("cluster.toml", CLUSTER.replace("[delays]", "[delay]"), &["cluster.toml:4: unknown field `delay`"]),
        ("cluster.toml", two, &["failed to read the manifest ./more.yaml"]),
        (
            "cluster.yaml",
            bad_kind.to_owned(),
            &["cluster.yaml:6, document 2: the simulated cluster has no Nodes of v1"],
        ),
        ("cluster.yaml", twice, &["cluster.yaml:14, document 3: Node node-a: "]),
        ("cluster.yaml", "a: [".to_owned(), &["cluster.yaml:1, document 1: "]),
    ] {
        let scene = Scene::new();
        fs::write(scene.path(file), text).unwrap();
        let output = scene.run(&["validate"]);
        assert_eq!(output.status.code(), Some(1), "{said:?}");
        for said in said {
            assert!(err(&output).contains(said), "{said}: {}", err(&output));
        }
        assert!(err(&output).contains("hint:") && !err(&output).contains("is valid"), "{}", err(&output));
        assert!(!err(&output).contains("failed to ./"), "{}", err(&output));
        assert!(!scene.path(".haulout").exists());
        // What validate refuses, plan refuses in the same words.
        assert_eq!(err(&scene.run(&["plan"])), err(&output));
    }
    let scene = Scene::new();
    assert_eq!(scene.code(&["validate"]), 0);
    assert!(!scene.path(".haulout").exists());
}

#[test]
fn a_changed_description_of_a_simulated_cluster_is_told_once() {
    let scene = Scene::new();
    let told = |output: &Output| err(output).matches("changed after the simulated cluster demo was made").count();
    let first = scene.run(&["plan"]);
    assert_eq!((first.status.code(), told(&first)), (Some(0), 0));
    assert_eq!(told(&scene.run(&["plan"])), 0);
    fs::write(scene.path("cluster.yaml"), NODES.replace("node-b", "node-c")).unwrap();
    for arguments in [&["plan"][..], &["snapshot"], &["apply", "--auto-approve"]] {
        let output = scene.run(arguments);
        assert_eq!((output.status.code(), told(&output)), (Some(0), 1), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains("hint: delete ./.haulout/demo.json to start it anew"), "{}", err(&output));
        assert!(!out(&output).contains("node-c"), "{}", out(&output));
    }
    fs::remove_file(scene.path(".haulout/demo.json")).unwrap();
    assert_eq!(told(&scene.run(&["plan"])), 0);
}

#[test]
fn the_help_of_every_verb_is_known() {
    let scene = Scene::new();
    for verb in ["", "validate", "fmt", "schema", "plan", "apply", "snapshot", "node", "node agent", "node reboot"] {
        let arguments: Vec<&str> = verb.split_whitespace().chain(["--help"]).collect();
        let name = format!("help {verb}").trim_end().replace(' ', "-");
        insta::with_settings!({
            prepend_module_to_snapshot => false,
            snapshot_path => "../cases/cli",
            omit_expression => true,
        }, { insta::assert_snapshot!(name, out(&scene.run(&arguments))) });
    }
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
    assert_eq!(output.status.code(), Some(5));
    assert!(err(&output).contains("in use"), "{}", err(&output));
    assert!(!err(&output).contains("--lock-timeout"), "plan has no such flag: {}", err(&output));
    let output = scene.run(&["apply", "--auto-approve"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(err(&output).contains("--lock-timeout"), "{}", err(&output));
    assert!(!err(&output).contains("waiting"), "{}", err(&output));
}

#[test]
fn a_simulated_cluster_that_another_process_has_is_waited_for() {
    const WAITING: &str = "demo: waiting for another haulout, which has this simulated cluster\n";
    let scene = Scene::new();
    fs::create_dir_all(scene.path(".haulout")).unwrap();
    let lock = fs::File::create(scene.path(".haulout/demo.lock")).unwrap();
    lock.lock().unwrap();
    let began = clock::monotonic();
    let output = scene.run(&["apply", "--auto-approve", "--lock-timeout", "1s"]);
    assert_eq!(output.status.code(), Some(5), "{}", err(&output));
    assert!(clock::monotonic() - began >= std::time::Duration::from_secs(1));
    assert_eq!(err(&output).matches(WAITING).count(), 1, "{}", err(&output));
    let mut waiting = scene
        .command(&["apply", "--auto-approve", "--lock-timeout", "10m"])
        .stdout(Stdio::null())
        .stderr(fs::File::create(scene.path("stderr")).unwrap())
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(scene.path("stderr")).unwrap();
    for _ in 0..600 {
        if said().contains(WAITING) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(said().starts_with(WAITING), "{}", said());
    lock.unlock().unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(0), "{}", said());
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

/// `script` gives a program a terminal, here one on which Ctrl-C is typed; where it is missing, nothing can be asked.
#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "`script` takes other arguments elsewhere")]
fn an_interrupt_at_the_prompt_says_that_nothing_was_changed() {
    use std::io::{Read as _, Write as _};

    let scene = Scene::new();
    // In place of the shell, which would end by the interrupt itself and hide how the program did.
    let line = format!("exec {} apply", env!("CARGO_BIN_EXE_haulout"));
    let mut command = scene.command(&[]);
    let shell = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(scene.path("."))
        .envs(command.env("SHELL", "/bin/sh").get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut shell) = shell else { return };
    let (mut typed, mut shown) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
    let (mut said, mut some) = (Vec::new(), [0; 4096]);
    let has = |said: &[u8], text: &str| String::from_utf8_lossy(said).contains(text);
    let mut answered = false;
    loop {
        let read = shown.read(&mut some).unwrap();
        if read == 0 {
            break;
        }
        said.extend_from_slice(&some[..read]);
        if !answered && has(&said, "Enter a value") {
            typed.write_all(b"\x03").unwrap();
            answered = true;
        }
    }
    assert_eq!(shell.wait().unwrap().code(), Some(1), "{}", String::from_utf8_lossy(&said));
    assert!(has(&said, "Interrupted; nothing was changed."), "{}", String::from_utf8_lossy(&said));
    assert!(!scene.path("state").exists(), "nothing was begun");
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

#[cfg(unix)]
pub(super) fn signal(id: u32) {
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

#[test]
fn doctor_says_what_it_found_and_exits_by_it() {
    let scene = Scene::new();
    let output = scene.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    for text in ["Cluster demo · sandbox", "ok  rights to reboot", "apply will make it", "no problem found"] {
        assert!(out(&output).contains(text), "{text}: {}", out(&output));
    }
    // Beside a cluster that cannot be reached, the other one is examined all the same; the state of neither changes.
    let config = VALID.to_owned() + "\n[cluster.lost]\ncontext = \"lost\"\n";
    fs::write(scene.path("haulout.toml"), config).unwrap();
    let output = scene.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    for text in
        ["Cluster demo · sandbox", "Cluster lost\n", "x   connection: failed to", "2 clusters examined: 1 problem."]
    {
        assert!(out(&output).contains(text), "{text}: {}", out(&output));
    }
    assert_eq!(scene.code(&["doctor", "--cluster", "demo", "--for", "plan"]), 0);
    assert_eq!(scene.code(&["doctor", "--for", "nothing"]), 64);
}
