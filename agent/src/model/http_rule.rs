//! One rule for HTTP requests, whichever API it was written in.
//!
//! VirtualService and the Gateway API's HTTPRoute and GRPCRoute say the same things in different words: `source`
//! translates both into these values, so that there is one engine.

pub use super::retry::{Retry, RetryOn};
use super::{Destination, Labels, Origin};
use crate::vocab::Namespace;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use regex::Regex;
use std::sync::Arc;
use std::time::Duration;

/// One rule: the first whose matches hold (any of them; none means always) takes the request.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRule {
    /// Its name, where given.
    pub name: Option<Arc<str>>,
    /// Any of these.
    pub matches: Vec<HttpMatch>,
    /// What is done with the request.
    pub action: HttpAction,
    /// What is done to the request and its answer, whatever the destination.
    pub filters: Filters,
    /// Delays and aborts for a share of the requests.
    pub fault: Fault,
    /// How long the whole exchange may take, retries included; none means without limit.
    pub timeout: Option<Duration>,
    /// When and how often a failed attempt is repeated.
    pub retry: Option<Retry>,
    /// Why the rule cannot be applied as written: requests that it takes fail closed with 500.
    pub broken: Option<Arc<str>>,
    /// Whose answers hold where it leads nowhere.
    pub dialect: Dialect,
    /// Where it stands, for messages.
    pub origin: Origin,
}

/// The API that a rule was written in, as far as it makes a difference after translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Istio's: a destination that is not there is a 503; one that is alone gets all, whatever its weight.
    #[default]
    Istio,
    /// The Gateway API's: a destination that is not there is a 500; weight 0 is always nothing.
    Gateway,
}

/// What a rule does with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpAction {
    /// Sends it to one of these, by weight. Empty: no destination was named, the answer is 500 (Gateway API), or the
    /// rule is `broken`.
    Forward(Vec<WeightedDestination>),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Answers with this.
    Direct(DirectResponse),
    /// Leaves it to the rules of another VirtualService, which the snapshot puts in this rule's place.
    Delegate(super::ObjectId),
}

/// A destination with its share. Shares are relative; one that has none where it is alone gets all.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedDestination {
    /// Where to.
    pub destination: Destination,
    /// Its share among its siblings.
    pub weight: u32,
    /// What is done to requests that go there and to their answers, after the rule's own.
    pub filters: Filters,
    /// Answers with this instead of going there (Gateway API, a filter of the backend).
    pub redirect: Option<Redirect>,
    /// Why it cannot be used (a kind that is none, a reference that is not granted): its share gets 500.
    pub broken: Option<Arc<str>>,
}

impl HttpRule {
    /// A rule that sends what it takes to these, and does nothing else.
    pub fn forward(matches: Vec<HttpMatch>, to: Vec<WeightedDestination>, origin: Origin) -> Self {
        Self {
            name: None,
            matches,
            action: HttpAction::Forward(to),
            filters: Filters::default(),
            fault: Fault::default(),
            timeout: None,
            retry: None,
            broken: None,
            dialect: Dialect::Istio,
            origin,
        }
    }

    /// Gives what neither it nor a rule above it said its meaning: `usual` retries, none for `attempts: 0`, no limit
    /// for a timeout of zero. Until then (in rules that delegate or are delegated to) `None` is not said.
    pub fn settle(&mut self, usual: Option<Retry>) {
        self.retry = self.retry.take().or(usual).filter(|retry| retry.attempts > 0);
        self.timeout = self.timeout.filter(|timeout| !timeout.is_zero());
    }

    /// Where it sends requests; none where it answers them itself.
    pub fn route(&self) -> &[WeightedDestination] {
        match &self.action {
            HttpAction::Forward(to) => to,
            HttpAction::Redirect(_) | HttpAction::Direct(_) | HttpAction::Delegate(_) => &[],
        }
    }
}

impl HttpRule {
    /// Everything that it sends requests or copies of them to.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        let route = self.route().iter();
        let mirrors = route.clone().flat_map(|to| &to.filters.mirrors).chain(&self.filters.mirrors);
        route.map(|to| &to.destination).chain(mirrors.map(|mirror| &mirror.destination))
    }
}

impl WeightedDestination {
    /// One with nothing but a share.
    pub fn new(destination: Destination, weight: u32) -> Self {
        Self { destination, weight, filters: Filters::default(), redirect: None, broken: None }
    }
}

/// How a string is matched (Istio's StringMatch). Regular expressions match the whole string, as RE2 does in Envoy.
#[derive(Clone, Debug)]
pub enum StringMatch {
    /// The same string.
    Exact(Arc<str>),
    /// A string that starts so.
    Prefix(Arc<str>),
    /// A path that starts with these path elements (Gateway API): `/a` takes `/a` and `/a/b`, not `/ab`. No slash at
    /// the end, so that the root is empty.
    PathPrefix(Arc<str>),
    /// A string that matches as a whole.
    Regex(Regex),
    /// Any string: the header only has to be there (an empty StringMatch).
    Present,
}

/// Patterns are the same where their text is.
impl PartialEq for StringMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b))
            | (Self::Prefix(a), Self::Prefix(b))
            | (Self::PathPrefix(a), Self::PathPrefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Present, Self::Present) => true,
            _ => false,
        }
    }
}

