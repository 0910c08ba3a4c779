//! `haulout snapshot`.

use crate::cli::args::Snapshot;
use crate::cli::connect::{Connections, Environment};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::load;
use crate::cli::output::Output;
use crate::format;
use crate::model::ClusterName;
use crate::observe::Extent;

pub(in crate::cli) async fn run(args: &Snapshot, output: &Output) -> Result<Exit, Failure> {
    let loaded = load::config(&args.config.path, output)?;
    let names: Vec<&ClusterName> = loaded.config.clusters.keys().collect();
    let wanted: ClusterName = match (&args.cluster, names.as_slice()) {
        (Some(name), _) => Connections::known(&loaded.config, name)?,
        (None, [only]) => (*only).clone(),
        (None, _) => {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            return Err(Failure::input(
                format!("the config has several clusters: {}", names.join(", ")),
                "name one with --cluster",
            ));
        }
    };
    let environment = Environment::read(args.reach.kubeconfig.clone());
    let connections =
        Connections::open(&loaded, std::slice::from_ref(&wanted), &environment, "snapshot", output).await?;
    let snapshots = connections.observe(Extent::Certificates, output).await?;
    for snapshot in snapshots.values() {
        let text = format::snapshot::write(snapshot);
        output.data(&text).map_err(|error| Failure::io("print the snapshot", &error, "check the output"))?;
    }
    Ok(Exit::Ok)
}
