//! The clusters of a file, and what refers to them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::model::{ClusterName, Foreign, LabelKey, NodePod, PodName};

use super::super::diagnostic::{Code, Diagnostic, listed, nearest, quoted};
use super::super::raw::{At, RawCluster, RawClusterOrTag, RawNodePod, Tables};
use super::super::types::{Cluster, Reach};
use super::Check;

/// The clusters of a file.
pub(super) struct Known {
    /// Those without problems.
    pub(super) valid: BTreeMap<ClusterName, Cluster>,
    /// The names of all, with their tags; also of those with problems, which may be referred to all the same.
    tags: BTreeMap<String, BTreeSet<String>>,
    /// The valid names among them.
    names: BTreeMap<String, ClusterName>,
}

impl Check<'_> {
    pub(super) fn clusters(&mut self, raw: Option<&Tables<RawCluster>>) -> Known {
        let empty = BTreeMap::new();
        let raw = raw.unwrap_or(&empty);
        let tags = raw.iter().map(|(key, cluster)| (key.value.clone(), tags_of(&cluster.value))).collect();
        let names =
            raw.keys().filter_map(|key| Some((key.value.clone(), ClusterName::new(&key.value).ok()?))).collect();
        let mut known = Known { valid: BTreeMap::new(), tags, names };
        for (key, cluster) in raw {
            let name = self.name(key, "cluster", ClusterName::new);
            let path = super::super::walk::below("cluster", &key.value);
            let cluster = self.cluster(&cluster.value, &path, key, &known);
            if let (Some(name), Some(cluster)) = (name, cluster) {
                known.valid.insert(name, cluster);
            }
        }
        self.same_place(raw);
        self.cycles(raw);
        known
    }

    fn cluster(&mut self, raw: &RawCluster, path: &str, key: &At<String>, known: &Known) -> Option<Cluster> {
        let reach = self.reach(raw, path, &key.span);
        let tags = self.tags(raw, path);
        let after = self.after(raw, path, key, known);
        let max_unavailable = self.limit(raw.max_unavailable.as_ref(), &format!("{path}.max_unavailable"));
        let pool_label = match &raw.pool_label {
            None => Some(None),
            Some(label) => self.label_key(label, &format!("{path}.pool_label")).map(Some),
        };
        let node_pod = match &raw.node_pod {
            None => Some(None),
            Some(pod) => self.node_pod(&pod.value, &format!("{path}.node_pod")).map(Some),
        };
        Some(Cluster {
            reach: reach?,
            tags: tags?,
            after: after?,
            max_unavailable: max_unavailable?,
            pool_label: pool_label?,
            node_pod: node_pod?,
        })
    }

    fn reach(&mut self, raw: &RawCluster, path: &str, key: &Range<usize>) -> Option<Reach> {
        match (&raw.context, &raw.sandbox) {
            (Some(context), None) => Some(Reach::Context(Foreign::new(&context.value))),
            (None, Some(sandbox)) => self.sandbox(sandbox, &format!("{path}.sandbox")).map(Reach::Sandbox),
            (Some(context), Some(sandbox)) => {
                let problem = Diagnostic::error(Code::Conflict, format!("[{path}] has both `context` and `sandbox`"))
                    .with_label(context.span.clone(), "a real cluster")
                    .with_label(sandbox.span.clone(), "a simulated one")
                    .with_help("keep one of the two");
                self.report(problem);
                None
            }
            (None, None) => {
                if !self.is_spoiled(path) {
                    let problem = Diagnostic::error(Code::MissingKey, format!("[{path}] does not say where the cluster is"))
                        .with_label(key.clone(), "`context` or `sandbox` is missing")
                        .with_help("name a context of your kubeconfig: context = \"NAME\", or a simulated cluster: sandbox = \"cluster.toml\"");
                    self.report(problem);
                }
                None
            }
        }
    }

    fn tags(&mut self, raw: &RawCluster, path: &str) -> Option<BTreeMap<Arc<str>, Arc<str>>> {
        let mut out = BTreeMap::new();
        let mut complete = true;
        let tags = &raw.tags.as_ref()?.value;
        for part in tags.iter().flat_map(|(key, value)| [key, value]) {
            if !is_tag_part(&part.value) {
                complete = false;
                let problem = Diagnostic::error(
                    Code::BadName,
                    format!("`{path}.tags` cannot contain \"{}\"", quoted(&part.value)),
                )
                .with_label(part.span.clone(), "not a tag")
                .with_help("keys and values of tags have 1 to 63 letters, digits, '-', '_' and '.'");
                self.report(problem);
            }
        }
        for (key, value) in tags {
            out.insert(key.value.as_str().into(), value.value.as_str().into());
        }
        complete.then_some(out)
    }

    fn after(
        &mut self,
        raw: &RawCluster,
        path: &str,
        key: &At<String>,
        known: &Known,
    ) -> Option<BTreeSet<ClusterName>> {
        let mut out = BTreeSet::new();
        let mut complete = true;
        for entry in &raw.after.as_ref()?.value {
            let name = &entry.value;
            if *name == key.value {
                complete = false;
                let problem = Diagnostic::error(Code::Cycle, format!("[{path}] cannot come after itself"))
                    .with_label(entry.span.clone(), "this cluster");
                self.report(problem);
            } else if known.tags.contains_key(name) {
                // A name that is no valid name has been reported where it is defined.
                out.extend(known.names.get(name).cloned());
            } else {
                complete = false;
                self.unknown_cluster(name, &entry.span, &format!("{path}.after"), known, false);
            }
        }
        complete.then_some(out)
    }

    fn node_pod(&mut self, raw: &RawNodePod, path: &str) -> Option<NodePod> {
        let mut complete = true;
        if let Some(image) = &raw.image {
            if image.value.bytes().any(|byte| !byte.is_ascii_graphic()) {
                complete = false;
                let problem = Diagnostic::error(Code::BadName, format!("`{path}.image` is not an image"))
                    .with_label(image.span.clone(), "an image has no spaces and only ASCII characters");
                self.report(problem);
            } else if !image.value.contains("@sha256:") {
                let warning = Diagnostic::warning(Code::Risky, format!("`{path}.image` is not pinned by its digest"))
                    .with_label(image.span.clone(), "may be another image tomorrow")
                    .with_help("this pod reboots nodes: write it as NAME@sha256:DIGEST");
                self.report(warning);
            }
        }
        let mut pull_secrets = BTreeSet::new();
        for secret in &raw.pull_secrets.as_ref()?.value {
            if PodName::new(&secret.value).is_ok() {
                pull_secrets.insert(Foreign::new(&secret.value));
            } else {
                complete = false;
                let problem = Diagnostic::error(
                    Code::BadName,
                    format!("`{path}.pull_secrets`: no secret can be named \"{}\"", quoted(&secret.value)),
                )
                .with_label(secret.span.clone(), "a name has lower-case letters, digits, '-' and '.'");
                self.report(problem);
            }
        }
        let image = Foreign::new(&raw.image.as_ref()?.value);
        complete.then_some(NodePod { image, pull_secrets: pull_secrets.into_iter().collect() })
    }

    fn label_key(&mut self, raw: &At<String>, path: &str) -> Option<LabelKey> {
        match LabelKey::new(&raw.value) {
            Ok(key) => Some(key),
            Err(error) => {
                let problem =
                    Diagnostic::error(Code::BadName, format!("`{path}` cannot be \"{}\"", quoted(&raw.value)))
                        .with_label(raw.span.clone(), "not a label key");
                let valued = raw.value.contains('=');
                self.report(problem.with_help(if valued {
                    "name the label alone, without a value"
                } else {
                    error.rule
                }));
                None
            }
        }
    }

    /// The clusters that a table is about.
    pub(super) fn chosen(
        &mut self,
        raw: Option<&At<Vec<At<RawClusterOrTag>>>>,
        path: &str,
        known: &Known,
    ) -> Option<BTreeSet<ClusterName>> {
        let Some(entries) = raw else {
            return Some(known.names.values().cloned().collect());
        };
        let mut out = BTreeSet::new();
        let mut complete = true;
        for entry in &entries.value {
            let text = &entry.value.0;
            let tagged = known.tags.iter().filter(|(_, tags)| tags.contains(text)).map(|(name, _)| name);
            let found: Vec<&String> = if text.contains('=') {
                tagged.collect()
            } else {
                known.tags.get_key_value(text).map(|(name, _)| name).into_iter().collect()
            };
            if found.is_empty() {
                complete = false;
                self.unknown_cluster(text, &entry.span, &format!("{path}.clusters"), known, true);
            }
            out.extend(found.into_iter().filter_map(|name| known.names.get(name)).cloned());
        }
        complete.then_some(out)
    }

    fn unknown_cluster(&mut self, text: &str, span: &Range<usize>, path: &str, known: &Known, tags_too: bool) {
        // What the walker took out may be the very cluster that is meant.
        if self.is_spoiled("cluster") || self.is_spoiled(&super::super::walk::below("cluster", text)) {
            return;
        }
        if self.sink.is_full() {
            self.sink.skip();
            return;
        }
        let names = known.tags.keys().map(String::as_str);
        let all_tags: BTreeSet<&str> = known.tags.values().flatten().map(String::as_str).collect();
        if text.contains('=') && tags_too {
            if known.tags.keys().any(|name| self.is_spoiled(&format!("cluster.{name}"))) {
                return;
            }
            let problem = Diagnostic::error(
                Code::UnknownCluster,
                format!("`{path}`: no cluster has the tag \"{}\"", quoted(text)),
            )
            .with_label(span.clone(), "not a tag of this file");
            let help = match nearest(text, all_tags.iter().copied()) {
                Some(tag) => format!("did you mean \"{tag}\"?"),
                None if all_tags.is_empty() => "give clusters tags: tags = { stage = \"prod\" }".to_owned(),
                None => format!("the tags of this file are {}", listed(all_tags, "and")),
            };
            self.report(problem.with_help(help));
            return;
        }
        let problem =
            Diagnostic::error(Code::UnknownCluster, format!("`{path}`: there is no cluster \"{}\"", quoted(text)))
                .with_label(span.clone(), "not a cluster of this file");
        let help = if text.contains('=') {
            "this key takes names of clusters; tags are for `clusters`".to_owned()
        } else {
            match nearest(text, names.clone()) {
                Some(name) => format!("did you mean \"{}\"?", quoted(name)),
                None => format!("the clusters of this file are {}", listed(names, "and")),
            }
        };
        self.report(problem.with_help(help));
    }

    /// Two names for one cluster would each have limits of their own, and together break both.
    fn same_place(&mut self, raw: &Tables<RawCluster>) {
        let mut seen: BTreeMap<(bool, &str), (&At<String>, &str)> = BTreeMap::new();
        for (key, cluster) in raw {
            let places = [(true, &cluster.value.context), (false, &cluster.value.sandbox)];
            for (real, place) in places.into_iter().filter_map(|(real, place)| Some((real, place.as_ref()?))) {
                let Some((first, other)) = seen.get(&(real, place.value.as_str())) else {
                    seen.insert((real, &place.value), (place, &key.value));
                    continue;
                };
                let what = if real { "context" } else { "sandbox" };
                let problem = Diagnostic::error(
                    Code::Conflict,
                    format!(
                        "the clusters `{}` and `{}` have the same {what} \"{}\"",
                        quoted(other),
                        quoted(&key.value),
                        quoted(&place.value)
                    ),
                )
                .with_label(place.span.clone(), format!("the same {what} again"))
                .with_label(first.span.clone(), "first here")
                .with_help("describe each cluster once: its limits count all of its nodes");
                self.report(problem);
            }
        }
    }

    /// Clusters that wait for one another in a circle; each circle is reported once.
    fn cycles(&mut self, raw: &Tables<RawCluster>) {
        let edges: BTreeMap<&str, Vec<&At<String>>> = raw
            .iter()
            .map(|(key, cluster)| {
                let after = cluster
                    .value
                    .after
                    .as_ref()
                    .map(|after| after.value.iter().filter(|entry| entry.value != key.value).collect());
                (key.value.as_str(), after.unwrap_or_default())
            })
            .collect();
        // What cannot wait in a circle is taken away until only circles and what leads into them remain. Unlike a
        // search by recursion this needs no stack, however long a chain a file builds.
        let mut finished: BTreeSet<&str> = BTreeSet::new();
        for start in edges.keys().copied() {
            let mut trail: Vec<(&str, usize)> = if finished.contains(start) { Vec::new() } else { vec![(start, 0)] };
            while let Some((name, next)) = trail.last().copied() {
                let Some(entry) = edges.get(name).and_then(|entries| entries.get(next)) else {
                    finished.insert(name);
                    trail.pop();
                    continue;
                };
                if let Some(top) = trail.last_mut() {
                    top.1 += 1;
                }
                if let Some(begin) = trail.iter().position(|(on, _)| *on == entry.value) {
                    self.cycle(&trail[begin..], &edges);
                } else if edges.contains_key(entry.value.as_str()) && !finished.contains(entry.value.as_str()) {
                    trail.push((&entry.value, 0));
                }
            }
        }
    }

    fn cycle(&mut self, trail: &[(&str, usize)], edges: &BTreeMap<&str, Vec<&At<String>>>) {
        if self.sink.is_full() {
            self.sink.skip();
            return;
        }
        let mut names: Vec<String> = trail.iter().take(8).map(|(name, _)| format!("`{}`", quoted(name))).collect();
        names.extend((trail.len() > 8).then(|| "…".to_owned()));
        names.extend(trail.first().map(|(name, _)| format!("`{}`", quoted(name))));
        let mut problem = Diagnostic::error(
            Code::Cycle,
            format!("clusters wait for one another in a circle: {}", names.join(" after ")),
        );
        for (name, next) in trail.iter().take(8) {
            // The trail has already stepped past the entry that it follows.
            if let Some(entry) = edges.get(name).and_then(|entries| entries.get(next.saturating_sub(1))) {
                problem = problem.with_label(entry.span.clone(), format!("`{}` waits for this", quoted(name)));
            }
        }
        self.report(problem.with_help("remove one of these"));
    }
}

/// The tags of a cluster as `clusters` writes them.
fn tags_of(cluster: &RawCluster) -> BTreeSet<String> {
    let tags = cluster.tags.iter().flat_map(|tags| &tags.value);
    tags.map(|(key, value)| format!("{}={}", key.value, value.value)).collect()
}

fn is_tag_part(text: &str) -> bool {
    (1..=63).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
