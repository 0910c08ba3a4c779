//! What a plan says of certificates, and that none of it is lost in a snapshot.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use std::sync::Arc;

use haulout::format;
use haulout::model::{
    AddressKind, AskedCertificate, CaBundle, CertificatePlace, CertificateSource, Certificates, Fingerprint, Foreign,
    Namespace, NodeAddress, NodeName, PodName, SeenCertificate, ServingRequest, Snapshot, UnseenCertificates, X509,
};
use haulout::plan::{BlockedReason, CertificateReport, ServingFault};
use haulout::render::{TerminalStyle, terminal};
use haulout::rules::serving::faults;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::option::of as maybe;
use proptest::prelude::*;

use crate::plan::scene::{node, snapshot};
use crate::plans::empty;

fn foreign() -> impl Strategy<Value = Foreign> {
    any::<String>().prop_map(Foreign::new)
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        Just(Timestamp::MAX),
        Just(Timestamp::MIN),
        (0_i64..4_000_000_000).prop_map(|s| Timestamp::new(s, 0).unwrap())
    ]
}

fn node_name() -> impl Strategy<Value = NodeName> {
    "[a-z][a-z0-9]{0,3}".prop_map(|text| NodeName::new(text).unwrap())
}

fn place() -> impl Strategy<Value = CertificatePlace> {
    let kinds =
        vec![CaBundle::ValidatingWebhook, CaBundle::MutatingWebhook, CaBundle::ApiService, CaBundle::Conversion];
    prop_oneof![
        foreign().prop_map(CertificatePlace::ApiServer),
        foreign().prop_map(CertificatePlace::ApiServerChain),
        Just(CertificatePlace::KubeconfigAuthority),
        Just(CertificatePlace::ClientCertificate),
        Just(CertificatePlace::PodsAuthority),
        Just(CertificatePlace::ClientAuthority),
        Just(CertificatePlace::FrontProxyAuthority),
        node_name().prop_map(CertificatePlace::KubeletServing),
        (proptest::sample::select(kinds), foreign()).prop_map(|(kind, name)| CertificatePlace::Bundle(kind, name)),
        ("[a-z]{1,4}", foreign())
            .prop_map(|(namespace, name)| CertificatePlace::CertManager(Namespace::new(namespace).unwrap(), name)),
    ]
}

fn source() -> impl Strategy<Value = CertificateSource> {
    proptest::sample::select(vec![
        CertificateSource::ApiServer,
        CertificateSource::ApiServerAddresses,
        CertificateSource::Kubeconfig,
        CertificateSource::PodsAuthority,
        CertificateSource::RequestAuthorities,
        CertificateSource::Kubelets,
        CertificateSource::ServingRequests,
        CertificateSource::ValidatingWebhooks,
        CertificateSource::MutatingWebhooks,
        CertificateSource::ApiServices,
        CertificateSource::Conversions,
        CertificateSource::CertManager,
    ])
}

pub(crate) fn any_certificates() -> impl Strategy<Value = Certificates> {
    let x509 = (foreign(), foreign(), any::<[u8; 32]>(), time(), time()).prop_map(
        |(subject, issuer, digest, not_before, not_after)| X509 {
            subject,
            issuer,
            fingerprint: Fingerprint::new(digest),
            not_before,
            not_after,
        },
    );
    let seen = (place(), time(), maybe(x509), maybe(time()), maybe(foreign())).prop_map(
        |(place, ends, x509, renews_at, distrusted)| SeenCertificate { place, ends, x509, renews_at, distrusted },
    );
    let texts = || vec(foreign(), 0..3);
    let address = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    let asked = (texts(), texts(), any::<u32>(), vec(address, 0..3), texts(), any::<u32>()).prop_map(
        |(common_names, organizations, other_parts, addresses, names, other_names)| AskedCertificate {
            common_names,
            organizations,
            other_parts,
            addresses,
            names,
            other_names,
        },
    );
    let asked = prop_oneof![asked.prop_map(Ok), foreign().prop_map(Err)];
    let request = (node_name(), maybe(time()), "[a-z]{1,4}", texts(), texts(), maybe(any::<i32>()), asked).prop_map(
        |(node, created_at, name, groups, usages, expiration_seconds, asked)| ServingRequest {
            node,
            created_at,
            name: PodName::new(name).unwrap(),
            groups,
            usages,
            expiration_seconds,
            asked,
        },
    );
    let unseen =
        (source(), foreign(), any::<u32>()).prop_map(|(source, why, count)| UnseenCertificates { source, why, count });
    (vec(seen, 0..4), vec(request, 0..2), vec(unseen, 0..2)).prop_map(|(seen, requests, unseen)| Certificates {
        seen,
        requests,
        unseen,
    })
}

