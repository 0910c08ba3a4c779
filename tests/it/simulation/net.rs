//! What lies between a run and its cluster: delays, lost requests and answers, refusals, watches that drop or fall
//! silent, a server that is away; and the ways in which a run can be made to break its rules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use haulout::model::*;
use haulout::provider::*;
use haulout::twin::{Kind, Port, Verb, World};
use jiff::Timestamp;
use serde_json::json;

use super::broken::Broken;
use super::chance::Chance;
use super::law::SharedLaw;
use super::scene::{cordon, request};
use super::shown::HOSTILE;
use super::weather::Weather;

#[derive(Clone)]
pub(super) struct Net {
    pub(super) port: Port,
    run: String,
    law: SharedLaw,
    weather: Weather,
    chance: Arc<Mutex<Chance>>,
    broken: Option<Broken>,
    /// Lists come in any order.
    shuffles: bool,
    /// What was read of nodes before, which a server that lags behind may say again.
    known: Arc<Mutex<BTreeMap<NodeName, VecDeque<Node>>>>,
    /// The run was killed: nothing that it still awaits ever comes.
    dead: Arc<AtomicBool>,
}

enum Fate {
    Fine,
    Refused(Refusal),
    /// The request never arrives, or arrives after the client has given up on it.
    Lost(Option<Duration>),
    /// It is done, and the answer never arrives.
    Silence,
}

fn failed(operation: &str, kind: ReadErrorKind) -> ReadError {
    let status = match kind {
        ReadErrorKind::Forbidden => Some(403),
        ReadErrorKind::NotFound => Some(404),
        ReadErrorKind::Throttled => Some(429),
        ReadErrorKind::Expired => Some(410),
        ReadErrorKind::Server => Some(504),
        ReadErrorKind::Unreachable | ReadErrorKind::Malformed => None,
    };
    ReadError { operation: operation.to_owned(), kind, message: Foreign::new(HOSTILE), status, retry_after: None }
}

impl Net {
    pub(super) fn new(
        port: Port,
        run: &str,
        law: SharedLaw,
        weather: Weather,
        chance: Chance,
        broken: Option<Broken>,
    ) -> Self {
        Self {
            port,
            run: run.to_owned(),
            law,
            weather,
            chance: Arc::new(Mutex::new(chance)),
            broken,
            shuffles: false,
            known: Arc::default(),
            dead: Arc::default(),
        }
    }

    pub(super) fn broken(&self) -> Option<Broken> {
        self.broken
    }

    /// The same cluster over a good net, its lists in any order.
    pub(super) fn shuffled(&self) -> Self {
        Self { weather: Weather::default(), broken: None, shuffles: true, ..self.clone() }
    }

    /// Brings what was read into another order.
    pub(super) fn shuffle<T>(&self, all: &mut [T]) {
        for index in (1..all.len()).rev() {
            all.swap(index, usize::try_from(self.some(0, index as u64)).unwrap());
        }
    }

