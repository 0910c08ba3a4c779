//! Single values: durations, numbers of nodes, moments, selectors, node names.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::{ClusterName, DrainRule, Grace, Limit, NodeName, OnTimeout, Selector, UnmanagedPods};

use super::super::diagnostic::{Code, Diagnostic, quoted};
use super::super::duration::{self, DurationFault};
use super::super::raw::{
    At, RawDrain, RawDuration, RawGrace, RawLimit, RawMoment, RawNodeName, RawOnTimeout, RawSelector, RawUnmanagedPods,
};
use super::super::types::Scope;
use super::super::walk::inside;
use super::Check;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The shortest and the longest that a duration may be, and why it may not be shorter.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    least: Duration,
    most: Duration,
    why: Option<&'static str>,
}

impl Bounds {
    /// For drains, and for waiting until a node is back.
    pub(super) const WAIT: Self = Self { least: SECOND, most: DAY, why: None };
    /// For the end of a pod.
    pub(super) const GRACE: Self = Self {
        least: SECOND,
        most: DAY,
        why: Some("0s would kill pods without notice; \"pod\" gives each what it asks for"),
    };
    /// For how long a node stays ready.
    pub(super) const SETTLE: Self = Self { least: SECOND, most: HOUR, why: None };
    /// For how long a node may be up: ten years end every doubt.
    pub(super) const UPTIME: Self = Self {
        least: HOUR,
        most: Duration::from_secs(3_650 * 86_400),
        why: Some("nodes would be rebooted again and again"),
    };
}

