//! What may be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::{BootId, NodeName, RebootMethod, RunId, Uid};

/// Plan and apply maintenance on Kubernetes clusters: say what state you want, see what would be done, then do it
///
/// haulout reads the maintenance state that you want from a TOML file (no node waits for a reboot; this node is out of
/// service), looks at the live clusters, and plans cordons, drains, reboots and uncordons under your limits and
/// disruption budgets. Nothing is changed before you have seen the plan and said yes.
#[derive(Debug, Parser)]
#[command(name = "haulout", version, propagate_version = true, disable_help_subcommand = true, after_help = EXAMPLES)]
pub(super) struct Cli {
    /// When to use colour
    #[arg(long, value_enum, default_value_t = Colour::Auto, global = true, value_name = "WHEN")]
    pub(super) color: Colour,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  haulout validate                 check ./haulout.toml, with every problem at once
  haulout plan                     show what would be done, and change nothing
  haulout apply                    show it, ask, do it
  haulout plan --detailed-exitcode exit 2 when something is to do, for pipelines

Exit codes:
  0 fine   1 error   2 something is to do (plan --detailed-exitcode)   3 fmt --check differs
  4 nothing could be done (all blocked or unknown)   5 locked by another run   7 interrupted
  8 some steps failed   9 done, but something wanted remains   64 wrong usage";

/// What stands below the help of `rehearse`.
fn rehearse_help() -> String {
    let faults = crate::rehearse::FAULTS.map(|(name, what)| format!("  {:<23}{what}\n", format!("{name}=N")));
    format!(
        "Faults, each for the first N nodes of the plan that it can befall:\n{}\n\
         Exits 1 when not everything planned was done.\n\n\
         Examples:\n  haulout rehearse\n  haulout rehearse --fault node-never-returns=1 --fault eviction-denied=2\n  \
         haulout rehearse --snapshot prod.json --now 2026-11-23T22:00:00Z --junit report.xml",
        faults.concat()
    )
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Check a config, and the files of its simulated clusters, without looking at any cluster
    #[command(after_help = "Examples:\n  haulout validate\n  haulout validate clusters/prod/haulout.toml")]
    Validate(ConfigPath),
    /// Rewrite a config in its canonical layout; comments stay
    #[command(
        after_help = "Examples:\n  haulout fmt\n  haulout fmt --check    exit 3 if it is not in its canonical layout\n  haulout fmt --diff     show what would change, and change nothing"
    )]
    Fmt(Fmt),
    /// Print the JSON Schema of a format
    #[command(
        after_help = "Examples:\n  haulout schema config > config.v1.json\n\nThe first line of a config can name it for editors:\n  #:schema ./config.v1.json"
    )]
    Schema(Schema),
    /// Show what would be done, and change nothing
    #[command(
        after_help = "Examples:\n  haulout plan\n  haulout plan --target node/aks-np1-000003\n  haulout plan --format json | jq .summary\n  haulout plan --snapshot prod.json --now 2026-11-23T22:00:00Z   plan without any network"
    )]
    Plan(Plan),
    /// Do what is wanted: plan, show, ask, execute, look again
    #[command(
        after_help = "Examples:\n  haulout apply\n  haulout apply --auto-approve               for pipelines\n  haulout apply --target pool/np1\n  haulout apply --resume                     go on with a run that was killed here"
    )]
    Apply(Apply),
    /// Show who holds each cluster's lock, which nodes runs have marked, and what to do next
    #[command(
        after_help = "Examples:\n  haulout status\n  haulout status abandon 20261123-220000-1a2b3c   give a dead run up"
    )]
    Status(Status),
    /// Try the plan on a simulated copy of the clusters, in seconds, and tell what would happen
    ///
    /// The real executor does the plan on a copy of what was observed: the timeline, evictions and restarts per pod, the
    /// least healthy moment of every disruption budget, what blocks, and when it would end. Nothing is changed. Of pods a
    /// copy knows labels, owners and graces, not what they ask of their nodes.
    #[command(after_help = rehearse_help())]
    Rehearse(Rehearse),
    /// Write what is observed of a cluster, as JSON
    #[command(
        after_help = "Examples:\n  haulout snapshot --cluster prod > prod.json\n  haulout plan --snapshot prod.json --now 2026-11-23T22:00:00Z"
    )]
    Snapshot(Snapshot),
    /// Examine whether everything is there that planning and applying need, and change nothing
    #[command(
        after_help = "Examples:\n  haulout doctor\n  haulout doctor --for plan       for an identity that only plans, such as that of a pull request's pipeline\n\nExit codes: 0 no problem found, 1 at least one"
    )]
    Doctor(Doctor),
    /// Serve a simulated cluster on loopback, for kubectl and haulout
    #[command(after_help = SANDBOX)]
    Sandbox(Sandbox),
    /// What runs on nodes, in pods that haulout or deploy/ creates
    #[command(subcommand)]
    Node(Node),
}

