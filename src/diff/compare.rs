//! The comparison itself: which table has the say over each node, and what that table wants of it.

use jiff::Timestamp;
use std::collections::BTreeMap;

use super::scope::{self, Default, selects};
use super::trigger::{self, Finding};
use super::{Change, DiffError, Differences, Hindrance, Missing, Notice, Unknown, Verdict, Wanted, Why};
use crate::config::{Config, OutOfService, Protect, Reboot, Scope};
use crate::model::{Cordon, DrainRule, Foreign, GapSubject, Mark, Node, NodeName, Snapshot, TableName};
use crate::rules::{Departure, departure};

/// Compares a config with what was observed of one of its clusters at `now`.
///
/// `protect` beats everything, `out_of_service` beats `reboot`. A node in two `out_of_service` tables belongs to the
/// first by name: both want the same of it.
///
/// # Errors
/// [`DiffError`] when the config does not have the cluster, or when two of its reboot tables select the same node.
pub fn compare(config: &Config, snapshot: &Snapshot, now: Timestamp) -> Result<Differences, DiffError> {
    let name = &snapshot.cluster;
    if !config.clusters.contains_key(name) {
        return Err(DiffError::NoSuchCluster { cluster: name.clone() });
    }
    let tables = Tables {
        protect: in_scope(&config.protect, name, |table: &Protect| &table.scope),
        out_of_service: in_scope(&config.out_of_service, name, |table: &OutOfService| &table.scope),
        reboots: in_scope(&config.reboots, name, |table: &Reboot| &table.scope),
    };
    let (missing, mut notices) = tables.lint(&snapshot.nodes, now);
    let mut nodes = BTreeMap::new();
    let mut reboot_tables = BTreeMap::new();
    for node in snapshot.nodes.values() {
        let reboot = tables.reboot_of(node).map_err(|(first, second)| DiffError::TwoRebootTables {
            cluster: name.clone(),
            node: node.name.clone(),
            first,
            second,
        })?;
        if let Some((table, _)) = reboot {
            reboot_tables.insert(node.name.clone(), table.clone());
        }
        let looked = Look { config, snapshot, now, node };
        nodes.insert(node.name.clone(), looked.verdict(&tables, reboot, &mut notices));
    }
    Ok(Differences { cluster: name.clone(), nodes, reboot_tables, missing, notices })
}

type Named<'a, T> = Vec<(&'a TableName, &'a T)>;

fn in_scope<'a, T>(
    tables: &'a BTreeMap<TableName, T>,
    name: &crate::model::ClusterName,
    scope: impl Fn(&T) -> &Scope,
) -> Named<'a, T> {
    tables.iter().filter(|(_, table)| scope(table).clusters.contains(name)).collect()
}

/// The tables that speak of the cluster, in order of their names.
struct Tables<'a> {
    protect: Named<'a, Protect>,
    out_of_service: Named<'a, OutOfService>,
    reboots: Named<'a, Reboot>,
}

impl<'a> Tables<'a> {
    fn lint(&self, nodes: &BTreeMap<NodeName, Node>, now: Timestamp) -> (Vec<Missing>, Vec<Notice>) {
        let mut missing = Vec::new();
        let mut notices = Vec::new();
        let mut take = |scope: &Scope, default, kind, wanted, table: &TableName| {
            let (absent, notice) = scope::lint(scope, default, kind, wanted, table, nodes);
            missing.extend(absent);
            notices.extend(notice);
        };
        for (name, table) in &self.reboots {
            take(&table.scope, Default::Workers, "reboot", Wanted::Reboot, name);
        }
        for (name, table) in &self.out_of_service {
            take(&table.scope, Default::Nothing, "out_of_service", Wanted::OutOfService, name);
        }
        for (name, table) in &self.protect {
            take(&table.scope, Default::All, "protect", Wanted::Protection, name);
        }
        for (name, table) in &self.out_of_service {
            if let Some(until) = table.until.filter(|until| *until <= now) {
                notices.push(Notice::Expired { table: (*name).clone(), until });
            }
        }
        (missing, notices)
    }

    /// The reboot table that selects a node; both names where two do.
    fn reboot_of(&self, node: &Node) -> Result<Option<(&'a TableName, &'a Reboot)>, (TableName, TableName)> {
        let mut found = self.reboots.iter().filter(|(_, table)| selects(&table.scope, Default::Workers, node));
        match (found.next(), found.next()) {
            (Some((first, _)), Some((second, _))) => Err(((*first).clone(), (*second).clone())),
            (first, _) => Ok(first.copied()),
        }
    }
}

/// One node under comparison.
struct Look<'a> {
    config: &'a Config,
    snapshot: &'a Snapshot,
    now: Timestamp,
    node: &'a Node,
}

