//! One process of haulout, from its look at the cluster to its end, as the command line puts it together: the lock is
//! waited for, the plan is made and shown, the run is recorded, shown and reported, and at its end looked at once more.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haulout::apply::{self, Access, ApplyError, Input, Interrupt, LockError, Outcome, Renew, Silence};
use haulout::config::Config;
use haulout::format::{self, plan::Scope};
use haulout::journal::{Journal, Past, Sink};
use haulout::model::{ClusterName, RunId, Snapshot};
use haulout::observe;
use haulout::plan::{self, ClusterPlan, Plan, Selection, Verb as StepVerb};
use haulout::provider::clock;
use haulout::run::{Event, Remaining};

use super::broken::Broken;
use super::net::Net;
use super::shown::Shown;

/// What a process leaves behind for the next one of its run: the folder.
#[derive(Clone, Default)]
pub(super) struct Folder {
    /// One for each process.
    segments: Arc<Mutex<Vec<Vec<u8>>>>,
    /// The plan that the run began with.
    plan: Arc<Mutex<Option<Vec<u8>>>>,
}

struct Lines(Folder);

impl Sink for Lines {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut segments = self.0.segments.lock().unwrap();
        segments.last_mut().unwrap().extend_from_slice(line);
        Ok(())
    }
}

impl Folder {
    /// Tears the last line: the process died before it was whole.
    pub(super) fn tear(&self, bytes: usize) {
        let mut segments = self.segments.lock().unwrap();
        let Some(last) = segments.last_mut() else { return };
        let line =
            last.strip_suffix(b"\n").unwrap_or(last).iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let length = last.len();
        last.truncate(length - bytes.min(length - line));
    }

    fn past(&self) -> Past {
        let folder = tempfile::tempdir().unwrap();
        for (index, segment) in self.segments.lock().unwrap().iter().enumerate() {
            let path: PathBuf = folder.path().join(format!("{:04}.jsonl", index + 1));
            std::fs::write(path, segment).unwrap();
        }
        Past::read(folder.path()).unwrap()
    }

    fn scope(&self) -> Option<Scope> {
        Some(format::plan::read_scope(self.plan.lock().unwrap().as_ref()?).unwrap())
    }

    /// All that was recorded.
    pub(super) fn lines(&self) -> Vec<u8> {
        self.segments.lock().unwrap().concat()
    }
}

/// How a process ended.
pub(super) enum Ending {
    /// With a report; the nodes that were to stay cordoned are those of the plan.
    Ended(Box<Outcome>, BTreeSet<String>),
    /// The lock, or the cluster, did not let it begin.
    NotBegun,
    /// There was nothing to do.
    Nothing,
    Killed,
    Late,
    Wrong(String),
}

pub(super) struct Process<'a> {
    pub(super) net: &'a Net,
    pub(super) run: &'a str,
    pub(super) config: Config,
    pub(super) interrupt: Interrupt,
    /// It is killed once it has recorded so many lines.
    pub(super) kill_at: Option<u64>,
    /// It takes this run up again.
    pub(super) resumes: bool,
    pub(super) folder: Folder,
    /// How long it waits for a live lock.
    pub(super) patience: Duration,
    pub(super) log: Arc<Mutex<Vec<String>>>,
    pub(super) shown: Shown,
    /// In seconds, of each outage.
    pub(super) longest: u64,
}

/// What was seen and planned.
struct Planned {
    plan: Plan,
    snapshot: Snapshot,
    silence: Option<Silence>,
}

fn cluster() -> ClusterName {
    ClusterName::new("c").unwrap()
}

