//! Istio's own samples, unmodified, applied one by one: each does what its name says.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use underpass_tests::install::workspace;
use underpass_tests::service::addresses;
use underpass_tests::store::Store;
use underpass_tests::{Lab, until};

use crate::http_case::Answer;
use crate::samples_tables::{GATEWAYS, ROUTES, SCENE, Split};
use crate::scene::{SOON, answering, assert_answered, assert_share, lab, load, number, reachable, tcp_load, through};

const CLIENT: &str = "east/default/sleep";
const DETAILS: &str = "http://details:9080/details/0";
const RATINGS: &str = "http://ratings:9080/ratings/0";
const JASON: &str = "end-user: jason";

/// Versions that the samples route to and that none of their files here runs.
const MORE: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: APP, version: VERSION}}
  template:
    metadata: {labels: {app: APP, version: VERSION}}
    spec:
      containers:
      - {name: main, image: examples-bookinfo, ports: [{containerPort: 9080}]}
---";

#[test]
fn samples() {
    let Some(dir) = samples_dir() else {
        eprintln!("skipped: there is no ../shared/samples beside {}", workspace().display());
        return;
    };
    assert_eq!(files_below(&dir), listed(), "a sample has no place in this test");
    let mut lab = lab("lbsamples", "clusters: [{name: east, nodes: [{name: e1}, {name: e2}]}]");
    SCENE.iter().for_each(|file| apply(&mut lab, file));
    lab.apply_text("east", &more(), "more").unwrap();
    answering(&lab, CLIENT, RATINGS);
    through(
        lab,
        &[
            ("without a route every version answers", unrouted),
            ("bookinfo/networking: routes", |lab| splits(lab, "bookinfo/networking/")),
            ("bookinfo/networking: faults", faults),
            ("bookinfo/networking: destination rules", destination_rules),
            ("bookinfo/gateway-api: routes", |lab| splits(lab, "bookinfo/gateway-api/")),
            ("what is for gateways changes nothing in the mesh", gateways),
            ("tcp-echo: IPv4, IPv6, both", tcp_echo),
            ("helloworld", helloworld),
            ("httpbin, with a NodePort too", httpbin),
        ],
    );
}

fn samples_dir() -> Option<PathBuf> {
    ["../shared/samples", "../../shared/samples"].map(|dir| workspace().join(dir)).into_iter().find(|dir| dir.is_dir())
}

fn sample(name: &str) -> PathBuf {
    samples_dir().unwrap().join(name)
}

/// Where the samples are that are all to be applied; others are used beside them.
const PARTS: [&str; 5] = ["bookinfo/networking", "bookinfo/gateway-api", "tcp-echo", "helloworld", "httpbin"];

/// Every file of these.
fn files_below(dir: &Path) -> BTreeSet<String> {
    let mut waiting: Vec<PathBuf> = PARTS.map(|part| dir.join(part)).to_vec();
    let mut files = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        match path.is_dir() {
            true => waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())),
            false => drop(files.insert(path.strip_prefix(dir).unwrap().display().to_string())),
        }
    }
    files
}

/// The same by what is applied here.
fn listed() -> BTreeSet<String> {
    let routes = ROUTES.iter().map(|(file, ..)| *file);
    let all = SCENE.iter().copied().chain(routes).chain(GATEWAYS.iter().copied()).chain(OTHERS.iter().copied());
    all.filter(|file| PARTS.iter().any(|part| file.starts_with(part))).map(str::to_owned).collect()
}

/// Those with a step of their own.
const OTHERS: &[&str] = &[
    "bookinfo/networking/destination-rule-all-mtls.yaml",
    "bookinfo/networking/destination-rule-reviews.yaml",
    "bookinfo/networking/fault-injection-details-v1.yaml",
    "bookinfo/networking/virtual-service-ratings-test-abort.yaml",
    "bookinfo/networking/virtual-service-ratings-test-delay.yaml",
    "helloworld/helloworld-dual-stack.yaml",
    "helloworld/gateway-api/helloworld-versions.yaml",
    "httpbin/httpbin-nodeport.yaml",
    "tcp-echo/tcp-echo-dual-stack.yaml",
    "tcp-echo/tcp-echo-ipv4.yaml",
    "tcp-echo/tcp-echo-ipv6.yaml",
    "tcp-echo/tcp-echo.yaml",
];

fn more() -> String {
    let all = [("details", "v2"), ("ratings", "v2"), ("ratings", "v2-mysql"), ("ratings", "v2-mysql-vm")];
    let one = |(app, version)| {
        MORE.replace("NAME", &format!("{app}-{version}")).replace("APP", app).replace("VERSION", version)
    };
    all.map(one).concat()
}

fn apply(lab: &mut Lab, file: &str) {
    lab.apply_file("east", &sample(file)).unwrap_or_else(|error| panic!("{file}: {error:#}"));
}

