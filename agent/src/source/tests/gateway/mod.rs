//! The Gateway API's kinds: what is read, and what is made of it for requests and connections.

mod attached;
mod effects;
mod fields;
mod mistakes;
mod policies;
mod precedence;
mod samples;
mod status;

use super::{Dir, lines};
use crate::model::{GatewayRoute, Workload};
use crate::route::{Plan, Verdict, resolve};
use crate::snapshot::fixtures::{pod, shown};
use crate::snapshot::{Assembler, Object, Snapshot, Standing, Work};
use crate::source::Update;
use crate::source::files::Files;
use crate::vocab::OrigDst;
use fastrand::Rng;
use http::Request;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// An HTTPRoute `shop/route` of the Service `shop/books` whose rules start on line 10.
pub fn http_route(rules: &str) -> String {
    route("HTTPRoute", "shop/route", "{group: \"\", kind: Service, name: books}", rules)
}

/// A route with one parent; `rules` are the lines of a list.
pub fn route(kind: &str, id: &str, parent: &str, rules: &str) -> String {
    let (namespace, name) = id.split_once('/').unwrap();
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n  \
         parentRefs:\n  - {parent}\n  rules:\n{}",
        rules.lines().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "  {line}");
            text
        })
    )
}

/// What is said of a manifest, and the route that comes of it.
pub fn read(text: &str) -> (Vec<String>, Option<GatewayRoute>) {
    let dir = Dir::new(&[("f.yaml", text)]);
    (dir.findings(), super::gateway_routes(&dir.read()).pop())
}

/// A Service `namespace/name` at an address with ports `number/name`, and an endpoint that is ready where it has one.
pub fn service(id: &str, vip: &str, ports: &[&str], endpoint: Option<&str>) -> String {
    let (namespace, name) = id.split_once('/').unwrap();
    let port = |text: &&str| {
        let (number, name) = text.split_once('/').unwrap();
        (
            format!("{{name: {name}, port: {number}}}"),
            format!("{{name: {name}, port: {}}}", 1000 + number.parse::<u32>().unwrap()),
        )
    };
    let (declared, behind): (Vec<_>, Vec<_>) = ports.iter().map(port).unzip();
    let ready = endpoint.is_some();
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  clusterIP: {vip}\n  \
         ports: [{}]\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-1\n  \
         namespace: {namespace}\n  labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\nports: [{}]\n\
         endpoints: [{{addresses: [{}], conditions: {{ready: {ready}}}}}]\n",
        declared.join(", "),
        behind.join(", "),
        endpoint.unwrap_or("10.0.9.9"),
    )
}

/// The Services of the tests: `books` and its versions in `shop`, `films` in `media`.
pub fn shop() -> String {
    [
        service("shop/books", "10.96.0.1", &["80/http", "81/http-alt", "90/tcp-raw", "99/other"], Some("10.0.0.1")),
        service("shop/v1", "10.96.0.11", &["80/http"], Some("10.0.0.11")),
        service("shop/v2", "10.96.0.12", &["80/http"], Some("10.0.0.12")),
        service("shop/v3", "10.96.0.13", &["80/http"], Some("10.0.0.13")),
        service("shop/asleep", "10.96.0.14", &["80/http"], None),
        service("media/films", "10.96.0.21", &["80/http"], Some("10.0.0.21")),
    ]
    .concat()
}

/// A mesh made of manifests, as its data path sees it.
pub struct Mesh {
    dir: Dir,
    files: Files,
    assembler: Assembler,
    pub snapshot: Arc<Snapshot>,
    /// Of the source and of the snapshot: `code place message`.
    pub findings: Vec<String>,
    rng: Rng,
}

impl Mesh {
    /// One of the shop's Services and these objects.
    pub fn new(objects: &str) -> Self {
        let dir = Dir::new(&[]);
        let files = Files::new(dir.config());
        let mut assembler = Assembler::new("east".into());
        let snapshot = assembler.apply(vec![]).0;
        let mut mesh = Self { dir, files, assembler, snapshot, findings: vec![], rng: Rng::with_seed(7) };
        mesh.write("shop.yaml", &shop());
        mesh.write("f.yaml", objects);
        mesh
    }

    /// A file has this content now.
    pub fn write(&mut self, name: &str, text: &str) -> Work {
        self.dir.write(name, text);
        self.files.refresh(&BTreeSet::from([self.dir.path().join(name)]));
        let update = self.files.world.update().unwrap_or_default();
        let said = lines(&update, self.dir.path());
        let (snapshot, found) = self.assembler.apply(update.changes.clone());
        self.snapshot = snapshot;
        let found = lines(&Update { findings: found, ..Update::default() }, self.dir.path());
        self.findings = said.into_iter().chain(found).collect();
        self.assembler.work()
    }

    /// Where a connection of a client of this namespace goes.
    pub fn connect(&mut self, namespace: &str, dst: &str) -> Plan {
        let dst = OrigDst::new(dst.parse().unwrap());
        resolve(&self.snapshot.routes, &client(namespace), dst, &mut self.rng)
    }

    /// What becomes of a request: `v1:80` where it goes, the status where it is refused.
    pub fn ask(&mut self, namespace: &str, dst: &str, request: &str) -> String {
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let mut builder = Request::builder().method(method).uri(path).header("host", "books.shop");
        for header in words {
            let (name, value) = header.split_once(':').unwrap();
            builder = builder.header(name, value);
        }
        let parts = builder.body(()).unwrap().into_parts().0;
        let plan = self.connect(namespace, dst);
        let table = match &plan {
            Plan::Http(table) => table,
            // Whoever asks this way speaks HTTP.
            Plan::Undecided(undecided) if undecided.requests().is_some() => undecided.requests().unwrap(),
            other => return shown(other),
        };
        match table.decide(&client(namespace), &parts, &mut self.rng).map(|ruling| ruling.verdict) {
            Ok(Verdict::Forward(forward)) => {
                let service = &forward.upstream().service;
                format!("{}:{}", service.name, service.port)
            }
            Ok(Verdict::Answer(answer)) => answer.status.as_str().to_owned(),
            Err(refusal) => refusal.status().as_str().to_owned(),
        }
    }

    /// A GET of the shop's books by a client of the shop.
    pub fn get(&mut self, rest: &str) -> String {
        self.ask("shop", "10.96.0.1:80", &format!("GET {rest}"))
    }

    /// The conditions of every object: `HTTPRoute shop/route 0 Accepted=True Accepted`.
    pub fn status(&self) -> Vec<String> {
        let statuses = self.snapshot.statuses.by_object();
        let standings = statuses.into_values().flatten();
        let line = |standing: &Standing| {
            let object = match &standing.object {
                Object::Route(route) => route.to_string(),
                Object::Policy(id) => format!("BackendTLSPolicy {id}"),
            };
            let conditions =
                standing.conditions.iter().map(|one| format!("{}={} {}", one.r#type, one.status, one.reason));
            format!("{object} {} {}", standing.index, conditions.collect::<Vec<_>>().join(", "))
        };
        standings.map(line).collect()
    }
}

fn client(namespace: &str) -> Workload {
    pod(&format!("{namespace}/client"), "10.0.8.8", &[])
}
