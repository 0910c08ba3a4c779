//! Waves: which outages are expected to run together. Made by running the plan over its estimates; not barriers.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

use super::replay::{Ending, replay};
use super::state::StepState;
use super::types::{ClusterPlan, Wave};
use crate::model::NodeName;

/// The waves of a cluster. An outage joins the wave before it if it begins before any outage of that wave has ended.
#[must_use]
pub fn waves(plan: &ClusterPlan, now: Timestamp) -> Vec<Wave> {
    let places: BTreeMap<&NodeName, usize> =
        plan.outages.iter().enumerate().map(|(at, outage)| (&outage.node, at)).collect();
    let mut spans: Vec<Option<(Duration, Duration)>> = vec![None; plan.outages.len()];
    let estimate = |id: &super::StepId| plan.steps.get(id).map_or(Duration::ZERO, |step| step.estimate);
    replay(
        plan,
        now,
        |id| (estimate(id), Ending::Succeeds),
        |at, id, state| {
            let Some(span) = places.get(&id.node).and_then(|&place| spans.get_mut(place)) else { return };
            match (state, span.as_mut()) {
                (StepState::Running, None) => *span = Some((at, at)),
                (_, Some((_, end))) => *end = at,
                (StepState::Pending | StepState::Succeeded | StepState::Failed | StepState::Skipped, None) => {}
            }
        },
    );
    let mut outages: Vec<(Duration, usize, Duration)> =
        spans.iter().enumerate().filter_map(|(place, span)| span.map(|(from, to)| (from, place, to))).collect();
    outages.sort();
    let mut waves: Vec<Wave> = Vec::new();
    // When the first outage of the current wave ends, and when its last does.
    let (mut first_end, mut last_end) = (Duration::ZERO, Duration::ZERO);
    for (from, place, to) in outages {
        let node = plan.outages[place].node.clone();
        match waves.last_mut() {
            Some(wave) if from < first_end => {
                first_end = first_end.min(to);
                last_end = last_end.max(to);
                wave.nodes.push(node);
                wave.lasts = last_end.saturating_sub(wave.begins);
            }
            Some(_) | None => {
                (first_end, last_end) = (to, to);
                waves.push(Wave { begins: from, lasts: to.saturating_sub(from), nodes: vec![node] });
            }
        }
    }
    waves
}
