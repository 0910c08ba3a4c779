//! Random kills: of one run until it is done, and of two that want the same cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use libtest_mimic::Failed;
use serde_json::Value;

use super::cluster::ControlPlane;
use super::crash::{Machine, kill};
use super::scene::{self, SimNode};
use super::thin::wait_for_nodes;
use super::watcher::{Limits, Watcher};

/// Numbers that look random; the seed is printed, and HAULOUT_SEED takes it again.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(what: &str) -> Self {
        let given = std::env::var("HAULOUT_SEED").ok().and_then(|text| text.parse().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
        let seed = given.unwrap_or(now | 1);
        eprintln!("{what}: HAULOUT_SEED={seed}");
        Self(seed)
    }

    /// A number below 2^31; xorshift64*, which is random enough to choose a moment.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        let part = self.next() as f64 / f64::from(u32::MAX >> 1);
        most.mul_f64(part.min(1.0))
    }

    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.next().is_multiple_of(many)
    }
}

fn is_long() -> bool {
    std::env::var_os("HAULOUT_LONG").is_some()
}

/// Nodes that all ask for a reboot, with an application of two replicas under a budget for every two of them.
fn rolling(nodes: usize) -> Result<ControlPlane, Failed> {
    let plane = ControlPlane::start(&[])?;
    let mut manifest = String::new();
    for index in 0..nodes {
        manifest += &scene::node(&SimNode {
            name: format!("node-{index:02}"),
            pool: "np1",
            zone: ["z1", "z2", "z3"][index % 3],
            asks: Some("linux-image-6.8.0-1021-azure"),
            unschedulable: false,
        });
    }
    plane.create(&manifest)?;
    wait_for_nodes(&plane, nodes)?;
    let mut manifest = scene::namespace("shop");
    let apps = nodes / 2;
    for index in 0..apps {
        manifest += &scene::deployment("shop", &format!("app-{index:02}"), 2);
        manifest += &scene::budget("shop", &format!("app-{index:02}"), "maxUnavailable: 1");
    }
    manifest += &scene::daemon_set("shop", "logs");
    plane.create(&manifest)?;
    plane.until("budgets satisfied", Duration::from_secs(120), |plane| {
        let budgets = plane.get(&["pdb", "-n", "shop"])?;
        let counted = budgets["items"]
            .as_array()
            .is_some_and(|all| all.len() == apps && all.iter().all(|one| one["status"]["currentHealthy"] == 2));
        Ok(counted)
    })?;
    Ok(plane)
}

/// How often runs of a machine have taken the lock, by their journals.
fn locks_taken(machine: &Machine<'_>) -> usize {
    let segments = machine.runs().into_iter().filter_map(|run| std::fs::read_dir(run).ok()).flatten().flatten();
    let texts = segments.filter_map(|segment| std::fs::read_to_string(segment.path()).ok());
    texts.map(|text| text.matches("lock_taken").count()).sum()
}

