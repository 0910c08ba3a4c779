//! `haulout doctor`: whether everything is there that planning and applying a config need. It changes nothing: it
//! reads, asks about rights, and sends dry runs.

mod judge;

use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;

use crate::cli::args::{Doctor, Purpose};
use crate::cli::connect::{Connection, Connections, Environment};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::load::{self, Loaded};
use crate::cli::output::Output;
use crate::config::{Cluster, Config};
use crate::model::{BootId, ClusterName, Foreign, MANAGED_NAMESPACE, Node, RebootMethod, RunId};
use crate::provider::right::{Feature, Place, RULES, Target};
use crate::provider::{BaseObject, BaseState, ClusterReads, Inquiries, Probes, RebootPod, clock};
use crate::render;
use crate::render::doctor::{Examined, Finding, Standing};
use judge::Answer;

/// How many questions about rights are on their way at the same time: enough that thirty take a few round trips, few
/// enough that no API server throttles them.
const QUESTIONS_AT_ONCE: usize = 8;
/// The run that the dry run of a reboot pod names. No real run is called so, because theirs begin with a date.
const DRY_RUN: &str = "doctor";

pub(in crate::cli) async fn run(args: &Doctor, output: &Output) -> Result<Exit, Failure> {
    let loaded = load::config(&args.config.path, output)?;
    let names = Connections::wanted(&loaded.config, &args.cluster)?;
    let environment = Environment::read(args.reach.kubeconfig.clone());
    let looking = output.spinner("examining the clusters");
    let examined = join_all(names.iter().map(|name| examine(&loaded, name, &environment, args.purpose, output))).await;
    looking.finish();
    let text = render::doctor::doctor(&examined, &output.terminal());
    output.data(&text).map_err(|error| Failure::io("print what was found", &error, "check the output"))?;
    Ok(if examined.iter().all(|examined| examined.problems() == 0) { Exit::Ok } else { Exit::Error })
}

async fn examine(
    loaded: &Loaded,
    name: &ClusterName,
    environment: &Environment,
    purpose: Purpose,
    output: &Output,
) -> Examined {
    let mut examined = Examined { cluster: name.clone(), via: Foreign::default(), findings: Vec::new() };
    let Some(config) = loaded.config.clusters.get(name) else { return examined };
    let mut opened = match Connections::open(loaded, std::slice::from_ref(name), environment, "doctor", output).await {
        Ok(opened) => opened,
        Err(failure) => {
            examined.findings.push(unopened(&failure));
            return examined;
        }
    };
    if let Some(connection) = opened.clusters.remove(name) {
        examined.via = connection.cluster.via();
        look(&connection, config, &Wants::of(&loaded.config, name, purpose), &mut examined.findings).await;
    }
    examined
}

/// What the config wants of a cluster.
struct Wants {
    features: Vec<Feature>,
    methods: Vec<RebootMethod>,
    /// The longest that an outage of one node may take.
    outage: Duration,
}

impl Wants {
    fn of(config: &Config, cluster: &ClusterName, purpose: Purpose) -> Self {
        if purpose == Purpose::Plan {
            return Self {
                features: vec![Feature::Plan, Feature::Certificates],
                methods: Vec::new(),
                outage: Duration::ZERO,
            };
        }
        let reboots = || config.reboots.values().filter(|reboot| reboot.scope.clusters.contains(cluster));
        let mut methods: Vec<RebootMethod> = reboots().map(|reboot| reboot.method).collect();
        methods.sort();
        methods.dedup();
        let drains = config
            .out_of_service
            .values()
            .filter(|out| out.scope.clusters.contains(cluster))
            .map(|out| out.drain.timeout);
        let outage = reboots()
            .map(|reboot| reboot.drain.timeout.saturating_add(reboot.ready_timeout))
            .chain(drains)
            .max()
            .unwrap_or_default();
        // Without any table apply still releases what a removed one had taken out of service.
        let mut features = vec![Feature::Plan, Feature::Apply];
        if !methods.is_empty() {
            features.push(Feature::Reboot);
        }
        features.push(Feature::Certificates);
        Self { features, methods, outage }
    }
}

async fn look(connection: &Connection, config: &Cluster, wants: &Wants, findings: &mut Vec<Finding>) {
    let cluster = connection.cluster.as_ref();
    let access = match connection.describe() {
        Ok(access) => access,
        Err(failure) => {
            findings.push(unopened(&failure));
            None
        }
    };
    let version = cluster.version().await;
    // Connected by now, so that what is measured is one round trip.
    let times = cluster.clock().await;
    let now = clock::now();
    let answers = match &version {
        Ok(_) => true,
        Err(error) => error.status.is_some_and(|status| status == 403),
    };
    findings.extend(judge::reach(&version, access.as_ref(), now));
    if times.is_ok() {
        findings.push(judge::clock(&times));
    }
    if let Some(access) = &access {
        let refused = version.as_ref().is_err_and(|error| error.status == Some(401));
        findings.extend(judge::credentials(&access.credentials, now, wants.outage, refused));
    }
    if !answers {
        let says = "not looked at, because the API server does not answer as it should";
        findings.push(Finding::new(Standing::NotLooked, "rights", says));
        return;
    }
    let rights = ask_rights(cluster, &wants.features).await;
    let who = cluster.whoami().await.ok();
    findings.extend(judge::rights(&rights, who.as_ref()));
    let states = look_at_base(cluster, wants, findings).await;
    try_reboot_pods(cluster, config, wants, &rights, &states, findings).await;
}

