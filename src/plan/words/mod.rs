//! What a plan says, in words. The one place for them: the terminal, the progress of a run and the JSON of a plan all
//! say the same.
//!
//! Everything returned here is one line of safe text: what others wrote goes through the sanitiser and is shortened,
//! and never stands at the beginning, so that no line of a log can start with it.

mod blocked;
mod certificate;
mod outage;
mod unknown;

pub use blocked::{blocked_code, blocked_kind, cannot, free, free_of};
pub use certificate::CertificateLine;
pub use outage::{action, headline, on_failure};
pub use unknown::unknown_code;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt::{self, Write as _};
use std::time::Duration;

use super::types::{Slot, Verb};
use crate::model::{ClusterName, Foreign, GapSubject};

/// How many characters of a foreign text are shown; reports of broken programs can be very long.
const FOREIGN_MAX: usize = 200;

/// What the words depend on beside the thing that is spoken of.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// The cluster that is spoken of.
    pub cluster: &'a ClusterName,
    /// Whether it is simulated, so that kubectl does not reach it.
    pub simulated: bool,
    /// Now.
    pub now: Timestamp,
    /// The time zone that times are shown in.
    pub zone: &'a TimeZone,
}

/// A text and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// What is the case; fits after "because".
    pub text: String,
    /// What to do about it; fits after "to unblock:" or "to find out:".
    pub advice: String,
}

impl Words<'_> {
    /// A moment: the time alone for today, the date with it for any other day.
    #[must_use]
    pub fn moment(&self, at: Timestamp) -> String {
        moment(at, self.now, self.zone)
    }

    /// How long ago a moment was; nothing for a moment in the future.
    #[must_use]
    pub fn ago(&self, at: Timestamp) -> Duration {
        between(at, self.now)
    }
}

/// The time from one moment to a later one; zero if it is not later.
#[must_use]
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or(Duration::ZERO)
}

/// A moment in a time zone, without the date where it is today's.
#[must_use]
pub fn moment(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    let today = now.to_zoned(zone.clone()).date();
    let format = if at.date() == today { "%H:%M:%S %Z" } else { "%Y-%m-%d %H:%M %Z" };
    at.strftime(format).to_string()
}

/// A duration as people say it, in at most two units: `45s`, `14m`, `1h 5m`, `3d 4h`. Seconds are dropped from ten
/// minutes on.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: u64, unit: char, small: u64, part: char| {
        if small == 0 { format!("{}{unit}", number(big)) } else { format!("{}{unit} {small}{part}", number(big)) }
    };
    if seconds < 60 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, 'm', seconds % 60, 's')
    } else if hours < 1 {
        format!("{minutes}m")
    } else if days < 1 {
        two(hours, 'h', minutes % 60, 'm')
    } else {
        two(days, 'd', hours % 24, 'h')
    }
}

/// An estimate: rounded to what an estimate can know.
#[must_use]
pub fn estimate(estimate: Duration) -> String {
    let seconds = estimate.as_secs();
    let rounded = if seconds < 60 {
        seconds
    } else if seconds < 86_400 {
        seconds.saturating_add(30) / 60 * 60
    } else {
        seconds.saturating_add(1800) / 3600 * 3600
    };
    format!("about {}", duration(Duration::from_secs(rounded)))
}

/// A number with its thousands separated.
#[must_use]
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with its noun, whose plural ends in `s`.
#[must_use]
pub fn count(n: usize, noun: &str) -> String {
    format!("{} {noun}{}", number(n as u64), if n == 1 { "" } else { "s" })
}

/// The first of some names, and how many more there are.
#[must_use]
pub fn names<T: fmt::Display>(names: &[T], most: usize) -> String {
    let mut out = String::new();
    // Naming all but one and then "1 more" would take as much room as naming all.
    let shown = if names.len() <= most.saturating_add(1) { names.len() } else { most };
    for (index, name) in names.iter().take(shown).enumerate() {
        let separator = match index {
            0 => "",
            _ if index + 1 == names.len() => " and ",
            _ => ", ",
        };
        // Writing to a String cannot fail.
        let _ = write!(out, "{separator}{name}");
    }
    if shown < names.len() {
        let _ = write!(out, " and {} more", number((names.len() - shown) as u64));
    }
    out
}

