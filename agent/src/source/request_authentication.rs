//! RequestAuthentication: tokens of requests. One that cannot be read refuses every request.

use super::Scope;
use super::authorization_policy::raw::{Selector, TargetRef};
use super::authorization_policy::selection;
use super::decode::{Strictness, decode, raw};
use super::item::{Meaning, Outcome, Raw};
use super::notes::Notes;
use super::path::Path;
use super::schema::REQUEST_AUTHENTICATION;
use super::{header, quantity};
use crate::model::authorization_policy::Selection;
use crate::model::request_authentication::{ClaimHeader, KeySource, Location};
use crate::model::{JwtRule, Object, ObjectId, Origin, RequestAuthentication};
use http::HeaderName;
use http::header::AUTHORIZATION;
use std::sync::Arc;
use std::time::Duration;

/// The fields of `spec`, as far as a selection that is to be trusted may stand beside them.
const KNOWN: &[&str] = &["jwtRules", "selector", "targetRef", "targetRefs"];
/// Istio's default for a fetch.
const TIMEOUT: Duration = Duration::from_secs(5);

raw!(Spec { selector: Option<Selector>, target_ref: Option<TargetRef>, target_refs: Vec<TargetRef>, jwt_rules: Vec<Rule> });
raw!(Rule {
    issuer: Option<String>,
    audiences: Vec<String>,
    jwks: Option<String>,
    jwks_uri: Option<String>,
    #[serde(rename = "jwks_uri")]
    jwks_uri_snake: Option<String>,
    from_headers: Vec<FromHeader>,
    from_params: Vec<String>,
    from_cookies: Vec<String>,
    output_payload_to_header: Option<String>,
    output_claim_to_headers: Vec<ToHeader>,
    forward_original_token: bool,
    presence: Option<String>,
    timeout: Option<String>,
    space_delimited_claims: Vec<String>,
});
raw!(FromHeader { name: String, prefix: String });
raw!(ToHeader { header: String, claim: String });

/// Reads a RequestAuthentication; `readable` tells whether its metadata was in order.
pub fn read(source: &Scope<'_>, raw: &Raw<'_>, readable: bool, notes: &mut Notes<'_>) -> Outcome {
    if let Some(policy) = understand(source, raw, notes).filter(|_| readable) {
        return Outcome::Ready(Meaning::object(Object::RequestAuthentication(policy)));
    }
    let found = selection::salvaged(source, raw, KNOWN);
    let scope_read = found.is_some();
    notes.error("policy-denies", &raw.path, "requests to what it selects get 401 until this is corrected");
    let policy = refusing(source, &raw.id, raw.origin(notes), found.unwrap_or(Selection::All));
    Outcome::Denies { policy: Box::new(Object::RequestAuthentication(policy)), scope_read }
}

/// What stands in for a policy that cannot be read.
pub fn refusing(source: &Scope<'_>, id: &ObjectId, origin: Origin, selection: Selection) -> RequestAuthentication {
    let everywhere = id.namespace.as_str() == source.root_namespace;
    RequestAuthentication { id: id.clone(), origin, everywhere, selection, rules: None }
}

