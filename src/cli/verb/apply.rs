//! `haulout apply`: plan, show, ask, execute, look again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, IsTerminal};
use std::sync::{Arc, PoisonError};

use tokio::time::Instant;

use crate::apply::{self, Access, Input, Interrupt, Renew};
use crate::cli::args::Apply;
use crate::cli::connect::{Connections, Environment};
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::cli::runs::{self, Earlier, Record};
use crate::cli::sandbox::Patience;
use crate::cli::vacant::{self, Planned};
use crate::cli::{load, signal};
use crate::config::Config;
use crate::model::{ClusterName, Foreign, GapSubject, NodeName, RunId, Snapshot};
use crate::observe::Extent;
use crate::plan::{self as planner, Selection};
use crate::provider::clock;
use crate::render;
use crate::run::{Conclusion, Remaining, Summary};

pub(in crate::cli) async fn run(args: &Apply, output: &Output) -> Result<Exit, Failure> {
    if args.resume.is_some() {
        return super::resume::run(args, output).await;
    }
    let loaded = load::config(&args.config.path, output)?;
    must_be_answered("apply", args.auto_approve)?;
    let names = Connections::wanted(&loaded.config, &args.selection.cluster)?;
    let environment = Environment::read(args.reach.kubeconfig.clone());
    let until = clock::monotonic() + args.lock_timeout.unsigned_abs();
    let patience = Patience::Until(until);
    let connections = Connections::open_patiently(&loaded, &names, &environment, "apply", patience, output).await?;
    let selection = args.selection.to_plan();
    let order = Order {
        config: &loaded.config,
        connections: &connections,
        until,
        auto_approve: args.auto_approve,
        nothing_left: "",
    };
    order.carry_out(None, |_| Some(selection.clone()), &Sweep::new(), output).await
}

/// Whoever is asked must be able to answer.
pub(super) fn must_be_answered(verb: &str, auto_approve: bool) -> Result<(), Failure> {
    if auto_approve || std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Failure::input(
        format!("{verb} asks before it acts, and there is no terminal to ask on"),
        "run it on a terminal, or give --auto-approve",
    ))
}

/// Reboot pods of dead runs to be removed first, by cluster.
pub(super) type Sweep = BTreeMap<ClusterName, BTreeSet<(NodeName, RunId)>>;

/// What is the same for whatever is carried out: a config, the rest of an earlier run, or the end of one.
pub(super) struct Order<'a> {
    pub(super) config: &'a Config,
    pub(super) connections: &'a Connections,
    /// Until when a live lock is waited for.
    pub(super) until: Instant,
    pub(super) auto_approve: bool,
    /// What is said where nothing is selected.
    pub(super) nothing_left: &'static str,
}

impl Order<'_> {
    /// Plans, shows, asks, executes, looks again. `select` says what to plan by what was seen.
    pub(super) async fn carry_out(
        &self,
        mut earlier: Option<Earlier>,
        select: impl Fn(&BTreeMap<ClusterName, Snapshot>) -> Option<Selection>,
        sweep: &Sweep,
        output: &Output,
    ) -> Result<Exit, Failure> {
        loop {
            let run = earlier.as_ref().map_or_else(runs::new_id, |earlier| earlier.run.clone());
            let resumes = earlier.is_some();
            let left = self.until.saturating_duration_since(clock::monotonic());
            let planned = vacant::plan(self.config, self.connections, &run, left, &select, output).await?;
            let Some(planned) = planned else {
                output.say(self.nothing_left);
                return Ok(Exit::Ok);
            };
            let plan = &planned.plan;
            print(output, &render::terminal::plan(plan, &output.terminal()))?;
            if plan.is_empty() && sweep.values().all(BTreeSet::is_empty) {
                return Ok(if plan.is_settled() { Exit::Ok } else { Exit::NothingPossible });
            }
            let asked = if self.auto_approve { None } else { Some(signal::while_asked(output.clone()).await) };
            if asked.is_some() && !approved(output)? {
                output.say("Apply declined; nothing was changed.");
                return Ok(Exit::Error);
            }
            let record = Record::open(&run, earlier.take(), plan, output)?;
            let selection = select(&planned.snapshots).unwrap_or_default();
            // From here on Ctrl-C is for the run, which listens by itself.
            drop(asked);
            let ended = self.execute(&run, planned, sweep, record, &selection, output).await;
            match ended {
                // Somebody was faster, and what was planned is out of date; but patience is not over.
                Err(failure) if failure.exit == Exit::Locked && !resumes && clock::monotonic() < self.until => {}
                ended => return ended,
            }
        }
    }

    async fn execute(
        &self,
        run: &RunId,
        planned: Planned,
        sweep: &Sweep,
        record: Record,
        selection: &Selection,
        output: &Output,
    ) -> Result<Exit, Failure> {
        let Planned { plan, snapshots, mut silences } = planned;
        let interrupt = Interrupt::default();
        let (held, record_of_run) = (Arc::clone(&record.held), record.folder.display().to_string());
        let last_words = move || {
            let held = held.lock().unwrap_or_else(PoisonError::into_inner);
            render::progress::left_at_once(&held, &record_of_run)
        };
        let signals = signal::listen(interrupt.clone(), output.clone(), last_words)?;
        let mut clusters = BTreeMap::new();
        for (name, connection) in &self.connections.clusters {
            let Some(snapshot) = snapshots.get(name) else { continue };
            let access = Access {
                acts: connection.cluster.clone(),
                lock: connection.cluster.clone(),
                probes: connection.cluster.clone(),
                renew: Renew::Apart(connection.connect_again()),
                silence: silences.remove(name),
                sweep: sweep.get(name).cloned().unwrap_or_default(),
                daemon_sets: snapshot.daemon_sets.clone(),
                daemon_sets_known: !snapshot.has_gap(GapSubject::DaemonSets),
            };
            clusters.insert(name.clone(), access);
        }
        let folder = record.folder.clone();
        let input = Input {
            plan,
            run: run.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            clusters,
            journal: record.journal.clone(),
            interrupt,
            silent,
        };
        let result = apply::apply(input).await;
        record.close().await;
        let outcome = result?;

        let looked = look_again(self.config, self.connections, selection, &outcome.summary, output).await;
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
            let shown = crate::model::sanitise(&folder.display().to_string()).to_string();
            output.say(&format!("The record of this run is in {shown}"));
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

/// Says that a dead run's lock is being taken over. Printed at once: the wait is a minute long.
fn silent(cluster: &ClusterName, holder: &Foreign) {
    Output::new(crate::cli::args::Colour::Never).say(&format!(
        "{cluster}: run {} holds the lock but fell silent; observing for 60s before taking it over",
        holder.sanitised().shortened(60)
    ));
}

/// Observes and plans once more: what is left that was wanted.
async fn look_again(
    config: &Config,
    connections: &Connections,
    selection: &Selection,
    summary: &Summary,
    output: &Output,
) -> Result<(Remaining, String), Failure> {
    let snapshots: BTreeMap<ClusterName, Snapshot> = connections.observe(Extent::Plan, output).await?;
    let plan = planner::plan(config, &snapshots, connections.now(), selection)?;
    let remaining = Remaining::after(summary, plan.clusters());
    let left = render::terminal::left(connections.now(), plan.clusters(), &remaining, &output.terminal());
    Ok((remaining, left))
}
