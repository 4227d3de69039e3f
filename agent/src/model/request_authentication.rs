//! Istio's RequestAuthentication: which tokens requests may carry, and what becomes of them.

use super::authorization_policy::Selection;
use super::{ObjectId, Origin};
use http::HeaderName;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One RequestAuthentication of one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestAuthentication {
    /// The object.
    pub id: ObjectId,
    /// Where it stands.
    pub origin: Origin,
    /// Whether it stands in the root namespace, and so is for workloads of all namespaces.
    pub everywhere: bool,
    /// Which workloads.
    pub selection: Selection,
    /// Its rules; none where it cannot be read, and then every request is refused.
    pub rules: Option<Box<[Arc<JwtRule>]>>,
}

/// One issuer's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtRule {
    /// What the claim `iss` has to be; any where it is not said.
    pub issuer: Option<Arc<str>>,
    /// One of these has to be among the claim `aud`; any where none is said.
    pub audiences: Box<[Arc<str>]>,
    /// Where the keys are from.
    pub keys: KeySource,
    /// How long a fetch of keys may take.
    pub timeout: Duration,
    /// Where a token may stand.
    pub locations: Box<[Location]>,
    /// Whether a request without a token is refused.
    pub required: bool,
    /// Whether the application gets the token.
    pub forward: bool,
    /// The header that gets the claims, as base64url of their JSON.
    pub payload_header: Option<HeaderName>,
    /// Headers that get one claim each.
    pub claim_headers: Box<[ClaimHeader]>,
    /// Claims whose text is a list of words, beside `scope` and `permission`.
    pub spaced_claims: Box<[Arc<str>]>,
}

/// Where the keys of an issuer are from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// A JSON Web Key Set, as it was written.
    Inline(Arc<str>),
    /// Where the set is.
    Url(Arc<str>),
    /// This URL of OpenID Connect's discovery says where the set is.
    Discovery(Arc<str>),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.write_str("inline"),
            Self::Url(url) | Self::Discovery(url) => f.write_str(url),
        }
    }
}

/// Where a token may stand in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In this header, behind a prefix.
    Header(HeaderName, Arc<str>),
    /// In this parameter of the query.
    Param(Arc<str>),
    /// In this cookie.
    Cookie(Arc<str>),
}

/// A claim, and the header that gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimHeader {
    /// The header.
    pub header: HeaderName,
    /// The claim; dots lead into maps.
    pub claim: Arc<str>,
}

impl RequestAuthentication {
    /// All headers that its rules set: nobody else may.
    pub fn output_headers(&self) -> impl Iterator<Item = &HeaderName> {
        let rules = self.rules.iter().flatten();
        rules.flat_map(|rule| rule.payload_header.iter().chain(rule.claim_headers.iter().map(|one| &one.header)))
    }
}
