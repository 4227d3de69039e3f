//! DestinationRule.

use super::{Dir, assert_findings, destination_rules};

#[test]
fn destination_rules_are_their_subsets() {
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata:\n  name: reviews\nspec:\n  host: reviews\n";
    for (rest, expected, subsets) in [
        ("  subsets:\n  - name: v1\n    labels: {version: v1}\n", vec![], Some(1)),
        ("  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}\n", vec![], Some(0)),
        (
            "  trafficPolicy:\n    loadBalancer: {simple: RANDOM}\n    tls: {mode: SIMPLE}\n    portLevelSettings:\n    - port: {number: 443}\n      tls: {mode: DISABLE}\n",
            vec![
                "warning unsupported-field f.yaml:8:5 spec.trafficPolicy.loadBalancer: is not supported yet and is ignored",
                "error unsupported-field f.yaml:12:13 spec.trafficPolicy.portLevelSettings[0].tls.mode: DISABLE is not supported",
                "error unsupported-field f.yaml:9:11 spec.trafficPolicy.tls.mode: SIMPLE is not supported and is NOT in force",
            ],
            Some(0),
        ),
        (
            "  subsets:\n  - name: v1\n    trafficPolicy: {outlierDetection: {interval: 1s}}\n",
            vec!["warning unsupported-field f.yaml:9:21 spec.subsets[0].trafficPolicy.outlierDetection: "],
            Some(1),
        ),
        (
            "  subsets:\n  - name: v1\n  - name: v1\n",
            vec![
                "error duplicate-subset f.yaml:9:11 spec.subsets[1].name: the subset `v1` is here twice: rename or remove one",
            ],
            None,
        ),
        (
            "  subset: []\n",
            vec!["error unknown-field f.yaml:7:3 spec.subset: there is no such field; did you mean `subsets`?"],
            None,
        ),
    ] {
        let dir = Dir::new(&[("f.yaml", &format!("{rule}{rest}"))]);
        assert_findings(&dir.findings(), &expected);
        assert_eq!(destination_rules(&dir.read()).first().map(|rule| rule.subsets.len()), subsets, "{rest}");
    }
}
