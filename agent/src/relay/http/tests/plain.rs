//! Requests that are plain, beside others on the same connection.

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn plain_requests_and_others_are_answered_in_order_on_one_connection() {
    let (app, seen) = answering(OK).await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    let odd = "GET /odd HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n";
    client.write_all(format!("{GET}{odd}{GET}").as_bytes()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(until(&mut client, "hi").await, OK);
    }
    let seen = seen.lock().unwrap().clone();
    assert!(seen.starts_with(GET) && seen.ends_with(GET) && seen.contains("GET /odd HTTP/1.1\r\n"), "{seen}");
    assert_eq!((bench.dials(), bench.outcomes(3).await.len()), (1, 3), "both kinds use the same connection");
}

#[tokio::test]
async fn plain_requests_are_judged_as_others_are_and_what_is_denied_reaches_nobody() {
    let (app, seen) = answering(OK).await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    for more in ["", "content-length: 2\r\n", "te: trailers\r\nconnection: te\r\n"] {
        let body = if more.starts_with("content") { "ab" } else { "" };
        client.write_all(format!("GET /judged HTTP/1.1\r\nhost: a\r\n{more}\r\n{body}").as_bytes()).await.unwrap();
        let answer = until(&mut client, "denied").await;
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nRBAC: access denied"), "{answer}");
    }
    client.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(until(&mut client, "hi").await.lines().next(), Some("HTTP/1.1 200 OK"), "the connection stays");
    assert!(!seen.lock().unwrap().contains("judged"));
    for outcome in &bench.outcomes(4).await[..3] {
        assert_eq!((outcome.status, outcome.flag, outcome.rule.as_deref()), (403, "DENY", Some("a policy")));
        assert_eq!(outcome.response_bytes, "RBAC: access denied".len() as u64);
    }
}

#[tokio::test]
async fn edited_answers_keep_their_spelling_and_their_length() {
    let (app, seen) = answering("HTTP/1.1 200 Fine\r\nX-One: 1\r\nContent-Length: 2\r\nX-MARK: theirs\r\n\r\nhi").await;
    let rule = Rule { mark: Some(HeaderValue::from_static("ours")), ..Rule::default() };
    let bench = Bench::ruled(vec![app], rule).await;
    let mut client = bench.connect().await;
    client.write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nX-Two: 2\r\nContent-Length: 2\r\n\r\nab").await.unwrap();
    let answer = until(&mut client, "hi").await;
    assert_eq!(answer, "HTTP/1.1 200 Fine\r\nX-One: 1\r\nX-MARK: ours\r\nContent-Length: 2\r\n\r\nhi");
    let request = "POST /a HTTP/1.1\r\nHost: a\r\nX-Two: 2\r\nx-mark: ours\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(*seen.lock().unwrap(), request);
}

#[tokio::test]
async fn a_body_that_comes_later_is_waited_for() {
    let app = app(|_, mut io| async move {
        until(&mut io, "abcd").await;
        io.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    for part in ["POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r", "\n", "ab", "cd"] {
        client.write_all(part.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(until(&mut client, "hi").await, OK);
    assert_eq!(bench.outcomes(1).await[0].request_bytes, 4);
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_of_its_body_reaches_nobody() {
    let (app, seen) = answering(OK).await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab").await.unwrap();
    drop(client);
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.status, outcome.flag), (0, "DC"));
    assert_eq!((seen.lock().unwrap().as_str(), bench.dials()), ("", 0));
}

#[tokio::test]
async fn what_follows_an_answer_is_given_to_nobody() {
    let (app, _) =
        answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            .await;
    let bench = Bench::new(vec![app]).await;
    let mut client = bench.connect().await;
    for _ in 0..2 {
        client.write_all(GET.as_bytes()).await.unwrap();
        assert_eq!(until(&mut client, "hi").await, OK);
    }
    assert_eq!(bench.dials(), 2, "a connection with more than its answer is not used again");
}

#[tokio::test]
async fn an_answer_that_breaks_off_ends_the_client_s_connection() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ] {
        let app = app(move |_, mut io| async move {
            until(&mut io, "\r\n\r\n").await;
            io.write_all(&answer.as_bytes()[..40]).await.unwrap();
            io.write_all(&answer.as_bytes()[40..]).await.unwrap();
        })
        .await;
        let bench = Bench::new(vec![app]).await;
        let got = bench.talk(GET).await;
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && !got.ends_with("0\r\n\r\n"), "{got}");
        let outcome = bench.outcomes(1).await.remove(0);
        assert_eq!((outcome.status, outcome.flag), (200, "UC"), "{answer:?}");
    }
}

#[tokio::test]
async fn interim_answers_are_passed_over_and_a_switch_was_not_asked_for() {
    let early = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let bench = Bench::new(vec![answering(early).await.0]).await;
    let mut client = bench.connect().await;
    client.write_all(GET.as_bytes()).await.unwrap();
    assert_eq!(until(&mut client, "hi").await, OK);
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    let bench = Bench::new(vec![answering(switch).await.0]).await;
    let mut client = bench.connect().await;
    client.write_all(GET.as_bytes()).await.unwrap();
    assert!(until(&mut client, "unasked").await.starts_with("HTTP/1.1 502 "));
    assert_eq!(bench.outcomes(1).await[0].flag, "UPE");
}

#[tokio::test]
async fn a_long_answer_passes_whole_and_is_counted() {
    let text = "0123456789abcdef".repeat(64 * 1024);
    for framing in ["length", "chunked", "close"] {
        let body = match framing {
            "length" => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()),
            "chunked" => {
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
            }
            _ => format!("HTTP/1.1 200 OK\r\n\r\n{text}"),
        };
        let app = app(move |_, mut io| {
            let body = body.clone();
            async move {
                until(&mut io, "\r\n\r\n").await;
                io.write_all(body.as_bytes()).await.unwrap();
            }
        })
        .await;
        let bench = Bench::new(vec![app]).await;
        let answer = body_of_a_get(&bench).await;
        assert!(answer == text, "{framing}: {} bytes", answer.len());
        assert_eq!(bench.outcomes(1).await[0].response_bytes, text.len() as u64, "{framing}");
    }
}

/// The body of an answer to a GET, as hyper's client reads it.
async fn body_of_a_get(bench: &Bench) -> String {
    use http_body_util::{BodyExt, Empty};
    let io = hyper_util::rt::TokioIo::new(bench.connect().await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/").header("host", "a").body(Empty::<bytes::Bytes>::new()).unwrap();
    let body = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().into()).unwrap()
}
