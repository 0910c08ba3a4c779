//! Whose marks may be taken over: those of a dead run of the same config, where what it has begun can be proved.

use jiff::Timestamp;

use super::{Adoption, Standing};
use crate::model::{Cordon, Foreign, GapSubject, Mark, Node, Snapshot};

/// What becomes of a node that a run has marked and not finished.
pub(super) enum Left<'a> {
    /// Its run is dead and of this config, so that it can be finished.
    Adoptable(Adoption),
    /// It has to be left alone.
    Untouchable(&'a Mark, Standing),
}

/// The unfinished mark on a node, if there is one, and what it means. A cordon of somebody else's over the mark of a
/// dead run is theirs; then the mark says nothing any more.
pub(super) fn left<'a>(config: &Foreign, snapshot: &Snapshot, now: Timestamp, node: &'a Node) -> Option<Left<'a>> {
    let (mark, cordoned) = match &node.cordon {
        Some(Cordon::Marked(mark)) => (mark, true),
        Some(Cordon::Foreign { mark, .. }) => {
            let mark = mark.as_ref().filter(|mark| mark.phase.is_some())?;
            let standing = standing(config, snapshot, now, mark)?;
            return matches!(standing, Standing::Live | Standing::LockUnknown)
                .then_some(Left::Untouchable(mark, standing));
        }
        // Somebody uncordoned it; marks without a phase are then nothing that anybody works on.
        None => (node.mark.as_ref().filter(|mark| mark.phase.is_some())?, false),
    };
    if mark.is_settled() {
        return None;
    }
    if let Some(standing) = standing(config, snapshot, now, mark) {
        return Some(Left::Untouchable(mark, standing));
    }
    if mark.is_requested() && cordoned && mark.reboots.is_none() {
        return Some(Left::Untouchable(mark, Standing::BootUnknown));
    }
    Some(Left::Adoptable(Adoption {
        run: mark.run.clone(),
        phase: mark.phase,
        since: mark.since,
        table: mark.table.clone(),
        reboots: mark.reboots.clone(),
        cordoned,
    }))
}

/// Why the run behind a mark is not one to take over from; `None` where it is.
fn standing(config: &Foreign, snapshot: &Snapshot, now: Timestamp, mark: &Mark) -> Option<Standing> {
    if snapshot.has_gap(GapSubject::Lock) {
        Some(Standing::LockUnknown)
    } else if snapshot.may_be_live(&mark.run, now) {
        Some(Standing::Live)
    } else if mark.config != *config {
        Some(Standing::OtherConfig)
    } else {
        None
    }
}
