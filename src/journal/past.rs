//! What the journal of a run says it did, read back after its process has ended, however that ended.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::file::segments;
use crate::format;
use crate::model::{ClusterName, Foreign, NodeName};
use crate::run::{Conclusion, Event, EventKind, Intent};

/// The past of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// The config that it belongs to; `None` where not even its first line is whole.
    pub config: Option<Foreign>,
    /// The number of its last event.
    pub last: u64,
    /// Whether it began any step.
    pub began: bool,
    /// How many locks it took and did not give back.
    pub locks: usize,
    /// How it ended, where it did; not where it was taken up again since.
    pub conclusion: Option<Conclusion>,
    /// The nodes of which it announced the request to reboot them. Whether that was sent, only the cluster can say.
    pub requested: BTreeSet<(ClusterName, NodeName)>,
}

impl Past {
    /// Reads all segments of a run's folder. A line that is torn ends its segment: a process dies at any byte, and what
    /// it had not finished writing it had not begun to do.
    ///
    /// # Errors
    /// Whatever the file system says; never what the lines say.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let mut past = Self::default();
        for segment in segments(folder)? {
            let bytes = std::fs::read(segment)?;
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                let Some(line) = line.strip_suffix(b"\n") else { break };
                let Ok(event) = format::run::read(line) else { break };
                past.take(event);
            }
        }
        Ok(past)
    }

    fn take(&mut self, event: Event) {
        self.last = self.last.max(event.seq);
        match event.kind {
            EventKind::RunStarted { config, .. } => {
                self.config = Some(config);
                self.conclusion = None;
                self.locks = 0;
            }
            EventKind::StepStarted { .. } => self.began = true,
            EventKind::LockTaken { .. } => self.locks += 1,
            EventKind::LockReleased { .. } => self.locks = self.locks.saturating_sub(1),
            EventKind::Intended { step: Some(step), intent: Intent::TriggerReboot { .. } } => {
                self.requested.insert((step.cluster, step.node));
            }
            EventKind::RunFinished { conclusion } => self.conclusion = Some(conclusion),
            EventKind::Intended { .. }
            | EventKind::StepWaiting { .. }
            | EventKind::StepProgress { .. }
            | EventKind::StepNote { .. }
            | EventKind::StepSucceeded { .. }
            | EventKind::StepFailed { .. }
            | EventKind::StepSkipped { .. }
            | EventKind::ClusterHalted { .. }
            | EventKind::Interrupted => {}
        }
    }

    /// Whether there is something to go on with: it was killed or interrupted after it had begun.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        (self.began || self.locks > 0) && matches!(self.conclusion, None | Some(Conclusion::Interrupted))
    }
}
