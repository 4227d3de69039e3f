//! Rules that no request and no connection can reach, because an earlier one takes everything that they would.

use super::objects::Objects;
use super::{cover, warning};
use crate::model::{Finding, HttpAction, HttpMatch, HttpRule, Origin, TlsMatch, VirtualService, WeightedDestination};
use crate::snapshot::Snapshot;

/// Rules of VirtualServices that are never used.
pub(super) fn unreachable(objects: &Objects<'_>) -> Vec<Finding> {
    objects.virtual_services.iter().flat_map(|rules| of(rules)).collect()
}

/// Matches of the Gateway API's routes that others take whole. The routes of a Service are one list, in the order of the
/// specification's precedence: of two that say the same the older route has it.
pub(super) fn shadowed_routes(snapshot: &Snapshot) -> Vec<Finding> {
    let attached = snapshot.routes.hosts.values().filter_map(|frontend| frontend.attached());
    let sets = attached.flat_map(|all| all.sets()).map(|(_, _, set)| set);
    sets.flat_map(|set| {
        let rules = &set.binding.rules.http;
        let conditions: Vec<_> = rules.iter().map(|rule| (or_any(&rule.matches), false)).collect();
        let pairs = shadowed(&conditions, cover::http).into_iter();
        let pairs = pairs.filter(|(late, early)| rules[*late].origin != rules[*early].origin);
        pairs.map(|(late, early)| route_finding(&rules[late], &rules[early])).collect::<Vec<_>>()
    })
    .collect()
}

fn route_finding(late: &HttpRule, early: &HttpRule) -> Finding {
    let message = format!(
        "a match of this rule never takes a request: the rule at {} takes everything that it would; remove it, or make \
         it more specific",
        early.origin
    );
    warning("unreachable-rule", &late.origin, message)
}

fn of(rules: &VirtualService) -> Vec<Finding> {
    let http: Vec<_> = rules.http.iter().map(|rule| (http_conditions(rule), leaves_some(rule))).collect();
    let tls: Vec<(Vec<TlsMatch>, bool)> = rules.tls.iter().map(|rule| (rule.matches.clone(), false)).collect();
    let tcp: Vec<_> = rules.tcp.iter().map(|rule| (or_any(&rule.matches), false)).collect();
    let http = shadowed(&http, cover::http).into_iter().map(|(late, early)| {
        let (late_rule, early_rule) = (&rules.http[late], &rules.http[early]);
        let place = Some(&late_rule.origin);
        finding(rules, place, &[name(late, late_rule), name(early, early_rule)], "request")
    });
    let tls = shadowed(&tls, cover::tls).into_iter().map(|(late, early)| {
        let names = [format!("tls[{late}]"), format!("tls[{early}]")];
        finding(rules, first_place(&rules.tls[late].route), &names, "connection")
    });
    let tcp = shadowed(&tcp, cover::tcp).into_iter().map(|(late, early)| {
        let names = [format!("tcp[{late}]"), format!("tcp[{early}]")];
        finding(rules, first_place(&rules.tcp[late].route), &names, "connection")
    });
    http.chain(tls).chain(tcp).collect()
}

/// Pairs of a rule of which no match is left, and the earlier rule that takes the last of them. A rule comes with
/// whether it may leave what its conditions fit to later rules.
fn shadowed<M>(rules: &[(Vec<M>, bool)], covers: fn(&M, &M) -> bool) -> Vec<(usize, usize)> {
    let taker = |late: usize, narrow: &M| {
        let takes = |(matches, leaves): &(Vec<M>, bool)| !leaves && matches.iter().any(|wide| covers(wide, narrow));
        rules[..late].iter().position(takes)
    };
    let taken = |late: usize| {
        let takers: Option<Vec<usize>> = rules[late].0.iter().map(|narrow| taker(late, narrow)).collect();
        Some((late, *takers?.last()?))
    };
    (1..rules.len()).filter_map(taken).collect()
}

/// No condition at all is one that always holds.
fn or_any<M: Clone + Default>(matches: &[M]) -> Vec<M> {
    if matches.is_empty() { vec![M::default()] } else { matches.to_vec() }
}

fn http_conditions(rule: &HttpRule) -> Vec<HttpMatch> {
    or_any(&rule.matches)
}

/// What a delegate has no rule for goes on to the next rule.
fn leaves_some(rule: &HttpRule) -> bool {
    matches!(rule.action, HttpAction::Delegate(_))
}

fn name(at: usize, rule: &HttpRule) -> String {
    match &rule.name {
        Some(name) => format!("http[{at}] ({name})"),
        None => format!("http[{at}]"),
    }
}

fn first_place(route: &[WeightedDestination]) -> Option<&Origin> {
    route.first().map(|to| &to.destination.origin)
}

fn finding(rules: &VirtualService, place: Option<&Origin>, [late, early]: &[String; 2], what: &str) -> Finding {
    let message = format!(
        "{late} of VirtualService {} never takes a {what}: {early} comes before it and takes everything that it would; \
         put the narrower rule first, or remove it",
        rules.id
    );
    warning("unreachable-rule", place.unwrap_or(&rules.origin), message)
}
