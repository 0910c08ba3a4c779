//! What a plan is about: all that is read back of the plan of a run that is taken up again. What is to be done is not
//! read, but planned anew from the config and the cluster.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

use crate::format::{FormatError, Kind};
use crate::model::{ClusterName, Foreign, NodeName};

/// The longest plan that is read.
const MAX_BYTES: usize = 512 * 1024 * 1024;

/// The nodes that a plan touches, by cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The name of its config.
    pub config: Foreign,
    /// The nodes with an outage; clusters without any are left out.
    pub nodes: BTreeMap<ClusterName, BTreeSet<NodeName>>,
}

#[derive(Deserialize)]
struct Document {
    config: String,
    clusters: Vec<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    name: String,
    outages: Vec<Outage>,
}

#[derive(Deserialize)]
struct Outage {
    node: String,
}

/// Reads which nodes a plan touches.
///
/// # Errors
/// [`FormatError`] when the bytes are not a plan that this haulout can read.
pub fn read_scope(bytes: &[u8]) -> Result<Scope, FormatError> {
    let document: Document = crate::format::json::read(bytes, Kind::Plan, MAX_BYTES)?;
    let invalid = |at: &str, error: &dyn std::fmt::Display| FormatError::Invalid {
        kind: Kind::Plan,
        at: at.to_owned(),
        message: crate::model::sanitise(&error.to_string()).shortened(300),
    };
    let mut nodes: BTreeMap<ClusterName, BTreeSet<NodeName>> = BTreeMap::new();
    for cluster in document.clusters {
        let name = ClusterName::new(&cluster.name).map_err(|error| invalid("clusters.name", &error))?;
        for outage in cluster.outages {
            let node = NodeName::new(&outage.node).map_err(|error| invalid("clusters.outages.node", &error))?;
            nodes.entry(name.clone()).or_default().insert(node);
        }
    }
    Ok(Scope { config: Foreign::new(document.config), nodes })
}
