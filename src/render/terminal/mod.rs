//! The plan as text for a terminal or a log.

mod fold;
mod page;
mod sections;
mod status;
mod waves;

use jiff::Timestamp;
use std::sync::Arc;

use super::TerminalStyle;
use crate::model::{Foreign, GapSubject};
use crate::plan::words::{Words, count, foreign, moment, number};
use crate::plan::{ClusterPlan, Counts, Plan};
use crate::run::Remaining;
use page::Page;
pub use status::status;

/// A plan as text.
#[must_use]
pub fn plan(plan: &Plan, style: &TerminalStyle) -> String {
    clusters(plan.config_name(), plan.now(), plan.clusters(), style)
}

/// The parts of a plan as text. Whether they are sound is not asked here.
#[must_use]
pub fn clusters(config: &Foreign, now: Timestamp, clusters: &[Arc<ClusterPlan>], style: &TerminalStyle) -> String {
    let mut page = Page::new(style);
    for cluster in clusters {
        let words = Words { cluster: &cluster.cluster, simulated: cluster.sandbox, now, zone: &style.timezone };
        header(&mut page, &words, cluster);
        if !cluster.steps.is_empty() {
            page.heading("haulout will do the following, in this order:");
            waves::waves(&mut page, &words, cluster);
            waves::failures(&mut page, cluster);
        } else if clusters.len() > 1 && cluster.blocked.is_empty() && cluster.unknown.is_empty() {
            page.gap();
            let empty = cluster.counts.observed == 0;
            page.line(0, if empty { "This cluster has no nodes." } else { "Nothing to do in this cluster." });
        }
        sections::blocked(&mut page, &words, cluster);
        sections::unknown(&mut page, &words, cluster);
        sections::gaps(&mut page, &words, cluster);
        sections::notices(&mut page, &words, cluster);
        sections::certificates(&mut page, &words, cluster);
        if clusters.len() > 1 {
            page.gap();
            page.line(0, &nodes_line(&cluster.counts, ""));
        }
    }
    page.gap();
    let counts = total(clusters);
    let of = if clusters.len() > 1 { format!(" in {}", count(clusters.len(), "cluster")) } else { String::new() };
    page.line(0, &nodes_line(&counts, &of));
    if clusters.iter().all(|cluster| cluster.steps.is_empty()) {
        let nothing = nothing_to_do(config, now, clusters, style);
        let nothing = page.styles.heading.paint(&nothing);
        page.line(0, &nothing);
    } else {
        let line = page.styles.heading.paint(&plan_line(&counts));
        page.line(0, &line);
    }
    page.with_legend()
}

/// What is left after a run, from the plan made of the look after it: what is blocked or unknown and why, and what is
/// new. What the run itself did not finish is told by its summary, and only named there. Empty where nothing is left.
#[must_use]
pub fn left(now: Timestamp, clusters: &[Arc<ClusterPlan>], remaining: &Remaining, style: &TerminalStyle) -> String {
    let mut page = Page::new(style);
    for cluster in clusters {
        let new = sections::news(cluster, remaining);
        if new.is_empty() && cluster.blocked.is_empty() && cluster.unknown.is_empty() {
            continue;
        }
        let words = Words { cluster: &cluster.cluster, simulated: cluster.sandbox, now, zone: &style.timezone };
        page.heading(&format!("Left in {}", cluster.cluster));
        sections::new(&mut page, &new);
        sections::blocked(&mut page, &words, cluster);
        sections::unknown(&mut page, &words, cluster);
        sections::gaps(&mut page, &words, cluster);
    }
    page.without_legend()
}

/// The line that sums up a plan. Its form is fixed: programs read it, although they should read the JSON.
#[must_use]
pub fn plan_line(counts: &Counts) -> String {
    format!(
        "Plan: {} to reboot, {} to drain, {} to uncordon.",
        count(counts.reboot as usize, "node"),
        number(counts.drain.into()),
        number(counts.release.into())
    )
}

