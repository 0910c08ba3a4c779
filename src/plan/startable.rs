//! Which steps may start now: the one function that waves, dispatcher and checker share.
//!
//! An outage takes all its slots at once when its first step starts, and outages are offered a start in their order in
//! the plan: one that does not fit is passed by, so that a full pool never holds up another. Whoever asks after every
//! event keeps an [`Occupancy`], which remembers for each waiting outage one slot that it lacks and looks at it again
//! only when that slot has room.

use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::state::StepState;
use super::types::{ClusterPlan, HeldUntil, NodeEnd, OnFailure, Outage, Rest, Slot, StepId, Verb};
use crate::model::{NodeName, TableName};

/// The steps that may start now, those of begun outages first, each group in the order of the plan.
///
/// With `halted` nothing new begins: no outage, no reboot request, no further drain. Begun outages that have not
/// requested their reboot go to their uncordon at once, those that have go on to their end. The uncordon that passes
/// over other steps is named like any step; [`passed_over`] says which are left out by it.
///
/// `now` is what conditions of time will be judged by; there are none yet.
#[must_use]
pub fn startable(
    plan: &ClusterPlan,
    states: &impl Fn(&StepId) -> StepState,
    halted: bool,
    now: Timestamp,
) -> Vec<StepId> {
    let mut occupancy = Occupancy::new(plan);
    for id in plan.steps.keys() {
        occupancy.set(id, states(id));
    }
    occupancy.startable(halted, now)
}

/// What follows from the failure of a step, as the plan says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consequence {
    /// The steps of the outage that are left out.
    pub skip: Vec<StepId>,
    /// The step that the outage goes on with.
    pub next: Option<StepId>,
    /// Whether nothing new starts in the cluster.
    pub halt: bool,
    /// Whether the node stays cordoned, and so keeps its slots. Where `next` is set this is not yet decided.
    pub left_cordoned: bool,
}

/// What follows when a step fails, or when its time is up. For a step that the plan does not have: nothing.
#[must_use]
pub fn after_failure(plan: &ClusterPlan, failed: &StepId, timed_out: bool) -> Consequence {
    let Some(step) = plan.steps.get(failed) else {
        return Consequence { skip: Vec::new(), next: None, halt: false, left_cordoned: false };
    };
    let OnFailure { node, rest } = match &step.on_timeout {
        Some(on_timeout) if timed_out => on_timeout,
        Some(_) | None => &step.on_failure,
    };
    let next = match node {
        NodeEnd::SkipTo(target) => Some(target.clone()),
        NodeEnd::Leave => None,
    };
    let skip = steps_of(plan, &failed.node)
        .filter(|id| id.verb > failed.verb && next.as_ref().is_none_or(|next| id.verb < next.verb))
        .collect();
    let left_cordoned = next.is_none() && failed.verb != Verb::Cordon;
    Consequence { skip, next, halt: *rest == Rest::Halt, left_cordoned }
}

/// The steps of the same outage that are still pending and are left out when `step` starts now. Empty unless an
/// uncordon starts because of a failure or a halt.
#[must_use]
pub fn passed_over(plan: &ClusterPlan, states: &impl Fn(&StepId) -> StepState, step: &StepId) -> Vec<StepId> {
    steps_of(plan, &step.node).filter(|id| id.verb < step.verb && states(id) == StepState::Pending).collect()
}

/// The steps of a node's outage, in order: verbs are ordered as they follow each other.
fn steps_of<'p>(plan: &'p ClusterPlan, node: &NodeName) -> impl Iterator<Item = StepId> + 'p {
    let node = node.clone();
    [Verb::Cordon, Verb::Drain, Verb::Reboot, Verb::AwaitReady, Verb::Uncordon]
        .into_iter()
        .map(move |verb| StepId { cluster: plan.cluster.clone(), node: node.clone(), verb })
        .filter(|id| plan.steps.contains_key(id))
}

/// One outage as the bookkeeping sees it; slots and outages are numbers here.
#[derive(Debug, Clone)]
struct Tracked {
    steps: Vec<StepId>,
    states: Vec<StepState>,
    /// For each step, the step that its failure skips to.
    skip_to: Vec<Option<usize>>,
    holds: Vec<(usize, i64, HeldUntil)>,
    already_out: bool,
    gate: Option<(usize, u32)>,
    /// What it holds now: until its end, until its drain ends.
    holding: (bool, bool),
    /// The slot under which it waits for its start.
    parked: Option<usize>,
    ended: bool,
}

