//! Certificates, in words.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::{Told, Words, between, count, duration, foreign, names, number};
use crate::model::{CaBundle, CertificatePlace, CertificateSource, NodeName, UnseenCertificates, sanitise};
use crate::plan::{CertificateReport, CertificateStanding, JudgedCertificate, JudgedRequest, Renewer, ServingFault};

/// Of several names so many are shown.
const NAMES: usize = 3;
/// Up to so many that stand well and are of one kind have lines of their own.
const FEW: usize = 3;

/// A line about certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateLine {
    /// All is well.
    Fine(String),
    /// Something is to be done.
    Worry(Told),
    /// Something could not be seen.
    Unseen(String),
}

impl Words<'_> {
    /// What a plan says of certificates: first what is a worry, then the rest, then what could not be seen.
    #[must_use]
    pub fn certificates(&self, report: &CertificateReport) -> Vec<CertificateLine> {
        let mut worries: Vec<(CertificateStanding, Timestamp, CertificateLine)> = Vec::new();
        let mut fine: BTreeMap<Group<'_>, Vec<&JudgedCertificate>> = BTreeMap::new();
        let mut bad: BTreeMap<(CertificateStanding, Group<'_>), Vec<&JudgedCertificate>> = BTreeMap::new();
        for group in same(&report.judged) {
            let Some(first) = group.first() else { continue };
            if let Some(why) = group.iter().find_map(|judged| judged.seen.distrusted.as_ref()) {
                let text =
                    format!("{} is not proved by the authority of the kubeconfig: {}", label(&group), foreign(why));
                let advice = "fetch a new kubeconfig if the cluster's certificates were rotated; otherwise find out \
                    who answers there";
                let line = CertificateLine::Worry(Told { text, advice: advice.to_owned() });
                worries.push((CertificateStanding::Ended, first.seen.ends, line));
            }
            if first.standing == CertificateStanding::Fine {
                fine.entry(Group::of(first)).or_default().extend(&group);
            } else {
                bad.entry((first.standing, Group::of(first))).or_default().extend(&group);
            }
        }
        // The requests of these are told with their certificates.
        let mut named: BTreeSet<&NodeName> = BTreeSet::new();
        for ((standing, group), mut all) in bad {
            all.sort_by_key(|judged| judged.seen.ends);
            for (told, text) in self.told(group, &all) {
                if all.len() <= FEW
                    && let CertificatePlace::KubeletServing(node) = &told.seen.place
                {
                    named.insert(node);
                }
                let line = CertificateLine::Worry(Told { text, advice: advice(told, &report.requests) });
                worries.push((standing, told.seen.ends, line));
            }
        }
        worries.sort_by_key(|(standing, ends, _)| (*standing, *ends));
        let mut lines: Vec<CertificateLine> = worries.into_iter().map(|(.., line)| line).collect();
        lines.extend(waiting(&report.requests, &named));
        for (group, mut all) in fine {
            all.sort_by_key(|judged| judged.seen.ends);
            lines.extend(self.told(group, &all).into_iter().map(|(_, text)| CertificateLine::Fine(text)));
        }
        lines.extend(report.unseen.iter().map(|unseen| CertificateLine::Unseen(missing(unseen))));
        lines
    }

    /// Those that stand alike, the first to end first: a few one by one, many in one line. Each with the one that it speaks
    /// of.
    fn told<'j>(&self, group: Group<'_>, all: &[&'j JudgedCertificate]) -> Vec<(&'j JudgedCertificate, String)> {
        let line = |judged: &[&'j JudgedCertificate]| {
            let first = *judged.first()?;
            Some((first, format!("{} {}; {}", label(judged), self.end(first), renewal(first.renewer))))
        };
        match (group, all) {
            (Group::One(_), _) => line(all).into_iter().collect(),
            (Group::Many(plural, renewer), [first, _, _, _, ..]) => {
                let text = format!(
                    "{} {plural}: the first, {}, {}; {}",
                    number(all.len() as u64),
                    label(&[*first]),
                    self.end(first),
                    renewal(renewer)
                );
                vec![(*first, text)]
            }
            (Group::Many(..), _) => all.iter().filter_map(|judged| line(&[*judged])).collect(),
        }
    }

    /// When it ends, or what else is wrong with its dates.
    fn end(&self, judged: &JudgedCertificate) -> String {
        let day = |at: Timestamp| at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d").to_string();
        let ends = judged.seen.ends;
        match (judged.standing, &judged.seen.x509) {
            (CertificateStanding::Ended, _) => format!("ended on {} ({} ago)", day(ends), span(self.ago(ends))),
            (CertificateStanding::NotYetValid, Some(x509)) => format!("is valid only from {} on", day(x509.not_before)),
            // RFC 5280 has a date for certificates that are not meant to end.
            _ if ends == Timestamp::MAX => "never ends".to_owned(),
            _ => format!("ends on {} (in {})", day(ends), span(between(self.now, ends))),
        }
    }
}

