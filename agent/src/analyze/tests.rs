//! What `underpass analyze` says of small sets of files.

use super::{Format, Settings, analyze};
use crate::source::Text;
use serde_json::Value;

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  selector: {app: reviews}
  ports:
  - {name: http, port: 9080, targetPort: web}
";

const PODS: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v1}
spec:
  template:
    metadata: {labels: {app: reviews, version: v1}}
    spec:
      containers:
      - ports: [{name: web, containerPort: 9080}]
";

fn settings(ignore: &[&str]) -> Settings {
    Settings {
        cluster_domain: "cluster.local".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        ignore: ignore.iter().map(|code| (*code).to_owned()).collect(),
    }
}

fn texts(files: &[(&str, &str)]) -> Vec<Text> {
    files.iter().map(|(name, text)| Text { name: (*name).to_owned(), text: (*text).to_owned() }).collect()
}

fn report(files: &[(&str, &str)]) -> String {
    analyze(&settings(&[]), &texts(files)).print(Format::Text)
}

/// The findings of `f.yaml`, beside a Service and its pods, as `line:column severity code`.
fn found(text: &str) -> Vec<String> {
    found_in(&[("service.yaml", SERVICE), ("pods.yaml", PODS), ("f.yaml", text)])
}

/// The same where there is no other file.
fn alone(text: &str) -> Vec<String> {
    found_in(&[("f.yaml", text)])
}

fn found_in(files: &[(&str, &str)]) -> Vec<String> {
    let texts = texts(files);
    let json: Value = serde_json::from_str(&analyze(&settings(&[]), &texts).print(Format::Json)).unwrap();
    let line = |one: &Value| {
        let word = |key: &str| one[key].as_str().unwrap().to_owned();
        let file = word("file").replace("f.yaml", "");
        format!("{file}{}:{} {} {}", one["line"], one["column"], word("severity"), word("code"))
    };
    json.as_array().unwrap().iter().map(line).collect()
}

fn virtual_service(spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: r}}\nspec:\n{spec}")
}

fn destination_rule(spec: &str) -> String {
    virtual_service(spec).replace("VirtualService", "DestinationRule")
}

const TO: &str = "  route:\n  - destination: {host: reviews}\n";

#[test]
fn a_finding_is_shown_in_its_line_with_a_caret() {
    let routes =
        virtual_service("hosts: [reviews]\nhttp:\n- route:\n  - destination: {host: reviews, port: {number: 81}}");
    let report = report(&[("a/service.yaml", SERVICE), ("a/pods.yaml", PODS), ("a/f.yaml", &routes)]);
    let expected = "a/f.yaml:8:7: error: VirtualService default/r: reviews.default.svc.cluster.local has no port 81; \
                    its share of the traffic gets 503 (NC) [missing-port]\n  \
                    8 |     - destination: {host: reviews, port: {number: 81}}\n    |       ^\n\
                    3 objects in 3 files: 1 error, 0 warnings\n";
    assert_eq!(report, expected);
}

#[test]
fn what_is_right_is_clean() {
    let routes = virtual_service(&format!("hosts: [reviews]\nhttp:\n-{}", &TO[1..]));
    let report = report(&[("service.yaml", SERVICE), ("pods.yaml", PODS), ("f.yaml", &routes)]);
    assert_eq!(report, "3 objects in 3 files: 0 errors, 0 warnings\n");
}

#[test]
fn a_missing_host_is_an_error_only_where_the_files_speak_of_its_namespace() {
    let to =
        |host: &str| virtual_service(&format!("hosts: [reviews]\nhttp:\n- route:\n  - destination: {{host: {host}}}"));
    assert_eq!(found(&to("ratings")), ["8:7 error missing-host"]);
    assert_eq!(found(&to("ratings.prod.svc.cluster.local")), ["8:7 warning missing-host"]);
    assert_eq!(found(&to("example.com")), ["8:7 warning missing-host"]);
}

#[test]
fn references_of_the_gateway_api_and_to_secrets_are_errors_only_where_the_files_could_hold_them() {
    let route = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs:
  - {group: '', kind: Service, name: lost}
  rules:
  - backendRefs:
    - {name: lost, port: 80}
    filters:
    - {type: RequestMirror, requestMirror: {backendRef: {name: lost, port: 80}}}
";
    let policy = "apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: p}
spec:
  targetRefs:
  - {group: '', kind: Service, name: lost}
  validation: {hostname: a.com, wellKnownCACertificates: System}
";
    let rule = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d}
