//! The status that a pod should have now.

use jiff::{SignedDuration, Timestamp};

use super::machine::{PodRun, asked, sim, wished};
use super::{later, sooner};
use crate::model::{LABEL_COMPONENT, REBOOT_COMPONENT};
use crate::twin::json::{Value, json};
use crate::twin::object::{Condition, Look, hash, set, set_condition, stamp};
use crate::twin::world::Delays;

/// What a killed, a stopped and a lost process leave behind.
const EXIT_KILLED: i64 = 137;
const EXIT_TERMINATED: i64 = 143;
const EXIT_LOST: i64 = 255;

/// Whether a pod takes its node down when it is told to.
pub(in crate::twin) fn is_reboot(pod: &Value) -> bool {
    pod.label(LABEL_COMPONENT) == Some(REBOOT_COMPONENT)
}

/// Brings the status of a pod up to date. Returns when it changes next by itself.
pub(super) fn bring(pod: &mut Value, run: &PodRun, node: &Value, delays: &Delays, now: Timestamp) -> Option<Timestamp> {
    if pod.is_finished() {
        return None;
    }
    if run.lost {
        // The reboot pod has done what it was for; anything else was cut off.
        let code = if is_reboot(pod) { 0 } else { EXIT_LOST };
        finish(pod, run, now, code, "");
        return None;
    }
    let started = pod.text("/status/phase") == "Running";
    if let Some(stopping) = run.stopping {
        if !started {
            return None;
        }
        let takes = asked(sim::STOPS_AFTER, delays.pod_stop, &[pod, node]);
        let ended = later(stopping, takes);
        let killed = run.killed.map_or(ended, |(_, at)| at);
        let end = ended.min(killed);
        if now < end {
            return Some(end);
        }
        let code = if killed < ended {
            EXIT_KILLED
        } else if pod.text("/spec/restartPolicy") == "Always" {
            0
        } else {
            // A job that was told to stop has not completed.
            EXIT_TERMINATED
        };
        finish(pod, run, now, code, "");
        return None;
    }
    let mut next = None;
    if let Some(seconds) = pod.number("/spec/activeDeadlineSeconds") {
        let start = pod.time("/status/startTime").unwrap_or(run.since);
        let deadline = later(start, SignedDuration::from_secs(seconds));
        if now >= deadline {
            finish(pod, run, now, EXIT_KILLED, "DeadlineExceeded");
            return None;
        }
        next = sooner(next, Some(deadline));
    }
    if !started && wished(sim::PULL_FAILS, &[pod, node]) {
        waiting(pod, run, now);
        return next;
    }
    if let Some(complete) = pod.annotation(sim::COMPLETE_AFTER).and_then(crate::twin::object::duration)
        && pod.text("/spec/restartPolicy") != "Always"
    {
        let end = later(run.since, complete);
        if now >= end && started {
            finish(pod, run, now, 0, "");
            return None;
        }
        next = sooner(next, Some(end.max(now)).filter(|end| *end > now));
    }
    let ready_at = later(run.since, asked(sim::READY_AFTER, delays.pod_ready, &[pod, node]));
    let never = pod.annotation(sim::NEVER_READY) == Some("true");
    let ready = !never && now >= ready_at;
    if !never && !ready {
        next = sooner(next, Some(ready_at));
    }
    running(pod, run, node, ready, now);
    next
}

/// Whether a pod's containers wait for their image.
pub(super) fn is_waiting(pod: &Value) -> bool {
    !pod.at("/status/containerStatuses/0/state/waiting").is_null()
}

/// Fills in the status of a pod whose image cannot be pulled: its node has taken it, and none of its containers runs.
fn waiting(pod: &mut Value, run: &PodRun, now: Timestamp) {
    set(pod, "/status/phase", "Pending");
    if pod.at("/status/startTime").is_null() {
        set(pod, "/status/startTime", stamp(run.since));
    }
    let statuses = pod.items("/spec/containers").iter().map(|container| {
        let message = format!("Back-off pulling image \"{}\"", container.text("/image"));
        json!({
            "name": container.text("/name"), "image": container.text("/image"), "imageID": "",
            "ready": false, "started": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ImagePullBackOff", "message": message } },
        })
    });
    let statuses: Value = statuses.collect();
    set(pod, "/status/containerStatuses", statuses);
    let not = ("False", "ContainersNotReady");
    for (kind, (status, reason)) in [
        ("PodReadyToStartContainers", ("True", "")),
        ("Initialized", ("True", "")),
        ("ContainersReady", not),
        ("Ready", not),
    ] {
        set_condition(pod, &Condition { kind, status, reason, message: "" }, now);
    }
}

