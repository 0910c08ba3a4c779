//! The traits of [`crate::provider`] on a simulated cluster, without HTTP, in the time of the runtime it lives on.
//!
//! Requests and objects are those that a real cluster would see; only the connection is missing. The cluster lives on by
//! itself: whenever something is due in it, it happens, and whoever follows is told in the order in which it did. On a
//! runtime whose clock is paused nothing ever waits for real.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::discovery::GIT_VERSION;
use super::failure::Failure;
use super::json::{Value, json};
use super::kind::{Key, Kind};
use super::known::Known;
use super::object::Look;
use super::patch::PatchKind;
use super::request::{Options, Request, Response, Subresource, Validation, Verb};
use super::store::Change;
use super::world::World;
use crate::model::{
    Budget, BudgetKey, DaemonSet, FIELD_MANAGER, Foreign, Grace, LEASE_NAME, LabelKey, MANAGED_NAMESPACE, Namespace,
    Node, NodeName, Phase, Pod, PodKey, RunId, Uid, reboot_pod_name,
};
use crate::provider::kubernetes::json as wire;
use crate::provider::{
    ActError, ClusterActs, ClusterReads, CordonWrite, Eviction, Followed, LeaseRead, LockActs, NodeLease, NodeReports,
    Permit, PodScope, Probes, ReadError, ReadErrorKind, RebootPod, RebootPodState, ReportWrite, UncordonWrite, Volumes,
    clock,
};

/// A change in the cluster, as it happens.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// When.
    pub at: Timestamp,
    /// The field manager of the request that made it; empty for what the cluster does by itself.
    pub by: &'a str,
    /// What.
    pub change: &'a Change,
}

