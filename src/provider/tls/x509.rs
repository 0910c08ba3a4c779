//! Certificates in PEM and DER: what they say of themselves. Keys are never read.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::model::{AskedCertificate, Fingerprint, Foreign, X509};

/// The certificates of a text in PEM, as DER; at least one. What stands between them, keys included, is passed over.
pub(in crate::provider) fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let text = String::from_utf8_lossy(pem);
    let mut certificates = Vec::new();
    for block in text.split("-----BEGIN CERTIFICATE-----").skip(1) {
        let body = block.split("-----END").next().unwrap_or_default();
        certificates.push(decode_base64(body).filter(|der| !der.is_empty()).ok_or("it is not PEM")?);
    }
    if certificates.is_empty() { Err("it holds no certificate in PEM") } else { Ok(certificates) }
}

/// Decodes base64, with whatever white space is in it.
pub(in crate::provider) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let packed: String = text.split_whitespace().collect();
    STANDARD.decode(packed).ok()
}

/// Reads a certificate.
pub(in crate::provider) fn read(der: &[u8]) -> Result<X509, String> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("something follows the certificate".to_owned());
    }
    let validity = certificate.validity();
    Ok(X509 {
        subject: Foreign::new(certificate.subject().to_string()),
        issuer: Foreign::new(certificate.issuer().to_string()),
        fingerprint: fingerprint(der),
        not_before: moment(validity.not_before.timestamp()),
        not_after: moment(validity.not_after.timestamp()),
    })
}

/// Reads what a certificate request in PEM asks for. Its signature is for the API server to check, which refuses one that
/// was not made with the key in it.
pub(in crate::provider) fn asked(pem: &[u8]) -> Result<AskedCertificate, String> {
    let text = String::from_utf8_lossy(pem);
    let body = text
        .split("-----BEGIN CERTIFICATE REQUEST-----")
        .nth(1)
        .and_then(|rest| rest.split("-----END").next())
        .ok_or("it is no certificate request in PEM")?;
    let der = decode_base64(body).ok_or("it is not PEM")?;
    let (_, request) = X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
    let mut asked = AskedCertificate::default();
    for part in request.certification_request_info.subject.iter_attributes() {
        // What is no text is none of the names that it has to be.
        let text = Foreign::new(part.as_str().unwrap_or_default());
        if *part.attr_type() == OID_X509_COMMON_NAME {
            asked.common_names.push(text);
        } else if *part.attr_type() == OID_X509_ORGANIZATION_NAME {
            asked.organizations.push(text);
        } else {
            asked.other_parts += 1;
        }
    }
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(name) => asked.names.push(Foreign::new(name)),
                GeneralName::IPAddress(bytes) => match address(bytes) {
                    Some(address) => asked.addresses.push(address),
                    None => asked.other_names += 1,
                },
                _ => asked.other_names += 1,
            }
        }
    }
    Ok(asked)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// The SHA-256 of anything in DER.
pub(in crate::provider) fn fingerprint(der: &[u8]) -> Fingerprint {
    Fingerprint::new(Sha256::digest(der).into())
}

/// A moment by the seconds since 1970. The end of the year 9999, by which RFC 5280 says "never", lies a day beyond what
/// can be counted, and is the last moment that can be.
fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, date_time_ymd};

    fn made(from: (i32, u8, u8), to: (i32, u8, u8), name: DnValue) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        params.distinguished_name.push(DnType::CommonName, name);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn every_date_is_read_as_it_is_meant() {
        // X.509 writes years before 2050 with two digits, and all later ones with four.
        for (from, to) in [
            ((2049, 12, 31), (2050, 1, 1)),
            ((1950, 1, 1), (1950, 1, 2)),
            ((2026, 1, 1), (2126, 1, 1)),
            ((2000, 2, 29), (2400, 2, 29)),
        ] {
            let x509 = read(&made(from, to, DnValue::Utf8String("a".to_owned()))).unwrap();
            let expected = |(year, month, day)| format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
            assert_eq!(x509.not_before.to_string(), expected(from));
            assert_eq!(x509.not_after.to_string(), expected(to));
        }
        assert_eq!(moment(253_402_300_799), Timestamp::MAX);
        assert_eq!(moment(i64::MIN), Timestamp::MIN);
    }

    #[test]
    fn names_of_any_characters_are_kept_for_the_sanitiser() {
        let der = made((2026, 1, 1), (2027, 1, 1), DnValue::Utf8String("\u{1b}[31m\u{202e}".to_owned()));
        let x509 = read(&der).unwrap();
        assert!(x509.subject.raw().contains('\u{1b}'));
        assert!(!x509.subject.sanitised().as_str().contains('\u{1b}'));
    }

    #[test]
    fn what_is_cut_or_changed_is_no_certificate_or_another_one() {
        let der = made((2026, 1, 1), (2027, 1, 1), DnValue::Utf8String("a".to_owned()));
        let whole = read(&der).unwrap();
        for length in 0..der.len() {
            assert!(read(&der[..length]).is_err(), "{length} of {} bytes", der.len());
        }
        let mut longer = der.clone();
        longer.push(0);
        assert!(read(&longer).is_err());
        for at in 0..der.len() {
            let mut other = der.clone();
            other[at] ^= 0x55;
            if let Ok(x509) = read(&other) {
                assert_ne!(x509.fingerprint, whole.fingerprint);
            }
        }
    }

    #[test]
    fn a_request_says_what_it_asks_for() {
        use rcgen::SanType;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, "system:node:a");
        params.distinguished_name.push(DnType::CountryName, "FR");
        params.subject_alt_names = vec![
            SanType::IpAddress([10, 0, 0, 4].into()),
            SanType::IpAddress([0xfd_u16, 0, 0, 0, 0, 0, 0, 4].into()),
            SanType::DnsName("a.example".try_into().unwrap()),
            SanType::URI("https://a.example/".try_into().unwrap()),
        ];
        let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        let asked = asked(pem.as_bytes()).unwrap();
        let texts = |all: &[Foreign]| all.iter().map(|text| text.raw().to_owned()).collect::<Vec<_>>();
        assert_eq!(texts(&asked.common_names), ["system:node:a"]);
        assert_eq!(texts(&asked.organizations), ["system:nodes"]);
        assert_eq!(texts(&asked.names), ["a.example"]);
        assert_eq!(asked.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.4", "fd::4"]);
        assert_eq!((asked.other_parts, asked.other_names), (1, 1));
        for wrong in ["", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", &pem[..200]]
        {
            assert!(super::asked(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_between_certificates_are_passed_over() {
        let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        let text = format!("{}{}{}", pem("PRIVATE KEY"), pem("CERTIFICATE"), pem("RSA PRIVATE KEY"));
        assert_eq!(certificates(text.as_bytes()), Ok(vec![vec![0, 0, 0]]));
        assert!(certificates(pem("PRIVATE KEY").as_bytes()).is_err());
        assert!(certificates(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----").is_err());
    }
}