/// Fills in the status of a pod whose containers run.
fn running(pod: &mut Value, run: &PodRun, node: &Value, ready: bool, now: Timestamp) {
    set(pod, "/status/phase", "Running");
    if pod.at("/status/startTime").is_null() {
        set(pod, "/status/startTime", stamp(run.since));
    }
    let host = node.text("/status/addresses/0/address").to_owned();
    if !host.is_empty() {
        set(pod, "/status/hostIP", host.as_str());
        if pod.text("/status/hostIPs/0/ip") != host {
            set(pod, "/status/hostIPs", json!([{ "ip": host }]));
        }
    }
    if pod.at("/status/podIP").is_null() {
        let hash = hash(pod.uid());
        let own = format!("10.{}.{}.{}", 128 + (hash & 0x3f), (hash >> 8) & 0xff, (hash >> 16) & 0xff);
        let address = if pod.flag("/spec/hostNetwork") && !host.is_empty() { host } else { own };
        set(pod, "/status/podIP", address.as_str());
        set(pod, "/status/podIPs", json!([{ "ip": address }]));
    }
    let state = json!({ "running": { "startedAt": stamp(run.since) } });
    containers(pod, run, &state, ready);
    let verdict = |value: bool| if value { ("True", "") } else { ("False", "ContainersNotReady") };
    for (kind, value) in [("PodReadyToStartContainers", true), ("Initialized", true), ("ContainersReady", ready)] {
        let (status, reason) = verdict(value);
        set_condition(pod, &Condition { kind, status, reason, message: "" }, now);
    }
    let gates = pod.items("/spec/readinessGates").iter().all(|gate| pod.is_true(gate.text("/conditionType")));
    let (status, reason) = if ready && !gates { ("False", "ReadinessGatesNotReady") } else { verdict(ready) };
    set_condition(pod, &Condition { kind: "Ready", status, reason, message: "" }, now);
}

/// Fills in the status of a pod whose containers have ended for good.
fn finish(pod: &mut Value, run: &PodRun, now: Timestamp, code: i64, reason: &str) {
    let (phase, why, condition) =
        if code == 0 { ("Succeeded", "Completed", "PodCompleted") } else { ("Failed", "Error", "PodFailed") };
    set(pod, "/status/phase", phase);
    if !reason.is_empty() {
        set(pod, "/status/reason", reason);
    }
    let ended = json!({ "exitCode": code, "reason": why, "startedAt": stamp(run.since), "finishedAt": stamp(now) });
    containers(pod, run, &json!({ "terminated": ended }), false);
    for kind in ["ContainersReady", "Ready"] {
        set_condition(pod, &Condition { kind, status: "False", reason: condition, message: "" }, now);
    }
}

/// The statuses of containers that are all in one state.
fn containers(pod: &mut Value, run: &PodRun, state: &Value, ready: bool) {
    // What is as it should be is not made anew.
    let (known, all) = (pod.items("/status/containerStatuses"), pod.items("/spec/containers"));
    let same = |(known, container): (&Value, &Value)| {
        known.text("/name") == container.text("/name")
            && known.text("/image") == container.text("/image")
            && *known.at("/ready") == ready
            && known.number("/restartCount") == Some(run.restarts)
            && known.text("/containerID").starts_with("sim://")
            && known.at("/state") == state
    };
    if known.len() == all.len() && known.iter().zip(all).all(same) {
        return;
    }
    let uid = pod.uid().to_owned();
    let statuses: Vec<Value> = pod
        .items("/spec/containers")
        .iter()
        .map(|container| {
            json!({
                "name": container.text("/name"), "image": container.text("/image"),
                "imageID": format!("sim://{:016x}", hash(container.text("/image"))),
                "containerID": format!("sim://{uid}/{}/{}", container.text("/name"), run.restarts),
                "ready": ready, "started": state.get("running").is_some(), "restartCount": run.restarts, "state": state,
            })
        })
        .collect();
    set(pod, "/status/containerStatuses", statuses);
}
