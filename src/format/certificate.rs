//! Certificates in snapshots and in plans.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{
    AskedCertificate, CaBundle, CertificatePlace, CertificateSource, Certificates, Fingerprint, Foreign, Namespace,
    NodeName, PodName, SeenCertificate, ServingRequest, UnseenCertificates, X509,
};
use crate::plan;

/// What was seen of certificates, and what could not be.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Certificates")]
pub(in crate::format) struct WireCertificates {
    pub seen: Vec<WireCertificate>,
    /// Requests for serving certificates of kubelets on which nobody has decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<WireRequest>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<WireUnseen>,
}

/// A certificate, where it was seen. Never a key.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Certificate")]
pub(in crate::format) struct WireCertificate {
    pub place: WirePlace,
    /// When it ends, RFC 3339.
    pub ends: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x509: Option<WireX509>,
    /// When whoever renews it says that it will.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renews_at: Option<String>,
    /// Why the authority of the kubeconfig does not prove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distrusted: Option<String>,
}

/// What a certificate says of itself.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "X509")]
pub(in crate::format) struct WireX509 {
    pub subject: String,
    pub issuer: String,
    /// In lower-case hexadecimal digits.
    pub sha256: String,
    pub not_before: String,
    pub not_after: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "CertificatePlace")]
pub(in crate::format) enum WirePlace {
    /// The API server's own, by the address that presented it.
    ApiServer(String),
    /// One between the API server's own and its authority.
    ApiServerChain(String),
    KubeconfigAuthority,
    ClientCertificate,
    PodsAuthority,
    ClientAuthority,
    FrontProxyAuthority,
    /// That of a kubelet, by its node.
    KubeletServing(String),
    /// The authority that an object names for a server that the API server calls.
    Bundle {
        kind: WireBundle,
        name: String,
    },
    CertManager {
        namespace: String,
        name: String,
    },
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "CaBundle")]
pub(in crate::format) enum WireBundle {
    ValidatingWebhook,
    MutatingWebhook,
    ApiService,
    Conversion,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ServingRequest")]
pub(in crate::format) struct WireRequest {
    pub node: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// The groups of whoever asks.
    pub groups: Vec<String>,
    pub usages: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_seconds: Option<i32>,
    pub asked: WireAsked,
}

/// What a certificate is to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "AskedCertificate")]
pub(in crate::format) enum WireAsked {
    Certificate {
        common_names: Vec<String>,
        organizations: Vec<String>,
        other_parts: u32,
        addresses: Vec<String>,
        names: Vec<String>,
        other_names: u32,
    },
    /// It cannot be read, for this reason.
    Unreadable(String),
}

/// What could not be seen.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UnseenCertificates")]
pub(in crate::format) struct WireUnseen {
    pub source: WireSource,
    /// As the source said it; not made safe to show.
    pub why: String,
    /// How many are meant.
    pub count: u32,
}

/// Declares the sources once, for both directions.
macro_rules! sources {
    ($($source:ident),*) => {
        #[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        #[schemars(rename = "CertificateSource")]
        pub(in crate::format) enum WireSource { $($source),* }

        impl From<CertificateSource> for WireSource {
            fn from(source: CertificateSource) -> Self {
                match source { $(CertificateSource::$source => Self::$source),* }
            }
        }

        impl From<WireSource> for CertificateSource {
            fn from(source: WireSource) -> Self {
                match source { $(WireSource::$source => Self::$source),* }
            }
        }
    };
}

sources!(
    ApiServer,
    ApiServerAddresses,
    Kubeconfig,
    PodsAuthority,
    RequestAuthorities,
    Kubelets,
    ServingRequests,
    ValidatingWebhooks,
    MutatingWebhooks,
    ApiServices,
    Conversions,
    CertManager
);

/// A certificate of a plan: what was seen, and how it is judged.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct JudgedCertificate {
    #[serde(flatten)]
    pub seen: WireCertificate,
    pub renewer: Renewer,
    pub standing: CertificateStanding,
}

