//! What stands in the way of a drain: which pods must leave, which may not be made to, and which disruption budgets
//! will never let go.
//!
//! The filter is that of `kubectl drain`: mirror pods stay, finished pods go, pods of an existing DaemonSet stay, and
//! the rest is tried for a controller and for `emptyDir` data. The verdicts on budgets follow the eviction API of
//! Kubernetes 1.37, as observed: a budget that allows nothing at the moment is a wait; only a proof makes it a "no".

use std::collections::BTreeMap;

use crate::model::{
    Bound, Budget, BudgetSpec, DaemonSet, DrainRule, Pod, PodPhase, Selector, Uid, UnhealthyPolicy, UnmanagedPods,
};

/// Why a pod is left alone by a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stay {
    /// A mirror of a static pod: the kubelet's, not the API's.
    Mirror,
    /// Its DaemonSet exists and would make it again on the same node.
    DaemonSet,
    /// Made by haulout itself.
    Ours,
}

/// Why a pod may not be evicted although it would have to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// No controller would make it again, and the rule says `unmanaged_pods = "block"`.
    Unmanaged,
    /// It has `emptyDir` data, and the rule does not consent to lose it.
    EmptyDir,
    /// Both.
    UnmanagedWithEmptyDir,
}

/// What a drain does with a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Departure {
    /// It is left alone.
    Stays(Stay),
    /// It must be gone before the node is drained. A terminating pod is one of these: nobody need evict it again, but
    /// the drain is not done before it is gone.
    Leaves,
    /// It would have to leave and may not be made to.
    Refused(Refused),
}

/// Whether a drain under `rule` evicts a pod.
///
/// `daemon_sets_known` says whether `daemon_sets` could be read. Where it could not, every pod that names a DaemonSet
/// as its controller is taken to have one: leaving an orphan alone harms nobody, evicting what comes straight back
/// would never end.
#[must_use]
pub fn departure(
    pod: &Pod,
    rule: &DrainRule,
    daemon_sets: &BTreeMap<Uid, DaemonSet>,
    daemon_sets_known: bool,
) -> Departure {
    let shape = &pod.shape;
    if shape.mirror {
        return Departure::Stays(Stay::Mirror);
    }
    if shape.ours {
        return Departure::Stays(Stay::Ours);
    }
    if pod.status.is_finished() {
        return Departure::Leaves;
    }
    let of_daemon_set = shape.owner.as_ref().filter(|owner| owner.is_daemon_set());
    if of_daemon_set.is_some_and(|owner| !daemon_sets_known || daemon_sets.contains_key(&owner.uid)) {
        return Departure::Stays(Stay::DaemonSet);
    }
    if pod.status.terminating {
        // Its end was decided by somebody else: whatever would be lost is lost without our doing.
        return Departure::Leaves;
    }
    let unmanaged = is_unmanaged(pod) && rule.unmanaged == UnmanagedPods::Block;
    let empty_dir = shape.empty_dir && !rule.delete_emptydir_data;
    match (unmanaged, empty_dir) {
        (false, false) => Departure::Leaves,
        (true, false) => Departure::Refused(Refused::Unmanaged),
        (false, true) => Departure::Refused(Refused::EmptyDir),
        (true, true) => Departure::Refused(Refused::UnmanagedWithEmptyDir),
    }
}

/// Whether nobody would make the pod again: it has no controller, or its DaemonSet is gone (pods of a DaemonSet that
/// exists never come this far).
fn is_unmanaged(pod: &Pod) -> bool {
    pod.shape.owner.as_ref().is_none_or(crate::model::Owner::is_daemon_set)
}

/// Why a budget will not allow an eviction, proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BudgetProof {
    /// It needs as many healthy pods as there are to be: allows 0 by arithmetic.
    Arithmetic {
        /// `desiredHealthy`.
        desired: u32,
        /// `expectedPods`.
        expected: u32,
    },
    /// The controller cannot count its pods (`SyncFailed`).
    SyncFailed,
    /// It covers only pods without a controller under `maxUnavailable` or a percentage: nothing is expected.
    NothingExpected,
    /// It has neither `minAvailable` nor `maxUnavailable`.
    NeitherField,
    /// Nothing is healthy and the policy is IfHealthyBudget: unready pods are not evictable.
    NothingHealthy,
}