#[derive(Debug, Clone)]
struct Place {
    slot: Option<Slot>,
    free: i64,
    /// Outages that wait for their start and were last seen to lack this one.
    waiting: BTreeSet<usize>,
}

/// The slots of a cluster as the states of the steps have them, kept up to date event by event.
#[derive(Debug, Clone)]
pub struct Occupancy {
    outages: Vec<Tracked>,
    index: BTreeMap<StepId, (usize, usize)>,
    /// Number 0 is no slot: there wait the outages that are out already and need no room.
    places: Vec<Place>,
    /// The places under which somebody waits: few, while there may be thousands of budgets.
    awaited: BTreeSet<usize>,
    /// The slot of the whole cluster, which every outage that is not out already needs.
    cluster: Option<usize>,
    /// Begun and not ended, with no step under way: those that may go on.
    active: BTreeSet<usize>,
    /// Outages that have not ended, by table and rank.
    ranks: Vec<BTreeMap<u32, usize>>,
    /// Outages whose rank is not up yet.
    gated: BTreeMap<(usize, u32), Vec<usize>>,
}

/// The place without a slot.
const NOWHERE: usize = 0;

impl Occupancy {
    /// The beginning: every step is pending.
    #[must_use]
    pub fn new(plan: &ClusterPlan) -> Self {
        let mut places = vec![Place { slot: None, free: 0, waiting: BTreeSet::new() }];
        let mut numbers: BTreeMap<&Slot, usize> = BTreeMap::new();
        for (slot, capacity) in &plan.capacities {
            numbers.insert(slot, places.len());
            let free = i64::from(capacity.total) - i64::from(capacity.taken);
            places.push(Place { slot: Some(slot.clone()), free, waiting: BTreeSet::new() });
        }
        let mut this = Self {
            cluster: numbers.get(&Slot::Cluster).copied(),
            outages: Vec::with_capacity(plan.outages.len()),
            index: BTreeMap::new(),
            places,
            awaited: BTreeSet::new(),
            active: BTreeSet::new(),
            ranks: Vec::new(),
            gated: BTreeMap::new(),
        };
        let mut tables: BTreeMap<&TableName, usize> = BTreeMap::new();
        for (number, outage) in plan.outages.iter().enumerate() {
            let gate = outage.table.as_ref().map(|table| {
                let next = tables.len();
                let table = *tables.entry(table).or_insert(next);
                (table, outage.rank)
            });
            if let Some((table, rank)) = gate {
                this.ranks.resize_with(tables.len(), BTreeMap::new);
                *this.ranks[table].entry(rank).or_default() += 1;
            }
            for (at, id) in outage.steps.iter().enumerate() {
                this.index.insert(id.clone(), (number, at));
            }
            this.outages.push(track(plan, outage, &numbers, gate));
        }
        for number in 0..this.outages.len() {
            this.settle(number);
            match this.outages[number].gate {
                Some((table, rank)) if !this.is_up(table, rank) => {
                    this.gated.entry((table, rank)).or_default().push(number);
                }
                Some(_) | None => this.park(number, this.first_place(number)),
            }
        }
        this
    }

    /// Takes in the state of a step. A step that the plan does not have is none of its concern.
    pub fn set(&mut self, step: &StepId, state: StepState) {
        let Some(&(number, at)) = self.index.get(step) else { return };
        let Some(outage) = self.outages.get_mut(number) else { return };
        if outage.states.get(at) == Some(&state) {
            return;
        }
        outage.states[at] = state;
        self.settle(number);
    }

    /// The steps that may start now; see [`startable`].
    #[must_use]
    pub fn startable(&mut self, halted: bool, _now: Timestamp) -> Vec<StepId> {
        let mut found: Vec<StepId> =
            self.active.iter().filter_map(|&number| self.outages[number].next(halted).cloned()).collect();
        if !halted {
            found.extend(self.new_outages());
        }
        found
    }

