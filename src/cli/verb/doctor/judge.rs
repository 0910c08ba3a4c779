//! What was seen of a cluster, judged: from answers to findings, without any I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Explain, Foreign, sanitise};
use crate::plan::words::{between, duration, foreign};
use crate::provider::kubernetes::{AccessRead, Credential, CredentialRead, ServerProof};
use crate::provider::right::{Feature, Place, Rule};
use crate::provider::{ActError, BaseObject, BaseState, ClockRead, ReadError, Refusal};
use crate::render::doctor::{Finding, Standing};

/// The holder renews the lock every 5 s, and whoever reads its time compares it with a clock of his own: apart by more
/// than two renewals, a live run looks as one that stumbles. Windows and the last moment of a reboot pod are compared
/// across clocks as well.
const SKEW_MAX: SignedDuration = SignedDuration::from_secs(10);

/// How the API server answers, and how it proves who it is.
pub(super) fn reach(version: &Result<Foreign, ReadError>, access: Option<&AccessRead>, now: Timestamp) -> Vec<Finding> {
    let mut findings = vec![match version {
        Ok(version) => Finding::new(Standing::Ok, "API server", format!("answers, Kubernetes {}", foreign(version))),
        Err(error) if error.status == Some(403) => {
            Finding::new(Standing::Ok, "API server", "answers, but does not tell its version to this identity")
        }
        Err(error) => failed("API server", error),
    }];
    let Some(access) = access else {
        findings.push(Finding::new(Standing::Ok, "TLS", "none: the cluster is simulated in this process"));
        return findings;
    };
    findings.push(match access.proof {
        ServerProof::OwnAuthority => {
            Finding::new(Standing::Ok, "TLS", "the kubeconfig's own authority proves the server")
        }
        ServerProof::SystemAuthorities => {
            Finding::new(Standing::Ok, "TLS", "the authorities that this machine trusts prove the server")
        }
        ServerProof::Unverified => Finding::new(
            Standing::Problem,
            "TLS",
            "insecure-skip-tls-verify is set: anybody on the way can be the server",
        )
        .advise("put certificate-authority-data into the kubeconfig in its place"),
        ServerProof::PlainHttp => {
            Finding::new(Standing::Problem, "TLS", "the address is http://: credentials are sent in the clear")
                .advise("use the https address of the API server")
        }
    });
    if let Some(ends) = access.authority_ends.filter(|ends| *ends <= now) {
        findings.push(
            Finding::new(Standing::Problem, "TLS", format!("an authority of the kubeconfig ended at {ends}"))
                .advise("fetch a new kubeconfig: the cluster's authority was rotated, or must be"),
        );
    }
    findings
}

/// How far the API server's clock and this machine's are apart.
pub(super) fn clock(read: &Result<Option<ClockRead>, ReadError>) -> Finding {
    const ABOUT: &str = "clock";
    let read = match read {
        Ok(Some(read)) => read,
        Ok(None) => return Finding::new(Standing::Ok, ABOUT, "the answers carry no time to compare"),
        Err(error) => return failed(ABOUT, error),
    };
    // Its time is cut to whole seconds, and was taken somewhere between sending and receiving.
    let ahead = read.theirs.duration_since(read.after);
    let behind = read.before.duration_since(read.theirs) - SignedDuration::from_secs(1);
    let (apart, which) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    if apart <= SignedDuration::ZERO {
        return Finding::new(Standing::Ok, ABOUT, "that of the API server and this machine's agree");
    }
    let text = duration(Duration::try_from(apart).unwrap_or_default());
    let says = format!("that of the API server is {text} {which} this machine's");
    if apart <= SKEW_MAX {
        Finding::new(Standing::Ok, ABOUT, says)
    } else {
        Finding::new(Standing::Problem, ABOUT, says).advise(
            "let both machines follow the same time, by NTP: locks, windows and time limits compare their clocks",
        )
    }
}

/// When credentials end. `needed` is how long the longest outage of one node may take: a run whose credentials end in
/// the middle of one leaves a node cordoned.
pub(super) fn credentials(reads: &[CredentialRead], now: Timestamp, needed: Duration) -> Vec<Finding> {
    if reads.is_empty() {
        return vec![Finding::new(Standing::Ok, "credentials", "the kubeconfig has none for this context")];
    }
    reads.iter().map(|read| credential(read, now, needed)).collect()
}

