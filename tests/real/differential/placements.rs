//! Scenarios about where an evicted pod can go. The nodes are objects that nobody runs; a pod counts as placed when the
//! scheduler has given it a node.
//!
//! In each of them one node, `a`, has the pod; others, made after it, offer what chance gives them. The node is
//! cordoned and the pod evicted; then both sides say where its replacement goes, or why nowhere, and for each node
//! alone whether a copy of the pod would fit.

use serde_json::{Value, json};

use super::dice::Dice;
use super::evictions::Make;
use super::scenario::{Step, pin, template};

/// The families, with how many scenarios of each are played.
pub(super) const FAMILIES: &[(&str, u32, Make)] = &[
    ("cordons", 10, cordons),
    ("taints", 20, taints),
    ("affinity", 16, affinity),
    ("ports", 20, ports),
    ("resources", 16, resources),
    ("crowded", 14, crowded),
    ("spread", 30, spread),
    ("near", 14, near),
    ("apart", 26, apart),
    ("volumes", 64, volumes),
    ("limits", 12, limits),
    ("gated", 10, gated),
    ("named", 10, named),
    ("any", 20, any),
];

const ZONE: &str = "topology.kubernetes.io/zone";

/// A node that nobody runs, with labels and further parts of its `spec`.
pub(super) fn node(name: &str, labels: &Value, spec: &Value) -> Value {
    let resources = json!({ "cpu": "4", "memory": "8Gi", "ephemeral-storage": "10Gi", "pods": "10" });
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": labels },
        "spec": spec,
        "status": {
            "capacity": resources, "allocatable": resources,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
            }],
        },
    });
    node["metadata"]["labels"]["kubernetes.io/hostname"] = name.into();
    node
}

/// A scene in the making.
struct Scene<'a> {
    space: &'a str,
    nodes: Vec<Value>,
    others: Vec<Value>,
    extra: Vec<Value>,
    pod: Value,
}

impl<'a> Scene<'a> {
    fn new(dice: &mut Dice, space: &'a str) -> Self {
        let count = dice.between(1, 3);
        let mut scene = Self { space, nodes: Vec::new(), others: Vec::new(), extra: Vec::new(), pod: template("web") };
        for index in 0..=count {
            let zone = ["z1", "z2", "z3"][index as usize % 3];
            let mut labels = json!({ "index": index.to_string() });
            labels[ZONE] = zone.into();
            scene.nodes.push(node(&scene.name(index), &labels, &json!({})));
        }
        let spec = &mut scene.pod["spec"];
        spec["schedulerName"] = "default-scheduler".into();
        spec["containers"][0]["resources"] = json!({ "requests": { "cpu": "1", "memory": "1Gi" } });
        scene
    }

    fn name(&self, index: u32) -> String {
        format!("{}-{}", self.space, ["a", "b", "c", "d"][index as usize])
    }

    fn names(&self) -> Vec<String> {
        self.nodes.iter().filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }

    /// The nodes that the pod may go to.
    fn targets(&mut self) -> impl Iterator<Item = &mut Value> {
        self.nodes.iter_mut().skip(1)
    }

    /// A pod that is on a node already.
    fn other(&mut self, on: u32, labels: &Value, spec: &Value) {
        let mut pod = template("other");
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = format!("other-{}", self.others.len()).into();
        pod["metadata"]["namespace"] = self.space.into();
        for (key, value) in labels.as_object().into_iter().flatten() {
            pod["metadata"]["labels"][key] = value.clone();
        }
        pod["spec"]["nodeName"] = self.name(on).into();
        // What a taint expels would end on the twin, and never on the other side, whose nodes have no kubelets.
        pod["spec"]["tolerations"] = json!([{ "operator": "Exists", "effect": "NoExecute" }]);
        for (key, value) in spec.as_object().into_iter().flatten() {
            pod["spec"][key] = value.clone();
        }
        self.others.push(pod);
    }

