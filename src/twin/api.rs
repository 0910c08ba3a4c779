//! What the API server does with a request.

use std::sync::Arc;

use jiff::Timestamp;

use super::admit::drop_false_cordon;
use super::deletion::has_finalizers;
use super::failure::Failure;
use super::json::{Value, json};
use super::kind::{Key, Kind};
use super::object::{Look, set, unset, without_nulls};
use super::ownership::{Writer, record};
use super::patch::{PatchKind, patch};
use super::request::{Filter, Request, Response, Subresource, Verb};
use super::select::Chosen;
use super::view;
use super::world::World;

impl World {
    /// Lives until a moment, then answers a request.
    pub fn apply(&mut self, now: Timestamp, request: &Request) -> Response {
        self.advance(now);
        if request.kind == Kind::Lease {
            match &request.name {
                Some(name) => self.renew_lease(name),
                None => self.renew_leases(),
            }
        }
        let answer = if request.options.dry_run {
            // A dry run happens to a copy.
            let mut copy = self.clone();
            copy.answer(request)
        } else {
            self.answer(request)
        };
        answer.unwrap_or_else(Response::from)
    }

    fn answer(&mut self, request: &Request) -> Result<Response, Failure> {
        let kind = request.kind;
        let namespace = if kind.is_namespaced() { request.namespace.as_deref().unwrap_or_default() } else { "" };
        let key = Key::new(kind, namespace, request.name.as_deref().unwrap_or_default());
        match (&request.verb, request.subresource) {
            (Verb::Get, None | Some(Subresource::Status)) => {
                self.found(&key).map(|object| Response::new(200, (*object).clone()))
            }
            (Verb::List { filter, limit, token }, None) => self.list(request, filter, *limit, token),
            (Verb::Create(body), None) => self.create_for(request, body.clone()),
            (Verb::Create(body), Some(Subresource::Eviction)) if kind == Kind::Pod => self.evict(request, &key, body),
            (Verb::Replace(body), subresource) => self.replace(request, &key, body, subresource),
            (Verb::Patch(patch, body), subresource) => self.patch(request, &key, *patch, body, subresource),
            (Verb::Delete(options), None) => self.delete(&key, options),
            (Verb::Get | Verb::List { .. } | Verb::Create(_) | Verb::Delete(_), Some(_)) => {
                Err(Failure::not_found(kind, &key.name))
            }
        }
    }

    pub(super) fn found(&self, key: &Key) -> Result<Arc<Value>, Failure> {
        self.object(key).ok_or_else(|| Failure::not_found(key.kind, &key.name))
    }

    fn list(&self, request: &Request, filter: &Filter, limit: usize, token: &str) -> Result<Response, Failure> {
        let chosen = Chosen::new(request.kind, request.namespace.as_deref(), filter)?;
        let after = match token {
            "" => None,
            token => {
                let (namespace, name) =
                    token.split_once('/').ok_or_else(|| Failure::bad_request("continue key is not valid"))?;
                Some(Key::new(request.kind, namespace, name))
            }
        };
        let mut matching = self
            .store
            .entries(request.kind)
            .filter(|(key, object)| after.as_ref().is_none_or(|after| *key > after) && chosen.has(object));
        let take = if limit == 0 { usize::MAX } else { limit };
        let mut items: Vec<Value> = Vec::new();
        let mut last = None;
        for (key, object) in matching.by_ref().take(take) {
            items.push((**object).clone());
            last = Some(key.clone());
        }
        let remaining = matching.count();
        let mut metadata = json!({ "resourceVersion": self.version().to_string() });
        if let Some(last) = last.filter(|_| remaining > 0) {
            set(&mut metadata, "/continue", format!("{}/{}", last.namespace, last.name));
            set(&mut metadata, "/remainingItemCount", remaining);
        }
        let body = json!({
            "apiVersion": request.kind.api_version(), "kind": format!("{}List", request.kind.name()),
            "metadata": metadata, "items": items,
        });
        Ok(Response::new(200, body))
    }

