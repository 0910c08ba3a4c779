//! Plays a scenario on both sides, step by step, and compares.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::judge::Judge;
use super::rows::{self, Facts, covers, is_ready};
use super::scenario::{Scenario, Step, collection, path, pin};
use super::side::{Answer, Ask, Real, Side, Twin};
use super::tally::{Fits, Outcome, Tally};
use super::text::{gather, merge, reasons, replace, without_ids};

/// How long the real control plane has to come to where the twin is. It takes milliseconds; but two busy cores may be
/// shared by many, and only what never comes is a disagreement.
const SETTLE: Duration = Duration::from_secs(30);
/// How long the twin lives, in its own time, until it has come to rest: longer than anything in it takes.
const REST_MS: i64 = 15_000;
/// The longest pause between two looks at the real control plane.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Play<'a> {
    scenario: &'a Scenario,
    real: Side,
    twin: Side,
    judge: &'a Judge,
    /// The names of pods on the real side and on the twin, by alias.
    names: BTreeMap<String, [String; 2]>,
    leaving: bool,
    /// The nodes that a copy of the pod under test was found to fit on, and those that it was not.
    fits: BTreeMap<String, bool>,
    pub(super) log: Vec<String>,
    pub(super) tally: Tally,
}

/// What was found to differ, or why the scenario could not be played.
type Differs = Failed;

impl<'a> Play<'a> {
    pub(super) fn new(scenario: &'a Scenario, real: Real, judge: &'a Judge) -> Result<Self, Failed> {
        Ok(Self {
            scenario,
            real: Side::Real(real),
            twin: Side::Twin(Twin::new()?),
            judge,
            names: BTreeMap::new(),
            leaving: false,
            fits: BTreeMap::new(),
            log: Vec::new(),
            tally: Tally { scenarios: 1, ..Tally::default() },
        })
    }

