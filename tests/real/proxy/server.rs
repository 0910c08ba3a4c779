//! A faulty proxy between haulout and a real API server: it sees each request and decides what becomes of it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use libtest_mimic::Failed;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::cluster::ControlPlane;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// One request on its way.
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    /// How many of the same method and path came before it.
    pub(crate) before: usize,
}

impl Asked {
    pub(crate) fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }

    /// Whether it would change something, the lock aside.
    pub(crate) fn changes(&self) -> bool {
        self.method != Method::GET && !self.is_lock() && !self.query.contains("dryRun")
    }

    pub(crate) fn is_lock(&self) -> bool {
        self.path.contains("/leases")
    }

    pub(crate) fn is_eviction(&self) -> bool {
        self.path.ends_with("/eviction")
    }

    pub(crate) fn is_node(&self) -> bool {
        self.path.starts_with("/api/v1/nodes/")
    }
}

/// What becomes of a request.
pub(crate) enum Fate {
    /// It passes, and so does its answer.
    Pass,
    /// The server never sees it; this is answered in its place.
    Answer(Response<Bytes>),
    /// The server never sees it, and the connection is closed.
    Cut,
    /// The server does it, and the connection is closed in place of an answer.
    Lose,
    /// Nobody ever answers; the server does it all the same where `done`.
    Hang { done: bool },
    /// A watch passes for so long and is cut then.
    CutAfter(Duration),
    /// A watch is opened, and then nothing ever comes.
    Silent,
    /// Every piece of the answer comes so much later.
    Lag(Duration),
    /// The first answer to the same question is given once more.
    Stale,
}

/// A failure as the API server writes it.
pub(crate) fn status(code: u16, reason: &str, message: &str) -> Response<Bytes> {
    let body = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code });
    answer(code, "application/json", body.to_string())
}

pub(crate) fn answer(code: u16, content_type: &str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = content_type.parse() {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

pub(crate) fn retry_after(mut response: Response<Bytes>, seconds: u64) -> Response<Bytes> {
    response.headers_mut().insert(RETRY_AFTER, seconds.into());
    response
}

type Rule = Box<dyn FnMut(&Asked) -> Fate + Send>;

struct Inner {
    rule: Mutex<Rule>,
    counts: Mutex<BTreeMap<(Method, String), usize>>,
    first: Mutex<BTreeMap<String, (StatusCode, HeaderMap, Bytes)>>,
    /// How many requests met anything but a free passage.
    faults: AtomicUsize,
    /// Nobody is reachable: what is open is closed, and what is new is closed at once.
    away: watch::Sender<bool>,
    upstream: kube::Client,
}

/// A proxy, until it is dropped.
pub(crate) struct Proxy {
    inner: Arc<Inner>,
    pub(crate) kubeconfig: PathBuf,
    _runtime: tokio::runtime::Runtime,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Requests keep whatever token they carry.
    pub(crate) fn before(
        plane: &ControlPlane,
        rule: impl FnMut(&Asked) -> Fate + Send + 'static,
    ) -> Result<Self, Failed> {
        let text = std::fs::read_to_string(&plane.kubeconfig)?;
        let mut file: Value = serde_saphyr::from_str(&text)?;
        let cluster = &mut file["clusters"][0]["cluster"];
        let server = cluster["server"].as_str().ok_or("no server")?.to_owned();
        let trusted = match (cluster["certificate-authority-data"].as_str(), cluster["certificate-authority"].as_str())
        {
            (Some(data), _) => base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data)?,
            (None, Some(path)) => std::fs::read(path)?,
            (None, None) => return Err("the kubeconfig names no CA".into()),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut config = kube::Config::new(server.parse()?);
        config.root_cert = Some(pem_to_der(&trusted)?);
        config.default_retry = false;
        let upstream = runtime.block_on(async { kube::Client::try_from(config) })?;

        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        cluster["server"] = json!(format!("https://{}", listener.local_addr()?));
        let object = cluster.as_object_mut().ok_or("no cluster")?;
        object.remove("certificate-authority");
        let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, made.cert.pem());
        object.insert("certificate-authority-data".to_owned(), json!(encoded));
        let path = plane.folder.path().join("proxy.kubeconfig");
        // JSON is YAML.
        std::fs::write(&path, file.to_string())?;

        let inner = Arc::new(Inner {
            rule: Mutex::new(Box::new(rule)),
            counts: Mutex::default(),
            first: Mutex::default(),
            faults: AtomicUsize::new(0),
            away: watch::Sender::new(false),
            upstream,
        });
        runtime.spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&inner)));
        Ok(Self { inner, kubeconfig: path, _runtime: runtime })
    }

    /// From now on nobody is there, or somebody is again.
    pub(crate) fn set_away(&self, away: bool) {
        self.inner.away.send_replace(away);
    }

    /// Replaces what decides.
    pub(crate) fn decide(&self, rule: impl FnMut(&Asked) -> Fate + Send + 'static) {
        *lock(&self.inner.rule) = Box::new(rule);
    }

    /// How many requests were not simply passed on.
    pub(crate) fn faults(&self) -> usize {
        self.inner.faults.load(Ordering::SeqCst)
    }
}

