//! Why policies decide as they do, rule by rule. Nothing is decided here: each test is asked by itself.

use super::PolicyTable;
use super::facts::{Connection, Seen};
use super::layer::Selected;
use super::matcher::{Rule, Test, Truth};
use crate::model::Workload;
use crate::model::authorization_policy::{AttributeTest, AuthorizationPolicy, AuthorizationRule};
use std::sync::Arc;

/// A policy that selects a workload, and its rules in their order.
#[derive(Debug)]
pub struct PolicyWhy {
    /// The policy.
    pub policy: Arc<AuthorizationPolicy>,
    /// Whether it is for the port of the connection.
    pub is_for_port: bool,
    /// Why each rule matches or not.
    pub rules: Vec<RuleWhy>,
}

/// Why a rule matches or not.
#[derive(Debug, PartialEq, Eq)]
pub struct RuleWhy {
    /// Whether it matches.
    pub matches: bool,
    /// What it wants and does not find, one for each way in which it could match.
    pub unmet: Vec<String>,
}

/// Every policy that selects a workload, asked about a connection that is carried as bytes.
pub fn why(table: &PolicyTable, destination: &Workload, connection: &Connection<'_>) -> Vec<PolicyWhy> {
    let layers = table.layers(destination);
    let of = |selected: &Selected| {
        let policy = Arc::clone(&selected.compiled.policy);
        let without = selected.compiled.without();
        let asked = |test: &Test| test.truth(connection, Seen::Opaque, without) == Truth::Yes;
        let rules = selected.compiled.rules.iter().zip(&policy.rules).map(|(rule, read)| rule_why(rule, read, &asked));
        let (is_for_port, rules) = (selected.is_for(connection.destination.port()), rules.collect());
        PolicyWhy { policy, is_for_port, rules }
    };
    layers.policies().map(of).collect()
}

fn rule_why(rule: &Rule, read: &AuthorizationRule, holds: &dyn Fn(&Test) -> bool) -> RuleWhy {
    let first = |tests: &[Test], read: &[AttributeTest]| {
        let unmet = tests.iter().zip(read).find(|(test, _)| !holds(test));
        unmet.map(|(_, read)| format!("wants {read}"))
    };
    let mut unmet = Vec::new();
    for (ways, read) in [(&rule.from, &read.from), (&rule.to, &read.to)] {
        let missing: Vec<_> = ways.iter().zip(read).map(|(way, read)| first(way, read)).collect();
        // One way that holds is enough.
        if missing.iter().all(Option::is_some) {
            unmet.extend(missing.into_iter().flatten());
        }
    }
    unmet.extend(first(&rule.when, &read.when));
    RuleWhy { matches: unmet.is_empty(), unmet }
}
