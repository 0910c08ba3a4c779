//! Nouns of the domain: what a cluster consists of, as far as maintenance cares.
//!
//! Everything here is plain data with arithmetic on it. There is no I/O, no clock, no on-disk format
//! and nothing that can block. Text that other people can write is [`Foreign`] and has no `Display`;
//! names are checked when they are made and therefore may be shown.

mod budget;
mod certificate;
mod drain_rule;
mod explain;
mod foreign;
mod kured;
mod limit;
mod mark;
mod name;
mod node;
mod node_pod;
mod pod;
mod scheduling;
mod selector;
mod snapshot;

pub use budget::{Bound, Budget, BudgetSpec, Budgets, UnhealthyPolicy};
pub use certificate::{
    AskedCertificate, CaBundle, CertificatePlace, CertificateSource, Certificates, Fingerprint, SeenCertificate,
    ServingRequest, UnseenCertificates, X509,
};
pub use drain_rule::{DrainRule, Grace, OnTimeout, UnmanagedPods};
pub use explain::{Advice, Explain, Kind};
pub use foreign::{Foreign, Sanitised, Secret, is_dangerous, sanitise, sanitise_same_length};
pub use kured::{ANNOTATION_KURED_LOCK, KuredLock};
pub use limit::*;
pub use mark::{
    ANNOTATION_BOOT_ID, ANNOTATION_BOOTED_AT, ANNOTATION_CORDON, ANNOTATION_LAST_REBOOT, ANNOTATION_PHASE,
    ANNOTATION_REBOOT_REASON, ANNOTATION_REBOOT_REQUIRED, ANNOTATION_REPORTED_AT, ANNOTATION_RUN,
    ANNOTATION_SCALE_DOWN_BEFORE, ANNOTATION_SCALE_DOWN_DISABLED, FIELD_MANAGER, LABEL_COMPONENT, LABEL_RUN,
    LEASE_NAME, LastReboot, MANAGED_NAMESPACE, Mark, Phase, REBOOT_COMPONENT, Reboots, reboot_pod_name,
};
pub use name::{
    BootId, BudgetKey, ClusterName, InvalidName, LabelKey, Namespace, NodeName, PodKey, PodName, PoolName, RunId,
    TableName, Uid, ZoneName,
};
pub use node::{AddressKind, Cordon, Labels, Node, NodeAddress, Readiness, Report, ReportedReboot, Taint, TaintEffect};
pub use node_pod::{NodePod, RebootMethod};
pub use pod::{Owner, Phase as PodPhase, Pod, PodShape, PodStatus, Shapes};
pub use scheduling::{
    AllocationError, Amounts, FieldTest, HostPort, NodeTerm, Peers, Place, PlacedPod, Quantity, Spread, Toleration,
    TolerationTest, VolumeNeed,
};
pub use selector::*;
pub use snapshot::{ControlPlane, DaemonSet, Gap, GapSubject, HeldLock, Snapshot};
