//! The agent: looks at its node again and again, and writes what it sees into the annotations of the Node.

use jiff::SignedDuration;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::finding::{ExamineError, Places, examine};
use crate::model::NodeName;
use crate::provider::{ActError, NodeReports, ReportWrite, clock};

/// A report is written again after this long though nothing changed: one older than a day counts for nothing.
const REFRESH: Duration = Duration::from_secs(6 * 60 * 60);
/// How long after the first failed write the next is tried; twice as long after each further one.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// The longest time between two tries.
const RETRY_LAST: Duration = Duration::from_secs(5 * 60);
/// The boot time is the kernel's wall clock less its uptime, so it moves when the clock is set. Less than this is no
/// other boot time, and not worth a write.
const CLOCK_PLAY: SignedDuration = SignedDuration::from_secs(60);

/// What the agent is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentArgs {
    /// The node that it runs on.
    pub node: NodeName,
    /// Where it looks.
    pub places: Places,
    /// How often it looks.
    pub interval: Duration,
}

/// What the agent has to say; its pod's log is the place for it.
#[derive(Debug)]
pub enum AgentNews<'a> {
    /// A report was written.
    Written(&'a ReportWrite),
    /// A report could not be written; it is tried again after this time.
    NotWritten(&'a ActError, Duration),
    /// The node could not be looked at; it is looked at again after this time. The last report stays, and ages.
    NotExamined(&'a ExamineError, Duration),
}

/// What was written last, and when by both clocks: the monotonic one stands still while the machine sleeps, and the
/// other can be set back.
struct Last {
    report: ReportWrite,
    at: Instant,
}

impl Last {
    fn holds(&self, seen: &ReportWrite, now: Instant) -> bool {
        let by_wall = seen.reported_at.duration_since(self.report.reported_at);
        let fresh = now.duration_since(self.at) < REFRESH
            && SignedDuration::try_from(REFRESH).is_ok_and(|refresh| by_wall < refresh);
        fresh && says_the_same(&self.report, seen)
    }
}

fn says_the_same(a: &ReportWrite, b: &ReportWrite) -> bool {
    // Taken apart, so that a new field cannot be forgotten here. When it was reported is what does not count.
    let ReportWrite { reboot, boot_id, booted_at, reported_at: _ } = a;
    *reboot == b.reboot && *boot_id == b.boot_id && booted_at.duration_since(b.booted_at).abs() < CLOCK_PLAY
}

/// Reports until it is cancelled. Reports what it finds at once, then whenever that changes, and every 6 hours. No
/// failure ends it: an agent that is restarted by its kubelet would know no more.
pub async fn agent(
    writes: &dyn NodeReports,
    args: &AgentArgs,
    stop: &CancellationToken,
    mut news: impl FnMut(AgentNews<'_>) + Send,
) {
    let mut last: Option<Last> = None;
    let mut failures = 0;
    while !stop.is_cancelled() {
        let pause = match examine(&args.places, clock::now()) {
            Err(error) => {
                news(AgentNews::NotExamined(&error, args.interval));
                args.interval
            }
            Ok(seen) if last.as_ref().is_some_and(|last| last.holds(&seen, clock::monotonic())) => {
                failures = 0;
                args.interval
            }
            Ok(seen) => match writes.write_report(&args.node, &seen).await {
                Ok(()) => {
                    failures = 0;
                    news(AgentNews::Written(&seen));
                    last = Some(Last { report: seen, at: clock::monotonic() });
                    args.interval
                }
                Err(error) => {
                    let pause = back_off(failures, &args.node);
                    failures += 1;
                    news(AgentNews::NotWritten(&error, pause));
                    pause
                }
            },
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Twice as long each time, and up to a half more by the node's name: the agents of a whole cluster lose their API
/// server at the same moment, and should not all come back at the same moment.
fn back_off(failures: u32, node: &NodeName) -> Duration {
    let step = RETRY_FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(RETRY_LAST);
    let spread =
        node.as_str().bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % 1000;
    step + step.saturating_mul(spread) / 2000
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use jiff::Timestamp;
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::super::finding::tests::HostFiles;
    use super::*;
    use crate::model::{Foreign, ReportedReboot};
    use crate::provider::Refusal;

    /// An API server that keeps what is written, and refuses as often as it is told to.
    #[derive(Default)]
    struct Kept {
        refusals: Mutex<VecDeque<Refusal>>,
        tries: Mutex<Vec<Instant>>,
        written: Mutex<Vec<ReportWrite>>,
    }

    #[async_trait]
    impl NodeReports for Kept {
        async fn write_report(&self, node: &NodeName, report: &ReportWrite) -> Result<(), ActError> {
            self.tries.lock().unwrap().push(clock::monotonic());
            if let Some(refusal) = self.refusals.lock().unwrap().pop_front() {
                return Err(ActError::Refused { operation: format!("write the report of node {node}"), refusal });
            }
            self.written.lock().unwrap().push(report.clone());
            Ok(())
        }
    }

    impl Kept {
        fn count(&self) -> usize {
            self.written.lock().unwrap().len()
        }
        fn last(&self) -> ReportWrite {
            self.written.lock().unwrap().last().unwrap().clone()
        }
    }

    fn args(files: &HostFiles) -> AgentArgs {
        AgentArgs {
            node: NodeName::new("np1-3").unwrap(),
            places: files.places.clone(),
            interval: Duration::from_secs(60),
        }
    }

    /// Runs the agent beside a scene, which ends it.
    async fn beside(files: &HostFiles, kept: &Kept, scene: impl Future<Output = ()>) -> Vec<String> {
        let mut said = Vec::new();
        let (stop, args) = (CancellationToken::new(), args(files));
        let running = agent(kept, &args, &stop, |news| {
            said.push(match news {
                AgentNews::Written(_) => "written".to_owned(),
                AgentNews::NotWritten(_, pause) => format!("not written, {}", pause.as_secs()),
                AgentNews::NotExamined(..) => "not examined".to_owned(),
            });
        });
        let scene = async {
            scene.await;
            stop.cancel();
        };
        tokio::join!(running, scene);
        said
    }

    async fn minutes(count: u64) {
        tokio::time::sleep(Duration::from_secs(60 * count + 1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_writes_at_once_and_then_only_on_change() {
        let (files, kept) = (HostFiles::new(), Kept::default());
        beside(&files, &kept, async {
            minutes(30).await;
            assert_eq!(kept.count(), 1);
            assert_eq!(kept.last().reboot, ReportedReboot::NotRequired);

            files.write("run/reboot-required", "");
            minutes(5).await;
            assert_eq!(kept.count(), 2);
            assert_eq!(kept.last().reboot, ReportedReboot::Required(Foreign::default()));

            files.write("run/reboot-required.pkgs", "linux-base\n");
            minutes(5).await;
            assert_eq!(kept.count(), 3);
            assert_eq!(kept.last().reboot, ReportedReboot::Required(Foreign::new("linux-base")));

            // A clock that is set by seconds moves the boot time, and is no news; by minutes it is.
            files.write("proc/stat", "btime 1700000002\n");
            minutes(5).await;
            assert_eq!(kept.count(), 3);
            files.write("proc/stat", "btime 1700000200\n");
            minutes(5).await;
            assert_eq!(kept.count(), 4);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_writes_again_every_six_hours() {
        let (files, kept) = (HostFiles::new(), Kept::default());
        beside(&files, &kept, async {
            minutes(5 * 60 + 58).await;
            assert_eq!(kept.count(), 1);
            minutes(4).await;
            assert_eq!(kept.count(), 2);
            minutes(6 * 60).await;
            assert_eq!(kept.count(), 3);
        })
        .await;
    }

    #[test]
    fn the_wall_clock_can_make_a_report_old_by_itself() {
        let files = HostFiles::new();
        let report = examine(&args(&files).places, Timestamp::UNIX_EPOCH).unwrap();
        let at = clock::monotonic();
        let last = Last { report: report.clone(), at };
        let seen =
            |hours: i64| ReportWrite { reported_at: Timestamp::from_second(hours * 3600).unwrap(), ..report.clone() };
        assert!(last.holds(&seen(5), at) && last.holds(&seen(-5), at));
        assert!(!last.holds(&seen(6), at));
    }

    #[tokio::test(start_paused = true)]
    async fn it_survives_refusals_and_comes_back_more_and_more_slowly() {
        let (files, kept) = (HostFiles::new(), Kept::default());
        let refusal = || Refusal::TryAgain { message: Foreign::new("away"), retry_after: None };
        *kept.refusals.lock().unwrap() = (0..12).map(|_| refusal()).collect();
        let said = beside(&files, &kept, minutes(60)).await;
        assert_eq!(kept.count(), 1);
        assert_eq!(said.last().unwrap(), "written");
        let tries = kept.tries.lock().unwrap();
        let gaps: Vec<Duration> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps.len(), 12);
        assert!(gaps.is_sorted() && gaps[0] >= RETRY_FIRST && gaps[11] <= RETRY_LAST * 3 / 2, "{gaps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_seen_is_said_and_not_written() {
        let (mut files, kept) = (HostFiles::new(), Kept::default());
        files.places.sentinels = vec!["/elsewhere/reboot-required".into()];
        let said = beside(&files, &kept, minutes(2)).await;
        assert_eq!(kept.count(), 0);
        assert!(said.len() >= 2 && said.iter().all(|news| news == "not examined"), "{said:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_stops_at_once_when_told_to() {
        let (files, kept) = (HostFiles::new(), Kept::default());
        let began = clock::monotonic();
        beside(&files, &kept, async { tokio::time::sleep(Duration::from_millis(10)).await }).await;
        assert!(clock::monotonic() - began < Duration::from_secs(1));
        assert_eq!(kept.count(), 1);
    }

    #[test]
    fn back_offs_are_bounded_and_spread() {
        let node = |name: &str| NodeName::new(name).unwrap();
        assert!(back_off(u32::MAX, &node("a")) <= RETRY_LAST * 3 / 2);
        let distinct: std::collections::BTreeSet<_> =
            (0..50).map(|number| back_off(3, &node(&format!("np1-{number}")))).collect();
        assert!(distinct.len() > 25, "{distinct:?}");
    }
}
