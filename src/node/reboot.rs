//! The process that reboots its node when the Node object says so: the other end of the reboot pod.
//!
//! It cannot be told anything but through its Node, and it trusts no single look: what it saw is read again right
//! before it acts. In doubt it ends without acting, because a node that was not rebooted is a line in a report and a
//! node that was rebooted under its pods is an outage.
//!
//! It installs no handler for signals. Whoever deletes its pod ends it at once, at any point, and there is nothing to
//! clean up.

use jiff::Timestamp;
use std::time::Duration;

use super::verdict::{Disarmed, Verdict, judge};
use super::{Host, HostError};
use crate::model::{Advice, BootId, Explain, Kind, Node, NodeName, RebootMethod, RunId, Uid};
use crate::provider::{ClusterReads, ReadError, clock};

/// How long it waits between two looks at its Node.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// It ends when it could not read its Node for this long.
const BLIND_LIMIT: Duration = Duration::from_secs(60);
/// The longest that a server's wish to be left alone is heeded; less than [`BLIND_LIMIT`], so that another look is had.
const HEED_LIMIT: Duration = Duration::from_secs(20);
/// A last look counts only if it was answered within this time: an older answer may be about another world.
const LAST_LOOK_LIMIT: Duration = Duration::from_secs(5);
/// A machine that is still up so long after the request did not follow it. systemd gives each unit 90 s to stop.
const DOWN_LIMIT: Duration = Duration::from_secs(10 * 60);

/// What the process that reboots a node is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebootArgs {
    /// The node that it runs on.
    pub node: NodeName,
    /// The UID of its Node object.
    pub node_uid: Uid,
    /// The boot that it may end.
    pub boot_id: BootId,
    /// The run that may ask for it.
    pub run: RunId,
    /// Nothing is done after this moment.
    pub not_after: Timestamp,
    /// How it reboots.
    pub method: RebootMethod,
}

/// How the process can end well. A reboot that works ends the process before it could say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The machine has booted since the pod was made: a pod that starts late, after the reboot, must not do another.
    AlreadyRebooted {
        /// The boot id now.
        boot_id: BootId,
    },
}

/// A reboot that did not come about. Fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum RebootError {
    /// The machine could not be asked, or not be made ready to be asked.
    #[error("prepare the reboot of node {node}")]
    Prepare {
        /// The node.
        node: NodeName,
        /// Why not.
        #[source]
        source: HostError,
    },
    /// It will not be done, by what the Node object says; nothing happened.
    #[error("reboot node {node}, because {why}")]
    Disarmed {
        /// The node.
        node: NodeName,
        /// What does not match.
        why: Disarmed,
    },
    /// The Node object could not be read for too long; nothing happened.
    #[error("watch node {node} for the request to reboot it: it could not be read for {} s", .seconds)]
    Blind {
        /// The node.
        node: NodeName,
        /// For how long.
        seconds: u64,
        /// What the last try met.
        #[source]
        source: ReadError,
    },
    /// The machine refused; nothing happened.
    #[error("reboot node {node}")]
    Refused {
        /// The node.
        node: NodeName,
        /// Why.
        #[source]
        source: HostError,
    },
    /// The machine was asked and is still up.
    #[error("reboot node {node}: it was asked to and is still up after {} s", .seconds)]
    StillUp {
        /// The node.
        node: NodeName,
        /// How long after the request.
        seconds: u64,
        /// How it was asked.
        method: RebootMethod,
    },
}

impl Explain for RebootError {
    fn kind(&self) -> Kind {
        Kind::Outside
    }

    fn advice(&self) -> Option<Advice> {
        match self {
            RebootError::Prepare { source, .. } | RebootError::Refused { source, .. } => source.advice(),
            RebootError::Disarmed { .. } => {
                Some(Advice::new("nothing is left to do here: the run that made this pod sees that it ended"))
            }
            RebootError::Blind { source, .. } => source.advice(),
            RebootError::StillUp { method, .. } => Some(Advice::new(match method {
                RebootMethod::Signal => {
                    "check that PID 1 of the node is systemd, or use method = \"command\"; `journalctl -b` on the node says what holds the shutdown up"
                }
                RebootMethod::Command => {
                    "see `systemctl list-jobs` and `journalctl -b` on the node for what holds the shutdown up"
                }
            })),
        }
    }
}

/// Waits until the Node says that it is to be rebooted, and reboots it. `reads` is asked for nothing but the Node.
///
/// # Errors
/// [`RebootError`] in every case in which the machine does not go down.
pub async fn reboot(reads: &dyn ClusterReads, host: &dyn Host, args: RebootArgs) -> Result<Ended, RebootError> {
    let prepare = |source| RebootError::Prepare { node: args.node.clone(), source };
    let boot_id = host.boot_id().map_err(prepare)?;
    if boot_id != args.boot_id {
        return Ok(Ended::AlreadyRebooted { boot_id });
    }
    let mut armed = false;
    let mut last_read = clock::monotonic();
    loop {
        let mut pause = LOOK_EVERY;
        match reads.node(&args.node).await {
            Ok(node) => {
                last_read = clock::monotonic();
                let requested = is_requested(node.as_ref(), &args)?;
                if !armed {
                    // Only now: whoever sees it armed begins to evict, and must be able to rely on its reading its
                    // Node and on the Node being the one that it was made for.
                    host.arm().map_err(prepare)?;
                    armed = true;
                }
                if requested && is_requested_still(reads, &args).await? {
                    return Err(fire(host, &args).await);
                }
            }
            Err(source) => {
                pause = pause.max(source.retry_after.unwrap_or_default().min(HEED_LIMIT));
                let blind = clock::monotonic().duration_since(last_read);
                if blind >= BLIND_LIMIT {
                    return Err(RebootError::Blind { node: args.node, seconds: blind.as_secs(), source });
                }
            }
        }
        if clock::now() > args.not_after {
            let why = Disarmed::Expired { not_after: args.not_after };
            return Err(RebootError::Disarmed { node: args.node, why });
        }
        tokio::time::sleep(pause).await;
    }
}

fn is_requested(node: Option<&Node>, args: &RebootArgs) -> Result<bool, RebootError> {
    match judge(node, args, clock::now()) {
        Verdict::Wait => Ok(false),
        Verdict::Fire => Ok(true),
        Verdict::Never(why) => Err(RebootError::Disarmed { node: args.node.clone(), why }),
    }
}

/// The last look, right before acting. One that fails or takes long leaves the question open: the next round asks it
/// again from the start.
async fn is_requested_still(reads: &dyn ClusterReads, args: &RebootArgs) -> Result<bool, RebootError> {
    match tokio::time::timeout(LAST_LOOK_LIMIT, reads.node(&args.node)).await {
        Ok(Ok(node)) => is_requested(node.as_ref(), args),
        Ok(Err(_)) | Err(_) => Ok(false),
    }
}

/// Asks the machine to reboot, once, and waits for the end. That this returns at all is a failure.
async fn fire(host: &dyn Host, args: &RebootArgs) -> RebootError {
    let asked = match args.method {
        RebootMethod::Signal => host.signal(),
        RebootMethod::Command => host.command().await,
    };
    if let Err(source) = asked {
        return RebootError::Refused { node: args.node.clone(), source };
    }
    tokio::time::sleep(DOWN_LIMIT).await;
    RebootError::StillUp { node: args.node.clone(), seconds: DOWN_LIMIT.as_secs(), method: args.method }
}

#[cfg(test)]
pub(super) mod tests;
