//! What the executor sees of a cluster while it runs: its nodes and budgets, kept by watches.
//!
//! A view wakes whoever waits on it, and is never the last word: every write is guarded by a fresh read, and a view
//! that has heard nothing for [`REREAD`] is read again, because a watch can die without a sound.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::Notify;

use crate::model::{Budget, BudgetKey, Budgets, Foreign, Node, NodeName};
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

#[derive(Default)]
struct State {
    nodes: BTreeMap<NodeName, Node>,
    budgets: Budgets,
    spent: BTreeMap<BudgetKey, Spent>,
    /// The nodes that this run holds out: they count as out even while a watch has not said so yet.
    ours: BTreeSet<NodeName>,
    trouble: Option<Foreign>,
}

/// The view of one cluster.
pub(super) struct Live {
    state: Mutex<State>,
    changed: Arc<Changed>,
}

/// Counts the changes of a view, and wakes who waits for one: first who waited first. A channel of tokio would wake them
/// in any order, and a run in simulated time would not be the same again.
#[derive(Default)]
struct Changed {
    count: AtomicU64,
    waiting: Notify,
}

/// Waits for changes of a view.
pub(super) struct Changes {
    of: Arc<Changed>,
    seen: u64,
}

impl Changes {
    /// All changes so far are known.
    pub(super) fn mark_unchanged(&mut self) {
        self.seen = self.of.count.load(Ordering::SeqCst);
    }

    async fn changed(&mut self) {
        loop {
            let mut woken = std::pin::pin!(self.of.waiting.notified());
            // From here on no change is missed, so that it is safe to look.
            woken.as_mut().enable();
            let count = self.of.count.load(Ordering::SeqCst);
            if count != self.seen {
                self.seen = count;
                return;
            }
            woken.await;
        }
    }
}

impl Live {
    /// Starts following nodes and budgets; returns once both are known, or with the first error.
    pub(super) async fn start(reads: Arc<dyn ClusterReads>, with_nodes: bool) -> Result<Arc<Self>, ReadError> {
        let live = Arc::new(Self { state: Mutex::default(), changed: Arc::default() });
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

    fn wake(&self) {
        self.changed.count.fetch_add(1, Ordering::SeqCst);
        self.changed.waiting.notify_waiters();
    }

    fn take_nodes(&self, news: Followed<Node, NodeName>) {
        {
            let mut state = self.lock();
            state.trouble = None;
            match news {
                Followed::All(nodes) => state.nodes = nodes.into_iter().map(|node| (node.name.clone(), node)).collect(),
                Followed::Is(node) => {
                    if !state.nodes.get(&node.name).is_some_and(|known| is_newer(known, &node)) {
                        state.nodes.insert(node.name.clone(), node);
                    }
                }
                Followed::Gone(name) => {
                    state.nodes.remove(&name);
                }
            }
        }
        self.wake();
    }

    fn take_budgets(&self, news: Followed<Budget, BudgetKey>) {
        {
            let mut state = self.lock();
            state.trouble = None;
            match news {
                Followed::All(budgets) => {
                    state.budgets = Budgets::new(budgets);
                    for spent in state.spent.values_mut() {
                        spent.accepted = 0;
                    }
                }
                Followed::Is(budget) => {
                    if let Some(spent) = state.spent.get_mut(&budget.key) {
                        spent.accepted = 0;
                    }
                    state.budgets.insert(budget);
                }
                Followed::Gone(key) => state.budgets.remove(&key),
            }
        }
        self.wake();
    }

    fn trouble(&self, message: Option<Foreign>) {
        self.lock().trouble = message;
        self.wake();
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
        {
            let mut state = self.lock();
            let known = state.nodes.get(&node.name);
            let same = |known: &Node| known.uid == node.uid && known.resource_version == node.resource_version;
            if known.is_some_and(|known| same(known) || is_newer(known, &node)) {
                return;
            }
            state.nodes.insert(node.name.clone(), node);
        }
        self.wake();
    }

    /// What is woken by every change from now on.
    pub(super) fn watch(&self) -> Changes {
        let mut changes = Changes { of: Arc::clone(&self.changed), seen: 0 };
        changes.mark_unchanged();
        changes
    }

    /// What the watches complain of, while they do.
    pub(super) fn complaint(&self) -> Option<Foreign> {
        self.lock().trouble.clone()
    }

    /// One node as the watch last saw it.
    pub(super) fn node(&self, name: &NodeName) -> Option<Node> {
        self.lock().nodes.get(name).cloned()
    }

    /// The budgets that cover a pod.
    pub(super) fn budgets_over(&self, pod: &crate::model::Pod) -> Vec<Budget> {
        self.lock().budgets.covering(pod).cloned().collect()
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
        }
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
    pub(super) fn out(&self, but: &NodeName, counts: impl Fn(&Node) -> bool) -> u32 {
        let state = self.lock();
        let out = state
            .nodes
            .values()
            .filter(|node| node.name != *but && (node.is_out() || state.ours.contains(&node.name)) && counts(node))
            .count();
        u32::try_from(out).unwrap_or(u32::MAX)
    }

    /// Notes that this run takes a node out, or no longer does.
    pub(super) fn hold(&self, node: &NodeName, out: bool) {
        let mut state = self.lock();
        if out {
            state.ours.insert(node.clone());
        } else {
            state.ours.remove(node);
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

/// Sleeps until `deadline` or until something changes, whichever is first; `true` if something changed.
pub(super) async fn changed_before(changes: &mut Changes, deadline: tokio::time::Instant) -> bool {
    tokio::time::timeout_at(deadline, changes.changed()).await.is_ok()
}

/// `deadline`, or [`REREAD`] from now, whichever is sooner.
pub(super) fn reread_before(deadline: tokio::time::Instant) -> tokio::time::Instant {
    deadline.min(clock::monotonic() + REREAD)
}
