//! How runs stand on a cluster: its lock, the nodes that carry marks, the reboot pods, and what to do next.

use jiff::Timestamp;
use std::collections::BTreeSet;

use super::page::{Page, Symbol};
use crate::model::{Cordon, Foreign, GapSubject, HeldLock, Mark, Node, Pod, RunId, Snapshot};
use crate::plan::words::{Words, duration, foreign};
use crate::render::TerminalStyle;

/// How runs stand on clusters, as text. `config` is the name of the config that asks.
#[must_use]
pub fn status<'s>(
    config: &Foreign,
    now: Timestamp,
    snapshots: impl IntoIterator<Item = &'s Snapshot>,
    style: &TerminalStyle,
) -> String {
    let mut page = Page::new(style);
    for snapshot in snapshots {
        let words = Words { cluster: &snapshot.cluster, simulated: snapshot.sandbox, now, zone: &style.timezone };
        page.heading(&format!("Cluster {} · {}", snapshot.cluster, foreign(&snapshot.via)));
        page.line(2, &lock(&words, snapshot));
        let mut next = BTreeSet::new();
        let mut pods: Vec<&Pod> = snapshot.pods.iter().filter(|pod| pod.reboots_for().is_some()).collect();
        for node in snapshot.nodes.values() {
            let Some(mark) = mark_of(node) else { continue };
            marked(&mut page, &words, node, mark);
            if let Some(pod) = pods.iter().position(|pod| is_of(pod, node, &mark.run)).map(|at| pods.remove(at)) {
                page.particular(Symbol::Note, &format!("its reboot pod {}", pod_state(pod, Some(mark))));
            }
            next.extend(what_next(config, snapshot, now, node, mark));
        }
        for pod in pods {
            let node = pod.node.as_ref().map(ToString::to_string).unwrap_or_default();
            page.note(&format!("reboot pod {} on node {node} {}", pod.key.name, pod_state(pod, None)));
            if let Some(run) = pod.reboots_for().filter(|run| !snapshot.may_be_live(run, now)) {
                next.insert(format!("haulout status abandon {run} removes what that run has left"));
            }
        }
        for gap in snapshot.gaps.iter().filter(|gap| matches!(gap.subject, GapSubject::Lock | GapSubject::Pods)) {
            page.told(&words.gap(gap), "to find out:");
        }
        if next.is_empty() {
            page.line(2, "No run has left anything here.");
        }
        for next in next {
            page.advice(2, "next:", &next);
        }
    }
    page.without_legend()
}

/// The mark of a run at work, or of a cordon that stays; also where somebody else's cordon lies over it.
fn mark_of(node: &Node) -> Option<&Mark> {
    match &node.cordon {
        Some(Cordon::Marked(mark)) => Some(mark),
        Some(Cordon::Foreign { mark, .. }) => mark.as_ref().or(node.mark.as_ref()),
        None => node.mark.as_ref(),
    }
}

fn is_of(pod: &Pod, node: &Node, run: &RunId) -> bool {
    pod.node.as_ref() == Some(&node.name) && pod.reboots_for().as_ref() == Some(run)
}

fn pod_state(pod: &Pod, mark: Option<&Mark>) -> &'static str {
    if pod.status.is_finished() {
        "has ended"
    } else if mark.is_some_and(Mark::is_requested) {
        // Whether it is Ready says nothing any more: it may have fired, and its node be down.
        "was told to reboot it"
    } else if pod.status.terminating {
        "is being removed"
    } else if pod.status.ready {
        "is armed"
    } else {
        "is not armed yet"
    }
}

fn lock(words: &Words<'_>, snapshot: &Snapshot) -> String {
    match &snapshot.lock {
        _ if snapshot.has_gap(GapSubject::Lock) => "lock: could not be read".to_owned(),
        None => "lock: free".to_owned(),
        Some(lock @ HeldLock { holder, renewed_at, .. }) => {
            let ago = duration(words.ago(*renewed_at));
            let state =
                if lock.is_live(words.now) { "which seems to be alive" } else { "silent, and so most likely dead" };
            format!("lock: held by run {}, {state}; last renewed {ago} ago", foreign(holder))
        }
    }
}

fn marked(page: &mut Page<'_>, words: &Words<'_>, node: &Node, mark: &Mark) {
    let what = match &node.cordon {
        Some(Cordon::Marked(_)) if mark.is_settled() => "is out of service",
        Some(Cordon::Marked(_)) => "is cordoned",
        Some(Cordon::Foreign { .. }) => "is cordoned by somebody else, and carries marks",
        None => "is schedulable, and carries marks",
    };
    let phase = mark.phase.map(|phase| format!(", phase {phase}")).unwrap_or_default();
    let since = words.moment(mark.since);
    page.subject(
        Symbol::Note,
        &format!("node/{}", node.name),
        &format!("{what}: run {} of config {}, since {since}{phase}", mark.run, foreign(&mark.config)),
    );
}

/// What to do about a node that a run has marked. Nothing about one that is out of service as it should be.
fn what_next(config: &Foreign, snapshot: &Snapshot, now: Timestamp, node: &Node, mark: &Mark) -> Option<String> {
    if mark.is_settled() {
        return None;
    }
    let run = &mark.run;
    Some(if snapshot.has_gap(GapSubject::Lock) {
        "close the gap: without the lock nobody can say which run is alive".to_owned()
    } else if snapshot.may_be_live(run, now) {
        format!(
            "wait for run {run}; if its process is dead, haulout apply --resume goes on with it at once on the machine \
             that it ran on, and anybody once its lock has lapsed"
        )
    } else if matches!(node.cordon, Some(Cordon::Foreign { .. })) {
        format!("ask who cordoned {}; haulout takes no cordon off that is not its own", node.name)
    } else if mark.config != *config {
        format!("apply config {}, which finishes what run {run} has begun", foreign(&mark.config))
    } else {
        format!(
            "haulout apply finishes what run {run} has begun (on the machine that it ran on, haulout apply --resume); \
             haulout status abandon {run} gives it up"
        )
    })
}
