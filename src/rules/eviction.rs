//! What the API server answers to an eviction: one table, as read in its source and seen on 1.37.2.
//!
//! The twin answers by it; planner and executor ask it what an answer would be before they send anything.

use crate::model::{Budget, BudgetKey, Foreign, PodPhase, UnhealthyPolicy};

/// Above so many entries in `disruptedPods` the server refuses.
const DISRUPTED_MAX: usize = 2000;
/// The message of every refusal by a budget.
pub const BUDGET_MESSAGE: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// The message for a pod under two budgets.
pub const TWO_BUDGETS_MESSAGE: &str =
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
/// The reason of the cause that tells a refusal by a budget from throttling.
pub const BUDGET_CAUSE: &str = "DisruptionBudget";

/// The pod as the server finds it, and what the request demanded of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its phase.
    pub phase: PodPhase,
    /// Whether its Ready condition is True.
    pub ready: bool,
    /// Whether its deletion has begun.
    pub terminating: bool,
    /// `preconditions.uid`: `None` where not sent, else whether it is the pod's.
    pub uid: Option<bool>,
    /// `preconditions.resourceVersion`: `None` where not sent, else whether it is the pod's.
    pub resource_version: Option<bool>,
}

impl Subject {
    /// A running pod without preconditions.
    #[must_use]
    pub fn running(ready: bool) -> Self {
        Self { phase: PodPhase::Running, ready, terminating: false, uid: None, resource_version: None }
    }
}

/// A budget that covers the pod, as its status says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cover<'a> {
    /// Namespace and name.
    pub key: &'a BudgetKey,
    /// `spec.unhealthyPodEvictionPolicy`.
    pub unhealthy: UnhealthyPolicy,
    /// Whether `observedGeneration` has caught up.
    pub observed: bool,
    /// `disruptionsAllowed`; signed because the server tests for less than zero.
    pub allowed: i64,
    /// `currentHealthy`.
    pub healthy: u32,
    /// `desiredHealthy`.
    pub desired: u32,
    /// How many entries `disruptedPods` has.
    pub disrupted: usize,
    /// The message of the condition `SyncFailed`, where it is there.
    pub sync_failed: Option<&'a Foreign>,
}

impl<'a> From<&'a Budget> for Cover<'a> {
    fn from(budget: &'a Budget) -> Self {
        Self {
            key: &budget.key,
            unhealthy: budget.unhealthy,
            observed: budget.observed,
            allowed: i64::from(budget.allowed),
            healthy: budget.healthy,
            desired: budget.desired,
            disrupted: budget.disrupted.len(),
            sync_failed: budget.sync_failed.as_ref(),
        }
    }
}

/// Why an eviction is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Passed {
    /// The pod has ended, has not begun, or is ending already: no budget is asked.
    NotRunning,
    /// No budget covers it.
    NoBudget,
    /// It is not Ready and its budget always lets such pods go.
    UnhealthyAlways,
    /// It is not Ready and its budget has enough healthy ones.
    UnhealthyBudgetMet,
    /// Its budget gives one disruption for it.
    Spent,
}

/// Why an eviction is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// 500: several budgets cover it. Permanent.
    TwoBudgets,
    /// 429 with Retry-After: the controller has not caught up with the budget.
    Processing(BudgetKey),
    /// 403: `disruptionsAllowed` is negative.
    Negative(BudgetKey),
    /// 403: too many accepted evictions were not seen through.
    TooManyDisrupted(BudgetKey),
    /// 429: the budget allows nothing now.
    Exhausted {
        /// The budget.
        budget: BudgetKey,
        /// Healthy pods it needs.
        desired: u32,
        /// Healthy pods now.
        healthy: u32,
        /// What the controller said where it cannot count.
        sync_failed: Option<Foreign>,
    },
    /// 409: the uid or the resourceVersion asked for is not the pod's.
    Conflict {
        /// Whether the uid differs; else the resourceVersion does.
        uid: bool,
        /// Whether the budget was lowered all the same, and stays so for two minutes.
        burns: bool,
    },
}

/// What the server does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// 201: the pod is deleted.
    Evicted(Passed),
    /// The pod stays.
    Refused(Denied),
}