    /// The steps: the pod on node `a`, the others, the cordon, the eviction, and what becomes of the replacement.
    fn steps(self) -> Vec<Step> {
        let names = self.names();
        let (space, first) = (self.space, names[0].clone());
        let mut steps: Vec<Step> =
            self.nodes.into_iter().chain(self.extra).chain(self.others).map(Step::Make).collect();
        steps.push(Step::Calm { nodes: names.clone() });
        let mut probe = self.pod.clone();
        probe["apiVersion"] = "v1".into();
        probe["kind"] = "Pod".into();
        probe["metadata"]["namespace"] = space.into();
        // The pod itself is put on its node by name: it may well have come there before anything stood against it.
        let mut subject = probe.clone();
        subject["metadata"]["name"] = "subject".into();
        subject["spec"]["nodeName"] = first.as_str().into();
        subject["spec"]["schedulingGates"].take();
        steps.push(Step::Make(subject));
        let cordon = json!({ "spec": { "unschedulable": true } });
        steps.push(Step::Change { what: format!("nodes/{first}"), part: "", body: cordon });
        steps.push(Step::Calm { nodes: names.clone() });
        steps.push(Step::Evict {
            pod: "subject".to_owned(),
            query: "",
            body: json!({ "deleteOptions": { "gracePeriodSeconds": 0 } }),
        });
        // Its own node is of interest only to a pod that bears the cordon.
        let skipped = usize::from(probe["spec"]["tolerations"].is_null());
        steps.push(Step::Probe { pod: probe.clone(), nodes: names[skipped..].to_vec() });
        pin(&mut probe, &names);
        probe["metadata"]["name"] = "replacement".into();
        steps.push(Step::Make(probe));
        steps.push(Step::Placed { pod: "replacement".to_owned() });
        steps
    }
}

fn cordons(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    cordoned(dice, &mut scene);
    scene.steps()
}

fn cordoned(dice: &mut Dice, scene: &mut Scene<'_>) {
    for node in scene.targets() {
        if dice.chance(50) {
            node["spec"]["unschedulable"] = true.into();
        }
    }
    if dice.chance(25) {
        let tolerations = dice.of(&[
            r#"[{"operator":"Exists"}]"#,
            r#"[{"key":"node.kubernetes.io/unschedulable","operator":"Exists","effect":"NoSchedule"}]"#,
            r#"[{"key":"node.kubernetes.io/unschedulable","operator":"Exists","effect":"NoExecute"}]"#,
        ]);
        scene.pod["spec"]["tolerations"] = serde_json::from_str(tolerations).unwrap_or_default();
    }
}

fn taints(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    tainted(dice, &mut scene);
    scene.steps()
}

fn tainted(dice: &mut Dice, scene: &mut Scene<'_>) {
    for node in scene.targets() {
        if dice.chance(75) {
            let effect = dice.of(&["NoSchedule", "NoExecute", "PreferNoSchedule"]);
            let value = dice.of(&["", "gpu", "spot"]);
            node["spec"]["taints"] = json!([{ "key": "example.com/kind", "value": value, "effect": effect }]);
        }
    }
    if dice.chance(60) {
        let tolerations = dice.of(&[
            r#"[{"key":"example.com/kind","operator":"Exists"}]"#,
            r#"[{"key":"example.com/kind","value":"gpu"}]"#,
            r#"[{"key":"example.com/kind","operator":"Equal","value":"spot","effect":"NoSchedule"}]"#,
            r#"[{"key":"example.com/kind","operator":"Exists","effect":"NoExecute"}]"#,
            r#"[{"operator":"Exists","effect":"NoSchedule"}]"#,
            r#"[{"key":"example.com/kind"}]"#,
        ]);
        scene.pod["spec"]["tolerations"] = serde_json::from_str(tolerations).unwrap_or_default();
    }
}

