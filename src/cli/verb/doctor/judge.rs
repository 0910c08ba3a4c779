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
    // Of a server that nobody reached, nothing was proved; only what needs no server is judged then.
    let reached = version.as_ref().err().is_none_or(|error| error.status.is_some());
    findings.push(match access.proof {
        ServerProof::OwnAuthority | ServerProof::SystemAuthorities if !reached => {
            Finding::new(Standing::NotLooked, "TLS", "not looked at, because the API server does not answer")
        }
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
/// `refused` where the API server does not accept them, whatever they say of themselves.
pub(super) fn credentials(reads: &[CredentialRead], now: Timestamp, needed: Duration, refused: bool) -> Vec<Finding> {
    if reads.is_empty() {
        return vec![Finding::new(Standing::Ok, "credentials", "the kubeconfig has none for this context")];
    }
    let judged = reads.iter().map(|read| credential(read, now, needed));
    judged
        .map(|finding| match finding.standing {
            Standing::Ok if refused => {
                let says = format!("{}; the API server does not accept it", finding.says);
                Finding::new(Standing::Problem, "credentials", says).advise("log in again, or fetch a new kubeconfig")
            }
            Standing::Ok | Standing::Note | Standing::Problem | Standing::NotLooked => finding,
        })
        .collect()
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
        Feature::Certificates => "to see certificates",
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
    // What everybody has says nothing of this role, and would hide that all of it is missing.
    let given = |answer: &&&Answer| answer.rule.is_everybodys() && matches!(answer.allowed, Ok(true));
    let counted = answers.len() - answers.iter().filter(given).count();
    if missing.is_empty() {
        return Finding::new(Standing::Ok, about, format!("{who} has {counted} of {counted}"));
    }
    let lacking: usize = missing.iter().map(|(_, verbs)| verbs.len()).sum();
    let (standing, without) = if feature.is_optional() {
        (Standing::Note, "; plans show fewer certificates")
    } else {
        (Standing::Problem, "")
    };
    let mut finding = Finding::new(standing, about, format!("{who} lacks {lacking} of {counted}{without}"));
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
    if lacking == counted {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::ReadErrorKind;
    use crate::provider::right::RULES;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn clocks(theirs: i64, before: i64, after: i64) -> Finding {
        clock(&Ok(Some(ClockRead { theirs: at(theirs), before: at(before), after: at(after) })))
    }

    fn error(status: u16) -> ReadError {
        ReadError {
            operation: "read it".to_owned(),
            kind: ReadErrorKind::Forbidden,
            message: Foreign::new("no\u{1b}[2J"),
            status: Some(status),
            retry_after: None,
        }
    }

    #[test]
    fn only_a_skew_that_is_proved_is_a_problem() {
        for (theirs, before, after, standing, says) in [
            (0, 0, 0, Standing::Ok, "agree"),
            // A slow answer proves nothing: the header may have been written at any time in between.
            (0, -30, 30, Standing::Ok, "agree"),
            (-1, 0, 0, Standing::Ok, "agree"),
            (10, 0, 0, Standing::Ok, "10s ahead of"),
            (11, 0, 0, Standing::Problem, "11s ahead of"),
            (-11, 0, 0, Standing::Ok, "10s behind"),
            (-12, 0, 0, Standing::Problem, "11s behind"),
            (7200, 0, 1, Standing::Problem, "1h 59m ahead of"),
        ] {
            let finding = clocks(theirs, before, after);
            assert_eq!(finding.standing, standing, "{theirs} {before} {after}");
            assert!(finding.says.contains(says), "{}", finding.says);
        }
        assert_eq!(clock(&Ok(None)).standing, Standing::Ok);
    }

    #[test]
    fn credentials_must_outlast_one_node() {
        let needed = Duration::from_secs(1500);
        let judged = |credential: Credential, ends| {
            credentials(&[CredentialRead { credential, ends, unreadable: None }], at(0), needed, false).remove(0)
        };
        assert_eq!(judged(Credential::ClientCertificate, Some(at(1501))).standing, Standing::Ok);
        assert_eq!(judged(Credential::ClientCertificate, Some(at(1500))).standing, Standing::Problem);
        let ended = judged(Credential::Token, Some(at(-3600)));
        assert_eq!(ended.standing, Standing::Problem);
        assert!(ended.says.contains("ended 1h ago"), "{}", ended.says);
        // Whoever renews the file does so before the end; what has ended nevertheless was not renewed.
        assert_eq!(judged(Credential::TokenFile("/t".into()), Some(at(60))).standing, Standing::Ok);
        assert_eq!(judged(Credential::TokenFile("/t".into()), Some(at(0))).standing, Standing::Problem);
        assert_eq!(judged(Credential::Plugin(Foreign::new("kubelogin")), None).standing, Standing::Ok);
        let unreadable = CredentialRead {
            credential: Credential::ClientCertificate,
            ends: None,
            unreadable: Some(Foreign::new("not PEM")),
        };
        assert_eq!(credentials(&[unreadable], at(0), needed, false)[0].standing, Standing::Problem);
    }

    #[test]
    fn what_the_api_server_does_not_accept_is_not_well() {
        let read = CredentialRead { credential: Credential::Token, ends: None, unreadable: None };
        let judged = credentials(&[read], at(0), Duration::ZERO, true).remove(0);
        assert_eq!(judged.standing, Standing::Problem);
        assert!(judged.says.contains("does not accept it"), "{}", judged.says);
    }

    #[test]
    fn what_everybody_has_hides_no_role_that_is_not_bound() {
        let asked = |allowed: fn(&Rule) -> bool| {
            let rules = RULES.iter().filter(|rule| rule.feature == Feature::Plan && rule.place == Place::Cluster);
            let answers: Vec<Answer> = rules
                .flat_map(|rule| rule.verbs.iter().map(move |verb| Answer { rule, verb, allowed: Ok(allowed(rule)) }))
                .collect();
            let finding = rights(&answers, Some(&Foreign::new("ci"))).remove(0);
            (finding.says, finding.advice.is_some_and(|advice| advice.contains("it may only have to be bound")))
        };
        assert_eq!(asked(Rule::is_everybodys), ("ci lacks 6 of 6".to_owned(), true));
        assert_eq!(asked(|_| false), ("ci lacks 7 of 7".to_owned(), true));
        assert_eq!(asked(|rule| rule.target.words() == "nodes"), ("ci lacks 6 of 7".to_owned(), false));
        assert_eq!(asked(|_| true), ("ci has 6 of 6".to_owned(), false));
    }

    #[test]
    fn of_a_server_that_nobody_reached_nothing_is_proved() {
        let access = AccessRead { proof: ServerProof::OwnAuthority, authority_ends: None, credentials: Vec::new() };
        let unreached = ReadError { status: None, ..error(500) };
        let findings = reach(&Err(unreached), Some(&access), at(0));
        assert_eq!(findings[1].standing, Standing::NotLooked);
        assert_eq!(reach(&Err(error(401)), Some(&access), at(0))[1].standing, Standing::Ok);
    }

    #[test]
    fn an_unproved_server_is_a_problem_and_so_is_an_authority_that_ended() {
        let access = |proof, ends| AccessRead { proof, authority_ends: ends, credentials: Vec::new() };
        let problems = |access: &AccessRead| {
            let findings = reach(&Ok(Foreign::new("1.37.2")), Some(access), at(0));
            findings.iter().filter(|finding| finding.standing == Standing::Problem).count()
        };
        assert_eq!(problems(&access(ServerProof::OwnAuthority, Some(at(1)))), 0);
        assert_eq!(problems(&access(ServerProof::OwnAuthority, Some(at(0)))), 1);
        assert_eq!(problems(&access(ServerProof::SystemAuthorities, None)), 0);
        assert_eq!(problems(&access(ServerProof::Unverified, None)), 1);
        assert_eq!(problems(&access(ServerProof::PlainHttp, None)), 1);
    }

    #[test]
    fn an_api_server_that_hides_its_version_answers() {
        let standing = |status| reach(&Err(error(status)), None, at(0))[0].standing;
        assert_eq!(standing(403), Standing::Ok);
        assert_eq!(standing(401), Standing::Problem);
        assert_eq!(standing(502), Standing::Problem);
    }

    #[test]
    fn what_the_server_says_reaches_no_terminal_and_no_shell() {
        let hostile = Foreign::new("x; rm -rf ~ \u{1b}]0;owned");
        let answers: Vec<Answer> = RULES
            .iter()
            .flat_map(|rule| rule.verbs.iter().map(move |verb| Answer { rule, verb, allowed: Ok(false) }))
            .collect();
        let mut findings = rights(&answers, Some(&hostile));
        findings.push(failed("it", &error(500)));
        findings.extend(reach(&Ok(hostile), None, at(0)));
        for finding in findings {
            let advice = finding.advice.unwrap_or_default();
            assert!(!advice.contains("rm -rf"), "{advice}");
            assert!(!advice.contains("--user=") || advice.contains("--user=USER"), "{advice}");
            assert!(!finding.says.contains('\u{1b}'), "{}", finding.says);
        }
    }

    #[test]
    fn what_apply_makes_is_no_problem_where_it_may() {
        let judged = |state: &Result<BaseState, ReadError>, may| base(BaseObject::Namespace, state, may).standing;
        assert_eq!(judged(&Ok(BaseState::Absent), true), Standing::Ok);
        assert_eq!(judged(&Ok(BaseState::Absent), false), Standing::Problem);
        assert_eq!(judged(&Ok(BaseState::Flawed("is being deleted")), true), Standing::Problem);
        assert_eq!(judged(&Err(error(403)), false), Standing::NotLooked);
        assert_eq!(judged(&Err(error(500)), false), Standing::Problem);
    }
}
