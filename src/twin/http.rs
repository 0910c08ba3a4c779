//! The Kubernetes API over HTTP, as far as the simulated cluster serves it.
//!
//! Served, in JSON: the kinds of [`Kind::ALL`] with GET, list (selectors, paging), watch (bookmarks, resume), all three
//! also as the server's tables, POST, PUT, PATCH (merge, strategic, JSON, plain apply) and DELETE, their `status`, and
//! `pods/eviction`; `/version`, `/readyz` and its like, discovery in many answers and in one, of the schema what
//! `kubectl apply` looks for, and SelfSubjectAccessReview, which allows everything. Roles are stored and not enforced.
//! Anything else answers 404 and is named. What that makes of kubectl is listed by `haulout sandbox --help`, and held
//! by `tests/real/sandbox.rs`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT, WARNING};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response as HttpResponse;
use jiff::Timestamp;

use super::accept::{self, Form};
use super::discovery;
use super::failure::Failure;
use super::json::{Value, json};
use super::kind::Kind;
use super::manifest::{DEPTH_MAX, depth, options as yaml_options};
use super::object::{Look, set};
use super::patch::PatchKind;
use super::path::Target;
use super::request::{Filter, Options, Request, Response, Validation, Verb};
use super::sandbox::Sandbox;
use super::table::{Include, table};
use super::watch::Watch;

/// What the answer of all groups at once calls itself.
const EVERYTHING: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// The largest body of a request, as of the real server.
const BODY_MAX: usize = 3 << 20;
/// How often a watch on which nothing happens says so.
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);
/// The longest that a watch sleeps without looking at the cluster.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// The shortest, so that many small events do not become as many wakings.
const PAUSE_MIN: Duration = Duration::from_millis(5);

impl Sandbox {
    /// The API of this cluster. It needs nothing running beside it: the cluster lives on whenever somebody asks, and
    /// while somebody watches.
    pub fn router(&self) -> Router {
        Router::new().fallback(serve).with_state(self.clone())
    }
}

type Pairs = BTreeMap<String, String>;

