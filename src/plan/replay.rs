//! A plan played through without a cluster: what waves are made of, and what the checker and the tests watch.

use jiff::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use super::startable::{Occupancy, after_failure, passed_over};
use super::state::StepState;
use super::types::{ClusterPlan, StepId};

/// How a step ends in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Proved.
    Succeeds,
    /// Fails.
    Fails,
    /// Its time is up.
    TimesOut,
}

/// How a replay came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The last state of every step. What could not start is still pending.
    pub states: BTreeMap<StepId, StepState>,
    /// Whether a failure halted the cluster.
    pub halted: bool,
    /// How long it took.
    pub took: Duration,
}

/// Plays a plan through: every step that [`Occupancy::startable`] names starts at once, takes as long as `ending`
/// says, and ends as it says. `watch` sees every change of a state, with the time since the beginning.
pub fn replay(
    plan: &ClusterPlan,
    now: Timestamp,
    mut ending: impl FnMut(&StepId) -> (Duration, Ending),
    mut watch: impl FnMut(Duration, &StepId, StepState),
) -> Replayed {
    let mut occupancy = Occupancy::new(plan);
    let mut states: BTreeMap<StepId, StepState> =
        plan.steps.keys().map(|id| (id.clone(), StepState::Pending)).collect();
    let mut due: BinaryHeap<Reverse<(Duration, StepId)>> = BinaryHeap::new();
    let mut endings: BTreeMap<StepId, Ending> = BTreeMap::new();
    let mut clock = Duration::ZERO;
    let mut halted = false;
    loop {
        for id in occupancy.startable(halted, now) {
            let look = |id: &StepId| states.get(id).copied().unwrap_or(StepState::Skipped);
            for skipped in passed_over(plan, &look, &id) {
                enter(&mut states, &mut occupancy, &skipped, StepState::Skipped);
                watch(clock, &skipped, StepState::Skipped);
            }
            enter(&mut states, &mut occupancy, &id, StepState::Running);
            watch(clock, &id, StepState::Running);
            let (lasts, ends) = ending(&id);
            endings.insert(id.clone(), ends);
            due.push(Reverse((clock.saturating_add(lasts), id)));
        }
        let Some(Reverse((at, first))) = due.pop() else { break };
        clock = at;
        // What ends at the same moment is seen together, or the order of names would decide what starts.
        let mut ended = vec![first];
        while due.peek().is_some_and(|Reverse((next, _))| *next == at) {
            ended.extend(due.pop().map(|Reverse((_, id))| id));
        }
        for id in ended {
            let ends = endings.remove(&id).unwrap_or(Ending::Fails);
            if ends == Ending::Succeeds {
                enter(&mut states, &mut occupancy, &id, StepState::Succeeded);
                watch(clock, &id, StepState::Succeeded);
                continue;
            }
            enter(&mut states, &mut occupancy, &id, StepState::Failed);
            watch(clock, &id, StepState::Failed);
            let follows = after_failure(plan, &id, ends == Ending::TimesOut);
            halted |= follows.halt;
            for skipped in follows.skip {
                enter(&mut states, &mut occupancy, &skipped, StepState::Skipped);
                watch(clock, &skipped, StepState::Skipped);
            }
        }
    }
    Replayed { states, halted, took: clock }
}

fn enter(states: &mut BTreeMap<StepId, StepState>, occupancy: &mut Occupancy, id: &StepId, state: StepState) {
    occupancy.set(id, state);
    if let Some(known) = states.get_mut(id) {
        *known = state;
    }
}
