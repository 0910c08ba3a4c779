//! Whom a change concerns.

use std::collections::BTreeSet;

use super::actor::{Actor, is_reboot, member, sim};
use super::index::claims;
use super::json::{Text, Value};
use super::kind::{Key, Kind};
use super::object::{Look, PodFacts};
use super::view;
use super::world::World;
use crate::model::Budget;
use crate::rules::budget::Member;

/// A budget, understood, with the pods that its selector covers.
#[derive(Debug, Clone)]
pub(super) struct Covered {
    pub(super) budget: Budget,
    /// The pods in order, and each of them as it is counted.
    pub(super) pods: Vec<Key>,
    pub(super) members: Vec<Member>,
    /// Whether an owner of pods has changed since, so that whose pods they are has to be found out anew.
    pub(super) rescaled: bool,
}

impl Covered {
    fn put(&mut self, pod: &Key, member: Member) {
        match self.pods.binary_search(pod) {
            Ok(at) => self.members[at] = member,
            Err(at) => {
                self.pods.insert(at, pod.clone());
                self.members.insert(at, member);
            }
        }
    }

    fn take(&mut self, pod: &Key) {
        if let Ok(at) = self.pods.binary_search(pod) {
            self.pods.remove(at);
            self.members.remove(at);
        }
    }
}

impl World {
    /// Marks what a change concerns, and lets those look at it who have to, each after its reaction time.
    pub(super) fn concern(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        match key.kind {
            Kind::Node => self.node_changed(key, before, after),
            Kind::Pod => self.pod_changed(key, before, after),
            Kind::PodDisruptionBudget => self.budget_changed(key, after),
            Kind::Deployment | Kind::ReplicaSet | Kind::StatefulSet | Kind::DaemonSet | Kind::Job => {
                self.workload_changed(key, before, after);
            }
            Kind::Namespace => {
                if after.is_some_and(Look::is_terminating) {
                    self.work.leaving.insert(key.name.clone());
                    if !before.is_some_and(Look::is_terminating) {
                        let inside: Vec<Key> = self.store.every().map(|(inside, _)| inside.clone()).collect();
                        for inside in inside.into_iter().filter(|inside| inside.namespace == key.name) {
                            self.work.garbage.mark(inside);
                        }
                    }
                }
                self.site.stale |= before.map(|it| it.at("/metadata/labels"))
                    != after.map(|it| it.at("/metadata/labels"))
                    && self.site.has_peers;
            }
            Kind::PersistentVolume
            | Kind::PersistentVolumeClaim
            | Kind::StorageClass
            | Kind::VolumeAttachment
            | Kind::CSINode => {
                self.work.volumes = true;
                self.work.placing = true;
                if key.kind == Kind::CSINode {
                    self.site.nodes.insert(key.name.clone());
                } else {
                    self.site.pods.extend(self.store.claiming().map(|(pod, _)| pod.clone()));
                }
            }
            _ => {}
        }
        self.ownership_changed(key, before, after);
        if self.is_restless() || matches!(key.kind, Kind::Lease | Kind::Event) {
            return;
        }
        self.wake();
    }

    fn ownership_changed(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        let owned = after.is_some_and(|object| !object.items("/metadata/ownerReferences").is_empty());
        let new =
            before.map(|it| it.at("/metadata/ownerReferences")) != after.map(|it| it.at("/metadata/ownerReferences"));
        let leaving = self.work.leaving.contains(&key.namespace);
        if (owned && new) || leaving {
            self.work.garbage.mark(key.clone());
        }
        // Those that it owned may be nobody's now.
        if let (Some(gone), None) = (before, after) {
            let orphans: Vec<Key> = self.store.owned(gone.uid()).map(|(orphan, _)| orphan.clone()).collect();
            for orphan in orphans {
                self.work.garbage.mark(orphan);
            }
        }
    }

    fn node_changed(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        let name = &key.name;
        self.work.machines.mark(name.clone());
        self.work.nodes.mark(name.clone());
        fn offers(node: &Value) -> [&Value; 4] {
            ["/metadata/uid", "/metadata/labels", "/spec/taints", "/spec/unschedulable"].map(|part| node.at(part))
        }
        fn room(node: &Value) -> &Value {
            node.at("/status/allocatable")
        }
        // What is asked below is looked up only where something of it may have changed.
        let same = |part: &str| before.zip(after).is_some_and(|(before, after)| before.at(part) == after.at(part));
        let renamed = !(same("/metadata/uid") && same("/metadata/labels"));
        let offered = (renamed || !same("/spec")) && before.map(offers) != after.map(offers);
        if offered || before.map(room) != after.map(room) {
            self.work.placing = true;
            self.site.nodes.insert(name.clone());
        }
        if offered {
            self.work.daemon_nodes.insert(name.clone());
        }
        // What pods take from their node.
        fn gives(node: &Value) -> (&str, &Value, [Option<&str>; 3]) {
            let wishes = [sim::READY_AFTER, sim::STOPS_AFTER, sim::PULL_FAILS].map(|wish| node.annotation(wish));
            (node.uid(), node.at("/status/addresses"), wishes)
        }
        let given = same("/metadata/uid") && same("/metadata/annotations") && same("/status/addresses");
        if !given && before.map(gives) != after.map(gives) {
            let pods: Vec<Key> = self.store.pods_on(name).map(|(pod, _)| pod.clone()).collect();
            for pod in pods {
                if after.is_none() {
                    self.work.garbage.mark(pod.clone());
                }
                self.work.pods.mark(pod);
            }
        }
    }

