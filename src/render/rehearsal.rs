//! What a rehearsal found: for people, and as JUnit's XML.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::progress::Progress;
use super::words;
use super::{TerminalStyle, progress, terminal};
use crate::model::{ClusterName, sanitise};
use crate::plan::Plan;
use crate::plan::words::{Words, between};
use crate::run::{Endured, Event, EventKind, Low, NodeOutcome, Rehearsal, Remaining, StepId};

/// How many pods are named for each cluster; the rest is counted.
const PODS: usize = 30;
/// How many lines of the timeline are shown; the rest is counted.
const LINES: usize = 400;

/// A rehearsal as text.
#[must_use]
pub fn text(plan: &Plan, rehearsal: &Rehearsal, style: &TerminalStyle) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line("Timeline (rehearsed on a simulated copy; nothing was changed)");
    let mut progress = Progress::new(plan.clusters(), style.timezone.clone());
    let told: Vec<String> = rehearsal.events.iter().filter_map(|event| progress.take(event)).collect();
    for told in told.iter().take(LINES) {
        line(&format!("  {told}"));
    }
    if told.len() > LINES {
        line(&format!("  and {} more", words::count(told.len() - LINES, "line")));
    }
    line("");
    for (name, endured) in &rehearsal.clusters {
        pods(name, endured, &mut line);
        budgets(name, endured, rehearsal, style, &mut line);
    }
    line(&progress::summary(&rehearsal.summary, None, style));
    let remaining = Remaining::foreseen(&rehearsal.summary, plan.clusters());
    line(&terminal::left(rehearsal.began, plan.clusters(), &remaining, style));
    let ends = words::moment(rehearsal.ends, rehearsal.began, &style.timezone);
    let took = words::duration(between(rehearsal.began, rehearsal.ends));
    line(&match rehearsal.conclusion {
        Some(_) => format!("Predicted end: {ends}, after {took}."),
        None => format!("No end: after {took} the run was still going on."),
    });
    out
}

fn pods(name: &ClusterName, endured: &Endured, line: &mut impl FnMut(&str)) {
    let evictions: u32 = endured.pods.values().map(|pod| pod.evictions).sum();
    let restarts: u32 = endured.pods.values().map(|pod| pod.restarts).sum();
    line(&format!("Pods of {name}: {evictions} evicted, {restarts} restarted by a boot"));
    for (key, pod) in endured.pods.iter().take(PODS) {
        let node = pod.node.as_ref().map_or(String::new(), |node| format!(" on {node}"));
        let times = |count: u32, what: &str| match count {
            0 => None,
            1 => Some(what.to_owned()),
            count => Some(format!("{what} {count} times")),
        };
        let happened = [times(pod.evictions, "evicted"), times(pod.restarts, "restarted")];
        let happened: Vec<String> = happened.into_iter().flatten().collect();
        line(&format!("  {key}{node}: {}", happened.join(", ")));
    }
    if endured.pods.len() > PODS {
        line(&format!("  and {} more", words::count(endured.pods.len() - PODS, "pod")));
    }
    line("");
}

fn budgets(
    name: &ClusterName,
    endured: &Endured,
    rehearsal: &Rehearsal,
    style: &TerminalStyle,
    line: &mut impl FnMut(&str),
) {
    if endured.budgets.is_empty() {
        return;
    }
    line(&format!("Disruption budgets of {name}, at their least healthy moment"));
    for (key, low) in &endured.budgets {
        let at = words::moment(low.at, rehearsal.began, &style.timezone);
        let below = if low.is_broken() { ", fewer than it needs" } else { "" };
        let Low { healthy, desired, expected, .. } = low;
        line(&format!("  {key}: {healthy} of {expected} healthy, needs {desired}{below} ({at})"));
    }
    line("");
}

