//! The last block of every run: done, failed, skipped, interrupted, not started; how each node was left, and what to do.

use std::collections::{BTreeMap, BTreeSet};

use super::styles::Styles;
use super::{TerminalStyle, words};
use crate::model::{ClusterName, NodeName};
use crate::run::{Held, LeftAs, NodeOutcome, Remaining, StepFailure, StepId, StopCause, Summary};

/// As what nodes are left, in the order in which it is told.
const LEFT: [LeftAs; 7] = [
    LeftAs::Failed,
    LeftAs::Skipped,
    LeftAs::Interrupted,
    LeftAs::NotStarted,
    LeftAs::Blocked,
    LeftAs::Unknown,
    LeftAs::New,
];

/// The last block of a run. `remaining` is from the look after the run, where one was taken.
///
/// Every node that was left cordoned is named, however many there are.
#[must_use]
pub fn summary(summary: &Summary, remaining: Option<&Remaining>, style: &TerminalStyle) -> String {
    let styles = style.styles();
    let (mut failed, mut skipped, mut interrupted) = (Vec::new(), Vec::new(), Vec::new());
    let mut not_started: BTreeMap<&StopCause, Vec<String>> = BTreeMap::new();
    let mut done = 0_usize;
    for ((cluster, node), outcome) in &summary.nodes {
        let end = |step, cordoned| End {
            cluster,
            node,
            step,
            cordoned,
            simulated: summary.sandboxes.contains(cluster),
            rehearsed: summary.rehearsed,
        };
        match outcome {
            NodeOutcome::Done => done += 1,
            NodeOutcome::Failed { step, failure, uncordon, cordoned } => {
                failed.push(end(step, *cordoned).failed(failure, uncordon.as_ref(), &styles));
            }
            NodeOutcome::Skipped { step, failure } => skipped.push(end(step, false).failed(failure, None, &styles)),
            NodeOutcome::Interrupted { step, cause, cordoned } => {
                interrupted.push(end(step, *cordoned).interrupted(cause, &styles));
            }
            NodeOutcome::NotStarted { cause } => {
                not_started.entry(cause).or_default().push(format!("{cluster}/node/{node}"));
            }
        }
    }
    let mut out = String::new();
    for (title, blocks) in [("Failed", &failed), ("Skipped", &skipped), ("Interrupted", &interrupted)] {
        if blocks.is_empty() {
            continue;
        }
        line(&mut out, &styles.heading.paint(title));
        blocks.iter().for_each(|block| out.push_str(block));
        line(&mut out, "");
    }
    if !not_started.is_empty() {
        line(&mut out, &styles.heading.paint("Not started"));
        for (cause, nodes) in &not_started {
            line(&mut out, &format!("  {}", words::names(nodes, style.names())));
            line(&mut out, &format!("      (because {})", words::stop_cause(cause)));
        }
        line(&mut out, "");
    }
    if summary.interrupted {
        line(&mut out, "The run was interrupted; apply again to go on.");
    }
    let numbers = format!(
        "Apply: {} done, {} failed, {} skipped, {} interrupted, {} not started, in {}.",
        words::count(done, "node"),
        words::number(failed.len() as u64),
        words::number(skipped.len() as u64),
        words::number(interrupted.len() as u64),
        words::number(not_started.values().map(Vec::len).sum::<usize>() as u64),
        words::duration(summary.took)
    );
    line(&mut out, &styles.heading.paint(&numbers));
    if let Some(remaining) = remaining {
        line(&mut out, &left_line(remaining));
        for left in LEFT {
            let nodes: Vec<String> =
                remaining.all(left).into_iter().map(|(cluster, node)| format!("{cluster}/node/{node}")).collect();
            if !nodes.is_empty() {
                line(&mut out, &format!("  {}: {}", words::left_as(left), words::names(&nodes, style.names())));
            }
        }
    }
    out
}

