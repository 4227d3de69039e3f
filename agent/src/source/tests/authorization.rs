//! AuthorizationPolicy: read, or denying.

use super::{Dir, assert_findings, authorizations};
use crate::model::AuthorizationPolicy;
use crate::model::authorization_policy::{Action, Selection};
use crate::source::files::Files;
use std::collections::BTreeSet;

const HEAD: &str = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: it\n";

fn policy(namespace: &str, spec: &str) -> String {
    format!("{HEAD}  namespace: {namespace}\nspec:\n{spec}")
}

fn one(text: &str) -> (Vec<String>, AuthorizationPolicy) {
    let dir = Dir::new(&[("f.yaml", text)]);
    (dir.findings(), authorizations(&dir.read()).remove(0))
}

/// A policy of the namespace `shop` in words: its rules, each with `from`, `to` and `when`.
fn rules(spec: &str) -> Vec<String> {
    let (findings, policy) = one(&policy("shop", spec));
    assert!(findings.is_empty(), "{findings:#?}");
    let shown = |tests: &[crate::model::authorization_policy::AttributeTest]| {
        tests.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
    };
    let ways = |ways: &[Vec<_>]| ways.iter().map(|way| shown(way)).collect::<Vec<_>>().join(" or ");
    policy
        .rules
        .iter()
        .map(|rule| format!("{} / {} / {}", ways(&rule.from), ways(&rule.to), shown(&rule.when)))
        .collect()
}

fn labels(key: &str, value: &str) -> Selection {
    Selection::Labels([(key.into(), value.into())].into())
}

#[test]
fn what_a_policy_does_and_to_whom() {
    let services = |names: &[&str]| {
        Selection::Services(names.iter().map(|name| format!("{name}.shop.svc.cluster.local").as_str().into()).collect())
    };
    for (namespace, spec, everywhere, selection, action) in [
        ("istio-system", "  {}\n", true, Selection::All, Action::Allow),
        ("shop", "  {action: DENY, rules: [{}]}\n", false, Selection::All, Action::Deny),
        ("shop", "  {action: AUDIT, selector: {}, rules: [{}]}\n", false, Selection::All, Action::Audit),
        ("shop", "  selector: {matchLabels: {app: web}}\n", false, labels("app", "web"), Action::Allow),
        ("istio-system", "  selector: {matchLabels: {app: web}}\n", true, labels("app", "web"), Action::Allow),
        ("shop", "  targetRef: {kind: Service, name: web}\n", false, services(&["web"]), Action::Allow),
        (
            "shop",
            "  targetRefs: [{kind: Service, group: '', name: a}, {kind: Service, group: core, namespace: shop, name: b}]\n",
            false,
            services(&["a", "b"]),
            Action::Allow,
        ),
    ] {
        let (findings, policy) = one(&policy(namespace, spec));
        assert_findings(&findings, &[]);
        let read = (policy.everywhere, policy.selection, policy.action, policy.stand_in, policy.dry_run);
        assert_eq!(read, (everywhere, selection, action, false, false), "{spec}");
    }
    let gateway = "  targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: front}]\n";
    let (findings, read) = one(&policy("shop", gateway));
    assert_findings(&findings, &["warning unsupported-target f.yaml:7:17 spec.targetRefs[0].kind: has no effect"]);
    assert_eq!(read.selection, Selection::Nothing);
    let custom = "  {action: CUSTOM, provider: {name: ext}, rules: [{}]}\n";
    let (findings, read) = one(&policy("shop", custom));
    assert_findings(&findings, &[]);
    assert_eq!(read.action, Action::Custom("ext".into()));
    let (findings, _) = one(&policy("shop", "  action: DENY\n"));
    assert_findings(&findings, &["warning policy-without-rules f.yaml:6:1 spec: a DENY policy without rules never"]);
}

