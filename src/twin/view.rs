//! Objects as the rules want them: from JSON to the types of `model`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::json::Value;
use super::kind::{Key, Kind};
use super::object::Look;
use super::store::Store;
use crate::model::{
    Amounts, Bound, Budget, BudgetKey, BudgetSpec, FieldTest, Foreign, HostPort, Labels, Namespace, NodeName, NodeTerm,
    Owner, Peers, Place, PlacedPod, PodKey, PodName, PodPhase, Quantity, Requirement, Selector, Spread, Taint,
    TaintEffect, Test, Toleration, TolerationTest, Uid, UnhealthyPolicy, VolumeNeed,
};

use crate::rules::placement::TOPOLOGY_LABELS;

/// A part of an object that does not say what its field may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) field: &'static str,
    pub(super) why: String,
}

fn misfit(field: &'static str, why: impl ToString) -> Misfit {
    Misfit { field, why: why.to_string() }
}

/// A label selector; `None` is null.
pub(super) fn selector(value: &Value, field: &'static str) -> Result<Option<Selector>, Misfit> {
    if value.is_null() {
        return Ok(None);
    }
    let mut requirements = Vec::new();
    for (key, wanted) in value.entries("/matchLabels") {
        let wanted = wanted.as_str().ok_or_else(|| misfit(field, "a label value is a text"))?;
        requirements.push(Requirement::new(key, Test::In([wanted.into()].into())).map_err(|e| misfit(field, e))?);
    }
    for expression in value.items("/matchExpressions") {
        requirements.push(requirement(expression, field)?);
    }
    Ok(Some(Selector::from_requirements(requirements)))
}

