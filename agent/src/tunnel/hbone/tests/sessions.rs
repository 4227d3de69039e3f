//! Sharing sessions, losing them, letting them go.

use super::*;
use std::sync::atomic::AtomicBool;

async fn opened(far: &Far<impl Respond>, pool: &Pool, count: usize) -> Vec<Dialled> {
    let opening = (0..count).map(|_| far.open(pool));
    futures_util::future::join_all(opening).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_hundred_tunnels_share_a_session_and_one_dials_at_a_time() {
    let (pool, far) = (Pool::default(), Far::new(echo));
    let mut tunnels = opened(&far, &pool, 250).await;
    assert_eq!(pool.size(), (3, 250));
    assert_eq!(far.dials.load(Ordering::SeqCst), 3);
    for tunnel in &mut tunnels {
        says(&mut tunnel.stream, "hello").await;
    }
    drop(tunnels);
    let again = far.open(&pool).await.unwrap();
    assert!(again.reused);
    assert_eq!(pool.size().1, 1);
}

#[tokio::test]
async fn half_a_tunnel_keeps_its_place() {
    let (pool, far) = (Pool::default(), Far::new(echo));
    let (read, write) = far.open(&pool).await.unwrap().stream.into_split();
    drop(read);
    assert_eq!(pool.size(), (1, 1));
    drop(write);
    assert_eq!(pool.size(), (1, 0));
}

#[tokio::test]
async fn other_identities_have_other_sessions() {
    let (pool, far) = (Pool::default(), Far::new(echo));
    let mut other = key();
    other.source = "spiffe://cluster.local/ns/shop/sa/other".parse().unwrap();
    far.open(&pool).await.unwrap();
    pool.open(&other, &connect(), || far.dial()).await.unwrap();
    assert_eq!(pool.size().0, 2);
    pool.retire(|key| key.source.service_account.as_str() == "other");
    assert_eq!(pool.size().0, 1);
}

#[tokio::test]
async fn a_draining_server_keeps_open_tunnels_and_gets_no_new_ones() {
    let (pool, far) = (Pool::default(), Far::new(echo));
    let mut old = far.open(&pool).await.unwrap();
    far.drain.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let next = Far::new(echo);
    let mut new = next.open(&pool).await.unwrap();
    assert!(!new.reused);
    says(&mut old.stream, "still here").await;
    says(&mut new.stream, "hello").await;
    drop(old);
    far.server().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_session_that_died_unnoticed_is_replaced() {
    let (pool, far) = (Pool::default(), Far::new(echo));
    drop(far.open(&pool).await.unwrap());
    far.server().abort();
    let mut again = far.open(&pool).await.unwrap();
    says(&mut again.stream, "hello").await;
    assert_eq!(far.dials.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_tunnels_of_a_session_that_breaks_see_it() {
    let (pool, far) = (Pool::default(), Far::new(echo));
    let mut tunnel = far.open(&pool).await.unwrap();
    says(&mut tunnel.stream, "hello").await;
    far.server().abort();
    assert!(tunnel.stream.read_u8().await.is_err());
    assert!(tunnel.stream.write_all(b"more").await.is_err());
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("connection refused")]
struct Refused;

#[tokio::test]
async fn a_failed_dial_fails_all_who_waited_for_it() {
    let (pool, dials) = (Pool::default(), AtomicUsize::new(0));
    let dial = || async {
        dials.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err::<DuplexStream, _>(Refused)
    };
    let (key, connect) = (key(), connect());
    let opening = (0..50).map(|_| pool.open(&key, &connect, dial));
    for result in futures_util::future::join_all(opening).await {
        assert_eq!(result.err().unwrap().to_string(), "connection refused");
    }
    assert_eq!(dials.load(Ordering::SeqCst), 1);
    let later = pool.open(&key, &connect, dial).await;
    assert!(later.is_err());
    assert_eq!(dials.load(Ordering::SeqCst), 2, "the failure is not remembered");
}

#[tokio::test]
async fn a_dialler_that_gives_up_is_succeeded() {
    let (pool, far, first) = (Pool::default(), Far::new(echo), AtomicBool::new(true));
    let dial = || async {
        if first.swap(false, Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        far.dial().await
    };
    let (key, connect) = (key(), connect());
    let impatient = tokio::time::timeout(Duration::from_millis(50), pool.open(&key, &connect, dial));
    let (impatient, patient) = tokio::join!(impatient, pool.open(&key, &connect, dial));
    assert!(impatient.is_err());
    says(&mut patient.unwrap().stream, "hello").await;
}

/// A server on bare h2 that refuses a stream.
async fn refusing(io: DuplexStream) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let Some(Ok((_request, mut answer))) = connection.accept().await else { return };
    answer.send_reset(h2::Reason::REFUSED_STREAM);
    while connection.accept().await.is_some() {}
}

/// A server that answers stream 1 with 200, stream 3 with a GOAWAY that excludes it.
async fn leaving(mut io: DuplexStream) {
    let mut seen = vec![0; 64 << 10];
    let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    let answers = [frame(SETTINGS, 0, 0, &[]), frame(HEADERS, END_HEADERS, 1, &[0x88]), goaway];
    for answer in answers {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let _ = io.read(&mut seen).await.unwrap();
        io.write_all(&answer).await.unwrap();
    }
    std::future::pending::<()>().await;
}

/// Dials a server that misbehaves first, then one that echoes.
async fn second_time_lucky<F>(misbehaving: fn(DuplexStream) -> F, tunnels_before: usize)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (pool, far, first) = (Pool::default(), Far::new(echo), AtomicBool::new(true));
    let dial = || async {
        if !first.swap(false, Ordering::SeqCst) {
            return far.dial().await;
        }
        let (near, server) = duplex(64 << 10);
        tokio::spawn(misbehaving(server));
        Ok(near)
    };
    let mut before = Vec::new();
    for _ in 0..tunnels_before {
        before.push(pool.open(&key(), &connect(), dial).await.unwrap());
    }
    let mut tunnel = pool.open(&key(), &connect(), dial).await.unwrap();
    says(&mut tunnel.stream, "hello").await;
    assert_eq!(far.dials.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stream_that_was_refused_untouched_is_tried_elsewhere() {
    second_time_lucky(refusing, 0).await;
}

#[tokio::test]
async fn a_stream_beyond_goaway_is_tried_elsewhere() {
    second_time_lucky(leaving, 1).await;
}

#[tokio::test(start_paused = true)]
async fn an_unused_session_is_given_back_after_five_minutes() {
    let (pool, far) = (Pool::default(), Far::new(echo));
    let kept = far.open(&pool).await.unwrap();
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(pool.size(), (1, 1), "in use");
    drop(kept);
    tokio::time::sleep(Duration::from_secs(240)).await;
    assert_eq!(pool.size(), (1, 0));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(pool.size(), (0, 0));
    far.server().await.unwrap().expect("the server is told in order");
}

/// The peer's node lost power: nothing comes back, nothing is refused.
#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up_within_half_a_minute() {
    let (pool, silent) = (Pool::default(), Arc::new(Mutex::new(None)));
    let dial = || async {
        let (near, mut far) = duplex(64 << 10);
        far.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        *silent.lock().unwrap() = Some(far);
        io::Result::Ok(near)
    };
    let started = tokio::time::Instant::now();
    let error = pool.open(&key(), &connect(), dial).await.err().unwrap();
    assert!(matches!(error, OpenError::Broken(_)), "{error:?}");
    let waited = started.elapsed().as_secs();
    assert!((29..=31).contains(&waited), "{waited} s");
    assert_eq!(pool.size(), (0, 0));
}

#[tokio::test]
async fn draining_the_pool_waits_for_its_tunnels_and_cutting_does_not() {
    let (pool, far) = (Pool::default(), Far::new(echo));
    let mut tunnel = far.open(&pool).await.unwrap().stream;
    let drained = tokio::spawn({
        let pool = pool.clone();
        async move { pool.drain().await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!drained.is_finished());
    says(&mut tunnel, "still here").await;
    drop(tunnel);
    drained.await.unwrap();
    far.server().await.unwrap().unwrap();

    let (pool, far) = (Pool::default(), Far::new(echo));
    let mut tunnel = far.open(&pool).await.unwrap().stream;
    pool.cut(|_| true);
    assert!(tunnel.read_u8().await.is_err());
    assert_eq!(pool.size(), (0, 0));
}
