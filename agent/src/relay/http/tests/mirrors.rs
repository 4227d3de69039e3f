//! Copies of requests.

use super::*;

const GET: &[u8] = b"GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";

fn mirroring(mirrors: Vec<SocketAddr>) -> Rule {
    Rule { mirrors, mark: Some(HeaderValue::from_static("ours")), ..Rule::default() }
}

async fn eventually(what: impl Fn() -> bool) {
    let held = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, held).await.expect("it never came to be");
}

#[tokio::test]
async fn copies_go_to_every_mirror_as_the_request_was_shaped_and_their_answers_are_dropped() {
    let (app, _) = answering(OK).await;
    let (one, seen_one) = answering("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\nlost").await;
    let (two, seen_two) = answering(OK).await;
    let bench = Bench::ruled(vec![app], mirroring(vec![one, two, nobody().await])).await;
    let mut client = bench.connect().await;
    for _ in 0..2 {
        client.write_all(GET).await.unwrap();
        assert!(until(&mut client, "hi").await.starts_with("HTTP/1.1 200 "));
    }
    let copy = "GET /a HTTP/1.1\r\nhost: shop\r\nx-mark: ours\r\n\r\n";
    eventually(|| [&seen_one, &seen_two].iter().all(|seen| *seen.lock().unwrap() == copy.repeat(2))).await;
    let outcomes = bench.outcomes(8).await;
    let (copies, own): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| outcome.copy);
    assert_eq!((copies.len(), own.len()), (6, 2));
    assert!(own.iter().all(|outcome| (outcome.status, outcome.flag) == (200, "-")));
    assert_eq!(copies.iter().filter(|copy| copy.status == 500 && copy.flag == "-").count(), 2);
    assert_eq!(copies.iter().filter(|copy| copy.flag == "UF").count(), 2);
}

#[tokio::test]
async fn a_body_is_copied_as_it_passes() {
    let body = |mut io: TcpStream, seen: Arc<Mutex<String>>| async move {
        let request = until(&mut io, "!").await;
        *seen.lock().unwrap() = request;
        let _ = io.write_all(OK.as_bytes()).await;
    };
    let (seen, copied) = (Arc::<Mutex<String>>::default(), Arc::<Mutex<String>>::default());
    let (for_app, for_mirror) = (Arc::clone(&seen), Arc::clone(&copied));
    let main = app(move |_, io| body(io, Arc::clone(&for_app))).await;
    let mirror = app(move |_, io| body(io, Arc::clone(&for_mirror))).await;
    let bench = Bench::ruled(vec![main], mirroring(vec![mirror])).await;
    let mut client = bench.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    until(&mut client, "\r\n\r\n").await;
    client.write_all(b"12345").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.write_all(b"6789!").await.unwrap();
    assert!(until(&mut client, "hi").await.starts_with("HTTP/1.1 200 "));
    eventually(|| copied.lock().unwrap().ends_with("\r\n\r\n123456789!")).await;
    assert!(copied.lock().unwrap().contains("content-length: 10\r\n") && !copied.lock().unwrap().contains("expect"));
    assert!(seen.lock().unwrap().ends_with("123456789!"));
    assert!(bench.outcomes(2).await.iter().all(|outcome| (outcome.request_bytes, outcome.flag) == (10, "-")));
}

#[tokio::test]
async fn a_mirror_that_hangs_costs_the_request_nothing() {
    let hanging = app(|_, io| async move {
        let _open = io;
        std::future::pending().await
    })
    .await;
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    const ALL: usize = 8 << 20;
    let app = app(move |_, mut io| {
        let count = Arc::clone(&count);
        async move {
            until(&mut io, "\r\n\r\n").await;
            let mut buffer = vec![0; 1 << 16];
            while count.load(Ordering::Relaxed) < ALL {
                count.fetch_add(io.read(&mut buffer).await.unwrap(), Ordering::Relaxed);
            }
            io.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let rule = Rule { timeout: Some(Duration::from_secs(1)), ..mirroring(vec![hanging]) };
    let bench = Bench::ruled(vec![app], rule).await;
    let mut client = bench.connect().await;
    client.write_all(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {ALL}\r\n\r\n").as_bytes()).await.unwrap();
    client.write_all(&vec![b'x'; ALL]).await.unwrap();
    assert!(until(&mut client, "hi").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(seen.load(Ordering::Relaxed), ALL);
    let outcomes = bench.outcomes(2).await;
    let own = outcomes.iter().find(|outcome| !outcome.copy).unwrap();
    assert_eq!((own.request_bytes, own.flag), (ALL as u64, "-"));
    let copy = outcomes.iter().find(|outcome| outcome.copy).unwrap();
    assert!(copy.request_bytes < ALL as u64 && copy.flag != "-", "{copy:?}");
}

#[tokio::test]
async fn copies_are_bounded_in_number() {
    let hanging = app(|_, io| async move {
        let _open = io;
        std::future::pending().await
    })
    .await;
    let (app, _) = answering(OK).await;
    let bench = Bench::ruled(vec![app], mirroring(vec![hanging])).await;
    let mut client = bench.connect().await;
    for _ in 0..300 {
        client.write_all(GET).await.unwrap();
        until(&mut client, "hi").await;
    }
    let outcomes = bench.outcomes(344).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.copy && outcome.flag == "UO").count(), 300 - 256);
}

#[tokio::test]
async fn a_retried_request_is_copied_once() {
    let bad = "HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\nbad";
    let (app, _) = answering(bad).await;
    let (mirror, seen) = answering(OK).await;
    let on = RetryOn { server_error: true, ..RetryOn::default() };
    let rule = Rule { retry: Some(retry(2, on)), ..mirroring(vec![mirror]) };
    let bench = Bench::ruled(vec![app], rule).await;
    let mut client = bench.connect().await;
    client.write_all(GET).await.unwrap();
    until(&mut client, "bad").await;
    let outcomes = bench.outcomes(2).await;
    assert_eq!(outcomes.iter().map(|outcome| outcome.attempts).max(), Some(3));
    eventually(|| !seen.lock().unwrap().is_empty()).await;
    assert_eq!(seen.lock().unwrap().matches("GET").count(), 1);
}
