//! Which slots a node takes when it is out, how many there are, and who has them already.

use std::collections::{BTreeMap, BTreeSet};

use super::types::{Capacity, Slot};
use crate::config::{Cluster, Config};
use crate::diff::Differences;
use crate::model::{Limit, Node, NodeName, PoolName, Snapshot, TableName, ZoneName};

/// The limits on nodes of one cluster.
///
/// A limit of a reboot table guards every pool and zone that holds a node of the table, and counts every node there
/// that is out, whoever wants it out: an `out_of_service` node fills the same place as a rebooting one.
pub(super) struct Limits {
    totals: BTreeMap<Slot, u32>,
    pools: BTreeMap<PoolName, BTreeSet<TableName>>,
    zones: BTreeMap<ZoneName, BTreeSet<TableName>>,
    /// The nodes that hold a slot and will not give it back within this plan.
    kept: BTreeMap<Slot, BTreeSet<NodeName>>,
}

impl Limits {
    /// Counts the slots of a cluster.
    pub(super) fn new(config: &Config, cluster: &Cluster, snapshot: &Snapshot, differences: &Differences) -> Self {
        let (mut in_pool, mut in_zone): (BTreeMap<&PoolName, u32>, BTreeMap<&ZoneName, u32>) = Default::default();
        for node in snapshot.nodes.values() {
            *in_pool.entry(&node.pool).or_default() += 1;
            *in_zone.entry(&node.zone).or_default() += 1;
        }
        let observed = u32::try_from(snapshot.nodes.len()).unwrap_or(u32::MAX);
        let mut totals =
            BTreeMap::from([(Slot::Cluster, cluster.max_unavailable.of(observed)), (Slot::ControlPlane, 1)]);
        let mut pools: BTreeMap<PoolName, BTreeSet<TableName>> = BTreeMap::new();
        let mut zones: BTreeMap<ZoneName, BTreeSet<TableName>> = BTreeMap::new();
        let count = |limit: Limit, of: Option<&u32>| limit.of(of.copied().unwrap_or(0));
        for (name, table) in &differences.reboot_tables {
            let (Some(node), Some(rule)) = (snapshot.nodes.get(name), config.reboots.get(table)) else { continue };
            if pools.entry(node.pool.clone()).or_default().insert(table.clone()) {
                let total = count(rule.max_unavailable, in_pool.get(&node.pool));
                totals.insert(Slot::Pool(table.clone(), node.pool.clone()), total);
            }
            if let Some(limit) = rule.max_unavailable_per_zone
                && zones.entry(node.zone.clone()).or_default().insert(table.clone())
            {
                let total = count(limit, in_zone.get(&node.zone));
                totals.insert(Slot::Zone(table.clone(), node.zone.clone()), total);
            }
        }
        Self { totals, pools, zones, kept: BTreeMap::new() }
    }

    /// The slots that a node takes while it is out, one unit each.
    pub(super) fn slots_of(&self, node: &Node) -> Vec<Slot> {
        let pools = self.pools.get(&node.pool).into_iter().flatten();
        let zones = self.zones.get(&node.zone).into_iter().flatten();
        std::iter::once(Slot::Cluster)
            .chain(pools.map(|table| Slot::Pool(table.clone(), node.pool.clone())))
            .chain(zones.map(|table| Slot::Zone(table.clone(), node.zone.clone())))
            .chain(node.control_plane.then_some(Slot::ControlPlane))
            .collect()
    }

    /// Notes that a node holds its slots for good: it is out for reasons of others, or the plan leaves it out.
    pub(super) fn keep(&mut self, node: &Node) {
        for slot in self.slots_of(node) {
            self.kept.entry(slot).or_default().insert(node.name.clone());
        }
    }

    /// The slots of a node in which no room will ever be, with their size and the nodes that hold them.
    pub(super) fn filled(&self, node: &Node) -> Vec<(Slot, u32, Vec<NodeName>)> {
        self.slots_of(node)
            .into_iter()
            .filter_map(|slot| {
                let total = self.total(&slot);
                let kept: Vec<NodeName> = self.kept.get(&slot).into_iter().flatten().cloned().collect();
                let full = kept.len() >= usize::try_from(total).unwrap_or(usize::MAX);
                full.then_some((slot, total, kept))
            })
            .collect()
    }

    /// The size of a slot; nothing where no limit speaks of it.
    fn total(&self, slot: &Slot) -> u32 {
        self.totals.get(slot).copied().unwrap_or(0)
    }

    /// The size of a slot, and how much of it `outside`, the nodes that are out and not in the plan, have taken.
    pub(super) fn capacity(&self, slot: &Slot, outside: &BTreeMap<Slot, u32>) -> Capacity {
        Capacity { total: self.total(slot), taken: outside.get(slot).copied().unwrap_or(0) }
    }
}
