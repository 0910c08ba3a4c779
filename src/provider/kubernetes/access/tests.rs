use super::*;

/// A kubeconfig with one context per name, whose clusters are named alike.
fn kubeconfig(current: Option<&str>, names: &[&str]) -> String {
    let mut text = "apiVersion: v1\nkind: Config\n".to_owned();
    if let Some(current) = current {
        text.push_str(&format!("current-context: {current}\n"));
    }
    text.push_str("contexts:\n");
    for name in names {
        text.push_str(&format!("- name: {name}\n  context: {{cluster: {name}, user: {name}}}\n"));
    }
    text.push_str("clusters:\n");
    for name in names {
        text.push_str(&format!("- name: {name}\n  cluster: {{server: 'https://{name}.example:6443'}}\n"));
    }
    text.push_str("users:\n");
    for name in names {
        text.push_str(&format!("- name: {name}\n  user: {{token: t-{name}}}\n"));
    }
    text
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn env(&self, list: &[PathBuf]) -> KubeconfigEnv {
        let kubeconfig = (!list.is_empty()).then(|| std::env::join_paths(list).unwrap());
        KubeconfigEnv { kubeconfig, home: Some(self.0.path().to_owned()), ..KubeconfigEnv::default() }
    }
}

fn host(config: &Config) -> &str {
    config.cluster_url.host().unwrap()
}

#[test]
fn a_list_skips_what_is_missing_or_empty_and_the_first_file_wins() {
    let folder = Folder::new();
    let first = folder.write("first", &kubeconfig(None, &["a"]));
    let second = folder.write("second", &kubeconfig(Some("b"), &["b"]));
    let third = folder.write("third", &kubeconfig(Some("a"), &["a", "c"]));
    let env = folder.env(&[PathBuf::new(), folder.path("missing"), first, second, PathBuf::new(), third]);
    assert_eq!(host(&resolve(None, None, &env).unwrap()), "b.example", "the first current-context counts");
    for name in ["a", "b", "c"] {
        assert_eq!(host(&resolve(None, Some(name), &env).unwrap()), format!("{name}.example"));
    }
}

#[test]
fn the_default_file_counts_only_without_a_list() {
    let folder = Folder::new();
    folder.write(".kube/config", &kubeconfig(Some("home"), &["home"]));
    assert_eq!(host(&resolve(None, None, &folder.env(&[])).unwrap()), "home.example");
    let mut nothing = folder.env(&[]);
    nothing.kubeconfig = Some(":".into());
    assert_eq!(host(&resolve(None, None, &nothing).unwrap()), "home.example", "a list of nothing is no list");
    let error = resolve(None, None, &folder.env(&[folder.path("missing")])).unwrap_err();
    assert!(matches!(&error, ConnectError::NoKubeconfig { looked } if looked == &[folder.path("missing")]), "{error}");
}

#[test]
fn an_explicit_file_counts_alone_and_must_be_there() {
    let folder = Folder::new();
    let listed = folder.write("listed", &kubeconfig(Some("listed"), &["listed"]));
    let named = folder.write("named", &kubeconfig(Some("named"), &["named"]));
    let env = folder.env(&[listed]);
    assert_eq!(host(&resolve(Some(&named), None, &env).unwrap()), "named.example");
    assert!(matches!(resolve(Some(&named), Some("listed"), &env), Err(ConnectError::UnknownContext { .. })));
    let error = resolve(Some(&folder.path("missing")), None, &env).unwrap_err();
    assert!(matches!(error, ConnectError::Read { .. }), "{error}");
}

#[test]
fn an_unknown_context_names_the_known_ones_and_the_likely_one() {
    let folder = Folder::new();
    let file = folder.write("file", &kubeconfig(None, &["prod-weu", "prod-neu", "staging"]));
    let error = resolve(Some(&file), Some("prod-wue"), &KubeconfigEnv::default()).unwrap_err();
    assert_eq!(error.to_string(), "find context prod-wue in the kubeconfig");
    assert_eq!(error.advice().unwrap().0, "did you mean prod-weu? it has prod-neu, prod-weu, staging");
    let error = resolve(Some(&file), Some("\u{1b}[31m"), &KubeconfigEnv::default()).unwrap_err();
    assert_eq!(error.to_string(), "find context \\u{1b}[31m in the kubeconfig");
    assert_eq!(error.advice().unwrap().0, "it has prod-neu, prod-weu, staging");
    let error = resolve(Some(&file), None, &KubeconfigEnv::default()).unwrap_err();
    assert!(matches!(error, ConnectError::NoCurrentContext { .. }), "{error}");
}