/// Who is told of every change, in order, before anybody who follows.
pub type Witness = Box<dyn FnMut(&World, Seen<'_>) + Send>;

type Stream<T, K> = BoxStream<'static, Result<Followed<T, K>, ReadError>>;
type Told<T, K> = mpsc::UnboundedSender<Result<Followed<T, K>, ReadError>>;

/// A simulated cluster behind the traits of the provider. Cheap to clone; all clones are the same cluster, which stops
/// living when the last one is gone.
#[derive(Clone)]
pub struct Port {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Told of every new version.
    changed: watch::Sender<u64>,
}

struct State {
    world: World,
    known: Known,
    /// The version that everybody was told of.
    told: u64,
    witness: Option<Witness>,
    nodes: Vec<Told<Node, NodeName>>,
    budgets: Vec<Told<Budget, BudgetKey>>,
    pods: Vec<Told<Pod, PodKey>>,
    /// Who follows the pods of one node.
    pods_on: BTreeMap<String, Vec<Told<Pod, PodKey>>>,
    /// Pods whose evictions an admission webhook denies.
    denied: BTreeSet<Key>,
}

impl Port {
    /// Lets a cluster live on the current runtime, from the moment that [`clock::elsewhere`] says. `pool_label` names the pool
    /// of a node, where the config gives one.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use]
    pub fn open(mut world: World, pool_label: Option<LabelKey>, witness: Option<Witness>) -> Self {
        let told = world.version();
        // Everybody is told of everything at once, so that nothing has to be remembered for longer.
        world.store.remember_all();
        world.store.forget();
        let state = State {
            world,
            known: Known::new(pool_label),
            told,
            witness,
            nodes: Vec::new(),
            budgets: Vec::new(),
            pods: Vec::new(),
            pods_on: BTreeMap::new(),
            denied: BTreeSet::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: watch::Sender::new(told) });
        tokio::spawn(live(Arc::downgrade(&shared), shared.changed.subscribe()));
        Self { shared }
    }

    /// Answers a request, of whomever.
    pub fn apply(&self, request: &Request) -> Response {
        let mut state = self.shared.lock();
        let now = state.advance();
        let response = match state.denial(request) {
            Some(denied) => denied,
            None => state.world.apply(now, request),
        };
        state.tell(&request.options.manager);
        self.shared.changed.send_replace(state.told);
        response
    }

    /// Lets an admission webhook deny the evictions of these pods from now on.
    pub fn deny_evictions(&self, pods: impl IntoIterator<Item = PodKey>) {
        self.shared.lock().denied.extend(pods.into_iter().map(|pod| pod_key(&pod)));
    }

    /// Looks at the cluster as it is now.
    pub fn look<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        let mut state = self.shared.lock();
        state.advance();
        look(&state.world)
    }

    /// Reaches into the cluster, as no request can: what happens to its machines.
    pub fn reach<T>(&self, reach: impl FnOnce(&mut World) -> T) -> T {
        let mut state = self.shared.lock();
        state.advance();
        let result = reach(&mut state.world);
        state.tell("");
        self.shared.changed.send_replace(state.told);
        result
    }

    fn object(&self, key: &Key) -> Option<Arc<Value>> {
        self.look(|world| world.object(key))
    }

    /// Reads an object as it is now, where it is there.
    fn read<T>(&self, key: &Key, read: impl FnOnce(&mut Known, &Arc<Value>) -> T) -> Option<T> {
        let mut state = self.shared.lock();
        state.advance();
        let State { world, known, .. } = &mut *state;
        world.store.get(key).map(|object| read(known, object))
    }

    fn patch(&self, operation: String, node: &NodeName, manager: &str, body: Value) -> Result<Node, ActError> {
        let request = Request {
            kind: Kind::Node,
            namespace: None,
            name: Some(node.to_string()),
            subresource: None,
            verb: Verb::Patch(PatchKind::Merge, body),
            options: options(manager),
        };
        let body = self.change(&operation, &request, None)?.body;
        let key = Key::cluster(Kind::Node, node.as_str());
        let State { world, known, .. } = &mut *self.shared.lock();
        // The answer is what is there now, which whoever follows the nodes was told of already.
        let node = match world.store.get(&key).filter(|object| ***object == body) {
            Some(object) => known.node(&key, object),
            None => known.answered_node(&body),
        };
        node.ok_or_else(|| {
            let cause = Box::new(malformed(&operation));
            ActError::Unclear { operation, cause }
        })
    }

    fn change(&self, operation: &str, request: &Request, namespace: Option<&Namespace>) -> Result<Response, ActError> {
        let response = self.apply(request);
        if (200..300).contains(&response.code) {
            return Ok(response);
        }
        let after = response.retry_after.map(|seconds| Duration::from_secs(u64::from(seconds)));
        Err(wire::act_error(response.code, &response.body, after, operation, namespace))
    }

    /// Makes an object; `Ok(false)` where it exists.
    fn ensure(&self, body: Value) -> Result<bool, ActError> {
        let operation = format!("create {} {}", body.text("/kind"), body.name());
        let Some(kind) = Kind::of_object(body.text("/apiVersion"), body.text("/kind")) else { return Ok(false) };
        let namespace = Some(body.namespace().to_owned()).filter(|namespace| !namespace.is_empty());
        let key = Key::new(kind, namespace.as_deref().unwrap_or_default(), body.name());
        if self.object(&key).is_some() {
            return Ok(false);
        }
        let request = Request {
            kind,
            namespace,
            name: None,
            subresource: None,
            verb: Verb::Create(body),
            options: options(FIELD_MANAGER),
        };
        self.change(&operation, &request, None).map(|_| true)
    }

    fn post_reboot_pod(&self, operation: &str, pod: &RebootPod, dry_run: bool) -> Result<(), ActError> {
        let request = Request {
            kind: Kind::Pod,
            namespace: Some(MANAGED_NAMESPACE.to_owned()),
            name: None,
            subresource: None,
            verb: Verb::Create(wire::reboot_pod(pod).into()),
            options: Options { dry_run, ..options(FIELD_MANAGER) },
        };
        self.change(operation, &request, None).map(|_| ())
    }

    fn batch<T: Send + 'static>(
        &self,
        take: impl FnOnce(&mut State) -> Vec<Option<T>>,
    ) -> BoxStream<'static, Result<(Vec<T>, u32), ReadError>> {
        let mut state = self.shared.lock();
        state.advance();
        let read = take(&mut state);
        let all = read.len();
        let good: Vec<T> = read.into_iter().flatten().collect();
        let bad = u32::try_from(all - good.len()).unwrap_or(u32::MAX);
        futures::stream::iter([Ok((good, bad))]).boxed()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic of a witness must fail its own test, and not hide behind a poisoned lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the cluster live for as long as somebody has it.
