//! The two sides, each behind the same door: its HTTP API.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body as TwinBody;
use haulout::twin::{Sandbox, SandboxFile, Store};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use libtest_mimic::Failed;
use serde_json::Value;
use tower::ServiceExt as _;

/// An answer, with the headers that count.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) retry_after: Option<String>,
    pub(super) warning: Option<String>,
    pub(super) body: Value,
}

impl Answer {
    fn new(code: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self {
            code,
            retry_after: header("retry-after"),
            warning: header("warning"),
            body: serde_json::from_slice(body)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned())),
        }
    }
}

/// One request.
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) content_type: &'a str,
    pub(super) body: Option<&'a Value>,
}

impl Ask<'_> {
    fn request<B: From<Vec<u8>>>(&self) -> Result<Request<B>, Failed> {
        let body = self.body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let mut request = Request::builder().method(self.method).uri(self.path).header("accept", "application/json");
        if !self.content_type.is_empty() {
            request = request.header("content-type", self.content_type);
        }
        Ok(request.header("user-agent", "differential").body(B::from(body))?)
    }
}

/// The real control plane.
#[derive(Clone)]
pub(super) struct Real(Client);

impl Real {
    pub(super) async fn connect(kubeconfig: &Path) -> Result<Self, Failed> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        // What the server says is what is looked at, refusals above all.
        config.default_retry = false;
        Ok(Self(Client::try_from(config)?))
    }

    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Failed> {
        let response = self.0.send(ask.request::<Body>()?).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer::new(head.status.as_u16(), &head.headers, &body))
    }
}

/// Nothing is kept: a twin lives as long as its scenario.
struct Forgetful(Mutex<()>);

impl Store for Forgetful {
    fn save(&self, _: &[u8]) -> std::io::Result<()> {
        drop(self.0.lock());
        Ok(())
    }
}

/// A simulated cluster, empty at first, whose time the test moves.
pub(super) struct Twin {
    sandbox: Sandbox,
    clock: Arc<AtomicI64>,
}

impl Twin {
    pub(super) fn new() -> Result<Self, Failed> {
        let file = SandboxFile::parse("cluster.toml", "version = 1\nmanifests = [\"objects.yaml\"]\nseed = 1\n")
            .map_err(|error| error.to_string())?;
        let clock = Arc::new(AtomicI64::new(Timestamp::now().as_millisecond()));
        let reader = Arc::clone(&clock);
        let manifest = "apiVersion: v1\nkind: Namespace\nmetadata: {name: first}\n".to_owned();
        let sandbox = Sandbox::open(
            &file,
            &[("objects.yaml".to_owned(), manifest)],
            None,
            Arc::new(move || Timestamp::from_millisecond(reader.load(Ordering::Relaxed)).unwrap_or_default()),
            Arc::new(Forgetful(Mutex::new(()))),
        )
        .map_err(|error| error.to_string())?;
        Ok(Self { sandbox, clock })
    }

    pub(super) fn pass(&self, millis: i64) {
        self.clock.fetch_add(millis, Ordering::Relaxed);
    }

    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Failed> {
        let response = match self.sandbox.router().oneshot(ask.request::<TwinBody>()?).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer::new(head.status.as_u16(), &head.headers, &body))
    }
}

/// Either of them.
pub(super) enum Side {
    Real(Real),
    Twin(Twin),
}

impl Side {
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Failed> {
        match self {
            Self::Real(real) => real.ask(ask).await,
            Self::Twin(twin) => twin.ask(ask).await,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Real(_) => "real",
            Self::Twin(_) => "twin",
        }
    }
}
