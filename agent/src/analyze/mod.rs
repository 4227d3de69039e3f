//! What is wrong with a set of manifests, found without a cluster: `underpass analyze`.
//!
//! The files go through the same source and snapshot as an agent's, so what is reported here is what an agent would
//! do. Beside that come findings that need the whole set at once: names that lead nowhere, rules that nothing reaches,
//! objects that do nothing. Files may be a part of what a cluster has: a reference that leads out of them is an error
//! only where they hold other objects of the kind in that namespace, and a warning otherwise.

mod cover;
mod effects;
mod facts;
mod objects;
mod reach;
mod references;
mod report;
mod soften;

#[cfg(test)]
mod tests;

pub use report::{Format, Report};

use crate::model::{Finding, Severity};
use crate::snapshot::Assembler;
use crate::source::{self, Declared, Given, Text};
use facts::Facts;
use objects::Objects;

/// What the manifests are read with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Such as `cluster.local`.
    pub cluster_domain: String,
    /// The trust domain of every workload.
    pub trust_domain: String,
    /// Codes of findings that are left out.
    pub ignore: Vec<String>,
}

impl Settings {
    /// What the source is told.
    pub fn source(&self) -> source::Config {
        source::Config {
            local: "local".into(),
            roots: Vec::new(),
            trust_domain: self.trust_domain.as_str().into(),
            cluster_domain: self.cluster_domain.clone(),
            network: "".into(),
            root_namespace: "istio-system".to_owned(),
        }
    }
}

/// Everything that is to be said about these files.
pub fn analyze<'a>(settings: &Settings, texts: &'a [Text]) -> Report<'a> {
    let Given { update, declared } = source::read_given(settings.source(), texts);
    let objects = Objects::of(&update.changes);
    let facts = Facts::new(&declared, &settings.cluster_domain);
    let (snapshot, assembled) = Assembler::new("local".into()).apply(update.changes.clone());
    let mut findings = update.findings;
    findings.extend(assembled.into_iter().map(|finding| placed(finding, &declared, settings)));
    soften::soften(&mut findings, &objects, &facts);
    findings.extend(references::missing(&objects, &facts));
    findings.extend(reach::unreachable(&objects));
    findings.extend(reach::shadowed_routes(&snapshot));
    findings.extend(effects::without(&objects, &facts));
    let all = findings.len();
    findings.retain(|finding| !settings.ignore.iter().any(|code| code == finding.code));
    let ignored = all - findings.len();
    Report::new(texts, declared.len(), findings, ignored)
}

/// A finding of the snapshot names some objects by kind and name only; here it is known where they stand.
fn placed(mut finding: Finding, declared: &[Declared], settings: &Settings) -> Finding {
    let names = |one: &&Declared| {
        let host = format!("{}.{}.svc.{}", one.id.name, one.id.namespace, settings.cluster_domain);
        finding.at == format!("{} {}", one.kind, one.id) || finding.at == format!("{} {host}", one.kind)
    };
    if let Some(one) = declared.iter().find(names) {
        finding.at = one.at("").to_string();
    }
    finding
}

fn warning(code: &'static str, at: impl ToString, message: String) -> Finding {
    Finding { severity: Severity::Warning, code, at: at.to_string(), message }
}