async fn live(shared: Weak<Shared>, mut changed: watch::Receiver<u64>) {
    loop {
        let next = {
            let Some(shared) = shared.upgrade() else { return };
            let mut state = shared.lock();
            let now = state.advance();
            changed.mark_unchanged();
            state.world.next().map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default())
        };
        let pause = async {
            match next {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            changed = changed.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = pause => {}
        }
    }
}

impl State {
    /// What the webhook says to a request, where it denies it.
    fn denial(&self, request: &Request) -> Option<Response> {
        let (Some(Subresource::Eviction), Some(name)) = (request.subresource, &request.name) else { return None };
        let key = Key::new(request.kind, request.namespace.as_deref().unwrap_or_default(), name);
        self.denied.contains(&key).then(|| {
            Failure {
                code: 403,
                reason: Some("Forbidden"),
                message: "admission webhook \"evictions.rehearsal\" denied the request: it is asked to".to_owned(),
                details: None,
                retry_after: None,
            }
            .into()
        })
    }

    /// Lives until now, moment by moment, so that everybody is told of each change at its time.
    fn advance(&mut self) -> Timestamp {
        let now = clock::elsewhere().max(self.world.now());
        while let Some(next) = self.world.next().filter(|next| *next <= now) {
            self.world.run_due(next);
            self.tell("");
        }
        self.world.run_due(now);
        now
    }

    /// Tells of what is new.
    fn tell(&mut self, by: &str) {
        let changes = self.world.store.take();
        self.told = self.world.version();
        for change in &changes {
            if let Some(witness) = &mut self.witness {
                witness(&self.world, Seen { at: self.world.now(), by, change });
            }
            match change.key.kind {
                Kind::Node => self.tell_node(change),
                Kind::Pod => self.tell_pod(change),
                Kind::PodDisruptionBudget => self.tell_budget(change),
                _ => {}
            }
            if change.gone {
                self.known.forget(&change.key);
            }
        }
    }

    fn tell_node(&mut self, change: &Change) {
        if self.nodes.is_empty() {
            return;
        }
        let Some(node) = self.known.node(&change.key, &change.after) else { return };
        send(&mut self.nodes, if change.gone { Followed::Gone(node.name) } else { Followed::Is(node) });
    }

    fn tell_budget(&mut self, change: &Change) {
        if self.budgets.is_empty() {
            return;
        }
        let Some(budget) = self.known.budget(&change.after) else { return };
        send(&mut self.budgets, if change.gone { Followed::Gone(budget.key) } else { Followed::Is(budget) });
    }

    fn tell_pod(&mut self, change: &Change) {
        let on = change.after.text("/spec/nodeName");
        if self.pods.is_empty() && !self.pods_on.contains_key(on) {
            return;
        }
        let Some(pod) = self.known.pod(&change.key, &change.after) else { return };
        let told = if change.gone { Followed::Gone(pod.key) } else { Followed::Is(pod) };
        if let Some(followers) = self.pods_on.get_mut(on) {
            send(followers, told.clone());
            if followers.is_empty() {
                self.pods_on.remove(on);
            }
        }
        send(&mut self.pods, told);
    }

    fn all_nodes(&mut self) -> Vec<Option<Node>> {
        let Self { world, known, .. } = self;
        world.store.entries(Kind::Node).map(|(key, object)| known.node(key, object)).collect()
    }

