//! HBONE over the TLS of this agent, with certificates of two clusters.

use super::*;
use crate::identity::VerifiedPeer;
use crate::identity::fixture::{Mesh, id};
use crate::tunnel::tls::{TlsStream, accept, connect as handshake};
use crate::vocab::Alpn;
use tokio::net::{TcpListener, TcpStream};

/// More than every flow-control window.
const MUCH: usize = 40 << 20;

async fn ends() -> (TlsStream, TlsStream) {
    let mesh = Mesh::new();
    let (near, far) = (mesh.identity(&id("shop", "web")), mesh.identity(&id("shop", "cart")));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (dialled, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    let (client, server) = tokio::join!(
        handshake(dialled.unwrap(), near.client_hbone.clone()),
        accept(accepted.unwrap().0, far.server.clone(), Vec::new())
    );
    let (client, server) = (client.unwrap(), server.unwrap());
    for (end, peer) in [(&client, &far.id), (&server, &near.id)] {
        assert_eq!(end.info().alpn, Some(Alpn::Hbone));
        VerifiedPeer::from_certificates(&end.info().peer_certificates).unwrap().expect(peer).unwrap();
    }
    (client, server)
}

#[tokio::test]
async fn two_clusters_tunnel_to_each_other() {
    let (client, server) = ends().await;
    let served = tokio::spawn(serve(server, Arc::new(echo), CancellationToken::new()));
    let (pool, client) = (Pool::default(), Mutex::new(Some(client)));
    let dial = || std::future::ready(Ok::<_, Infallible>(client.lock().unwrap().take().unwrap()));
    let mut tunnel = pool.open(&key(), &connect(), dial).await.unwrap();
    says(&mut tunnel.stream, &"x".repeat(1 << 20)).await;
    let (mut read, mut write) = tunnel.stream.into_split();
    let sending = async {
        write.send_all(vec![7; MUCH].into()).await.unwrap();
        write.finish().unwrap();
    };
    let mut heard = Vec::new();
    let receiving = async { tokio::join!(sending, read.read_to_end(&mut heard)).1.unwrap() };
    tokio::time::timeout(Duration::from_secs(20), receiving).await.expect("nothing stalls");
    assert_eq!(heard.len(), MUCH);
    drop((read, write));
    pool.drain().await;
    served.await.unwrap().unwrap();
}
