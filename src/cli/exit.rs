//! The exit codes, a public interface, chosen here and nowhere else.

use crate::model::Kind;

/// How haulout ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// `plan`: planned; with `--detailed-exitcode`: proved that nothing is to do. `apply`: nothing is left to do.
    Ok,
    /// An error; `validate`, `doctor` or `rehearse` found a problem; the prompt was declined.
    Error,
    /// `plan --detailed-exitcode`: something is to do, blocked or unknown.
    Changes,
    /// `fmt --check` differs.
    Differs,
    /// `apply`: nothing could be done, what is wanted is blocked or unknown.
    NothingPossible,
    /// The lock is held.
    Locked,
    /// Interrupted.
    Interrupted,
    /// Finished, some steps failed or were skipped.
    Partial,
    /// All that was planned is done, but something wanted remains: blocked, unknown or new.
    Remains,
    /// Wrong usage.
    Usage,
}

impl Exit {
    /// The code. 6 belongs to plans that are stale, which this version has no way to hold.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Error => 1,
            Exit::Changes => 2,
            Exit::Differs => 3,
            Exit::NothingPossible => 4,
            Exit::Locked => 5,
            Exit::Interrupted => 7,
            Exit::Partial => 8,
            Exit::Remains => 9,
            // sysexits.h: EX_USAGE. Not 2, which is what clap would take: 2 says that something is to do.
            Exit::Usage => 64,
        }
    }

    /// The code of an error of this kind.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Locked => Exit::Locked,
            Kind::Input | Kind::Outside | Kind::Bug => Exit::Error,
        }
    }
}
