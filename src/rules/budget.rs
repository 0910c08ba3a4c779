//! The arithmetic of disruption budgets, as the disruption controller does it.

use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Bound, Budget, BudgetSpec, Uid};

/// How long an accepted eviction is believed before the pod's deletion has been seen: two minutes.
pub const DISRUPTED_FOR: SignedDuration = SignedDuration::from_mins(2);

/// Who would make a pod again, as far as counting goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Controller {
    /// Nobody: the pod has no owner reference with `controller: true`.
    None,
    /// A controller with a scale: a Deployment (through its ReplicaSet), a ReplicaSet, a StatefulSet, anything with
    /// `/scale`.
    Scaled {
        /// Its UID; pods of one controller share its replicas.
        uid: Uid,
        /// `spec.replicas`.
        replicas: u32,
    },
    /// A controller without a scale, such as a DaemonSet, a Job or a Node.
    Unscalable {
        /// Its plural and group, as the controller's message names it, such as `daemonsets.apps`.
        resource: Arc<str>,
    },
    /// A controller of a kind that the API does not serve.
    Unserved {
        /// Its kind.
        kind: Arc<str>,
        /// Its `apiVersion`.
        api_version: Arc<str>,
    },
    /// A controller of a kind with a scale that is not there, or not the same any more.
    Gone,
}

/// A pod that a budget's selector matches, whatever its phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: Arc<str>,
    /// Whether its Ready condition is True. The phase is not looked at: a Succeeded pod that is still Ready counts.
    pub ready: bool,
    /// Whether its deletion has begun.
    pub terminating: bool,
    /// Who would make it again.
    pub controller: Controller,
}

/// What the controller writes into a budget's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// `expectedPods`.
    pub expected: u32,
    /// `desiredHealthy`.
    pub desired: u32,
    /// `currentHealthy`.
    pub healthy: u32,
    /// `disruptionsAllowed`.
    pub allowed: u32,
}

/// The controller cannot count: it allows nothing and says so in the condition `DisruptionAllowed`, reason
/// `SyncFailed`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncFailed {
    /// An owner has no scale.
    #[error("{resource} does not implement the scale subresource")]
    NoScale {
        /// Its plural and group.
        resource: Arc<str>,
    },
    /// An owner is of a kind that the API does not serve.
    #[error("no matches for kind \"{kind}\" in version \"{api_version}\"")]
    NoKind {
        /// Its kind.
        kind: Arc<str>,
        /// Its `apiVersion`.
        api_version: Arc<str>,
    },
    /// An owner is not there.
    #[error("found no controllers for pod \"{pod}\"")]
    NoController {
        /// The pod.
        pod: Arc<str>,
    },
}

/// A share of pods, rounded up, as Kubernetes rounds for both fields of a budget.
#[must_use]
pub fn share(bound: Bound, of: u32) -> u32 {
    match bound {
        Bound::Count(count) => count,
        Bound::Percent(percent) => {
            let exact = u64::from(of) * u64::from(percent);
            u32::try_from(exact.div_ceil(100)).unwrap_or(u32::MAX)
        }
    }
}

/// Counts a budget. `disrupted` is `status.disruptedPods`: pods whose eviction was accepted, and when.
///
/// # Errors
/// [`SyncFailed`] where the budget needs the scale of an owner that has none, or cannot be found.
pub fn count(
    spec: BudgetSpec,
    members: &[Member],
    disrupted: &BTreeMap<Arc<str>, Timestamp>,
    now: Timestamp,
) -> Result<Count, SyncFailed> {
    let (expected, desired) = match spec {
        BudgetSpec::MinAvailable(Bound::Count(count)) => (u32::try_from(members.len()).unwrap_or(u32::MAX), count),
        BudgetSpec::MinAvailable(bound @ Bound::Percent(_)) => {
            let expected = scale(members)?;
            (expected, share(bound, expected))
        }
        BudgetSpec::MaxUnavailable(bound) => {
            let expected = scale(members)?;
            (expected, expected.saturating_sub(share(bound, expected)))
        }
        BudgetSpec::Neither => (0, 0),
    };
    let healthy = members
        .iter()
        .filter(|pod| {
            // A clock that was set back must not make an old entry young again, hence only the upper end is tested.
            let leaving = disrupted.get(&pod.name).is_some_and(|at| now.duration_since(*at) < DISRUPTED_FOR);
            pod.ready && !pod.terminating && !leaving
        })
        .count();
    let healthy = u32::try_from(healthy).unwrap_or(u32::MAX);
    let allowed = if expected == 0 { 0 } else { healthy.saturating_sub(desired) };
    Ok(Count { expected, desired, healthy, allowed })
}

