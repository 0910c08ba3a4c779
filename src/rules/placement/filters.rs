//! The filters that look at one node at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Obstacle, Scene, Site, Unready};
use crate::model::{PlacedPod, Taint, TaintEffect, VolumeNeed};

/// The taint that stands for a cordon: whoever tolerates it is placed on cordoned nodes.
const CORDON_TAINT: &str = "node.kubernetes.io/unschedulable";

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
    let itself = site.pods.iter().any(|other| other.uid == pod.uid);
    let obstacles: Vec<Obstacle> = pod
        .requests
        .0
        .iter()
        // Nothing asked is nothing lacking, even on a node that is overfull. `pods` is always asked for.
        .filter(|(_, amount)| amount.0 > 0)
        .filter_map(|(resource, amount)| {
            let left = site.left(resource).0 + if itself { amount.0 } else { 0 };
            if amount.0 > site.place.allocatable.of(resource).0 {
                Some(Obstacle::TooLarge(Arc::clone(resource)))
            } else if amount.0 > left {
                Some(Obstacle::Insufficient(Arc::clone(resource)))
            } else {
                None
            }
        })
        .collect();
    (!obstacles.is_empty()).then_some(obstacles)
}

fn volumes(pod: &PlacedPod, site: &Site, scene: &Scene) -> Option<Vec<Obstacle>> {
    let bound = |pod: &PlacedPod| -> Vec<(Arc<str>, Option<Arc<str>>)> {
        let volumes = pod.volumes.iter().filter_map(|need| match need {
            VolumeNeed::Bound { volume, driver, .. } => Some((Arc::clone(volume), driver.clone())),
            VolumeNeed::Missing(_) | VolumeNeed::Unbound(_) => None,
        });
        volumes.collect()
    };
    for need in &pod.volumes {
        let VolumeNeed::Bound { volume, terms, driver, exclusive } = need else { continue };
        if *exclusive {
            let others = scene.sites().flat_map(|site| &site.pods).filter(|other| other.uid != pod.uid);
            if others.into_iter().any(|other| bound(other).iter().any(|(used, _)| used == volume)) {
                return Some(vec![Obstacle::VolumeInUse(Arc::clone(volume))]);
            }
        }
        if let Some(driver) = driver
            && let Some(limit) = site.place.volume_limits.get(driver)
        {
            let mut attached: BTreeSet<Arc<str>> = BTreeSet::from([Arc::clone(volume)]);
            let present = site.pods.iter().flat_map(|other| bound(other)).chain(bound(pod));
            attached.extend(present.filter(|(_, other)| other.as_ref() == Some(driver)).map(|(volume, _)| volume));
            if attached.len() > usize::try_from(*limit).unwrap_or(usize::MAX) {
                return Some(vec![Obstacle::VolumeLimit(Arc::clone(driver))]);
            }
        }
        let reachable = terms.is_empty() || terms.iter().any(|term| term.matches(&site.place.name, &site.place.labels));
        if !reachable {
            return Some(vec![Obstacle::VolumeUnreachable(Arc::clone(volume))]);
        }
    }
    None
}
