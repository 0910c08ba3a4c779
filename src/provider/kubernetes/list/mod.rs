//! Whole-cluster lists, page by page.
//!
//! A page in protobuf is read while it arrives: its items are decoded one by one out of the stream, so that no page is
//! ever whole in memory. The `continue` token stands at its head, and the next page is asked for as soon as it is
//! known: the server makes one page while the other is being read. A page in JSON is read whole.

use std::marker::PhantomData;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Response};
use kube::client::Body;
use prost::Message;
use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};
use tokio::task::JoinHandle;

use super::failure::{Failure, lost_read, malformed};
use super::transport::{
    BODY_MAX, Lost, PAGE_DEADLINE, PROTOBUF_OR_JSON, STALL_DEADLINE, Target, Transport, complete, is_protobuf,
    next_chunk,
};
use super::wire::{ListMeta, Misfit, TypeMeta};
use crate::provider::ReadError;

/// How many objects a page is asked to have. Of pages of 500, 2,000 and 5,000 pods the largest were read fastest, and
/// cost the API server the least.
const PAGE: &str = "5000";
/// How many objects are handed on together, so that a reader of the stream has something to do before a page ends.
const BATCH: usize = 1000;
/// How often a page is asked for again where the server asks to come back later.
const TRIES: u32 = 4;
/// The longest that a `Retry-After` is obeyed while a list is read.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The first bytes of every protobuf body of the Kubernetes API.
const MAGIC: &[u8] = b"k8s\0";
/// No object is larger: etcd does not take more than 1.5 MB.
const ITEM_MAX: u64 = 32 << 20;

/// One kind of object: where it is listed, how it travels, and what becomes of it.
pub(super) trait Kind: Send + 'static {
    /// The struct of the wire.
    type Wire: Message + Default + DeserializeOwned;
    /// What it becomes.
    type Model: Send + 'static;

    /// The kind of the list, such as `PodList`.
    const LIST: &'static str;

    /// Makes an object of the model.
    fn take(&mut self, wire: Self::Wire) -> Result<Self::Model, Misfit>;
}

/// What is listed and how that is said in errors.
#[derive(Debug, Clone)]
pub(super) struct Listing {
    /// Such as `list pods`.
    pub(super) operation: String,
    /// Path and selectors.
    pub(super) target: Target,
}

/// Reads a list page by page.
pub(super) struct Pages<K: Kind> {
    transport: Transport,
    listing: Listing,
    kind: K,
    state: State<K>,
    /// The version of the list, once its head was read.
    resource_version: String,
}

enum State<K: Kind> {
    /// The page that begins at a token (empty: the first) is still to be asked for.
    Ask(String),
    /// It is on its way.
    Asked(Asked),
    /// It is being read.
    Reading { body: Body, decoder: Decoder<K::Wire>, next: Option<Asked>, ended: bool },
    /// There is no more, or the list has failed.
    Done,
}