fn credential(read: &CredentialRead, now: Timestamp, needed: Duration) -> Finding {
    let (what, renewed) = match &read.credential {
        Credential::ClientCertificate => ("the client certificate".to_owned(), false),
        Credential::Token => ("the token of the kubeconfig".to_owned(), false),
        Credential::TokenFile(path) => (format!("the token in {}", sanitise(&path.display().to_string())), true),
        Credential::Plugin(command) => (format!("what {} hands out", foreign(command)), true),
        Credential::Password => ("a user name and password".to_owned(), false),
    };
    let again = "log in again, or fetch a new kubeconfig";
    if let Some(why) = &read.unreadable {
        return Finding::new(Standing::Problem, "credentials", format!("{what} cannot be read: {}", foreign(why)))
            .advise(again);
    }
    let Some(ends) = read.ends else {
        let renewed = matches!(read.credential, Credential::Plugin(_)).then_some(", renewed when it ends");
        let says = format!("{what}{}", renewed.unwrap_or(", which does not say when it ends"));
        return Finding::new(Standing::Ok, "credentials", says);
    };
    if ends <= now {
        let says = format!("{what} ended {} ago, at {ends}", duration(between(ends, now)));
        return Finding::new(Standing::Problem, "credentials", says).advise(again);
    }
    let left = between(now, ends);
    let says = format!("{what} ends in {}, at {ends}", duration(left));
    if renewed {
        return Finding::new(Standing::Ok, "credentials", format!("{says}; it is renewed"));
    }
    if left <= needed {
        let says = format!("{says}: sooner than one node may take, {}", duration(needed));
        return Finding::new(Standing::Problem, "credentials", says).advise(again);
    }
    Finding::new(Standing::Ok, "credentials", says)
}

/// A right and the answer about it.
pub(super) struct Answer {
    pub(super) rule: &'static Rule,
    pub(super) verb: &'static str,
    pub(super) allowed: Result<bool, ReadError>,
}

/// The roles that a cluster needs, each with what is missing of it. `who` is the identity, where the server said.
pub(super) fn rights(answers: &[Answer], who: Option<&Foreign>) -> Vec<Finding> {
    let mut roles: BTreeMap<(Feature, Place), Vec<&Answer>> = BTreeMap::new();
    for answer in answers {
        roles.entry((answer.rule.feature, answer.rule.place)).or_default().push(answer);
    }
    let who = who.map_or_else(|| "this identity".to_owned(), foreign);
    roles.into_iter().map(|((feature, place), answers)| role(feature, place, &answers, &who)).collect()
}

fn role(feature: Feature, place: Place, answers: &[&Answer], who: &str) -> Finding {
    let purpose = match feature {
        Feature::Plan => "to plan",
        Feature::Apply => "to apply",
        Feature::Reboot => "to reboot",
    };
    let within = match place {
        Place::Cluster => String::new(),
        Place::Namespace(namespace) => format!(" in namespace {namespace}"),
    };
    let about = format!("rights {purpose}{within}");
    if let Some(error) = answers.iter().find_map(|answer| answer.allowed.as_ref().err()) {
        return failed(about, error);
    }
    // In the order of the table, each rule once, with those of its verbs that are missing.
    let mut missing: Vec<(&Rule, Vec<&str>)> = Vec::new();
    for answer in answers.iter().filter(|answer| matches!(answer.allowed, Ok(false))) {
        match missing.last_mut() {
            Some((rule, verbs)) if *rule == answer.rule => verbs.push(answer.verb),
            _ => missing.push((answer.rule, vec![answer.verb])),
        }
    }
    if missing.is_empty() {
        return Finding::new(Standing::Ok, about, format!("{who} has {} of {}", answers.len(), answers.len()));
    }
    let lacking: usize = missing.iter().map(|(_, verbs)| verbs.len()).sum();
    let mut finding = Finding::new(Standing::Problem, about, format!("{who} lacks {lacking} of {}", answers.len()));
    finding.particulars = missing
        .iter()
        .map(|(rule, verbs)| format!("may not {} {}{within}: {}", verbs.join(", "), rule.target.words(), rule.why))
        .collect();
    let (kind, scope) = match place {
        Place::Cluster => ("ClusterRole", String::new()),
        Place::Namespace(namespace) => ("Role", format!(" --namespace {namespace}")),
    };
    let name = feature.role();
    let yaml = missing.iter().map(|(rule, verbs)| rule.yaml(verbs)).collect();
    finding.yaml = Some((format!("these rules, which {kind} {name}{within} of deploy/base.yaml has:"), yaml));
    if lacking == answers.len() {
        let binding = kind.to_lowercase();
        finding.advice = Some(format!(
            "all of that role is missing, so it may only have to be bound: \
             kubectl create {binding}binding NAME --{binding}={name} --user={}{scope}",
            user(who)
        ));
    }
    finding
}

