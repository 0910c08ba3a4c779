//! Files that are wrong, by accident or on purpose: each has one clear error that names file and document.

use super::*;

fn refused(manifest: &str) -> String {
    let error = Lab::open(manifest, 1, None, START).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(!error.contains('\u{1b}') && error.lines().count() <= 1, "{error:?}");
    error
}

#[test]
fn manifests() {
    let deep = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: a }}\ndata: {}{}",
        "[".repeat(100),
        "]".repeat(100)
    );
    let very_deep = "[".repeat(100_000);
    let bomb = format!(
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n{}",
        (b'b'..=b'z')
            .map(|c| format!(
                "{}: &{} [{}]\n",
                c as char,
                c as char,
                vec![format!("*{}", (c - 1) as char); 10].join(",")
            ))
            .collect::<String>()
    );
    let node = "apiVersion: v1\nkind: Node\nmetadata: { name: a";
    let rows: Vec<(String, &str)> = vec![
        ("a: [".to_owned(), "objects.yaml:"),
        ("hello".to_owned(), "document 1: it is no Kubernetes object"),
        ("kind: Node\nmetadata: { name: a }".to_owned(), "document 1: it has no `apiVersion` or no `kind`"),
        (
            format!("{}apiVersion: v1\nkind: Secret\nmetadata: {{ name: a }}", nodes(1)),
            "document 2: the simulated cluster has no Secret of v1",
        ),
        (format!("{node} }}\n---\n{node} }}"), "document 2: Node a: nodes \"a\" already exists"),
        ("apiVersion: v1\nkind: Node\nmetadata: {}".to_owned(), "name or generateName is required"),
        ("apiVersion: v1\nkind: Node\nmetadata: { name: \"a\\e[31m\" }".to_owned(), "document 1: Node"),
        (format!("{node}, annotations: {{ sim.haulout.dev/reboot-takes: soon }} }}"), "must be a duration such as"),
        (
            format!("{node}, annotations: {{ sim.haulout.dev/reboot-take: 1s }} }}"),
            "must be one that the simulation knows",
        ),
        (format!("{node}, annotations: {{ sim.haulout.dev/agent: false }} }}"), "must be a text, in quotes"),
        (format!("{node} }}\nstatus: {{ allocatable: {{ cpu: lots }} }}"), "not a quantity"),
        (workload("Deployment", "web", 1, ""), "namespaces \"shop\" not found"),
        (
            format!("{}{}", shop(), workload("Deployment", "web", 1, "").replace("cpu: 100m", "cpu: many")),
            "not a quantity",
        ),
        (
            format!(
                "{}{}",
                shop(),
                workload("Deployment", "web", 1, "").replace("labels: { app: web }", "labels: { app: x }")
            ),
            "`selector` does not match template `labels`",
        ),
        (format!("{}{}", shop(), workload("Deployment", "web", 1_000_000, "")), "must be between 0 and 100000"),
        (format!("{}{}", shop(), budget("b", "web", "minAvailable: 12.5%")), "must be an integer or a percentage"),
        (deep, "objects.yaml:4, document 1: "),
        (very_deep, "objects.yaml"),
        (bomb, "objects.yaml"),
    ];
    for (manifest, expected) in rows {
        let error = refused(&manifest);
        assert!(
            error.contains(expected),
            "{}…: {error:?} does not hold {expected:?}",
            manifest.chars().take(80).collect::<String>()
        );
    }
}

#[test]
fn a_cluster_that_fights_itself_is_refused_in_time() {
    let manifest = format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{ name: a }}\nspec: {{ taints: [{{ key: k, effect: NoExecute }}] }}\n---\n{}{}",
        shop(),
        workload("Deployment", "web", 1, "      nodeName: a\n")
    );
    assert_eq!(refused(&manifest), "the simulated cluster does not come to rest: its objects contradict each other");
}

#[test]
fn cluster_files() {
    let rows = [
        ("", "cluster.toml:1: missing field `version`"),
        ("version = 1", "missing field `manifests`"),
        ("version = 2\nmanifests = [\"a\"]", "cluster.toml:1: version 2 is not known; this haulout reads version 1"),
        ("version = 1\nmanifests = []", "`manifests` names no file"),
        ("version = 1\nmanifests = [\"../a.yaml\"]", "must be a path below the folder"),
        ("version = 1\nmanifests = [\"/etc/passwd\"]", "must be a path below the folder"),
        ("version = 1\nmanifests = [\"a\", \"a\"]", "named twice"),
        ("version = 1\nmanifests = [\"a\"]\nspeed = 3", "cluster.toml:3: unknown field `speed`"),
        ("version = 1\nmanifests = [\"a\"]\n[delays]\nreboot = \"soon\"", "delays.reboot = \"soon\" is no duration"),
        ("version = 1\nmanifests = [\"a\"]\n[delays]\nreboot = 3", "cluster.toml:4:"),
        ("version = \u{1b}[31m", "cluster.toml:1:"),
    ];
    for (text, expected) in rows {
        let error = SandboxFile::parse("cluster.toml", text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}

#[test]
fn states() {
    let good = Lab::new(&nodes(1)).sandbox.state().unwrap();
    let newer = String::from_utf8(good.clone()).unwrap().replacen("\"format\":1", "\"format\":2", 1).into_bytes();
    for (state, expected) in [
        (b"".to_vec(), "cannot be read"),
        (b"{}".to_vec(), "cannot be read"),
        (good[..good.len() / 2].to_vec(), "cannot be read"),
        (newer, "it is of format 2, and this haulout reads format 1"),
    ] {
        let error = Lab::open(&nodes(1), 1, Some(&state), START).err().unwrap();
        // The cause is told once, by whoever prints the chain.
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error}: {cause}").contains(expected), "{error}: {cause}");
        assert!(cause.is_empty() || !error.to_string().contains(&cause), "{error}");
    }
}
