//! The last block of every run: done, failed, skipped, not started; how each failed node was left, and what to do.

use super::{TerminalStyle, words};
use crate::model::{ClusterName, NodeName};
use crate::plan::Verb;
use crate::run::{FailureKind, NodeOutcome, Remaining, StepFailure, StepId, Summary};

/// The last block of a run. `remaining` is from the look after the run, where one was taken.
///
/// Every node that was left cordoned is named, however many there are.
#[must_use]
pub fn summary(summary: &Summary, remaining: Option<&Remaining>, style: &TerminalStyle) -> String {
    let styles = style.styles();
    let mut failed = Vec::new();
    let mut skipped = Vec::new();
    let mut not_started = Vec::new();
    let mut done = 0_usize;
    for ((cluster, node), outcome) in &summary.nodes {
        match outcome {
            NodeOutcome::Done => done += 1,
            NodeOutcome::Failed { step, failure, cordoned } => {
                let list = if is_skipped(step, failure, *cordoned) { &mut skipped } else { &mut failed };
                list.push(Left { cluster, node, step, failure, cordoned: *cordoned });
            }
            NodeOutcome::NotStarted => not_started.push(format!("{cluster}/node/{node}")),
        }
    }
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    for (title, list) in [("Failed", &failed), ("Skipped", &skipped)] {
        if list.is_empty() {
            continue;
        }
        line(&styles.heading.paint(title));
        for left in list {
            let subject = styles.heading.paint(&format!("{}/node/{}", left.cluster, left.node));
            line(&format!(
                "  {} {subject} failed to {}: {}",
                styles.blocked.paint("x"),
                words::to_do(left.step.verb),
                words::foreign(&left.failure.message)
            ));
            if left.cordoned {
                line("      left cordoned by this run");
                let free = words::free(left.node);
                line(&format!("      {} {free}", styles.advice.paint(&format!("to free it, in {}:", left.cluster))));
            } else {
                line("      not left cordoned by this run");
            }
            let advice = words::failure_advice(left.step, left.failure);
            line(&format!("      {} {advice}", styles.advice.paint("what to do:")));
        }
        line("");
    }
    if !not_started.is_empty() {
        line(&styles.heading.paint("Not started"));
        line(&format!("  {}", words::names(&not_started, style.names())));
        line("");
    }
    if summary.interrupted {
        line("The run was interrupted; apply again to go on.");
    }
    let numbers = format!(
        "Apply: {} done, {} failed, {} skipped, {} not started, in {}.",
        words::count(done, "node"),
        words::number(failed.len() as u64),
        words::number(skipped.len() as u64),
        words::number(not_started.len() as u64),
        words::duration(summary.took)
    );
    line(&styles.heading.paint(&numbers));
    if let Some(remaining) = remaining {
        line(&left_line(remaining));
    }
    out
}

/// What the look after a run found, in one line.
#[must_use]
pub fn left_line(remaining: &Remaining) -> String {
    let Remaining { new, blocked, unknown } = remaining;
    let parts: Vec<String> = [(*blocked, "blocked"), (*unknown, "unknown"), (*new, "new")]
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{} {what}", words::number(n.into())))
        .collect();
    if parts.is_empty() {
        "Nothing is left to do.".to_owned()
    } else {
        let all = u64::from(*new) + u64::from(*blocked) + u64::from(*unknown);
        format!("Left: {} = {}.", words::count(usize::try_from(all).unwrap_or(usize::MAX), "node"), parts.join(", "))
    }
}

struct Left<'a> {
    cluster: &'a ClusterName,
    node: &'a NodeName,
    step: &'a StepId,
    failure: &'a StepFailure,
    cordoned: bool,
}

/// Whether a node was passed over rather than failed: its drain took too long and it is as it was.
fn is_skipped(step: &StepId, failure: &StepFailure, cordoned: bool) -> bool {
    step.verb == Verb::Drain && failure.kind == FailureKind::TimedOut && !cordoned
}