#[derive(Debug, Args)]
pub(super) struct ConfigPath {
    /// The config, or the folder it is in
    #[arg(value_name = "PATH", default_value = "haulout.toml")]
    pub(super) path: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Fmt {
    #[command(flatten)]
    pub(super) config: ConfigPath,
    /// Change nothing; exit 3 if the file is not in its canonical layout
    #[arg(long)]
    pub(super) check: bool,
    /// Change nothing; print what would change as a unified diff
    #[arg(long)]
    pub(super) diff: bool,
}

#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Which format
    #[arg(value_enum, default_value_t = SchemaOf::Config)]
    pub(super) of: SchemaOf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemaOf {
    /// The config file
    Config,
    /// The file that describes a simulated cluster
    Sandbox,
    /// What `plan --format json` prints
    Plan,
    /// The journal of a run
    Run,
    /// What `snapshot` writes
    Snapshot,
}

#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Only these: NODE, node/NODE, pool/POOL, CLUSTER/node/NODE or CLUSTER/pool/POOL; may be repeated
    #[arg(long, value_name = "WHAT")]
    pub(super) target: Vec<String>,
    /// All but these; may be repeated
    #[arg(long, value_name = "WHAT")]
    pub(super) exclude: Vec<String>,
    /// Only this cluster of the config; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: Vec<String>,
}

impl Selection {
    /// As the planner takes it. Clusters are chosen before anything is observed.
    pub(super) fn to_plan(&self) -> crate::plan::Selection {
        crate::plan::Selection {
            target: self.target.clone(),
            exclude: self.exclude.clone(),
            ..crate::plan::Selection::default()
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Reach {
    /// The kubeconfig to use, in place of KUBECONFIG and the default one
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Plan {
    #[command(flatten)]
    pub(super) config: ConfigPath,
    #[command(flatten)]
    pub(super) selection: Selection,
    #[command(flatten)]
    pub(super) reach: Reach,
    /// In which form to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(super) format: Format,
    /// Exit 2 when something is to do, blocked or unknown; 0 only when it is proved that nothing is
    #[arg(long)]
    pub(super) detailed_exitcode: bool,
    #[command(flatten)]
    pub(super) from: FromSnapshot,
}

#[derive(Debug, Args)]
pub(super) struct FromSnapshot {
    /// Plan from what `haulout snapshot` wrote, with no network; may be repeated, one per cluster
    #[arg(long, value_name = "FILE")]
    pub(super) snapshot: Vec<PathBuf>,
    /// The moment to plan for, with --snapshot: RFC 3339, such as 2026-11-23T22:00:00Z; default: when it was taken
    #[arg(long, value_name = "TIME", requires = "snapshot")]
    pub(super) now: Option<jiff::Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// For programs: see `haulout schema plan`
    Json,
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    #[command(flatten)]
    pub(super) config: ConfigPath,
    #[command(flatten)]
    pub(super) selection: Selection,
    #[command(flatten)]
    pub(super) reach: Reach,
    /// Do not ask
    #[arg(long)]
    pub(super) auto_approve: bool,
    /// Go on with a run of this machine that was killed or interrupted; without RUN, the newest one of this config
    #[arg(long, value_name = "RUN", num_args = 0..=1, conflicts_with_all = ["target", "exclude", "cluster"],
          value_parser = run_to_resume)]
    pub(super) resume: Option<Option<RunId>>,
    /// How long to wait for a cluster that another run has locked, such as 90s
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = patience)]
    pub(super) lock_timeout: jiff::SignedDuration,
}

