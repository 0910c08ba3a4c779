//! The cluster: objects, and the actors that work on them, in virtual time.
//!
//! Everything is synchronous and deterministic: the same seed and the same requests at the same moments give the same
//! bytes. Nothing here reads a clock or the outside. Actors (controllers, scheduler, kubelets) look at what a change
//! concerns and do what is missing, each after a short reaction time of its own, as the real ones do. Every object may be
//! looked at once more at any time: nothing comes of it where nothing is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::actor::{Actor, Daemons, Machine, Placing};
use super::concern::Covered;
use super::due::Work;
use super::failure::Failure;
use super::json::{Text, Value, json};
use super::kind::{Key, Kind};
use super::object::{Look, map, micro_stamp, set, stamp};
use super::store::{Change, Store};
use crate::model::{LEASE_NAME, MANAGED_NAMESPACE};

/// How long things take in the simulated cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// From the start of a pod's containers until it is Ready.
    pub pod_ready: SignedDuration,
    /// From a pod's deletion until its containers have ended, if its grace period is not shorter.
    pub pod_stop: SignedDuration,
    /// How long a node that reboots is dark.
    pub reboot: SignedDuration,
    /// How long after its boot a node stays NotReady.
    pub node_ready: SignedDuration,
    /// How long a volume takes to be detached after its last pod is gone.
    pub volume_detach: SignedDuration,
    /// How long after its last sign of life a node is given up as Unknown.
    pub node_lost: SignedDuration,
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            pod_ready: SignedDuration::from_millis(1000),
            pod_stop: SignedDuration::from_millis(700),
            reboot: SignedDuration::from_millis(3000),
            node_ready: SignedDuration::from_millis(500),
            volume_detach: SignedDuration::from_millis(500),
            node_lost: SignedDuration::from_secs(50),
        }
    }
}

/// More steps than this between two moments mean that actors undo each other's work for ever.
const STEPS_MAX: u32 = 20_000;

/// A simulated cluster.
#[derive(Debug, Clone)]
pub struct World {
    pub(super) now: Timestamp,
    /// What it was made of, as whoever made it says.
    pub(super) description: String,
    pub(super) seed: u64,
    pub(super) delays: Delays,
    pub(super) store: Store,
    pub(super) machines: BTreeMap<Text, Machine>,
    /// Volume attachments that nothing needs any more, and when they are gone.
    pub(super) detaching: BTreeMap<String, Timestamp>,
    random: u64,
    agenda: BTreeMap<Actor, Timestamp>,
    pub(super) restless: bool,
    /// What the actors have yet to look at.
    pub(super) work: Work,
    /// Budgets with the pods that they cover.
    pub(super) covered: BTreeMap<Key, Covered>,
    /// For each pod that budgets cover, which.
    pub(super) covering: BTreeMap<Key, BTreeSet<Key>>,
    /// What DaemonSets have on each node.
    pub(super) daemons: BTreeMap<Key, Daemons>,
    /// What the scheduler sees.
    pub(super) site: Placing,
}

/// A world that cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub(super) String);

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    description: String,
    now: Timestamp,
    seed: u64,
    random: u64,
    version: u64,
    agenda: BTreeMap<Actor, Timestamp>,
    machines: BTreeMap<Text, Machine>,
    detaching: BTreeMap<String, Timestamp>,
    objects: Vec<Value>,
}

/// The format that [`World::save`] writes.
const FORMAT: u32 = 1;

