//! What the API says when it does not do as asked.

use super::json::{Map, Value, json};
use super::kind::Kind;
use super::object::set;
use crate::rules::eviction::{self, About};

/// A `Status` of failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status.
    pub code: u16,
    /// `reason`; a few answers of the real server have none.
    pub reason: Option<&'static str>,
    /// `message`.
    pub message: String,
    /// `details`.
    pub details: Option<Value>,
    /// The header `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: String) -> Self {
        Self { code, reason: Some(reason), message, details: None, retry_after: None }
    }

    fn about(mut self, kind: Kind, name: &str) -> Self {
        self.details = Some(details(name, kind.group(), kind.plural()));
        self
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message.into())
    }

    pub(super) fn not_found(kind: Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.resource())).about(kind, name)
    }

    /// What the simulated API does not have, by name, so that a client that needs more says what it needs.
    pub(super) fn unknown(method: &str, path: &str) -> Self {
        Self::new(404, "NotFound", format!("the simulated cluster does not serve {method} {path}"))
    }

    pub(super) fn method_not_allowed(method: &str, path: &str) -> Self {
        Self::new(405, "MethodNotAllowed", format!("the simulated cluster does not allow {method} on {path}"))
    }

    pub(super) fn already_exists(kind: Kind, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.resource())).about(kind, name)
    }

    pub(super) fn conflict(kind: Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource());
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// A write that was made for an older version of the object.
    pub(super) fn stale(kind: Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub(super) fn invalid(kind: Kind, name: &str, field: &str, why: &str) -> Self {
        let subject =
            if kind.group().is_empty() { kind.name().to_owned() } else { format!("{}.{}", kind.name(), kind.group()) };
        let mut failure = Self::new(422, "Invalid", format!("{subject} \"{name}\" is invalid: {field}: {why}"));
        failure.details = Some(json!({
            "name": name, "group": kind.group(), "kind": kind.name(),
            "causes": [{ "reason": "FieldValueInvalid", "message": why, "field": field }],
        }));
        failure
    }

    pub(super) fn namespace_terminating(kind: Kind, name: &str, namespace: &str) -> Self {
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut failure = Self::new(403, "Forbidden", format!("{} \"{name}\" is forbidden: {why}", kind.resource()))
            .about(kind, name);
        if let Some(details) = &mut failure.details {
            let message = format!("namespace {namespace} is being terminated");
            set(
                details,
                "/causes",
                json!([{ "reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace" }]),
            );
        }
        failure
    }

    pub(super) fn expired(version: u64, current: u64) -> Self {
        Self::new(410, "Expired", format!("too old resource version: {version} ({current})"))
    }

    pub(super) fn unsupported_media(given: &str) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format: {given}; the simulated cluster reads JSON and YAML: \
                 with kubectl create, add --dry-run=client -o yaml | kubectl apply -f -"
            ),
        )
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized".to_owned())
    }

    /// A client that takes none of the forms in which there are answers.
    pub(super) fn not_acceptable() -> Self {
        Self::new(406, "NotAcceptable", "only the following media types are accepted: application/json".to_owned())
    }

    /// Dry runs asked for twice, and differently. It has no reason.
    pub(super) fn different_dry_runs(query: &[&str], body: &[&str]) -> Self {
        let list = |values: &[&str]| format!("[{}]", values.join(" "));
        let message =
            format!("Non-matching dry-run options in request and content: {} and {}", list(query), list(body));
        Self { code: 500, reason: None, message, details: None, retry_after: None }
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message.into())
    }

    pub(super) fn eviction(answer: &eviction::Answer) -> Self {
        let mut details = match &answer.about {
            Some(About { name, group, kind }) => details(name, group, kind),
            None => json!({}),
        };
        if let Some((reason, message)) = &answer.cause {
            set(&mut details, "/causes", json!([{ "reason": reason, "message": message }]));
        }
        if let Some(seconds) = answer.retry_after {
            set(&mut details, "/retryAfterSeconds", seconds);
        }
        let empty = details.as_object().is_none_or(Map::is_empty);
        Self {
            code: answer.code,
            reason: answer.reason,
            message: answer.message.clone(),
            details: (!empty).then_some(details),
            retry_after: answer.retry_after,
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if let Some(reason) = self.reason {
            set(&mut body, "/reason", reason);
        }
        if let Some(details) = &self.details {
            set(&mut body, "/details", details.clone());
        }
        body
    }
}

/// Which object a failure is about. The core group has no name, and is left out.
fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut details = json!({ "name": name, "kind": kind });
    if !group.is_empty() {
        set(&mut details, "/group", group);
    }
    details
}
