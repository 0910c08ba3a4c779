//! Which clusters and nodes a table speaks of.

use std::collections::{BTreeMap, BTreeSet};

use super::{Missing, Notice, Wanted};
use crate::config::Scope;
use crate::model::{Node, NodeName, TableName};

/// What a table means where it names neither nodes nor a selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Default {
    /// Linux nodes that are not control plane.
    Workers,
    /// Every node.
    All,
    /// Nothing.
    Nothing,
}

/// Whether a scope selects a node: by name or by label, or by the default where it has neither.
pub(super) fn selects(scope: &Scope, default: Default, node: &Node) -> bool {
    if scope.is_unset() {
        return match default {
            Default::Workers => node.linux && !node.control_plane,
            Default::All => true,
            Default::Nothing => false,
        };
    }
    scope.nodes.contains(&node.name) || scope.selector.as_ref().is_some_and(|selector| selector.matches(&node.labels))
}

/// What is wrong with a scope as a whole: names that no node has, a selector that matches none.
pub(super) fn lint(
    scope: &Scope,
    default: Default,
    kind: &'static str,
    wanted: Wanted,
    table: &TableName,
    nodes: &BTreeMap<NodeName, Node>,
) -> (Vec<Missing>, Option<Notice>) {
    let mut missing: Vec<Missing> = scope
        .nodes
        .iter()
        .filter(|name| !nodes.contains_key(*name))
        .map(|name| Missing {
            node: name.clone(),
            table: table.clone(),
            wanted,
            similar: similar_names(name.as_str(), nodes.keys()),
        })
        .collect();
    missing.sort_by(|a, b| a.node.cmp(&b.node));
    missing.dedup_by(|a, b| a.node == b.node);
    let by_label = scope.selector.is_some() || (scope.nodes.is_empty() && default == Default::Workers);
    let unnamed = Scope { nodes: BTreeSet::new(), ..scope.clone() };
    let empty = by_label && !nodes.values().any(|node| selects(&unnamed, default, node));
    (missing, empty.then(|| Notice::MatchesNothing { kind, table: table.clone() }))
}

/// Names that somebody may have meant, at most three, the closest first.
pub fn similar_names<'a, N>(wanted: &str, names: impl IntoIterator<Item = &'a N>) -> Vec<N>
where
    N: Clone + Ord + std::borrow::Borrow<str> + 'a,
{
    // Node names differ in few characters of many, so that a share of the length tells a slip from another name.
    let bound = (wanted.chars().count() / 4).clamp(1, 4);
    let mut close: Vec<(usize, &N)> = names
        .into_iter()
        .filter(|name| {
            let name: &str = (*name).borrow();
            name.len().abs_diff(wanted.len()) <= bound
        })
        .map(|name| (strsim::damerau_levenshtein(wanted, (*name).borrow()), name))
        .filter(|(distance, _)| *distance <= bound)
        .collect();
    close.sort();
    close.into_iter().take(3).map(|(_, name)| name.clone()).collect()
}
