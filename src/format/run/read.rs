//! Line → event.

use jiff::Timestamp;
use std::fmt::Display;

use super::wire::{self, Line};
use crate::format::{FormatError, Kind};
use crate::model::{
    BootId, BudgetKey, ClusterName, Foreign, Namespace, NodeName, PodKey, PodName, PoolName, RunId, TableName, Uid,
    ZoneName, sanitise,
};
use crate::plan::{Slot, Verb};
use crate::run::{Conclusion, Event, EventKind, Evidence, FailureKind, Intent, StepFailure, StepId, Wait, WaitFor};

/// Reads one line, with or without its line feed.
///
/// # Errors
/// [`FormatError`] when it is not an event that this haulout can read, with the place.
pub fn read(line: &[u8]) -> Result<Event, FormatError> {
    let line: Line = crate::format::json::read(line, Kind::Run, super::MAX_BYTES)?;
    Ok(Event { seq: line.seq, at: time("at", &line.at)?, kind: event(line.event)? })
}

fn event(event: wire::Event) -> Result<EventKind, FormatError> {
    use wire::Event as W;
    Ok(match event {
        W::RunStarted { run, config, version } => {
            EventKind::RunStarted { run: named("event.run", RunId::new(&run))?, config: Foreign::new(config), version }
        }
        W::LockTaken { cluster } => EventKind::LockTaken { cluster: cluster_name(&cluster)? },
        W::LockReleased { cluster } => EventKind::LockReleased { cluster: cluster_name(&cluster)? },
        W::StepStarted { step } => EventKind::StepStarted { step: address(&step)? },
        W::Intended { step, intent: of } => {
            EventKind::Intended { step: step.map(|step| address(&step)).transpose()?, intent: intent(of)? }
        }
        W::StepWaiting { step, what, since, until } => EventKind::StepWaiting {
            step: address(&step)?,
            wait: Wait {
                what: wait_for(what)?,
                since: time("event.since", &since)?,
                until: time("event.until", &until)?,
            },
        },
        W::StepProgress { step, done, total } => EventKind::StepProgress { step: address(&step)?, done, total },
        W::StepNote { step, note } => EventKind::StepNote { step: address(&step)?, note: Foreign::new(note) },
        W::StepSucceeded { step, evidence: of } => {
            EventKind::StepSucceeded { step: address(&step)?, evidence: evidence(of)? }
        }
        W::StepFailed { step, failure, message, advice } => EventKind::StepFailed {
            step: address(&step)?,
            failure: StepFailure { kind: failure_kind(failure), message: Foreign::new(message), advice },
        },
        W::StepSkipped { step } => EventKind::StepSkipped { step: address(&step)? },
        W::ClusterHalted { cluster, step } => {
            EventKind::ClusterHalted { cluster: cluster_name(&cluster)?, step: address(&step)? }
        }
        W::Interrupted => EventKind::Interrupted,
        W::RunFinished { conclusion } => EventKind::RunFinished {
            conclusion: match conclusion {
                wire::Conclusion::Done => Conclusion::Done,
                wire::Conclusion::Partial => Conclusion::Partial,
                wire::Conclusion::Interrupted => Conclusion::Interrupted,
            },
        },
    })
}

fn intent(intent: wire::Intent) -> Result<Intent, FormatError> {
    use wire::Intent as W;
    Ok(match intent {
        W::Cordon => Intent::Cordon,
        W::StartRebootPod => Intent::StartRebootPod,
        W::DeleteRebootPod => Intent::DeleteRebootPod,
        W::Evict { pod: key, uid } => {
            Intent::Evict { pod: pod("event.intent.pod", &key)?, uid: named("event.intent.uid", Uid::new(&uid))? }
        }
        W::Phase { phase } => Intent::Phase(phase.into()),
        W::TriggerReboot { boot_id } => {
            Intent::TriggerReboot { boot_id: named("event.intent.boot_id", BootId::new(&boot_id))? }
        }
        W::Uncordon => Intent::Uncordon,
        W::SettleCordon { cluster, node } => Intent::SettleCordon {
            cluster: named("event.intent.cluster", ClusterName::new(&cluster))?,
            node: named("event.intent.node", NodeName::new(&node))?,
        },
        W::EnsureBase { what } => {
            let [.., other] = super::BASES;
            Intent::EnsureBase(super::BASES.into_iter().find(|base| *base == what).unwrap_or(other))
        }
    })
}

