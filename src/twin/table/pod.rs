//! The row of a pod: what its containers are up to, in one word.

use jiff::Timestamp;

use super::since;
use crate::twin::json::{Value, json};
use crate::twin::object::Look;

/// What a pod's containers add up to.
struct Sum {
    ready: usize,
    reason: String,
    restarts: i64,
    /// When a container ended last.
    ended: Option<Timestamp>,
}

impl Sum {
    fn count(&mut self, container: &Value) {
        self.restarts += container.number("/restartCount").unwrap_or(0);
        self.ended = self.ended.max(container.time("/lastState/terminated/finishedAt"));
    }
}

pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let phase = pod.text("/status/phase");
    let own = pod.text("/status/reason");
    let mut reason = if own.is_empty() { phase } else { own }.to_owned();
    let scheduled = pod.condition("PodScheduled").unwrap_or(&Value::Null);
    if scheduled.text("/reason") == "SchedulingGated" {
        "SchedulingGated".clone_into(&mut reason);
    }
    let sidecars = pod.items("/spec/initContainers").iter().filter(|one| is_sidecar(one)).count();
    let total = pod.items("/spec/containers").len() + sidecars;
    let mut sum = Sum { ready: 0, reason, restarts: 0, ended: None };
    let (initializing, of_sidecars) = start(pod, &mut sum);
    if !initializing || pod.is_true("Initialized") {
        (sum.restarts, sum.ended) = (of_sidecars.restarts, of_sidecars.ended);
        run(pod, &mut sum);
    }
    if pod.is_terminating() && own == "NodeLost" {
        "Unknown".clone_into(&mut sum.reason);
    } else if pod.is_terminating() && !pod.is_finished() {
        "Terminating".clone_into(&mut sum.reason);
    }
    let restarts = match sum.ended {
        Some(at) if sum.restarts != 0 => format!("{} ({} ago)", sum.restarts, since(Some(at), now)),
        _ => sum.restarts.to_string(),
    };
    let or_none = |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
    let gates = pod.items("/spec/readinessGates");
    let open = gates.iter().filter(|gate| pod.is_true(gate.text("/conditionType"))).count();
    let gates = if gates.is_empty() { "<none>".to_owned() } else { format!("{open}/{}", gates.len()) };
    let first_ip = pod.text("/status/podIPs/0/ip");
    vec![
        json!(pod.name()),
        json!(format!("{}/{total}", sum.ready)),
        json!(sum.reason),
        json!(restarts),
        json!(since(pod.time("/metadata/creationTimestamp"), now)),
        json!(or_none(if first_ip.is_empty() { pod.text("/status/podIP") } else { first_ip })),
        json!(or_none(pod.text("/spec/nodeName"))),
        json!(or_none(pod.text("/status/nominatedNodeName"))),
        json!(gates),
    ]
}

fn is_sidecar(container: &Value) -> bool {
    container.text("/restartPolicy") == "Always"
}

/// Why a container that ended did so, where it says nothing itself.
fn ending(terminated: &Value) -> String {
    match (terminated.text("/reason"), terminated.number("/signal").unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated.number("/exitCode").unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

/// Goes through the init containers. Returns whether one of them keeps the pod from starting, and what the sidecars
/// among them add up to.
fn start(pod: &Value, sum: &mut Sum) -> (bool, Sum) {
    let mut sidecars = Sum { ready: 0, reason: String::new(), restarts: 0, ended: None };
    let wanted = pod.items("/spec/initContainers");
    for (index, container) in pod.items("/status/initContainerStatuses").iter().enumerate() {
        let sidecar = wanted.iter().any(|one| one.text("/name") == container.text("/name") && is_sidecar(one));
        sum.count(container);
        if sidecar {
            sidecars.count(container);
        }
        let terminated = container.at("/state/terminated");
        if !terminated.is_null() && terminated.number("/exitCode").unwrap_or(0) == 0 {
            continue;
        }
        if sidecar && container.flag("/started") {
            sum.ready += usize::from(container.flag("/ready"));
            continue;
        }
        let waiting = container.text("/state/waiting/reason");
        sum.reason = if !terminated.is_null() {
            format!("Init:{}", ending(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", wanted.len())
        };
        return (true, sidecars);
    }
    (false, sidecars)
}

fn run(pod: &Value, sum: &mut Sum) {
    let mut running = false;
    for container in pod.items("/status/containerStatuses").iter().rev() {
        sum.count(container);
        let (waiting, terminated) = (container.text("/state/waiting/reason"), container.at("/state/terminated"));
        if !waiting.is_empty() {
            waiting.clone_into(&mut sum.reason);
        } else if !terminated.is_null() {
            sum.reason = ending(terminated);
        } else if container.flag("/ready") && !container.at("/state/running").is_null() {
            running = true;
            sum.ready += 1;
        }
    }
    if sum.reason == "Completed" && running {
        sum.reason = if pod.is_true("Ready") { "Running" } else { "NotReady" }.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(pod: &Value) -> (String, String, String) {
        let cells = cells(pod, "2026-11-24T01:00:00Z".parse().unwrap());
        let text = |index: usize| cells[index].as_str().unwrap().to_owned();
        (text(1), text(2), text(3))
    }

    #[test]
    fn a_pod_says_in_one_word_how_it_is() {
        let spec = json!({ "containers": [{ "name": "a" }, { "name": "b" }] });
        let up = json!({ "name": "a", "ready": true, "restartCount": 0, "state": { "running": {} } });
        let ended = |reason: &str, code: i32| json!({ "name": "b", "state": { "terminated": { "reason": reason, "exitCode": code } } });
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        let again = json!({
            "name": "b", "ready": true, "restartCount": 2, "state": { "running": {} },
            "lastState": { "terminated": { "finishedAt": "2026-11-24T00:58:00Z" } },
        });
        let rows = [
            (json!({ "phase": "Pending" }), ("0/2", "Pending", "0")),
            (json!({ "phase": "Failed", "reason": "Evicted" }), ("0/2", "Evicted", "0")),
            (json!({ "phase": "Running", "containerStatuses": [up, again] }), ("2/2", "Running", "2 (2m ago)")),
            (json!({ "phase": "Running", "containerStatuses": [up, ended("", 3)] }), ("1/2", "ExitCode:3", "0")),
            (
                json!({ "phase": "Running", "containerStatuses": [up, ended("Completed", 0)], "conditions": ready }),
                ("1/2", "Running", "0"),
            ),
            (json!({ "phase": "Running", "containerStatuses": [up, ended("Completed", 0)] }), ("1/2", "NotReady", "0")),
            (
                json!({ "phase": "Pending", "initContainerStatuses": [{ "name": "i", "state": { "running": {} } }] }),
                ("0/2", "Init:0/0", "0"),
            ),
            (
                json!({ "phase": "Pending", "conditions": [
                    { "type": "PodScheduled", "status": "False", "reason": "SchedulingGated" }] }),
                ("0/2", "SchedulingGated", "0"),
            ),
        ];
        for (status, (ready, word, restarts)) in rows {
            let mut pod = json!({ "metadata": { "name": "p" }, "spec": spec, "status": status });
            let expected = (ready.to_owned(), word.to_owned(), restarts.to_owned());
            assert_eq!(printed(&pod), expected, "{status}");
            crate::twin::object::set(&mut pod, "/metadata/deletionTimestamp", "2026-11-24T01:00:00Z");
            let terminating = if word == "Evicted" { "Evicted" } else { "Terminating" };
            assert_eq!(printed(&pod).1, terminating, "{status}");
        }
    }
}
