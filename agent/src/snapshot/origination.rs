//! TLS to endpoints: whether what the rules name is there. Connections that need what is missing fail.

use crate::model::traffic_policy::{CertificateSource, ClientTls, Roots};
use crate::model::{Credential, CredentialId, DestinationRule, Finding, ObjectId, Severity};
use imbl::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Secrets and ConfigMaps that have keys or certificates.
pub type Credentials = HashMap<CredentialId, Arc<Credential>>;

/// Every TLS client that a rule describes, but the mesh's own.
pub(super) fn clients(rule: &DestinationRule) -> impl Iterator<Item = &ClientTls> {
    let policies = std::iter::once(&rule.policy).chain(rule.subsets.iter().map(|subset| &subset.policy));
    let ports = policies.flat_map(|policy| policy.ports.iter().map(|(_, port)| port).chain([&policy.any_port]));
    ports.filter_map(|port| port.tls.as_ref()).filter(|tls| tls.originates())
}

/// What a rule names and is not there.
pub(super) fn findings(rule: &DestinationRule, credentials: &Credentials) -> Vec<Finding> {
    let missing = clients(rule).flat_map(|tls| missing(tls, credentials));
    let finding = |what: String| Finding {
        severity: Severity::Error,
        code: "missing-credential",
        at: rule.origin.to_string(),
        message: format!("DestinationRule {}: tls: {what}; connections under it fail (503, UF)", rule.id),
    };
    missing.map(finding).collect()
}

fn missing(tls: &ClientTls, credentials: &Credentials) -> Vec<String> {
    let authorities = match &tls.roots {
        _ if tls.insecure => None,
        Roots::System => None,
        Roots::File(path) => no_file(path),
        Roots::Secret(id) => no_authorities(id, credentials),
        Roots::ConfigMap(id) => {
            let id = CredentialId::config_map(id.clone());
            let found = credentials.get(&id).is_some_and(|found| found.authorities().is_some());
            (!found).then(|| format!("there is no {id} with `ca.crt`"))
        }
    };
    let own = match &tls.certificate {
        None => Vec::new(),
        Some(CertificateSource::Files { chain, key }) => {
            [chain, key].into_iter().filter_map(|path| no_file(path)).collect()
        }
        Some(CertificateSource::Secret(id)) => {
            let id = CredentialId::secret(id.clone());
            let pair = credentials.get(&id).is_some_and(|found| found.certificate().is_some() && found.key().is_some());
            if pair { Vec::new() } else { vec![format!("there is no {id} with `tls.crt` and `tls.key`")] }
        }
    };
    authorities.into_iter().chain(own).chain(tls.crl.as_deref().and_then(no_file)).collect()
}

/// As Istio has it: in the Secret itself, or in one of the same name with `-cacert` behind it.
fn no_authorities(id: &ObjectId, credentials: &Credentials) -> Option<String> {
    let apart = ObjectId { namespace: id.namespace.clone(), name: format!("{}-cacert", id.name).into() };
    let both = [CredentialId::secret(id.clone()), CredentialId::secret(apart)];
    let found = both.iter().filter_map(|id| credentials.get(id)).any(|found| found.authorities().is_some());
    (!found).then(|| format!("there is no {} with `ca.crt` or `cacert`", both[0]))
}

fn no_file(path: &str) -> Option<String> {
    (!Path::new(path).exists()).then(|| format!("the agent has no file {path}"))
}
