//! Several routes of one kind as one list of rules, in the order in which the specification has them tried.

use super::references::Resolved;
use crate::model::gateway_route::{Rank, RouteRules};
use crate::model::{GatewayRoute, HttpRule, ObjectId, VirtualService};
use crate::route::binding::Titles;
use crate::vocab::Hostname;
use std::cmp::Reverse;
use std::time::SystemTime;

/// Where a route stands among others that say the same: the oldest first, then by name.
pub(super) fn seniority(route: &GatewayRoute) -> impl Ord + use<> {
    (route.age.seniority(), route.id.id.clone())
}

/// Merges routes of one kind and namespace, which are in order of seniority. No VirtualService was written: it is what
/// bindings are made of.
pub(super) fn merge(host: &Hostname, routes: &[&Resolved<'_>]) -> Option<(VirtualService, Titles)> {
    let first = routes.first()?.route;
    let mut rules = VirtualService {
        id: first.id.id.clone(),
        origin: first.origin.clone(),
        hosts: vec![host.clone()],
        export_to: Vec::new(),
        http: Vec::new(),
        tls: Vec::new(),
        tcp: Vec::new(),
    };
    let mut titles = Titles::default();
    requests(routes, &mut rules, &mut titles);
    let mut tls = Vec::new();
    for resolved in routes {
        let title = |at: usize| format!("{} rules[{at}]", resolved.route.id).into();
        match &resolved.rules {
            RouteRules::Requests(_) => {}
            RouteRules::Tls(own) => tls.extend(own.iter().enumerate().map(|(at, rule)| (rule.clone(), title(at)))),
            RouteRules::Tcp(own) => {
                rules.tcp.extend(own.iter().cloned());
                titles.tcp.extend((0..own.len()).map(title));
            }
        }
    }
    // The narrowest of the names that a server is asked for decides, whichever route it is of.
    tls.sort_by_key(|(rule, _)| Reverse(rule.matches.iter().flat_map(|one| &one.sni_hosts).map(narrowness).max()));
    (rules.tls, titles.tls) = tls.into_iter().unzip();
    Some((rules, titles))
}

/// One match of one rule of one route.
struct Entry {
    precedence: Precedence,
    route: usize,
    rule: usize,
    one: usize,
}

/// The most specific match first, then the oldest route, then the route's name, then the order in the route.
type Precedence = (Reverse<Rank>, (bool, Option<SystemTime>), ObjectId, (usize, usize));

/// A rule has a place for each of its matches, between those of others.
fn requests(routes: &[&Resolved<'_>], merged: &mut VirtualService, titles: &mut Titles) {
    let mut last = None;
    for entry in sorted(routes) {
        let RouteRules::Requests(own) = &routes[entry.route].rules else { continue };
        let rule = &own[entry.rule].rule;
        let one = rule.matches[entry.one].clone();
        let place = (entry.route, entry.rule);
        match merged.http.last_mut().filter(|_| last == Some(place)) {
            Some(before) => before.matches.push(one),
            None => {
                merged.http.push(HttpRule { matches: vec![one], ..rule.clone() });
                titles.http.push(format!("{} rules[{}]", routes[entry.route].route.id, entry.rule).into());
            }
        }
        last = Some(place);
    }
}

fn sorted(routes: &[&Resolved<'_>]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (at, resolved) in routes.iter().enumerate() {
        let RouteRules::Requests(rules) = &resolved.rules else { continue };
        let route = resolved.route;
        let ranks = rules
            .iter()
            .enumerate()
            .flat_map(|(rule, ranked)| ranked.ranks.iter().enumerate().map(move |(one, rank)| (rule, one, *rank)));
        entries.extend(ranks.map(|(rule, one, rank)| {
            let precedence = (Reverse(rank), route.age.seniority(), route.id.id.clone(), (rule, one));
            Entry { precedence, route: at, rule, one }
        }));
    }
    entries.sort_by(|one, other| one.precedence.cmp(&other.precedence));
    entries
}

/// A name without a wildcard is narrowest, then the longest.
fn narrowness(name: &Hostname) -> (bool, usize) {
    (!name.as_str().starts_with('*'), name.as_str().len())
}
