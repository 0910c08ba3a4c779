//! Certificates: what a real control plane and servers of the tests' own present, held against what `plan` says.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Failed;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::account::manifest;
use super::cluster::{ControlPlane, Said};

const LIMIT: Duration = Duration::from_secs(30);
/// Nothing of what is private may ever be shown; it stands wherever a certificate does.
const CANARY: &str = "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5LWtleQ==\n-----END PRIVATE KEY-----\n";

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str, to: i32) -> Result<Issuer, Failed> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// A certificate for loopback by an authority, and its key.
fn leaf(issuer: &Issuer, name: &str, from: (i32, u8), to: (i32, u8)) -> Result<(Vec<u8>, KeyPair), Failed> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
    params.not_before = date_time_ymd(from.0, from.1, 1);
    params.not_after = date_time_ymd(to.0, to.1, 1);
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.der().to_vec(), key))
}

/// A server on loopback that makes handshakes, or refuses them, until it is dropped.
struct Handshakes {
    port: u16,
    _runtime: tokio::runtime::Runtime,
}

impl Handshakes {
    fn serve(chain: Vec<Vec<u8>>, key: &KeyPair) -> Result<Self, Failed> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain.into_iter().map(CertificateDer::from).collect(), key)?;
        Self::accept(Some(TlsAcceptor::from(Arc::new(config))))
    }

    /// Answers as a kubelet that has no serving certificate yet: with the alert "internal error".
    fn refuse() -> Result<Self, Failed> {
        Self::accept(None)
    }

    fn accept(acceptor: Option<TlsAcceptor>) -> Result<Self, Failed> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((mut stream, _)) = listener.accept().await {
                match &acceptor {
                    Some(acceptor) => {
                        let _ = acceptor.accept(stream).await;
                    }
                    None => {
                        let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 80]).await;
                        let _ = stream.shutdown().await;
                    }
                }
            }
        });
        Ok(Self { port, _runtime: runtime })
    }
}

/// A Node whose kubelet listens on loopback; nobody looks after it.
fn node(plane: &ControlPlane, name: &str, port: u16) -> Result<(), Failed> {
    plane.create(&manifest(&[json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": { "kubernetes.io/os": "linux" } },
    })]))?;
    let status = json!({ "status": {
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
    }});
    plane.kubectl(&["patch", "node", name, "--subresource", "status", "--type", "merge", "-p", &status.to_string()])?;
    Ok(())
}

/// The certificates of a snapshot by place, as JSON has it.
fn seen(said: &Said) -> Result<BTreeMap<String, Value>, Failed> {
    let snapshot: Value = serde_json::from_str(&said.out)?;
    let all = snapshot["certificates"]["seen"].as_array().cloned().unwrap_or_default();
    Ok(all.into_iter().map(|seen| (seen["place"].to_string(), seen)).collect())
}

fn is(what: &str, found: &Value, expected: &Value) -> Result<(), Failed> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found}, expected {expected}").into()) }
}

/// What the tools of the machine say of a certificate file: the moment of its end.
fn end_of(path: &std::path::Path) -> Result<String, Failed> {
    let text = std::fs::read(path)?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&text)?;
    let seconds = pem.parse_x509()?.validity().not_after.timestamp();
    Ok(jiff::Timestamp::from_second(seconds)?.to_string())
}

