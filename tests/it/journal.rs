//! The journal read back, however its process ended.

use std::collections::BTreeSet;
use std::path::Path;

use haulout::journal::{Hold, Past, Segment, Sink};
use haulout::model::{BootId, ClusterName, Foreign, NodeName, Phase, RunId};
use haulout::plan::{StepId, Verb};
use haulout::run::{Conclusion, Event, EventKind, Intent};
use jiff::Timestamp;

fn step(node: &str, verb: Verb) -> StepId {
    StepId { cluster: ClusterName::new("prod").unwrap(), node: NodeName::new(node).unwrap(), verb }
}

/// What a run records that requests the reboot of two nodes.
fn events() -> Vec<EventKind> {
    let trigger = || Intent::TriggerReboot { boot_id: BootId::new("b1").unwrap() };
    let of = |node: &str, intent| EventKind::Intended { step: Some(step(node, Verb::Reboot)), intent };
    let config = Foreign::new("platform\nprod");
    vec![
        EventKind::RunStarted { run: RunId::new("r1").unwrap(), config, version: "0.1.0".to_owned() },
        EventKind::LockTaken { cluster: ClusterName::new("prod").unwrap() },
        EventKind::StepStarted { step: step("a", Verb::Reboot) },
        of("a", Intent::Phase(Phase::Drained)),
        of("a", trigger()),
        EventKind::StepStarted { step: step("b", Verb::Reboot) },
        of("b", trigger()),
        EventKind::Interrupted,
    ]
}

fn lines(events: impl IntoIterator<Item = EventKind>, first: u64) -> Vec<Vec<u8>> {
    let line = |(seq, kind)| {
        let mut line = haulout::format::run::write(&Event { seq, at: Timestamp::UNIX_EPOCH, kind });
        line.push(b'\n');
        line
    };
    (first..).zip(events).map(line).collect()
}

fn folder(segments: &[&[u8]]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for segment in segments {
        Segment::open(folder.path()).unwrap().append(segment).unwrap();
    }
    folder
}

fn past(folder: &Path) -> Past {
    Past::read(folder).unwrap()
}

fn requested(past: &Past) -> Vec<&str> {
    past.requested.iter().map(|(_, node)| node.as_str()).collect()
}

#[test]
fn torn_at_any_byte_it_says_what_was_whole() {
    let lines = lines(events(), 1);
    let whole = lines.concat();
    for cut in 0..=whole.len() {
        let read = past(folder(&[&whole[..cut]]).path());
        let mut end = 0;
        let complete = lines.iter().take_while(|line| {
            end += line.len();
            end <= cut
        });
        let complete = complete.count();
        assert_eq!(read.last, complete as u64, "cut at {cut}");
        assert_eq!(read.config.is_some(), complete >= 1);
        assert_eq!(read.is_unfinished(), complete >= 2);
        assert_eq!(requested(&read).len(), usize::from(complete >= 5) + usize::from(complete >= 7));
    }
    // A byte that the disk has changed ends its segment, and never the reading.
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] = 0;
        assert!(past(folder(&[&damaged]).path()).last <= lines.len() as u64);
    }
}

#[test]
fn a_torn_segment_in_the_middle_hides_nothing_of_the_next() {
    let first = lines(events(), 1);
    let torn = [&first[..5].concat()[..], b"{\"kind\":\"ru"].concat();
    let second = lines(events().split_off(5), 6).concat();
    let read = past(folder(&[&torn, b"", &second]).path());
    assert_eq!((requested(&read), read.last), (vec!["a", "b"], 8));
    assert!(read.is_unfinished());
    let ended = lines([EventKind::RunFinished { conclusion: Conclusion::Done }], 9).concat();
    assert!(!past(folder(&[&torn, &second, &ended]).path()).is_unfinished());
    let interrupted = lines([EventKind::RunFinished { conclusion: Conclusion::Interrupted }], 9).concat();
    assert!(past(folder(&[&torn, &second, &interrupted]).path()).is_unfinished());
    // Taken up again after its end, it has not ended.
    let again = lines(events().into_iter().take(3), 10).concat();
    assert!(past(folder(&[&torn, &second, &ended, &again]).path()).is_unfinished());
    assert_eq!(past(folder(&[]).path()).requested, BTreeSet::new());
}

#[test]
fn one_process_works_on_a_run() {
    let folder = folder(&[]);
    let hold = Hold::take(folder.path()).unwrap().expect("nobody has it");
    assert!(Hold::take(folder.path()).unwrap().is_none());
    drop(hold);
    assert!(Hold::take(folder.path()).unwrap().is_some());
}
