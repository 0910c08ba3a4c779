//! The API server misbehaves: a proxy that faults on purpose stands between haulout and a real control plane. Whatever
//! it does, one run reboots its node exactly once and leaves nothing behind, or says exactly what it left.

mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::Method;
use libtest_mimic::Failed;

use self::server::{Asked, Fate, Proxy, answer, retry_after, status};
use super::account;
use super::cluster::{ControlPlane, Said};
use super::crash::{Machine, boot, path, phase, settled, two_nodes};
use super::kills::Chance;
use super::watcher::{Limits, Watcher};
use super::{Scenario, scene};

/// The scenarios of this module by name.
pub(crate) const SCENARIOS: &[(&str, Scenario)] = &[
    ("a_server_that_is_away_for_seconds", away_for_seconds),
    ("a_server_that_is_away_for_more_than_a_minute", away_for_more_than_a_minute),
    ("a_server_that_throttles", throttled),
    ("a_server_that_answers_409", conflicts),
    ("a_server_that_answers_410", too_old),
    ("a_server_that_answers_500", errors),
    ("a_server_that_answers_504", timeouts),
    ("a_proxy_that_answers_with_web_pages", web_pages),
    ("a_server_whose_answers_are_lost", answers_lost),
    ("a_server_that_requests_do_not_reach", requests_lost),
    ("a_server_that_never_answers", never_answers),
    ("a_server_that_drops_watches", watches_dropped),
    ("a_server_whose_watches_are_silent", watches_silent),
    ("a_server_whose_reads_are_stale", stale_reads),
    ("credentials_that_end_in_mid_run", credentials_end),
];

/// No scenario of this module may take longer.
const LIMIT: Duration = Duration::from_secs(240);

/// A cluster with one node to reboot, whose pods a budget lets go one at a time, and who runs on it.
struct Stage {
    plane: ControlPlane,
    config: PathBuf,
    before: String,
}

impl Stage {
    fn new(pods: u32) -> Result<Self, Failed> {
        let (plane, config) = two_nodes(pods)?;
        plane.create(&scene::budget("shop", "web", "maxUnavailable: 1"))?;
        plane.until("the budget counted", Duration::from_secs(30), |plane| {
            Ok(plane.get(&["pdb", "web", "-n", "shop"])?["status"]["disruptionsAllowed"] == 1)
        })?;
        let before = boot(&plane.get(&["node", "node-a"])?);
        Ok(Self { plane, config, before })
    }

    /// Someone who reaches the cluster through the proxy alone.
    fn machine(&self, name: &str, proxy: &Proxy) -> Machine<'_> {
        let mut machine = Machine::new(&self.plane, name);
        machine.kubeconfig = proxy.kubeconfig.clone();
        machine
    }

    /// Everything is done as on a good day: one reboot, nothing left, and no request that was faulty went unnoticed.
    fn as_on_a_good_day(&self, watcher: Watcher, proxy: &Proxy, said: &Said) -> Result<(), Failed> {
        let (_, boots) = watcher.end(&Limits { cluster: 1, pool: 1, zone: 1 })?;
        if boots["node-a"].len() != 2 {
            return Err(format!("rebooted {} times: {}", boots["node-a"].len() - 1, said.all()).into());
        }
        if proxy.faults() == 0 {
            return Err("the proxy had nothing to fault, which proves nothing".into());
        }
        settled(&self.plane, path(&self.config)?, &[("node-a", &self.before)])
            .map_err(|error| format!("{}\n{}", error.message().unwrap_or(""), said.all()).into())
    }

    /// One whole run through a proxy that faults by a rule; it must end as on a good day.
    fn endures(pods: u32, rule: impl FnMut(&Asked) -> Fate + Send + 'static) -> Result<Said, Failed> {
        let stage = Self::new(pods)?;
        let proxy = Proxy::before(&stage.plane, rule)?;
        let machine = stage.machine("one", &proxy);
        let watcher = Watcher::start(&stage.plane)?;
        let said = machine.run(&["apply", path(&stage.config)?, "--auto-approve"], LIMIT)?.expect(0)?;
        stage.as_on_a_good_day(watcher, &proxy, &said)?;
        Ok(said)
    }

    /// One run whose server is away for a while in the midst of its drain.
    fn away_for(pause: Duration) -> Result<Said, Failed> {
        let stage = Self::new(4)?;
        let proxy = Proxy::before(&stage.plane, |_| Fate::Pass)?;
        let machine = stage.machine("one", &proxy);
        let watcher = Watcher::start(&stage.plane)?;
        let began = Instant::now();
        let child = machine.spawn(&["apply", path(&stage.config)?, "--auto-approve"])?;
        stage.plane.until("the drain begun", Duration::from_secs(60), |plane| {
            Ok(phase(plane, "node-a")?.is_some_and(|phase| phase == "armed"))
        })?;
        proxy.set_away(true);
        std::thread::sleep(pause);
        proxy.set_away(false);
        // What came after it counts as seen.
        proxy.decide(|_| Fate::Lag(Duration::ZERO));
        let said = machine.end(child, began, LIMIT)?.expect(0)?;
        stage.as_on_a_good_day(watcher, &proxy, &said)?;
        Ok(said)
    }
}

