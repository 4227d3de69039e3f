//! Two ends of HBONE in memory, and ends that misbehave.

use super::*;
use bytes::Bytes;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

mod abuse;
mod sessions;
mod tls;

pub(super) fn key() -> PoolKey {
    PoolKey {
        source: "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap(),
        source_address: "10.0.0.1".parse().unwrap(),
        destination: "spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap(),
        address: "10.0.0.2:15008".parse().unwrap(),
    }
}

pub(super) fn connect() -> Connect {
    Connect::new("10.0.0.2:8080".parse().unwrap())
}

/// Sends back what comes, to the end.
pub(super) async fn echo(incoming: Incoming) {
    let baggage = Baggage { service: Some("cart".into()), ..Baggage::default() };
    let Ok(stream) = incoming.accept(&baggage) else { return };
    let (mut read, mut write) = stream.into_split();
    while let Ok(Some(bytes)) = read.bytes().await {
        if write.send_all(bytes).await.is_err() {
            return;
        }
    }
    let _ = write.finish();
}

/// Servers that a pool can dial, one per connection.
pub(super) struct Far<R> {
    respond: Arc<R>,
    pub(super) drain: CancellationToken,
    pub(super) dials: AtomicUsize,
    servers: Mutex<VecDeque<tokio::task::JoinHandle<Result<(), ServeError>>>>,
}

impl<R: Respond> Far<R> {
    pub(super) fn new(respond: R) -> Self {
        Self {
            respond: Arc::new(respond),
            drain: CancellationToken::new(),
            dials: AtomicUsize::new(0),
            servers: Mutex::default(),
        }
    }

    pub(super) async fn dial(&self) -> Result<DuplexStream, Infallible> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        let (near, far) = duplex(64 << 10);
        let server = tokio::spawn(serve(far, self.respond.clone(), self.drain.clone()));
        self.servers.lock().unwrap().push_back(server);
        Ok(near)
    }

    /// The server of the oldest connection.
    pub(super) fn server(&self) -> tokio::task::JoinHandle<Result<(), ServeError>> {
        self.servers.lock().unwrap().pop_front().unwrap()
    }

    pub(super) async fn open(&self, pool: &Pool) -> Result<Dialled, OpenError> {
        pool.open(&key(), &connect(), || self.dial()).await
    }
}

/// An HTTP/2 frame as it is on the wire (RFC 9113, 4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[a, b, c, kind, flags, 0, 0, 0, stream], payload].concat()
}

pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;
pub(super) const END_HEADERS: u8 = 4;

pub(super) async fn says(stream: &mut Stream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, text.as_bytes());
}

#[tokio::test]
async fn what_is_sent_comes_back_and_both_directions_end_apart() {
    let (pool, far) = (Pool::default(), Far::new(echo));
    let mut dialled = far.open(&pool).await.unwrap();
    assert_eq!(dialled.baggage.service.as_deref(), Some("cart"));
    says(&mut dialled.stream, "hello").await;
    dialled.stream.shutdown().await.unwrap();
    let mut rest = String::new();
    dialled.stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "");
    let late = dialled.stream.write_all(b"more").await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn the_server_may_finish_first() {
    let far = Far::new(|incoming: Incoming| async move {
        let (mut read, mut write) = incoming.accept(&Baggage::default()).unwrap().into_split();
        write.send_all(Bytes::from_static(b"greeting")).await.unwrap();
        write.finish().unwrap();
        assert_eq!(read.bytes().await.unwrap().unwrap(), "answer");
        assert_eq!(read.bytes().await.unwrap(), None);
    });
    let mut stream = far.open(&Pool::default()).await.unwrap().stream;
    let mut greeting = String::new();
    stream.read_to_string(&mut greeting).await.unwrap();
    assert_eq!(greeting, "greeting");
    stream.write_all(b"answer").await.unwrap();
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_metadata_arrives() {
    let seen: Arc<Mutex<Option<Connect>>> = Arc::default();
    let far = Far::new({
        let seen = seen.clone();
        move |incoming: Incoming| {
            *seen.lock().unwrap() = Some(incoming.connect.clone());
            incoming.refuse(Refusal::Denied);
            std::future::ready(())
        }
    });
    let mut sent = connect();
    sent.forwarded_for = Some("10.0.0.1".parse().unwrap());
    sent.baggage.cluster = Some("east".into());
    let refused = Pool::default().open(&key(), &sent, || far.dial()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Refused(Refusal::Denied)), "{refused}");
    assert_eq!(seen.lock().unwrap().take(), Some(sent));
}