/// What has one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group<'a> {
    /// A certificate, wherever it was seen.
    One(&'a CertificatePlace),
    /// All of a kind, of which a cluster may have thousands.
    Many(&'static str, Renewer),
}

impl<'a> Group<'a> {
    fn of(judged: &'a JudgedCertificate) -> Self {
        let noun = match &judged.seen.place {
            CertificatePlace::KubeletServing(_) => "serving certificates of kubelets",
            CertificatePlace::Bundle(CaBundle::ValidatingWebhook, _) => "authorities of validating webhooks",
            CertificatePlace::Bundle(CaBundle::MutatingWebhook, _) => "authorities of mutating webhooks",
            CertificatePlace::Bundle(CaBundle::ApiService, _) => "authorities of APIServices",
            CertificatePlace::Bundle(CaBundle::Conversion, _) => "authorities of conversion webhooks",
            CertificatePlace::CertManager(..) => "certificates of cert-manager",
            place => return Self::One(place),
        };
        Self::Many(noun, judged.renewer)
    }
}

/// The same certificate in several places is one: that of a cluster's authority stands in three.
fn same(judged: &[JudgedCertificate]) -> Vec<Vec<&JudgedCertificate>> {
    let mut groups: Vec<Vec<&JudgedCertificate>> = Vec::new();
    let mut known: BTreeMap<_, usize> = BTreeMap::new();
    for one in judged {
        let print = one.seen.x509.as_ref().map(|x509| x509.fingerprint);
        let joined = print.filter(|_| matches!(Group::of(one), Group::One(_)));
        match joined.map(|print| *known.entry((print, one.renewer)).or_insert(groups.len())) {
            Some(place) if place < groups.len() => groups[place].push(one),
            _ => groups.push(vec![one]),
        }
    }
    groups
}

/// What a certificate is, with all the places where it was seen.
fn label(group: &[&JudgedCertificate]) -> String {
    let mut servers = Vec::new();
    let mut chains = Vec::new();
    let mut authorities = Vec::new();
    let mut others = Vec::new();
    for judged in group {
        match &judged.seen.place {
            CertificatePlace::ApiServer(address) => servers.push(foreign(address)),
            CertificatePlace::ApiServerChain(address) => chains.push(foreign(address)),
            CertificatePlace::KubeconfigAuthority => authorities.push("the kubeconfig".to_owned()),
            CertificatePlace::PodsAuthority => authorities.push("pods".to_owned()),
            CertificatePlace::ClientAuthority => authorities.push("client certificates".to_owned()),
            CertificatePlace::FrontProxyAuthority => authorities.push("the front proxy".to_owned()),
            CertificatePlace::ClientCertificate => others.push("client certificate of the kubeconfig".to_owned()),
            CertificatePlace::KubeletServing(node) => others.push(format!("serving certificate of node/{node}")),
            CertificatePlace::Bundle(kind, name) => {
                let kind = match kind {
                    CaBundle::ValidatingWebhook => "validating webhook",
                    CaBundle::MutatingWebhook => "mutating webhook",
                    CaBundle::ApiService => "APIService",
                    CaBundle::Conversion => "conversion webhook",
                };
                others.push(format!("authority of {kind} {}", foreign(name)));
            }
            CertificatePlace::CertManager(namespace, name) => {
                others.push(format!("certificate {namespace}/{} of cert-manager", foreign(name)));
            }
        }
    }
    let mut parts = Vec::new();
    if !servers.is_empty() {
        parts.push(format!("certificate of API server {}", names(&servers, NAMES)));
    }
    if !chains.is_empty() {
        parts.push(format!("intermediate authority of API server {}", names(&chains, NAMES)));
    }
    if !authorities.is_empty() {
        parts.push(format!("authority of {}", names(&authorities, NAMES)));
    }
    parts.extend(others);
    parts.join(", ")
}

/// Who renews it.
fn renewal(renewer: Renewer) -> &'static str {
    match renewer {
        Renewer::AksItself => "AKS renews it by itself",
        Renewer::AksRotation => "only a rotation of the cluster's certificates renews it",
        Renewer::Kubeadm => "kubeadm renews it with every upgrade",
        Renewer::AtStart => "renewed by a restart in the last months of its life",
        Renewer::Kubelet => "the kubelet renews it by itself",
        Renewer::CertManager => "cert-manager renews it",
        Renewer::Installer => "whoever has installed it renews it",
        Renewer::Kubeconfig => "a new kubeconfig renews it",
        Renewer::Operator => "whoever runs the control plane renews it",
        Renewer::Nobody => "nobody renews it: the kubelet has signed it itself",
    }
}

