//! What lets the agent connect to the application with the client's address, inside the pod's network namespace.
//!
//! The agent's socket carries a mark; the accepted socket takes it over (`tcp_fwmark_accept`), and a rule leads marked
//! packets to lo, so the application's answers come back to the agent and not to the client. Where no application
//! listens the kernel answers, and `fwmark_reflect` lets its refusal take the same way: without it the refusal goes to
//! the client's node, and the agent waits for its whole deadline. All is undone when the pod is let go. `rp_filter`
//! may be off, loose or strict: the kernel tier tries each.

use super::Netns;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{RouteMessage, RouteScope, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{Error, Handle, RouteMessageBuilder};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The mark, Istio's.
pub const MARK: u32 = 0x539;
/// The routing table, Istio's.
const TABLE: u8 = 100;
/// Before the main table (32766), after what an administrator may have put first.
const PRIORITY: u32 = 32_000;
/// Every namespace's loopback interface.
const LOOPBACK: u32 = 1;
const FWMARK_ACCEPT: &str = "/proc/sys/net/ipv4/tcp_fwmark_accept";
/// Connections on behalf of one client share its address: where the client ends first, their ports would be taken for
/// the minute of TIME_WAIT, some 500 connections a second. 1 lets outgoing connections reuse them after a second; 2,
/// the default since Linux 4.19, does so on loopback only.
const TW_REUSE: &str = "/proc/sys/net/ipv4/tcp_tw_reuse";
/// The second is missing where IPv6 is.
const FWMARK_REFLECT: [&str; 2] = ["/proc/sys/net/ipv4/fwmark_reflect", "/proc/sys/net/ipv6/fwmark_reflect"];

/// Puts rule, route and sysctl into the namespace; what is there already is kept.
///
/// # Errors
/// The kernel refuses; IPv6 may be missing in the namespace, which is no error.
pub async fn prepare(netns: &Netns) -> io::Result<()> {
    switch(netns, "1", "1")?;
    let link = Netlink::open(netns)?;
    link.add(AddressFamily::Inet, route_v4()).await?;
    let v6 = link.add(AddressFamily::Inet6, route_v6()).await;
    if let Err(error) = v6 {
        tracing::debug!(%error, "no IPv6 source addresses in this namespace");
    }
    Ok(())
}

/// Takes them out again. A namespace that is going away takes them with it.
pub async fn undo(netns: &Netns) -> io::Result<()> {
    let link = Netlink::open(netns)?;
    link.remove(AddressFamily::Inet, route_v4()).await;
    link.remove(AddressFamily::Inet6, route_v6()).await;
    switch(netns, "0", "2")
}

fn switch(netns: &Netns, mark: &str, reuse: &str) -> io::Result<()> {
    netns.within(|| {
        for path in FWMARK_REFLECT.into_iter().filter(|path| fs::exists(path).unwrap_or(false)) {
            fs::write(path, mark)?;
        }
        fs::write(TW_REUSE, reuse)?;
        fs::write(FWMARK_ACCEPT, mark)
    })
}

struct Netlink {
    handle: Handle,
    task: tokio::task::JoinHandle<()>,
}

impl Netlink {
    /// A netlink socket belongs to the namespace it was made in.
    fn open(netns: &Netns) -> io::Result<Self> {
        let (connection, handle, _) = netns.within(rtnetlink::new_connection)?;
        Ok(Self { handle, task: tokio::spawn(connection) })
    }

    async fn add(&self, family: AddressFamily, route: RouteMessage) -> io::Result<()> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = rule(family);
        settled(request.execute().await)?;
        settled(self.handle.route().add(route).execute().await)
    }

    async fn remove(&self, family: AddressFamily, route: RouteMessage) {
        let removed =
            [self.handle.rule().del(rule(family)).execute().await, self.handle.route().del(route).execute().await];
        for error in removed.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, ?family, "nothing to remove");
        }
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn rule(family: AddressFamily) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = family;
    rule.header.table = TABLE;
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![RuleAttribute::Priority(PRIORITY), RuleAttribute::FwMark(MARK)];
    rule
}

fn route_v4() -> RouteMessage {
    let builder = RouteMessageBuilder::<Ipv4Addr>::new().scope(RouteScope::Host);
    builder.kind(RouteType::Local).table_id(TABLE.into()).output_interface(LOOPBACK).build()
}

fn route_v6() -> RouteMessage {
    let builder = RouteMessageBuilder::<Ipv6Addr>::new();
    builder.kind(RouteType::Local).table_id(TABLE.into()).output_interface(LOOPBACK).build()
}

fn settled(result: Result<(), Error>) -> io::Result<()> {
    match result {
        Err(Error::NetlinkError(message)) if message.to_io().kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(Error::NetlinkError(message)) => Err(message.to_io()),
        other => other.map_err(io::Error::other),
    }
}
