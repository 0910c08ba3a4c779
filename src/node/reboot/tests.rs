//! The process on scripted Nodes and a machine that only counts what it is asked.

use async_trait::async_trait;
use futures::stream::BoxStream;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::model::{
    Budget, BudgetKey, Cordon, DaemonSet, Foreign, Mark, Phase, Pod, PodKey, PoolName, Readiness, Report, ZoneName,
};
use crate::provider::{Followed, NodeLease, PodScope, ReadErrorKind, RebootPodState, Volumes};

pub(in crate::node) fn args() -> RebootArgs {
    RebootArgs {
        node: NodeName::new("np1-3").unwrap(),
        node_uid: Uid::new("uid-3").unwrap(),
        boot_id: BootId::new("boot-1").unwrap(),
        run: RunId::new("run-1").unwrap(),
        not_after: "2999-01-01T00:00:00Z".parse().unwrap(),
        method: RebootMethod::Signal,
    }
}

pub(in crate::node) fn mark() -> Mark {
    Mark {
        reboots: None,
        config: Foreign::new("platform"),
        table: None,
        run: args().run,
        since: Timestamp::UNIX_EPOCH,
        phase: Some(Phase::Reboot),
    }
}

/// A Node that asks for the reboot that [`args`] speak of.
pub(in crate::node) fn node() -> Node {
    let args = args();
    Node {
        name: args.node,
        uid: args.node_uid,
        resource_version: "1".into(),
        labels: Default::default(),
        pool: PoolName::new("").unwrap(),
        zone: ZoneName::new("").unwrap(),
        control_plane: false,
        linux: true,
        readiness: Readiness::Ready,
        cordon: Some(Cordon::Marked(mark())),
        boot_id: Some(args.boot_id),
        kernel: Foreign::default(),
        mark: Some(mark()),
        report: Report { reboot: None, boot_id: None, booted_at: None, reported_at: None },
        kured_wants_since: None,
        last_reboot: None,
        scale_down_before: None,
        scale_down_disabled: None,
        taints: Vec::new(),
        allocatable: Default::default(),
        addresses: Default::default(),
        kubelet_port: 0,
        created_at: None,
        terminating: false,
    }
}

fn in_phase(phase: Phase) -> Option<Node> {
    let mut node = node();
    let mark = Mark { phase: Some(phase), ..mark() };
    node.cordon = Some(Cordon::Marked(mark));
    Some(node)
}

fn uncordoned() -> Option<Node> {
    Some(Node { cordon: None, ..node() })
}

fn away() -> ReadError {
    ReadError {
        operation: "read node np1-3".to_owned(),
        kind: ReadErrorKind::Unreachable,
        message: Foreign::new("connection refused"),
        status: None,
        retry_after: None,
    }
}

/// One answer of the scripted API server.
enum Answer {
    Is(Option<Node>),
    Fails(ReadError),
    /// Answers only after this time.
    Late(Duration, Option<Node>),
}

/// An API server that answers from a script and repeats the last answer.
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    looks: AtomicU32,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), looks: AtomicU32::new(0) }
    }

    fn next(&self) -> (Duration, Result<Option<Node>, ReadError>) {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        let answer = match answers.front().expect("a script has an answer") {
            Answer::Is(node) => (Duration::ZERO, Ok(node.clone())),
            Answer::Fails(error) => (Duration::ZERO, Err(error.clone())),
            Answer::Late(late, node) => (*late, Ok(node.clone())),
        };
        if answers.len() > 1 {
            answers.pop_front();
        }
        answer
    }
}

/// What the process may not ask for: its token has the right to read nodes one by one, and no other.
const FORBIDDEN: &str = "the reboot process may read nothing but its own Node";

