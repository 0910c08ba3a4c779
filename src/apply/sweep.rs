//! Removing the reboot pods of a dead run, wherever they are, before anything else is done.

use std::collections::BTreeSet;
use std::time::Duration;

use super::lock::{Lock, LockLost};
use crate::journal::{Journal, JournalError};
use crate::model::{Advice, Explain, Kind, NodeName, RunId, reboot_pod_name};
use crate::provider::{ActError, ClusterActs, ReadError, RebootPodState, Refusal, clock};
use crate::run::Intent;

/// The longest wait for one pod to be gone: its grace and then some.
const POD_TIMEOUT: Duration = Duration::from_secs(2 * 60);
/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A pod of a dead run that could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The lock was lost meanwhile.
    #[error("hold the lock")]
    Lock(#[source] LockLost),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The pod cannot be deleted.
    #[error("delete the reboot pod of node {node}")]
    Delete {
        /// The node.
        node: NodeName,
        /// What went wrong.
        #[source]
        source: Box<ActError>,
    },
    /// Whether it is gone cannot be read.
    #[error("see the reboot pod of node {node} gone")]
    Read {
        /// The node.
        node: NodeName,
        /// What went wrong.
        #[source]
        source: ReadError,
    },
    /// It does not end.
    #[error("see the reboot pod of node {node} gone: it does not end")]
    Stays {
        /// The node.
        node: NodeName,
        /// The run that made it.
        run: RunId,
    },
}

impl Explain for SweepError {
    fn kind(&self) -> Kind {
        Kind::Outside
    }

    fn advice(&self) -> Option<Advice> {
        match self {
            SweepError::Lock(_) => Some(Advice::new("check who holds the lock now")),
            SweepError::Journal(error) => error.advice(),
            SweepError::Delete { .. } => {
                Some(Advice::new("give this identity the right to delete pods in namespace haulout-system"))
            }
            SweepError::Read { source, .. } => source.advice(),
            SweepError::Stays { node, run } => {
                Some(Advice::new(format!("see what keeps pod haulout-system/{}", reboot_pod_name(node, run))))
            }
        }
    }
}

/// Removes reboot pods and confirms that each is gone.
pub(super) async fn remove(
    acts: &dyn ClusterActs,
    lock: &Lock,
    journal: &Journal,
    pods: &BTreeSet<(NodeName, RunId)>,
) -> Result<(), SweepError> {
    for (node, run) in pods {
        let until = clock::monotonic() + POD_TIMEOUT;
        let mut told = false;
        loop {
            let read = acts.reboot_pod(node, run).await;
            let over = clock::monotonic() >= until;
            match read {
                Ok(RebootPodState::Absent) => break,
                Ok(_) if over => return Err(SweepError::Stays { node: node.clone(), run: run.clone() }),
                Ok(_) if told => {}
                Ok(_) => {
                    lock.check().map_err(SweepError::Lock)?;
                    let permit = journal.intend(None, Intent::DeleteRebootPod).await?;
                    match acts.delete_reboot_pod(permit, node, run).await {
                        Ok(()) | Err(ActError::Refused { refusal: Refusal::NotFound, .. }) => told = true,
                        // It may have been deleted, or may be later: the next look tells.
                        Err(ActError::Unclear { .. })
                        | Err(ActError::Refused {
                            refusal: Refusal::Throttled { .. } | Refusal::TryAgain { .. },
                            ..
                        }) => {}
                        Err(source) => return Err(SweepError::Delete { node: node.clone(), source: Box::new(source) }),
                    }
                }
                Err(source) if over => return Err(SweepError::Read { node: node.clone(), source }),
                Err(_) => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}