    fn create_for(&mut self, request: &Request, mut object: Value) -> Result<Response, Failure> {
        let kind = request.kind;
        if !object.is_object() {
            return Err(Failure::bad_request("the body of the request is no object"));
        }
        if kind.is_namespaced() {
            let namespace = request.namespace.as_deref().unwrap_or_default();
            let given = object.namespace();
            if !given.is_empty() && given != namespace {
                return Err(Failure::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            set(&mut object, "/metadata/namespace", namespace);
        }
        unset(&mut object, "/metadata/managedFields");
        let made = self.create_as(kind, object, &request.options.manager)?;
        Ok(Response::new(201, (*made).clone()))
    }

    /// Creates an object and notes who did.
    pub(super) fn create_as(&mut self, kind: Kind, object: Value, manager: &str) -> Result<Arc<Value>, Failure> {
        let mut object = self.admit(kind, object)?;
        if object.at("/metadata/managedFields").is_null() {
            record(None, &mut object, &Writer { manager, operation: "Update", subresource: "" }, self.now);
        }
        let key = super::object::key_of(kind, &object);
        self.write(&key, object);
        self.found(&key)
    }

    fn replace(
        &mut self,
        request: &Request,
        key: &Key,
        body: &Value,
        subresource: Option<Subresource>,
    ) -> Result<Response, Failure> {
        let known = self.found(key)?;
        if !body.is_object() || body.name() != key.name {
            return Err(Failure::bad_request("the name of the object does not match the name on the URL"));
        }
        let mut object = body.clone();
        set(&mut object, "/apiVersion", key.kind.api_version());
        set(&mut object, "/kind", key.kind.name());
        self.update(request, key, &known, object, "Update", subresource)
    }

    fn patch(
        &mut self,
        request: &Request,
        key: &Key,
        kind: PatchKind,
        body: &Value,
        subresource: Option<Subresource>,
    ) -> Result<Response, Failure> {
        let operation = if kind == PatchKind::Apply { "Apply" } else { "Update" };
        let known = match self.object(key) {
            Some(known) => known,
            None if kind == PatchKind::Apply && subresource.is_none() => {
                let mut object = body.clone();
                set(&mut object, "/metadata/name", key.name.as_str());
                return self.create_for(request, object);
            }
            None => return Err(Failure::not_found(key.kind, &key.name)),
        };
        let mut object = (*known).clone();
        patch(&mut object, kind, body)?;
        if !object.is_object() {
            return Err(Failure::bad_request("the patch leaves no object"));
        }
        self.update(request, key, &known, object, operation, subresource)
    }

    /// Stores a new version of an object, as far as a client may change it.
    fn update(
        &mut self,
        request: &Request,
        key: &Key,
        known: &Value,
        mut object: Value,
        operation: &str,
        subresource: Option<Subresource>,
    ) -> Result<Response, Failure> {
        let kind = key.kind;
        let version = object.text("/metadata/resourceVersion");
        if !version.is_empty() && version != known.text("/metadata/resourceVersion") {
            return Err(Failure::stale(kind, &key.name));
        }
        let uid = object.uid();
        if !uid.is_empty() && uid != known.uid() {
            let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", known.uid());
            return Err(Failure::conflict(kind, &key.name, &why));
        }
        without_nulls(&mut object);
        // What belongs to the server, and what this path does not write, stays as it is.
        for field in [
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "resourceVersion",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
        ] {
            // Nearly always it is as it was, and to find that out is quicker than to put it back.
            if object.at("/metadata").get(field) != known.at("/metadata").get(field) {
                keep(&mut object, known, &format!("/metadata/{field}"));
            }
        }
        keep(&mut object, known, "/apiVersion");
        keep(&mut object, known, "/kind");
        if subresource == Some(Subresource::Status) {
            keep(&mut object, known, "/spec");
        } else if kind.has_status() {
            keep(&mut object, known, "/status");
        }
        if kind == Kind::Node {
            drop_false_cordon(&mut object);
        }
        if kind == Kind::Service && object.text("/spec/clusterIP").is_empty() {
            // The address that a Service was given stays its own where a client sends it without.
            keep(&mut object, known, "/spec/clusterIP");
            keep(&mut object, known, "/spec/clusterIPs");
        }
        for part in ["/metadata/annotations", "/metadata/labels", "/metadata/finalizers"] {
            let empty = match object.at(part) {
                Value::Object(map) => map.is_empty(),
                Value::Array(list) => list.is_empty(),
                _ => false,
            };
            if empty {
                unset(&mut object, part);
            }
        }
        view::check(kind, &object, &self.store)
            .map_err(|misfit| Failure::invalid(kind, &key.name, misfit.field, &misfit.why))?;
        if kind.counts_generation() && object.at("/spec") != known.at("/spec") {
            set(&mut object, "/metadata/generation", known.number("/metadata/generation").unwrap_or(0) + 1);
        }
        let subresource = if subresource == Some(Subresource::Status) { "status" } else { "" };
        let writer = Writer { manager: &request.options.manager, operation, subresource };
        record(Some(known), &mut object, &writer, self.now);
        let released = object.is_terminating() && has_finalizers(known) && !has_finalizers(&object);
        self.write(key, object);
        let now_there = self.found(key)?;
        if released && (kind != Kind::Pod || known.number("/metadata/deletionGracePeriodSeconds") == Some(0)) {
            self.remove(key);
        }
        Ok(Response::new(200, (*now_there).clone()))
    }

    fn delete(&mut self, key: &Key, options: &Value) -> Result<Response, Failure> {
        let known = self.found(key)?;
        if let Some(why) = broken_precondition(options.at("/preconditions"), &known) {
            return Err(Failure::conflict(key.kind, &key.name, &why));
        }
        if options.text("/propagationPolicy") == "Orphan" {
            self.orphan(known.uid());
        }
        self.begin_deletion(key, options.number("/gracePeriodSeconds"));
        let body = match self.object(key) {
            Some(left) => (*left).clone(),
            None => json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": { "name": key.name, "group": key.kind.group(), "kind": key.kind.plural(), "uid": known.uid() },
            }),
        };
        Ok(Response::new(200, body))
    }

