//! The evictions of one drain: which pod may be asked to go now, what each answer means, what is waited for.
//!
//! Budgets are read, never guessed from an answer's text. Each pod has at most one eviction under way, and a pod that
//! is held never holds up another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::super::context::{Limit, SHORTEST_PAUSE, StepContext, StepError, said};
use super::super::waiting::Changes;
use super::allowance::{MayGo, has_room, holds_most, may_go, two_budgets};
use super::drain::{NodePods, in_words, list};
use crate::model::{Budget, BudgetKey, DrainRule, Foreign, Grace, Pod, PodKey, Uid};
use crate::plan::words::{budget_standing, duration};
use crate::provider::{ActError, PodScope, Refusal, clock};
use crate::rules::{self, Departure};
use crate::run::{FailureKind, Intent, WaitFor};

/// The pause after a webhook's denial: such webhooks move the pod meanwhile, which takes seconds to minutes.
const WEBHOOK_PAUSE: Duration = Duration::from_secs(5);
/// The pause after throttling where the server names none; doubled each time up to [`LONGEST_PAUSE`].
const THROTTLE_PAUSE: Duration = Duration::from_secs(1);
/// No pause is longer, so that a change is seen within the time that waits are read again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A budget that allows nothing for ever is believed after this long.
const NEVER_LASTS: Duration = Duration::from_secs(20);
/// Pods that a budget holds are looked at again after this long even if nothing stirs.
const HELD_LOOK: Duration = Duration::from_secs(6);
/// How often pods of one owner may come back to the cordoned node before that is called what it is.
const RETURNS: u32 = 2;

/// What the drain may do now.
pub(super) enum Standing {
    /// Nothing is left that must leave.
    Empty,
    /// All that is left will not go until somebody does something.
    Stuck(StepError),
    /// Something is under way or waited for.
    Waiting {
        /// What for.
        wait: Option<WaitFor>,
        /// When to look again even if nothing stirs.
        wake: Option<Instant>,
    },
}

enum State {
    /// To be asked to go, not before this moment.
    Wanted { not_before: Instant, wait: Option<WaitFor> },
    /// An eviction is under way.
    Flying,
    /// The eviction was accepted, or somebody else's deletion has begun.
    Ending,
    /// The server will not let it go, for a reason that does not pass by itself.
    Stuck { why: String, advice: String },
}

struct Track {
    key: PodKey,
    owner: Option<Uid>,
    state: State,
    /// Since when its budget has said without a break that it will never let it go.
    never_since: Option<Instant>,
    /// Whether an eviction was sent whose answer never came, and the pod could not be read since.
    unclear: bool,
}

enum Answer {
    Accepted(Vec<Foreign>),
    Gone,
    Later {
        after: Duration,
        wait: Option<WaitFor>,
    },
    /// Whether it was done is not known, and the pod could not be read either.
    Unread(Foreign),
    Throttled(Option<Duration>),
    BudgetRefused(Option<Duration>),
    Stuck {
        why: String,
        advice: String,
    },
    Fatal(StepError),
}

/// The evictions of one drain.
pub(super) struct Evictions<'a> {
    context: &'a StepContext,
    rule: DrainRule,
    limit: Limit,
    tracks: BTreeMap<Uid, Track>,
    flying: FuturesUnordered<BoxFuture<'a, (Uid, Option<BudgetKey>, Answer)>>,
    throttled_until: Instant,
    throttle_pause: Duration,
    fatal: Option<StepError>,
    returns: BTreeMap<Uid, u32>,
    evicted: u32,
    gone: u32,
    volumes: bool,
    warnings: BTreeSet<Foreign>,
    /// Set when nothing more may be sent, also of what waits for its turn.
    stopped: Arc<AtomicBool>,
}