fn requirement(expression: &Value, field: &'static str) -> Result<Requirement, Misfit> {
    let values: BTreeSet<Arc<str>> =
        expression.items("/values").iter().filter_map(Value::as_str).map(Arc::from).collect();
    let bound = || {
        let only = values.iter().next().filter(|_| values.len() == 1);
        only.and_then(|value| value.parse::<i64>().ok()).ok_or_else(|| misfit(field, "Gt and Lt need one integer"))
    };
    let test = match expression.text("/operator") {
        "In" | "NotIn" if values.is_empty() => {
            return Err(misfit(field, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            return Err(misfit(field, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        "In" => Test::In(values),
        "NotIn" => Test::NotIn(values),
        "Exists" => Test::Exists,
        "DoesNotExist" => Test::Absent,
        "Gt" => Test::Greater(bound()?),
        "Lt" => Test::Less(bound()?),
        _ => return Err(misfit(field, "not a valid selector operator")),
    };
    Requirement::new(expression.text("/key"), test).map_err(|error| misfit(field, error))
}

pub(super) fn labels(value: &Value) -> Labels {
    let pairs = value.as_object().into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((Arc::from(key.as_str()), Arc::from(value.as_str()?)))).collect()
}

fn bound(value: &Value, field: &'static str) -> Result<Option<Bound>, Misfit> {
    if value.is_null() {
        return Ok(None);
    }
    if let Some(number) = value.as_i64() {
        let count = u32::try_from(number).map_err(|_| misfit(field, "must be greater than or equal to 0"))?;
        return Ok(Some(Bound::Count(count)));
    }
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<u32>().ok());
    match percent {
        Some(percent) if percent <= 100 => Ok(Some(Bound::Percent(percent))),
        Some(_) => Err(misfit(field, "Must not be greater than 100%")),
        None => Err(misfit(field, "must be an integer or a percentage such as \"50%\"")),
    }
}

/// A disruption budget.
pub(super) fn budget(object: &Value) -> Result<Budget, Misfit> {
    let spec = object.at("/spec");
    let least = bound(spec.at("/minAvailable"), "spec.minAvailable")?;
    let most = bound(spec.at("/maxUnavailable"), "spec.maxUnavailable")?;
    let spec_model = match (least, most) {
        (Some(_), Some(_)) => return Err(misfit("spec", "minAvailable and maxUnavailable cannot be both set")),
        (Some(least), None) => BudgetSpec::MinAvailable(least),
        (None, Some(most)) => BudgetSpec::MaxUnavailable(most),
        (None, None) => BudgetSpec::Neither,
    };
    let unhealthy = match spec.text("/unhealthyPodEvictionPolicy") {
        "" | "IfHealthyBudget" => UnhealthyPolicy::IfHealthyBudget,
        "AlwaysAllow" => UnhealthyPolicy::AlwaysAllow,
        _ => return Err(misfit("spec.unhealthyPodEvictionPolicy", "must be IfHealthyBudget or AlwaysAllow")),
    };
    let count = |path: &str| u32::try_from(object.number(path).unwrap_or(0)).unwrap_or(0);
    for path in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        if object.number(&format!("/status/{path}")).is_some_and(|count| count < 0) {
            return Err(misfit("status", format!("{path}: must be greater than or equal to 0")));
        }
    }
    let failed = object.condition("DisruptionAllowed").filter(|condition| condition.text("/reason") == "SyncFailed");
    Ok(Budget {
        key: BudgetKey {
            namespace: Namespace::new(object.namespace()).map_err(|e| misfit("metadata.namespace", e))?,
            name: PodName::new(object.name()).map_err(|e| misfit("metadata.name", e))?,
        },
        uid: Uid::new(object.uid()).map_err(|e| misfit("metadata.uid", e))?,
        spec: spec_model,
        selector: selector(spec.at("/selector"), "spec.selector")?,
        unhealthy,
        expected: count("/status/expectedPods"),
        desired: count("/status/desiredHealthy"),
        healthy: count("/status/currentHealthy"),
        allowed: count("/status/disruptionsAllowed"),
        observed: object.number("/status/observedGeneration").unwrap_or(0)
            >= object.number("/metadata/generation").unwrap_or(0),
        sync_failed: failed.map(|condition| Foreign::new(condition.text("/message"))),
        disrupted: object.entries("/status/disruptedPods").map(|(name, _)| Arc::from(name.as_str())).collect(),
        owner: None,
        labels: Arc::new(labels(object.at("/metadata/labels"))),
    })
}

/// A pod's phase.
pub(super) fn phase(object: &Value) -> PodPhase {
    match object.text("/status/phase") {
        "Running" => PodPhase::Running,
        "Succeeded" => PodPhase::Succeeded,
        "Failed" => PodPhase::Failed,
        "Unknown" => PodPhase::Unknown,
        _ => PodPhase::Pending,
    }
}

/// Whether a selector covers a pod of the same namespace.
pub(super) fn selects(selector: Option<&Selector>, pod: &Value) -> bool {
    let labels = pod.at("/metadata/labels");
    selector.is_some_and(|selector| selector.matches_by(|key| labels.get(key).and_then(Value::as_str)))
}

fn amounts(value: &Value) -> Result<Amounts, Misfit> {
    let mut amounts = Amounts::default();
    for (resource, amount) in value.as_object().into_iter().flatten() {
        let text = match amount {
            Value::String(text) => text.to_string(),
            Value::Number(number) => number.to_string(),
            _ => return Err(misfit("resources", "a quantity is a text or a number")),
        };
        let quantity = Quantity::parse(&text).map_err(|error| misfit("resources", error))?;
        amounts.0.insert(Arc::from(resource.as_str()), quantity);
    }
    Ok(amounts)
}

/// What a pod asks for: its containers and sidecars together, or the largest step of its start, whichever is more, or
/// what the pod as a whole asks for, and its overhead.
fn requests(spec: &Value) -> Result<Amounts, Misfit> {
    let of = |container: &Value| -> Result<Amounts, Misfit> {
        // Where only a limit is given, it is the request too.
        let mut asked = amounts(container.at("/resources/limits"))?;
        asked.0.extend(amounts(container.at("/resources/requests"))?.0);
        Ok(asked)
    };
    let mut total = Amounts::default();
    for container in spec.items("/containers") {
        total.add(&of(container)?);
    }
    let mut sidecars = Amounts::default();
    let mut largest = Amounts::default();
    for container in spec.items("/initContainers") {
        let asked = of(container)?;
        if container.text("/restartPolicy") == "Always" {
            total.add(&asked);
            sidecars.add(&asked);
            largest.at_least(&sidecars);
        } else {
            let mut step = sidecars.clone();
            step.add(&asked);
            largest.at_least(&step);
        }
    }
    total.at_least(&largest);
    total.0.extend(amounts(spec.at("/resources/requests"))?.0);
    total.add(&amounts(spec.at("/overhead"))?);
    total.0.insert("pods".into(), Quantity::whole(1));
    Ok(total)
}

fn effect(text: &str) -> Option<TaintEffect> {
    match text {
        "NoSchedule" => Some(TaintEffect::NoSchedule),
        "PreferNoSchedule" => Some(TaintEffect::PreferNoSchedule),
        "NoExecute" => Some(TaintEffect::NoExecute),
        _ => None,
    }
}

/// Tolerations of a pod's `spec`.
pub(super) fn tolerations(spec: &Value) -> Vec<Toleration> {
    let read = |toleration: &Value| {
        let key: Arc<str> = toleration.text("/key").into();
        let test = match (toleration.text("/operator"), key.is_empty()) {
            ("Exists", true) => TolerationTest::Any,
            ("Exists", false) => TolerationTest::Exists(key),
            _ => TolerationTest::Equal(key, toleration.text("/value").into()),
        };
        Toleration {
            test,
            effect: effect(toleration.text("/effect")),
            seconds: toleration.number("/tolerationSeconds"),
        }
    };
    spec.items("/tolerations").iter().map(read).collect()
}

/// Taints of a node.
pub(super) fn taints(node: &Value) -> Vec<Taint> {
    let read = |taint: &Value| {
        let effect = effect(taint.text("/effect"))?;
        Some(Taint { key: taint.text("/key").into(), value: taint.text("/value").into(), effect })
    };
    node.items("/spec/taints").iter().filter_map(read).collect()
}

fn node_term(term: &Value) -> Result<NodeTerm, Misfit> {
    const FIELD: &str = "spec.affinity.nodeAffinity";
    let requirements: Result<Vec<_>, _> =
        term.items("/matchExpressions").iter().map(|expression| requirement(expression, FIELD)).collect();
    let mut fields = Vec::new();
    for field in term.items("/matchFields") {
        if field.text("/key") != "metadata.name" {
            return Err(misfit(FIELD, "only metadata.name can be matched as a field"));
        }
        let names = field.items("/values").iter().filter_map(Value::as_str).map(Arc::from).collect();
        fields.push(FieldTest { names, among: field.text("/operator") != "NotIn" });
    }
    Ok(NodeTerm { labels: Selector::from_requirements(requirements?), fields })
}

fn node_terms(value: &Value) -> Result<Vec<NodeTerm>, Misfit> {
    value.items("/nodeSelectorTerms").iter().map(node_term).collect()
}

fn peers(terms: &Value, own: &Namespace, store: &Store) -> Result<Vec<Peers>, Misfit> {
    const FIELD: &str = "spec.affinity";
    let mut all = Vec::new();
    for term in terms.items("/requiredDuringSchedulingIgnoredDuringExecution") {
        let mut namespaces: BTreeSet<Namespace> =
            term.items("/namespaces").iter().filter_map(|name| Namespace::new(name.as_str()?).ok()).collect();
        let chosen = selector(term.at("/namespaceSelector"), FIELD)?;
        if let Some(chosen) = &chosen {
            let matching = store.all(Kind::Namespace).filter(|namespace| selects(Some(chosen), namespace));
            namespaces.extend(matching.filter_map(|namespace| Namespace::new(namespace.name()).ok()));
        } else if namespaces.is_empty() {
            namespaces.insert(own.clone());
        }
        all.push(Peers {
            topology: term.text("/topologyKey").into(),
            selector: selector(term.at("/labelSelector"), FIELD)?,
            namespaces,
        });
    }
    Ok(all)
}

fn spread(spec: &Value, labels: &Labels) -> Result<Vec<Spread>, Misfit> {
    const FIELD: &str = "spec.topologySpreadConstraints";
    let read = |constraint: &Value| {
        let mut requirements: Vec<Requirement> = selector(constraint.at("/labelSelector"), FIELD)?
            .map(|selector| selector.requirements().cloned().collect())
            .unwrap_or_default();
        for key in constraint.items("/matchLabelKeys").iter().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                let test = Test::In([Arc::clone(value)].into());
                requirements.push(Requirement::new(key, test).map_err(|error| misfit(FIELD, error))?);
            }
        }
        let count = |path: &str| constraint.number(path).and_then(|count| u32::try_from(count).ok());
        Ok(Spread {
            topology: constraint.text("/topologyKey").into(),
            max_skew: count("/maxSkew").unwrap_or(1),
            required: constraint.text("/whenUnsatisfiable") != "ScheduleAnyway",
            selector: Selector::from_requirements(requirements),
            min_domains: count("/minDomains"),
            honour_affinity: constraint.text("/nodeAffinityPolicy") != "Ignore",
            honour_taints: constraint.text("/nodeTaintsPolicy") == "Honor",
        })
    };
    spec.items("/topologySpreadConstraints").iter().map(read).collect()
}