    /// The slot that an outage waits for, where it waits for one; for telling people.
    #[must_use]
    pub fn lacks(&self, node: &NodeName) -> Option<&Slot> {
        let outage = self.outages.iter().find(|outage| outage.steps.first().is_some_and(|id| id.node == *node))?;
        outage.parked?;
        let (place, _) = outage.needs().find(|&(place, units)| self.places[place].free < units)?;
        self.places[place].slot.as_ref()
    }

    /// Recomputes what an outage holds and whether it has begun or ended, and passes on what it gave back.
    fn settle(&mut self, number: usize) {
        let outage = &mut self.outages[number];
        let before = outage.holding;
        let now = outage.wants_to_hold();
        outage.holding = now;
        for &(place, units, until) in &outage.holds {
            let (was, is) = match until {
                HeldUntil::OutageEnds => (before.0, now.0),
                HeldUntil::DrainEnds => (before.1, now.1),
            };
            match (was, is) {
                (false, true) => self.places[place].free -= units,
                (true, false) => self.places[place].free += units,
                (true, true) | (false, false) => {}
            }
        }
        let untouched = outage.states.iter().all(|state| *state == StepState::Pending);
        let ended = outage.states.iter().all(|state| state.is_final());
        let just_ended = ended && !std::mem::replace(&mut outage.ended, ended);
        let gate = outage.gate;
        let goes_on = !untouched && !ended && !outage.states.contains(&StepState::Running);
        if !untouched {
            self.unpark(number);
        }
        if goes_on {
            self.active.insert(number);
        } else {
            self.active.remove(&number);
        }
        if let Some((table, rank)) = gate.filter(|_| just_ended) {
            self.end_rank(table, rank);
        }
    }

    /// Counts one outage of a rank as ended, and opens the gate of the next rank after the last.
    fn end_rank(&mut self, table: usize, rank: u32) {
        let Some(left) = self.ranks[table].get_mut(&rank) else { return };
        *left -= 1;
        if *left > 0 {
            return;
        }
        self.ranks[table].remove(&rank);
        let Some((&next, _)) = self.ranks[table].first_key_value() else { return };
        for number in self.gated.remove(&(table, next)).unwrap_or_default() {
            if self.outages[number].states.iter().all(|state| *state == StepState::Pending) {
                self.park(number, self.first_place(number));
            }
        }
    }

    fn is_up(&self, table: usize, rank: u32) -> bool {
        self.ranks[table].first_key_value().is_none_or(|(&first, _)| rank <= first)
    }

    fn first_place(&self, number: usize) -> usize {
        let outage = &self.outages[number];
        if outage.already_out { NOWHERE } else { outage.holds.first().map_or(NOWHERE, |&(place, ..)| place) }
    }

    fn park(&mut self, number: usize, place: usize) {
        self.unpark(number);
        self.outages[number].parked = Some(place);
        self.places[place].waiting.insert(number);
        self.awaited.insert(place);
    }

    fn unpark(&mut self, number: usize) {
        let Some(place) = self.outages[number].parked.take() else { return };
        self.places[place].waiting.remove(&number);
        if self.places[place].waiting.is_empty() {
            self.awaited.remove(&place);
        }
    }

    /// First steps of outages that fit, in their order, as if each that is named took its slots at once.
    fn new_outages(&mut self) -> Vec<StepId> {
        let mut found = Vec::new();
        // Slots promised to outages named in this very answer; they count only here, for nobody need start them.
        let mut promised: BTreeMap<usize, i64> = BTreeMap::new();
        let mut cursors: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
        for &place in &self.awaited {
            if place == NOWHERE || self.places[place].free > 0 {
                cursors.extend(self.places[place].waiting.first().map(|&number| Reverse((number, place))));
            }
        }
        let room = |places: &[Place], promised: &BTreeMap<usize, i64>, place: usize| {
            places[place].free - promised.get(&place).copied().unwrap_or(0)
        };
        while let Some(Reverse((number, place))) = cursors.pop() {
            let full = self.cluster.is_some_and(|cluster| room(&self.places, &promised, cluster) <= 0);
            if full && place != NOWHERE {
                continue;
            }
            let outage = &self.outages[number];
            let lacking = outage.needs().find(|&(place, units)| self.places[place].free < units);
            let fits =
                lacking.is_none() && outage.needs().all(|(place, units)| room(&self.places, &promised, place) >= units);
            if fits {
                for (place, units) in outage.needs() {
                    *promised.entry(place).or_default() += units;
                }
                found.extend(outage.steps.first().cloned());
            }
            if let Some((other, _)) = lacking.filter(|&(other, _)| place != NOWHERE && other != place) {
                self.park(number, other);
            }
            if place == NOWHERE || room(&self.places, &promised, place) > 0 {
                let next = self.places[place].waiting.range(number + 1..).next();
                cursors.extend(next.map(|&number| Reverse((number, place))));
            }
        }
        found
    }
}

