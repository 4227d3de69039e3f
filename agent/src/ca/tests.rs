//! Who may have which identity, and what a request for it may say.

use super::authorize::Rules;
use super::caller::{Caller, Home, by_certificate};
use super::pods::Pods;
use super::request::key_of;
use crate::identity::fixture::{HOUR, Mesh};
use crate::model::{Change, Workload};
use crate::snapshot::fixtures::{World, pod_in, put};
use crate::snapshot::{Publisher, Snapshot};
use crate::vocab::{PodId, SpiffeId};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType};
use std::sync::Arc;
use std::time::SystemTime;

fn id(namespace: &str, account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/{namespace}/sa/{account}").parse().unwrap()
}

fn pod(name: &str, node: &str, account: &str) -> Change {
    let (namespace, _) = name.split_once('/').unwrap();
    let workload =
        Workload { node: node.into(), identity: id(namespace, account), ..pod_in("east", name, "10.0.0.1", &[]) };
    put(workload)
}

/// Agents on two nodes, and a pod on each.
fn cluster() -> Arc<Snapshot> {
    let agents = [pod("istio-system/agent-1", "n1", "underpass"), pod("istio-system/agent-2", "n2", "underpass")];
    let pods = [pod("shop/web", "n1", "web"), pod("shop/db", "n2", "db")];
    World::new(agents.into_iter().chain(pods).collect()).snapshot
}

fn bound(id: SpiffeId, pod: Option<&str>, node: Option<&str>) -> Caller {
    let pod = pod.and_then(|pod| pod.split_once('/'));
    let pod = pod.map(|(namespace, name)| PodId { namespace: namespace.into(), name: name.into() });
    Caller { id, home: Some(Home { pod, node: node.map(Into::into) }) }
}

async fn asked(caller: &Caller, asked: Option<&str>) -> Result<String, &'static str> {
    let trusted = vec![("istio-system".to_owned(), "underpass".to_owned())];
    let pods = Pods::Manifests("east".into(), Publisher::new(cluster()).1);
    Rules { trusted, pods }.authorize(caller, asked).await.map(|id| id.to_string()).map_err(|denied| denied.reason())
}

#[tokio::test]
async fn an_agent_gets_the_identities_of_its_node_and_no_others() {
    let (web, db) = (id("shop", "web").to_string(), id("shop", "db").to_string());
    let agent = |pod, node| bound(id("istio-system", "underpass"), pod, node);
    let by_node = agent(Some("istio-system/agent-1"), Some("n1"));
    assert_eq!(asked(&by_node, Some(&web)).await, Ok(web.clone()));
    assert_eq!(asked(&by_node, Some(&db)).await, Err("not_on_node"));
    assert_eq!(asked(&by_node, Some("spiffe://elsewhere/ns/shop/sa/web")).await, Err("foreign_identity"));
    assert_eq!(asked(&by_node, Some("web")).await, Err("foreign_identity"));
    // Before Kubernetes 1.30 a token names its pod alone.
    let by_pod = agent(Some("istio-system/agent-2"), None);
    assert_eq!(asked(&by_pod, Some(&db)).await, Ok(db.clone()));
    assert_eq!(asked(&by_pod, Some(&web)).await, Err("not_on_node"));
    for unknown in [agent(Some("istio-system/agent-1"), Some("n2")), agent(Some("istio-system/gone"), None)] {
        assert_eq!(asked(&unknown, Some(&web)).await, Err("unknown_node"), "{unknown:?}");
    }
    let nowhere = Caller { home: None, ..agent(None, None) };
    assert_eq!(
        asked(&nowhere, Some(&web)).await,
        Err("unknown_node"),
        "a certificate does not say where its holder is"
    );
}

#[tokio::test]
async fn a_workload_gets_its_own_identity_only() {
    let web = bound(id("shop", "web"), Some("shop/web"), Some("n1"));
    let own = id("shop", "web").to_string();
    assert_eq!(asked(&web, None).await, Ok(own.clone()));
    assert_eq!(asked(&web, Some(&own)).await, Ok(own));
    assert_eq!(asked(&web, Some(&id("istio-system", "underpass").to_string())).await, Err("not_trusted"));
}

#[test]
fn a_certificate_counts_for_as_long_as_it_is_good() {
    let (cluster, web, now) = (Mesh::new().authority(), id("shop", "web"), SystemTime::now());
    let shown = |cluster: &crate::identity::fixture::Cluster, from| cluster.issue(&web, HOUR, from).unwrap().chain;
    let caller = by_certificate(cluster.trust(), &shown(&cluster, now)).unwrap();
    assert_eq!((caller.id, caller.home), (web.clone(), None));
    let refused = |chain: &[_]| by_certificate(cluster.trust(), chain).unwrap_err().reason();
    assert_eq!(refused(&shown(&cluster, now - 2 * HOUR)), "bad_certificate", "it ended while the connection was open");
    assert_eq!(refused(&shown(&Mesh::new().authority(), now)), "bad_certificate");
    assert_eq!(refused(&[]), "no_credential");
}

fn csr(key: &KeyPair, shape: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    shape(&mut params);
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

#[test]
fn a_request_may_claim_what_was_authorized_or_nothing() {
    let (web, key) = (id("shop", "web"), KeyPair::generate().unwrap());
    let own = web.to_string();
    let names = |names: Vec<SanType>| csr(&key, |params| params.subject_alt_names = names);
    assert!(key_of(&names(vec![]), &web).is_ok() && key_of(&names(vec![uri(&own)]), &web).is_ok());
    let refused = |csr: &str| key_of(csr, &web).err().map(|bad| bad.reason());
    let lies = [uri("spiffe://cluster.local/ns/shop/sa/db"), SanType::DnsName("web".try_into().unwrap())];
    for lie in lies {
        assert_eq!(refused(&names(vec![uri(&own), lie])), Some("wrong_name"));
    }
    let authority = csr(&key, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(refused(&authority), Some("wants_authority"));
    // A subject is not looked at by peers, and not carried over.
    assert_eq!(refused(&csr(&key, |params| params.distinguished_name.push(DnType::CommonName, "x"))), None);
}

#[test]
fn a_request_that_is_none_or_not_its_sender_s_is_refused() {
    let (web, key, other) = (id("shop", "web"), KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let good = csr(&key, |_| {});
    let der = |text: &str| pem::parse(text).unwrap().into_contents();
    let (mut forged, theirs) = (der(&good), der(&csr(&other, |_| {})));
    // The same request with the signature of another.
    let at = forged.len() - 60;
    forged[at..].copy_from_slice(&theirs[theirs.len() - 60..]);
    let forged = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", forged));
    let refused = |csr: &str| key_of(csr, &web).err().map(|bad| bad.reason());
    assert!(matches!(refused(&forged), Some("bad_signature" | "malformed")), "{:?}", refused(&forged));
    for text in ["", "hello", &good[..good.len() / 2]] {
        assert_eq!(refused(text), Some("malformed"));
    }
}
