//! `haulout status`: how runs stand on each cluster; `status abandon RUN` gives a dead one up.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::{Order, Sweep, must_be_answered};
use crate::cli::args::{Abandon, Status, StatusVerb};
use crate::cli::connect::{Connections, Environment};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::load;
use crate::cli::output::Output;
use crate::cli::sandbox::Patience;
use crate::config::Config;
use crate::model::{ClusterName, Cordon, Node, NodeName, Readiness, RunId, Snapshot};
use crate::observe::Extent;
use crate::plan::Selection;
use crate::provider::clock;
use crate::render;

pub(in crate::cli) async fn run(args: &Status, output: &Output) -> Result<Exit, Failure> {
    if let Some(StatusVerb::Abandon(args)) = &args.what {
        return abandon(args, output).await;
    }
    let loaded = load::config(&args.config.path, output)?;
    let names = Connections::wanted(&loaded.config, &args.cluster)?;
    let environment = Environment::read(args.reach.kubeconfig.clone());
    let connections = Connections::open(&loaded, &names, &environment, "status", output).await?;
    let snapshots = connections.observe(Extent::Plan, output).await?;
    let name = &loaded.config.name;
    let text = render::terminal::status(name, connections.now(), snapshots.values(), &output.terminal());
    output.data(&text).map_err(|error| Failure::io("print the status", &error, "check the output"))?;
    Ok(Exit::Ok)
}

/// What becomes of a node of a run that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Abandoned {
    /// Its marks go, and with them its cordon.
    Released,
    /// It is left as it is, for this reason.
    Left(&'static str),
}

/// Gives a dead run up: with nothing wanted of any node, all that is left to do on its nodes is to let them go.
async fn abandon(args: &Abandon, output: &Output) -> Result<Exit, Failure> {
    let loaded = load::config(&args.config.path, output)?;
    must_be_answered("status abandon", args.auto_approve)?;
    let config = Config { reboots: BTreeMap::new(), out_of_service: BTreeMap::new(), ..loaded.config.clone() };
    let names: Vec<ClusterName> = config.clusters.keys().cloned().collect();
    let environment = Environment::read(args.reach.kubeconfig.clone());
    let until = clock::monotonic() + args.lock_timeout.unsigned_abs();
    let patience = Patience::Until(until);
    let connections = Connections::open_patiently(&loaded, &names, &environment, "status", patience, output).await?;
    let seen = connections.observe(Extent::Plan, output).await?;
    let mut sweep = Sweep::new();
    let mut found = false;
    for (name, snapshot) in &seen {
        let pods = pods_of(snapshot, &args.run);
        found |= !pods.is_empty();
        sweep.insert(name.clone(), pods);
        for (node, becomes) in nodes_of(&config, snapshot, &args.run) {
            found = true;
            if let Abandoned::Left(why) = becomes {
                output.say(&format!("{name}/node/{node} is left as it is: {why}"));
            }
        }
    }
    if !found {
        return Err(Failure::input(
            format!("no node and no pod of run {} is left in any cluster of this config", args.run),
            "haulout status shows the runs that have left something",
        ));
    }
    for (name, pods) in &sweep {
        for (node, run) in pods {
            output.say(&format!("{name}: the reboot pod of run {run} on node {node} will be removed"));
        }
    }
    let order =
        Order { config: &config, connections: &connections, until, auto_approve: args.auto_approve, nothing_left: "" };
    order.carry_out(None, |seen| Some(select(&config, seen, &args.run)), &sweep, output).await
}

/// The nodes that are let go. Where there are none it is said so, because an empty selection means all.
fn select(config: &Config, seen: &BTreeMap<ClusterName, Snapshot>, run: &RunId) -> Selection {
    let mut target = Vec::new();
    for (name, snapshot) in seen {
        let released = nodes_of(config, snapshot, run).into_iter().filter(|(_, what)| *what == Abandoned::Released);
        target.extend(released.map(|(node, _)| format!("{name}/node/{node}")));
    }
    Selection { nothing: target.is_empty(), target, ..Selection::default() }
}

fn pods_of(snapshot: &Snapshot, run: &RunId) -> BTreeSet<(NodeName, RunId)> {
    let of_run = snapshot.pods.iter().filter(|pod| pod.reboots_for().as_ref() == Some(run));
    of_run.filter_map(|pod| Some((pod.node.clone()?, run.clone()))).collect()
}

/// The nodes that a run has marked and not finished, and what becomes of each.
fn nodes_of(config: &Config, snapshot: &Snapshot, run: &RunId) -> Vec<(NodeName, Abandoned)> {
    let nodes = snapshot.nodes.values().filter_map(|node| {
        let mark = node.mark.as_ref().filter(|mark| mark.run == *run && !mark.is_settled())?;
        let becomes =
            if mark.config != config.name { Abandoned::Left("the run is of another config") } else { becomes(node) };
        Some((node.name.clone(), becomes))
    });
    nodes.collect()
}

fn becomes(node: &Node) -> Abandoned {
    let Some(mark) = &node.mark else { return Abandoned::Left("it carries no mark") };
    match &node.cordon {
        Some(Cordon::Foreign { .. }) => return Abandoned::Left("somebody else has cordoned it"),
        Some(Cordon::Marked(_)) => {}
        None => return Abandoned::Released,
    }
    let rebooted = mark.reboots.as_ref().is_some_and(|reboots| node.boot_id.as_ref() != Some(&reboots.boot_id));
    if node.readiness != Readiness::Ready {
        Abandoned::Left("it is not Ready")
    } else if mark.is_requested() && !rebooted {
        Abandoned::Left(
            "its reboot was requested and has not been seen; apply awaits it, or proves that it will not come",
        )
    } else {
        Abandoned::Released
    }
}
