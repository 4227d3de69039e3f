//! Sockets of the agent inside a pod's network namespace.

use super::Pod;
use super::source_address::MARK;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::{TcpSocket, TcpStream};
use underpass_ebpf_shared::limits::TUNNEL_MARK;

/// What a connection of the agent to a pod of its own node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketIntent {
    /// To the application itself: the pod's inbound capture lets it through.
    Application,
    /// To whatever answers there, the pod's agent if it is captured.
    Tunnel,
}

/// Source ports of sockets with a client's address: below Linux's range for outgoing connections (32768-60999), from
/// which the client itself takes the ports of its connections and tunnels to this pod. One of those, taken again here,
/// would make the kernel hand our SYN to that connection, and nobody would answer.
const PORTS: Range<u32> = 1024..32_768;
/// Ports that are tried when the kernel says that the last one is in use between the two addresses.
const PORT_ATTEMPTS: usize = 64;
/// They are taken in turn: a port comes back after the longest time.
static NEXT_PORT: AtomicU32 = AtomicU32::new(0);

/// Connects from inside a pod's network namespace: with the pod's own address, or with `source`, a client's address
/// that is to be seen by the application (`source_address` leads the answers back).
///
/// # Errors
/// The socket cannot be made, or the peer does not take the connection.
pub async fn connect(pod: &Pod, intent: SocketIntent, source: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let Some(source) = source.filter(|source| source.is_ipv4() == to.is_ipv4()) else {
        let socket = pod.netns().within(|| open(intent, to))?;
        return TcpSocket::from_std_stream(socket.into()).connect(to).await;
    };
    let mut refused = io::ErrorKind::AddrNotAvailable.into();
    for _ in 0..PORT_ATTEMPTS {
        match connect_as(pod, source, intent, to).await {
            // The first from bind, where an application of the pod listens on the port; the second from connect, where
            // the pair is taken.
            Err(error) if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable) => {
                // Out of a row of taken ports, such as an agent before this one still holds while it drains.
                NEXT_PORT.fetch_add(fastrand::u32(PORTS), Ordering::Relaxed);
                refused = error;
            }
            connected => return connected,
        }
    }
    Err(refused)
}

async fn connect_as(pod: &Pod, source: IpAddr, intent: SocketIntent, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = pod.netns().within(|| open_as(source, intent, to))?;
    TcpSocket::from_std_stream(socket.into()).connect(to).await
}

fn open(intent: SocketIntent, to: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if intent == SocketIntent::Tunnel {
        socket.set_mark(TUNNEL_MARK)?;
    }
    Ok(socket)
}

fn open_as(source: IpAddr, intent: SocketIntent, to: SocketAddr) -> io::Result<Socket> {
    let socket = open(intent, to)?;
    socket.set_mark(MARK)?;
    match source {
        IpAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        IpAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    // One port may serve connections to several of the pod's ports; connect refuses a pair that is taken.
    socket.set_reuse_address(true)?;
    let turn = NEXT_PORT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
    let port = u16::try_from(PORTS.start + turn).map_err(io::Error::other)?;
    socket.bind(&SocketAddr::new(source, port).into())?;
    Ok(socket)
}