/// What to do about one that is a worry.
fn advice(judged: &JudgedCertificate, requests: &[JudgedRequest]) -> String {
    if judged.standing == CertificateStanding::NotYetValid {
        return "compare the clocks of this machine and of whoever has signed it".to_owned();
    }
    match (judged.renewer, &judged.seen.place) {
        (Renewer::AksItself | Renewer::AksRotation, _) => {
            "find a window and rotate the cluster's certificates (az aks rotate-certs): it recreates every node and \
             takes the cluster down for up to 30 minutes"
                .to_owned()
        }
        (Renewer::Kubeadm, _) => "on each control-plane node, one after the other: kubeadm certs renew all, then \
                                  restart the static pods of the control plane"
            .to_owned(),
        (Renewer::AtStart, _) => "restart the server, or the agent, on its node".to_owned(),
        (Renewer::Kubelet, CertificatePlace::KubeletServing(node)) => {
            match requests.iter().find(|judged| judged.request.node == *node) {
                Some(judged) if judged.faults.is_empty() => decide(judged),
                Some(judged) => format!("{} ({})", decide(judged), faults(judged)),
                None => "it has asked for no new one: look at its log, and restart it".to_owned(),
            }
        }
        (Renewer::Kubelet, _) => "look at the kubelet's log, and restart it".to_owned(),
        (Renewer::CertManager, CertificatePlace::CertManager(namespace, name)) => {
            format!("kubectl describe certificate {} --namespace {namespace}", foreign(name))
        }
        (Renewer::CertManager, _) => "look at the Certificate's conditions".to_owned(),
        (Renewer::Installer, _) => {
            "renew it as whoever installed it does; once it has ended, every call that needs it fails".to_owned()
        }
        (Renewer::Kubeconfig, _) => "fetch a new kubeconfig".to_owned(),
        (Renewer::Operator, CertificatePlace::ApiServer(_) | CertificatePlace::ApiServerChain(_)) => {
            "renew it on the control plane".to_owned()
        }
        (Renewer::Operator, _) => {
            "a new authority has to be trusted everywhere before it signs: plan it with whoever runs the control plane"
                .to_owned()
        }
        (Renewer::Nobody, _) => {
            "let the kubelet ask for one (serverTLSBootstrap), or delete its file and restart the kubelet".to_owned()
        }
    }
}

/// Requests that wait for somebody, except those of nodes of which that was told already: first those that should not be
/// approved.
fn waiting(requests: &[JudgedRequest], told: &BTreeSet<&NodeName>) -> Vec<CertificateLine> {
    let left = requests.iter().filter(|judged| !told.contains(&judged.request.node));
    let (sound, faulty): (Vec<&JudgedRequest>, Vec<&JudgedRequest>) = left.partition(|judged| judged.faults.is_empty());
    let line = |text: String, advice: String| CertificateLine::Worry(Told { text, advice });
    let mut lines: Vec<CertificateLine> = faulty
        .into_iter()
        .map(|judged| {
            let request = &judged.request;
            let text = format!(
                "request {} for a serving certificate of node/{} should not be approved: {}",
                request.name,
                request.node,
                faults(judged)
            );
            line(text, decide(judged))
        })
        .collect();
    if sound.len() > FEW {
        let nodes: Vec<&NodeName> = sound.iter().map(|judged| &judged.request.node).collect();
        let text = format!(
            "{} wait for somebody to approve their requests for serving certificates, which ask for nothing else than \
             what their nodes are known by: {}",
            count(sound.len(), "kubelet"),
            names(&nodes, NAMES)
        );
        lines.push(line(text, "kubectl certificate approve each; --format json has their names".to_owned()));
        return lines;
    }
    lines.extend(sound.into_iter().map(|judged| {
        let text = format!(
            "kubelet of node/{} waits for somebody to approve its request for a serving certificate, which asks for \
             nothing else than what the node is known by",
            judged.request.node
        );
        line(text, decide(judged))
    }));
    lines
}

