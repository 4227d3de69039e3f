//! TLS and TCP rules.

use super::assert_findings;
use super::routes::read;

#[test]
fn tls_rules_are_told_apart_by_name() {
    let (findings, object) = read(
        "hosts: ['*.example.com', a]\ntls:\n- match:\n  - port: 443\n    sniHosts: [www.example.com, '*.example.com']\n    \
         sourceNamespace: shop\n    destinationSubnets: [10.0.0.0/8]\n  - {sniHosts: [b.example.com], gateways: [gw]}\n  \
         route: [{destination: {host: a}}]\n",
    );
    assert_findings(&findings, &[]);
    let object = object.unwrap();
    let rule = &object.tls[0];
    assert_eq!((rule.matches.len(), rule.route.len(), &rule.broken), (1, 1, &None));
    let names: Vec<_> = rule.matches[0].sni_hosts.iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["www.example.com", "*.example.com"]);
    assert_eq!(rule.matches[0].connection.port, Some(443));
}

#[test]
fn what_istio_would_refuse_of_rules_for_connections_refuses_the_object() {
    let tls = |rule: &str| format!("hosts: [a.com]\ntls:\n- {rule}\n");
    let route = "route: [{destination: {host: a}}]";
    for (spec, expected) in [
        (tls(route), "missing-field f.yaml:8:5 spec.tls[0]: `match` is missing"),
        (tls("match: [{sniHosts: [a.com]}]"), "missing-field f.yaml:8:5 spec.tls[0]: `route` is missing"),
        (
            tls(&format!("match: [{{port: 1}}]\n  {route}")),
            "missing-field f.yaml:8:13 spec.tls[0].match[0]: `sniHosts` is missing",
        ),
        (
            tls(&format!("match: [{{sniHosts: [b.com]}}]\n  {route}")),
            "invalid-host f.yaml:8:25 spec.tls[0].match[0].sniHosts[0]: `b.com` is none of the hosts that the rules are for (a.com)",
        ),
        (
            tls(&format!("match: [{{sniHosts: ['x*.com']}}]\n  {route}")),
            "invalid-host f.yaml:8:25 spec.tls[0].match[0].sniHosts[0]: `x*.com` is not a whole host name",
        ),
        (
            "hosts: [a]\ntcp:\n- match: [{sniHosts: [a]}]\n  route: [{destination: {host: a}}]\n".to_owned(),
            "unknown-field f.yaml:8:14 spec.tcp[0].match[0].sniHosts: there is no such field",
        ),
        (
            "hosts: [a]\ntcp:\n- route: [{destination: {host: a}, headers: {}}]\n".to_owned(),
            "unknown-field f.yaml:8:38 spec.tcp[0].route[0].headers: there is no such field",
        ),
        (
            "hosts: [a]\ntcp:\n- match: [{sourceNamespace: A_b}]\n  route: [{destination: {host: a}}]\n".to_owned(),
            "invalid-name f.yaml:8:31 spec.tcp[0].match[0].sourceNamespace: `A_b` is not a namespace",
        ),
    ] {
        let (findings, object) = read(&spec);
        let findings: Vec<_> = findings.into_iter().filter(|line| !line.contains(" unsupported-field ")).collect();
        assert_findings(&findings, &[&format!("error {expected}")]);
        assert!(object.is_none(), "{spec}");
    }
}
