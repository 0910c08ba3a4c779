//! `haulout plan`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::cli::args::{Format, FromSnapshot, Plan, Reach};
use crate::cli::connect::{Connections, Environment};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::load::{self, Loaded};
use crate::cli::output::Output;
use crate::model::{ClusterName, Explain, Snapshot, sanitise};
use crate::observe::Extent;
use crate::plan as planner;
use crate::{format, render};

/// The largest snapshot that is read: 150,000 pods take about 40 MiB.
const SNAPSHOT_MAX: u64 = 1 << 30;

pub(in crate::cli) async fn run(args: &Plan, output: &Output) -> Result<Exit, Failure> {
    let loaded = load::config(&args.config.path, output)?;
    let clusters = Connections::wanted(&loaded.config, &args.selection.cluster)?;
    let (snapshots, now) =
        look(&loaded, &clusters, &args.from, &args.reach, "plan", Extent::Certificates, output).await?;
    let selection = args.selection.to_plan();
    let plan = planner::plan(&loaded.config, &snapshots, now, &selection)?;
    let text = match args.format {
        Format::Text => render::terminal::plan(&plan, &output.terminal()).into_bytes(),
        Format::Json => format::plan::write(&plan, env!("CARGO_PKG_VERSION")),
    };
    output.data(&text).map_err(|error| Failure::io("print the plan", &error, "check the output"))?;
    let settled = plan.is_empty() && plan.is_settled();
    Ok(if args.detailed_exitcode && !settled { Exit::Changes } else { Exit::Ok })
}

/// What is planned from: the clusters as they are, or what was written of them.
pub(super) async fn look(
    loaded: &Loaded,
    clusters: &[ClusterName],
    from: &FromSnapshot,
    reach: &Reach,
    verb: &'static str,
    extent: Extent,
    output: &Output,
) -> Result<(BTreeMap<ClusterName, Snapshot>, Timestamp), Failure> {
    if from.snapshot.is_empty() {
        let environment = Environment::read(reach.kubeconfig.clone());
        let connections = Connections::open(loaded, clusters, &environment, verb, output).await?;
        let snapshots = connections.observe(extent, output).await?;
        let now = connections.now();
        return Ok((snapshots, now));
    }
    let snapshots = read_snapshots(from, loaded, clusters)?;
    let taken = snapshots.values().map(|snapshot| snapshot.taken_at).max();
    let now = from.now.or(taken).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok((snapshots, now))
}

fn read_snapshots(
    from: &FromSnapshot,
    loaded: &Loaded,
    clusters: &[ClusterName],
) -> Result<BTreeMap<ClusterName, Snapshot>, Failure> {
    let mut snapshots = BTreeMap::new();
    for path in &from.snapshot {
        let shown = sanitise(&path.display().to_string()).to_string();
        let bytes = load::read(path, "snapshot", SNAPSHOT_MAX, "check the path; `haulout snapshot` prints one")?;
        let snapshot = format::snapshot::read(&bytes)
            .map_err(|error| Failure::caused(format!("read the snapshot {shown}"), &error, error.advice()))?;
        if !loaded.config.clusters.contains_key(&snapshot.cluster) {
            return Err(Failure::input(
                format!("snapshot {shown} is of cluster {}, which the config does not have", snapshot.cluster),
                "name the config that it was taken with",
            ));
        }
        if snapshots.insert(snapshot.cluster.clone(), snapshot).is_some() {
            return Err(Failure::input(
                format!("snapshot {shown} is the second one of its cluster"),
                "give one snapshot per cluster",
            ));
        }
    }
    snapshots.retain(|name, _| clusters.contains(name));
    if let Some(missing) = clusters.iter().find(|name| !snapshots.contains_key(*name)) {
        return Err(Failure::input(
            format!("there is no snapshot of cluster {missing}"),
            "give one with --snapshot, or leave the cluster out with --cluster",
        ));
    }
    Ok(snapshots)
}
