//! Errors on their way to a person: one message, its causes, one hint.

use std::error::Error;

use super::exit::Exit;
use super::output::{Messages, Output};
use crate::model::{Advice, Explain, sanitise};

/// An error that ends the program.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// A whole sentence without its final stop; sanitised when printed.
    message: String,
    causes: Vec<String>,
    advice: Option<Advice>,
    /// Whether everything was already printed, such as the diagnostics of a config.
    said: bool,
}

impl Failure {
    /// What a person did wrong, in a whole sentence without its final stop, with what to do.
    pub(super) fn input(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            exit: Exit::Error,
            message: message.into(),
            causes: Vec::new(),
            advice: Some(Advice::new(advice)),
            said: false,
        }
    }

    /// An error whose text is on the terminal already.
    pub(super) fn said(exit: Exit) -> Self {
        Self { exit, message: String::new(), causes: Vec::new(), advice: None, said: true }
    }

    /// An I/O error: the operation, fits after "failed to".
    pub(super) fn io(operation: impl Into<String>, error: &std::io::Error, advice: impl Into<String>) -> Self {
        Self::caused(operation, error, Some(Advice::new(advice)))
    }

    /// An operation, fits after "failed to", with the error that kept it from being done.
    pub(super) fn caused(operation: impl Into<String>, error: &(dyn Error + 'static), advice: Option<Advice>) -> Self {
        let message = format!("failed to {}", operation.into());
        Self { exit: Exit::Error, message, causes: chain(Some(error)), advice, said: false }
    }

    pub(super) fn print(&self, output: &Output) {
        for line in self.lines(output.style()) {
            output.say(&line);
        }
    }

    fn lines(&self, style: Messages) -> Vec<String> {
        if self.said {
            return Vec::new();
        }
        let mut lines = vec![format!("{} {}", style.error("error:"), sanitise(&self.message))];
        lines.extend(self.causes.iter().map(|cause| format!("  because: {}", sanitise(cause))));
        if let Some(Advice(advice)) = &self.advice {
            lines.push(format!("{} {}", style.hint("hint:"), sanitise(advice)));
        }
        lines
    }
}

