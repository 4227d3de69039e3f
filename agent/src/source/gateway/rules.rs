//! The rules of each kind of route.

use super::Reading;
use super::filters::{Read, Scope};
use super::raw::{BackendRef, Filter, GrpcRule, HttpRule as RawHttp, L4Rule};
use crate::model::gateway_route::{PathRank, Rank, RankedRule};
use crate::model::http_rule::{Dialect, HttpAction, HttpRule};
use crate::model::{HttpMatch, StringMatch, TcpMatch, TcpRule, TlsMatch, TlsRule};
use crate::source::name;
use crate::source::path::Path;
use crate::vocab::Hostname;
use std::collections::BTreeSet;

/// The most matches that the rules of a route may have together.
const MAX_MATCHES: usize = 128;

impl Reading<'_, '_> {
    /// The rules of an HTTPRoute; without any there is one for every request.
    pub fn http_rules(&mut self, raw: Option<&[RawHttp]>, spec: &Path) -> Vec<RankedRule> {
        let default = [RawHttp::default()];
        let raw = raw.unwrap_or(&default);
        let path = spec.key("rules");
        self.sizes(raw.iter().map(|rule| rule.matches.len()), &path);
        self.rule_names(raw.iter().map(|rule| rule.name.as_deref()), &path);
        raw.iter().enumerate().map(|(at, raw)| self.http_rule(raw, &path.index(at))).collect()
    }

    /// How many rules there may be, and how many matches in all of them.
    fn sizes(&mut self, matches: impl ExactSizeIterator<Item = usize>, path: &Path) {
        self.count(matches.len(), path);
        self.at_most(matches.sum(), MAX_MATCHES, path);
    }

    fn http_rule(&mut self, raw: &RawHttp, path: &Path) -> RankedRule {
        let at = path.key("matches");
        self.at_most(raw.matches.len(), 64, &at);
        let default = [super::raw::HttpMatch::default()];
        let given = if raw.matches.is_empty() { &default } else { raw.matches.as_slice() };
        let mut matches = Vec::with_capacity(given.len());
        for (index, raw) in given.iter().enumerate() {
            matches.push(self.http_match(raw, &at.index(index)));
        }
        // A match that is left out is one of the prefix `/`, but ReplacePrefixMatch asks for one that is written.
        let prefix = |one: &HttpMatch| matches!(one.uri, Some(StringMatch::PathPrefix(_)));
        let one_prefix = raw.matches.len() == 1 && matches.iter().all(|(one, _)| prefix(one));
        let scope = Scope { rule: true, one_prefix };
        let mut rule = self.rule(matches, (&raw.filters, &raw.backend_refs), scope, path);
        let timing = self.timing(&raw.timeouts, raw.retry.as_ref(), path);
        rule.rule.name = raw.name.as_deref().map(Into::into);
        (rule.rule.timeout, rule.rule.retry) = (timing.timeout, timing.retry);
        rule
    }

    /// The rules of a GRPCRoute.
    pub fn grpc_rules(&mut self, raw: Option<&[GrpcRule]>, spec: &Path) -> Vec<RankedRule> {
        let default = [GrpcRule::default()];
        let raw = raw.unwrap_or(&default);
        let path = spec.key("rules");
        self.sizes(raw.iter().map(|rule| rule.matches.len()), &path);
        self.rule_names(raw.iter().map(|rule| rule.name.as_deref()), &path);
        raw.iter().enumerate().map(|(at, raw)| self.grpc_rule(raw, &path.index(at))).collect()
    }

    fn grpc_rule(&mut self, raw: &GrpcRule, path: &Path) -> RankedRule {
        let at = path.key("matches");
        self.at_most(raw.matches.len(), 64, &at);
        let mut matches: Vec<_> =
            raw.matches.iter().enumerate().map(|(index, raw)| self.grpc_match(raw, &at.index(index))).collect();
        if matches.is_empty() {
            let rank = Rank { path: PathRank::Prefix(0), method: 0, headers: 0, query_params: 0 };
            matches.push((HttpMatch::default(), rank));
        }
        let scope = Scope { rule: true, one_prefix: false };
        let mut rule = self.rule(matches, (&raw.filters, &raw.backend_refs), scope, path);
        rule.rule.name = raw.name.as_deref().map(Into::into);
        rule
    }