/// What a plan says of certificates.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct CertificateReport {
    pub judged: Vec<JudgedCertificate>,
    /// For each node the latest request for a serving certificate, where nobody has decided on it.
    pub requests: Vec<JudgedRequest>,
    /// What could not be seen.
    pub unseen: Vec<WireUnseen>,
}

/// A request of a plan: what it asks for, and what is wrong with it.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::format) struct JudgedRequest {
    #[serde(flatten)]
    pub request: WireRequest,
    /// Why it must not be approved; empty where it asks for nothing else than what its node is known by.
    pub faults: Vec<ServingFault>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum ServingFault {
    NoSuchNode,
    Unreadable(String),
    NotANode,
    CommonName,
    Subject,
    Usage(String),
    NoServerUsage,
    NoNames,
    OtherNames,
    Address(String),
    Name(String),
    TooLong,
}

/// Who renews a certificate.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum Renewer {
    AksItself,
    AksRotation,
    Kubeadm,
    AtStart,
    Kubelet,
    CertManager,
    Installer,
    Kubeconfig,
    Operator,
    Nobody,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::format) enum CertificateStanding {
    Ended,
    NotYetValid,
    /// Whoever renews it should have done so by now.
    Overdue,
    EndsSoon,
    Fine,
}

/// What a plan says of certificates; nothing where none was looked for.
pub(in crate::format) fn of_report(report: &plan::CertificateReport) -> Option<CertificateReport> {
    (!report.is_empty()).then(|| CertificateReport {
        judged: report
            .judged
            .iter()
            .map(|judged| JudgedCertificate {
                seen: of_seen(&judged.seen),
                renewer: match judged.renewer {
                    plan::Renewer::AksItself => Renewer::AksItself,
                    plan::Renewer::AksRotation => Renewer::AksRotation,
                    plan::Renewer::Kubeadm => Renewer::Kubeadm,
                    plan::Renewer::AtStart => Renewer::AtStart,
                    plan::Renewer::Kubelet => Renewer::Kubelet,
                    plan::Renewer::CertManager => Renewer::CertManager,
                    plan::Renewer::Installer => Renewer::Installer,
                    plan::Renewer::Kubeconfig => Renewer::Kubeconfig,
                    plan::Renewer::Operator => Renewer::Operator,
                    plan::Renewer::Nobody => Renewer::Nobody,
                },
                standing: match judged.standing {
                    plan::CertificateStanding::Ended => CertificateStanding::Ended,
                    plan::CertificateStanding::NotYetValid => CertificateStanding::NotYetValid,
                    plan::CertificateStanding::Overdue => CertificateStanding::Overdue,
                    plan::CertificateStanding::EndsSoon => CertificateStanding::EndsSoon,
                    plan::CertificateStanding::Fine => CertificateStanding::Fine,
                },
            })
            .collect(),
        requests: report
            .requests
            .iter()
            .map(|judged| JudgedRequest {
                request: of_request(&judged.request),
                faults: judged.faults.iter().map(of_fault).collect(),
            })
            .collect(),
        unseen: report.unseen.iter().map(of_unseen).collect(),
    })
}

/// The certificates of a snapshot; nothing where none was looked for.
pub(in crate::format) fn of_certificates(certificates: &Certificates) -> Option<WireCertificates> {
    (!certificates.is_empty()).then(|| WireCertificates {
        seen: certificates.seen.iter().map(of_seen).collect(),
        requests: certificates.requests.iter().map(of_request).collect(),
        unseen: certificates.unseen.iter().map(of_unseen).collect(),
    })
}