impl World {
    /// An empty cluster: its own namespaces, and nothing else.
    #[must_use]
    pub fn new(now: Timestamp, seed: u64, delays: Delays) -> Self {
        let mut world = Self {
            now,
            description: String::new(),
            seed,
            delays,
            store: Store::default(),
            machines: BTreeMap::new(),
            detaching: BTreeMap::new(),
            random: seed,
            agenda: BTreeMap::new(),
            restless: false,
            work: Work::default(),
            covered: BTreeMap::new(),
            covering: BTreeMap::new(),
            daemons: BTreeMap::new(),
            site: Placing::default(),
        };
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            let namespace = json!({ "metadata": { "name": name } });
            let made = world.create(Kind::Namespace, namespace);
            debug_assert!(made.is_ok(), "the names are good and nothing exists yet");
        }
        world
    }

    /// The world as bytes; equal worlds give equal bytes. What changed lately, for watches that resume, is not part
    /// of it.
    ///
    /// # Errors
    /// None in practice: everything in it is JSON already.
    pub fn save(&self) -> Result<Vec<u8>, Unreadable> {
        let saved = Saved {
            format: FORMAT,
            description: self.description.clone(),
            now: self.now,
            seed: self.seed,
            random: self.random,
            version: self.store.version(),
            agenda: self.agenda.clone(),
            machines: self.machines.clone(),
            detaching: self.detaching.clone(),
            objects: self.store.every().map(|(_, object)| (**object).clone()).collect(),
        };
        serde_json::to_vec(&saved).map_err(|error| Unreadable(error.to_string()))
    }

    /// Reads what [`World::save`] wrote.
    ///
    /// # Errors
    /// [`Unreadable`] where it is something else, or of a newer format.
    pub fn restore(bytes: &[u8], delays: Delays) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let unreadable = |error: serde_json::Error| Unreadable(error.to_string());
        let Format { format } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if format != FORMAT {
            return Err(Unreadable(format!("it is of format {format}, and this haulout reads format {FORMAT}")));
        }
        let saved: Saved = serde_json::from_slice(bytes).map_err(unreadable)?;
        let mut objects = Vec::with_capacity(saved.objects.len());
        for object in saved.objects {
            let kind = Kind::of_object(object.text("/apiVersion"), object.text("/kind"))
                .ok_or_else(|| Unreadable("it holds an object of an unknown kind".to_owned()))?;
            objects.push((kind, object));
        }
        let mut world = Self {
            now: saved.now,
            description: saved.description,
            seed: saved.seed,
            delays,
            store: Store::restore(saved.version, objects),
            machines: saved.machines,
            detaching: saved.detaching,
            random: saved.random,
            agenda: saved.agenda,
            restless: false,
            work: Work::default(),
            covered: BTreeMap::new(),
            covering: BTreeMap::new(),
            daemons: BTreeMap::new(),
            site: Placing::default(),
        };
        world.concern_all();
        Ok(world)
    }

    /// The moment in the cluster.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// How long things take in it.
    #[must_use]
    pub fn delays(&self) -> Delays {
        self.delays
    }

    /// The version of the cluster; every change makes a new one.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.store.version()
    }

    /// When something happens next by itself; `None` where nothing will.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.agenda.values().min().map(|at| (*at).max(self.now))
    }

    /// Whether the actors were found undoing each other's work for ever. The cluster then stands still.
    #[must_use]
    pub fn is_restless(&self) -> bool {
        self.restless
    }

    /// Lives until a moment. Returns what changed, in order. Time never goes back.
    pub fn advance(&mut self, to: Timestamp) -> Vec<Change> {
        let since = self.version();
        self.run_due(to);
        self.changes(since).unwrap_or_default()
    }

    /// Lives until a moment.
    pub(super) fn run_due(&mut self, to: Timestamp) {
        let mut steps = 0;
        while let Some((actor, at)) = self.due(to) {
            steps += 1;
            if steps > STEPS_MAX {
                self.restless = true;
                self.agenda.clear();
                break;
            }
            self.now = self.now.max(at);
            self.agenda.remove(&actor);
            if let Some(again) = actor.run(self) {
                self.plan(actor, again);
            }
        }
        self.now = self.now.max(to);
    }

    /// The pods bound to a node.
    pub(super) fn pods_on(&self, node: &str) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.store.pods_on(node)
    }

    /// The changes after a version; `None` where they are no longer known.
    #[must_use]
    pub fn changes(&self, since: u64) -> Option<Vec<Change>> {
        self.store.since(since).map(|changes| changes.cloned().collect())
    }

    /// One object, as the API would show it.
    #[must_use]
    pub fn object(&self, key: &Key) -> Option<Arc<Value>> {
        self.store.get(key).map(Arc::clone)
    }

    /// The objects of a kind.
    pub fn objects(&self, kind: Kind) -> impl Iterator<Item = &Arc<Value>> {
        self.store.all(kind)
    }

    /// The actor that is due first, of those due until a moment; ties are broken by the order of the actors.
    fn due(&self, to: Timestamp) -> Option<(Actor, Timestamp)> {
        let first = self.agenda.iter().min_by_key(|(actor, at)| (**at, **actor))?;
        (*first.1 <= to).then_some((*first.0, *first.1))
    }

    pub(super) fn plan(&mut self, actor: Actor, at: Timestamp) {
        let planned = self.agenda.entry(actor).or_insert(at);
        *planned = (*planned).min(at);
    }

    /// Moves the whole cluster in time: nothing happens, nobody grows older, every time in it is another.
    ///
    /// The lock of runs alone does grow older. A run lives outside of the cluster, and whoever moves the cluster knows
    /// that nobody was talking to it meanwhile: a lock that was held then is the lock of a run that has fallen silent,
    /// and how long ago that was must show, or nobody could ever take it over. Towards the past it moves with the
    /// rest, so that it is never renewed in the future.
    pub fn shift(&mut self, by: SignedDuration) {
        let move_by = |at: &mut Timestamp| *at = at.saturating_add(by).unwrap_or(*at);
        move_by(&mut self.now);
        self.agenda.values_mut().for_each(move_by);
        self.detaching.values_mut().for_each(move_by);
        for machine in self.machines.values_mut() {
            machine.shift(by);
        }
        self.work.machines.shift(by);
        self.work.pods.shift(by);
        self.work.budgets.shift(by);
        self.work.nodes.shift(by);
        self.store.rewrite(|key, object| {
            if by.is_negative() || !is_lock_of_runs(key) {
                shift_times(object, by);
            }
        });
    }

    /// A number that nobody can foresee but who knows the seed (splitmix64).
    pub(super) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An id in the form of a UUID.
    pub(super) fn uuid(&mut self) -> String {
        let (high, low) = (self.random(), self.random());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff
        )
    }

    /// The five characters that end generated names.
    pub(super) fn suffix(&mut self) -> String {
        // Without vowels and look-alikes, as the real server does, so that no words come about.
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut bits = self.random();
        let mut text = String::new();
        for _ in 0..5 {
            let index = usize::try_from(bits % 27).unwrap_or(0);
            text.push(char::from(LETTERS[index]));
            bits /= 27;
        }
        text
    }

    /// Writes an object if it differs from what is there. Returns whether it did.
    pub(super) fn write(&mut self, key: &Key, object: Value) -> bool {
        let known = self.object(key);
        if known.as_deref() == Some(&object) {
            return false;
        }
        let after = self.store.put(key, object);
        self.concern(key, known.as_deref(), Some(&after));
        true
    }

    /// Puts an object in as it is, in place of one of its name, without asking whether it could be created: for a cluster
    /// that is copied. What it leaves out of its kind, its API version and its creation is filled in.
    pub fn place(&mut self, kind: Kind, mut object: Value) {
        set(&mut object, "/apiVersion", kind.api_version());
        set(&mut object, "/kind", kind.name());
        if object.at("/metadata/creationTimestamp").is_null() {
            set(&mut object, "/metadata/creationTimestamp", stamp(self.now));
        }
        let key = super::object::key_of(kind, &object);
        self.write(&key, object);
    }

    /// Changes an object. Returns whether it is there and changed.
    pub(super) fn edit(&mut self, key: &Key, change: impl FnOnce(&mut Value)) -> bool {
        let Some(known) = self.store.get(key) else { return false };
        let mut object = (**known).clone();
        change(&mut object);
        self.write(key, object)
    }

    /// Takes an object out at once.
    pub(super) fn remove(&mut self, key: &Key) {
        if let Some(last) = self.store.remove(key) {
            self.concern(key, Some(&last), None);
        }
    }

    /// Makes an object as a part of the cluster itself does: with all that creation checks and fills in.
    pub(super) fn create(&mut self, kind: Kind, object: Value) -> Result<Arc<Value>, Failure> {
        let object = self.admit(kind, object)?;
        let key = super::object::key_of(kind, &object);
        let made = self.store.put(&key, object);
        self.concern(&key, None, Some(&made));
        Ok(made)
    }
}

