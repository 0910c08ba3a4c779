//! The cells of each kind, in the order of its columns.

use jiff::Timestamp;

use super::{human, pod, since};
use crate::twin::json::{Value, json};
use crate::twin::kind::Kind;
use crate::twin::object::Look;

pub(super) fn cells(kind: Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let name = json!(object.name());
    let age = json!(since(object.time("/metadata/creationTimestamp"), now));
    let count = |path: &str| json!(object.number(path).unwrap_or(0));
    let text = |path: &str| json!(object.text(path));
    let or = |path: &str, otherwise: &str| json!(said(object.text(path), otherwise));
    let ratio = |ready: &str, wanted: &str| {
        json!(format!("{}/{}", object.number(ready).unwrap_or(0), object.number(wanted).unwrap_or(0)))
    };
    match kind {
        Kind::Pod => pod::cells(object, now),
        Kind::Node => node(object, age),
        Kind::Namespace => vec![name, text("/status/phase"), age],
        Kind::ServiceAccount => vec![name, age],
        Kind::ConfigMap => {
            let entries = object.entries("/data").count() + object.entries("/binaryData").count();
            vec![name, json!(entries), age]
        }
        Kind::Service => vec![
            name,
            or("/spec/type", "ClusterIP"),
            or("/spec/clusterIP", "<none>"),
            json!(external(object)),
            json!(ports(object)),
            age,
            json!(pairs(object.at("/spec/selector"))),
        ],
        Kind::PersistentVolume => {
            let claim = object.at("/spec/claimRef");
            let claim = match claim.text("/name") {
                "" => String::new(),
                name => format!("{}/{name}", claim.text("/namespace")),
            };
            vec![
                name,
                text("/spec/capacity/storage"),
                json!(modes(object.items("/spec/accessModes"))),
                or("/spec/persistentVolumeReclaimPolicy", "Retain"),
                json!(if object.is_terminating() { "Terminating" } else { object.text("/status/phase") }),
                json!(claim),
                text("/spec/storageClassName"),
                or("/spec/volumeAttributesClassName", "<unset>"),
                text("/status/reason"),
                age,
                or("/spec/volumeMode", "Filesystem"),
            ]
        }
        Kind::PersistentVolumeClaim => {
            let bound = !object.text("/spec/volumeName").is_empty();
            vec![
                name,
                json!(if object.is_terminating() { "Terminating" } else { object.text("/status/phase") }),
                text("/spec/volumeName"),
                if bound { text("/status/capacity/storage") } else { json!("") },
                json!(if bound { modes(object.items("/status/accessModes")) } else { String::new() }),
                text("/spec/storageClassName"),
                or("/spec/volumeAttributesClassName", "<unset>"),
                age,
                or("/spec/volumeMode", "Filesystem"),
            ]
        }
        Kind::Event => event(object, now),
        Kind::Deployment => with_template(
            vec![
                name,
                ratio("/status/readyReplicas", "/spec/replicas"),
                count("/status/updatedReplicas"),
                count("/status/availableReplicas"),
                age,
            ],
            object,
        ),
        Kind::ReplicaSet => with_template(
            vec![name, count("/spec/replicas"), count("/status/replicas"), count("/status/readyReplicas"), age],
            object,
        ),
        Kind::StatefulSet => {
            let mut cells = with_template(vec![name, ratio("/status/readyReplicas", "/spec/replicas"), age], object);
            cells.pop();
            cells
        }
        Kind::DaemonSet => with_template(
            vec![
                name,
                count("/status/desiredNumberScheduled"),
                count("/status/currentNumberScheduled"),
                count("/status/numberReady"),
                count("/status/updatedNumberScheduled"),
                count("/status/numberAvailable"),
                json!(pairs(object.at("/spec/template/spec/nodeSelector"))),
                age,
            ],
            object,
        ),
        Kind::Job => job(object, now, name, age),
        Kind::PodDisruptionBudget => {
            let bound = |path: &str| match object.at(path) {
                Value::Number(number) => json!(number.to_string()),
                Value::String(percent) => json!(percent),
                _ => json!("N/A"),
            };
            vec![
                name,
                bound("/spec/minAvailable"),
                bound("/spec/maxUnavailable"),
                count("/status/disruptionsAllowed"),
                age,
            ]
        }
        Kind::Lease => vec![name, text("/spec/holderIdentity"), age],
        Kind::StorageClass => vec![
            name,
            text("/provisioner"),
            or("/reclaimPolicy", "Delete"),
            or("/volumeBindingMode", "Immediate"),
            json!(object.flag("/allowVolumeExpansion")),
            age,
        ],
        Kind::CSINode => vec![name, json!(object.items("/spec/drivers").len()), age],
        Kind::VolumeAttachment => vec![
            name,
            text("/spec/attacher"),
            text("/spec/source/persistentVolumeName"),
            text("/spec/nodeName"),
            json!(object.flag("/status/attached")),
            age,
        ],
        Kind::CertificateSigningRequest => {
            let lasts =
                object.number("/spec/expirationSeconds").map(|seconds| human(jiff::SignedDuration::from_secs(seconds)));
            vec![
                name,
                age,
                or("/spec/signerName", "<none>"),
                text("/spec/username"),
                json!(lasts.unwrap_or_else(|| "<none>".to_owned())),
                json!(request_condition(object)),
            ]
        }
        Kind::PriorityClass => vec![
            name,
            count("/value"),
            json!(object.flag("/globalDefault")),
            age,
            or("/preemptionPolicy", "PreemptLowerPriority"),
        ],
        Kind::Role | Kind::ClusterRole => vec![name, text("/metadata/creationTimestamp")],
        Kind::RoleBinding | Kind::ClusterRoleBinding => {
            let subjects = |kind: &str| {
                let named = object.items("/subjects").iter().filter(|subject| subject.text("/kind") == kind);
                let named: Vec<String> = named
                    .map(|subject| match kind {
                        "ServiceAccount" => format!("{}/{}", subject.text("/namespace"), subject.text("/name")),
                        _ => subject.text("/name").to_owned(),
                    })
                    .collect();
                json!(named.join(", "))
            };
            let role = format!("{}/{}", object.text("/roleRef/kind"), object.text("/roleRef/name"));
            vec![name, json!(role), age, subjects("User"), subjects("Group"), subjects("ServiceAccount")]
        }
    }
}

