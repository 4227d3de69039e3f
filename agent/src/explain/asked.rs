//! From what a person writes to what a snapshot knows.

use super::{Question, Unanswered};
use crate::model::Workload;
use crate::route::backends::Port;
use crate::route::{Frontend, RouteTable, edits};
use crate::snapshot::Snapshot;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use std::sync::Arc;

/// The pod of that name, else one of the workload of that name.
pub(super) fn source(snapshot: &Snapshot, text: &str) -> Result<Arc<Workload>, Unanswered> {
    let parts: Vec<&str> = text.split('/').collect();
    let (cluster, namespace, name) = match parts[..] {
        [name] => (None, "default", name),
        [namespace, name] => (None, namespace, name),
        [cluster, namespace, name] => (Some(cluster), namespace, name),
        _ => return Err(Unanswered::Source(text.to_owned())),
    };
    let here = |one: &&Arc<Workload>| {
        one.id.pod.namespace.as_str() == namespace && cluster.is_none_or(|cluster| one.id.cluster.as_str() == cluster)
    };
    let mut pods: Vec<_> = snapshot.workloads.iter().filter(here).collect();
    pods.sort_by(|a, b| a.id.cmp(&b.id));
    let by_name = pods.iter().find(|one| *one.id.pod.name == *name);
    let found = by_name.or_else(|| pods.iter().find(|one| *one.owner == *name));
    found.map(|one| Arc::clone(one)).ok_or_else(|| Unanswered::Source(text.to_owned()))
}

/// The service of that name or address, as the client would reach it, and its port.
pub(super) fn destination<'a>(
    table: &'a RouteTable,
    source: &Workload,
    text: &str,
) -> Result<(&'a Frontend, &'a Port), Unanswered> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port.parse::<u16>().ok()),
        _ => (text, None),
    };
    let name = name.trim_matches(['[', ']']);
    let namespace = source.id.pod.namespace.as_str();
    let frontend = frontend(table, name, namespace)
        .ok_or_else(|| Unanswered::Destination { name: name.to_owned(), namespace: namespace.to_owned() })?;
    let ports = frontend.backends().ports();
    let found = match (port, ports) {
        (Some(number), _) => ports.iter().find(|one| one.number() == number),
        (None, [only]) => Some(only),
        (None, _) => None,
    };
    let found = found.ok_or_else(|| {
        let numbers: Vec<String> = ports.iter().map(|one| one.number().to_string()).collect();
        let ports = if numbers.is_empty() { "no port".to_owned() } else { format!("the ports {}", numbers.join(", ")) };
        Unanswered::Port { host: frontend.backends().host().to_string(), ports }
    })?;
    Ok((frontend, found))
}

fn frontend<'a>(table: &'a RouteTable, name: &str, namespace: &str) -> Option<&'a Frontend> {
    if let Ok(address) = name.parse::<std::net::IpAddr>() {
        return table.vips.get(&address).map(|frontend| &**frontend);
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if let Some(frontend) = table.hosts.get(name.as_str()) {
        return Some(frontend);
    }
    // What a resolver's search list would add, without knowing the cluster's domain.
    let starts = match name.ends_with(".svc") {
        true => vec![format!("{name}.")],
        false => vec![format!("{name}.{namespace}.svc."), format!("{name}.svc.")],
    };
    let begins = |start: &String| table.hosts.keys().find(|host| host.as_str().starts_with(start.as_str()));
    starts.iter().find_map(begins).and_then(|host| table.hosts.get(host)).map(|frontend| &**frontend)
}

/// The request that is asked about.
pub(super) fn request(question: &Question, frontend: &Frontend) -> Result<Parts, Unanswered> {
    let wrong = |what: String| Unanswered::Request(what);
    let method = question.method.as_deref().unwrap_or("GET");
    let method: Method = method.parse().map_err(|_| wrong(format!("{method} is not a method")))?;
    let path = question.path.as_deref().unwrap_or("/");
    let mut uri: Uri = path.parse().map_err(|_| wrong(format!("{path} is not a path")))?;
    edits::normalise(&mut uri).map_err(|nul| wrong(nul.to_string()))?;
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.uri) = (method, uri);
    let host = HeaderValue::from_str(frontend.backends().host().as_str());
    parts.headers.extend(host.ok().map(|host| (http::header::HOST, host)));
    let mut named = http::HeaderMap::new();
    for header in &question.headers {
        let parsed = header.split_once(':').and_then(|(name, value)| {
            Some((name.trim().parse::<HeaderName>().ok()?, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) = parsed.ok_or_else(|| wrong(format!("`{header}` is not a header: write `name: value`")))?;
        named.append(name, value);
    }
    for name in named.keys() {
        parts.headers.remove(name);
    }
    for (name, value) in &named {
        parts.headers.append(name, value.clone());
    }
    Ok(parts)
}
