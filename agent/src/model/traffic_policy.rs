//! How endpoints are chosen, limited and judged (DestinationRule's `trafficPolicy`, BackendTLSPolicy).

use super::proxy_tunnel::ProxyTunnel;
use http::{HeaderName, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// What a DestinationRule says of a host, or of a subset; what it leaves out is inherited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficPolicy {
    /// For every port that says nothing of its own.
    pub any_port: PortPolicy,
    /// By Service port. What one of these says replaces the part of the same name; it is not merged with it.
    pub ports: Vec<(u16, PortPolicy)>,
}

impl TrafficPolicy {
    /// What is in force for a port of a subset: its port settings, its own, the host's port settings, the host's; each
    /// part whole, as Istio has it.
    pub fn effective(host: &Self, subset: Option<&Self>, port: u16) -> PortPolicy {
        let levels = subset.into_iter().chain([host]);
        let parts = levels.flat_map(|policy| {
            let own = policy.ports.iter().find(|(number, _)| *number == port).map(|(_, own)| own);
            own.into_iter().chain([&policy.any_port])
        });
        parts.fold(PortPolicy::default(), |found, wider| found.or(wider))
    }
}

/// The parts of a policy, each inherited by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PortPolicy {
    /// Which endpoint.
    pub load_balancer: Option<LoadBalancer>,
    /// How many, how long.
    pub connection_pool: Option<ConnectionPool>,
    /// Which endpoints are left out for a while.
    pub outlier: Option<OutlierDetection>,
    /// TLS to the endpoint.
    pub tls: Option<ClientTls>,
    /// The PROXY protocol's header before the first byte.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// How many retries there may be at once.
    pub retry_budget: Option<RetryBudget>,
    /// The endpoint is a proxy, and is asked for the connection of bytes.
    pub tunnel: Option<ProxyTunnel>,
}

impl PortPolicy {
    /// What is not said here is taken from there.
    #[must_use]
    pub fn or(self, wider: &Self) -> Self {
        Self {
            load_balancer: self.load_balancer.or_else(|| wider.load_balancer.clone()),
            connection_pool: self.connection_pool.or_else(|| wider.connection_pool.clone()),
            outlier: self.outlier.or_else(|| wider.outlier.clone()),
            tls: self.tls.or_else(|| wider.tls.clone()),
            proxy_protocol: self.proxy_protocol.or(wider.proxy_protocol),
            retry_budget: self.retry_budget.or(wider.retry_budget),
            tunnel: self.tunnel.or_else(|| wider.tunnel.clone()),
        }
    }
}

/// Which endpoint takes a connection or a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadBalancer {
    /// The way.
    pub algorithm: Algorithm,
    /// What nearness decides.
    pub locality: Option<LocalityPolicy>,
    /// How a new endpoint gets its share.
    pub warmup: Option<Warmup>,
}

/// How one of several endpoints is taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Algorithm {
    /// The less busy of two drawn at random.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// Any.
    Random,
    /// The address that the client used, without any choice.
    Passthrough,
    /// Always the same one for the same key.
    ConsistentHash {
        /// What is hashed.
        key: HashKey,
        /// How keys are spread.
        table: HashTable,
    },
}

/// What a consistent hash is of. Where a request has none, any endpoint is taken (Envoy does so too).
#[derive(Clone, Debug, PartialEq)]
pub enum HashKey {
    /// A header's value.
    Header(HeaderName),
    /// A cookie's value; with a lifetime the cookie is made where it is missing.
    Cookie(HashCookie),
    /// The client's address.
    SourceIp,
    /// A query parameter's value.
    QueryParameter(Arc<str>),
}

/// A cookie that keeps a client at its endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct HashCookie {
    /// Its name.
    pub name: Arc<str>,
    /// Its path.
    pub path: Option<Arc<str>>,
    /// Its lifetime; none: it is not made here; zero: until the browser is closed.
    pub ttl: Option<Duration>,
    /// More attributes, such as `SameSite=Strict`, as they are written.
    pub attributes: Vec<Arc<str>>,
}

