//! StatefulSets: pods with names that stay, made one after the other, replaced only when the old one is gone.

use super::deployments::{copy_count, pod_of, pods_of};
use crate::twin::json::{Value, json};
use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Look, list, map, place, set};
use crate::twin::world::World;

pub(super) fn stateful_set(world: &mut World, key: &Key) {
    let Some(owner) = world.object(key) else { return };
    let wanted = owner.number("/spec/replicas").unwrap_or(1);
    let ordered = owner.text("/spec/podManagementPolicy") != "Parallel";
    for ordinal in 0..wanted {
        let name = format!("{}-{ordinal}", key.name);
        let pod_key = Key::new(Kind::Pod, &key.namespace, &name);
        match world.object(&pod_key) {
            None => {
                claims(world, &owner, &name);
                // A namesake, or a namespace that is ending: tried again at the next change.
                let made = world.create(Kind::Pod, stateful_pod(&owner, &name, ordinal));
                if ordered || made.is_err() {
                    break;
                }
            }
            Some(pod) => {
                if pod.is_finished() && pod.is_controlled_by(owner.uid()) && !pod.is_terminating() {
                    world.begin_deletion(&pod_key, Some(0));
                    break;
                }
                if ordered && (pod.is_terminating() || !pod.is_true("Ready")) {
                    break;
                }
            }
        }
    }
    let pods = pods_of(world, &key.namespace, owner.uid());
    let ordinal = |pod: &Value| pod.name().rsplit_once('-').and_then(|(_, number)| number.parse::<i64>().ok());
    // Scaling down takes the highest away first, one at a time.
    let last =
        pods.iter().filter(|(_, pod)| ordinal(pod).is_some_and(|at| at >= wanted)).max_by_key(|(_, pod)| ordinal(pod));
    if let Some((surplus, pod)) = last
        && !pod.is_terminating()
    {
        world.begin_deletion(surplus, None);
    }
    let alive = |ready: bool| {
        let pods = pods.iter().filter(|(_, pod)| !pod.is_terminating() && (!ready || pod.is_true("Ready")));
        i64::try_from(pods.count()).ok()
    };
    world.edit(key, |object| {
        copy_count(object, "replicas", i64::try_from(pods.len()).ok());
        for name in ["currentReplicas", "updatedReplicas"] {
            copy_count(object, name, alive(false));
        }
        for name in ["readyReplicas", "availableReplicas"] {
            copy_count(object, name, alive(true));
        }
        let generation = object.number("/metadata/generation").unwrap_or(0);
        set(object, "/status/observedGeneration", generation);
    });
}

fn stateful_pod(owner: &Value, name: &str, ordinal: i64) -> Value {
    let mut pod = pod_of(owner);
    set(&mut pod, "/metadata/name", name);
    super::super::object::unset(&mut pod, "/metadata/generateName");
    let labels = map(place(&mut pod, "/metadata/labels"));
    labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), json!(name));
    labels.insert("apps.kubernetes.io/pod-index".to_owned(), json!(ordinal.to_string()));
    set(&mut pod, "/spec/hostname", name);
    for template in owner.items("/spec/volumeClaimTemplates") {
        let volume = template.name();
        let claim = json!({ "name": volume, "persistentVolumeClaim": { "claimName": format!("{volume}-{name}") } });
        list(&mut pod, "/spec/volumes").push(claim);
    }
    pod
}

/// Makes the claims of a pod that are not there yet; they outlive it.
fn claims(world: &mut World, owner: &Value, pod: &str) {
    for template in owner.items("/spec/volumeClaimTemplates") {
        let name = format!("{}-{pod}", template.name());
        let key = Key::new(Kind::PersistentVolumeClaim, owner.namespace(), &name);
        if world.store.get(&key).is_none() {
            let claim = json!({
                "metadata": { "name": name, "namespace": owner.namespace() },
                "spec": template.at("/spec").clone(),
            });
            // Where it cannot be made, the pod stays Pending and says which claim it lacks.
            let _ = world.create(Kind::PersistentVolumeClaim, claim);
        }
    }
}
