//! The bench's lab: a client and servers, with the mesh and without.

use anyhow::{Context, Result};

use underpass_tests::{Agent, Cluster, Lab, Options, Record, Topology, until};

/// Name of the bench's lab.
pub const LAB: &str = "bench";

/// A path between a client and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// Not enrolled, node to node.
    Direct,
    /// Enrolled, both on one node, L4.
    SameNode,
    /// Enrolled, node to node, L4.
    CrossNode,
    /// The same, to a server with AuthorizationPolicies for connections.
    Guarded,
    /// Enrolled, node to node, with an HTTP route of ten rules.
    L7,
}

impl Case {
    /// In the order of the table.
    pub const ALL: [Self; 5] = [Self::Direct, Self::SameNode, Self::CrossNode, Self::Guarded, Self::L7];

    /// As in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::SameNode => "same-node",
            Self::CrossNode => "cross-node",
            Self::Guarded => "cross-node-policies",
            Self::L7 => "l7",
        }
    }

    /// The pod that asks.
    pub fn client(self) -> &'static str {
        match self {
            Self::Direct => "east/plain/client",
            _ => "east/default/client",
        }
    }

    /// The host that is asked: a pod's address without the mesh, a service's name with it.
    ///
    /// # Errors
    /// The pod is not there.
    pub fn host(self, lab: &Lab) -> Result<String> {
        Ok(match self {
            Self::Direct => lab.pod("east/plain/far")?.v4.to_string(),
            Self::SameNode => "near".to_owned(),
            Self::CrossNode => "far".to_owned(),
            Self::Guarded => "guarded".to_owned(),
            Self::L7 => "routed".to_owned(),
        })
    }

    /// The agents on the path.
    ///
    /// # Errors
    /// An agent is not there.
    pub fn agents(self, lab: &Lab) -> Result<Vec<Agent>> {
        let nodes: &[&str] = match self {
            Self::Direct => &[],
            Self::SameNode => &["east-1"],
            Self::CrossNode | Self::Guarded | Self::L7 => &["east-1", "east-2"],
        };
        nodes.iter().map(|node| lab.agent("east", node)).collect()
    }
}

/// One worker: client, servers and agents share the machine. Everything is served from memory.
const NGINX: &str = "worker_processes 1;
daemon off;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {
    listen 8080 backlog=4096;
    listen [::]:8080 backlog=4096;
    location / { return 200 \"<html><body><h1>underpass</h1><p>a small static page</p></body></html>\\n\"; }
  }
}
";

/// Makes the lab and waits until every path works.
///
/// # Errors
/// The lab cannot be made, or a path does not work.
pub fn up(meshed: bool) -> Result<Lab> {
    // Inside the lab's own directory it goes with the lab.
    let conf = Record::dir_of(LAB).join("nginx.conf");
    let image = |name: &str, command: String| (name.to_owned(), command);
    let mut lab = Lab::up(Options {
        name: LAB.to_owned(),
        topology: Topology { clusters: vec![Cluster::named("east", 2)] },
        images: vec![
            image("nginx", format!("nginx -p \"$HOME\" -c {}", conf.display())),
            image("iperf3", "iperf3 -s -p 5201".to_owned()),
        ],
        agents: meshed,
        build: true,
        down_on_drop: true,
    })?;
    std::fs::write(&conf, NGINX)?;
    lab.apply_text("east", &manifests(), "bench")?;
    for case in Case::ALL.into_iter().filter(|case| meshed || *case == Case::Direct) {
        let url = format!("http://{}:8080/", case.host(&lab)?);
        let ask = || lab.exec_ok(case.client(), &["curl", "-sS", "-f", "-m", "3", &url]);
        let answered = until("the server answers", std::time::Duration::from_secs(10), || ask().ok());
        answered.or_else(|_| ask()).with_context(|| case.name())?;
    }
    Ok(lab)
}

fn manifests() -> String {
    let mut documents = vec!["apiVersion: v1\nkind: Namespace\nmetadata: {name: plain}\n".to_owned()];
    for namespace in ["default", "plain"] {
        documents.push(client(namespace));
        documents.push(server(namespace, "far", "east-2"));
    }
    documents.push(server("default", "near", "east-1"));
    documents.push(service("near", "near", "tcp"));
    documents.push(service("far", "far", "tcp"));
    documents.push(server("default", "guarded", "east-2"));
    documents.push(service("guarded", "guarded", "tcp"));
    documents.extend(super::policy::own("guarded", super::policy::OF_ANY));
    documents.push(service("routed", "far", "http"));
    documents.push(ROUTE.to_owned());
    documents.join("---\n")
}

/// Ten rules, of which the last takes the requests.
const ROUTE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routed}
spec:
  hosts: [routed]
  http:
  - match: [{uri: {exact: /login}, method: {exact: POST}}]
    route: [{destination: {host: routed}}]
  - match: [{uri: {prefix: /api/v1}}]
    route: [{destination: {host: routed}}]
  - match: [{uri: {regex: '/products/[0-9]+(/reviews)?'}}]
    route: [{destination: {host: routed}}]
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: routed}}]
  - match: [{headers: {cookie: {regex: '.*canary=true.*'}}}]
    route: [{destination: {host: routed}}]
  - match: [{queryParams: {version: {exact: v2}}}]
    route: [{destination: {host: routed}}]
  - match: [{authority: {prefix: beta.}}, {headers: {x-beta: {}}}]
    route: [{destination: {host: routed}}]
  - match: [{uri: {prefix: /static}, withoutHeaders: {x-no-cache: {}}}]
    route: [{destination: {host: routed}}]
  - match: [{method: {exact: DELETE}}, {sourceLabels: {app: admin}}]
    route: [{destination: {host: routed}}]
  - match: [{uri: {prefix: /}}]
    route: [{destination: {host: routed}}]
";

fn client(namespace: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: client, namespace: {namespace}, labels: {{app: client}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: east-1}}
  containers:
  - {{name: client, image: sleep, command: [/bin/sleep, infinity]}}
"
    )
}

fn server(namespace: &str, name: &str, node: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
spec:
  nodeSelector: {{kubernetes.io/hostname: {node}}}
  containers:
  - {{name: nginx, image: nginx, ports: [{{containerPort: 8080}}]}}
  - {{name: iperf3, image: iperf3, ports: [{{containerPort: 5201}}]}}
"
    )
}

fn service(name: &str, app: &str, protocol: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {app}}}
  ports:
  - {{name: {protocol}, port: 8080}}
  - {{name: tcp-iperf, port: 5201}}
"
    )
}