impl Process<'_> {
    /// Whether the cluster's lock is in the way of what is wanted there; as the command line decides it.
    fn concerns(cluster: &ClusterPlan) -> bool {
        use plan::{BlockedReason, Standing};
        let waits =
            |reason: &BlockedReason| matches!(reason, BlockedReason::MarkedByRun { standing: Standing::Live, .. });
        !cluster.steps.is_empty() || cluster.blocked.iter().any(|blocked| blocked.reasons.iter().any(waits))
    }

    async fn look(&self) -> Snapshot {
        // What is seen is seen well: a bad look is a gap, which is the planner's and not the run's.
        let port = &self.net.port;
        observe::observe(port, Some(port), cluster(), clock::now, observe::Extent::Plan).await.unwrap()
    }

    /// Plans once, and once more from a look whose lists came in another order: it must be the same, byte for byte.
    async fn plan(&self, snapshot: &Snapshot, selection: &Selection) -> Result<Plan, String> {
        let now = clock::now();
        let make = |snapshot: &Snapshot| {
            let snapshots = BTreeMap::from([(cluster(), snapshot.clone())]);
            plan::plan(&self.config, &snapshots, now, selection).map_err(|error| format!("the plan: {error}"))
        };
        let plan = make(snapshot)?;
        let shuffled = self.net.shuffled();
        let mut again =
            observe::observe(&shuffled, Some(&shuffled), cluster(), clock::now, observe::Extent::Plan).await.unwrap();
        again.lock.clone_from(&snapshot.lock);
        if self.net.broken() == Some(Broken::Order) {
            self.net.shuffle(&mut again.pods);
        }
        let bytes = |plan: &Plan| format::plan::write(plan, "0");
        // A plan that its own checker refuses is another plan, too.
        let same = make(&again).is_ok_and(|again| bytes(&again) == bytes(&plan));
        if !same || bytes(&make(snapshot)?) != bytes(&plan) {
            return Err("the same inputs gave another plan".to_owned());
        }
        Ok(plan)
    }

    /// Looks and plans, and waits for a lock that is in the way.
    async fn planned(&self) -> Result<Planned, Ending> {
        let began = clock::monotonic();
        let run = RunId::new(self.run).unwrap();
        let mut silence: Option<Silence> = None;
        loop {
            let mut snapshot = self.look().await;
            let dead = |holder: &haulout::model::Foreign| {
                holder.raw() == self.run || silence.as_ref().is_some_and(|silence| silence.holder() == holder)
            };
            if snapshot.lock.as_ref().is_some_and(|lock| dead(&lock.holder)) {
                snapshot.lock = None;
            }
            let seen = BTreeMap::from([(cluster(), snapshot.clone())]);
            let selection = match self.folder.scope().filter(|_| self.resumes) {
                Some(scope) => {
                    let past = self.folder.past();
                    if self.net.broken() == Some(Broken::Forgets) {
                        past.requested.iter().for_each(|(_, node)| self.net.reboot_again(node));
                    }
                    Selection::rest_of_run(&run, &scope.nodes, &past.requested, &seen).ok_or(Ending::Nothing)?
                }
                None => Selection::default(),
            };
            let plan = match self.plan(&snapshot, &selection).await {
                Ok(plan) => plan,
                Err(wrong) => return Err(Ending::Wrong(wrong)),
            };
            if snapshot.lock.is_none() || !Self::concerns(&plan.clusters()[0]) {
                return Ok(Planned { plan, snapshot, silence });
            }
            let left = self.patience.saturating_sub(clock::monotonic().saturating_duration_since(began));
            match apply::vacancy(self.net, &cluster(), &run, left, |_| {}).await {
                Ok(proof) => silence = proof,
                Err(error) => return Err(self.not_begun(&ApplyError::Lock(error))),
            }
            if self.net.is_dead() {
                return Err(Ending::Killed);
            }
        }
    }

    fn not_begun(&self, error: &ApplyError) -> Ending {
        self.shown.error(error);
        self.log.lock().unwrap().push(format!("{} did not begin: {error}", self.run));
        Ending::NotBegun
    }

    /// The whole of it.
    pub(super) async fn execute(self) -> Ending {
        let Planned { plan, snapshot, silence } = match self.planned().await {
            Ok(planned) => planned,
            Err(ending) => return ending,
        };
        self.shown.plan(&plan, &snapshot);
        let run = RunId::new(self.run).unwrap();
        let recorded = if self.resumes { self.folder.past().last } else { 0 };
        self.folder.segments.lock().unwrap().push(Vec::new());
        self.folder.plan.lock().unwrap().get_or_insert_with(|| format::plan::write(&plan, "0"));
        let clusters = plan.clusters().to_vec();
        let outages = clusters[0].outages.len();
        let stays = clusters[0]
            .outages
            .iter()
            .filter(|outage| outage.steps.iter().all(|step| step.verb != StepVerb::Uncordon))
            .map(|outage| outage.node.to_string())
            .collect();
        let (seen, mut events) = tokio::sync::mpsc::unbounded_channel::<Event>();
        let (log, who) = (Arc::clone(&self.log), self.run.to_owned());
        let mut screen = self.shown.screen(&clusters);
        let listening = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                log.lock().unwrap().push(format!("{} {who} {:?}", event.at, event.kind));
                screen.take(&event);
            }
        });
        let lines = AtomicU64::new(0);
        let (killer, kill_at) = (self.net.clone(), self.kill_at);
        let encode = move |event: &Event| {
            // The line is on disk, and that was the last thing that the process did.
            if Some(lines.fetch_add(1, Ordering::SeqCst) + 1) == kill_at {
                killer.kill();
            }
            format::run::write(event)
        };
        let sink = Box::new(Lines(self.folder.clone()));
        let journal = Journal::at_once(recorded, sink, Box::new(encode), clock::now, seen);
        let shared = Arc::new(self.net.clone());
        let access = Access {
            acts: shared.clone(),
            lock: shared.clone(),
            probes: shared.clone(),
            renew: Renew::Beside(shared),
            silence,
            sweep: BTreeSet::new(),
            daemon_sets: snapshot.daemon_sets.clone(),
            daemon_sets_known: true,
        };
        let input = Input {
            plan,
            run,
            version: "0".to_owned(),
            clusters: BTreeMap::from([(cluster(), access)]),
            journal,
            interrupt: self.interrupt.clone(),
            silent: |_, _| {},
        };
        let limit = Duration::from_secs(300 + self.longest * (outages as u64 + 1));
        let mut ended = std::pin::pin!(apply::apply(input));
        let began = clock::monotonic();
        let result = loop {
            tokio::select! {
                biased;
                result = &mut ended => break result,
                () = tokio::time::sleep(Duration::from_secs(5)) => {
                    if self.net.is_dead() {
                        listening.abort();
                        return Ending::Killed;
                    }
                    if clock::monotonic() > began + limit {
                        return Ending::Late;
                    }
                }
            }
        };
        match result {
            Ok(outcome) => {
                self.look_again(&outcome).await;
                self.shown.journal(&self.folder.lines());
                Ending::Ended(Box::new(outcome), stays)
            }
            Err(ApplyError::Lock(LockError::Thread { .. })) => Ending::Wrong("a thread".to_owned()),
            Err(error) => self.not_begun(&error),
        }
    }

    /// The look after the run, and the report.
    async fn look_again(&self, outcome: &Outcome) {
        let snapshot = self.look().await;
        let snapshots = BTreeMap::from([(cluster(), snapshot.clone())]);
        let Ok(plan) = plan::plan(&self.config, &snapshots, clock::now(), &Selection::default()) else { return };
        if self.net.broken() == Some(Broken::Silent) {
            return;
        }
        let remaining = Remaining::after(&outcome.summary, plan.clusters());
        self.shown.report(outcome, &remaining, &plan, &snapshot);
    }
}
