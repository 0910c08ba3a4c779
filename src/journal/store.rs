//! The appending: on a thread of its own, or at once where time is simulated.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::Permit;
use crate::model::{Advice, Explain, Kind};
use crate::run::{Event, EventKind, Intent, StepId};

/// Where lines go: a file that is fsynced, or memory in tests and rehearsals.
pub trait Sink: Send {
    /// Appends one line, with its line feed, and makes it durable.
    ///
    /// # Errors
    /// Whatever the medium says; after the first error nothing more is appended.
    fn append(&mut self, line: &[u8]) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.extend_from_slice(line);
        Ok(())
    }
}

/// The journal cannot take any more.
#[derive(Debug, Clone, thiserror::Error)]
#[error("write the journal {}: {message}", path.display())]
pub struct JournalError {
    /// Its file.
    pub path: PathBuf,
    /// What the medium said.
    pub message: String,
}

impl Explain for JournalError {
    fn kind(&self) -> Kind {
        Kind::Outside
    }

    fn advice(&self) -> Option<Advice> {
        Some(Advice::new(
            "make room or make the folder writable; nothing is changed on a cluster without its journal line",
        ))
    }
}

type Encode = dyn Fn(&Event) -> Vec<u8> + Send;
type Answer = oneshot::Sender<Result<Event, JournalError>>;

/// What appends: numbers events, writes their lines, tells who listens.
struct Appender {
    path: PathBuf,
    sink: Box<dyn Sink>,
    encode: Box<Encode>,
    now: fn() -> jiff::Timestamp,
    seen: tokio::sync::mpsc::UnboundedSender<Event>,
    seq: u64,
    broken: Option<JournalError>,
}

impl Appender {
    fn append(&mut self, kind: EventKind) -> Result<Event, JournalError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let event = Event { seq: self.seq + 1, at: (self.now)(), kind };
        let mut line = (self.encode)(&event);
        line.push(b'\n');
        match self.sink.append(&line) {
            Ok(()) => {
                self.seq += 1;
                // Reporting must never stop a run: a reporter that is gone is no reason to fail.
                let _ = self.seen.send(event.clone());
                Ok(event)
            }
            Err(error) => {
                let error = JournalError { path: self.path.clone(), message: error.to_string() };
                self.broken = Some(error.clone());
                Err(error)
            }
        }
    }
}

#[derive(Clone)]
enum Way {
    /// By the appending thread.
    Thread(mpsc::Sender<(EventKind, Answer)>),
    /// At once, on the caller's thread.
    Here(Arc<Mutex<Appender>>),
}

/// A handle on the journal. Cheap to clone; the thread ends when the last handle is gone.
#[derive(Clone)]
pub struct Journal {
    way: Way,
    path: PathBuf,
}

impl Journal {
    /// Starts the appending thread. `encode` makes a line, without its line feed, of an event; `now` is asked for each
    /// event's time; every recorded event is also passed on to `seen`, in order.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        path: PathBuf,
        sink: Box<dyn Sink>,
        encode: Box<Encode>,
        now: fn() -> jiff::Timestamp,
        seen: tokio::sync::mpsc::UnboundedSender<Event>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        Self::start_after(0, path, sink, encode, now, seen)
    }

    /// As [`Journal::start`], for a run that is taken up again and has recorded so many events before.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start_after(
        recorded: u64,
        path: PathBuf,
        sink: Box<dyn Sink>,
        encode: Box<Encode>,
        now: fn() -> jiff::Timestamp,
        seen: tokio::sync::mpsc::UnboundedSender<Event>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (lines, inbox) = mpsc::channel::<(EventKind, Answer)>();
        let mut appender = Appender { path: path.clone(), sink, encode, now, seen, seq: recorded, broken: None };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            while let Ok((kind, answer)) = inbox.recv() {
                // A receiver that is gone has stopped caring about the answer.
                let _ = answer.send(appender.append(kind));
            }
        })?;
        Ok((Self { way: Way::Thread(lines), path }, thread))
    }

    /// A journal without a thread, which appends at once: for rehearsals, whose simulated time must not pass while a
    /// thread writes. Its sink must not block. So many events were `recorded` before.
    #[must_use]
    pub fn at_once(
        recorded: u64,
        sink: Box<dyn Sink>,
        encode: Box<Encode>,
        now: fn() -> jiff::Timestamp,
        seen: tokio::sync::mpsc::UnboundedSender<Event>,
    ) -> Self {
        let path = PathBuf::from("(memory)");
        let appender = Appender { path: path.clone(), sink, encode, now, seen, seq: recorded, broken: None };
        Self { way: Way::Here(Arc::new(Mutex::new(appender))), path }
    }

    /// Records an event; returns once it is durable.
    ///
    /// # Errors
    /// [`JournalError`] when it could not be written, now or ever again.
    pub async fn record(&self, kind: EventKind) -> Result<Event, JournalError> {
        let lines = match &self.way {
            Way::Thread(lines) => lines,
            Way::Here(appender) => return appender.lock().unwrap_or_else(PoisonError::into_inner).append(kind),
        };
        let (answer, answered) = oneshot::channel();
        let gone = || JournalError { path: self.path.clone(), message: "the journal's thread has ended".to_owned() };
        lines.send((kind, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Announces a mutation; the permit exists only once the line is durable.
    ///
    /// # Errors
    /// [`JournalError`] as [`Journal::record`].
    pub async fn intend(&self, step: Option<StepId>, intent: Intent) -> Result<Permit, JournalError> {
        let event = self.record(EventKind::Intended { step, intent }).await?;
        Ok(Permit::new(event.seq))
    }
}