/// A user's name for a command that people copy; what a shell would read in another way is left for them to fill in.
fn user(who: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '@' | '.' | '_' | '-');
    if !who.is_empty() && who.chars().all(plain) { who } else { "USER" }
}

/// An object that `apply` needs. `may_make` is whether `apply` could make it.
pub(super) fn base(object: BaseObject, state: &Result<BaseState, ReadError>, may_make: bool) -> Finding {
    let about = base_name(object);
    match state {
        Ok(BaseState::Sound) => Finding::new(Standing::Ok, about, "is there"),
        Ok(BaseState::Absent) if may_make => Finding::new(Standing::Ok, about, "is not there; apply will make it"),
        Ok(BaseState::Absent) => {
            Finding::new(Standing::Problem, about, "is not there, and this identity may not make it")
                .advise("apply deploy/base.yaml once, with an identity that may: kubectl apply -f deploy/base.yaml")
        }
        Ok(BaseState::Flawed(flaw)) => Finding::new(Standing::Problem, about, *flaw).advise(match object {
            BaseObject::Namespace => {
                "kubectl label --overwrite namespace haulout-system pod-security.kubernetes.io/enforce=privileged"
            }
            BaseObject::NodeAccount | BaseObject::NodeRole | BaseObject::NodeBinding => {
                "kubectl apply -f deploy/base.yaml, with an identity that may"
            }
        }),
        Err(error) if error.status == Some(403) => {
            Finding::new(Standing::NotLooked, about, "not looked at: the right to see it is missing, see above")
        }
        Err(error) => failed(about, error),
    }
}

fn base_name(object: BaseObject) -> &'static str {
    match object {
        BaseObject::Namespace => "namespace haulout-system",
        BaseObject::NodeAccount => "ServiceAccount haulout-node",
        BaseObject::NodeRole => "ClusterRole haulout-node",
        BaseObject::NodeBinding => "ClusterRoleBinding haulout-node",
    }
}

/// Whether the pod that reboots by `method` would be admitted.
pub(super) fn admission(method: &str, answer: &Result<(), ActError>) -> Finding {
    let about = format!("reboot pod by {method}");
    let error = match answer {
        Ok(()) => return Finding::new(Standing::Ok, about, "would be admitted"),
        Err(error) => error,
    };
    let (says, advice) = match error {
        ActError::Refused { refusal, .. } => (
            format!("would be refused, because {}", refused(refusal)),
            "exempt namespace haulout-system from what refuses pods with hostPID there, such as policies and webhooks",
        ),
        ActError::Unclear { cause, .. } => (
            format!("could not be tried: {}", foreign(&cause.message)),
            "see whether the API server answers, then try again",
        ),
    };
    Finding::new(Standing::Problem, about, says).advise(advice)
}

fn refused(refusal: &Refusal) -> String {
    let message = match refusal {
        Refusal::Webhook { message, .. }
        | Refusal::Forbidden { message }
        | Refusal::Conflict { message }
        | Refusal::Invalid { message, .. }
        | Refusal::TryAgain { message, .. } => message,
        Refusal::Budget { .. }
        | Refusal::Throttled { .. }
        | Refusal::TwoBudgets
        | Refusal::NamespaceTerminating
        | Refusal::NotFound
        | Refusal::AlreadyExists => return refusal.to_string(),
    };
    format!("{refusal}: {}", foreign(message))
}

/// A question that got no answer.
pub(super) fn failed(about: impl Into<String>, error: &ReadError) -> Finding {
    let finding = Finding::new(Standing::Problem, about, format!("failed to {error}: {}", foreign(&error.message)));
    match (error.status, error.advice()) {
        (Some(401), _) => finding.advise("log in again: the API server does not accept these credentials"),
        (_, Some(advice)) => finding.advise(advice.0),
        (_, None) => finding,
    }
}