fn affinity(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    affine(dice, &mut scene);
    scene.steps()
}

fn affine(dice: &mut Dice, scene: &mut Scene<'_>) {
    for node in scene.targets() {
        if dice.chance(60) {
            node["metadata"]["labels"]["disk"] = dice.of(&["ssd", "hdd"]).into();
        }
    }
    if dice.chance(40) {
        scene.pod["spec"]["nodeSelector"] = json!({ "disk": dice.of(&["ssd", "hdd"]) });
    }
    if dice.chance(70) {
        let one = |dice: &mut Dice| {
            dice.of(&[
                r#"{"key":"disk","operator":"In","values":["ssd"]}"#,
                r#"{"key":"disk","operator":"In","values":["ssd","hdd"]}"#,
                r#"{"key":"disk","operator":"NotIn","values":["hdd"]}"#,
                r#"{"key":"disk","operator":"Exists"}"#,
                r#"{"key":"disk","operator":"DoesNotExist"}"#,
                r#"{"key":"index","operator":"Gt","values":["1"]}"#,
                r#"{"key":"index","operator":"Lt","values":["2"]}"#,
            ])
        };
        let count = dice.between(1, 2);
        let terms: Vec<Value> = (0..count)
            .map(|_| {
                let expressions: Vec<Value> =
                    (0..dice.between(1, 2)).map(|_| serde_json::from_str(one(dice)).unwrap_or_default()).collect();
                json!({ "matchExpressions": expressions })
            })
            .collect();
        let required = json!({ "nodeSelectorTerms": terms });
        scene.pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = required;
    }
}

fn ports(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    ported(dice, &mut scene);
    scene.steps()
}

fn ported(dice: &mut Dice, scene: &mut Scene<'_>) {
    let port = |dice: &mut Dice| {
        let mut port = json!({ "containerPort": 80, "hostPort": dice.of(&[8080, 8080, 8081]) });
        if dice.chance(30) {
            port["protocol"] = dice.of(&["UDP", "TCP"]).into();
        }
        if dice.chance(40) {
            port["hostIP"] = dice.of(&["127.0.0.1", "10.0.0.1", "0.0.0.0"]).into();
        }
        json!([port])
    };
    for on in 1..scene.nodes.len() as u32 {
        if dice.chance(80) {
            let ports = port(dice);
            scene.other(on, &json!({}), &json!({ "containers": [{ "name": "main", "image": "i", "ports": ports }] }));
        }
    }
    scene.pod["spec"]["containers"][0]["ports"] = port(dice);
}

fn resources(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    demanding(dice, &mut scene);
    scene.steps()
}

fn demanding(dice: &mut Dice, scene: &mut Scene<'_>) {
    let amount = |dice: &mut Dice| json!({ "cpu": dice.of(&["500m", "1", "1500m", "2", "3"]), "memory": dice.of(&["1Gi", "3Gi", "6Gi", "1500M"]) });
    for on in 1..scene.nodes.len() as u32 {
        if dice.chance(75) {
            let requests = amount(dice);
            let main = json!({ "name": "main", "image": "i", "resources": { "requests": requests } });
            scene.other(on, &json!({}), &json!({ "containers": [main] }));
        }
        if dice.chance(30) {
            let node = &mut scene.nodes[on as usize];
            node["status"]["allocatable"]["example.com/gpu"] = "1".into();
            node["status"]["capacity"]["example.com/gpu"] = "1".into();
        }
    }
    let mut wanted = amount(dice);
    if dice.chance(15) {
        wanted["cpu"] = "5".into();
    }
    let mut resources = json!({ "requests": wanted });
    if dice.chance(25) {
        resources["requests"]["example.com/gpu"] = "1".into();
        resources["limits"] = json!({ "example.com/gpu": "1" });
    }
    let spec = &mut scene.pod["spec"];
    spec["containers"][0]["resources"] = resources;
    match dice.between(0, 5) {
        0 => spec["containers"][0]["resources"] = json!({ "limits": { "cpu": "3", "memory": "1Gi" } }),
        1 => {
            spec["initContainers"] = json!([{
                "name": "first", "image": "i", "resources": { "requests": { "cpu": dice.of(&["2", "3500m"]) } },
            }]);
        }
        2 => {
            spec["initContainers"] = json!([
                { "name": "side", "image": "i", "restartPolicy": "Always", "resources": { "requests": { "cpu": "1" } } },
                { "name": "first", "image": "i", "resources": { "requests": { "cpu": "2" } } },
            ]);
        }
        3 => {
            // A pod as a whole may not ask for less than its containers.
            spec["containers"][0]["resources"] = json!({ "requests": { "cpu": "1", "memory": "1Gi" } });
            spec["resources"] = json!({ "requests": { "cpu": dice.of(&["2", "3500m"]), "memory": "6Gi" } });
        }
        _ => {}
    }
}

