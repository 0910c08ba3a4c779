//! What a drain of one node would meet: who leaves, what paces it, what forbids it.

use std::collections::BTreeMap;

use super::blocked::BlockedReason;
use super::types::{HeldUntil, Hold, Impact, Slot};
use crate::model::{Budget, BudgetKey, DrainRule, GapSubject, Namespace, NodeName, Owner, Pod, PodKey, Snapshot};
use crate::rules::{BudgetProof, BudgetVerdict, Departure, Refused, Stay, budget_verdict, departure, is_budget_exempt};

/// Judges drains on one cluster. Pods of one shape in one namespace are under the same budgets, so that each shape is
/// matched with the budgets once, not each pod.
pub(super) struct Judge<'s> {
    snapshot: &'s Snapshot,
    daemon_sets_known: bool,
    covering: BTreeMap<(usize, &'s Namespace), Vec<&'s Budget>>,
}

/// What the drain of one node comes to.
#[derive(Debug, Default)]
pub(super) struct Prospect {
    /// The pods to be evicted, in the order of their keys.
    pub(super) evicts: Vec<PodKey>,
    /// What a reader should know.
    pub(super) impact: Vec<Impact>,
    /// The budgets that pace it.
    pub(super) holds: Vec<Hold>,
    /// How much each of those budgets allows.
    pub(super) allowed: BTreeMap<BudgetKey, u32>,
    /// Why it cannot be done.
    pub(super) reasons: Vec<BlockedReason>,
}

/// What is gathered of one budget over all pods of a node.
struct Seen<'s> {
    budget: &'s Budget,
    /// Pods that need its permission.
    here: u32,
    busy: bool,
    operator: Option<&'static str>,
    /// Pods that it will never let go, by the proof for each.
    never: BTreeMap<BudgetProof, Vec<PodKey>>,
}

impl<'s> Judge<'s> {
    pub(super) fn new(snapshot: &'s Snapshot) -> Self {
        let daemon_sets_known = !snapshot.has_gap(GapSubject::DaemonSets);
        Self { snapshot, daemon_sets_known, covering: BTreeMap::new() }
    }

    /// Looks at every pod of a node under a drain rule.
    pub(super) fn drain(&mut self, node: &NodeName, rule: &DrainRule) -> Prospect {
        let mut prospect = Prospect::default();
        for subject in [GapSubject::Pods, GapSubject::Budgets] {
            if self.snapshot.has_gap(subject) {
                prospect.reasons.push(BlockedReason::CannotJudge(subject));
            }
        }
        let (mut unmanaged, mut empty_dir, mut two_budgets) = (Vec::new(), Vec::new(), Vec::new());
        let (mut data_lost, mut not_recreated, mut may_return) = (0_u32, 0_u32, 0_u32);
        let mut seen: BTreeMap<&BudgetKey, Seen<'s>> = BTreeMap::new();
        let snapshot = self.snapshot;
        for pod in snapshot.pods_on(node) {
            match departure(pod, rule, &snapshot.daemon_sets, self.daemon_sets_known) {
                Departure::Stays(Stay::Mirror | Stay::DaemonSet | Stay::Ours) => continue,
                Departure::Leaves if pod.status.terminating => continue,
                Departure::Leaves => {
                    if !pod.status.is_finished() {
                        data_lost += u32::from(pod.shape.empty_dir);
                        // Pods of a DaemonSet that exists stay, so that one seen here has lost it.
                        not_recreated += u32::from(pod.shape.owner.as_ref().is_none_or(Owner::is_daemon_set));
                        may_return += u32::from(pod.shape.tolerates_cordon);
                    }
                    prospect.evicts.push(pod.key.clone());
                }
                Departure::Refused(refused) => {
                    if matches!(refused, Refused::Unmanaged | Refused::UnmanagedWithEmptyDir) {
                        unmanaged.push(pod.key.clone());
                    }
                    if matches!(refused, Refused::EmptyDir | Refused::UnmanagedWithEmptyDir) {
                        empty_dir.push(pod.key.clone());
                    }
                }
            }
            if is_budget_exempt(pod) {
                continue;
            }
            match self.covering(pod) {
                [] => {}
                [budget] => look(budget, pod, &mut seen),
                several => two_budgets.push(BlockedReason::TwoBudgets {
                    pod: pod.key.clone(),
                    budgets: several.iter().map(|budget| budget.key.clone()).collect(),
                }),
            }
        }
        for seen in seen.into_values() {
            conclude(seen, &mut prospect);
        }
        prospect.reasons.extend(two_budgets);
        if !unmanaged.is_empty() {
            prospect.reasons.push(BlockedReason::UnmanagedPods(unmanaged));
        }
        if !empty_dir.is_empty() {
            prospect.reasons.push(BlockedReason::EmptyDirData(empty_dir));
        }
        let counted = [
            (data_lost, Impact::EmptyDirData(data_lost)),
            (not_recreated, Impact::Unmanaged(not_recreated)),
            (may_return, Impact::MayReturn(may_return)),
        ];
        prospect.impact.extend(counted.into_iter().filter(|(count, _)| *count > 0).map(|(_, impact)| impact));
        prospect
    }

