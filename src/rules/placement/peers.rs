//! The filters that look at other pods: topology spread and inter-pod affinity.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Obstacle, Scene, Site};
use crate::model::{Peers, PlacedPod, Spread, TaintEffect};

/// How many matching pods each domain of each required constraint has.
pub(super) struct SpreadCounts<'a> {
    constraints: Vec<(&'a Spread, BTreeMap<Arc<str>, u32>)>,
}

impl<'a> SpreadCounts<'a> {
    pub(super) fn new(pod: &'a PlacedPod, scene: &Scene) -> Self {
        let required: Vec<&Spread> = pod.spread.iter().filter(|spread| spread.required).collect();
        let constraints = required
            .iter()
            .map(|spread| {
                let mut domains: BTreeMap<Arc<str>, u32> = BTreeMap::new();
                for site in scene.sites() {
                    // Only nodes with the labels of all constraints are domains of any of them.
                    if !required.iter().all(|other| site.place.labels.contains_key(&other.topology))
                        || !counts(pod, spread, site)
                    {
                        continue;
                    }
                    let Some(value) = site.place.labels.get(&spread.topology) else { continue };
                    let matching = site.pods.iter().filter(|other| {
                        other.uid != pod.uid
                            && !other.terminating
                            && other.key.namespace == pod.key.namespace
                            && spread.selector.matches(&other.labels)
                    });
                    *domains.entry(Arc::clone(value)).or_default() +=
                        u32::try_from(matching.count()).unwrap_or(u32::MAX);
                }
                (*spread, domains)
            })
            .collect();
        Self { constraints }
    }

    pub(super) fn check(&self, pod: &PlacedPod, site: &Site) -> Option<Vec<Obstacle>> {
        for (spread, domains) in &self.constraints {
            let Some(value) = site.place.labels.get(&spread.topology) else {
                return Some(vec![Obstacle::SpreadLabel(Arc::clone(&spread.topology))]);
            };
            let fewest = match spread.min_domains {
                Some(wanted) if domains.len() < usize::try_from(wanted).unwrap_or(usize::MAX) => 0,
                Some(_) | None => domains.values().min().copied().unwrap_or(0),
            };
            let itself = u32::from(spread.selector.matches(&pod.labels));
            let here = domains.get(value).copied().unwrap_or(0);
            if (here + itself).saturating_sub(fewest) > spread.max_skew {
                return Some(vec![Obstacle::Spread(Arc::clone(&spread.topology))]);
            }
        }
        None
    }
}

/// Whether a node is a domain at all for this constraint. A cordoned node is, unless `nodeTaintsPolicy` is `Honor`: it
/// stays one with no pods, which can make the replacements of a drain unschedulable.
fn counts(pod: &PlacedPod, spread: &Spread, site: &Site) -> bool {
    let affine = !spread.honour_affinity || pod.wants(&site.place);
    let tolerated = !spread.honour_taints
        || site.place.taints.iter().all(|taint| taint.effect == TaintEffect::PreferNoSchedule || pod.tolerates(taint));
    affine && tolerated
}

type Domain = (Arc<str>, Arc<str>);

/// Where pods are that this pod must be near to or apart from, as pairs of label and value.
pub(super) struct Neighbours {
    /// For each term of the pod's affinity, the domains that have such a pod.
    near: Vec<BTreeSet<Domain>>,
    /// Domains that have a pod from which this one must be apart.
    apart: BTreeSet<Domain>,
    /// Domains in which a pod wants to be apart from this one.
    kept: BTreeSet<Domain>,
    /// Whether the pod may be the first of its own group.
    first: bool,
}

impl Neighbours {
    pub(super) fn new(pod: &PlacedPod, scene: &Scene) -> Self {
        let mut near: Vec<BTreeSet<Domain>> = vec![BTreeSet::new(); pod.near.len()];
        let mut apart = BTreeSet::new();
        let mut kept = BTreeSet::new();
        let domain = |site: &Site, topology: &Arc<str>| -> Option<Domain> {
            site.place.labels.get(topology).map(|value| (Arc::clone(topology), Arc::clone(value)))
        };
        // Where nobody cares who is near, nobody has to look.
        let cares = scene.is_shy() || !pod.near.is_empty() || !pod.apart.is_empty();
        for site in cares.then(|| scene.sites()).into_iter().flatten() {
            for other in site.pods.iter().filter(|other| other.uid != pod.uid) {
                // As in the scheduler, a pod is a neighbour for affinity only where it matches all terms.
                if pod.near.iter().all(|term| meant(term, other)) {
                    for (index, term) in pod.near.iter().enumerate() {
                        near[index].extend(domain(site, &term.topology));
                    }
                }
                let mine = pod.apart.iter().filter(|term| meant(term, other));
                apart.extend(mine.filter_map(|term| domain(site, &term.topology)));
                let theirs = other.apart.iter().filter(|term| meant(term, pod));
                kept.extend(theirs.filter_map(|term| domain(site, &term.topology)));
            }
        }
        let first = near.iter().all(BTreeSet::is_empty) && pod.near.iter().all(|term| meant(term, pod));
        Self { near, apart, kept, first }
    }

    pub(super) fn check(&self, pod: &PlacedPod, site: &Site) -> Option<Vec<Obstacle>> {
        let labels = &site.place.labels;
        let here = |(topology, value): &Domain| labels.get(topology) == Some(value);
        let labelled = pod.near.iter().all(|term| labels.contains_key(&term.topology));
        if !labelled || (!self.first && !self.near.iter().all(|domains| domains.iter().any(here))) {
            return Some(vec![Obstacle::NotNear]);
        }
        if self.apart.iter().any(here) {
            return Some(vec![Obstacle::NotApart]);
        }
        self.kept.iter().any(here).then(|| vec![Obstacle::KeptApart])
    }
}

fn meant(term: &Peers, pod: &PlacedPod) -> bool {
    term.namespaces.contains(&pod.key.namespace)
        && term.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
}
