//! What a plan says of certificates.

use jiff::Timestamp;

use crate::model::{NodeName, SeenCertificate, ServingRequest, Snapshot, UnseenCertificates};
pub use crate::rules::expiry::{CertificateStanding, Renewer};
use crate::rules::expiry::{Distribution, standing};
pub use crate::rules::serving::ServingFault;
use crate::rules::serving::faults;

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

/// A request for a serving certificate, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedRequest {
    /// The request.
    pub request: ServingRequest,
    /// Why it must not be approved; nothing where it asks for what its node is known by, and for nothing else.
    pub faults: Vec<ServingFault>,
}

/// The latest request of each node: a kubelet that asks again waits for its latest answer alone.
fn latest(requests: &[ServingRequest]) -> impl Iterator<Item = &ServingRequest> {
    // They are in order of node and age.
    requests
        .iter()
        .enumerate()
        .filter(|(at, request)| requests.get(at + 1).is_none_or(|next| next.node != request.node))
        .map(|(_, request)| request)
}

/// What there is to be known of certificates. Of all this only the requests decide anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateReport {
    /// The certificates, in order of place and end.
    pub judged: Vec<JudgedCertificate>,
    /// For each node the latest request for a serving certificate, where nobody has decided on it.
    pub requests: Vec<JudgedRequest>,
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
            requests: latest(&snapshot.certificates.requests)
                .map(|request| JudgedRequest {
                    request: request.clone(),
                    faults: faults(request, snapshot.nodes.get(&request.node)),
                })
                .collect(),
            unseen: snapshot.certificates.unseen.clone(),
        }
    }

    /// The request that a node's kubelet waits for.
    pub(super) fn request_of(&self, node: &NodeName) -> Option<&JudgedRequest> {
        let at = self.requests.binary_search_by(|judged| judged.request.node.cmp(node)).ok()?;
        self.requests.get(at)
    }

    /// Whether nothing was looked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.judged.is_empty() && self.requests.is_empty() && self.unseen.is_empty()
    }
}
