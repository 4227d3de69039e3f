//! Istio's own samples, unmodified.

use super::{changes, config, lines, virtual_services};
use crate::model::http_rule::{Abort, Share};
use crate::source::read_once;
use http::StatusCode;
use std::path::{Path, PathBuf};

/// `None` where the samples are not beside the workspace.
pub fn samples(below: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let found =
        [root.join("../shared/samples"), root.join("../../shared/samples")].into_iter().find(|dir| dir.is_dir());
    if found.is_none() {
        eprintln!("skipped: there is no ../shared/samples beside {}", root.display());
    }
    found.map(|dir| dir.join(below))
}

#[test]
fn every_sample_is_read_without_surprise() {
    let Some(dir) = samples("") else { return };
    let update = read_once(config(&[("east", dir.clone())]));
    let found = lines(&update, &dir);
    println!("{}", found.join("\n"));
    println!("{:?}", update.counts);
    let codes = ["unsupported-kind", "gateway-route", "unsupported-field", "duplicate-object", "weights-not-100"];
    let strange: Vec<_> = found.iter().filter(|line| !codes.contains(&line.split(' ').nth(1).unwrap())).collect();
    assert!(strange.is_empty(), "{strange:#?}");
}

#[test]
fn bookinfo_is_understood() {
    let Some(dir) = samples("bookinfo") else { return };
    let at = |name: &str| dir.join(name);
    let read = |path: PathBuf| {
        let temp = tempfile::tempdir().unwrap();
        std::fs::copy(&path, temp.path().join("f.yaml")).unwrap();
        let update = read_once(config(&[("east", temp.path().to_owned())]));
        let lines = lines(&update, temp.path());
        (update, lines)
    };
    let (update, found) = read(at("platform/kube/bookinfo.yaml"));
    assert_eq!(changes(&update).len(), 4, "{:?}", changes(&update));
    assert!(found.is_empty(), "{found:?}");
    let (update, found) = read(at("networking/virtual-service-reviews-jason-v2-v3.yaml"));
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(virtual_services(&update)[0].http[0].matches[0].headers[0].0, "end-user");
    let (update, _) = read(at("networking/virtual-service-ratings-test-abort.yaml"));
    let abort = (Abort::Http(StatusCode::INTERNAL_SERVER_ERROR), Share::ALL);
    assert_eq!(virtual_services(&update)[0].http[0].fault.abort, Some(abort));
    let (_, found) = read(at("networking/destination-rule-all-mtls.yaml"));
    assert!(found.is_empty(), "{found:?}");
}
