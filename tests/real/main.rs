//! Scenarios on a real control plane: kube-apiserver, scheduler and controllers, with simulated kubelets.
//!
//! `tests/run` builds the control plane and names it in HAULOUT_CONTROLPLANE. Without it every scenario is shown as
//! ignored, by name, so that nobody takes a run without it for a full one.

#![expect(clippy::disallowed_methods, reason = "what is measured from outside is measured by the real clock")]
#![expect(clippy::print_stderr, reason = "figures belong beside the result of their scenario")]

mod account;
mod certificates;
mod cluster;
mod crash;
mod differential;
mod doctor;
mod drain;
mod kills;
mod kured;
mod misbehaving;
mod node;
mod outcomes;
mod proxy;
mod reads;
mod rolling;
mod sandbox;
mod scene;
mod thin;
mod watcher;

use std::process::ExitCode;
use std::sync::{PoisonError, RwLock};

use libtest_mimic::{Arguments, Failed, Trial};

/// How many scenarios that wait are under way at once. Each has a control plane of its own, with some 400 MB and a core for
/// its first seconds: so many keep two cores half busy.
const AT_ONCE: usize = 7;

type Scenario = fn() -> Result<(), Failed>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("one_node_one_pod_one_reboot", thin::one_node_one_pod_one_reboot),
    ("out_of_service_and_back", thin::out_of_service_and_back),
    ("a_declined_prompt_changes_nothing", thin::no_terminal_no_work),
    ("reading_verbs_only_read", reads::reading_verbs_only_read),
    ("what_may_not_be_read_is_a_gap", reads::what_may_not_be_read_is_a_gap),
    ("a_full_disk_stops_a_run_that_says_what_it_left", outcomes::a_full_disk_stops_a_run_that_says_what_it_left),
    (
        "no_folder_for_the_journal_is_an_error_before_any_work",
        outcomes::no_folder_for_the_journal_is_an_error_before_any_work,
    ),
    ("a_closed_terminal_brings_nodes_to_a_safe_end", outcomes::a_closed_terminal_brings_nodes_to_a_safe_end),
    ("nobody_reads_and_the_run_goes_on", outcomes::nobody_reads_and_the_run_goes_on),
    ("the_proof_of_one_at_a_time_finds_two", kills::the_proof_of_one_at_a_time_finds_two),
    ("thirty_nodes_roll_under_budgets", rolling::thirty_nodes_roll_under_budgets),
    ("certificates_are_seen_with_their_true_ends", certificates::certificates_are_seen_with_their_true_ends),
    (
        "forged_requests_for_serving_certificates_are_told",
        certificates::forged_requests_for_serving_certificates_are_told,
    ),
    (
        "an_api_server_that_cannot_be_believed_is_told_by_its_certificate",
        certificates::an_api_server_that_cannot_be_believed_is_told_by_its_certificate,
    ),
    ("doctor_names_each_missing_rule", doctor::doctor_names_each_missing_rule),
    ("doctor_shows_every_problem_at_once", doctor::doctor_shows_every_problem_at_once),
    ("each_feature_works_with_only_its_role", doctor::each_feature_works_with_only_its_role),
    ("an_agent_writes_only_its_own_node", doctor::an_agent_writes_only_its_own_node),
    ("kubectl_works_on_a_sandbox", sandbox::kubectl_works_on_a_sandbox),
    ("a_sandbox_prints_what_the_real_server_prints", sandbox::a_sandbox_prints_what_the_real_server_prints),
    ("one_drain_beside_kubectl", drain::one_drain_beside_kubectl),
    ("generated_scenarios_agree_with_the_twin", differential::generated_scenarios_agree_with_the_twin),
];

/// Scenarios that mostly wait, so that they run beside others.
const WAITING: &[(&str, Scenario)] = &[
    ("of_two_machines_one_acts_at_a_time", kills::of_two_machines_one_acts_at_a_time),
    ("kills_change_nothing_about_the_end", kills::kills_change_nothing_about_the_end),
    ("another_machine_finishes_what_a_killed_run_began", crash::another_machine_finishes_what_a_killed_run_began),
    ("a_killed_run_is_resumed_under_its_own_id", crash::a_killed_run_is_resumed_under_its_own_id),
    (
        "a_reboot_that_will_not_come_is_proved_before_another",
        crash::a_reboot_that_will_not_come_is_proved_before_another,
    ),
    ("a_dead_run_is_given_up", crash::a_dead_run_is_given_up),
    (
        "a_dead_run_whose_reboot_is_pending_is_given_up_as_far_as_it_can_be",
        crash::a_dead_run_whose_reboot_is_pending_is_given_up_as_far_as_it_can_be,
    ),
    ("a_run_that_slept_touches_nothing_when_it_wakes", crash::a_run_that_slept_touches_nothing_when_it_wakes),
    ("kured_keeps_the_node_that_it_holds", kured::kured_keeps_the_node_that_it_holds),
];

/// Scenarios that run what runs on nodes, which signals PID 1: only where `unshare` gives them one of their own.
const ON_NODES: &[(&str, Scenario)] = &[
    ("a_node_is_rebooted_only_when_all_matches", node::a_node_is_rebooted_only_when_all_matches),
    ("the_agent_reports_its_own_node", node::the_agent_reports_its_own_node),
];

/// The machine, with its two cores and its memory.
static MACHINE: RwLock<()> = RwLock::new(());

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((node::recorder::WORD, rest)) = words.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        return node::recorder::run(rest);
    }
    let mut arguments = Arguments::from_args();
    // Scenarios that mostly wait share the machine; one that is heavy or measured has it for itself.
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(AT_ONCE));
    let missing = std::env::var_os("HAULOUT_CONTROLPLANE").is_none();
    let scenario = |name: &str, scenario: Scenario| {
        let alone = move || {
            let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
            scenario()
        };
        Trial::test(name, alone).with_kind("real")
    };
    let beside = |name: &str, scenario: Scenario| {
        let shared = move || {
            let _shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
            scenario()
        };
        Trial::test(name, shared).with_kind("real")
    };
    let mut trials: Vec<Trial> =
        SCENARIOS.iter().map(|(name, run)| scenario(name, *run).with_ignored_flag(missing)).collect();
    let waiting = WAITING.iter().chain(proxy::SCENARIOS);
    trials.extend(waiting.map(|(name, run)| beside(name, *run).with_ignored_flag(missing)));
    let forbidden = node::recorder::way().err();
    trials.extend(ON_NODES.iter().map(|(name, run)| match &forbidden {
        None => scenario(name, *run).with_ignored_flag(missing),
        Some(why) => scenario(name, *run).with_kind(format!("real: {why}")).with_ignored_flag(true),
    }));
    for case in misbehaving::CASES {
        trials.extend(case.on.iter().map(|on| {
            let shared = move || {
                let _shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
                misbehaving::play(case, *on)
            };
            let (name, kind) = match on {
                misbehaving::On::Real => (format!("misbehaving::real::{}", case.name), "real"),
                misbehaving::On::Sandbox => (format!("misbehaving::twin::{}", case.name), "twin"),
            };
            // On the twin too: its kubectl is that of the control plane.
            Trial::test(name, shared).with_kind(kind).with_ignored_flag(missing)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
