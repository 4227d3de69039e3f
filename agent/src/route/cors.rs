//! Which scripts of other origins may read an answer.

use super::matching::text;
use crate::model::StringMatch;
use crate::model::http_rule::Cors;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::str;

/// A policy, ready to be asked.
#[derive(Clone, Debug)]
pub struct Sharing {
    origins: Vec<StringMatch>,
    any_origin: bool,
    methods: Offer,
    headers: Offer,
    expose: Offer,
    max_age: Option<HeaderValue>,
    credentials: bool,
    forward_unmatched: bool,
}

/// What a preflight or an answer is told of methods or headers.
#[derive(Clone, Debug)]
enum Offer {
    Nothing,
    These(HeaderValue),
    Any,
}

/// What the policy says of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Judged {
    /// Nothing: it comes from no other origin, or from one that is not allowed.
    Silent,
    /// The answer is marked as readable by this origin.
    Allowed(HeaderValue),
    /// It is a preflight, and answered with these headers.
    Preflight(HeaderMap),
}

impl Sharing {
    /// Makes a policy ready.
    pub fn new(model: &Cors) -> Self {
        let any = |origin: &StringMatch| match origin {
            StringMatch::Present => true,
            StringMatch::Exact(text) => &**text == "*",
            _ => false,
        };
        Self {
            origins: model.origins.clone(),
            any_origin: model.origins.iter().any(any),
            methods: Offer::new(model.any_method, model.methods.iter().map(Method::as_str)),
            headers: Offer::new(model.any_header, model.headers.iter().map(HeaderName::as_str)),
            expose: Offer::new(model.any_expose, model.expose.iter().map(HeaderName::as_str)),
            max_age: model.max_age.map(|age| HeaderValue::from(age.as_secs())),
            credentials: model.credentials,
            forward_unmatched: model.forward_unmatched,
        }
    }

    /// What it says of a request.
    pub fn judge(&self, request: &Parts) -> Judged {
        let Some(origin) = request.headers.get(ORIGIN) else { return Judged::Silent };
        let preflight =
            request.method == Method::OPTIONS && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        match (self.allows(origin), preflight) {
            (true, false) => Judged::Allowed(self.named(origin)),
            (true, true) => Judged::Preflight(self.preflight(self.named(origin), &request.headers)),
            (false, true) if !self.forward_unmatched => Judged::Preflight(HeaderMap::new()),
            (false, _) => Judged::Silent,
        }
    }

    /// Marks an answer as readable by an origin that was [`Judged::Allowed`]; what the application said gives way.
    pub fn mark(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        self.grant(origin.clone(), headers);
        let exposed = match &self.expose {
            Offer::Nothing => None,
            Offer::These(names) => Some(names.clone()),
            Offer::Any if !self.credentials => Some(ANY),
            // With credentials `*` is a name like any other (Fetch), so what there is has to be named.
            Offer::Any => joined(headers.keys().map(HeaderName::as_str)),
        };
        if let Some(exposed) = exposed {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let found = str::from_utf8(origin.as_bytes());
        self.any_origin || found.is_ok_and(|found| self.origins.iter().any(|wanted| text(wanted, found, false)))
    }

    /// With credentials `*` allows nobody (Fetch), so the origin has to be named.
    fn named(&self, origin: &HeaderValue) -> HeaderValue {
        if self.any_origin && !self.credentials { ANY } else { origin.clone() }
    }

    fn preflight(&self, origin: HeaderValue, asked: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        self.grant(origin, &mut headers);
        let methods = self.methods.offer(self.credentials, asked.get(ACCESS_CONTROL_REQUEST_METHOD));
        let names = self.headers.offer(self.credentials, asked.get(ACCESS_CONTROL_REQUEST_HEADERS));
        let told = [
            (ACCESS_CONTROL_ALLOW_METHODS, methods),
            (ACCESS_CONTROL_ALLOW_HEADERS, names),
            (ACCESS_CONTROL_MAX_AGE, self.max_age.clone()),
        ];
        headers.extend(told.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))));
        headers
    }

    fn grant(&self, origin: HeaderValue, headers: &mut HeaderMap) {
        if origin != ANY {
            // A cache must not give this answer to another origin.
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

impl Offer {
    fn new<'a>(any: bool, names: impl Iterator<Item = &'a str>) -> Self {
        if any {
            return Self::Any;
        }
        joined(names).map_or(Self::Nothing, Self::These)
    }

    fn offer(&self, credentials: bool, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::These(names) => Some(names.clone()),
            Self::Any if credentials => asked.cloned(),
            Self::Any => Some(ANY),
        }
    }
}

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> Option<HeaderValue> {
    let text = names.collect::<Vec<_>>().join(",");
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}

const ANY: HeaderValue = HeaderValue::from_static("*");