pub(crate) fn certificates_are_seen_with_their_true_ends() -> Result<(), Failed> {
    let plane = ControlPlane::start(&[])?;
    // Kubelets: one that was signed by an authority, one that has signed for itself, one that waits for its first.
    let ours = authority("kubelet-ca", 2040)?;
    let (der, key) = leaf(&ours, "system:node:node-a", (2026, 6), (2027, 6))?;
    let signed = Handshakes::serve(vec![der, ours.der().to_vec()], &key)?;
    let alone = authority("node-b-ca@1700000000", 2040)?;
    let (der, key) = leaf(&alone, "node-b@1700000000", (2026, 1), (2026, 3))?;
    let own = Handshakes::serve(vec![der], &key)?;
    let waiting = Handshakes::refuse()?;
    node(&plane, "node-a", signed.port)?;
    node(&plane, "node-b", own.port)?;
    node(&plane, "node-c", waiting.port)?;

    // Whom the API server calls, by an authority that ends within the year.
    let hooks = authority("hook-ca", 2027)?;
    let bundle = base64(&format!("{CANARY}{}", hooks.pem()));
    let call = json!({ "service": { "name": "hook", "namespace": "default", "port": 443 }, "caBundle": bundle });
    let webhook = json!({
        "name": "hook.example.com", "clientConfig": call, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "failurePolicy": "Ignore",
        "rules": [{ "apiGroups": ["never.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["x"] }],
    });
    let configuration = |kind: &str, name: &str| json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": name }, "webhooks": [webhook] });
    plane.create(&manifest(&[
        configuration("ValidatingWebhookConfiguration", "checks"),
        configuration("MutatingWebhookConfiguration", "changes"),
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": { "name": "v1.never.example.com" },
            "spec": {
                "group": "never.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1,
                "service": { "name": "never", "namespace": "default" }, "caBundle": bundle,
            },
        }),
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": "things.example.com" },
            "spec": {
                "group": "example.com", "scope": "Cluster", "names": { "plural": "things", "kind": "Thing" },
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object" } },
                }],
                "conversion": {
                    "strategy": "Webhook", "webhook": { "clientConfig": call, "conversionReviewVersions": ["v1"] },
                },
            },
        }),
    ]))?;
    let_nodes_ask(&plane)?;
    ask(&plane, "node-c", "csr-node-c", &Wish::of("node-c"))?;

    let config = plane.config("")?;
    let config = config.to_str().ok_or("path")?;
    let snapshot = plane.haulout(&["snapshot", config], LIMIT)?.expect(0)?;
    let found = seen(&snapshot)?;
    let get =
        |place: &Value| found.get(&place.to_string()).ok_or_else(|| Failed::from(format!("{place} of {found:#?}")));
    let text = std::fs::read_to_string(&plane.kubeconfig)?;
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server: https://")).ok_or("no server")?;
    let pki = plane.folder.path().join("plane").join("pki");
    is("the API server", &get(&json!({ "api_server": server }))?["ends"], &json!(end_of(&pki.join("apiserver.crt"))?))?;
    for place in ["kubeconfig_authority", "pods_authority", "client_authority"] {
        is(place, &get(&json!(place))?["ends"], &json!(end_of(&pki.join("ca.crt"))?))?;
    }
    is("a kubelet", &get(&json!({ "kubelet_serving": "node-a" }))?["ends"], &json!("2027-06-01T00:00:00Z"))?;
    is("its subject", &get(&json!({ "kubelet_serving": "node-a" }))?["x509"]["issuer"], &json!("CN=kubelet-ca"))?;
    is("one by itself", &get(&json!({ "kubelet_serving": "node-b" }))?["ends"], &json!("2026-03-01T00:00:00Z"))?;
    for (kind, name) in [
        ("validating_webhook", "checks"),
        ("mutating_webhook", "changes"),
        ("api_service", "v1.never.example.com"),
        ("conversion", "things.example.com"),
    ] {
        let place = json!({ "bundle": { "kind": kind, "name": name } });
        is(name, &get(&place)?["ends"], &json!("2027-01-01T00:00:00Z"))?;
    }

    let said = plane.haulout(&["plan", config], LIMIT)?.expect(0)?;
    for text in [
        format!("certificate of API server {server} ends on ").as_str(),
        "authority of the kubeconfig, pods and client certificates ends on ",
        "serving certificate of node/node-a ends on 2027-06-01",
        "! serving certificate of node/node-b ended on 2026-03-01",
        "nobody renews it: the kubelet has signed it itself",
        "! authority of validating webhook checks ends on 2027-01-01",
        "! kubelet of node/node-c waits for somebody to approve its request for a serving certificate, which asks for",
        "kubectl certificate approve csr-node-c",
        "not seen: that of a kubelet (node-c: ",
    ] {
        if !said.out.contains(text) {
            return Err(format!("{text:?} is not said: {}", said.all()).into());
        }
    }
    for said in [&said, &snapshot] {
        if said.all().contains("PRIVATE KEY") || said.all().contains("Y2FuYXJ5") {
            return Err(format!("a key is shown: {}", said.all()).into());
        }
    }
    Ok(())
}

/// Kubelets may ask because they are nodes; whoever plays one here has to be allowed to.
fn let_nodes_ask(plane: &ControlPlane) -> Result<(), Failed> {
    plane.kubectl(&["create", "clusterrole", "asks", "--verb=create", "--resource=certificatesigningrequests"])?;
    plane.kubectl(&["create", "clusterrolebinding", "asks", "--clusterrole=asks", "--group=system:authenticated"])?;
    Ok(())
}

/// What the kubelet of a node asks for by itself.
struct Wish {
    params: CertificateParams,
    usages: Vec<&'static str>,
    group: &'static str,
    seconds: Option<u32>,
}

impl Wish {
    fn of(node: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
        params.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        Self { params, usages: vec!["digital signature", "server auth"], group: "system:nodes", seconds: None }
    }