/// A run's id. What follows `--resume` is taken for one, so that a config put there needs to be told where it belongs.
fn run_to_resume(text: &str) -> Result<RunId, String> {
    RunId::new(text).map_err(|error| {
        let shown = crate::model::sanitise(text);
        let is_path = text.contains(['/', '.', '\\']) || std::path::Path::new(text).exists();
        if is_path { format!("a config comes first: haulout apply {shown} --resume [RUN]") } else { error.to_string() }
    })
}

fn patience(text: &str) -> Result<jiff::SignedDuration, String> {
    /// Nobody waits longer, and clocks can be added to.
    const MOST: jiff::SignedDuration = jiff::SignedDuration::from_hours(30 * 24);
    let expected = || "expected a duration such as 90s or 15m, of 30 days at most".to_owned();
    let duration: jiff::SignedDuration = text.parse().map_err(|_| expected())?;
    if duration.is_negative() || duration > MOST { Err(expected()) } else { Ok(duration) }
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Status {
    #[command(subcommand)]
    pub(super) what: Option<StatusVerb>,
    #[command(flatten)]
    pub(super) config: ConfigPath,
    /// Only this cluster of the config; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: Vec<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

#[derive(Debug, Subcommand)]
pub(super) enum StatusVerb {
    /// Give a dead run up: remove its reboot pods, uncordon its nodes, name what is left
    #[command(after_help = "Examples:\n  haulout status abandon 20261123-220000-1a2b3c")]
    Abandon(Abandon),
}

#[derive(Debug, Args)]
pub(super) struct Abandon {
    /// The run
    #[arg(value_name = "RUN", value_parser = |text: &str| RunId::new(text))]
    pub(super) run: RunId,
    #[command(flatten)]
    pub(super) config: ConfigPath,
    #[command(flatten)]
    pub(super) reach: Reach,
    /// Do not ask
    #[arg(long)]
    pub(super) auto_approve: bool,
    /// How long to wait for a cluster that another run has locked, such as 90s
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = patience)]
    pub(super) lock_timeout: jiff::SignedDuration,
}

#[derive(Debug, Args)]
pub(super) struct Rehearse {
    #[command(flatten)]
    pub(super) config: ConfigPath,
    #[command(flatten)]
    pub(super) selection: Selection,
    #[command(flatten)]
    pub(super) reach: Reach,
    /// Let something go wrong: NAME=NUMBER, see below; may be repeated
    #[arg(long, value_name = "FAULT", value_parser = |text: &str| text.parse::<crate::rehearse::Fault>())]
    pub(super) fault: Vec<crate::rehearse::Fault>,
    /// Also write the outcome of each node as a test case, in JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    #[command(flatten)]
    pub(super) from: FromSnapshot,
}