/// Asks about every right that the features need, in the order of the table.
async fn ask_rights(inquiries: &dyn Inquiries, features: &[Feature]) -> Vec<Answer> {
    let questions = RULES
        .iter()
        .filter(|rule| features.contains(&rule.feature))
        .flat_map(|rule| rule.verbs.iter().map(move |verb| (rule, *verb)));
    stream::iter(questions)
        .map(|(rule, verb)| async move {
            Answer { rule, verb, allowed: inquiries.may(verb, rule.place, &rule.target).await }
        })
        .buffered(QUESTIONS_AT_ONCE)
        .collect()
        .await
}

/// Looks at what `apply` would make where it is missing.
async fn look_at_base(
    inquiries: &dyn Inquiries,
    wants: &Wants,
    findings: &mut Vec<Finding>,
) -> Vec<(BaseObject, BaseState)> {
    const MANAGED: Place = Place::Namespace(MANAGED_NAMESPACE);
    const RBAC: &str = "rbac.authorization.k8s.io";
    let all = [
        (Feature::Apply, BaseObject::Namespace, Place::Cluster, "", "namespaces"),
        (Feature::Reboot, BaseObject::NodeAccount, MANAGED, "", "serviceaccounts"),
        (Feature::Reboot, BaseObject::NodeRole, Place::Cluster, RBAC, "clusterroles"),
        (Feature::Reboot, BaseObject::NodeBinding, Place::Cluster, RBAC, "clusterrolebindings"),
    ];
    let mut states = Vec::new();
    for (feature, object, place, group, resource) in all {
        if !wants.features.contains(&feature) {
            continue;
        }
        let state = inquiries.base(object).await;
        let target = Target::Objects { group, resource, name: None };
        let may_make = matches!(state, Ok(BaseState::Absent))
            && inquiries.may("create", place, &target).await.is_ok_and(|allowed| allowed);
        findings.push(judge::base(object, &state, may_make));
        if let Ok(state) = state {
            states.push((object, state));
        }
    }
    states
}

/// Sends the pods that reboot nodes as dry runs, one for each way in which this cluster's nodes are rebooted.
async fn try_reboot_pods(
    cluster: &(impl ClusterReads + Probes + Inquiries),
    config: &Cluster,
    wants: &Wants,
    rights: &[Answer],
    states: &[(BaseObject, BaseState)],
    findings: &mut Vec<Finding>,
) {
    if wants.methods.is_empty() {
        return;
    }
    let not_tried = |why: &str| Finding::new(Standing::NotLooked, "reboot pod", format!("not tried: {why}"));
    if config.node_pod.is_none() && !cluster.is_sandbox() {
        findings.push(
            Finding::new(Standing::Problem, "reboot pod", "the config does not say which image reboots nodes")
                .advise("set node_pod = { image = \"REGISTRY/haulout@sha256:…\" } in the cluster's table"),
        );
        return;
    }
    let may_create = rights.iter().any(|answer| {
        answer.verb == "create"
            && answer.rule.feature == Feature::Reboot
            && matches!(answer.rule.target, Target::Objects { group: "", resource: "pods", name: None })
            && matches!(answer.allowed, Ok(true))
    });
    if !may_create {
        findings.push(not_tried("the right to create it is missing, see above"));
        return;
    }
    let absent = |object| states.iter().any(|(seen, state)| *seen == object && *state == BaseState::Absent);
    if absent(BaseObject::Namespace) || absent(BaseObject::NodeAccount) {
        findings.push(not_tried("its namespace or its ServiceAccount is not there yet"));
        return;
    }
    // Policies may look at the node's name, so it is a real one where nodes may be read; its identity does not matter,
    // because nothing runs.
    let mut pages = cluster.nodes();
    let nodes = pages.next().await.and_then(Result::ok).map(|(nodes, _)| nodes).unwrap_or_default();
    drop(pages);
    let Some(node) = nodes.iter().find(|node| node.linux && !node.control_plane).or(nodes.first()) else {
        findings.push(not_tried("no node could be read"));
        return;
    };
    for method in &wants.methods {
        let (word, Some(pod)) = reboot_pod(node, *method, config) else { continue };
        findings.push(judge::admission(word, &cluster.admit_reboot_pod(&pod).await));
    }
}

fn reboot_pod(node: &Node, method: RebootMethod, config: &Cluster) -> (&'static str, Option<RebootPod>) {
    let word = match method {
        RebootMethod::Signal => "signal",
        RebootMethod::Command => "command",
    };
    let pod = || {
        Some(RebootPod {
            node: node.name.clone(),
            node_uid: node.uid.clone(),
            boot_id: node.boot_id.clone().or_else(|| BootId::new("unknown").ok())?,
            run: RunId::new(DRY_RUN).ok()?,
            method,
            image: config.node_pod.clone(),
            not_after: clock::now(),
            active_deadline: Duration::from_secs(1),
        })
    };
    (word, pod())
}

/// A cluster that could not be connected to.
fn unopened(failure: &Failure) -> Finding {
    let (says, advice) = failure.words();
    let finding = Finding::new(Standing::Problem, "connection", says);
    match advice {
        Some(advice) => finding.advise(advice),
        None => finding,
    }
}