/// The replicas that the members' controllers want, each controller once. Pods without a controller add nothing,
/// although they count as healthy.
fn scale(members: &[Member]) -> Result<u32, SyncFailed> {
    let mut seen = BTreeSet::new();
    let mut expected = 0_u32;
    for member in members {
        match &member.controller {
            Controller::None => {}
            Controller::Scaled { uid, replicas } => {
                if seen.insert(uid) {
                    expected = expected.saturating_add(*replicas);
                }
            }
            Controller::Unscalable { resource } => {
                return Err(SyncFailed::NoScale { resource: Arc::clone(resource) });
            }
            Controller::Unserved { kind, api_version } => {
                return Err(SyncFailed::NoKind { kind: Arc::clone(kind), api_version: Arc::clone(api_version) });
            }
            Controller::Gone => return Err(SyncFailed::NoController { pod: Arc::clone(&member.name) }),
        }
    }
    Ok(expected)
}

/// Which entries of `status.disruptedPods` the controller keeps: of pods that are there, not yet terminating, and
/// accepted less than two minutes ago.
#[must_use]
pub fn still_disrupted(
    disrupted: &BTreeMap<Arc<str>, Timestamp>,
    members: &[Member],
    now: Timestamp,
) -> BTreeMap<Arc<str>, Timestamp> {
    disrupted
        .iter()
        .filter(|(name, at)| {
            now.duration_since(**at) < DISRUPTED_FOR && members.iter().any(|pod| pod.name == **name && !pod.terminating)
        })
        .map(|(name, at)| (Arc::clone(name), *at))
        .collect()
}

/// Why a budget will not allow an eviction however long one waits, as long as nobody changes anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Never {
    /// It has neither `minAvailable` nor `maxUnavailable`.
    NeitherField,
    /// The controller cannot count it, for this reason.
    SyncFailed(crate::model::Foreign),
    /// It counts by replicas, and its pods have no controller: nothing is expected, and so nothing allowed.
    NothingExpected,
    /// It needs at least as many healthy pods as there will ever be.
    NeedsAll {
        /// Pods it expects.
        expected: u32,
        /// Healthy pods it needs.
        desired: u32,
    },
}

