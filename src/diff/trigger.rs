//! Why a node is to be rebooted: the triggers of a table against the node's reports.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

use super::{Hindrance, UnknownReason, Why};
use crate::config::Reboot;
use crate::model::{Foreign, LastReboot, Node, Report, ReportedReboot};

/// A report counts while it is younger than this; agents write at least every 6 h.
pub const REPORT_VALIDITY: SignedDuration = SignedDuration::from_hours(24);
/// How far clocks of nodes may be ahead of ours before a report is not believed.
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// What the triggers of a table say of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is to be rebooted.
    Yes {
        why: Vec<Why>,
        /// Set where every reason was there before the last reboot by haulout and that reboot left it in place.
        hindrance: Option<Hindrance>,
    },
    /// It is not.
    No,
    /// Nobody can say.
    Unknown(UnknownReason),
}

/// What one trigger says.
enum Answer {
    Yes(Why),
    No,
    Unknown(UnknownReason),
}

/// Asks every trigger of the table. They are ORed: one definite yes beats the unknowns of the others, and one unknown
/// beats any number of noes.
pub(super) fn evaluate(table: &Reboot, node: &Node, now: Timestamp) -> Finding {
    let validity = check_report(node, now);
    let booted_at = validity.clone().and_then(|()| boot_time(&node.report, now));
    let mut answers = Vec::new();
    if table.when_required {
        answers.push(required(&node.report, validity));
        answers.push(kured(node, booted_at.clone()));
    }
    if let Some(limit) = table.max_uptime {
        answers.push(uptime(booted_at.clone(), limit, now));
    }
    // A moment still to come is not yet wanted: a reboot before it would not fulfil it, and would be wanted again.
    if let Some(wanted) = table.booted_after.filter(|wanted| *wanted <= now) {
        answers.push(match booted_at {
            Ok(booted_at) if booted_at < wanted => Answer::Yes(Why::BootedBefore { booted_at, wanted }),
            Ok(_) => Answer::No,
            Err(reason) => Answer::Unknown(reason),
        });
    }
    let mut why = Vec::new();
    let mut unknown = None;
    for answer in answers {
        match answer {
            Answer::Yes(reason) => why.push(reason),
            Answer::No => {}
            Answer::Unknown(reason) => unknown = unknown.or(Some(reason)),
        }
    }
    if !why.is_empty() {
        let hindrance = did_not_clear(node, &why, now);
        return Finding::Yes { why, hindrance };
    }
    unknown.map_or(Finding::No, Finding::Unknown)
}

/// Whether the node's report counts at all.
fn check_report(node: &Node, now: Timestamp) -> Result<(), UnknownReason> {
    let Report { reboot, boot_id, booted_at, reported_at } = &node.report;
    let Some(boot_id) = boot_id else {
        let silent = reboot.is_none() && booted_at.is_none() && reported_at.is_none();
        return Err(if silent { UnknownReason::NoReport } else { UnknownReason::Unreadable });
    };
    if node.boot_id.as_ref() != Some(boot_id) {
        return Err(UnknownReason::OtherBoot);
    }
    let Some(reported_at) = *reported_at else {
        return Err(UnknownReason::Stale { reported_at: None });
    };
    let age = now.duration_since(reported_at);
    if age < -CLOCK_TOLERANCE {
        return Err(UnknownReason::FromTheFuture { reported_at });
    }
    if age >= REPORT_VALIDITY {
        return Err(UnknownReason::Stale { reported_at: Some(reported_at) });
    }
    Ok(())
}

/// When the node booted, by a report that counts.
fn boot_time(report: &Report, now: Timestamp) -> Result<Timestamp, UnknownReason> {
    match report.booted_at {
        Some(booted_at) if now.duration_since(booted_at) >= -CLOCK_TOLERANCE => Ok(booted_at),
        // A boot in the future says no more than none.
        Some(_) | None => Err(UnknownReason::NoBootTime),
    }
}

fn required(report: &Report, validity: Result<(), UnknownReason>) -> Answer {
    match (validity, &report.reboot) {
        (Err(reason), _) => Answer::Unknown(reason),
        (Ok(()), Some(ReportedReboot::Required(reason))) => Answer::Yes(Why::RebootRequired(reason.clone())),
        (Ok(()), Some(ReportedReboot::NotRequired)) => Answer::No,
        (Ok(()), None) => Answer::Unknown(UnknownReason::Unreadable),
    }
}

/// kured leaves its annotation behind, so that it says something only if it is newer than the boot.
fn kured(node: &Node, booted_at: Result<Timestamp, UnknownReason>) -> Answer {
    match (node.kured_wants_since, booted_at) {
        (None, _) => Answer::No,
        (Some(since), Ok(booted_at)) if since > booted_at => Answer::Yes(Why::KuredWants(since)),
        (Some(_), Ok(_)) => Answer::No,
        (Some(_), Err(reason)) => Answer::Unknown(reason),
    }
}

fn uptime(booted_at: Result<Timestamp, UnknownReason>, limit: Duration, now: Timestamp) -> Answer {
    match booted_at {
        Ok(booted_at) if longer_than(booted_at, limit, now) => Answer::Yes(Why::UptimeExceeded { booted_at, limit }),
        Ok(_) => Answer::No,
        Err(reason) => Answer::Unknown(reason),
    }
}

fn longer_than(since: Timestamp, limit: Duration, now: Timestamp) -> bool {
    // A limit beyond the range of time itself is never exceeded.
    SignedDuration::try_from(limit).is_ok_and(|limit| now.duration_since(since) > limit)
}

/// Whether the last reboot by haulout was to clear these very reasons and did not: the node still runs the boot that
/// it brought about, and each reason either has the same text as then or is contradicted by the time of that reboot.
/// One reason that is new suffices to try again.
fn did_not_clear(node: &Node, why: &[Why], now: Timestamp) -> Option<Hindrance> {
    let last = node.last_reboot.as_ref().filter(|last| node.boot_id.as_ref() == Some(&last.boot_id))?;
    why.iter()
        .all(|reason| was_left(reason, last, now))
        .then(|| Hindrance::RebootDidNotClear { at: last.at, reason: why.first().map_or_else(Foreign::default, text) })
}

fn was_left(reason: &Why, last: &LastReboot, now: Timestamp) -> bool {
    match reason {
        Why::RebootRequired(text) => *text == last.reason,
        Why::KuredWants(since) => *since <= last.at,
        Why::UptimeExceeded { limit, .. } => !longer_than(last.at, *limit, now),
        Why::BootedBefore { wanted, .. } => last.at >= *wanted,
        Why::OutOfService(_) | Why::ReleasedFromService | Why::LeftByRun { .. } => false,
    }
}

/// A reason in words, for a report that has room for text only.
fn text(reason: &Why) -> Foreign {
    match reason {
        Why::RebootRequired(text) => text.clone(),
        Why::KuredWants(since) => Foreign::new(format!("kured wants a reboot since {since}")),
        Why::UptimeExceeded { booted_at, .. } => Foreign::new(format!("the report says it is up since {booted_at}")),
        Why::BootedBefore { booted_at, .. } => Foreign::new(format!("the report says it booted at {booted_at}")),
        Why::OutOfService(text) => text.clone(),
        Why::ReleasedFromService | Why::LeftByRun { .. } => Foreign::default(),
    }
}
