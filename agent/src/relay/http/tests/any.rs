//! Whatever a rule says and whatever applications do: each request has one answer and one record.

use super::second::{client2, request, text};
use super::*;
use http_body_util::BodyExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// What an application does with a request.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer(u16),
    Chunked,
    ClosesAfter,
    /// Closes instead of an answer.
    Closes,
    /// Resets instead of an answer.
    Resets,
    /// Breaks off within its answer.
    BreaksOff,
    Stalls,
    StallsWithin,
    Garbage,
    Continues,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => prop::sample::select(vec![200, 204, 304, 404, 409, 500, 503]).prop_map(Act::Answer),
        1 => Just(Act::Chunked),
        1 => Just(Act::ClosesAfter),
        1 => Just(Act::Closes),
        1 => Just(Act::Resets),
        1 => Just(Act::BreaksOff),
        1 => Just(Act::Stalls),
        1 => Just(Act::StallsWithin),
        1 => Just(Act::Garbage),
        1 => Just(Act::Continues),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let on = (any::<[bool; 4]>(), prop::option::of(Just(StatusCode::NOT_FOUND))).prop_map(|(words, status)| RetryOn {
        server_error: words[0],
        reset: words[1],
        connect_failure: words[2],
        conflict: words[3],
        statuses: status.into_iter().collect(),
        ..RetryOn::default()
    });
    let per_try = prop::option::of((20..80u64).prop_map(Duration::from_millis));
    let retries = prop::option::of((0..4u32, on, per_try).prop_map(|(attempts, on, per_try)| Retry {
        per_try,
        backoff: Some(Duration::from_millis(2)),
        ..retry(attempts, on)
    }));
    let delay = prop::option::weighted(0.2, (1..30u64).prop_map(Duration::from_millis));
    let wear = prop::option::of(1..3u32).prop_map(|requests| Wear { requests, ..Wear::default() });
    (delay, retries, wear, prop::option::of(0..2usize)).prop_map(|(delay, retry, wear, budget)| Rule {
        delay,
        retry,
        wear,
        budget,
        // Something has to end what stalls.
        timeout: Some(Duration::from_millis(120)),
        ..Rule::default()
    })
}

/// Does these in turn, whatever the connection.
async fn acting(acts: Vec<Act>) -> SocketAddr {
    let next = Arc::new(AtomicUsize::new(0));
    app(move |_, mut io| {
        let (acts, next) = (acts.clone(), Arc::clone(&next));
        async move {
            loop {
                let head = until(&mut io, "\r\n\r\n").await;
                if head.is_empty() {
                    return;
                }
                if head.contains("content-length: 4") {
                    until(&mut io, "body").await;
                }
                if !act_out(acts[next.fetch_add(1, Ordering::Relaxed) % acts.len()], &mut io).await {
                    return;
                }
            }
        }
    })
    .await
}

/// Whether the connection goes on.
async fn act_out(act: Act, io: &mut TcpStream) -> bool {
    let answer = match act {
        Act::Answer(status @ (204 | 304)) => format!("HTTP/1.1 {status} X\r\n\r\n"),
        Act::Answer(status) => format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nhi"),
        Act::Chunked => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(),
        Act::Continues => {
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
                .to_owned()
        }
        Act::ClosesAfter => "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall".to_owned(),
        Act::BreaksOff | Act::StallsWithin => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\npart".to_owned(),
        Act::Garbage => "\u{1}\u{2} no HTTP\r\n\r\n".to_owned(),
        Act::Closes | Act::Resets | Act::Stalls => String::new(),
    };
    let _ = io.write_all(answer.as_bytes()).await;
    match act {
        Act::Answer(_) | Act::Chunked | Act::Continues => return true,
        Act::Stalls | Act::StallsWithin => drop(rest(io).await),
        Act::Resets => drop(socket2::SockRef::from(&*io).set_linger(Some(Duration::ZERO))),
        Act::ClosesAfter | Act::Closes | Act::BreaksOff | Act::Garbage => {}
    }
    false
}

/// The bench and, of its own requests, how many records there are and their statuses in order.
async fn statuses(bench: &Bench, count: usize) -> Vec<u16> {
    bench.outcomes(count).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let outcomes = bench.service.outcomes.lock().unwrap();
    outcomes.iter().filter(|(_, outcome)| !outcome.copy).map(|(_, outcome)| outcome.status).collect()
}

async fn case(rule: Rule, acts: Vec<Act>, requests: Vec<bool>, refused: bool) {
    let mut endpoints = vec![acting(acts.clone()).await, acting(acts).await];
    if refused {
        endpoints.insert(0, nobody().await);
    }
    let bench = Bench::ruled(endpoints, rule).await;
    let mut seen = Vec::new();
    for body in &requests {
        let request = match body {
            true => "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody",
            false => "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        };
        let mut client = bench.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut client).await;
        let heads = answer.split("HTTP/1.1 ").skip(1).filter_map(|head| head[..3].parse::<u16>().ok());
        let answers: Vec<_> = heads.filter(|status| *status >= 200).collect();
        assert_eq!(answers.len(), 1, "{answer:?}");
        seen.extend(answers);
    }
    assert_eq!(statuses(&bench, requests.len()).await, seen);
}

fn run<F: Future<Output = ()>>(cases: u32, test: impl Fn((Rule, Vec<Act>, Vec<bool>, bool)) -> F) {
    let inputs =
        (rule(), prop::collection::vec(act(), 1..6), prop::collection::vec(any::<bool>(), 1..5), any::<bool>());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let tested = TestRunner::new(config).run(&inputs, |input| {
        runtime.block_on(test(input));
        Ok(())
    });
    tested.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn whatever_happens_a_request_has_one_answer_and_one_record() {
    run(64, |(rule, acts, requests, refused)| case(rule, acts, requests, refused));
}

#[test]
fn a_client_that_keeps_its_connection_gets_its_answers_in_order() {
    run(32, |(rule, acts, requests, refused)| async move {
        let mut endpoints = vec![acting(acts).await];
        if refused {
            endpoints.insert(0, nobody().await);
        }
        let bench = Bench::ruled(endpoints, rule).await;
        let io = hyper_util::rt::TokioIo::new(bench.connect().await);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let mut seen = Vec::new();
        for _ in &requests {
            let request = http::Request::get("/").header("host", "a").body(text("")).unwrap();
            let Ok(answer) = timeout(SOON, sender.send_request(request)).await.unwrap() else { break };
            seen.push(answer.status().as_u16());
            let _ = timeout(SOON, answer.into_body().collect()).await.expect("the answer ends");
            if timeout(SOON, sender.ready()).await.unwrap().is_err() {
                break;
            }
        }
        assert_eq!(statuses(&bench, seen.len()).await, seen);
    });
}

#[test]
fn http2_clients_have_one_answer_and_one_record_too() {
    run(32, |(rule, acts, requests, refused)| async move {
        // They speak HTTP/1 to those who ask in HTTP/2: all of it is garbage, and each request fails once.
        let mut endpoints = vec![acting(acts).await];
        if refused {
            endpoints.insert(0, nobody().await);
        }
        let bench = Bench::ruled(endpoints, rule).await;
        let mut client = client2(&bench).await;
        let mut seen = Vec::new();
        for _ in &requests {
            let answer = timeout(SOON, client.send_request(request("/", text("body")))).await.unwrap().unwrap();
            seen.push(answer.status().as_u16());
            let _ = timeout(SOON, answer.into_body().collect()).await.expect("the answer ends");
        }
        assert_eq!(statuses(&bench, requests.len()).await, seen);
    });
}
