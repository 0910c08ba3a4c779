//! Why a node is touched, what happens to it, and what that means for the pods on it.

use super::{Words, count, duration, foreign};
use crate::model::{DrainRule, Grace, RebootMethod, TableName};
use crate::plan::types::{Action, Impact, NodeEnd, OnFailure, Outage, Rest, Verb, Why};

/// The name of a table in the config, as it is written there between brackets.
fn table_name(kind: &str, table: Option<&TableName>) -> String {
    table.map_or_else(|| "the config".to_owned(), |table| format!("{kind}.{table}"))
}

impl Words<'_> {
    /// Why something is wanted; fits after "because".
    #[must_use]
    pub fn why(&self, why: &Why, table: Option<&TableName>) -> String {
        match why {
            Why::RebootRequired(reason) if reason.is_empty() => {
                "a reboot is required; the report does not say why".to_owned()
            }
            Why::RebootRequired(reason) => {
                format!("a reboot is required: {}", foreign(reason))
            }
            Why::KuredWants(since) => format!("kured has wanted to reboot it since {}", self.moment(*since)),
            Why::UptimeExceeded { booted_at, limit } => format!(
                "up for {}, longer than the {} that {} allows",
                duration(self.ago(*booted_at)),
                duration(*limit),
                table_name("reboot", table)
            ),
            Why::BootedBefore { booted_at, wanted } => format!(
                "booted {}, before the {} that {} asks for",
                self.moment(*booted_at),
                self.moment(*wanted),
                table_name("reboot", table)
            ),
            Why::OutOfService(reason) => {
                format!("{} takes it out of service: {}", table_name("out_of_service", table), foreign(reason))
            }
            Why::ReleasedFromService => "no table takes it out of service any more".to_owned(),
            Why::LeftByRun { run, phase, since } => {
                let phase = phase.map(|phase| format!(", phase {phase}")).unwrap_or_default();
                format!("run {run}, which has ended, cordoned it {} and left it so{phase}", self.moment(*since))
            }
        }
    }

    /// Why things are wanted that differ in their particulars; fits after "because".
    #[must_use]
    pub fn why_of_many(&self, why: &Why, table: Option<&TableName>) -> String {
        match why {
            Why::RebootRequired(_) => "a reboot is required, for reasons that differ".to_owned(),
            Why::KuredWants(_) => "kured has wanted to reboot them".to_owned(),
            Why::UptimeExceeded { limit, .. } => {
                format!("up for longer than the {} that {} allows", duration(*limit), table_name("reboot", table))
            }
            Why::BootedBefore { wanted, .. } => {
                format!("booted before the {} that {} asks for", self.moment(*wanted), table_name("reboot", table))
            }
            Why::OutOfService(_) => format!("{} takes them out of service", table_name("out_of_service", table)),
            Why::ReleasedFromService => "no table takes them out of service any more".to_owned(),
            Why::LeftByRun { run, .. } => format!("run {run}, which has ended, cordoned them and left them so"),
        }
    }

    /// What a reader should know about the evictions.
    #[must_use]
    pub fn impact(&self, impact: &Impact) -> String {
        match impact {
            Impact::BudgetPaces { budget, allowed, expected, here } => {
                let here = if here > allowed { format!(", {here} are here") } else { String::new() };
                format!("{budget} lets {allowed} of {expected} go at a time{here}")
            }
            Impact::ClearsAfterCordon { budget, operator } => {
                format!("{budget} allows no eviction now; {operator} moves it once the node is cordoned")
            }
            Impact::BudgetBusy { budget, healthy, desired } => {
                format!(
                    "{budget} allows no eviction at the moment: {healthy} healthy, needs {desired}; the drain waits"
                )
            }
            Impact::EmptyDirData(pods) => {
                format!(
                    "the data in emptyDir volumes of {} is lost, as the config allows",
                    count(*pods as usize, "pod")
                )
            }
            Impact::Unmanaged(pods) => format!(
                "{} without a controller evicted, as the config allows; nobody recreates them",
                count(*pods as usize, "pod")
            ),
            Impact::MayReturn(1) => "1 pod tolerates the cordon and may return to the node".to_owned(),
            Impact::MayReturn(pods) => {
                format!("{} tolerate the cordon and may return to the node", count(*pods as usize, "pod"))
            }
        }
    }
}

/// What will happen to a node; fits after `node/NAME`.
#[must_use]
pub fn headline(outage: &Outage) -> &'static str {
    let has = |verb| outage.steps.iter().any(|step| step.verb == verb);
    if has(Verb::AwaitReady) && !has(Verb::Reboot) {
        return "will be awaited and uncordoned; its reboot was requested already";
    }
    match (has(Verb::Cordon), has(Verb::Drain), has(Verb::Reboot), has(Verb::Uncordon)) {
        (_, true, true, _) => "will be drained and rebooted",
        (_, false, true, _) => "will be rebooted",
        (true, true, false, false) => "will be cordoned and drained",
        (true, true, false, true) => "will be cordoned, drained and uncordoned",
        (false, true, false, false) => "will be drained",
        (false, true, false, true) => "will be drained and uncordoned",
        (true, false, false, false) => "will be cordoned",
        (true, false, false, true) => "will be cordoned and uncordoned",
        (false, false, false, true) => "will be uncordoned",
        (false, false, false, false) => "will be awaited",
    }
}

/// What an action does; a sentence without its full stop.
#[must_use]
pub fn action(action: &Action) -> String {
    match action {
        Action::Cordon => "mark the node as haulout's and make it unschedulable".to_owned(),
        Action::Drain { rule, reboots } => {
            let pod = if *reboots { "start the reboot pod, then " } else { "" };
            format!("{pod}evict pods within {}{}", duration(rule.timeout), grace(rule))
        }
        Action::Reboot { method: RebootMethod::Signal } => {
            "let the reboot pod reboot the node by a signal to PID 1".to_owned()
        }
        Action::Reboot { method: RebootMethod::Command } => {
            "let the reboot pod reboot the node by `systemctl reboot`".to_owned()
        }
        Action::AwaitReady { timeout, settle } => format!(
            "wait at most {} for another boot id and a Ready node, checked twice, {} apart",
            duration(*timeout),
            duration(*settle)
        ),
        Action::Uncordon => "make the node schedulable again and take haulout's marks off".to_owned(),
    }
}

fn grace(rule: &DrainRule) -> String {
    match rule.grace {
        Grace::Pod => String::new(),
        Grace::Fixed(time) => format!(", each with {} to end", duration(time)),
    }
}

/// What follows a failure; a sentence without its full stop.
#[must_use]
pub fn on_failure(on_failure: &OnFailure) -> String {
    let node = match &on_failure.node {
        NodeEnd::SkipTo(step) => match step.verb {
            Verb::Uncordon => "the node is uncordoned",
            Verb::Cordon | Verb::Drain | Verb::Reboot | Verb::AwaitReady => "the node goes on with a later step",
        },
        NodeEnd::Leave => "the node is left as it is and named",
    };
    match on_failure.rest {
        Rest::Continue => format!("{node}; the others go on"),
        Rest::Halt => format!("{node}; nothing new is started"),
    }
}
