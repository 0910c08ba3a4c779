//! What makes a plan impossible as a whole. What makes one change impossible is [`super::Blocked`], not an error.

use super::check::CheckError;
use crate::diff::DiffError;
use crate::model::{Advice, ClusterName, Explain, Foreign, Kind};

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Config and cluster cannot be compared.
    #[error("the config cannot be compared with the cluster")]
    Compare(#[from] DiffError),
    /// A flag names something that was not observed.
    #[error("{flag} {} matches nothing", text.sanitised())]
    NoMatch {
        /// The flag.
        flag: &'static str,
        /// What was typed.
        text: Foreign,
        /// What may have been meant.
        similar: Vec<String>,
    },
    /// Every node that was asked for is left out again.
    #[error("nothing is selected: --exclude takes away {}", if *.targeted { "all that --target selected" } else { "every node" })]
    NothingSelected {
        /// Whether only some nodes were asked for.
        targeted: bool,
    },
    /// Clusters come after each other in a circle.
    #[error("the clusters {} come after each other in a circle", names(clusters))]
    ClusterCycle {
        /// The clusters of the circle.
        clusters: Vec<ClusterName>,
    },
    /// The plan was made, and the independent checker found it unsound.
    #[error("the plan did not pass the check")]
    Unsound(#[from] CheckError),
}

fn names(clusters: &[ClusterName]) -> String {
    clusters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Explain for PlanError {
    fn kind(&self) -> Kind {
        match self {
            PlanError::Compare(error) => error.kind(),
            PlanError::NoMatch { .. } | PlanError::NothingSelected { .. } | PlanError::ClusterCycle { .. } => {
                Kind::Input
            }
            PlanError::Unsound(error) => error.kind(),
        }
    }

    fn advice(&self) -> Option<Advice> {
        match self {
            PlanError::Compare(error) => error.advice(),
            PlanError::NoMatch { similar, .. } if similar.is_empty() => Some(Advice::new(
                "write a node as NAME, node/NAME or CLUSTER/node/NAME, and a pool as pool/NAME or CLUSTER/pool/NAME",
            )),
            PlanError::NoMatch { similar, .. } => Some(Advice::new(format!("did you mean {}?", similar.join(" or ")))),
            PlanError::NothingSelected { .. } => Some(Advice::new("exclude less, or target more")),
            PlanError::ClusterCycle { .. } => Some(Advice::new("take one of them out of another's `after`")),
            PlanError::Unsound(error) => error.advice(),
        }
    }

    fn is_sentence(&self) -> bool {
        true
    }
}