#[async_trait]
impl ClusterReads for Script {
    fn via(&self) -> Foreign {
        Foreign::new("script")
    }
    fn is_sandbox(&self) -> bool {
        false
    }
    async fn node(&self, name: &NodeName) -> Result<Option<Node>, ReadError> {
        assert_eq!(*name, args().node);
        let (late, answer) = self.next();
        tokio::time::sleep(late).await;
        answer
    }
    async fn version(&self) -> Result<Foreign, ReadError> {
        panic!("{FORBIDDEN}")
    }
    async fn identity(&self) -> Result<Uid, ReadError> {
        panic!("{FORBIDDEN}")
    }
    fn nodes(&self) -> BoxStream<'_, Result<(Vec<Node>, u32), ReadError>> {
        panic!("{FORBIDDEN}")
    }
    fn pods(&self, _: PodScope) -> BoxStream<'_, Result<(Vec<Pod>, u32), ReadError>> {
        panic!("{FORBIDDEN}")
    }
    fn budgets(&self) -> BoxStream<'_, Result<(Vec<Budget>, u32), ReadError>> {
        panic!("{FORBIDDEN}")
    }
    fn daemon_sets(&self) -> BoxStream<'_, Result<(Vec<DaemonSet>, u32), ReadError>> {
        panic!("{FORBIDDEN}")
    }
    async fn pod(&self, _: &PodKey) -> Result<Option<Pod>, ReadError> {
        panic!("{FORBIDDEN}")
    }
    async fn budget(&self, _: &BudgetKey) -> Result<Option<Budget>, ReadError> {
        panic!("{FORBIDDEN}")
    }
    async fn node_lease(&self, _: &NodeName) -> Result<Option<NodeLease>, ReadError> {
        panic!("{FORBIDDEN}")
    }
    async fn volumes(&self, _: &NodeName) -> Result<Volumes, ReadError> {
        panic!("{FORBIDDEN}")
    }
    async fn csi_drivers(&self, _: &NodeName) -> Result<BTreeSet<Foreign>, ReadError> {
        panic!("{FORBIDDEN}")
    }
    async fn pending_serving_requests(&self, _: &NodeName) -> Result<u32, ReadError> {
        panic!("{FORBIDDEN}")
    }
    async fn reboot_pod(&self, _: &NodeName, _: &RunId) -> Result<RebootPodState, ReadError> {
        panic!("{FORBIDDEN}")
    }
    async fn ready(&self) -> Result<bool, ReadError> {
        panic!("{FORBIDDEN}")
    }
    fn follow_nodes(&self) -> BoxStream<'static, Result<Followed<Node, NodeName>, ReadError>> {
        panic!("{FORBIDDEN}")
    }
    fn follow_pods(&self, _: PodScope) -> BoxStream<'static, Result<Followed<Pod, PodKey>, ReadError>> {
        panic!("{FORBIDDEN}")
    }
    fn follow_budgets(&self) -> BoxStream<'static, Result<Followed<Budget, BudgetKey>, ReadError>> {
        panic!("{FORBIDDEN}")
    }
}

/// A machine that only counts what it is asked.
struct Counting {
    boot_id: &'static str,
    refuses: bool,
    armed: AtomicU32,
    signals: AtomicU32,
    commands: AtomicU32,
}

impl Counting {
    fn new() -> Self {
        Self {
            boot_id: "boot-1",
            refuses: false,
            armed: AtomicU32::new(0),
            signals: AtomicU32::new(0),
            commands: AtomicU32::new(0),
        }
    }

    fn answer(&self) -> Result<(), HostError> {
        if self.refuses {
            Err(HostError::Signal { source: std::io::ErrorKind::PermissionDenied.into() })
        } else {
            Ok(())
        }
    }