    fn name(&mut self, kind: DnType, value: &str) {
        self.params.distinguished_name.remove(kind.clone());
        self.params.distinguished_name.push(kind, value);
    }

    fn prove(&mut self, name: &str) -> Result<(), Failed> {
        self.params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
        Ok(())
    }
}

/// Asks for a serving certificate, as the kubelet of a node does.
fn ask(plane: &ControlPlane, node: &str, name: &str, wish: &Wish) -> Result<(), Failed> {
    let pem = wish.params.serialize_request(&KeyPair::generate()?)?.pem()?;
    let mut object = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": { "name": name },
        "spec": { "request": base64(&pem), "signerName": "kubernetes.io/kubelet-serving", "usages": wish.usages },
    });
    if let Some(seconds) = wish.seconds {
        object["spec"]["expirationSeconds"] = json!(seconds);
    }
    let (user, group) = (format!("--as=system:node:{node}"), format!("--as-group={}", wish.group));
    let arguments = ["create", "-f", "-", &user, &group, "--as-group=system:authenticated"];
    let mut said = String::new();
    let made = plane.until("the request made", Duration::from_secs(15), |plane| {
        let output = plane.try_kubectl(&arguments, Some(&object.to_string()))?;
        said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(output.status.success())
    });
    made.map_err(|_| format!("{name} was not made: {said}").into())
}

