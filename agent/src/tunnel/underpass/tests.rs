//! Sessions between two real sockets: what one application sends is what the other gets.

use super::super::tls::tests::{pair, tcp_pair};
use super::*;
use crate::vocab::Traffic;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn open() -> Open {
    Open { destination: "10.1.2.3:9080".parse().unwrap(), source: "[fd66::7]:40000".parse().unwrap(), confirm: false }
}

async fn sessions() -> (Session, Session) {
    let (client, server) = pair().await;
    (Session::new(client), Session::new(server))
}

/// An application that answers everything it got after its peer's end.
async fn answer_reversed(mut app: TcpStream) {
    let mut got = Vec::new();
    app.read_to_end(&mut got).await.unwrap();
    got.reverse();
    app.write_all(&got).await.unwrap();
    app.shutdown().await.unwrap();
}

async fn one_connection(client: &mut Session, server: &mut Session, len: usize) {
    let ((mut user, mut near), (mut far, app)) = (tcp_pair().await, tcp_pair().await);
    let (up, down) = (Traffic::default(), Traffic::default());
    let sent: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
    let talk = async {
        user.write_all(&sent).await.unwrap();
        user.shutdown().await.unwrap();
        let mut back = Vec::new();
        user.read_to_end(&mut back).await.unwrap();
        back.reverse();
        assert!(back == sent, "{} of {len} bytes came back", back.len());
    };
    let near_side = async {
        client.open(&open()).unwrap();
        client.carry(&mut near, Role::Client(b""), &up).await.unwrap();
    };
    let far_side = async {
        assert_eq!(server.next_open(&|_| ()).await.unwrap(), Some(open()));
        server.carry(&mut far, Role::Server(&|_| ()), &down).await.unwrap();
    };
    tokio::join!(talk, near_side, far_side, answer_reversed(app));
    for traffic in [up, down] {
        assert_eq!((traffic.to_server(), traffic.to_client()), (len as u64, len as u64));
    }
}

#[tokio::test]
async fn one_session_carries_connections_one_after_the_other() {
    let (mut client, mut server) = sessions().await;
    for len in [0, 1, 16_380, 16_381, 5_000_000, 3] {
        one_connection(&mut client, &mut server, len).await;
        assert!(client.is_reusable(), "after {len} bytes");
    }
}

#[tokio::test]
async fn a_refusal_gives_back_what_was_sent_and_frees_the_session() {
    let (mut client, mut server) = sessions().await;
    let (mut user, mut near) = tcp_pair().await;
    user.write_all(b"hello").await.unwrap();
    client.open(&open()).unwrap();
    let refuse = async {
        server.next_open(&|_| ()).await.unwrap();
        server.refuse(RefusalCode::Unreachable, "connection refused").await.unwrap();
    };
    let traffic = Traffic::default();
    let attempt = async {
        let error = client.carry(&mut near, Role::Client(b""), &traffic).await.unwrap_err();
        client.flush().await.unwrap();
        error
    };
    let (error, ()) = tokio::join!(attempt, refuse);
    let CarryError::Refused { code, text, retained } = error else { panic!("{error}") };
    assert_eq!((code, text.as_str()), (RefusalCode::Unreachable, "connection refused"));
    let mut bytes = retained.unwrap();
    if bytes.is_empty() {
        // The refusal may outrun the read; then the bytes still wait in the socket.
        bytes = vec![0; 5];
        near.read_exact(&mut bytes).await.unwrap();
    }
    assert_eq!(bytes, b"hello");
    one_connection(&mut client, &mut server, 1000).await;
}

#[tokio::test]
async fn a_reset_stays_a_reset() {
    let (mut client, mut server) = sessions().await;
    let ((user, mut near), (mut far, mut app)) = (tcp_pair().await, tcp_pair().await);
    client.open(&open()).unwrap();
    let (traffic, other) = (Traffic::default(), Traffic::default());
    let far_side = async {
        server.next_open(&|_| ()).await.unwrap();
        server.carry(&mut far, Role::Server(&|_| ()), &other).await.unwrap_err()
    };
    let talk = async {
        app.write_all(b"x").await.unwrap();
        let mut user = user;
        user.read_exact(&mut [0]).await.unwrap();
        socket2::SockRef::from(&user).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    };
    let (near_error, far_error, ()) =
        tokio::join!(client.carry(&mut near, Role::Client(b""), &traffic), far_side, talk);
    assert!(matches!(near_error, Err(CarryError::App(_))), "{near_error:?}");
    assert!(matches!(far_error, CarryError::PeerReset), "{far_error:?}");
}