async fn serve(
    State(sandbox): State<Sandbox>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> HttpResponse {
    match handle(&sandbox, &method, &uri, &headers, body).await {
        Ok(response) => response,
        Err(failure) => encode(&failure.into()),
    }
}

async fn handle(
    sandbox: &Sandbox,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<HttpResponse, Failure> {
    let path = uri.path();
    let target = Target::of(path).ok_or_else(|| Failure::unknown(method.as_str(), path))?;
    let query: Vec<(String, String)> = Query::try_from_uri(uri)
        .map(|Query(pairs)| pairs)
        .map_err(|error| Failure::bad_request(format!("the query cannot be read: {error}")))?;
    let query: Pairs = query.into_iter().collect();
    let get = *method == Method::GET;
    let form = accept::form(headers)?;
    let (kind, namespace, name, subresource) = match target {
        Target::Resource { kind, namespace, name, subresource } => (kind, namespace, name, subresource),
        Target::AccessReview if *method == Method::POST => {
            // What is asked makes no difference, so that it need not be understood: kubectl asks in protobuf.
            let mut review = if content_type(headers) == "application/vnd.kubernetes.protobuf" {
                json!({ "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {} })
            } else {
                parse(headers, &read(body).await?, false)?
            };
            set(
                &mut review,
                "/status",
                json!({ "allowed": true, "reason": "the simulated cluster allows everything" }),
            );
            return Ok(encode(&Response::new(201, review)));
        }
        Target::Health if get => return Ok(text("ok")),
        Target::Version if get => return Ok(found(discovery::version())),
        Target::Groups { core } if get && form == Form::Everything => {
            let mut http = found(discovery::everything(core));
            http.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(EVERYTHING));
            return Ok(http);
        }
        Target::Groups { core } if get => return Ok(found(discovery::groups(core))),
        Target::Resources { group, version } if get => return Ok(found(discovery::resources(&group, &version))),
        Target::Schemas if get => return Ok(found(discovery::schemas())),
        Target::SchemaOf { group, version } if get => return Ok(found(discovery::schema_of(&group, &version))),
        Target::Health
        | Target::Version
        | Target::Groups { .. }
        | Target::Resources { .. }
        | Target::Schemas
        | Target::SchemaOf { .. }
        | Target::AccessReview => return Err(Failure::method_not_allowed(method.as_str(), path)),
    };
    let include = match (form, of(&query, "includeObject").as_str()) {
        (Form::Table, "None") => Some(Include::Nothing),
        (Form::Table, "Object") => Some(Include::Object),
        (Form::Table, _) => Some(Include::Metadata),
        (Form::Plain | Form::Everything, _) => None,
    };
    let filter = Filter { labels: of(&query, "labelSelector"), fields: of(&query, "fieldSelector") };
    if get && name.is_none() && is_set(&query, "watch") {
        let rows = include.map(|include| Rows { kind, include, headers: true });
        return watch(sandbox, kind, namespace.as_deref(), &filter, &query, rows);
    }
    let verb = match (method.as_str(), &name) {
        ("GET", Some(_)) => Verb::Get,
        ("GET", None) => {
            let limit = of(&query, "limit").parse().unwrap_or(0);
            Verb::List { filter, limit, token: of(&query, "continue") }
        }
        ("POST", None) => Verb::Create(parse(headers, &read(body).await?, false)?),
        ("POST", Some(_)) if subresource.is_some() => Verb::Create(parse(headers, &read(body).await?, false)?),
        ("PUT", Some(_)) => Verb::Replace(parse(headers, &read(body).await?, false)?),
        ("PATCH", Some(_)) => {
            let given = content_type(headers);
            let patch = match given.as_str() {
                "application/merge-patch+json" => PatchKind::Merge,
                "application/strategic-merge-patch+json" => PatchKind::Strategic,
                "application/json-patch+json" => PatchKind::Json,
                "application/apply-patch+yaml" => PatchKind::Apply,
                _ => return Err(Failure::unsupported_media(&given)),
            };
            Verb::Patch(patch, parse(headers, &read(body).await?, true)?)
        }
        ("DELETE", Some(_)) => {
            let bytes = read(body).await?;
            let mut options = if bytes.is_empty() { json!({}) } else { parse(headers, &bytes, false)? };
            if let Ok(seconds) = of(&query, "gracePeriodSeconds").parse::<i64>() {
                set(&mut options, "/gracePeriodSeconds", seconds);
            }
            Verb::Delete(options)
        }
        (method, _) => return Err(Failure::method_not_allowed(method, path)),
    };
    let mut options = options(headers, &query)?;
    if let Verb::Delete(body) = &verb
        && body.pointer("/dryRun/0").is_some()
    {
        options.dry_run = true;
    }
    let request = Request { kind, namespace, name, subresource, verb, options };
    let mut response = sandbox.apply(&request);
    if let Some(include) = include
        && response.code < 300
        && response.body.text("/kind") != "Status"
    {
        response.body = table(kind, &response.body, include, true, sandbox.now());
    }
    Ok(encode(&response))
}

fn found(body: Value) -> HttpResponse {
    encode(&Response::new(200, body))
}

fn options(headers: &HeaderMap, query: &Pairs) -> Result<Options, Failure> {
    let dry_run = match query.get("dryRun").map(String::as_str) {
        None | Some("") => false,
        Some("All") => true,
        Some(other) => return Err(Failure::bad_request(format!("dryRun: Unsupported value: {other:?}"))),
    };
    let validation = match query.get("fieldValidation").map(String::as_str) {
        None | Some("" | "Warn") => Validation::Warn,
        Some("Strict") => Validation::Strict,
        Some("Ignore") => Validation::Ignore,
        Some(other) => return Err(Failure::bad_request(format!("fieldValidation: Unsupported value: {other:?}"))),
    };
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("unknown");
    let manager = match query.get("fieldManager").filter(|manager| !manager.is_empty()) {
        Some(manager) => manager.clone(),
        None => agent.split('/').next().unwrap_or("unknown").to_owned(),
    };
    if manager.chars().count() > 128 || manager.chars().any(char::is_control) {
        return Err(Failure::bad_request("fieldManager: at most 128 printable characters"));
    }
    Ok(Options { dry_run, manager, validation })
}

async fn read(body: Body) -> Result<Bytes, Failure> {
    axum::body::to_bytes(body, BODY_MAX).await.map_err(|_| Failure {
        code: 413,
        reason: Some("RequestEntityTooLarge"),
        message: format!("the body of the request is longer than {BODY_MAX} bytes, or broke off"),
        details: None,
        retry_after: None,
    })
}

fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_owned()
}

fn parse(headers: &HeaderMap, bytes: &Bytes, patch: bool) -> Result<Value, Failure> {
    let given = content_type(headers);
    let value: Value = match given.as_str() {
        "application/apply-patch+yaml" | "application/yaml" => {
            let text = std::str::from_utf8(bytes).map_err(|_| Failure::bad_request("the body is not UTF-8"))?;
            serde_saphyr::from_str_with_options(text, yaml_options()).map_err(|error| {
                Failure::bad_request(format!("the body cannot be read: {}", error.without_snippet()))
            })?
        }
        "" | "application/json" => from_json(bytes)?,
        _ if patch => from_json(bytes)?,
        _ => return Err(Failure::unsupported_media(&given)),
    };
    if depth(&value) > DEPTH_MAX {
        return Err(Failure::bad_request(format!("the body is nested more than {DEPTH_MAX} deep")));
    }
    Ok(value)
}

fn from_json(bytes: &Bytes) -> Result<Value, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::bad_request(format!("the body cannot be read: {error}")))
}

