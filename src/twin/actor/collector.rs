//! Garbage: objects whose owners are gone, pods whose node is gone, and namespaces that are being deleted.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Look, set};
use crate::twin::world::World;

pub(super) fn run(world: &mut World) {
    let uids: BTreeSet<String> = world.store.every().map(|(_, object)| object.uid().to_owned()).collect();
    let leaving: BTreeSet<String> = world
        .store
        .all(Kind::Namespace)
        .filter(|namespace| namespace.is_terminating())
        .map(|namespace| namespace.name().to_owned())
        .collect();
    let garbage: Vec<Key> = world
        .store
        .every()
        .filter(|(key, object)| !object.is_terminating() && is_garbage(key, object, &uids, &leaving))
        .map(|(key, _)| key.clone())
        .collect();
    for key in garbage {
        world.begin_deletion(&key, None);
    }
    // Pods of a node that is gone have no kubelet that would end them.
    let stranded: Vec<Key> = world
        .store
        .entries(Kind::Pod)
        .filter(|(_, pod)| {
            let node = pod.text("/spec/nodeName");
            !node.is_empty() && world.store.get(&Key::cluster(Kind::Node, node)).is_none()
        })
        .map(|(key, _)| key.clone())
        .collect();
    for key in stranded {
        world.begin_deletion(&key, Some(0));
    }
    for name in leaving {
        let key = Key::cluster(Kind::Namespace, &name);
        if world.store.every().any(|(other, _)| other.namespace == name) {
            world.edit(&key, |namespace| set(namespace, "/status/phase", "Terminating"));
        } else {
            world.remove(&key);
        }
    }
}

fn is_garbage(key: &Key, object: &Value, uids: &BTreeSet<String>, leaving: &BTreeSet<String>) -> bool {
    let owners = object.items("/metadata/ownerReferences");
    let orphaned = !owners.is_empty()
        && owners.iter().all(|owner| {
            // Of an owner of a kind that is not served nobody can tell whether it is gone.
            let served = Kind::of_object(owner.text("/apiVersion"), owner.text("/kind")).is_some();
            served && !uids.contains(owner.text("/uid"))
        });
    orphaned || (!key.namespace.is_empty() && leaving.contains(&key.namespace))
}
