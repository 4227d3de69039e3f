//! Which fields an API has, beyond those that are implemented: tells a field that is not supported yet from a typo.

use super::path::{Path, Step};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The fields below one node. The tables are lists of leaf paths, from the CRDs of istio/api (v1; v1beta1 and
/// v1alpha3 have the same fields), of the Gateway API (all its versions too) and from the Kubernetes API reference; `[]` is a list, `{}` a map with free keys.
#[derive(Debug, Default)]
pub struct Schema {
    fields: BTreeMap<&'static str, Schema>,
    each: Option<Box<Schema>>,
}

/// What the schema says of a field.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// The API has it.
    Yes,
    /// The API does not; maybe this one was meant.
    No(Option<&'static str>),
}

macro_rules! schema {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        pub static $name: LazyLock<Schema> = LazyLock::new(|| Schema::parse(include_str!($file)));
    };
}

schema!(
    /// `metadata` of every kind.
    METADATA,
    "schema/metadata.txt"
);
schema!(
    /// `spec` of a Service.
    SERVICE,
    "schema/service.txt"
);
schema!(
    /// `spec` of a VirtualService.
    VIRTUAL_SERVICE,
    "schema/virtual_service.txt"
);
schema!(
    /// `spec` of a DestinationRule.
    DESTINATION_RULE,
    "schema/destination_rule.txt"
);
schema!(
    /// `spec` of a Sidecar.
    SIDECAR,
    "schema/sidecar.txt"
);
schema!(
    /// `spec` of a PeerAuthentication.
    PEER_AUTHENTICATION,
    "schema/peer_authentication.txt"
);
schema!(
    /// `spec` of an AuthorizationPolicy.
    AUTHORIZATION_POLICY,
    "schema/authorization_policy.txt"
);
schema!(
    /// `spec` of a RequestAuthentication.
    REQUEST_AUTHENTICATION,
    "schema/request_authentication.txt"
);

schema!(
    /// `envoyExtAuthzGrpc` of MeshConfig's `extensionProviders`.
    EXT_AUTHZ_GRPC,
    "schema/ext_authz_grpc.txt"
);
schema!(
    /// `envoyExtAuthzHttp` of MeshConfig's `extensionProviders`.
    EXT_AUTHZ_HTTP,
    "schema/ext_authz_http.txt"
);

schema!(
    /// `spec` of an HTTPRoute, with the fields of the experimental channel.
    HTTP_ROUTE,
    "schema/http_route.txt"
);
schema!(
    /// `spec` of a GRPCRoute, with the fields of the experimental channel.
    GRPC_ROUTE,
    "schema/grpc_route.txt"
);
schema!(
    /// `spec` of a TLSRoute.
    TLS_ROUTE,
    "schema/tls_route.txt"
);
schema!(
    /// `spec` of a TCPRoute.
    TCP_ROUTE,
    "schema/tcp_route.txt"
);
schema!(
    /// `spec` of a ReferenceGrant.
    REFERENCE_GRANT,
    "schema/reference_grant.txt"
);
schema!(
    /// `spec` of a BackendTLSPolicy.
    BACKEND_TLS_POLICY,
    "schema/backend_tls_policy.txt"
);

impl Schema {
    fn parse(text: &'static str) -> Self {
        let mut root = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            root.insert(line);
        }
        root
    }

    fn insert(&mut self, path: &'static str) {
        let mut node = self;
        for part in path.split('.') {
            let name = part.trim_end_matches(['[', ']', '{', '}']);
            node = node.fields.entry(name).or_default();
            if name.len() < part.len() {
                node = node.each.get_or_insert_with(Box::default);
            }
        }
    }

    /// Whether the field at `path` (from this node) exists.
    pub fn knows(&self, path: &Path) -> Known {
        let mut node = self;
        for step in path.steps() {
            node = match (step, &node.each) {
                (_, Some(each)) => each,
                (Step::Index(_), None) => return Known::Yes,
                (Step::Key(_), None) if node.fields.is_empty() => return Known::Yes,
                (Step::Key(key), None) => match node.fields.get(key.as_str()) {
                    Some(field) => field,
                    None => return Known::No(node.nearest(key)),
                },
            };
        }
        Known::Yes
    }

    /// Fields inside `value`, which stands at `path`, that the API does not have.
    pub fn unknown_inside(&self, path: &Path, value: &Value) -> Vec<(Path, Option<&'static str>)> {
        match value {
            Value::Object(entries) => {
                entries.iter().flat_map(|(key, value)| self.unknown_at(path.key(key), value)).collect()
            }
            Value::Array(items) => {
                items.iter().enumerate().flat_map(|(at, item)| self.unknown_at(path.index(at), item)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn unknown_at(&self, path: Path, value: &Value) -> Vec<(Path, Option<&'static str>)> {
        match self.knows(&path) {
            Known::Yes => self.unknown_inside(&path, value),
            Known::No(meant) => vec![(path, meant)],
        }
    }

    fn nearest(&self, key: &str) -> Option<&'static str> {
        let names: Vec<&'static str> = self.fields.keys().copied().collect();
        nearest(key, &names)
    }
}

/// The nearest of `names` to what was written, if one is near enough to have been meant.
pub fn nearest<'a>(written: &str, names: &[&'a str]) -> Option<&'a str> {
    let near = |name: &&&'a str| distance(written, name) <= 1 + name.len() / 4;
    names.iter().filter(near).min_by_key(|name| distance(written, name)).copied()
}

/// Levenshtein's distance without regard to case, bounded by the names' lengths.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