fn of(query: &Pairs, key: &str) -> String {
    query.get(key).cloned().unwrap_or_default()
}

fn is_set(query: &Pairs, key: &str) -> bool {
    matches!(query.get(key).map(String::as_str), Some("true" | "1"))
}

pub(super) fn encode(response: &Response) -> HttpResponse {
    let mut http = HttpResponse::new(Body::from(response.body.to_string()));
    *http.status_mut() = StatusCode::from_u16(response.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = http.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = response.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    for warning in &response.warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::try_from(format!("299 - \"{text}\"")) {
            headers.append(WARNING, value);
        }
    }
    http
}

fn text(words: &'static str) -> HttpResponse {
    let mut http = HttpResponse::new(Body::from(words));
    http.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    http
}

/// A stream of events, one JSON object a line.
fn watch(
    sandbox: &Sandbox,
    kind: Kind,
    namespace: Option<&str>,
    filter: &Filter,
    query: &Pairs,
    rows: Option<Rows>,
) -> Result<HttpResponse, Failure> {
    let bookmarks = is_set(query, "allowWatchBookmarks");
    let initial = is_set(query, "sendInitialEvents");
    let watch = Watch::new(kind, namespace, filter, &of(query, "resourceVersion"), bookmarks, initial)?;
    let limit = of(query, "timeoutSeconds").parse::<u64>().ok().filter(|seconds| *seconds > 0);
    let rest = limit.map(Duration::from_secs);
    let state = Watching {
        sandbox: sandbox.clone(),
        watch: Some(watch),
        changed: sandbox.subscribe(),
        idle: Duration::ZERO,
        rest,
        rows,
    };
    let stream = futures::stream::unfold(state, |mut state| async move {
        let lines = state.next().await?;
        Some((Ok::<Bytes, Infallible>(lines), state))
    });
    let mut http = HttpResponse::new(Body::from_stream(stream));
    http.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(http)
}

/// How the objects of a watch become rows.
struct Rows {
    kind: Kind,
    include: Include,
    /// Whether the next row is the first, which brings the columns along.
    headers: bool,
}

impl Rows {
    fn print(&mut self, event: &mut Value, now: Timestamp) {
        if event.text("/type") == "ERROR" {
            return;
        }
        let printed = table(self.kind, event.at("/object"), self.include, self.headers, now);
        set(event, "/object", printed);
        self.headers = false;
    }
}

/// One watch in progress.
struct Watching {
    sandbox: Sandbox,
    /// `None` once it has failed.
    watch: Option<Watch>,
    changed: tokio::sync::watch::Receiver<u64>,
    /// How long nothing was said.
    idle: Duration,
    /// How long it still lasts, where it was asked for.
    rest: Option<Duration>,
    /// Where rows are wanted in place of objects.
    rows: Option<Rows>,
}

impl Watching {
    /// Events as they are sent.
    fn lines(&mut self, mut events: Vec<Value>) -> Bytes {
        let now = self.sandbox.now();
        let mut text = String::new();
        for event in &mut events {
            if let Some(rows) = &mut self.rows {
                rows.print(event, now);
            }
            text.push_str(&event.to_string());
            text.push('\n');
        }
        Bytes::from(text)
    }

    /// The next lines; `None` at the end of the watch.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.changed.borrow_and_update();
            let watch = self.watch.as_mut()?;
            let looked = self.sandbox.look(|world| {
                let events = watch.look(world);
                // What is taken since the last look was asked for is not asked for again.
                (events, watch.rest(world))
            });
            let (events, bookmark) = match looked {
                Ok(looked) => looked,
                Err(error) => {
                    let failure = Failure::internal(error.to_string());
                    (Err(json!({ "type": "ERROR", "object": failure.body() })), None)
                }
            };
            let events = match events {
                Ok(events) => events,
                Err(error) => {
                    self.watch = None;
                    vec![error]
                }
            };
            if !events.is_empty() {
                self.idle = Duration::ZERO;
                return Some(self.lines(events));
            }
            if self.idle >= BOOKMARK_EVERY {
                self.idle = Duration::ZERO;
                if let Some(bookmark) = bookmark {
                    return Some(self.lines(vec![bookmark]));
                }
            }
            if self.rest == Some(Duration::ZERO) {
                return None;
            }
            let mut pause = self.sandbox.pause().unwrap_or(PAUSE_MAX).clamp(PAUSE_MIN, PAUSE_MAX);
            if let Some(rest) = self.rest {
                pause = pause.min(rest);
                self.rest = Some(rest - pause);
            }
            self.idle += pause;
            tokio::select! {
                biased;
                changed = self.changed.changed() => {
                    // The sender lives as long as the sandbox, which this holds.
                    if changed.is_err() {
                        return None;
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