/// Decides an eviction. `covers` are the budgets of the pod's namespace whose selector matches it.
#[must_use]
pub fn decide(pod: &Subject, covers: &[Cover<'_>]) -> Verdict {
    let conflict = |burns| {
        if pod.uid == Some(false) {
            Some(Verdict::Refused(Denied::Conflict { uid: true, burns }))
        } else if pod.resource_version == Some(false) {
            Some(Verdict::Refused(Denied::Conflict { uid: false, burns }))
        } else {
            None
        }
    };
    if pod.terminating || matches!(pod.phase, PodPhase::Pending | PodPhase::Succeeded | PodPhase::Failed) {
        return conflict(false).unwrap_or(Verdict::Evicted(Passed::NotRunning));
    }
    let cover = match covers {
        [] => return conflict(false).unwrap_or(Verdict::Evicted(Passed::NoBudget)),
        [cover] => cover,
        [_, _, ..] => return Verdict::Refused(Denied::TwoBudgets),
    };
    if !pod.ready {
        let passed = match cover.unhealthy {
            UnhealthyPolicy::AlwaysAllow => Some(Passed::UnhealthyAlways),
            UnhealthyPolicy::IfHealthyBudget if cover.healthy >= cover.desired && cover.desired > 0 => {
                Some(Passed::UnhealthyBudgetMet)
            }
            UnhealthyPolicy::IfHealthyBudget => None,
        };
        if let Some(passed) = passed {
            // The server guards this deletion by the version it has just read, in place of one that the request gave,
            // which is therefore never found stale. It takes any conflict for its own race and says "try again", unless
            // the request named a version.
            if pod.uid == Some(false) {
                return Verdict::Refused(match pod.resource_version {
                    Some(_) => Denied::Conflict { uid: true, burns: false },
                    None => Denied::Processing(cover.key.clone()),
                });
            }
            return Verdict::Evicted(passed);
        }
    }
    let key = || cover.key.clone();
    if !cover.observed {
        return Verdict::Refused(Denied::Processing(key()));
    }
    if cover.allowed < 0 {
        return Verdict::Refused(Denied::Negative(key()));
    }
    if cover.disrupted > DISRUPTED_MAX {
        return Verdict::Refused(Denied::TooManyDisrupted(key()));
    }
    if cover.allowed == 0 {
        return Verdict::Refused(Denied::Exhausted {
            budget: key(),
            desired: cover.desired,
            healthy: cover.healthy,
            sync_failed: cover.sync_failed.cloned(),
        });
    }
    // The budget is lowered before the pod is deleted, and stays so when the deletion then fails.
    conflict(true).unwrap_or(Verdict::Evicted(Passed::Spent))
}

/// What a refusal is about, where `details` say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// Its API group; empty for the core group.
    pub group: &'static str,
    /// Its kind, as the server spells it.
    pub kind: &'static str,
}

/// A refusal as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// `reason`; the 500 has none.
    pub reason: Option<&'static str>,
    /// `message`.
    pub message: String,
    /// `details.causes[0]`: reason and message.
    pub cause: Option<(&'static str, String)>,
    /// `details.retryAfterSeconds` and the header `Retry-After`.
    pub retry_after: Option<u32>,
    /// `details.name`, `details.group` and `details.kind`.
    pub about: Option<About>,
}

