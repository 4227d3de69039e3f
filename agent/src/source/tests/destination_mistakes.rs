//! What is wrong with DestinationRules, said at its place; nothing of such an object is in force.

use super::destination_rules::{read, text};
use super::{Dir, assert_findings, destination_rules};

/// What a traffic policy says, with the code, and the place and field of what is said of it.
const IMPOSSIBLE: &[(&str, &str, &str)] = &[
    (
        "loadBalancer: {simple: LEAST}",
        "invalid-value",
        "8:26 spec.trafficPolicy.loadBalancer.simple: `LEAST` is not known",
    ),
    (
        "loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}",
        "conflict",
        "8:34 spec.trafficPolicy.loadBalancer.consistentHash: stands beside `simple`",
    ),
    (
        "loadBalancer: {consistentHash: {}}",
        "missing-field",
        "8:18 spec.trafficPolicy.loadBalancer.consistentHash: says not what",
    ),
    (
        "loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: x}}",
        "conflict",
        "8:35 spec.trafficPolicy.loadBalancer.consistentHash.useSourceIp: stands beside `httpHeaderName`",
    ),
    (
        "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 250}}}",
        "invalid-value",
        "8:74 spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: 250 is not a prime number: the next is 251",
    ),
    (
        "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {}, ringHash: {}}}",
        "conflict",
        "8:54 spec.trafficPolicy.loadBalancer.consistentHash.maglev: there is more than one kind",
    ),
    (
        "loadBalancer: {consistentHash: {httpCookie: {}}}",
        "missing-field",
        "8:35 spec.trafficPolicy.loadBalancer.consistentHash.httpCookie.name: a cookie has a name",
    ),
    (
        "loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 50}}]}}",
        "invalid-weight",
        "8:61 spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: the shares add up to 50",
    ),
    (
        "loadBalancer: {localityLbSetting: {distribute: [{from: 'a*', to: {b: 100}}]}}",
        "invalid-value",
        "8:52 spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].from: `a*` is not a locality",
    ),
    (
        "loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}",
        "invalid-value",
        "8:63 spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to: `a` cannot fail over to itself",
    ),
    (
        "loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}], failoverPriority: [x]}}",
        "conflict",
        "8:68 spec.trafficPolicy.loadBalancer.localityLbSetting.failoverPriority: stands beside `failover`",
    ),
    (
        "loadBalancer: {warmup: {}}",
        "missing-field",
        "8:18 spec.trafficPolicy.loadBalancer.warmup: `duration` is missing",
    ),
    (
        "loadBalancer: {warmup: {duration: 1s, aggression: 0.5}}",
        "out-of-range",
        "8:53 spec.trafficPolicy.loadBalancer.warmup.aggression: 0.5 is out of range",
    ),
    ("connectionPool: {}", "missing-field", "8:3 spec.trafficPolicy.connectionPool: says nothing"),
    (
        "connectionPool: {tcp: {maxConnections: -1}}",
        "out-of-range",
        "8:42 spec.trafficPolicy.connectionPool.tcp.maxConnections: -1 is out of range",
    ),
    (
        "connectionPool: {tcp: {connectTimeout: 1d}}",
        "invalid-duration",
        "8:42 spec.trafficPolicy.connectionPool.tcp.connectTimeout: `1d` is not a duration",
    ),
    (
        "connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}",
        "conflict",
        "8:53 spec.trafficPolicy.connectionPool.http.useClientProtocol: stands beside `h2UpgradePolicy: UPGRADE`",
    ),
    (
        "connectionPool: {http: {http2KeepAlive: {interval: 1s}}}",
        "missing-field",
        "8:27 spec.trafficPolicy.connectionPool.http.http2KeepAlive: `timeout` is missing",
    ),
    (
        "outlierDetection: {consecutiveLocalOriginFailures: 1}",
        "conflict",
        "8:22 spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures: counts only with",
    ),
    (
        "outlierDetection: {maxEjectionPercent: 101}",
        "out-of-range",
        "8:42 spec.trafficPolicy.outlierDetection.maxEjectionPercent: 101 is out of range: it has to be 0 to 100",
    ),
    (
        "outlierDetection: {outlierDetectionHttpErrorCodes: [600]}",
        "out-of-range",
        "8:55 spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[0]: 600 is not a status",
    ),
    ("tls: {mode: TLS}", "invalid-value", "8:15 spec.trafficPolicy.tls.mode: `TLS` is not a mode"),
    (
        "tls: {mode: MUTUAL, clientCertificate: /c}",
        "missing-field",
        "8:3 spec.trafficPolicy.tls: `privateKey` is missing",
    ),
    (
        "tls: {mode: SIMPLE, credentialName: a, caCertificates: /c}",
        "conflict",
        "8:42 spec.trafficPolicy.tls.caCertificates: stands beside `credentialName`",
    ),
    (
        "tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}",
        "conflict",
        "8:49 spec.trafficPolicy.tls.subjectAltNames: stands beside `insecureSkipVerify: true`",
    ),
    (
        "proxyProtocol: {version: V3}",
        "invalid-value",
        "8:28 spec.trafficPolicy.proxyProtocol.version: `V3` is not a version",
    ),
    (
        "tunnel: {protocol: GET, targetHost: a, targetPort: 1}",
        "invalid-value",
        "8:22 spec.trafficPolicy.tunnel.protocol: `GET` is not a way to ask a proxy: CONNECT or POST",
    ),
    ("tunnel: {targetPort: 1}", "missing-field", "8:11 spec.trafficPolicy.tunnel: `targetHost` is missing"),
    ("tunnel: {targetHost: a}", "missing-field", "8:11 spec.trafficPolicy.tunnel: `targetPort` is missing"),
    (
        "tunnel: {targetHost: 'a b', targetPort: 1}",
        "invalid-host",
        "8:24 spec.trafficPolicy.tunnel.targetHost: `a b` is neither a host's name nor an address",
    ),
    ("tunnel: {targetHost: a, targetPort: 0}", "invalid-port", "8:39 spec.trafficPolicy.tunnel.targetPort: "),
    (
        "retryBudget: {percent: 101}",
        "out-of-range",
        "8:26 spec.trafficPolicy.retryBudget.percent: 101 is not a percentage",
    ),
    (
        "portLevelSettings: [{tls: {mode: DISABLE}}]",
        "missing-field",
        "8:23 spec.trafficPolicy.portLevelSettings[0]: `port` is missing",
    ),
    (
        "portLevelSettings: [{port: {number: 1}}, {port: {number: 1}}]",
        "conflict",
        "8:60 spec.trafficPolicy.portLevelSettings[1].port.number: the port 1 is here twice",
    ),
    (
        "portLevelSettings: [{port: {number: 1}, proxyProtocol: {}}]",
        "unknown-field",
        "8:43 spec.trafficPolicy.portLevelSettings[0].proxyProtocol: there is no such field",
    ),
];

