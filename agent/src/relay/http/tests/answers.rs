//! Requests that a rule answers, delays or shapes.

use super::*;
use bytes::Bytes;

fn answer(status: u16, body: &'static str, flag: &'static str) -> Answer {
    let headers = HeaderMap::from_iter([(http::header::LOCATION, HeaderValue::from_static("/there"))]);
    let status = StatusCode::from_u16(status).unwrap();
    Answer {
        status,
        headers,
        body: Bytes::from_static(body.as_bytes()),
        grpc_status: None,
        flag,
        rule: None,
        told: None,
    }
}

async fn answering_by_rule(answer: Answer) -> Bench {
    let rule = Rule { answer: Some(answer), ..Rule::default() };
    Bench::ruled(vec![nobody().await], rule).await
}

#[tokio::test]
async fn a_rule_s_answer_is_given_and_nobody_is_asked() {
    let bench = answering_by_rule(answer(302, "moved", "-")).await;
    let mut client = bench.connect().await;
    for _ in 0..2 {
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let got = until(&mut client, "moved").await;
        assert!(got.starts_with("HTTP/1.1 302 Found\r\n") && got.contains("location: /there\r\n"), "{got}");
        assert!(got.contains("content-length: 5\r\n"), "{got}");
    }
    let outcomes = bench.outcomes(2).await;
    assert!(outcomes.iter().all(|o| (o.status, o.flag, o.attempts, o.response_bytes) == (302, "-", 0, 5)));
    assert_eq!(bench.dials(), 0);
}

#[tokio::test]
async fn a_short_body_is_read_and_the_connection_stays_usable() {
    let bench = answering_by_rule(answer(503, "fault", "FI")).await;
    let mut client = bench.connect().await;
    for body in ["content-length: 4\r\n\r\nbody", "transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"] {
        client.write_all(format!("POST / HTTP/1.1\r\nhost: a\r\n{body}").as_bytes()).await.unwrap();
        assert!(until(&mut client, "fault").await.starts_with("HTTP/1.1 503 "));
    }
    assert!(bench.outcomes(2).await.iter().all(|outcome| outcome.flag == "FI"));
}

#[tokio::test]
async fn a_long_body_is_not_read_and_the_connection_ends_with_the_answer() {
    let bench = answering_by_rule(answer(403, "no", "-")).await;
    let got = bench.talk("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nabc").await;
    assert!(got.starts_with("HTTP/1.1 403 ") && got.ends_with("\r\n\r\nno"), "{got}");
    let got = bench.talk("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n").await;
    assert!(got.starts_with("HTTP/1.1 403 ") && got.ends_with("\r\n\r\nno"), "it was not asked for: {got}");
}

#[tokio::test]
async fn answers_to_head_and_answers_without_content_have_no_body() {
    let bench = answering_by_rule(answer(200, "text", "-")).await;
    let got = bench.talk("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(got.contains("content-length: 4\r\n") && got.ends_with("\r\n\r\n"), "{got}");
    let bench = answering_by_rule(answer(204, "text", "-")).await;
    let got = bench.talk("OPTIONS / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(got.starts_with("HTTP/1.1 204 ") && got.ends_with("\r\n\r\n"), "{got}");
}

#[tokio::test]
async fn a_delay_is_waited_for_and_is_in_the_record() {
    let (app, _) = answering(OK).await;
    let rule = Rule { delay: Some(Duration::from_millis(200)), ..Rule::default() };
    let bench = Bench::ruled(vec![app], rule).await;
    let began = std::time::Instant::now();
    let mut client = bench.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert_eq!(until(&mut client, "hi").await, OK);
    assert!(began.elapsed() >= Duration::from_millis(200));
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.status, outcome.flag), (200, "DI"));
}

#[tokio::test]
async fn a_client_that_goes_while_it_is_delayed_reaches_nobody() {
    let (app, seen) = answering(OK).await;
    let rule = Rule { delay: Some(Duration::from_millis(300)), ..Rule::default() };
    let bench = Bench::ruled(vec![app], rule).await;
    let mut client = bench.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(client);
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.status, outcome.flag), (0, "DC"));
    assert!(outcome.duration < Duration::from_millis(250), "the delay ends with the client");
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!((seen.lock().unwrap().as_str(), bench.dials()), ("", 0));
}

#[tokio::test]
async fn a_delay_before_an_abort_is_an_abort() {
    let rule =
        Rule { delay: Some(Duration::from_millis(20)), answer: Some(answer(418, "teapot", "FI")), ..Rule::default() };
    let bench = Bench::ruled(vec![], rule).await;
    let mut client = bench.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    until(&mut client, "teapot").await;
    assert_eq!(bench.outcomes(1).await[0].flag, "FI");
}

#[tokio::test]
async fn requests_and_answers_are_shaped_and_our_own_errors_too() {
    let (app, seen) = answering(OK).await;
    let rule = Rule { mark: Some(HeaderValue::from_static("ours")), ..Rule::default() };
    let bench = Bench::ruled(vec![app], rule.clone()).await;
    let mut client = bench.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-mark: theirs\r\n\r\n").await.unwrap();
    assert!(until(&mut client, "hi").await.contains("x-mark: ours\r\n"));
    assert!(seen.lock().unwrap().contains("x-mark: ours\r\n") && !seen.lock().unwrap().contains("theirs"));
    let bench = Bench::ruled(vec![nobody().await], rule).await;
    let mut client = bench.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    assert!(until(&mut client, "failure").await.contains("x-mark: ours\r\n"));
}