fn wait_for(what: wire::WaitFor) -> Result<WaitFor, FormatError> {
    use wire::WaitFor as W;
    Ok(match what {
        W::Slot { slot: of } => WaitFor::Slot(slot(of)?),
        W::Budget { budget: key, healthy, expected, desired, pods } => {
            WaitFor::Budget { budget: budget("event.what.budget", &key)?, healthy, expected, desired, pods }
        }
        W::PodsToEnd { pods } => {
            WaitFor::PodsToEnd(pods.iter().map(|key| pod("event.what.pods", key)).collect::<Result<_, FormatError>>()?)
        }
        W::Webhook { pod: key, message } => {
            WaitFor::Webhook { pod: pod("event.what.pod", &key)?, message: Foreign::new(message) }
        }
        W::ApiServer { message } => WaitFor::ApiServer(Foreign::new(message)),
        W::VolumesToDetach { volumes } => WaitFor::VolumesToDetach(volumes),
        W::RebootPod { state } => WaitFor::RebootPod(Foreign::new(state)),
        W::RebootPodToEnd => WaitFor::RebootPodToEnd,
        W::Boot => WaitFor::Boot,
        W::NodeReady { missing } => WaitFor::NodeReady(Foreign::new(missing)),
        W::Settle => WaitFor::Settle,
        W::Report => WaitFor::Report,
        W::Lock { holder } => WaitFor::Lock(Foreign::new(holder)),
    })
}

fn slot(slot: wire::Slot) -> Result<Slot, FormatError> {
    let table = |table: &str| named("event.what.slot.table", TableName::new(table));
    Ok(match slot {
        wire::Slot::Cluster => Slot::Cluster,
        wire::Slot::Pool { table: of, pool } => {
            Slot::Pool(table(&of)?, named("event.what.slot.pool", PoolName::new(&pool))?)
        }
        wire::Slot::Zone { table: of, zone } => {
            Slot::Zone(table(&of)?, named("event.what.slot.zone", ZoneName::new(&zone))?)
        }
        wire::Slot::ControlPlane => Slot::ControlPlane,
        wire::Slot::Budget { budget: key } => Slot::Budget(budget("event.what.slot.budget", &key)?),
    })
}

fn evidence(evidence: wire::Evidence) -> Result<Evidence, FormatError> {
    Ok(match evidence {
        wire::Evidence::Cordoned => Evidence::Cordoned,
        wire::Evidence::Drained { evicted, gone } => Evidence::Drained { evicted, gone },
        wire::Evidence::Requested => Evidence::Requested,
        wire::Evidence::Booted { from, to } => Evidence::Booted {
            from: named("event.evidence.from", BootId::new(&from))?,
            to: named("event.evidence.to", BootId::new(&to))?,
        },
        wire::Evidence::Uncordoned => Evidence::Uncordoned,
        wire::Evidence::AlreadyHeld => Evidence::AlreadyHeld,
    })
}

fn failure_kind(kind: wire::FailureKind) -> FailureKind {
    match kind {
        wire::FailureKind::Stale => FailureKind::Stale,
        wire::FailureKind::TimedOut => FailureKind::TimedOut,
        wire::FailureKind::Refused => FailureKind::Refused,
        wire::FailureKind::Unclear => FailureKind::Unclear,
        wire::FailureKind::Interrupted => FailureKind::Interrupted,
        wire::FailureKind::LockLost => FailureKind::LockLost,
        wire::FailureKind::Panicked => FailureKind::Panicked,
    }
}

fn invalid(at: &str, message: impl Display) -> FormatError {
    FormatError::Invalid { kind: Kind::Run, at: at.to_owned(), message: sanitise(&message.to_string()).shortened(300) }
}

fn named<T, E: Display>(at: &str, name: Result<T, E>) -> Result<T, FormatError> {
    name.map_err(|error| invalid(at, error))
}

fn time(at: &str, text: &str) -> Result<Timestamp, FormatError> {
    text.parse().map_err(|_| invalid(at, "expected a time such as 2026-11-23T14:02:11Z"))
}

fn cluster_name(text: &str) -> Result<ClusterName, FormatError> {
    named("event.cluster", ClusterName::new(text))
}

fn address(text: &str) -> Result<StepId, FormatError> {
    let at = "event.step";
    let verb = |text: &str| {
        [Verb::Cordon, Verb::Drain, Verb::Reboot, Verb::AwaitReady, Verb::Uncordon]
            .into_iter()
            .find(|verb| verb.as_str() == text)
    };
    let mut parts = text.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next().and_then(verb), parts.next()) {
        (Some(cluster), Some("node"), Some(node), Some(verb), None) => {
            Ok(StepId { cluster: named(at, ClusterName::new(cluster))?, node: named(at, NodeName::new(node))?, verb })
        }
        _ => Err(invalid(at, "expected an address such as prod/node/a/drain")),
    }
}

fn key(at: &str, text: &str) -> Result<(Namespace, PodName), FormatError> {
    let Some((namespace, name)) = text.split_once('/') else {
        return Err(invalid(at, "expected NAMESPACE/NAME"));
    };
    Ok((named(at, Namespace::new(namespace))?, named(at, PodName::new(name))?))
}

fn pod(at: &str, text: &str) -> Result<PodKey, FormatError> {
    key(at, text).map(|(namespace, name)| PodKey { namespace, name })
}

fn budget(at: &str, text: &str) -> Result<BudgetKey, FormatError> {
    key(at, text).map(|(namespace, name)| BudgetKey { namespace, name })
}