fn of_seen(seen: &SeenCertificate) -> WireCertificate {
    let text = |text: &Foreign| text.raw().to_owned();
    WireCertificate {
        place: match &seen.place {
            CertificatePlace::ApiServer(address) => WirePlace::ApiServer(text(address)),
            CertificatePlace::ApiServerChain(address) => WirePlace::ApiServerChain(text(address)),
            CertificatePlace::KubeconfigAuthority => WirePlace::KubeconfigAuthority,
            CertificatePlace::ClientCertificate => WirePlace::ClientCertificate,
            CertificatePlace::PodsAuthority => WirePlace::PodsAuthority,
            CertificatePlace::ClientAuthority => WirePlace::ClientAuthority,
            CertificatePlace::FrontProxyAuthority => WirePlace::FrontProxyAuthority,
            CertificatePlace::KubeletServing(node) => WirePlace::KubeletServing(node.to_string()),
            CertificatePlace::Bundle(kind, name) => WirePlace::Bundle {
                kind: match kind {
                    CaBundle::ValidatingWebhook => WireBundle::ValidatingWebhook,
                    CaBundle::MutatingWebhook => WireBundle::MutatingWebhook,
                    CaBundle::ApiService => WireBundle::ApiService,
                    CaBundle::Conversion => WireBundle::Conversion,
                },
                name: text(name),
            },
            CertificatePlace::CertManager(namespace, name) => {
                WirePlace::CertManager { namespace: namespace.to_string(), name: text(name) }
            }
        },
        ends: seen.ends.to_string(),
        x509: seen.x509.as_ref().map(|x509| WireX509 {
            subject: text(&x509.subject),
            issuer: text(&x509.issuer),
            sha256: x509.fingerprint.to_string(),
            not_before: x509.not_before.to_string(),
            not_after: x509.not_after.to_string(),
        }),
        renews_at: seen.renews_at.map(|at| at.to_string()),
        distrusted: seen.distrusted.as_ref().map(text),
    }
}

fn of_request(request: &ServingRequest) -> WireRequest {
    let texts = |all: &[Foreign]| all.iter().map(|text| text.raw().to_owned()).collect();
    WireRequest {
        node: request.node.to_string(),
        name: request.name.to_string(),
        created_at: request.created_at.map(|at| at.to_string()),
        groups: texts(&request.groups),
        usages: texts(&request.usages),
        expiration_seconds: request.expiration_seconds,
        asked: match &request.asked {
            Ok(asked) => WireAsked::Certificate {
                common_names: texts(&asked.common_names),
                organizations: texts(&asked.organizations),
                other_parts: asked.other_parts,
                addresses: asked.addresses.iter().map(ToString::to_string).collect(),
                names: texts(&asked.names),
                other_names: asked.other_names,
            },
            Err(why) => WireAsked::Unreadable(why.raw().to_owned()),
        },
    }
}

fn of_fault(fault: &plan::ServingFault) -> ServingFault {
    use plan::ServingFault as Fault;
    match fault {
        Fault::NoSuchNode => ServingFault::NoSuchNode,
        Fault::Unreadable(why) => ServingFault::Unreadable(why.raw().to_owned()),
        Fault::NotANode => ServingFault::NotANode,
        Fault::CommonName => ServingFault::CommonName,
        Fault::Subject => ServingFault::Subject,
        Fault::Usage(usage) => ServingFault::Usage(usage.raw().to_owned()),
        Fault::NoServerUsage => ServingFault::NoServerUsage,
        Fault::NoNames => ServingFault::NoNames,
        Fault::OtherNames => ServingFault::OtherNames,
        Fault::Address(address) => ServingFault::Address(address.to_string()),
        Fault::Name(name) => ServingFault::Name(name.raw().to_owned()),
        Fault::TooLong => ServingFault::TooLong,
    }
}

fn to_request(wire: &WireRequest) -> Result<ServingRequest, (&'static str, String)> {
    let texts = |all: &[String]| all.iter().map(Foreign::new).collect();
    let asked = match &wire.asked {
        WireAsked::Unreadable(why) => Err(Foreign::new(why)),
        WireAsked::Certificate { common_names, organizations, other_parts, addresses, names, other_names } => {
            let read = addresses.iter().map(|text| {
                text.parse().map_err(|_| ("asked.certificate.addresses", "expected an IP address".to_owned()))
            });
            Ok(AskedCertificate {
                common_names: texts(common_names),
                organizations: texts(organizations),
                other_parts: *other_parts,
                addresses: read.collect::<Result<_, _>>()?,
                names: texts(names),
                other_names: *other_names,
            })
        }
    };
    Ok(ServingRequest {
        node: NodeName::new(&wire.node).map_err(|error| ("node", error.to_string()))?,
        created_at: wire.created_at.as_deref().map(|text| time(text, "created_at")).transpose()?,
        name: PodName::new(&wire.name).map_err(|error| ("name", error.to_string()))?,
        groups: texts(&wire.groups),
        usages: texts(&wire.usages),
        expiration_seconds: wire.expiration_seconds,
        asked,
    })
}