fn delete(lab: &mut Lab, file: &str) {
    lab.delete_file("east", &sample(file)).unwrap_or_else(|error| panic!("{file}: {error:#}"));
}

fn versions(lab: &Lab, url: &str, count: u64, header: Option<&str>) -> Value {
    let count_text = count.to_string();
    let mut words = vec!["--requests", &count_text, "--concurrency", "8"];
    words.extend(header.into_iter().flat_map(|header| ["--header", header]));
    let seen = load(lab, CLIENT, url, &words);
    assert_answered(&seen, count);
    seen["by_version"].clone()
}

/// Until all versions of an application answer, as they do where no route is in force.
fn plain(lab: &Lab, url: &str, all: usize) {
    let every = || (versions(lab, url, 64, None).as_object().unwrap().len() == all).then_some(());
    until(&format!("{all} versions answer {url}"), SOON, every).unwrap();
}

fn unrouted(lab: &mut Lab) {
    for (url, all) in [("http://reviews:9080/reviews/0", 3), (RATINGS, 4), (DETAILS, 2)] {
        plain(lab, url, all);
    }
}

fn splits(lab: &mut Lab, dir: &str) {
    for (file, splits) in ROUTES.iter().filter(|(file, _)| file.starts_with(dir)) {
        apply(lab, file);
        splits.iter().for_each(|split| assert_split(lab, file, split));
        delete(lab, file);
        splits.iter().for_each(|split| plain(lab, &split.url(), split.all));
    }
}

/// Waits until only the versions of the split answer, and then counts.
fn assert_split(lab: &Lab, file: &str, split: &Split) {
    const COUNT: u64 = 400;
    let others = |seen: &Value| seen.as_object().unwrap().keys().any(|seen| split.share(seen) == 0.0);
    let url = split.url();
    let settled = || (!others(&versions(lab, &url, 64, split.header))).then_some(());
    until(&format!("{file} is in force for {url}"), SOON, settled).unwrap();
    let seen = versions(lab, &url, COUNT, split.header);
    for (version, share) in split.shares {
        assert_share(number(&seen[*version]), COUNT, *share);
    }
    assert!(!others(&seen), "{file}: {seen}");
}

fn status(lab: &Lab, url: &str, header: &[&str]) -> String {
    Answer::to(lab, CLIENT, url, header).status
}

fn faults(lab: &mut Lab) {
    let becomes = |lab: &Lab, url: &str, header: &[&str], wanted: &str| {
        until(&format!("{url} answers {wanted}"), SOON, || (status(lab, url, header) == wanted).then_some(())).unwrap();
    };
    apply(lab, "bookinfo/networking/virtual-service-ratings-test-abort.yaml");
    becomes(lab, RATINGS, &["-H", JASON], "500");
    assert_eq!(versions(lab, RATINGS, 64, None)["v1"], 64);
    apply(lab, "bookinfo/networking/virtual-service-ratings-test-delay.yaml");
    let slow = || Some(Answer::to(lab, CLIENT, RATINGS, &["-H", JASON])).filter(|answer| answer.status == "200");
    let answer = until("jason is not refused", SOON, slow).unwrap();
    assert!(answer.took >= Duration::from_secs(7), "{:?}", answer.took);
    assert_eq!(versions(lab, RATINGS, 64, None)["v1"], 64);
    delete(lab, "bookinfo/networking/virtual-service-ratings-test-delay.yaml");
    // It brings a DestinationRule of the name of one that is there, whose subset v1 it has as well.
    apply(lab, "bookinfo/networking/fault-injection-details-v1.yaml");
    becomes(lab, DETAILS, &[], "555");
    delete(lab, "bookinfo/networking/fault-injection-details-v1.yaml");
    apply(lab, "bookinfo/networking/destination-rule-all.yaml");
    plain(lab, DETAILS, 2);
}

/// What the snapshot holds of a DestinationRule's policy for a Service.
fn policies(lab: &Lab, host: &str) -> String {
    let snapshot = lab.agent_of(CLIENT).unwrap().admin("/snapshot").unwrap();
    let all = snapshot["services"].as_array().unwrap();
    all.iter().find(|one| one["host"] == host).unwrap()["ports"].to_string()
}

fn destination_rules(lab: &mut Lab) {
    for (file, mark) in [("destination-rule-all-mtls.yaml", "IstioMutual"), ("destination-rule-reviews.yaml", "Random")]
    {
        apply(lab, &format!("bookinfo/networking/{file}"));
        let host = "reviews.default.svc.cluster.local";
        until(file, SOON, || policies(lab, host).contains(mark).then_some(())).unwrap();
        plain(lab, "http://reviews:9080/reviews/0", 3);
        let log = lab.agent_of(CLIENT).unwrap().access_log();
        let mut to_host = log.iter().rev().filter(|line| line["dst.service"] == host);
        assert!(to_host.any(|line| line["security"] == "mutual_tls" && line["response_flags"] == "-"), "{file}");
    }
    apply(lab, "bookinfo/networking/destination-rule-all.yaml");
    let gone = || (!policies(lab, "reviews.default.svc.cluster.local").contains("Random")).then_some(());
    until("the rules without a policy", SOON, gone).unwrap();
}