/// Wraps a rule so that it holds only once the run has begun to act: what happens before any work is another matter.
fn once_acting(mut rule: impl FnMut(&Asked) -> Fate + Send + 'static) -> impl FnMut(&Asked) -> Fate + Send + 'static {
    let mut acting = false;
    move |asked: &Asked| {
        acting |= asked.is_node() && asked.method == Method::PATCH;
        if acting { rule(asked) } else { Fate::Pass }
    }
}

/// Faults one request in three by chance, whatever it is. What faults in a fixed order may hit the same request of a loop
/// for ever, as no bad server does. Only the lists of whole kinds are spared: of these is made the look after the run, which
/// is given up sooner than a step (tests/it/wire.rs has what becomes of them).
fn one_in_three(
    what: &str,
    mut fault: impl FnMut(&Asked) -> Fate + Send + 'static,
) -> impl FnMut(&Asked) -> Fate + Send + 'static {
    let mut chance = Chance::new(what);
    once_acting(move |asked| {
        let whole = asked.query.contains("limit=") && !asked.query.contains("fieldSelector");
        if !whole && chance.one_in(3) { fault(asked) } else { Fate::Pass }
    })
}

fn away_for_seconds() -> Result<(), Failed> {
    Stage::away_for(Duration::from_secs(8)).map(drop)
}

fn away_for_more_than_a_minute() -> Result<(), Failed> {
    // Longer than the lock lives: the run has to stop acting, and goes on when it has renewed its lock.
    let said = Stage::away_for(Duration::from_secs(65))?;
    if said.all().contains("the lock could not be renewed") { Ok(()) } else { Err(said.all().into()) }
}

fn throttled() -> Result<(), Failed> {
    let said = Stage::endures(
        3,
        one_in_three("throttled", |_| {
            Fate::Answer(retry_after(status(429, "TooManyRequests", "too many requests"), 1))
        }),
    )?;
    if said.all().contains("slow down") { Ok(()) } else { Err(said.all().into()) }
}

fn conflicts() -> Result<(), Failed> {
    let conflict = "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version and try again";
    Stage::endures(2, move |asked| {
        // Each of the first changes of a kind, and every other one of the lock.
        let lock = asked.is_lock() && asked.method == Method::PATCH && asked.before % 2 == 1;
        let node = asked.is_node() && asked.method == Method::PATCH && asked.before % 2 == 0;
        let eviction = asked.is_eviction() && asked.before == 0;
        if lock || node || eviction { Fate::Answer(status(409, "Conflict", conflict)) } else { Fate::Pass }
    })
    .map(drop)
}

fn too_old() -> Result<(), Failed> {
    // Each watch is refused at first, and ended by the event that says the same the next time.
    let event = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (2)","reason":"Expired","code":410}}"#;
    Stage::endures(2, move |asked| match asked.is_watch().then_some(asked.before % 4) {
        Some(1) => Fate::Answer(status(410, "Expired", "too old resource version: 1 (2)")),
        Some(2) => Fate::Answer(answer(200, "application/json", format!("{event}\n"))),
        Some(_) => Fate::CutAfter(Duration::from_secs(2)),
        None => Fate::Pass,
    })
    .map(drop)
}

fn errors() -> Result<(), Failed> {
    Stage::endures(2, one_in_three("500", |_| Fate::Answer(status(500, "InternalError", "etcdserver: leader changed"))))
        .map(drop)
}

fn timeouts() -> Result<(), Failed> {
    let late = "Timeout: request did not complete within the allotted timeout";
    // As often done as not: nobody can tell from the answer.
    let mut done = false;
    Stage::endures(
        2,
        once_acting(move |asked| {
            if asked.before % 3 != 0 || asked.is_watch() {
                return Fate::Pass;
            }
            done = !done;
            if done && asked.changes() { Fate::Lose } else { Fate::Answer(status(504, "Timeout", late)) }
        }),
    )
    .map(drop)
}

fn web_pages() -> Result<(), Failed> {
    let mut count = 0;
    let said = Stage::endures(
        2,
        one_in_three("web pages", move |_| {
            count += 1;
            let page = "<html><head><title>Sign in</title></head><body>\u{1b}[31mplease</body></html>".to_owned();
            Fate::Answer(answer(if count % 2 == 0 { 502 } else { 200 }, "text/html", page))
        }),
    )?;
    if said.all().contains('\u{1b}') { Err("a page's control bytes came through".into()) } else { Ok(()) }
}

