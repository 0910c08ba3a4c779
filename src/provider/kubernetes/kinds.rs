//! The kinds that are listed and followed.

use super::list::Kind;
use super::watch::Keyed;
use super::wire::{
    ApiService, CertificateSigningRequest, CustomResourceDefinition, Interner, ManagedCertificate, Misfit, Named,
    NamedBundle, Node, Pod, PodDisruptionBudget, VolumeAttachment, WebhookConfiguration,
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

/// The authorities that webhooks name which validate.
#[derive(Debug)]
pub(super) struct ValidatingWebhooks;

impl Kind for ValidatingWebhooks {
    type Wire = WebhookConfiguration;
    type Model = Vec<NamedBundle>;
    const LIST: &'static str = "ValidatingWebhookConfigurationList";

    fn take(&mut self, wire: WebhookConfiguration) -> Result<Vec<NamedBundle>, Misfit> {
        Ok(wire.bundles())
    }
}

/// The authorities that webhooks name which change.
#[derive(Debug)]
pub(super) struct MutatingWebhooks;

impl Kind for MutatingWebhooks {
    type Wire = WebhookConfiguration;
    type Model = Vec<NamedBundle>;
    const LIST: &'static str = "MutatingWebhookConfigurationList";

    fn take(&mut self, wire: WebhookConfiguration) -> Result<Vec<NamedBundle>, Misfit> {
        Ok(wire.bundles())
    }
}

/// The authorities that APIServices name.
#[derive(Debug)]
pub(super) struct ApiServices;

impl Kind for ApiServices {
    type Wire = ApiService;
    type Model = Vec<NamedBundle>;
    const LIST: &'static str = "APIServiceList";

    fn take(&mut self, wire: ApiService) -> Result<Vec<NamedBundle>, Misfit> {
        Ok(wire.bundle().into_iter().collect())
    }
}

/// The authorities that CustomResourceDefinitions name for conversion.
#[derive(Debug)]
pub(super) struct Conversions;

impl Kind for Conversions {
    type Wire = CustomResourceDefinition;
    type Model = Vec<NamedBundle>;
    const LIST: &'static str = "CustomResourceDefinitionList";

    fn take(&mut self, wire: CustomResourceDefinition) -> Result<Vec<NamedBundle>, Misfit> {
        Ok(wire.bundle().into_iter().collect())
    }
}

/// The Certificates of cert-manager that were issued.
#[derive(Debug)]
pub(super) struct ManagedCertificates;

impl Kind for ManagedCertificates {
    type Wire = ManagedCertificate;
    type Model = Option<model::SeenCertificate>;
    const LIST: &'static str = "CertificateList";

    fn take(&mut self, wire: ManagedCertificate) -> Result<Option<model::SeenCertificate>, Misfit> {
        Ok(wire.seen())
    }
}

/// The undecided requests for serving certificates, of all nodes.
#[derive(Debug)]
pub(super) struct PendingServing;

impl Kind for PendingServing {
    type Wire = CertificateSigningRequest;
    type Model = Option<model::ServingRequest>;
    const LIST: &'static str = "CertificateSigningRequestList";

    fn take(&mut self, wire: CertificateSigningRequest) -> Result<Option<model::ServingRequest>, Misfit> {
        Ok(wire.pending_serving())
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