#[test]
fn without_kubeconfig_the_pods_account_is_tried_only_without_a_context() {
    let folder = Folder::new();
    let in_pod = KubeconfigEnv { in_pod: true, ..folder.env(&[]) };
    // The tests do not run in a pod, so trying it fails, and that it was tried is the point.
    assert!(matches!(resolve(None, None, &in_pod), Err(ConnectError::InCluster { .. })));
    assert!(matches!(resolve(None, Some("a"), &in_pod), Err(ConnectError::NoKubeconfig { .. })));
    assert!(matches!(resolve(None, None, &folder.env(&[])), Err(ConnectError::NoKubeconfig { .. })));
}

#[test]
fn what_is_no_kubeconfig_is_one_clear_error() {
    let folder = Folder::new();
    let env = KubeconfigEnv::default();
    let broken = folder.write("broken", "contexts: [\u{1b}[31m");
    let error = resolve(Some(&broken), None, &env).unwrap_err();
    assert!(matches!(error, ConnectError::Parse { .. }), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(!source.contains('\u{1b}') && !source.contains('\n'), "{source:?}");
    let error = resolve(Some(folder.0.path()), None, &env).unwrap_err();
    assert!(matches!(error, ConnectError::Read { .. }), "a folder: {error}");
    let large = folder.write("large", &" ".repeat(5 << 20));
    let error = resolve(Some(&large), None, &env).unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "it has more than 4 MiB");
    let empty = folder.write("empty", "");
    assert!(matches!(resolve(Some(&empty), None, &env), Err(ConnectError::NoCurrentContext { .. })));
}

#[test]
fn paths_in_a_file_are_relative_to_its_folder() {
    let folder = Folder::new();
    // A certificate need not be valid to be found.
    folder.write("sub/ca.crt", "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n");
    let file = folder.write(
        "sub/config",
        "current-context: a\ncontexts: [{name: a, context: {cluster: a, user: a}}]\n\
         clusters: [{name: a, cluster: {server: 'https://a', certificate-authority: ca.crt, tls-server-name: b}}]\n\
         users: [{name: a, user: {tokenFile: token}}]\n",
    );
    let config = resolve(Some(&file), None, &KubeconfigEnv::default()).unwrap();
    assert_eq!(config.root_cert, Some(vec![vec![1, 2, 3]]));
    assert_eq!(config.tls_server_name.as_deref(), Some("b"));
    assert_eq!(config.auth_info.token_file.as_deref(), folder.path("sub/token").to_str());
    assert!(!config.default_retry, "kube must never retry by itself");
}

#[test]
fn a_wrong_cluster_entry_says_what_is_wrong() {
    let folder = Folder::new();
    for (entry, what) in [
        ("server: 'https://'", "use the server of the kubeconfig's cluster"),
        ("server: ''", "find the cluster of context a in the kubeconfig"),
        (
            "server: 'https://a', certificate-authority-data: '!'",
            "use the certificate authority of the kubeconfig's cluster",
        ),
        (
            "server: 'https://a', certificate-authority-data: 'AQID'",
            "use the certificate authority of the kubeconfig's cluster",
        ),
        ("server: 'https://a', proxy-url: 'http://'", "use the proxy of the kubeconfig's cluster"),
    ] {
        let text = format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
             clusters: [{{name: a, cluster: {{{entry}}}}}]\n",
        );
        let file = folder.write("file", &text);
        assert_eq!(resolve(Some(&file), None, &KubeconfigEnv::default()).unwrap_err().to_string(), what, "{entry}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_credential_plugin_that_gives_a_token_runs_once() {
    use super::super::connect;

    let folder = Folder::new();
    let runs = folder.path("runs");
    let answer = r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"t"}}"#;
    let script = folder.write("plugin", &format!("#!/bin/sh\necho run >> '{}'\necho '{answer}'\n", runs.display()));
    let file = folder.write(
        "config",
        &format!(
            "current-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
             clusters: [{{name: a, cluster: {{server: 'https://a.example:6443'}}}}]\n\
             users: [{{name: a, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, \
             args: ['{}'], interactiveMode: Never}}}}}}]\n",
            script.display(),
        ),
    );
    let access = Access::Kubeconfig { path: Some(file), context: None, env: KubeconfigEnv::default() };
    let cluster = connect(access, "plan", None).await.unwrap();
    assert_eq!(std::fs::read_to_string(&runs).unwrap().lines().count(), 1);
    assert_eq!(crate::provider::ClusterReads::via(&*cluster).raw(), "a.example:6443");
}