fn crowded(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    for on in 1..scene.nodes.len() as u32 {
        let room = dice.between(1, 3);
        scene.nodes[on as usize]["status"]["allocatable"]["pods"] = room.to_string().into();
        for _ in 0..dice.between(room - 1, room) {
            scene.other(on, &json!({}), &json!({}));
        }
    }
    scene.steps()
}

fn spread(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    spread_out(dice, &mut scene);
    scene.steps()
}

fn spread_out(dice: &mut Dice, scene: &mut Scene<'_>) {
    for on in 0..scene.nodes.len() as u32 {
        // Every other time the first target has more than its share.
        let there = match (dice.turn(2), on) {
            (1, 0) => 0,
            (1, 1) => 2,
            _ => dice.between(0, 2),
        };
        for _ in 0..there {
            scene.other(on, &json!({ "app": "web" }), &json!({}));
        }
        if (on == 1 && dice.turn(2) == 0 || on > 1 && dice.chance(30))
            && let Some(labels) = scene.nodes[on as usize]["metadata"]["labels"].as_object_mut()
        {
            labels.remove(ZONE);
        }
        if on > 0 && dice.chance(15) {
            scene.nodes[on as usize]["spec"]["taints"] =
                json!([{ "key": "example.com/kind", "value": "x", "effect": "NoSchedule" }]);
        }
    }
    let one = |dice: &mut Dice, key: &str| {
        let mut constraint = json!({
            "topologyKey": key, "maxSkew": dice.between(1, 2), "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": { "matchLabels": { "app": "web" } },
        });
        if dice.chance(25) {
            constraint["minDomains"] = dice.between(2, 4).into();
        }
        // Where the affinity is honoured, a pod for one node alone sees no other.
        constraint["nodeAffinityPolicy"] = if dice.chance(60) { "Ignore" } else { "Honor" }.into();
        if dice.chance(50) {
            constraint["nodeTaintsPolicy"] = dice.of(&["Ignore", "Honor"]).into();
        }
        constraint
    };
    // Nodes of other scenarios are no part of this one where the label is its own.
    let zone = format!("{}/zone", scene.space);
    for node in &mut scene.nodes {
        if let Some(value) = node["metadata"]["labels"].get(ZONE).cloned() {
            node["metadata"]["labels"][&zone] = value;
        }
        let name = node["metadata"]["name"].clone();
        node["metadata"]["labels"][format!("{}/host", scene.space)] = name;
    }
    let host = format!("{}/host", scene.space);
    let first = if dice.turn(2) == 0 || dice.chance(40) { &zone } else { &host };
    let mut constraints = vec![one(dice, first)];
    if dice.turn(2) == 1 {
        constraints[0]["maxSkew"] = 1.into();
        constraints[0]["nodeAffinityPolicy"] = "Ignore".into();
    }
    if dice.chance(30) {
        let other = if constraints[0]["topologyKey"] == zone { &host } else { &zone };
        constraints.push(one(dice, other));
    }
    scene.pod["spec"]["topologySpreadConstraints"] = Value::Array(constraints);
}