    /// A list that is one page, in any order where that is asked for.
    fn page<'a, T: Send + 'a>(
        &self,
        pages: BoxStream<'a, Result<(Vec<T>, u32), ReadError>>,
    ) -> BoxStream<'a, Result<(Vec<T>, u32), ReadError>> {
        if !self.shuffles {
            return pages;
        }
        let net = self.clone();
        let shuffled = pages.map(move |page| {
            page.map(|(mut all, bad)| {
                net.shuffle(&mut all);
                (all, bad)
            })
        });
        shuffled.boxed()
    }

    /// What a server says that fails.
    fn failure(&self, operation: &str) -> ReadError {
        use ReadErrorKind::{Expired, Server, Throttled, Unreachable};
        let kind = if self.is_away() { Unreachable } else { [Unreachable, Server, Expired, Throttled][self.one_of(4)] };
        failed(operation, kind)
    }

    fn unclear(&self, operation: &str) -> ActError {
        use ReadErrorKind::{Server, Unreachable};
        let kind = if self.is_away() { Unreachable } else { [Unreachable, Server][self.one_of(2)] };
        ActError::Unclear { operation: operation.to_owned(), cause: Box::new(failed(operation, kind)) }
    }

    fn one_of(&self, count: u64) -> usize {
        usize::try_from(self.some(0, count - 1)).unwrap()
    }

    /// Nothing that was asked is answered from here on.
    pub(super) fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    fn is_away(&self) -> bool {
        let now = clock::elsewhere();
        self.weather.away.is_some_and(|(from, to)| from <= now && now < to)
    }

    fn roll(&self, rate: u64) -> bool {
        rate > 0 && self.chance.lock().unwrap().per_mille(rate)
    }

    fn some(&self, low: u64, high: u64) -> u64 {
        self.chance.lock().unwrap().from(low, high)
    }

    async fn travel(&self) {
        if self.weather.slow > 0 {
            let slow = if self.roll(20) { self.weather.slow * 20 } else { self.weather.slow };
            let millis = self.some(0, slow);
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        if self.dead.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    fn fate(&self) -> Fate {
        if self.is_away() {
            return Fate::Lost(None);
        }
        if self.roll(self.weather.lost) {
            return match self.some(0, 2) {
                0 => Fate::Lost(None),
                1 => Fate::Lost(Some(Duration::from_millis(self.some(1, 3000)))),
                _ => Fate::Silence,
            };
        }
        if self.roll(self.weather.refused) {
            let message = Foreign::new(HOSTILE);
            return Fate::Refused(match self.some(0, 3) {
                0 => Refusal::Conflict { message },
                1 => Refusal::Throttled { retry_after: Some(Duration::from_secs(self.some(0, 3))) },
                2 => Refusal::Throttled { retry_after: None },
                _ => Refusal::TryAgain { message, retry_after: None },
            });
        }
        Fate::Fine
    }

    async fn act<T: Send + 'static>(
        &self,
        operation: &str,
        locked: bool,
        call: BoxFuture<'static, Result<T, ActError>>,
    ) -> Result<T, ActError> {
        self.travel().await;
        let fate = self.fate();
        let punctual = !matches!(fate, Fate::Lost(Some(_)));
        let net = self.clone();
        let what = operation.to_owned();
        let own = locked.then(|| {
            let net = self.clone();
            move || net.port.look(|world| net.law.lock().unwrap().owns_lock(world, &net.run))
        });
        let call = async move {
            let Some(own) = own else { return call.await };
            let owner = own();
            let before = net.port.look(World::version);
            let answer = call.await;
            // A request that comes late may come after the run's end, as long as it changes nothing there.
            let changed = net.port.look(World::version) != before;
            if let (Err(holder), true) = (owner, punctual || changed) {
                net.port.look(|world| net.law.lock().unwrap().acted_without(world, &net.run, &what, &holder));
            }
            answer
        };
        match fate {
            Fate::Fine => {
                let answer = call.await;
                self.travel().await;
                answer
            }
            Fate::Refused(refusal) => Err(ActError::Refused { operation: operation.to_owned(), refusal }),
            Fate::Lost(late) => {
                if let Some(late) = late {
                    tokio::spawn(async move {
                        tokio::time::sleep(late).await;
                        let _ = call.await;
                    });
                }
                let patience = self.some(1000, 10_000);
                tokio::time::sleep(Duration::from_millis(patience)).await;
                Err(self.unclear(operation))
            }
            Fate::Silence => {
                let _ = call.await;
                let patience = self.some(100, 10_000);
                tokio::time::sleep(Duration::from_millis(patience)).await;
                Err(self.unclear(operation))
            }
        }
    }

    async fn read<T>(
        &self,
        operation: &str,
        call: impl Future<Output = Result<T, ReadError>> + Send,
    ) -> Result<T, ReadError> {
        self.travel().await;
        if self.is_away() || self.roll(self.weather.reads_fail) {
            let patience = self.some(10, 5000);
            tokio::time::sleep(Duration::from_millis(patience)).await;
            return Err(self.failure(operation));
        }
        let read = call.await;
        self.travel().await;
        read
    }

    /// A watch that may drop, with an error or without a word, and begins anew then: with how it is, or with how it was
    /// where the server lags behind.
    fn watch<T: Clone + Send + 'static>(
        &self,
        make: impl Fn(&Port) -> BoxStream<'static, Result<T, ReadError>> + Send + Sync + 'static,
    ) -> BoxStream<'static, Result<T, ReadError>> {
        let inner = make(&self.port);
        let state = (self.clone(), make, inner, None::<T>, None::<T>);
        futures::stream::unfold(state, |(net, make, mut inner, mut first, again)| async move {
            if let Some(again) = again {
                return Some((Ok(again), (net, make, inner, first, None)));
            }
            let next = inner.next().await?;
            net.travel().await;
            while net.is_away() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            if net.roll(net.weather.watches_drop) {
                if net.roll(300) {
                    let silence = net.some(1000, 60_000);
                    tokio::time::sleep(Duration::from_millis(silence)).await;
                }
                let inner = make(&net.port);
                let again = first.clone().filter(|_| net.roll(net.weather.stale * 10));
                let failure = net.failure("watch");
                return Some((Err(failure), (net, make, inner, first, again)));
            }
            if let (None, Ok(told)) = (&first, &next) {
                first = Some(told.clone());
            }
            Some((next, (net, make, inner, first, None)))
        })
        .boxed()
    }

    pub(super) fn reboot_again(&self, node: &NodeName) {
        let body = json!({ "metadata": { "annotations": { "haulout.dev/phase": "reboot" } } });
        let patch = Verb::Patch(haulout::twin::PatchKind::Merge, body.into());
        self.port.apply(&request(Kind::Node, None, Some(node.as_str()), patch, FIELD_MANAGER));
    }
}

