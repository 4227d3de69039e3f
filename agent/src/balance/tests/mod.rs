//! Groups of endpoints, and what is picked from them.

mod nearness;
mod outlier;
mod picking;

use super::*;
use crate::model::traffic_policy::{Algorithm, LoadBalancer, OutlierDetection};
use crate::model::{Locality, PortPolicy, Workload};
use crate::snapshot::fixtures::pod;
use fastrand::Rng;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A group under test, with a client, a clock and a seed of its own.
pub struct Bench {
    pub policy: PortPolicy,
    pub service: ServicePolicy,
    pub endpoints: Vec<Arc<Endpoint>>,
    pub standing: Arc<Standing>,
    pub group: Group,
    pub client: Workload,
    pub used: SocketAddr,
    pub hash: Option<u64>,
    pub now: Instant,
    pub rng: Rng,
}

impl Bench {
    pub fn new(policy: PortPolicy, endpoints: Vec<Arc<Endpoint>>) -> Self {
        let mut bench = Self {
            policy,
            service: ServicePolicy::default(),
            endpoints,
            standing: Arc::default(),
            group: Group::default(),
            client: at("client", "10.9.0.1", "eu/a/1"),
            used: "10.96.0.1:80".parse().unwrap(),
            hash: None,
            now: Instant::now(),
            rng: Rng::with_seed(7),
        };
        bench.compile();
        bench
    }

    /// As the next snapshot does.
    pub fn compile(&mut self) {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let now = (self.now, wall);
        let setting = Setting { policy: &self.policy, service: self.service, standing: &self.standing, now };
        self.group = Group::compile(self.endpoints.clone(), 0, &setting);
    }

    pub fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    pub fn but(&mut self, tried: &[SocketAddr]) -> Option<Arc<Endpoint>> {
        let caller = Caller { client: &self.client, used: self.used, hash: self.hash, now: self.now };
        pick(&self.group, &caller, tried, &mut self.rng)
    }

    /// The number of a picked endpoint but those of these numbers; 0 where there is none.
    pub fn within(&mut self, tried: &[usize], reach: Reach) -> usize {
        let tried: Vec<SocketAddr> = tried.iter().map(|n| self.one(*n).address).collect();
        let caller = Caller { client: &self.client, used: self.used, hash: self.hash, now: self.now };
        pick_within(&self.group, &caller, (&tried, reach), &mut self.rng).map_or(0, |endpoint| number(&endpoint))
    }

    /// The last number of the picked address; 0 where none was.
    pub fn pick(&mut self) -> usize {
        self.but(&[]).map_or(0, |endpoint| number(&endpoint))
    }

    pub fn picks(&mut self, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.pick()).collect()
    }

    /// How often each was picked; at 0, how often none was.
    pub fn shares(&mut self, count: usize) -> Vec<usize> {
        let most = self.endpoints.iter().map(|endpoint| number(endpoint)).max().unwrap_or(0);
        let mut shares = vec![0; most + 1];
        self.picks(count).into_iter().for_each(|at| shares[at] += 1);
        shares
    }

    /// What the group has of the endpoint with that number.
    pub fn one(&self, n: usize) -> &Arc<Endpoint> {
        self.group.ready().iter().find(|endpoint| number(endpoint) == n).unwrap()
    }

    pub fn settle(&self, n: usize, outcome: Outcome, times: usize) {
        (0..times).for_each(|_| self.one(n).settle(outcome, self.now));
    }
}

pub fn number(endpoint: &Endpoint) -> usize {
    match endpoint.address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[3].into(),
        std::net::IpAddr::V6(ip) => ip.segments()[7].into(),
    }
}

/// `10.0.0.1:80` and so on.
pub fn some(count: u8) -> Vec<Arc<Endpoint>> {
    let endpoint = |n| Arc::new(Endpoint::new(SocketAddr::from(([10, 0, 0, n], 80)), None, Arc::default()));
    (1..=count).map(endpoint).collect()
}

pub fn place(text: &str) -> Locality {
    let mut parts = text.split('/').map(Arc::from);
    let mut next = || parts.next().unwrap_or_default();
    Locality { region: next(), zone: next(), subzone: next() }
}

/// A pod in a locality, on a node of that zone.
pub fn at(name: &str, ip: &str, locality: &str) -> Workload {
    let locality = place(locality);
    let node = format!("n-{}", locality.zone).as_str().into();
    Workload { locality, node, ..pod(&format!("shop/{name}"), ip, &[]) }
}

/// Endpoints 1, 2 ... in these localities.
pub fn placed(localities: &[&str]) -> Vec<Arc<Endpoint>> {
    let one = |(n, locality): (usize, &&str)| {
        let ip = format!("10.0.0.{}", n + 1);
        let workload = Arc::new(at(&format!("books-{n}"), &ip, locality));
        Arc::new(Endpoint::new(SocketAddr::new(ip.parse().unwrap(), 80), Some(workload), Arc::default()))
    };
    localities.iter().enumerate().map(one).collect()
}

pub fn by(algorithm: Algorithm) -> PortPolicy {
    PortPolicy { load_balancer: Some(LoadBalancer { algorithm, ..LoadBalancer::default() }), ..PortPolicy::default() }
}

pub fn outlier() -> OutlierDetection {
    OutlierDetection {
        split_local: false,
        local_failures: 5,
        gateway_errors: 0,
        server_errors: 3,
        statuses: vec![],
        interval: Duration::from_secs(10),
        base_ejection: Duration::from_secs(30),
        max_ejection_percent: 100,
        min_health_percent: 0,
    }
}

pub fn judged(outlier: OutlierDetection) -> PortPolicy {
    PortPolicy { outlier: Some(outlier), ..PortPolicy::default() }
}