    /// Takes an owner off its dependents, so that they outlive it.
    fn orphan(&mut self, uid: &str) {
        let owned: Vec<Key> = self
            .store
            .every()
            .filter(|(_, object)| {
                object.items("/metadata/ownerReferences").iter().any(|owner| owner.text("/uid") == uid)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in owned {
            self.edit(&key, |object| {
                let mut owners = object.items("/metadata/ownerReferences").to_vec();
                owners.retain(|owner| owner.text("/uid") != uid);
                if owners.is_empty() {
                    unset(object, "/metadata/ownerReferences");
                } else {
                    set(object, "/metadata/ownerReferences", owners);
                }
            });
        }
    }
}

/// Puts a part back to what it was.
fn keep(object: &mut Value, known: &Value, path: &str) {
    match known.pointer(path) {
        Some(part) => set(object, path, part.clone()),
        None => unset(object, path),
    }
}

/// What `preconditions` ask for that does not hold, in the words of the server.
pub(super) fn broken_precondition(preconditions: &Value, object: &Value) -> Option<String> {
    let uid = preconditions.text("/uid");
    if !uid.is_empty() && uid != object.uid() {
        return Some(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            object.uid()
        ));
    }
    let version = preconditions.text("/resourceVersion");
    let current = object.text("/metadata/resourceVersion");
    (!version.is_empty() && version != current).then(|| {
        format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({current}). The object might have been modified"
        )
    })
}
