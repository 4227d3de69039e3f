//! The server: listens on the ports of a file, also on those that are added later.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use crate::options::Options;
use crate::{http, tcp};

/// Serves until it is ended.
pub async fn serve(options: &Options) -> Result<Value> {
    let file = options.required("ports-file")?.to_owned();
    let prefix = options.text("prefix").unwrap_or_default().to_owned();
    let mut open = BTreeSet::new();
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if open.insert(line.to_owned()) {
                listen(line, &prefix).await.with_context(|| line.to_owned())?;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn listen(line: &str, prefix: &str) -> Result<()> {
    let (kind, port) = line.split_once(' ').context("a line is `http PORT` or `tcp PORT`")?;
    // Also takes IPv4, as most runtimes' servers do (net.ipv6.bindv6only=0).
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port.parse()?)).await?;
    let prefix = (kind == "tcp").then(|| prefix.to_owned());
    tokio::spawn(accept(listener, prefix));
    Ok(())
}

async fn accept(listener: TcpListener, prefix: Option<String>) {
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            // Out of descriptors: those in use come back.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        match prefix.clone() {
            Some(prefix) => drop(tokio::spawn(async move { tcp::echo(stream, &prefix).await })),
            None => drop(tokio::spawn(requests(stream, client))),
        }
    }
}

async fn requests(stream: TcpStream, client: SocketAddr) {
    let Ok(local) = stream.local_addr() else { return };
    let ends = http::Ends { client: plain(client), local: plain(local) };
    let service = service_fn(move |request| http::answer(request, ends));
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
