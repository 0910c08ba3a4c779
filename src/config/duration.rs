//! Durations as the config writes them: `"90s"`, `"15m"`, `"1h30m"`, `"30d"`.
//!
//! The grammar: one or more whole numbers, each followed at once by its unit, the larger unit first and none twice.
//! The units are `d` (always 24 hours), `h`, `m` and `s`. There are no signs, fractions or spaces: a maintenance plan
//! needs no milliseconds, and months and weeks have no single length or no need.

use std::fmt::Write as _;
use std::time::Duration;

/// The units with their length in seconds, the largest first.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Why a text is no duration. The messages hold no text of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DurationFault {
    #[error("a number must come before each unit")]
    NoNumber,
    #[error("the unit is missing")]
    NoUnit,
    #[error("only whole numbers are allowed")]
    Fraction,
    #[error("spaces are not allowed")]
    Space,
    #[error("unknown unit")]
    UnknownUnit,
    #[error("the larger unit must come first, and none twice")]
    Order,
    #[error("too long to be meant")]
    TooLong,
}

/// Reads a duration of whole seconds.
pub(super) fn read(text: &str) -> Result<Duration, DurationFault> {
    let mut rest = text;
    let mut seconds = 0_u64;
    let mut units = UNITS.as_slice();
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let unit = after.chars().next();
        if unit.is_some_and(char::is_whitespace) || rest.starts_with(char::is_whitespace) {
            return Err(DurationFault::Space);
        }
        if matches!(unit, Some('.' | ',')) {
            return Err(DurationFault::Fraction);
        }
        if number.is_empty() {
            return Err(DurationFault::NoNumber);
        }
        let Some(unit) = unit else { return Err(DurationFault::NoUnit) };
        // "10min" and "5ms" begin with a unit, but mean another.
        let word = after.len() - after.trim_start_matches(char::is_alphabetic).len();
        if !UNITS.iter().any(|(name, _)| *name == unit) || word > 1 {
            return Err(DurationFault::UnknownUnit);
        }
        let Some(index) = units.iter().position(|(name, _)| *name == unit) else { return Err(DurationFault::Order) };
        let added = number.parse::<u64>().ok().and_then(|number| number.checked_mul(units[index].1));
        seconds = added.and_then(|added| seconds.checked_add(added)).ok_or(DurationFault::TooLong)?;
        units = &units[index + 1..];
        rest = &after[unit.len_utf8()..];
    }
    if text.is_empty() { Err(DurationFault::NoNumber) } else { Ok(Duration::from_secs(seconds)) }
}

/// A duration of whole seconds as the config writes it, with the largest units that are whole.
pub(super) fn show(duration: Duration) -> String {
    let mut seconds = duration.as_secs();
    if seconds == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, length) in UNITS {
        if seconds >= length {
            let _ = write!(out, "{}{unit}", seconds / length);
            seconds %= length;
        }
    }
    out
}

/// What was probably meant by a text that is no duration.
pub(super) fn suggestion(text: &str) -> Option<String> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase();
    let split = compact.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = compact.split_at(split);
    if number.is_empty() || number.len() > 9 {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "s" | "sec" | "secs" | "second" | "seconds" => number,
        "m" | "min" | "mins" | "minute" | "minutes" => number * 60,
        "h" | "hr" | "hrs" | "hour" | "hours" => number * 3_600,
        "d" | "day" | "days" => number * 86_400,
        "w" | "week" | "weeks" => number * 7 * 86_400,
        _ => {
            // "1.5h": the fraction of the unit in whole seconds.
            let (fraction, unit) = unit.strip_prefix('.')?.split_at_checked(1)?;
            let length = UNITS.iter().find(|(name, _)| unit.chars().eq([*name]))?.1;
            number * length + fraction.parse::<u64>().ok()? * length / 10
        }
    };
    Some(show(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use DurationFault as F;

    #[test]
    fn the_grammar_is_small() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("30d", 2_592_000), ("1h30m", 5_400), ("1d1h1m1s", 90_061)] {
            assert_eq!(read(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for (text, fault) in [
            ("", F::NoNumber),
            ("m", F::NoNumber),
            ("-5m", F::NoNumber),
            ("10", F::NoUnit),
            ("1h30", F::NoUnit),
            ("1.5h", F::Fraction),
            ("5 m", F::Space),
            (" 5m", F::Space),
            ("5m ", F::Space),
            ("10min", F::UnknownUnit),
            ("5ms", F::UnknownUnit),
            ("1w", F::UnknownUnit),
            ("5M", F::UnknownUnit),
            ("5µ", F::UnknownUnit),
            ("1m1h", F::Order),
            ("1m1m", F::Order),
            ("99999999999999999999s", F::TooLong),
            ("999999999999999999d", F::TooLong),
        ] {
            assert_eq!(read(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn slips_are_understood() {
        for (text, meant) in [("10 min", "10m"), ("1w", "7d"), ("1.5h", "1h30m"), ("5M", "5m"), ("90seconds", "1m30s")]
        {
            assert_eq!(suggestion(text).as_deref(), Some(meant), "{text}");
        }
        assert_eq!(suggestion("soon"), None);
        assert_eq!(suggestion("10é"), None);
        assert_eq!(suggestion("1.é"), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(seconds in 0_u64..4_000_000_000) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(read(&show(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = read(&text);
            let _ = suggestion(&text);
        }
    }
}
