//! VirtualService: matches, destinations, hosts.

use super::{Dir, assert_findings, virtual_services};
use crate::model::{StringMatch, VirtualService};

/// A VirtualService whose `spec` starts on line 6.
pub(super) fn virtual_service(spec: &str) -> String {
    let head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: reviews\nspec:\n";
    format!("{head}{}", indented(spec))
}

fn indented(spec: &str) -> String {
    spec.lines().map(|line| format!("  {line}\n")).collect()
}

/// What is said of this spec, and the object that comes of it.
pub(super) fn read(spec: &str) -> (Vec<String>, Option<VirtualService>) {
    let dir = Dir::new(&[("f.yaml", &virtual_service(spec))]);
    (dir.findings(), virtual_services(&dir.read()).pop())
}

pub(super) const ROUTE: &str = "  route:\n  - destination: {host: reviews}\n";

#[test]
fn everything_that_is_supported_is_understood() {
    let (findings, object) = read(
        "hosts: [Reviews, ratings.prod.svc.cluster.local, '*.example.com', '*']\nexportTo: ['.', prod]\ngateways: [gw, mesh]\n\
         http:\n- name: all\n  match:\n  - name: one\n    uri: {prefix: /a}\n    ignoreUriCase: true\n    method: {exact: GET}\n    \
         headers:\n      End-User: {regex: 'ja.*n'}\n      x: {}\n    withoutHeaders: {y: {exact: z}}\n    authority: {prefix: rev}\n    \
         port: 9080\n    sourceLabels: {app: web}\n    sourceNamespace: shop\n    gateways: [mesh]\n  - gateways: [gw]\n  route:\n  \
         - destination: {host: reviews, subset: v1, port: {number: 9080}}\n    weight: 80\n  - destination: {host: reviews, subset: v2}\n    \
         weight: 20\ntcp:\n- match:\n  - destinationSubnets: [10.1.2.3/16, '::1']\n    port: 9000\n    sourceLabels: {a: b}\n    \
         sourceNamespace: n\n  route:\n  - destination: {host: ratings}\n",
    );
    assert_findings(&findings, &[]);
    let object = object.unwrap();
    let hosts: Vec<&str> = object.hosts.iter().map(|host| host.as_str()).collect();
    let reviews = "reviews.default.svc.cluster.local";
    assert_eq!(hosts, [reviews, "ratings.prod.svc.cluster.local", "*.example.com", "*"]);
    assert_eq!(object.export_to.iter().map(|ns| ns.as_str()).collect::<Vec<_>>(), ["default", "prod"]);
    let rule = &object.http[0];
    assert_eq!((rule.name.as_deref(), rule.matches.len(), &rule.broken), (Some("all"), 1, &None));
    let matched = &rule.matches[0];
    assert_eq!(matched.uri, Some(StringMatch::Prefix("/a".into())));
    assert_eq!(matched.headers[0].0, "end-user");
    let StringMatch::Regex(pattern) = &matched.headers[0].1 else { panic!("{matched:?}") };
    assert!(pattern.is_match("jason") && !pattern.is_match("a jason") && !pattern.is_match("jasonx"));
    assert_eq!(matched.headers[1].1, StringMatch::Present);
    assert_eq!(matched.without_headers[0].1, StringMatch::Exact("z".into()));
    assert_eq!((matched.port, matched.ignore_uri_case), (Some(9080), true));
    assert_eq!(matched.source_namespace.as_ref().map(|ns| ns.as_str()), Some("shop"));
    let destination = &rule.route()[0].destination;
    assert_eq!((destination.host.as_str(), destination.port, rule.route()[0].weight), (reviews, Some(9080), 80));
    assert!(destination.origin.0.ends_with("f.yaml:27:7"), "{}", destination.origin);
    let tcp = &object.tcp[0].matches[0];
    assert_eq!(format!("{:?}", tcp.destination_subnets), "[10.1.0.0/16, ::1/128]");
}

#[test]
fn all_versions_of_the_api_are_read() {
    for (version, fine) in [("v1", true), ("v1beta1", true), ("v1alpha3", true), ("v2", false)] {
        let text = virtual_service(&format!("hosts: [a]\nhttp:\n- {}", ROUTE.trim_start()));
        let dir = Dir::new(&[("f.yaml", &text.replace("io/v1\n", &format!("io/{version}\n")))]);
        assert_eq!(virtual_services(&dir.read()).len(), usize::from(fine));
        let expected: &[&str] = match fine {
            true => &[],
            false => &["error unknown-kind f.yaml:2:7 kind: VirtualService of networking.istio.io/v2 is not known: \
                        VirtualService is read in the versions v1, v1beta1, v1alpha3"],
        };
        assert_findings(&dir.findings(), expected);
    }
}

