//! Garbage: objects whose owners are gone, pods whose node is gone, and namespaces that are being deleted.

use crate::twin::json::Value;
use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Look, set};
use crate::twin::world::World;

pub(super) fn run(world: &mut World) {
    for key in world.work.garbage.take(world.now) {
        let Some(object) = world.object(&key) else { continue };
        if !object.is_terminating() && is_garbage(world, &key, &object) {
            world.begin_deletion(&key, None);
        }
        // Pods of a node that is gone have no kubelet that would end them.
        let node = object.text("/spec/nodeName");
        if key.kind == Kind::Pod && !node.is_empty() && world.store.get(&Key::cluster(Kind::Node, node)).is_none() {
            world.begin_deletion(&key, Some(0));
        }
    }
    for name in world.work.leaving.clone() {
        let key = Key::cluster(Kind::Namespace, &name);
        if world.store.get(&key).is_none() {
            world.work.leaving.remove(&name);
        } else if world.store.every().any(|(other, _)| other.namespace == name) {
            world.edit(&key, |namespace| set(namespace, "/status/phase", "Terminating"));
        } else {
            world.remove(&key);
        }
    }
}

fn is_garbage(world: &World, key: &Key, object: &Value) -> bool {
    let owners = object.items("/metadata/ownerReferences");
    let orphaned = !owners.is_empty()
        && owners.iter().all(|owner| {
            // Of an owner of a kind that is not served nobody can tell whether it is gone.
            let served = Kind::of_object(owner.text("/apiVersion"), owner.text("/kind")).is_some();
            served && !world.store.has_uid(owner.text("/uid"))
        });
    orphaned || (!key.namespace.is_empty() && world.work.leaving.contains(&key.namespace))
}
