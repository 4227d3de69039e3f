//! One token against one rule.

use super::claims::Claims;
use super::keys::{Key, Keys};
use crate::model::JwtRule;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation, decode, decode_header};
use serde_json::{Map, Value};
use std::collections::HashSet;
use thiserror::Error;

/// Seconds that two clocks may differ, as Envoy allows.
const SKEW: u64 = 60;

/// Why a token is refused, in the words that Istio's users know.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
pub enum TokenError {
    /// A token is required and there is none.
    #[error("Jwt is missing")]
    Missing,
    /// It has not three parts of base64url.
    #[error("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")]
    Form,
    /// Its header is not to be understood, or names no algorithm that is taken.
    #[error("Jwt header [alg] is not supported")]
    Algorithm,
    /// Its claims are no JSON object.
    #[error("Jwt payload is an invalid JSON")]
    Payload,
    /// No rule is for its issuer.
    #[error("Jwt issuer is not configured")]
    Issuer,
    /// It is for others.
    #[error("Audiences in Jwt are not allowed")]
    Audience,
    /// Its time is over.
    #[error("Jwt is expired")]
    Expired,
    /// Its time is to come.
    #[error("Jwt not yet valid")]
    TooEarly,
    /// None of the keys may have signed it.
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    UnknownKey,
    /// The keys could not be fetched.
    #[error("Jwks remote fetch is failed")]
    NoKeys,
    /// The keys of the rule are no key set.
    #[error("Jwks is invalid")]
    BadKeys,
    /// The signature is not that of the key.
    #[error("Jwt verification fails")]
    Signature,
    /// The RequestAuthentication cannot be read.
    #[error("Jwt cannot be verified: the RequestAuthentication is invalid")]
    Unreadable,
}

impl TokenError {
    /// As Envoy has it: a token that is right and for others is forbidden here.
    pub fn status(self) -> StatusCode {
        if self == Self::Audience { StatusCode::FORBIDDEN } else { StatusCode::UNAUTHORIZED }
    }
}

/// Who a token says has issued it, before anything is verified: tells which rule is for it.
///
/// # Errors
/// It is no token.
pub fn issuer(token: &str) -> Result<Option<String>, TokenError> {
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(TokenError::Form);
    };
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Form)?;
    let claims: Map<String, Value> = serde_json::from_slice(&payload).map_err(|_| TokenError::Payload)?;
    Ok(claims.get("iss").and_then(Value::as_str).map(str::to_owned))
}

/// Verifies a token by the keys of a rule.
///
/// # Errors
/// Why it is refused. With [`TokenError::UnknownKey`] newer keys may do better.
pub fn verify(token: &str, rule: &JwtRule, keys: &Keys) -> Result<Claims, TokenError> {
    let header = header(token)?;
    let mut refused = TokenError::UnknownKey;
    for key in keys.candidates(header.kid.as_deref(), header.alg) {
        match by(token, &header, key) {
            Ok(claims) => return allowed(claims, rule, token),
            // A key without an id may just not be the one.
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn header(token: &str) -> Result<Header, TokenError> {
    if token.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return Err(TokenError::Form);
    }
    let header = decode_header(token).map_err(|_| TokenError::Algorithm)?;
    // RFC 7515 section 4.1.11: what is critical and not understood makes the token invalid.
    if header.crit.is_some() { Err(TokenError::Signature) } else { Ok(header) }
}

fn by(token: &str, header: &Header, key: &Key) -> Result<Map<String, Value>, TokenError> {
    let mut terms = Validation::new(header.alg);
    (terms.leeway, terms.validate_nbf, terms.validate_aud) = (SKEW, true, false);
    // As Envoy: a token without an end has none.
    terms.required_spec_claims = HashSet::new();
    let decoded = decode::<Map<String, Value>>(token, &key.key, &terms);
    decoded.map(|decoded| decoded.claims).map_err(|error| match error.kind() {
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::TooEarly,
        ErrorKind::Json(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidClaimFormat(_) => TokenError::Payload,
        _ => TokenError::Signature,
    })
}

/// The claims of a token whose signature is right, if the rule is for it.
fn allowed(claims: Map<String, Value>, rule: &JwtRule, token: &str) -> Result<Claims, TokenError> {
    let issuer = claims.get("iss").and_then(Value::as_str);
    if rule.issuer.as_deref().is_some_and(|expected| issuer != Some(expected)) {
        return Err(TokenError::Issuer);
    }
    let payload = token.split('.').nth(1).unwrap_or_default();
    let claims = Claims::new(claims, payload, &rule.spaced_claims);
    let any = rule.audiences.is_empty();
    let named = |audience: &str| rule.audiences.iter().any(|allowed| same_audience(allowed, audience));
    if any || claims.audiences().any(named) { Ok(claims) } else { Err(TokenError::Audience) }
}

/// As Envoy has it: with or without the scheme, and a slash at the end.
fn same_audience(one: &str, other: &str) -> bool {
    fn bare(audience: &str) -> &str {
        let audience =
            audience.strip_prefix("https://").or_else(|| audience.strip_prefix("http://")).unwrap_or(audience);
        audience.strip_suffix('/').unwrap_or(audience)
    }
    bare(one) == bare(other)
}
