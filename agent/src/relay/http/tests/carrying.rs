//! HTTP/1 messages arrive as they were sent.

use super::*;

#[tokio::test]
async fn a_request_and_its_answer_pass_unchanged() {
    let (app, seen) =
        answering("HTTP/1.1 200 Fine\r\nX-CamelCase: a\r\nServer: theirs\r\nContent-Length: 2\r\n\r\nhi").await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    let request = "GET /a?b=c HTTP/1.1\r\nHost: Shop.example:80\r\nX-MiXed: 1\r\naccept: x\r\naccept: y\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let answer = until(&mut client, "hi").await;
    assert_eq!(answer, "HTTP/1.1 200 Fine\r\nX-CamelCase: a\r\nServer: theirs\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(*seen.lock().unwrap(), request);
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.path(), outcome.authority(), outcome.status), ("/a?b=c", "Shop.example:80", 200));
    assert_eq!((outcome.flag, outcome.request_bytes, outcome.response_bytes), ("-", 0, 2));
}

#[tokio::test]
async fn one_connection_carries_many_requests_and_pipelined_ones_in_order() {
    let (app, _) = answering(OK).await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    for _ in 0..3 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(until(&mut client, "hi").await, OK);
        assert_eq!(until(&mut client, "hi").await, OK);
    }
    assert_eq!((bench.dials(), bench.outcomes(6).await.len()), (1, 6));
}