    fn pod_changed(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        let (was, is) = (before.map(PodFacts::of), after.map(PodFacts::of));
        let node = |facts: Option<PodFacts<'_>>| facts.map_or_else(Text::default, |facts| facts.node().into());
        let same_spec = was.map(|was| was.spec) == is.map(|is| is.spec);
        let is_on = node(is);
        let was_on = if same_spec { is_on.clone() } else { node(was) };
        fn seen<'a>(pod: PodFacts<'a>) -> (&'a str, [&'a Value; 2], bool, bool) {
            (pod.uid, [pod.labels, pod.owners], pod.terminating, pod.is_finished())
        }
        if !same_spec || was.map(seen) != is.map(seen) {
            self.site.pods.insert(key.clone());
        }
        if after.is_some() {
            if is_on.is_empty() {
                self.work.placing = true;
            } else {
                self.work.pods.mark(key.clone());
                if was_on != is_on {
                    self.work.nodes.mark(is_on.clone());
                    if self.store.get(&Key::cluster(Kind::Node, &is_on)).is_none() {
                        self.work.garbage.mark(key.clone());
                    }
                }
            }
        }
        for (pod, on) in [(before, &was_on), (after, &is_on)] {
            if pod.is_some_and(is_reboot) && !on.is_empty() {
                self.work.machines.mark(on.clone());
            }
        }
        if let Some(was) = was {
            let replaced = is.is_none_or(|is| is.uid != was.uid);
            if replaced && let Some(machine) = self.machines.get_mut(&was_on) {
                machine.forget(was.uid);
            }
            // Room has come free, or others see other neighbours.
            self.work.placing |=
                is.is_none_or(|is| is.is_finished() || is.terminating != was.terminating || is.labels != was.labels);
        }
        if [before, after].into_iter().flatten().any(claims) {
            self.work.volumes = true;
        }
        self.pod_counted(key, was, (after, is));
        // What its owner does not count is nothing to it.
        fn owned<'a>(pod: PodFacts<'a>) -> (&'a str, &'a Value, &'a str, bool, bool) {
            (pod.uid, pod.owners, pod.phase, pod.terminating, pod.ready)
        }
        let counted = !same_spec || was.map(owned) != is.map(owned);
        for pod in [before, after].into_iter().flatten().filter(|_| counted) {
            let Some(owner) = pod.controller() else { continue };
            let Some(kind) = Kind::of_object(owner.text("/apiVersion"), owner.text("/kind")) else { continue };
            let owner = Key::new(kind, &key.namespace, owner.text("/name"));
            if kind == Kind::DaemonSet {
                self.work.daemon_pods.insert((owner, super::actor::daemon_node(pod).into()));
            } else {
                self.work.workloads.mark(owner);
            }
        }
        // A namesake stands in the way of a StatefulSet whoever owns it.
        if (before.is_none() || after.is_none())
            && let Some((set, _)) = key.name.rsplit_once('-')
        {
            let set = Key::new(Kind::StatefulSet, &key.namespace, set);
            if self.store.get(&set).is_some() {
                self.work.workloads.mark(set);
            }
        }
    }

    /// Keeps the budgets' members, and marks the budgets whose count it may change.
    fn pod_counted(
        &mut self,
        key: &Key,
        was: Option<PodFacts<'_>>,
        (after, is): (Option<&Value>, Option<PodFacts<'_>>),
    ) {
        fn counts<'a>(pod: PodFacts<'a>) -> (&'a str, bool, bool, &'a Value) {
            (pod.uid, pod.ready, pod.terminating, pod.owners)
        }
        let relabelled = was.map(|was| was.labels) != is.map(|is| is.labels);
        let recounted = was.map(counts) != is.map(counts);
        if !relabelled && !recounted {
            return;
        }
        let was = if relabelled { self.covering.remove(key) } else { self.covering.get(key).cloned() };
        let was = was.unwrap_or_default();
        let is = match after {
            None => BTreeSet::new(),
            Some(_) if !relabelled => was.clone(),
            Some(pod) => self.selecting(&key.namespace, pod),
        };
        for budget in was.difference(&is) {
            if let Some(covered) = self.covered.get_mut(budget) {
                covered.take(key);
            }
            self.work.budgets.mark(budget.clone());
        }
        let counted = after.filter(|_| !is.is_empty()).map(|pod| member(pod, &self.store));
        for budget in &is {
            if let (Some(covered), Some(counted)) = (self.covered.get_mut(budget), &counted) {
                covered.put(key, counted.clone());
            }
            self.work.budgets.mark(budget.clone());
        }
        if relabelled && !is.is_empty() {
            self.covering.insert(key.clone(), is);
        }
    }

    /// The budgets whose selectors cover a pod.
    fn selecting(&self, namespace: &str, pod: &Value) -> BTreeSet<Key> {
        let first = Key::new(Kind::PodDisruptionBudget, namespace, "");
        self.covered
            .range(first..)
            .take_while(|(budget, _)| budget.namespace == namespace)
            .filter(|(_, covered)| view::selects(covered.budget.selector.as_ref(), pod))
            .map(|(budget, _)| budget.clone())
            .collect()
    }

    fn budget_changed(&mut self, key: &Key, after: Option<&Value>) {
        self.work.budgets.mark(key.clone());
        let known = self.covered.remove(key);
        let budget = after.and_then(|object| view::budget(object).ok());
        let same = |known: &Covered| budget.as_ref().is_some_and(|budget| known.budget.selector == budget.selector);
        let known = match known {
            Some(known) if same(&known) => Some(known),
            Some(known) => {
                for pod in &known.pods {
                    if let Some(budgets) = self.covering.get_mut(pod) {
                        budgets.remove(key);
                        if budgets.is_empty() {
                            self.covering.remove(pod);
                        }
                    }
                }
                None
            }
            None => None,
        };
        let Some(budget) = budget else { return };
        let covered = match known {
            Some(known) => Covered { budget, ..known },
            None => {
                let (pods, members): (Vec<Key>, Vec<Member>) = self
                    .store
                    .within(Kind::Pod, &key.namespace)
                    .filter(|(_, pod)| view::selects(budget.selector.as_ref(), pod))
                    .map(|(pod, object)| (pod.clone(), member(object, &self.store)))
                    .unzip();
                for pod in &pods {
                    self.covering.entry(pod.clone()).or_default().insert(key.clone());
                }
                Covered { budget, pods, members, rescaled: false }
            }
        };
        self.covered.insert(key.clone(), covered);
    }

    /// The budgets that cover a pod, in order of their names.
    pub(super) fn budgets_over(&self, pod: &Key) -> impl Iterator<Item = &Budget> {
        let covering = self.covering.get(pod).into_iter().flatten();
        covering.filter_map(|budget| self.covered.get(budget)).map(|covered| &covered.budget)
    }

    fn workload_changed(&mut self, key: &Key, before: Option<&Value>, after: Option<&Value>) {
        self.work.workloads.mark(key.clone());
        for object in [before, after].into_iter().flatten() {
            if let Some(owner) = object.controller()
                && let Some(kind) = Kind::of_object(owner.text("/apiVersion"), owner.text("/kind"))
            {
                self.work.workloads.mark(Key::new(kind, &key.namespace, owner.text("/name")));
            }
        }
        fn scale(object: &Value) -> (&str, Option<i64>, &Value) {
            (object.uid(), object.number("/spec/replicas"), object.at("/metadata/ownerReferences"))
        }
        if before.map(scale) != after.map(scale) {
            let budgets: Vec<Key> = self
                .store
                .within(Kind::PodDisruptionBudget, &key.namespace)
                .map(|(budget, _)| budget.clone())
                .collect();
            for budget in budgets {
                if let Some(covered) = self.covered.get_mut(&budget) {
                    covered.rescaled = true;
                }
                self.work.budgets.mark(budget);
            }
        }
    }

    /// Lets every actor look that has something to look at, after its reaction time.
    pub(super) fn wake(&mut self) {
        for actor in Actor::ALL {
            if actor.is_wanted(self) {
                let at = self.now.saturating_add(actor.reaction()).unwrap_or(self.now);
                self.plan(*actor, at);
            }
        }
    }

    /// Marks everything, for a cluster of which it is not known what was looked at.
    pub(super) fn concern_all(&mut self) {
        let restless = std::mem::replace(&mut self.restless, true);
        let all: Vec<Key> = self.store.every().map(|(key, _)| key.clone()).collect();
        for key in all {
            if let Some(object) = self.object(&key) {
                self.concern(&key, None, Some(&object));
            }
        }
        self.restless = restless;
    }
}
