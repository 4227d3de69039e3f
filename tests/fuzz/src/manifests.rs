//! Manifests: from text to the findings and the snapshot, as `underpass analyze` and the agent read them.

use underpass::analyze::{Settings, analyze};
use underpass::source::Text;

/// Any text as a file.
pub fn whole(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let settings = Settings {
        cluster_domain: "cluster.local".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        ignore: Vec::new(),
    };
    let texts = [Text { name: "fuzz.yaml".to_owned(), text: text.to_owned() }];
    let report = analyze(&settings, &texts);
    for format in [underpass::analyze::Format::Text, underpass::analyze::Format::Json] {
        let _ = report.print(format);
    }
}

/// The spec of a VirtualService.
pub fn virtual_service(bytes: &[u8]) {
    spec("networking.istio.io/v1", "VirtualService", bytes);
}

/// The spec of a DestinationRule.
pub fn destination_rule(bytes: &[u8]) {
    spec("networking.istio.io/v1", "DestinationRule", bytes);
}

/// The spec of an HTTPRoute.
pub fn http_route(bytes: &[u8]) {
    spec("gateway.networking.k8s.io/v1", "HTTPRoute", bytes);
}

/// A spec, beside the Service that the corpus speaks of.
fn spec(api: &str, kind: &str, bytes: &[u8]) {
    let Ok(spec) = std::str::from_utf8(bytes) else { return };
    let mut text = format!("{SERVICE}---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: reviews}}\nspec:\n");
    for line in spec.lines() {
        text.push_str("  ");
        text.push_str(line);
        text.push('\n');
    }
    whole(text.as_bytes());
}

/// A Service with an endpoint.
pub const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
  clusterIP: 10.0.0.1
  ports: [{name: http, port: 9080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 9080}]
endpoints: [{addresses: [10.1.0.1], conditions: {ready: true}}]
---
apiVersion: v1
kind: Pod
metadata: {name: reviews-0, labels: {app: reviews, version: v1}}
spec: {nodeName: n, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}], conditions: [{type: Ready, status: \"True\"}]}
";