/// How keys are spread over endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashTable {
    /// Ketama, with at least so many places (Istio's default is 1024).
    Ring {
        /// Places on the ring.
        minimum: u64,
    },
    /// Maglev, with a prime number of places (65537 by default).
    Maglev {
        /// Places of the table.
        size: u64,
    },
}

/// `region/zone/subzone`, each part maybe missing from the right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Locality {
    /// `topology.kubernetes.io/region`.
    pub region: Arc<str>,
    /// `topology.kubernetes.io/zone`.
    pub zone: Arc<str>,
    /// `topology.istio.io/subzone`.
    pub subzone: Arc<str>,
}

/// Localities with their shares.
pub type LocalityShares = Vec<(Arc<str>, u32)>;

impl std::fmt::Display for Locality {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { region, zone, subzone } = self;
        match (&**zone, &**subzone) {
            ("", "") => write!(f, "{region}"),
            (_, "") => write!(f, "{region}/{zone}"),
            _ => write!(f, "{region}/{zone}/{subzone}"),
        }
    }
}

/// What nearness decides (`localityLbSetting`).
#[derive(Clone, Debug, PartialEq)]
pub enum LocalityPolicy {
    /// Nothing (`enabled: false`).
    Off,
    /// Shares by destination locality, for clients of a locality (`*` allowed at the end of either).
    Distribute(Vec<(Arc<str>, LocalityShares)>),
    /// Nearest first; clients of a region go to the named one next. Needs outlier detection, as in Istio.
    Failover(Vec<(Arc<str>, Arc<str>)>),
    /// Endpoints that share more of these labels (`key` or `key=value`), in this order, come first.
    FailoverPriority(Vec<(Arc<str>, Option<Arc<str>>)>),
}

impl LocalityPolicy {
    /// Whether it sends clients elsewhere when endpoints are out.
    pub fn fails_over(&self) -> bool {
        matches!(self, Self::Failover(_) | Self::FailoverPriority(_))
    }
}

/// How a new endpoint gets its share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup {
    /// Until it has all of it.
    pub duration: Duration,
    /// What it has from the start, in per cent of it (default 10).
    pub minimum_percent: f64,
    /// The curve's exponent is its inverse; 1 is a line.
    pub aggression: f64,
}

/// Limits of what is open at once, and times. Counted per agent and upstream; none means without limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionPool {
    /// TCP.
    pub tcp: TcpPool,
    /// HTTP.
    pub http: HttpPool,
}

/// Limits of connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TcpPool {
    /// Open at once.
    pub max_connections: Option<u32>,
    /// Until a connection is established (default 10 s).
    pub connect_timeout: Option<Duration>,
    /// Of a connection to the application.
    pub keepalive: Option<Keepalive>,
    /// A connection of bytes ends at this age.
    pub max_duration: Option<Duration>,
    /// A connection of bytes without traffic ends after so long; unsaid or zero: never (Istio ends it after an hour).
    pub idle_timeout: Option<Duration>,
}

/// TCP keepalive; what is not said is the kernel's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Unanswered probes before it is dead.
    pub probes: Option<u32>,
    /// Idle until the first probe.
    pub time: Option<Duration>,
    /// Between probes.
    pub interval: Option<Duration>,
}

/// Limits of requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpPool {
    /// HTTP/1 requests that wait for a connection.
    pub max_pending: Option<u32>,
    /// Requests under way at once.
    pub max_requests: Option<u32>,
    /// Requests before a connection is given up; 1 is without keep-alive.
    pub max_requests_per_connection: Option<u32>,
    /// Retries under way at once.
    pub max_retries: Option<u32>,
    /// A connection without requests ends after so long.
    pub idle_timeout: Option<Duration>,
    /// Which protocol the application is spoken to with.
    pub upgrade: H2Upgrade,
    /// HTTP/2 streams of one connection.
    pub max_streams: Option<u32>,
    /// HTTP/2 PING while requests are under way.
    pub h2_keepalive: Option<(Duration, Duration)>,
}

