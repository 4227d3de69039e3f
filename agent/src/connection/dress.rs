//! What an endpoint is to see before the application's first byte: whose connection it is, and TLS.
//!
//! Both go to the application, by whatever hop: inside the mesh's own tunnel where there is one.

use super::failed::{At, Failed};
use super::requests::Io;
use super::{CONNECT, Mesh};
use crate::model::CredentialId;
use crate::model::proxy_tunnel::ProxyTunnel;
use crate::model::traffic_policy::{ClientTls, ProxyProtocol};
use crate::relay::http::through::through;
use crate::relay::proxy_protocol;
use crate::route::Upstream;
use crate::tunnel::origination::Inside;
use crate::vocab::{Hostname, OrigDst, PeerAddr, Stage};
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// What is put around a stream. Streams that are dressed alike may be shared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dress {
    /// TLS, to this host.
    tls: Option<(ClientTls, Hostname)>,
    /// The PROXY protocol: the client and the address that it used.
    proxy: Option<(ProxyProtocol, SocketAddr, SocketAddr)>,
    /// The endpoint is a proxy, which is asked for the connection.
    tunnel: Option<ProxyTunnel>,
}

impl Dress {
    /// What the rules in force ask for, for a client's connection; none for most.
    pub fn of(upstream: &Upstream, client: PeerAddr, used: OrigDst) -> Option<Box<Self>> {
        let tls = upstream.policy.tls.as_ref().filter(|tls| tls.originates());
        let tls = tls.map(|tls| (tls.clone(), upstream.service.host.clone()));
        let proxy = upstream.policy.proxy_protocol.map(|version| (version, client.socket(), used.socket()));
        (tls.is_some() || proxy.is_some()).then(|| Box::new(Self { tls, proxy, tunnel: None }))
    }

    /// What they ask for a connection of bytes: a proxy, too. As in Istio, requests are not taken through one.
    pub fn of_bytes(upstream: &Upstream, client: PeerAddr, used: OrigDst) -> Option<Box<Self>> {
        let dress = Self::of(upstream, client, used);
        if upstream.policy.tunnel.is_none() {
            return dress;
        }
        let mut dress = dress.unwrap_or_default();
        dress.tunnel.clone_from(&upstream.policy.tunnel);
        Some(dress)
    }

    /// Puts it around a stream to an application that speaks this inside.
    ///
    /// # Errors
    /// The stage and reason; nothing of the application was sent.
    pub async fn put_on(&self, mesh: &Mesh, inside: Inside, mut io: Io) -> Result<Io, Failed> {
        if let Some((version, client, used)) = self.proxy {
            io.write_all(&proxy_protocol::header(version, client, used)).await.at(Stage::Tunnel, "CONNECT")?;
            io.flush().await.at(Stage::Tunnel, "CONNECT")?;
        }
        if let Some((tls, host)) = &self.tls {
            io = secured(mesh, (tls, host), inside, io).await?;
        }
        match &self.tunnel {
            Some(tunnel) => proxied(tunnel, io).await,
            None => Ok(io),
        }
    }
}

async fn secured(mesh: &Mesh, (tls, host): (&ClientTls, &Hostname), inside: Inside, io: Io) -> Result<Io, Failed> {
    let credentials = mesh.snapshots.load().credentials.clone();
    let find = |id: &CredentialId| credentials.get(id).cloned();
    let connecting = mesh.originator.connect((tls, host.as_str(), inside), &find, io);
    match timeout(CONNECT, connecting).await {
        Ok(connected) => connected.at(Stage::Tunnel, "TLS_FAILURE").map(|stream| Io::Tls(Box::new(stream))),
        Err(_) => Err(Failed::new(Stage::Tunnel, "TLS_FAILURE", format!("no TLS handshake within {CONNECT:?}"))),
    }
}

async fn proxied(tunnel: &ProxyTunnel, io: Io) -> Result<Io, Failed> {
    match timeout(CONNECT, through(io, tunnel)).await {
        Ok(connected) => connected.at(Stage::Tunnel, "CONNECT").map(Io::Through),
        Err(_) => Err(Failed::new(Stage::Tunnel, "CONNECT", format!("the proxy does not answer within {CONNECT:?}"))),
    }
}
