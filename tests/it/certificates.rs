//! What a plan says of certificates, and that none of it is lost in a snapshot.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use haulout::format;
use haulout::model::{
    CaBundle, CertificatePlace, CertificateSource, Certificates, Fingerprint, Foreign, Namespace, NodeName,
    SeenCertificate, ServingRequest, Snapshot, UnseenCertificates, X509,
};
use haulout::plan::CertificateReport;
use haulout::render::{TerminalStyle, terminal};
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
    let request = (node_name(), foreign()).prop_map(|(node, name)| ServingRequest { node, name });
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
        snapshot.certificates.requests =
            vec![ServingRequest { node: NodeName::new("n-2").unwrap(), name: Foreign::new("csr-abcde") }];
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
        snapshot.certificates.requests = (0..40)
            .map(|n| ServingRequest {
                node: NodeName::new(format!("n-{n}")).unwrap(),
                name: Foreign::new(format!("csr-{n}")),
            })
            .collect();
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
