//! Keys and certificates that rules name: a Secret, or a ConfigMap.

use super::ObjectId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What an object that a rule names is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CredentialKind {
    /// A Secret.
    Secret,
    /// A ConfigMap: certificates only.
    ConfigMap,
}

/// Names a credential of the agent's own cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId {
    /// Its kind.
    pub kind: CredentialKind,
    /// Its namespace and name.
    pub id: ObjectId,
}

/// A Secret's or ConfigMap's entries that may be keys or certificates. They are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// PEM by the name of the entry.
    entries: BTreeMap<Arc<str>, Arc<[u8]>>,
}

/// Names under which tools put a certificate, its key, authorities and revocation lists.
const CERTIFICATE: [&str; 2] = ["tls.crt", "cert"];
const KEY: [&str; 2] = ["tls.key", "key"];
const AUTHORITIES: [&str; 2] = ["ca.crt", "cacert"];

impl Credential {
    /// The entries that may be of use; none where there is none.
    pub fn new(entries: impl IntoIterator<Item = (Arc<str>, Arc<[u8]>)>) -> Option<Self> {
        let known = |name: &str| [CERTIFICATE, KEY, AUTHORITIES].iter().flatten().any(|known| *known == name);
        let entries: BTreeMap<_, _> = entries.into_iter().filter(|(name, _)| known(name)).collect();
        (!entries.is_empty()).then_some(Self { entries })
    }

    /// The certificate chain.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.entry(&CERTIFICATE)
    }

    /// The key of the certificate.
    pub fn key(&self) -> Option<&[u8]> {
        self.entry(&KEY)
    }

    /// Authorities to trust.
    pub fn authorities(&self) -> Option<&[u8]> {
        self.entry(&AUTHORITIES)
    }

    fn entry(&self, names: &[&str]) -> Option<&[u8]> {
        names.iter().find_map(|name| self.entries.get(*name)).map(AsRef::as_ref)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl CredentialId {
    /// A Secret.
    pub fn secret(id: ObjectId) -> Self {
        Self { kind: CredentialKind::Secret, id }
    }

    /// A ConfigMap.
    pub fn config_map(id: ObjectId) -> Self {
        Self { kind: CredentialKind::ConfigMap, id }
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_shows_the_names_of_its_entries_and_nothing_else() {
        let entries = [("tls.key", "PRIVATE"), ("ca.crt", "public"), ("password", "x")];
        let entries = entries.map(|(name, value)| (name.into(), value.as_bytes().into()));
        let credential = Credential::new(entries).unwrap();
        assert_eq!(format!("{credential:?}"), r#"{"ca.crt", "tls.key"}"#);
        assert_eq!((credential.key(), credential.certificate()), (Some(&b"PRIVATE"[..]), None));
        assert!(Credential::new([("password".into(), b"x"[..].into())]).is_none());
    }
}