/// Whether a budget's own arithmetic forbids every eviction of a Ready pod. Says nothing of budgets that do not cover
/// any pod now, nor of operators that move a budget by themselves.
#[must_use]
pub fn never(budget: &Budget) -> Option<Never> {
    if budget.spec == BudgetSpec::Neither {
        return Some(Never::NeitherField);
    }
    if let Some(message) = &budget.sync_failed {
        return Some(Never::SyncFailed(message.clone()));
    }
    if !budget.observed || budget.allowed > 0 {
        return None;
    }
    if budget.expected == 0 {
        // With a plain minAvailable nothing expected means that it covers no pod, which a pod that comes will change.
        return (!matches!(budget.spec, BudgetSpec::MinAvailable(Bound::Count(_)))).then_some(Never::NothingExpected);
    }
    (budget.desired >= budget.expected)
        .then_some(Never::NeedsAll { expected: budget.expected, desired: budget.desired })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn members(healthy: u32, unready: u32, controller: &Controller) -> Vec<Member> {
        (0..healthy + unready)
            .map(|index| Member {
                name: format!("p-{index}").into(),
                ready: index < healthy,
                terminating: false,
                controller: controller.clone(),
            })
            .collect()
    }

    fn of(replicas: u32) -> Controller {
        Controller::Scaled { uid: Uid::new("d").unwrap(), replicas }
    }

    fn counted(spec: BudgetSpec, members: &[Member]) -> (u32, u32, u32, u32) {
        let count = count(spec, members, &BTreeMap::new(), NOW).unwrap();
        (count.expected, count.desired, count.healthy, count.allowed)
    }

    #[test]
    fn the_table_of_what_was_seen() {
        use Bound::{Count as N, Percent as P};
        use BudgetSpec::{MaxUnavailable as Max, MinAvailable as Min, Neither};
        let rows = [
            (Min(N(2)), members(3, 0, &of(3)), (3, 2, 3, 1)),
            (Min(N(3)), members(3, 0, &of(3)), (3, 3, 3, 0)),
            (Min(P(51)), members(3, 0, &of(3)), (3, 2, 3, 1)),
            (Min(P(90)), members(9, 0, &of(9)), (9, 9, 9, 0)),
            (Min(P(90)), members(10, 0, &of(10)), (10, 9, 10, 1)),
            (Min(P(80)), members(4, 0, &of(4)), (4, 4, 4, 0)),
            (Max(P(10)), members(7, 0, &of(7)), (7, 6, 7, 1)),
            (Max(P(1)), members(3, 0, &of(3)), (3, 2, 3, 1)),
            (Max(P(0)), members(3, 0, &of(3)), (3, 3, 3, 0)),
            (Max(N(0)), members(3, 0, &of(3)), (3, 3, 3, 0)),
            (Max(N(5)), members(3, 0, &of(3)), (3, 0, 3, 3)),
            (Min(P(100)), members(3, 0, &of(3)), (3, 3, 3, 0)),
            // One unready pod of three.
            (Min(N(2)), members(2, 1, &of(3)), (3, 2, 2, 0)),
            // A surge pod raises the allowance: four healthy, three expected.
            (Max(N(1)), members(4, 0, &of(3)), (3, 2, 4, 2)),
            // Bare pods: expected 0, and so nothing is allowed, except with a plain minAvailable.
            (Max(N(1)), members(2, 0, &Controller::None), (0, 0, 2, 0)),
            (Min(P(50)), members(2, 0, &Controller::None), (0, 0, 2, 0)),
            (Min(N(1)), members(2, 0, &Controller::None), (2, 1, 2, 1)),
            (Neither, members(3, 0, &of(3)), (0, 0, 3, 0)),
            (Min(N(0)), members(0, 3, &of(3)), (3, 0, 0, 0)),
        ];
        for (spec, members, expected) in rows {
            assert_eq!(counted(spec, &members), expected, "{spec:?} over {}", members.len());
        }
    }

    #[test]
    fn bare_pods_beside_controlled_ones_inflate_the_allowance() {
        let mut pods = members(2, 0, &of(2));
        pods.extend(members(2, 0, &Controller::None));
        assert_eq!(counted(BudgetSpec::MaxUnavailable(Bound::Count(1)), &pods), (2, 1, 4, 3));
    }

    #[test]
    fn owners_without_a_scale_fail_only_where_it_is_needed() {
        let pods = members(3, 0, &Controller::Unscalable { resource: "daemonsets.apps".into() });
        assert_eq!(counted(BudgetSpec::MinAvailable(Bound::Count(1)), &pods), (3, 1, 3, 2));
        let failed = count(BudgetSpec::MaxUnavailable(Bound::Count(1)), &pods, &BTreeMap::new(), NOW);
        assert_eq!(failed.unwrap_err().to_string(), "daemonsets.apps does not implement the scale subresource");
        let unserved = Controller::Unserved { kind: "Widget".into(), api_version: "example.com/v1".into() };
        for (controller, message) in [
            (unserved, "no matches for kind \"Widget\" in version \"example.com/v1\""),
            (Controller::Gone, "found no controllers for pod \"p-0\""),
        ] {
            let failed =
                count(BudgetSpec::MinAvailable(Bound::Percent(50)), &members(1, 0, &controller), &BTreeMap::new(), NOW);
            assert_eq!(failed.unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn accepted_evictions_count_as_gone_for_two_minutes() {
        let pods = members(3, 0, &of(3));
        let disrupted = BTreeMap::from([(Arc::from("p-0"), NOW)]);
        let spec = BudgetSpec::MinAvailable(Bound::Count(2));
        let at = |seconds| NOW + SignedDuration::from_secs(seconds);
        assert_eq!(count(spec, &pods, &disrupted, at(119)).unwrap().allowed, 0);
        assert_eq!(count(spec, &pods, &disrupted, at(120)).unwrap().allowed, 1);
        assert_eq!(still_disrupted(&disrupted, &pods, at(119)).len(), 1);
        assert_eq!(still_disrupted(&disrupted, &pods, at(120)).len(), 0);
        assert_eq!(still_disrupted(&disrupted, &[], at(1)).len(), 0);
    }

    proptest! {
        #[test]
        fn an_eviction_that_is_allowed_never_goes_below_what_is_desired(
            healthy in 0_u32..20, unready in 0_u32..5, replicas in 0_u32..25, percent in 0_u32..=100, bound in 0_u32..25,
        ) {
            let pods = members(healthy, unready, &of(replicas));
            for spec in [
                BudgetSpec::MinAvailable(Bound::Count(bound)),
                BudgetSpec::MinAvailable(Bound::Percent(percent)),
                BudgetSpec::MaxUnavailable(Bound::Count(bound)),
                BudgetSpec::MaxUnavailable(Bound::Percent(percent)),
            ] {
                let count = count(spec, &pods, &BTreeMap::new(), NOW).unwrap();
                prop_assert!(count.allowed == 0 || count.healthy - count.allowed >= count.desired);
            }
        }
    }
}