/// What an error and its sources say, the outermost first.
fn chain(mut error: Option<&(dyn Error + 'static)>) -> Vec<String> {
    let mut causes = Vec::new();
    while let Some(cause) = error {
        let mut text = cause.to_string();
        // What a server said is no part of an error's Display, because it may hold anything.
        if let Some(read) = cause.downcast_ref::<crate::provider::ReadError>() {
            text = format!("{text}: {}", read.message.sanitised());
        }
        causes.push(text);
        error = cause.source();
    }
    causes
}

impl<E: Explain + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            exit: Exit::of(error.kind()),
            message: if error.is_sentence() { error.to_string() } else { format!("failed to {error}") },
            causes: chain(error.source()),
            advice: error.advice(),
            said: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use super::*;
    use crate::apply::{ApplyError, LockError};
    use crate::cli::args::Colour;
    use crate::config::{self, Source};
    use crate::diff::DiffError;
    use crate::format::{self, FormatError};
    use crate::journal::JournalError;
    use crate::model::{ClusterName, Foreign, NodeName, RebootMethod, TableName};
    use crate::node::{Disarmed, ExamineError, HostError, RebootError};
    use crate::observe::ObserveError;
    use crate::plan::{CheckError, Note, PlanError};
    use crate::provider::kubernetes::ConnectError;
    use crate::provider::{ActError, ReadError, ReadErrorKind, Refusal};
    use crate::twin::SandboxError;

    fn node() -> NodeName {
        NodeName::new("node-a").unwrap()
    }

    fn cluster() -> ClusterName {
        ClusterName::new("prod").unwrap()
    }

    fn table(name: &str) -> TableName {
        TableName::new(name).unwrap()
    }

    fn io_error() -> io::Error {
        io::ErrorKind::PermissionDenied.into()
    }

    fn read_error(kind: ReadErrorKind) -> ReadError {
        ReadError {
            operation: "list nodes".to_owned(),
            kind,
            message: Foreign::new("what the server said"),
            status: None,
            retry_after: None,
        }
    }

    fn refused() -> Box<ActError> {
        let refusal = Refusal::Forbidden { message: Foreign::new("what the server said") };
        Box::new(ActError::Refused { operation: "create pod haulout-system/x".to_owned(), refusal })
    }

    fn unclear() -> Box<ActError> {
        let cause = Box::new(read_error(ReadErrorKind::Unreachable));
        Box::new(ActError::Unclear { operation: "write lease haulout-system/haulout".to_owned(), cause })
    }

    fn of_the_config() -> Vec<Failure> {
        let two = || DiffError::TwoRebootTables {
            cluster: cluster(),
            node: node(),
            first: table("linux"),
            second: table("all"),
        };
        let no_match = |similar| PlanError::NoMatch { flag: "--target", text: Foreign::new("node-x"), similar };
        let unsound = CheckError { notes: vec![Note { cluster: cluster(), what: "something is wrong".to_owned() }] };
        let mut out: Vec<Failure> = vec![
            two().into(),
            DiffError::NoSuchCluster { cluster: cluster() }.into(),
            PlanError::Compare(two()).into(),
            no_match(Vec::new()).into(),
            no_match(vec!["node-a".to_owned()]).into(),
            PlanError::NothingSelected { targeted: true }.into(),
            PlanError::NothingSelected { targeted: false }.into(),
            PlanError::ClusterCycle { clusters: vec![cluster()] }.into(),
            PlanError::Unsound(unsound.clone()).into(),
            unsound.into(),
            config::parse(&Source::new("haulout.toml", "")).unwrap_err().into(),
        ];
        let kind = format::Kind::Snapshot;
        let text = || "x".to_owned();
        let formats = [
            FormatError::TooLarge { kind, size: 2, most: 1 },
            FormatError::Malformed { kind, line: 1, column: 2, message: text() },
            FormatError::Invalid { kind, at: text(), message: text() },
            FormatError::OtherKind { expected: kind, found: "plan".to_owned() },
            FormatError::NotOurs { expected: kind },
            FormatError::Newer { kind, found: "2.0".to_owned() },
        ];
        for error in formats {
            out.push(error.clone().into());
            out.push(Failure::caused("read the snapshot prod.json", &error, error.advice()));
        }
        let (file, message) = (|| "cluster.toml".to_owned(), || "what is wrong".to_owned());
        out.extend([
            Failure::from(SandboxError::File { file: file(), line: Some(3), message: message() }),
            SandboxError::File { file: file(), line: None, message: message() }.into(),
            SandboxError::Manifest { file: file(), document: 2, line: Some(3), message: message() }.into(),
            SandboxError::Restless.into(),
            SandboxError::Save(message()).into(),
        ]);
        out
    }

    fn of_the_outside() -> Vec<Failure> {
        let mut out: Vec<Failure> = vec![
            ConnectError::NoKubeconfig { looked: vec![PathBuf::from("/home/x/.kube/config")] }.into(),
            ConnectError::Read { path: PathBuf::from("config"), source: io_error() }.into(),
            ConnectError::NoCurrentContext { known: vec!["prod".to_owned()] }.into(),
            ConnectError::UnknownContext {
                context: "prdo".to_owned(),
                known: vec!["prod".to_owned()],
                meant: Some("prod".to_owned()),
            }
            .into(),
            ConnectError::UnknownCluster { context: "prod".to_owned() }.into(),
            ConnectError::Agent.into(),
        ];
        for kind in [
            ReadErrorKind::Forbidden,
            ReadErrorKind::NotFound,
            ReadErrorKind::Throttled,
            ReadErrorKind::Expired,
            ReadErrorKind::Unreachable,
            ReadErrorKind::Server,
            ReadErrorKind::Malformed,
        ] {
            out.push(ObserveError::Nodes { cluster: cluster(), source: read_error(kind) }.into());
        }
        let held = || LockError::Held {
            cluster: cluster(),
            holder: Foreign::new("20261123-220000-abcdef"),
            renewed_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let journal = || JournalError { path: PathBuf::from("0001.jsonl"), message: "no space left".to_owned() };
        let locked = LockError::Read { cluster: cluster(), source: read_error(ReadErrorKind::Forbidden) };
        out.extend([
            Failure::from(held()),
            ApplyError::Lock(held()).into(),
            locked.into(),
            LockError::Write { cluster: cluster(), source: unclear() }.into(),
            LockError::Thread { cluster: cluster(), source: io_error() }.into(),
            journal().into(),
            ApplyError::Journal(journal()).into(),
            ApplyError::Prepare { cluster: cluster(), source: refused() }.into(),
            ApplyError::Admission { cluster: cluster(), node: node(), source: refused() }.into(),
            ApplyError::Follow { cluster: cluster(), source: read_error(ReadErrorKind::Server) }.into(),
        ]);
        out
    }

    fn of_nodes() -> Vec<Failure> {
        let path = || PathBuf::from("/host/proc/stat");
        vec![
            RebootError::Prepare { node: node(), source: HostError::BootId { source: io_error() } }.into(),
            RebootError::Disarmed { node: node(), why: Disarmed::NotCordoned }.into(),
            RebootError::Blind { node: node(), seconds: 60, source: read_error(ReadErrorKind::Unreachable) }.into(),
            RebootError::Refused { node: node(), source: HostError::Signal { source: io_error() } }.into(),
            RebootError::StillUp { node: node(), seconds: 60, method: RebootMethod::Signal }.into(),
            HostError::BootIdMalformed { text: Foreign::new("x") }.into(),
            HostError::Arm { path: path(), source: io_error() }.into(),
            HostError::OwnPidNamespace.into(),
            HostError::CommandStart { program: path(), source: io_error() }.into(),
            HostError::NotLinux.into(),
            ExamineError::Boot(HostError::NotLinux).into(),
            ExamineError::Stat { path: path(), source: io_error() }.into(),
            ExamineError::NoBootTime { path: path() }.into(),
            ExamineError::Sentinel { sentinel: path(), root: PathBuf::from("/host"), source: io_error() }.into(),
            ExamineError::NoFolder { root: PathBuf::from("/host") }.into(),
        ]
    }

    #[test]
    fn every_error_reads_as_a_sentence() {
        let style = Output::new(Colour::Never).style();
        let failures = of_the_config().into_iter().chain(of_the_outside()).chain(of_nodes());
        let text: Vec<String> = failures.map(|failure| failure.lines(style).join("\n")).collect();
        insta::with_settings!({
            prepend_module_to_snapshot => false,
            snapshot_path => "../../tests/cases/cli",
            omit_expression => true,
        }, { insta::assert_snapshot!("errors", text.join("\n\n")) });
    }
}