/// Starts a haulout and kills it at a random moment after it has taken the lock; its exit code where it ended before.
fn cut_short(
    machine: &Machine<'_>,
    arguments: &[&str],
    within: Duration,
    chance: &mut Chance,
) -> Result<Option<i32>, Failed> {
    let before = locks_taken(machine);
    let mut child = machine.spawn(arguments)?;
    let began = Instant::now();
    while locks_taken(machine) == before {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if began.elapsed() > Duration::from_secs(200) {
            kill(child)?;
            return Err(format!("{arguments:?} never took the lock").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(chance.up_to(within));
    if let Some(status) = child.try_wait()? {
        return Ok(status.code());
    }
    kill(child)?;
    Ok(None)
}

/// No cordon goes unnamed: whoever asks is told of every node that is out, and by whom.
fn all_named(plane: &ControlPlane, machine: &Machine<'_>, config: &str) -> Result<(), Failed> {
    // What is cordoned now was so before it is asked about.
    let nodes = plane.get(&["nodes"])?;
    let status = machine.run(&["status", config], Duration::from_secs(30))?.expect(0)?;
    for node in nodes["items"].as_array().into_iter().flatten().filter(|node| node["spec"]["unschedulable"] == true) {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        if !status.out.contains(&format!("node/{name} is cordoned")) {
            return Err(format!("{name} is cordoned and nobody says so: {}", status.all()).into());
        }
    }
    Ok(())
}

/// As after an undisturbed run: every node rebooted once, and nothing of any run left.
fn as_undisturbed(plane: &ControlPlane, config: &str, boots: &BTreeMap<String, Vec<String>>) -> Result<(), Failed> {
    for (node, boots) in boots {
        if boots.len() != 2 {
            return Err(format!("{node} had {} boot ids, not 2", boots.len()).into());
        }
    }
    let nodes = plane.get(&["nodes"])?;
    for node in nodes["items"].as_array().into_iter().flatten() {
        let annotations = node["metadata"]["annotations"].to_string();
        for mark in ["haulout.dev/cordon", "haulout.dev/phase", "haulout.dev/run\"", "scale-down-disabled"] {
            if annotations.contains(mark) {
                return Err(format!("{}: {mark} is left: {annotations}", node["metadata"]["name"]).into());
            }
        }
        if node["spec"]["unschedulable"] == true || !annotations.contains("haulout.dev/last-reboot") {
            return Err(format!("not as it should be: {node:#}").into());
        }
    }
    let pods = plane.get(&["pods", "-n", "haulout-system"])?;
    if pods["items"].as_array().is_some_and(|pods| !pods.is_empty()) {
        return Err(format!("reboot pods are left: {pods}").into());
    }
    let again = plane.haulout(&["plan", config, "--detailed-exitcode"], Duration::from_secs(30))?.expect(0)?;
    if again.out.contains("No changes.") { Ok(()) } else { Err(again.all().into()) }
}

pub(crate) fn kills_change_nothing_about_the_end() -> Result<(), Failed> {
    let (nodes, kills) = if is_long() { (30, 50) } else { (8, 12) };
    let plane = rolling(nodes)?;
    let limit = if is_long() { 3 } else { 1 };
    let config = plane.config(&format!(
        "max_unavailable = {limit}\n\n[reboot.linux]\nwhen_required = true\nmax_unavailable = {limit}\nsettle = \"1s\"\n"
    ))?;
    let config = config.to_str().ok_or("path")?;
    let mut chance = Chance::new("kills");
    let machines = [Machine::new(&plane, "a"), Machine::new(&plane, "b")];
    let mut at = 0;
    let watcher = Watcher::start(&plane)?;
    let apply = ["apply", config, "--auto-approve", "--lock-timeout", "150s"];
    let resume = ["apply", config, "--auto-approve", "--lock-timeout", "150s", "--resume"];
    let (mut killed, mut adopted, mut resumed) = (0, 0, 0);
    let mut last = cut_short(&machines[at], &apply, Duration::from_secs(5), &mut chance)?;
    while last.is_none() {
        killed += 1;
        all_named(&plane, &machines[at], config)?;
        // In the long form the machine changes half of the times.
        let changes = if is_long() { killed % 2 == 0 } else { killed % 3 == 0 };
        if killed == kills {
            break;
        }
        last = if changes {
            at = 1 - at;
            adopted += 1;
            cut_short(&machines[at], &apply, Duration::from_secs(5), &mut chance)?
        } else {
            resumed += 1;
            cut_short(&machines[at], &resume, Duration::from_secs(5), &mut chance)?
        };
    }
    if killed < kills {
        return Err(format!("done after {killed} kills, with exit code {last:?}").into());
    }
    // The last one may end; on yet another machine, which knows nothing.
    let third = Machine::new(&plane, "c");
    let done = third.run(&apply, Duration::from_secs(900))?.expect(0)?;
    let limits = Limits { cluster: limit, pool: limit, zone: limit };
    let (most_out, boots) = watcher.end(&limits)?;
    as_undisturbed(&plane, config, &boots)
        .map_err(|error| format!("{}\n{}", error.message().unwrap_or(""), done.all()))?;
    eprintln!("{killed} kills, {resumed} times resumed, {} adopted, at most {most_out} out", adopted + 1);
    Ok(())
}

/// A kubeconfig for a user of its own, so that the audit log tells who sent what.
pub(crate) fn user(plane: &ControlPlane, name: &str) -> Result<std::path::PathBuf, Failed> {
    plane.create(&format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: default}}\n---\n\
         apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {name}}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}\n\
         subjects:\n- {{kind: ServiceAccount, name: {name}, namespace: default}}\n"
    ))?;
    let token = plane.kubectl(&["create", "token", name, "-n", "default", "--duration", "2h"])?;
    let admin = std::fs::read_to_string(&plane.kubeconfig)?;
    let text: String = admin
        .lines()
        .map(|line| match line.split_once("token:") {
            Some((indent, _)) => format!("{indent}token: {}\n", token.trim()),
            None => format!("{line}\n"),
        })
        .collect();
    let path = plane.folder.path().join(format!("{name}.kubeconfig"));
    std::fs::write(&path, text)?;
    Ok(path)
}

