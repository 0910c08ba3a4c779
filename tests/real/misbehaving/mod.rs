//! Nodes, pods and people that misbehave, on the real control plane and on a served sandbox alike: each is recognised
//! and named, nobody is fought, no node is left cordoned without a word, and none is rebooted twice.

mod boots;
mod people;
mod pods;
mod refusals;
mod stage;
mod webhooks;

use libtest_mimic::Failed;

use super::cluster::{Cluster, ControlPlane};
use super::sandbox::Served;
use super::scene;

/// Where a case can be played.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    /// A real control plane.
    Real,
    /// A served sandbox.
    Sandbox,
}

/// A case: the same scene on whatever cluster it is given.
type Case = fn(&Cluster) -> Result<(), Failed>;

/// A case that is played on both, or that only a real control plane can play: its own docs say why.
pub(crate) struct Named {
    pub(crate) name: &'static str,
    case: Case,
    pub(crate) on: &'static [On],
}

const BOTH: &[On] = &[On::Real, On::Sandbox];

const fn both(name: &'static str, case: Case) -> Named {
    Named { name, case, on: BOTH }
}

const fn real(name: &'static str, case: Case) -> Named {
    Named { name, case, on: &[On::Real] }
}

pub(crate) const CASES: &[Named] = &[
    both("never_back_and_the_others_go_on", boots::never_back_and_the_others_go_on),
    both("never_back_and_nothing_new_starts", boots::never_back_and_nothing_new_starts),
    both("slow_to_boot_and_to_be_ready", boots::slow_to_boot_and_to_be_ready),
    both("back_with_the_same_boot_id", boots::back_with_the_same_boot_id),
    both("back_as_another_node_object", boots::back_as_another_node_object),
    both("flapping_after_its_boot", boots::flapping_after_its_boot),
    both("fires_late", boots::fires_late),
    both("fires_after_the_run_has_ended", boots::fires_after_the_run_has_ended),
    both("its_report_never_comes", boots::its_report_never_comes),
    both("a_reason_that_survives", boots::a_reason_that_survives),
    both("a_pod_held_by_a_finalizer", pods::a_pod_held_by_a_finalizer),
    both("a_pod_with_an_hours_grace", pods::a_pod_with_an_hours_grace),
    both("a_pod_that_comes_back", pods::a_pod_that_comes_back),
    both("a_budget_tightened_in_mid_drain", pods::a_budget_tightened_in_mid_drain),
    both("five_blocked_pods_do_not_hold_up_a_sixth", pods::five_blocked_pods_do_not_hold_up_a_sixth),
    both("a_volume_that_detaches_late", pods::a_volume_that_detaches_late),
    both("the_autoscaler_deletes_a_node_in_mid_drain", people::the_autoscaler_deletes_a_node_in_mid_drain),
    both("a_person_uncordons_a_node_in_mid_drain", people::a_person_uncordons_a_node_in_mid_drain),
    real("a_person_reboots_a_node_in_mid_drain", people::a_person_reboots_a_node_in_mid_drain),
    real("an_admission_policy_refuses_the_reboot_pod", refusals::an_admission_policy_refuses_the_reboot_pod),
    real("pod_security_refuses_the_reboot_pod", refusals::pod_security_refuses_the_reboot_pod),
    both("an_image_that_cannot_be_pulled", refusals::an_image_that_cannot_be_pulled),
    real("a_webhook_says_429", webhooks::a_webhook_says_429),
    real("a_webhook_says_500", webhooks::a_webhook_says_500),
    real("a_webhook_hangs", webhooks::a_webhook_hangs),
    real("a_webhook_denies_first_and_allows_later", webhooks::a_webhook_denies_first_and_allows_later),
];

/// Plays a case on a cluster of its own.
pub(crate) fn play(named: &Named, on: On) -> Result<(), Failed> {
    match on {
        On::Real => (named.case)(&*ControlPlane::start(&[])?),
        On::Sandbox => (named.case)(&*Served::start(&scene::namespace("empty"))?),
    }
}
