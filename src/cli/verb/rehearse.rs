//! `haulout rehearse`: plan, and try the plan on a simulated copy.

use std::collections::BTreeMap;

use crate::cli::args::Rehearse;
use crate::cli::connect::Connections;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::load;
use crate::cli::output::Output;
use crate::model::sanitise;
use crate::observe::Extent;
use crate::plan as planner;
use crate::rehearse::{self, Input};
use crate::render;

pub(in crate::cli) async fn run(args: &Rehearse, output: &Output) -> Result<Exit, Failure> {
    let loaded = load::config(&args.config.path, output)?;
    let clusters = Connections::wanted(&loaded.config, &args.selection.cluster)?;
    let (snapshots, now) =
        super::plan::look(&loaded, &clusters, &args.from, &args.reach, "rehearse", Extent::Plan, output).await?;
    let plan = planner::plan(&loaded.config, &snapshots, now, &args.selection.to_plan())?;
    let pool_labels: BTreeMap<_, _> = loaded
        .config
        .clusters
        .iter()
        .filter_map(|(name, cluster)| Some((name.clone(), cluster.pool_label.clone()?)))
        .collect();
    let input = Input { plan: plan.clone(), snapshots, pool_labels, faults: args.fault.clone() };
    let working = output.spinner("rehearsing");
    // It has a runtime of its own, whose clock is simulated.
    let rehearsal = tokio::task::spawn_blocking(move || rehearse::rehearse(input)).await;
    working.finish();
    let rehearsal = match rehearsal {
        Ok(rehearsal) => rehearsal?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let text = render::rehearsal::text(&plan, &rehearsal, &output.terminal());
    output.data(&text).map_err(|error| Failure::io("print the rehearsal", &error, "check the output"))?;
    if let Some(file) = &args.junit {
        let shown = sanitise(&file.display().to_string()).to_string();
        std::fs::write(file, render::rehearsal::junit(&plan, &rehearsal)).map_err(|error| {
            Failure::io(format!("write the report {shown}"), &error, "make the folder writable, or name another file")
        })?;
    }
    Ok(if rehearsal.is_good() { Exit::Ok } else { Exit::Error })
}