    fn all_pods(&mut self, scope: &PodScope) -> Vec<Option<Pod>> {
        let Self { world, known, .. } = self;
        match scope {
            PodScope::Cluster => world.store.entries(Kind::Pod).map(|(key, object)| known.pod(key, object)).collect(),
            PodScope::Node(node) => world.pods_on(node.as_str()).map(|(key, object)| known.pod(key, object)).collect(),
        }
    }

    fn all_budgets(&self) -> Vec<Option<Budget>> {
        self.world.objects(Kind::PodDisruptionBudget).map(|object| self.known.budget(object)).collect()
    }
}

/// Tells everybody who still listens.
fn send<T: Clone, K: Clone>(followers: &mut Vec<Told<T, K>>, told: Followed<T, K>) {
    followers.retain(|follower| follower.send(Ok(told.clone())).is_ok());
}

/// Begins with everything.
fn begin<T: Send + 'static, K: Send + 'static>(all: Vec<Option<T>>) -> (Told<T, K>, Stream<T, K>) {
    let (sender, mut inbox) = mpsc::unbounded_channel();
    // The receiver is right here.
    let _ = sender.send(Ok(Followed::All(all.into_iter().flatten().collect())));
    (sender, futures::stream::poll_fn(move |context| inbox.poll_recv(context)).boxed())
}

fn options(manager: &str) -> Options {
    Options { dry_run: false, manager: manager.to_owned(), validation: Validation::Strict }
}

fn malformed(operation: &str) -> ReadError {
    ReadError {
        operation: operation.to_owned(),
        kind: ReadErrorKind::Malformed,
        message: Foreign::new("the object cannot be understood"),
        status: None,
        retry_after: None,
    }
}

fn pod_key(key: &PodKey) -> Key {
    Key::new(Kind::Pod, key.namespace.as_str(), key.name.as_str())
}

#[async_trait]
impl ClusterReads for Port {
    fn via(&self) -> Foreign {
        Foreign::new("rehearsal")
    }

    fn is_sandbox(&self) -> bool {
        true
    }

    async fn version(&self) -> Result<Foreign, ReadError> {
        Ok(Foreign::new(GIT_VERSION.trim_start_matches('v')))
    }

    async fn identity(&self) -> Result<Uid, ReadError> {
        let namespace = self.object(&Key::cluster(Kind::Namespace, "kube-system"));
        namespace.and_then(|object| wire::uid(&*object)).ok_or_else(|| malformed("read namespace kube-system"))
    }