/// What the audit log says of one request that changed something.
pub(crate) struct Change {
    at: f64,
    pub(crate) user: String,
    lock: bool,
    pub(crate) what: String,
}

pub(crate) fn changes(plane: &ControlPlane) -> Result<Vec<Change>, Failed> {
    let seconds = |text: &str| -> Option<f64> {
        // All within one run of the test: seconds of the day are enough, and midnight may cost a test.
        let time = text.split_once('T')?.1.trim_end_matches('Z');
        let mut parts = time.splitn(3, ':').map(str::parse::<f64>);
        Some(parts.next()?.ok()? * 3600.0 + parts.next()?.ok()? * 60.0 + parts.next()?.ok()?)
    };
    let mut all: Vec<Change> = Vec::new();
    for event in plane.requests("haulout/")? {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        let (verb, resource) = (text(&event["verb"]), text(&object["resource"]));
        let code = event["responseStatus"]["code"].as_u64().unwrap_or(0);
        let reads = matches!(verb.as_str(), "get" | "list" | "watch");
        // What is refused changed nothing; what a run needs as a whole is made before the lock can exist.
        if reads || !(200..300).contains(&code) || resource == "namespaces" {
            continue;
        }
        let at = seconds(event["stageTimestamp"].as_str().unwrap_or_default()).ok_or("no time in the audit log")?;
        all.push(Change {
            at,
            user: text(&event["user"]["username"]),
            lock: resource == "leases",
            what: format!("{verb} {resource}/{} {}", text(&object["subresource"]), text(&object["name"])),
        });
    }
    all.sort_by(|a, b| a.at.total_cmp(&b.at));
    Ok(all)
}

/// Whoever changes anything is the last who wrote the lock; and nobody writes it while another one's is live, unless
/// that one's process had ended in order.
fn one_at_a_time(changes: &[Change], ended: &[(String, f64)]) -> Result<usize, Failed> {
    let mut owner: Option<(&str, f64)> = None;
    let mut handed_over = 0;
    for change in changes {
        match (&owner, change.lock) {
            (Some((user, last)), true) if *user != change.user => {
                let released = ended.iter().any(|(of, at)| of == user && (*last - 1.0..=change.at + 1.0).contains(at));
                if change.at - last < 59.0 && !released {
                    let silent = change.at - last;
                    return Err(format!("{} took the lock {silent:.1} s after a sign of life", change.user).into());
                }
                handed_over += 1;
                owner = Some((&change.user, change.at));
            }
            (_, true) => owner = Some((&change.user, change.at)),
            (Some((user, _)), false) if *user == change.user => {}
            (_, false) => {
                return Err(format!("{} sent {:?} without the lock", change.user, change.what).into());
            }
        }
    }
    Ok(handed_over)
}

fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() % 86_400) as f64 + f64::from(since.subsec_millis()) / 1000.0
}

pub(crate) fn account(name: &str) -> String {
    format!("system:serviceaccount:default:{name}")
}

