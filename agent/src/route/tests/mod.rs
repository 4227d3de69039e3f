//! Every rule of routing, on small meshes.

mod destinations;
mod precedence;
mod requests;
mod rulings;
mod services;
mod undecided;

use crate::model::AppProtocol::{Http, Tcp};
use crate::model::Change;
use crate::snapshot::fixtures::*;

/// `shop/books` (HTTP 80, versions 1 to 3), `shop/till` (TCP 90 only) and `shop/two` (HTTP 80 and 81).
fn shop() -> Vec<Change> {
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
fn plausible(seen: usize, of: usize, share: f64) -> bool {
    let (of, seen) = (of as f64, seen as f64);
    (seen - of * share).abs() <= 4.0 * (of * share * (1.0 - share)).sqrt()
}