#[tokio::test]
async fn a_stream_talks_reports_and_ends() {
    let (mut client, mut server) = sessions().await;
    let (mut far, app) = tcp_pair().await;
    client.open(&open()).unwrap();
    let reports = Mutex::new(Vec::new());
    let (keep, traffic) =
        (|report: Report<'_>| reports.lock().unwrap().push(report.path.into_owned()), Traffic::default());
    let far_side = async {
        server.next_open(&|_| ()).await.unwrap();
        server.carry(&mut far, Role::Server(&keep), &traffic).await.unwrap();
    };
    let serve = async move {
        let mut app = app;
        let mut request = [0; 4];
        app.read_exact(&mut request).await.unwrap();
        app.write_all(b"pong").await.unwrap();
        assert_eq!(app.read(&mut request).await.unwrap(), 0);
    };
    let talk = async {
        let mut stream = SessionStream::new(client);
        stream.write_all(b"ping").await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"pong");
        let reports = Reports::default();
        stream.reports(&reports).push(&Report { path: "/one".into(), ..Report::default() });
        stream.shutdown().await.unwrap();
        stream
    };
    let (_, (), stream) = tokio::join!(far_side, serve, talk);
    drop(stream);
    assert_eq!(*reports.lock().unwrap(), ["/one"]);
}

#[tokio::test]
async fn the_pool_lends_only_to_the_same_pair_and_only_what_lives() {
    let (client, server) = sessions().await;
    let key = PoolKey {
        source: "10.0.0.1".parse().unwrap(),
        source_id: "spiffe://a/ns/b/sa/c".parse().unwrap(),
        destination: "10.0.0.2:80".parse().unwrap(),
        destination_id: "spiffe://a/ns/b/sa/d".parse().unwrap(),
    };
    let other = PoolKey { source_id: "spiffe://a/ns/b/sa/evil".parse().unwrap(), ..key.clone() };
    let pool = Pool::default();
    pool.give(key.clone(), client);
    assert!(pool.take(&other).is_none());
    let client = pool.take(&key).unwrap();
    pool.give(key.clone(), client);
    drop(server);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(pool.take(&key).is_none(), "its peer is gone");
}

#[tokio::test]
async fn garbage_frames_end_the_session() {
    for frame in [&[99, 0, 0, 0][..], &[1, 255, 255, 255], &[2, 0, 0, 1, 7], &[1, 0, 0, 2, 0, 0]] {
        let (mut client, server) = pair().await;
        let mut server = Session::new(server);
        client.write_all(frame).await.unwrap();
        client.flush().await.unwrap();
        assert!(server.next_open(&|_| ()).await.is_err(), "{frame:?}");
    }
}

#[tokio::test]
async fn a_report_leaves_without_another_request() {
    let (mut client, mut server) = sessions().await;
    let (mut far, _app) = tcp_pair().await;
    client.open(&open()).unwrap();
    client.flush().await.unwrap();
    let (arrived, seen) = tokio::sync::mpsc::unbounded_channel();
    let (keep, traffic) =
        (move |report: Report<'_>| arrived.send(report.path.into_owned()).unwrap(), Traffic::default());
    let far_side = async {
        server.next_open(&|_| ()).await.unwrap();
        let _ = server.carry(&mut far, Role::Server(&keep), &traffic).await;
    };
    let talk = async {
        let (stream, reports, mut seen) = (SessionStream::new(client), Reports::default(), seen);
        stream.reports(&reports).push(&Report { path: "/last".into(), ..Report::default() });
        reports.flush();
        assert_eq!(seen.recv().await.unwrap(), "/last");
    };
    tokio::select! { () = far_side => panic!("the server ended first"), () = talk => {} }
}
