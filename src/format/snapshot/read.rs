//! JSON → snapshot. Nothing is believed: every name is checked as if it came from the network, every place in a table
//! exists, no node and no budget is there twice. (Pods may be, where a list was paged while they came and went.)

use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use super::wire::{self, Text};
use crate::format::{FormatError, Kind, certificate};
use crate::model::{
    AddressKind, BootId, Bound, Budget, BudgetKey, BudgetSpec, Budgets, Certificates, ClusterName, ControlPlane,
    Cordon, DaemonSet, Foreign, Gap, HeldLock, InvalidName, KuredLock, Labels, LastReboot, Mark, Namespace, Node,
    NodeAddress, NodeName, Owner, Pod, PodKey, PodName, PodPhase, PodShape, PodStatus, PoolName, Readiness, Reboots,
    Report, ReportedReboot, RunId, Selector, Shapes, Snapshot, TableName, Taint, TaintEffect, Uid, UnhealthyPolicy,
    ZoneName, is_dangerous, sanitise,
};

/// Reads a snapshot.
///
/// # Errors
/// [`FormatError`] when the bytes are not a snapshot that this haulout can read, with the place.
pub fn read(bytes: &[u8]) -> Result<Snapshot, FormatError> {
    let document: wire::Document<'_> = crate::format::json::read(bytes, Kind::Snapshot, super::MAX_BYTES)?;
    Reader::default().snapshot(document)
}