/// Every forged request is told from the sound one, by the rule that it breaks; and nothing is called sound that the real
/// signer refuses once it was approved.
pub(crate) fn forged_requests_for_serving_certificates_are_told() -> Result<(), Failed> {
    let plane = ControlPlane::start(&[])?;
    let_nodes_ask(&plane)?;
    type Change<'a> = Box<dyn Fn(&mut Wish) -> Result<(), Failed> + 'a>;
    let cases: Vec<(&str, Value, Change<'_>)> = vec![
        ("sound", json!([]), Box::new(|_| Ok(()))),
        (
            "other-node",
            json!(["common_name"]),
            Box::new(|w| {
                w.name(DnType::CommonName, "system:node:sound");
                Ok(())
            }),
        ),
        (
            "masters",
            json!(["subject"]),
            Box::new(|w| {
                w.name(DnType::OrganizationName, "system:masters");
                Ok(())
            }),
        ),
        (
            "no-group",
            json!(["not_a_node"]),
            Box::new(|w| {
                w.group = "system:masters";
                Ok(())
            }),
        ),
        (
            "other-part",
            json!(["subject"]),
            Box::new(|w| {
                w.name(DnType::CountryName, "FR");
                Ok(())
            }),
        ),
        ("company", json!([{ "name": "auth.company.com" }]), Box::new(|w| w.prove("auth.company.com"))),
        ("api-name", json!([{ "name": "kubernetes.default.svc" }]), Box::new(|w| w.prove("kubernetes.default.svc"))),
        ("suffix", json!([{ "name": "suffix.evil" }]), Box::new(|w| w.prove("suffix.evil"))),
        (
            "address",
            json!([{ "address": "10.0.0.1" }]),
            Box::new(|w| {
                w.params.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::new(10, 0, 0, 1).into()));
                Ok(())
            }),
        ),
        (
            "uri",
            json!(["other_names"]),
            Box::new(|w| {
                w.params.subject_alt_names.push(SanType::URI("https://a.example/".try_into()?));
                Ok(())
            }),
        ),
        (
            "mail",
            json!(["other_names"]),
            Box::new(|w| {
                w.params.subject_alt_names.push(SanType::Rfc822Name("a@b.example".try_into()?));
                Ok(())
            }),
        ),
        (
            "client",
            json!([{ "usage": "client auth" }]),
            Box::new(|w| {
                w.usages.push("client auth");
                Ok(())
            }),
        ),
        (
            "no-server",
            json!(["no_server_usage"]),
            Box::new(|w| {
                w.usages = vec!["digital signature"];
                Ok(())
            }),
        ),
        (
            "nameless",
            json!(["no_names"]),
            Box::new(|w| {
                w.params.subject_alt_names.clear();
                Ok(())
            }),
        ),
        (
            "long",
            json!(["too_long"]),
            Box::new(|w| {
                w.seconds = Some(10 * 365 * 86_400);
                Ok(())
            }),
        ),
    ];
    for (name, _, change) in &cases {
        node(&plane, name, 0)?;
        let mut wish = Wish::of(name);
        change(&mut wish)?;
        ask(&plane, name, &format!("csr-{name}"), &wish)?;
    }
    let mut wish = Wish::of("absent");
    wish.prove("absent")?;
    ask(&plane, "absent", "csr-absent", &wish)?;

    let config = plane.config("[reboot.linux]\nmax_uptime = \"1d\"\n")?;
    let config = config.to_str().ok_or("path")?;
    let plan = || -> Result<BTreeMap<String, Value>, Failed> {
        let said = plane.haulout(&["plan", config, "--format", "json"], LIMIT)?.expect(0)?;
        let plan: Value = serde_json::from_str(&said.out)?;
        let requests = plan["clusters"][0]["certificates"]["requests"].as_array().cloned().unwrap_or_default();
        let faults = |request: &Value| Some((request["name"].as_str()?.to_owned(), request["faults"].clone()));
        Ok(requests.iter().filter_map(faults).collect())
    };
    let told = plan()?;
    for (name, expected, _) in &cases {
        let found = told.get(&format!("csr-{name}")).ok_or_else(|| format!("{name} is not told of: {told:?}"))?;
        is(name, found, expected)?;
    }
    is("absent", &told["csr-absent"], &json!(["no_such_node"]))?;

    // Approved by somebody who does not look, each of them: what the signer then refuses was called faulty here.
    for (name, _, _) in &cases {
        plane.kubectl(&["certificate", "approve", &format!("csr-{name}")])?;
    }
    let mut refused = 0;
    plane.until("the signer to decide", Duration::from_secs(30), |plane| {
        let all = plane.get(&["csr"])?;
        refused = 0;
        let mut open = 0;
        for request in all["items"].as_array().into_iter().flatten() {
            let name = request["metadata"]["name"].as_str().unwrap_or_default();
            let failed = request["status"]["conditions"].to_string().contains("\"type\":\"Failed\"");
            let issued = request["status"]["certificate"].is_string();
            refused += usize::from(failed);
            open += usize::from(!failed && !issued && name != "csr-absent");
            if failed && told.get(name) == Some(&json!([])) {
                return Err(format!("{name} was called sound, and the signer refuses it: {request}").into());
            }
            if name == "csr-sound" && failed {
                return Err(format!("the sound request was refused: {request}").into());
            }
        }
        Ok(open == 0)
    })?;
    if refused == 0 {
        return Err("the signer refused nothing, so nothing was compared".into());
    }
    let left: Vec<String> = plan()?.into_keys().collect();
    is("what is left", &json!(left), &json!(["csr-absent"]))
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub(crate) fn an_api_server_that_cannot_be_believed_is_told_by_its_certificate() -> Result<(), Failed> {
    // The config has to be somewhere; nothing is asked of this control plane.
    let plane = ControlPlane::start(&[])?;
    let config = plane.config("")?;
    let config = config.to_str().ok_or("path")?;
    let ours = authority("cluster-ca", 2040)?;
    let other = authority("another-ca", 2040)?;
    let try_with = |trusted: &Issuer, der: Vec<u8>, key: &KeyPair| -> Result<Said, Failed> {
        let server = Handshakes::serve(vec![der], key)?;
        let kubeconfig = plane.folder.path().join("broken.kubeconfig");
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "admin",
            "contexts": [{ "name": "admin", "context": { "cluster": "c", "user": "u" } }],
            "clusters": [{ "name": "c", "cluster": {
                "server": format!("https://127.0.0.1:{}", server.port),
                "certificate-authority-data": base64(&trusted.pem()),
            }}],
            "users": [{ "name": "u", "user": { "token": "canary-token" } }],
        });
        std::fs::write(&kubeconfig, text.to_string())?;
        let said = plane.haulout_as(&kubeconfig, &["plan", config], LIMIT)?.expect(1)?;
        if said.all().contains("canary-token") {
            return Err(format!("a token is shown: {}", said.all()).into());
        }
        Ok(said)
    };
    let contains = |said: &Said, texts: &[&str]| -> Result<(), Failed> {
        match texts.iter().find(|text| !said.err.contains(**text)) {
            None => Ok(()),
            Some(text) => Err(format!("{text:?} is not said: {}", said.all()).into()),
        }
    };
    let (der, key) = leaf(&ours, "kube-apiserver", (2025, 1), (2026, 2))?;
    let said = try_with(&ours, der, &key)?;
    contains(&said, &["CN=kube-apiserver", "ended at 2026-02-01 00:00 UTC", "kubeadm certs renew all"])?;

    let (der, key) = leaf(&ours, "kube-apiserver", (2049, 1), (2050, 2))?;
    contains(&try_with(&ours, der, &key)?, &["is valid only from 2049-01-01 00:00 UTC on", "clocks"])?;

    let (der, key) = leaf(&other, "kube-apiserver", (2026, 1), (2027, 2))?;
    contains(
        &try_with(&ours, der, &key)?,
        &["is not trusted: another authority has signed it", "fetch a new kubeconfig"],
    )
}
