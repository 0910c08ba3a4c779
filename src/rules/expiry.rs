//! When certificates end, who renews them, and from when on that is a worry.

use jiff::{SignedDuration, Timestamp};

use crate::model::{CertificatePlace, SeenCertificate, Snapshot};

/// Who made the control plane, as far as it decides who renews its certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Azure Kubernetes Service.
    Aks,
    /// kubeadm: static pods, files in `/etc/kubernetes/pki`.
    Kubeadm,
    /// k3s.
    K3s,
    /// RKE2.
    Rke2,
    /// Another one, or one that cannot be told.
    Other,
}

impl Distribution {
    /// Tells it from what every cluster shows: the version that its builders mark (`+k3s1`, `+rke2r1`), the labels that
    /// AKS puts on its nodes and keeps for itself, and the static pods of kubeadm.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let version = snapshot.version.raw();
        if version.contains("+k3s") {
            return Self::K3s;
        }
        if version.contains("+rke2") {
            return Self::Rke2;
        }
        if snapshot.nodes.values().any(|node| node.label("kubernetes.azure.com/cluster").is_some()) {
            return Self::Aks;
        }
        let is_api_server = |pod: &&crate::model::Pod| {
            pod.shape.mirror
                && pod.key.namespace.as_str() == "kube-system"
                && pod.shape.labels.get("component").is_some_and(|component| &**component == "kube-apiserver")
        };
        if snapshot.pods.iter().any(|pod| is_api_server(&pod)) { Self::Kubeadm } else { Self::Other }
    }
}

/// Who renews a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Renewer {
    /// AKS, without anybody's doing.
    AksItself,
    /// A rotation of all certificates of an AKS cluster, which takes it down.
    AksRotation,
    /// kubeadm, when it upgrades a node of the control plane or is told to.
    Kubeadm,
    /// k3s or RKE2, when its process starts and not much of the life is left.
    AtStart,
    /// The kubelet, which asks for a new one when 70 to 90 % of the life are over.
    Kubelet,
    /// cert-manager.
    CertManager,
    /// Whoever has installed the server that the object names, or its operator.
    Installer,
    /// Whoever hands out the kubeconfig.
    Kubeconfig,
    /// Whoever runs the control plane.
    Operator,
    /// Nobody: the kubelet has signed it by itself, once.
    Nobody,
}

impl Renewer {
    /// Who renews what was seen.
    #[must_use]
    pub fn of(seen: &SeenCertificate, distribution: Distribution) -> Self {
        match &seen.place {
            CertificatePlace::ApiServer(_) | CertificatePlace::ApiServerChain(_) => match distribution {
                Distribution::Aks => Self::AksItself,
                Distribution::Kubeadm => Self::Kubeadm,
                Distribution::K3s | Distribution::Rke2 => Self::AtStart,
                Distribution::Other => Self::Operator,
            },
            CertificatePlace::KubeconfigAuthority
            | CertificatePlace::PodsAuthority
            | CertificatePlace::ClientAuthority
            | CertificatePlace::FrontProxyAuthority => match distribution {
                Distribution::Aks => Self::AksRotation,
                // None of them renews an authority: kubeadm says so itself, and k3s only on command.
                Distribution::Kubeadm | Distribution::K3s | Distribution::Rke2 | Distribution::Other => Self::Operator,
            },
            CertificatePlace::ClientCertificate => Self::Kubeconfig,
            CertificatePlace::KubeletServing(node) => {
                // A kubelet that is not told to ask for one signs its own, whose issuer is named after the node.
                let own = |issuer: &str| issuer.contains(&format!("{node}-ca@"));
                match (&seen.x509, distribution) {
                    (Some(x509), _) if own(x509.issuer.raw()) => Self::Nobody,
                    (_, Distribution::K3s | Distribution::Rke2) => Self::AtStart,
                    _ => Self::Kubelet,
                }
            }
            CertificatePlace::Bundle(..) => Self::Installer,
            CertificatePlace::CertManager(..) => Self::CertManager,
        }
    }
}

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateStanding {
    /// It has ended.
    Ended,
    /// It is not valid yet.
    NotYetValid,
    /// Whoever renews it should have done so by now.
    Overdue,
    /// It ends soon, and nobody renews it without being told.
    EndsSoon,
    /// Nothing is to be done.
    Fine,
}

/// From when on the end of a certificate that nobody renews by himself is called soon: peers warn 28 days before, AKS
/// by mail some weeks before; a rotation that takes a cluster down wants a window found and people told.
const SOON: SignedDuration = SignedDuration::from_hours(60 * 24);
/// AKS renews the API server's own certificate without anybody's doing; one that lasts less than this was not.
const AKS_LATEST: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How long cert-manager may be late before it is called late.
const CERT_MANAGER_LATEST: SignedDuration = SignedDuration::from_hours(24);

