//! Whether the disruption budgets let a pod go now, by what the watch last told of them.

use super::super::context::StepContext;
use super::super::waiting::Changes;
use crate::model::{Budget, BudgetKey, Pod};
use crate::plan::BudgetProof;
use crate::rules::{self, BudgetVerdict};
use crate::run::WaitFor;

/// Whether a pod may be asked to go.
pub(super) enum MayGo {
    /// Now; the allowance of this budget was taken for it.
    Now(Option<BudgetKey>),
    /// This budget holds it.
    Held(Budget),
    /// Not until somebody does something.
    Never { why: String, advice: String },
}

/// Whether the budgets let a pod go, by the live view; the wait is about these budgets from now on.
pub(super) fn may_go(context: &StepContext, pod: &Pod, changes: &Changes) -> MayGo {
    let live = &context.cluster.live;
    let budgets = live.await_budgets_over(pod, changes);
    let Some(budget) = budgets.first() else { return MayGo::Now(None) };
    let verdict = rules::budget_verdict(budget, pod);
    if matches!(verdict, BudgetVerdict::NoBudgetNeeded) {
        return MayGo::Now(None);
    }
    if budgets.len() > 1 {
        return two_budgets(&budgets);
    }
    match verdict {
        BudgetVerdict::NoBudgetNeeded => MayGo::Now(None),
        BudgetVerdict::Allows => {
            if !pod.status.ready {
                // A pod that is not Ready takes nothing from the allowance.
                MayGo::Now(None)
            } else if live.take_allowance(budget) {
                MayGo::Now(Some(budget.key.clone()))
            } else {
                MayGo::Held(budget.clone())
            }
        }
        BudgetVerdict::Busy | BudgetVerdict::ClearsAfterCordon(_) => MayGo::Held(budget.clone()),
        BudgetVerdict::Never(proof) => match proof {
            // Pods become healthy again, often within seconds; the drain's own time limit ends this wait.
            BudgetProof::NothingHealthy => MayGo::Held(budget.clone()),
            BudgetProof::Arithmetic { desired, expected } => MayGo::Never {
                why: format!("disruption budget {} needs {desired} healthy pods of {expected}", budget.key),
                advice: format!(
                    "run it with {} replicas, or let budget {} allow a disruption",
                    desired + 1,
                    budget.key
                ),
            },
            BudgetProof::SyncFailed => MayGo::Never {
                why: format!("the disruption controller cannot count the pods of budget {}", budget.key),
                advice: format!("see the conditions of budget {}", budget.key),
            },
            BudgetProof::NothingExpected => MayGo::Never {
                why: format!("disruption budget {} covers only pods without a controller", budget.key),
                advice: format!("let budget {} use a whole number for minAvailable", budget.key),
            },
            BudgetProof::NeitherField => MayGo::Never {
                why: format!("disruption budget {} has neither minAvailable nor maxUnavailable", budget.key),
                advice: format!("give budget {} one of the two", budget.key),
            },
        },
    }
}

/// Whether a budget has room for one more by its own count. It holds pods all the same while an eviction that this run
/// has sent is not in that count, or while the controller has yet to count anew.
pub(super) fn has_room(budget: &Budget) -> bool {
    budget.healthy > budget.desired
}

/// The wait for that of these budgets which holds the most pods of the node.
pub(super) fn holds_most(held: Vec<(Budget, u32)>) -> Option<WaitFor> {
    let (budget, pods) = held.into_iter().max_by_key(|(_, pods)| *pods)?;
    Some(WaitFor::Budget {
        healthy: budget.healthy,
        expected: budget.expected,
        desired: budget.desired,
        budget: budget.key,
        pods,
    })
}

/// Why a pod under several budgets cannot be evicted.
pub(super) fn two_budgets(budgets: &[Budget]) -> MayGo {
    let names: Vec<String> = budgets.iter().map(|budget| budget.key.to_string()).collect();
    MayGo::Never {
        why: format!(
            "it is under more than one disruption budget ({}), which evictions do not support",
            names.join(", ")
        ),
        advice: "let only one budget cover it".to_owned(),
    }
}
