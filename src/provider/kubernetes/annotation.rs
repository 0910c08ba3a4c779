//! The JSON in two of the annotations: who cordoned a node, and what its last reboot was.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{BootId, Foreign, LastReboot, Mark, Reboots, RunId, TableName};

#[derive(Serialize, Deserialize)]
struct CordonText {
    config: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    table: Option<String>,
    run: String,
    since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reboots: Option<RebootsText>,
}

#[derive(Serialize, Deserialize)]
struct RebootsText {
    boot_id: String,
    #[serde(default)]
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct LastRebootText {
    at: Timestamp,
    run: String,
    boot_id: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    drain_seconds: u32,
    #[serde(default)]
    boot_seconds: u32,
}

/// The value of [`crate::model::ANNOTATION_CORDON`]; the phase has an annotation of its own.
#[must_use]
pub fn encode_cordon(mark: &Mark) -> String {
    let text = CordonText {
        config: mark.config.raw().to_owned(),
        table: mark.table.as_ref().map(ToString::to_string),
        run: mark.run.to_string(),
        since: mark.since,
        reboots: mark.reboots.as_ref().map(|reboots| RebootsText {
            boot_id: reboots.boot_id.to_string(),
            reason: reboots.reason.raw().to_owned(),
        }),
    };
    serde_json::to_string(&text).unwrap_or_default()
}

/// Reads the value of [`crate::model::ANNOTATION_CORDON`]; `None` where it is not one that haulout writes.
#[must_use]
pub fn decode_cordon(text: &str) -> Option<Mark> {
    let text: CordonText = serde_json::from_str(text).ok()?;
    Some(Mark {
        config: Foreign::new(text.config),
        table: text.table.and_then(|table| TableName::new(table).ok()),
        run: RunId::new(text.run).ok()?,
        since: text.since,
        phase: None,
        // A boot id that is none is as good as none: whoever needs it then knows that it is not known.
        reboots: text.reboots.and_then(|reboots| {
            Some(Reboots { boot_id: BootId::new(reboots.boot_id).ok()?, reason: Foreign::new(reboots.reason) })
        }),
    })
}

/// The value of [`crate::model::ANNOTATION_LAST_REBOOT`].
#[must_use]
pub fn encode_last_reboot(reboot: &LastReboot) -> String {
    let text = LastRebootText {
        at: reboot.at,
        run: reboot.run.to_string(),
        boot_id: reboot.boot_id.to_string(),
        reason: reboot.reason.raw().to_owned(),
        drain_seconds: reboot.drain_seconds,
        boot_seconds: reboot.boot_seconds,
    };
    serde_json::to_string(&text).unwrap_or_default()
}

/// Reads the value of [`crate::model::ANNOTATION_LAST_REBOOT`]; `None` where it is not one that haulout writes.
#[must_use]
pub fn decode_last_reboot(text: &str) -> Option<LastReboot> {
    let text: LastRebootText = serde_json::from_str(text).ok()?;
    Some(LastReboot {
        at: text.at,
        run: RunId::new(text.run).ok()?,
        boot_id: BootId::new(text.boot_id).ok()?,
        reason: Foreign::new(text.reason),
        drain_seconds: text.drain_seconds,
        boot_seconds: text.boot_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mark = Mark {
            config: Foreign::new("platform-prod"),
            table: Some(TableName::new("linux").unwrap()),
            run: RunId::new("r1").unwrap(),
            since: "2026-11-23T10:00:00Z".parse().unwrap(),
            phase: None,
            reboots: None,
        };
        let text = encode_cordon(&mark);
        assert_eq!(text, r#"{"config":"platform-prod","table":"linux","run":"r1","since":"2026-11-23T10:00:00Z"}"#);
        assert_eq!(decode_cordon(&text), Some(mark.clone()));
        let reboots = Reboots { boot_id: BootId::new("b1").unwrap(), reason: Foreign::new("kernel") };
        let mark = Mark { reboots: Some(reboots), ..mark };
        let text = encode_cordon(&mark);
        assert!(text.ends_with(r#","reboots":{"boot_id":"b1","reason":"kernel"}}"#), "{text}");
        assert_eq!(decode_cordon(&text), Some(mark));
        let reboot = LastReboot {
            at: "2026-11-23T10:00:00Z".parse().unwrap(),
            run: RunId::new("r1").unwrap(),
            boot_id: BootId::new("b2").unwrap(),
            reason: Foreign::new("linux \u{1b}[31m"),
            drain_seconds: 12,
            boot_seconds: 40,
        };
        assert_eq!(decode_last_reboot(&encode_last_reboot(&reboot)), Some(reboot));
    }

    #[test]
    fn nonsense_is_no_mark() {
        for text in ["", "{}", "[]", "null", r#"{"config":"a","run":"NOT A RUN","since":"2026-11-23T10:00:00Z"}"#] {
            assert_eq!(decode_cordon(text), None, "{text}");
            assert_eq!(decode_last_reboot(text), None, "{text}");
        }
    }
}
