//! What a control plane adds to Services: cluster addresses and EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::document::Object;
use crate::plan::Plan;

/// A pod as an endpoint: its object, which holds labels, ports, addresses and node.
pub type PodObject = Value;

/// Gives a Service its addresses, unless it is headless or has them. `taken` are all addresses in use.
pub fn assign_addresses(service: &mut Value, plan: Plan, cluster: u8, taken: &mut BTreeSet<String>) {
    let kind = service.pointer("/spec/type").and_then(Value::as_str);
    let given = service.pointer("/spec/clusterIP").and_then(Value::as_str);
    if kind == Some("ExternalName") || given.is_some() || !service["spec"].is_object() {
        return;
    }
    let families = families(service);
    let free = (0..4085u16).find(|i| {
        let v4 = plan.service_v4(cluster, *i).map(|ip| ip.to_string());
        let v6 = plan.service_v6(cluster, *i).map(|ip| ip.to_string());
        v4.is_some_and(|ip| !taken.contains(&ip)) && v6.is_some_and(|ip| !taken.contains(&ip))
    });
    let Some(i) = free else { return };
    let address = |family: &String| match family.as_str() {
        "IPv6" => plan.service_v6(cluster, i).map(|ip| ip.to_string()),
        _ => plan.service_v4(cluster, i).map(|ip| ip.to_string()),
    };
    let addresses: Vec<String> = families.iter().filter_map(address).collect();
    taken.extend(addresses.iter().cloned());
    service["spec"]["clusterIP"] = json!(addresses.first());
    service["spec"]["clusterIPs"] = json!(addresses);
    service["spec"]["ipFamilies"] = json!(families);
}

/// Carries the addresses of an applied Service over to its new text, as an API server does.
pub fn keep_addresses(service: &mut Value, before: Option<&Value>) {
    let Some(before) = before.filter(|_| service["spec"].is_object()) else {
        return;
    };
    let same_families = service.pointer("/spec/ipFamilyPolicy") == before.pointer("/spec/ipFamilyPolicy");
    if service.pointer("/spec/clusterIP").is_some() || !same_families {
        return;
    }
    for key in ["clusterIP", "clusterIPs", "ipFamilies"] {
        let old = before.pointer("/spec").and_then(|spec| spec.get(key));
        if let Some(old) = old.filter(|_| service["spec"].get(key).is_none()) {
            service["spec"][key] = old.clone();
        }
    }
}

