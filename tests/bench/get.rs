//! The peer: every page of the same lists, one after the other, read to its last byte and thrown away.
//!
//! It is what a script around `curl` would do, with a client that costs less than one: HTTP/1.1, a single connection, and
//! no look at anything but the token of the next page.

use std::path::Path;

use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::Error;

const LISTS: [&str; 3] = ["/api/v1/nodes", "/api/v1/pods", "/apis/policy/v1/poddisruptionbudgets"];
/// The metadata of a list, its token included, stand at its head and are shorter than this.
const HEAD: usize = 4096;

#[tokio::main]
pub(crate) async fn run(kubeconfig: &Path) -> Result<(), Error> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let (mut pages, mut bytes) = (0, 0);
    for list in LISTS {
        let mut token = String::new();
        loop {
            let (read, next) = page(&client, list, &token).await?;
            pages += 1;
            bytes += read;
            let Some(next) = next else { break };
            token = next;
        }
    }
    println!("{} MB in {pages} pages", bytes / 1_000_000);
    Ok(())
}

/// Reads one page: how long it is, and where the next one begins.
async fn page(client: &Client, list: &str, token: &str) -> Result<(usize, Option<String>), Error> {
    // Tokens are base64 without padding for URLs: nothing in them needs to be escaped.
    let more = if token.is_empty() { String::new() } else { format!("&continue={token}") };
    let request = http::Request::get(format!("{list}?limit=500{more}"))
        .header(http::header::ACCEPT, "application/json")
        .header(http::header::USER_AGENT, "plain-get")
        .body(Body::empty())?;
    let response = client.send(request).await?;
    if !response.status().is_success() {
        return Err(format!("GET {list}: {}", response.status()).into());
    }
    let mut body = response.into_body();
    let (mut length, mut head) = (0, Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        length += data.len();
        let wanted = HEAD.saturating_sub(head.len());
        head.extend_from_slice(&data[..data.len().min(wanted)]);
    }
    let head = String::from_utf8_lossy(&head);
    let (metadata, _) = head.split_once("\"items\":").ok_or_else(|| format!("GET {list}: no list"))?;
    let next = metadata.split_once("\"continue\":\"").and_then(|(_, rest)| rest.split_once('"'));
    Ok((length, next.map(|(token, _)| token.to_owned())))
}
