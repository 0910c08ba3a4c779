//! Who may talk to a served cluster: nobody without its token, and nobody reads along.
//!
//! The certificate authority, the server's certificate and the token are made when a cluster is served and are never
//! written down, but for what the kubeconfig needs; they end with the process.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::model::{Advice, Explain, Kind, Secret};

/// Bytes of the token: as many as its digest has.
const TOKEN_BYTES: usize = 32;
/// How long the certificates last. A sandbox is served for hours; whoever forgets one still has it next year.
const LASTS: SignedDuration = SignedDuration::from_hours(24 * 366);
/// How long before now they begin, so that a client whose clock is behind takes them too.
const BEFORE: SignedDuration = SignedDuration::from_hours(24);

/// Why a cluster cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A certificate could not be made.
    #[error("make the certificates of the simulated cluster")]
    Certificate(#[source] rcgen::Error),
    /// TLS did not take them.
    #[error("set up TLS for the simulated cluster")]
    Tls(#[source] tokio_rustls::rustls::Error),
    /// The system gave no randomness.
    #[error("make the token of the simulated cluster: the system has no randomness")]
    Random,
}

impl Explain for AccessError {
    fn kind(&self) -> Kind {
        Kind::Outside
    }

    fn advice(&self) -> Option<Advice> {
        Some(Advice::new("try again; if it stays so, this is a mistake in haulout: please report it"))
    }
}

/// The keys of one served cluster.
pub struct Access {
    acceptor: TlsAcceptor,
    authority: String,
    token: Secret,
    digest: [u8; TOKEN_BYTES],
}

impl Access {
    /// Makes a certificate authority, a certificate for loopback, and a token.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn make(now: Timestamp) -> Result<Self, AccessError> {
        let dated = |mut params: CertificateParams, name: &str| {
            params.distinguished_name.push(DnType::CommonName, name);
            let (from, to) = (date(now, -BEFORE), date(now, LASTS));
            params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
            params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
            params
        };
        let mut authority = dated(CertificateParams::default(), "haulout sandbox CA");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate().map_err(AccessError::Certificate)?;
        let authority_certificate = authority.self_signed(&authority_key).map_err(AccessError::Certificate)?;
        let issuer = Issuer::new(authority, authority_key);

        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let mut leaf = dated(CertificateParams::new(names).map_err(AccessError::Certificate)?, "haulout sandbox");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.use_authority_key_identifier_extension = true;
        let leaf_key = KeyPair::generate().map_err(AccessError::Certificate)?;
        let certificate = leaf.signed_by(&leaf_key, &issuer).map_err(AccessError::Certificate)?;

        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut random = [0_u8; TOKEN_BYTES];
        provider.secure_random.fill(&mut random).map_err(|_| AccessError::Random)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key))
            .map_err(AccessError::Tls)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority: authority_certificate.pem(),
            digest: digest(token.as_bytes()),
            token: Secret::new(token),
        })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Whether an `Authorization` header holds the token. Digests are compared, so that how long it takes tells
    /// nothing about the token.
    pub(super) fn admits(&self, authorization: &[u8]) -> bool {
        authorization.strip_prefix(b"Bearer ").is_some_and(|token| digest(token) == self.digest)
    }

    /// The kubeconfig of one cluster, holding the token: a `clusters`, a `users` and a `contexts` entry of one name.
    #[must_use]
    pub fn kubeconfig_entry(&self, name: &str, address: SocketAddr) -> KubeconfigEntry {
        KubeconfigEntry {
            name: name.to_owned(),
            server: format!("https://{address}"),
            authority: self.authority.clone(),
            token: self.token.clone(),
        }
    }
}

/// What a kubeconfig says of one served cluster.
#[derive(Clone)]
pub struct KubeconfigEntry {
    name: String,
    server: String,
    authority: String,
    token: Secret,
}

/// A kubeconfig for the served clusters, in YAML; the first is its current context. It holds their tokens.
#[must_use]
pub fn kubeconfig(entries: &[KubeconfigEntry]) -> Secret {
    let mut text = String::from("apiVersion: v1\nkind: Config\n");
    if let Some(first) = entries.first() {
        text.push_str(&format!("current-context: {}\n", first.name));
    }
    text.push_str("clusters:\n");
    for entry in entries {
        let authority = STANDARD.encode(&entry.authority);
        text.push_str(&format!(
            "- name: {0}\n  cluster:\n    server: {1}\n    certificate-authority-data: {authority}\n",
            entry.name, entry.server
        ));
    }
    text.push_str("users:\n");
    for entry in entries {
        text.push_str(&format!("- name: {}\n  user:\n    token: \"{}\"\n", entry.name, entry.token.expose()));
    }
    text.push_str("contexts:\n");
    for entry in entries {
        text.push_str(&format!("- name: {0}\n  context:\n    cluster: {0}\n    user: {0}\n", entry.name));
    }
    Secret::new(text)
}

fn digest(bytes: &[u8]) -> [u8; TOKEN_BYTES] {
    Sha256::digest(bytes).into()
}

/// Year, month and day on which a moment lies, as certificates take them.
fn date(now: Timestamp, by: SignedDuration) -> (i32, u8, u8) {
    let date = now.saturating_add(by).unwrap_or(now).to_zoned(jiff::tz::TimeZone::UTC).date();
    let part = |part: i8| u8::try_from(part).unwrap_or(1);
    (i32::from(date.year()), part(date.month()), part(date.day()))
}