spec: {host: reviews, trafficPolicy: {tls: {mode: SIMPLE, credentialName: lost}}}
";
    let other = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: other}\n";
    assert_eq!(alone(route), ["6:5 warning missing-parent", "9:7 warning missing-host", "11:45 warning missing-host"]);
    assert_eq!(found(route), ["6:5 error missing-parent", "9:7 error missing-host", "11:45 error missing-host"]);
    assert_eq!(alone(policy), ["6:5 warning missing-target"]);
    assert_eq!(found(policy), ["6:5 error missing-target"]);
    let credential = |found: Vec<String>| found.into_iter().find(|one| one.ends_with("missing-credential"));
    assert_eq!(credential(alone(rule)).as_deref(), Some("1:1 warning missing-credential"));
    assert_eq!(credential(alone(&format!("{rule}{other}"))).as_deref(), Some("1:1 error missing-credential"));
}

#[test]
fn a_rule_behind_a_wider_one_is_unreachable() {
    for (first, second, unreachable) in [
        ("", "match: [{uri: {prefix: /a}}]", true),
        ("match: [{uri: {prefix: /}}]", "", true),
        ("match: [{uri: {prefix: /a}}]", "match: [{uri: {prefix: /ab}, method: {exact: GET}}]", true),
        ("match: [{uri: {prefix: /a}, ignoreUriCase: true}]", "match: [{uri: {exact: /A/b}}]", true),
        ("match: [{headers: {x: {}}}]", "match: [{headers: {x: {exact: a}, y: {exact: b}}}]", true),
        ("match: [{headers: {x: {regex: a.*}}}]", "match: [{headers: {x: {exact: ab}}}]", true),
        ("match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}]", "match: [{uri: {exact: /b}}, {uri: {exact: /a}}]", true),
        ("match: [{sourceLabels: {a: b}}]", "match: [{sourceLabels: {a: b, c: d}, port: 9080}]", true),
        ("match: [{withoutHeaders: {x: {exact: a}}}]", "match: [{withoutHeaders: {x: {prefix: a}}}]", true),
        ("match: [{withoutHeaders: {x: {prefix: a}}}]", "match: [{withoutHeaders: {x: {exact: a}}}]", false),
        ("match: [{uri: {prefix: /a}}]", "match: [{uri: {prefix: /a}}, {uri: {prefix: /b}}]", false),
        ("match: [{uri: {prefix: /a}, port: 9080}]", "match: [{uri: {prefix: /a}}]", false),
        ("match: [{uri: {prefix: /a}}]", "match: [{uri: {prefix: /A}, ignoreUriCase: true}]", false),
        ("match: [{headers: {x: {exact: a}}}]", "match: [{headers: {y: {exact: a}}}]", false),
    ] {
        let rule = |conditions: &str| match conditions {
            "" => format!("-{}", &TO[1..]),
            _ => format!("- {conditions}\n{TO}"),
        };
        let rules = virtual_service(&format!("hosts: [reviews]\nhttp:\n{}{}", rule(first), rule(second)));
        let found = found(&rules);
        assert_eq!(!found.is_empty(), unreachable, "{first} then {second}: {found:?}");
        assert!(found.iter().all(|one| one.ends_with(" warning unreachable-rule")), "{found:?}");
    }
}

#[test]
fn a_tcp_rule_behind_a_wider_one_is_unreachable() {
    let rule = |conditions: &str| format!("- match: [{{{conditions}}}]\n{TO}");
    let tcp = |one: &str, other: &str| {
        found(&virtual_service(&format!("hosts: [reviews]\ntcp:\n{}{}", rule(one), rule(other))))
    };
    let inside = tcp("destinationSubnets: [10.0.0.0/8, 11.0.0.0/8]", "port: 9080, destinationSubnets: [10.1.0.0/16]");
    assert_eq!(inside, ["12:7 warning unreachable-rule"]);
    assert!(tcp("destinationSubnets: [10.0.0.0/8]", "port: 9080").is_empty());
}

#[test]
fn a_service_that_selects_no_pod_is_told_where_there_are_pods() {
    let service = SERVICE.replace("reviews", "ratings");
    assert_eq!(found(&service), ["5:13 warning no-pods"]);
    assert!(found(&service.replace("{name: ratings}", "{name: ratings, namespace: other}")).is_empty());
    let port = SERVICE.replace("name: reviews", "name: other").replace("targetPort: web", "targetPort: grpc");
    assert_eq!(found(&port), ["7:42 warning missing-port"]);
}

#[test]
fn a_destination_rule_for_nothing_is_told() {
    let policy = "trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}";
    assert_eq!(found(&destination_rule(&format!("host: ratings\n{policy}"))), ["5:9 warning no-effect"]);
    assert_eq!(found(&destination_rule("host: reviews")), ["1:1 warning no-effect"]);
    let subsets = "host: reviews\nsubsets:\n- name: v1\n  labels: {version: v1}\n- name: v2\n  labels: {version: v2}";
    assert_eq!(found(&destination_rule(subsets)), ["9:5 warning empty-subset"]);
    let tunnel = destination_rule("host: reviews\ntrafficPolicy:\n  tunnel: {targetHost: a.com, targetPort: 443}");
    assert_eq!(found(&tunnel), ["7:13 warning no-effect"]);
    let tcp = SERVICE.replace("name: http,", "name: tcp,");
    assert!(found_in(&[("service.yaml", &tcp), ("pods.yaml", PODS), ("f.yaml", &tunnel)]).is_empty());
}

