//! `haulout apply`: plan, show, ask, execute, look again.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::apply::{self, Access, Input, Interrupt};
use crate::cli::args::Apply;
use crate::cli::connect::{Connections, Environment};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::cli::{load, progress, signal};
use crate::journal::{Journal, Segment};
use crate::model::{ClusterName, Foreign, RunId, Snapshot};
use crate::plan::{self as planner, Plan, Selection};
use crate::provider::clock;
use crate::run::{Conclusion, Event, Held, Remaining, Summary};
use crate::{format, render};

pub(in crate::cli) async fn run(args: &Apply, output: &Output) -> Result<Exit, Failure> {
    let loaded = load::config(&args.config.path, output)?;
    if !args.auto_approve && !std::io::stdin().is_terminal() {
        return Err(Failure::input(
            "apply asks before it acts, and there is no terminal to ask on",
            "run it on a terminal, or give --auto-approve",
        ));
    }
    let names = Connections::wanted(&loaded.config, &args.selection.cluster)?;
    let environment = Environment::read(args.reach.kubeconfig.clone());
    let connections = Connections::open(&loaded, &names, &environment, "apply", output).await?;
    let snapshots = connections.observe(output).await?;
    let selection = args.selection.to_plan();
    let daemon_sets: BTreeMap<ClusterName, _> = snapshots
        .iter()
        .map(|(name, snapshot)| {
            let known = !snapshot.has_gap(crate::model::GapSubject::DaemonSets);
            (name.clone(), (snapshot.daemon_sets.clone(), known))
        })
        .collect();
    let plan = planner::plan(&loaded.config, &snapshots, connections.now(), &selection)?;
    print(output, &render::terminal::plan(&plan, &output.terminal()))?;
    if plan.is_empty() {
        return Ok(if plan.is_settled() { Exit::Ok } else { Exit::NothingPossible });
    }
    if !args.auto_approve && !approved(output)? {
        output.say("Apply declined; nothing was changed.");
        return Ok(Exit::Error);
    }

    let run = new_run_id();
    let held = Arc::new(Mutex::new(Held::new(plan.clusters())));
    let (journal, folder, keeper, reporter) = record(&run, &plan, &held, output)?;
    let interrupt = Interrupt::default();
    let record_of_run = folder.display().to_string();
    let last_words = move || {
        let held = held.lock().unwrap_or_else(PoisonError::into_inner);
        render::progress::left_at_once(&held, &record_of_run)
    };
    let signals = signal::listen(interrupt.clone(), output.clone(), last_words)?;
    let mut clusters = BTreeMap::new();
    for (name, connection) in &connections.clusters {
        let (daemon_sets, daemon_sets_known) = daemon_sets.get(name).cloned().unwrap_or_default();
        let access = Access {
            acts: connection.cluster.clone(),
            lock: connection.cluster.clone(),
            probes: connection.cluster.clone(),
            renew: connection.connect_again(),
            daemon_sets,
            daemon_sets_known,
        };
        clusters.insert(name.clone(), access);
    }
    let input = Input {
        plan: plan.clone(),
        run: run.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        clusters,
        journal: journal.clone(),
        interrupt,
        silent,
    };
    let result = apply::apply(input).await;
    drop(journal);
    // The journal's thread ends with its last handle, and with it the reporter's.
    let _ = tokio::task::spawn_blocking(move || (keeper.join(), reporter.join())).await;
    let outcome = result?;

    let looked = look_again(&loaded.config, &connections, &selection, &outcome.summary, output).await;
    let (remaining, left) = match &looked {
        Ok((remaining, left)) => (Some(remaining), left.as_str()),
        Err(_) => (None, ""),
    };
    let mut text = String::from("\n");
    text.push_str(&render::progress::summary(&outcome.summary, remaining, &output.terminal()));
    text.push_str(left);
    // The run is over and its outcome decides the exit code: a pipe that cannot take the summary changes nothing.
    let _ = output.data(&text);
    if outcome.conclusion != Conclusion::Done {
        output.say(&format!("The record of this run is in {}", crate::model::sanitise(&folder.display().to_string())));
    }
    if let Some(error) = &outcome.stopped_by {
        Failure::from(error.clone()).print(output);
    }
    if let Err(error) = &looked {
        output.say("The look after the run failed; what is left is not known.");
        error.print(output);
    }
    drop(signals);
    Ok(match (exit(outcome.conclusion, remaining), &outcome.stopped_by) {
        // All is done, but the record of it is not whole.
        (Exit::Ok, Some(_)) => Exit::Error,
        (exit, _) => exit,
    })
}

