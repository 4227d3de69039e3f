//! AuthorizationPolicy as written.

use crate::model::Labels;
use crate::source::decode::raw;

raw!(Spec {
    selector: Option<Selector>,
    target_ref: Option<TargetRef>,
    target_refs: Vec<TargetRef>,
    rules: Vec<Rule>,
    action: Option<String>,
    provider: Option<Provider>,
});

raw!(Selector { match_labels: Labels });

raw!(TargetRef {
    group: String,
    kind: String,
    name: String,
    namespace: Option<String>,
});

raw!(Provider { name: String });

raw!(
    /// A list that is there and empty is none that was left out.
    Rule {
        from: Option<Vec<From>>,
        to: Option<Vec<To>>,
        when: Option<Vec<Condition>>,
    }
);

raw!(From { source: Option<Source> });

raw!(To { operation: Option<Operation> });

raw!(Source {
    principals: Vec<String>,
    not_principals: Vec<String>,
    request_principals: Vec<String>,
    not_request_principals: Vec<String>,
    namespaces: Vec<String>,
    not_namespaces: Vec<String>,
    service_accounts: Vec<String>,
    not_service_accounts: Vec<String>,
    trust_domains: Vec<String>,
    not_trust_domains: Vec<String>,
    ip_blocks: Vec<String>,
    not_ip_blocks: Vec<String>,
    remote_ip_blocks: Vec<String>,
    not_remote_ip_blocks: Vec<String>,
});

raw!(Operation {
    hosts: Vec<String>,
    not_hosts: Vec<String>,
    ports: Vec<String>,
    not_ports: Vec<String>,
    methods: Vec<String>,
    not_methods: Vec<String>,
    paths: Vec<String>,
    not_paths: Vec<String>,
});

raw!(Condition {
    key: String,
    values: Vec<String>,
    not_values: Vec<String>,
});