fn understand(source: &Scope<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<RequestAuthentication> {
    let (value, path) = raw.part("spec");
    let spec: Spec = decode(&value, &path, Strictness::Strict(&REQUEST_AUTHENTICATION), notes)?.value;
    let before = notes.errors();
    let aimed = (spec.selector.as_ref(), spec.target_ref.as_ref(), spec.target_refs.as_slice());
    let selection = selection::read(source, raw, (aimed, &path), notes);
    let mut reading = Reading { notes };
    let rules = path.key("jwtRules");
    let rules: Box<[_]> = (0..).zip(&spec.jwt_rules).map(|(at, rule)| reading.rule(rule, &rules.index(at))).collect();
    if notes.errors() > before {
        return None;
    }
    let policy = refusing(source, &raw.id, raw.origin(notes), selection?);
    Some(RequestAuthentication { rules: Some(rules), ..policy })
}

struct Reading<'a, 'n> {
    notes: &'a mut Notes<'n>,
}

impl Reading<'_, '_> {
    fn rule(&mut self, rule: &Rule, path: &Path) -> Arc<JwtRule> {
        let timeout = quantity::duration(rule.timeout.as_ref(), &path.key("timeout"), self.notes).unwrap_or(TIMEOUT);
        let payload = rule.output_payload_to_header.as_deref().filter(|name| !name.is_empty());
        let required = match rule.presence.as_deref() {
            Some("REQUIRED") => true,
            None | Some("OPTIONAL") => false,
            Some(other) => {
                let what = format!("`{other}` is not a presence: it is OPTIONAL or REQUIRED");
                self.notes.error("invalid-value", &path.key("presence"), what);
                true
            }
        };
        let texts = |texts: &[String]| texts.iter().map(|text| Arc::from(text.as_str())).collect();
        Arc::new(JwtRule {
            issuer: rule.issuer.as_deref().map(Arc::from),
            audiences: texts(&rule.audiences),
            keys: self.keys(rule, path),
            timeout,
            locations: self.locations(rule, path),
            required,
            forward: rule.forward_original_token,
            payload_header: payload.and_then(|name| self.header(name, &path.key("outputPayloadToHeader"))),
            claim_headers: self.claim_headers(rule, &path.key("outputClaimToHeaders")),
            spaced_claims: texts(&rule.space_delimited_claims),
        })
    }

    fn keys(&mut self, rule: &Rule, path: &Path) -> KeySource {
        let url = rule.jwks_uri.as_deref().or(rule.jwks_uri_snake.as_deref());
        let field = path.key(if rule.jwks_uri.is_some() { "jwksUri" } else { "jwks_uri" });
        match (rule.jwks.as_deref(), url, rule.issuer.as_deref()) {
            (Some(_), Some(_), _) => {
                self.notes.error("invalid-value", &field, "a rule has jwks or jwksUri, not both");
                KeySource::Inline("".into())
            }
            (Some(text), None, _) => {
                let set = serde_json::from_str::<serde_json::Value>(text).ok();
                if set.is_none_or(|set| set.get("keys").and_then(|keys| keys.as_array()).is_none_or(Vec::is_empty)) {
                    self.notes.error(
                        "invalid-value",
                        &path.key("jwks"),
                        "it is no JSON Web Key Set: {\"keys\": [...]}",
                    );
                }
                KeySource::Inline(text.into())
            }
            (None, Some(url), _) => {
                self.url(url, &field);
                KeySource::Url(url.into())
            }
            (None, None, Some(issuer)) => {
                let known = issuer.trim_end_matches('/');
                // Istio accepts issuers that are no URLs, of which no key can be found: every token of theirs is refused.
                KeySource::Discovery(format!("{known}/.well-known/openid-configuration").into())
            }
            (None, None, None) => {
                self.notes.error("missing-field", path, "needs an issuer, jwks or jwksUri: no key can be found");
                KeySource::Inline("".into())
            }
        }
    }

    fn url(&mut self, url: &str, path: &Path) {
        let parsed = url.parse::<http::Uri>().ok();
        let fine = parsed.is_some_and(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")));
        if !fine {
            let what = format!("`{url}` is not a URL that begins with http:// or https://");
            self.notes.error("invalid-value", path, what);
        }
    }

    fn locations(&mut self, rule: &Rule, path: &Path) -> Box<[Location]> {
        let mut locations = Vec::new();
        for (at, from) in (0..).zip(&rule.from_headers) {
            let name = self.header(&from.name, &path.key("fromHeaders").index(at).key("name"));
            locations.extend(name.map(|name| Location::Header(name, from.prefix.as_str().into())));
        }
        locations.extend(rule.from_params.iter().map(|name| Location::Param(name.as_str().into())));
        locations.extend(rule.from_cookies.iter().map(|name| Location::Cookie(name.as_str().into())));
        if locations.is_empty() {
            locations.push(Location::Header(AUTHORIZATION, "Bearer ".into()));
            locations.push(Location::Param("access_token".into()));
        }
        locations.into()
    }

    fn claim_headers(&mut self, rule: &Rule, path: &Path) -> Box<[ClaimHeader]> {
        let mut headers = Vec::new();
        for (at, to) in (0..).zip(&rule.output_claim_to_headers) {
            if to.claim.is_empty() {
                self.notes.error(
                    "missing-field",
                    &path.index(at),
                    "`claim` is missing: the claim that the header gets",
                );
            }
            let header = self.header(&to.header, &path.index(at).key("header"));
            headers.extend(header.map(|header| ClaimHeader { header, claim: to.claim.as_str().into() }));
        }
        headers.into()
    }

    fn header(&mut self, text: &str, path: &Path) -> Option<HeaderName> {
        header::changeable(text).map_err(|what| self.notes.error("invalid-header", path, what)).ok()
    }
}
