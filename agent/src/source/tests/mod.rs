//! The file source as an operator sees it: files in, objects and findings out.

mod authorization;
mod authorization_property;
mod connection_rules;
mod destination_mistakes;
mod destination_rules;
mod http_mistakes;
mod http_rules;
mod gateway;
mod kinds;
mod live;
mod nodes;
mod policy;
mod routes;
mod samples;
mod sidecars;
mod standing;
mod syntax;
mod walk;

use super::{Config, Root, Update, read_once};
use crate::model::{
    AuthorizationPolicy, BackendTlsPolicy, Change, DestinationRule, EndpointSlice, GatewayRoute, Object,
    PeerAuthentication, Service, Severity, VirtualService, Workload,
};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory of manifests of the cluster `east`.
pub struct Dir(TempDir);

impl Dir {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let dir = Self(TempDir::new().unwrap());
        files.iter().for_each(|(name, text)| dir.write(name, text));
        dir
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path().join(name)).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn config(&self) -> Config {
        config(&[("east", self.path().to_owned())])
    }

    pub fn read(&self) -> Update {
        read_once(self.config())
    }

    /// The findings as `severity code file:line:column message`, files relative to the directory.
    pub fn findings(&self) -> Vec<String> {
        lines(&self.read(), self.path())
    }
}

pub fn config(roots: &[(&str, PathBuf)]) -> Config {
    Config {
        local: "east".into(),
        roots: roots.iter().map(|(cluster, dir)| Root { cluster: (*cluster).into(), dir: dir.clone() }).collect(),
        trust_domain: "cluster.local".into(),
        cluster_domain: "cluster.local".to_owned(),
        network: "".into(),
        root_namespace: "istio-system".to_owned(),
    }
}

pub fn lines(update: &Update, dir: &Path) -> Vec<String> {
    let prefix = format!("{}/", dir.display());
    let line = |finding: &crate::model::Finding| {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        format!("{severity} {} {} {}", finding.code, finding.at, finding.message).replace(&prefix, "")
    };
    update.findings.iter().map(line).collect()
}

macro_rules! objects {
    ($($function:ident: $kind:ident),*) => {
        $(
            /// The objects of this kind that came or changed.
            pub fn $function(update: &Update) -> Vec<$kind> {
                let object = |change: &Change| match change {
                    Change::Upsert(_, Object::$kind(object)) => Some(object.clone()),
                    _ => None,
                };
                update.changes.iter().filter_map(object).collect()
            }
        )*
    };
}

objects!(workloads: Workload, services: Service, slices: EndpointSlice, virtual_services: VirtualService,
         destination_rules: DestinationRule, policies: PeerAuthentication, authorizations: AuthorizationPolicy, gateway_routes: GatewayRoute,
         backend_tls_policies: BackendTlsPolicy);

/// A change in short: `+Service default/reviews`.
pub fn changes(update: &Update) -> Vec<String> {
    let line = |change: &Change| match change {
        Change::Upsert(key, _) => format!("+{:?} {}", key.kind, key.id),
        Change::Remove(key) => format!("-{:?} {}", key.kind, key.id),
    };
    update.changes.iter().map(line).collect()
}

/// Asserts that the findings start like this, one for one.
#[track_caller]
pub fn assert_findings(found: &[String], expected: &[&str]) {
    let alike =
        found.len() == expected.len() && found.iter().zip(expected).all(|(found, start)| found.starts_with(start));
    assert!(alike, "found:\n  {}\nexpected:\n  {}", found.join("\n  "), expected.join("\n  "));
}
