//! Who waits for which change. A wait is woken by what it is about and by nothing else: in a large cluster something
//! stirs all the time, and thousands of waits that all look again each time would do nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::{BudgetKey, NodeName};

/// Waits by their number, and so in the order in which they began.
type Waits = BTreeMap<u64, Arc<Notify>>;

/// All waits on one view.
#[derive(Debug, Default)]
struct Listeners {
    last: u64,
    all: Waits,
    nodes: BTreeMap<NodeName, Waits>,
    budgets: BTreeMap<BudgetKey, Waits>,
    /// Those that wait for a place: for a node that is out no longer.
    places: Waits,
}

/// The waits on one view, to be woken by whoever changes it.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    listeners: Mutex<Listeners>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Listeners> {
        // Nothing in here can panic half-way.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a wait for changes of a node, and for places where it is `placed` into one.
    pub(super) fn begin(self: &Arc<Self>, node: &NodeName, placed: bool) -> Changes {
        let signal = Arc::new(Notify::new());
        let mut listeners = self.lock();
        listeners.last += 1;
        let number = listeners.last;
        listeners.all.insert(number, Arc::clone(&signal));
        listeners.nodes.entry(node.clone()).or_default().insert(number, Arc::clone(&signal));
        if placed {
            listeners.places.insert(number, Arc::clone(&signal));
        }
        drop(listeners);
        let (waiting, node, budgets) = (Arc::clone(self), node.clone(), Mutex::default());
        Changes { waiting, number, node, signal, budgets }
    }

    /// Wakes everybody.
    pub(super) fn wake_all(&self) {
        wake(Some(&self.lock().all));
    }

    /// Wakes who waits for changes of a node.
    pub(super) fn wake_node(&self, node: &NodeName) {
        wake(self.lock().nodes.get(node));
    }

    /// Wakes who waits for changes of a budget.
    pub(super) fn wake_budget(&self, budget: &BudgetKey) {
        wake(self.lock().budgets.get(budget));
    }

    /// Wakes who waits for a place.
    pub(super) fn wake_places(&self) {
        wake(Some(&self.lock().places));
    }
}

fn wake(waits: Option<&Waits>) {
    for signal in waits.into_iter().flat_map(BTreeMap::values) {
        signal.notify_one();
    }
}

/// Takes a wait off a list, and the list where it was the last.
fn leave<K: Ord>(lists: &mut BTreeMap<K, Waits>, key: &K, number: u64) {
    if let Some(waits) = lists.get_mut(key) {
        waits.remove(&number);
        if waits.is_empty() {
            lists.remove(key);
        }
    }
}

/// One wait: what it is about, and whether something of that has changed. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Changes {
    waiting: Arc<Waiting>,
    number: u64,
    node: NodeName,
    signal: Arc<Notify>,
    /// The budgets that it waits for, and those of them that were asked for since the last look began.
    budgets: Mutex<(BTreeSet<BudgetKey>, BTreeSet<BudgetKey>)>,
}

impl Changes {
    /// Forgets what changed so far: what is looked at from now on is as new as that.
    pub(super) fn mark_unchanged(&self) {
        // A signal is kept for whoever asks next: whoever asks now takes it.
        let _ = futures::FutureExt::now_or_never(self.signal.notified());
    }

    /// Waits for changes of this budget too, until a whole look has gone by without it. Whoever holds the view while
    /// this is called misses none.
    pub(super) fn add_budget(&self, budget: &BudgetKey) {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let (waited, asked) = &mut *budgets;
        if asked.insert(budget.clone()) && waited.insert(budget.clone()) {
            let mut listeners = self.waiting.lock();
            listeners.budgets.entry(budget.clone()).or_default().insert(self.number, Arc::clone(&self.signal));
        }
    }

    /// Ends a look: budgets that it did not ask for are not waited for any more.
    pub(super) fn end_look(&self) {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let (waited, asked) = &mut *budgets;
        if waited != asked {
            let mut listeners = self.waiting.lock();
            for budget in waited.difference(asked) {
                leave(&mut listeners.budgets, budget, self.number);
            }
        }
        *waited = std::mem::take(asked);
    }

    /// Sleeps until `deadline` or until something changes, whichever is first; `true` if something changed.
    pub(super) async fn before(&self, deadline: Instant) -> bool {
        tokio::time::timeout_at(deadline, self.signal.notified()).await.is_ok()
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let budgets = std::mem::take(self.budgets.get_mut().unwrap_or_else(PoisonError::into_inner));
        let mut listeners = self.waiting.lock();
        listeners.all.remove(&self.number);
        listeners.places.remove(&self.number);
        leave(&mut listeners.nodes, &self.node, self.number);
        for budget in budgets.0.union(&budgets.1) {
            leave(&mut listeners.budgets, budget, self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Namespace, PodName};

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn budget(name: &str) -> BudgetKey {
        BudgetKey { namespace: Namespace::new("shop").unwrap(), name: PodName::new(name).unwrap() }
    }

    fn is_woken(changes: &Changes) -> bool {
        futures::FutureExt::now_or_never(changes.signal.notified()).is_some()
    }

    #[test]
    fn a_wait_is_woken_by_what_it_is_about_and_by_nothing_else() {
        let waiting = Arc::new(Waiting::default());
        let (a, b) = (waiting.begin(&node("a"), false), waiting.begin(&node("b"), true));
        waiting.wake_node(&node("a"));
        assert_eq!([is_woken(&a), is_woken(&b)], [true, false]);
        waiting.wake_places();
        assert_eq!([is_woken(&a), is_woken(&b)], [false, true]);
        waiting.wake_all();
        assert_eq!([is_woken(&a), is_woken(&b)], [true, true]);
        a.add_budget(&budget("web"));
        waiting.wake_budget(&budget("web"));
        waiting.wake_budget(&budget("db"));
        assert_eq!([is_woken(&a), is_woken(&b)], [true, false]);
    }

    #[test]
    fn a_budget_is_waited_for_until_a_look_goes_by_without_it() {
        let waiting = Arc::new(Waiting::default());
        let changes = waiting.begin(&node("a"), false);
        changes.add_budget(&budget("web"));
        changes.end_look();
        waiting.wake_budget(&budget("web"));
        assert!(is_woken(&changes));
        changes.add_budget(&budget("db"));
        changes.end_look();
        waiting.wake_budget(&budget("web"));
        assert!(!is_woken(&changes));
        waiting.wake_budget(&budget("db"));
        assert!(is_woken(&changes));
    }

    #[test]
    fn what_changed_before_a_look_does_not_wake_it_and_nothing_is_left_of_a_wait_that_ended() {
        let waiting = Arc::new(Waiting::default());
        let changes = waiting.begin(&node("a"), true);
        changes.add_budget(&budget("web"));
        changes.end_look();
        waiting.wake_node(&node("a"));
        changes.mark_unchanged();
        assert!(!is_woken(&changes));
        drop(changes);
        let left = waiting.lock();
        assert!(left.all.is_empty() && left.nodes.is_empty() && left.budgets.is_empty() && left.places.is_empty());
    }
}
