//! Ctrl-C and SIGTERM: the first asks the run to stop, the second leaves at once. A terminal that closes asks too, but
//! never twice: a shell may pass on what the kernel has told already.

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
        while signals.next().await == Asked::ByTerminal {}
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

/// Who asked.
#[derive(PartialEq, Eq)]
enum Asked {
    /// Somebody meant it: Ctrl-C, SIGTERM.
    OnPurpose,
    /// The terminal is gone: SIGHUP.
    ByTerminal,
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// `None` where whoever started this process wants it to outlive the terminal (nohup).
    hangup: Option<tokio::signal::unix::Signal>,
}

/// Whether this process was started with SIGHUP ignored. Listening for it would undo that. Where there is no /proc,
/// nobody can say, and then a closed terminal asks.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    // SIGHUP is signal 1, the lowest bit of the mask.
    ignored.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    async fn next(&mut self) -> Asked {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Asked::OnPurpose,
            _ = self.terminate.recv() => Asked::OnPurpose,
            _ = hangup => Asked::ByTerminal,
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

    async fn next(&mut self) -> Asked {
        // Where Ctrl-C cannot be listened for, nobody asks.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        Asked::OnPurpose
    }
}
