//! Rules: `from`, `to` and `when` are lists of tests.

use super::attribute::of_key;
use super::raw::{Condition, Operation, Rule, Source};
use super::values;
use crate::model::authorization_policy::{Attribute, AttributeTest, AuthorizationRule};
use crate::source::Scope;
use crate::source::notes::Notes;
use crate::source::path::Path;
use crate::vocab::Namespace;

/// The rules of one policy.
pub struct Reading<'a, 'n> {
    pub source: &'a Scope<'a>,
    pub namespace: &'a Namespace,
    pub notes: &'a mut Notes<'n>,
}

/// A field and its `not` form: their names, what they look at, what they say.
type Field<'s> = ([&'static str; 2], Attribute, [&'s [String]; 2]);

impl Reading<'_, '_> {
    pub fn rule(&mut self, rule: &Rule, path: &Path) -> AuthorizationRule {
        let (from, to, when) = (path.key("from"), path.key("to"), path.key("when"));
        let sources = rule.from.as_ref().map(|from| from.iter().map(|one| one.source.as_ref().map(source_fields)));
        let operations = rule.to.as_ref().map(|to| to.iter().map(|one| one.operation.as_ref().map(operation_fields)));
        AuthorizationRule {
            from: self.ways(sources, &from, "source"),
            to: self.ways(operations, &to, "operation"),
            when: self.conditions(rule.when.as_deref(), &when),
        }
    }

    /// The items of a list of which one has to fit, each of them below `key`.
    fn ways<'s>(
        &mut self,
        ways: Option<impl ExactSizeIterator<Item = Option<Vec<Field<'s>>>>>,
        path: &Path,
        key: &'static str,
    ) -> Vec<Vec<AttributeTest>> {
        let Some(ways) = ways else { return Vec::new() };
        if ways.len() == 0 {
            self.notes.error("invalid-value", path, "an empty list would match nothing: leave it out to match all");
        }
        let mut read = Vec::with_capacity(ways.len());
        for (at, way) in (0..).zip(ways) {
            let path = path.index(at);
            let tests = self.tests(way.unwrap_or_default(), &path.key(key));
            if tests.is_empty() {
                let what = format!("`{key}` says nothing: name at least one field of it");
                self.notes.error("missing-field", &path, what);
            }
            read.push(tests);
        }
        read
    }

    fn tests(&mut self, fields: Vec<Field<'_>>, path: &Path) -> Vec<AttributeTest> {
        self.exclusive(&fields, path);
        let mut tests = Vec::new();
        for (names, attribute, said) in fields {
            for ((name, texts), negated) in names.into_iter().zip(said).zip([false, true]) {
                tests.extend(self.test((&attribute, negated), texts, &path.key(name)));
            }
        }
        tests
    }

    /// As the API demands it.
    fn exclusive(&mut self, fields: &[Field<'_>], path: &Path) {
        let said =
            |names: &[&str]| fields.iter().any(|(name, _, said)| names.contains(&name[0]) && !said.concat().is_empty());
        if said(&["serviceAccounts"]) && said(&["principals", "namespaces"]) {
            let what = "serviceAccounts cannot stand beside principals or namespaces: use one of them";
            self.notes.error("invalid-value", path, what);
        }
    }

    fn conditions(&mut self, conditions: Option<&[Condition]>, path: &Path) -> Vec<AttributeTest> {
        let mut tests = Vec::new();
        for (at, condition) in (0..).zip(conditions.unwrap_or_default()) {
            let path = path.index(at);
            if condition.values.is_empty() && condition.not_values.is_empty() {
                self.notes.error("missing-field", &path, "needs `values` or `notValues`");
            }
            match of_key(&condition.key) {
                Ok(attribute) => {
                    tests.extend(self.test((&attribute, false), &condition.values, &path.key("values")));
                    tests.extend(self.test((&attribute, true), &condition.not_values, &path.key("notValues")));
                }
                Err(what) => self.notes.invalid("invalid-key", &path.key("key"), what),
            }
        }
        tests
    }

    fn test(
        &mut self,
        (attribute, negated): (&Attribute, bool),
        texts: &[String],
        path: &Path,
    ) -> Option<AttributeTest> {
        if texts.is_empty() {
            return None;
        }
        let place = values::Place { source: self.source, namespace: self.namespace, path };
        let values = values::read(attribute, texts, &place, self.notes);
        Some(AttributeTest { attribute: attribute.clone(), negated, values })
    }
}

fn source_fields(source: &Source) -> Vec<Field<'_>> {
    vec![
        (["principals", "notPrincipals"], Attribute::Principal, [&source.principals, &source.not_principals]),
        (
            ["requestPrincipals", "notRequestPrincipals"],
            Attribute::RequestPrincipal,
            [&source.request_principals, &source.not_request_principals],
        ),
        (["namespaces", "notNamespaces"], Attribute::Namespace, [&source.namespaces, &source.not_namespaces]),
        (
            ["serviceAccounts", "notServiceAccounts"],
            Attribute::ServiceAccount,
            [&source.service_accounts, &source.not_service_accounts],
        ),
        (
            ["trustDomains", "notTrustDomains"],
            Attribute::TrustDomain,
            [&source.trust_domains, &source.not_trust_domains],
        ),
        (["ipBlocks", "notIpBlocks"], Attribute::SourceIp, [&source.ip_blocks, &source.not_ip_blocks]),
        (
            ["remoteIpBlocks", "notRemoteIpBlocks"],
            Attribute::RemoteIp,
            [&source.remote_ip_blocks, &source.not_remote_ip_blocks],
        ),
    ]
}

fn operation_fields(operation: &Operation) -> Vec<Field<'_>> {
    vec![
        (["hosts", "notHosts"], Attribute::Host, [&operation.hosts, &operation.not_hosts]),
        (["ports", "notPorts"], Attribute::DestinationPort, [&operation.ports, &operation.not_ports]),
        (["methods", "notMethods"], Attribute::Method, [&operation.methods, &operation.not_methods]),
        (["paths", "notPaths"], Attribute::Path, [&operation.paths, &operation.not_paths]),
    ]
}