fn of_unseen(unseen: &UnseenCertificates) -> WireUnseen {
    WireUnseen { source: unseen.source.into(), why: unseen.why.raw().to_owned(), count: unseen.count }
}

/// Reads the certificates of a snapshot; the error is where and what.
pub(in crate::format) fn to_certificates(wire: &WireCertificates) -> Result<Certificates, (String, String)> {
    let mut certificates = Certificates::default();
    for (index, seen) in wire.seen.iter().enumerate() {
        let at = |(field, why): (&str, String)| (format!("certificates.seen[{index}].{field}"), why);
        certificates.seen.push(to_seen(seen).map_err(at)?);
    }
    for (index, request) in wire.requests.iter().enumerate() {
        let at = |(field, why): (&str, String)| (format!("certificates.requests[{index}].{field}"), why);
        certificates.requests.push(to_request(request).map_err(at)?);
    }
    certificates.unseen = wire
        .unseen
        .iter()
        .map(|unseen| UnseenCertificates {
            source: unseen.source.into(),
            why: Foreign::new(&unseen.why),
            count: unseen.count,
        })
        .collect();
    Ok(certificates)
}

fn to_seen(wire: &WireCertificate) -> Result<SeenCertificate, (&'static str, String)> {
    let name = |error: crate::model::InvalidName| ("place", error.to_string());
    let place = match &wire.place {
        WirePlace::ApiServer(address) => CertificatePlace::ApiServer(Foreign::new(address)),
        WirePlace::ApiServerChain(address) => CertificatePlace::ApiServerChain(Foreign::new(address)),
        WirePlace::KubeconfigAuthority => CertificatePlace::KubeconfigAuthority,
        WirePlace::ClientCertificate => CertificatePlace::ClientCertificate,
        WirePlace::PodsAuthority => CertificatePlace::PodsAuthority,
        WirePlace::ClientAuthority => CertificatePlace::ClientAuthority,
        WirePlace::FrontProxyAuthority => CertificatePlace::FrontProxyAuthority,
        WirePlace::KubeletServing(node) => CertificatePlace::KubeletServing(NodeName::new(node).map_err(name)?),
        WirePlace::Bundle { kind, name } => CertificatePlace::Bundle(
            match kind {
                WireBundle::ValidatingWebhook => CaBundle::ValidatingWebhook,
                WireBundle::MutatingWebhook => CaBundle::MutatingWebhook,
                WireBundle::ApiService => CaBundle::ApiService,
                WireBundle::Conversion => CaBundle::Conversion,
            },
            Foreign::new(name),
        ),
        WirePlace::CertManager { namespace, name: own } => {
            CertificatePlace::CertManager(Namespace::new(namespace).map_err(name)?, Foreign::new(own))
        }
    };
    let x509 = match &wire.x509 {
        None => None,
        Some(x509) => Some(X509 {
            subject: Foreign::new(&x509.subject),
            issuer: Foreign::new(&x509.issuer),
            fingerprint: Fingerprint::parse(&x509.sha256)
                .ok_or_else(|| ("x509.sha256", "expected 64 lower-case hexadecimal digits".to_owned()))?,
            not_before: time(&x509.not_before, "x509.not_before")?,
            not_after: time(&x509.not_after, "x509.not_after")?,
        }),
    };
    Ok(SeenCertificate {
        place,
        ends: time(&wire.ends, "ends")?,
        x509,
        renews_at: wire.renews_at.as_deref().map(|text| time(text, "renews_at")).transpose()?,
        distrusted: wire.distrusted.as_ref().map(Foreign::new),
    })
}

fn time(text: &str, field: &'static str) -> Result<Timestamp, (&'static str, String)> {
    text.parse().map_err(|_| (field, "expected a time such as 2026-11-23T14:02:11Z".to_owned()))
}
