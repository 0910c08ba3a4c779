//! Objects as the rows of a table, the way the API server prints them for `kubectl get`.
//!
//! Columns and cells are those of the server of [`super::discovery::GIT_VERSION`]; a test on the real one holds them
//! together.

mod cells;
mod pod;

use jiff::{SignedDuration, Timestamp};

use super::kind::Kind;
use super::object::{Look, set, unset};
use crate::twin::json::{Value, json};
use cells::cells;

/// How much of each object goes with its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Include {
    /// Nothing.
    Nothing,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

/// A column. The second part is its type, the third is 1 where only `-o wide` shows it.
type Column = (&'static str, &'static str, u8);

/// An object or a list as a table.
pub(super) fn table(kind: Kind, body: &Value, include: Include, headers: bool, now: Timestamp) -> Value {
    let mut metadata = json!({});
    let rows: Vec<Value> = if body.at("/items").is_array() {
        metadata = body.at("/metadata").clone();
        body.items("/items").iter().map(|object| row(kind, object, include, now)).collect()
    } else {
        set(&mut metadata, "/resourceVersion", body.text("/metadata/resourceVersion"));
        vec![row(kind, body, include, now)]
    };
    let columns: Vec<Value> = columns(kind)
        .iter()
        .filter(|_| headers)
        .map(|(name, of, priority)| {
            // The name is the first column, except of events, which have it last.
            let is_name = *name == "Name" || (kind == Kind::VolumeAttachment && *name == "Attacher");
            let format = if is_name { "name" } else { "" };
            json!({ "name": name, "type": of, "format": format, "description": "", "priority": priority })
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

fn row(kind: Kind, object: &Value, include: Include, now: Timestamp) -> Value {
    let mut row = json!({ "cells": cells(kind, object, now) });
    if kind == Kind::Pod {
        let (reason, message) = match object.text("/status/phase") {
            "Succeeded" => ("Succeeded", "The pod has completed successfully."),
            "Failed" => ("Failed", "The pod failed."),
            _ => ("", ""),
        };
        if !reason.is_empty() {
            let condition = json!({ "type": "Completed", "status": "True", "reason": reason, "message": message });
            set(&mut row, "/conditions", json!([condition]));
        }
    }
    match include {
        Include::Nothing => {}
        Include::Metadata => {
            let mut metadata = object.at("/metadata").clone();
            // It is longer than all the rest, and nobody prints it.
            unset(&mut metadata, "/managedFields");
            let part = json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata });
            set(&mut row, "/object", part);
        }
        Include::Object => set(&mut row, "/object", object.clone()),
    }
    row
}

const NAME: Column = ("Name", "string", 0);
const AGE: Column = ("Age", "string", 0);

const fn text(name: &'static str) -> Column {
    (name, "string", 0)
}

const fn wide(name: &'static str) -> Column {
    (name, "string", 1)
}

const fn whole(name: &'static str) -> Column {
    (name, "integer", 0)
}

const CONTAINERS: Column = wide("Containers");
const IMAGES: Column = wide("Images");
const SELECTOR: Column = wide("Selector");

fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Namespace => const { &[NAME, text("Status"), AGE] },
        Kind::Node => {
            const {
                &[
                    NAME,
                    text("Status"),
                    text("Roles"),
                    AGE,
                    text("Version"),
                    wide("Internal-IP"),
                    wide("External-IP"),
                    wide("OS-Image"),
                    wide("Kernel-Version"),
                    wide("Container-Runtime"),
                ]
            }
        }
        Kind::ServiceAccount => const { &[NAME, AGE] },
        Kind::ConfigMap => const { &[NAME, text("Data"), AGE] },
        Kind::Service => {
            const { &[NAME, text("Type"), text("Cluster-IP"), text("External-IP"), text("Port(s)"), AGE, wide("Selector")] }
        }
        Kind::PersistentVolume => {
            const {
                &[
                    NAME,
                    text("Capacity"),
                    text("Access Modes"),
                    text("Reclaim Policy"),
                    text("Status"),
                    text("Claim"),
                    text("StorageClass"),
                    text("VolumeAttributesClass"),
                    text("Reason"),
                    AGE,
                    wide("VolumeMode"),
                ]
            }
        }
        Kind::PersistentVolumeClaim => {
            const {
                &[
                    NAME,
                    text("Status"),
                    text("Volume"),
                    text("Capacity"),
                    text("Access Modes"),
                    text("StorageClass"),
                    text("VolumeAttributesClass"),
                    AGE,
                    wide("VolumeMode"),
                ]
            }
        }
        Kind::Event => {
            const {
                &[
                    text("Last Seen"),
                    text("Type"),
                    text("Reason"),
                    text("Object"),
                    wide("Subobject"),
                    wide("Source"),
                    text("Message"),
                    wide("First Seen"),
                    wide("Count"),
                    wide("Name"),
                ]
            }
        }
        Kind::Pod => {
            const {
                &[
                    NAME,
                    text("Ready"),
                    text("Status"),
                    text("Restarts"),
                    AGE,
                    wide("IP"),
                    wide("Node"),
                    wide("Nominated Node"),
                    wide("Readiness Gates"),
                ]
            }
        }
        Kind::Deployment => {
            const { &[NAME, text("Ready"), text("Up-to-date"), text("Available"), AGE, CONTAINERS, IMAGES, SELECTOR] }
        }
        Kind::ReplicaSet => {
            const { &[NAME, whole("Desired"), whole("Current"), whole("Ready"), AGE, CONTAINERS, IMAGES, SELECTOR] }
        }
        Kind::StatefulSet => const { &[NAME, text("Ready"), AGE, CONTAINERS, IMAGES] },
        Kind::DaemonSet => {
            const {
                &[
                    NAME,
                    whole("Desired"),
                    whole("Current"),
                    whole("Ready"),
                    whole("Up-to-date"),
                    whole("Available"),
                    text("Node Selector"),
                    AGE,
                    CONTAINERS,
                    IMAGES,
                    SELECTOR,
                ]
            }
        }
        Kind::Job => {
            const { &[NAME, text("Status"), text("Completions"), text("Duration"), AGE, CONTAINERS, IMAGES, SELECTOR] }
        }
        Kind::PodDisruptionBudget => {
            const { &[NAME, text("Min Available"), text("Max Unavailable"), whole("Allowed Disruptions"), AGE] }
        }
        Kind::Lease => const { &[NAME, text("Holder"), AGE] },
        Kind::StorageClass => {
            const {
                &[
                    NAME,
                    text("Provisioner"),
                    text("ReclaimPolicy"),
                    text("VolumeBindingMode"),
                    text("AllowVolumeExpansion"),
                    AGE,
                ]
            }
        }
        Kind::CSINode => const { &[NAME, whole("Drivers"), AGE] },
        Kind::VolumeAttachment => {
            const { &[NAME, text("Attacher"), text("PV"), text("Node"), ("Attached", "boolean", 0), AGE] }
        }
        Kind::CertificateSigningRequest => {
            const { &[NAME, AGE, text("SignerName"), text("Requestor"), text("RequestedDuration"), text("Condition")] }
        }
        Kind::PriorityClass => {
            const { &[NAME, whole("Value"), ("Global-Default", "boolean", 0), AGE, text("PreemptionPolicy")] }
        }
        Kind::Role | Kind::ClusterRole => const { &[NAME, ("Created At", "date", 0)] },
        Kind::RoleBinding | Kind::ClusterRoleBinding => {
            const { &[NAME, text("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")] }
        }
    }
}

/// How long ago a moment was, as kubectl writes it.
fn since(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "<unknown>".to_owned(), |at| human(now.duration_since(at)))
}

/// A duration in at most two units, as `HumanDuration` of `k8s.io/apimachinery` writes it.
fn human(length: SignedDuration) -> String {
    let seconds = length.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{small_unit}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => two(hours / 24, "d", hours % 24, "h"),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", hours / 24 % 365, "d"),
        _ => format!("{}y", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        let rows = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ];
        for (seconds, text) in rows {
            assert_eq!(human(SignedDuration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn every_row_has_a_cell_for_each_column() {
        let object = json!({ "metadata": { "name": "a" }, "spec": {}, "status": {} });
        for kind in Kind::ALL {
            let table = table(*kind, &object, Include::Metadata, true, Timestamp::UNIX_EPOCH);
            let row = table.items("/rows/0/cells");
            assert_eq!(row.len(), table.items("/columnDefinitions").len(), "{kind:?}");
        }
    }
}