    fn nodes(&self) -> BoxStream<'_, Result<(Vec<Node>, u32), ReadError>> {
        self.batch(State::all_nodes)
    }

    fn pods(&self, scope: PodScope) -> BoxStream<'_, Result<(Vec<Pod>, u32), ReadError>> {
        self.batch(|state| state.all_pods(&scope))
    }

    fn budgets(&self) -> BoxStream<'_, Result<(Vec<Budget>, u32), ReadError>> {
        self.batch(|state| state.all_budgets())
    }

    fn daemon_sets(&self) -> BoxStream<'_, Result<(Vec<DaemonSet>, u32), ReadError>> {
        self.batch(|state| state.world.objects(Kind::DaemonSet).map(|object| state.known.daemon_set(object)).collect())
    }

    async fn node(&self, name: &NodeName) -> Result<Option<Node>, ReadError> {
        let key = Key::cluster(Kind::Node, name.as_str());
        Ok(self.read(&key, |known, object| known.node(&key, object)).flatten())
    }

    async fn pod(&self, key: &PodKey) -> Result<Option<Pod>, ReadError> {
        let key = pod_key(key);
        Ok(self.read(&key, |known, object| known.pod(&key, object)).flatten())
    }

    async fn budget(&self, key: &BudgetKey) -> Result<Option<Budget>, ReadError> {
        let key = Key::new(Kind::PodDisruptionBudget, key.namespace.as_str(), key.name.as_str());
        Ok(self.read(&key, |known, object| known.budget(object)).flatten())
    }

    async fn node_lease(&self, name: &NodeName) -> Result<Option<NodeLease>, ReadError> {
        let key = Key::new(Kind::Lease, "kube-node-lease", name.as_str());
        self.reach(|world| world.renew_lease(name.as_str()));
        Ok(self.object(&key).and_then(|object| wire::node_lease(&*object)))
    }

    async fn volumes(&self, name: &NodeName) -> Result<Volumes, ReadError> {
        let attached = self.look(|world| {
            world.objects(Kind::VolumeAttachment).filter_map(|object| wire::volume_on(&**object, name)).collect()
        });
        Ok(Volumes { attached })
    }

    async fn csi_drivers(&self, name: &NodeName) -> Result<BTreeSet<Foreign>, ReadError> {
        let object = self.object(&Key::cluster(Kind::CSINode, name.as_str()));
        Ok(object.map(|object| wire::csi_drivers(&*object)).unwrap_or_default())
    }

    async fn pending_serving_requests(&self, name: &NodeName) -> Result<u32, ReadError> {
        let pending = self.look(|world| {
            let requests = world.objects(Kind::CertificateSigningRequest);
            requests.filter(|object| wire::is_pending_serving(&***object, name)).count()
        });
        Ok(u32::try_from(pending).unwrap_or(u32::MAX))
    }

    async fn reboot_pod(&self, node: &NodeName, run: &RunId) -> Result<RebootPodState, ReadError> {
        let key = Key::new(Kind::Pod, MANAGED_NAMESPACE, &reboot_pod_name(node, run));
        Ok(self.read(&key, |known, object| known.reboot_pod(&key, object)).unwrap_or(RebootPodState::Absent))
    }

    async fn ready(&self) -> Result<bool, ReadError> {
        Ok(true)
    }

    fn follow_nodes(&self) -> BoxStream<'static, Result<Followed<Node, NodeName>, ReadError>> {
        let mut state = self.shared.lock();
        state.advance();
        let (sender, stream) = begin(state.all_nodes());
        state.nodes.push(sender);
        stream
    }

    fn follow_pods(&self, scope: PodScope) -> BoxStream<'static, Result<Followed<Pod, PodKey>, ReadError>> {
        let mut state = self.shared.lock();
        state.advance();
        let (sender, stream) = begin(state.all_pods(&scope));
        match scope {
            PodScope::Cluster => state.pods.push(sender),
            PodScope::Node(node) => state.pods_on.entry(node.to_string()).or_default().push(sender),
        }
        stream
    }

    fn follow_budgets(&self) -> BoxStream<'static, Result<Followed<Budget, BudgetKey>, ReadError>> {
        let mut state = self.shared.lock();
        state.advance();
        let (sender, stream) = begin(state.all_budgets());
        state.budgets.push(sender);
        stream
    }
}

#[async_trait]
impl ClusterActs for Port {
    async fn cordon(&self, _permit: Permit, node: &Node, write: &CordonWrite) -> Result<Node, ActError> {
        self.patch(format!("cordon node {}", node.name), &node.name, FIELD_MANAGER, wire::cordon(node, write).into())
    }

    async fn write_phase(&self, _permit: Permit, node: &Node, phase: Phase) -> Result<Node, ActError> {
        let operation = format!("mark node {} as {phase}", node.name);
        self.patch(operation, &node.name, FIELD_MANAGER, wire::phase(node, phase).into())
    }

    async fn settle_cordon(&self, _permit: Permit, node: &Node) -> Result<Node, ActError> {
        self.patch(
            format!("settle the cordon of node {}", node.name),
            &node.name,
            FIELD_MANAGER,
            wire::settle(node).into(),
        )
    }

    async fn uncordon(&self, _permit: Permit, node: &Node, write: &UncordonWrite) -> Result<Node, ActError> {
        self.patch(
            format!("uncordon node {}", node.name),
            &node.name,
            FIELD_MANAGER,
            wire::uncordon(node, write).into(),
        )
    }

