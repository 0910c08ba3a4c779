//! One request and its answer, with deadlines. Nothing here knows what is asked for.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT, WARNING};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;

use super::access::Via;
use crate::model::Foreign;

/// How long a connection may take to be made.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// How long the read of a single object may take, retries included.
pub(super) const READ_DEADLINE: Duration = Duration::from_secs(15);
/// How long a page of a list may take to begin: the API server itself gives up after 60 s.
pub(super) const PAGE_DEADLINE: Duration = Duration::from_secs(65);
/// How long a body may stand still while it is read.
pub(super) const STALL_DEADLINE: Duration = Duration::from_secs(30);
/// How long a write may take. Under contention a single eviction was seen to take 7.7 s, and the API server repeats a
/// conflicting budget update for 10 s by itself, so anything under 12 s would give up on writes that then happen.
pub(super) const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// The longest body of a single object, and of a page in JSON. A request to the API server may have 3 MiB; a page of
/// 5,000 large pods in JSON has 60 MB.
pub(super) const BODY_MAX: usize = 256 << 20;
/// How much of the body of a failed request is read.
const FAILURE_MAX: usize = 1 << 20;

/// What both encodings are asked for with; servers without protobuf (custom resources, the sandbox) answer in JSON.
pub(super) const PROTOBUF_OR_JSON: &str = "application/vnd.kubernetes.protobuf, application/json";
/// Single objects and everything that is written.
pub(super) const JSON: &str = "application/json";

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Lost {
    /// The deadline passed.
    #[error("no answer within {} s", .0.as_secs())]
    Deadline(Duration),
    /// The connection failed, before or after the request was sent: nobody can tell.
    #[error("{0}")]
    Connection(String),
    /// The answer is longer than anything an API server says.
    #[error("an answer of more than {0} bytes")]
    TooLong(usize),
    /// The request could not be put into words; never sent.
    #[error("{0}")]
    Request(String),
}

/// A complete answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// What the server warned of.
    pub(super) fn warnings(&self) -> Vec<Foreign> {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        self.headers.get_all(WARNING).iter().map(|value| Foreign::new(text(value))).collect()
    }
}

/// The `Retry-After` of an answer, which the API server always gives in seconds.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Whether a body is protobuf.
pub(super) fn is_protobuf(headers: &HeaderMap) -> bool {
    content_type(headers).starts_with("application/vnd.kubernetes.protobuf")
}

/// The content type, or nothing.
pub(super) fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Path and query of a request. Names from the cluster are valid DNS names and need no escaping; values of the query
/// (continue tokens, selectors) do.
#[derive(Debug, Clone)]
pub(super) struct Target {
    text: String,
    started: bool,
}

impl Target {
    pub(super) fn new(path: impl Into<String>) -> Self {
        Self { text: path.into(), started: false }
    }

    /// Path and query as they are sent.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    pub(super) fn with(mut self, key: &str, value: &str) -> Self {
        self.text.push(if self.started { '&' } else { '?' });
        self.started = true;
        self.text.push_str(key);
        self.text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
                self.text.push(char::from(byte));
            } else {
                self.text.push_str(&format!("%{byte:02X}"));
            }
        }
        self
    }
}

/// The way to one API server.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client,
    agent: HeaderValue,
    pub(super) via: Via,
}

impl Transport {
    pub(super) fn new(client: Client, agent: HeaderValue, via: Via) -> Self {
        Self { client, agent, via }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn open(
        &self,
        method: Method,
        target: &Target,
        accept: &'static str,
        body: Option<(&'static str, Vec<u8>)>,
        deadline: Duration,
    ) -> Result<Response<Body>, Lost> {
        let mut request = Request::builder()
            .method(method)
            .uri(&target.text)
            .header(USER_AGENT, &self.agent)
            .header(ACCEPT, HeaderValue::from_static(accept));
        let body = match body {
            Some((content_type, bytes)) => {
                request = request.header(CONTENT_TYPE, HeaderValue::from_static(content_type));
                Body::from(bytes)
            }
            None => Body::empty(),
        };
        let request = request.body(body).map_err(|error| Lost::Request(error.to_string()))?;
        match tokio::time::timeout(deadline, self.client.send(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(Lost::Connection(why(&error))),
            Err(_) => Err(Lost::Deadline(deadline)),
        }
    }

    /// Sends a request and waits for the whole of its answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        target: &Target,
        accept: &'static str,
        body: Option<(&'static str, Vec<u8>)>,
        deadline: Duration,
    ) -> Result<Answer, Lost> {
        let whole = async {
            let response = self.open(method, target, accept, body, deadline).await?;
            complete(response).await
        };
        tokio::time::timeout(deadline, whole).await.unwrap_or(Err(Lost::Deadline(deadline)))
    }
}

/// Reads the rest of an answer.
pub(super) async fn complete(response: Response<Body>) -> Result<Answer, Lost> {
    let (head, mut body) = response.into_parts();
    let success = head.status.is_success();
    let limit = if success { BODY_MAX } else { FAILURE_MAX };
    let mut bytes = BytesMut::new();
    while let Some(chunk) = next_chunk(&mut body, STALL_DEADLINE).await? {
        if bytes.len() + chunk.len() > limit {
            if success {
                return Err(Lost::TooLong(limit));
            }
            // Of a failure the beginning says enough.
            bytes.extend_from_slice(&chunk[..limit - bytes.len()]);
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Answer { status: head.status, headers: head.headers, body: bytes.freeze() })
}

/// The next piece of a body; `None` at its end.
pub(super) async fn next_chunk(body: &mut Body, stall: Duration) -> Result<Option<Bytes>, Lost> {
    loop {
        match tokio::time::timeout(stall, body.frame()).await {
            Err(_) => return Err(Lost::Deadline(stall)),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(Lost::Connection(why(&error))),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Why a connection failed, for people: of the layers that pass such an error on, only the innermost knows. rustls adds
/// the address of its manual, which helps nobody who operates a cluster.
fn why(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let text = innermost.to_string();
    let text = text.split(": https://docs.rs/").next().unwrap_or_default().trim_end();
    if text.starts_with("connection") { text.to_owned() } else { format!("the connection failed: {text}") }
}

/// An error with all its causes on one line: of a failed connection only the innermost says why. Causes that repeat
/// what was just said are left out.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_escaped() {
        let target = Target::new("/api/v1/pods").with("limit", "5").with("continue", "a+b/c=&d");
        assert_eq!(target.text, "/api/v1/pods?limit=5&continue=a%2Bb%2Fc%3D%26d");
    }
}
