//! `cluster.toml`: what a simulated cluster is made of.

use std::path::{Component, Path};

use jiff::SignedDuration;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::object::duration;
use super::sandbox::SandboxError;
use super::world::Delays;

/// A simulated cluster, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxFile {
    /// The files with its objects, relative to the file itself, in the order in which they are read.
    pub manifests: Vec<String>,
    /// What its randomness begins with.
    pub seed: u64,
    /// How long things take.
    pub delays: Delays,
    /// The text, for telling whether it has changed.
    pub(super) text: String,
}

/// A simulated cluster for haulout: which objects it begins with, and how long things take in it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "haulout sandbox", rename = "Sandbox")]
struct Raw {
    /// The version of this format.
    #[schemars(extend("const" = 1))]
    version: u32,
    /// YAML files of Kubernetes objects, relative to this file. Deployments, StatefulSets and DaemonSets are enough:
    /// their pods come by themselves.
    #[schemars(extend("minItems" = 1))]
    manifests: Vec<String>,
    /// What the randomness of the cluster begins with: names, ids, ties of the scheduler. The same seed gives the same
    /// cluster.
    #[serde(default = "one")]
    seed: u32,
    /// How long things take, as "300ms", "2s" or "1m30s".
    #[serde(default)]
    delays: RawDelays,
}

fn one() -> u32 {
    1
}

/// How long things take, where nothing on the object says otherwise (annotations `sim.haulout.dev/…`).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Delays")]
struct RawDelays {
    /// From the start of a pod's containers until the pod is Ready.
    pod_ready: String,
    /// From a pod's deletion until its containers have ended; cut short by the pod's grace period.
    pod_stop: String,
    /// How long a node is dark when it reboots.
    reboot: String,
    /// How long after its boot a node stays NotReady.
    node_ready: String,
    /// How long a volume takes to be detached after its last pod is gone.
    volume_detach: String,
    /// How long after its last sign of life a node is given up as Unknown.
    node_lost: String,
}

impl Default for RawDelays {
    fn default() -> Self {
        let Delays { pod_ready, pod_stop, reboot, node_ready, volume_detach, node_lost } = Delays::default();
        let text = |delay: SignedDuration| format!("{}ms", delay.as_millis());
        Self {
            pod_ready: text(pod_ready),
            pod_stop: text(pod_stop),
            reboot: text(reboot),
            node_ready: text(node_ready),
            volume_detach: text(volume_detach),
            node_lost: text(node_lost),
        }
    }
}

/// The JSON Schema of `cluster.toml` (draft 2020-12), as `schemas/sandbox.v1.json` holds it.
#[must_use]
pub fn schema() -> Value {
    Value::from(SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Raw>())
}

impl SandboxFile {
    /// Reads `cluster.toml`. `name` is what errors call it.
    ///
    /// # Errors
    /// [`SandboxError::File`] with the line where the text is no such file.
    pub fn parse(name: &str, text: &str) -> Result<Self, SandboxError> {
        let wrong = |line: Option<usize>, message: String| SandboxError::File { file: name.to_owned(), line, message };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_at(text, span.start));
            wrong(line, error.message().to_owned())
        })?;
        if raw.version != 1 {
            let message = format!("version {} is not known; this haulout reads version 1", raw.version);
            return Err(wrong(line_of(text, &["version"]), message));
        }
        if raw.manifests.is_empty() {
            return Err(wrong(
                line_of(text, &["manifests"]),
                "`manifests` names no file: a cluster needs at least one node".to_owned(),
            ));
        }
        for (index, manifest) in raw.manifests.iter().enumerate() {
            let inside =
                Path::new(manifest).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if manifest.is_empty() || !inside || manifest.contains('\\') {
                let message = format!("manifest `{manifest}` must be a path below the folder of this file");
                return Err(wrong(line_of(text, &["manifests"]), message));
            }
            if raw.manifests[..index].contains(manifest) {
                return Err(wrong(line_of(text, &["manifests"]), format!("manifest `{manifest}` is named twice")));
            }
        }
        let delay = |key: &str, given: &str| {
            duration(given).ok_or_else(|| {
                wrong(
                    line_of(text, &["delays", key]),
                    format!("delays.{key} = \"{given}\" is no duration such as \"300ms\", \"2s\" or \"1m30s\""),
                )
            })
        };
        let delays = Delays {
            pod_ready: delay("pod_ready", &raw.delays.pod_ready)?,
            pod_stop: delay("pod_stop", &raw.delays.pod_stop)?,
            reboot: delay("reboot", &raw.delays.reboot)?,
            node_ready: delay("node_ready", &raw.delays.node_ready)?,
            volume_detach: delay("volume_detach", &raw.delays.volume_detach)?,
            node_lost: delay("node_lost", &raw.delays.node_lost)?,
        };
        Ok(Self { manifests: raw.manifests, seed: u64::from(raw.seed), delays, text: text.to_owned() })
    }
}

/// The line of a byte, from 1.
fn line_at(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// The line of the value that a path of keys leads to.
fn line_of(text: &str, path: &[&str]) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let (last, tables) = path.split_last()?;
    let mut table = document.get_ref();
    for key in tables {
        let DeValue::Table(inner) = table.get(*key)?.get_ref() else { return None };
        table = inner;
    }
    Some(line_at(text, table.get(*last)?.span().start))
}
