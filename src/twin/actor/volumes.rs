//! Attaching volumes to the nodes of their pods, and detaching them a while after the last pod is gone.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{later, sooner};
use crate::twin::json::json;
use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Look, set};
use crate::twin::world::World;

pub(super) fn run(world: &mut World) -> Option<Timestamp> {
    let marked = std::mem::take(&mut world.work.volumes);
    if !marked && world.detaching.values().all(|at| *at > world.now) {
        return world.detaching.values().min().copied();
    }
    let wanted = wanted(world);
    for (volume, node, driver) in &wanted {
        let name = attachment(volume, node);
        world.detaching.remove(&name);
        let key = Key::cluster(Kind::VolumeAttachment, &name);
        if world.store.get(&key).is_none() {
            let object = json!({
                "metadata": { "name": name },
                "spec": { "attacher": driver, "nodeName": node, "source": { "persistentVolumeName": volume } },
            });
            if world.create(Kind::VolumeAttachment, object).is_ok() {
                world.edit(&key, |attachment| set(attachment, "/status/attached", true));
            }
        }
    }
    let names: BTreeSet<String> = wanted.iter().map(|(volume, node, _)| attachment(volume, node)).collect();
    let present: Vec<String> = world
        .store
        .all(Kind::VolumeAttachment)
        // Those that a manifest brings along are left alone: nobody knows whose they are.
        .filter(|attachment| attachment.name().starts_with("csi-") && !names.contains(attachment.name()))
        .map(|attachment| attachment.name().to_owned())
        .collect();
    world.detaching.retain(|name, _| present.contains(name));
    let now = world.now;
    let end = later(now, world.delays.volume_detach);
    let mut next = None;
    for name in present {
        let at = *world.detaching.entry(name.clone()).or_insert(end);
        if at <= now {
            world.detaching.remove(&name);
            world.remove(&Key::cluster(Kind::VolumeAttachment, &name));
        } else {
            next = sooner(next, Some(at));
        }
    }
    // What it wrote itself asks nothing more of it.
    world.work.volumes = false;
    next
}

/// Volume, node and driver of every volume that a bound pod uses.
fn wanted(world: &World) -> BTreeSet<(String, String, String)> {
    let mut wanted = BTreeSet::new();
    for (_, pod) in world.store.claiming() {
        let node = pod.text("/spec/nodeName");
        if node.is_empty() || pod.is_finished() {
            continue;
        }
        for volume in pod.items("/spec/volumes") {
            let claim = volume.text("/persistentVolumeClaim/claimName");
            let claim = world.store.get(&Key::new(Kind::PersistentVolumeClaim, pod.namespace(), claim));
            let Some(name) = claim.map(|claim| claim.text("/spec/volumeName")) else { continue };
            let Some(volume) = world.store.get(&Key::cluster(Kind::PersistentVolume, name)) else { continue };
            // Only what a CSI driver provides is attached; a local disk is where it is.
            let driver = volume.text("/spec/csi/driver");
            if !driver.is_empty() {
                wanted.insert((name.to_owned(), node.to_owned(), driver.to_owned()));
            }
        }
    }
    wanted
}

fn attachment(volume: &str, node: &str) -> String {
    let hash = volume
        .bytes()
        .chain([b'/'])
        .chain(node.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("csi-{hash:016x}")
}