const NOW: &str = "2026-12-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A certificate that was made so many days ago and ends in so many days.
fn seen(place: CertificatePlace, print: u8, age: i64, left: i64) -> SeenCertificate {
    let days = |days: i64| now().saturating_add(SignedDuration::from_hours(24 * days)).unwrap();
    let x509 = X509 {
        subject: Foreign::new("CN=a"),
        issuer: Foreign::new("CN=kubernetes"),
        fingerprint: Fingerprint::new([print; 32]),
        not_before: days(-age),
        not_after: days(left),
    };
    SeenCertificate { place, ends: x509.not_after, x509: Some(x509), renews_at: None, distrusted: None }
}

fn kubelet(name: &str, print: u8, age: i64, left: i64) -> SeenCertificate {
    seen(CertificatePlace::KubeletServing(NodeName::new(name).unwrap()), print, age, left)
}

/// A request that asks for what its node is known by, and for nothing else.
fn request(node: &str, name: &str) -> ServingRequest {
    ServingRequest {
        node: NodeName::new(node).unwrap(),
        created_at: Some(now()),
        name: PodName::new(name).unwrap(),
        groups: vec![Foreign::new("system:nodes"), Foreign::new("system:authenticated")],
        usages: vec![Foreign::new("digital signature"), Foreign::new("server auth")],
        expiration_seconds: None,
        asked: Ok(AskedCertificate {
            common_names: vec![Foreign::new(format!("system:node:{node}"))],
            organizations: vec![Foreign::new("system:nodes")],
            names: vec![Foreign::new(node)],
            ..AskedCertificate::default()
        }),
    }
}

/// The plan of a cluster of which nothing is wanted, as far as it speaks of certificates.
fn shown(version: &str, change: impl FnOnce(&mut Snapshot)) -> String {
    let mut snapshot = snapshot([node("n-1", "np1", "z1")]);
    snapshot.version = Foreign::new(version);
    change(&mut snapshot);
    snapshot.sort();
    let mut plan = empty("prod-weu");
    plan.certificates = CertificateReport::of(&snapshot, now());
    let style = TerminalStyle { timezone: TimeZone::UTC, ..TerminalStyle::default() };
    let text = terminal::clusters(&Foreign::new("platform"), now(), &[Arc::new(plan)], &style);
    assert!(!text.chars().any(|c| c != '\n' && haulout::model::is_dangerous(c)), "{text:?}");
    let start = text.find("Certificates\n").unwrap();
    text[start..].split("\n\n").next().unwrap().to_owned()
}

fn case(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "../cases/render",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!(name, text) });
}

fn server(address: &str, print: u8, left: i64) -> SeenCertificate {
    seen(CertificatePlace::ApiServer(Foreign::new(address)), print, 100, left)
}

#[test]
fn one_authority_in_three_places_is_one_line() {
    let text = shown("1.34.2", |snapshot| {
        snapshot.certificates.seen = vec![
            server("10.0.0.4:6443", 1, 265),
            server("10.0.0.5:6443", 1, 265),
            seen(CertificatePlace::ClientCertificate, 2, 100, 265),
            seen(CertificatePlace::KubeconfigAuthority, 3, 100, 3550),
            seen(CertificatePlace::PodsAuthority, 3, 100, 3550),
            seen(CertificatePlace::ClientAuthority, 3, 100, 3550),
            seen(CertificatePlace::FrontProxyAuthority, 4, 100, 3550),
            kubelet("n-1", 5, 100, 265),
        ];
    });
    case("certificates", &text);
}

#[test]
fn what_is_a_worry_comes_first_and_says_what_to_do() {
    let text = shown("1.34.2", |snapshot| {
        let mut forged = server("10.0.0.6:6443", 9, 265);
        forged.distrusted = Some(Foreign::new("another authority has signed it \u{1b}[31m"));
        snapshot.certificates.seen = vec![
            server("10.0.0.4:6443", 1, -3),
            forged,
            seen(CertificatePlace::ClientCertificate, 2, 100, 20),
            seen(CertificatePlace::KubeconfigAuthority, 3, -1, 3550),
            kubelet("n-1", 5, 350, 15),
            kubelet("n-2", 6, 350, 15),
            kubelet("n-3", 7, 100, 265),
            seen(CertificatePlace::Bundle(CaBundle::ValidatingWebhook, Foreign::new("policy")), 8, 100, 10),
            SeenCertificate {
                place: CertificatePlace::CertManager(Namespace::new("shop").unwrap(), Foreign::new("web")),
                ends: "2026-12-20T00:00:00Z".parse().unwrap(),
                x509: None,
                renews_at: Some("2026-11-20T00:00:00Z".parse().unwrap()),
                distrusted: None,
            },
        ];
        snapshot.nodes.extend([node("n-2", "np1", "z1")].map(|node| (node.name.clone(), node)));
        let mut forged = request("n-1", "csr-forged");
        forged.asked.as_mut().unwrap().names.push(Foreign::new("auth.company.com \u{1b}[31m"));
        snapshot.certificates.requests = vec![request("n-2", "csr-abcde"), forged, request("gone", "csr-gone")];
        snapshot.certificates.unseen = vec![UnseenCertificates {
            source: CertificateSource::MutatingWebhooks,
            why: Foreign::new("list mutatingwebhookconfigurations: forbidden \u{202e}"),
            count: 1,
        }];
    });
    case("certificates-worries", &text);
}