impl Denied {
    /// The answer for a pod of this name. `precondition` completes the message of a conflict.
    #[must_use]
    pub fn answer(&self, pod: &str, precondition: &str) -> Answer {
        let budget = |text: String, retry_after| Answer {
            code: 429,
            reason: Some("TooManyRequests"),
            message: BUDGET_MESSAGE.to_owned(),
            cause: Some((BUDGET_CAUSE, text)),
            retry_after,
            about: None,
        };
        let forbidden = |key: &BudgetKey, text: &str, cause: &str| Answer {
            code: 403,
            reason: Some("Forbidden"),
            message: format!("poddisruptionbudget.policy \"{}\" is forbidden: {text}", key.name),
            cause: Some((
                BUDGET_CAUSE,
                format!("The disruption budget {} does not allow evicting pods currently: {cause}", key.name),
            )),
            retry_after: None,
            about: Some(About { name: key.name.to_string(), group: "policy", kind: "poddisruptionbudget" }),
        };
        match self {
            Self::TwoBudgets => Answer {
                code: 500,
                reason: None,
                message: TWO_BUDGETS_MESSAGE.to_owned(),
                cause: None,
                retry_after: None,
                about: None,
            },
            Self::Processing(key) => {
                budget(format!("The disruption budget {} is still being processed by the server.", key.name), Some(10))
            }
            Self::Negative(key) => {
                let text = "pdb disruptions allowed is negative";
                forbidden(key, text, text)
            }
            Self::TooManyDisrupted(key) => forbidden(
                key,
                "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
                "too many pending evictions not confirmed by PDB controller",
            ),
            Self::Exhausted { budget: key, desired, healthy, sync_failed } => {
                let name = &key.name;
                let text = match sync_failed {
                    Some(message) => format!(
                        "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
                        message.raw()
                    ),
                    // There can be more than it needs: where it expects nothing, it allows nothing.
                    None if healthy > desired => {
                        format!("The disruption budget {name} does not allow evicting pods currently")
                    }
                    None => {
                        format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
                    }
                };
                budget(text, None)
            }
            Self::Conflict { .. } => Answer {
                code: 409,
                reason: Some("Conflict"),
                message: format!("Operation cannot be fulfilled on Pod \"{pod}\": {precondition}"),
                cause: None,
                retry_after: None,
                about: Some(About { name: pod.to_owned(), group: "", kind: "Pod" }),
            },
        }
    }

    /// Whether no waiting helps: somebody has to change a budget.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::TwoBudgets => true,
            Self::Exhausted { sync_failed, .. } => sync_failed.is_some(),
            Self::Processing(_) | Self::Negative(_) | Self::TooManyDisrupted(_) | Self::Conflict { .. } => false,
        }
    }
}

