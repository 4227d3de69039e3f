//! Who asks: by a token that the API server vouches for, or by a certificate of the mesh.

use super::api::{Api, ApiError};
use super::review;
use crate::identity::verify::PeerRole;
use crate::identity::{PeerError, Trust};
use crate::vocab::{NodeName, PodId, SpiffeId, TrustDomain};
use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;

/// Who asks, proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its identity.
    pub id: SpiffeId,
    /// Where it runs, as far as its token says.
    pub home: Option<Home>,
}

/// What a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    /// The pod that holds the token.
    pub pod: Option<PodId>,
    /// The pod's node.
    pub node: Option<NodeName>,
}

/// Nobody that is known.
#[derive(Debug, Error)]
pub enum Unknown {
    /// Neither a token nor a certificate.
    #[error("no token in `authorization: Bearer`, and no client certificate")]
    Nothing,
    /// The token is of another cluster, whose API server this CA does not ask.
    #[error("tokens of cluster `{0}` are not reviewed here, but of `{1}`")]
    OtherCluster(String, String),
    /// The API server cannot be asked.
    #[error("the token cannot be reviewed: {0}")]
    Unreviewed(#[from] ApiError),
    /// The API server does not vouch for it.
    #[error("the token is not valid: {0}")]
    Token(String),
    /// It is not a service account's.
    #[error("the token is of `{0}`, which is no service account")]
    NoAccount(String),
    /// The certificate is not believed.
    #[error("the client certificate: {0}")]
    Certificate(#[from] PeerError),
}

impl Unknown {
    /// One word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Nothing => "no_credential",
            Self::OtherCluster(..) => "other_cluster",
            Self::Unreviewed(_) => "review_failed",
            Self::Token(_) | Self::NoAccount(_) => "bad_token",
            Self::Certificate(_) => "bad_certificate",
        }
    }
}

/// The caller behind a token.
///
/// # Errors
/// [`Unknown`].
pub async fn by_token(
    api: &Api,
    (token, audience): (&str, &str),
    trust_domain: &TrustDomain,
) -> Result<Caller, Unknown> {
    let user = review::review(api, token, audience).await?.map_err(Unknown::Token)?;
    let account = user.username.strip_prefix("system:serviceaccount:").and_then(|name| name.split_once(':'));
    let (namespace, account) = account.ok_or_else(|| Unknown::NoAccount(user.username.clone()))?;
    let id =
        SpiffeId { trust_domain: trust_domain.clone(), namespace: namespace.into(), service_account: account.into() };
    let extra = |key: &str| user.extra.get(&format!("authentication.kubernetes.io/{key}"))?.first();
    let pod = extra("pod-name").map(|name| PodId { namespace: namespace.into(), name: name.as_str().into() });
    let home = Home { pod, node: extra("node-name").map(|node| node.as_str().into()) };
    let bound = home != Home::default();
    Ok(Caller { id, home: bound.then_some(home) })
}

/// The caller behind the certificate that its connection was opened with. The handshake has checked it, and it is checked
/// again: it may have ended or been revoked since. It says who, not where.
///
/// # Errors
/// [`Unknown`].
pub fn by_certificate(trust: &Trust, chain: &[CertificateDer<'_>]) -> Result<Caller, Unknown> {
    let (leaf, intermediates) = chain.split_first().ok_or(Unknown::Nothing)?;
    trust.check(leaf, intermediates, PeerRole::Client, UnixTime::now())?;
    let id = trust.peer(chain)?.id().clone();
    let domain = &trust.options().trust_domain;
    if id.trust_domain != *domain {
        // A federated mesh has an authority of its own.
        return Err(PeerError::WrongTrustDomain { expected: domain.clone(), presented: id.trust_domain }.into());
    }
    Ok(Caller { id, home: None })
}