/// The line that says where each observed node went. Parts that are zero are left out.
fn nodes_line(counts: &Counts, of: &str) -> String {
    let parts = [
        (counts.reboot, "to reboot"),
        (counts.drain, "to drain"),
        (counts.release, "to uncordon"),
        (counts.blocked, "blocked"),
        (counts.unknown, "unknown"),
        (counts.up_to_date, "up to date"),
        (counts.out_of_service, "out of service"),
        (counts.protected, "protected"),
        (counts.not_selected, "not selected"),
        (counts.excluded, "left out"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", number((*n).into()))).collect();
    let observed = number(counts.observed.into());
    if parts.is_empty() {
        format!("Nodes: {observed}{of}.")
    } else {
        format!("Nodes: {observed}{of} = {}.", parts.join(", "))
    }
}

/// The counts of all clusters together.
fn total(clusters: &[Arc<ClusterPlan>]) -> Counts {
    let mut total = Counts::default();
    for cluster in clusters {
        // Destructured, so that a new count cannot be forgotten here.
        let Counts {
            observed,
            reboot,
            drain,
            release,
            blocked,
            unknown,
            up_to_date,
            out_of_service,
            protected,
            not_selected,
            excluded,
        } = &cluster.counts;
        for (sum, part) in [
            (&mut total.observed, observed),
            (&mut total.reboot, reboot),
            (&mut total.drain, drain),
            (&mut total.release, release),
            (&mut total.blocked, blocked),
            (&mut total.unknown, unknown),
            (&mut total.up_to_date, up_to_date),
            (&mut total.out_of_service, out_of_service),
            (&mut total.protected, protected),
            (&mut total.not_selected, not_selected),
            (&mut total.excluded, excluded),
        ] {
            *sum = sum.saturating_add(*part);
        }
    }
    total
}

fn header(page: &mut Page<'_>, words: &Words<'_>, cluster: &ClusterPlan) {
    let mut parts = vec![format!("Cluster {}", page.styles.heading.paint(cluster.cluster.as_str()))];
    if !cluster.via.is_empty() {
        parts.push(cluster.via.sanitised().shortened(80));
    }
    parts.push(if cluster.version.is_empty() {
        "Kubernetes of unknown version".to_owned()
    } else {
        format!("Kubernetes {}", cluster.version.sanitised().shortened(40))
    });
    parts.push(count(cluster.counts.observed as usize, "node"));
    parts.push(format!("observed {}", words.moment(cluster.observed_at)));
    if !cluster.after.is_empty() {
        let after: Vec<&str> = cluster.after.iter().map(crate::model::ClusterName::as_str).collect();
        parts.push(format!("after {}", after.join(", ")));
    }
    page.gap();
    page.line(0, &parts.join(" · "));
}

/// What is said where no cluster has a step. "No changes." is a promise: everything selected was determined.
fn nothing_to_do(config: &Foreign, now: Timestamp, clusters: &[Arc<ClusterPlan>], style: &TerminalStyle) -> String {
    let counts = total(clusters);
    // The lists decide, not the counts: a name that no node has is blocked without being an observed node.
    let blocked: usize = clusters.iter().map(|cluster| cluster.blocked.len()).sum();
    let unknown: usize = clusters.iter().map(|cluster| cluster.unknown.len()).sum();
    let unread = clusters.iter().any(|cluster| cluster.gaps.iter().any(|gap| gap.subject == GapSubject::Objects));
    if unknown > 0 {
        let blocked = if blocked > 0 { format!(", {} blocked", number(blocked as u64)) } else { String::new() };
        return format!("No known changes; {} unknown{blocked}.", count(unknown, "node"));
    }
    if blocked > 0 {
        return format!("Nothing can be done now: {} blocked.", count(blocked, "node"));
    }
    if unread {
        return "No known changes; some objects could not be read.".to_owned();
    }
    let checked = counts.up_to_date.saturating_add(counts.out_of_service);
    let observed = observed(now, clusters, style);
    if checked == 0 {
        return format!("No changes. {}{observed}.", none_checked(&counts, clusters.len()));
    }
    let nodes = if checked == 1 {
        "The 1 selected node is".to_owned()
    } else {
        format!("All {} selected nodes are", number(checked.into()))
    };
    let config =
        if config.is_empty() { "the config wants".to_owned() } else { format!("config {} wants", foreign(config)) };
    let them = if checked == 1 { "it" } else { "them" };
    format!("No changes. {nodes} as {config} {them}{observed}.")
}

/// Why there was no node to check: there is none, or all that were asked for are protected or in no table.
fn none_checked(counts: &Counts, clusters: usize) -> String {
    if counts.observed == 0 {
        return if clusters == 1 { "The cluster has no nodes" } else { "The clusters have no nodes" }.to_owned();
    }
    let asked = if counts.excluded > 0 { " asked for" } else { "" };
    let nodes =
        |n: u32| if n == 1 { format!("the node{asked}") } else { format!("the {} nodes{asked}", number(n.into())) };
    match (counts.not_selected, counts.protected) {
        (0, 1) => format!("The node{asked} is protected"),
        (0, n) => format!("All {} nodes{asked} are protected", number(n.into())),
        (1, 0) => format!("No table of the config selects {}", nodes(1)),
        (n, 0) => format!("No table of the config selects any of {}", nodes(n)),
        (n, p) => format!(
            "Of {}, {} protected, and no table of the config selects the others",
            nodes(n.saturating_add(p)),
            are(p)
        ),
    }
}

fn are(n: u32) -> String {
    if n == 1 { "1 is".to_owned() } else { format!("{} are", number(n.into())) }
}

fn observed(now: Timestamp, clusters: &[Arc<ClusterPlan>], style: &TerminalStyle) -> String {
    let times = || clusters.iter().map(|cluster| cluster.observed_at);
    match (times().min(), times().max()) {
        (Some(first), Some(last)) => {
            let (first, last) = (moment(first, now, &style.timezone), moment(last, now, &style.timezone));
            if first == last { format!(", observed {first}") } else { format!(", observed {first} to {last}") }
        }
        (None, _) | (_, None) => String::new(),
    }
}
