//! What a kubeconfig says about reaching a cluster before anything is sent: how the server is proved, and when the
//! credentials end.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kube::Config;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{Access, ConnectError, in_cluster, resolve};
use crate::model::Foreign;
use crate::provider::tls::x509::{self, certificates, decode_base64};

/// How the API server proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerProof {
    /// Not at all: the address is one of plain HTTP.
    PlainHttp,
    /// Not at all: `insecure-skip-tls-verify` is set.
    Unverified,
    /// By a certificate of the authority that the kubeconfig names.
    OwnAuthority,
    /// By a certificate of one of the authorities that this machine trusts.
    SystemAuthorities,
}

/// What is shown to the API server to prove who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A client certificate.
    ClientCertificate,
    /// A bearer token in the kubeconfig.
    Token,
    /// A bearer token in a file that somebody else renews, as the kubelet does for pods.
    TokenFile(PathBuf),
    /// What this command of the kubeconfig hands out; it renews by itself what it can.
    Plugin(Foreign),
    /// A user name and a password.
    Password,
}

/// A credential, and when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRead {
    /// What it is.
    pub credential: Credential,
    /// When it ends; `None` where it does not say.
    pub ends: Option<Timestamp>,
    /// Why that could not be found out, where it should have been.
    pub unreadable: Option<Foreign>,
}

/// What is known of the way to a cluster without taking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRead {
    /// How the server is proved.
    pub proof: ServerProof,
    /// When the first of the kubeconfig's authorities ends.
    pub authority_ends: Option<Timestamp>,
    /// What is shown to it.
    pub credentials: Vec<CredentialRead>,
}

impl Access {
    /// Describes this way to a cluster; sends nothing and runs no plugin. `None` is a simulated cluster.
    ///
    /// # Errors
    /// [`ConnectError`] where connecting would fail in the same way.
    pub fn describe(&self) -> Result<Option<AccessRead>, ConnectError> {
        match self {
            Self::InProcess(_) => Ok(None),
            Self::InCluster => Ok(Some(describe(&in_cluster()?))),
            Self::Kubeconfig { path, context, env } => {
                Ok(Some(describe(&resolve(path.as_deref(), context.as_deref(), env)?)))
            }
        }
    }
}

fn describe(config: &Config) -> AccessRead {
    let authorities = config.root_cert.as_deref();
    let proof = if config.cluster_url.scheme_str() == Some("http") {
        ServerProof::PlainHttp
    } else if config.accept_invalid_certs {
        ServerProof::Unverified
    } else if authorities.is_some() {
        ServerProof::OwnAuthority
    } else {
        ServerProof::SystemAuthorities
    };
    let authority_ends = authorities.into_iter().flatten().filter_map(|der| end_of_certificate(der).ok()).min();
    AccessRead { proof, authority_ends, credentials: credentials(config) }
}

/// The client's own certificate in DER, where the kubeconfig has one.
pub(in super::super) fn client_certificate(config: &Config) -> Option<Result<Vec<u8>, String>> {
    let auth = &config.auth_info;
    let pem = match (&auth.client_certificate_data, &auth.client_certificate) {
        (Some(data), _) if !data.is_empty() => decode_base64(data).ok_or_else(|| "it is not base64".to_owned()),
        (_, Some(path)) if !path.is_empty() => std::fs::read(path).map_err(|error| error.to_string()),
        _ => return None,
    };
    // The first is the client's own; others are of the authorities between it and the root.
    Some(pem.and_then(|pem| Ok(certificates(&pem)?.swap_remove(0))))
}

fn credentials(config: &Config) -> Vec<CredentialRead> {
    let auth = &config.auth_info;
    let mut out = Vec::new();
    if let Some(der) = client_certificate(config) {
        let ends = der.and_then(|der| end_of_certificate(&der).map(Some));
        out.push(read(Credential::ClientCertificate, ends));
    }
    if let Some(exec) = &auth.exec {
        let command = Foreign::new(exec.command.as_deref().unwrap_or("(no command)"));
        out.push(read(Credential::Plugin(command), Ok(None)));
    } else if let Some(provider) = &auth.auth_provider {
        out.push(read(Credential::Plugin(Foreign::new(&provider.name)), Ok(None)));
    } else if let Some(path) = auth.token_file.as_deref().filter(|path| !path.is_empty()) {
        let token = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let ends = token.map(|token| end_of_token(&SecretString::from(token)));
        out.push(read(Credential::TokenFile(Path::new(path).to_owned()), ends));
    } else if let Some(token) = &auth.token {
        out.push(read(Credential::Token, Ok(end_of_token(token))));
    } else if auth.username.is_some() {
        out.push(read(Credential::Password, Ok(None)));
    }
    out
}

fn read(credential: Credential, ends: Result<Option<Timestamp>, String>) -> CredentialRead {
    let (ends, unreadable) = match ends {
        Ok(ends) => (ends, None),
        Err(why) => (None, Some(Foreign::new(why))),
    };
    CredentialRead { credential, ends, unreadable }
}

fn end_of_certificate(der: &[u8]) -> Result<Timestamp, String> {
    x509::read(der).map(|x509| x509.not_after)
}

/// `exp` of a token that is a JWT; others do not say when they end. Its signature is for the API server to check.
fn end_of_token(token: &SecretString) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let mut parts = token.expose_secret().trim().split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let mut standard: String = claims.replace('-', "+").replace('_', "/");
    standard.extend(std::iter::repeat_n('=', (4 - standard.len() % 4) % 4));
    let claims: Claims = serde_json::from_slice(&decode_base64(&standard)?).ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "a time beyond what fits saturates, and is then no time")]
    let seconds = claims.exp as i64;
    Timestamp::from_second(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token with these claims, in base64url without padding, as they are.
    fn token(claims: &str) -> SecretString {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for chunk in claims.as_bytes().chunks(3) {
            let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for position in 0..=chunk.len() {
                text.push(char::from(ALPHABET[(bits >> (18 - 6 * position) & 63) as usize]));
            }
        }
        SecretString::from(format!("head.{text}.signature\n"))
    }

    #[test]
    fn the_end_of_a_token_is_read_where_it_has_one() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        assert_eq!(end_of_token(&token(r#"{"exp":1800000000}"#)), at(1_800_000_000));
        assert_eq!(end_of_token(&token(r#"{"exp":1800000000.5,"sub":"ÿÿÿ>>>???"}"#)), at(1_800_000_000));
        for none in [r#"{"sub":"x"}"#, r#"{"exp":"soon"}"#, r#"{"exp":1e300}"#, "", "[]"] {
            assert_eq!(end_of_token(&token(none)), None, "{none}");
        }
        for none in ["", "abc", "a.b", "a.b.c", "a.b.c.d", "..", "a.ÿÿ.c"] {
            assert_eq!(end_of_token(&SecretString::from(none.to_owned())), None, "{none}");
        }
    }
}
