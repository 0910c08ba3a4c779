//! What the checker must know of a cluster to judge a plan for it, taken from the snapshot and not from the draft.

use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::diff::{Differences, Verdict};
use crate::model::{
    BootId, BudgetKey, Cordon, Limit, NodeName, PoolName, Readiness, RunId, Snapshot, TableName, Uid, ZoneName,
};

/// Whose cordon is on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CordonOf {
    /// Nobody's: it takes new pods.
    Nobody,
    /// This config's.
    Us,
    /// Somebody else's.
    Others,
}

/// What is known of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its UID.
    pub uid: Uid,
    /// Its boot.
    pub boot_id: Option<BootId>,
    /// Its pool.
    pub pool: PoolName,
    /// Its zone.
    pub zone: ZoneName,
    /// Whether it runs the control plane.
    pub control_plane: bool,
    /// Whether it is Ready and not being deleted.
    pub ready: bool,
    /// Whether it is out, for any reason.
    pub out: bool,
    /// Whose cordon it carries.
    pub cordon: CordonOf,
    /// Whether a run's mark says that work on it is in progress.
    pub in_progress: bool,
    /// That run, where it is of this config and cannot be alive.
    pub left_by: Option<LeftBy>,
    /// Whether the config protects it.
    pub protected: bool,
}

/// What a dead run says on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftBy {
    /// The run.
    pub run: RunId,
    /// Whether it requested the reboot.
    pub requested: bool,
    /// The boot that the reboot was to end, where the mark says it.
    pub boot_id: Option<BootId>,
}

/// What is known of a cluster. Limits are in nodes, for the pools and zones that the table guards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The nodes.
    pub nodes: BTreeMap<NodeName, NodeFacts>,
    /// How many nodes may be out in the cluster.
    pub cluster_limit: u32,
    /// How many may be out in a pool, by table.
    pub pool_limits: BTreeMap<(TableName, PoolName), u32>,
    /// How many may be out in a zone, by table.
    pub zone_limits: BTreeMap<(TableName, ZoneName), u32>,
    /// How many evictions each budget allows now.
    pub budgets: BTreeMap<BudgetKey, u32>,
}

impl Facts {
    /// What the snapshot says. Without the cluster in the config, nothing may be out.
    #[must_use]
    pub fn of(config: &Config, snapshot: &Snapshot, differences: &Differences, now: Timestamp) -> Self {
        let nodes = snapshot.nodes.values().map(|node| {
            let cordon = match &node.cordon {
                None => CordonOf::Nobody,
                Some(Cordon::Marked(mark)) if mark.config == config.name => CordonOf::Us,
                Some(Cordon::Marked(_) | Cordon::Foreign { .. }) => CordonOf::Others,
            };
            let marked = match &node.cordon {
                Some(Cordon::Marked(mark)) => Some(mark),
                Some(Cordon::Foreign { .. }) => None,
                None => node.mark.as_ref(),
            };
            let left_by = marked
                .filter(|mark| mark.config == config.name && !snapshot.may_be_live(&mark.run, now))
                .map(|mark| LeftBy {
                    run: mark.run.clone(),
                    requested: mark.is_requested(),
                    boot_id: mark.reboots.as_ref().map(|reboots| reboots.boot_id.clone()),
                });
            let of_cordon = match &node.cordon {
                Some(Cordon::Marked(mark)) => mark.phase.is_some(),
                Some(Cordon::Foreign { .. }) | None => false,
            };
            let facts = NodeFacts {
                uid: node.uid.clone(),
                boot_id: node.boot_id.clone(),
                pool: node.pool.clone(),
                zone: node.zone.clone(),
                control_plane: node.control_plane,
                ready: node.readiness == Readiness::Ready && !node.terminating,
                out: node.is_out() || differences.held_by_kured.contains_key(&node.name),
                cordon,
                in_progress: of_cordon || node.mark.as_ref().is_some_and(|mark| mark.phase.is_some()),
                left_by,
                protected: matches!(differences.nodes.get(&node.name), Some(Verdict::Protected(_))),
            };
            (node.name.clone(), facts)
        });
        let nodes: BTreeMap<NodeName, NodeFacts> = nodes.collect();
        let guarded: BTreeSet<(&TableName, &PoolName, &ZoneName)> = differences
            .reboot_tables
            .iter()
            .filter_map(|(name, table)| nodes.get(name).map(|node| (table, &node.pool, &node.zone)))
            .collect();
        let share = |limit: Limit, belongs: &dyn Fn(&NodeFacts) -> bool| {
            limit.of(u32::try_from(nodes.values().filter(|node| belongs(node)).count()).unwrap_or(u32::MAX))
        };
        let mut pool_limits = BTreeMap::new();
        let mut zone_limits = BTreeMap::new();
        for (table, pool, zone) in guarded {
            let Some(rule) = config.reboots.get(table) else { continue };
            pool_limits
                .entry((table.clone(), pool.clone()))
                .or_insert_with(|| share(rule.max_unavailable, &|node| node.pool == *pool));
            if let Some(limit) = rule.max_unavailable_per_zone {
                zone_limits
                    .entry((table.clone(), zone.clone()))
                    .or_insert_with(|| share(limit, &|node| node.zone == *zone));
            }
        }
        let cluster_limit =
            config.clusters.get(&snapshot.cluster).map_or(0, |cluster| share(cluster.max_unavailable, &|_| true));
        let budgets = snapshot.budgets.iter().map(|budget| (budget.key.clone(), budget.allowed)).collect();
        Self { cluster_limit, pool_limits, zone_limits, budgets, nodes }
    }
}