fn track(plan: &ClusterPlan, outage: &Outage, numbers: &BTreeMap<&Slot, usize>, gate: Option<(usize, u32)>) -> Tracked {
    let target = |end: &NodeEnd| match end {
        NodeEnd::SkipTo(target) => outage.steps.iter().position(|id| id == target),
        NodeEnd::Leave => None,
    };
    let skip_to = outage
        .steps
        .iter()
        .map(|id| {
            let step = plan.steps.get(id)?;
            target(&step.on_failure.node).or_else(|| step.on_timeout.as_ref().and_then(|end| target(&end.node)))
        })
        .collect();
    let holds = outage
        .holds
        .iter()
        .filter_map(|hold| Some((*numbers.get(&hold.slot)?, i64::from(hold.units), hold.until)))
        .collect();
    Tracked {
        steps: outage.steps.clone(),
        states: vec![StepState::Pending; outage.steps.len()],
        skip_to,
        holds,
        already_out: outage.already_out,
        gate,
        holding: (false, false),
        parked: None,
        ended: false,
    }
}

impl Tracked {
    fn position(&self, verb: Verb) -> Option<usize> {
        self.steps.iter().position(|id| id.verb == verb)
    }

    fn state_of(&self, verb: Verb) -> Option<StepState> {
        self.position(verb).map(|at| self.states[at])
    }

    /// The slots that must have room before its first step.
    fn needs(&self) -> impl Iterator<Item = (usize, i64)> + '_ {
        self.holds
            .iter()
            .filter(|(_, _, until)| match until {
                HeldUntil::OutageEnds => !self.already_out,
                HeldUntil::DrainEnds => true,
            })
            .map(|&(place, units, _)| (place, units))
    }

    /// Whether it holds its slots until its end, and those until its drain ends.
    fn wants_to_hold(&self) -> (bool, bool) {
        // A cordon that failed took nothing, and a step that was skipped did nothing.
        let touched = self.steps.iter().zip(&self.states).any(|(id, state)| match state {
            StepState::Running | StepState::Succeeded => true,
            StepState::Failed => id.verb != Verb::Cordon,
            StepState::Pending | StepState::Skipped => false,
        });
        let returned = self.state_of(Verb::Uncordon) == Some(StepState::Succeeded);
        let draining = self.state_of(Verb::Drain).is_some_and(|state| !state.is_final());
        ((touched || self.already_out) && !returned, touched && draining)
    }

    /// The step that a begun outage goes on with.
    fn next(&self, halted: bool) -> Option<&StepId> {
        if self.states.contains(&StepState::Running) {
            return None;
        }
        let pending = |at: usize| (self.states[at] == StepState::Pending).then(|| &self.steps[at]);
        if let Some(failed) = self.states.iter().rposition(|state| *state == StepState::Failed) {
            return self.skip_to[failed].and_then(pending);
        }
        if halted {
            let requested = match self.state_of(Verb::Reboot) {
                Some(StepState::Running | StepState::Succeeded | StepState::Failed) => true,
                Some(StepState::Pending | StepState::Skipped) => false,
                // Without a reboot in it, an outage ends as it stands: cordoned is what was wanted. Unless a dead run has
                // requested the reboot, which is then awaited to its end.
                None if self.position(Verb::AwaitReady).is_none() => return None,
                None => true,
            };
            if !requested {
                return self.position(Verb::Uncordon).and_then(pending);
            }
        }
        let first = self.states.iter().position(|state| *state == StepState::Pending)?;
        let done = self.states[..first].iter().all(|state| *state == StepState::Succeeded);
        (done || self.steps[first].verb == Verb::Uncordon).then(|| &self.steps[first])
    }
}
