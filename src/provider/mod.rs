//! Everything that reaches the outside, behind traits: what may be read, what may be done, and with what proof that
//! the journal knows of it.
//!
//! [`ClusterReads`] is all that observing and planning get, so that planning writes nothing is a matter of types.
//! Every method of [`ClusterActs`] that changes something takes a [`Permit`], which only the journal makes, after the
//! line that announces the change is on disk.

pub mod clock;
pub mod kubernetes;
pub mod right;

mod act;
mod read;
mod tls;

pub use act::{
    ActError, BaseObject, BaseState, ClockRead, ClusterActs, CordonWrite, Eviction, Grace, Inquiries, LastRebootWrite,
    LeaseRead, LockActs, NodeReports, Probes, RebootPod, Refusal, ReportWrite, UncordonWrite,
};
pub use read::{ClusterReads, Followed, NodeLease, PodScope, ReadError, ReadErrorKind, RebootPodState, Volumes};

pub use crate::journal::Permit;