/// A page that was asked for, by a task of its own so that it makes its way while nobody waits for it.
struct Asked(JoinHandle<Result<Response<Body>, ReadError>>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<K: Kind> Pages<K> {
    pub(super) fn new(transport: Transport, listing: Listing, kind: K) -> Self {
        Self { transport, listing, kind, state: State::Ask(String::new()), resource_version: String::new() }
    }

    /// The next objects, and how many could not be understood; `None` at the end of the list.
    pub(super) async fn next(&mut self) -> Option<Result<(Vec<K::Model>, u32), ReadError>> {
        let result = self.advance().await;
        if !matches!(result, Ok(Some(_))) {
            self.state = State::Done;
        }
        result.transpose()
    }

    /// Reads the list to its end: the objects and the version of the list.
    pub(super) async fn all(self) -> Result<(Vec<K::Model>, String), ReadError> {
        self.whole().await.map(|(all, _, version)| (all, version))
    }

    /// Reads the list to its end: the objects, how many could not be understood, and the version of the list.
    pub(super) async fn whole(mut self) -> Result<(Vec<K::Model>, u32, String), ReadError> {
        let (mut all, mut unreadable) = (Vec::new(), 0);
        while let Some(batch) = self.next().await {
            let (good, bad) = batch?;
            all.extend(good);
            unreadable += bad;
        }
        Ok((all, unreadable, self.resource_version))
    }

    async fn advance(&mut self) -> Result<Option<(Vec<K::Model>, u32)>, ReadError> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return Ok(None),
                State::Ask(token) => self.state = State::Asked(self.ask(token)),
                State::Asked(mut asked) => {
                    let operation = &self.listing.operation;
                    let response = (&mut asked.0).await.map_err(|error| malformed(operation, error))??;
                    if is_protobuf(response.headers()) {
                        let decoder = Decoder::new(K::LIST);
                        self.state = State::Reading { body: response.into_body(), decoder, next: None, ended: false };
                    } else {
                        return self.read_json(response).await.map(Some);
                    }
                }
                State::Reading { body, decoder, next, ended } => {
                    return self.read_protobuf(body, decoder, next, ended).await.map(Some);
                }
            }
        }
    }

    /// Decodes what has arrived, until a batch is full or the page is read.
    async fn read_protobuf(
        &mut self,
        mut body: Body,
        mut decoder: Decoder<K::Wire>,
        mut next: Option<Asked>,
        mut ended: bool,
    ) -> Result<(Vec<K::Model>, u32), ReadError> {
        let operation = self.listing.operation.clone();
        let (mut good, mut bad) = (Vec::new(), 0);
        loop {
            match decoder.next().map_err(|why| malformed(&operation, why))? {
                Some(Part::Head(meta)) => {
                    self.resource_version = meta.resource_version;
                    if !meta.r#continue.is_empty() {
                        next = Some(self.ask(meta.r#continue));
                    }
                }
                Some(Part::Item(Ok(wire))) => match self.kind.take(wire) {
                    Ok(object) => good.push(object),
                    Err(misfit) => {
                        tracing::debug!(list = K::LIST, error = &misfit as &dyn std::error::Error, "left out");
                        bad += 1;
                    }
                },
                Some(Part::Item(Err(error))) => {
                    tracing::debug!(list = K::LIST, error = &error as &dyn std::error::Error, "left out");
                    bad += 1;
                }
                None if ended => {
                    decoder.finish().map_err(|why| malformed(&operation, why))?;
                    self.state = next.take().map_or(State::Done, State::Asked);
                    return Ok((good, bad));
                }
                None => match next_chunk(&mut body, STALL_DEADLINE).await {
                    Ok(Some(chunk)) => decoder.push(&chunk),
                    Ok(None) => ended = true,
                    Err(lost) => return Err(lost_read(&lost, operation)),
                },
            }
            if good.len() >= BATCH {
                self.state = State::Reading { body, decoder, next, ended };
                return Ok((good, bad));
            }
        }
    }

    async fn read_json(&mut self, response: Response<Body>) -> Result<(Vec<K::Model>, u32), ReadError> {
        let operation = &self.listing.operation;
        let answer = complete(response).await.map_err(|lost| lost_read(&lost, operation))?;
        let page: JsonPage<K::Wire> =
            serde_json::from_slice(&answer.body).map_err(|error| malformed(operation, error))?;
        if page.kind != K::LIST {
            return Err(malformed(operation, format_args!("it is no {}", K::LIST)));
        }
        let meta = page.metadata.unwrap_or_default();
        self.resource_version = meta.resource_version;
        if !meta.r#continue.is_empty() {
            self.state = State::Asked(self.ask(meta.r#continue));
        }
        let items = page.items.unwrap_or_default();
        let (mut good, mut bad) = (Vec::with_capacity(items.good.len()), items.bad);
        for wire in items.good {
            match self.kind.take(wire) {
                Ok(object) => good.push(object),
                Err(_) => bad += 1,
            }
        }
        Ok((good, bad))
    }

    /// Asks for a page.
    fn ask(&self, token: String) -> Asked {
        let transport = self.transport.clone();
        let listing = self.listing.clone();
        Asked(tokio::spawn(async move {
            let mut target = listing.target.with("limit", PAGE);
            if !token.is_empty() {
                target = target.with("continue", &token);
            }
            open_read(&transport, &target, &listing.operation, PROTOBUF_OR_JSON).await
        }))
    }
}

/// Sends a GET and waits for the head of a good answer. Where the server asks to come back later, or fails in a way that
/// passes, that is done a few times: it is how a busy API server spreads its load, and a list is too dear to be given up
/// at the first such word.
pub(super) async fn open_read(
    transport: &Transport,
    target: &Target,
    operation: &str,
    accept: &'static str,
) -> Result<Response<Body>, ReadError> {
    let mut pause = std::time::Duration::from_millis(500);
    let mut tries = 1;
    loop {
        let response = match transport.open(Method::GET, target, accept, None, PAGE_DEADLINE).await {
            Ok(response) => response,
            // A connection that was kept open may have been closed at the other end; the next one is new.
            Err(Lost::Connection(_)) if tries == 1 => {
                tokio::time::sleep(pause).await;
                tries += 1;
                continue;
            }
            Err(lost) => return Err(lost_read(&lost, operation)),
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let answer = complete(response).await.map_err(|lost| lost_read(&lost, operation))?;
        let Some(failure) = Failure::of(&answer) else {
            return Err(malformed(operation, "a failure without words"));
        };
        match failure.come_back() {
            Some(wanted) if tries < TRIES => {
                tokio::time::sleep(wanted.unwrap_or(pause).min(PATIENCE)).await;
                pause *= 2;
                tries += 1;
            }
            Some(_) | None => return Err(failure.into_read(operation)),
        }
    }
}

/// A piece of a list.
#[derive(Debug)]
enum Part<T> {
    /// Its head.
    Head(ListMeta),
    /// One object, or why it is none.
    Item(Result<T, prost::DecodeError>),
}

/// Takes a list in protobuf apart while it arrives: `k8s\0`, then a `runtime.Unknown` whose field 2 holds the list,
/// whose field 1 is its head and whose field 2 repeats the objects.
struct Decoder<T> {
    buffer: BytesMut,
    at: Place,
    wanted: &'static str,
    items: PhantomData<fn() -> T>,
}

#[derive(Clone, Copy)]
enum Place {
    /// Before the magic number.
    Start,
    /// Between the fields of the envelope, before the list or after it.
    Envelope { seen: bool },
    /// Within the list, of which so many bytes are still to come.
    List { left: u64 },
}

impl<T: Message + Default> Decoder<T> {
    fn new(wanted: &'static str) -> Self {
        Self { buffer: BytesMut::new(), at: Place::Start, wanted, items: PhantomData }
    }

    fn push(&mut self, chunk: &Bytes) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next piece; `None` where more bytes are needed.
    fn next(&mut self) -> Result<Option<Part<T>>, &'static str> {
        loop {
            match self.at {
                Place::Start => {
                    if self.buffer.len() < MAGIC.len() {
                        return Ok(None);
                    }
                    if !self.buffer.starts_with(MAGIC) {
                        return Err("it does not begin as protobuf of Kubernetes does");
                    }
                    self.buffer.advance(MAGIC.len());
                    self.at = Place::Envelope { seen: false };
                }
                Place::Envelope { .. } => {
                    let Some((field, head)) = Field::read(&self.buffer)? else { return Ok(None) };
                    if field.number == 2 && field.delimited {
                        self.buffer.advance(head);
                        self.at = Place::List { left: field.length };
                        continue;
                    }
                    let Some(value) = self.whole(field, head)? else { return Ok(None) };
                    if field.number == 1 {
                        let kind = TypeMeta::decode(value).map_err(|_| "its type cannot be read")?.kind;
                        if kind != self.wanted {
                            return Err("it is a list of another kind, or none");
                        }
                    }
                }
                Place::List { left: 0 } => self.at = Place::Envelope { seen: true },
                Place::List { left } => {
                    let Some((field, head)) = Field::read(&self.buffer)? else { return Ok(None) };
                    let Some(value) = self.whole(field, head)? else { return Ok(None) };
                    let used = head as u64 + field.length;
                    let left = left.checked_sub(used).ok_or("an object is longer than its list")?;
                    self.at = Place::List { left };
                    match field.number {
                        1 => {
                            let meta = ListMeta::decode(value).map_err(|_| "its head cannot be read")?;
                            return Ok(Some(Part::Head(meta)));
                        }
                        2 => return Ok(Some(Part::Item(T::decode(value)))),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Takes a whole field off the buffer; `None` where it has not arrived yet.
    fn whole(&mut self, field: Field, head: usize) -> Result<Option<BytesMut>, &'static str> {
        if field.length > ITEM_MAX {
            return Err("an object is larger than any object can be");
        }
        let length = usize::try_from(field.length).map_err(|_| "an object is larger than any object can be")?;
        if self.buffer.len() - head < length {
            // So that a large object does not make the buffer grow in many small steps.
            self.buffer.reserve(head + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(head);
        Ok(Some(self.buffer.split_to(length)))
    }

    /// Checks that the body ended where a list ends.
    fn finish(&self) -> Result<(), &'static str> {
        match self.at {
            Place::Envelope { seen: true } if self.buffer.is_empty() => Ok(()),
            Place::Start | Place::Envelope { .. } | Place::List { .. } => Err("it ends early"),
        }
    }
}

/// The head of a field.
#[derive(Clone, Copy)]
struct Field {
    number: u64,
    delimited: bool,
    /// How many bytes of value follow the head.
    length: u64,
}

impl Field {
    /// Reads the head of a field, and says how long the head is; `None` where it has not arrived yet.
    fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, &'static str> {
        let Some((tag, tag_length)) = varint(bytes)? else { return Ok(None) };
        let number = tag >> 3;
        let fixed = |length| Ok(Some((Self { number, delimited: false, length }, tag_length)));
        match tag & 7 {
            0 => Ok(varint(&bytes[tag_length..])?
                .map(|(_, length)| (Self { number, delimited: false, length: length as u64 }, tag_length))),
            1 => fixed(8),
            5 => fixed(4),
            2 => Ok(varint(&bytes[tag_length..])?
                .map(|(length, more)| (Self { number, delimited: true, length }, tag_length + more))),
            _ => Err("it has a field of an unknown form"),
        }
    }
}

/// Reads a number of variable length, and says how long it is; `None` where it has not arrived whole.
fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, &'static str> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 10 { Err("it has a number that does not end") } else { Ok(None) }
}

/// Takes a whole body in protobuf out of its envelope.
pub(super) fn unwrap_envelope(body: &[u8]) -> Option<(TypeMeta, &[u8])> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Envelope {
        #[prost(message, optional, tag = "1")]
        kind: Option<TypeMeta>,
    }
    let rest = body.strip_prefix(MAGIC)?;
    let kind = Envelope::decode(rest).ok()?.kind.unwrap_or_default();
    let mut left = rest;
    while let Ok(Some((field, head))) = Field::read(left) {
        let length = usize::try_from(field.length).ok()?;
        let value = left.get(head..head.checked_add(length)?)?;
        if field.number == 2 && field.delimited {
            return Some((kind, value));
        }
        left = &left[head + length..];
    }
    None
}

/// A page in JSON.
#[derive(serde::Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct JsonPage<T> {
    #[serde(default)]
    kind: String,
    metadata: Option<ListMeta>,
    items: Option<Items<T>>,
}

/// The items of a page in JSON. An item that cannot be understood is counted, and does not spoil the page.
struct Items<T> {
    good: Vec<T>,
    bad: u32,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { good: Vec::new(), bad: 0 }
    }
}

impl<'de, T: DeserializeOwned> serde::Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<T>(PhantomData<fn() -> T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for Each<T> {
            type Value = Items<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Items::default();
                while let Some(value) = list.next_element::<serde_json::Value>()? {
                    match T::deserialize(value) {
                        Ok(item) => items.good.push(item),
                        Err(_) => items.bad += 1,
                    }
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(Each(PhantomData))
    }
}

const _: () = assert!(BODY_MAX as u64 > ITEM_MAX, "a page holds more than an item");

#[cfg(test)]
mod tests;