#[async_trait]
impl ClusterReads for Net {
    fn via(&self) -> Foreign {
        self.port.via()
    }

    fn is_sandbox(&self) -> bool {
        true
    }

    async fn version(&self) -> Result<Foreign, ReadError> {
        self.read("version", self.port.version()).await
    }

    async fn identity(&self) -> Result<Uid, ReadError> {
        self.read("identity", self.port.identity()).await
    }

    fn nodes(&self) -> BoxStream<'_, Result<(Vec<Node>, u32), ReadError>> {
        self.page(self.port.nodes())
    }

    fn pods(&self, scope: PodScope) -> BoxStream<'_, Result<(Vec<Pod>, u32), ReadError>> {
        if self.broken == Some(Broken::Drain) {
            return futures::stream::iter([Ok((Vec::new(), 0))]).boxed();
        }
        let net = self.clone();
        async move {
            net.read("list pods", async {
                let mut pages = net.page(net.port.pods(scope));
                pages.next().await.unwrap_or_else(|| Ok((Vec::new(), 0)))
            })
            .await
        }
        .into_stream()
        .boxed()
    }

    fn budgets(&self) -> BoxStream<'_, Result<(Vec<Budget>, u32), ReadError>> {
        self.page(self.port.budgets())
    }

    fn daemon_sets(&self) -> BoxStream<'_, Result<(Vec<DaemonSet>, u32), ReadError>> {
        self.page(self.port.daemon_sets())
    }

    async fn node(&self, name: &NodeName) -> Result<Option<Node>, ReadError> {
        let read = self.read("read node", self.port.node(name)).await;
        let Ok(Some(node)) = &read else { return read };
        let mut known = self.known.lock().unwrap();
        let known = known.entry(name.clone()).or_default();
        known.push_back(node.clone());
        if known.len() > 4 {
            known.pop_front();
        }
        if self.roll(self.weather.stale) {
            // A server that lags behind says what it said before.
            return Ok(known.front().cloned());
        }
        read
    }

    async fn pod(&self, key: &PodKey) -> Result<Option<Pod>, ReadError> {
        self.read("read pod", self.port.pod(key)).await
    }

    async fn budget(&self, key: &BudgetKey) -> Result<Option<Budget>, ReadError> {
        self.read("read budget", self.port.budget(key)).await
    }

    async fn node_lease(&self, name: &NodeName) -> Result<Option<NodeLease>, ReadError> {
        self.read("read lease", self.port.node_lease(name)).await
    }

    async fn volumes(&self, name: &NodeName) -> Result<Volumes, ReadError> {
        self.read("read volumes", self.port.volumes(name)).await
    }

    async fn csi_drivers(&self, name: &NodeName) -> Result<BTreeSet<Foreign>, ReadError> {
        self.read("read drivers", self.port.csi_drivers(name)).await
    }

    async fn pending_serving_requests(&self, name: &NodeName) -> Result<u32, ReadError> {
        self.read("read requests", self.port.pending_serving_requests(name)).await
    }

    async fn reboot_pod(&self, node: &NodeName, run: &RunId) -> Result<RebootPodState, ReadError> {
        self.read("read reboot pod", self.port.reboot_pod(node, run)).await
    }

    async fn ready(&self) -> Result<bool, ReadError> {
        self.read("ready", self.port.ready()).await
    }

    fn follow_nodes(&self) -> BoxStream<'static, Result<Followed<Node, NodeName>, ReadError>> {
        self.watch(|port| port.follow_nodes())
    }

    fn follow_pods(&self, scope: PodScope) -> BoxStream<'static, Result<Followed<Pod, PodKey>, ReadError>> {
        if self.broken == Some(Broken::Drain) {
            // All but the reboot pod, without which nothing begins.
            let own = |pod: &Pod| pod.shape.ours;
            return self.watch(move |port| {
                let told = port.follow_pods(scope.clone()).filter_map(move |told| async move {
                    Some(match told {
                        Ok(Followed::All(all)) => Ok(Followed::All(all.into_iter().filter(own).collect())),
                        Ok(Followed::Is(pod)) if !own(&pod) => return None,
                        told => told,
                    })
                });
                told.boxed()
            });
        }
        self.watch(move |port| port.follow_pods(scope.clone()))
    }

    fn follow_budgets(&self) -> BoxStream<'static, Result<Followed<Budget, BudgetKey>, ReadError>> {
        self.watch(|port| port.follow_budgets())
    }
}

