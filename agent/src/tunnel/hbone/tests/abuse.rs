//! Clients that no honest agent would be: the session ends or the request does, the agent does not care.

use super::*;
use h2::client::SendRequest;
use http::{Method, Request, Version};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A bare h2 client of a server that would echo.
async fn client() -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), ServeError>>) {
    let far = Far::new(echo);
    let io = far.dial().await.unwrap();
    let (sender, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    (sender.ready().await.unwrap(), far.server())
}

fn request(method: Method, uri: &str) -> Request<()> {
    Request::builder().method(method).uri(uri).version(Version::HTTP_2).body(()).unwrap()
}

async fn status(sender: &mut SendRequest<Bytes>, request: Request<()>) -> Result<u16, h2::Error> {
    let (response, _stream) = sender.send_request(request, false)?;
    Ok(response.await?.status().as_u16())
}

#[tokio::test]
async fn what_opens_no_tunnel_is_a_bad_request() {
    let (mut sender, _server) = client().await;
    assert_eq!(status(&mut sender, request(Method::GET, "http://10.0.0.2:80/")).await.unwrap(), 400);
    assert_eq!(status(&mut sender, request(Method::POST, "http://10.0.0.2/x")).await.unwrap(), 400);
    for authority in ["10.0.0.2:0", "user@10.0.0.2:80", "10.0.0.2"] {
        assert_eq!(status(&mut sender, request(Method::CONNECT, authority)).await.unwrap(), 400, "{authority}");
    }
    assert_eq!(status(&mut sender, request(Method::CONNECT, "10.0.0.2:80")).await.unwrap(), 200, "the session lives");
}

#[tokio::test]
async fn a_header_of_a_megabyte_is_refused() {
    let (mut sender, server) = client().await;
    let mut huge = request(Method::CONNECT, "10.0.0.2:80");
    huge.headers_mut().insert("x-huge", "x".repeat(1 << 20).try_into().unwrap());
    // Far beyond the limit h2 stops decoding and ends the session.
    let error = status(&mut sender, huge).await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM), "{error:?}");
    let served = tokio::time::timeout(Duration::from_secs(5), server).await.expect("the session ends").unwrap();
    assert!(matches!(served, Err(ServeError::Http2(_))), "{served:?}");
}

#[tokio::test]
async fn many_small_headers_are_a_large_header_too() {
    let (mut sender, _server) = client().await;
    let mut many = request(Method::CONNECT, "10.0.0.2:80");
    for i in 0..2000 {
        many.headers_mut()
            .insert(http::HeaderName::try_from(format!("x-{i}")).unwrap(), "y".repeat(40).try_into().unwrap());
    }
    assert_eq!(status(&mut sender, many).await.unwrap(), 431);
    assert_eq!(status(&mut sender, request(Method::CONNECT, "10.0.0.2:80")).await.unwrap(), 200, "the session lives");
}

/// CVE-2023-44487: opened and taken back in one breath, faster than anyone can answer.
#[tokio::test]
async fn rapid_resets_end_the_session() {
    let (mut near, far) = duplex(1 << 20);
    let connect = [b"\x02\x07CONNECT\x01\x0b10.0.0.2:80".as_slice()].concat();
    let mut attack = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for stream in (1..=127).step_by(2) {
        attack.extend(frame(HEADERS, END_HEADERS, stream, &connect));
        attack.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    near.write_all(&attack).await.unwrap();
    let served = serve(far, Arc::new(echo), CancellationToken::new()).await;
    let Err(ServeError::Http2(error)) = served else { panic!("{served:?}") };
    assert_eq!(error.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_client_has_at_most_two_hundred_tunnels() {
    let far = Far::new(|incoming: Incoming| async move {
        let _held = incoming.accept(&Baggage::default()).unwrap();
        std::future::pending::<()>().await;
    });
    let io = far.dial().await.unwrap();
    let (sender, connection) = h2::client::handshake::<_>(io).await.unwrap();
    tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    assert_eq!(status(&mut sender, request(Method::CONNECT, "10.0.0.2:80")).await.unwrap(), 200);
    assert_eq!(sender.current_max_send_streams(), SERVER_STREAMS as usize);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_left() {
    let (_near, far) = duplex(1024);
    let served = serve(far, Arc::new(echo), CancellationToken::new()).await;
    assert!(matches!(served, Err(ServeError::NoPreface)), "{served:?}");
}

#[tokio::test]
async fn a_client_that_speaks_another_protocol_is_left() {
    let (mut near, far) = duplex(64 << 10);
    near.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let served = serve(far, Arc::new(echo), CancellationToken::new()).await;
    assert!(matches!(served, Err(ServeError::Http2(_))), "{served:?}");
}

#[tokio::test]
async fn any_bytes_behind_the_preface_do_no_harm() {
    for seed in 0..200 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let (mut near, far) = duplex(1 << 20);
        near.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        for _ in 0..20 {
            let len = dice.usize(..40);
            let payload: Vec<u8> = (0..len).map(|_| dice.u8(..)).collect();
            near.write_all(&frame(dice.u8(..10), dice.u8(..), dice.u8(..4), &payload)).await.unwrap();
        }
        near.shutdown().await.unwrap();
        let served = serve(far, Arc::new(echo), CancellationToken::new());
        let _ = tokio::time::timeout(Duration::from_secs(5), served).await.expect("it ends");
    }
}