/// What a budget says to the eviction of one of its pods, now and for as long as nobody changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BudgetVerdict {
    /// The API does not ask the budget: the pod is Pending, finished or terminating.
    NoBudgetNeeded,
    /// It lets the pod go now: it has room, or the pod is unready and its policy allows that.
    Allows,
    /// It allows nothing now, and nothing proves that it never will.
    Busy,
    /// It will not let the pod go as things stand.
    Never(BudgetProof),
    /// As it stands it would never let the pod go, but this operator is known to move the pod or the budget once the
    /// node is cordoned.
    ClearsAfterCordon(&'static str),
}

/// Whether the eviction API deletes a pod without asking any budget, even where two cover it.
#[must_use]
pub fn is_budget_exempt(pod: &Pod) -> bool {
    pod.status.terminating
        || match pod.status.phase {
            PodPhase::Pending | PodPhase::Succeeded | PodPhase::Failed => true,
            PodPhase::Running | PodPhase::Unknown => false,
        }
}

/// What `budget`, which covers `pod`, says to its eviction.
#[must_use]
pub fn budget_verdict(budget: &Budget, pod: &Pod) -> BudgetVerdict {
    if is_budget_exempt(pod) {
        return BudgetVerdict::NoBudgetNeeded;
    }
    if !pod.status.ready {
        match budget.unhealthy {
            UnhealthyPolicy::AlwaysAllow => return BudgetVerdict::Allows,
            UnhealthyPolicy::IfHealthyBudget => {
                if budget.desired > 0 && budget.healthy >= budget.desired {
                    return BudgetVerdict::Allows;
                }
            }
        }
    }
    let proof = proof_of_never(budget, pod);
    match (proof, operator_of(budget)) {
        (Some(_), Some(operator)) => BudgetVerdict::ClearsAfterCordon(operator),
        (Some(proof), None) => BudgetVerdict::Never(proof),
        // Until the controller has seen the spec, the API answers "still being processed": a moment, not a refusal.
        (None, _) if budget.allowed > 0 && budget.observed => BudgetVerdict::Allows,
        (None, _) => BudgetVerdict::Busy,
    }
}

/// The proof that a budget will not let a pod go, whatever its pods do. A budget that allows something now is proof of
/// the opposite, even against its arithmetic: surge pods of a rollout raise the allowance.
fn proof_of_never(budget: &Budget, pod: &Pod) -> Option<BudgetProof> {
    if budget.sync_failed.is_some() {
        return Some(BudgetProof::SyncFailed);
    }
    let counts_controllers = match budget.spec {
        BudgetSpec::Neither => return Some(BudgetProof::NeitherField),
        BudgetSpec::MinAvailable(Bound::Count(_)) => false,
        BudgetSpec::MinAvailable(Bound::Percent(_)) | BudgetSpec::MaxUnavailable(_) => true,
    };
    if budget.allowed > 0 {
        return None;
    }
    if budget.expected == 0 {
        // With a plain count, every matching pod is expected: a zero there is a status that is not written yet.
        return (counts_controllers && budget.observed).then_some(BudgetProof::NothingExpected);
    }
    let desired = desired_healthy(budget.spec, budget.expected);
    if desired >= budget.expected {
        return Some(BudgetProof::Arithmetic { desired, expected: budget.expected });
    }
    // Not even a budget that forbids nothing lets an unready pod go while nothing is healthy.
    (!pod.status.ready && budget.healthy == 0).then_some(BudgetProof::NothingHealthy)
}

/// `desiredHealthy` as the disruption controller computes it. Shares are rounded up in both fields.
fn desired_healthy(spec: BudgetSpec, expected: u32) -> u32 {
    let amount = |bound: Bound| match bound {
        Bound::Count(count) => count,
        Bound::Percent(percent) => {
            let share = (u64::from(expected) * u64::from(percent)).div_ceil(100);
            u32::try_from(share).unwrap_or(u32::MAX)
        }
    };
    match spec {
        BudgetSpec::MinAvailable(bound) => amount(bound),
        BudgetSpec::MaxUnavailable(bound) => expected.saturating_sub(amount(bound)),
        BudgetSpec::Neither => expected,
    }
}

/// An operator that moves what its budget holds once the node is cordoned, and how its budgets are told.
struct Operator {
    name: &'static str,
    /// API group of its custom resources, which own its budgets.
    group: &'static str,
    /// Prefix of its labels, on its budgets or in their selectors.
    prefix: &'static str,
}

