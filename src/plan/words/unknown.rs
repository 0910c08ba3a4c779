//! What is not known, with what would tell; and what a reader should know.

use super::{Told, Words, duration, foreign, gap_subject};
use crate::model::{
    ANNOTATION_BOOTED_AT, ANNOTATION_REBOOT_REQUIRED, ANNOTATION_REPORTED_AT, Gap, NodeName, TableName,
};
use crate::plan::blocked::{Notice, Unknown, UnknownReason};

/// A stable word for a reason, for machines.
#[must_use]
pub fn unknown_code(reason: &UnknownReason) -> &'static str {
    match reason {
        UnknownReason::NoReport => "no_report",
        UnknownReason::OtherBoot => "other_boot",
        UnknownReason::Stale { .. } => "stale",
        UnknownReason::NoBootTime => "no_boot_time",
        UnknownReason::Unreadable => "unreadable",
        UnknownReason::FromTheFuture { .. } => "from_the_future",
    }
}

impl Words<'_> {
    /// Why nothing is known of a node, and how to find out.
    #[must_use]
    pub fn unknown(&self, unknown: &Unknown) -> Told {
        self.unknown_of(&unknown.why, &unknown.node, &unknown.table)
    }

    /// As [`Words::unknown`], with a name of one's own for the node, such as `NODE` for many.
    pub fn unknown_of(&self, why: &UnknownReason, node: &dyn std::fmt::Display, table: &TableName) -> Told {
        let agent = format!(
            "see whether its agent runs: kubectl get pods --all-namespaces --field-selector spec.nodeName={node}"
        );
        let (text, advice) = match why {
            UnknownReason::NoReport => (
                "it carries no report on whether it needs a reboot".to_owned(),
                format!("run `haulout node agent` on it, which writes {ANNOTATION_REBOOT_REQUIRED} and its companions"),
            ),
            UnknownReason::OtherBoot => (
                "its report speaks of an earlier boot".to_owned(),
                format!("the agent reports anew soon after a boot; if it does not, {agent}"),
            ),
            UnknownReason::Stale { reported_at: Some(at) } => {
                (format!("its report of {} is {} old", self.moment(*at), duration(self.ago(*at))), agent)
            }
            UnknownReason::Stale { reported_at: None } => (
                "its report does not say when it was written".to_owned(),
                format!("let what writes the report also write {ANNOTATION_REPORTED_AT}, in RFC 3339"),
            ),
            UnknownReason::NoBootTime => (
                format!("its report does not say when it booted, which reboot.{table} asks for"),
                format!("let what writes the report also write {ANNOTATION_BOOTED_AT}, in RFC 3339"),
            ),
            UnknownReason::Unreadable => (
                format!("its annotation {ANNOTATION_REBOOT_REQUIRED} is neither true nor false"),
                format!(
                    "correct what writes it, or take it off: kubectl annotate node {node} {ANNOTATION_REBOOT_REQUIRED}-"
                ),
            ),
            UnknownReason::FromTheFuture { reported_at } => (
                format!("its report is dated {}, which is still to come", self.moment(*reported_at)),
                "set the clocks of the node and of this machine right".to_owned(),
            ),
        };
        Told { text, advice }
    }

    /// A notice; a sentence without its full stop.
    #[must_use]
    pub fn notice(&self, notice: &Notice) -> String {
        match notice {
            Notice::MatchesNothing { kind, table } => format!("{kind}.{table} selects no node of {}", self.cluster),
            Notice::Expired { table, until } => format!(
                "out_of_service.{table} was to end {}; its nodes stay out until the table is removed",
                self.moment(*until)
            ),
            Notice::LockHeld { holder, renewed_at } => format!(
                "the lock is held by run {}, last renewed {}; apply waits for it or refuses",
                foreign(holder),
                self.moment(*renewed_at)
            ),
            Notice::RebootDeferred { node, table } => self.reboot_deferred(std::slice::from_ref(node), table, 1),
            Notice::RebootAfterRelease { node, table } => {
                self.reboot_after_release(std::slice::from_ref(node), table, 1)
            }
            Notice::ProtectedFromService { node, protect, table } => {
                self.protected_from_service(std::slice::from_ref(node), protect, table, 1)
            }
        }
    }

    /// The notice about nodes that are uncordoned now and need a reboot as well.
    #[must_use]
    pub fn reboot_after_release(&self, nodes: &[NodeName], table: &TableName, most: usize) -> String {
        let (need, they_are) = if nodes.len() == 1 { ("needs", "it is") } else { ("need", "they are") };
        format!(
            "{} to be uncordoned also {need} a reboot by reboot.{table}, planned once {they_are} back: {}",
            super::count(nodes.len(), "node"),
            super::names(nodes, most)
        )
    }

    /// The notice about nodes that one table wants out of service and another protects.
    #[must_use]
    pub fn protected_from_service(
        &self,
        nodes: &[NodeName],
        protect: &TableName,
        table: &TableName,
        most: usize,
    ) -> String {
        format!(
            "out_of_service.{table} is not carried out on {}, because protect.{protect} protects {}: {}",
            super::count(nodes.len(), "node"),
            if nodes.len() == 1 { "it" } else { "them" },
            super::names(nodes, most)
        )
    }

    /// The notice about nodes whose reboot has to wait because a table takes them out of service.
    #[must_use]
    pub fn reboot_deferred(&self, nodes: &[NodeName], table: &TableName, most: usize) -> String {
        format!(
            "{} not rebooted while out_of_service.{table} takes {} out of service: {}",
            if nodes.len() == 1 {
                "1 node is".to_owned()
            } else {
                format!("{} are", super::count(nodes.len(), "node"))
            },
            if nodes.len() == 1 { "it" } else { "them" },
            super::names(nodes, most)
        )
    }

    /// What could not be read and why, and what would close the gap.
    #[must_use]
    pub fn gap(&self, gap: &Gap) -> Told {
        let why = if gap.why.is_empty() { String::new() } else { format!(": {}", foreign(&gap.why)) };
        Told {
            text: format!("{} could not be read{why}", gap_subject(gap.subject)),
            // Remedies are ours, but may name things that others named.
            advice: crate::model::sanitise(&gap.remedy).to_string(),
        }
    }
}