/// What a request takes along, which may outlive whoever sent it.
macro_rules! owned {
    ($net:ident => $port:ident $(, $name:ident)*) => {
        let $port = $net.port.clone();
        $(let $name = $name.clone();)*
    };
}

#[async_trait]
impl ClusterActs for Net {
    async fn cordon(&self, permit: Permit, node: &Node, write: &CordonWrite) -> Result<Node, ActError> {
        if self.broken == Some(Broken::Patience) {
            std::future::pending::<()>().await;
        }
        owned!(self => port, node, write);
        self.act("cordon", true, async move { port.cordon(permit, &node, &write).await }.boxed()).await
    }

    async fn write_phase(&self, permit: Permit, node: &Node, phase: Phase) -> Result<Node, ActError> {
        owned!(self => port, node);
        let written =
            self.act("write phase", true, async move { port.write_phase(permit, &node, phase).await }.boxed()).await;
        if let (Some(Broken::Twice), Phase::Returned, Ok(node)) = (self.broken, phase, &written) {
            self.reboot_again(&node.name);
        }
        written
    }

    async fn settle_cordon(&self, permit: Permit, node: &Node) -> Result<Node, ActError> {
        owned!(self => port, node);
        self.act("settle", true, async move { port.settle_cordon(permit, &node).await }.boxed()).await
    }

    async fn uncordon(&self, permit: Permit, node: &Node, write: &UncordonWrite) -> Result<Node, ActError> {
        match self.broken {
            Some(Broken::Named) => return Ok(Node { cordon: None, mark: None, ..node.clone() }),
            Some(Broken::Foreign) => {
                let foreign = self.port.look(|world| {
                    let cordoned = world.objects(Kind::Node).filter(|node| node["spec"]["unschedulable"] == true);
                    let names = cordoned.map(|node| node["metadata"]["name"].as_str().unwrap().to_owned());
                    names.collect::<Vec<_>>()
                });
                for name in foreign.iter().filter(|name| *name != node.name.as_str()) {
                    self.port.apply(&cordon(name, false, FIELD_MANAGER));
                }
            }
            _ => {}
        }
        owned!(self => port, node, write);
        self.act("uncordon", true, async move { port.uncordon(permit, &node, &write).await }.boxed()).await
    }

