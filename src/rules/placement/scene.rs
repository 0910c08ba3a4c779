//! Nodes with the pods on them.

use std::collections::BTreeMap;

use crate::model::{Amounts, NodeName, Place, PlacedPod, Quantity};

/// One node with its pods, and what they have taken.
#[derive(Debug, Clone)]
pub struct Site<'a> {
    /// The node.
    pub place: &'a Place,
    /// The pods bound to it that have not ended. Terminating ones hold what they hold until they are gone.
    pub pods: Vec<&'a PlacedPod>,
    taken: Amounts,
}

impl Site<'_> {
    /// What is left of a resource. May be negative.
    #[must_use]
    pub fn left(&self, resource: &str) -> Quantity {
        Quantity(self.place.allocatable.of(resource).0 - self.taken.of(resource).0)
    }

    /// What its pods have taken.
    #[must_use]
    pub fn taken(&self) -> &Amounts {
        &self.taken
    }
}

/// All nodes, by name.
#[derive(Debug, Clone, Default)]
pub struct Scene<'a> {
    sites: BTreeMap<&'a NodeName, Site<'a>>,
}

impl<'a> Scene<'a> {
    /// Puts pods on their nodes. Pods without a node, or whose node is not there, are left out; ended pods must not be
    /// given.
    pub fn new(places: impl IntoIterator<Item = &'a Place>, pods: impl IntoIterator<Item = &'a PlacedPod>) -> Self {
        let sites = places
            .into_iter()
            .map(|place| (&place.name, Site { place, pods: Vec::new(), taken: Amounts::default() }))
            .collect();
        let mut scene = Self { sites };
        for pod in pods {
            if let Some(node) = &pod.node {
                scene.put(pod, node);
            }
        }
        scene
    }

    /// Puts one more pod on a node.
    pub fn put(&mut self, pod: &'a PlacedPod, node: &NodeName) {
        if let Some(site) = self.sites.get_mut(node) {
            site.taken.add(&pod.requests);
            site.pods.push(pod);
        }
    }

    /// The nodes in order of their names.
    pub fn sites(&self) -> impl Iterator<Item = &Site<'a>> {
        self.sites.values()
    }

    /// One node.
    #[must_use]
    pub fn site(&self, node: &NodeName) -> Option<&Site<'a>> {
        self.sites.get(node)
    }
}
