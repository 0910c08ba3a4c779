//! What makes a comparison impossible.

use crate::model::{Advice, ClusterName, Explain, Kind, NodeName, TableName};

/// A config that cannot be compared with a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiffError {
    /// Two reboot tables select the same node: nobody could say by which of their rules it is rebooted.
    #[error("node {node} of cluster {cluster} is selected by both reboot.{first} and reboot.{second}")]
    TwoRebootTables {
        /// The cluster.
        cluster: ClusterName,
        /// The node.
        node: NodeName,
        /// The first table, by name.
        first: TableName,
        /// The second.
        second: TableName,
    },
    /// The cluster that was observed is not one of the config.
    #[error("the config has no cluster named {cluster}")]
    NoSuchCluster {
        /// The cluster.
        cluster: ClusterName,
    },
}

impl Explain for DiffError {
    fn kind(&self) -> Kind {
        Kind::Input
    }

    fn advice(&self) -> Option<Advice> {
        match self {
            DiffError::TwoRebootTables { first, second, .. } => Some(Advice::new(format!(
                "narrow the selector of reboot.{first} or reboot.{second} so that each node is in one of them"
            ))),
            DiffError::NoSuchCluster { .. } => Some(Advice::new("plan with the config that names this cluster")),
        }
    }

    fn is_sentence(&self) -> bool {
        true
    }
}
