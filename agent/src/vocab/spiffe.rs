//! SPIFFE identities as Istio writes them, parsed once and compared by value.

use super::{Namespace, ServiceAccount};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// The domain that a root of trust speaks for, such as `cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for TrustDomain {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// The namespace of the service account.
    pub namespace: Namespace,
    /// The service account.
    pub service_account: ServiceAccount,
}

/// The text is not a SPIFFE identity of a service account.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not spiffe://<trust domain>/ns/<namespace>/sa/<service account>")]
pub struct InvalidSpiffeId(String);

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSpiffeId(text.to_owned());
        let mut parts = text.strip_prefix("spiffe://").ok_or_else(invalid)?.split('/');
        let mut part = || parts.next().filter(|part| !part.is_empty());
        let (Some(domain), Some("ns"), Some(namespace), Some("sa"), Some(account), None) =
            (part(), part(), part(), part(), part(), parts.next())
        else {
            return Err(invalid());
        };
        Ok(Self { trust_domain: domain.into(), namespace: namespace.into(), service_account: account.into() })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl Serialize for SpiffeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_what_is_parsed() {
        let text = "spiffe://cluster.local/ns/default/sa/bookinfo-reviews";
        assert_eq!(text.parse::<SpiffeId>().unwrap().to_string(), text);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "spiffe://a/ns/b", "spiffe://a/ns//sa/c", "spiffe://a/ns/b/sa/c/d", "https://a/ns/b/sa/c"] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text}");
        }
    }
}
