//! Which requests for serving certificates of kubelets may be approved.
//!
//! Whoever holds the credentials of one node may ask for a certificate of any name, and the signer signs what was
//! approved: "nothing prevents a request from impersonating another name or address", as the documentation of the
//! signer has it. So a request is approved only where it asks for what its node is known by, and for nothing else. The
//! rules are those of the signer `kubernetes.io/kubelet-serving` and of the approvers that clusters run for it.

use std::net::IpAddr;

use crate::model::{AddressKind, Foreign, Node, ServingRequest};

/// Why a request must not be approved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServingFault {
    /// There is no node of that name.
    NoSuchNode,
    /// What it asks for cannot be read.
    Unreadable(Foreign),
    /// Whoever asks is not in the group `system:nodes`.
    NotANode,
    /// The subject's common name is not that of the node's user.
    CommonName,
    /// The subject's organization is not `system:nodes` alone, or the subject has other parts.
    Subject,
    /// It is to be used for something that a server does not need.
    Usage(Foreign),
    /// It is not to be used by a server.
    NoServerUsage,
    /// It is to prove no name and no address.
    NoNames,
    /// It is to prove something that is neither.
    OtherNames,
    /// It is to prove an address that is not the node's.
    Address(IpAddr),
    /// It is to prove a name that is not the node's.
    Name(Foreign),
    /// It is to last longer than a year.
    TooLong,
}

/// The group of kubelets.
const GROUP: &str = "system:nodes";
/// What a serving certificate may be used for.
const USAGES: [&str; 3] = ["digital signature", "key encipherment", "server auth"];
/// A year and a day or two: kubelets ask for no more, and a year is what the signer gives by itself.
const LONGEST: i32 = 367 * 24 * 60 * 60;

/// What is wrong with a request, by the node that it is for as it is known now; nothing where it may be approved.
#[must_use]
pub fn faults(request: &ServingRequest, node: Option<&Node>) -> Vec<ServingFault> {
    let mut faults = Vec::new();
    if !request.groups.iter().any(|group| group.raw() == GROUP) {
        faults.push(ServingFault::NotANode);
    }
    let known = |usage: &Foreign| USAGES.contains(&usage.raw());
    faults.extend(request.usages.iter().filter(|usage| !known(usage)).cloned().map(ServingFault::Usage));
    if !request.usages.iter().any(|usage| usage.raw() == "server auth") {
        faults.push(ServingFault::NoServerUsage);
    }
    if request.expiration_seconds.is_some_and(|seconds| seconds > LONGEST) {
        faults.push(ServingFault::TooLong);
    }
    let asked = match &request.asked {
        Ok(asked) => asked,
        Err(why) => {
            faults.push(ServingFault::Unreadable(why.clone()));
            return faults;
        }
    };
    let user = format!("system:node:{}", request.node);
    if asked.common_names.len() != 1 || asked.common_names.iter().any(|name| name.raw() != user) {
        faults.push(ServingFault::CommonName);
    }
    let group = |name: &Foreign| name.raw() == GROUP;
    if asked.organizations.len() != 1 || !asked.organizations.iter().all(group) || asked.other_parts > 0 {
        faults.push(ServingFault::Subject);
    }
    if asked.addresses.is_empty() && asked.names.is_empty() {
        faults.push(ServingFault::NoNames);
    }
    if asked.other_names > 0 {
        faults.push(ServingFault::OtherNames);
    }
    match node.filter(|node| node.name == request.node && !node.terminating) {
        None => faults.push(ServingFault::NoSuchNode),
        Some(node) => {
            let addresses = asked.addresses.iter().filter(|address| !has_address(node, **address));
            faults.extend(addresses.map(|address| ServingFault::Address(*address)));
            faults.extend(asked.names.iter().filter(|name| !has_name(node, name)).cloned().map(ServingFault::Name));
        }
    }
    faults
}

fn has_address(node: &Node, wanted: IpAddr) -> bool {
    let is = |address: &Foreign| address.raw().parse::<IpAddr>().is_ok_and(|address| address == wanted);
    node.addresses.iter().any(|address| address.kind != AddressKind::Name && is(&address.address))
}

/// Names are compared without regard to case, as everybody does who looks one up.
fn has_name(node: &Node, wanted: &Foreign) -> bool {
    let is = |name: &str| name.eq_ignore_ascii_case(wanted.raw());
    let known = || node.addresses.iter().filter(|address| address.kind == AddressKind::Name);
    is(node.name.as_str()) || known().any(|address| is(address.address.raw()))
}
