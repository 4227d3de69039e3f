//! What rules do to HTTP/2 requests and gRPC calls.

use super::second::{app2, client2, echo, grpc, request, text};
use super::*;
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;

fn retrying(attempts: u32, on: RetryOn) -> Rule {
    Rule { retry: Some(retry(attempts, on)), ..Rule::default() }
}

/// An answer without a body that carries the call's status: "trailers-only".
fn only(status: &'static str) -> Response<second::Text> {
    let mut answer = Response::new(http_body_util::Empty::<Bytes>::new().map_err(|never| match never {}).boxed());
    answer.headers_mut().insert("grpc-status", HeaderValue::from_static(status));
    answer
}

#[tokio::test]
async fn a_call_that_is_unavailable_is_made_again_with_its_messages() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let (app, _) = app2(move |request| {
        let before = count.fetch_add(1, Ordering::Relaxed);
        async move {
            let attempt = request.headers()["x-envoy-attempt-count"].to_str().unwrap().parse::<usize>().unwrap();
            assert_eq!(attempt, before + 1);
            if before < 2 { only("14") } else { Response::new(echo(request.into_body(), "0")) }
        }
    })
    .await;
    let bench = Bench::ruled(vec![app], retrying(3, RetryOn { grpc: vec![14], ..RetryOn::default() })).await;
    let mut client = client2(&bench).await;
    let answer = client.send_request(grpc(text("message"))).await.unwrap();
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "message");
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.grpc_status, outcome.attempts, outcome.flag, outcome.request_bytes), (Some(0), 3, "-", 7));
}

#[tokio::test]
async fn a_call_that_fails_otherwise_is_not_made_again() {
    let (app, _) = app2(|_| async { only("3") }).await;
    let bench = Bench::ruled(vec![app], retrying(3, RetryOn { grpc: vec![14, 4], ..RetryOn::default() })).await;
    let mut client = client2(&bench).await;
    let answer = client.send_request(grpc(text(""))).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "3");
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.grpc_status, outcome.attempts), (Some(3), 1));
}

/// Speaks HTTP/2 by hand: refuses the first streams, answers the others.
async fn refusing(times: usize) -> SocketAddr {
    let refused = Arc::new(AtomicUsize::new(0));
    app(move |_, io| {
        let refused = Arc::clone(&refused);
        async move {
            let mut connection = h2::server::handshake(io).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                if refused.fetch_add(1, Ordering::Relaxed) < times {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                } else {
                    respond.send_response(Response::new(()), true).unwrap();
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_stream_is_retried_where_the_words_say_so() {
    let on = RetryOn { refused_stream: true, ..RetryOn::default() };
    for (on, status, attempts) in [(on, 200, 2), (RetryOn::default(), 503, 1)] {
        let bench = Bench::ruled(vec![refusing(1).await], retrying(2, on)).await;
        let mut client = client2(&bench).await;
        let answer = client.send_request(request("/", text("body"))).await.unwrap();
        let outcome = bench.outcomes(1).await.remove(0);
        assert_eq!((answer.status().as_u16(), outcome.attempts), (status, attempts));
    }
}

#[tokio::test]
async fn a_call_without_an_answer_in_time_has_a_grpc_status_and_the_application_is_told() {
    let given_up = Arc::new(Notify::new());
    let told = Arc::clone(&given_up);
    let (app, connections) = app2(move |request| {
        let told = second::Tell(Arc::clone(&told));
        async move {
            let _tell = told;
            if request.uri().path() != "/quick" {
                std::future::pending::<()>().await;
            }
            Response::new(text("hi"))
        }
    })
    .await;
    let rule = Rule { timeout: Some(Duration::from_millis(150)), ..Rule::default() };
    let bench = Bench::ruled(vec![app], rule).await;
    let mut client = client2(&bench).await;
    let answer = client.send_request(grpc(text("call"))).await.unwrap();
    assert_eq!((answer.status(), &answer.headers()["grpc-status"]), (StatusCode::OK, &HeaderValue::from(14)));
    timeout(SOON, given_up.notified()).await.expect("the application's stream is reset");
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.flag, outcome.grpc_status), ("UT", Some(14)));
    assert_eq!(client.send_request(request("/quick", text(""))).await.unwrap().status(), 200);
    assert_eq!(connections.load(Ordering::Relaxed), 1, "the session outlives the stream");
}

#[tokio::test]
async fn a_stream_of_answers_that_does_not_end_is_reset() {
    let (app, _) = app2(|_| async {
        let frames = futures_util::stream::unfold(0, |number| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok(http_body::Frame::data(Bytes::from_static(b"part"))), number + 1))
        });
        Response::new(BodyExt::boxed(http_body_util::StreamBody::new(frames)))
    })
    .await;
    let rule = Rule { timeout: Some(Duration::from_millis(150)), ..Rule::default() };
    let bench = Bench::ruled(vec![app], rule).await;
    let mut client = client2(&bench).await;
    let mut body = client.send_request(request("/", text(""))).await.unwrap().into_body();
    assert!(timeout(SOON, body.frame()).await.unwrap().unwrap().is_ok());
    while let Ok(Some(Ok(_))) = timeout(SOON, body.frame()).await {}
    let outcome = bench.outcomes(1).await.remove(0);
    assert_eq!((outcome.status, outcome.flag), (200, "UT"));
}