pub(crate) fn of_two_machines_one_acts_at_a_time() -> Result<(), Failed> {
    let bound = Duration::from_secs(if is_long() { 180 } else { 45 });
    let plane = rolling(if is_long() { 30 } else { 14 })?;
    let config = plane.config("[reboot.linux]\nwhen_required = true\nsettle = \"1s\"\n")?;
    let config = config.to_str().ok_or("path")?;
    let mut machines = [Machine::new(&plane, "a"), Machine::new(&plane, "b")];
    for (machine, name) in machines.iter_mut().zip(["a", "b"]) {
        machine.kubeconfig = user(&plane, name)?;
    }
    let mut chance = Chance::new("two machines");
    let watcher = Watcher::start(&plane)?;
    let apply = ["apply", config, "--auto-approve", "--lock-timeout", "300s"];
    let resume = ["apply", config, "--auto-approve", "--resume"];
    let mut ended: Vec<(String, f64)> = Vec::new();
    let mut children = [Some(machines[0].spawn(&apply)?), Some(machines[1].spawn(&apply)?)];
    let mut due = [Instant::now(), Instant::now()].map(|at| at + chance.up_to(Duration::from_secs(12)));
    let (began, mut kills) = (Instant::now(), 0);
    while began.elapsed() < bound {
        std::thread::sleep(Duration::from_millis(50));
        for at in 0..2 {
            let Some(mut child) = children[at].take() else { continue };
            if child.try_wait()?.is_some() {
                // Done, or too late to resume because the other one has taken over: begin anew.
                ended.push((account(["a", "b"][at]), now()));
                children[at] = Some(machines[at].spawn(&apply)?);
            } else if Instant::now() >= due[at] {
                kill(child)?;
                kills += 1;
                due[at] = Instant::now() + Duration::from_secs(1) + chance.up_to(Duration::from_secs(12));
                // Half of the times on with the same run, whose lock is its own; else as a new one, which has to wait.
                let again = if kills % 2 == 0 { &resume[..] } else { &apply[..] };
                children[at] = Some(machines[at].spawn(again)?);
            } else {
                children[at] = Some(child);
            }
        }
    }
    for child in children.into_iter().flatten() {
        kill(child)?;
        kills += 1;
    }
    // The one whose run does not hold the lock finishes, so that it is handed over at least once.
    let lease = plane.get(&["lease", "haulout", "-n", "haulout-system"])?;
    let holder = lease["spec"]["holderIdentity"].as_str().map(str::to_owned);
    let is_holders = |folder: &PathBuf| folder.file_name().and_then(|name| name.to_str()) == holder.as_deref();
    let last = usize::from(!machines[1].runs().iter().any(is_holders));
    let limit = Duration::from_secs(900);
    machines[last].run(&apply, limit)?.expect(0)?;
    ended.push((account(["a", "b"][last]), now()));
    machines[1 - last].run(&apply, Duration::from_secs(60))?.expect(0)?;
    let (_, boots) = watcher.end(&Limits { cluster: 1, pool: 1, zone: 1 })?;
    as_undisturbed(&plane, config, &boots)?;
    let changes = changes(&plane)?;
    let handed_over = one_at_a_time(&changes, &ended)?;
    let of = |name: &str| changes.iter().filter(|change| change.user == account(name) && !change.lock).count();
    let said = format!("{kills} kills, {} changes ({} by a), handed over {handed_over} times", changes.len(), of("a"));
    if of(["a", "b"][last]) == 0 || changes.len() < 50 || (holder.is_some() && handed_over == 0) {
        return Err(format!("{said}: that proves nothing").into());
    }
    eprintln!("{said}");
    Ok(())
}

/// Kept apart, so that a mistake in the proof itself is found without a control plane.
pub(crate) fn the_proof_of_one_at_a_time_finds_two() -> Result<(), Failed> {
    let change = |at: f64, user: &str, lock: bool| Change { at, user: user.to_owned(), lock, what: String::new() };
    let good = [change(1.0, "a", true), change(2.0, "a", false), change(70.0, "b", true), change(71.0, "b", false)];
    if one_at_a_time(&good, &[]).is_err() {
        return Err("a hand-over after silence is no mistake".into());
    }
    let without = [change(1.0, "a", true), change(2.0, "b", false)];
    let early = [change(1.0, "a", true), change(20.0, "b", true)];
    let late = [change(1.0, "a", true), change(70.0, "b", true), change(71.0, "a", false)];
    for (what, bad) in [("no lock", &without[..]), ("early", &early), ("after the hand-over", &late)] {
        if one_at_a_time(bad, &[]).is_ok() {
            return Err(format!("not found: {what}").into());
        }
    }
    Ok(())
}