/// Whether an object is the Lease that lets one run act on the cluster.
fn is_lock_of_runs(key: &Key) -> bool {
    key.kind == Kind::Lease && key.namespace == MANAGED_NAMESPACE && key.name == LEASE_NAME
}

/// Moves every time in an object, those in haulout's own annotations too.
fn shift_times(value: &mut Value, by: SignedDuration) {
    match value {
        Value::String(text) => {
            if let Some(moved) = shifted(text, by) {
                *text = moved.into();
            } else if text.starts_with("{\"")
                && text.len() < 10_000
                && let Ok(mut inner) = serde_json::from_str::<Value>(text)
            {
                let before = inner.clone();
                shift_times(&mut inner, by);
                if inner != before {
                    *text = inner.to_string().into();
                }
            }
        }
        Value::Array(list) => Arc::make_mut(list).iter_mut().for_each(|part| shift_times(part, by)),
        Value::Object(map) => Arc::make_mut(map).values_mut().for_each(|part| shift_times(part, by)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn shifted(text: &str, by: SignedDuration) -> Option<String> {
    let bytes = text.as_bytes();
    let looks_so = (20..=32).contains(&bytes.len()) && bytes[4] == b'-' && bytes[10] == b'T' && bytes.ends_with(b"Z");
    if !looks_so {
        return None;
    }
    let at: Timestamp = text.parse().ok()?;
    let moved = at.checked_add(by).ok()?;
    Some(if text.contains('.') { micro_stamp(moved) } else { stamp(moved) })
}

/// An owner reference to an object.
pub(super) fn owner_reference(owner: &Value, controller: bool) -> Value {
    let mut reference = json!({
        "apiVersion": owner.text("/apiVersion"), "kind": owner.text("/kind"),
        "name": owner.name(), "uid": owner.uid(),
    });
    if controller {
        set(&mut reference, "/controller", true);
        set(&mut reference, "/blockOwnerDeletion", true);
    }
    map(&mut reference);
    reference
}