    fn covering(&mut self, pod: &'s Pod) -> &[&'s Budget] {
        let shape = std::sync::Arc::as_ptr(&pod.shape) as usize;
        let budgets = &self.snapshot.budgets;
        self.covering.entry((shape, &pod.key.namespace)).or_insert_with(|| budgets.covering(pod).collect())
    }
}

/// Takes in what a budget says of one pod.
fn look<'s>(budget: &'s Budget, pod: &Pod, seen: &mut BTreeMap<&'s BudgetKey, Seen<'s>>) {
    let verdict = budget_verdict(budget, pod);
    let seen = seen.entry(&budget.key).or_insert_with(|| Seen {
        budget,
        here: 0,
        busy: false,
        operator: None,
        never: BTreeMap::new(),
    });
    match verdict {
        BudgetVerdict::NoBudgetNeeded => {}
        // An unready pod that may go takes nothing from the budget.
        BudgetVerdict::Allows => seen.here += u32::from(pod.status.ready),
        BudgetVerdict::Busy => {
            seen.busy = true;
            seen.here += 1;
        }
        BudgetVerdict::Never(proof) => seen.never.entry(proof).or_default().push(pod.key.clone()),
        BudgetVerdict::ClearsAfterCordon(operator) => seen.operator = Some(operator),
    }
}

/// What a budget means for the drain as a whole.
fn conclude(seen: Seen<'_>, prospect: &mut Prospect) {
    let Seen { budget, here, busy, operator, never } = seen;
    for (proof, pods) in never {
        prospect.reasons.push(BlockedReason::BudgetNever { budget: budget.key.clone(), proof, pods });
    }
    if let Some(operator) = operator {
        prospect.impact.push(Impact::ClearsAfterCordon { budget: budget.key.clone(), operator });
    }
    if busy {
        prospect.impact.push(Impact::BudgetBusy {
            budget: budget.key.clone(),
            healthy: budget.healthy,
            desired: budget.desired,
        });
    }
    if here == 0 || budget.allowed == 0 {
        return;
    }
    // A budget that has room to spare beyond what is here paces nothing, and is not worth a line.
    if here >= budget.allowed {
        prospect.impact.push(Impact::BudgetPaces {
            budget: budget.key.clone(),
            allowed: budget.allowed,
            expected: budget.expected,
            here,
        });
    }
    prospect.allowed.insert(budget.key.clone(), budget.allowed);
    prospect.holds.push(Hold {
        slot: Slot::Budget(budget.key.clone()),
        units: here.min(budget.allowed),
        until: HeldUntil::DrainEnds,
    });
}