fn volumes(pod: &Value, store: &Store) -> Result<Vec<VolumeNeed>, Misfit> {
    let mut needs = Vec::new();
    for volume in pod.items("/spec/volumes") {
        let claim = volume.text("/persistentVolumeClaim/claimName");
        if claim.is_empty() {
            continue;
        }
        let found = store.get(&Key::new(Kind::PersistentVolumeClaim, pod.namespace(), claim));
        let need = match found {
            None => VolumeNeed::Missing(claim.into()),
            Some(object) => {
                let name = object.text("/spec/volumeName");
                match store.get(&Key::cluster(Kind::PersistentVolume, name)) {
                    // Made for the node that the pod is placed on, as a class that waits for its first consumer does.
                    None if name.is_empty() => continue,
                    None => VolumeNeed::Missing(claim.into()),
                    Some(persistent) => VolumeNeed::Bound {
                        volume: name.into(),
                        terms: node_terms(persistent.at("/spec/nodeAffinity/required"))?,
                        zones: zones(persistent),
                        driver: persistent.at("/spec/csi/driver").as_str().map(Arc::from),
                        exclusive: object
                            .items("/spec/accessModes")
                            .iter()
                            .any(|mode| mode.as_str() == Some("ReadWriteOncePod")),
                    },
                }
            }
        };
        needs.push(need);
    }
    Ok(needs)
}