    fn rule(
        &mut self,
        matches: Vec<(HttpMatch, Rank)>,
        (filters, backends): (&[Filter], &[BackendRef]),
        scope: Scope,
        path: &Path,
    ) -> RankedRule {
        let Read { filters, redirect, broken } = self.filters(filters, path, scope);
        let backends = self.backends(backends, path, scope);
        if redirect.is_some() && !backends.to.is_empty() {
            let what = "answers with a redirect, so that nothing goes to them: remove either";
            self.notes.error("incompatible-filters", &path.key("backendRefs"), what);
        }
        let nowhere = backends.to.is_empty() && redirect.is_none();
        if nowhere && broken.is_none() {
            let what = format!("`backendRefs` is missing: {}", self.consequence());
            self.notes.warning("missing-backend", path, what);
        }
        let unresolved = broken.clone();
        let broken = broken.or(backends.broken).or_else(|| nowhere.then(|| "it names no backend".into()));
        let action = redirect.map_or(HttpAction::Forward(backends.to), HttpAction::Redirect);
        let (matches, ranks) = matches.into_iter().unzip();
        let rule = HttpRule::forward(matches, Vec::new(), self.notes.origin(path));
        let dialect = Dialect::Gateway;
        RankedRule { rule: HttpRule { action, filters, broken, dialect, ..rule }, ranks, unresolved }
    }

    /// The rule of a TCPRoute.
    pub fn tcp_rules(&mut self, raw: Option<&[L4Rule]>, spec: &Path) -> Vec<TcpRule> {
        let rules = self.l4_rules(raw.unwrap_or_default(), spec);
        let rule = |(route, broken)| TcpRule { matches: vec![TcpMatch::default()], route, broken };
        rules.into_iter().map(rule).collect()
    }

    /// The rule of a TLSRoute, for these server names.
    pub fn tls_rules(&mut self, raw: Option<&[L4Rule]>, names: &[String], spec: &Path) -> Vec<TlsRule> {
        let rules = self.l4_rules(raw.unwrap_or_default(), spec);
        let sni_hosts = self.server_names(names, spec);
        let one = TlsMatch { sni_hosts, connection: TcpMatch::default() };
        rules.into_iter().map(|(route, broken)| TlsRule { matches: vec![one.clone()], route, broken }).collect()
    }

    fn l4_rules(
        &mut self,
        raw: &[L4Rule],
        spec: &Path,
    ) -> Vec<(Vec<crate::model::WeightedDestination>, Option<std::sync::Arc<str>>)> {
        let path = spec.key("rules");
        self.count(raw.len(), &path);
        self.at_most(raw.len(), 1, &path);
        let mut rules = Vec::with_capacity(raw.len());
        for (at, raw) in raw.iter().enumerate() {
            let path = path.index(at);
            if raw.backend_refs.is_empty() {
                self.notes.error("missing-field", &path, "`backendRefs` is missing: say where the connections go");
            }
            let backends = self.backends(&raw.backend_refs, &path, Scope { rule: true, one_prefix: false });
            rules.push((backends.to, backends.broken));
        }
        rules
    }

    fn server_names(&mut self, names: &[String], spec: &Path) -> Vec<Hostname> {
        let path = spec.key("hostnames");
        if names.is_empty() {
            let what = "`hostnames` is missing: name the servers that TLS clients ask for";
            self.notes.error("missing-field", spec, what);
        }
        let mut hosts = Vec::with_capacity(names.len());
        for (at, text) in names.iter().enumerate() {
            match name::is_subdomain(text.strip_prefix("*.").unwrap_or(text))
                && text.parse::<std::net::IpAddr>().is_err()
            {
                true => hosts.push(text.as_str().into()),
                false => {
                    let what = format!("`{text}` is not a server name such as shop.example.com or *.example.com");
                    self.notes.invalid("invalid-host", &path.index(at), what);
                }
            }
        }
        hosts
    }

    fn count(&mut self, rules: usize, path: &Path) {
        self.at_most(rules, 16, path);
        if rules == 0 {
            self.notes.error("missing-field", path, "there is no rule: write one");
        }
    }

    fn rule_names<'r>(&mut self, names: impl Iterator<Item = Option<&'r str>>, path: &Path) {
        let mut seen = BTreeSet::new();
        for (at, name) in names.enumerate() {
            if let Some(name) = name.filter(|name| !seen.insert(*name)) {
                let what = format!("the rule `{name}` is here twice: rename one");
                self.notes.invalid("duplicate-rule", &path.index(at).key("name"), what);
            }
        }
    }
}