fn said<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

fn node(node: &Value, age: Value) -> Vec<Value> {
    let mut status = match node.condition("Ready") {
        Some(_) if node.is_true("Ready") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node.flag("/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = node
        .entries("/metadata/labels")
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role).filter(|role| !role.is_empty()),
            None => value.as_str().filter(|_| key == "kubernetes.io/role"),
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    let address = |of: &str| {
        let found = node.items("/status/addresses").iter().find(|address| address.text("/type") == of);
        json!(found.map_or("<none>", |address| address.text("/address")))
    };
    let info = |path: &str| said(node.text(path), "<unknown>").to_owned();
    let kernel = match node.text("/status/nodeInfo/architecture") {
        "" => info("/status/nodeInfo/kernelVersion"),
        architecture => format!("{} ({architecture})", info("/status/nodeInfo/kernelVersion")),
    };
    vec![
        json!(node.name()),
        json!(status),
        json!(said(&roles.join(","), "<none>")),
        age,
        json!(node.text("/status/nodeInfo/kubeletVersion")),
        address("InternalIP"),
        address("ExternalIP"),
        json!(info("/status/nodeInfo/osImage")),
        json!(kernel),
        json!(info("/status/nodeInfo/containerRuntimeVersion")),
    ]
}

/// Adds containers, images and selector, which only `-o wide` shows.
fn with_template(mut cells: Vec<Value>, object: &Value) -> Vec<Value> {
    let containers = object.items("/spec/template/spec/containers");
    let each = |path: &str| containers.iter().map(|one| one.text(path)).collect::<Vec<_>>().join(",");
    cells.extend([json!(each("/name")), json!(each("/image")), json!(selector(object.at("/spec/selector")))]);
    cells
}

fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let times = ["/firstTimestamp", "/eventTime"].map(|path| event.time(path));
    let first = since(times[0].or(times[1]), now);
    let last = event.time("/lastTimestamp").map_or_else(|| first.clone(), |at| since(Some(at), now));
    let of = event.at("/involvedObject");
    let kind = of.text("/kind").to_lowercase();
    let target = if of.text("/name").is_empty() { kind } else { format!("{kind}/{}", of.text("/name")) };
    let component = said(event.text("/source/component"), event.text("/reportingComponent"));
    let host = said(event.text("/source/host"), event.text("/reportingInstance"));
    let source = if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    vec![
        json!(last),
        json!(event.text("/type")),
        json!(event.text("/reason")),
        json!(target),
        json!(of.text("/fieldPath")),
        json!(source),
        json!(event.text("/message").trim()),
        json!(first),
        json!(event.number("/count").unwrap_or(1)),
        json!(event.name()),
    ]
}