    async fn evict(&self, _permit: Permit, pod: &Pod, grace: Grace) -> Result<Eviction, ActError> {
        let request = Request {
            kind: Kind::Pod,
            namespace: Some(pod.key.namespace.to_string()),
            name: Some(pod.key.name.to_string()),
            subresource: Some(Subresource::Eviction),
            verb: Verb::Create(wire::eviction(pod, grace).into()),
            options: options(FIELD_MANAGER),
        };
        let answer = self.change(&format!("evict pod {}", pod.key), &request, Some(&pod.key.namespace))?;
        Ok(Eviction { warnings: answer.warnings.iter().map(Foreign::new).collect() })
    }

    async fn start_reboot_pod(&self, _permit: Permit, pod: &RebootPod) -> Result<(), ActError> {
        self.post_reboot_pod(&format!("start the reboot pod of node {}", pod.node), pod, false)
    }

    async fn delete_reboot_pod(&self, _permit: Permit, node: &NodeName, run: &RunId) -> Result<(), ActError> {
        let request = Request {
            kind: Kind::Pod,
            namespace: Some(MANAGED_NAMESPACE.to_owned()),
            name: Some(reboot_pod_name(node, run)),
            subresource: None,
            verb: Verb::Delete(json!({})),
            options: options(FIELD_MANAGER),
        };
        self.change(&format!("delete the reboot pod of node {node}"), &request, None).map(|_| ())
    }

    async fn ensure_namespace(&self, _permit: Permit) -> Result<bool, ActError> {
        self.ensure(wire::namespace().into())
    }

    async fn ensure_node_account(&self, _permit: Permit) -> Result<bool, ActError> {
        let mut made = false;
        for object in wire::node_account() {
            made |= self.ensure(object.into())?;
        }
        Ok(made)
    }
}

#[async_trait]
impl LockActs for Port {
    async fn read_lease(&self) -> Result<Option<LeaseRead>, ReadError> {
        let object = self.object(&Key::new(Kind::Lease, MANAGED_NAMESPACE, LEASE_NAME));
        Ok(object.and_then(|object| wire::lease(&*object)))
    }

    async fn create_lease(&self, holder: &RunId, now: Timestamp) -> Result<LeaseRead, ActError> {
        self.write_lock("create the lock", None, Verb::Create(wire::new_lease(holder, now).into()))
    }

    async fn write_lease(
        &self,
        read: &LeaseRead,
        holder: Option<&RunId>,
        now: Timestamp,
    ) -> Result<LeaseRead, ActError> {
        let operation = if holder.is_some() { "renew the lock" } else { "release the lock" };
        let patch = Verb::Patch(PatchKind::Merge, wire::renewed_lease(read, holder, now).into());
        self.write_lock(operation, Some(LEASE_NAME.to_owned()), patch)
    }
}

impl Port {
    fn write_lock(&self, operation: &str, name: Option<String>, verb: Verb) -> Result<LeaseRead, ActError> {
        let request = Request {
            kind: Kind::Lease,
            namespace: Some(MANAGED_NAMESPACE.to_owned()),
            name,
            subresource: None,
            verb,
            options: options(FIELD_MANAGER),
        };
        let answer = self.change(operation, &request, None)?;
        wire::lease(&answer.body)
            .ok_or_else(|| ActError::Unclear { operation: operation.to_owned(), cause: Box::new(malformed(operation)) })
    }
}

#[async_trait]
impl NodeReports for Port {
    async fn write_report(&self, node: &NodeName, report: &ReportWrite) -> Result<(), ActError> {
        // The agent's own name, so that its reports never move the time of a cordon.
        let manager = "haulout-node";
        self.patch(format!("write the report of node {node}"), node, manager, wire::report(report).into()).map(|_| ())
    }
}

#[async_trait]
impl Probes for Port {
    async fn admit_reboot_pod(&self, pod: &RebootPod) -> Result<(), ActError> {
        self.post_reboot_pod(&format!("prove that the reboot pod of node {} is admitted", pod.node), pod, true)
    }
}
