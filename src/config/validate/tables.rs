//! The tables that say what is wanted: `reboot`, `out_of_service`, `protect`.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Foreign, Limit, RebootMethod};

use super::super::diagnostic::{Code, Diagnostic};
use super::super::raw::{At, RawMethod, RawOnFailure, RawOrderEntry, RawOutOfService, RawProtect, RawReboot};
use super::super::types::{OnFailure, Order, OutOfService, Protect, Reboot};
use super::Check;
use super::clusters::Known;
use super::values::Bounds;

/// When a node is to be rebooted; at least one is set.
struct Triggers {
    when_required: bool,
    max_uptime: Option<Duration>,
    booted_after: Option<Timestamp>,
}

impl Check<'_> {
    pub(super) fn reboot(&mut self, raw: &RawReboot, path: &str, key: &Range<usize>, known: &Known) -> Option<Reboot> {
        let clusters = self.chosen(raw.clusters.as_ref(), path, known);
        let nodes = self.nodes(raw.nodes.as_ref(), raw.selector.as_ref(), path);
        let triggers = self.triggers(raw, path, key);
        let order = self.order(raw.order.as_ref()?, &format!("{path}.order"));
        let max_unavailable = self.limit(raw.max_unavailable.as_ref(), &format!("{path}.max_unavailable"));
        self.everything_at_once(max_unavailable, raw, path);
        let per_zone = match &raw.max_unavailable_per_zone {
            None => Some(None),
            given => self.limit(given.as_ref(), &format!("{path}.max_unavailable_per_zone")).map(Some),
        };
        let ready_timeout = self.duration(raw.ready_timeout.as_ref(), &format!("{path}.ready_timeout"), Bounds::WAIT);
        let settle = self.duration(raw.settle.as_ref(), &format!("{path}.settle"), Bounds::SETTLE);
        let drain = self.drain(raw.drain.as_ref(), path);
        if let (Some(settle), Some(ready)) = (settle, ready_timeout)
            && settle >= ready
        {
            let given = [&raw.settle, &raw.ready_timeout];
            let mut problem = Diagnostic::error(
                Code::Conflict,
                format!("`{path}.settle` is not shorter than `{path}.ready_timeout`"),
            );
            for (duration, label) in
                given.into_iter().flatten().zip(["no node could stay ready for this long", "in this time"])
            {
                if !duration.span.is_empty() {
                    problem = problem.with_label(duration.span.clone(), label);
                }
            }
            self.report(problem.with_help("`settle` is part of `ready_timeout`"));
        }
        let triggers = triggers?;
        Some(Reboot {
            scope: Self::scope(clusters, nodes)?,
            when_required: triggers.when_required,
            max_uptime: triggers.max_uptime,
            booted_after: triggers.booted_after,
            order: order?,
            max_unavailable: max_unavailable?,
            max_unavailable_per_zone: per_zone?,
            on_failure: match raw.on_failure.as_ref()?.value {
                RawOnFailure::Halt => OnFailure::Halt,
                RawOnFailure::Continue => OnFailure::Continue,
            },
            method: match raw.method.as_ref()?.value {
                RawMethod::Signal => RebootMethod::Signal,
                RawMethod::Command => RebootMethod::Command,
            },
            ready_timeout: ready_timeout?,
            drain: drain?,
            accept_api_outage: raw.accept_api_outage.as_ref()?.value,
            settle: settle?,
        })
    }

    fn triggers(&mut self, raw: &RawReboot, path: &str, key: &Range<usize>) -> Option<Triggers> {
        let when_required = raw.when_required.as_ref()?;
        let max_uptime = self.duration(raw.max_uptime.as_ref(), &format!("{path}.max_uptime"), Bounds::UPTIME);
        let booted_after = self.moment(raw.booted_after.as_ref(), &format!("{path}.booted_after"));
        let written = when_required.value || raw.max_uptime.is_some() || raw.booted_after.is_some();
        if !written && !self.is_spoiled(path) {
            let problem =
                Diagnostic::error(Code::NoEffect, format!("[{path}] has no trigger, so it would never reboot a node"));
            let problem = if when_required.span.is_empty() {
                problem.with_label(key.clone(), "no trigger")
            } else {
                problem.with_label(when_required.span.clone(), "the only trigger is switched off")
            };
            self.report(
                problem
                    .with_help("add when_required = true, max_uptime = \"30d\" or booted_after = 2026-11-20T00:00:00Z"),
            );
        }
        let complete =
            max_uptime.is_some() == raw.max_uptime.is_some() && booted_after.is_some() == raw.booted_after.is_some();
        (written && complete).then_some(Triggers { when_required: when_required.value, max_uptime, booted_after })
    }

    fn order(&mut self, raw: &At<Vec<At<RawOrderEntry>>>, path: &str) -> Option<Vec<Order>> {
        let mut out = Vec::with_capacity(raw.value.len() + 1);
        let mut complete = true;
        for entry in &raw.value {
            if entry.value.0 == "*" {
                out.push(Order::Rest);
                continue;
            }
            match self.selector_text(&entry.value.0, entry, path) {
                None => complete = false,
                // Two spellings of one selector are the same entry twice.
                Some(selector) if out.contains(&Order::Selector(selector.clone())) => {
                    complete = false;
                    let problem =
                        Diagnostic::error(Code::DuplicateEntry, format!("`{path}` has the same selector twice"))
                            .with_label(entry.span.clone(), "an earlier entry selects these nodes");
                    self.report(problem);
                }
                Some(selector) => out.push(Order::Selector(selector)),
            }
        }
        if !out.contains(&Order::Rest) {
            out.push(Order::Rest);
        }
        complete.then_some(out)
    }

    fn everything_at_once(&mut self, limit: Option<Limit>, raw: &RawReboot, path: &str) {
        if let (Some(Limit::Percent(100)), Some(given)) = (limit, &raw.max_unavailable) {
            let warning = Diagnostic::warning(
                Code::Risky,
                format!("`{path}.max_unavailable` allows all nodes of a pool to be out at once"),
            )
            .with_label(given.span.clone(), "every node")
            .with_help("disruption budgets are then all that keeps workloads running");
            self.report(warning);
        }
    }

    pub(super) fn out_of_service(
        &mut self,
        raw: &RawOutOfService,
        path: &str,
        key: &Range<usize>,
        known: &Known,
    ) -> Option<OutOfService> {
        let clusters = self.chosen(raw.clusters.as_ref(), path, known);
        let nodes = self.nodes(raw.nodes.as_ref(), raw.selector.as_ref(), path);
        if raw.nodes.is_none() && raw.selector.is_none() && !self.is_spoiled(path) {
            let problem = Diagnostic::error(Code::NoEffect, format!("[{path}] does not say which nodes"))
                .with_label(key.clone(), "`nodes` or `selector` is missing")
                .with_help("name them: nodes = [\"NAME\"], or select them by a label: selector = \"rack=7\"");
            self.report(problem);
        }
        if let Some(reason) = raw.reason.as_ref().filter(|reason| reason.value.contains('\n')) {
            let problem = Diagnostic::error(Code::WrongValue, format!("`{path}.reason` must be one line"))
                .with_label(reason.span.clone(), "several lines");
            self.report(problem);
        }
        let until = self.moment(raw.until.as_ref(), &format!("{path}.until"));
        let drain = self.drain(raw.drain.as_ref(), path);
        let complete = until.is_some() == raw.until.is_some();
        let nodes = nodes.filter(|nodes| complete && !nodes.is_unset())?;
        Some(OutOfService {
            scope: Self::scope(clusters, Some(nodes))?,
            reason: Foreign::new(raw.reason.as_ref()?.value.trim()),
            until,
            drain: drain?,
        })
    }

    pub(super) fn protect(&mut self, raw: &RawProtect, path: &str, known: &Known) -> Option<Protect> {
        let clusters = self.chosen(raw.clusters.as_ref(), path, known);
        let nodes = self.nodes(raw.nodes.as_ref(), raw.selector.as_ref(), path);
        Some(Protect { scope: Self::scope(clusters, nodes)? })
    }
}
