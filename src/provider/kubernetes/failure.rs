//! What an answer that is no success means.
//!
//! A failure is read by its content type: `metav1.Status` in JSON or in protobuf, or the page of a proxy that stands in
//! the way. An answer with a good HTTP status may still carry a Status that says Failure.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use prost::Message;

use super::list::unwrap_envelope;
use super::transport::{Answer, Lost, content_type, is_protobuf, retry_after};
use super::wire::Status;
use crate::model::{BudgetKey, Foreign, Namespace, PodName, sanitise};
use crate::provider::{ActError, ReadError, ReadErrorKind, Refusal};

/// How much of a body that is no Status is shown.
const EXCERPT: usize = 200;

/// A request that the server answered, but not as was hoped.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) message: String,
    /// Reason and message of each of `details.causes`.
    causes: Vec<(String, String)>,
    retry_after: Option<Duration>,
    /// Whether a Kubernetes API server wrote it.
    genuine: bool,
}

impl Failure {
    /// Reads the failure out of an answer; `None` where it is a success, by its HTTP status and by its body.
    pub(super) fn of(answer: &Answer) -> Option<Self> {
        let status = status_of(answer);
        if answer.status.is_success() {
            return status.filter(|status| status.status == "Failure").map(|status| {
                let code = u16::try_from(status.code).ok().filter(|code| *code >= 400);
                Self::from_status(code.unwrap_or(500), status, &answer.headers)
            });
        }
        Some(match status {
            Some(status) => Self::from_status(answer.status.as_u16(), status, &answer.headers),
            None => Self::foreign(answer.status, &answer.headers, &answer.body),
        })
    }

    /// A failure from a Status, such as one that came as an event of a watch.
    pub(super) fn from_status(code: u16, status: Status, headers: &HeaderMap) -> Self {
        let details = status.details.unwrap_or_default();
        let seconds = u64::try_from(details.retry_after_seconds).ok().filter(|seconds| *seconds > 0);
        Self {
            status: code,
            reason: status.reason,
            message: status.message,
            causes: details.causes.into_iter().map(|cause| (cause.reason, cause.message)).collect(),
            retry_after: retry_after(headers).or(seconds.map(Duration::from_secs)),
            genuine: true,
        }
    }

    /// A failure whose body is none of a Kubernetes API server's, or plain text such as its own filters write.
    fn foreign(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let kind = content_type(headers);
        let html = kind.starts_with("text/html") || text.trim_start().starts_with('<');
        let message = if html {
            let title = between(&text, "<title>", "</title>").map(|title| shorten(&title)).unwrap_or_default();
            format!("the answer is a web page{}{title}, not one of a Kubernetes API server", {
                if title.is_empty() { "" } else { " titled " }
            })
        } else if text.trim().is_empty() {
            format!("HTTP {status}")
        } else {
            shorten(&text)
        };
        Self {
            status: status.as_u16(),
            reason: String::new(),
            message,
            causes: Vec::new(),
            retry_after: retry_after(headers),
            genuine: false,
        }
    }

    /// Whether it says that the one object asked for does not exist.
    pub(super) fn is_absent(&self) -> bool {
        self.status == 404 && self.genuine && self.reason == "NotFound"
    }

    /// Whether a read is worth another try after it, and when, where the server says so: it asked to come back later, or
    /// failed in a way that passes, such as when etcd chooses another leader (500) or a proxy lost its way (502).
    pub(super) fn come_back(&self) -> Option<Option<Duration>> {
        matches!(self.status, 429 | 500 | 502..=504).then_some(self.retry_after)
    }

    /// As the error of a read.
    pub(super) fn into_read(self, operation: impl Into<String>) -> ReadError {
        let kind = match self.status {
            401 | 403 => ReadErrorKind::Forbidden,
            404 => ReadErrorKind::NotFound,
            410 => ReadErrorKind::Expired,
            429 => ReadErrorKind::Throttled,
            502..=504 if !self.genuine => ReadErrorKind::Unreachable,
            500..=599 => ReadErrorKind::Server,
            _ => ReadErrorKind::Malformed,
        };
        ReadError {
            operation: operation.into(),
            kind,
            message: Foreign::new(&self.message),
            status: Some(self.status),
            retry_after: self.retry_after,
        }
    }

    /// As the answer to a change: refused where that is certain, unclear otherwise. `namespace` is that of the object,
    /// for naming the budget that a cause speaks of.
    pub(super) fn into_act(self, operation: &str, namespace: Option<&Namespace>) -> ActError {
        match self.refusal(namespace) {
            Some(refusal) => ActError::Refused { operation: operation.to_owned(), refusal },
            None => ActError::Unclear { operation: operation.to_owned(), cause: Box::new(self.into_read(operation)) },
        }
    }

