//! By which rule a node is drained. The config decides it, the plan shows it, the executor keeps it.

use std::time::Duration;

/// How long a pod has to end after its eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grace {
    /// What the pod itself asks for (`terminationGracePeriodSeconds`).
    Pod,
    /// This long for every pod, whole seconds, never zero: zero would kill without notice.
    Fixed(Duration),
}

/// What happens when a node is not drained within its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnTimeout {
    /// The node is left as it was found, and the run goes on with others.
    Skip,
    /// The run starts nothing new.
    Halt,
}

/// What happens to pods that no controller would make again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnmanagedPods {
    /// They make their node Blocked.
    Block,
    /// They are evicted, and are gone afterwards.
    Evict,
}

/// The rule by which a node is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrainRule {
    /// How long one node's drain may take, waits for disruption budgets included.
    pub timeout: Duration,
    /// How long pods have to end.
    pub grace: Grace,
    /// What follows when `timeout` has passed.
    pub on_timeout: OnTimeout,
    /// Whether pods may be evicted although the data in their `emptyDir` volumes is lost with them.
    pub delete_emptydir_data: bool,
    /// What happens to pods that no controller would make again.
    pub unmanaged: UnmanagedPods,
}

impl DrainRule {
    /// The rule where the config gives none: 15 minutes, the pods' own grace, and nothing is lost without consent.
    pub const DEFAULT: Self = Self {
        timeout: Duration::from_secs(15 * 60),
        grace: Grace::Pod,
        on_timeout: OnTimeout::Skip,
        delete_emptydir_data: false,
        unmanaged: UnmanagedPods::Block,
    };
}

impl Default for DrainRule {
    fn default() -> Self {
        Self::DEFAULT
    }
}
