//! A run as it goes: plain lines, live rows, a heartbeat. Pure: [`Progress`] takes events and gives text.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::time::Duration;

pub use super::summary::{left_at_once, left_line, summary};
use super::words;
use crate::model::{ClusterName, NodeName};
use crate::plan::{ClusterPlan, StepState, Verb};
use crate::run::{self, Conclusion, Ending, Event, EventKind, FailureKind, StepId, Wait, WaitFor};

/// A step says at most this often how far it is; what is new is said at once.
const REPEAT: Duration = Duration::from_secs(10);

/// How many nodes stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// All nodes of the run.
    pub all: usize,
    /// All their steps are proved.
    pub done: usize,
    /// Ended, and a step of theirs failed.
    pub failed: usize,
    /// Ended: their drains took too long, and they were given back.
    pub skipped: usize,
    /// Ended early, although nothing of theirs failed.
    pub interrupted: usize,
    /// Begun and not ended.
    pub under_way: usize,
    /// Nothing was done to them.
    pub to_start: usize,
}

impl Standing {
    /// How many have ended, in whatever way.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.done + self.failed + self.skipped + self.interrupted
    }

    /// How many ended otherwise than done, in words; nothing where none did.
    #[must_use]
    pub fn not_done(&self) -> String {
        let parts = [(self.failed, "failed"), (self.skipped, "skipped"), (self.interrupted, "interrupted")];
        let parts = parts.into_iter().filter(|(n, _)| *n > 0);
        parts.map(|(n, what)| format!("{} {what}", words::number(n as u64))).collect::<Vec<_>>().join(", ")
    }
}

/// A row of a live display: one node that is being worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Such as `prod/node/a`.
    pub node: String,
    /// What is being done, such as `draining`.
    pub phase: &'static str,
    /// So many of so many pods are gone.
    pub pods: Option<(u32, u32)>,
    /// What it waits for, how long already, how long at the most.
    pub wait: Option<String>,
    /// How long the step has been going on.
    pub elapsed: Duration,
}

impl Row {
    /// The row as one line of at most `width` characters.
    #[must_use]
    pub fn text(&self, width: usize) -> String {
        let mut parts = vec![format!("{} {}", self.node, self.phase)];
        if let Some((done, total)) = self.pods {
            parts.push(format!("{done} of {} gone", words::count(total as usize, "pod")));
        }
        parts.push(self.wait.clone().unwrap_or_else(|| words::duration(self.elapsed)));
        let text = parts.join(" · ");
        if text.chars().count() <= width {
            text
        } else {
            text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
        }
    }
}

#[derive(Debug)]
struct Running {
    step: StepId,
    since: Timestamp,
    pods: Option<(u32, u32)>,
    wait: Option<Wait>,
    said: Option<(Timestamp, Option<Discriminant<WaitFor>>)>,
}

#[derive(Debug, Default)]
struct NodeProgress {
    states: BTreeMap<Verb, StepState>,
    /// The failure that counts.
    failure: Option<(Verb, FailureKind)>,
    timeout_halts: bool,
    running: Option<Running>,
}

/// Where a run stands, from its events.
#[derive(Debug)]
pub struct Progress {
    zone: TimeZone,
    nodes: BTreeMap<(ClusterName, NodeName), NodeProgress>,
    over: bool,
}

impl Progress {
    /// A run of these clusters, before its first event.
    #[must_use]
    pub fn new(clusters: &[Arc<ClusterPlan>], zone: TimeZone) -> Self {
        let nodes = clusters
            .iter()
            .flat_map(|cluster| {
                cluster.outages.iter().map(|outage| {
                    let progress = NodeProgress {
                        states: outage.steps.iter().map(|step| (step.verb, StepState::Pending)).collect(),
                        timeout_halts: run::timeout_halts(cluster, outage),
                        ..NodeProgress::default()
                    };
                    ((cluster.cluster.clone(), outage.node.clone()), progress)
                })
            })
            .collect();
        Self { zone, nodes, over: false }
    }