/// Sources, by project and issue:
/// - CloudNativePG (cloudnative-pg #7346, #6840): the budget of a primary always allows 0; the operator switches over
///   when it sees the node unschedulable. Owned by `postgresql.cnpg.io/Cluster`, selects by `cnpg.io/…`.
/// - Rook (rook #6497, #14730, and its design "Handling node drains through managed PodDisruptionBudgets"): one
///   budget is swapped for blocking ones of the other failure domains in mid-drain. Owned by `ceph.rook.io/CephCluster`.
/// - Longhorn (longhorn-manager #707): the budget of an instance manager is deleted once its volumes are detached.
///   Selects by `longhorn.io/…`.
/// - KubeVirt (its "Handling eviction requests"): the virtual machine is migrated away. Owned by
///   `kubevirt.io/VirtualMachineInstance`, selects by `kubevirt.io/created-by`.
/// - Strimzi (its Drain Cleaner): told to set `maxUnavailable: 0`, it rolls the pod itself. Labelled
///   `strimzi.io/cluster`, owned by `kafka.strimzi.io` or `core.strimzi.io`.
const OPERATORS: [Operator; 5] = [
    Operator { name: "CloudNativePG", group: "postgresql.cnpg.io", prefix: "cnpg.io/" },
    Operator { name: "Rook", group: "ceph.rook.io", prefix: "ceph.rook.io/" },
    Operator { name: "Longhorn", group: "longhorn.io", prefix: "longhorn.io/" },
    Operator { name: "KubeVirt", group: "kubevirt.io", prefix: "kubevirt.io/" },
    Operator { name: "Strimzi", group: "strimzi.io", prefix: "strimzi.io/" },
];

/// The operator that owns a budget, where it is one of those known to move what it holds once the node is cordoned.
#[must_use]
pub fn operator_of(budget: &Budget) -> Option<&'static str> {
    let group = budget.owner.as_ref().and_then(|owner| owner.api_version.split_once('/')).map(|(group, _)| group);
    let owned = |operator: &Operator| {
        group.is_some_and(|group| {
            group == operator.group || group.strip_suffix(operator.group).is_some_and(|head| head.ends_with('.'))
        })
    };
    let labelled = |operator: &Operator| {
        budget.labels.keys().any(|key| key.starts_with(operator.prefix))
            || budget.selector.as_ref().is_some_and(|selector| selects_by(selector, operator.prefix))
    };
    OPERATORS
        .iter()
        .find(|operator| owned(operator))
        .or_else(|| OPERATORS.iter().find(|operator| labelled(operator)))
        .map(|operator| operator.name)
}