fn answers_lost() -> Result<(), Failed> {
    // The first answer to each change, and every other one to the lock, is lost after the deed.
    Stage::endures(3, |asked| {
        let lock = asked.is_lock() && asked.method != Method::GET && asked.before % 2 == 1;
        let node = asked.is_node() && asked.method == Method::PATCH && asked.before % 2 == 0;
        let first = asked.changes() && !asked.is_node() && asked.before == 0;
        if lock || node || first { Fate::Lose } else { Fate::Pass }
    })
    .map(drop)
}

fn requests_lost() -> Result<(), Failed> {
    Stage::endures(3, one_in_three("cut", |asked| if asked.is_watch() { Fate::Pass } else { Fate::Cut })).map(drop)
}

fn never_answers() -> Result<(), Failed> {
    // One eviction is done and never answered, one patch of the node is never done and never answered, one read hangs.
    Stage::endures(1, {
        let (mut evicted, mut patched, mut read) = (false, false, false);
        once_acting(move |asked| {
            let first = |known: &mut bool| !std::mem::replace(known, true);
            if asked.is_eviction() && first(&mut evicted) {
                return Fate::Hang { done: true };
            }
            if asked.is_node() && asked.method == Method::PATCH && asked.before == 1 && first(&mut patched) {
                return Fate::Hang { done: false };
            }
            if asked.is_node() && asked.method == Method::GET && first(&mut read) {
                return Fate::Hang { done: false };
            }
            Fate::Pass
        })
    })
    .map(drop)
}

fn watches_dropped() -> Result<(), Failed> {
    Stage::endures(3, |asked| if asked.is_watch() { Fate::CutAfter(Duration::from_millis(400)) } else { Fate::Pass })
        .map(drop)
}

fn watches_silent() -> Result<(), Failed> {
    // What no watch tells is read again; that takes half a minute each time, and never for ever.
    Stage::endures(1, |asked| if asked.is_watch() { Fate::Silent } else { Fate::Pass }).map(drop)
}

fn stale_reads() -> Result<(), Failed> {
    Stage::endures(2, |asked| {
        if asked.is_watch() {
            return Fate::Lag(Duration::from_secs(2));
        }
        // The first look at a single object is remembered, and every other one after it shows that again.
        let single = asked.method == Method::GET && (asked.is_node() || asked.path.contains("/pods/"));
        let stale = single && (asked.before == 0 || asked.before % 2 == 1);
        if stale { Fate::Stale } else { Fate::Pass }
    })
    .map(drop)
}

fn credentials_end() -> Result<(), Failed> {
    let stage = Stage::new(4)?;
    // Whoever runs is a ServiceAccount that is deleted in mid-run: from then on its token is worth nothing.
    stage.plane.kubectl(&["create", "serviceaccount", "runner", "-n", "default"])?;
    let admin = ["--clusterrole=cluster-admin", "--serviceaccount=default:runner"];
    stage.plane.kubectl(&[&["create", "clusterrolebinding", "runner"], &admin[..]].concat())?;
    let mut machine = Machine::new(&stage.plane, "one");
    machine.kubeconfig = account::log_in(&stage.plane, "runner")?;
    // What stops slowly keeps the drain going until then.
    stage.plane.kubectl(&["annotate", "node", "node-a", "sim.haulout.dev/stops-after=4s"])?;
    let watcher = Watcher::start(&stage.plane)?;
    let config = path(&stage.config)?;
    let began = Instant::now();
    let child = machine.spawn(&["apply", config, "--auto-approve"])?;
    stage.plane.until("the drain begun", Duration::from_secs(60), |plane| {
        Ok(phase(plane, "node-a")?.is_some_and(|phase| phase == "armed"))
    })?;
    // Nothing finds another place from here on, so that the budget holds the drain for longer than a token that is worth
    // nothing is still believed (the API server remembers what it found of one for ten seconds).
    stage.plane.kubectl(&["taint", "node", "node-b", "test=full:NoSchedule"])?;
    stage.plane.kubectl(&["delete", "serviceaccount", "runner", "-n", "default"])?;
    let said = machine.end(child, began, LIMIT)?.expect(8)?;
    // It can touch nothing any more, and so must name what it left, why, and what to do.
    let named = ["node/node-a failed to drain", "left cordoned by this run", "Unauthorized", "log in again"];
    if let Some(missing) = named.iter().find(|words| !said.out.contains(**words)) {
        let said = format!("{missing}: {}", said.all());
        return Err(format!("not named: {said}").into());
    }
    // Whoever comes next, with credentials that are good, finishes it.
    stage.plane.kubectl(&["taint", "node", "node-b", "test-"])?;
    let second = Machine::new(&stage.plane, "two");
    second.run(&["apply", config, "--auto-approve", "--lock-timeout", "120s"], LIMIT)?.expect(0)?;
    let (_, boots) = watcher.end(&Limits { cluster: 1, pool: 1, zone: 1 })?;
    if boots["node-a"].len() != 2 {
        return Err(format!("rebooted {} times", boots["node-a"].len() - 1).into());
    }
    settled(&stage.plane, config, &[("node-a", &stage.before)])
}