    async fn evict(&self, permit: Permit, pod: &Pod, grace: Grace) -> Result<Eviction, ActError> {
        owned!(self => port, pod);
        let broken = self.broken == Some(Broken::Budgets);
        let call = async move {
            if broken {
                let (namespace, name) = (Some(pod.key.namespace.as_str()), Some(pod.key.name.as_str()));
                port.apply(&request(Kind::Pod, namespace, name, Verb::Delete(json!({}).into()), FIELD_MANAGER));
                return Ok(Eviction { warnings: Vec::new() });
            }
            let mut warned = port.evict(permit, &pod, grace).await?;
            warned.warnings.push(Foreign::new(HOSTILE));
            Ok(warned)
        };
        if self.roll(self.weather.denied) {
            self.travel().await;
            let refusal = Refusal::Webhook { message: Foreign::new(HOSTILE), failed: self.roll(500) };
            return Err(ActError::Refused { operation: "evict".to_owned(), refusal });
        }
        self.act("evict", true, call.boxed()).await
    }

    async fn start_reboot_pod(&self, permit: Permit, pod: &RebootPod) -> Result<(), ActError> {
        owned!(self => port, pod);
        self.act("start reboot pod", true, async move { port.start_reboot_pod(permit, &pod).await }.boxed()).await
    }

    async fn delete_reboot_pod(&self, permit: Permit, node: &NodeName, run: &RunId) -> Result<(), ActError> {
        owned!(self => port, node, run);
        self.act("delete reboot pod", true, async move { port.delete_reboot_pod(permit, &node, &run).await }.boxed())
            .await
    }

    async fn ensure_namespace(&self, permit: Permit) -> Result<bool, ActError> {
        owned!(self => port);
        self.act("ensure namespace", false, async move { port.ensure_namespace(permit).await }.boxed()).await
    }

    async fn ensure_node_account(&self, permit: Permit) -> Result<bool, ActError> {
        owned!(self => port);
        self.act("ensure account", false, async move { port.ensure_node_account(permit).await }.boxed()).await
    }
}

#[async_trait]
impl Probes for Net {
    async fn admit_reboot_pod(&self, pod: &RebootPod) -> Result<(), ActError> {
        owned!(self => port, pod);
        self.act("dry run", false, async move { port.admit_reboot_pod(&pod).await }.boxed()).await
    }
}

fn belief(run: &RunId, now: Timestamp) -> LeaseRead {
    LeaseRead {
        holder: Some(Foreign::new(run.as_str())),
        renewed_at: Some(now),
        duration: Duration::from_secs(60),
        resource_version: "1".into(),
    }
}

#[async_trait]
impl LockActs for Net {
    async fn read_lease(&self) -> Result<Option<LeaseRead>, ReadError> {
        if self.broken == Some(Broken::Lock) {
            return Ok(None);
        }
        self.read("read the lock", self.port.read_lease()).await
    }

    async fn create_lease(&self, holder: &RunId, now: Timestamp) -> Result<LeaseRead, ActError> {
        if self.broken == Some(Broken::Lock) {
            return Ok(belief(holder, now));
        }
        owned!(self => port, holder);
        self.act("create the lock", false, async move { port.create_lease(&holder, now).await }.boxed()).await
    }

    async fn write_lease(
        &self,
        read: &LeaseRead,
        holder: Option<&RunId>,
        now: Timestamp,
    ) -> Result<LeaseRead, ActError> {
        if self.broken == Some(Broken::Lock) {
            return Ok(LeaseRead { renewed_at: Some(now), ..read.clone() });
        }
        owned!(self => port, read);
        let holder = holder.cloned();
        self.act("write the lock", false, async move { port.write_lease(&read, holder.as_ref(), now).await }.boxed())
            .await
    }
}