/// Where in the document something is: list, place, field.
#[derive(Clone, Copy)]
struct At(&'static str, Option<usize>);

impl At {
    fn error(self, field: &str, message: impl Display) -> FormatError {
        let at = match self {
            At(list, Some(index)) if field.is_empty() => format!("{list}[{index}]"),
            At(list, Some(index)) => format!("{list}[{index}].{field}"),
            At("", None) => field.to_owned(),
            At(list, None) => format!("{list}.{field}"),
        };
        FormatError::Invalid { kind: Kind::Snapshot, at, message: sanitise(&message.to_string()).shortened(300) }
    }
}

/// Shares what repeats: tens of thousands of pods name the same hundred namespaces.
#[derive(Default)]
struct Reader {
    texts: HashSet<Arc<str>>,
}

impl Reader {
    fn snapshot(mut self, document: wire::Document<'_>) -> Result<Snapshot, FormatError> {
        let top = At("", None);
        let mut nodes = BTreeMap::new();
        for (index, node) in document.nodes.iter().enumerate() {
            let at = At("nodes", Some(index));
            let node = self.node(node, at)?;
            if let Some(twice) = nodes.insert(node.name.clone(), node) {
                return Err(at.error("name", format!("{} is here twice", twice.name)));
            }
        }
        let mut daemon_sets = BTreeMap::new();
        for (index, set) in document.daemon_sets.iter().enumerate() {
            let at = At("daemon_sets", Some(index));
            let set = DaemonSet {
                namespace: name(Namespace::new, &set.namespace, at, "namespace")?,
                name: foreign(&set.name),
                uid: name(Uid::new, &set.uid, at, "uid")?,
                kured_locks: set.kured_locks.iter().map(|lock| kured_lock(lock, at)).collect::<Result<_, _>>()?,
            };
            if let Some(twice) = daemon_sets.insert(set.uid.clone(), set) {
                return Err(at.error("uid", format!("{} is here twice", twice.uid)));
            }
        }
        let mut budgets = Vec::with_capacity(document.budgets.len());
        let mut keys = HashSet::new();
        for (index, budget) in document.budgets.iter().enumerate() {
            let at = At("budgets", Some(index));
            let budget = self.budget(budget, at)?;
            if !keys.insert(budget.key.clone()) {
                return Err(at.error("name", format!("{} is here twice", budget.key)));
            }
            budgets.push(budget);
        }
        let mut etcd_members = BTreeMap::new();
        for (node, ready) in &document.etcd_members {
            etcd_members.insert(name(NodeName::new, node, At("etcd_members", None), "a key")?, *ready);
        }
        let lock = match &document.lock {
            None => None,
            Some(lock) => Some(HeldLock {
                holder: foreign(&lock.holder),
                renewed_at: time(&lock.renewed_at, At("lock", None), "renewed_at")?,
                duration: Duration::from_secs(lock.duration_seconds),
            }),
        };
        let mut snapshot = Snapshot {
            cluster: name(ClusterName::new, &document.cluster, top, "cluster")?,
            via: foreign(&document.via),
            identity: maybe(document.identity.as_ref(), |uid| name(Uid::new, uid, top, "identity"))?,
            version: foreign(&document.version),
            taken_at: time(&document.taken_at, top, "taken_at")?,
            nodes,
            pods: self.pods(&document.shapes, &document.pods)?,
            budgets: Budgets::new(budgets),
            daemon_sets,
            certificates: match &document.certificates {
                None => Certificates::default(),
                Some(wire) => certificate::to_certificates(wire).map_err(|(at, why)| top.error(&at, why))?,
            },
            control_plane: ControlPlane { etcd_members },
            lock,
            sandbox: document.sandbox,
            gaps: document
                .gaps
                .iter()
                .map(|gap| Gap {
                    subject: gap.subject.into(),
                    why: foreign(&gap.why),
                    remedy: gap.remedy.as_ref().to_owned(),
                })
                .collect(),
        };
        snapshot.sort();
        Ok(snapshot)
    }

    fn pods(&mut self, shapes: &[wire::Shape<'_>], pods: &[wire::Pod<'_>]) -> Result<Vec<Pod>, FormatError> {
        let mut table = Vec::with_capacity(shapes.len());
        let mut interned = Shapes::default();
        for (index, shape) in shapes.iter().enumerate() {
            let at = At("shapes", Some(index));
            table.push(interned.intern(PodShape {
                labels: self.labels(&shape.labels, at)?,
                owner: maybe(shape.owner.as_ref(), |owner| self.owner(owner, at))?,
                mirror: shape.mirror,
                empty_dir: shape.empty_dir,
                grace_seconds: shape.grace_seconds,
                tolerates_cordon: shape.tolerates_cordon,
                volumes: shape.volumes,
                finalizers: Vec::new(),
                ours: shape.ours,
            }));
        }
        let mut namespaces: HashMap<&str, Namespace> = HashMap::new();
        let mut nodes: HashMap<&str, NodeName> = HashMap::new();
        let mut read = Vec::with_capacity(pods.len());
        for (index, pod) in pods.iter().enumerate() {
            let at = At("pods", Some(index));
            let namespace =
                shared(&mut namespaces, &pod.namespace, |text| name(Namespace::new, text, at, "namespace"))?;
            let node = maybe(pod.node.as_ref(), |node| {
                shared(&mut nodes, node, |text| name(NodeName::new, text, at, "node"))
            })?;
            let Some(shape) = usize::try_from(pod.shape).ok().and_then(|place| table.get(place)) else {
                return Err(at.error("shape", format!("the table of shapes ends before it, at {}", table.len())));
            };
            read.push(Pod {
                key: PodKey { namespace, name: name(PodName::new, &pod.name, at, "name")? },
                uid: name(Uid::new, &pod.uid, at, "uid")?,
                node,
                status: PodStatus {
                    phase: match pod.phase {
                        wire::PodPhase::Pending => PodPhase::Pending,
                        wire::PodPhase::Running => PodPhase::Running,
                        wire::PodPhase::Succeeded => PodPhase::Succeeded,
                        wire::PodPhase::Failed => PodPhase::Failed,
                        wire::PodPhase::Unknown => PodPhase::Unknown,
                    },
                    ready: pod.ready,
                    terminating: pod.terminating,
                },
                shape: Arc::clone(shape),
            });
        }
        Ok(read)
    }

    fn node(&mut self, node: &wire::Node<'_>, at: At) -> Result<Node, FormatError> {
        Ok(Node {
            name: name(NodeName::new, &node.name, at, "name")?,
            uid: name(Uid::new, &node.uid, at, "uid")?,
            resource_version: node.resource_version.as_ref().into(),
            labels: Arc::new(self.labels(&node.labels, at)?),
            pool: name(PoolName::new, &node.pool, at, "pool")?,
            zone: name(ZoneName::new, &node.zone, at, "zone")?,
            control_plane: node.control_plane,
            linux: node.linux,
            readiness: match node.readiness {
                wire::Readiness::Ready => Readiness::Ready,
                wire::Readiness::NotReady => Readiness::NotReady,
                wire::Readiness::Unknown => Readiness::Unknown,
            },
            cordon: maybe(node.cordon.as_ref(), |of| cordon(of, at))?,
            boot_id: maybe(node.boot_id.as_ref(), |id| name(BootId::new, id, at, "boot_id"))?,
            kernel: foreign(&node.kernel),
            mark: maybe(node.mark.as_ref(), |of| mark(of, at))?,
            report: report(node.report.as_ref(), at)?,
            kured_wants_since: maybe(node.kured_wants_since.as_ref(), |of| time(of, at, "kured_wants_since"))?,
            last_reboot: maybe(node.last_reboot.as_ref(), |of| last_reboot(of, at))?,
            scale_down_before: node.scale_down_before.as_ref().map(foreign),
            scale_down_disabled: node.scale_down_disabled.as_ref().map(foreign),
            taints: node
                .taints
                .iter()
                .map(|taint| {
                    Ok(Taint {
                        key: self.text(&taint.key, at, "taints")?,
                        value: self.text(&taint.value, at, "taints")?,
                        effect: match taint.effect {
                            wire::TaintEffect::NoSchedule => TaintEffect::NoSchedule,
                            wire::TaintEffect::PreferNoSchedule => TaintEffect::PreferNoSchedule,
                            wire::TaintEffect::NoExecute => TaintEffect::NoExecute,
                        },
                    })
                })
                .collect::<Result<_, FormatError>>()?,
            allocatable: Arc::new(self.map(&node.allocatable, at, "allocatable")?),
            addresses: node
                .addresses
                .iter()
                .map(|address| NodeAddress {
                    kind: match address.kind {
                        wire::AddressKind::InternalIp => AddressKind::InternalIp,
                        wire::AddressKind::ExternalIp => AddressKind::ExternalIp,
                        wire::AddressKind::Name => AddressKind::Name,
                    },
                    address: foreign(&address.address),
                })
                .collect(),
            kubelet_port: node.kubelet_port,
            created_at: maybe(node.created_at.as_ref(), |of| time(of, at, "created_at"))?,
            terminating: node.terminating,
        })
    }

    fn budget(&mut self, budget: &wire::Budget<'_>, at: At) -> Result<Budget, FormatError> {
        Ok(Budget {
            key: BudgetKey {
                namespace: name(Namespace::new, &budget.namespace, at, "namespace")?,
                name: name(PodName::new, &budget.name, at, "name")?,
            },
            uid: name(Uid::new, &budget.uid, at, "uid")?,
            spec: match budget.spec {
                Some(wire::BudgetSpec::MinAvailable(of)) => BudgetSpec::MinAvailable(bound(of)),
                Some(wire::BudgetSpec::MaxUnavailable(of)) => BudgetSpec::MaxUnavailable(bound(of)),
                None => BudgetSpec::Neither,
            },
            selector: maybe(budget.selector.as_ref(), |text| match text.as_ref() {
                // The grammar has no word for everything: written by hand, an empty selector is a mistake.
                "" => Ok(Selector::everything()),
                text => Selector::parse(text).map_err(|error| at.error("selector", error)),
            })?,
            unhealthy: match budget.unhealthy_pod_eviction_policy {
                wire::UnhealthyPolicy::IfHealthyBudget => UnhealthyPolicy::IfHealthyBudget,
                wire::UnhealthyPolicy::AlwaysAllow => UnhealthyPolicy::AlwaysAllow,
            },
            expected: budget.expected,
            desired: budget.desired,
            healthy: budget.healthy,
            allowed: budget.allowed,
            observed: budget.observed,
            sync_failed: budget.sync_failed.as_ref().map(foreign),
            disrupted: budget.disrupted.iter().map(|name| self.any(name)).collect(),
            owner: maybe(budget.owner.as_ref(), |owner| self.owner(owner, at))?,
            labels: Arc::new(self.labels(&budget.labels, at)?),
        })
    }

    fn owner(&mut self, owner: &wire::Owner<'_>, at: At) -> Result<Owner, FormatError> {
        Ok(Owner {
            api_version: self.any(&owner.api_version),
            kind: self.any(&owner.kind),
            name: self.any(&owner.name),
            uid: name(Uid::new, &owner.uid, at, "owner.uid")?,
        })
    }

    fn labels(&mut self, labels: &BTreeMap<Text<'_>, Text<'_>>, at: At) -> Result<Labels, FormatError> {
        self.map(labels, at, "labels")
    }

    fn map(
        &mut self,
        map: &BTreeMap<Text<'_>, Text<'_>>,
        at: At,
        field: &str,
    ) -> Result<BTreeMap<Arc<str>, Arc<str>>, FormatError> {
        map.iter().map(|(key, value)| Ok((self.text(key, at, field)?, self.text(value, at, field)?))).collect()
    }

    /// Text that the API server limits to harmless characters; a file could claim anything.
    fn text(&mut self, text: &Text<'_>, at: At, field: &str) -> Result<Arc<str>, FormatError> {
        if text.as_ref().chars().any(is_dangerous) {
            return Err(at.error(field, "it has a character that no API server accepts there"));
        }
        Ok(self.any(text))
    }

    /// Text that nobody limits and nobody shows.
    fn any(&mut self, text: &Text<'_>) -> Arc<str> {
        if let Some(known) = self.texts.get(text.as_ref()) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.as_ref().into();
        self.texts.insert(Arc::clone(&text));
        text
    }
}

fn cordon(cordon: &wire::Cordon<'_>, at: At) -> Result<Cordon, FormatError> {
    Ok(match cordon {
        wire::Cordon::Marked(of) => Cordon::Marked(mark(of, at)?),
        wire::Cordon::Foreign { manager, since, mark: of } => Cordon::Foreign {
            manager: manager.as_ref().map(foreign),
            since: maybe(since.as_ref(), |since| time(since, at, "cordon.since"))?,
            mark: maybe(of.as_ref(), |of| mark(of, at))?,
        },
    })
}

fn mark(mark: &wire::Mark<'_>, at: At) -> Result<Mark, FormatError> {
    Ok(Mark {
        config: foreign(&mark.config),
        table: maybe(mark.table.as_ref(), |table| name(TableName::new, table, at, "mark.table"))?,
        run: name(RunId::new, &mark.run, at, "mark.run")?,
        since: time(&mark.since, at, "mark.since")?,
        phase: mark.phase.map(Into::into),
        reboots: maybe(mark.reboots.as_ref(), |reboots| {
            Ok(Reboots {
                boot_id: name(BootId::new, &reboots.boot_id, at, "mark.reboots.boot_id")?,
                reason: foreign(&reboots.reason),
            })
        })?,
    })
}

fn report(report: Option<&wire::Report<'_>>, at: At) -> Result<Report, FormatError> {
    let Some(report) = report else {
        return Ok(Report { reboot: None, boot_id: None, booted_at: None, reported_at: None });
    };
    Ok(Report {
        reboot: report.reboot.as_ref().map(|reboot| match reboot {
            wire::ReportedReboot::Required(reason) => ReportedReboot::Required(foreign(reason)),
            wire::ReportedReboot::NotRequired => ReportedReboot::NotRequired,
        }),
        boot_id: maybe(report.boot_id.as_ref(), |id| name(BootId::new, id, at, "report.boot_id"))?,
        booted_at: maybe(report.booted_at.as_ref(), |of| time(of, at, "report.booted_at"))?,
        reported_at: maybe(report.reported_at.as_ref(), |of| time(of, at, "report.reported_at"))?,
    })
}

fn last_reboot(last: &wire::LastReboot<'_>, at: At) -> Result<LastReboot, FormatError> {
    Ok(LastReboot {
        at: time(&last.at, at, "last_reboot.at")?,
        run: name(RunId::new, &last.run, at, "last_reboot.run")?,
        boot_id: name(BootId::new, &last.boot_id, at, "last_reboot.boot_id")?,
        reason: foreign(&last.reason),
        drain_seconds: last.drain_seconds,
        boot_seconds: last.boot_seconds,
    })
}

fn bound(bound: wire::Bound) -> Bound {
    match bound {
        wire::Bound::Count(count) => Bound::Count(count),
        wire::Bound::Percent(percent) => Bound::Percent(percent),
    }
}

fn kured_lock(lock: &wire::KuredLock<'_>, at: At) -> Result<KuredLock, FormatError> {
    let Some(node) = &lock.node else { return Ok(KuredLock::Unreadable) };
    Ok(KuredLock::Held {
        node: name(NodeName::new, node, at, "kured_locks.node")?,
        since: maybe(lock.since.as_ref(), |of| time(of, at, "kured_locks.since"))?,
        lasts: lock.lasts_nanoseconds.map(SignedDuration::from_nanos),
    })
}

fn foreign(text: &Text<'_>) -> Foreign {
    Foreign::new(text)
}

fn name<'t, T>(
    make: impl Fn(&'t str) -> Result<T, InvalidName>,
    text: &'t Text<'_>,
    at: At,
    field: &str,
) -> Result<T, FormatError> {
    make(text.as_ref()).map_err(|error| at.error(field, error))
}

fn time(text: &Text<'_>, at: At, field: &str) -> Result<Timestamp, FormatError> {
    text.as_ref().parse().map_err(|_| at.error(field, "expected a time such as 2026-11-23T14:02:11Z"))
}

fn maybe<'t, T, U>(
    value: Option<&'t T>,
    read: impl FnOnce(&'t T) -> Result<U, FormatError>,
) -> Result<Option<U>, FormatError> {
    value.map(read).transpose()
}

fn shared<'a, T: Clone>(
    known: &mut HashMap<&'a str, T>,
    text: &'a Text<'_>,
    make: impl FnOnce(&'a Text<'_>) -> Result<T, FormatError>,
) -> Result<T, FormatError> {
    if let Some(known) = known.get(text.as_ref()) {
        return Ok(known.clone());
    }
    let made = make(text)?;
    known.insert(text.as_ref(), made.clone());
    Ok(made)
}
