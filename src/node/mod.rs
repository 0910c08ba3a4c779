//! What runs on nodes: the process that reboots one when its Node object says so, and the agent that reports whether
//! one waits for a reboot.
//!
//! Both return values and errors and print nothing; `cli` wraps them. What they do to the machine goes through
//! [`Host`], so that no test can reach the machine that it runs on by accident.

mod agent;
mod finding;
mod host;
mod reboot;
mod verdict;

pub use agent::{AgentArgs, AgentNews, agent};
pub use finding::{DEFAULT_SENTINELS, ExamineError, Places, examine};
pub use host::{ARMED_FILE, Host, HostError, LinuxHost, is_armed};
pub use reboot::{Ended, RebootArgs, RebootError, reboot};
pub use verdict::Disarmed;
