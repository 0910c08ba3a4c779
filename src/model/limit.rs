//! How many nodes may be out at the same time.

use std::fmt;

/// A number of nodes, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// So many nodes.
    Count(u32),
    /// So many percent of the nodes, from 1 to 100.
    Percent(u8),
}

impl Limit {
    /// The limit where the config gives none: one node at a time.
    pub const ONE: Self = Self::Count(1);

    /// How many of `total` nodes the limit allows. A share is rounded down, but is at least 1: a limit that allows
    /// nothing would only ever mean that nothing is done.
    #[must_use]
    pub fn of(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => {
                let share = u64::from(total) * u64::from(percent) / 100;
                // A percentage over 100 cannot be made by the config; saturating keeps the function total.
                u32::try_from(share).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_share_is_rounded_down_but_never_to_nothing() {
        assert_eq!(Limit::Percent(10).of(29), 2);
        assert_eq!(Limit::Percent(10).of(9), 1);
        assert_eq!(Limit::Percent(10).of(0), 1);
        assert_eq!(Limit::Percent(100).of(12), 12);
        assert_eq!(Limit::Percent(255).of(u32::MAX), u32::MAX);
        assert_eq!(Limit::Count(3).of(2), 3);
    }

    proptest! {
        #[test]
        fn more_nodes_never_allow_fewer(percent in 1_u8..=100, total in 0_u32..1_000_000) {
            let limit = Limit::Percent(percent);
            prop_assert!(limit.of(total) <= limit.of(total + 1));
            prop_assert!(limit.of(total) <= total.max(1));
        }
    }
}
