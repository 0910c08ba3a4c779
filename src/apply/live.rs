//! What the executor sees of a cluster while it runs: its nodes and budgets, kept by watches.
//!
//! A view wakes whoever waits for what changed in it, and is never the last word: every write is guarded by a fresh
//! read, and a view that has heard nothing for [`REREAD`] is read again, because a watch can die without a sound.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;

use super::waiting::{Changes, Waiting};
use crate::model::{Budget, BudgetKey, Budgets, Foreign, Node, NodeName, PoolName, ZoneName};
use crate::provider::{ClusterReads, Followed, ReadError, clock};

/// After this long without a word, what a wait depends on is read again (design: a watch may die silently).
pub(super) const REREAD: Duration = Duration::from_secs(30);

/// How often a budget's allowance was used up since the view last heard of it.
#[derive(Debug, Default, Clone, Copy)]
struct Spent {
    /// Evictions sent and not yet answered.
    in_flight: u32,
    /// Evictions accepted since the view's last news of the budget.
    accepted: u32,
    /// When the last of them was. News may overtake an answer, so that what is older than [`AGES`] counts no more: at
    /// worst the server refuses one eviction, which burns nothing.
    at: Option<tokio::time::Instant>,
}

/// The disruption controller has counted an eviction within milliseconds; this is generous.
const AGES: Duration = Duration::from_secs(5);

/// What decides under which limits a node counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) pool: PoolName,
    pub(super) zone: ZoneName,
    pub(super) control_plane: bool,
}

impl Counted {
    fn new(node: &Node) -> Self {
        Self { pool: node.pool.clone(), zone: node.zone.clone(), control_plane: node.control_plane }
    }
}

#[derive(Default)]
struct State {
    nodes: HashMap<NodeName, Node>,
    /// Those of them that are out or held out by this run: whoever waits for a place counts them again and again.
    out: BTreeMap<NodeName, Counted>,
    budgets: Budgets,
    spent: BTreeMap<BudgetKey, Spent>,
    /// The nodes that this run holds out: they count as out even while a watch has not said so yet.
    ours: BTreeSet<NodeName>,
    trouble: Option<Foreign>,
}

impl State {
    /// Puts in what a node is now; `true` where that may give somebody a place.
    fn put(&mut self, node: Node) -> bool {
        let name = node.name.clone();
        let (out, counted) = (node.is_out(), Counted::new(&node));
        let before = self.nodes.insert(name.clone(), node);
        let moved = before.as_ref().map(Counted::new).as_ref() != Some(&counted);
        let turned = before.is_some_and(|before| before.is_out()) != out;
        self.count(&name);
        turned || moved
    }

    fn put_all(&mut self, nodes: Vec<Node>) {
        self.nodes = nodes.into_iter().map(|node| (node.name.clone(), node)).collect();
        let out = self.nodes.values().filter(|node| node.is_out() || self.ours.contains(&node.name));
        self.out = out.map(|node| (node.name.clone(), Counted::new(node))).collect();
    }

    fn take_out(&mut self, name: &NodeName) {
        self.nodes.remove(name);
        self.out.remove(name);
    }

    /// Counts a node among those that are out, or no longer.
    fn count(&mut self, name: &NodeName) {
        match self.nodes.get(name).filter(|node| node.is_out() || self.ours.contains(name)) {
            Some(node) => self.out.insert(name.clone(), Counted::new(node)),
            None => self.out.remove(name),
        };
    }
}

/// The view of one cluster.
pub(super) struct Live {
    state: Mutex<State>,
    waiting: Arc<Waiting>,
}