#[test]
fn policies_that_cannot_be() {
    let mut wrong = Vec::new();
    for (policy, code, expected) in IMPOSSIBLE {
        let (findings, rule) = read(&format!("trafficPolicy:\n  {policy}"));
        // The policy stands two columns further to the right.
        let (place, rest) = expected.split_once(' ').unwrap();
        let column: usize = place.trim_start_matches("8:").parse().unwrap();
        let expected = format!("error {code} f.yaml:8:{} {rest}", column + 2);
        let alike = findings.len() == 1 && findings[0].starts_with(&expected) && rule.is_none();
        wrong.extend((!alike).then(|| format!("{policy}: {findings:#?}, expected {expected}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rules_that_cannot_be() {
    for (rest, expected) in [
        (
            "subsets:\n- name: v1\n- name: v1",
            "duplicate-subset f.yaml:9:11 spec.subsets[1].name: the subset `v1` is here twice: rename or remove one",
        ),
        ("subsets:\n- name: V_1", "invalid-name f.yaml:8:11 spec.subsets[0].name: `V_1` is not a subset's name"),
        ("subsets:\n- labels: {a: b}", "missing-field f.yaml:8:5 spec.subsets[0]: `name` is missing"),
        ("subset: []", "unknown-field f.yaml:7:3 spec.subset: there is no such field; did you mean `subsets`?"),
        (
            "workloadSelector: {matchLabels: {a: 'b*'}}",
            "invalid-value f.yaml:7:36 spec.workloadSelector.matchLabels.a: is not a label",
        ),
        ("exportTo: [A_B]", "invalid-value f.yaml:7:14 spec.exportTo[0]: `A_B` is not a namespace"),
    ] {
        let (findings, rule) = read(rest);
        assert_findings(&findings, &[&format!("error {expected}")]);
        assert!(rule.is_none(), "{rest}");
    }
}

#[test]
fn policies_that_work_otherwise_than_they_look() {
    for (policy, expected) in [
        ("loadBalancer: {simple: LEAST_CONN}", "deprecated-field f.yaml:7:34 spec.trafficPolicy.loadBalancer.simple: "),
        (
            "loadBalancer: {warmupDurationSecs: 1s}",
            "deprecated-field f.yaml:7:34 spec.trafficPolicy.loadBalancer.warmupDurationSecs: ",
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 7}}",
            "deprecated-field f.yaml:7:70 spec.trafficPolicy.loadBalancer.consistentHash.minimumRingSize: ",
        ),
        (
            "loadBalancer: {localityLbSetting: {enabled: true}}",
            "no-effect f.yaml:7:34 spec.trafficPolicy.loadBalancer.localityLbSetting: nothing fails over without outlierDetection",
        ),
        (
            "tls: {mode: DISABLE, caCertificates: /c}",
            "no-effect f.yaml:7:40 spec.trafficPolicy.tls.caCertificates: is for",
        ),
    ] {
        let (findings, rule) = read(&format!("trafficPolicy: {{{policy}}}"));
        assert_findings(&findings, &[&format!("warning {expected}")]);
        assert!(rule.is_some(), "{policy}");
    }
}

#[test]
fn what_is_never_executed_is_said_wherever_a_policy_stands() {
    let policy = "loadBalancer: {zoneAwareLbSetting: {enabled: true}}";
    let rest = format!(
        "trafficPolicy:\n  {policy}\n  portLevelSettings:\n  - port: {{number: 1}}\n    \
         {policy}\nsubsets:\n- name: v1\n  trafficPolicy: {{{policy}}}"
    );
    let dir = Dir::new(&[("f.yaml", &text(&rest))]);
    let findings: Vec<_> = dir.findings().into_iter().filter(|line| !line.contains("not supported yet")).collect();
    assert_findings(
        &findings,
        &[
            "warning unsupported-field f.yaml:8:20 spec.trafficPolicy.loadBalancer.zoneAwareLbSetting: is not supported",
            "warning unsupported-field f.yaml:11:22 spec.trafficPolicy.portLevelSettings[0].loadBalancer.zoneAwareLbSetting: ",
            "warning unsupported-field f.yaml:14:36 spec.subsets[0].trafficPolicy.loadBalancer.zoneAwareLbSetting: ",
        ],
    );
    assert_eq!(destination_rules(&dir.read()).len(), 1);
}
