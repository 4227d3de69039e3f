//! A mesh of any size as manifests: one file for each object, but the pods of a service in one.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    /// Services.
    pub services: u32,
    /// Routes: four VirtualServices to one HTTPRoute.
    pub routes: u32,
}

/// Endpoints of a service.
const ENDPOINTS: u32 = 10;
/// Namespaces with services, so that none has most of them.
const NAMESPACES: u32 = 20;
/// From here on addresses belong to pods, and to services.
const PODS: u32 = u32::from_be_bytes([100, 64, 0, 0]);
const VIPS: u32 = u32::from_be_bytes([172, 16, 0, 0]);

impl Size {
    /// 2,000 services, 20,000 endpoints and 5,000 routes, in quarters.
    pub fn quarters(quarters: u32) -> Self {
        Self { services: 500 * quarters, routes: 1250 * quarters }
    }

    /// All of them.
    pub fn endpoints(self) -> u32 {
        self.services * ENDPOINTS
    }

    /// Services with VirtualServices; the others have HTTPRoutes.
    fn with_virtual_services(self) -> u32 {
        self.services * 9 / 10
    }

    fn virtual_services(self) -> u32 {
        self.routes * 4 / 5
    }
}

/// A mesh in a directory.
pub struct Manifests {
    dir: PathBuf,
    size: Size,
}

impl Manifests {
    /// Writes all of it; how long does not count.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(dir: PathBuf, size: Size) -> Result<Self> {
        for below in ["pods", "routes", "services", "slices"] {
            fs::create_dir_all(dir.join(below)).with_context(|| dir.display().to_string())?;
        }
        let mesh = Self { dir, size };
        fs::write(mesh.dir.join("namespaces.yaml"), namespaces(size))?;
        for n in 0..size.services {
            fs::write(mesh.dir.join(format!("services/s{n}.yaml")), service(n))?;
            fs::write(mesh.dir.join(format!("pods/s{n}.yaml")), pods(n))?;
            mesh.slice(n, true)?;
        }
        for n in 0..size.virtual_services() {
            mesh.virtual_service(n, 1)?;
        }
        for n in size.virtual_services()..size.routes {
            fs::write(mesh.dir.join(format!("routes/r{n}.yaml")), mesh.http_route(n))?;
        }
        Ok(mesh)
    }

    /// How many files there are.
    pub fn files(&self) -> u32 {
        1 + 3 * self.size.services + self.size.routes
    }

    /// Writes a service's EndpointSlice, its last endpoint ready or not.
    ///
    /// # Errors
    /// The file system's.
    pub fn slice(&self, n: u32, ready: bool) -> Result<()> {
        let n = n % self.size.services;
        replace(&self.dir.join(format!("slices/s{n}.yaml")), &slice(n, ready))
    }

    /// Writes a VirtualService that sends this share of the requests somewhere else.
    ///
    /// # Errors
    /// The file system's.
    pub fn virtual_service(&self, n: u32, share: u32) -> Result<()> {
        let n = n % self.size.virtual_services();
        let services = self.size.with_virtual_services();
        // Each has its own clients' namespace, or they would contradict each other.
        let (own, other, team) = (n % services, (n + 1) % services, n / services);
        let text = format!(
            "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: r{n}, namespace: team{team}}}
spec:
  hosts: [{own}]
  exportTo: [.]
  http:
  - match: [{{uri: {{prefix: /admin}}, headers: {{x-user: {{exact: tester}}}}}}]
    route: [{{destination: {{host: {own}}}}}]
  - route:
    - {{destination: {{host: {own}}}, weight: {}}}
    - {{destination: {{host: {other}}}, weight: {share}}}
",
            100 - share,
            own = host(own),
            other = host(other),
        );
        replace(&self.dir.join(format!("routes/r{n}.yaml")), &text)
    }

    fn http_route(&self, n: u32) -> String {
        let services = self.size.services - self.size.with_virtual_services();
        let service = self.size.with_virtual_services() + n % services;
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r{n}, namespace: {}}}
spec:
  parentRefs: [{{group: \"\", kind: Service, name: s{service}, port: 80}}]
  rules:
  - matches: [{{path: {{type: PathPrefix, value: /r{n}}}}}]
    backendRefs: [{{name: s{service}, port: 80}}]
",
            namespace(service)
        )
    }
}

/// In one step, as a cluster's tools do: no reader sees half of it.
fn replace(path: &Path, text: &str) -> Result<()> {
    let next = path.with_extension("tmp");
    fs::write(&next, text)?;
    fs::rename(&next, path).with_context(|| path.display().to_string())
}

fn namespace(service: u32) -> String {
    format!("shop{}", service % NAMESPACES)
}

fn host(service: u32) -> String {
    format!("s{service}.{}.svc.cluster.local", namespace(service))
}

fn pod_address(service: u32, at: u32) -> Ipv4Addr {
    Ipv4Addr::from(PODS + service * ENDPOINTS + at)
}

fn namespaces(size: Size) -> String {
    let teams = size.virtual_services().div_ceil(size.with_virtual_services());
    let names = (0..NAMESPACES).map(|n| format!("shop{n}")).chain((0..teams).map(|n| format!("team{n}")));
    let mode = "istio.io/dataplane-mode: ambient";
    names
        .map(|name| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{mode}}}}}\n---\n"))
        .collect()
}

fn service(n: u32) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: s{n}, namespace: {}}}
spec:
  clusterIP: {}
  selector: {{app: s{n}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
",
        namespace(n),
        Ipv4Addr::from(VIPS + n)
    )
}

fn slice(n: u32, ready: bool) -> String {
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: s{n}-1, namespace: {}, labels: {{kubernetes.io/service-name: s{n}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints:
",
        namespace(n)
    );
    for at in 0..ENDPOINTS {
        let ready = ready || at + 1 < ENDPOINTS;
        let target = format!("{{kind: Pod, name: s{n}-{at}, namespace: {}}}", namespace(n));
        let address = pod_address(n, at);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "- {{addresses: [{address}], conditions: {{ready: {ready}}}, targetRef: {target}, nodeName: far}}"
        );
    }
    text
}

fn pods(n: u32) -> String {
    let pod = |at| {
        format!(
            "apiVersion: v1
kind: Pod
metadata: {{name: s{n}-{at}, namespace: {}, labels: {{app: s{n}, version: v1}}}}
spec: {{nodeName: far, serviceAccountName: s{n}, containers: [{{name: app, image: app}}]}}
status:
  phase: Running
  podIP: {address}
  podIPs: [{{ip: {address}}}]
  conditions: [{{type: Ready, status: \"True\"}}]
---
",
            namespace(n),
            address = pod_address(n, at)
        )
    };
    (0..ENDPOINTS).map(pod).collect()
}
