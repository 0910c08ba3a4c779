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
use crate::cli::sandbox::Patience;
use crate::model::{ClusterName, Snapshot};
use crate::plan::Selection;
use crate::provider::clock;

pub(super) async fn run(args: &Apply, output: &Output) -> Result<Exit, Failure> {
    let named = args.resume.as_ref().and_then(Option::as_ref);
    named.map_or(Ok(()), runs::is_no_path)?;
    let loaded = load::config(&args.config.path, output)?;
    must_be_answered("apply", args.auto_approve)?;
    let earlier = runs::find(named, &loaded.config.name)?;
    output.say(&format!("Going on with run {}.", earlier.run));
    let Earlier { run, scope, past, .. } = &earlier;
    let names: Vec<ClusterName> =
        scope.nodes.keys().filter(|name| loaded.config.clusters.contains_key(*name)).cloned().collect();
    let environment = Environment::read(args.reach.kubeconfig.clone());
    let until = clock::monotonic() + args.lock_timeout.unsigned_abs();
    let patience = Patience::Until(until);
    let connections = Connections::open_patiently(&loaded, &names, &environment, "apply", patience, output).await?;
    let (run, scope, past) = (run.clone(), scope.clone(), past.clone());
    let order = Order {
        config: &loaded.config,
        connections: &connections,
        until,
        auto_approve: args.auto_approve,
        nothing_left: "Nothing of this run is left to do.",
    };
    let select =
        |seen: &BTreeMap<ClusterName, Snapshot>| Selection::rest_of_run(&run, &scope.nodes, &past.requested, seen);
    order.carry_out(Some(earlier), select, &Sweep::new(), output).await
}
