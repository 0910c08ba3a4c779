//! `haulout sandbox`: who gets in, what is kept, and what is refused.

use std::fs;
use std::path::PathBuf;

#[cfg(unix)]
use super::cli::signal;
use super::cli::{Scene, VALID, err, out};

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