#[derive(Debug, Args)]
pub(super) struct Snapshot {
    #[command(flatten)]
    pub(super) config: ConfigPath,
    /// Which cluster of the config; needed where it has several
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: Option<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    pub(super) config: ConfigPath,
    /// Only this cluster of the config; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: Vec<String>,
    #[command(flatten)]
    pub(super) reach: Reach,
    /// What the identity is for: nothing is asked of one that only plans but what planning needs
    #[arg(long = "for", value_enum, default_value_t = Purpose::Apply, value_name = "VERB")]
    pub(super) purpose: Purpose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Purpose {
    /// To plan
    Plan,
    /// To plan and to apply
    Apply,
}

const SANDBOX: &str = "\
The kubeconfig, with the token without which nobody gets in, is printed to stdout, or written with
--kubeconfig. What happens in the cluster is kept in .haulout/ beside the config or description,
and goes on from there next time.

What kubectl 1.37 can do with it:
  get        as a table, -o wide, json, yaml, name, jsonpath; -l, --field-selector, -A, --watch
  describe   node, pod and the others below
  cordon, uncordon, drain --ignore-daemonsets, taint
  label, annotate, patch (strategic, merge, json), replace -f
  apply -f   also --server-side and --dry-run=server; create -f; delete, which waits
  wait, rollout status, events, auth can-i, api-resources, version
Kinds:
  Node Pod Namespace Service ServiceAccount ConfigMap Event Lease Deployment ReplicaSet
  StatefulSet DaemonSet Job PodDisruptionBudget PriorityClass PersistentVolume
  PersistentVolumeClaim StorageClass CSINode VolumeAttachment CertificateSigningRequest
  Role RoleBinding ClusterRole ClusterRoleBinding (stored, not enforced)
Anything else, such as logs, exec or scale, is answered with a 404 that names it. Fields that
nothing in the cluster reads are kept and not checked. Commands that send protobuf (create
deployment and its like) are refused, saying what to do:
  kubectl create ... --dry-run=client -o yaml | kubectl apply -f -

Examples:
  haulout sandbox --kubeconfig demo.kubeconfig &    the simulated clusters of ./haulout.toml
  kubectl --kubeconfig demo.kubeconfig get nodes
  haulout sandbox cluster.toml --ephemeral --port 16443 > demo.kubeconfig";

#[derive(Debug, Args)]
pub(super) struct Sandbox {
    /// A description of a simulated cluster (cluster.toml), a config whose clusters are simulated, or a folder with
    /// haulout.toml or else cluster.toml
    #[arg(value_name = "PATH", default_value = ".")]
    pub(super) path: PathBuf,
    /// Only this cluster of the config; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(super) cluster: Vec<String>,
    /// The port on 127.0.0.1; default: one that is free
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: Option<u16>,
    /// Write the kubeconfig to this file, readable for you only, and not to stdout
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Begin anew and keep nothing: neither read nor write the state beside the config or description
    #[arg(long)]
    pub(super) ephemeral: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Node {
    /// Report on the node whether it waits for a reboot (runs in the DaemonSet of deploy/agent.yaml)
    Agent(NodeAgent),
    /// Reboot the node when its Node object says so (runs in the pod that `apply` creates)
    Reboot(NodeReboot),
}

#[derive(Debug, Args)]
pub(super) struct NodeAgent {
    /// The node that it runs on
    #[arg(long, env = "NODE_NAME", value_parser = |text: &str| NodeName::new(text))]
    pub(super) node: NodeName,
    /// Where the host's files are mounted
    #[arg(long, default_value = "/host", value_name = "FOLDER")]
    pub(super) host_root: PathBuf,
    /// A file whose presence asks for a reboot, as on the host; may be repeated
    /// [default: /var/run/reboot-required and /run/reboot-required]
    #[arg(long, value_name = "FILE")]
    pub(super) sentinel: Vec<PathBuf>,
    /// How often to look, such as 60s
    #[arg(long, default_value = "60s", value_parser = |text: &str| text.parse::<jiff::SignedDuration>())]
    pub(super) interval: jiff::SignedDuration,
}

#[derive(Debug, Clone, Args)]
pub(super) struct NodeReboot {
    /// Only say by the exit code whether the reboot pod is armed (its readiness probe)
    #[arg(long, exclusive = true)]
    pub(super) armed: bool,
    /// The node that it runs on
    #[arg(long, required_unless_present = "armed", value_parser = |text: &str| NodeName::new(text))]
    pub(super) node: Option<NodeName>,
    /// The UID of its Node object
    #[arg(long, required_unless_present = "armed", value_parser = |text: &str| Uid::new(text))]
    pub(super) node_uid: Option<Uid>,
    /// The boot id that may be ended
    #[arg(long, required_unless_present = "armed", value_parser = |text: &str| BootId::new(text))]
    pub(super) boot_id: Option<BootId>,
    /// The run that asks
    #[arg(long, required_unless_present = "armed", value_parser = |text: &str| RunId::new(text))]
    pub(super) run: Option<RunId>,
    /// Nothing is done after this moment
    #[arg(long, required_unless_present = "armed", value_name = "TIME")]
    pub(super) not_after: Option<jiff::Timestamp>,
    /// How to reboot
    #[arg(long, required_unless_present = "armed", value_parser = method)]
    pub(super) method: Option<RebootMethod>,
}

fn method(text: &str) -> Result<RebootMethod, String> {
    match text {
        "signal" => Ok(RebootMethod::Signal),
        "command" => Ok(RebootMethod::Command),
        other => Err(format!("{} is neither signal nor command", crate::model::sanitise(other))),
    }
}

/// The arguments as typed, for the parser.
pub(super) fn typed() -> Vec<OsString> {
    std::env::args_os().collect()
}
