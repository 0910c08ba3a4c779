//! Where a pod may run: the scheduler's filters, one function each, with typed reasons.
//!
//! Feasibility can be known, the choice among feasible nodes cannot: the scheduler breaks ties at random, and profiles
//! and cluster-wide defaults are not visible through the API.

mod filters;
mod peers;
mod scene;

pub use filters::TOPOLOGY_LABELS;
pub use scene::{Scene, Site};

use std::collections::BTreeMap;
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
pub fn fit(pod: &PlacedPod, scene: &Scene<'_>) -> Result<Fit, Unready> {
    filters::ready(pod)?;
    let named = filters::named(pod);
    let spread = peers::SpreadCounts::new(pod, scene);
    let near = peers::Neighbours::new(pod, scene);
    let mut fit = Fit { feasible: Vec::new(), obstacles: BTreeMap::new() };
    for site in scene.sites() {
        let elsewhere = named.as_ref().is_some_and(|names| !names.contains(site.place.name.as_str()));
        let obstacles = elsewhere
            .then(|| vec![Obstacle::NotNamed])
            .or_else(|| filters::check(pod, site, scene))
            .or_else(|| spread.check(pod, site))
            .or_else(|| near.check(pod, site));
        match obstacles {
            Some(obstacles) => {
                fit.obstacles.insert(site.place.name.clone(), obstacles);
            }
            None => fit.feasible.push(site.place.name.clone()),
        }
    }
    Ok(fit)
}

#[cfg(test)]
mod tests;