#[tokio::test]
async fn chunks_and_trailers_pass_both_ways() {
    let seen = Arc::new(Mutex::new(String::new()));
    let noted = Arc::clone(&seen);
    let app = app(move |_, mut io| {
        let noted = Arc::clone(&noted);
        async move {
            let request = until(&mut io, "x-sum: 5\r\n\r\n").await;
            *noted.lock().unwrap() = request;
            let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n";
            io.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    let request = "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: TE\r\ntransfer-encoding: chunked\r\n\
                   trailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let answer = until(&mut client, "x-end: 1\r\n\r\n").await;
    assert!(answer.contains("transfer-encoding: chunked\r\n") && answer.ends_with("3\r\nabc\r\n0\r\nx-end: 1\r\n\r\n"));
    let seen = seen.lock().unwrap().clone();
    assert!(seen.contains("te: trailers\r\n") && seen.ends_with("5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n"), "{seen}");
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.request_bytes, outcome.response_bytes, outcome.flag), (5, 3, "-"));
}

#[tokio::test]
async fn answers_without_a_body_end_at_their_head() {
    for (request, answer) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ] {
        let (app, _) = answering(answer).await;
        let bench = Bench::new(vec![app]).await;
        let mut client = bench.connect().await;
        for _ in 0..2 {
            client.write_all(format!("{request} / HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
            assert_eq!(until(&mut client, "\r\n\r\n").await, answer);
        }
        assert_eq!(bench.dials(), 1, "{answer:?} leaves the connection usable");
    }
}

#[tokio::test]
async fn old_clients_get_an_answer_that_ends_with_the_connection() {
    let (app, seen) = answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").await;
    let bench = Bench::new(vec![app]).await;
    let answer = bench.talk("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nhi"), "{answer}");
    assert!(!answer.contains("chunked"));
    let answer = bench.talk("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("0\r\n\r\n"), "{answer}");
    assert_eq!(bench.dials(), 1, "the client's close is not the application's");
    assert!(!seen.lock().unwrap().contains("connection"));
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_framed_for_the_client() {
    let app = app(|_, mut io| async move {
        until(&mut io, "\r\n\r\n").await;
        io.write_all(b"HTTP/1.0 200 OK\r\n\r\nall of it").await.unwrap();
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    for _ in 0..2 {
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let answer = until(&mut client, "0\r\n\r\n").await;
        assert_eq!(answer, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nall of it\r\n0\r\n\r\n");
    }
    assert_eq!(bench.dials(), 2);
}

#[tokio::test]
async fn fields_of_one_hop_stay_on_it() {
    let (app, seen) = answering(
        "HTTP/1.1 200 OK\r\nconnection: x-theirs\r\nx-theirs: 1\r\nkeep-alive: timeout=5\r\ncontent-length: 2\r\n\r\nhi",
    )
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, x-mine, host\r\nx-mine: 1\r\nkeep-alive: 5\r\n\
                   proxy-connection: keep-alive\r\nte: gzip\r\nx-kept: 1\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(until(&mut client, "hi").await, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    assert_eq!(*seen.lock().unwrap(), "GET / HTTP/1.1\r\nhost: a\r\nx-kept: 1\r\n\r\n");
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_asked_when_the_application_asks() {
    let app = app(|_, mut io| async move {
        until(&mut io, "\r\n\r\n").await;
        let early = timeout(Duration::from_millis(100), io.read_u8()).await;
        assert!(early.is_err(), "the body came before it was asked for");
        io.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        assert_eq!(until(&mut io, "body").await, "body");
        io.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(until(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").await.unwrap();
    assert_eq!(until(&mut client, "hi").await, OK);
}

#[tokio::test]
async fn a_refused_body_is_never_asked_for() {
    let (app, _) = answering("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n").await;
    let bench = Bench::new(vec![app]).await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    let answer = bench.talk(head).await;
    assert!(answer.starts_with("HTTP/1.1 417 Expectation Failed\r\n"), "{answer}");
}

#[tokio::test]
async fn an_application_that_never_asks_gets_the_body_after_a_while() {
    let app = app(|_, mut io| async move {
        until(&mut io, "body").await;
        io.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    let request = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\nbody";
    client.write_all(request.as_bytes()).await.unwrap();
    let answer = until(&mut client, "hi").await;
    assert!(answer.ends_with(OK), "{answer}");
}

#[tokio::test]
async fn a_body_flows_no_faster_than_it_is_read() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    const ALL: usize = 64 << 20;
    let app = app(move |_, mut io| {
        let count = Arc::clone(&count);
        async move {
            until(&mut io, "\r\n\r\n").await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ALL}\r\n\r\n");
            io.write_all(head.as_bytes()).await.unwrap();
            while io.write_all(&[7; 65536]).await.is_ok() && count.fetch_add(65536, Ordering::Relaxed) + 65536 < ALL {}
            until(&mut io, "never").await;
        }
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    until(&mut client, "\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ahead = written.load(Ordering::Relaxed);
    assert!(ahead < 24 << 20, "{ahead} bytes were taken from the application, only kernel buffers may hold them");
    let (mut buffer, mut read) = (vec![0; 1 << 16], 0);
    while read < ALL {
        read += timeout(SOON, client.read(&mut buffer)).await.unwrap().unwrap();
    }
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.response_bytes, outcome.flag), (ALL as u64, "-"));
}

#[tokio::test]
async fn rules_and_applications_see_one_spelling_of_a_path() {
    let (app, seen) = answering(OK).await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    for (sent, status) in [
        ("/a/../b?x=/../y", "200"),
        ("/%61//%2e%2E\\c", "200"),
        ("http://a/d/./e", "200"),
        ("/x/../nowhere", "404"),
        ("/%6eowhere", "404"),
        ("/a%00", "400"),
    ] {
        client.write_all(format!("GET {sent} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
        let answer = until(&mut client, "\r\n\r\n").await;
        assert_eq!(answer.split(' ').nth(1).unwrap(), status, "{sent}");
        let length =
            answer.to_ascii_lowercase().split_once("content-length: ").unwrap().1.split_once('\r').unwrap().0.parse();
        client.read_exact(&mut vec![0; length.unwrap()]).await.unwrap();
    }
    let seen = seen.lock().unwrap().clone();
    let targets: Vec<_> =
        seen.lines().filter_map(|line| line.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1")).collect();
    assert_eq!(targets, ["/b?x=/../y", "/a/c", "http://a/d/e"]);
    let outcomes = bench.outcomes(6).await;
    assert_eq!((outcomes[0].path(), outcomes[5].status, outcomes[5].flag), ("/b?x=/../y", 400, "DPE"));
}
