//! The filters that look at one node at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Obstacle, Scene, Site, Unready};
use crate::model::{PlacedPod, Taint, TaintEffect, VolumeNeed};

/// The taint that stands for a cordon: whoever tolerates it is placed on cordoned nodes.
const CORDON_TAINT: &str = "node.kubernetes.io/unschedulable";

const BETA_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
const BETA_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
/// The labels by which volumes and nodes say where they are.
pub const TOPOLOGY_LABELS: [&str; 4] = [BETA_ZONE, BETA_REGION, ZONE, REGION];

/// The nodes that a pod names, where every term of its required affinity does; the scheduler tries no other.
pub(super) fn named(pod: &PlacedPod) -> Option<BTreeSet<Arc<str>>> {
    let mut all = BTreeSet::new();
    for term in pod.required.as_ref()? {
        let mut names: Option<BTreeSet<Arc<str>>> = None;
        for field in term.fields.iter().filter(|field| field.among) {
            names = Some(match names {
                Some(names) => &names & &field.names,
                None => field.names.clone(),
            });
        }
        all.extend(names?);
    }
    Some(all)
}

/// What must hold before any node is tried.
pub(super) fn ready(pod: &PlacedPod) -> Result<(), Unready> {
    if pod.gated {
        return Err(Unready::Gated);
    }
    for need in &pod.volumes {
        match need {
            VolumeNeed::Missing(claim) => return Err(Unready::ClaimMissing(Arc::clone(claim))),
            VolumeNeed::Unbound(claim) => return Err(Unready::ClaimUnbound(Arc::clone(claim))),
            VolumeNeed::Bound { .. } => {}
        }
    }
    Ok(())
}

/// The filters in the scheduler's order; the first that objects ends it.
pub(super) fn check(pod: &PlacedPod, site: &Site, scene: &Scene) -> Option<Vec<Obstacle>> {
    unschedulable(pod, site)
        .or_else(|| taints(pod, site))
        .or_else(|| affinity(pod, site))
        .or_else(|| ports(pod, site))
        .or_else(|| resources(pod, site))
        .or_else(|| volumes(pod, site, scene))
}

fn unschedulable(pod: &PlacedPod, site: &Site) -> Option<Vec<Obstacle>> {
    if !site.place.unschedulable {
        return None;
    }
    let taint = Taint { key: CORDON_TAINT.into(), value: "".into(), effect: TaintEffect::NoSchedule };
    (!pod.tolerates(&taint)).then(|| vec![Obstacle::Unschedulable])
}

fn taints(pod: &PlacedPod, site: &Site) -> Option<Vec<Obstacle>> {
    site.place
        .taints
        .iter()
        .find(|taint| taint.effect != TaintEffect::PreferNoSchedule && !pod.tolerates(taint))
        .map(|taint| vec![Obstacle::Taint(taint.clone())])
}

fn affinity(pod: &PlacedPod, site: &Site) -> Option<Vec<Obstacle>> {
    (!pod.wants(&site.place)).then(|| vec![Obstacle::Affinity])
}

fn ports(pod: &PlacedPod, site: &Site) -> Option<Vec<Obstacle>> {
    let taken = |wanted| {
        site.pods
            .iter()
            .filter(|other| other.uid != pod.uid)
            .any(|other| other.ports.iter().any(|port| port.conflicts(wanted)))
    };
    pod.ports.iter().any(taken).then(|| vec![Obstacle::Ports])
}

