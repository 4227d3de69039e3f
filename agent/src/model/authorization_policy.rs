//! Istio's AuthorizationPolicy, in one form: a field of `from` or `to` and a condition of `when` are the same tests.

use super::{Labels, ObjectId, Origin};
use crate::vocab::Hostname;
use http::HeaderName;
use ipnet::IpNet;
use std::fmt;
use std::sync::Arc;

/// What a policy does where one of its rules matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It allows; what no ALLOW policy of a workload allows is denied.
    Allow,
    /// It denies, whatever others allow.
    Deny,
    /// It only says so.
    Audit,
    /// The external authorizer of this name is asked.
    Custom(Arc<str>),
}

impl Action {
    /// As it is written.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Audit => "AUDIT",
            Self::Custom(_) => "CUSTOM",
        }
    }
}

/// Which workloads a policy is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// All of its namespace; all of the mesh, where it stands in the root namespace.
    All,
    /// Those of them that carry these labels.
    Labels(Labels),
    /// The endpoints of these Services, at the ports that those lead to.
    Services(Vec<Hostname>),
    /// None: it is for something that is no workload of the mesh, such as a Gateway.
    Nothing,
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Labels(labels) => write!(f, "labels {labels:?}"),
            Self::Services(hosts) => {
                let hosts: Vec<&str> = hosts.iter().map(Hostname::as_str).collect();
                write!(f, "services {}", hosts.join(", "))
            }
            Self::Nothing => f.write_str("nothing"),
        }
    }
}

/// One AuthorizationPolicy of one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct AuthorizationPolicy {
    /// The object.
    pub id: ObjectId,
    /// Where it stands.
    pub origin: Origin,
    /// Whether it stands in the root namespace, and so is for workloads of all namespaces.
    pub everywhere: bool,
    /// Which workloads.
    pub selection: Selection,
    /// What it does.
    pub action: Action,
    /// Annotation `istio.io/dry-run`: its verdicts are told and have no effect.
    pub dry_run: bool,
    /// It could not be read, and this one, which denies everything, stands in for it.
    pub stand_in: bool,
    /// It matches where one of these does; never, where there are none.
    pub rules: Vec<AuthorizationRule>,
}

/// One rule: some `from` (if there are any), some `to` (if there are any) and all of `when`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthorizationRule {
    /// Who: all tests of one of these.
    pub from: Vec<Vec<AttributeTest>>,
    /// To do what: all tests of one of these.
    pub to: Vec<Vec<AttributeTest>>,
    /// All of these.
    pub when: Vec<AttributeTest>,
}

/// One field or condition: the attribute is one of these; or, negated, it is none of these.
#[derive(Clone, Debug, PartialEq)]
pub struct AttributeTest {
    /// Of what.
    pub attribute: Attribute,
    /// Whether it is a `not` form.
    pub negated: bool,
    /// Of which one has to fit.
    pub values: Values,
}

/// What a test looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// `principals`, `source.principal`: `<trust domain>/ns/<namespace>/sa/<service account>`, as the peer proved.
    Principal,
    /// `namespaces`, `source.namespace`: that of the proven identity.
    Namespace,
    /// `serviceAccounts`, `source.serviceAccount`: `<namespace>/<name>` of the proven identity.
    ServiceAccount,
    /// `trustDomains`: that of the proven identity.
    TrustDomain,
    /// `ipBlocks`, `source.ip`: where the connection comes from.
    SourceIp,
    /// `remoteIpBlocks`, `remote.ip`: where the request comes from, behind trusted proxies.
    RemoteIp,
    /// `destination.ip`.
    DestinationIp,
    /// `ports`, `destination.port`: the application's own port.
    DestinationPort,
    /// `connection.sni`: the name in the client's TLS hello.
    Sni,
    /// `requestPrincipals`, `request.auth.principal`: `<issuer>/<subject>` of a verified token.
    RequestPrincipal,
    /// `request.auth.audiences`.
    Audiences,
    /// `request.auth.presenter`: the claim `azp`.
    Presenter,
    /// `request.auth.claims[a][b]`.
    Claim(Vec<Arc<str>>),
    /// `request.headers[name]`.
    Header(HeaderName),
    /// `hosts`: the request's authority, without regard to case.
    Host,
    /// `methods`.
    Method,
    /// `paths`, without the query.
    Path,
}

