//! Sidecar: what is read of it, and what is said of the rest.

use super::{Dir, assert_findings};
use crate::model::{Change, Object, OutboundMode, Scope, Sidecar};

fn one(namespace: &str, spec: &str) -> (Vec<String>, Option<Sidecar>) {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: it, namespace: {namespace}}}\nspec: {spec}\n"
    );
    let dir = Dir::new(&[("f.yaml", &text)]);
    let read = dir.read().changes.into_iter().find_map(|change| match change {
        Change::Upsert(_, Object::Sidecar(one)) => Some(one),
        _ => None,
    });
    (dir.findings(), read)
}

#[test]
fn the_outbound_traffic_policy_is_read() {
    let labels = || Scope::Workload([("app".into(), "web".into())].into());
    for (namespace, spec, scope, mode) in [
        ("shop", "{outboundTrafficPolicy: {mode: ALLOW_ANY}}", Scope::Namespace, Some(OutboundMode::AllowAny)),
        ("shop", "{outboundTrafficPolicy: {}}", Scope::Namespace, Some(OutboundMode::RegistryOnly)),
        (
            "istio-system",
            "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}}",
            Scope::Mesh,
            Some(OutboundMode::RegistryOnly),
        ),
        ("shop", "{workloadSelector: {labels: {app: web}}}", labels(), None),
    ] {
        let (findings, read) = one(namespace, spec);
        assert_findings(&findings, &[]);
        let read = read.unwrap();
        assert_eq!((read.scope, read.mode), (scope, mode), "{spec}");
    }
}

#[test]
fn the_rest_is_said_to_have_no_effect() {
    let (findings, read) = one("shop", "{egress: [{hosts: ['./*']}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}");
    assert_findings(&findings, &["warning unsupported-field f.yaml:4:8 spec.egress: has no effect"]);
    assert_eq!(read.unwrap().mode, Some(OutboundMode::RegistryOnly));
    let (findings, read) = one("shop", "{outboundTrafficPolicy: {mode: NONE}}");
    assert_findings(&findings, &["error invalid-value f.yaml:4:38 spec.outboundTrafficPolicy.mode: `NONE` is not"]);
    assert_eq!(read, None);
}
