//! Ctrl-C and SIGTERM: the first asks the run to stop, the second leaves at once.

use tokio::task::JoinHandle;

use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use crate::apply::Interrupt;

/// Stops listening when it is dropped.
pub(super) struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens for signals on behalf of a run.
pub(super) fn listen(interrupt: Interrupt, output: Output) -> Result<Listening, Failure> {
    let mut signals = Signals::new()
        .map_err(|error| Failure::io("listen for signals", &error, "this is a mistake in haulout; please report it"))?;
    Ok(Listening(tokio::spawn(async move {
        signals.next().await;
        interrupt.request();
        output.say(
            "Interrupted. Nothing new is started; nodes under way are brought to a safe end.\n\
             Interrupt again to leave at once: a node in mid-reboot then stays cordoned.",
        );
        signals.next().await;
        // The journal is durable line by line, so that leaving here loses nothing.
        std::process::exit(i32::from(Exit::Interrupted.code()));
    })))
}

/// Cancels a token at the first signal; what runs on nodes has nothing to bring to a safe end.
pub(super) fn stop(stop: tokio_util::sync::CancellationToken) -> Result<Listening, Failure> {
    let mut signals = Signals::new()
        .map_err(|error| Failure::io("listen for signals", &error, "this is a mistake in haulout; please report it"))?;
    Ok(Listening(tokio::spawn(async move {
        signals.next().await;
        stop.cancel();
    })))
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Where Ctrl-C cannot be listened for, nobody asks.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