#[test]
fn a_dry_run_is_said_by_an_annotation() {
    for (value, dry, expected) in [
        ("'true'", true, vec![]),
        ("'false'", false, vec![]),
        (
            "'yes'",
            false,
            vec![
                "error invalid-value f.yaml:5:35 metadata.annotations[istio.io/dry-run]: `yes`",
                "error policy-denies ",
            ],
        ),
    ] {
        let (findings, policy) = one(&format!("{HEAD}  annotations: {{istio.io/dry-run: {value}}}\nspec: {{}}\n"));
        assert_findings(&findings, &expected);
        assert_eq!(policy.dry_run, dry);
    }
}

#[test]
fn every_field_and_its_not_form() {
    let from = |field: &str| rules(&format!("  rules: [{{from: [{{source: {{{field}}}}}]}}]\n")).remove(0);
    let to = |field: &str| rules(&format!("  rules: [{{to: [{{operation: {{{field}}}}}]}}]\n")).remove(0);
    for (read, field, value, expected) in [
        (
            &from as &dyn Fn(&str) -> String,
            "principals",
            "d/ns/a/sa/b, d/*",
            "source.principal IN [d/ns/a/sa/b, d/*] /  / ",
        ),
        (&from, "namespaces", "bank, '*-test'", "source.namespace IN [bank, *-test] /  / "),
        (&from, "serviceAccounts", "till, bank/clerk", "source.serviceAccount IN [shop/till, bank/clerk] /  / "),
        (&from, "trustDomains", "'*'", "source.trustDomain IN [*] /  / "),
        (
            &from,
            "ipBlocks",
            "10.1.2.3/8, 10.9.9.9, 'fd00::/8'",
            "source.ip IN [10.0.0.0/8, 10.9.9.9/32, fd00::/8] /  / ",
        ),
        (&from, "remoteIpBlocks", "10.0.0.0/8", "remote.ip IN [10.0.0.0/8] /  / "),
        (&from, "requestPrincipals", "issuer/*", "request.auth.principal IN [issuer/*] /  / "),
        (&to, "hosts", "a.com", " / host IN [a.com] / "),
        (&to, "ports", "'80', '8080'", " / destination.port IN [80, 8080] / "),
        (&to, "methods", "GET", " / method IN [GET] / "),
        (&to, "paths", "/a*, '/b/{*}/{**}'", " / path IN [/a*, /b/{*}/{**}] / "),
    ] {
        let negated = format!("not{}{}", field[..1].to_uppercase(), &field[1..]);
        assert_eq!(read(&format!("{field}: [{value}]")), expected.replace("IN", "in"));
        assert_eq!(read(&format!("{negated}: [{value}]")), expected.replace("IN", "not in"));
    }
}

#[test]
fn conditions() {
    for (key, value) in [
        ("source.ip", "10.0.0.0/8"),
        ("remote.ip", "10.0.0.0/8"),
        ("destination.ip", "10.0.0.0/8"),
        ("destination.port", "80"),
        ("source.namespace", "bank"),
        ("source.principal", "d/ns/a/sa/b"),
        ("source.serviceAccount", "bank/clerk"),
        ("connection.sni", "*.example.com"),
        ("request.headers[user-agent]", "Mozilla/*"),
        ("request.auth.principal", "i/s"),
        ("request.auth.audiences", "books"),
        ("request.auth.presenter", "me"),
        ("request.auth.claims[iss]", "*@foo.com"),
        ("request.auth.claims[a][b]", "x"),
    ] {
        for (field, word) in [("values", "in"), ("notValues", "not in")] {
            let read = rules(&format!("  rules: [{{when: [{{key: '{key}', {field}: ['{value}']}}]}}]\n"));
            assert_eq!(read, [format!(" /  / {key} {word} [{value}]")]);
        }
    }
    let both = "  rules: [{when: [{key: source.ip, values: [10.0.0.0/8], notValues: [10.0.0.1]}]}]\n";
    assert_eq!(rules(both), [" /  / source.ip in [10.0.0.0/8] and source.ip not in [10.0.0.1/32]"]);
    let ways =
        "  rules: [{from: [{source: {namespaces: [a]}}, {source: {namespaces: [b], ipBlocks: [10.0.0.1]}}]}, {}]\n";
    let expected =
        ["source.namespace in [a] or source.namespace in [b] and source.ip in [10.0.0.1/32] /  / ", " /  / "];
    assert_eq!(rules(ways), expected);
}

