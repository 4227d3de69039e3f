//! The token of a request: found, verified, and what becomes of it.

use super::changes::Changes;
use super::judge::{Judge, authority};
use crate::model::{JwtRule, RequestAuthentication, Workload};
use crate::policy::Token;
use crate::route::Answer;
use crate::snapshot::Snapshot;
use crate::token::{self, Claims, TokenError};
use ::http::HeaderValue;
use ::http::header::WWW_AUTHENTICATE;
use ::http::request::Parts;
use std::sync::Arc;

/// Envoy's flag for what an authority refused.
const FLAG: &str = "UAEX";

/// A token that was taken, by the rule that took it.
struct Taken {
    claims: Claims,
    rule: Arc<JwtRule>,
}

impl Judge {
    /// The token of a request, if it has one. Several RequestAuthentications are one with all their rules.
    ///
    /// # Errors
    /// The answer that the client gets instead.
    pub(super) async fn authenticate(
        &self,
        now: &Snapshot,
        workload: &Workload,
        request: &Parts,
        changes: &mut Changes,
    ) -> Result<Option<Token>, Box<Answer>> {
        let policies: Vec<&Arc<RequestAuthentication>> = now.authentications_of(workload, self.address).collect();
        if policies.is_empty() {
            return Ok(None);
        }
        changes.remove.extend(policies.iter().flat_map(|policy| policy.output_headers()).cloned());
        match Box::pin(self.verified(&policies, request)).await {
            Ok(None) => Ok(None),
            Ok(Some(Taken { claims, rule })) => {
                if !rule.forward {
                    changes.take.extend(rule.locations.iter().cloned());
                }
                changes.set.extend(token::outputs(&claims, &rule));
                Ok(Some(claims.token()))
            }
            Err((error, policy)) => Err(unauthenticated(request, error, &policy)),
        }
    }

    async fn verified(
        &self,
        policies: &[&Arc<RequestAuthentication>],
        request: &Parts,
    ) -> Result<Option<Taken>, (TokenError, Arc<str>)> {
        let name = |policy: &RequestAuthentication| Arc::from(format!("RequestAuthentication {}", policy.id));
        if let Some(broken) = policies.iter().find(|policy| policy.rules.is_none()) {
            return Err((TokenError::Unreadable, name(broken)));
        }
        let mut refused: Option<(TokenError, Arc<str>)> = None;
        for policy in policies {
            for rule in policy.rules.iter().flatten() {
                match self.by_rule(rule, request).await {
                    Ok(Some(claims)) => return Ok(Some(Taken { claims, rule: Arc::clone(rule) })),
                    Ok(None) => {}
                    // What another rule says of its own issuer's token says more.
                    Err(TokenError::Issuer) if refused.is_some() => {}
                    Err(error) => refused = Some((error, name(policy))),
                }
            }
        }
        refused.map_or(Ok(None), Err)
    }

    async fn by_rule(&self, rule: &JwtRule, request: &Parts) -> Result<Option<Claims>, TokenError> {
        let mut refused = None;
        for token in rule.locations.iter().flat_map(|location| token::found(request, location)) {
            match self.verify(&token, rule).await {
                Ok(claims) => return Ok(Some(claims)),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) => Err(error),
            None if rule.required => Err(TokenError::Missing),
            None => Ok(None),
        }
    }

    async fn verify(&self, token: &str, rule: &JwtRule) -> Result<Claims, TokenError> {
        let issuer = token::issuer(token)?;
        if rule.issuer.is_some() && rule.issuer.as_deref() != issuer.as_deref() {
            return Err(TokenError::Issuer);
        }
        let (store, client) = (&self.mesh.keys, self.as_client());
        let keys = store.of(&self.mesh, client.as_ref(), rule).await?;
        match token::verify(token, rule, &keys) {
            Err(TokenError::UnknownKey) => match store.newer(&self.mesh, client.as_ref(), rule, &keys).await {
                Some(newer) => token::verify(token, rule, &newer),
                None => Err(TokenError::UnknownKey),
            },
            verified => verified,
        }
    }
}

/// As Envoy's JWT filter says it.
fn unauthenticated(request: &Parts, error: TokenError, policy: &str) -> Box<Answer> {
    let text = error.to_string();
    let why = format!("denied by {policy}: {text}");
    let answer = Answer::new(request, error.status(), text.into());
    let mut answer = Answer { flag: FLAG, rule: Some(why.into()), ..answer };
    let realm = format!("http://{}{}", authority(request), request.uri.path()).replace(['"', '\\'], "");
    let kind = if error == TokenError::Missing { "" } else { ", error=\"invalid_token\"" };
    if let Ok(challenge) = HeaderValue::try_from(format!("Bearer realm=\"{realm}\"{kind}")) {
        answer.headers.insert(WWW_AUTHENTICATE, challenge);
    }
    Box::new(answer)
}