fn selects_by(selector: &Selector, prefix: &str) -> bool {
    selector.requirements().any(|requirement| requirement.key().starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        BudgetKey, Foreign, Grace, Labels, Namespace, OnTimeout, Owner, PodKey, PodName, PodShape, PodStatus,
    };
    use std::sync::Arc;
    use std::time::Duration;

    fn owner(api_version: &str, kind: &str, uid: &str) -> Owner {
        Owner { api_version: api_version.into(), kind: kind.into(), name: "x".into(), uid: Uid::new(uid).unwrap() }
    }

    fn pod(shape: PodShape, phase: PodPhase, ready: bool) -> Pod {
        Pod {
            key: PodKey { namespace: Namespace::new("shop").unwrap(), name: PodName::new("web-1").unwrap() },
            uid: Uid::new("pod-1").unwrap(),
            node: None,
            status: PodStatus { phase, ready, terminating: false },
            shape: Arc::new(shape),
        }
    }

    fn managed() -> PodShape {
        PodShape { owner: Some(owner("apps/v1", "ReplicaSet", "rs-1")), ..PodShape::default() }
    }

    fn budget(spec: BudgetSpec, expected: u32, healthy: u32) -> Budget {
        let desired = desired_healthy(spec, expected);
        Budget {
            key: BudgetKey { namespace: Namespace::new("shop").unwrap(), name: PodName::new("web").unwrap() },
            uid: Uid::new("budget-1").unwrap(),
            spec,
            selector: Some(Selector::everything()),
            unhealthy: UnhealthyPolicy::IfHealthyBudget,
            expected,
            desired,
            healthy,
            allowed: if expected == 0 { 0 } else { healthy.saturating_sub(desired) },
            observed: true,
            sync_failed: None,
            disrupted: Vec::new(),
            owner: None,
            labels: Arc::new(Labels::new()),
        }
    }

    fn running() -> Pod {
        pod(managed(), PodPhase::Running, true)
    }

    const STRICT: DrainRule = DrainRule {
        timeout: Duration::from_secs(60),
        grace: Grace::Pod,
        on_timeout: OnTimeout::Skip,
        delete_emptydir_data: false,
        unmanaged: UnmanagedPods::Block,
    };

    #[test]
    fn the_filter_is_that_of_kubectl_drain() {
        let daemon_set = owner("apps/v1", "DaemonSet", "ds-1");
        let known = BTreeMap::from([(
            daemon_set.uid.clone(),
            DaemonSet {
                namespace: Namespace::new("shop").unwrap(),
                name: Foreign::new("x"),
                uid: daemon_set.uid.clone(),
                kured_locks: Vec::new(),
            },
        )]);
        let none = BTreeMap::new();
        let shape = |change: fn(&mut PodShape)| {
            let mut shape = managed();
            change(&mut shape);
            pod(shape, PodPhase::Running, true)
        };
        let of_daemon_set = pod(PodShape { owner: Some(daemon_set), ..PodShape::default() }, PodPhase::Running, true);
        let finished = |mut pod: Pod| {
            pod.status.phase = PodPhase::Succeeded;
            pod
        };
        let terminating = |mut pod: Pod| {
            pod.status.terminating = true;
            pod
        };
        let bare = || shape(|shape| shape.owner = None);

        assert_eq!(
            departure(&shape(|shape| shape.mirror = true), &STRICT, &none, true),
            Departure::Stays(Stay::Mirror)
        );
        assert_eq!(departure(&shape(|shape| shape.ours = true), &STRICT, &none, true), Departure::Stays(Stay::Ours));
        assert_eq!(departure(&of_daemon_set, &STRICT, &known, true), Departure::Stays(Stay::DaemonSet));
        assert_eq!(departure(&of_daemon_set, &STRICT, &none, false), Departure::Stays(Stay::DaemonSet));
        assert_eq!(departure(&of_daemon_set, &STRICT, &none, true), Departure::Refused(Refused::Unmanaged));
        assert_eq!(departure(&finished(of_daemon_set.clone()), &STRICT, &known, true), Departure::Leaves);
        assert_eq!(departure(&finished(bare()), &STRICT, &none, true), Departure::Leaves);
        assert_eq!(departure(&terminating(bare()), &STRICT, &none, true), Departure::Leaves);
        assert_eq!(departure(&bare(), &STRICT, &none, true), Departure::Refused(Refused::Unmanaged));
        let with_data = shape(|shape| shape.empty_dir = true);
        assert_eq!(departure(&with_data, &STRICT, &none, true), Departure::Refused(Refused::EmptyDir));
        let both = shape(|shape| {
            shape.owner = None;
            shape.empty_dir = true;
        });
        assert_eq!(departure(&both, &STRICT, &none, true), Departure::Refused(Refused::UnmanagedWithEmptyDir));
        let lenient = DrainRule { delete_emptydir_data: true, unmanaged: UnmanagedPods::Evict, ..STRICT };
        assert_eq!(departure(&both, &lenient, &none, true), Departure::Leaves);
        assert_eq!(departure(&running(), &STRICT, &none, true), Departure::Leaves);
    }

    #[test]
    fn a_budget_is_a_no_only_with_proof() {
        use BudgetSpec::{MaxUnavailable, MinAvailable, Neither};
        let never = |proof| BudgetVerdict::Never(proof);
        let arithmetic = |desired, expected| never(BudgetProof::Arithmetic { desired, expected });
        let cases = [
            (MinAvailable(Bound::Count(2)), 3, 3, BudgetVerdict::Allows),
            (MinAvailable(Bound::Count(2)), 3, 2, BudgetVerdict::Busy),
            (MinAvailable(Bound::Count(3)), 3, 3, arithmetic(3, 3)),
            (MinAvailable(Bound::Count(5)), 3, 3, arithmetic(5, 3)),
            (MinAvailable(Bound::Percent(90)), 9, 9, arithmetic(9, 9)),
            (MinAvailable(Bound::Percent(90)), 10, 10, BudgetVerdict::Allows),
            (MinAvailable(Bound::Percent(51)), 2, 2, arithmetic(2, 2)),
            (MaxUnavailable(Bound::Count(0)), 3, 3, arithmetic(3, 3)),
            (MaxUnavailable(Bound::Percent(0)), 3, 3, arithmetic(3, 3)),
            (MaxUnavailable(Bound::Percent(1)), 3, 3, BudgetVerdict::Allows),
            (MaxUnavailable(Bound::Percent(1)), 3, 2, BudgetVerdict::Busy),
            (MaxUnavailable(Bound::Count(1)), 0, 0, never(BudgetProof::NothingExpected)),
            (MinAvailable(Bound::Count(1)), 0, 0, BudgetVerdict::Busy),
            (Neither, 3, 3, never(BudgetProof::NeitherField)),
        ];
        for (spec, expected, healthy, verdict) in cases {
            let mut budget = budget(spec, expected, healthy);
            if spec == Neither {
                budget.allowed = 0;
            }
            assert_eq!(budget_verdict(&budget, &running()), verdict, "{spec:?} of {expected}, {healthy} healthy");
        }
        let mut failed = budget(MaxUnavailable(Bound::Count(1)), 3, 3);
        failed.sync_failed = Some(Foreign::new("found no controllers"));
        failed.allowed = 0;
        assert_eq!(budget_verdict(&failed, &running()), never(BudgetProof::SyncFailed));
        let mut unseen = budget(MaxUnavailable(Bound::Count(1)), 3, 3);
        unseen.observed = false;
        assert_eq!(budget_verdict(&unseen, &running()), BudgetVerdict::Busy);
        // Surge pods of a rollout raise the allowance above what arithmetic says.
        let surge = budget(MaxUnavailable(Bound::Count(0)), 3, 4);
        assert_eq!(budget_verdict(&surge, &running()), BudgetVerdict::Allows);
    }

    #[test]
    fn unready_pods_go_by_the_policy() {
        let unready = pod(managed(), PodPhase::Running, false);
        let spec = BudgetSpec::MinAvailable(Bound::Count(2));
        assert_eq!(budget_verdict(&budget(spec, 3, 2), &unready), BudgetVerdict::Allows);
        assert_eq!(budget_verdict(&budget(spec, 3, 1), &unready), BudgetVerdict::Busy);
        assert_eq!(budget_verdict(&budget(spec, 3, 0), &unready), BudgetVerdict::Never(BudgetProof::NothingHealthy));
        let forbids_nothing = budget(BudgetSpec::MinAvailable(Bound::Count(0)), 3, 0);
        assert_eq!(budget_verdict(&forbids_nothing, &unready), BudgetVerdict::Never(BudgetProof::NothingHealthy));
        let mut always = budget(BudgetSpec::MaxUnavailable(Bound::Count(0)), 3, 0);
        always.unhealthy = UnhealthyPolicy::AlwaysAllow;
        assert_eq!(budget_verdict(&always, &unready), BudgetVerdict::Allows);
    }

    #[test]
    fn pods_that_have_not_begun_or_have_ended_need_no_budget() {
        let never = budget(BudgetSpec::MaxUnavailable(Bound::Count(0)), 3, 3);
        for phase in [PodPhase::Pending, PodPhase::Succeeded, PodPhase::Failed] {
            assert_eq!(budget_verdict(&never, &pod(managed(), phase, true)), BudgetVerdict::NoBudgetNeeded);
        }
        let unknown = pod(managed(), PodPhase::Unknown, true);
        assert!(matches!(budget_verdict(&never, &unknown), BudgetVerdict::Never(_)));
        let mut terminating = running();
        terminating.status.terminating = true;
        assert_eq!(budget_verdict(&never, &terminating), BudgetVerdict::NoBudgetNeeded);
    }

    #[test]
    fn budgets_of_operators_clear_after_the_cordon() {
        let never = || budget(BudgetSpec::MinAvailable(Bound::Count(1)), 1, 1);
        let owned = |api_version: &str| {
            let mut budget = never();
            budget.owner = Some(owner(api_version, "X", "x-1"));
            budget
        };
        for (api_version, name) in [
            ("postgresql.cnpg.io/v1", "CloudNativePG"),
            ("ceph.rook.io/v1", "Rook"),
            ("longhorn.io/v1beta2", "Longhorn"),
            ("kubevirt.io/v1", "KubeVirt"),
            ("core.strimzi.io/v1", "Strimzi"),
            ("kafka.strimzi.io/v1", "Strimzi"),
        ] {
            assert_eq!(budget_verdict(&owned(api_version), &running()), BudgetVerdict::ClearsAfterCordon(name));
        }
        for api_version in ["notlonghorn.io/v1", "apps/v1", "v1"] {
            assert!(
                matches!(budget_verdict(&owned(api_version), &running()), BudgetVerdict::Never(_)),
                "{api_version}"
            );
        }
        let mut selected = never();
        selected.selector = Some(Selector::parse("longhorn.io/component=instance-manager").unwrap());
        assert_eq!(operator_of(&selected), Some("Longhorn"));
        let mut labelled = never();
        labelled.labels = Arc::new(Labels::from([("strimzi.io/cluster".into(), "kafka".into())]));
        assert_eq!(operator_of(&labelled), Some("Strimzi"));
    }
}
