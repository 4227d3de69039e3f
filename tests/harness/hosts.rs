//! Service names of all clusters as an `/etc/hosts`, one for each namespace.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

/// A Service name with its addresses.
#[derive(Clone, Debug)]
pub struct Named {
    /// Cluster.
    pub cluster: String,
    /// Namespace.
    pub namespace: String,
    /// Service.
    pub name: String,
    /// Cluster addresses, or pod addresses of a headless service.
    pub addresses: Vec<String>,
}

/// The file for pods of a namespace: a service of the own cluster hides its namesakes elsewhere.
pub fn file(cluster: &str, namespace: &str, pod: (&str, &str), all: &[Named]) -> String {
    let mut chosen: BTreeMap<(&str, &str), &Named> = BTreeMap::new();
    for named in all {
        let place = chosen.entry((&named.namespace, &named.name)).or_insert(named);
        if named.cluster == cluster {
            *place = named;
        }
    }
    let mut text = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n{} {}\n", pod.1, pod.0);
    for ((service_namespace, name), named) in chosen {
        let mut names = format!("{name}.{service_namespace}.svc.cluster.local");
        let _ = write!(names, " {name}.{service_namespace}.svc {name}.{service_namespace}");
        if service_namespace == namespace {
            let _ = write!(names, " {name}");
        }
        for address in &named.addresses {
            let _ = writeln!(text, "{address} {names}");
        }
    }
    text
}

/// Writes the `/etc/hosts` (and a resolver that refuses at once) that `ip netns exec` mounts.
///
/// # Errors
/// The file system's.
pub fn write_in_place(netns: &str, text: &str) -> Result<()> {
    let dir = Path::new("/etc/netns").join(netns);
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let path = dir.join("hosts");
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::write(dir.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")?;
    // The same file, for who has it mounted; written before it is cut, so that no reader finds it empty.
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(u64::try_from(text.len())?).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_for_the_own_namespace_and_the_own_cluster_comes_first() {
        let named = |cluster: &str, namespace: &str, ip: &str| Named {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            name: "db".to_owned(),
            addresses: vec![ip.to_owned()],
        };
        let all = [named("east", "a", "1.1.1.1"), named("west", "a", "2.2.2.2"), named("west", "b", "3.3.3.3")];
        let text = file("west", "a", ("p", "9.9.9.9"), &all);
        assert!(text.contains("2.2.2.2 db.a.svc.cluster.local db.a.svc db.a db\n"), "{text}");
        assert!(text.contains("3.3.3.3 db.b.svc.cluster.local db.b.svc db.b\n"), "{text}");
        assert!(!text.contains("1.1.1.1"));
        assert!(file("east", "a", ("p", "9.9.9.9"), &all).contains("1.1.1.1 db.a"));
    }
}