/// Conditions of which all must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpMatch {
    /// Its name, where given, for metrics and logs.
    pub name: Option<Arc<str>>,
    /// On the path with its query (Istio matches `uri` on the path alone).
    pub uri: Option<StringMatch>,
    /// Whether `uri` exact and prefix ignore case.
    pub ignore_uri_case: bool,
    /// On the scheme: `http`, as nothing else can be read.
    pub scheme: Option<StringMatch>,
    /// On the method.
    pub method: Option<StringMatch>,
    /// On headers by lower-case name.
    pub headers: Vec<(HeaderName, StringMatch)>,
    /// Headers that must not match.
    pub without_headers: Vec<(HeaderName, StringMatch)>,
    /// On query parameters; the first of several with one name counts.
    pub query_params: Vec<(Arc<str>, StringMatch)>,
    /// On the `Host` or `:authority`.
    pub authority: Option<StringMatch>,
    /// On the Service port.
    pub port: Option<u16>,
    /// On the client's labels.
    pub source_labels: Labels,
    /// On the client's namespace.
    pub source_namespace: Option<Namespace>,
}

/// What is done to a request and its answer on their way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    /// On the request's headers.
    pub request: HeaderOps,
    /// On the answer's headers.
    pub response: HeaderOps,
    /// What the destination sees instead of the path and authority that the client sent.
    pub rewrite: Option<Rewrite>,
    /// Where copies go.
    pub mirrors: Vec<Mirror>,
    /// Which origins may read the answer.
    pub cors: Option<Cors>,
}

/// Operations on headers, done in this order: remove, set, add.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderOps {
    /// Taken away.
    pub remove: Vec<HeaderName>,
    /// Given this value, whatever it was. `host` is the authority.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Given another value.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderOps {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// A change of a path.
#[derive(Clone, Debug)]
pub enum PathChange {
    /// The whole path becomes this; the query stays.
    Full(Arc<str>),
    /// The part that the rule's matching `uri` prefix took becomes this; the whole path where it was matched otherwise
    /// (Istio's `rewrite.uri` and `redirect.prefixRewrite`).
    Prefix(Arc<str>),
    /// The matched path elements become these (Gateway API's ReplacePrefixMatch), slashes kept right.
    PathPrefix(Arc<str>),
    /// Whatever the pattern matches in the path becomes this text, `${1}` standing for its first group, `$$` for a
    /// dollar (as `regex::Regex::replace_all` reads it).
    Regex(Regex, Arc<str>),
}

/// Patterns are the same where their text is.
impl PartialEq for PathChange {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Full(a), Self::Full(b))
            | (Self::Prefix(a), Self::Prefix(b))
            | (Self::PathPrefix(a), Self::PathPrefix(b)) => a == b,
            (Self::Regex(a, with), Self::Regex(b, other)) => a.as_str() == b.as_str() && with == other,
            _ => false,
        }
    }
}

/// What the destination sees instead of what the client sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rewrite {
    /// Of the path.
    pub path: Option<PathChange>,
    /// Of the authority.
    pub authority: Option<HeaderValue>,
}

/// An answer that sends the client elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// The scheme of the new address; none keeps the request's.
    pub scheme: Option<Arc<str>>,
    /// The host of the new address; none keeps the request's.
    pub host: Option<Arc<str>>,
    /// Its port.
    pub port: RedirectPort,
    /// Its path.
    pub path: Option<PathChange>,
}

/// The port of a redirect's new address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectPort {
    /// As the address says where it names a host, else as the request's `Host` says (Istio's default, and its
    /// `FROM_PROTOCOL_DEFAULT`).
    AsWritten,
    /// That of the new scheme where one is named, else that of the request (the Gateway API's default).
    Derived,
    /// The default of the new scheme: left out of the address.
    OfScheme,
    /// That of the request: the service port that the client used.
    OfRequest,
    /// This one.
    Fixed(u16),
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Arc<[u8]>,
}

/// A copy of each request, or of a share of them; its answer is dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// Where the copy goes.
    pub destination: Destination,
    /// Of how many requests.
    pub share: Share,
    /// Why it cannot be used; no copy is sent.
    pub broken: Option<Arc<str>>,
}

/// Parts in a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

impl Share {
    /// All.
    pub const ALL: Self = Self(1_000_000);

    /// Whether one draw of `0..1_000_000` is inside.
    pub fn takes(self, drawn: u32) -> bool {
        drawn < self.0
    }
}

/// Failures made on purpose.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    /// Waits before anything is sent.
    pub delay: Option<(Duration, Share)>,
    /// Answers without sending anything.
    pub abort: Option<(Abort, Share)>,
}

/// The answer of an abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// An HTTP status; gRPC clients see the `grpc-status` that it maps to.
    Http(StatusCode),
    /// A gRPC status, in an answer with status 200.
    Grpc(u8),
}

/// Which scripts of other origins may read answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cors {
    /// Origins; `Present` is `*`.
    pub origins: Vec<StringMatch>,
    /// For preflight answers.
    pub methods: Vec<Method>,
    /// Any method is allowed (Gateway API's `*`).
    pub any_method: bool,
    /// For preflight answers.
    pub headers: Vec<HeaderName>,
    /// Any header is allowed (`*`).
    pub any_header: bool,
    /// What scripts may see of the answer's headers.
    pub expose: Vec<HeaderName>,
    /// Any is exposed (`*`).
    pub any_expose: bool,
    /// How long a preflight answer may be kept.
    pub max_age: Option<Duration>,
    /// Whether cookies and the like are sent along.
    pub credentials: bool,
    /// Whether preflights of other origins go to the application (Istio's default) instead of being answered here.
    pub forward_unmatched: bool,
}
