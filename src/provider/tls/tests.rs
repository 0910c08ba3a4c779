//! Handshakes with servers of the tests' own, on loopback.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

const DEADLINE: Duration = Duration::from_secs(5);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2050, 1, 1);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A certificate for a name, and its key.
    fn sign(&self, name: &str, from: i32, to: i32) -> (Vec<u8>, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().der().to_vec(), key)
    }
}

/// Serves handshakes until it is dropped. Returns its port.
async fn serve(chain: Vec<Vec<u8>>, key: &KeyPair) -> u16 {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.into_iter().map(CertificateDer::from).collect(), key)
        .unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    port
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

#[tokio::test]
async fn an_expired_certificate_is_seen_and_trusted_apart_from_its_date() {
    let authority = Authority::new();
    let (der, key) = authority.sign("127.0.0.1", 2024, 2025);
    let port = serve(vec![der.clone()], &key).await;
    let seen = presented("127.0.0.1", port, "127.0.0.1", DEADLINE).await.unwrap();
    assert_eq!(seen, [der]);
    assert_eq!(x509::read(&seen[0]).unwrap().not_after.to_string(), "2025-01-01T00:00:00Z");
    assert_eq!(distrusted(&seen, &[authority.der()], "127.0.0.1", now()), None);
    let other = Authority::new();
    let said = distrusted(&seen, &[other.der()], "127.0.0.1", now());
    assert_eq!(said.as_deref(), Some("another authority has signed it"));
}

#[tokio::test]
async fn a_name_that_a_certificate_does_not_have_is_told() {
    let authority = Authority::new();
    let (der, _) = authority.sign("a.example", 2026, 2027);
    assert_eq!(distrusted(std::slice::from_ref(&der), &[authority.der()], "a.example", now()), None);
    let said = distrusted(&[der], &[authority.der()], "10.0.0.4", now());
    assert_eq!(said.as_deref(), Some("it is not made out to 10.0.0.4"));
}

#[tokio::test]
async fn who_answers_without_a_certificate_is_told_from_who_does_not_answer() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        // What a kubelet says that has no serving certificate yet: the alert "internal error".
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[21, 3, 3, 0, 2, 2, 80]).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let said = presented("127.0.0.1", port, "127.0.0.1", DEADLINE).await.unwrap_err();
    assert!(matches!(&said, Unseen::NoCertificate(why) if why.contains("InternalError")), "{said:?}");
    // The listener is gone with its task.
    let said = presented("127.0.0.1", port, "127.0.0.1", DEADLINE).await.unwrap_err();
    assert!(matches!(said, Unseen::Unreachable(_)), "{said:?}");
}

#[tokio::test]
async fn who_does_not_have_the_key_has_shown_nothing() {
    let authority = Authority::new();
    let (der, _) = authority.sign("127.0.0.1", 2026, 2027);
    // Another key of the same kind: the server presents what it cannot sign for.
    let key = KeyPair::generate().unwrap();
    let signing =
        aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())))
            .unwrap();
    let certified = tokio_rustls::rustls::sign::CertifiedKey::new(vec![CertificateDer::from(der)], signing);
    let resolver = Arc::new(tokio_rustls::rustls::sign::SingleCertAndKey::from(certified));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let _ = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
    });
    let said = presented("127.0.0.1", port, "127.0.0.1", DEADLINE).await.unwrap_err();
    assert!(matches!(said, Unseen::NoCertificate(_)), "{said:?}");
}
