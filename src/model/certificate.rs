//! Certificates as they were seen: what they are, where, and whether whoever met them trusted them. Never a key.

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;

use super::{Foreign, Namespace, NodeName, PodName};

/// The SHA-256 of a certificate in DER: what tells two certificates apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Takes a digest.
    #[must_use]
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase());
            *byte = u8::try_from((digit(pair[0])? << 4) | digit(pair[1])?).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What an X.509 certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct X509 {
    /// Its subject, such as `CN=kube-apiserver`.
    pub subject: Foreign,
    /// Who signed it.
    pub issuer: Foreign,
    /// Its SHA-256.
    pub fingerprint: Fingerprint,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid. A date beyond what can be counted (RFC 5280 writes "never" as the end of the year 9999)
    /// is the last moment that can be.
    pub not_after: Timestamp,
}

/// Which of the objects that name an authority for a server that the API server calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CaBundle {
    /// A `ValidatingWebhookConfiguration`.
    ValidatingWebhook,
    /// A `MutatingWebhookConfiguration`.
    MutatingWebhook,
    /// An `APIService`, which extends the API.
    ApiService,
    /// A `CustomResourceDefinition` with a webhook that converts.
    Conversion,
}

/// Where a certificate was seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificatePlace {
    /// The API server's own, from a handshake with an address, such as `10.0.0.4:6443`.
    ApiServer(Foreign),
    /// One between the API server's own and its authority, from the same handshake.
    ApiServerChain(Foreign),
    /// The authority by which our kubeconfig proves the API server.
    KubeconfigAuthority,
    /// The certificate by which our kubeconfig proves us.
    ClientCertificate,
    /// The authority that every pod trusts: ConfigMap `kube-root-ca.crt`.
    PodsAuthority,
    /// The authority of client certificates that the API server accepts: ConfigMap `extension-apiserver-authentication`.
    ClientAuthority,
    /// The authority of the front proxy, from the same ConfigMap.
    FrontProxyAuthority,
    /// That of a kubelet, from a handshake with its port.
    KubeletServing(NodeName),
    /// The authority that an object names for a server that the API server calls.
    Bundle(CaBundle, Foreign),
    /// A Certificate of cert-manager, by what it says of itself.
    CertManager(Namespace, Foreign),
}

/// A certificate, where it was seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenCertificate {
    /// Where.
    pub place: CertificatePlace,
    /// When it ends.
    pub ends: Timestamp,
    /// What it says of itself; `None` where only its end is told.
    pub x509: Option<X509>,
    /// When whoever renews it says that it will; `None` where nobody says.
    pub renews_at: Option<Timestamp>,
    /// Why the authority of our kubeconfig does not prove it; `None` where it does, or where it need not.
    pub distrusted: Option<Foreign>,
}

/// Certificates that could not be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateSource {
    /// A handshake with the API server.
    ApiServer,
    /// The other addresses of the API server: its EndpointSlice.
    ApiServerAddresses,
    /// Certificates in our kubeconfig.
    Kubeconfig,
    /// ConfigMap `kube-root-ca.crt`.
    PodsAuthority,
    /// ConfigMap `extension-apiserver-authentication`.
    RequestAuthorities,
    /// Handshakes with kubelets.
    Kubelets,
    /// Requests for serving certificates.
    ServingRequests,
    /// Webhook configurations that validate.
    ValidatingWebhooks,
    /// Webhook configurations that change.
    MutatingWebhooks,
    /// APIServices.
    ApiServices,
    /// CustomResourceDefinitions.
    Conversions,
    /// Certificates of cert-manager.
    CertManager,
}

/// What could not be seen, and why. Unlike a [`super::Gap`] it leaves nothing undecided.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnseenCertificates {
    /// What.
    pub source: CertificateSource,
    /// Why.
    pub why: Foreign,
    /// How many are meant, where there are several of them.
    pub count: u32,
}

/// A request for a serving certificate of a kubelet on which nobody has decided yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServingRequest {
    /// The node for which somebody asks, by the name of the user who does: `system:node:NAME`.
    pub node: NodeName,
    /// When it was made; the latest of a node is the one that its kubelet waits for.
    pub created_at: Option<Timestamp>,
    /// The name of the CertificateSigningRequest.
    pub name: PodName,
    /// The groups of whoever asks, as the API server knows them.
    pub groups: Vec<Foreign>,
    /// What the certificate is to be used for.
    pub usages: Vec<Foreign>,
    /// For how long it is wanted; `None` is as long as the signer gives.
    pub expiration_seconds: Option<i32>,
    /// What it is to say; `Err` where that cannot be read, with why.
    pub asked: Result<AskedCertificate, Foreign>,
}

/// What a certificate is to say, as the request has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskedCertificate {
    /// The common names of its subject; a sound one has one.
    pub common_names: Vec<Foreign>,
    /// The organizations of its subject.
    pub organizations: Vec<Foreign>,
    /// How many other parts its subject has.
    pub other_parts: u32,
    /// The addresses that it is to prove.
    pub addresses: Vec<IpAddr>,
    /// The names that it is to prove.
    pub names: Vec<Foreign>,
    /// How many other identities it is to prove: mail addresses, URIs and the like.
    pub other_names: u32,
}

/// All the certificates that were looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    /// What was seen, in order of place and end.
    pub seen: Vec<SeenCertificate>,
    /// Requests for serving certificates that wait for somebody to decide.
    pub requests: Vec<ServingRequest>,
    /// What could not be seen.
    pub unseen: Vec<UnseenCertificates>,
}

impl Certificates {
    /// Whether nothing was looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.requests.is_empty() && self.unseen.is_empty()
    }

    /// Takes over what others have seen.
    pub fn extend(&mut self, other: Self) {
        self.seen.extend(other.seen);
        self.requests.extend(other.requests);
        self.unseen.extend(other.unseen);
    }

    /// Puts them into their documented order. A certificate that stands twice at one place, as in a bundle that was
    /// concatenated carelessly, is one.
    pub fn sort(&mut self) {
        self.seen.sort();
        self.seen.dedup();
        self.requests.sort();
        self.unseen.sort();
        self.unseen.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_fingerprint_is_refused() {
        for text in ["", "00", &"0".repeat(63), &"g".repeat(64), &"A".repeat(64), &"é".repeat(32)] {
            assert_eq!(Fingerprint::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_fingerprint_is_read_as_it_is_written(digest in any::<[u8; 32]>()) {
            let fingerprint = Fingerprint::new(digest);
            prop_assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Some(fingerprint));
        }
    }
}