#[test]
fn the_mesh_s_own_trust_domain_has_a_name_that_is_the_same_everywhere() {
    let dir = Dir::new(&[(
        "f.yaml",
        &policy("shop", "  rules: [{from: [{source: {principals: [cluster.local/ns/a/*, other/ns/a/*]}}]}]\n"),
    )]);
    let mut config = dir.config();
    config.trust_domain = "td".into();
    let read = authorizations(&crate::source::read_once(config)).remove(0);
    let shown = read.rules[0].from[0][0].to_string();
    assert_eq!(shown, "source.principal in [cluster.local/ns/a/*, td/ns/a/*, other/ns/a/*]");
}

/// Asserts that a policy of `shop` is not read for this reason, and denies those.
#[track_caller]
fn assert_denies(spec: &str, expected: &str, selection: Selection) {
    let (findings, policy) = one(&policy("shop", spec));
    assert_findings(&findings, &[expected, "error policy-denies f.yaml:1:1 everything is denied to "]);
    let denies = (policy.action, policy.stand_in, policy.rules.len(), policy.selection);
    assert_eq!(denies, (Action::Deny, true, 1, selection), "{spec}");
}

#[test]
fn one_that_cannot_be_read_denies_what_it_selects() {
    let app = "  selector: {matchLabels: {app: web}}\n";
    let services = Selection::Services(vec!["web.shop.svc.cluster.local".into()]);
    for (spec, expected, selection) in [
        ("  action: PERMIT\n".to_owned(), "error invalid-value f.yaml:7:11 spec.action: `PERMIT`", Selection::All),
        ("  rulez: []\n".to_owned(), "error unknown-field f.yaml:7:3 spec.rulez: ", Selection::All),
        (
            "  action: CUSTOM\n".to_owned(),
            "error missing-field f.yaml:7:3 spec.action: CUSTOM needs `provider.name`",
            Selection::All,
        ),
        ("  provider: {name: x}\n".to_owned(), "error invalid-value f.yaml:7:3 spec.provider: ", Selection::All),
        (
            "  targetRefs: [{kind: Service, name: web}]\n  action: DENI\n".to_owned(),
            "error invalid-value f.yaml:8:11 spec.action: ",
            services,
        ),
        (
            "  targetRefs: [{kind: Deployment, name: web}]\n".to_owned(),
            "error unsupported-target f.yaml:7:17 spec.targetRefs[0].kind: Deployment of `` cannot",
            Selection::All,
        ),
        (
            format!("{app}  targetRef: {{kind: Service, name: web}}\n"),
            "error invalid-value f.yaml:7:3 spec.selector: a policy has a selector or targetRefs, not both",
            labels("app", "web"),
        ),
    ] {
        assert_denies(&spec, expected, selection);
    }
}

#[test]
fn a_rule_that_cannot_be_read_makes_its_policy_deny() {
    for (rule, expected) in [
        ("form: []", "unknown-field f.yaml:8:12 spec.rules[0].form: "),
        ("from: []", "invalid-value f.yaml:8:12 spec.rules[0].from: "),
        ("from: [{source: {}}]", "missing-field f.yaml:8:19 "),
        (
            "from: [{source: {ipBlocks: [10.0.0.0/40]}}]",
            "invalid-value f.yaml:8:40 spec.rules[0].from[0].source.ipBlocks[0]: `10.0.0.0/40`",
        ),
        (
            "from: [{source: {ipBlocks: ['::ffff:10.0.0.0/104']}}]",
            "invalid-value f.yaml:8:40 spec.rules[0].from[0].source.ipBlocks[0]: `::ffff:10.0.0.0/104`",
        ),
        (
            "from: [{source: {principals: ['spiffe://d/ns/a/sa/b']}}]",
            "invalid-value f.yaml:8:42 spec.rules[0].from[0].source.principals[0]: `spiffe://d/ns/a/sa/b`",
        ),
        (
            "from: [{source: {serviceAccounts: ['a*']}}]",
            "invalid-value f.yaml:8:47 spec.rules[0].from[0].source.serviceAccounts[0]: `a*`",
        ),
        (
            "from: [{source: {serviceAccounts: [a], namespaces: [b]}}]",
            "invalid-value f.yaml:8:20 spec.rules[0].from[0].source: serviceAccounts cannot stand beside",
        ),
        (
            "to: [{operation: {ports: [http]}}]",
            "invalid-value f.yaml:8:38 spec.rules[0].to[0].operation.ports[0]: `http` is not a port",
        ),
        (
            "when: [{key: source.ipp, values: [x]}]",
            "invalid-key f.yaml:8:25 spec.rules[0].when[0].key: `source.ipp` is not a key: it is ",
        ),
        ("when: [{key: 'request.headers[]', values: [x]}]", "invalid-key f.yaml:8:25 spec.rules[0].when[0].key: "),
        ("when: [{key: source.ip}]", "missing-field f.yaml:8:19 spec.rules[0].when[0]: needs `values` or"),
    ] {
        let spec = format!("  selector: {{matchLabels: {{app: web}}}}\n  rules: [{{{rule}}}]\n");
        assert_denies(&spec, &format!("error {expected}"), labels("app", "web"));
    }
}

