//! The rules of one AuthorizationPolicy, compiled, and what they say of a connection or a request.

use super::facts::{Connection, Request, Seen};
use super::texts::Texts;
use crate::model::authorization_policy::{
    Action, Attribute, AttributeTest, AuthorizationPolicy, AuthorizationRule, Values,
};
use ipnet::IpNet;
use serde_json::Value;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// What a rule says, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// It does not match.
    No,
    /// That depends on what was not read yet.
    Unknown,
    /// It matches.
    Yes,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// A compiled policy.
#[derive(Debug)]
pub struct Compiled {
    /// What it is made of.
    pub policy: Arc<AuthorizationPolicy>,
    /// `AuthorizationPolicy namespace/name`.
    pub label: Arc<str>,
    pub(super) rules: Box<[Rule]>,
}

/// A compiled rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// The policy's label, and `rules[n]`.
    pub(super) label: Arc<str>,
    pub(super) from: Box<[Box<[Test]>]>,
    pub(super) to: Box<[Box<[Test]>]>,
    pub(super) when: Box<[Test]>,
}

/// A compiled test.
#[derive(Debug)]
pub(super) struct Test {
    attribute: Attribute,
    negated: bool,
    values: Compared,
}

#[derive(Debug)]
enum Compared {
    Texts(Texts),
    Blocks(Box<[IpNet]>),
    Ports(Box<[u16]>),
}

impl Compiled {
    /// Makes a policy ready to be asked.
    pub fn new(policy: Arc<AuthorizationPolicy>) -> Self {
        let label: Arc<str> = format!("AuthorizationPolicy {}", policy.id).into();
        let rule = |(at, rule)| Rule::new(format!("{label} rules[{at}]").into(), rule);
        let rules = policy.rules.iter().enumerate().map(rule).collect();
        Self { policy, label, rules }
    }

    /// What its rules say of attributes that a connection cannot have.
    pub(super) fn without(&self) -> Truth {
        if self.policy.action == Action::Allow { Truth::No } else { Truth::Yes }
    }

    /// The rule that says most, with what it says; `No` without one.
    pub(super) fn truth(&self, connection: &Connection<'_>, seen: Seen<'_>) -> (Truth, Option<&Rule>) {
        let without = self.without();
        let mut most = (Truth::No, None);
        for rule in &self.rules {
            let truth = rule.truth(connection, seen, without);
            if truth > most.0 {
                most = (truth, Some(rule));
            }
            if truth == Truth::Yes {
                break;
            }
        }
        most
    }
}

impl Rule {
    fn new(label: Arc<str>, rule: &AuthorizationRule) -> Self {
        let tests = |tests: &Vec<AttributeTest>| tests.iter().map(Test::new).collect();
        let from = rule.from.iter().map(tests).collect();
        let to = rule.to.iter().map(tests).collect();
        Self { label, from, to, when: tests(&rule.when) }
    }

    fn truth(&self, connection: &Connection<'_>, seen: Seen<'_>, without: Truth) -> Truth {
        let test = |test: &Test| test.truth(connection, seen, without);
        let all = |tests: &[Test]| least(tests.iter().map(test));
        let any =
            |ways: &[Box<[Test]>]| if ways.is_empty() { Truth::Yes } else { most(ways.iter().map(|one| all(one))) };
        let parts: [&dyn Fn() -> Truth; 3] = [&|| any(&self.from), &|| any(&self.to), &|| all(&self.when)];
        least(parts.iter().map(|part| part()))
    }
}

/// The least of several truths, asked no further than to the first `No`: all of them have to hold.
fn least(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut least = Truth::Yes;
    for truth in truths {
        least = least.min(truth);
        if least == Truth::No {
            break;
        }
    }
    least
}

/// The most of several truths, asked no further than to the first `Yes`: one of them has to hold.
fn most(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut most = Truth::No;
    for truth in truths {
        most = most.max(truth);
        if most == Truth::Yes {
            break;
        }
    }
    most
}

impl Test {
    fn new(test: &AttributeTest) -> Self {
        let values = match &test.values {
            Values::Texts(texts) => Compared::Texts(Texts::new(texts, test.attribute == Attribute::Host)),
            Values::Blocks(blocks) => Compared::Blocks(blocks.iter().copied().collect()),
            Values::Ports(ports) => Compared::Ports(ports.iter().copied().collect()),
        };
        Self { attribute: test.attribute.clone(), negated: test.negated, values }
    }