/// What the look after a run found, in one line; every node is counted once.
#[must_use]
pub fn left_line(remaining: &Remaining) -> String {
    let parts: Vec<String> = LEFT
        .into_iter()
        .map(|left| (remaining.all(left).len(), left))
        .filter(|(n, _)| *n > 0)
        .map(|(n, left)| format!("{} {}", words::number(n as u64), words::left_as(left)))
        .collect();
    if parts.is_empty() {
        "Nothing is left to do.".to_owned()
    } else {
        format!("Left: {} = {}.", words::count(remaining.nodes.len(), "node"), parts.join(", "))
    }
}

/// How long a lock outlives a run that was left at once: the length of its Lease.
const LOCK_STAYS: std::time::Duration = std::time::Duration::from_secs(60);

/// The last block of a run that was left at once: what it holds, as far as it knows, and what to do. `record` is where
/// its journal is.
#[must_use]
pub fn left_at_once(held: &Held, record: &str) -> String {
    let mut out = String::from("\n");
    if held.nodes().is_empty() {
        line(&mut out, "Left at once. This run holds no node cordoned.");
    } else {
        line(&mut out, "Left at once. Nothing looks after these nodes any more:");
    }
    for ((cluster, node), how) in held.nodes() {
        line(&mut out, &format!("  {cluster}/node/{node}: {}", words::held(how)));
    }
    let clusters: BTreeSet<&ClusterName> = held.nodes().keys().map(|(cluster, _)| cluster).collect();
    for cluster in clusters {
        let free = words::free_of(cluster, held.is_simulated(cluster), &"NODE");
        line(&mut out, &format!("  to free a node of {cluster} once it is Ready: {free}"));
    }
    if !held.locks().is_empty() {
        let locks: Vec<&ClusterName> = held.locks().iter().collect();
        line(
            &mut out,
            &format!(
                "The lock of {} stays until {} after its last renewal; no other run acts before.",
                words::names(&locks, usize::MAX),
                words::duration(LOCK_STAYS)
            ),
        );
    }
    line(&mut out, &format!("The record of this run is in {}", crate::model::sanitise(record)));
    line(&mut out, "What to do: haulout plan shows what is left and what to do about it; then apply again.");
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// How the run ended on one node.
struct End<'a> {
    cluster: &'a ClusterName,
    node: &'a NodeName,
    step: &'a StepId,
    cordoned: bool,
    simulated: bool,
    rehearsed: bool,
}

impl End<'_> {
    fn subject(&self, styles: &Styles) -> String {
        styles.heading.paint(&format!("{}/node/{}", self.cluster, self.node))
    }

    fn failed(&self, failure: &StepFailure, uncordon: Option<&StepFailure>, styles: &Styles) -> String {
        let mut out = String::new();
        let sign = styles.blocked.paint("x");
        let what = words::to_do(self.step.verb);
        let message = words::foreign(&failure.message);
        line(&mut out, &format!("  {sign} {} failed to {what}: {message}", self.subject(styles)));
        if let Some(uncordon) = uncordon {
            line(&mut out, &format!("      then failed to uncordon: {}", words::foreign(&uncordon.message)));
        }
        self.left(&mut out, styles);
        let advice = words::failure_advice(self.step, failure);
        line(&mut out, &format!("      {} {advice}", styles.advice.paint("what to do:")));
        out
    }

    fn interrupted(&self, cause: &StopCause, styles: &Styles) -> String {
        let mut out = String::new();
        let sign = styles.change.paint("~");
        let what = words::to_do(self.step.verb);
        line(&mut out, &format!("  {sign} {} stopped before it could {what}", self.subject(styles)));
        line(&mut out, &format!("      (because {})", words::stop_cause(cause)));
        self.left(&mut out, styles);
        line(&mut out, &format!("      {} apply again to go on", styles.advice.paint("what to do:")));
        out
    }

    fn left(&self, out: &mut String, styles: &Styles) {
        if self.rehearsed {
            let left = if self.cordoned { "would be left cordoned" } else { "would not be left cordoned" };
            line(out, &format!("      {left}"));
        } else if self.cordoned {
            line(out, "      left cordoned by this run");
            let free = words::free_of(self.cluster, self.simulated, self.node);
            let lead = styles.advice.paint(&format!("to free it, in {}:", self.cluster));
            line(out, &format!("      {lead} {free}"));
        } else {
            line(out, "      not left cordoned by this run");
        }
    }
}
