//! What a verified token says, and how an application is told.

use crate::model::JwtRule;
use crate::policy::Token;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The claims of a verified token.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    /// The claims; those that are lists of words are lists here.
    all: Arc<Map<String, Value>>,
    /// As they were sent: base64url.
    payload: Arc<str>,
}

impl Claims {
    pub(super) fn new(mut all: Map<String, Value>, payload: &str, spaced: &[Arc<str>]) -> Self {
        let named = spaced.iter().map(|name| &**name);
        for name in ["scope", "permission"].into_iter().chain(named) {
            if let Some(claim) = all.get_mut(name)
                && let Some(text) = claim.as_str()
            {
                *claim = text.split(' ').filter(|word| !word.is_empty()).map(Value::from).collect();
            }
        }
        Self { all: Arc::new(all), payload: payload.into() }
    }

    /// All of them.
    pub fn all(&self) -> &Map<String, Value> {
        &self.all
    }

    /// `iss/sub`, where both are said: what `requestPrincipals` names.
    pub fn principal(&self) -> Option<String> {
        let text = |name| self.all.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        Some(format!("{}/{}", text("iss")?, text("sub")?))
    }

    /// The claim `aud`, which is one or a list.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        let audience = self.all.get("aud");
        let list = audience.and_then(Value::as_array).into_iter().flatten();
        audience.into_iter().filter(|one| one.is_string()).chain(list).filter_map(Value::as_str)
    }

    /// What policies look at. Without an issuer and a subject nobody is named.
    pub fn token(&self) -> Token {
        Token {
            principal: self.principal().unwrap_or_default(),
            audiences: self.audiences().map(str::to_owned).collect(),
            presenter: self.all.get("azp").and_then(Value::as_str).map(str::to_owned),
            claims: (*self.all).clone(),
        }
    }

    /// A claim; dots lead into maps, unless a claim has the whole name.
    fn named(&self, name: &str) -> Option<&Value> {
        if let Some(whole) = self.all.get(name) {
            return Some(whole);
        }
        let mut steps = name.split('.');
        let first = self.all.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    }
}

/// The headers that an application gets of a token.
pub fn outputs(claims: &Claims, rule: &JwtRule) -> Vec<(HeaderName, HeaderValue)> {
    let payload = rule.payload_header.iter().map(|header| (header, Some(claims.payload.to_string())));
    let single = rule.claim_headers.iter().map(|one| (&one.header, claims.named(&one.claim).and_then(text)));
    let value = |text: String| HeaderValue::from_str(&text).ok();
    payload.chain(single).filter_map(|(name, text)| Some((name.clone(), value(text?)?))).collect()
}

/// A claim as a header: words and numbers as they are, lists and maps as base64 of their JSON, as Envoy does.
fn text(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(claim.to_string()),
        Value::Array(_) | Value::Object(_) => Some(STANDARD.encode(claim.to_string())),
        Value::Null => None,
    }
}
