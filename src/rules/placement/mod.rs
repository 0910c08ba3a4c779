//! Where a pod may run: the scheduler's filters, one function each, with typed reasons.
//!
//! Feasibility can be known, the choice among feasible nodes cannot: the scheduler breaks ties at random, and profiles
//! and cluster-wide defaults are not visible through the API.

mod filters;
mod peers;
mod scene;

pub use scene::{Scene, Site};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::model::{NodeName, NodeTerm, PlacedPod, Taint};

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
    /// It cannot reach a volume of the pod.
    VolumeUnreachable(Arc<str>),
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
            Self::Taint(taint) if taint.value.is_empty() => {
                write!(f, "node(s) had untolerated taint {{{}}}", taint.key)
            }
            Self::Taint(taint) => write!(f, "node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value),
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Ports => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Self::Insufficient(resource) if &**resource == "pods" => f.write_str("Too many pods"),
            Self::Insufficient(resource) | Self::TooLarge(resource) => write!(f, "Insufficient {resource}"),
            Self::VolumeUnreachable(_) => f.write_str("node(s) had volume node affinity conflict"),
            Self::VolumeInUse(_) => f.write_str(
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
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
    let spread = peers::SpreadCounts::new(pod, scene);
    let near = peers::Neighbours::new(pod, scene);
    let mut fit = Fit { feasible: Vec::new(), obstacles: BTreeMap::new() };
    for site in scene.sites() {
        match obstacles(pod, site, scene, &spread, &near) {
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
    let spread = peers::SpreadCounts::new(pod, scene);
    let near = peers::Neighbours::new(pod, scene);
    let mut fit = Fit { feasible: Vec::new(), obstacles: BTreeMap::new() };
    // A pod that names its nodes, as those of DaemonSets do, needs no other to be tried.
    for site in named(pod).into_iter().filter_map(|name| scene.site(name)) {
        if obstacles(pod, site, scene, &spread, &near).is_none() {
            fit.feasible.push(site.place.name.clone());
        }
    }
    if !fit.feasible.is_empty() {
        return Ok(fit);
    }
    for site in scene.sites_from(start) {
        match obstacles(pod, site, scene, &spread, &near) {
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

/// The nodes that a pod's node affinity names, where every term of it names some.
fn named(pod: &PlacedPod) -> BTreeSet<&str> {
    let terms = pod.required.as_deref().unwrap_or_default();
    let names = |term: &'_ NodeTerm| term.fields.iter().any(|field| field.among);
    if !terms.iter().all(names) {
        return BTreeSet::new();
    }
    let fields = terms.iter().flat_map(|term| &term.fields).filter(|field| field.among);
    fields.flat_map(|field| &field.names).map(AsRef::as_ref).collect()
}

fn obstacles(
    pod: &PlacedPod,
    site: &Site,
    scene: &Scene,
    spread: &peers::SpreadCounts<'_>,
    near: &peers::Neighbours,
) -> Option<Vec<Obstacle>> {
    filters::check(pod, site, scene).or_else(|| spread.check(pod, site)).or_else(|| near.check(pod, site))
}

#[cfg(test)]
mod tests;
