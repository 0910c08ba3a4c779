//! Jobs, in their plain form: so many pods at a time until so many have succeeded.

use super::deployments::{pod_of, pods_of};
use crate::twin::json::json;
use crate::twin::kind::{Key, Kind};
use crate::twin::object::{Condition, Look, map, place, set, set_condition, stamp};
use crate::twin::world::World;

pub(super) fn job(world: &mut World, key: &Key) {
    let Some(owner) = world.object(key) else { return };
    let pods = pods_of(world, &key.namespace, owner.uid());
    let of_phase = |phase: &str| {
        let pods = pods.iter().filter(|(_, pod)| pod.text("/status/phase") == phase);
        i64::try_from(pods.count()).unwrap_or(0)
    };
    let (succeeded, failed) = (of_phase("Succeeded"), of_phase("Failed"));
    let alive = pods.iter().filter(|(_, pod)| !pod.is_finished() && !pod.is_terminating()).count();
    let mut active = i64::try_from(alive).unwrap_or(0);
    let completions = owner.number("/spec/completions").unwrap_or(1);
    let parallelism = owner.number("/spec/parallelism").unwrap_or(1);
    let backoff = owner.number("/spec/backoffLimit").unwrap_or(6);
    let over = owner.is_true("Complete") || owner.is_true("Failed");
    while !over && failed <= backoff && active < parallelism.min(completions - succeeded) {
        let mut pod = pod_of(&owner);
        for label in ["batch.kubernetes.io/job-name", "job-name"] {
            map(place(&mut pod, "/metadata/labels")).insert(label.to_owned(), json!(key.name));
        }
        if world.create(Kind::Pod, pod).is_err() {
            break;
        }
        active += 1;
    }
    let now = world.now;
    world.edit(key, |object| {
        set(object, "/status/active", active);
        set(object, "/status/succeeded", succeeded);
        set(object, "/status/failed", failed);
        if object.at("/status/startTime").is_null() {
            set(object, "/status/startTime", stamp(now));
        }
        let end = if succeeded >= completions {
            Some("Complete")
        } else if failed > backoff {
            Some("Failed")
        } else {
            None
        };
        if end == Some("Complete") && object.at("/status/completionTime").is_null() {
            set(object, "/status/completionTime", stamp(now));
        }
        if let Some(kind) = end {
            set_condition(object, &Condition { kind, status: "True", reason: "", message: "" }, now);
        }
    });
}