fn exit(conclusion: Conclusion, remaining: Option<&Remaining>) -> Exit {
    match conclusion {
        Conclusion::Interrupted => Exit::Interrupted,
        Conclusion::Partial => Exit::Partial,
        Conclusion::Done => match remaining {
            Some(remaining) if remaining.is_empty() => Exit::Ok,
            Some(_) => Exit::Remains,
            // All is done, and nobody knows whether that is all.
            None => Exit::Error,
        },
    }
}

fn print(output: &Output, text: &str) -> Result<(), Failure> {
    output.data(text).map_err(|error| Failure::io("print the plan", &error, "check the output"))
}

fn approved(output: &Output) -> Result<bool, Failure> {
    output.say("\nDo you want haulout to do this?\n  Only \"yes\" is taken as consent.\n");
    output.prompt("  Enter a value: ");
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::io("read your answer", &error, "give --auto-approve where nobody can answer"))?;
    Ok(answer.trim_end_matches(['\r', '\n']) == "yes")
}

/// A new run's id: the moment, and a part that no other run has. The cli is where randomness may come from.
fn new_run_id() -> RunId {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    let at = clock::now().strftime("%Y%m%d-%H%M%S").to_string();
    let text = format!("{at}-{:06x}", hasher.finish() & 0xff_ffff);
    RunId::new(&text).expect("a run id is made of digits, '-' and hexadecimal digits")
}

type Recorded = (Journal, PathBuf, std::thread::JoinHandle<()>, std::thread::JoinHandle<()>);

/// Opens the journal and starts the reporter that listens to it.
fn record(run: &RunId, plan: &Plan, held: &Arc<Mutex<Held>>, output: &Output) -> Result<Recorded, Failure> {
    let folder = runs_folder()?.join(run.as_str());
    let failed = |error: &std::io::Error| {
        Failure::io(
            format!("open the journal in {}", folder.display()),
            error,
            "set XDG_STATE_HOME to a folder that can be written; nothing was changed",
        )
    };
    let segment = Segment::open(&folder).map_err(|error| failed(&error))?;
    let path = segment.path().to_owned();
    std::fs::write(folder.join("plan.json"), format::plan::write(plan, env!("CARGO_PKG_VERSION")))
        .map_err(|error| failed(&error))?;
    let (seen, events) = tokio::sync::mpsc::unbounded_channel();
    let reporter = progress::report(plan.clusters(), events, output).map_err(|error| failed(&error))?;
    let held = Arc::clone(held);
    let encode = move |event: &Event| {
        held.lock().unwrap_or_else(PoisonError::into_inner).take(&event.kind);
        format::run::write(event)
    };
    let (journal, keeper) =
        Journal::start(path, Box::new(segment), Box::new(encode), clock::now, seen).map_err(|error| failed(&error))?;
    Ok((journal, folder, keeper, reporter))
}

/// `$XDG_STATE_HOME/haulout/runs`, by default below `~/.local/state`.
fn runs_folder() -> Result<PathBuf, Failure> {
    let var = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = var("XDG_STATE_HOME").or_else(|| Some(var("HOME")?.join(".local/state"))).ok_or_else(|| {
        Failure::input(
            "there is no folder for the journal: neither XDG_STATE_HOME nor HOME is set",
            "set XDG_STATE_HOME to a folder that can be written",
        )
    })?;
    Ok(base.join("haulout").join("runs"))
}

/// Says that a dead run's lock is being taken over. Printed at once: the wait is a minute long.
fn silent(cluster: &ClusterName, holder: &Foreign) {
    Output::new(crate::cli::args::Colour::Never).say(&format!(
        "{cluster}: run {} holds the lock but fell silent; observing for 60s before taking it over",
        holder.sanitised().shortened(60)
    ));
}

/// Observes and plans once more: what is left that was wanted.
async fn look_again(
    config: &crate::config::Config,
    connections: &Connections,
    selection: &Selection,
    summary: &Summary,
    output: &Output,
) -> Result<(Remaining, String), Failure> {
    let snapshots: BTreeMap<ClusterName, Snapshot> = connections.observe(output).await?;
    let plan = planner::plan(config, &snapshots, connections.now(), selection)?;
    let remaining = Remaining::after(summary, plan.clusters());
    let left = render::terminal::left(connections.now(), plan.clusters(), &remaining, &output.terminal());
    Ok((remaining, left))
}