    /// Takes an event in. Returns the plain line for it, where it is worth one: what repeats within a few seconds is
    /// not.
    pub fn take(&mut self, event: &Event) -> Option<String> {
        let text = match &event.kind {
            EventKind::StepStarted { step } => {
                let node = self.node(step);
                node.states.insert(step.verb, StepState::Running);
                node.running =
                    Some(Running { step: step.clone(), since: event.at, pods: None, wait: None, said: None });
                // Their proof follows at once and says it all.
                if matches!(step.verb, Verb::Cordon | Verb::Uncordon | Verb::Reboot) { None } else { event_text(event) }
            }
            EventKind::StepProgress { step, done, total } => {
                let running = self.running(step, event.at);
                running.pods = Some((*done, *total));
                if done == total {
                    running.wait = None;
                }
                running.say(event.at, done == total)
            }
            EventKind::StepWaiting { step, wait } => {
                let running = self.running(step, event.at);
                let other =
                    running.wait.as_ref().is_none_or(|before| discriminant(&before.what) != discriminant(&wait.what));
                running.wait = Some(wait.clone());
                running.say(event.at, other)
            }
            EventKind::StepSucceeded { step, .. } => {
                let node = self.node(step);
                node.states.insert(step.verb, StepState::Succeeded);
                node.running = None;
                event_text(event)
            }
            EventKind::StepFailed { step, failure } => {
                let node = self.node(step);
                node.states.insert(step.verb, StepState::Failed);
                if run::counts_more(node.failure.map(|(_, kind)| kind), failure.kind) {
                    node.failure = Some((step.verb, failure.kind));
                }
                node.running = None;
                event_text(event)
            }
            // Skipped steps follow a failure that was said, and the summary names their node.
            EventKind::StepSkipped { step } => {
                self.node(step).states.insert(step.verb, StepState::Skipped);
                None
            }
            EventKind::Intended { .. } => None,
            EventKind::RunFinished { .. } => {
                self.over = true;
                event_text(event)
            }
            EventKind::RunStarted { .. }
            | EventKind::LockTaken { .. }
            | EventKind::LockReleased { .. }
            | EventKind::StepNote { .. }
            | EventKind::ClusterHalted { .. }
            | EventKind::Interrupted => event_text(event),
        };
        text.map(|text| self.stamped(event.at, &text))
    }

    /// The nodes that are being worked on, in order.
    #[must_use]
    pub fn rows(&self, now: Timestamp) -> Vec<Row> {
        self.nodes
            .iter()
            .filter_map(|((cluster, node), progress)| {
                let running = progress.running.as_ref()?;
                Some(Row {
                    node: format!("{cluster}/node/{node}"),
                    phase: words::doing(running.step.verb),
                    pods: running.pods,
                    wait: running.wait.as_ref().map(|wait| words::wait(wait, now)),
                    elapsed: words::between(running.since, now),
                })
            })
            .collect()
    }

    /// How many nodes stand where.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let mut standing = Standing { all: self.nodes.len(), ..Standing::default() };
        for node in self.nodes.values() {
            let ended = self.over || node.states.values().all(|state| state.is_final());
            let begun = node.states.values().any(|state| *state != StepState::Pending);
            let part = if !ended {
                if begun { &mut standing.under_way } else { &mut standing.to_start }
            } else {
                match run::ending(&node.states, node.failure, node.timeout_halts) {
                    Ending::Done => &mut standing.done,
                    Ending::Failed => &mut standing.failed,
                    Ending::Skipped => &mut standing.skipped,
                    Ending::Interrupted => &mut standing.interrupted,
                    Ending::NotStarted => &mut standing.to_start,
                }
            };
            *part += 1;
        }
        standing
    }

    /// The sign of life of a run whose log has been silent for a while, with its longest wait.
    #[must_use]
    pub fn heartbeat(&self, now: Timestamp) -> String {
        let standing = self.standing();
        let mut text = format!(
            "{} of {} done, {}{} under way, {} to start",
            words::number(standing.done as u64),
            words::count(standing.all, "node"),
            Some(standing.not_done()).filter(|parts| !parts.is_empty()).map(|parts| parts + ", ").unwrap_or_default(),
            words::number(standing.under_way as u64),
            words::number(standing.to_start as u64)
        );
        let longest = self
            .nodes
            .values()
            .filter_map(|node| node.running.as_ref())
            .min_by_key(|running| running.wait.as_ref().map_or(running.since, |wait| wait.since));
        if let Some(running) = longest {
            text.push_str("; longest: ");
            text.push_str(&running.text(now));
        }
        self.stamped(now, &text)
    }

    fn stamped(&self, at: Timestamp, text: &str) -> String {
        format!("{} {text}", at.to_zoned(self.zone.clone()).strftime("%H:%M:%S"))
    }

    fn node(&mut self, step: &StepId) -> &mut NodeProgress {
        self.nodes.entry((step.cluster.clone(), step.node.clone())).or_default()
    }

    /// The running step, also where its beginning was missed.
    fn running(&mut self, step: &StepId, at: Timestamp) -> &mut Running {
        let node = self.node(step);
        node.states.insert(step.verb, StepState::Running);
        match &mut node.running {
            Some(running) if running.step == *step => {}
            Some(_) | None => {
                node.running = None;
            }
        }
        node.running.get_or_insert_with(|| Running {
            step: step.clone(),
            since: at,
            pods: None,
            wait: None,
            said: None,
        })
    }
}