#[tokio::test]
async fn a_rule_s_answer_reaches_http2_clients_too() {
    let answer = |status, grpc| Answer {
        status,
        headers: HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("9"))]),
        body: Bytes::from_static(b"text"),
        grpc_status: grpc,
        flag: "FI",
        rule: None,
        told: None,
    };
    let bench = Bench::ruled(vec![], Rule { answer: Some(answer(StatusCode::OK, Some(9))), ..Rule::default() }).await;
    let mut client = client2(&bench).await;
    let answer = client.send_request(grpc(text("some call"))).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "9");
    let mut head = request("/", text(""));
    *head.method_mut() = http::Method::HEAD;
    let answer = client.send_request(head).await.unwrap();
    assert_eq!((&answer.headers()["content-length"], answer.status()), (&HeaderValue::from(4), StatusCode::OK));
    assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    assert!(bench.outcomes(2).await.iter().all(|outcome| (outcome.flag, outcome.grpc_status) == ("FI", Some(9))));
}

#[tokio::test]
async fn calls_are_mirrored_with_their_messages() {
    let (app, _) = app2(|request| async move { Response::new(echo(request.into_body(), "0")) }).await;
    let (mirror, connections) = app2(|request| async move { Response::new(echo(request.into_body(), "5")) }).await;
    let bench = Bench::ruled(vec![app], Rule { mirrors: vec![mirror], ..Rule::default() }).await;
    let mut client = client2(&bench).await;
    for _ in 0..3 {
        let answer = client.send_request(grpc(text("message"))).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "message");
    }
    let outcomes = bench.outcomes(6).await;
    let copies: Vec<_> = outcomes.iter().filter(|outcome| outcome.copy).collect();
    assert!(copies.iter().all(|copy| (copy.grpc_status, copy.response_bytes, copy.flag) == (Some(5), 7, "-")));
    assert_eq!((copies.len(), connections.load(Ordering::Relaxed)), (3, 1));
}

#[tokio::test]
async fn a_session_takes_no_request_beyond_its_age() {
    let (app, connections) = app2(|_| async { Response::new(text("hi")) }).await;
    let wear = Wear { age: Some(Duration::from_secs(1)), ..Wear::default() };
    let bench = Bench::ruled(vec![app], Rule { wear, ..Rule::default() }).await;
    let mut client = client2(&bench).await;
    for (seen, pause) in [(1, 0), (1, 1200), (2, 0), (2, 0)] {
        let answer = client.send_request(request("/", text(""))).await.unwrap();
        assert_eq!((answer.status().as_u16(), connections.load(Ordering::Relaxed)), (200, seen));
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

#[tokio::test]
async fn a_session_carries_no_more_requests_or_streams_than_it_may() {
    let (app, connections) = app2(|_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Response::new(text("hi"))
    })
    .await;
    for (wear, least) in
        [(Wear { requests: Some(2), ..Wear::default() }, 3), (Wear { streams: Some(2), ..Wear::default() }, 3)]
    {
        let bench = Bench::ruled(vec![app], Rule { wear, ..Rule::default() }).await;
        connections.store(0, Ordering::Relaxed);
        let mut client = client2(&bench).await;
        let mut answers = tokio::task::JoinSet::new();
        for _ in 0..6 {
            answers.spawn(client.send_request(request("/", text(""))));
        }
        assert!(answers.join_all().await.iter().all(|answer| answer.as_ref().unwrap().status() == 200));
        assert_eq!(connections.load(Ordering::Relaxed), least, "{wear:?}");
    }
}
