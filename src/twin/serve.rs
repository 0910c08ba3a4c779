//! The simulated cluster on a socket: TLS in front of the router, and nobody without the token.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::failure::Failure;
use super::http::encode;
use super::sandbox::Sandbox;

/// A client that has not finished its handshake by then never will.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long requests under way may take once it is time to end. Watches never end by themselves; what was answered is
/// saved already.
const END_WITHIN: Duration = Duration::from_millis(500);
/// After a failed accept, such as for want of file descriptors, trying again at once would only burn the processor.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Serves a cluster until it is told to stop.
///
/// # Errors
/// Where the listener has no address.
pub async fn serve(
    listener: TcpListener,
    sandbox: &Sandbox,
    access: Arc<Access>,
    stop: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let (ready, connections) = mpsc::channel(16);
    let accepting = tokio::spawn(accept(listener, Arc::clone(&access), ready));
    let router = sandbox.router().layer(middleware::from_fn_with_state(access, admit));
    let stopped = stop.clone();
    let serving = axum::serve(Connections { address, connections }, router)
        .with_graceful_shutdown(async move { stopped.cancelled().await });
    let result = tokio::select! {
        biased;
        result = serving => result,
        () = async { stop.cancelled().await; tokio::time::sleep(END_WITHIN).await } => Ok(()),
    };
    accepting.abort();
    result
}

/// Lets through who has the token. The real server lets anybody ask for its version; this one belongs to one person.
async fn admit(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match request.headers().get(AUTHORIZATION) {
        Some(authorization) if access.admits(authorization.as_bytes()) => next.run(request).await,
        _ => encode(&Failure::unauthorized().into()),
    }
}

type Connection = (TlsStream<TcpStream>, SocketAddr);

/// Takes connections. Each shakes hands beside the others, so that a slow client holds up nobody.
async fn accept(listener: TcpListener, access: Arc<Access>, ready: mpsc::Sender<Connection>) {
    while !ready.is_closed() {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        // Small answers should not wait for more to come; where that cannot be said, they are merely slower.
        let _ = stream.set_nodelay(true);
        let (acceptor, ready) = (access.acceptor(), ready.clone());
        tokio::spawn(async move {
            // Who does not speak TLS, or not to us, is not worth a word.
            if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
                let _ = ready.send((stream, peer)).await;
            }
        });
    }
}

/// The connections that have shaken hands.
struct Connections {
    address: SocketAddr,
    connections: mpsc::Receiver<Connection>,
}

impl Listener for Connections {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            // Nobody accepts any more: the process is on its way out.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
