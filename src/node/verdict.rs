//! What a Node object says to the process that waits to reboot its node.

use jiff::Timestamp;

use super::RebootArgs;
use crate::model::{BootId, Cordon, Node, Phase, RunId, Uid};

/// Why a process that could have rebooted its node never will. Reads after "because".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disarmed {
    /// There is no such Node object.
    #[error("its Node object is gone")]
    NodeGone,
    /// Its Node object is being deleted.
    #[error("its Node object is being deleted")]
    NodeEnding,
    /// Another Node object has the name now.
    #[error("its Node object has UID {found}, not the one of the plan")]
    OtherNode {
        /// The UID found.
        found: Uid,
    },
    /// The Node object speaks of another boot.
    #[error("its Node object names another boot id{}", .found.as_ref().map(|id| format!(", {id}")).unwrap_or_default())]
    OtherBoot {
        /// The boot id found; `None` where the kubelet has not said.
        found: Option<BootId>,
    },
    /// The node takes new pods.
    #[error("the node is not cordoned")]
    NotCordoned,
    /// The cordon is somebody else's.
    #[error("the cordon on the node is not haulout's")]
    ForeignCordon,
    /// The cordon is that of another run.
    #[error("the cordon on the node is that of run {found}")]
    OtherRun {
        /// That run.
        found: RunId,
    },
    /// The run is past the reboot.
    #[error("the run says that the node has returned already")]
    PastReboot,
    /// The moment after which nothing is done has passed.
    #[error("the time for it ended at {not_after}")]
    Expired {
        /// That moment.
        not_after: Timestamp,
    },
}

/// What to do after a look at the Node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything matches but the phase: look again later.
    Wait,
    /// Everything matches: reboot.
    Fire,
    /// Something does not match that will not match again by itself. It is better to end, so that the run sees at
    /// once that nothing is armed, than to lie in wait for a state that somebody else may bring about.
    Never(Disarmed),
}

/// Judges one fresh reading of the Node. All of phase, run, UID, boot id and cordon must match, and time must be left.
pub(super) fn judge(node: Option<&Node>, args: &RebootArgs, now: Timestamp) -> Verdict {
    match find_mismatch(node, args, now) {
        Err(why) => Verdict::Never(why),
        Ok(phase) => match phase {
            Some(Phase::Reboot) => Verdict::Fire,
            Some(Phase::Returned) => Verdict::Never(Disarmed::PastReboot),
            Some(Phase::Cordoned | Phase::Armed | Phase::Drained) | None => Verdict::Wait,
        },
    }
}

fn find_mismatch(node: Option<&Node>, args: &RebootArgs, now: Timestamp) -> Result<Option<Phase>, Disarmed> {
    if now > args.not_after {
        return Err(Disarmed::Expired { not_after: args.not_after });
    }
    let node = node.ok_or(Disarmed::NodeGone)?;
    if node.uid != args.node_uid {
        return Err(Disarmed::OtherNode { found: node.uid.clone() });
    }
    if node.terminating {
        return Err(Disarmed::NodeEnding);
    }
    if node.boot_id.as_ref() != Some(&args.boot_id) {
        return Err(Disarmed::OtherBoot { found: node.boot_id.clone() });
    }
    let mark = match &node.cordon {
        Some(Cordon::Marked(mark)) => mark,
        Some(Cordon::Foreign { .. }) => return Err(Disarmed::ForeignCordon),
        None => return Err(Disarmed::NotCordoned),
    };
    if mark.run != args.run {
        return Err(Disarmed::OtherRun { found: mark.run.clone() });
    }
    Ok(mark.phase)
}

#[cfg(test)]
mod tests {
    use super::super::reboot::tests::{args, mark, node};
    use super::*;
    use crate::model::Foreign;

    /// What the verdict is on a Node that matches in all but what `change` does to it.
    fn after(change: impl FnOnce(&mut Node)) -> Verdict {
        let mut node = node();
        change(&mut node);
        judge(Some(&node), &args(), Timestamp::UNIX_EPOCH)
    }

    fn remark(node: &mut Node, change: impl FnOnce(&mut crate::model::Mark)) {
        let mut mark = mark();
        change(&mut mark);
        node.mark = Some(mark.clone());
        node.cordon = Some(Cordon::Marked(mark));
    }

    #[test]
    fn it_fires_only_when_everything_matches() {
        assert_eq!(after(|_| {}), Verdict::Fire);
    }

    #[test]
    fn every_phase_but_one_waits_or_ends() {
        let phase = |phase| after(|node| remark(node, |mark| mark.phase = phase));
        for waiting in [None, Some(Phase::Cordoned), Some(Phase::Armed), Some(Phase::Drained)] {
            assert_eq!(phase(waiting), Verdict::Wait, "{waiting:?}");
        }
        assert_eq!(phase(Some(Phase::Reboot)), Verdict::Fire);
        assert_eq!(phase(Some(Phase::Returned)), Verdict::Never(Disarmed::PastReboot));
    }

    #[test]
    fn every_mismatch_ends_it() {
        let other_boot = BootId::new("another-boot").unwrap();
        let other_run = RunId::new("another-run").unwrap();
        let other_uid = Uid::new("another-uid").unwrap();
        let foreign = |mark| Cordon::Foreign { manager: Some(Foreign::new("kubectl-cordon")), since: None, mark };
        let table: [(&str, Verdict, Disarmed); 8] = [
            ("uid", after(|node| node.uid = other_uid.clone()), Disarmed::OtherNode { found: other_uid.clone() }),
            (
                "boot id",
                after(|node| node.boot_id = Some(other_boot.clone())),
                Disarmed::OtherBoot { found: Some(other_boot.clone()) },
            ),
            ("no boot id", after(|node| node.boot_id = None), Disarmed::OtherBoot { found: None }),
            ("terminating", after(|node| node.terminating = true), Disarmed::NodeEnding),
            // The marks alone do not count: somebody who uncordons by hand leaves them.
            ("uncordoned", after(|node| node.cordon = None), Disarmed::NotCordoned),
            ("foreign cordon", after(|node| node.cordon = Some(foreign(None))), Disarmed::ForeignCordon),
            (
                "foreign cordon over our mark",
                after(|node| node.cordon = Some(foreign(Some(mark())))),
                Disarmed::ForeignCordon,
            ),
            (
                "run",
                after(|node| remark(node, |mark| mark.run = other_run.clone())),
                Disarmed::OtherRun { found: other_run.clone() },
            ),
        ];
        for (case, verdict, expected) in table {
            assert_eq!(verdict, Verdict::Never(expected), "{case}");
        }
        assert_eq!(judge(None, &args(), Timestamp::UNIX_EPOCH), Verdict::Never(Disarmed::NodeGone));
    }

    #[test]
    fn the_last_moment_counts_and_the_next_does_not() {
        let args = args();
        assert_eq!(judge(Some(&node()), &args, args.not_after), Verdict::Fire);
        let late = args.not_after.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap();
        let expired = Disarmed::Expired { not_after: args.not_after };
        assert_eq!(judge(Some(&node()), &args, late), Verdict::Never(expired));
    }
}
