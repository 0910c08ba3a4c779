//! The kinds that are listed and followed.

use super::list::Kind;
use super::watch::Keyed;
use super::wire::{
    CertificateSigningRequest, Interner, Misfit, Named, Node, Pod, PodDisruptionBudget, VolumeAttachment,
};
use crate::model;
use crate::model::LabelKey;

/// Nodes, with the label that names their pool.
#[derive(Debug, Clone)]
pub(super) struct Nodes(pub(super) Option<LabelKey>);

impl Kind for Nodes {
    type Wire = Node;
    type Model = model::Node;
    const LIST: &'static str = "NodeList";

    fn take(&mut self, wire: Node) -> Result<model::Node, Misfit> {
        (wire, self.0.as_ref()).try_into()
    }
}

/// Pods, which share what they have in common.
#[derive(Debug, Default)]
pub(super) struct Pods(Interner);

impl Kind for Pods {
    type Wire = Pod;
    type Model = model::Pod;
    const LIST: &'static str = "PodList";

    fn take(&mut self, wire: Pod) -> Result<model::Pod, Misfit> {
        self.0.pod(&wire)
    }
}

/// Disruption budgets.
#[derive(Debug, Default)]
pub(super) struct Budgets;

impl Kind for Budgets {
    type Wire = PodDisruptionBudget;
    type Model = model::Budget;
    const LIST: &'static str = "PodDisruptionBudgetList";

    fn take(&mut self, wire: PodDisruptionBudget) -> Result<model::Budget, Misfit> {
        wire.try_into()
    }
}

/// DaemonSets.
#[derive(Debug, Default)]
pub(super) struct DaemonSets;

impl Kind for DaemonSets {
    type Wire = Named;
    type Model = model::DaemonSet;
    const LIST: &'static str = "DaemonSetList";

    fn take(&mut self, wire: Named) -> Result<model::DaemonSet, Misfit> {
        wire.try_into()
    }
}

/// The volumes attached to one node.
#[derive(Debug)]
pub(super) struct Attachments(pub(super) model::NodeName);

impl Kind for Attachments {
    type Wire = VolumeAttachment;
    type Model = Option<model::Foreign>;
    const LIST: &'static str = "VolumeAttachmentList";

    fn take(&mut self, wire: VolumeAttachment) -> Result<Option<model::Foreign>, Misfit> {
        Ok(wire.volume_on(self.0.as_str()).map(model::Foreign::new))
    }
}

/// Whether each certificate request is an undecided one for a serving certificate of one node.
#[derive(Debug)]
pub(super) struct ServingRequests(pub(super) model::NodeName);

impl Kind for ServingRequests {
    type Wire = CertificateSigningRequest;
    type Model = bool;
    const LIST: &'static str = "CertificateSigningRequestList";

    fn take(&mut self, wire: CertificateSigningRequest) -> Result<bool, Misfit> {
        Ok(wire.is_pending_serving(self.0.as_str()))
    }
}

impl Keyed for Nodes {
    type Key = model::NodeName;

    fn key(node: &model::Node) -> model::NodeName {
        node.name.clone()
    }
}

impl Keyed for Pods {
    type Key = model::PodKey;

    fn key(pod: &model::Pod) -> model::PodKey {
        pod.key.clone()
    }
}

impl Keyed for Budgets {
    type Key = model::BudgetKey;

    fn key(budget: &model::Budget) -> model::BudgetKey {
        budget.key.clone()
    }
}