#[test]
fn hosts_gateways_and_secrets_that_are_not_there_are_told() {
    let routes = virtual_service(&format!("hosts: [ratings]\ngateways: [front, mesh]\nhttp:\n-{}", &TO[1..]));
    assert_eq!(found(&routes), ["5:11 warning no-effect", "6:14 warning missing-gateway"]);
    let rule = destination_rule("host: reviews\ntrafficPolicy:\n  tls: {mode: SIMPLE, credentialName: ca}");
    assert!(found(&rule).contains(&"7:41 warning missing-secret".to_owned()), "{:?}", found(&rule));
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: ";
    assert!(found(&format!("{rule}{secret}other}}\n")).contains(&"7:41 error missing-secret".to_owned()));
    assert!(!found(&format!("{rule}{secret}ca}}\n")).iter().any(|one| one.ends_with("missing-secret")));
}

#[test]
fn a_policy_for_no_pod_is_told() {
    let text = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: p}\nspec:\n  \
                selector: {matchLabels: {app: nobody}}\n  mtls: {mode: STRICT}\n";
    assert_eq!(found(text), ["5:13 warning no-effect"]);
    assert!(found(&text.replace("nobody", "reviews")).is_empty());
}

#[test]
fn an_authorization_policy_for_nobody_or_of_values_that_nothing_has_is_told() {
    let text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec:\n  \
                selector: {matchLabels: {app: nobody}}\n  rules: [{from: [{source: {namespaces: [shop]}}]}]\n";
    assert_eq!(found(text), ["5:13 warning no-effect"]);
    let right = text.replace("nobody", "reviews");
    assert!(found(&right).is_empty());
    assert_eq!(found(&right.replace("namespaces: [shop]", "principals: [shop]")), ["6:42 warning never-matches"]);
    let target = right
        .replace("selector: {matchLabels: {app: reviews}}", "targetRefs: [{kind: Service, group: '', name: lost}]");
    assert_eq!(found(&target), ["5:3 warning no-effect"]);
}

#[test]
fn of_two_objects_of_one_name_the_first_file_on_the_command_line_stands() {
    let report = report(&[("z.yaml", SERVICE), ("a.yaml", SERVICE), ("pods.yaml", PODS)]);
    assert!(report.contains("a.yaml:1:1: error: Service default/reviews stands in z.yaml:1:1 too"), "{report}");
}

#[test]
fn codes_can_be_ignored_and_are_counted() {
    let texts = texts(&[("f.yaml", &destination_rule("host: reviews"))]);
    let report = analyze(&settings(&["no-effect"]), &texts).print(Format::Text);
    assert_eq!(report, "1 object in 1 file: 0 errors, 0 warnings, 1 ignored\n");
}

#[test]
fn long_lines_are_cut_around_the_place() {
    let json = format!(
        "{{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {{\"name\": \"{}\", \"nam\": 1}}}}",
        "a".repeat(200)
    );
    let report = report(&[("f.json", &json)]);
    let lines: Vec<&str> = report.lines().collect();
    assert!(lines[1].chars().count() < 140 && lines[2].trim_end().ends_with('^'), "{report}");
    assert_eq!(lines[1].chars().nth(lines[2].chars().count() - 1), Some('"'), "{report}");
}

#[test]
fn github_gets_one_annotation_a_line() {
    let texts = texts(&[("a,b.yaml", "kind: 5%\n")]);
    let report = analyze(&settings(&[]), &texts).print(Format::Github);
    assert!(report.starts_with("::error file=a%2Cb.yaml,line=1,col=1,title=not-an-object::this is not"), "{report}");
    assert_eq!(report.lines().count(), 1);
}

/// As soon as the kind is read.
#[test]
fn of_two_routes_that_say_the_same_one_is_never_used() {
    let route = |name: &str, prefix: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  \
             parentRefs: [{{group: '', kind: Service, name: reviews}}]\n  rules:\n  - matches: [{{path: {{value: \
             {prefix}}}}}]\n    backendRefs: [{{name: reviews, port: 9080}}]\n"
        )
    };
    let same = found(&format!("{}{}", route("a", "/x"), route("b", "/x")));
    if same.iter().any(|one| one.ends_with("unsupported-kind")) {
        return;
    }
    assert_eq!(same, ["17:5 warning unreachable-rule"]);
    assert!(found(&format!("{}{}", route("a", "/x"), route("b", "/x/y"))).is_empty());
}
