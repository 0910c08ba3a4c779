//! `haulout sandbox`: simulated clusters on loopback.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::args::Sandbox;
use crate::cli::connect::Connections;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::output::Output;
use crate::cli::sandbox::{self, Patience, Place};
use crate::cli::{load, signal};
use crate::config::{self, Reach};
use crate::model::{ClusterName, Secret, sanitise};
use crate::provider::clock;
use crate::twin::{self, Access};

/// How a kubeconfig that may be replaced begins.
const MADE_HERE: &str = "# Made by haulout sandbox; it works for as long as that runs.\n";

/// A simulated cluster that is to be served.
struct Wanted {
    folder: PathBuf,
    name: ClusterName,
    file: PathBuf,
}

pub(in crate::cli) async fn run(args: &Sandbox, output: &Output) -> Result<Exit, Failure> {
    let wanted = wanted(args, output)?;
    if args.port.is_some() && wanted.len() > 1 {
        return Err(Failure::input(
            format!("--port is for one cluster, and {} would be served", wanted.len()),
            "choose one with --cluster, or leave the ports to haulout",
        ));
    }
    let stop = CancellationToken::new();
    // Listened for before anything is served: from the first line on, Ctrl-C ends it cleanly.
    let _listening = signal::stop(stop.clone())?;
    let mut serving = JoinSet::new();
    let mut entries = Vec::new();
    for Wanted { folder, name, file } in &wanted {
        let place = Place { folder, name, file, kept: !args.ephemeral };
        let running = sandbox::open(&place, Patience::None, output).await?;
        let access = Arc::new(Access::make(clock::now())?);
        let (listener, address) = bind(args.port).await?;
        entries.push(access.kubeconfig_entry(&format!("sandbox-{name}"), address));
        output.say(&format!("Simulated cluster {name} is served at https://{address} as context sandbox-{name}."));
        match place.state_file() {
            Some(kept) => output.say(&format!("  Its state is kept in {}.", sanitise(&kept.display().to_string()))),
            None => output.say("  Nothing of it is kept."),
        }
        let stop = stop.clone();
        serving.spawn(async move { twin::serve(listener, running.sandbox(), access, stop).await });
    }
    let text = format!("{MADE_HERE}{}", twin::kubeconfig(&entries).expose());
    match &args.kubeconfig {
        Some(file) => {
            write(file, &Secret::new(text))?;
            let shown = sanitise(&file.display().to_string()).to_string();
            output.say(&format!("Try: kubectl --kubeconfig {shown} get nodes"));
        }
        None => output
            .data(&text)
            .map_err(|error| Failure::io("print the kubeconfig", &error, "give a file with --kubeconfig"))?,
    }
    output.say("Ctrl-C ends it.");
    while let Some(ended) = serving.join_next().await {
        let ended = ended.unwrap_or_else(|error| Err(std::io::Error::other(error.to_string())));
        ended.map_err(|error| Failure::io("serve the simulated cluster", &error, "start it again"))?;
    }
    Ok(Exit::Ok)
}

/// The clusters that a path means.
fn wanted(args: &Sandbox, output: &Output) -> Result<Vec<Wanted>, Failure> {
    let described = args.path.join("cluster.toml");
    let path = match args.path.is_dir() {
        true if !args.path.join("haulout.toml").exists() && described.exists() => described,
        _ => load::file_of(&args.path),
    };
    if is_description(&path)? {
        if let Some(name) = args.cluster.first() {
            return Err(Failure::input(
                format!("--cluster {} chooses from a config, and this is one cluster's description", sanitise(name)),
                "leave --cluster out",
            ));
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = ClusterName::new(&stem).map_err(|error| {
            Failure::input(
                format!("a simulated cluster is called as its file, and {} is no name: {error}", sanitise(&stem)),
                "rename the file, or name the cluster in a config",
            )
        })?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = path.file_name().unwrap_or_default().into();
        return Ok(vec![Wanted { folder: folder.to_owned(), name, file }]);
    }
    let loaded = load::config(&path, output)?;
    let mut wanted = Vec::new();
    for name in Connections::wanted(&loaded.config, &args.cluster)? {
        match loaded.config.clusters.get(&name).map(|cluster| &cluster.reach) {
            Some(Reach::Sandbox(file)) => {
                wanted.push(Wanted { folder: loaded.folder.clone(), name, file: file.clone() });
            }
            _ if args.cluster.is_empty() => {}
            _ => {
                return Err(Failure::input(
                    format!("cluster {name} of the config is a real one"),
                    "only clusters with `sandbox =` can be served",
                ));
            }
        }
    }
    if wanted.is_empty() {
        return Err(Failure::input(
            "the config has no simulated cluster",
            "name a cluster.toml, or a config with `sandbox = \"cluster.toml\"`",
        ));
    }
    Ok(wanted)
}

/// Whether a file describes a simulated cluster; anything else is read as a config, whose errors say more.
fn is_description(path: &Path) -> Result<bool, Failure> {
    let bytes = load::read(
        path,
        "config or description of a simulated cluster",
        config::MAX_BYTES as u64,
        "check the path: a cluster.toml, a config, or a folder with one of them",
    )?;
    let table = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse::<toml::Table>().ok());
    Ok(table.is_some_and(|table| table.contains_key("manifests")))
}

async fn bind(port: Option<u16>) -> Result<(TcpListener, SocketAddr), Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(0)));
    let failed = |error: &std::io::Error| {
        Failure::io(format!("listen on {address}"), error, "choose another --port, or none: one that is free is taken")
    };
    let listener = TcpListener::bind(address).await.map_err(|error| failed(&error))?;
    let bound = listener.local_addr().map_err(|error| failed(&error))?;
    Ok((listener, bound))
}

/// Writes the kubeconfig, for its owner only and at once. A kubeconfig of somebody else's is left alone.
fn write(file: &Path, text: &Secret) -> Result<(), Failure> {
    let shown = sanitise(&file.display().to_string()).to_string();
    let failed = |error: &std::io::Error| {
        Failure::io(format!("write the kubeconfig {shown}"), error, "name a file in a folder that can be written")
    };
    if file.symlink_metadata().is_ok() {
        let known = load::read(file, "kubeconfig", config::MAX_BYTES as u64, "it was deleted just now; try again")?;
        if !known.is_empty() && !known.starts_with(MADE_HERE.as_bytes()) {
            return Err(Failure::input(
                format!("{shown} exists and was not made by haulout sandbox"),
                "name another file; it would be replaced",
            ));
        }
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let next = file.with_file_name(name);
    let result = (|| {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut new = options.open(&next)?;
        let written = new.write_all(text.expose().as_bytes()).and_then(|()| std::fs::rename(&next, file));
        if written.is_err() {
            // What is left of the try holds the token; that it cannot be removed changes nothing about the error.
            let _ = std::fs::remove_file(&next);
        }
        written
    })();
    result.map_err(|error| failed(&error))
}
