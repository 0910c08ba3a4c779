//! Watches: what changed, as one reader wants to see it.

use std::sync::Arc;

use super::failure::Failure;
use super::json::{Value, json};
use super::kind::Kind;
use super::object::set;
use super::request::Filter;
use super::select::Chosen;
use super::world::World;

/// A reader of changes.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    chosen: Chosen,
    /// The version that the reader has seen; `None` before the first look of one that wants everything.
    seen: Option<u64>,
    bookmarks: bool,
    /// Whether the end of the initial events is to be told.
    initial_end: bool,
}

impl Watch {
    /// Begins a watch. Version "" and "0" begin with everything that is there.
    pub(super) fn new(
        kind: Kind,
        namespace: Option<&str>,
        filter: &Filter,
        version: &str,
        bookmarks: bool,
        initial_events: bool,
    ) -> Result<Self, Failure> {
        let seen = match version {
            "" | "0" => None,
            version => {
                let parsed = version.parse::<u64>();
                Some(parsed.map_err(|_| Failure::bad_request(format!("invalid resource version {version:?}")))?)
            }
        };
        let seen = if initial_events { None } else { seen };
        Ok(Self { chosen: Chosen::new(kind, namespace, filter)?, seen, bookmarks, initial_end: initial_events })
    }

    /// The events since the last look. An error is the last event of a watch.
    pub(super) fn look(&mut self, world: &World) -> Result<Vec<Value>, Value> {
        let Some(seen) = self.seen else {
            let present = world.objects(self.chosen.kind()).filter(|object| self.chosen.has(object));
            let mut events: Vec<Value> = present.map(|object| event("ADDED", object)).collect();
            self.seen = Some(world.version());
            if self.initial_end {
                events.push(self.bookmark(world, true));
            }
            return Ok(events);
        };
        let Some(changes) = world.changes(seen) else {
            return Err(json!({ "type": "ERROR", "object": Failure::expired(seen, world.version()).body() }));
        };
        let mut events = Vec::new();
        for change in changes.iter().filter(|change| change.key.kind == self.chosen.kind()) {
            let before = change.before.as_ref().is_some_and(|object| self.chosen.has(object));
            let after = !change.gone && self.chosen.has(&change.after);
            // An object that no longer matches is gone for this reader, and the other way round.
            match (before, after) {
                (false, true) => events.push(event("ADDED", &change.after)),
                (true, true) => events.push(event("MODIFIED", &change.after)),
                (true, false) => events.push(event("DELETED", &change.after)),
                (false, false) => {}
            }
        }
        self.seen = Some(world.version());
        Ok(events)
    }

    /// A bookmark, where the reader takes them.
    pub(super) fn rest(&self, world: &World) -> Option<Value> {
        self.bookmarks.then(|| self.bookmark(world, false))
    }

    fn bookmark(&self, world: &World, end: bool) -> Value {
        let mut metadata = json!({ "resourceVersion": self.seen.unwrap_or_else(|| world.version()).to_string() });
        if end {
            set(&mut metadata, "/annotations", json!({ "k8s.io/initial-events-end": "true" }));
        }
        let kind = self.chosen.kind();
        let object = json!({ "apiVersion": kind.api_version(), "kind": kind.name(), "metadata": metadata });
        json!({ "type": "BOOKMARK", "object": object })
    }
}

fn event(what: &str, object: &Arc<Value>) -> Value {
    json!({ "type": what, "object": **object })
}
