//! What a plan says of certificates.

use jiff::Timestamp;

use crate::model::{SeenCertificate, ServingRequest, Snapshot, UnseenCertificates};
pub use crate::rules::expiry::{CertificateStanding, Renewer};
use crate::rules::expiry::{Distribution, standing};

/// A certificate, who renews it, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedCertificate {
    /// The certificate, where it was seen.
    pub seen: SeenCertificate,
    /// Who renews it.
    pub renewer: Renewer,
    /// How it stands.
    pub standing: CertificateStanding,
}

/// What there is to be known of certificates. Nothing is planned from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateReport {
    /// The certificates, in order of place and end.
    pub judged: Vec<JudgedCertificate>,
    /// Requests for serving certificates on which nobody has decided.
    pub requests: Vec<ServingRequest>,
    /// What could not be seen.
    pub unseen: Vec<UnseenCertificates>,
}

impl CertificateReport {
    /// Judges what was seen.
    #[must_use]
    pub fn of(snapshot: &Snapshot, now: Timestamp) -> Self {
        let distribution = Distribution::of(snapshot);
        let judge = |seen: &SeenCertificate| {
            let renewer = Renewer::of(seen, distribution);
            JudgedCertificate { seen: seen.clone(), renewer, standing: standing(seen, renewer, now) }
        };
        Self {
            judged: snapshot.certificates.seen.iter().map(judge).collect(),
            requests: snapshot.certificates.requests.clone(),
            unseen: snapshot.certificates.unseen.clone(),
        }
    }

    /// Whether nothing was looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.judged.is_empty() && self.requests.is_empty() && self.unseen.is_empty()
    }
}
