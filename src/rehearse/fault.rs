//! What can be made to go wrong.

use std::fmt;
use std::str::FromStr;

/// Something that goes wrong in a rehearsal, for so many nodes of the plan, the first that are offered a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// So many nodes go down for their reboot and never come back.
    NodeNeverReturns(u32),
    /// So many nodes take three times as long to boot as expected.
    NodeSlow(u32),
    /// On so many nodes one pod never ends, because a finalizer holds it.
    PodNeverEnds(u32),
    /// On so many nodes an admission webhook denies the eviction of one pod, for ever.
    EvictionDenied(u32),
}

/// The faults by name, with what each does.
pub const FAULTS: [(&str, &str); 4] = [
    ("node-never-returns", "so many nodes go down and never come back"),
    ("node-slow", "so many nodes boot three times as long as expected"),
    ("pod-never-ends", "on so many nodes a finalizer holds one pod for ever"),
    ("eviction-denied", "on so many nodes a webhook denies the eviction of one pod for ever"),
];

/// A text that is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fault is NAME=NUMBER, with one of these names: {}", Names)]
pub struct InvalidFault;

struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&FAULTS.map(|(name, _)| name).join(", "))
    }
}

impl FromStr for Fault {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let (name, number) = text.split_once('=').ok_or(InvalidFault)?;
        let number = number.parse().map_err(|_| InvalidFault)?;
        match name {
            "node-never-returns" => Ok(Fault::NodeNeverReturns(number)),
            "node-slow" => Ok(Fault::NodeSlow(number)),
            "pod-never-ends" => Ok(Fault::PodNeverEnds(number)),
            "eviction-denied" => Ok(Fault::EvictionDenied(number)),
            _ => Err(InvalidFault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_and_nothing_else_is_one() {
        for (name, _) in FAULTS {
            assert!(format!("{name}=2").parse::<Fault>().is_ok(), "{name}");
        }
        for bad in ["", "node-slow", "node-slow=", "node-slow=-1", "node-slow=x", "rain=1"] {
            assert_eq!(bad.parse::<Fault>(), Err(InvalidFault), "{bad}");
        }
    }
}