    pub(super) async fn play(&mut self) -> Result<(), Differs> {
        let space = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.scenario.namespace } });
        self.make(&space).await?;
        // The account is made by a controller soon; pods may be made at once where it is there already.
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": "default", "namespace": self.scenario.namespace },
        });
        for side in [&self.real, &self.twin] {
            send(side, "POST", &collection(&account), Some(&account)).await?;
        }
        for step in &self.scenario.steps {
            self.log.push(format!("{step:?}"));
            self.step(step).await.map_err(|error| -> Failed {
                format!("at {step:?}: {}", error.message().unwrap_or_default()).into()
            })?;
        }
        Ok(())
    }

    /// Takes away what would cost the control plane something for as long as it is there.
    pub(super) async fn clean_up(&self) -> Result<(), Failed> {
        let space = &self.scenario.namespace;
        let Side::Real(real) = &self.real else { return Ok(()) };
        for plural in ["jobs", "deployments", "replicasets", "statefulsets", "daemonsets"] {
            if self.scenario.steps.iter().any(|step| matches!(step, Step::Make(o) if collection(o).ends_with(plural))) {
                send(&self.real, "DELETE", &path(space, plural), Some(&json!({ "propagationPolicy": "Background" })))
                    .await?;
            }
        }
        let now = json!({ "gracePeriodSeconds": 0 });
        let pods = path(space, "pods/");
        let pods = pods.trim_end_matches('/');
        send(&self.real, "DELETE", pods, Some(&now)).await?;
        for step in &self.scenario.steps {
            if let Step::Make(object) = step
                && matches!(object["kind"].as_str(), Some("Node" | "PersistentVolume" | "StorageClass" | "CSINode"))
            {
                let path =
                    format!("{}/{}", collection(object), object["metadata"]["name"].as_str().unwrap_or_default());
                real.ask(&Ask { method: "DELETE", path: &path, content_type: "", body: None }).await?;
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), Differs> {
        match step {
            Step::Make(object) => self.make(object).await,
            Step::Change { what, part, body } => self.change(what, part, body).await,
            Step::Delete { what, body } => self.delete(what, body).await,
            Step::Name { selector, alias, count } => self.name(selector, alias, *count).await,
            Step::Status { pod, phase, ready } => {
                for index in [0, 1] {
                    let name = self.pod(pod, index).to_owned();
                    self.set_status(index, &name, phase, *ready).await?;
                }
                Ok(())
            }
            Step::Settle => self.settle().await,
            Step::Evict { pod, query, body } => self.evict(pod, query, body).await.map(|_| ()),
            Step::Drain { pods } => self.drain(pods, true).await,
            Step::DrainUnsettled { pods } => self.drain(pods, false).await,
            Step::Same { what, at } => self.same(what, at).await,
            Step::Decided(row) => {
                self.decide(row);
                Ok(())
            }
            Step::Rush { pods } => self.rush(pods).await,
            Step::Calm { nodes } => self.calm(nodes).await,
            Step::Placed { pod } => self.placed(pod).await,
            Step::Probe { pod, nodes } => self.probe(pod, nodes).await,
        }
    }

    fn side(&self, index: usize) -> &Side {
        if index == 0 { &self.real } else { &self.twin }
    }

    fn pass(&self, millis: i64) {
        if let Side::Twin(twin) = &self.twin {
            twin.pass(millis);
        }
    }

    /// The name of a pod on a side.
    fn pod<'b>(&'b self, alias: &'b str, index: usize) -> &'b str {
        self.names.get(alias).map_or(alias, |names| &names[index])
    }

    fn path(&self, what: &str, index: usize) -> String {
        match what.split_once('/') {
            Some(("pods", alias)) => path(&self.scenario.namespace, &format!("pods/{}", self.pod(alias, index))),
            _ => path(&self.scenario.namespace, what),
        }
    }

    /// Puts in what differs from side to side.
    async fn resolve(&self, value: &Value, index: usize) -> Result<Value, Failed> {
        let mut texts = Vec::new();
        gather(value, &mut texts);
        let mut known = BTreeMap::new();
        for text in texts {
            let resolved = if let Some(alias) = text.strip_prefix("@pod:") {
                self.pod(alias, index).to_owned()
            } else if let Some(what) = text.strip_prefix("@uid:") {
                let object = send(self.side(index), "GET", &self.path(what, index), None).await?.body;
                object["metadata"]["uid"].as_str().ok_or_else(|| format!("{what} has no uid"))?.to_owned()
            } else if let Some(what) = text.strip_prefix("@version:") {
                let object = send(self.side(index), "GET", &self.path(what, index), None).await?.body;
                object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
            } else {
                continue;
            };
            known.insert(text, resolved);
        }
        let mut value = value.clone();
        replace(&mut value, &known);
        Ok(value)
    }

    /// What a side says in words that are the same for both.
    fn plain(&self, text: &str, index: usize) -> String {
        let mut text = text.to_owned();
        for (alias, names) in &self.names {
            text = text.replace(&names[index], &format!("<{alias}>"));
        }
        without_ids(&text)
    }

    /// Sends the same to both sides, and compares code and reason.
    async fn both(&mut self, method: &str, paths: [String; 2], bodies: [Option<Value>; 2]) -> Result<Answer, Differs> {
        self.pass(20);
        let real = send(&self.real, method, &paths[0], bodies[0].as_ref()).await?;
        let twin = send(&self.twin, method, &paths[1], bodies[1].as_ref()).await?;
        let say = |answer: &Answer| {
            let reason = answer.body["reason"].as_str().filter(|_| answer.code >= 300).unwrap_or_default();
            format!("{} {reason}", answer.code)
        };
        if say(&real) != say(&twin) {
            return Err(format!("real: {} {}\ntwin: {} {}", real.code, real.body, twin.code, twin.body).into());
        }
        Ok(real)
    }

    async fn make(&mut self, object: &Value) -> Result<(), Differs> {
        let bodies = [Some(self.resolve(object, 0).await?), Some(self.resolve(object, 1).await?)];
        let paths = [collection(object), collection(object)];
        let answer = self.both("POST", paths, bodies).await?;
        if answer.code == 422 && object["kind"] == "PodDisruptionBudget" {
            self.decide("an invalid budget is not accepted");
        }
        Ok(())
    }

    async fn change(&mut self, what: &str, part: &str, body: &Value) -> Result<(), Differs> {
        let bodies = [Some(self.resolve(body, 0).await?), Some(self.resolve(body, 1).await?)];
        let paths = [0, 1].map(|index| format!("{}{part}", self.path(what, index)));
        let answer = self.both("PATCH", paths, bodies).await?;
        if answer.code == 422 && body.pointer("/status/disruptionsAllowed").is_some() {
            self.decide("a negative allowance is not accepted");
        }
        Ok(())
    }

    async fn delete(&mut self, what: &str, body: &Value) -> Result<(), Differs> {
        self.leaving |= what.starts_with("namespaces/");
        let paths = [self.path(what, 0), self.path(what, 1)];
        self.both("DELETE", paths, [Some(body.clone()), Some(body.clone())]).await?;
        Ok(())
    }

    async fn list(&self, index: usize, what: &str) -> Result<Vec<Value>, Failed> {
        let path = path(&self.scenario.namespace, what);
        let answer = send(self.side(index), "GET", &path, None).await?;
        Ok(answer.body["items"].as_array().cloned().unwrap_or_default())
    }

    async fn name(&mut self, selector: &str, alias: &str, count: usize) -> Result<(), Differs> {
        self.pass(REST_MS);
        let mut found: Vec<Vec<String>> = Vec::new();
        for index in [0, 1] {
            let mut wait = Wait::new();
            let names = loop {
                let pods = self.list(index, "pods").await?;
                let mut names: Vec<String> = pods
                    .iter()
                    .filter(|pod| pod["metadata"]["labels"]["app"] == selector)
                    .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
                    .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
                    .filter(|name| !self.names.values().any(|known| known[index] == *name))
                    .collect();
                names.sort();
                if names.len() == count {
                    break names;
                }
                if index == 1 || !wait.more().await {
                    let side = self.side(index).name();
                    return Err(format!("{side}: {} pods of {selector}, not {count}", names.len()).into());
                }
            };
            found.push(names);
        }
        for (number, (real, twin)) in found[0].iter().zip(&found[1]).enumerate() {
            self.names.insert(format!("{alias}-{number}"), [real.clone(), twin.clone()]);
        }
        Ok(())
    }

    async fn set_status(&self, index: usize, pod: &str, phase: &str, ready: bool) -> Result<(), Failed> {
        let status = if ready { "True" } else { "False" };
        let body = json!({ "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": status }] } });
        let path = path(&self.scenario.namespace, &format!("pods/{pod}"));
        let answer = send(self.side(index), "PATCH", &format!("{path}/status"), Some(&body)).await?;
        if answer.code == 200 { Ok(()) } else { Err(format!("status of {pod}: {}", answer.body).into()) }
    }

    /// What a side says of budgets and pods.
    async fn look(&self, index: usize) -> Result<Value, Failed> {
        let budgets: BTreeMap<String, Value> = self
            .list(index, "poddisruptionbudgets")
            .await?
            .iter()
            .map(|budget| (budget["metadata"]["name"].to_string(), self.status_of(budget, index)))
            .collect();
        let mut pods: BTreeMap<String, u32> = BTreeMap::new();
        for pod in self.list(index, "pods").await? {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let known = self.names.iter().find(|(_, names)| names[index] == name).map(|(alias, _)| alias.as_str());
            let bare = pod["metadata"]["ownerReferences"].is_null();
            let name = known.unwrap_or(if bare { name } else { "other" });
            let terminating = if pod["metadata"]["deletionTimestamp"].is_null() { "" } else { " terminating" };
            let ready = if is_ready(&pod) { " ready" } else { "" };
            // The collector of pods may call one without a node Failed, some time after it was deleted.
            let phase = pod["status"]["phase"].as_str().filter(|_| terminating.is_empty()).unwrap_or_default();
            *pods.entry(format!("{name} {phase}{ready}{terminating}")).or_default() += 1;
        }
        Ok(json!({ "budgets": budgets, "pods": pods }))
    }

    fn status_of(&self, budget: &Value, index: usize) -> Value {
        let status = &budget["status"];
        let number = |field: &str| status[field].as_i64().unwrap_or(0);
        let disrupted: Vec<String> = status["disruptedPods"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| self.plain(name, index))
            .collect();
        let conditions: Vec<Value> = status["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|condition| {
                json!({
                    "type": condition["type"], "status": condition["status"], "reason": condition["reason"],
                    "message": self.plain(condition["message"].as_str().unwrap_or_default(), index),
                    "observedGeneration": condition["observedGeneration"].as_i64().unwrap_or(0),
                })
            })
            .collect();
        json!({
            "allowed": number("disruptionsAllowed"), "healthy": number("currentHealthy"),
            "desired": number("desiredHealthy"), "expected": number("expectedPods"),
            "observedGeneration": number("observedGeneration"), "generation": budget["metadata"]["generation"],
            // Two thousand names say no more than their number.
            "disrupted": if disrupted.len() > 9 { json!(disrupted.len()) } else { json!(disrupted) },
            "conditions": conditions,
        })
    }

    async fn settle(&mut self) -> Result<(), Differs> {
        self.pass(REST_MS);
        let twin = self.look(1).await?;
        let mut wait = Wait::new();
        loop {
            let real = self.look(0).await?;
            if real == twin {
                return Ok(());
            }
            if !wait.more().await {
                return Err(format!("at rest they differ\nreal: {real}\ntwin: {twin}").into());
            }
        }
    }

    async fn facts(&self, pod: &str) -> Result<Facts, Failed> {
        let pods = self.list(0, "pods").await?;
        let name = self.pod(pod, 0);
        let subject = pods.iter().find(|pod| pod["metadata"]["name"] == name).cloned();
        let subject = subject.ok_or_else(|| format!("there is no pod {pod}"))?;
        let budgets = self.list(0, "poddisruptionbudgets").await?;
        Ok(Facts { covers: covering(&budgets, &subject), pod: subject, pods, leaving: self.leaving })
    }

    fn decide(&mut self, row: &'static str) {
        self.tally.row(row, &self.scenario.name());
    }

    /// Evicts a pod on both sides and compares every part of the answers.
    async fn evict(&mut self, pod: &str, query: &str, extra: &Value) -> Result<u16, Differs> {
        let facts = self.facts(pod).await?;
        let mut answers = Vec::new();
        let mut sent = Value::Null;
        self.pass(20);
        for index in [0, 1] {
            let mut body = json!({
                "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": self.pod(pod, index) },
            });
            let extra = self.resolve(extra, index).await?;
            merge(&mut body, &extra);
            let path = format!(
                "{}/eviction{query}",
                path(&self.scenario.namespace, &format!("pods/{}", self.pod(pod, index)))
            );
            answers.push(send(self.side(index), "POST", &path, Some(&body)).await?);
            if index == 0 {
                sent = body;
            }
        }
        let said: Vec<Value> = answers.iter().enumerate().map(|(index, answer)| self.say(answer, index)).collect();
        if said[0] != said[1] {
            return Err(format!("the answers differ\nreal: {}\ntwin: {}", said[0], said[1]).into());
        }
        for row in rows::decided(&facts, query, &sent, &answers[0])? {
            self.decide(row);
        }
        let budgets = self.list(0, "poddisruptionbudgets").await?;
        if budgets.iter().any(|budget| budget["spec"]["selector"].is_null()) {
            self.decide("a null selector covers none");
        }
        Ok(answers[0].code)
    }

    /// An answer in words that are the same for both sides.
    fn say(&self, answer: &Answer, index: usize) -> Value {
        let body: Value =
            serde_json::from_str(&self.plain(&answer.body.to_string(), index)).unwrap_or_else(|_| answer.body.clone());
        json!({ "code": answer.code, "retry": answer.retry_after, "warning": answer.warning, "body": body })
    }

    /// Drains a node that has these pods, as far as budgets go, and compares with what the planner foresaw.
    async fn drain(&mut self, pods: &[String], settles: bool) -> Result<(), Differs> {
        if settles {
            self.settle().await?;
        }
        let names: Vec<String> = pods.iter().map(|pod| self.pod(pod, 0).to_owned()).collect();
        let budgets: Vec<String> = self
            .list(0, "poddisruptionbudgets")
            .await?
            .iter()
            .filter_map(|budget| budget["metadata"]["name"].as_str().map(str::to_owned))
            .collect();
        let (verdict, why) = self.judge.drain(&self.scenario.namespace, &names, &budgets).await?;
        let mut left: Vec<String> = pods.to_vec();
        let mut first = true;
        let mut waited = false;
        loop {
            let mut refused = Vec::new();
            for pod in &left {
                if self.evict(pod, "", &Value::Null).await? != 201 {
                    refused.push(pod.clone());
                }
                if settles {
                    self.settle().await?;
                }
            }
            let progress = refused.len() < left.len();
            left = refused;
            if left.is_empty() || (!progress && !first) {
                break;
            }
            (first, waited) = (false, true);
            self.nurse().await?;
            if settles {
                self.settle().await?;
            }
        }
        let outcome = match (left.is_empty(), waited) {
            (true, false) => Outcome::AtOnce,
            (true, true) => Outcome::AfterWaiting,
            (false, _) => Outcome::Refused,
        };
        self.log.push(format!("  drain: {verdict:?} {why} -> {outcome:?}"));
        self.tally.drain(verdict, outcome, &self.scenario.name());
        Ok(())
    }

    /// Does what kubelets would do for replacements: they become Ready.
    async fn nurse(&mut self) -> Result<(), Differs> {
        for index in [0, 1] {
            for pod in self.list(index, "pods").await? {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                if pod["metadata"]["deletionTimestamp"].is_string() && !pod["metadata"]["finalizers"].is_null() {
                    let body = json!({ "metadata": { "finalizers": null } });
                    let path = path(&self.scenario.namespace, &format!("pods/{name}"));
                    send(self.side(index), "PATCH", &path, Some(&body)).await?;
                }
            }
        }
        // What has gone is replaced, with the same name where it is a StatefulSet's.
        self.settle().await?;
        for index in [0, 1] {
            for pod in self.list(index, "pods").await? {
                let replaces = !pod["metadata"]["ownerReferences"].is_null()
                    && pod["status"]["phase"] == "Pending"
                    && pod["metadata"]["deletionTimestamp"].is_null();
                if replaces {
                    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                    self.set_status(index, name, "Running", true).await?;
                }
            }
        }
        Ok(())
    }

    async fn same(&mut self, what: &str, at: &str) -> Result<(), Differs> {
        let [real, twin] = [0, 1].map(|index| {
            let (side, path) = (self.side(index), self.path(what, index));
            async move { send(side, "GET", &path, None).await }
        });
        let (real, twin) = (real.await?.body, twin.await?.body);
        if real.pointer(at) == twin.pointer(at) {
            return Ok(());
        }
        Err(format!("{at} of {what}\nreal: {:?}\ntwin: {:?}", real.pointer(at), twin.pointer(at)).into())
    }

    /// Evicts a pod on one side, with nothing said.
    async fn plainly(&self, pod: &str, index: usize) -> Result<Answer, Failed> {
        let name = self.pod(pod, index);
        let path = path(&self.scenario.namespace, &format!("pods/{name}/eviction"));
        let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
        send(self.side(index), "POST", &path, Some(&body)).await
    }

    /// Many at once: one after the other on the twin, which has no other way, and truly at once on the real side.
    async fn rush(&mut self, pods: &[String]) -> Result<(), Differs> {
        self.pass(20);
        let mut counts: [BTreeMap<u16, u32>; 2] = [BTreeMap::new(), BTreeMap::new()];
        for answer in futures::future::join_all(pods.iter().map(|pod| self.plainly(pod, 0))).await {
            *counts[0].entry(answer?.code).or_default() += 1;
        }
        for pod in pods {
            *counts[1].entry(self.plainly(pod, 1).await?.code).or_default() += 1;
        }
        if counts[0] != counts[1] {
            return Err(format!("many at once\nreal: {:?}\ntwin: {:?}", counts[0], counts[1]).into());
        }
        // Who was first is chance.
        self.names.clear();
        if counts[0].len() > 1 {
            self.decide("many at once: as many pass as the budget allows");
        }
        Ok(())
    }

    /// Where a pod was put, or what the scheduler says of it.
    async fn place_of(&self, pod: &str, index: usize) -> Result<Option<Result<String, String>>, Failed> {
        let path = path(&self.scenario.namespace, &format!("pods/{}", self.pod(pod, index)));
        let pod = send(self.side(index), "GET", &path, None).await?.body;
        if let Some(node) = pod["spec"]["nodeName"].as_str() {
            return Ok(Some(Ok(node.to_owned())));
        }
        let conditions = pod["status"]["conditions"].as_array();
        let waits = conditions.into_iter().flatten().find(|condition| condition["type"] == "PodScheduled");
        Ok(waits.map(|condition| {
            let message = condition["message"].as_str().unwrap_or_default();
            Err(format!("{}: {}", condition["reason"].as_str().unwrap_or_default(), reasons(message)))
        }))
    }

    /// Waits until both sides have decided about a pod: the same reasons, or a node on both.
    async fn decide_place(&mut self, pod: &str) -> Result<[Result<String, String>; 2], Differs> {
        self.pass(1_000);
        let twin = self.place_of(pod, 1).await?.ok_or_else(|| format!("the twin has not decided about {pod}"))?;
        let mut wait = Wait::new();
        loop {
            let real = self.place_of(pod, 0).await?;
            let agree = match (&real, &twin) {
                (Some(Ok(_)), Ok(_)) => true,
                (Some(Err(real)), Err(twin)) => real == twin,
                _ => false,
            };
            // A node cannot be taken back; reasons may still change.
            let over = !wait.more().await || matches!(real, Some(Ok(_)));
            if agree || over {
                let real = real.unwrap_or_else(|| Err("undecided".to_owned()));
                let fits = |place: &Result<String, String>| if place.is_ok() { Fits::Yes } else { Fits::No };
                self.tally.place(fits(&twin), fits(&real), &self.scenario.name());
                if !agree {
                    return Err(format!("the place of {pod}\nreal: {real:?}\ntwin: {twin:?}").into());
                }
                if let Err(message) = &real {
                    for row in message.split(", ").filter_map(rows::filter_of) {
                        self.decide(row);
                    }
                }
                return Ok([real, twin]);
            }
        }
    }

    async fn calm(&mut self, nodes: &[String]) -> Result<(), Differs> {
        self.pass(2_000);
        let taints = |node: &Value| {
            let mut taints: Vec<String> = node["spec"]["taints"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|taint| {
                    let text = |field: &str| taint[field].as_str().unwrap_or_default();
                    format!("{}={}:{}", text("key"), text("value"), text("effect"))
                })
                .collect();
            taints.sort();
            taints
        };
        for name in nodes {
            let twin = taints(&send(&self.twin, "GET", &self.path(&format!("nodes/{name}"), 1), None).await?.body);
            let mut wait = Wait::new();
            loop {
                let real = taints(&send(&self.real, "GET", &self.path(&format!("nodes/{name}"), 0), None).await?.body);
                if real == twin {
                    break;
                }
                if !wait.more().await {
                    return Err(format!("the taints of {name}\nreal: {real:?}\ntwin: {twin:?}").into());
                }
            }
        }
        // A claim is of use once it is bound.
        for index in [0, 1] {
            let mut wait = Wait::new();
            while self
                .list(index, "persistentvolumeclaims")
                .await?
                .iter()
                .any(|claim| claim["status"]["phase"] != "Bound")
            {
                if !wait.more().await {
                    return Err(format!("{}: claims are not bound", self.side(index).name()).into());
                }
            }
        }
        Ok(())
    }

    async fn placed(&mut self, pod: &str) -> Result<(), Differs> {
        // The choice among nodes that fit is the scheduler's own; that it fits there is not.
        for place in self.decide_place(pod).await? {
            if let Ok(node) = place
                && pod == "replacement"
                && self.fits.get(&node) == Some(&false)
            {
                return Err(format!("{pod} is on {node}, where a copy of it did not fit: {:?}", self.fits).into());
            }
        }
        Ok(())
    }

    async fn probe(&mut self, pod: &Value, nodes: &[String]) -> Result<(), Differs> {
        for node in nodes {
            let mut probe = pod.clone();
            let name = format!("probe-{node}");
            probe["metadata"]["name"] = name.as_str().into();
            pin(&mut probe, std::slice::from_ref(node));
            self.make(&probe).await?;
            let [place, _] = self.decide_place(&name).await?;
            // Where affinity decides what a spread counts, a copy for one node alone is another pod.
            if !pod["spec"].to_string().contains("\"Honor\"") {
                self.fits.insert(node.clone(), place.is_ok());
            }
            for index in [0, 1] {
                let path = path(&self.scenario.namespace, &format!("pods/{name}"));
                send(self.side(index), "DELETE", &path, Some(&json!({ "gracePeriodSeconds": 0 }))).await?;
            }
        }
        Ok(())
    }
}

/// Waits with growing pauses, up to [`SETTLE`].
struct Wait {
    began: Instant,
    pause: Duration,
}

impl Wait {
    fn new() -> Self {
        Self { began: Instant::now(), pause: Duration::from_millis(10) }
    }

    /// Pauses; false when it has taken too long.
    async fn more(&mut self) -> bool {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE);
        self.began.elapsed() < SETTLE
    }
}

async fn send(side: &Side, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, Failed> {
    let content_type = match (method, body) {
        ("PATCH", _) => "application/merge-patch+json",
        (_, Some(_)) => "application/json",
        (_, None) => "",
    };
    side.ask(&Ask { method, path, content_type, body }).await
}

fn covering(budgets: &[Value], pod: &Value) -> Vec<Value> {
    budgets.iter().filter(|budget| covers(budget, pod)).cloned().collect()
}
