//! Following a kind: one list, then one watch after the other from where the last ended.
//!
//! A watch that ends is taken up again from the last version heard of, which costs the API server nothing; only where
//! that version is too old (410) the whole set is listed anew. Nothing is lost in between, and nothing is repeated.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::{HeaderMap, Method};
use kube::client::Body;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::failure::{Failure, lost_read, malformed};
use super::list::{Kind, Listing, Pages};
use super::transport::{JSON, Lost, PAGE_DEADLINE, Transport, complete, next_chunk};
use super::wire::Status;
use crate::provider::{Followed, ReadError, ReadErrorKind};

/// How long the API server is asked to keep a watch open, in seconds. Less than the five minutes after which load
/// balancers and proxies close what is quiet.
const OPEN: &str = "290";
/// How long a watch may be silent before it is taken up again: bookmarks come about every minute.
const SILENCE: Duration = Duration::from_secs(150);
/// The first pause after a failure; doubled after each.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The longest line of a watch.
const LINE_MAX: usize = 32 << 20;
/// How many events may wait for their reader; a slower reader makes the API server wait.
const AHEAD: usize = 256;

/// A kind that can be followed: its objects have keys.
pub(super) trait Keyed: Kind {
    /// What tells one object from another.
    type Key: Send + 'static;

    /// The key of an object.
    fn key(object: &Self::Model) -> Self::Key;
}

type Event<K> = Result<Followed<<K as Kind>::Model, <K as Keyed>::Key>, ReadError>;

/// Follows a kind until the stream is dropped. `kind` is made afresh for each list, so that what was interned for
/// objects long gone does not pile up.
pub(super) fn follow<K: Keyed>(
    transport: Transport,
    listing: Listing,
    kind: impl Fn() -> K + Send + Sync + 'static,
) -> BoxStream<'static, Event<K>> {
    let (events, inbox) = mpsc::channel(AHEAD);
    let task = tokio::spawn(async move {
        let mut follower = Follower { transport, listing, events, pause: PAUSE_MIN };
        // The loop ends only when nobody listens any more.
        while follower.round(&kind).await.is_some() {}
    });
    receive(inbox, task)
}

/// A stream of what a task sends, which ends the task when it is dropped. A task that panics must not look like one
/// that has come to its end, so the panic goes on in the reader.
pub(super) fn receive<T: Send + 'static>(inbox: mpsc::Receiver<T>, task: JoinHandle<()>) -> BoxStream<'static, T> {
    struct Fed<T> {
        inbox: mpsc::Receiver<T>,
        task: JoinHandle<()>,
    }
    impl<T> Drop for Fed<T> {
        fn drop(&mut self) {
            self.task.abort();
        }
    }
    futures::stream::unfold(Fed { inbox, task }, |mut fed| async move {
        if let Some(item) = fed.inbox.recv().await {
            return Some((item, fed));
        }
        if let Err(error) = (&mut fed.task).await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
        None
    })
    .boxed()
}

struct Follower<K: Keyed> {
    transport: Transport,
    listing: Listing,
    events: mpsc::Sender<Event<K>>,
    pause: Duration,
}

/// How a watch ended.
enum End {
    /// As it should, or for want of news: go on from here.
    Over,
    /// The version is too old: list anew.
    TooOld,
    /// With an error: go on from here after a pause.
    Failed(ReadError),
}

/// One line of a watch.
#[derive(Deserialize)]
struct Line {
    r#type: String,
    object: serde_json::Value,
}

impl<K: Keyed> Follower<K> {
    /// One list and the watches that go on from it; `None` when nobody listens any more.
    async fn round(&mut self, make: &(impl Fn() -> K + Send + Sync)) -> Option<()> {
        let pages = Pages::new(self.transport.clone(), self.listing.clone(), make());
        let (all, unreadable, mut version) = match pages.whole().await {
            Ok(list) => list,
            Err(error) => return self.fail(error).await,
        };
        if unreadable > 0 {
            // Said before the set, so that whoever takes the set knows that it is not whole.
            let why = format!("{unreadable} of its objects cannot be understood");
            self.send(Err(malformed(self.listing.operation.clone(), why))).await?;
        }
        self.send(Ok(Followed::All(all))).await?;
        let mut kind = make();
        loop {
            let before = version.clone();
            match self.watch(&mut kind, &mut version).await? {
                // A server that ends watches at once must not be asked for the next at once for ever.
                End::Over if version == before => self.rest().await?,
                End::Over => {}
                End::TooOld => return Some(()),
                End::Failed(error) => self.fail(error).await?,
            }
        }
    }