fn job(job: &Value, now: Timestamp, name: Value, age: Value) -> Vec<Value> {
    let status = if job.is_true("Complete") {
        "Complete"
    } else if job.is_true("Failed") {
        "Failed"
    } else if job.is_terminating() {
        "Terminating"
    } else if job.is_true("Suspended") {
        "Suspended"
    } else if job.is_true("FailureTarget") {
        "FailureTarget"
    } else if job.is_true("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let done = job.number("/status/succeeded").unwrap_or(0);
    let completions = match (job.number("/spec/completions"), job.number("/spec/parallelism").unwrap_or(0)) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, parallel) if parallel > 1 => format!("{done}/1 of {parallel}"),
        (None, _) => format!("{done}/1"),
    };
    let duration = match (job.time("/status/startTime"), job.time("/status/completionTime")) {
        (None, _) => String::new(),
        (Some(start), None) => human(now.duration_since(start)),
        (Some(start), Some(end)) => human(end.duration_since(start)),
    };
    with_template(vec![name, json!(status), json!(completions), json!(duration), age], job)
}

fn request_condition(request: &Value) -> String {
    let has = |of: &str| request.condition(of).is_some();
    let mut said = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        said.push_str(",Failed");
    }
    if !request.text("/status/certificate").is_empty() {
        said.push_str(",Issued");
    }
    said
}

/// Access modes, shortened.
fn modes(modes: &[Value]) -> String {
    let order =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let given = order.iter().filter(|(mode, _)| modes.iter().any(|one| one.as_str() == Some(mode)));
    given.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

fn external(service: &Value) -> String {
    let mut addresses: Vec<&str> = match service.text("/spec/type") {
        "ExternalName" => vec![service.text("/spec/externalName")],
        "LoadBalancer" => {
            let given = service.items("/status/loadBalancer/ingress").iter();
            given.map(|one| said(one.text("/ip"), one.text("/hostname"))).collect()
        }
        _ => Vec::new(),
    };
    addresses.extend(service.items("/spec/externalIPs").iter().filter_map(Value::as_str));
    match (addresses.is_empty(), service.text("/spec/type")) {
        (true, "LoadBalancer") => "<pending>".to_owned(),
        (true, _) => "<none>".to_owned(),
        (false, _) => addresses.join(","),
    }
}

fn ports(service: &Value) -> String {
    let ports: Vec<String> = service
        .items("/spec/ports")
        .iter()
        .map(|port| {
            let protocol = said(port.text("/protocol"), "TCP");
            let number = port.number("/port").unwrap_or(0);
            match port.number("/nodePort").filter(|node| *node > 0) {
                Some(node) => format!("{number}:{node}/{protocol}"),
                None => format!("{number}/{protocol}"),
            }
        })
        .collect();
    said(&ports.join(","), "<none>").to_owned()
}

/// A map as `key=value`, by key.
fn pairs(map: &Value) -> String {
    let pairs: Vec<String> =
        map.entries("").map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    said(&pairs.join(","), "<none>").to_owned()
}

/// A label selector as people write it.
fn selector(selector: &Value) -> String {
    let mut terms: Vec<String> = selector
        .entries("/matchLabels")
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    for expression in selector.items("/matchExpressions") {
        let key = expression.text("/key");
        let mut values: Vec<&str> = expression.items("/values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        terms.push(match expression.text("/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    terms.sort();
    said(&terms.join(","), "<none>").to_owned()
}