impl Live {
    /// Starts following nodes and budgets; returns once both are known, or with the first error.
    pub(super) async fn start(reads: Arc<dyn ClusterReads>, with_nodes: bool) -> Result<Arc<Self>, ReadError> {
        let live = Arc::new(Self { state: Mutex::default(), waiting: Arc::default() });
        let mut budgets = reads.follow_budgets();
        first(&mut budgets, |news| live.take_budgets(news)).await?;
        let keeper = Arc::downgrade(&live);
        tokio::spawn(async move {
            while let Some(news) = budgets.next().await {
                let Some(live) = keeper.upgrade() else { return };
                match news {
                    Ok(news) => live.take_budgets(news),
                    Err(error) => live.trouble(Some(error.message)),
                }
            }
        });
        if with_nodes {
            let mut nodes = reads.follow_nodes();
            first(&mut nodes, |news| live.take_nodes(news)).await?;
            let keeper = Arc::downgrade(&live);
            tokio::spawn(async move {
                while let Some(news) = nodes.next().await {
                    let Some(live) = keeper.upgrade() else { return };
                    match news {
                        Ok(news) => live.take_nodes(news),
                        Err(error) => live.trouble(Some(error.message)),
                    }
                }
            });
        }
        Ok(live)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while holding the lock leaves a state that is at worst a little old, which every user tolerates.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_nodes(&self, news: Followed<Node, NodeName>) {
        let mut state = self.lock();
        let complained = state.trouble.take().is_some();
        match news {
            Followed::All(nodes) => {
                state.put_all(nodes);
                drop(state);
                self.waiting.wake_all();
                return;
            }
            Followed::Is(node) => {
                let name = node.name.clone();
                let known = state.nodes.get(&name).is_some_and(|known| is_newer(known, &node));
                let places = !known && state.put(node);
                drop(state);
                self.waiting.wake_node(&name);
                if places {
                    self.waiting.wake_places();
                }
            }
            Followed::Gone(name) => {
                state.take_out(&name);
                drop(state);
                self.waiting.wake_node(&name);
                self.waiting.wake_places();
            }
        }
        if complained {
            self.waiting.wake_all();
        }
    }

    fn take_budgets(&self, news: Followed<Budget, BudgetKey>) {
        let mut state = self.lock();
        let complained = state.trouble.take().is_some();
        // Whom it covers decides who waits for it: where that changes, everybody looks again.
        let (key, same) = match news {
            Followed::All(budgets) => {
                state.budgets = Budgets::new(budgets);
                for spent in state.spent.values_mut() {
                    spent.accepted = 0;
                }
                (None, false)
            }
            Followed::Is(budget) => {
                if let Some(spent) = state.spent.get_mut(&budget.key) {
                    spent.accepted = 0;
                }
                let known = state.budgets.get(&budget.key);
                let same = known.is_some_and(|known| known.selector == budget.selector);
                let key = budget.key.clone();
                state.budgets.insert(budget);
                (Some(key), same)
            }
            Followed::Gone(key) => {
                state.budgets.remove(&key);
                (Some(key), false)
            }
        };
        drop(state);
        match key.filter(|_| same && !complained) {
            Some(key) => self.waiting.wake_budget(&key),
            None => self.waiting.wake_all(),
        }
    }

    fn trouble(&self, message: Option<Foreign>) {
        self.lock().trouble = message;
        self.waiting.wake_all();
    }

    /// Takes in a budget that was read directly.
    pub(super) fn read_budget(&self, key: &BudgetKey, budget: Option<Budget>) {
        self.take_budgets(match budget {
            Some(budget) => Followed::Is(budget),
            None => Followed::Gone(key.clone()),
        });
    }

    /// Takes in a node that was read or written directly. Nobody is woken for what was known already: whoever reads
    /// each time that it is woken would never rest.
    pub(super) fn read_node(&self, node: Node) {
        let name = node.name.clone();
        let mut state = self.lock();
        let known = state.nodes.get(&name);
        let same = |known: &Node| known.uid == node.uid && known.resource_version == node.resource_version;
        if known.is_some_and(|known| same(known) || is_newer(known, &node)) {
            return;
        }
        let places = state.put(node);
        drop(state);
        self.waiting.wake_node(&name);
        if places {
            self.waiting.wake_places();
        }
    }

    /// A wait that is woken by changes of a node, and by whatever concerns everybody.
    pub(super) fn watch(&self, node: &NodeName) -> Changes {
        self.waiting.begin(node, false)
    }

    /// A wait of a node for a place: woken also when any other node goes out or comes back.
    pub(super) fn watch_places(&self, node: &NodeName) -> Changes {
        self.waiting.begin(node, true)
    }

    /// What the watches complain of, while they do.
    pub(super) fn complaint(&self) -> Option<Foreign> {
        self.lock().trouble.clone()
    }

    /// One node as the watch last saw it.
    pub(super) fn node(&self, name: &NodeName) -> Option<Node> {
        self.lock().nodes.get(name).cloned()
    }

    /// What a look at one node finds, as the watch last saw it.
    pub(super) fn look_at<T>(&self, name: &NodeName, look: impl FnOnce(&Node) -> T) -> Option<T> {
        self.lock().nodes.get(name).map(look)
    }

    /// The budgets that cover a pod.
    pub(super) fn budgets_over(&self, pod: &crate::model::Pod) -> Vec<Budget> {
        self.lock().budgets.covering(pod).cloned().collect()
    }

    /// The budgets that cover a pod; the wait is about them from now on.
    pub(super) fn await_budgets_over(&self, pod: &crate::model::Pod, changes: &Changes) -> Vec<Budget> {
        let state = self.lock();
        // Before the view is let go, so that no news of them can come in between.
        state.budgets.covering(pod).inspect(|budget| changes.add_budget(&budget.key)).cloned().collect()
    }

    /// Takes one eviction from a budget's allowance, as far as this run knows it; `false` where none is left.
    pub(super) fn take_allowance(&self, budget: &Budget) -> bool {
        let mut state = self.lock();
        let allowed = state.budgets.get(&budget.key).map_or(0, |current| current.allowed);
        let spent = state.spent.entry(budget.key.clone()).or_default();
        if spent.at.is_none_or(|at| clock::monotonic() > at + AGES) {
            spent.accepted = 0;
        }
        if spent.in_flight + spent.accepted < allowed {
            spent.in_flight += 1;
            true
        } else {
            false
        }
    }

    /// Says how the eviction ended for which an allowance was taken.
    pub(super) fn settle_allowance(&self, budget: &BudgetKey, accepted: bool) {
        let mut state = self.lock();
        let spent = state.spent.entry(budget.clone()).or_default();
        spent.in_flight = spent.in_flight.saturating_sub(1);
        if accepted {
            spent.accepted += 1;
            spent.at = Some(clock::monotonic());
            return;
        }
        drop(state);
        // What was not used is there for another.
        self.waiting.wake_budget(budget);
    }

    /// Marks a budget as used up until its next news: the server refused what the view allowed.
    pub(super) fn exhaust(&self, budget: &BudgetKey) {
        let mut state = self.lock();
        let allowed = state.budgets.get(budget).map_or(0, |current| current.allowed);
        let spent = state.spent.entry(budget.clone()).or_default();
        spent.accepted = allowed;
        spent.at = Some(clock::monotonic());
    }

    /// Counts the nodes that are out, for whatever reason, among those that `counts`, without `but` itself.
    pub(super) fn out(&self, but: &NodeName, counts: impl Fn(&Counted) -> bool) -> u32 {
        let state = self.lock();
        let all = state.out.values().filter(|counted| counts(counted)).count();
        let itself = usize::from(state.out.get(but).is_some_and(counts));
        u32::try_from(all - itself).unwrap_or(u32::MAX)
    }

    /// Notes that this run takes a node out, or no longer does.
    pub(super) fn hold(&self, node: &NodeName, out: bool) {
        let mut state = self.lock();
        if out {
            state.ours.insert(node.clone());
            state.count(node);
        } else if state.ours.remove(node) {
            state.count(node);
            drop(state);
            self.waiting.wake_places();
        }
    }
}

/// Whether a watch that lags behind, or an answer that was overtaken, tells of a node what is known to be past. Versions can be compared where they are
/// numbers, as those of the API server are; of another object of the same name nothing is known.
fn is_newer(known: &Node, told: &Node) -> bool {
    let version = |node: &Node| node.resource_version.parse::<u64>().ok();
    known.uid == told.uid && version(known).zip(version(told)).is_some_and(|(known, told)| known > told)
}

async fn first<T, K>(
    news: &mut futures::stream::BoxStream<'static, Result<Followed<T, K>, ReadError>>,
    mut take: impl FnMut(Followed<T, K>),
) -> Result<(), ReadError> {
    /// How often the first answer is tried before the run gives up: nothing has been done yet, so giving up is safe.
    const TRIES: u32 = 4;
    let mut last = None;
    for _ in 0..TRIES {
        match news.next().await {
            Some(Ok(first)) => {
                take(first);
                return Ok(());
            }
            Some(Err(error)) => last = Some(error),
            None => break,
        }
    }
    Err(last.unwrap_or_else(|| ReadError {
        operation: "follow the cluster".to_owned(),
        kind: crate::provider::ReadErrorKind::Malformed,
        message: Foreign::new("the watch ended before it began"),
        status: None,
        retry_after: None,
    }))
}

/// `deadline`, or [`REREAD`] from now, whichever is sooner.
pub(super) fn reread_before(deadline: tokio::time::Instant) -> tokio::time::Instant {
    deadline.min(clock::monotonic() + REREAD)
}