/// Foreign text, safe and of bounded length. Without the blanks at its ends, which could make it look like ours.
#[must_use]
pub fn foreign(text: &Foreign) -> String {
    text.sanitised().shortened(FOREIGN_MAX).trim().to_owned()
}

/// What a step does, as it is done: progress.
#[must_use]
pub fn doing(verb: Verb) -> &'static str {
    match verb {
        Verb::Cordon => "cordoning",
        Verb::Drain => "draining",
        Verb::Reboot => "requesting the reboot",
        Verb::AwaitReady => "rebooting",
        Verb::Uncordon => "uncordoning",
    }
}

/// What a step is to do; fits after "failed to".
#[must_use]
pub fn to_do(verb: Verb) -> &'static str {
    match verb {
        Verb::Cordon => "cordon",
        Verb::Drain => "drain",
        Verb::Reboot => "reboot",
        Verb::AwaitReady => "come back after its reboot",
        Verb::Uncordon => "uncordon",
    }
}

/// What could not be read.
#[must_use]
pub fn gap_subject(subject: GapSubject) -> &'static str {
    match subject {
        GapSubject::Budgets => "disruption budgets",
        GapSubject::DaemonSets => "DaemonSets",
        GapSubject::Pods => "pods",
        GapSubject::Version => "the version of the API server",
        GapSubject::Identity => "the identity of the cluster",
        GapSubject::Lock => "the lock",
        GapSubject::Objects => "some objects",
        GapSubject::Etcd => "the members of etcd",
    }
}

/// How a budget stands that holds pods. With more healthy pods than it needs it has room by its own count: it then holds
/// them only until the disruption controller has taken in the last eviction, or a new spec.
#[must_use]
pub fn budget_standing(healthy: u32, expected: u32, desired: u32) -> String {
    if healthy > desired {
        return "not yet counted anew".to_owned();
    }
    format!("{healthy} of {expected} healthy, needs {desired}")
}

/// A place under a limit; fits after "a place".
#[must_use]
pub fn slot(slot: &Slot) -> String {
    match slot {
        Slot::Cluster => "in the cluster".to_owned(),
        Slot::Pool(table, pool) if pool.as_str().is_empty() => format!("under max_unavailable of reboot.{table}"),
        Slot::Pool(table, pool) => format!("in pool {pool} under max_unavailable of reboot.{table}"),
        Slot::Zone(table, zone) if zone.as_str().is_empty() => {
            format!("among nodes without a zone under max_unavailable_per_zone of reboot.{table}")
        }
        Slot::Zone(table, zone) => format!("in zone {zone} under max_unavailable_per_zone of reboot.{table}"),
        Slot::ControlPlane => "among the control-plane nodes, which go one at a time".to_owned(),
        Slot::Budget(budget) => format!("under disruption budget {budget}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (90, "1m 30s"),
            (600, "10m"),
            (899, "14m"),
            (3600, "1h"),
            (3900, "1h 5m"),
            (86_400, "1d"),
            (273_600, "3d 4h"),
            (u64::MAX, "213,503,982,334,601d 7h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(estimate(Duration::from_secs(831)), "about 14m");
        assert_eq!(estimate(Duration::MAX), "about 213,503,982,334,601d 7h");
    }

    #[test]
    fn numbers_and_names_are_readable() {
        assert_eq!(number(999), "999");
        assert_eq!(number(5_000), "5,000");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(names::<&str>(&[], 3), "");
        assert_eq!(names(&["a"], 3), "a");
        assert_eq!(names(&["a", "b"], 3), "a and b");
        assert_eq!(names(&["a", "b", "c", "d"], 3), "a, b, c and d");
        assert_eq!(names(&["a", "b", "c", "d", "e"], 3), "a, b, c and 2 more");
    }

    #[test]
    fn a_moment_of_another_day_has_its_date() {
        let now: Timestamp = "2026-11-23T13:00:00Z".parse().unwrap();
        let zone = TimeZone::get("Europe/Paris").unwrap();
        assert_eq!(moment(now, now, &zone), "14:00:00 CET");
        assert_eq!(moment("2026-07-01T22:30:00Z".parse().unwrap(), now, &zone), "2026-07-02 00:30 CEST");
    }
}
