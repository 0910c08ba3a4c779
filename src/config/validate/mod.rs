//! From a file that fits the schema to a config that makes sense.
//!
//! Validation reads everything that the walker left, reports each problem where it is, and yields a config only
//! when there was none.

mod clusters;
mod overlap;
mod tables;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::model::{ClusterName, Foreign, InvalidName, TableName};

use super::diagnostic::{Code, Diagnostic, Sink, quoted};
use super::raw::{At, RawConfig, Tables};
use super::types::Config;

/// What the checks need at hand.
pub(super) struct Check<'a> {
    /// The text of the file, to find places within a string.
    pub(super) text: &'a str,
    /// Where problems go.
    pub(super) sink: &'a mut Sink,
    /// The paths of what the walker took out; what is missing there has been reported.
    pub(super) spoiled: &'a BTreeSet<String>,
    /// Whether the document is complete, so that what is not in it can be called missing.
    pub(super) whole: bool,
}

impl Check<'_> {
    fn report(&mut self, diagnostic: Diagnostic) {
        self.sink.push(diagnostic);
    }

    /// Whether something below `path` was taken out, or may have been.
    fn is_spoiled(&self, path: &str) -> bool {
        !self.whole || self.spoiled.contains(path)
    }

    /// The config, where nothing is wrong with it.
    pub(super) fn config(&mut self, raw: &RawConfig) -> Option<Config> {
        let name = raw.name.as_ref().and_then(|name| self.config_name(name));
        let known = self.clusters(raw.cluster.as_ref().map(|tables| &tables.value));
        let reboots =
            self.named(raw.reboot.as_ref(), "reboot", |check, table, path, key| check.reboot(table, path, key, &known));
        let out_of_service = self.named(raw.out_of_service.as_ref(), "out_of_service", |check, table, path, key| {
            check.out_of_service(table, path, key, &known)
        });
        let protect =
            self.named(raw.protect.as_ref(), "protect", |check, table, path, _| check.protect(table, path, &known));
        self.overlaps(raw, &reboots);
        self.shadowed_limits(raw, &reboots);
        if self.whole && !self.sink.failed() && reboots.is_empty() && out_of_service.is_empty() {
            let warning = Diagnostic::warning(Code::NoEffect, "this config asks for nothing")
                .with_help("add a [reboot.NAME] or an [out_of_service.NAME]");
            self.report(match &raw.cluster {
                Some(clusters) => match clusters.value.keys().next() {
                    Some(key) => warning.with_label(key.span.clone(), "clusters alone are only looked at"),
                    None => warning,
                },
                None => warning,
            });
        }
        if self.sink.failed() {
            return None;
        }
        Some(Config { name: name?, clusters: known.valid, reboots, out_of_service, protect })
    }

    /// Reads tables one by one; those with problems are left out.
    fn named<R, T>(
        &mut self,
        tables: Option<&At<Tables<R>>>,
        kind: &str,
        mut read: impl FnMut(&mut Self, &R, &str, &Range<usize>) -> Option<T>,
    ) -> BTreeMap<TableName, T> {
        let mut out = BTreeMap::new();
        for (key, table) in tables.into_iter().flat_map(|tables| &tables.value) {
            let name = self.name(key, kind, TableName::new);
            let path = super::walk::below(kind, &key.value);
            let table = read(self, &table.value, &path, &key.span);
            if let (Some(name), Some(table)) = (name, table) {
                out.insert(name, table);
            }
        }
        out
    }

    /// A name that is the key of a table.
    fn name<T>(&mut self, key: &At<String>, kind: &str, make: fn(String) -> Result<T, InvalidName>) -> Option<T> {
        match make(key.value.clone()) {
            Ok(name) => Some(name),
            Err(error) => {
                let problem =
                    Diagnostic::error(Code::BadName, format!("[{kind}.NAME] cannot be named `{}`", quoted(&key.value)))
                        .with_label(key.span.clone(), format!("not a {}", error.kind));
                let help = dns_label(&key.value).map(|name| format!("such as [{kind}.{name}]: "));
                self.report(problem.with_help(help.unwrap_or_default() + error.rule));
                None
            }
        }
    }

    fn config_name(&mut self, name: &At<String>) -> Option<Foreign> {
        // The rule of table and cluster names: the name is written into marks on nodes beside these.
        match ClusterName::new(&name.value) {
            Ok(valid) => Some(Foreign::new(valid.as_str())),
            Err(error) => {
                let problem = Diagnostic::error(Code::BadName, format!("`name` cannot be \"{}\"", quoted(&name.value)))
                    .with_label(name.span.clone(), "not the name of a config");
                let help = dns_label(&name.value).map(|name| format!("such as \"{name}\": "));
                self.report(problem.with_help(help.unwrap_or_default() + error.rule));
                None
            }
        }
    }
}

/// A text made a DNS label, where something is left of it.
fn dns_label(text: &str) -> Option<String> {
    let mut out = String::new();
    for c in text.chars().take(200) {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.ends_with('-') {
            out.push('-');
        }
    }
    let cut: String = out.trim_matches('-').chars().take(63).collect();
    let cut = cut.trim_matches('-');
    (!cut.is_empty()).then(|| cut.to_owned())
}