/// What to do about a request.
pub(super) fn decide(judged: &JudgedRequest) -> String {
    let JudgedRequest { request, faults } = judged;
    if faults.is_empty() {
        return format!("kubectl certificate approve {}", request.name);
    }
    format!(
        "find out who asks with the credentials of node/{}, and kubectl certificate deny {}",
        request.node, request.name
    )
}

/// What is wrong with a request; fits after a colon.
pub(super) fn faults(judged: &JudgedRequest) -> String {
    let node = &judged.request.node;
    let all: Vec<String> = judged
        .faults
        .iter()
        .map(|fault| match fault {
            ServingFault::NoSuchNode => "there is no such node".to_owned(),
            ServingFault::Unreadable(why) => format!("what it asks for cannot be read ({})", foreign(why)),
            ServingFault::NotANode => "whoever asks is not in the group system:nodes".to_owned(),
            ServingFault::CommonName => format!("its common name is not system:node:{node}"),
            ServingFault::Subject => "its subject is another than the organization system:nodes has".to_owned(),
            ServingFault::Usage(usage) => format!("it asks for the usage {}", foreign(usage)),
            ServingFault::NoServerUsage => "it does not ask for the usage server auth".to_owned(),
            ServingFault::NoNames => "it asks for no address and no name".to_owned(),
            ServingFault::OtherNames => "it asks for more than addresses and names".to_owned(),
            ServingFault::Address(address) => format!("it asks for the address {address}, which is not the node's"),
            ServingFault::Name(name) => format!("it asks for the name {}, which is not the node's", foreign(name)),
            ServingFault::TooLong => "it asks for more than a year".to_owned(),
        })
        .collect();
    // A request may ask for thousands of names.
    let more = all.len().saturating_sub(NAMES);
    let shown = all.iter().take(NAMES).cloned().collect::<Vec<_>>().join("; ");
    if more == 0 { shown } else { format!("{shown}; and {more} more") }
}

/// What could not be seen, and why.
fn missing(unseen: &UnseenCertificates) -> String {
    let what = match unseen.source {
        CertificateSource::ApiServer => "the API server's own".to_owned(),
        CertificateSource::ApiServerAddresses => "that of another API server".to_owned(),
        CertificateSource::Kubeconfig => "one of the kubeconfig".to_owned(),
        CertificateSource::PodsAuthority => "the authority that pods trust".to_owned(),
        CertificateSource::RequestAuthorities => {
            "the authorities of client certificates and of the front proxy".to_owned()
        }
        CertificateSource::Kubelets if unseen.count > 1 => format!("those of {} kubelets", number(unseen.count.into())),
        CertificateSource::Kubelets => "that of a kubelet".to_owned(),
        CertificateSource::ServingRequests => "requests of kubelets".to_owned(),
        CertificateSource::ValidatingWebhooks => "authorities of validating webhooks".to_owned(),
        CertificateSource::MutatingWebhooks => "authorities of mutating webhooks".to_owned(),
        CertificateSource::ApiServices => "authorities of APIServices".to_owned(),
        CertificateSource::Conversions => "authorities of conversion webhooks".to_owned(),
        CertificateSource::CertManager => "certificates of cert-manager".to_owned(),
    };
    format!("not seen: {what} ({})", sanitise(unseen.why.raw()).shortened(120))
}

/// A span of time as people say it of certificates: days, until there are few of them.
fn span(span: Duration) -> String {
    let days = span.as_secs() / 86_400;
    if days >= 2 { format!("{} days", number(days)) } else { duration(span) }
}
