//! A service with rules, and requests to it.

use crate::model::AppProtocol::{Http, Tcp};
use crate::model::{Change, HttpRule};
use crate::route::{Answer, Forward, HttpTable, Plan, Refusal, Ruling, Verdict};
use crate::snapshot::fixtures::*;
use http::request::{Builder, Parts};
use http::{HeaderMap, Request, Version};

/// `shop/books` (HTTP 80, versions 1 to 3), `shop/till` (TCP 90 only) and `shop/two` (HTTP 80 and 81).
pub fn shop() -> Vec<Change> {
    vec![
        put(service("shop/books", "10.96.0.1", &[(80, Http), (85, Tcp)])),
        put(slice("shop/books", &["10.0.0.1", "10.0.0.2", "!10.0.0.3"], &[(80, 8080), (85, 8085)])),
        put(pod("shop/books-1", "10.0.0.1", &[("version", "1")])),
        put(pod("shop/books-2", "10.0.0.2", &[("version", "2")])),
        put(pod("shop/books-3", "10.0.0.3", &[("version", "3")])),
        put(subsets("shop/books", "shop/books", &[("v1", "1"), ("v2", "2"), ("v3", "3")])),
        put(service("shop/till", "10.96.0.2", &[(90, Tcp)])),
        put(slice("shop/till", &["10.0.0.4"], &[(90, 9090)])),
        put(service("shop/two", "", &[(81, Http), (82, Http)])),
        put(slice("shop/two", &["10.0.0.5"], &[(81, 8081), (82, 8082)])),
    ]
}

/// Whether an observed count is inside four standard deviations of a binomial.
pub fn plausible(seen: usize, of: usize, share: f64) -> bool {
    let (of, seen) = (of as f64, seen as f64);
    (seen - of * share).abs() <= 4.0 * (of * share * (1.0 - share)).sqrt()
}

/// `shop/books` under these rules; requests come from `shop/client`.
pub struct Scene {
    pub world: World,
    table: HttpTable,
}

impl Scene {
    pub fn new(http: Vec<HttpRule>) -> Self {
        let mut changes = shop();
        changes.push(put(rules("shop/r", &["shop/books"], http, vec![])));
        let mut world = World::new(changes);
        let client = pod("shop/client", "10.0.0.9", &[]);
        let Plan::Http(table) = world.resolve(&client, "10.96.0.1:80") else { panic!("not routed by request") };
        Self { world, table }
    }

    pub fn decide(&mut self, request: &Parts) -> Result<Ruling, Refusal> {
        self.table.decide(&pod("shop/client", "10.0.0.9", &[]), request, &mut self.world.rng)
    }

    pub fn answer(&mut self, request: &Parts) -> Answer {
        match self.decide(request) {
            Ok(Ruling { verdict: Verdict::Answer(answer), .. }) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub fn forward(&mut self, request: &Parts) -> Forward {
        match self.decide(request) {
            Ok(Ruling { verdict: Verdict::Forward(forward), .. }) => forward,
            other => panic!("{other:?}"),
        }
    }

    pub fn refusal(&mut self, request: &Parts) -> String {
        let refusal = self.decide(request).unwrap_err();
        format!("{} {} {refusal}", refusal.status().as_u16(), refusal.flag())
    }
}

pub fn request(uri: &str, change: impl Fn(Builder) -> Builder) -> Parts {
    change(Request::builder().uri(uri).header("host", "books")).body(()).unwrap().into_parts().0
}

pub fn get() -> Parts {
    request("/a/b?x=1", |b| b)
}

pub fn call() -> Parts {
    request("/a/b", |b| b.version(Version::HTTP_2).header("content-type", "application/grpc"))
}

/// All values of a header.
pub fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// A rule with a name that sends everything to `shop/books`.
pub fn to_books() -> HttpRule {
    HttpRule { name: Some("named".into()), ..http_rule(vec![], vec![to("shop/books#v1", 1)]) }
}
