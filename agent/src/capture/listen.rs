//! The listeners in a pod's network namespace, and accepting from them.

use super::load::Programs;
use super::{Accept, Captured, INBOUND_PORT, Netns, OUTBOUND_PORT, Pod};
use crate::vocab::{OrigDst, PeerAddr};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// After an error that is not about one connection (EMFILE), before the next try.
const PAUSE: Duration = Duration::from_millis(20);

/// A pod's listeners; `None` for a family that its namespace lacks.
pub struct Listeners {
    /// On the pod's loopback.
    pub outbound: Vec<TcpListener>,
    /// What `sk_lookup` leads to, by family.
    pub inbound: Vec<TcpListener>,
}

/// Opens a pod's listeners.
///
/// # Errors
/// A port is taken: an application of the pod listens on 15001 or 15006.
pub fn open(netns: &Netns) -> io::Result<Listeners> {
    let open = |port| {
        let v4 = listener(netns, (Ipv4Addr::LOCALHOST, port).into())?;
        let v6 = listener(netns, (Ipv6Addr::LOCALHOST, port).into());
        Ok::<_, io::Error>(std::iter::once(v4).chain(v6.ok()).collect())
    };
    Ok(Listeners { outbound: open(OUTBOUND_PORT)?, inbound: open(INBOUND_PORT)? })
}

fn listener(netns: &Netns, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = netns.within(|| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Accepted sockets inherit it (Linux); a system call per connection less.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    });
    let named = |error: io::Error| io::Error::new(error.kind(), format!("listening on {address} in the pod: {error}"));
    TcpListener::from_std(socket.map_err(named)?.into())
}

/// Accepts what the pod's applications dial. A connection without an original destination on record was made to the
/// agent's port itself: it is refused.
pub async fn outbound(listener: TcpListener, pod: Arc<Pod>, programs: Arc<Programs>, accept: Arc<dyn Accept>) {
    loop {
        let Some((stream, peer)) = next(&listener).await else {
            continue;
        };
        let Some(original) = programs.original(pod.netns().cookie(), peer) else {
            tracing::warn!(pod = %pod.id(), %peer, "refused: a connection to the agent's own port");
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            continue;
        };
        let (original, peer) = (OrigDst::new(original), PeerAddr::new(peer));
        accept.outbound(Captured { stream, pod: Arc::clone(&pod), original, peer });
    }
}

/// Accepts what comes to the pod. The accepted socket's local address is the original destination.
pub async fn inbound(listener: TcpListener, pod: Arc<Pod>, accept: Arc<dyn Accept>) {
    loop {
        let Some((stream, peer)) = next(&listener).await else {
            continue;
        };
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        let (original, peer) = (OrigDst::new(local), PeerAddr::new(peer));
        if !pod.addresses().contains(&original.ip()) {
            tracing::warn!(pod = %pod.id(), %peer, %original, "refused: not an address of this pod");
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            continue;
        }
        accept.inbound(Captured { stream, pod: Arc::clone(&pod), original, peer });
    }
}

async fn next(listener: &TcpListener) -> Option<(tokio::net::TcpStream, SocketAddr)> {
    match listener.accept().await {
        Ok(accepted) => Some(accepted),
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => None,
        Err(error) => {
            tracing::warn!(%error, "cannot accept");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

/// The family of a listener, as an address that stands for it.
pub fn serves(listener: &TcpListener, ip: &IpAddr) -> bool {
    listener.local_addr().is_ok_and(|local| local.is_ipv4() == ip.is_ipv4())
}