impl Running {
    /// The line about this step, unless it said the like a moment ago and there is no reason to say it at once.
    fn say(&mut self, at: Timestamp, at_once: bool) -> Option<String> {
        let kind = self.wait.as_ref().map(|wait| discriminant(&wait.what));
        let recent = self.said.is_some_and(|(said, before)| words::between(said, at) < REPEAT && before == kind);
        if recent && !at_once {
            return None;
        }
        self.said = Some((at, kind));
        Some(self.text(at))
    }

    fn text(&self, now: Timestamp) -> String {
        let mut parts = Vec::new();
        if let Some((done, total)) = self.pods {
            parts.push(format!("{done} of {} gone", words::count(total as usize, "pod")));
        }
        parts.push(match &self.wait {
            Some(wait) => words::wait(wait, now),
            None => words::duration(words::between(self.since, now)),
        });
        format!("{}: {}", subject(&self.step), parts.join("; "))
    }
}

fn subject(step: &StepId) -> String {
    format!("{}/node/{} {}", step.cluster, step.node, step.verb.as_str())
}

/// What an event says, without its time; `None` for those that only the journal is interested in.
#[must_use]
pub fn event_text(event: &Event) -> Option<String> {
    Some(match &event.kind {
        EventKind::RunStarted { run, config, version } => format!(
            "run {run} of config {} started, haulout {}",
            words::foreign(config),
            crate::model::sanitise(version).shortened(40)
        ),
        EventKind::LockTaken { cluster } => format!("{cluster}: lock taken"),
        EventKind::LockReleased { cluster } => format!("{cluster}: lock given back"),
        EventKind::StepStarted { step } => format!("{}: {}", subject(step), words::doing(step.verb)),
        EventKind::Intended { .. } => return None,
        EventKind::StepWaiting { step, wait } => format!("{}: {}", subject(step), words::wait(wait, event.at)),
        EventKind::StepProgress { step, done, total } => {
            format!("{}: {done} of {} gone", subject(step), words::count(*total as usize, "pod"))
        }
        EventKind::StepNote { step, note } => format!("{}: note: {}", subject(step), words::foreign(note)),
        EventKind::StepSucceeded { step, evidence } => format!("{}: {}", subject(step), words::evidence(evidence)),
        EventKind::StepFailed { step, failure } => {
            let message = words::foreign(&failure.message);
            match failure.kind {
                FailureKind::Interrupted => format!("{}: ended early: {message}", subject(step)),
                FailureKind::Stale
                | FailureKind::TimedOut
                | FailureKind::Refused
                | FailureKind::Unclear
                | FailureKind::LockLost
                | FailureKind::Panicked => format!("{}: failed: {message}", subject(step)),
            }
        }
        EventKind::StepSkipped { step } => format!("{}: skipped", subject(step)),
        EventKind::ClusterHalted { cluster, step } => {
            format!("{cluster}: nothing new is started, because {} failed", subject(step))
        }
        EventKind::Interrupted => {
            "interrupted: nothing new is started, and what is under way is brought to a safe end".to_owned()
        }
        EventKind::RunFinished { conclusion } => match conclusion {
            Conclusion::Done => "run finished".to_owned(),
            Conclusion::Partial => "run finished, not everything was done".to_owned(),
            Conclusion::Interrupted => "run interrupted".to_owned(),
        },
    })
}