#[test]
fn one_that_denies_nothing_denies_nothing_when_it_cannot_be_read() {
    let dry = HEAD.replace("  name: it\n", "  name: it\n  annotations:\n    istio.io/dry-run: 'true'\n");
    for text in [
        policy("shop", "  action: AUDIT\n  rules: [{form: []}]\n"),
        format!("{dry}spec: {{action: DENI}}\n"),
        format!("{dry}spec: {{action: DENY\n"),
    ] {
        let dir = Dir::new(&[("f.yaml", &text)]);
        assert!(!dir.findings().is_empty() && authorizations(&dir.read()).is_empty(), "{text}");
    }
}

#[test]
fn what_allowed_denies_once_it_cannot_be_read_and_to_those_it_was_for() {
    let good = policy("shop", "  selector: {matchLabels: {app: web}}\n  action: ALLOW\n  rules: [{}]\n");
    for bad in [
        good.replace("ALLOW", "ALOW"),
        good.replace("matchLabels", "matchLabel"),
        good.replace("metadata:", "metadata: ["),
        good.replace("  name: it\n", "  name: it\n  labels: []\n"),
        "]".to_owned(),
        "\u{0}".to_owned(),
    ] {
        let dir = Dir::new(&[("f.yaml", &good)]);
        let mut files = Files::new(dir.config());
        files.scan();
        assert_eq!(authorizations(&files.world.update().unwrap())[0].action, Action::Allow);
        dir.write("f.yaml", &bad);
        files.refresh(&BTreeSet::from([dir.path().join("f.yaml")]));
        let update = files.world.update().unwrap();
        let shop = authorizations(&update).into_iter().find(|policy| policy.id.namespace.as_str() == "shop").unwrap();
        assert_eq!((shop.action, shop.stand_in, shop.selection), (Action::Deny, true, labels("app", "web")), "{bad}");
    }
}

#[test]
fn what_never_matches_is_said() {
    let rule = "  rules: [{to: [{operation: {methods: [get], paths: [admin]}}]}]\n";
    let (findings, _) = one(&policy("shop", rule));
    let never: Vec<_> = findings.into_iter().filter(|finding| finding.contains("never-matches")).collect();
    assert_findings(&never, &["warning never-matches f.yaml:7:40 ", "warning never-matches f.yaml:7:54 "]);
}

#[test]
fn templates_of_paths() {
    for (text, fine) in [
        ("/{*}", true),
        ("/{**}", true),
        ("/a/{*}/b/{**}/c", true),
        ("/{**}/{*}", false),
        ("/{**}/{**}", false),
        ("/a{*}", false),
        ("/{*}*", false),
        ("/{a}", false),
        ("{*}", false),
        ("/*/{*}", false),
    ] {
        let (findings, read) =
            one(&policy("shop", &format!("  rules: [{{to: [{{operation: {{paths: ['{text}']}}}}]}}]\n")));
        assert_eq!(!read.stand_in, fine, "{text} {findings:#?}");
    }
}
