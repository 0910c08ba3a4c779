//! Where a pod may run: the scheduler's filters, one function each, with typed reasons.
//!
//! Feasibility can be known, the choice among feasible nodes cannot: the scheduler breaks ties at random, and profiles
//! and cluster-wide defaults are not visible through the API.

mod filters;
mod peers;
mod scene;

pub use filters::TOPOLOGY_LABELS;
pub use scene::{Scene, Site};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::model::{NodeName, PlacedPod, Taint};

/// Why a node will not take a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// It is cordoned, and the pod does not tolerate that.
    Unschedulable,
    /// It has a taint that the pod does not tolerate.
    Taint(Taint),
    /// The pod's node selector or node affinity rules it out.
    Affinity,
    /// A host port is taken.
    Ports,
    /// There is not enough of a resource left.
    Insufficient(Arc<str>),
    /// More of a resource is asked for than the node has in all.
    TooLarge(Arc<str>),
    /// The pod names the nodes that it may go to, and this is none of them: the scheduler does not look at it.
    NotNamed,
    /// It cannot reach a volume of the pod.
    VolumeUnreachable(Arc<str>),
    /// It is in another zone or region than a volume of the pod says of itself.
    VolumeZone(Arc<str>),
    /// A volume that only one pod may use is in use.
    VolumeInUse(Arc<str>),
    /// It takes no more volumes of this CSI driver.
    VolumeLimit(Arc<str>),
    /// A topology spread constraint over this label would be broken.
    Spread(Arc<str>),
    /// It lacks the label of a topology spread constraint.
    SpreadLabel(Arc<str>),
    /// No pod is near that the pod must be near to.
    NotNear,
    /// A pod is near that the pod must be apart from.
    NotApart,
    /// A pod is near that must be apart from this one.
    KeptApart,
}

impl fmt::Display for Obstacle {
    /// The words of the scheduler's own message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::NotNamed => f.write_str("node(s) didn't satisfy plugin(s) [NodeAffinity]"),
            Self::Taint(_) => f.write_str("node(s) had untolerated taint(s)"),
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Ports => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Self::Insufficient(resource) if &**resource == "pods" => f.write_str("Too many pods"),
            Self::Insufficient(resource) | Self::TooLarge(resource) => write!(f, "Insufficient {resource}"),
            Self::VolumeUnreachable(_) => f.write_str("node(s) didn't match PersistentVolume's node affinity"),
            Self::VolumeZone(_) => f.write_str("node(s) had no available volume zone"),
            Self::VolumeInUse(_) => f.write_str(
                "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by \
                 another pod",
            ),
            Self::VolumeLimit(_) => f.write_str("node(s) exceed max volume count"),
            Self::Spread(_) => f.write_str("node(s) didn't match pod topology spread constraints"),
            Self::SpreadLabel(_) => {
                f.write_str("node(s) didn't match pod topology spread constraints (missing required label)")
            }
            Self::NotNear => f.write_str("node(s) didn't match pod affinity rules"),
            Self::NotApart => f.write_str("node(s) didn't match pod anti-affinity rules"),
            Self::KeptApart => f.write_str("node(s) didn't satisfy existing pods anti-affinity rules"),
        }
    }
}

/// Why no node at all is tried for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unready {
    /// Scheduling gates hold it back.
    Gated,
    /// A claim that it mounts does not exist.
    ClaimMissing(Arc<str>),
    /// A claim that it mounts has no volume and will get none.
    ClaimUnbound(Arc<str>),
}

/// What the filters say of a pod: for each node either nothing, or every obstacle found by the first filter that found
/// one, in the scheduler's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// Nodes that would take it, in order of their names.
    pub feasible: Vec<NodeName>,
    /// Nodes that would not, and why.
    pub obstacles: BTreeMap<NodeName, Vec<Obstacle>>,
}

impl Fit {
    /// The message of the scheduler's `FailedScheduling`: `0/12 nodes are available: 3 Insufficient cpu, …`.
    #[must_use]
    pub fn message(&self) -> String {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for obstacle in self.obstacles.values().flatten() {
            *counts.entry(obstacle.to_string()).or_default() += 1;
        }
        let mut reasons: Vec<String> = counts.into_iter().map(|(text, count)| format!("{count} {text}")).collect();
        reasons.sort();
        let all = self.obstacles.len() + self.feasible.len();
        format!("{}/{all} nodes are available: {}.", self.feasible.len(), reasons.join(", "))
    }
}

/// Runs the filters for a pod over every node of a scene. The pod itself, where it is already part of the scene, does
/// not count against itself.
///
/// # Errors
/// [`Unready`] where no node is tried at all.
pub fn fit(pod: &PlacedPod, scene: &Scene) -> Result<Fit, Unready> {
    filters::ready(pod)?;
    let tried = Tried::new(pod, scene);
    let mut fit = Fit { feasible: Vec::new(), obstacles: BTreeMap::new() };
    for site in scene.sites() {
        match tried.obstacles(pod, site, scene) {
            Some(obstacles) => {
                fit.obstacles.insert(site.place.name.clone(), obstacles);
            }
            None => fit.feasible.push(site.place.name.clone()),
        }
    }
    Ok(fit)
}

/// As [`fit`], but content with so many feasible nodes, tried from `start` on: the scheduler, too, looks at a share of a
/// large cluster only. Where fewer are feasible all nodes were tried.
///
/// # Errors
/// As [`fit`].
pub fn fit_from(pod: &PlacedPod, scene: &Scene, start: &NodeName, enough: usize) -> Result<Fit, Unready> {
    filters::ready(pod)?;
    let tried = Tried::new(pod, scene);
    let mut fit = Fit { feasible: Vec::new(), obstacles: BTreeMap::new() };
    // A pod that names its nodes, as those of DaemonSets do, needs no other to be tried.
    for site in tried.named.iter().flatten().filter_map(|name| scene.site(name)) {
        if tried.obstacles(pod, site, scene).is_none() {
            fit.feasible.push(site.place.name.clone());
        }
    }
    if !fit.feasible.is_empty() {
        return Ok(fit);
    }
    for site in scene.sites_from(start) {
        match tried.obstacles(pod, site, scene) {
            Some(obstacles) => {
                fit.obstacles.insert(site.place.name.clone(), obstacles);
            }
            None => fit.feasible.push(site.place.name.clone()),
        }
        if fit.feasible.len() >= enough {
            break;
        }
    }
    Ok(fit)
}

/// What of a pod is the same for every node that is tried.
struct Tried<'a> {
    named: Option<BTreeSet<Arc<str>>>,
    spread: peers::SpreadCounts<'a>,
    near: peers::Neighbours,
}

impl<'a> Tried<'a> {
    fn new(pod: &'a PlacedPod, scene: &Scene) -> Self {
        Self {
            named: filters::named(pod),
            spread: peers::SpreadCounts::new(pod, scene),
            near: peers::Neighbours::new(pod, scene),
        }
    }

    fn obstacles(&self, pod: &PlacedPod, site: &Site, scene: &Scene) -> Option<Vec<Obstacle>> {
        let elsewhere = self.named.as_ref().is_some_and(|names| !names.contains(site.place.name.as_str()));
        elsewhere
            .then(|| vec![Obstacle::NotNamed])
            .or_else(|| filters::check(pod, site, scene))
            .or_else(|| self.spread.check(pod, site))
            .or_else(|| self.near.check(pod, site))
    }
}

#[cfg(test)]
mod tests;