/// How a certificate stands at a moment.
#[must_use]
pub fn standing(seen: &SeenCertificate, renewer: Renewer, now: Timestamp) -> CertificateStanding {
    let left = seen.ends.duration_since(now);
    if left <= SignedDuration::ZERO {
        return CertificateStanding::Ended;
    }
    let begins = seen.x509.as_ref().map(|x509| x509.not_before);
    if begins.is_some_and(|begins| now < begins) {
        return CertificateStanding::NotYetValid;
    }
    let life = begins.map(|begins| seen.ends.duration_since(begins));
    let late = match renewer {
        Renewer::AksItself => left < AKS_LATEST,
        // A kubelet renews at 70 to 90 % of the life, and asks again for as long as nobody answers.
        Renewer::Kubelet => life.is_some_and(|life| left < life / 10),
        Renewer::CertManager => seen.renews_at.is_some_and(|at| now.duration_since(at) > CERT_MANAGER_LATEST),
        Renewer::AksRotation
        | Renewer::Kubeadm
        | Renewer::AtStart
        | Renewer::Installer
        | Renewer::Kubeconfig
        | Renewer::Operator
        | Renewer::Nobody => {
            // Of one that is made for weeks, the last third is early enough.
            let soon = life.map_or(SOON, |life| SOON.min(life / 3));
            return if left < soon { CertificateStanding::EndsSoon } else { CertificateStanding::Fine };
        }
    };
    if late { CertificateStanding::Overdue } else { CertificateStanding::Fine }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fingerprint, Foreign, NodeName, X509};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn seen(place: CertificatePlace, from: &str, to: &str) -> SeenCertificate {
        let x509 = X509 {
            subject: Foreign::new("CN=a"),
            issuer: Foreign::new("CN=a-ca@1700000000"),
            fingerprint: Fingerprint::new([0; 32]),
            not_before: at(from),
            not_after: at(to),
        };
        SeenCertificate { place, ends: at(to), x509: Some(x509), renews_at: None, distrusted: None }
    }

    #[test]
    fn what_renews_itself_is_a_worry_only_when_it_is_late() {
        let kubelet = seen(
            CertificatePlace::KubeletServing(NodeName::new("b").unwrap()),
            "2026-01-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
        );
        assert_eq!(Renewer::of(&kubelet, Distribution::Other), Renewer::Kubelet);
        let standing_at = |now: &str| standing(&kubelet, Renewer::Kubelet, at(now));
        assert_eq!(standing_at("2025-12-31T23:59:59Z"), CertificateStanding::NotYetValid);
        // 90 % of 365 days end 36.5 days before the end.
        assert_eq!(standing_at("2026-11-25T11:00:00Z"), CertificateStanding::Fine);
        assert_eq!(standing_at("2026-11-25T13:00:00Z"), CertificateStanding::Overdue);
        assert_eq!(standing_at("2027-01-01T00:00:00Z"), CertificateStanding::Ended);

        let leaf =
            seen(CertificatePlace::ApiServer(Foreign::new("a:443")), "2024-12-01T00:00:00Z", "2027-01-01T00:00:00Z");
        assert_eq!(standing(&leaf, Renewer::AksItself, at("2026-12-01T00:00:00Z")), CertificateStanding::Fine);
        assert_eq!(standing(&leaf, Renewer::AksItself, at("2026-12-03T00:00:00Z")), CertificateStanding::Overdue);

        let mut managed = seen(
            CertificatePlace::CertManager(crate::model::Namespace::new("shop").unwrap(), Foreign::new("web")),
            "2026-01-01T00:00:00Z",
            "2026-04-01T00:00:00Z",
        );
        managed.renews_at = Some(at("2026-03-02T00:00:00Z"));
        assert_eq!(standing(&managed, Renewer::CertManager, at("2026-03-02T20:00:00Z")), CertificateStanding::Fine);
        assert_eq!(standing(&managed, Renewer::CertManager, at("2026-03-03T01:00:00Z")), CertificateStanding::Overdue);
    }

    #[test]
    fn what_nobody_renews_is_a_worry_in_time() {
        let authority = seen(CertificatePlace::PodsAuthority, "2025-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        assert_eq!(Renewer::of(&authority, Distribution::Aks), Renewer::AksRotation);
        let standing_at = |now: &str| standing(&authority, Renewer::AksRotation, at(now));
        assert_eq!(standing_at("2026-11-01T00:00:00Z"), CertificateStanding::Fine);
        assert_eq!(standing_at("2026-11-03T00:00:00Z"), CertificateStanding::EndsSoon);
        // One of 30 days: its last third.
        let short = seen(CertificatePlace::ClientCertificate, "2026-01-01T00:00:00Z", "2026-01-31T00:00:00Z");
        assert_eq!(standing(&short, Renewer::Kubeconfig, at("2026-01-20T00:00:00Z")), CertificateStanding::Fine);
        assert_eq!(standing(&short, Renewer::Kubeconfig, at("2026-01-22T00:00:00Z")), CertificateStanding::EndsSoon);
    }

    #[test]
    fn a_kubelet_that_signs_for_itself_is_told_from_one_that_asks() {
        let own = |name: &str| {
            let place = CertificatePlace::KubeletServing(NodeName::new(name).unwrap());
            Renewer::of(&seen(place, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"), Distribution::Kubeadm)
        };
        assert_eq!(own("a"), Renewer::Nobody);
        assert_eq!(own("b"), Renewer::Kubelet);
    }
}