/// A rehearsal as JUnit's XML: each cluster a suite, each of its nodes that something is wanted of a test case.
#[must_use]
pub fn junit(plan: &Plan, rehearsal: &Rehearsal) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"haulout rehearse\">\n");
    let spans = spans(&rehearsal.events);
    for cluster in plan.clusters() {
        let mut cases = String::new();
        let (mut tests, mut failures, mut skipped) = (0, 0, 0);
        for outage in &cluster.outages {
            tests += 1;
            let outcome = rehearsal.summary.nodes.get(&(cluster.cluster.clone(), outage.node.clone()));
            let took = took(&rehearsal.events, &spans, &outage.steps).as_secs_f64();
            let _ = write!(
                cases,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{took:.3}\"",
                escape(cluster.cluster.as_str()),
                escape(outage.node.as_str())
            );
            match outcome {
                Some(NodeOutcome::Done) => cases.push_str("/>\n"),
                Some(
                    outcome @ (NodeOutcome::Failed { step, failure, .. } | NodeOutcome::Skipped { step, failure }),
                ) => {
                    failures += 1;
                    let message =
                        format!("failed to {}: {}", words::to_do(step.verb), words::foreign(&failure.message));
                    let cordoned = matches!(outcome, NodeOutcome::Failed { cordoned: true, .. });
                    let left = if cordoned { "left cordoned" } else { "not left cordoned" };
                    let advice = words::failure_advice(step, failure);
                    let _ = write!(
                        cases,
                        ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
                        escape(&message),
                        escape(&format!("{left}; {advice}"))
                    );
                }
                Some(NodeOutcome::Interrupted { cause, .. } | NodeOutcome::NotStarted { cause }) => {
                    skipped += 1;
                    let why = escape(&format!("not finished, because {}", words::stop_cause(cause)));
                    let _ = write!(cases, ">\n      <skipped message=\"{why}\"/>\n    </testcase>\n");
                }
                None => {
                    skipped += 1;
                    cases.push_str(">\n      <skipped message=\"not started\"/>\n    </testcase>\n");
                }
            }
        }
        let told = Words {
            cluster: &cluster.cluster,
            simulated: cluster.sandbox,
            now: plan.now(),
            zone: &jiff::tz::TimeZone::UTC,
        };
        let blocked = cluster.blocked.iter().map(|blocked| {
            let why: Vec<String> = blocked.reasons.iter().map(|reason| told.blocked(blocked, reason).text).collect();
            (&blocked.node, format!("blocked: {}", why.join("; ")))
        });
        let unknown =
            cluster.unknown.iter().map(|unknown| (&unknown.node, format!("unknown: {}", told.unknown(unknown).text)));
        for (node, why) in blocked.chain(unknown) {
            tests += 1;
            skipped += 1;
            let _ = write!(
                cases,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"0.000\">\n      <skipped message=\"{}\"/>\n    </testcase>\n",
                escape(cluster.cluster.as_str()),
                escape(node.as_str()),
                escape(&why)
            );
        }
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" timestamp=\"{}\">",
            escape(cluster.cluster.as_str()),
            rehearsal.began.strftime("%Y-%m-%dT%H:%M:%S")
        );
        out.push_str(&cases);
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// For each step, the places of its start, where it was started, and of the last event that is about it.
fn spans(events: &[Event]) -> BTreeMap<&StepId, (Option<usize>, usize)> {
    let mut spans = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        let Some(step) = event.kind.step() else { continue };
        let (start, last) = spans.entry(step).or_insert((None, at));
        *last = at;
        if matches!(event.kind, EventKind::StepStarted { .. }) {
            start.get_or_insert(at);
        }
    }
    spans
}

/// From the start of the first of these steps to the end of the last.
fn took(events: &[Event], spans: &BTreeMap<&StepId, (Option<usize>, usize)>, steps: &[StepId]) -> Duration {
    let of = || steps.iter().filter_map(|step| spans.get(step));
    let (first, last) = (of().filter_map(|(start, _)| *start).min(), of().map(|(_, last)| *last).max());
    first.zip(last).map_or(Duration::ZERO, |(first, last)| between(events[first].at, events[last].at))
}

/// Text for XML: no control characters, which XML cannot hold, and nothing that ends an attribute or an element.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in sanitise(text).to_string().chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' | '\t' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