impl<'a> Evictions<'a> {
    pub(super) fn new(context: &'a StepContext, rule: DrainRule, limit: Limit) -> Self {
        Self {
            context,
            rule,
            limit,
            tracks: BTreeMap::new(),
            flying: FuturesUnordered::new(),
            throttled_until: clock::monotonic(),
            throttle_pause: THROTTLE_PAUSE,
            fatal: None,
            returns: BTreeMap::new(),
            evicted: 0,
            gone: 0,
            volumes: false,
            warnings: BTreeSet::new(),
            stopped: Arc::default(),
        }
    }

    /// Sends nothing more: what waits for its turn is given back.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Evictions accepted, and pods that were gone by themselves.
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.evicted, self.gone)
    }

    /// Whether a pod with a volume was evicted.
    pub(super) fn any_volumes(&self) -> bool {
        self.volumes
    }

    /// How many pods have left, of how many.
    pub(super) fn progress(&self) -> (u32, u32) {
        let left = u32::try_from(self.tracks.len()).unwrap_or(u32::MAX);
        let done = self.evicted.saturating_add(self.gone).saturating_sub(self.ending());
        (done, done.saturating_add(left))
    }

    fn ending(&self) -> u32 {
        let ending = self.tracks.values().filter(|track| matches!(track.state, State::Ending)).count();
        u32::try_from(ending).unwrap_or(u32::MAX)
    }

    /// Ends when an eviction was answered; never, while none is under way.
    pub(super) async fn answered(&mut self) {
        if let Some((uid, budget, answer)) = self.flying.next().await {
            self.take(&uid, budget, answer);
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Awaits every eviction under way.
    pub(super) async fn settle(&mut self) {
        while let Some((uid, budget, answer)) = self.flying.next().await {
            self.take(&uid, budget, answer);
        }
    }

    /// Takes the node's pods in, sends what may be sent, and says where the drain stands. `changes` is then about the
    /// budgets that hold pods.
    pub(super) async fn advance(&mut self, pods: &NodePods, changes: &Changes) -> Result<Standing, StepError> {
        for warning in std::mem::take(&mut self.warnings) {
            self.context.note(format!("the API server warned about an eviction: {}", warning.raw())).await?;
        }
        if let Some(error) = self.fatal.take() {
            return Err(error);
        }
        self.track(pods);
        if self.tracks.is_empty() {
            return Ok(Standing::Empty);
        }
        let now = clock::monotonic();
        let mut wake: Option<Instant> = None;
        let mut wait: Option<WaitFor> = None;
        let mut stuck: Vec<(PodKey, String, String)> = Vec::new();
        let mut ending: Vec<PodKey> = Vec::new();
        let mut held: BTreeMap<BudgetKey, (Budget, u32)> = BTreeMap::new();
        let by_uid: BTreeMap<&Uid, &Pod> = pods.values().map(|pod| (&pod.uid, pod)).collect();
        let stopping = self.context.cluster.interrupt.is_requested();
        let uids: Vec<Uid> = self.tracks.keys().cloned().collect();
        for uid in uids {
            let (Some(pod), Some(track)) = (by_uid.get(&uid), self.tracks.get_mut(&uid)) else { continue };
            match &track.state {
                State::Flying => {}
                State::Ending => ending.push(track.key.clone()),
                State::Stuck { why, advice } => stuck.push((track.key.clone(), why.clone(), advice.clone())),
                State::Wanted { not_before, wait: why } => {
                    let due = (*not_before).max(self.throttled_until);
                    if due > now {
                        wake = Some(wake.map_or(due, |wake| wake.min(due)));
                        if let Some(why) = why {
                            wait = Some(why.clone());
                        }
                        continue;
                    }
                    if stopping {
                        continue;
                    }
                    match may_go(self.context, pod, changes) {
                        MayGo::Now(budget) => {
                            track.never_since = None;
                            track.state = State::Flying;
                            let (context, pod) = (self.context, (*pod).clone());
                            let orders = Orders {
                                grace: self.rule.grace,
                                limit: self.limit,
                                look: track.unclear,
                                stopped: Arc::clone(&self.stopped),
                            };
                            self.volumes |= pod.shape.volumes;
                            self.flying.push(Box::pin(async move {
                                let answer = send(context, &pod, &orders).await;
                                (pod.uid, budget, answer)
                            }));
                        }
                        MayGo::Held(budget) => {
                            track.never_since = None;
                            held.entry(budget.key.clone()).or_insert((budget, 0)).1 += 1;
                        }
                        MayGo::Never { why, advice } => {
                            // Between the end of a pod and the birth of its successor a budget may look like this for
                            // a moment; only what lasts is believed.
                            let since = *track.never_since.get_or_insert(now);
                            if now >= since + NEVER_LASTS {
                                stuck.push((track.key.clone(), why, advice));
                            } else {
                                wake = Some(wake.map_or(since + NEVER_LASTS, |wake| wake.min(since + NEVER_LASTS)));
                                if let Some(budget) = context_budget(self.context, pod) {
                                    held.entry(budget.key.clone()).or_insert((budget, 0)).1 += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
        changes.end_look();
        if stuck.len() == self.tracks.len() {
            return Ok(Standing::Stuck(all_stuck(&stuck)));
        }
        // What one would ask first: which budget holds what; then which webhook; then which pods still end.
        if !held.is_empty() {
            // What this run took from an allowance is forgotten after a while, without any news.
            let look = now + HELD_LOOK;
            wake = Some(wake.map_or(look, |wake| wake.min(look)));
        }
        let (roomy, full): (Vec<_>, Vec<_>) = held.into_values().partition(|(budget, _)| has_room(budget));
        if let Some(budget) = holds_most(full) {
            wait = Some(budget);
        } else if wait.is_none() && !ending.is_empty() {
            ending.sort();
            wait = Some(WaitFor::PodsToEnd(ending));
        } else if wait.is_none() && self.flying.is_empty() {
            wait = holds_most(roomy);
        }
        if let Some(complaint) = self.context.cluster.live.complaint() {
            wait = Some(WaitFor::ApiServer(complaint));
        }
        Ok(Standing::Waiting { wait, wake })
    }

    /// Brings the tracks in line with the node's pods.
    fn track(&mut self, pods: &NodePods) {
        let daemon_sets = self.context.cluster.daemon_sets();
        let mut here: BTreeSet<Uid> = BTreeSet::new();
        for pod in pods.values() {
            let leaves = match rules::departure(pod, &self.rule, &daemon_sets.all, daemon_sets.known) {
                Departure::Leaves => None,
                Departure::Refused(why) => Some(in_words(why).to_owned()),
                Departure::Stays(_) => continue,
            };
            here.insert(pod.uid.clone());
            let owner = pod.shape.owner.as_ref().map(|owner| owner.uid.clone());
            let known = self.tracks.contains_key(&pod.uid);
            if pod.status.terminating {
                let track = self.tracks.entry(pod.uid.clone()).or_insert_with(|| Track {
                    key: pod.key.clone(),
                    owner: owner.clone(),
                    state: State::Ending,
                    never_since: None,
                    unclear: false,
                });
                if !matches!(track.state, State::Flying) {
                    track.state = State::Ending;
                }
                continue;
            }
            if known {
                continue;
            }
            // Somebody who tolerates the cordon may be placed here again and again; that is named, not fought.
            let returned = owner.as_ref().and_then(|owner| self.returns.get(owner)).copied().unwrap_or(0);
            let state = if let Some(why) = leaves {
                State::Stuck {
                    why: format!("the drain rule does not let it go ({why})"),
                    advice: "remove it, or let the drain rule of its table allow it".to_owned(),
                }
            } else if pod.shape.tolerates_cordon && returned > RETURNS {
                State::Stuck {
                    why: "its owner places pods on the cordoned node again and again".to_owned(),
                    advice: "take the toleration of node.kubernetes.io/unschedulable from its owner, or scale it down"
                        .to_owned(),
                }
            } else {
                State::Wanted { not_before: clock::monotonic(), wait: None }
            };
            self.tracks.insert(
                pod.uid.clone(),
                Track { key: pod.key.clone(), owner, state, never_since: None, unclear: false },
            );
        }
        let left: Vec<Uid> = self.tracks.keys().filter(|uid| !here.contains(*uid)).cloned().collect();
        for uid in left {
            // An eviction under way is awaited first: its answer says whether it counts.
            if self.tracks.get(&uid).is_some_and(|track| matches!(track.state, State::Flying)) {
                continue;
            }
            if let Some(track) = self.tracks.remove(&uid) {
                match track.state {
                    State::Ending => {}
                    State::Wanted { .. } | State::Flying | State::Stuck { .. } => self.gone += 1,
                }
            }
        }
    }

    fn take(&mut self, uid: &Uid, budget: Option<BudgetKey>, answer: Answer) {
        let live = &self.context.cluster.live;
        if let Some(budget) = &budget {
            live.settle_allowance(budget, matches!(answer, Answer::Accepted(_)));
        }
        let now = clock::monotonic();
        let Some(track) = self.tracks.get_mut(uid) else { return };
        track.unclear = matches!(answer, Answer::Unread(_));
        track.state = match answer {
            Answer::Accepted(warnings) => {
                self.evicted += 1;
                self.warnings.extend(warnings);
                if let Some(owner) = &track.owner {
                    *self.returns.entry(owner.clone()).or_default() += 1;
                }
                self.throttle_pause = THROTTLE_PAUSE;
                State::Ending
            }
            Answer::Gone => {
                self.gone += 1;
                State::Ending
            }
            Answer::Later { after, wait } => State::Wanted { not_before: now + after, wait },
            Answer::Unread(message) => {
                State::Wanted { not_before: now + THROTTLE_PAUSE * 2, wait: Some(WaitFor::ApiServer(message)) }
            }
            Answer::Throttled(after) => {
                self.throttled_until = now + after.unwrap_or(self.throttle_pause).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
                self.throttle_pause = (self.throttle_pause * 2).min(LONGEST_PAUSE);
                let wait = WaitFor::ApiServer(Foreign::new("the API server asked to slow down"));
                State::Wanted { not_before: now, wait: Some(wait) }
            }
            Answer::BudgetRefused(after) => {
                if let Some(budget) = &budget {
                    live.exhaust(budget);
                }
                // Without a Retry-After the budget's next news wakes the drain; the view may know no budget yet.
                let pause = after.unwrap_or(if budget.is_some() { Duration::ZERO } else { THROTTLE_PAUSE });
                State::Wanted { not_before: now + pause.min(LONGEST_PAUSE), wait: None }
            }
            Answer::Stuck { why, advice } => State::Stuck { why, advice },
            Answer::Fatal(error) => {
                self.fatal.get_or_insert(error);
                State::Wanted { not_before: now + LONGEST_PAUSE, wait: None }
            }
        };
    }

    /// Reads again what the waits depend on, because a watch may have died without a sound.
    pub(super) async fn reread(&mut self, pods: &mut NodePods) {
        let context = self.context;
        let keys: BTreeSet<BudgetKey> = pods
            .values()
            .filter(|pod| self.tracks.contains_key(&pod.uid))
            .flat_map(|pod| context.cluster.live.budgets_over(pod))
            .map(|budget| budget.key)
            .collect();
        for key in keys {
            if let Ok(budget) = context.cluster.acts.budget(&key).await {
                context.cluster.live.read_budget(&key, budget);
            }
        }
        if let Ok(listed) = list(context, PodScope::Node(context.node_name().clone())).await {
            *pods = listed.pods;
        }
    }

    /// The failure of a drain whose time is up: what is still there, and why.
    pub(super) fn timed_out(&self, pods: &NodePods) -> StepError {
        let mut names: Vec<String> = Vec::new();
        let mut advice = None;
        for pod in pods.values() {
            let Some(track) = self.tracks.get(&pod.uid) else { continue };
            let why = match &track.state {
                State::Ending => {
                    let (why, what) = still_ending(pod, self.rule);
                    advice = advice.or(what);
                    why
                }
                State::Flying => "being evicted".to_owned(),
                State::Stuck { why, advice: what } => {
                    advice.get_or_insert_with(|| what.clone());
                    why.clone()
                }
                State::Wanted { wait: Some(WaitFor::Webhook { message, .. }), .. } => {
                    format!("held by an admission webhook: {}", message.raw())
                }
                State::Wanted { .. } => match context_budget(self.context, pod) {
                    Some(budget) => format!(
                        "held by disruption budget {}: {}",
                        budget.key,
                        budget_standing(budget.healthy, budget.expected, budget.desired)
                    ),
                    None => "waiting".to_owned(),
                },
            };
            names.push(format!("{} ({why})", pod.key));
        }
        let more = names.len().saturating_sub(5);
        names.truncate(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        StepError::new(FailureKind::TimedOut, format!("time is up; still there: {}{more}", names.join(", "))).advise(
            advice.unwrap_or_else(|| "raise drain.timeout, or mend what holds these pods, and apply again".to_owned()),
        )
    }
}

/// What keeps a pod that was told to end, and what to do about it.
fn still_ending(pod: &Pod, rule: DrainRule) -> (String, Option<String>) {
    let finalizers = &pod.shape.finalizers;
    let by = match finalizers.as_slice() {
        [] => None,
        [one] => Some(format!("finalizer {one}")),
        all => Some(format!("finalizers {}", all.join(", "))),
    };
    // Finalizers that are on every pod of a kind come off at once when its containers have ended.
    if let Some(by) = by
        && pod.status.is_finished()
    {
        let advice = "its containers have ended: see why whoever put the finalizer on the pod does not take it off";
        return (format!("still ending, held by {by}"), Some(advice.to_owned()));
    }
    let grace = match rule.grace {
        Grace::Pod => Duration::from_secs(pod.shape.grace_seconds.into()),
        Grace::Fixed(grace) => grace,
    };
    let advice = (grace >= rule.timeout).then(|| {
        "give drain.timeout more than the pod's grace period, or shorten that with drain.grace_period".to_owned()
    });
    (format!("still ending, with a grace period of {}", duration(grace)), advice)
}

fn context_budget(context: &StepContext, pod: &Pod) -> Option<Budget> {
    context.cluster.live.budgets_over(pod).into_iter().next()
}

fn all_stuck(stuck: &[(PodKey, String, String)]) -> StepError {
    let names: Vec<String> = stuck.iter().take(5).map(|(key, why, _)| format!("{key}: {why}")).collect();
    let more = stuck.len().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let error = StepError::new(FailureKind::Refused, format!("pods cannot be evicted: {}{more}", names.join("; ")));
    match stuck.first() {
        Some((_, _, advice)) => error.advise(advice.clone()),
        None => error,
    }
}

/// How one eviction is to be sent.
struct Orders {
    grace: Grace,
    limit: Limit,
    /// Whether the pod is looked at first, whatever its owner.
    look: bool,
    stopped: Arc<AtomicBool>,
}

/// Sends one eviction and understands its answer.
async fn send(context: &StepContext, pod: &Pod, orders: &Orders) -> Answer {
    let cluster = &context.cluster;
    let given_back = || orders.stopped.load(Ordering::SeqCst) || cluster.interrupt.is_requested();
    let later = || Answer::Later { after: Duration::ZERO, wait: None };
    // A semaphore of ours is never closed.
    let Ok(_place) = context.within(orders.limit, cluster.evictions.acquire()).await else { return later() };
    if given_back() {
        return later();
    }
    // These four make each pod under a name of its own; StatefulSets and many operators use names again.
    let unique = ["ReplicaSet", "ReplicationController", "Job", "DaemonSet"];
    let reused = pod.shape.owner.as_ref().is_none_or(|owner| !unique.contains(&&*owner.kind));
    if reused || orders.look {
        // Where names are used again, a stale uid is refused and still burns a disruption for two minutes: look first.
        match context.within(orders.limit, cluster.acts.pod(&pod.key)).await {
            Err(_) => return if orders.look { Answer::Unread(Foreign::new("no answer in time")) } else { later() },
            Ok(Ok(None)) => return Answer::Gone,
            Ok(Ok(Some(now))) if now.uid != pod.uid => return Answer::Gone,
            Ok(Ok(Some(now))) if orders.look && now.status.terminating => return Answer::Accepted(Vec::new()),
            Ok(Ok(Some(_))) => {}
            Ok(Err(error)) if orders.look => return Answer::Unread(error.message),
            Ok(Err(error)) => {
                let wait = Some(WaitFor::ApiServer(error.message));
                return Answer::Later { after: THROTTLE_PAUSE, wait };
            }
        }
    }
    if given_back() {
        return later();
    }
    let intent = Intent::Evict { pod: pod.key.clone(), uid: pod.uid.clone() };
    let permit = match context.permit(intent, orders.limit).await {
        Ok(permit) => permit,
        Err(error) if error.is_interrupted() => return later(),
        Err(error) => return Answer::Fatal(error),
    };
    if given_back() {
        return later();
    }
    let error = match cluster.acts.evict(permit, pod, orders.grace).await {
        Ok(eviction) => return Answer::Accepted(eviction.warnings),
        Err(error) => error,
    };
    match error {
        // It may have been done; the pod itself tells. Nothing else is done with it before.
        ActError::Unclear { cause, .. } => match cluster.acts.pod(&pod.key).await {
            Ok(None) => Answer::Accepted(Vec::new()),
            Ok(Some(now)) if now.uid != pod.uid || now.status.terminating => Answer::Accepted(Vec::new()),
            Ok(Some(_)) => Answer::Later { after: THROTTLE_PAUSE * 2, wait: Some(WaitFor::ApiServer(cause.message)) },
            Err(error) => Answer::Unread(error.message),
        },
        ActError::Refused { ref refusal, .. } => match refusal {
            Refusal::NotFound => Answer::Gone,
            Refusal::Budget { retry_after, .. } => Answer::BudgetRefused(*retry_after),
            Refusal::Throttled { retry_after } => Answer::Throttled(*retry_after),
            Refusal::Webhook { message, failed: _ } => Answer::Later {
                after: WEBHOOK_PAUSE,
                wait: Some(WaitFor::Webhook { pod: pod.key.clone(), message: message.clone() }),
            },
            Refusal::TwoBudgets => match two_budgets(&cluster.live.budgets_over(pod)) {
                MayGo::Never { why, advice } => Answer::Stuck { why, advice },
                MayGo::Now(_) | MayGo::Held(_) => Answer::Later { after: WEBHOOK_PAUSE, wait: None },
            },
            Refusal::NamespaceTerminating => Answer::Later { after: WEBHOOK_PAUSE, wait: None },
            Refusal::Conflict { .. } => match cluster.acts.pod(&pod.key).await {
                Ok(Some(now)) if now.uid == pod.uid => Answer::Later { after: THROTTLE_PAUSE, wait: None },
                Ok(_) => Answer::Gone,
                Err(error) => Answer::Later { after: THROTTLE_PAUSE, wait: Some(WaitFor::ApiServer(error.message)) },
            },
            Refusal::TryAgain { message, retry_after } => Answer::Later {
                after: retry_after.unwrap_or(THROTTLE_PAUSE * 5).min(LONGEST_PAUSE),
                wait: Some(WaitFor::ApiServer(message.clone())),
            },
            Refusal::Forbidden { message } if !context.is_denied_for_good() => {
                Answer::Later { after: THROTTLE_PAUSE * 2, wait: Some(WaitFor::ApiServer(message.clone())) }
            }
            Refusal::Forbidden { .. } => Answer::Fatal(
                StepError::from_act(&error)
                    .advise("give this identity the right to create pods/eviction (deploy/ has the roles)"),
            ),
            Refusal::AlreadyExists | Refusal::Invalid { .. } => Answer::Stuck {
                why: format!("{refusal}{}", said(refusal)),
                advice: "see what the API server says of it".to_owned(),
            },
        },
    }
}
