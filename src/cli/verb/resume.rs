//! `haulout apply --resume`: the rest of a run of this machine, under the same id.
//!
//! What is to be done is planned anew, from the config and the cluster: of the run's past only the nodes count that it
//! was about, and which of them it has told to reboot, because none is rebooted twice.

use std::collections::BTreeMap;

use super::apply::{Order, Sweep, must_be_answered};
use crate::cli::args::Apply;
use crate::cli::connect::{Connections, Environment};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::load;
use crate::cli::output::Output;
use crate::cli::runs::{self, Earlier};
use crate::format::plan::Scope;
use crate::journal::Past;
use crate::model::{ClusterName, Node, RunId, Snapshot};
use crate::plan::Selection;

pub(super) async fn run(args: &Apply, output: &Output) -> Result<Exit, Failure> {
    let loaded = load::config(&args.config.path, output)?;
    must_be_answered(args.auto_approve)?;
    let earlier = runs::find(args.resume.as_ref().and_then(Option::as_ref), &loaded.config.name)?;
    output.say(&format!("Going on with run {}.", earlier.run));
    let Earlier { run, scope, past, .. } = &earlier;
    let names: Vec<ClusterName> =
        scope.nodes.keys().filter(|name| loaded.config.clusters.contains_key(*name)).cloned().collect();
    let environment = Environment::read(args.reach.kubeconfig.clone());
    let connections = Connections::open(&loaded, &names, &environment, "apply", output).await?;
    let (run, scope, past) = (run.clone(), scope.clone(), past.clone());
    let order = Order {
        config: &loaded.config,
        connections: &connections,
        patience: args.lock_timeout.unsigned_abs(),
        auto_approve: args.auto_approve,
        nothing_left: "Nothing of this run is left to do.",
    };
    order.carry_out(Some(earlier), |seen| select(seen, &run, &scope, &past), &Sweep::new(), output).await
}

/// The nodes of the run that may still be worked on under its id; `None` where there are none, because an empty
/// selection would mean every node.
fn select(seen: &BTreeMap<ClusterName, Snapshot>, run: &RunId, scope: &Scope, past: &Past) -> Option<Selection> {
    let mut target = Vec::new();
    for (cluster, nodes) in &scope.nodes {
        let Some(snapshot) = seen.get(cluster) else { continue };
        for name in nodes {
            let Some(node) = snapshot.nodes.get(name) else { continue };
            let announced = past.requested.contains(&(cluster.clone(), name.clone()));
            if !is_done(node, run, announced) {
                target.push(format!("{cluster}/node/{name}"));
            }
        }
    }
    (!target.is_empty()).then(|| Selection { target, ..Selection::default() })
}

/// Whether the run has rebooted a node and let it go: its record says so, or the run announced the request and has no
/// mark on the node any more.
fn is_done(node: &Node, run: &RunId, announced: bool) -> bool {
    let marked = node.mark.as_ref().is_some_and(|mark| mark.run == *run && !mark.is_settled());
    let recorded = node.last_reboot.as_ref().is_some_and(|last| last.run == *run);
    !marked && (recorded || announced)
}