fn resources(pod: &PlacedPod, site: &Site) -> Option<Vec<Obstacle>> {
    // Looked for only where there is too little: a full node has many pods.
    let itself = || site.pods.iter().any(|other| other.uid == pod.uid);
    let obstacles: Vec<Obstacle> = pod
        .requests
        .0
        .iter()
        // Nothing asked is nothing lacking, even on a node that is overfull. `pods` is always asked for.
        .filter(|(_, amount)| amount.0 > 0)
        .filter_map(|(resource, amount)| {
            let left = site.left(resource).0;
            if amount.0 > site.place.allocatable.of(resource).0 {
                Some(Obstacle::TooLarge(Arc::clone(resource)))
            } else if amount.0 > left && (!itself() || left < 0) {
                Some(Obstacle::Insufficient(Arc::clone(resource)))
            } else {
                None
            }
        })
        .collect();
    (!obstacles.is_empty()).then_some(obstacles)
}

/// The filters that look at volumes, each at all of them before the next.
fn volumes(pod: &PlacedPod, site: &Site, scene: &Scene) -> Option<Vec<Obstacle>> {
    in_use(pod, scene)
        .or_else(|| volume_limits(pod, site))
        .or_else(|| reachable(pod, site))
        .or_else(|| zones(pod, site))
}

fn bound(pod: &PlacedPod) -> impl Iterator<Item = (&Arc<str>, Option<&Arc<str>>)> {
    pod.volumes.iter().filter_map(|need| match need {
        VolumeNeed::Bound { volume, driver, .. } => Some((volume, driver.as_ref())),
        VolumeNeed::Missing(_) | VolumeNeed::Unbound(_) => None,
    })
}

fn in_use(pod: &PlacedPod, scene: &Scene) -> Option<Vec<Obstacle>> {
    let used = |volume: &Arc<str>| {
        let mut others = scene.sites().flat_map(|site| &site.pods).filter(|other| other.uid != pod.uid);
        others.any(|other| bound(other).any(|(used, _)| used == volume))
    };
    pod.volumes.iter().find_map(|need| match need {
        VolumeNeed::Bound { volume, exclusive: true, .. } if used(volume) => {
            Some(vec![Obstacle::VolumeInUse(Arc::clone(volume))])
        }
        _ => None,
    })
}

fn volume_limits(pod: &PlacedPod, site: &Site) -> Option<Vec<Obstacle>> {
    bound(pod).find_map(|(_, driver)| {
        let driver = driver?;
        let limit = site.place.volume_limits.get(driver)?;
        let present = site.pods.iter().flat_map(|other| bound(other)).chain(bound(pod));
        let attached: BTreeSet<&Arc<str>> =
            present.filter(|(_, other)| *other == Some(driver)).map(|(volume, _)| volume).collect();
        (attached.len() > usize::try_from(*limit).unwrap_or(usize::MAX))
            .then(|| vec![Obstacle::VolumeLimit(Arc::clone(driver))])
    })
}

fn reachable(pod: &PlacedPod, site: &Site) -> Option<Vec<Obstacle>> {
    pod.volumes.iter().find_map(|need| {
        let VolumeNeed::Bound { volume, terms, .. } = need else { return None };
        let here = terms.is_empty() || terms.iter().any(|term| term.matches(&site.place.name, &site.place.labels));
        (!here).then(|| vec![Obstacle::VolumeUnreachable(Arc::clone(volume))])
    })
}

/// What volumes say of their zone by labels of their own. A node without any such label is taken to be in the only zone.
fn zones(pod: &PlacedPod, site: &Site) -> Option<Vec<Obstacle>> {
    let labels = &site.place.labels;
    if !TOPOLOGY_LABELS.iter().any(|label| labels.contains_key(*label)) {
        return None;
    }
    pod.volumes.iter().find_map(|need| {
        let VolumeNeed::Bound { volume, zones, .. } = need else { return None };
        let elsewhere = zones.iter().any(|(label, values)| {
            // A volume may still have the beta label where nodes have only the one of today.
            let newer = match &**label {
                BETA_ZONE => ZONE,
                BETA_REGION => REGION,
                same => same,
            };
            labels.get(label).or_else(|| labels.get(newer)).is_none_or(|value| !values.contains(value))
        });
        elsewhere.then(|| vec![Obstacle::VolumeZone(Arc::clone(volume))])
    })
}