impl Attribute {
    /// Whether only a request has it. `remote.ip` is not: a connection without requests comes from where it comes from.
    pub fn is_http(&self) -> bool {
        match self {
            Self::RequestPrincipal | Self::Audiences | Self::Presenter | Self::Claim(_) | Self::Header(_) => true,
            Self::Host | Self::Method | Self::Path => true,
            Self::Principal | Self::Namespace | Self::ServiceAccount | Self::TrustDomain => false,
            Self::SourceIp | Self::RemoteIp | Self::DestinationIp | Self::DestinationPort | Self::Sni => false,
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Principal => "source.principal",
            Self::Namespace => "source.namespace",
            Self::ServiceAccount => "source.serviceAccount",
            Self::TrustDomain => "source.trustDomain",
            Self::SourceIp => "source.ip",
            Self::RemoteIp => "remote.ip",
            Self::DestinationIp => "destination.ip",
            Self::DestinationPort => "destination.port",
            Self::Sni => "connection.sni",
            Self::RequestPrincipal => "request.auth.principal",
            Self::Audiences => "request.auth.audiences",
            Self::Presenter => "request.auth.presenter",
            Self::Host => "host",
            Self::Method => "method",
            Self::Path => "path",
            Self::Header(name) => return write!(f, "request.headers[{name}]"),
            Self::Claim(keys) => {
                f.write_str("request.auth.claims")?;
                return keys.iter().try_for_each(|key| write!(f, "[{key}]"));
            }
        };
        f.write_str(word)
    }
}

/// What an attribute is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Texts.
    Texts(Vec<Pattern>),
    /// Address blocks.
    Blocks(Vec<IpNet>),
    /// Ports.
    Ports(Vec<u16>),
}

/// How a text is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// The same text.
    Exact(Arc<str>),
    /// `text*`: it starts so.
    Prefix(Arc<str>),
    /// `*text`: it ends so.
    Suffix(Arc<str>),
    /// `*`: it is there, and not empty.
    Present,
    /// A path by `{*}` and `{**}`.
    Template(PathTemplate),
}

impl Pattern {
    /// What Istio means by a text with or without a star.
    pub fn new(text: &str) -> Self {
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            _ if text == "*" => Self::Present,
            (Some(end), _) => Self::Suffix(end.into()),
            (None, Some(start)) => Self::Prefix(start.into()),
            (None, None) => Self::Exact(text.into()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Present => f.write_str("*"),
            Self::Template(template) => template.fmt(f),
        }
    }
}

/// A path with `{*}`, which stands for one element that is not empty, and at most one `{**}`, behind the others, which
/// stands for any rest, an empty one too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate(pub Vec<Element>);

/// A part of a template between slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// Itself.
    Literal(Arc<str>),
    /// `{*}`.
    One,
    /// `{**}`.
    Rest,
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| match element {
            Element::Literal(text) => write!(f, "/{text}"),
            Element::One => f.write_str("/{*}"),
            Element::Rest => f.write_str("/{**}"),
        })
    }
}

impl fmt::Display for AttributeTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = match &self.values {
            Values::Texts(texts) => texts.iter().map(ToString::to_string).collect(),
            Values::Blocks(blocks) => blocks.iter().map(ToString::to_string).collect(),
            Values::Ports(ports) => ports.iter().map(ToString::to_string).collect(),
        };
        let word = if self.negated { "not in" } else { "in" };
        write!(f, "{} {word} [{}]", self.attribute, values.join(", "))
    }
}
