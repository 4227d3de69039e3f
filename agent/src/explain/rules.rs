//! Which of the rules in force takes the traffic, and why those before it do not.

use super::action::{destinations, http_outcome};
use super::conditions::{client_fails, in_words, unmet};
use super::{Case, Decision};
use crate::model::{HttpRule, TcpMatch, WeightedDestination};
use crate::route::Binding;
use crate::route::matching::{Asked, tcp_rule};
use crate::vocab::OrigDst;
use http::request::Parts;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};

impl Case<'_> {
    /// Of rules for requests.
    pub(super) fn requests(&self, binding: &Binding, request: &Parts) -> Decision {
        let asked = Asked { source: self.source, port: self.port.number(), request };
        let all = &binding.rules.http;
        let mut rules = Vec::new();
        let mut taken = None;
        for (at, rule) in all.iter().enumerate() {
            let fate = if taken.is_none() { fate(rule, &asked) } else { Fate::After };
            rules.push(row(at, rule, &fate));
            if matches!(fate, Fate::Takes(_)) {
                taken = Some(rule);
            }
        }
        let outcome = match taken {
            Some(rule) => http_outcome(self, rule),
            None => json!({
                "what": format!("404 (NR): none of the rules for {} takes this request", self.frontend.backends().host()),
            }),
        };
        Decision { rules, outcome }
    }

    /// Of rules for connections; the service itself where none of them takes it.
    pub(super) fn connections(&self) -> Decision {
        let mut rules = Vec::new();
        let Some(binding) = self.governing.connections else {
            return Decision { rules, outcome: self.plain("no rule is in force: it goes to the service") };
        };
        for (at, rule) in binding.rules.tls.iter().enumerate() {
            let names: Vec<&str> =
                rule.matches.iter().flat_map(|one| &one.sni_hosts).map(|name| name.as_str()).collect();
            let why = format!("only TLS connections that ask for {}", names.join(", "));
            rules.push(json!({ "rule": format!("tls[{at}]"), "takes": false, "why": [why] }));
        }
        let mut taken: Option<(&Option<std::sync::Arc<str>>, &[WeightedDestination])> = None;
        for (at, rule) in binding.rules.tcp.iter().enumerate() {
            let fails: Vec<Vec<String>> = rule.matches.iter().map(|one| self.tcp_fails(one)).collect();
            let takes = taken.is_none() && tcp_rule(rule, self.source, self.dialled());
            let why: Vec<String> = match taken.is_some() {
                true => vec!["an earlier rule takes it".to_owned()],
                false => fails.iter().filter(|_| !takes).map(|all| format!("wants {}", all.join(", "))).collect(),
            };
            rules.push(json!({ "rule": format!("tcp[{at}]"), "takes": takes, "why": why }));
            if takes {
                taken = Some((&rule.broken, &rule.route));
            }
        }
        let outcome = match taken {
            Some((Some(why), _)) => json!({ "what": format!("the connection is refused: {why}") }),
            Some((None, route)) => {
                json!({ "what": "the connection is carried", "destinations": destinations(self, route) })
            }
            None => self.plain("no rule takes the connection: it goes to the service"),
        };
        Decision { rules, outcome }
    }

    /// The address that the client would use; a name without one stands for none.
    fn dialled(&self) -> OrigDst {
        let address = self.frontend.backends().addresses().first().copied();
        OrigDst::new(SocketAddr::new(address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), self.port.number()))
    }

    fn tcp_fails(&self, one: &TcpMatch) -> Vec<String> {
        let subnets = &one.destination_subnets;
        let inside = subnets.is_empty() || subnets.iter().any(|net| net.contains(&self.dialled().ip()));
        let subnet = (!inside).then(|| format!("an address in {subnets:?}"));
        let port = one.port.filter(|port| *port != self.port.number()).map(|port| format!("the port {port}"));
        let client = client_fails(&one.source_labels, one.source_namespace.as_ref(), self.source);
        subnet.into_iter().chain(port).chain(client).collect()
    }
}

/// What a rule does with the request.
enum Fate {
    /// By this match, or by having none.
    Takes(String),
    /// Why not, for each match.
    Leaves(Vec<String>),
    /// An earlier one took it.
    After,
}

fn fate(rule: &HttpRule, asked: &Asked<'_>) -> Fate {
    if rule.matches.is_empty() {
        return Fate::Takes("it has no conditions".to_owned());
    }
    let mut reasons = Vec::new();
    for one in &rule.matches {
        let unmet = unmet(one, asked);
        if unmet.is_empty() {
            return Fate::Takes(in_words(one));
        }
        reasons.push(format!("wants {}", unmet.join(", ")));
    }
    Fate::Leaves(reasons)
}

fn row(at: usize, rule: &HttpRule, fate: &Fate) -> Value {
    let (takes, why) = match fate {
        Fate::Takes(how) => (true, vec![how.clone()]),
        Fate::Leaves(reasons) => (false, reasons.clone()),
        Fate::After => (false, vec!["an earlier rule takes it".to_owned()]),
    };
    json!({
        "rule": format!("http[{at}]"),
        "name": rule.name,
        "at": rule.origin.to_string(),
        "takes": takes,
        "why": why,
    })
}