    /// One watch; `version` follows what was heard.
    async fn watch(&mut self, kind: &mut K, version: &mut String) -> Option<End> {
        let target = self
            .listing
            .target
            .clone()
            .with("watch", "true")
            .with("allowWatchBookmarks", "true")
            .with("timeoutSeconds", OPEN)
            .with("resourceVersion", version);
        let operation = self.listing.operation.replacen("list ", "watch ", 1);
        let opened = tokio::select! {
            biased;
            () = self.events.closed() => return None,
            opened = self.transport.open(Method::GET, &target, JSON, None, PAGE_DEADLINE) => opened,
        };
        let response = match opened {
            Ok(response) => response,
            Err(lost) => return Some(End::Failed(lost_read(&lost, operation))),
        };
        if !response.status().is_success() {
            return Some(match complete(response).await {
                Ok(answer) => match Failure::of(&answer) {
                    Some(failure) => ended(failure, operation),
                    None => End::Failed(malformed(operation, "a failure without words")),
                },
                Err(lost) => End::Failed(lost_read(&lost, operation)),
            });
        }
        let mut lines = Lines { body: response.into_body(), buffer: BytesMut::new(), searched: 0 };
        loop {
            let next = tokio::select! {
                biased;
                () = self.events.closed() => return None,
                next = lines.next() => next,
            };
            let line = match next {
                Ok(Some(line)) => line,
                Ok(None) | Err(Lost::Deadline(_)) => return Some(End::Over),
                // A cut connection is the usual end of a watch behind a load balancer; only where it keeps happening
                // is it worth a word, and then opening the next watch fails too.
                Err(Lost::Connection(_)) => return Some(End::Over),
                Err(lost @ (Lost::TooLong(_) | Lost::Request(_))) => {
                    return Some(End::Failed(lost_read(&lost, operation)));
                }
            };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let Ok(line) = serde_json::from_slice::<Line>(&line) else {
                return Some(End::Failed(malformed(operation, "a line of it is no event")));
            };
            if line.r#type == "ERROR" {
                let status = Status::deserialize(line.object).unwrap_or_default();
                let code = u16::try_from(status.code).unwrap_or(500);
                return Some(ended(Failure::from_status(code, status, &HeaderMap::new()), operation));
            }
            if let Some(heard) = line.object.pointer("/metadata/resourceVersion").and_then(|text| text.as_str()) {
                heard.clone_into(version);
            }
            self.pause = PAUSE_MIN;
            if line.r#type == "BOOKMARK" {
                continue;
            }
            // An object that cannot be understood is left out here as it is left out of lists.
            let Ok(wire) = K::Wire::deserialize(line.object) else { continue };
            let Ok(object) = kind.take(wire) else { continue };
            let event = match line.r#type.as_str() {
                "DELETED" => Followed::Gone(K::key(&object)),
                _ => Followed::Is(object),
            };
            self.send(Ok(event)).await?;
        }
    }

    async fn send(&self, event: Event<K>) -> Option<()> {
        self.events.send(event).await.ok()
    }

    /// Reports a failure and rests.
    async fn fail(&mut self, error: ReadError) -> Option<()> {
        let wanted = error.retry_after.unwrap_or_default().min(PAUSE_MAX);
        self.send(Err(error)).await?;
        self.pause = self.pause.max(wanted);
        self.rest().await
    }

    async fn rest(&mut self) -> Option<()> {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        tokio::select! {
            biased;
            () = self.events.closed() => None,
            () = tokio::time::sleep(pause) => Some(()),
        }
    }
}

fn ended(failure: Failure, operation: String) -> End {
    let error = failure.into_read(operation);
    if error.kind == ReadErrorKind::Expired { End::TooOld } else { End::Failed(error) }
}

/// Cuts a body into lines.
struct Lines {
    body: Body,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line feed.
    searched: usize,
}

impl Lines {
    /// The next line; what stands after the last line feed of a body that ended is no line, for it was cut off.
    async fn next(&mut self) -> Result<Option<BytesMut>, Lost> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at);
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > LINE_MAX {
                return Err(Lost::TooLong(LINE_MAX));
            }
            match next_chunk(&mut self.body, SILENCE).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