#[tokio::test]
async fn every_refusal_keeps_its_reason_and_the_session() {
    for refusal in [Refusal::BadRequest, Refusal::Denied, Refusal::Unreachable, Refusal::Other(429)] {
        let (pool, far) =
            (Pool::default(), Far::new(move |incoming: Incoming| async move { incoming.refuse(refusal) }));
        for _ in 0..2 {
            match far.open(&pool).await.err() {
                Some(OpenError::Refused(seen)) => assert_eq!(seen, refusal),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(far.dials.load(Ordering::SeqCst), 1);
        assert_eq!(pool.size(), (1, 0), "the places are free again");
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_on_the_other_side() {
    let far = Far::new(|incoming: Incoming| async move {
        let (mut read, mut write) = incoming.accept(&Baggage::default()).unwrap().into_split();
        read.bytes().await.unwrap();
        write.reset();
    });
    let mut stream = far.open(&Pool::default()).await.unwrap().stream;
    stream.write_all(b"now").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(stream.write_all(b"more").await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_tunnel_that_is_dropped_resets() {
    let (told, mut heard) = tokio::sync::mpsc::channel::<io::Result<Option<Bytes>>>(1);
    let far = Far::new(move |incoming: Incoming| {
        let told = told.clone();
        async move {
            let (mut read, _write) = incoming.accept(&Baggage::default()).unwrap().into_split();
            told.send(read.bytes().await).await.unwrap();
        }
    });
    drop(far.open(&Pool::default()).await.unwrap());
    assert_eq!(heard.recv().await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_request_nobody_answers_is_reset() {
    let far = Far::new(|_incoming: Incoming| async {});
    let unanswered = far.open(&Pool::default()).await.err().unwrap();
    assert!(matches!(unanswered, OpenError::Reset(_)), "{unanswered:?}");
}

#[tokio::test]
async fn a_request_taken_back_is_noticed_before_the_answer() {
    let (told, heard) = tokio::sync::oneshot::channel();
    let told = Mutex::new(Some(told));
    let far = Far::new(move |mut incoming: Incoming| {
        let told = told.lock().unwrap().take().unwrap();
        async move {
            incoming.cancelled().await;
            told.send(()).unwrap();
        }
    });
    let pool = Pool::default();
    let impatient = tokio::time::timeout(Duration::from_millis(50), far.open(&pool)).await;
    assert!(impatient.is_err());
    heard.await.unwrap();
    assert_eq!(pool.size(), (1, 0));
}

/// Nobody reads: what is accepted is the stream's window and its send buffer, no more.
#[tokio::test]
async fn a_writer_waits_for_its_reader() {
    let far = Far::new(|incoming: Incoming| async move {
        let _held = incoming.accept(&Baggage::default()).unwrap();
        std::future::pending::<()>().await;
    });
    let (mut read, mut write) = far.open(&Pool::default()).await.unwrap().stream.into_split();
    let mut sent = 0;
    let chunk = Bytes::from(vec![0; 64 << 10]);
    while tokio::time::timeout(Duration::from_millis(300), write.send_all(chunk.clone())).await.is_ok() {
        sent += chunk.len();
        assert!(sent <= STREAM_WINDOW as usize + SEND_BUFFER, "{sent} bytes without a reader");
    }
    assert!(sent >= STREAM_WINDOW as usize / 2, "only {sent} bytes under way");
    assert!(tokio::time::timeout(Duration::from_millis(50), read.bytes()).await.is_err());
}

#[tokio::test]
async fn much_goes_through_both_ways_at_once() {
    let far = Far::new(echo);
    let stream = far.open(&Pool::default()).await.unwrap().stream;
    let (mut read, mut write) = stream.into_split();
    const TOTAL: usize = 32 << 20;
    let sending = async {
        let mut sent = 0;
        while sent < TOTAL {
            let chunk: Vec<u8> = (sent..sent + (200 << 10)).map(|i| (i % 251) as u8).collect();
            sent += chunk.len();
            write.send_all(chunk.into()).await.unwrap();
        }
        write.finish().unwrap();
        sent
    };
    let receiving = async {
        let mut received = 0;
        while let Some(bytes) = read.bytes().await.unwrap() {
            assert!(bytes.iter().enumerate().all(|(i, byte)| *byte == ((received + i) % 251) as u8));
            received += bytes.len();
        }
        received
    };
    let (sent, received) = tokio::join!(sending, receiving);
    assert_eq!(sent, received);
}

#[test]
fn the_port_is_istios() {
    assert_eq!(SocketAddr::new("10.0.0.2".parse().unwrap(), PORT), key().address);
}