/// The addresses that a Service has.
pub fn addresses(service: &Value) -> Vec<String> {
    let many = service.pointer("/spec/clusterIPs").and_then(Value::as_array).cloned().unwrap_or_default();
    let one = service.pointer("/spec/clusterIP").cloned();
    let all = many.into_iter().chain(one).filter_map(|ip| ip.as_str().map(str::to_owned));
    let mut addresses: Vec<String> = Vec::new();
    for address in all.filter(|ip| ip != "None" && !ip.is_empty()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn families(service: &Value) -> Vec<String> {
    let listed = service.pointer("/spec/ipFamilies").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut families: Vec<String> = listed.iter().filter_map(|f| f.as_str().map(str::to_owned)).collect();
    if families.is_empty() {
        families.push("IPv4".to_owned());
    }
    let policy = service.pointer("/spec/ipFamilyPolicy").and_then(Value::as_str).unwrap_or_default();
    if policy.ends_with("DualStack") && families.len() == 1 {
        families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" }.to_owned());
    }
    families
}

/// Whether a Service's selector takes this pod.
pub fn selects(service: &Value, pod: &PodObject) -> bool {
    let Some(selector) = service.pointer("/spec/selector").and_then(Value::as_object) else {
        return false;
    };
    let label = |key: &String| pod.pointer("/metadata/labels").and_then(|labels| labels.get(key));
    !selector.is_empty() && selector.iter().all(|(key, value)| label(key) == Some(value))
}

/// The EndpointSlices of a Service over its namespace's pods: one for each family and set of port numbers.
pub fn endpoint_slices(service: &Object, pods: &[PodObject]) -> Vec<Value> {
    let mut slices = Vec::new();
    if !service.value.pointer("/spec/selector").is_some_and(Value::is_object) {
        return slices;
    }
    let selected: Vec<&PodObject> = pods.iter().filter(|pod| selects(&service.value, pod)).collect();
    for family in families(&service.value) {
        let mut groups: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
        for pod in &selected {
            let ports = ports_for(&service.value, pod);
            let Some(endpoint) = endpoint(pod, &family) else {
                continue;
            };
            groups.entry(ports.to_string()).or_insert((ports, Vec::new())).1.push(endpoint);
        }
        for (i, (ports, endpoints)) in groups.into_values().enumerate() {
            slices.push(slice(service, (&family, i), &ports, &endpoints));
        }
    }
    slices
}

fn slice(service: &Object, (family, i): (&str, usize), ports: &Value, endpoints: &[Value]) -> Value {
    let suffix = if i == 0 { String::new() } else { format!("-{i}") };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{}-{}{suffix}", service.name, family.to_lowercase()),
            "namespace": service.namespace,
            "labels": {
                "kubernetes.io/service-name": service.name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": family,
        "ports": ports,
        "endpoints": endpoints,
    })
}

fn endpoint(pod: &PodObject, family: &str) -> Option<Value> {
    let addresses = pod.pointer("/status/podIPs")?.as_array()?;
    let address = addresses.iter().filter_map(|ip| ip["ip"].as_str()).find(|ip| ip.contains(':') == (family == "IPv6"));
    let ready = is_ready(pod);
    Some(json!({
        "addresses": [address?],
        "conditions": {"ready": ready, "serving": ready, "terminating": false},
        "nodeName": pod.pointer("/spec/nodeName"),
        "targetRef": {"kind": "Pod", "name": pod.pointer("/metadata/name"),
                      "namespace": pod.pointer("/metadata/namespace")},
    }))
}

fn is_ready(pod: &PodObject) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// A Service's ports as one pod serves them.
fn ports_for(service: &Value, pod: &PodObject) -> Value {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
    let resolved = ports.iter().filter_map(|port| {
        let number = target_port(port, pod)?;
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let mut entry = json!({"name": port["name"].as_str().unwrap_or(""), "port": number, "protocol": protocol});
        if let Some(app) = port["appProtocol"].as_str() {
            entry["appProtocol"] = json!(app);
        }
        Some(entry)
    });
    Value::Array(resolved.collect())
}

/// The number behind a Service port on one pod: targetPort is a number, a container port's name, or absent.
pub fn target_port(port: &Value, pod: &PodObject) -> Option<u64> {
    match &port["targetPort"] {
        Value::Number(number) => number.as_u64(),
        Value::String(name) => name.parse().ok().or_else(|| named_port(name, pod)),
        _ => port["port"].as_u64(),
    }
}

fn named_port(name: &str, pod: &PodObject) -> Option<u64> {
    let containers = pod.pointer("/spec/containers")?.as_array()?;
    let ports = containers.iter().filter_map(|container| container["ports"].as_array()).flatten();
    ports.into_iter().find(|port| port["name"] == name)?["containerPort"].as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> Object {
        Object::new(json!({"kind": "Service", "metadata": {"name": "s"}, "spec": spec})).unwrap()
    }

    fn pod(ip: &str, port: u16) -> PodObject {
        json!({"metadata": {"name": format!("p-{port}"), "namespace": "default", "labels": {"app": "a", "v": "1"}},
            "spec": {"nodeName": "n", "containers": [{"ports": [{"name": "web", "containerPort": port}]}]},
            "status": {"podIPs": [{"ip": ip}, {"ip": "fd66::1"}], "conditions": [{"type": "Ready", "status": "True"}]}})
    }

    #[test]
    fn named_target_ports_make_a_slice_for_each_number() {
        let service = service(json!({"selector": {"app": "a"}, "ports": [{"port": 80, "targetPort": "web"}]}));
        let slices = endpoint_slices(&service, &[pod("10.0.0.1", 8080), pod("10.0.0.2", 8081)]);
        assert_eq!(slices.len(), 2);
        assert_eq!(slices[0]["ports"][0]["port"], 8080);
        assert_eq!(slices[0]["endpoints"][0]["addresses"][0], "10.0.0.1");
        assert_eq!(slices[1]["metadata"]["name"], "s-ipv4-1");
    }

    #[test]
    fn dual_stack_services_have_two_addresses_and_two_slices() {
        let mut service = service(json!({"ipFamilyPolicy": "RequireDualStack", "selector": {"app": "a"}}));
        let mut taken = BTreeSet::from(["10.67.0.10".to_owned()]);
        assign_addresses(&mut service.value, Plan { block: 66 }, 0, &mut taken);
        assert_eq!(
            addresses(&service.value),
            ["10.67.0.11", "fd66:67:0::b".parse::<std::net::Ipv6Addr>().unwrap().to_string().as_str()]
        );
        let families: Vec<Value> =
            endpoint_slices(&service, &[pod("10.0.0.1", 1)]).iter().map(|s| s["addressType"].clone()).collect();
        assert_eq!(families, ["IPv4", "IPv6"]);
    }

    #[test]
    fn headless_services_stay_headless() {
        let mut service = service(json!({"clusterIP": "None"}));
        assign_addresses(&mut service.value, Plan { block: 66 }, 0, &mut BTreeSet::new());
        assert!(addresses(&service.value).is_empty());
    }
}