/// Which protocol the application is spoken to with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum H2Upgrade {
    /// What the client speaks, which is what this mesh does by default (`useClientProtocol`).
    #[default]
    AsClient,
    /// HTTP/2 also for HTTP/1.1 clients (`UPGRADE`).
    Upgrade,
    /// Never more than the port's protocol says (`DO_NOT_UPGRADE`).
    Never,
}

/// Which endpoints are left out for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct OutlierDetection {
    /// Failed connections and time-outs count by themselves and not as a 5xx.
    pub split_local: bool,
    /// In a row, of failed connections, where they count by themselves; 0 switches it off.
    pub local_failures: u32,
    /// In a row, of 502, 503, 504 and failed connections; 0 switches it off (default).
    pub gateway_errors: u32,
    /// In a row, of any 5xx and failed connections; 0 switches it off (default 5).
    pub server_errors: u32,
    /// Statuses that count instead of 5xx, where any are named.
    pub statuses: Vec<StatusCode>,
    /// Between looks at who may come back (default 10 s).
    pub interval: Duration,
    /// An ejection lasts so long, times how often it has happened (default 30 s).
    pub base_ejection: Duration,
    /// Of the endpoints, at most so many per cent are out (default 10, at least one).
    pub max_ejection_percent: u32,
    /// Below so many healthy per cent everyone is used (default 0: never).
    pub min_health_percent: u32,
}

/// TLS to the endpoint, where the mesh's own does not reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// Which.
    pub mode: ClientTlsMode,
    /// The name that is asked for.
    pub sni: Option<Arc<str>>,
    /// Names of which the certificate must have one; empty: the SNI's or the host's.
    pub names: Vec<SubjectName>,
    /// Whom to trust.
    pub roots: Roots,
    /// What is shown, for MUTUAL.
    pub certificate: Option<CertificateSource>,
    /// Whether nobody is checked.
    pub insecure: bool,
    /// A revocation list, a file of the agent's.
    pub crl: Option<Arc<str>>,
}

/// TLS modes of DestinationRule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientTlsMode {
    /// None; not the mesh's own either.
    #[default]
    Disable,
    /// The server shows a certificate.
    Simple,
    /// Both do.
    Mutual,
    /// The mesh's own, required: an endpoint without it is not used.
    IstioMutual,
}

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubjectName {
    /// A DNS name or an address.
    Dns(Arc<str>),
    /// A URI, such as a SPIFFE ID.
    Uri(Arc<str>),
}

/// Whom a client trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Roots {
    /// What the machine trusts (the container image's CA bundle).
    #[default]
    System,
    /// Certificates in a file of the agent's.
    File(Arc<str>),
    /// A Secret's `ca.crt` or `cacert`.
    Secret(super::ObjectId),
    /// A ConfigMap's `ca.crt`.
    ConfigMap(super::ObjectId),
}

/// Where a client certificate is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateSource {
    /// In files of the agent's.
    Files {
        /// The chain.
        chain: Arc<str>,
        /// The key.
        key: Arc<str>,
    },
    /// In a Secret of type `kubernetes.io/tls`.
    Secret(super::ObjectId),
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// The text header.
    V1,
    /// The binary header.
    V2,
}

/// How many retries there may be at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Of the requests under way, in per cent (default 20).
    pub percent: f64,
    /// But at least so many (default 3).
    pub minimum: u32,
    /// Of those that were begun in that time too, if they are more than are under way.
    pub interval: Option<Duration>,
}

impl ClientTls {
    /// Whether TLS is spoken that is not the mesh's.
    pub fn originates(&self) -> bool {
        matches!(self.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual)
    }
}
