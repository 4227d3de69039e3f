//! PeerAuthentication: read, or denying.

use super::{Dir, assert_findings, policies};
use crate::model::{MtlsMode, PeerAuthentication, Scope};
use crate::source::files::Files;
use std::collections::BTreeSet;

fn policy(namespace: &str, spec: &str) -> String {
    let head = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: default\n";
    format!("{head}  namespace: {namespace}\nspec:\n{spec}")
}

fn one(text: &str) -> (Vec<String>, PeerAuthentication) {
    let dir = Dir::new(&[("f.yaml", text)]);
    (dir.findings(), policies(&dir.read()).remove(0))
}

fn labels(key: &str, value: &str) -> Scope {
    Scope::Workload([(key.into(), value.into())].into())
}

#[test]
fn scopes_and_modes() {
    for (namespace, spec, scope, mode) in [
        ("istio-system", "  mtls: {mode: STRICT}\n", Scope::Mesh, MtlsMode::Strict),
        ("shop", "  mtls: {mode: PERMISSIVE}\n", Scope::Namespace, MtlsMode::Permissive),
        (
            "shop",
            "  selector: {matchLabels: {app: web}}\n  mtls: {mode: DISABLE}\n",
            labels("app", "web"),
            MtlsMode::Disable,
        ),
        ("shop", "  mtls: {}\n", Scope::Namespace, MtlsMode::Unset),
        ("shop", "  {}\n", Scope::Namespace, MtlsMode::Unset),
    ] {
        let (findings, policy) = one(&policy(namespace, spec));
        assert_findings(&findings, &[]);
        assert_eq!((policy.scope, policy.mode), (scope, mode), "{spec}");
    }
    let spec = "  selector: {matchLabels: {app: web}}\n  portLevelMtls:\n    8080: {mode: DISABLE}\n";
    assert_eq!(one(&policy("shop", spec)).1.ports, [(8080, MtlsMode::Disable)].into());
    let (findings, policy) = one(&policy("shop", "  portLevelMtls:\n    8080: {mode: DISABLE}\n"));
    assert_findings(&findings, &["warning port-level-without-selector f.yaml:7:3 spec.portLevelMtls: "]);
    assert!(policy.ports.is_empty());
}

#[test]
fn one_that_cannot_be_read_denies_in_its_scope() {
    let app = "  selector: {matchLabels: {app: web}}\n";
    for (namespace, spec, expected, scope) in [
        (
            "shop",
            "  mtls: {mode: STRIKT}\n".to_owned(),
            "error invalid-value f.yaml:7:16 spec.mtls.mode: `STRIKT` is not a mode",
            Scope::Namespace,
        ),
        (
            "istio-system",
            "  mtl: {}\n".to_owned(),
            "error unknown-field f.yaml:7:3 spec.mtl: there is no such field; did you mean `mtls`?",
            Scope::Mesh,
        ),
        (
            "shop",
            format!("{app}  mtls: STRICT\n"),
            "error invalid-type f.yaml:8:9 spec.mtls: has to be a map",
            labels("app", "web"),
        ),
        (
            "shop",
            "  selector: {matchLabel: {app: web}}\n".to_owned(),
            "error unknown-field f.yaml:7:14 spec.selector.matchLabel: ",
            Scope::Namespace,
        ),
        (
            "shop",
            format!("{app}  portLevelMtls: {{http: {{mode: DISABLE}}}}\n"),
            "error invalid-port f.yaml:8:19 spec.portLevelMtls.http: ",
            labels("app", "web"),
        ),
    ] {
        let (findings, policy) = one(&policy(namespace, &spec));
        assert_findings(&findings, &[expected, "error policy-denies f.yaml:1:1 taken as STRICT for "]);
        assert_eq!((policy.scope, policy.mode, policy.ports.len()), (scope, MtlsMode::Strict, 0), "{spec}");
    }
}

#[test]
fn one_that_is_not_even_yaml_denies() {
    let (findings, policy) = one(&policy("shop", "  mtls: {mode: STRICT\n"));
    assert_findings(
        &findings,
        &["error syntax f.yaml:8:1 ", "error policy-denies f.yaml:8:1 PeerAuthentication shop/default cannot be read"],
    );
    assert_eq!(
        (policy.id.to_string().as_str(), policy.scope, policy.mode),
        ("shop/default", Scope::Namespace, MtlsMode::Strict)
    );
}

#[test]
fn what_was_permissive_denies_once_it_cannot_be_read_in_the_scope_it_had() {
    let good = policy("shop", "  selector: {matchLabels: {app: web}}\n  mtls: {mode: PERMISSIVE}\n");
    for bad in [
        good.replace("PERMISSIVE", "PERMISIVE"),
        good.replace("matchLabels", "matchLabel"),
        good.replace("metadata:", "metadata: ["),
        "]".to_owned(),
        "\u{0}".to_owned(),
    ] {
        let dir = Dir::new(&[("f.yaml", &good)]);
        let mut files = Files::new(dir.config());
        files.scan();
        assert_eq!(policies(&files.world.update().unwrap())[0].mode, MtlsMode::Permissive);
        dir.write("f.yaml", &bad);
        files.refresh(&BTreeSet::from([dir.path().join("f.yaml")]));
        let update = files.world.update().unwrap();
        let shop: Vec<_> =
            policies(&update).into_iter().filter(|policy| policy.id.namespace.as_str() == "shop").collect();
        assert_eq!((shop[0].mode, &shop[0].scope), (MtlsMode::Strict, &labels("app", "web")), "{bad}");
    }
}
