//! `haulout node agent` and `haulout node reboot`: what runs on nodes.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::cli::args::{Node, NodeAgent, NodeReboot};
use crate::cli::connect::Environment;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::cli::signal;
use crate::node::{self, AgentArgs, AgentNews, DEFAULT_SENTINELS, Ended, LinuxHost, Places, RebootArgs};
use crate::provider::kubernetes;

pub(in crate::cli) async fn run(args: &Node, output: &Output) -> Result<Exit, Failure> {
    match args {
        Node::Agent(args) => agent(args, output).await,
        Node::Reboot(args) => reboot(args, output).await,
    }
}

async fn agent(args: &NodeAgent, output: &Output) -> Result<Exit, Failure> {
    let interval = std::time::Duration::try_from(args.interval)
        .ok()
        .filter(|interval| !interval.is_zero())
        .ok_or_else(|| Failure::input("the interval must be longer than nothing", "such as --interval 60s"))?;
    let sentinels = if args.sentinel.is_empty() {
        DEFAULT_SENTINELS.iter().map(Into::into).collect()
    } else {
        args.sentinel.clone()
    };
    let places = Places { host_root: args.host_root.clone(), sentinels, ..Places::default() };
    let cluster = kubernetes::connect(Environment::read(None).pod_access(), "node-agent", None).await?;
    let stop = CancellationToken::new();
    let _listening = signal::stop(stop.clone())?;
    let news = |news: AgentNews<'_>| match news {
        AgentNews::Written(report) => {
            output.say(&format!("reported: {:?}, boot id {}", report.reboot, report.boot_id));
        }
        AgentNews::NotWritten(error, again) => {
            output.say(&format!(
                "failed to {}; trying again in {}s",
                crate::model::sanitise(&error.to_string()),
                again.as_secs()
            ));
        }
        AgentNews::NotExamined(error, again) => {
            output.say(&format!(
                "failed to {}; looking again in {}s",
                crate::model::sanitise(&error.to_string()),
                again.as_secs()
            ));
        }
    };
    let agent = AgentArgs { node: args.node.clone(), places, interval };
    node::agent(cluster.as_ref(), &agent, &stop, news).await;
    Ok(Exit::Ok)
}

async fn reboot(args: &NodeReboot, output: &Output) -> Result<Exit, Failure> {
    if args.armed {
        return Ok(if node::is_armed(Path::new(kubernetes::ARMED_FILE)) { Exit::Ok } else { Exit::Error });
    }
    let NodeReboot {
        armed: _,
        node: Some(name),
        node_uid: Some(node_uid),
        boot_id: Some(boot_id),
        run: Some(run),
        not_after: Some(not_after),
        method: Some(method),
    } = args.clone()
    else {
        // clap has required them all where --armed is not given.
        return Err(Failure::input("arguments are missing", "see haulout node reboot --help"));
    };
    let cluster = kubernetes::connect(Environment::read(None).pod_access(), "node-reboot", None).await?;
    let asked = RebootArgs { node: name, node_uid, boot_id, run, not_after, method };
    match node::reboot(cluster.as_ref(), &LinuxHost::default(), asked).await? {
        Ended::AlreadyRebooted { boot_id } => output.say(&format!("the node has booted already, boot id {boot_id}")),
    }
    Ok(Exit::Ok)
}
