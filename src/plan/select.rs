//! `--target` and `--exclude`: which nodes a plan may act on. Never silently empty.

use std::collections::{BTreeMap, BTreeSet};

use super::error::PlanError;
use crate::config::Config;
use crate::diff::similar_names;
use crate::model::{ClusterName, Foreign, Node, NodeName, RunId, Snapshot};

/// What the person asked the plan to be restricted to. Texts as typed:
///
/// | text | means |
/// |---|---|
/// | `NAME`, `node/NAME` | the nodes of this name, in every cluster |
/// | `CLUSTER/node/NAME` | that node |
/// | `pool/NAME` | the nodes of this pool, in every cluster |
/// | `CLUSTER/pool/NAME` | the nodes of that pool |
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these; empty is every node.
    pub target: Vec<String>,
    /// Never these, whatever `target` says.
    pub exclude: Vec<String>,
    /// Only these clusters; empty is every cluster that was observed.
    pub cluster: Vec<String>,
    /// No node at all, whatever else is said. Nobody can type it; a run that is given up may leave nothing but pods.
    pub nothing: bool,
}

impl Selection {
    /// What is left of a run that is taken up again: the nodes that it was about and that may still be worked on under
    /// its id, because none is rebooted twice; `None` where there are none, because an empty selection would mean every
    /// node. `requested` are those whose reboot the run has announced.
    #[must_use]
    pub fn rest_of_run(
        run: &RunId,
        nodes: &BTreeMap<ClusterName, BTreeSet<NodeName>>,
        requested: &BTreeSet<(ClusterName, NodeName)>,
        seen: &BTreeMap<ClusterName, Snapshot>,
    ) -> Option<Self> {
        let mut target = Vec::new();
        for (cluster, nodes) in nodes {
            let Some(snapshot) = seen.get(cluster) else { continue };
            for name in nodes {
                let Some(node) = snapshot.nodes.get(name) else { continue };
                let announced = requested.contains(&(cluster.clone(), name.clone()));
                if !is_done(node, run, announced) {
                    target.push(format!("{cluster}/node/{name}"));
                }
            }
        }
        (!target.is_empty()).then(|| Self { target, ..Self::default() })
    }
}

/// Whether a run has rebooted a node and let it go: its record says so, or the run announced the request and has no
/// mark on the node any more.
fn is_done(node: &Node, run: &RunId, announced: bool) -> bool {
    let marked = node.mark.as_ref().is_some_and(|mark| mark.run == *run && !mark.is_settled());
    let recorded = node.last_reboot.as_ref().is_some_and(|last| last.run == *run);
    !marked && (recorded || announced)
}

/// The clusters of a config that a selection asks for, to be told before anything is observed; all where it names none.
///
/// # Errors
/// [`PlanError::NoMatch`] for a name that the config does not have.
pub fn chosen_clusters(config: &Config, selection: &Selection) -> Result<BTreeSet<ClusterName>, PlanError> {
    if selection.cluster.is_empty() {
        return Ok(config.clusters.keys().cloned().collect());
    }
    selection.cluster.iter().map(|wanted| find_cluster(wanted, config.clusters.keys()).cloned()).collect()
}

fn find_cluster<'a>(
    wanted: &str,
    known: impl Iterator<Item = &'a ClusterName> + Clone,
) -> Result<&'a ClusterName, PlanError> {
    known.clone().find(|name| name.as_str() == wanted).ok_or_else(|| PlanError::NoMatch {
        flag: "--cluster",
        text: Foreign::new(wanted),
        similar: similar_names(wanted, known).iter().map(ToString::to_string).collect(),
    })
}

/// A selection, resolved against what was observed.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    /// The clusters to plan.
    pub(super) clusters: BTreeSet<&'a ClusterName>,
    target: Option<BTreeSet<(&'a ClusterName, &'a NodeName)>>,
    exclude: BTreeSet<(&'a ClusterName, &'a NodeName)>,
}

impl Chosen<'_> {
    /// Whether the plan may act on a node.
    pub(super) fn includes(&self, cluster: &ClusterName, node: &NodeName) -> bool {
        self.target.as_ref().is_none_or(|target| target.contains(&(cluster, node)))
            && !self.exclude.contains(&(cluster, node))
    }

    /// Whether only some nodes were asked for, so that a name in the config that no node has is not asked for either.
    pub(super) fn is_targeted(&self) -> bool {
        self.target.is_some()
    }
}

