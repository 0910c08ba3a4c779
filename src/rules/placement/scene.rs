//! Nodes with the pods on them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::model::{Amounts, NodeName, Place, PlacedPod, Quantity, Uid};

/// One node with its pods, and what they have taken.
#[derive(Debug, Clone)]
pub struct Site {
    /// The node.
    pub place: Arc<Place>,
    /// The pods bound to it that have not ended. Terminating ones hold what they hold until they are gone.
    pub pods: Vec<Arc<PlacedPod>>,
    taken: Amounts,
}

impl Site {
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

/// All nodes, by name, with what is asked of all of them together.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    sites: BTreeMap<NodeName, Site>,
    /// Their names in order.
    names: Vec<NodeName>,
    /// How many pods of each owner are on each node.
    families: BTreeMap<Uid, BTreeMap<NodeName, u32>>,
    /// How many pods want to be apart from others.
    shy: usize,
}

impl Scene {
    /// Puts pods on their nodes. Pods without a node, or whose node is not there, are left out; ended pods must not be
    /// given.
    pub fn new<'a>(places: impl IntoIterator<Item = &'a Place>, pods: impl IntoIterator<Item = &'a PlacedPod>) -> Self {
        let mut scene = Self::default();
        for place in places {
            scene.place(place.clone());
        }
        for pod in pods {
            if let Some(node) = &pod.node {
                scene.put(&Arc::new(pod.clone()), node);
            }
        }
        scene
    }

    /// Puts a node in, or what it is now in place of what it was; its pods stay.
    pub fn place(&mut self, place: Place) {
        let place = Arc::new(place);
        match self.sites.get_mut(&place.name) {
            Some(site) => site.place = place,
            None => {
                let site = Site { place: Arc::clone(&place), pods: Vec::new(), taken: Amounts::default() };
                self.sites.insert(place.name.clone(), site);
                if let Err(at) = self.names.binary_search(&place.name) {
                    self.names.insert(at, place.name.clone());
                }
            }
        }
    }

    /// Takes a node out, with its pods.
    pub fn leave(&mut self, node: &NodeName) {
        let pods = self.sites.get(node).map(|site| site.pods.clone()).unwrap_or_default();
        for pod in pods {
            self.take(&pod.uid, node);
        }
        self.sites.remove(node);
        if let Ok(at) = self.names.binary_search(node) {
            self.names.remove(at);
        }
    }

    /// Puts one more pod on a node, or what it is now in place of what it was. `false` where the node is not there.
    pub fn put(&mut self, pod: &Arc<PlacedPod>, node: &NodeName) -> bool {
        self.take(&pod.uid, node);
        let Some(site) = self.sites.get_mut(node) else { return false };
        site.taken.add(&pod.requests);
        site.pods.push(Arc::clone(pod));
        self.shy += usize::from(!pod.apart.is_empty());
        if let Some(owner) = &pod.owner {
            *self.families.entry(owner.uid.clone()).or_default().entry(node.clone()).or_default() += 1;
        }
        true
    }

    /// Takes a pod off a node, and returns it where it was there.
    pub fn take(&mut self, pod: &Uid, node: &NodeName) -> Option<Arc<PlacedPod>> {
        let site = self.sites.get_mut(node)?;
        let at = site.pods.iter().position(|known| known.uid == *pod)?;
        let pod = site.pods.remove(at);
        site.taken.subtract(&pod.requests);
        self.shy -= usize::from(!pod.apart.is_empty());
        if let Some(owner) = &pod.owner
            && let Some(family) = self.families.get_mut(&owner.uid)
            && let Some(count) = family.get_mut(node)
        {
            *count -= 1;
            if *count == 0 {
                family.remove(node);
            }
            if family.is_empty() {
                self.families.remove(&owner.uid);
            }
        }
        Some(pod)
    }

    /// The nodes in order of their names.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.sites.values()
    }

    /// The nodes in order of their names from the first at or after `start`, and then those before it.
    pub fn sites_from(&self, start: &NodeName) -> impl Iterator<Item = &Site> {
        let later = self.sites.range::<NodeName, _>((Bound::Included(start), Bound::Unbounded));
        let before = self.sites.range::<NodeName, _>((Bound::Unbounded, Bound::Excluded(start)));
        later.chain(before).map(|(_, site)| site)
    }

    /// The name of a node by its place in the order of the names.
    #[must_use]
    pub fn nth(&self, at: usize) -> Option<&NodeName> {
        self.names.get(at)
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sites.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }

    /// One node.
    #[must_use]
    pub fn site(&self, node: &str) -> Option<&Site> {
        self.sites.get(node)
    }

    /// How many pods of an owner each node has; nodes with none are left out.
    pub fn family(&self, owner: &Uid) -> impl Iterator<Item = (&NodeName, u32)> {
        self.families.get(owner).into_iter().flatten().map(|(node, count)| (node, *count))
    }

    /// How many pods of an owner one node has.
    #[must_use]
    pub fn siblings(&self, owner: &Uid, node: &NodeName) -> u32 {
        self.families.get(owner).and_then(|family| family.get(node)).copied().unwrap_or(0)
    }

    /// Whether any pod wants to be apart from others.
    pub(super) fn is_shy(&self) -> bool {
        self.shy > 0
    }
}
