//! Finding the network namespace that has a pod's address: the same on a node and in the lab.

use super::Netns;
use nix::ifaddrs::getifaddrs;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Looks through named namespaces, then through those of processes (containers whose namespace has no name here).
///
/// `wanted` are addresses of pods; the result maps those that were found.
pub fn find(wanted: &[IpAddr]) -> HashMap<IpAddr, Netns> {
    let mut found = HashMap::new();
    for netns in all() {
        let addresses = netns.within(|| Ok(getifaddrs()?.filter_map(|interface| ip(&interface)).collect::<Vec<_>>()));
        for ip in addresses.unwrap_or_default().into_iter().filter(|ip| wanted.contains(ip)) {
            found.entry(ip).or_insert_with(|| netns.clone());
        }
        if found.len() == wanted.len() {
            break;
        }
    }
    found
}

/// Every network namespace of this machine, once.
pub fn all() -> impl Iterator<Item = Netns> {
    let mut seen = HashSet::new();
    let inode = |path: &PathBuf| fs::metadata(path).map(|meta| meta.ino());
    let new = candidates().filter(move |path| inode(path).is_ok_and(|inode| seen.insert(inode)));
    new.filter_map(|path| Netns::open(&path).ok())
}

fn candidates() -> impl Iterator<Item = PathBuf> {
    let named = fs::read_dir("/run/netns").into_iter().flatten().flatten().map(|entry| entry.path());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        let is_process = name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        is_process.then(|| entry.path().join("ns/net"))
    });
    named.chain(processes)
}

fn ip(interface: &nix::ifaddrs::InterfaceAddress) -> Option<IpAddr> {
    let address = interface.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}