/// The kind of thing that a pattern names.
#[derive(Clone, Copy)]
enum Names {
    Node,
    Pool,
}

/// Resolves a selection. Everything in it must match something.
pub(super) fn choose<'a>(
    selection: &Selection,
    snapshots: &'a BTreeMap<ClusterName, Snapshot>,
) -> Result<Chosen<'a>, PlanError> {
    let mut clusters = BTreeSet::new();
    for wanted in &selection.cluster {
        clusters.insert(find_cluster(wanted, snapshots.keys())?);
    }
    if clusters.is_empty() {
        clusters = snapshots.keys().collect();
    }
    if selection.nothing {
        return Ok(Chosen { clusters, target: Some(BTreeSet::new()), exclude: BTreeSet::new() });
    }
    let target = match selection.target.as_slice() {
        [] => None,
        patterns => Some(resolve("--target", patterns, &clusters, snapshots)?),
    };
    let exclude = resolve("--exclude", &selection.exclude, &clusters, snapshots)?;
    let chosen = Chosen { clusters, target, exclude };
    // A plan of nothing would look like the proof that nothing is to do.
    let mut nodes =
        snapshots.iter().flat_map(|(cluster, snapshot)| snapshot.nodes.keys().map(move |node| (cluster, node)));
    let left = nodes.any(|(cluster, node)| chosen.clusters.contains(cluster) && chosen.includes(cluster, node));
    if !left && !chosen.exclude.is_empty() {
        return Err(PlanError::NothingSelected { targeted: chosen.is_targeted() });
    }
    Ok(chosen)
}

fn resolve<'a>(
    flag: &'static str,
    patterns: &[String],
    clusters: &BTreeSet<&'a ClusterName>,
    snapshots: &'a BTreeMap<ClusterName, Snapshot>,
) -> Result<BTreeSet<(&'a ClusterName, &'a NodeName)>, PlanError> {
    let mut all = BTreeSet::new();
    for text in patterns {
        let (cluster, kind, name) = parse(text);
        let mut matched = false;
        let mut near: Vec<String> = Vec::new();
        for known in clusters.iter().copied().filter(|known| cluster.is_none_or(|wanted| wanted == known.as_str())) {
            let Some(snapshot) = snapshots.get(known) else { continue };
            match kind {
                Names::Node => {
                    if let Some((node, _)) = snapshot.nodes.get_key_value(name) {
                        matched = true;
                        all.insert((known, node));
                    } else {
                        near.extend(similar_names(name, snapshot.nodes.keys()).iter().map(ToString::to_string));
                    }
                }
                Names::Pool => {
                    let pools: BTreeSet<_> = snapshot.nodes.values().map(|node| &node.pool).collect();
                    near.extend(similar_names(name, pools).iter().map(|pool| format!("pool/{pool}")));
                    for node in snapshot.nodes.values().filter(|node| node.pool.as_str() == name) {
                        matched = true;
                        all.insert((known, &node.name));
                    }
                }
            }
        }
        if !matched {
            if let Some(wanted) = cluster {
                near.extend(similar_names(wanted, clusters.iter().copied()).iter().map(|cluster| {
                    let kind = match kind {
                        Names::Node => "node",
                        Names::Pool => "pool",
                    };
                    format!("{cluster}/{kind}/{name}")
                }));
            }
            near.sort();
            near.dedup();
            near.truncate(3);
            return Err(PlanError::NoMatch { flag, text: Foreign::new(text), similar: near });
        }
    }
    Ok(all)
}

/// Takes a pattern apart: cluster where it names one, kind, name. Node names hold no slash, so the forms are distinct.
fn parse(text: &str) -> (Option<&str>, Names, &str) {
    let kind = |word: &str| match word {
        "node" => Some(Names::Node),
        "pool" => Some(Names::Pool),
        _ => None,
    };
    let parts: Vec<&str> = text.split('/').collect();
    let parsed = match *parts.as_slice() {
        [word, name] => kind(word).map(|kind| (None, kind, name)),
        [cluster, word, name] => kind(word).map(|kind| (Some(cluster), kind, name)),
        _ => None,
    };
    // Anything else is taken for a node's name, which then matches nothing and is reported as it was typed.
    parsed.unwrap_or((None, Names::Node, text))
}
