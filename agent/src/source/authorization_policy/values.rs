//! What attributes are compared with.

use crate::model::authorization_policy::{Attribute, Element, PathTemplate, Pattern, Values};
use crate::source::Scope;
use crate::source::name;
use crate::source::notes::Notes;
use crate::source::path::Path;
use crate::vocab::Namespace;
use ipnet::IpNet;

/// What a pattern of principals may begin with to mean the mesh's own trust domain, whatever it is called.
const OWN: &str = "cluster.local";

/// Where values stand.
pub struct Place<'a> {
    pub source: &'a Scope<'a>,
    pub namespace: &'a Namespace,
    pub path: &'a Path,
}

/// The values of a field or condition; what is wrong with them is noted.
pub fn read(attribute: &Attribute, texts: &[String], place: &Place<'_>, notes: &mut Notes<'_>) -> Values {
    let mut each = |one: &mut dyn FnMut(&str) -> Result<(), String>| {
        for (at, text) in (0..).zip(texts) {
            if let Err(what) = one(text) {
                notes.invalid("invalid-value", &place.path.index(at), what);
            } else if let Some(what) = never(attribute, text) {
                notes.warning("never-matches", &place.path.index(at), what);
            }
        }
    };
    match attribute {
        Attribute::SourceIp | Attribute::RemoteIp | Attribute::DestinationIp => {
            let mut blocks = Vec::with_capacity(texts.len());
            each(&mut |text| block(text).map(|block| blocks.push(block)));
            Values::Blocks(blocks)
        }
        Attribute::DestinationPort => {
            let mut ports = Vec::with_capacity(texts.len());
            each(&mut |text| port(text).map(|port| ports.push(port)));
            Values::Ports(ports)
        }
        _ => {
            let mut patterns = Vec::with_capacity(texts.len());
            each(&mut |text| self::texts(attribute, text, place).map(|more| patterns.extend(more)));
            Values::Texts(patterns)
        }
    }
}

fn block(text: &str) -> Result<IpNet, String> {
    let block = name::subnet(text)?;
    match block {
        IpNet::V6(net) if net.addr().to_ipv4_mapped().is_some() => {
            Err(format!("`{text}` is a block of IPv4 addresses: write it as one"))
        }
        _ => Ok(block),
    }
}

fn port(text: &str) -> Result<u16, String> {
    let number = text.parse::<i64>().map_err(|_| format!("`{text}` is not a port: ports are 1 to 65535"))?;
    name::port(number)
}

fn texts(attribute: &Attribute, text: &str, place: &Place<'_>) -> Result<Vec<Pattern>, String> {
    if text.is_empty() {
        return Err("is empty, which nothing can be".to_owned());
    }
    match attribute {
        Attribute::Principal if text.starts_with("spiffe://") => {
            Err(format!("`{text}`: write it without spiffe://, as <trust domain>/ns/<namespace>/sa/<service account>"))
        }
        Attribute::Principal | Attribute::TrustDomain => Ok(in_trust_domain(text, place)),
        Attribute::ServiceAccount => service_account(text, place).map(|pattern| vec![pattern]),
        Attribute::Path if text.contains(['{', '}']) => template(text).map(|template| vec![template]),
        _ => Ok(vec![Pattern::new(text)]),
    }
}

/// What no request has, though it could be written.
fn never(attribute: &Attribute, text: &str) -> Option<String> {
    match attribute {
        Attribute::Path if !text.starts_with(['/', '*']) => {
            Some(format!("`{text}` never matches: paths begin with / (or here with *, to match their end)"))
        }
        Attribute::Method if text.bytes().any(|byte| byte.is_ascii_lowercase()) => {
            Some(format!("`{text}` never matches GET and the like: methods are written in capitals"))
        }
        // With a star it may be any part of a name.
        _ if text.contains('*') => None,
        Attribute::Principal if !text.contains("/ns/") || !text.contains("/sa/") => {
            Some(format!("`{text}` never matches: principals are <trust domain>/ns/<namespace>/sa/<service account>"))
        }
        Attribute::Namespace if !name::is_label(text) => {
            Some(format!("`{text}` never matches: no namespace can be called that"))
        }
        _ => None,
    }
}

/// In a policy, `cluster.local` is the mesh's own trust domain, beside being a name.
fn in_trust_domain(text: &str, place: &Place<'_>) -> Vec<Pattern> {
    let own = place.source.trust_domain;
    let rest = text.strip_prefix(OWN).filter(|rest| own != OWN && (rest.is_empty() || rest.starts_with('/')));
    let more = rest.map(|rest| Pattern::new(&format!("{own}{rest}")));
    [Pattern::new(text)].into_iter().chain(more).collect()
}

fn service_account(text: &str, place: &Place<'_>) -> Result<Pattern, String> {
    let (namespace, name) = text.split_once('/').unwrap_or((place.namespace.as_str(), text));
    match name::is_label(namespace) && name::is_subdomain(name) {
        true => Ok(Pattern::Exact(format!("{namespace}/{name}").into())),
        false => Err(format!("`{text}` is not <service account> or <namespace>/<service account>: no patterns here")),
    }
}

fn template(text: &str) -> Result<Pattern, String> {
    let shape =
        || format!("`{text}`: {{*}} and {{**}} stand alone between slashes, {{**}} behind the others, without *");
    let path = text.strip_prefix('/').ok_or_else(shape)?;
    let element = |part: &str| match part {
        "{*}" => Ok(Element::One),
        "{**}" => Ok(Element::Rest),
        literal if literal.contains(['{', '}', '*']) => Err(shape()),
        literal => Ok(Element::Literal(literal.into())),
    };
    let elements: Vec<Element> = path.split('/').map(element).collect::<Result<_, _>>()?;
    let rest = elements.iter().position(|element| *element == Element::Rest);
    let behind = rest.and_then(|at| elements.get(at + 1..)).unwrap_or_default();
    match behind.iter().all(|element| matches!(element, Element::Literal(_))) {
        true => Ok(Pattern::Template(PathTemplate(elements))),
        false => Err(shape()),
    }
}
