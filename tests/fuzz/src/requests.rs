//! Requests, as a client of any kind may write them, held against rules that look at everything.

use crate::manifests::SERVICE;
use fastrand::Rng;
use http::{Request, Uri};
use std::sync::{Arc, OnceLock};
use underpass::model::{Severity, Workload};
use underpass::route::{Plan, Verdict, resolve};
use underpass::snapshot::{Assembler, Snapshot};
use underpass::source::{self, Text};
use underpass::vocab::OrigDst;

const RULES: &str = include_str!("rules.yaml");

/// The first line is method and target, each other one a header; then a rule decides, and shapes what goes on.
pub fn routed(bytes: &[u8]) {
    let Some(request) = request(bytes) else { return };
    let (snapshot, client) = mesh();
    let mut rng = Rng::with_seed(bytes.len() as u64);
    let destination = OrigDst::new(([10, 0, 0, 1], 9080).into());
    let Plan::Http(table) = resolve(&snapshot.routes, client, destination, &mut rng) else {
        panic!("the rules are for requests");
    };
    let (mut parts, ()) = request.into_parts();
    let Ok(ruling) = table.decide(client, &parts, &mut rng) else { return };
    if let Verdict::Forward(forward) = ruling.verdict {
        forward.shape_request(&mut parts);
        let mut answer = http::HeaderMap::new();
        forward.shape_response(&mut answer);
        let _ = (forward.timeout(), forward.retry().is_some(), forward.mirrors().len());
    }
}

fn request(bytes: &[u8]) -> Option<Request<()>> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = Request::builder().method(first.next()?).uri(Uri::try_from(first.next()?).ok()?);
    for line in lines.take(32) {
        let at = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..at], line[at + 1..].trim_ascii());
    }
    request.body(()).ok()
}

fn mesh() -> &'static (Arc<Snapshot>, Arc<Workload>) {
    static MESH: OnceLock<(Arc<Snapshot>, Arc<Workload>)> = OnceLock::new();
    MESH.get_or_init(|| {
        let config = source::Config {
            local: "local".into(),
            roots: Vec::new(),
            trust_domain: "cluster.local".into(),
            cluster_domain: "cluster.local".to_owned(),
            network: "".into(),
            root_namespace: "istio-system".to_owned(),
        };
        let texts = [Text { name: "rules.yaml".to_owned(), text: format!("{SERVICE}---\n{RULES}") }];
        let update = source::read_given(config, &texts).update;
        let errors: Vec<_> = update.findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        let (snapshot, _) = Assembler::new("local".into()).apply(update.changes);
        let client = snapshot.workloads.iter().next().map(Arc::clone).expect("the rules bring a pod");
        (snapshot, client)
    })
}
