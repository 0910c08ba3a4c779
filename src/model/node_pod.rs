//! What runs on a node to reboot it. The config decides it, others execute it.

use super::Foreign;

/// How a reboot is brought about on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RebootMethod {
    /// A signal to PID 1 (systemd's SIGRTMIN+5). Needs no more than CAP_KILL and the host's PID namespace.
    Signal,
    /// `systemctl reboot` in the host's mount namespace. Needs a privileged pod.
    Command,
}

/// The image that reboots nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodePod {
    /// The image reference.
    pub image: Foreign,
    /// Names of Secrets in `haulout-system` to pull it with.
    pub pull_secrets: Vec<Foreign>,
}
