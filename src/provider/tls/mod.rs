//! TLS handshakes made only to see a certificate: no request is sent and no credential shown.

pub(super) mod x509;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// Why no certificate was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unseen {
    /// Nobody answers there.
    Unreachable(String),
    /// Somebody answers, but not with a certificate.
    NoCertificate(String),
}

/// Makes a handshake and takes the certificates that the other side presents, its own first. Whether they are valid is
/// not asked, so that an expired one is seen as well; that the other side has the key to its own is.
pub(super) async fn presented(host: &str, port: u16, name: &str, deadline: Duration) -> Result<Vec<Vec<u8>>, Unseen> {
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| Unseen::NoCertificate(format!("{name} is no name that a server can have")))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let witness = Arc::new(Witness { provider: Arc::clone(&provider), seen: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Unseen::NoCertificate(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let handshake = async {
        let stream = TcpStream::connect((host, port)).await.map_err(|error| Unseen::Unreachable(error.to_string()))?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map(drop)
            .map_err(|error| Unseen::NoCertificate(error.to_string()))
    };
    let ended = tokio::time::timeout(deadline, handshake)
        .await
        .unwrap_or_else(|_| Err(Unseen::Unreachable(format!("no answer within {} s", deadline.as_secs()))));
    // Who asks for a client certificate may hang up on one that has none, after having shown its own.
    let seen = std::mem::take(&mut *witness.seen.lock().unwrap_or_else(PoisonError::into_inner));
    if seen.is_empty() {
        return Err(ended.err().unwrap_or_else(|| Unseen::NoCertificate("it presents none".to_owned())));
    }
    Ok(seen)
}

/// Notes what is presented, and finds nothing wrong with it.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    seen: Mutex<Vec<Vec<u8>>>,
}

impl Witness {
    fn note(&self, own: &CertificateDer<'_>, others: Vec<Vec<u8>>) {
        let mut seen = vec![own.to_vec()];
        seen.extend(others);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.note(end_entity, intermediates.iter().map(|der| der.to_vec()).collect());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl Witness {
    /// Who cannot sign for a certificate has not shown his own.
    fn signed(&self, verified: Result<HandshakeSignatureValid, Error>) -> Result<HandshakeSignatureValid, Error> {
        if verified.is_err() {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        verified
    }
}

/// Why authorities do not prove a server by what it presents, whatever the dates: those are judged apart. `None` where
/// they do.
pub(super) fn distrusted(presented: &[Vec<u8>], authorities: &[Vec<u8>], name: &str, now: Timestamp) -> Option<String> {
    let (own, others) = presented.split_first()?;
    let mut roots = RootCertStore::empty();
    let (_, unusable) =
        roots.add_parsable_certificates(authorities.iter().map(|der| CertificateDer::from(der.clone())));
    if roots.is_empty() {
        return Some(if unusable > 0 { "its authority cannot be read" } else { "there is no authority" }.to_owned());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
    let Ok(server) = ServerName::try_from(name.to_owned()) else {
        return Some(format!("{name} is no name that a server can have"));
    };
    let others: Vec<CertificateDer<'_>> = others.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let at = |moment: Timestamp| {
        let since = Duration::from_secs(u64::try_from(moment.as_second()).unwrap_or_default());
        let own = CertificateDer::from(own.as_slice());
        verifier.verify_server_cert(&own, &others, &server, &[], UnixTime::since_unix_epoch(since)).err()
    };
    let mut error = at(now)?;
    if is_of_time(&error) {
        let x509 = x509::read(own).ok()?;
        error = [x509.not_before, x509.not_after].into_iter().map(at).find(|wrong| {
            // Of an authority that has ended meanwhile the other end of the life still tells whether it signed.
            wrong.as_ref().is_none_or(|error| !is_of_time(error))
        })??;
    }
    Some(match error {
        // An authority that was rotated has the name of the one before it, and another key.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "another authority has signed it".to_owned()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("it is not made out to {name}"),
        other => other.to_string(),
    })
}

fn is_of_time(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        )
    )
}

#[cfg(test)]
mod tests;
