//! What two real TLS ends make of each other.

use super::fixture::{HOUR, Mesh, id, leaf, showing};
use super::{PeerError, VerifiedPeer};
use crate::vocab::Alpn;
use rustls::{ClientConfig, HandshakeKind, NamedGroup, ServerConfig};
use rustls_pki_types::ServerName;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

type Ends = (io::Result<client::TlsStream<DuplexStream>>, io::Result<server::TlsStream<DuplexStream>>);

/// Both ends' verdicts. The client's is known only after it read: in TLS 1.3 it is done first.
async fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Ends {
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
    let near = TlsConnector::from(client.clone()).connect(name, near);
    tokio::join!(near, TlsAcceptor::from(server.clone()).accept(far))
}

fn why<T>(end: io::Result<T>) -> PeerError {
    let error = end.err().expect("the handshake must fail");
    let error = error.get_ref().and_then(|error| error.downcast_ref()).expect("a TLS error");
    PeerError::in_handshake(error).unwrap_or_else(|| panic!("not about a certificate: {error:?}"))
}

#[tokio::test]
async fn workloads_of_two_clusters_know_each_other() {
    let mesh = Mesh::new();
    let (near, far) = (mesh.identity(&id("shop", "web")), mesh.identity(&id("shop", "cart")));
    let tunnels = [
        (&near.client_hbone, Alpn::Hbone),
        (&near.client_underpass, Alpn::Sessions),
        (&near.client_lanes, Alpn::Lanes),
    ];
    for (config, alpn) in tunnels {
        let (client, server) = shake(config, &far.server).await;
        let (client, server) = (client.unwrap(), server.unwrap());
        let (_, client) = client.get_ref();
        let (_, server) = server.get_ref();
        assert_eq!(client.alpn_protocol(), Some(alpn.id()));
        assert_eq!(client.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
        assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full), "nothing is resumed, not even the second time");
        assert_eq!(server.server_name(), None);
        let seen = VerifiedPeer::from_certificates(client.peer_certificates().unwrap()).unwrap();
        assert_eq!(seen.id(), &far.id);
        let seen = VerifiedPeer::from_certificates(server.peer_certificates().unwrap()).unwrap();
        seen.expect(&near.id).unwrap();
        let wrong = seen.expect(&far.id).unwrap_err();
        assert_eq!(
            wrong.to_string(),
            "the peer is `spiffe://cluster.local/ns/shop/sa/web`, not `spiffe://cluster.local/ns/shop/sa/cart`"
        );
    }
}

#[tokio::test]
async fn another_root_is_refused_by_both_sides() {
    let (near, far) = (Mesh::new().identity(&id("a", "a")), Mesh::new().identity(&id("b", "b")));
    let (client, _) = shake(&near.client_hbone, &far.server).await;
    assert_eq!(why(client), PeerError::OtherRoot);
    // A client that shows a foreign certificate although it believes this mesh.
    let (mesh, other) = (Mesh::new(), Mesh::new());
    let (foreign, ours) = (other.identity(&id("a", "a")), mesh.authority());
    let mut careless = ClientConfig::clone(&foreign.client_hbone);
    careless.dangerous().set_certificate_verifier(ours.trust().clone());
    let good = ours.issue(&id("shop", "cart"), HOUR, SystemTime::now()).unwrap();
    let (_, server) = shake(&Arc::new(careless), &good.server).await;
    assert_eq!(why(server), PeerError::OtherRoot);
}

/// A client that shows `params` under the mesh's own root, as the server sees it.
async fn judged(params: rcgen::CertificateParams) -> PeerError {
    let authority = Mesh::new().authority();
    let (client, _) = showing(&authority, params);
    let good = authority.issue(&id("shop", "cart"), HOUR, SystemTime::now()).unwrap();
    let (_, server) = shake(&client, &good.server).await;
    why(server)
}

#[tokio::test]
async fn a_server_is_judged_as_a_client_is() {
    let authority = Mesh::new().authority();
    let (_, bad) = showing(&authority, leaf(&["spiffe://other/ns/a/sa/a"]));
    let good = authority.issue(&id("shop", "web"), HOUR, SystemTime::now()).unwrap();
    let (client, _) = shake(&good.client_hbone, &bad).await;
    assert_eq!(why(client).reason(), "wrong_trust_domain");
}

#[tokio::test]
async fn expired_and_not_yet_valid_are_told_apart() {
    let mut params = leaf(&["spiffe://cluster.local/ns/a/sa/a"]);
    params.not_after = (SystemTime::now() - HOUR).into();
    assert_eq!(judged(params).await, PeerError::Expired);
    let mut params = leaf(&["spiffe://cluster.local/ns/a/sa/a"]);
    params.not_before = (SystemTime::now() + HOUR).into();
    assert_eq!(judged(params).await, PeerError::NotYetValid);
}

#[tokio::test]
async fn every_other_flaw_has_its_own_reason() {
    assert_eq!(judged(leaf(&[])).await, PeerError::NoSpiffeId);
    let two = ["spiffe://cluster.local/ns/a/sa/a", "spiffe://cluster.local/ns/b/sa/b"];
    assert_eq!(judged(leaf(&two)).await, PeerError::SeveralUris(2));
    assert_eq!(judged(leaf(&["https://example.com"])).await.reason(), "invalid_spiffe_id");
    assert_eq!(judged(leaf(&["spiffe://other/ns/a/sa/a"])).await.reason(), "wrong_trust_domain");
    let mut params = leaf(&["spiffe://cluster.local/ns/a/sa/a"]);
    params.extended_key_usages.pop();
    assert_eq!(judged(params).await, PeerError::WrongPurpose);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let mesh = Mesh::new();
    let authority = mesh.authority();
    let good = authority.issue(&id("shop", "cart"), HOUR, SystemTime::now()).unwrap();
    let mut bare = ClientConfig::builder_with_provider(super::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(authority.trust().clone())
        .with_no_client_auth();
    bare.alpn_protocols = vec![Alpn::Hbone.id().to_vec()];
    let (_, server) = shake(&Arc::new(bare), &good.server).await;
    assert_eq!(why(server), PeerError::NoCertificate);
}

#[tokio::test]
async fn the_refused_side_hears_a_fitting_alert() {
    let authority = Mesh::new().authority();
    let mut params = leaf(&["spiffe://cluster.local/ns/a/sa/a"]);
    params.not_after = (SystemTime::now() - HOUR).into();
    let (client, _) = showing(&authority, params);
    let good = authority.issue(&id("shop", "cart"), HOUR, SystemTime::now()).unwrap();
    let (client, _) = shake(&client, &good.server).await;
    let heard = client.unwrap().read(&mut [0; 1]).await.unwrap_err().to_string();
    assert!(heard.contains("CertificateExpired"), "{heard}");
}
