//! How bad the net and the server are.

use jiff::{SignedDuration, Timestamp};

use super::chance::Chance;
use super::scene;

/// How bad it is; rates are per thousand requests.
#[derive(Debug, Clone, Default)]
pub(super) struct Weather {
    pub(super) lost: u64,
    pub(super) refused: u64,
    pub(super) reads_fail: u64,
    pub(super) watches_drop: u64,
    /// Evictions that a webhook denies.
    pub(super) denied: u64,
    /// Reads that are answered with how it was before.
    pub(super) stale: u64,
    /// The longest delay of a request or an answer, in milliseconds.
    pub(super) slow: u64,
    /// From when to when nobody answers.
    pub(super) away: Option<(Timestamp, Timestamp)>,
}

impl Weather {
    pub(super) fn by(chance: &mut Chance) -> Self {
        let mut rate = |most: u64| if chance.per_mille(500) { chance.from(0, most) } else { 0 };
        let mut weather = Self {
            lost: rate(60),
            refused: rate(80),
            reads_fail: rate(60),
            watches_drop: rate(30),
            denied: rate(60),
            stale: rate(30),
            slow: rate(400),
            away: None,
        };
        if chance.per_mille(200) {
            let from = scene::start() + SignedDuration::from_secs(i64::try_from(chance.from(5, 200)).unwrap());
            let to = from + SignedDuration::from_secs(i64::try_from(chance.from(5, 90)).unwrap());
            weather.away = Some((from, to));
        }
        weather
    }

    /// Whether somebody may not hear for a while of what happens.
    pub(super) fn deafens(&self) -> bool {
        self.watches_drop > 0 || self.stale > 0 || self.away.is_some()
    }
}