/// What the labels of a volume say of where it is. Several zones are parted by two underscores.
fn zones(volume: &Value) -> Vec<(Arc<str>, BTreeSet<Arc<str>>)> {
    let labelled = |key: &&str| {
        let values = volume.label(key)?.split("__").map(Arc::from).collect();
        Some((Arc::from(*key), values))
    };
    TOPOLOGY_LABELS.iter().filter_map(labelled).collect()
}

fn owner(object: &Value) -> Option<Owner> {
    let owner = object.controller()?;
    Some(Owner {
        api_version: owner.text("/apiVersion").into(),
        kind: owner.text("/kind").into(),
        name: owner.text("/name").into(),
        uid: Uid::new(owner.text("/uid")).ok()?,
    })
}

/// A pod with all that decides where it may run.
pub(super) fn placed(pod: &Value, store: &Store) -> Result<PlacedPod, Misfit> {
    let spec = pod.at("/spec");
    let namespace = Namespace::new(pod.namespace()).map_err(|error| misfit("metadata.namespace", error))?;
    let own_labels = labels(pod.at("/metadata/labels"));
    let affinity = spec.at("/affinity/nodeAffinity");
    let required = affinity.at("/requiredDuringSchedulingIgnoredDuringExecution");
    let mut preferred = Vec::new();
    for wish in affinity.items("/preferredDuringSchedulingIgnoredDuringExecution") {
        let weight = wish.number("/weight").and_then(|weight| i32::try_from(weight).ok()).unwrap_or(1);
        preferred.push((weight, node_term(wish.at("/preference"))?));
    }
    let mut ports = BTreeSet::new();
    for port in spec.items("/containers").iter().flat_map(|container| container.items("/ports")) {
        if let Some(number) = port.number("/hostPort").and_then(|number| u16::try_from(number).ok()).filter(|n| *n > 0)
        {
            let or = |path: &str, otherwise: &str| {
                let text = port.text(path);
                Arc::from(if text.is_empty() { otherwise } else { text })
            };
            ports.insert(HostPort {
                address: or("/hostIP", "0.0.0.0"),
                protocol: or("/protocol", "TCP"),
                port: number,
            });
        }
    }
    Ok(PlacedPod {
        uid: Uid::new(pod.uid()).map_err(|error| misfit("metadata.uid", error))?,
        node: NodeName::new(spec.text("/nodeName")).ok(),
        owner: owner(pod),
        terminating: pod.is_terminating(),
        requests: requests(spec)?,
        node_selector: labels(spec.at("/nodeSelector")),
        required: if required.is_null() { None } else { Some(node_terms(required)?) },
        preferred,
        tolerations: tolerations(spec),
        ports,
        spread: spread(spec, &own_labels)?,
        near: peers(spec.at("/affinity/podAffinity"), &namespace, store)?,
        apart: peers(spec.at("/affinity/podAntiAffinity"), &namespace, store)?,
        volumes: volumes(pod, store)?,
        gated: !spec.items("/schedulingGates").is_empty(),
        priority: spec.number("/priority").and_then(|priority| i32::try_from(priority).ok()).unwrap_or(0),
        key: PodKey { namespace, name: PodName::new(pod.name()).map_err(|error| misfit("metadata.name", error))? },
        labels: own_labels,
    })
}