/// The budgets that cover a pod, as the table wants them.
pub fn covers<'a>(budgets: impl IntoIterator<Item = &'a Budget>) -> Vec<Cover<'a>> {
    budgets.into_iter().map(Cover::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Namespace, PodName};

    fn key() -> BudgetKey {
        BudgetKey { namespace: Namespace::new("shop").unwrap(), name: PodName::new("web").unwrap() }
    }

    fn cover(key: &BudgetKey, allowed: i64, healthy: u32, desired: u32) -> Cover<'_> {
        Cover {
            key,
            unhealthy: UnhealthyPolicy::IfHealthyBudget,
            observed: true,
            allowed,
            healthy,
            desired,
            disrupted: 0,
            sync_failed: None,
        }
    }

    #[test]
    fn each_row_of_the_table() {
        use Denied::{Conflict, Exhausted, Negative, Processing, TooManyDisrupted, TwoBudgets};
        use Passed::{NoBudget, NotRunning, Spent, UnhealthyAlways, UnhealthyBudgetMet};
        use Verdict::{Evicted, Refused};
        let key = key();
        let ok = cover(&key, 1, 3, 2);
        let none = cover(&key, 0, 2, 2);
        let below = cover(&key, 0, 1, 2);
        let forbids_nothing = cover(&key, 0, 0, 0);
        let always = Cover { unhealthy: UnhealthyPolicy::AlwaysAllow, ..below.clone() };
        let new = Cover { observed: false, ..ok.clone() };
        let exhausted =
            |healthy, desired| Refused(Exhausted { budget: key.clone(), desired, healthy, sync_failed: None });
        let ready = Subject::running(true);
        let unready = Subject::running(false);
        let stale = Subject { uid: Some(false), ..ready.clone() };
        let old = Subject { resource_version: Some(false), uid: Some(true), ..ready.clone() };
        let of = |phase| Subject { phase, ..Subject::running(false) };
        let terminating = Subject { terminating: true, ..ready.clone() };
        let unready_stale = Subject { uid: Some(false), ..unready.clone() };
        let unready_stale_both = Subject { uid: Some(false), resource_version: Some(true), ..unready.clone() };

        let rows: Vec<(&str, Subject, Vec<Cover<'_>>, Verdict)> = vec![
            ("pending, two budgets", of(PodPhase::Pending), vec![none.clone(), none.clone()], Evicted(NotRunning)),
            ("succeeded", of(PodPhase::Succeeded), vec![none.clone()], Evicted(NotRunning)),
            ("failed", of(PodPhase::Failed), vec![none.clone()], Evicted(NotRunning)),
            ("terminating", terminating.clone(), vec![none.clone()], Evicted(NotRunning)),
            (
                "terminating, wrong uid",
                Subject { uid: Some(false), ..terminating },
                vec![],
                Refused(Conflict { uid: true, burns: false }),
            ),
            (
                "phase Unknown asks the budget",
                Subject { phase: PodPhase::Unknown, ..ready.clone() },
                vec![none.clone()],
                exhausted(2, 2),
            ),
            ("no budget", ready.clone(), vec![], Evicted(NoBudget)),
            ("no budget, wrong uid", stale.clone(), vec![], Refused(Conflict { uid: true, burns: false })),
            ("two budgets", ready.clone(), vec![ok.clone(), ok.clone()], Refused(TwoBudgets)),
            ("unready, always", unready.clone(), vec![always.clone()], Evicted(UnhealthyAlways)),
            (
                "unready, budget met, generation not checked",
                unready.clone(),
                vec![Cover { observed: false, ..none.clone() }],
                Evicted(UnhealthyBudgetMet),
            ),
            ("unready, below", unready.clone(), vec![below.clone()], exhausted(1, 2)),
            ("unready, budget that forbids nothing", unready.clone(), vec![forbids_nothing], exhausted(0, 0)),
            ("unready, wrong uid", unready_stale, vec![none.clone()], Refused(Processing(key.clone()))),
            (
                "unready, wrong uid, version sent",
                unready_stale_both,
                vec![none.clone()],
                Refused(Conflict { uid: true, burns: false }),
            ),
            (
                "unready, old version: not looked at",
                Subject { resource_version: Some(false), ..unready.clone() },
                vec![none.clone()],
                Evicted(UnhealthyBudgetMet),
            ),
            ("not observed", ready.clone(), vec![new], Refused(Processing(key.clone()))),
            ("negative", ready.clone(), vec![Cover { allowed: -1, ..ok.clone() }], Refused(Negative(key.clone()))),
            (
                "too many disrupted",
                ready.clone(),
                vec![Cover { disrupted: 2001, ..ok.clone() }],
                Refused(TooManyDisrupted(key.clone())),
            ),
            ("exhausted", ready.clone(), vec![none.clone()], exhausted(2, 2)),
            ("allowed", ready, vec![ok.clone()], Evicted(Spent)),
            ("allowed, wrong uid: burns one", stale, vec![ok.clone()], Refused(Conflict { uid: true, burns: true })),
            ("allowed, old version: burns one", old, vec![ok], Refused(Conflict { uid: false, burns: true })),
        ];
        for (name, pod, covers, verdict) in rows {
            assert_eq!(decide(&pod, &covers), verdict, "{name}");
        }
    }

    #[test]
    fn answers_are_those_of_the_server() {
        let budget = key();
        let exhausted = Denied::Exhausted { budget: budget.clone(), desired: 2, healthy: 2, sync_failed: None };
        assert_eq!(
            exhausted.answer("web-1", ""),
            Answer {
                code: 429,
                reason: Some("TooManyRequests"),
                message: BUDGET_MESSAGE.to_owned(),
                cause: Some((
                    "DisruptionBudget",
                    "The disruption budget web needs 2 healthy pods and has 2 currently".to_owned()
                )),
                retry_after: None,
                about: None,
            }
        );
        let more = Denied::Exhausted { budget: budget.clone(), desired: 0, healthy: 2, sync_failed: None };
        let (_, text) = more.answer("web-1", "").cause.unwrap();
        assert_eq!(text, "The disruption budget web does not allow evicting pods currently");
        let many = Denied::TooManyDisrupted(budget.clone()).answer("web-1", "");
        assert!(many.message.starts_with("poddisruptionbudget.policy \"web\" is forbidden: DisruptedPods map too big"));
        assert_eq!(many.about.unwrap().kind, "poddisruptionbudget");
        let processing = Denied::Processing(budget).answer("web-1", "");
        assert_eq!((processing.code, processing.retry_after), (429, Some(10)));
        let two = Denied::TwoBudgets.answer("web-1", "");
        assert_eq!((two.code, two.reason, two.cause), (500, None, None));
        assert!(Denied::TwoBudgets.is_permanent() && !exhausted.is_permanent());
    }
}
