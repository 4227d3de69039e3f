//! Where questions are answered: one `CreateCertificate` after the other.

use super::api::Api;
use super::authorize::{Denied, Rules};
use super::caller::{Caller, Unknown, by_certificate, by_token};
use super::metrics::Counts;
use super::request::{BadRequest, key_of};
use super::signer::{Signed, Signer};
use crate::identity::IssueError;
use crate::identity::protocol::{CLUSTER_ID, CertificateRequest, CertificateResponse};
use crate::vocab::{ClusterName, SpiffeId};
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use thiserror::Error;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// Everything an answer needs.
pub struct Desk {
    /// This CA's cluster.
    pub cluster: ClusterName,
    /// Who may have which identity.
    pub rules: Rules,
    /// Who knows tokens.
    pub api: Arc<Api>,
    /// What tokens must be for.
    pub audience: String,
    /// Who signs.
    pub signer: Arc<Signer>,
    /// What came of it.
    pub counts: Counts,
}

/// Who is at the other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// What it showed in the handshake; empty if nothing.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Why there is no certificate.
#[derive(Debug, Error)]
enum Refusal {
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    #[error(transparent)]
    Issue(#[from] IssueError),
}

impl Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Unknown(unknown) => unknown.reason(),
            Self::Denied(denied) => denied.reason(),
            Self::BadRequest(bad) => bad.reason(),
            Self::Issue(error) => error.reason(),
        }
    }

    /// As istiod answers: who is not known, may not, or asks wrongly.
    fn status(&self) -> Status {
        let text = self.to_string();
        match self {
            Self::Unknown(Unknown::Unreviewed(_)) => Status::unavailable(text),
            Self::Denied(Denied::NotKnown(_)) => Status::unavailable(text),
            Self::Unknown(_) => Status::unauthenticated(text),
            Self::Denied(_) => Status::permission_denied(text),
            Self::BadRequest(_) => Status::invalid_argument(text),
            Self::Issue(IssueError::AuthorityExpired) => Status::unavailable(text),
            Self::Issue(_) => Status::internal(text),
        }
    }
}

impl Desk {
    /// Answers one question, counts it and writes it down.
    ///
    /// # Errors
    /// Why the caller does not get a certificate.
    pub async fn answer(
        &self,
        peer: &Peer,
        request: Request<CertificateRequest>,
    ) -> Result<Response<CertificateResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let asked = request.impersonated().unwrap_or("itself").to_owned();
        let mut caller = None;
        let from = peer.address;
        match self.decide(peer, (&metadata, &request), &mut caller).await {
            Ok((id, signed)) => {
                self.counts.count("issued");
                let until = humantime::format_rfc3339_seconds(signed.not_after);
                tracing::info!(identity = %id, caller = %name(caller.as_ref()), %from, %until, "certificate issued");
                Ok(Response::new(CertificateResponse { cert_chain: signed.chain }))
            }
            Err(refusal) => {
                let (caller, reason) = (name(caller.as_ref()), refusal.reason());
                self.counts.count(reason);
                tracing::warn!(%asked, %caller, %from, reason, error = %refusal, "certificate refused");
                Err(refusal.status())
            }
        }
    }

    async fn decide(
        &self,
        peer: &Peer,
        (metadata, request): (&MetadataMap, &CertificateRequest),
        caller: &mut Option<Caller>,
    ) -> Result<(SpiffeId, Signed), Refusal> {
        let caller = caller.insert(self.caller(peer, metadata).await?);
        let id = self.rules.authorize(caller, request.impersonated()).await?;
        let key = key_of(&request.csr, &id)?;
        let signed = self.signer.certify(&id, &key, request.validity_duration, SystemTime::now())?;
        Ok((id, signed))
    }

    /// A token counts before a certificate: it says on which node its holder is.
    async fn caller(&self, peer: &Peer, metadata: &MetadataMap) -> Result<Caller, Unknown> {
        let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok());
        let token = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return by_certificate(self.signer.trust(), &peer.chain);
        };
        if let Some(other) = text(CLUSTER_ID).filter(|id| *id != self.cluster.as_str()) {
            return Err(Unknown::OtherCluster(other.to_owned(), self.cluster.to_string()));
        }
        by_token(&self.api, (token, &self.audience), self.signer.trust_domain()).await
    }
}

fn name(caller: Option<&Caller>) -> String {
    caller.map_or_else(|| "unknown".to_owned(), |caller| caller.id.to_string())
}