#[test]
fn what_is_never_executed_is_said_and_breaks_its_rule_where_it_matters() {
    let http = |rule: &str| format!("hosts: [a]\nhttp:\n- {rule}\n{ROUTE}- {}", ROUTE.trim_start());
    for (spec, expected, broken) in [
        (
            http("match: [{statPrefix: x}]"),
            "warning unsupported-field f.yaml:8:14 spec.http[0].match[0].statPrefix: is not supported and is ignored: metrics",
            None,
        ),
        (
            http("fault: {abort: {http2Error: INTERNAL, percentage: {value: 1}}}"),
            "error unsupported-field f.yaml:8:21 spec.http[0].fault.abort.http2Error: is not supported yet, and leaving \
             it out would change the answer: requests of this rule get 500 (Istio refuses it as well; use",
            Some("http2Error is not supported"),
        ),
        (
            http("fault: {delay: {exponentialDelay: 5s, percentage: {value: 1}}}"),
            "warning unsupported-field f.yaml:8:21 spec.http[0].fault.delay.exponentialDelay: is not supported and is ignored",
            None,
        ),
    ] {
        let (findings, object) = read(&spec);
        assert!(findings.iter().any(|line| line.starts_with(expected)), "{findings:?}");
        let rules = object.unwrap().http;
        assert_eq!(rules[0].broken.as_deref(), broken);
        assert_eq!(rules[1].broken, None);
    }
    let (findings, object) =
        read("hosts: [a]\ntcp:\n- match: [{sourceSubnet: 10.0.0.0/8}]\n  route: [{destination: {host: a}}]\n");
    assert_findings(&findings, &["error unsupported-field f.yaml:8:14 spec.tcp[0].match[0].sourceSubnet: "]);
    assert!(object.unwrap().tcp[0].broken.is_some());
}

#[test]
fn what_istio_would_refuse_refuses_the_object() {
    let http = |rule: &str| format!("hosts: [a]\nhttp:\n- {rule}\n{ROUTE}");
    let to = |destination: &str| format!("hosts: [a]\nhttp:\n- route:\n  - destination: {destination}\n");
    for (spec, expected) in [
        (http("mach: []"), "unknown-field f.yaml:8:5 spec.http[0].mach: there is no such field; did you mean `match`?"),
        (
            http("retries: {atempts: 1}"),
            "unknown-field f.yaml:8:15 spec.http[0].retries.atempts: there is no such field; did you mean `attempts`?",
        ),
        (
            http("match: [{uri: {perfix: /}}]"),
            "unknown-field f.yaml:8:20 spec.http[0].match[0].uri.perfix: there is no such field; did you mean `prefix`?",
        ),
        (
            http("match: [{uri: {regex: '('}}]"),
            "invalid-regex f.yaml:8:27 spec.http[0].match[0].uri.regex: `(` is not a regular expression that can be used: unclosed group",
        ),
        (
            http("match: [{uri: {exact: a, prefix: b}}]"),
            "invalid-value f.yaml:8:14 spec.http[0].match[0].uri: has more than one of",
        ),
        (
            http("match: [{port: 70000}]"),
            "invalid-port f.yaml:8:20 spec.http[0].match[0].port: 70000 is not a port: ports are 1 to 65535",
        ),
        (
            http("match: [{headers: {':path': {exact: x}}}]"),
            "invalid-header f.yaml:8:24 spec.http[0].match[0].headers.:path: `:path` is not a header but a part of the request line",
        ),
        (http("match: {}"), "invalid-type f.yaml:8:12 spec.http[0].match: has to be a list, but is a map"),
        (to("{host: ''}"), "invalid-host f.yaml:9:27 spec.http[0].route[0].destination.host: has to name the host"),
        (
            to("{host: '*.a.b'}"),
            "invalid-host f.yaml:9:27 spec.http[0].route[0].destination.host: `*.a.b` has a wildcard",
        ),
        (
            to("{host: a, port: {number: 0}}"),
            "invalid-port f.yaml:9:45 spec.http[0].route[0].destination.port.number: 0 is not a port",
        ),
        (
            "hosts: [a]\nhttp:\n- name: x\n".to_owned(),
            "missing-field f.yaml:8:5 spec.http[0]: says not what to do with the requests",
        ),
    ] {
        let (findings, object) = read(&spec.replace("- \n  route", "- route"));
        assert_findings(&findings, &[&format!("error {expected}")]);
        assert!(object.is_none(), "{spec}");
    }
}