impl Check<'_> {
    pub(super) fn duration(&mut self, raw: Option<&At<RawDuration>>, path: &str, bounds: Bounds) -> Option<Duration> {
        let raw = raw?;
        self.length(&raw.value.0, raw, path, bounds)
    }

    fn length<T>(&mut self, text: &str, at: &At<T>, path: &str, bounds: Bounds) -> Option<Duration> {
        let length = match duration::read(text) {
            Ok(length) => length,
            Err(fault) => {
                let problem =
                    Diagnostic::error(Code::BadDuration, format!("`{path}` is not a duration: \"{}\"", quoted(text)))
                        .with_label(at.span.clone(), fault.to_string());
                let help = match (duration::suggestion(text), fault) {
                    (Some(meant), _) => format!("did you mean \"{meant}\"?"),
                    (None, DurationFault::NoUnit) => format!("add the unit: \"{0}s\" or \"{0}m\"", quoted(text)),
                    (None, _) => {
                        "write whole numbers with the units d, h, m, s: \"90s\", \"15m\", \"1h30m\", \"30d\"".to_owned()
                    }
                };
                self.report(problem.with_help(help));
                return None;
            }
        };
        let (least, most) = (duration::show(bounds.least), duration::show(bounds.most));
        let (label, help) = if length < bounds.least {
            (format!("must be at least \"{least}\""), bounds.why)
        } else if length > bounds.most {
            (format!("must be at most \"{most}\""), None)
        } else {
            return Some(length);
        };
        let problem = Diagnostic::error(Code::OutOfRange, format!("`{path}` cannot be \"{}\"", quoted(text)));
        self.report(problem.with_label(at.span.clone(), label).with_help_if(help));
        None
    }

    /// A number of nodes.
    pub(super) fn limit(&mut self, raw: Option<&At<RawLimit>>, path: &str) -> Option<Limit> {
        let raw = raw?;
        let text = match &raw.value {
            RawLimit::Count(count) => return Some(Limit::Count(*count)),
            RawLimit::Share(text) => text,
        };
        let share = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let percent = share.and_then(|digits| digits.parse::<u8>().ok());
        if let Some(percent) =
            percent.filter(|percent| (1..=100).contains(percent) && share == Some(&percent.to_string()))
        {
            return Some(Limit::Percent(percent));
        }
        let problem = match share {
            Some(digits) if !digits.is_empty() => {
                Diagnostic::error(Code::OutOfRange, format!("`{path}` cannot be \"{}\"", quoted(text)))
                    .with_label(raw.span.clone(), "a share is from \"1%\" to \"100%\"")
            }
            _ => Diagnostic::error(Code::BadLimit, format!("`{path}` is not a number of nodes: \"{}\"", quoted(text)))
                .with_label(raw.span.clone(), "neither an integer nor a share")
                .with_help(match text.trim().parse::<u32>() {
                    Ok(count) if count > 0 => format!("write {count} without quotes, or \"{count}%\""),
                    _ => "write an integer, such as 2, or a share, such as \"10%\"".to_owned(),
                }),
        };
        self.report(problem);
        None
    }

    pub(super) fn moment(&mut self, raw: Option<&At<RawMoment>>, path: &str) -> Option<Timestamp> {
        let raw = raw?;
        // TOML 1.1 allows to leave the seconds out; the moment is the same with them.
        let mut moment = raw.value.0;
        if let Some(time) = &mut moment.time {
            time.second = Some(time.second.unwrap_or(0));
        }
        let moment = moment.to_string().parse::<Timestamp>().ok();
        if moment.is_none() {
            let problem =
                Diagnostic::error(Code::BadDate, format!("`{path}` is not a moment that can be counted with"))
                    .with_label(raw.span.clone(), "outside of the calendar")
                    .with_help("such as 2026-11-20T00:00:00Z");
            self.report(problem);
        }
        moment
    }

    pub(super) fn selector(&mut self, raw: Option<&At<RawSelector>>, path: &str) -> Option<Selector> {
        let raw = raw?;
        self.selector_text(&raw.value.0, raw, path)
    }

    /// A selector in a text of the file, with a caret at the very place that is wrong.
    pub(super) fn selector_text<T>(&mut self, text: &str, at: &At<T>, path: &str) -> Option<Selector> {
        match Selector::parse(text) {
            Ok(selector) => Some(selector),
            Err(error) => {
                let place = inside(self.text, &at.span, text, &error.span).unwrap_or_else(|| at.span.clone());
                let problem = Diagnostic::error(Code::BadSelector, format!("`{path}` is not a label selector"))
                    .with_label(place, error.fault.to_string())
                    .with_help(
                        error.fault.rule().unwrap_or("such as \"pool=np1\", \"zone in (a,b),!gpu\" or \"team!=db\""),
                    );
                self.report(problem);
                None
            }
        }
    }

    /// What a table speaks of in these clusters; `None` when something is wrong with one part.
    pub(super) fn scope(clusters: Option<BTreeSet<ClusterName>>, nodes: Option<Scope>) -> Option<Scope> {
        Some(Scope { clusters: clusters?, ..nodes? })
    }

    /// The nodes that a table names and selects, its clusters left open; `None` when something is wrong with one of them.
    pub(super) fn nodes(
        &mut self,
        names: Option<&At<Vec<At<RawNodeName>>>>,
        selector: Option<&At<RawSelector>>,
        path: &str,
    ) -> Option<Scope> {
        let mut valid = BTreeSet::new();
        let mut complete = true;
        for name in names.into_iter().flat_map(|names| &names.value) {
            if let Ok(name) = NodeName::new(&name.value.0) {
                valid.insert(name);
            } else {
                complete = false;
                self.bad_node_name(name, path);
            }
        }
        let chosen = self.selector(selector, &format!("{path}.selector"));
        complete &= chosen.is_some() == selector.is_some();
        complete.then_some(Scope { clusters: BTreeSet::new(), nodes: valid, selector: chosen })
    }

    fn bad_node_name(&mut self, name: &At<RawNodeName>, path: &str) {
        let text = &name.value.0;
        let lower = text.to_lowercase();
        let help = if Selector::parse(text).is_ok() && text.contains(['=', '!', ' ']) {
            Some(format!("labels are selected with `selector`: selector = \"{}\"", quoted(text)))
        } else if text.contains(['*', '?']) {
            Some("node names have no wildcards; select by a label with `selector`".to_owned())
        } else if NodeName::new(&lower).is_ok() {
            Some(format!("did you mean \"{lower}\"?"))
        } else {
            None
        };
        let problem =
            Diagnostic::error(Code::BadName, format!("`{path}.nodes`: no node can be named \"{}\"", quoted(text)))
                .with_label(name.span.clone(), "not a node name");
        let rule = "a node name is a DNS name: lower-case letters, digits, '-' and '.'";
        self.report(problem.with_help(help.as_deref().unwrap_or(rule)));
    }

    pub(super) fn drain(&mut self, raw: Option<&At<RawDrain>>, path: &str) -> Option<DrainRule> {
        let at = raw?;
        let raw = &at.value;
        let path = format!("{path}.drain");
        let timeout = self.duration(raw.timeout.as_ref(), &format!("{path}.timeout"), Bounds::WAIT);
        let grace = self.grace(raw.grace_period.as_ref(), &format!("{path}.grace_period"));
        if let (Some(timeout), Some(Grace::Fixed(grace)), Some(place)) = (timeout, grace, &raw.grace_period)
            && grace >= timeout
        {
            let problem = Diagnostic::error(
                Code::Conflict,
                format!("`{path}.grace_period` is not shorter than `{path}.timeout`"),
            )
            .with_label(place.span.clone(), "a pod may take all of this to end");
            let problem = match &raw.timeout {
                Some(given) if !given.span.is_empty() => {
                    problem.with_label(given.span.clone(), "then the drain has failed")
                }
                _ => problem,
            };
            self.report(problem.with_help(format!("`timeout` is \"{}\"", duration::show(timeout))));
        }
        Some(DrainRule {
            timeout: timeout?,
            grace: grace?,
            on_timeout: match raw.on_timeout.as_ref()?.value {
                RawOnTimeout::Skip => OnTimeout::Skip,
                RawOnTimeout::Halt => OnTimeout::Halt,
            },
            delete_emptydir_data: raw.delete_emptydir_data.as_ref()?.value,
            unmanaged: match raw.unmanaged_pods.as_ref()?.value {
                RawUnmanagedPods::Block => UnmanagedPods::Block,
                RawUnmanagedPods::Evict => UnmanagedPods::Evict,
            },
        })
    }

    fn grace(&mut self, raw: Option<&At<RawGrace>>, path: &str) -> Option<Grace> {
        let raw = raw?;
        match raw.value.0.as_str() {
            "pod" => Some(Grace::Pod),
            text => self.length(text, raw, path, Bounds::GRACE).map(Grace::Fixed),
        }
    }

    /// The file of a sandbox: within the folder of the config, because a plan may be made from anybody's pull request.
    pub(super) fn sandbox(&mut self, raw: &At<String>, path: &str) -> Option<PathBuf> {
        let text = &raw.value;
        let drive = text.as_bytes().get(1) == Some(&b':');
        let label = if text.starts_with(['/', '\\', '~']) || drive {
            "an absolute path"
        } else if text.contains('\\') {
            "write folders with `/`"
        } else if text.split('/').any(|part| part == "..") {
            "leads out of the folder of this config"
        } else if text.ends_with('/') || text.split('/').all(|part| part == ".") {
            "a folder, not a file"
        } else {
            return Some(text.split('/').filter(|part| !part.is_empty() && *part != ".").collect());
        };
        let problem = Diagnostic::error(Code::BadPath, format!("`{path}` cannot be \"{}\"", quoted(text)))
            .with_label(raw.span.clone(), label)
            .with_help("name a file beside this config or below it: a plan may be made from anybody's config, so it reads no other files");
        self.report(problem);
        None
    }
}