/// A node with all that decides what may run on it.
pub(super) fn place(node: &Value, store: &Store) -> Result<Place, Misfit> {
    let mut limits = BTreeMap::new();
    if let Some(csi) = store.get(&Key::cluster(Kind::CSINode, node.name())) {
        for driver in csi.items("/spec/drivers") {
            if let Some(count) = driver.number("/allocatable/count").and_then(|count| u32::try_from(count).ok()) {
                limits.insert(Arc::from(driver.text("/name")), count);
            }
        }
    }
    Ok(Place {
        name: NodeName::new(node.name()).map_err(|error| misfit("metadata.name", error))?,
        labels: labels(node.at("/metadata/labels")),
        taints: taints(node),
        unschedulable: node.flag("/spec/unschedulable"),
        allocatable: amounts(node.at("/status/allocatable"))?,
        volume_limits: limits,
    })
}

/// Checks what the controllers and the scheduler will have to read, as the server does on creation.
pub(super) fn check(kind: Kind, object: &Value, store: &Store) -> Result<(), Misfit> {
    match kind {
        Kind::PodDisruptionBudget => budget(object).map(|_| ()),
        Kind::Pod => {
            if object.items("/spec/containers").is_empty() {
                return Err(misfit("spec.containers", "Required value"));
            }
            placed(object, store).map(|_| ())
        }
        Kind::Deployment | Kind::ReplicaSet | Kind::StatefulSet | Kind::DaemonSet => {
            let chosen = selector(object.at("/spec/selector"), "spec.selector")?
                .filter(|selector| selector.requirements().next().is_some())
                .ok_or_else(|| misfit("spec.selector", "Required value"))?;
            if object.items("/spec/template/spec/containers").is_empty() {
                return Err(misfit("spec.template.spec.containers", "Required value"));
            }
            if object.number("/spec/replicas").is_some_and(|replicas| !(0..=100_000).contains(&replicas)) {
                return Err(misfit("spec.replicas", "must be between 0 and 100000"));
            }
            if !selects(Some(&chosen), object.at("/spec/template")) {
                return Err(misfit("spec.template.metadata.labels", "`selector` does not match template `labels`"));
            }
            template(object, store)
        }
        Kind::Job => {
            if object.items("/spec/template/spec/containers").is_empty() {
                return Err(misfit("spec.template.spec.containers", "Required value"));
            }
            template(object, store)
        }
        Kind::Node => place(object, store).map(|_| ()),
        _ => Ok(()),
    }
}

/// Reads the pod template as a pod would be read, so that a mistake shows at once and not as pods that never come.
fn template(object: &Value, store: &Store) -> Result<(), Misfit> {
    let mut pod = object.at("/spec/template").clone();
    super::object::set(&mut pod, "/metadata/name", "template");
    super::object::set(&mut pod, "/metadata/namespace", object.namespace());
    super::object::set(&mut pod, "/metadata/uid", "template");
    placed(&pod, store).map(|_| ())
}