    fn asked(&self) -> [u32; 3] {
        [&self.armed, &self.signals, &self.commands].map(|count| count.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl Host for Counting {
    fn boot_id(&self) -> Result<BootId, HostError> {
        Ok(BootId::new(self.boot_id).unwrap())
    }
    fn arm(&self) -> Result<(), HostError> {
        self.armed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    fn signal(&self) -> Result<(), HostError> {
        self.signals.fetch_add(1, Ordering::Relaxed);
        self.answer()
    }
    async fn command(&self) -> Result<(), HostError> {
        self.commands.fetch_add(1, Ordering::Relaxed);
        self.answer()
    }
}

const NOT_ARMED: [u32; 3] = [0, 0, 0];
const ARMED_ONLY: [u32; 3] = [1, 0, 0];
const SIGNALLED: [u32; 3] = [1, 1, 0];

fn disarmed(result: Result<Ended, RebootError>) -> Disarmed {
    match result {
        Err(RebootError::Disarmed { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_the_phase_and_fires_once() {
    let phases = [Phase::Cordoned, Phase::Armed, Phase::Drained, Phase::Reboot];
    let script = Script::new(phases.map(|phase| Answer::Is(in_phase(phase))));
    let host = Counting::new();
    let error = reboot(&script, &host, args()).await.unwrap_err();
    assert!(matches!(error, RebootError::StillUp { seconds: 600, .. }), "{error}");
    assert_eq!(host.asked(), SIGNALLED);
    assert_eq!(script.looks.load(Ordering::Relaxed), 5, "four phases, and the last look");
}

#[tokio::test(start_paused = true)]
async fn the_method_is_that_of_the_arguments() {
    let host = Counting::new();
    let args = RebootArgs { method: RebootMethod::Command, ..args() };
    reboot(&Script::new([Answer::Is(Some(node()))]), &host, args).await.unwrap_err();
    assert_eq!(host.asked(), [1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_has_booted_since_is_left_alone() {
    let host = Counting { boot_id: "boot-2", ..Counting::new() };
    let script = Script::new([Answer::Is(Some(node()))]);
    let ended = reboot(&script, &host, args()).await.unwrap();
    assert_eq!(ended, Ended::AlreadyRebooted { boot_id: BootId::new("boot-2").unwrap() });
    assert_eq!(host.asked(), NOT_ARMED);
    assert_eq!(script.looks.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn it_does_not_arm_on_a_node_that_does_not_match() {
    for wrong in [None, uncordoned(), Some(Node { uid: Uid::new("other").unwrap(), ..node() })] {
        let host = Counting::new();
        disarmed(reboot(&Script::new([Answer::Is(wrong)]), &host, args()).await);
        assert_eq!(host.asked(), NOT_ARMED);
    }
}

#[tokio::test(start_paused = true)]
async fn it_does_not_arm_before_it_could_read() {
    let host = Counting::new();
    let script = Script::new([Answer::Fails(away())]);
    let error = reboot(&script, &host, args()).await.unwrap_err();
    assert!(matches!(error, RebootError::Blind { seconds: 60, .. }), "{error}");
    assert_eq!(host.asked(), NOT_ARMED);
}

#[tokio::test(start_paused = true)]
async fn an_uncordon_while_it_waits_ends_it() {
    let host = Counting::new();
    let script = Script::new([Answer::Is(in_phase(Phase::Armed)), Answer::Is(uncordoned())]);
    assert_eq!(disarmed(reboot(&script, &host, args()).await), Disarmed::NotCordoned);
    assert_eq!(host.asked(), ARMED_ONLY);
}

#[tokio::test(start_paused = true)]
async fn the_last_look_decides() {
    let host = Counting::new();
    let script = Script::new([Answer::Is(Some(node())), Answer::Is(uncordoned())]);
    assert_eq!(disarmed(reboot(&script, &host, args()).await), Disarmed::NotCordoned);
    assert_eq!(host.asked(), ARMED_ONLY);

    // The request was taken back between the two looks: it waits on.
    let host = Counting::new();
    let script = Script::new([
        Answer::Is(Some(node())),
        Answer::Is(in_phase(Phase::Drained)),
        Answer::Is(in_phase(Phase::Drained)),
        Answer::Is(None),
    ]);
    assert_eq!(disarmed(reboot(&script, &host, args()).await), Disarmed::NodeGone);
    assert_eq!(host.asked(), ARMED_ONLY);
}

#[tokio::test(start_paused = true)]
async fn a_last_look_that_fails_or_comes_late_does_not_count() {
    for bad in [Answer::Fails(away()), Answer::Late(Duration::from_secs(6), Some(node()))] {
        let host = Counting::new();
        let script = Script::new([Answer::Is(Some(node())), bad, Answer::Is(uncordoned())]);
        assert_eq!(disarmed(reboot(&script, &host, args()).await), Disarmed::NotCordoned);
        assert_eq!(host.asked(), ARMED_ONLY);
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_it_cannot_read_for_a_minute_and_not_before() {
    let host = Counting::new();
    // 20 failures, 2 s apart, are less than a minute; then one reading starts the minute anew.
    let mut answers = vec![Answer::Is(in_phase(Phase::Armed))];
    answers.extend((0..20).map(|_| Answer::Fails(away())));
    answers.push(Answer::Is(in_phase(Phase::Armed)));
    answers.extend((0..20).map(|_| Answer::Fails(away())));
    answers.push(Answer::Is(Some(node())));
    let error = reboot(&Script::new(answers), &host, args()).await.unwrap_err();
    assert!(matches!(error, RebootError::StillUp { .. }), "{error}");
    assert_eq!(host.asked(), SIGNALLED);

    let host = Counting::new();
    let script = Script::new([Answer::Is(in_phase(Phase::Armed)), Answer::Fails(away())]);
    let error = reboot(&script, &host, args()).await.unwrap_err();
    assert!(matches!(error, RebootError::Blind { .. }), "{error}");
    assert_eq!(host.asked(), ARMED_ONLY);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_after_its_time() {
    let host = Counting::new();
    let past = RebootArgs { not_after: "2020-01-01T00:00:00Z".parse().unwrap(), ..args() };
    let expired = Disarmed::Expired { not_after: past.not_after };
    assert_eq!(disarmed(reboot(&Script::new([Answer::Is(Some(node()))]), &host, past.clone()).await), expired);
    // Neither when the API server is away all the time.
    assert_eq!(disarmed(reboot(&Script::new([Answer::Fails(away())]), &host, past).await), expired);
    assert_eq!(host.asked(), NOT_ARMED);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_quiet_gets_it_within_limits() {
    let throttled = |seconds| ReadError {
        kind: ReadErrorKind::Throttled,
        retry_after: Some(Duration::from_secs(seconds)),
        ..away()
    };
    for (asked, waited) in [(1, 2), (10, 10), (3600, 20)] {
        let script = Script::new([Answer::Fails(throttled(asked)), Answer::Is(None)]);
        let since = clock::monotonic();
        disarmed(reboot(&script, &Counting::new(), args()).await);
        assert_eq!(clock::monotonic().duration_since(since).as_secs(), waited, "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_refuses_is_asked_once() {
    let host = Counting { refuses: true, ..Counting::new() };
    let error = reboot(&Script::new([Answer::Is(Some(node()))]), &host, args()).await.unwrap_err();
    assert!(matches!(error, RebootError::Refused { .. }), "{error}");
    assert!(error.advice().is_some());
    assert_eq!(host.asked(), SIGNALLED);
}