fn gateways(lab: &mut Lab) {
    let texts: Vec<String> = GATEWAYS.iter().map(|file| fs::read_to_string(sample(file)).unwrap()).collect();
    let text = texts.join("\n---\n");
    lab.apply_text("east", &text, "gateways").unwrap();
    let agent = lab.agent_of(CLIENT).unwrap();
    let told = |code: &str, object: &str| {
        let all = agent.admin("/findings").unwrap();
        let all = all.as_array().unwrap();
        all.iter().any(|one| one["code"] == code && one["at"].as_str().unwrap().contains(object))
    };
    for (code, object) in [
        ("gateway-route", "virtualservice/bookinfo"),
        ("gateway-route", "virtualservice/tcp-echo"),
        ("gateway-route", "virtualservice/helloworld"),
        ("gateway-route", "httproute/helloworld"),
        ("missing-host", "virtualservice/rewrite-port-for-googleapis"),
    ] {
        until(&format!("{object} is reported"), SOON, || told(code, object).then_some(())).unwrap();
    }
    unrouted(lab);
    let seen = tcp_load(lab, CLIENT, "tcp-echo:9000", 64);
    assert!(number(&seen["by_prefix"]["one"]) > 8 && number(&seen["by_prefix"]["two"]) > 8, "{seen:#}");
    lab.delete_text("east", &text, "gateways").unwrap();
}

/// Where a Service can be reached: each of its addresses.
fn service_addresses(lab: &Lab, name: &str) -> Vec<String> {
    let all = Store::open(lab.record.manifests("east")).unwrap().all("Service");
    let found = all.into_iter().find(|service| service.name == name).unwrap();
    let bracketed = |ip: String| if ip.contains(':') { format!("[{ip}]") } else { ip };
    addresses(&found.value).into_iter().map(bracketed).collect()
}

fn tcp_echo(lab: &mut Lab) {
    for both in ["one", "two"] {
        let seen = tcp_load(lab, CLIENT, "tcp-echo:9001", 64);
        assert!(number(&seen["by_prefix"][both]) > 8, "{seen:#}");
    }
    delete(lab, "tcp-echo/tcp-echo-services.yaml");
    for (file, families) in [
        ("tcp-echo", [true, false]),
        ("tcp-echo-ipv4", [true, false]),
        ("tcp-echo-ipv6", [false, true]),
        ("tcp-echo-dual-stack", [true, true]),
    ] {
        apply(lab, &format!("tcp-echo/{file}.yaml"));
        let all = service_addresses(lab, "tcp-echo");
        assert_eq!(
            [false, true].map(|six| all.iter().any(|address| address.starts_with('[') == six)),
            families,
            "{file}"
        );
        for address in all {
            reachable(lab, CLIENT, &format!("{address}:9000"));
            let seen = tcp_load(lab, CLIENT, &format!("{address}:9001"), 8);
            assert_eq!(number(&seen["by_prefix"]["hello"]), 8, "{file} {address}: {seen:#}");
        }
        // The port that the Service leaves out, at the pod itself.
        let pod = format!("{}:9002", lab.pod("east/default/tcp-echo").unwrap().v4);
        assert_eq!(number(&tcp_load(lab, CLIENT, &pod, 4)["by_prefix"]["hello"]), 4);
        delete(lab, &format!("tcp-echo/{file}.yaml"));
    }
}

fn helloworld(lab: &mut Lab) {
    plain(lab, "http://helloworld:5000/hello", 2);
    apply(lab, "helloworld/gateway-api/helloworld-versions.yaml");
    for version in ["v1", "v2"] {
        let url = format!("http://helloworld-{version}:5000/hello");
        answering(lab, CLIENT, &url);
        assert_eq!(versions(lab, &url, 20, None)[version], 20);
    }
    apply(lab, "helloworld/helloworld-dual-stack.yaml");
    let both = service_addresses(lab, "helloworld");
    assert_eq!(both.len(), 2, "{both:?}");
    both.iter().for_each(|address| plain(lab, &format!("http://{address}:5000/hello"), 2));
}

fn httpbin(lab: &mut Lab) {
    let url = "http://httpbin:8000/headers";
    let echoes = |lab: &Lab| {
        // Nobody listens while its pod is being replaced.
        answering(lab, "east/default/curl", url);
        assert_eq!(Answer::to(lab, "east/default/curl", url, &["-H", "x-a: b"]).says(">x-a"), "b");
    };
    echoes(lab);
    delete(lab, "httpbin/httpbin.yaml");
    apply(lab, "httpbin/httpbin-nodeport.yaml");
    echoes(lab);
    answering(lab, "east/default/fortio-deploy", "http://httpbin:8000/get");
}
