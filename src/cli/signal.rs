//! Ctrl-C and SIGTERM: the first asks the run to stop, the second leaves at once. A terminal that is closed (SIGHUP)
//! counts as a first, never as a second: it may be told more than once, and nobody is there to mean it.

use std::sync::mpsc;
use std::time::Duration;

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

/// How long the last words of a run may take: a stopped terminal must not hold up who wants to leave.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Listens for signals on behalf of a run. `last_words` makes what is said when the run is left at once.
pub(super) fn listen(
    interrupt: Interrupt,
    output: Output,
    last_words: impl FnOnce() -> String + Send + 'static,
) -> Result<Listening, Failure> {
    let mut signals = Signals::new()
        .map_err(|error| Failure::io("listen for signals", &error, "this is a mistake in haulout; please report it"))?;
    Ok(Listening(tokio::spawn(async move {
        signals.first().await;
        interrupt.request();
        // On threads of their own: a terminal that takes no text must delay neither the run nor the second signal.
        let words = output.clone();
        aside(move || {
            words.say(
                "Interrupted. Nothing new is started; nodes under way are brought to a safe end.\n\
                 Interrupt again to leave at once: a node in mid-reboot then stays cordoned.",
            );
        });
        signals.next().await;
        let said = aside(move || output.say(last_words().trim_end()));
        // Said, or not to be said within the bound: either way this is the end.
        let _ = said.recv_timeout(LAST_WORDS);
        // The journal is durable line by line, so that leaving here loses nothing.
        std::process::exit(i32::from(Exit::Interrupted.code()));
    })))
}

/// Listens for Ctrl-C while a question is open, which declines it: nothing has been done by then, and that is said before
/// the process ends.
pub(super) async fn while_asked(output: Output) -> Listening {
    let mut pressed = Box::pin(tokio::signal::ctrl_c());
    // Polled here, so that it is listened for before the question is read.
    let early = futures::poll!(pressed.as_mut());
    Listening(tokio::spawn(async move {
        let pressed = match early {
            std::task::Poll::Ready(pressed) => pressed,
            std::task::Poll::Pending => pressed.await,
        };
        // Where Ctrl-C cannot be listened for, it ends the process by itself.
        if pressed.is_ok() {
            let said = aside(move || output.say("\nInterrupted; nothing was changed."));
            let _ = said.recv_timeout(LAST_WORDS);
            std::process::exit(i32::from(Exit::Error.code()));
        }
    }))
}

/// Does something that may block on a thread of its own; the receiver is told when it is done.
fn aside(act: impl FnOnce() + Send + 'static) -> mpsc::Receiver<()> {
    let (done, told) = mpsc::channel();
    // Without a thread it is left out; the receiver then sees its sender gone.
    let _ = std::thread::Builder::new().name("last words".to_owned()).spawn(move || {
        act();
        // Nobody waits for ever: who gave up is gone.
        let _ = done.send(());
    });
    told
}

/// Cancels a token at the first signal; what runs on nodes has nothing to bring to a safe end.
pub(super) fn stop(stop: tokio_util::sync::CancellationToken) -> Result<Listening, Failure> {
    let mut signals = Signals::new()
        .map_err(|error| Failure::io("listen for signals", &error, "this is a mistake in haulout; please report it"))?;
    Ok(Listening(tokio::spawn(async move {
        signals.first().await;
        stop.cancel();
    })))
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// `None` where hangups are ignored, as under nohup.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = if ignores_hangups() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }

    /// A first signal: a hangup is one too.
    async fn first(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Whether whoever started this process had hangups ignored, as nohup does: listening would undo that. Only Linux
/// tells; elsewhere a closed terminal interrupts.
#[cfg(unix)]
fn ignores_hangups() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // SIGHUP is signal 1, the lowest bit.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn first(&mut self) {
        self.next().await;
    }

    async fn next(&mut self) {
        // Where Ctrl-C cannot be listened for, nobody asks.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