#[test]
fn thousands_of_kubelets_are_one_line() {
    let text = shown("1.34.2", |snapshot| {
        snapshot.certificates.seen = (0..5000_u16)
            .map(|n| kubelet(&format!("n-{n}"), u8::try_from(n % 251).unwrap(), 100, 200 + i64::from(n)))
            .collect();
        snapshot.certificates.seen.extend((0..300).map(|n| kubelet(&format!("late-{n}"), 7, 360, 5)));
        snapshot.nodes = (0..40).map(|n| node(&format!("n-{n}"), "np1", "z1")).map(|n| (n.name.clone(), n)).collect();
        snapshot.certificates.requests = (0..40).map(|n| request(&format!("n-{n}"), &format!("csr-{n}"))).collect();
        snapshot.certificates.unseen = vec![UnseenCertificates {
            source: CertificateSource::Kubelets,
            why: Foreign::new("n-4999: Connection refused (os error 111)"),
            count: 12,
        }];
    });
    case("certificates-many", &text);
}

#[test]
fn an_old_cluster_of_aks_is_caught_by_its_authority_and_by_its_leaf() {
    let aks = |snapshot: &mut Snapshot| {
        for node in snapshot.nodes.values_mut() {
            Arc::make_mut(&mut node.labels).insert("kubernetes.azure.com/cluster".into(), "MC_a_b_c".into());
        }
    };
    // Made before May 2019: its authority lives for two years.
    let text = shown("1.34.2", |snapshot| {
        aks(snapshot);
        snapshot.certificates.seen =
            vec![server("a.azmk8s.io:443", 1, 300), seen(CertificatePlace::KubeconfigAuthority, 2, 690, 40)];
    });
    case("certificates-aks-authority", &text);
    // Made later: the authority lives for thirty years, and the leaf was not renewed.
    let text = shown("1.34.2", |snapshot| {
        aks(snapshot);
        snapshot.certificates.seen = vec![
            seen(CertificatePlace::ApiServer(Foreign::new("a.azmk8s.io:443")), 1, 705, 25),
            seen(CertificatePlace::KubeconfigAuthority, 2, 705, 10_000),
        ];
    });
    case("certificates-aks-leaf", &text);
}

#[test]
fn each_distribution_is_told_by_what_it_shows() {
    let renewal = |version: &str| {
        let text = shown(version, |snapshot| snapshot.certificates.seen = vec![server("a:6443", 1, 265)]);
        text.rsplit("; ").next().unwrap().to_owned()
    };
    assert_eq!(renewal("1.34.2+k3s1"), "renewed by a restart in the last months of its life");
    assert_eq!(renewal("1.34.2+rke2r1"), "renewed by a restart in the last months of its life");
    assert_eq!(renewal("1.34.2"), "whoever runs the control plane renews it");
}

#[test]
fn the_json_of_a_plan_has_every_certificate_with_its_judgement() {
    let mut snapshot = snapshot([node("n-1", "np1", "z1")]);
    snapshot.certificates.seen = vec![server("10.0.0.4:6443", 1, 20)];
    let mut cluster = empty("prod-weu");
    cluster.certificates = CertificateReport::of(&snapshot, now());
    let json: serde_json::Value =
        serde_json::from_slice(&format::plan::write_parts(&Foreign::new("c"), now(), &[Arc::new(cluster)], "0"))
            .unwrap();
    assert_eq!(
        json["clusters"][0]["certificates"]["judged"][0],
        serde_json::json!({
            "place": { "api_server": "10.0.0.4:6443" },
            "ends": "2026-12-21T12:00:00Z",
            "x509": {
                "subject": "CN=a", "issuer": "CN=kubernetes", "sha256": "01".repeat(32),
                "not_before": "2026-08-23T12:00:00Z", "not_after": "2026-12-21T12:00:00Z",
            },
            "renewer": "operator",
            "standing": "ends_soon",
        })
    );
}

