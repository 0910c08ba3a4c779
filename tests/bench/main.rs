//! `haulout plan` of a large cluster, beside other ways of reading the same lists from the same API server.
//!
//!     HAULOUT_CONTROLPLANE=$(tests/run --build-only) cargo bench --bench large -- [--check] [--runs N] [--kubectl]
//!
//! A real API server is filled with 5,000 nodes, 150,000 pods and 2,500 budgets. Then whole processes take turns, so
//! that what else the machine does meets both: `haulout plan`, and a plain GET of nodes, pods and budgets in JSON,
//! page by page with `limit=500`, that does nothing with what it reads. With `--kubectl` a `kubectl get -o json` of the
//! same comes first and alone; it alone takes 16 GB. `--check` fails when a limit is missed.
//!
//! With `--rehearse` none of that: `haulout rehearse` of a snapshot of `--nodes` nodes, with so many pods each, is
//! measured alone, and no control plane is needed.
//!
//!     cargo bench --bench large -- --rehearse 10 [--nodes 5000] [--check]
//!
//! Server and clients share the machine. The same lists were seen to cost a server that had stood unchanged for some
//! ten minutes three times the CPU, so the runs are few enough to be done before. Needs Linux, whose `/proc` says what
//! a process has used.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that says what it measured")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

mod get;
mod measure;
mod plane;
mod rehearse;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use measure::{Spent, Spread, spend};
use plane::ControlPlane;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// `plan` may take this part of the time of a plain GET.
const OF_GET: f64 = 0.5;
/// `plan` may take this part of the time of kubectl.
const OF_KUBECTL: f64 = 0.05;
/// `plan` may take this many bytes of memory.
const MEMORY: u64 = 250_000_000;
/// What no process here needs, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Parser)]
struct Arguments {
    /// Fail when a limit is missed.
    #[arg(long)]
    check: bool,
    /// How often each is measured, after one run of each that does not count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Measure kubectl too: 16 GB of memory for the cluster of the default size.
    #[arg(long)]
    kubectl: bool,
    /// How large the cluster is.
    #[arg(long, default_value = "nodes=5000,pods=150000,budgets=2500")]
    fill: String,
    /// Measure a rehearsal instead, with this many pods on each node.
    #[arg(long, value_name = "PODS")]
    rehearse: Option<usize>,
    /// How many nodes are rehearsed.
    #[arg(long, default_value_t = 5000, requires = "rehearse")]
    nodes: usize,
    /// Given by `cargo bench`; without it, as under `cargo test --all-targets`, nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the plain GET, with this kubeconfig.
    #[arg(long, hide = true)]
    get: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.get {
        Some(kubeconfig) => get::run(kubeconfig).map(|()| true),
        None if !arguments.bench => {
            println!("large: measured by `cargo bench --bench large`");
            Ok(true)
        }
        None => run(&arguments),
    };
    match result {
        Ok(good) if good || !arguments.check => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("large: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures a rehearsal, and says whether its limit holds.
fn rehearse(nodes: usize, pods: usize) -> Result<bool, Error> {
    eprintln!("large: rehearsing {nodes} nodes with {pods} pods each");
    let spent = rehearse::run(nodes, pods)?;
    println!("rehearsal of {nodes} nodes with {pods} pods each: {spent}");
    let (cpu, limit) = (spent.cpu.as_secs_f64(), rehearse::CPU_SECONDS);
    let holds = cpu <= limit;
    println!("rehearsal, CPU in s  {cpu:.2}   {} {limit}", if holds { "at most" } else { "MISSED: more than" });
    Ok(holds)
}

/// Measures, and says whether all limits hold.
fn run(arguments: &Arguments) -> Result<bool, Error> {
    if let Some(pods) = arguments.rehearse {
        return rehearse(arguments.nodes, pods);
    }
    eprintln!("large: starting an API server with {}", arguments.fill);
    let plane = ControlPlane::start(&arguments.fill)?;
    let config = plane.config()?;
    let plan = || {
        let spent = spend(plane.command(env!("CARGO_BIN_EXE_haulout")).arg("plan").arg(&config), PATIENCE)?;
        // A plan of nothing would be quick and prove nothing.
        match spent.stdout.lines().find(|line| line.starts_with("Plan: ") && !line.starts_with("Plan: 0 ")) {
            Some(line) => Ok((line.to_owned(), spent)),
            None => Err(Error::from(format!("the plan has no work:\n{}", spent.stdout))),
        }
    };
    let get = || spend(plane.command(std::env::current_exe()?).arg("--get").arg(&plane.kubeconfig), PATIENCE);

    // The largest eater comes first, while nobody else has warmed or filled anything.
    let mut kubectl = Vec::new();
    if arguments.kubectl {
        eprintln!("large: kubectl, alone");
        let arguments = ["kubectl", "get", "nodes,pods,pdb", "-A", "-o", "json"];
        kubectl.push(spend(plane.command(plane::program()?).args(arguments), PATIENCE)?);
    }
    let (planned, _) = plan()?;
    let read = get()?.stdout;
    println!("{}. {planned} A plain GET reads {}.", arguments.fill, read.trim());
    let (mut plans, mut gets, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for run in 1..=arguments.runs {
        let ((_, plan), get) = (plan()?, get()?);
        let ratio = plan.wall.as_secs_f64() / get.wall.as_secs_f64();
        eprintln!("large: run {run}: plan {plan}; plain GET {get}; ratio {ratio:.3}");
        plans.push(plan);
        gets.push(get);
        ratios.push(ratio);
    }

    println!("{:<32}{:>10}{:>10}{:>10}", "", "min", "median", "max");
    table("haulout plan", &plans);
    table("plain GET, limit=500", &gets);
    if !kubectl.is_empty() {
        table("kubectl get -o json, once", &kubectl);
    }
    let mut good = true;
    let mut hold = |what: &str, spread: &Spread, judged: f64, limit: f64| {
        let holds = judged <= limit;
        good &= holds;
        println!("{what:<32}{spread:.3}   {} {limit}", if holds { "at most" } else { "MISSED: more than" });
    };
    // Of times the median is judged, because a busy neighbour is not the plan's doing; of memory the worst.
    let ratios = Spread::of(ratios);
    hold("plan / plain GET, wall", &ratios, ratios.median, OF_GET);
    if let Some(kubectl) = kubectl.first() {
        let ratios = Spread::of(plans.iter().map(|plan| plan.wall.as_secs_f64() / kubectl.wall.as_secs_f64()));
        hold("plan / kubectl, wall", &ratios, ratios.median, OF_KUBECTL);
    }
    let memory = Spread::of(plans.iter().map(|plan| plan.peak as f64 / 1e6));
    hold("plan, peak memory in MB", &memory, memory.max, MEMORY as f64 / 1e6);
    Ok(good)
}

fn table(what: &str, all: &[Spent]) {
    let row = |name: &str, value: fn(&Spent) -> f64| println!("  {name:<30}{:.2}", Spread::of(all.iter().map(value)));
    println!("{what}");
    row("wall, s", |spent| spent.wall.as_secs_f64());
    row("CPU, s", |spent| spent.cpu.as_secs_f64());
    row("peak memory, MB", |spent| spent.peak as f64 / 1e6);
}
