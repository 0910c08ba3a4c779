//! What two tables say together.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::{Limit, TableName};

use super::super::diagnostic::{Code, Diagnostic};
use super::super::raw::{RawConfig, RawReboot};
use super::super::types::Reboot;
use super::Check;

impl Check<'_> {
    /// A node may be selected by one `reboot` table only. Most overlaps show when nodes are seen; those that the file
    /// alone proves are told now.
    pub(super) fn overlaps(&mut self, raw: &RawConfig, reboots: &BTreeMap<TableName, Reboot>) {
        let tables: Vec<(&TableName, &Reboot)> = reboots.iter().collect();
        let pairs = tables
            .iter()
            .enumerate()
            .flat_map(|(index, first)| tables[index + 1..].iter().map(move |second| (first, second)));
        for ((first, a), (second, b)) in pairs {
            if a.scope.clusters.is_disjoint(&b.scope.clusters) {
                continue;
            }
            let what = match a.scope.nodes.intersection(&b.scope.nodes).next() {
                Some(name) => format!("the node \"{name}\""),
                None if a.scope.is_unset() && b.scope.is_unset() => {
                    "every Linux node that is not control plane".to_owned()
                }
                None if a.scope.selector.is_some() && a.scope.selector == b.scope.selector => {
                    "the same nodes".to_owned()
                }
                None => continue,
            };
            let mut problem =
                Diagnostic::error(Code::Conflict, format!("[reboot.{first}] and [reboot.{second}] both select {what}"));
            for (span, label) in [(place(raw, second), "and by this"), (place(raw, first), "selected by this table")] {
                if let Some(span) = span {
                    problem = problem.with_label(span, label);
                }
            }
            self.report(problem.with_help("a node may be selected by one [reboot.NAME] only: join the tables, or give them selectors or clusters of their own"));
        }
    }

    /// A pool may lose three nodes, the cluster only one: whoever wrote the three should know.
    pub(super) fn shadowed_limits(&mut self, raw: &RawConfig, reboots: &BTreeMap<TableName, Reboot>) {
        for (name, reboot) in reboots {
            let Some(given) = table(raw, name)
                .and_then(|(_, table)| table.max_unavailable.as_ref())
                .filter(|given| !given.span.is_empty())
            else {
                continue;
            };
            let clusters = raw.cluster.iter().flat_map(|clusters| &clusters.value);
            let smaller =
                clusters.filter(|(key, _)| reboot.scope.clusters.contains(key.value.as_str())).find(|(_, cluster)| {
                    let limit = cluster.value.max_unavailable.as_ref();
                    let written = limit.is_some_and(|limit| !limit.span.is_empty());
                    match (reboot.max_unavailable, limit.map(|limit| &limit.value)) {
                        (Limit::Count(pool), Some(super::super::raw::RawLimit::Count(cluster))) => pool > *cluster,
                        // A share of a pool may well be one node, so only a limit that nobody chose is worth a word.
                        (Limit::Percent(_), Some(_)) => !written,
                        (Limit::Count(_), _) | (Limit::Percent(_), None) => false,
                    }
                });
            let Some((key, cluster)) = smaller else { continue };
            let place =
                cluster.value.max_unavailable.as_ref().map(|limit| limit.span.clone()).filter(|span| !span.is_empty());
            let warning = Diagnostic::warning(
                Code::NoEffect,
                format!("`reboot.{name}.max_unavailable` is more than [cluster.{}] allows", key.value),
            )
            .with_label(given.span.clone(), "nodes of one pool");
            let warning = match place {
                Some(span) => warning.with_label(span, "nodes of the whole cluster"),
                None => {
                    warning.with_label(key.span.clone(), "without `max_unavailable`, one node of the whole cluster")
                }
            };
            self.report(warning.with_help(format!("raise `max_unavailable` of [cluster.{}] too", key.value)));
        }
    }
}

fn table<'a>(raw: &'a RawConfig, name: &TableName) -> Option<(&'a Range<usize>, &'a RawReboot)> {
    let tables = raw.reboot.iter().flat_map(|tables| &tables.value);
    tables.into_iter().find(|(key, _)| key.value == name.as_str()).map(|(key, table)| (&key.span, &table.value))
}

fn place(raw: &RawConfig, name: &TableName) -> Option<Range<usize>> {
    table(raw, name).map(|(span, _)| span.clone())
}