    /// Why it was refused; `None` where it may nevertheless have happened.
    fn refusal(&self, namespace: Option<&Namespace>) -> Option<Refusal> {
        let message = || Foreign::new(&self.message);
        let cause = |wanted: &str| self.causes.iter().find(|(reason, _)| reason == wanted);
        if let (429, Some((_, text))) = (self.status, cause("DisruptionBudget")) {
            return Some(Refusal::Budget { budget: budget_of(text, namespace), retry_after: self.retry_after });
        }
        // A webhook may choose any status for its no, so its words come before the meaning of the status.
        if self.message.contains("admission webhook \"") && self.message.contains(" denied the request") {
            return Some(Refusal::Webhook { message: message(), failed: false });
        }
        if self.message.contains("failed calling webhook") {
            return Some(Refusal::Webhook { message: message(), failed: true });
        }
        Some(match self.status {
            429 => Refusal::Throttled { retry_after: self.retry_after },
            401 => Refusal::Forbidden { message: message() },
            403 if cause("NamespaceTerminating").is_some() => Refusal::NamespaceTerminating,
            403 if self.message.contains("isruptedPods map too big") || self.message.contains("is negative") => {
                Refusal::Invalid { status: 403, message: message() }
            }
            403 => Refusal::Forbidden { message: message() },
            404 => Refusal::NotFound,
            409 if self.reason == "AlreadyExists" => Refusal::AlreadyExists,
            409 => Refusal::Conflict { message: message() },
            500 if self.message.contains("more than one PodDisruptionBudget") => Refusal::TwoBudgets,
            500 | 504 if self.message.contains("couldn't update PodDisruptionBudget") => self.try_again(),
            // What the server says while it shuts down, before it looks at the request.
            503 if self.message.contains("apiserver is shutting down") => self.try_again(),
            400..=499 => Refusal::Invalid { status: self.status, message: message() },
            _ => return None,
        })
    }

    fn try_again(&self) -> Refusal {
        Refusal::TryAgain { message: Foreign::new(&self.message), retry_after: self.retry_after }
    }
}

/// The error of a read whose answer never came.
pub(super) fn lost_read(lost: &Lost, operation: impl Into<String>) -> ReadError {
    let kind = match lost {
        Lost::Deadline(_) | Lost::Connection(_) => ReadErrorKind::Unreachable,
        Lost::TooLong(_) | Lost::Request(_) => ReadErrorKind::Malformed,
    };
    ReadError {
        operation: operation.into(),
        kind,
        message: Foreign::new(lost.to_string()),
        status: None,
        retry_after: None,
    }
}

/// The error of a change whose answer never came. Whatever went wrong, the client's queue may have sent the request.
pub(super) fn lost_act(lost: &Lost, operation: &str) -> ActError {
    match lost {
        Lost::Request(message) => ActError::Refused {
            operation: operation.to_owned(),
            refusal: Refusal::Invalid { status: 0, message: Foreign::new(message) },
        },
        Lost::Deadline(_) | Lost::Connection(_) | Lost::TooLong(_) => {
            ActError::Unclear { operation: operation.to_owned(), cause: Box::new(lost_read(lost, operation)) }
        }
    }
}

/// The error of a read whose answer makes no sense.
pub(super) fn malformed(operation: impl Into<String>, why: impl std::fmt::Display) -> ReadError {
    ReadError {
        operation: operation.into(),
        kind: ReadErrorKind::Malformed,
        message: Foreign::new(format!("the answer makes no sense: {why}")),
        status: None,
        retry_after: None,
    }
}

/// Whether a Kubernetes API server wrote the answer to a change, by its body: every object names its kind. A proxy may
/// say 200 to anything.
pub(super) fn genuine(answer: &Answer) -> Result<(), String> {
    if kind_of(&answer.body).is_some_and(|kind| !kind.is_empty()) {
        return Ok(());
    }
    Err(Failure::foreign(answer.status, &answer.headers, &answer.body).message)
}

/// The kind that an object in JSON names; `None` where it is no object.
fn kind_of(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Kind {
        #[serde(default)]
        kind: String,
    }
    serde_json::from_slice::<Kind>(body).ok().map(|object| object.kind)
}

/// The Status in a body, where it holds one.
fn status_of(answer: &Answer) -> Option<Status> {
    if is_protobuf(&answer.headers) {
        let (kind, raw) = unwrap_envelope(&answer.body)?;
        return (kind.kind == "Status").then(|| Status::decode(raw).ok()).flatten();
    }
    (kind_of(&answer.body)? == "Status").then(|| serde_json::from_slice(&answer.body).ok()).flatten()
}

/// The budget that a cause names: "The disruption budget web needs 2 healthy pods and has 2 currently".
fn budget_of(text: &str, namespace: Option<&Namespace>) -> Option<BudgetKey> {
    let name = between(text, "The disruption budget ", " ")?;
    Some(BudgetKey { namespace: namespace?.clone(), name: PodName::new(name).ok()? })
}

fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside.to_owned())
}

fn shorten(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    sanitise(&words).shortened(EXCERPT)
}