impl Look<'_> {
    fn verdict(
        &self,
        tables: &Tables<'_>,
        reboot: Option<(&TableName, &Reboot)>,
        notices: &mut Vec<Notice>,
    ) -> Verdict {
        let node = self.node;
        let out = tables.out_of_service.iter().find(|(_, t)| selects(&t.scope, Default::Nothing, node));
        if let Some((protect, _)) = tables.protect.iter().find(|(_, t)| selects(&t.scope, Default::All, node)) {
            if let Some((table, _)) = out {
                let (protect, table) = ((*protect).clone(), (*table).clone());
                notices.push(Notice::ProtectedFromService { node: node.name.clone(), protect, table });
            }
            return Verdict::Protected((*protect).clone());
        }
        let finding = reboot.map(|(name, table)| (name, trigger::evaluate(table, node, self.now)));
        if let Some((table, rule)) = out {
            if matches!(finding, Some((_, Finding::Yes { .. }))) {
                notices.push(Notice::RebootDeferred { node: node.name.clone(), table: (*table).clone() });
            }
            return self.out_of_service(table, rule);
        }
        if self.is_settled_by_us() {
            // The reboot that the node may need as well is planned once it is back in service.
            if let Some((table, Finding::Yes { hindrance: None, .. })) = &finding {
                notices.push(Notice::RebootAfterRelease { node: node.name.clone(), table: (*table).clone() });
            }
            return self.change(Wanted::Release, None, vec![Why::ReleasedFromService], None);
        }
        match finding {
            Some((table, Finding::Yes { why, hindrance })) => self.change(Wanted::Reboot, Some(table), why, hindrance),
            // A run of this config has not ended here: what it left is not "up to date", whatever the table says.
            Some((_, Finding::No | Finding::Unknown(_))) | None if self.is_unfinished_by_us() => {
                self.change(Wanted::Release, None, vec![Why::ReleasedFromService], None)
            }
            Some((table, Finding::No)) => Verdict::UpToDate(table.clone()),
            Some((table, Finding::Unknown(why))) => {
                Verdict::Unknown(Unknown { node: node.name.clone(), table: table.clone(), why })
            }
            None => Verdict::NotSelected,
        }
    }

    fn out_of_service(&self, name: &TableName, table: &OutOfService) -> Verdict {
        if self.is_settled_by_us() && self.is_empty(&table.drain) {
            return Verdict::OutOfService(name.clone());
        }
        self.change(Wanted::OutOfService, Some(name), vec![Why::OutOfService(table.reason.clone())], None)
    }

    fn change(
        &self,
        wanted: Wanted,
        table: Option<&TableName>,
        why: Vec<Why>,
        hindrance: Option<Hindrance>,
    ) -> Verdict {
        let mut hindrances = self.cordon_hindrances();
        hindrances.extend(hindrance);
        Verdict::Change { change: Change { wanted, table: table.cloned(), why }, hindrances }
    }

    /// Whether the node carries a cordon of this config that no run is working on: that of an `out_of_service` table.
    fn is_settled_by_us(&self) -> bool {
        match &self.node.cordon {
            Some(Cordon::Marked(mark)) => self.is_ours(mark) && is_settled(mark),
            Some(Cordon::Foreign { .. }) | None => false,
        }
    }

    /// Whether a run of this config left marks of work in progress.
    fn is_unfinished_by_us(&self) -> bool {
        self.marks().any(|mark| self.is_ours(mark) && !is_settled(mark))
    }

    fn is_ours(&self, mark: &Mark) -> bool {
        mark.config == self.config.name
    }

    /// The marks on the node. A mark that somebody's cordon has overtaken still tells of a run, if one is in progress.
    fn marks(&self) -> impl Iterator<Item = &Mark> {
        let of_cordon = match &self.node.cordon {
            Some(Cordon::Marked(mark)) => Some(mark),
            Some(Cordon::Foreign { mark, .. }) => mark.as_ref().filter(|mark| mark.phase.is_some()),
            None => None,
        };
        of_cordon.into_iter().chain(self.node.mark.as_ref().filter(|mark| mark.phase.is_some()))
    }

    fn cordon_hindrances(&self) -> Vec<Hindrance> {
        if let Some(mark) = self.marks().find(|mark| !is_settled(mark)) {
            return vec![Hindrance::MarkedByRun { run: mark.run.clone(), config: mark.config.clone() }];
        }
        match &self.node.cordon {
            Some(Cordon::Foreign { manager, since, .. }) => {
                vec![Hindrance::ForeignCordon { manager: manager.clone(), since: *since }]
            }
            // Another config has taken it out of service: haulout's cordon, but not ours to touch.
            Some(Cordon::Marked(mark)) if !self.is_ours(mark) => vec![Hindrance::ForeignCordon {
                manager: Some(Foreign::new(format!("haulout, config {}", mark.config.raw()))),
                since: Some(mark.since),
            }],
            Some(Cordon::Marked(_)) | None => Vec::new(),
        }
    }

    /// Whether nothing is left on the node that would have to leave. Where pods could not be read, nothing proves it.
    fn is_empty(&self, rule: &DrainRule) -> bool {
        if self.snapshot.has_gap(GapSubject::Pods) {
            return false;
        }
        let known = !self.snapshot.has_gap(GapSubject::DaemonSets);
        self.snapshot.pods_on(&self.node.name).iter().all(|pod| {
            match departure(pod, rule, &self.snapshot.daemon_sets, known) {
                Departure::Stays(_) => true,
                Departure::Leaves | Departure::Refused(_) => false,
            }
        })
    }
}

/// Whether a mark is that of a finished `out_of_service` cordon: the run that made it took its phase away.
fn is_settled(mark: &Mark) -> bool {
    mark.phase.is_none() && mark.table.is_some()
}
