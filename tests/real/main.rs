//! Scenarios on a real control plane: kube-apiserver, scheduler and controllers, with simulated kubelets.
//!
//! `tests/run` builds the control plane and names it in HAULOUT_CONTROLPLANE. Without it every scenario is shown as
//! ignored, by name, so that nobody takes a run without it for a full one.

#![expect(clippy::disallowed_methods, reason = "what is measured from outside is measured by the real clock")]
#![expect(clippy::print_stderr, reason = "figures belong beside the result of their scenario")]

mod cluster;
mod differential;
mod drain;
mod reads;
mod rolling;
mod scene;
mod thin;
mod watcher;

use libtest_mimic::{Arguments, Failed, Trial};

type Scenario = fn() -> Result<(), Failed>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("one_node_one_pod_one_reboot", thin::one_node_one_pod_one_reboot),
    ("out_of_service_and_back", thin::out_of_service_and_back),
    ("a_declined_prompt_changes_nothing", thin::no_terminal_no_work),
    ("reading_verbs_only_read", reads::reading_verbs_only_read),
    ("what_may_not_be_read_is_a_gap", reads::what_may_not_be_read_is_a_gap),
    ("thirty_nodes_roll_under_budgets", rolling::thirty_nodes_roll_under_budgets),
    ("one_drain_beside_kubectl", drain::one_drain_beside_kubectl),
    ("generated_scenarios_agree_with_the_twin", differential::generated_scenarios_agree_with_the_twin),
];

fn main() {
    let mut arguments = Arguments::from_args();
    // Each scenario has a control plane of its own with some 400 MB; one after the other keeps two cores honest.
    arguments.test_threads = Some(1);
    let missing = std::env::var_os("HAULOUT_CONTROLPLANE").is_none();
    let trials = SCENARIOS
        .iter()
        .map(|(name, scenario)| Trial::test(*name, scenario).with_kind("real").with_ignored_flag(missing))
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