#[test]
fn a_node_whose_kubelet_waits_for_a_certificate_is_not_rebooted() {
    let mut snapshot = snapshot([node("n-1", "np1", "z1"), node("n-2", "np1", "z1")]);
    let mut earlier = request("n-2", "csr-earlier");
    earlier.created_at = Some("2026-11-01T00:00:00Z".parse().unwrap());
    let mut forged = request("n-2", "csr-forged");
    forged.groups.clear();
    snapshot.certificates.requests = vec![forged, earlier, request("n-1", "csr-1")];
    snapshot.sort();
    let plan = crate::plan::scene::plan(&crate::plan::scene::config(2), &snapshot);
    let cluster = &plan.clusters()[0];
    assert!(cluster.outages.is_empty());
    let blocked: Vec<_> =
        cluster.blocked.iter().map(|blocked| (blocked.node.as_str(), blocked.reasons.clone())).collect();
    let reason =
        |name: &str, sound| vec![BlockedReason::ServingRequestPending { request: PodName::new(name).unwrap(), sound }];
    assert_eq!(blocked, [("n-1", reason("csr-1", true)), ("n-2", reason("csr-forged", false))]);
}

/// What is wrong with a request of node `n-1`, whose addresses are 10.0.0.4, fd00::4 and `n-1.example`.
fn faults_of(change: impl FnOnce(&mut ServingRequest, &mut AskedCertificate)) -> Vec<ServingFault> {
    let mut node = node("n-1", "np1", "z1");
    let address = |kind, text| NodeAddress { kind, address: Foreign::new(text) };
    node.addresses = Arc::new([
        address(AddressKind::InternalIp, "10.0.0.4"),
        address(AddressKind::InternalIp, "fd00::4"),
        address(AddressKind::Name, "n-1.example"),
        // A name that looks like an address is none.
        address(AddressKind::Name, "10.0.0.9"),
    ]);
    let mut request = request("n-1", "csr-1");
    let mut asked = request.asked.clone().unwrap();
    change(&mut request, &mut asked);
    if request.asked.is_ok() {
        request.asked = Ok(asked);
    }
    faults(&request, Some(&node))
}

#[test]
fn a_request_for_what_its_node_is_known_by_is_sound() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(faults_of(|_, _| {}), []);
    let everything = faults_of(|request, asked| {
        request.usages.push(Foreign::new("key encipherment"));
        request.expiration_seconds = Some(365 * 86_400);
        asked.addresses = vec![ip("10.0.0.4"), ip("fd00::4")];
        asked.names = vec![Foreign::new("N-1"), Foreign::new("n-1.example")];
    });
    assert_eq!(everything, []);
}

#[test]
fn each_rule_that_a_request_breaks_is_told() {
    let foreign = |text: &str| Foreign::new(text);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    type Change = fn(&mut ServingRequest, &mut AskedCertificate);
    let cases: [(Change, ServingFault); 16] = [
        (|r, _| r.groups.retain(|group| group.raw() != "system:nodes"), ServingFault::NotANode),
        (|r, _| r.usages.push(Foreign::new("client auth")), ServingFault::Usage(foreign("client auth"))),
        (|r, _| r.usages.retain(|usage| usage.raw() != "server auth"), ServingFault::NoServerUsage),
        (|r, _| r.expiration_seconds = Some(368 * 86_400), ServingFault::TooLong),
        (|r, _| r.asked = Err(Foreign::new("no PEM")), ServingFault::Unreadable(foreign("no PEM"))),
        (|_, a| a.common_names = vec![Foreign::new("system:node:n-2")], ServingFault::CommonName),
        (|_, a| a.common_names.push(Foreign::new("system:node:n-1")), ServingFault::CommonName),
        (|_, a| a.common_names.clear(), ServingFault::CommonName),
        (|_, a| a.organizations.push(Foreign::new("system:masters")), ServingFault::Subject),
        (|_, a| a.organizations.clear(), ServingFault::Subject),
        (|_, a| a.other_parts = 1, ServingFault::Subject),
        (|_, a| a.names.clear(), ServingFault::NoNames),
        (|_, a| a.other_names = 1, ServingFault::OtherNames),
        (|_, a| a.addresses.push("10.0.0.9".parse().unwrap()), ServingFault::Address(ip("10.0.0.9"))),
        (|_, a| a.names.push(Foreign::new("auth.company.com")), ServingFault::Name(foreign("auth.company.com"))),
        (|_, a| a.names.push(Foreign::new("n-1.example.evil")), ServingFault::Name(foreign("n-1.example.evil"))),
    ];
    for (change, fault) in cases {
        assert_eq!(faults_of(change), [fault]);
    }
    assert_eq!(faults(&request("n-1", "csr-1"), None), [ServingFault::NoSuchNode]);
    assert_eq!(faults(&request("n-1", "csr-1"), Some(&node("n-2", "np1", "z1"))), [ServingFault::NoSuchNode]);
}