fn term(dice: &mut Dice, app: &str, space: &str) -> Value {
    let key = if dice.chance(50) { ZONE } else { "kubernetes.io/hostname" };
    let mut term = json!({ "topologyKey": key, "labelSelector": { "matchLabels": { "app": app } } });
    match dice.between(0, 7) {
        0 => term["namespaces"] = json!(["default"]),
        1 => term["namespaces"] = json!([space, "default"]),
        2 => term["namespaceSelector"] = json!({ "matchLabels": { "kubernetes.io/metadata.name": space } }),
        _ => {}
    }
    term
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

fn near(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    nearby(dice, &mut scene);
    scene.steps()
}

fn nearby(dice: &mut Dice, scene: &mut Scene<'_>) {
    for on in 0..scene.nodes.len() as u32 {
        if dice.chance(40) {
            scene.other(on, &json!({ "app": dice.of(&["db", "web"]) }), &json!({}));
        }
    }
    let app = dice.of(&["db", "db", "web"]);
    let mut terms = vec![term(dice, app, scene.space)];
    if dice.chance(25) {
        terms.push(term(dice, app, scene.space));
    }
    scene.pod["spec"]["affinity"]["podAffinity"][REQUIRED] = Value::Array(terms);
}

fn apart(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    apart_from(dice, &mut scene);
    scene.steps()
}

fn apart_from(dice: &mut Dice, scene: &mut Scene<'_>) {
    let by_others = dice.turn(2) == 0;
    let wanted = dice.of(&["db", "web"]);
    for on in 0..scene.nodes.len() as u32 {
        if on == 1 || dice.chance(50) {
            let mut spec = json!({});
            if by_others {
                let key = if dice.chance(30) { ZONE } else { "kubernetes.io/hostname" };
                let term = json!({ "topologyKey": key, "labelSelector": { "matchLabels": { "app": "web" } } });
                spec["affinity"]["podAntiAffinity"][REQUIRED] = json!([term]);
            }
            let app = if dice.chance(80) { wanted } else { "cache" };
            scene.other(on, &json!({ "app": app }), &spec);
        }
    }
    if !by_others {
        scene.pod["spec"]["affinity"]["podAntiAffinity"][REQUIRED] = json!([term(dice, wanted, scene.space)]);
    }
}

/// A claim with the volume that it is bound to.
fn claim(scene: &mut Scene<'_>, name: &str, mode: &str, driver: Option<&str>) -> usize {
    let volume = format!("{}-{name}", scene.space);
    let mut object = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": volume, "labels": {} },
        "spec": {
            "capacity": { "storage": "1Gi" }, "accessModes": [mode], "storageClassName": "",
            "claimRef": { "namespace": scene.space, "name": name },
        },
    });
    match driver {
        Some(driver) => object["spec"]["csi"] = json!({ "driver": driver, "volumeHandle": volume }),
        None => object["spec"]["hostPath"] = json!({ "path": "/data" }),
    }
    scene.extra.push(object);
    let at = scene.extra.len() - 1;
    scene.extra.push(json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": name, "namespace": scene.space },
        "spec": {
            "accessModes": [mode], "storageClassName": "", "volumeName": volume,
            "resources": { "requests": { "storage": "1Gi" } },
        },
    }));
    at
}

fn mounts(claims: &[&str]) -> Value {
    claims.iter().map(|name| json!({ "name": name, "persistentVolumeClaim": { "claimName": name } })).collect()
}

fn volumes(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    with_volume(dice, &mut scene);
    scene.steps()
}