#[test]
fn what_istio_would_refuse_beside_the_rules_refuses_the_object() {
    let http = |rule: &str| format!("hosts: [a]\nhttp:\n- {rule}\n{ROUTE}");
    for (spec, expected) in [
        ("hosts: [a]\n".to_owned(), "missing-field f.yaml:5:1 spec: there is no rule"),
        (
            "gateways: [mesh]\nhttp:\n- route: [{destination: {host: a}}]\n".to_owned(),
            "missing-field f.yaml:6:3 spec.gateways: is not for a VirtualService without `hosts`",
        ),
        (http("").replace("[a]", "[a_b..c]"), "invalid-host f.yaml:6:11 spec.hosts[0]: `a_b..c` is not a host name"),
        (
            http("").replace("[a]", "[a, A]"),
            "duplicate-host f.yaml:6:14 spec.hosts[1]: `a.default.svc.cluster.local` is here twice",
        ),
        (
            http("").replace("[a]", "[a]\nexportTo: [A/b]"),
            "invalid-value f.yaml:7:14 spec.exportTo[0]: `A/b` is not a namespace",
        ),
        (
            "hosts: [a]\ntcp:\n- match: [{destinationSubnets: [10.0.0.0/33]}]\n  route: [{destination: {host: a}}]\n"
                .to_owned(),
            "invalid-subnet f.yaml:8:35 spec.tcp[0].match[0].destinationSubnets[0]: `10.0.0.0/33` is not a subnet",
        ),
    ] {
        let (findings, object) = read(&spec.replace("- \n  route", "- route"));
        assert_findings(&findings, &[&format!("error {expected}")]);
        assert!(object.is_none(), "{spec}");
    }
}

#[test]
fn weights_are_judged_as_istio_does() {
    let weighted = |a: &str, b: &str| {
        format!(
            "hosts: [a]\nhttp:\n- route:\n  - destination: {{host: a, subset: x}}\n    weight: {a}\n  - destination: {{host: b}}\n    weight: {b}\n"
        )
    };
    let host = "default.svc.cluster.local";
    let shares = |a: &str, b: &str, sum: &str| {
        format!(
            "warning weights-not-100 f.yaml:8:5 spec.http[0].route: the weights add up to {sum}, not 100, and count \
                 in proportion: a.{host} subset x gets {a}%, b.{host} gets {b}%"
        )
    };
    let refused = "error invalid-weight f.yaml:10:7 spec.http[0].route[0].weight: ";
    for (a, b, finding, broken) in [
        ("90", "10", None, false),
        ("100", "0", None, false),
        ("1", "1", Some(shares("50", "50", "2")), false),
        ("1", "2", Some(shares("33.3", "66.7", "3")), false),
        ("80", "~", Some(shares("100", "0", "80")), false),
        ("0", "0", Some("error invalid-weight f.yaml:8:5 spec.http[0].route: all weights are 0".to_owned()), true),
        (
            "-1",
            "101",
            Some(format!(
                "{refused}-1 is not a weight: it has to be an integer of 0 or more; until then \
                                    requests of this rule get 500"
            )),
            true,
        ),
        ("0.5", "99", Some(format!("{refused}0.5 is not a weight")), true),
        ("'50'", "50", Some(format!("{refused}\"50\" is not a weight")), true),
        ("4294967296", "1", Some(format!("{refused}4294967296 is not a weight")), true),
    ] {
        let (findings, object) = read(&weighted(a, b));
        let expected: Vec<&str> = finding.iter().map(String::as_str).collect();
        assert_findings(&findings, &expected);
        assert_eq!(object.unwrap().http[0].broken.is_some(), broken, "{a} {b}");
    }
    let (findings, object) = read("hosts: [a]\nhttp:\n- route:\n  - destination: {host: a}\n    weight: 7\n");
    assert_findings(&findings, &[]);
    assert_eq!(object.unwrap().http[0].route()[0].weight, 1);
}

#[test]
fn rules_for_gateways_have_no_effect_in_the_mesh() {
    let (findings, object) = read(&format!("hosts: ['*']\ngateways: [gw]\nhttp:\n- rewrite: {{uri: /}}\n{ROUTE}"));
    assert_findings(&findings, &["warning gateway-route f.yaml:7:3 spec.gateways: is for gateways"]);
    assert!(object.is_none());
    // A rule whose only conditions are for a gateway must not become one without conditions.
    let (findings, object) = read(&format!(
        "hosts: [a]\nhttp:\n- match: [{{gateways: [gw]}}]\n{ROUTE}- match: [{{gateways: [gw]}}, {{port: 80}}]\n{ROUTE}"
    ));
    assert_findings(&findings, &[]);
    let object = object.unwrap();
    assert_eq!((object.http.len(), object.http[0].matches.len()), (1, 1));
    let (_, object) = read(&format!(
        "hosts: [a]\ngateways: [gw]\nhttp:\n- match: [{{gateways: [mesh]}}]\n{ROUTE}- {}",
        ROUTE.trim_start()
    ));
    assert_eq!(object.unwrap().http.len(), 1);
}