    /// `without` is what it says of an attribute that the connection cannot have, or that nobody looked for.
    pub(super) fn truth(&self, connection: &Connection<'_>, seen: Seen<'_>, without: Truth) -> Truth {
        let fits = match (seen, self.attribute.is_http()) {
            (Seen::Nothing, true) => return Truth::Unknown,
            (Seen::Opaque, true) => return without,
            (Seen::Request(request), true) => self.of_request(request),
            (Seen::Nothing, false) if self.is_open(connection) => return Truth::Unknown,
            // Nobody looked: it is taken as a name that is not allowed, and that is denied.
            (_, false) if self.attribute == Attribute::Sni && connection.sni.is_none() => return without,
            (_, false) => self.of_connection(connection, seen),
        };
        Truth::from(fits != self.negated)
    }

    /// Whether the first bytes may tell more than the connection.
    fn is_open(&self, connection: &Connection<'_>) -> bool {
        match self.attribute {
            Attribute::Sni => connection.sni.is_none(),
            Attribute::RemoteIp => true,
            _ => false,
        }
    }

    fn of_connection(&self, connection: &Connection<'_>, seen: Seen<'_>) -> bool {
        let identity = connection.peer.identity();
        match self.attribute {
            Attribute::Principal => self.text(connection.principal()),
            Attribute::Namespace => self.text(identity.map(|id| id.namespace.as_str())),
            Attribute::TrustDomain => self.text(identity.map(|id| id.trust_domain.as_str())),
            Attribute::ServiceAccount => self.text(connection.principal().and_then(service_account).as_deref()),
            Attribute::SourceIp => self.address(connection.source),
            Attribute::RemoteIp => match seen {
                Seen::Request(request) => self.address(request.remote),
                Seen::Nothing | Seen::Opaque => self.address(connection.source),
            },
            Attribute::DestinationIp => self.address(connection.destination.ip()),
            Attribute::DestinationPort => self.port(connection.destination.port()),
            Attribute::Sni => self.text(connection.sni.flatten()),
            _ => false,
        }
    }

    fn of_request(&self, request: &Request<'_>) -> bool {
        match &self.attribute {
            Attribute::Method => self.text(Some(request.method)),
            Attribute::Path => self.text(Some(request.path)),
            Attribute::Host => self.text(Some(&lower_case(request.authority))),
            Attribute::Header(name) => {
                let mut values = request.headers.get_all(name).iter();
                let Some(first) = values.next() else { return self.text(None) };
                let mut whole = String::from_utf8_lossy(first.as_bytes());
                for value in values {
                    let whole = whole.to_mut();
                    whole.push(',');
                    whole.push_str(&String::from_utf8_lossy(value.as_bytes()));
                }
                self.text(Some(&whole))
            }
            of_token => request.token.is_some_and(|token| match of_token {
                Attribute::RequestPrincipal => self.text(Some(&token.principal)),
                Attribute::Audiences => token.audiences.iter().any(|audience| self.text(Some(audience))),
                Attribute::Presenter => self.text(token.presenter.as_deref()),
                Attribute::Claim(keys) => self.claim(keys, token.claims.get(keys.first().map_or("", |key| &**key))),
                _ => false,
            }),
        }
    }

    fn claim(&self, keys: &[Arc<str>], first: Option<&Value>) -> bool {
        let rest = keys.get(1..).unwrap_or_default();
        let value = rest.iter().try_fold(first, |value, key| value.map(|value| value.get(&**key)));
        match value.flatten() {
            Some(Value::String(text)) => self.text(Some(text)),
            Some(Value::Array(texts)) => {
                texts.iter().any(|text| text.as_str().is_some_and(|text| self.text(Some(text))))
            }
            _ => false,
        }
    }

    fn text(&self, text: Option<&str>) -> bool {
        match (&self.values, text) {
            (Compared::Texts(texts), Some(text)) => texts.take(text),
            _ => false,
        }
    }

    fn address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        matches!(&self.values, Compared::Blocks(blocks) if blocks.iter().any(|block| block.contains(&address)))
    }

    fn port(&self, port: u16) -> bool {
        matches!(&self.values, Compared::Ports(ports) if ports.contains(&port))
    }
}

/// `<namespace>/<name>` of a principal.
fn service_account(principal: &str) -> Option<Cow<'_, str>> {
    let (namespace, name) = principal.split_once("/ns/")?.1.split_once("/sa/")?;
    Some(format!("{namespace}/{name}").into())
}

fn lower_case(text: &str) -> Cow<'_, str> {
    match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    }
}