fn with_volume(dice: &mut Dice, scene: &mut Scene<'_>) {
    scene.pod["spec"]["volumes"] = mounts(&["data"]);
    match dice.turn(4) {
        // A volume of a zone, or a few, by its own affinity.
        0 => {
            let at = claim(scene, "data", "ReadWriteOnce", None);
            let zones = dice.of(&[&["z1"][..], &["z2"], &["z2", "z3"], &["z9"]]);
            let expression = json!({ "key": ZONE, "operator": "In", "values": zones });
            scene.extra[at]["spec"]["nodeAffinity"] =
                json!({ "required": { "nodeSelectorTerms": [{ "matchExpressions": [expression] }] } });
        }
        // By its label, as old drivers do.
        1 => {
            let at = claim(scene, "data", "ReadWriteOnce", None);
            let zones = dice.of(&["z1", "z1__z3", "z2__z3", "z3", "z9"]);
            scene.extra[at]["metadata"]["labels"][ZONE] = zones.into();
            if dice.chance(15)
                && let Some(labels) = scene.nodes[1]["metadata"]["labels"].as_object_mut()
            {
                labels.remove(ZONE);
            }
        }
        2 => {
            claim(scene, "data", "ReadWriteOncePod", None);
            if dice.chance(90) {
                let on = dice.between(0, u32::try_from(scene.nodes.len()).unwrap_or(1) - 1);
                scene.other(on, &json!({}), &json!({ "volumes": mounts(&["data"]) }));
            }
        }
        _ => {}
    }
}

fn limits(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    let driver = "disk.example.com";
    claim(&mut scene, "data", "ReadWriteOnce", Some(driver));
    scene.pod["spec"]["volumes"] = mounts(&["data"]);
    for on in 1..scene.nodes.len() as u32 {
        let name = scene.name(on);
        let limit = dice.between(1, 2);
        scene.extra.push(json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": { "name": name },
            "spec": { "drivers": [{ "name": driver, "nodeID": name, "topologyKeys": [], "allocatable": { "count": limit } }] },
        }));
        let used = if on == 1 { limit } else { dice.between(0, limit) };
        for number in 0..used {
            let claimed = format!("data-{on}-{number}");
            claim(&mut scene, &claimed, "ReadWriteOnce", Some(driver));
            scene.other(on, &json!({}), &json!({ "volumes": mounts(&[&claimed]) }));
        }
    }
    scene.steps()
}

fn gated(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    scene.pod["spec"]["schedulingGates"] = json!([{ "name": "example.com/wait" }]);
    if dice.chance(40) {
        tainted(dice, &mut scene);
    }
    scene.steps()
}

/// Pods that name their node: nobody schedules them, and no cordon keeps them away.
fn named(dice: &mut Dice, space: &str) -> Vec<Step> {
    let mut scene = Scene::new(dice, space);
    cordoned(dice, &mut scene);
    let names = scene.names();
    let mut pod = scene.pod.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["namespace"] = space.into();
    pod["metadata"]["name"] = "named".into();
    pod["spec"]["nodeName"] =
        names[dice.between(0, u32::try_from(names.len()).unwrap_or(1) - 1) as usize].clone().into();
    let mut steps = scene.steps();
    steps.push(Step::Make(pod));
    steps.push(Step::Placed { pod: "named".to_owned() });
    steps.push(Step::Same { what: "pods/named".to_owned(), at: "/spec/nodeName" });
    steps.push(Step::Decided("filter: a pod that names its node is not scheduled"));
    steps
}

/// Several things at once.
fn any(dice: &mut Dice, space: &str) -> Vec<Step> {
    type Part = fn(&mut Dice, &mut Scene<'_>);
    let parts: [Part; 7] = [cordoned, tainted, affine, demanding, nearby, apart_from, with_volume];
    let mut scene = Scene::new(dice, space);
    let (first, second) = (dice.between(0, 6) as usize, dice.between(0, 6) as usize);
    parts[first](dice, &mut scene);
    if first != second && (first.min(second), first.max(second)) != (0, 1) {
        parts[second](dice, &mut scene);
    }
    scene.steps()
}