fn pem_to_der(pem: &[u8]) -> Result<Vec<Vec<u8>>, Failed> {
    let mut all = Vec::new();
    for pem in x509_parser::pem::Pem::iter_from_buffer(pem) {
        all.push(pem?.contents);
    }
    Ok(all)
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, inner: Arc<Inner>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        if *inner.away.borrow() {
            continue;
        }
        let _ = stream.set_nodelay(true);
        let (tls, inner) = (tls.clone(), Arc::clone(&inner));
        tokio::spawn(async move {
            let mut away = inner.away.subscribe();
            let serving = async {
                let Ok(stream) = tls.accept(stream).await else { return };
                let service = service_fn(|request| one(Arc::clone(&inner), request));
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            };
            tokio::select! {
                () = serving => {}
                _ = away.wait_for(|away| *away) => {}
            }
        });
    }
}

/// Ends the connection without an answer, as an error of the service does.
fn cut<T>() -> Result<T, std::io::Error> {
    Err(std::io::Error::other("cut"))
}

async fn one(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
    let asked = {
        let key = (request.method().clone(), request.uri().path().to_owned());
        let mut counts = lock(&inner.counts);
        let count = counts.entry(key).or_default();
        *count += 1;
        Asked {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            before: *count - 1,
        }
    };
    let fate = (*lock(&inner.rule))(&asked);
    if !matches!(fate, Fate::Pass) {
        inner.faults.fetch_add(1, Ordering::SeqCst);
    }
    let question = format!("{} {}?{}", asked.method, asked.path, asked.query);
    match fate {
        Fate::Answer(answer) => return Ok(answer.map(full)),
        Fate::Cut => return cut(),
        Fate::Hang { done: false } => return std::future::pending().await,
        Fate::Stale => {
            let first = lock(&inner.first).get(&question).cloned();
            if let Some((status, headers, body)) = first {
                let mut response = Response::new(full(body));
                (*response.status_mut(), *response.headers_mut()) = (status, headers);
                return Ok(response);
            }
        }
        _ => {}
    }
    let (mut head, body) = request.into_parts();
    head.headers.remove(HOST);
    let Ok(body) = body.collect().await else { return cut() };
    let uri = head.uri.path_and_query().map_or("/".to_owned(), ToString::to_string);
    let Ok(uri) = uri.parse() else { return cut() };
    head.uri = uri;
    head.version = http::Version::HTTP_11;
    let request = Request::from_parts(head, kube::client::Body::from(body.to_bytes()));
    let Ok(response) = inner.upstream.clone().send(request).await else { return cut() };
    let (head, mut body) = response.into_parts();
    let mut response = match fate {
        Fate::Lose => {
            let _ = body.collect().await;
            return cut();
        }
        Fate::Hang { .. } => {
            let _ = body.collect().await;
            return std::future::pending().await;
        }
        Fate::Silent => Response::new(StreamBody::new(futures::stream::pending()).boxed_unsync()),
        Fate::CutAfter(after) => Response::new(until(body, after)),
        Fate::Lag(by) => Response::new(lagging(body, by)),
        Fate::Stale if !asked.is_watch() => {
            let Ok(whole) = (&mut body).collect().await else { return cut() };
            let whole = whole.to_bytes();
            lock(&inner.first).entry(question).or_insert_with(|| (head.status, head.headers.clone(), whole.clone()));
            Response::new(full(whole))
        }
        _ => Response::new(body.map_err(std::io::Error::other).boxed_unsync()),
    };
    (*response.status_mut(), *response.headers_mut()) = (head.status, head.headers);
    // The length of what is cut or delayed is not that of the original, and the connection is this one's own affair.
    for name in [http::header::TRANSFER_ENCODING, http::header::CONTENT_LENGTH, http::header::CONNECTION] {
        response.headers_mut().remove(name);
    }
    Ok(response)
}

fn full(body: Bytes) -> Body {
    Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// The body for so long, and then an error, which closes the connection.
fn until(body: kube::client::Body, after: Duration) -> Body {
    let deadline = tokio::time::Instant::now() + after;
    let frames = futures::stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match tokio::time::timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => Some((Ok(frame), Some(body))),
            Ok(Some(Err(_))) | Err(_) => Some((cut::<Frame<Bytes>>(), None)),
            Ok(None) => None,
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Every piece of the body so much later.
fn lagging(body: kube::client::Body, by: Duration) -> Body {
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut body = body;
        while let Some(frame) = body.frame().await {
            let at = tokio::time::Instant::now() + by;
            if send.send((at, frame.map_err(std::io::Error::other))).is_err() {
                return;
            }
        }
    });
    let frames = futures::stream::unfold(receive, |mut receive| async move {
        let (at, frame) = receive.recv().await?;
        tokio::time::sleep_until(at).await;
        Some((frame, receive))
    });
    StreamBody::new(frames.boxed()).boxed_unsync()
}
