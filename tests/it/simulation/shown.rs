//! All that a process shows: the plan, its progress, its report, its record. None of it may steer a terminal, mislead a
//! reader, command a pipeline or tell a secret, whatever others have written into the cluster.

use std::error::Error;
use std::sync::{Arc, Mutex};

use haulout::apply::Outcome;
use haulout::format;
use haulout::model::{Foreign, Snapshot, is_dangerous};
use haulout::plan::{ClusterPlan, Plan};
use haulout::render::progress::{self, Progress};
use haulout::render::{TerminalStyle, terminal};
use haulout::run::{Event, EventKind, Held, Remaining};
use haulout::twin::{Key, Kind, Port};
use jiff::tz::TimeZone;

use super::broken::Broken;

/// Steers a terminal, turns the reading order, rings, ends the line, and commands two kinds of pipelines.
pub(super) const HOSTILE: &str = "\u{1b}[31mred\u{202e}der\u{7}\r\n::error::x ##vso[task.x]\u{200b}\u{9b}1m";
/// Stands in annotations and variables that are none of haulout's business.
pub(super) const SECRET: &str = "hunter2-canary";

/// What a reader was shown, in order.
#[derive(Clone)]
pub(super) struct Shown {
    /// The report of the process that ended last.
    report: Arc<Mutex<String>>,
    wrong: Arc<Mutex<Vec<String>>>,
    port: Port,
    broken: Option<Broken>,
}

fn style() -> TerminalStyle {
    TerminalStyle::default()
}

impl Shown {
    pub(super) fn new(port: Port, broken: Option<Broken>) -> Self {
        Self { report: Arc::default(), wrong: Arc::default(), port, broken }
    }

    /// What was wrong with any of it.
    pub(super) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    /// Whether the last report names a node.
    pub(super) fn names(&self, node: &str) -> bool {
        let whole = |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == node);
        self.report.lock().unwrap().lines().any(whole)
    }

    /// Takes a text of whole lines.
    fn show(&self, what: &str, text: &str) {
        let mut wrong = Vec::new();
        for line in text.split('\n') {
            if line.chars().any(is_dangerous) || line.contains("##vso[") || line.trim_start().starts_with("::") {
                wrong.push(format!("{what} is not inert: {line:?}"));
            }
            if line.contains(SECRET) {
                wrong.push(format!("{what} tells a secret: {line:?}"));
            }
        }
        wrong.truncate(1);
        self.wrong.lock().unwrap().append(&mut wrong);
    }

    pub(super) fn plan(&self, plan: &Plan, snapshot: &Snapshot) {
        self.show("the plan", &terminal::plan(plan, &style()));
        let file = String::from_utf8(format::plan::write(plan, "0")).unwrap();
        self.show("the plan file", &file);
        let snapshots = std::slice::from_ref(snapshot);
        self.show("the status", &terminal::status(plan.config_name(), plan.now(), snapshots, &style()));
        let file = String::from_utf8(format::snapshot::write(snapshot)).unwrap();
        self.show("the snapshot", &file);
    }

    /// The progress of a run.
    pub(super) fn screen(&self, clusters: &[Arc<ClusterPlan>]) -> Screen {
        Screen { shown: self.clone(), progress: Progress::new(clusters, TimeZone::UTC), held: Held::new(clusters) }
    }

    pub(super) fn journal(&self, lines: &[u8]) {
        self.show("the journal", std::str::from_utf8(lines).unwrap());
    }

    pub(super) fn report(&self, outcome: &Outcome, remaining: &Remaining, plan: &Plan, snapshot: &Snapshot) {
        let snapshots = std::slice::from_ref(snapshot);
        let report = [
            progress::summary(&outcome.summary, Some(remaining), &style()),
            terminal::left(plan.now(), plan.clusters(), remaining, &style()),
            terminal::status(plan.config_name(), plan.now(), snapshots, &style()),
        ];
        self.show("the report", &report.concat());
        *self.report.lock().unwrap() = report.concat();
    }

    /// An error with its causes, as they are printed: each on a line, made safe.
    pub(super) fn error(&self, error: &dyn Error) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.show("an error", &error.to_string());
            next = error.source();
        }
    }
}

/// The progress of one process on a terminal, and what would be said if it were left at any moment.
pub(super) struct Screen {
    shown: Shown,
    progress: Progress,
    held: Held,
}

impl Screen {
    pub(super) fn take(&mut self, event: &Event) {
        if let Some(line) = self.progress.take(event) {
            self.shown.show("the progress", &line);
        }
        if let Some(text) = progress::event_text(event) {
            self.shown.show("an event", &text);
        }
        for row in self.progress.rows(event.at) {
            self.shown.show("a row", &row.text(80));
        }
        self.held.take(&event.kind);
        match (&event.kind, self.shown.broken) {
            (EventKind::StepWaiting { wait, .. }, Some(Broken::Sanitiser)) => {
                self.shown.show("the wait", &raw(&wait.what));
            }
            (EventKind::StepStarted { step }, Some(Broken::Secrets)) => {
                let node = Key::new(Kind::Node, "", step.node.as_str());
                let whole = self.shown.port.look(|world| world.object(&node).map(|node| node.to_string()));
                self.shown.show("the node", &whole.unwrap_or_default());
            }
            (EventKind::RunFinished { .. } | EventKind::StepFailed { .. }, _) => {
                self.shown.show("the heartbeat", &self.progress.heartbeat(event.at));
                self.shown.show("the last words", &progress::left_at_once(&self.held, "record"));
            }
            _ => {}
        }
    }
}

/// What a step waits for, as it came.
fn raw(what: &haulout::run::WaitFor) -> String {
    use haulout::run::WaitFor;
    let raw = |text: &Foreign| text.raw().to_owned();
    match what {
        WaitFor::Webhook { message, .. } => raw(message),
        WaitFor::ApiServer(text) | WaitFor::RebootPod(text) | WaitFor::NodeReady(text) | WaitFor::Lock(text) => {
            raw(text)
        }
        WaitFor::Slot(_)
        | WaitFor::Budget { .. }
        | WaitFor::PodsToEnd(_)
        | WaitFor::VolumesToDetach(_)
        | WaitFor::RebootPodToEnd
        | WaitFor::Boot
        | WaitFor::Settle
        | WaitFor::Report => String::new(),
    }
}
