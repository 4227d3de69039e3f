//! What is done with a request beside finding its destination.

use super::scene::{Scene, call, get, plausible, request, to_books, values};
use crate::model::http_rule::*;
use crate::model::{Filters, HttpMatch, HttpRule, StringMatch, WeightedDestination};
use crate::route::{Forward, Verdict};
use crate::snapshot::fixtures::{http_rule, object_id, to};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode};
use std::time::Duration;

fn elements(text: &str) -> Vec<HttpMatch> {
    vec![HttpMatch { uri: Some(StringMatch::PathPrefix(text.into())), ..Default::default() }]
}

fn header_set(name: &str, value: &str) -> HeaderOps {
    HeaderOps { set: vec![(name.parse().unwrap(), value.parse().unwrap())], ..Default::default() }
}

fn header_added(name: &str, value: &str) -> HeaderOps {
    HeaderOps { add: vec![(name.parse().unwrap(), value.parse().unwrap())], ..Default::default() }
}

fn of_request(request: HeaderOps) -> Filters {
    Filters { request, ..Default::default() }
}

fn of_response(response: HeaderOps) -> Filters {
    Filters { response, ..Default::default() }
}

fn redirect(status: StatusCode) -> Redirect {
    Redirect {
        status,
        scheme: None,
        host: Some("new".into()),
        port: RedirectPort::AsWritten,
        path: Some(PathChange::PathPrefix("/z".into())),
    }
}

#[test]
fn an_abort_answers_http_and_grpc_clients_in_their_own_way() {
    let faulty = |abort| HttpRule {
        fault: Fault { delay: Some((Duration::from_secs(7), Share::ALL)), abort: Some((abort, Share::ALL)) },
        ..to_books()
    };
    for (abort, request, status, grpc, body) in [
        (Abort::Http(StatusCode::IM_A_TEAPOT), get(), 418, None, "fault filter abort"),
        (Abort::Http(StatusCode::SERVICE_UNAVAILABLE), call(), 200, Some(14), ""),
        (Abort::Grpc(7), call(), 200, Some(7), ""),
        (Abort::Grpc(7), get(), 200, Some(7), ""),
    ] {
        let mut scene = Scene::new(vec![faulty(abort)]);
        let ruling = scene.decide(&request).unwrap();
        assert_eq!(ruling.delay, Some(Duration::from_secs(7)));
        let Verdict::Answer(answer) = ruling.verdict else { panic!("{abort:?}") };
        assert_eq!((answer.status.as_u16(), answer.grpc_status, answer.flag), (status, grpc, "FI"), "{abort:?}");
        assert_eq!(answer.body, body);
        assert_eq!(answer.rule.as_deref(), Some("named"));
        let told = grpc.map(|code| vec![code.to_string()]).unwrap_or_default();
        assert_eq!(values(&answer.headers, "grpc-status"), told);
    }
}

#[test]
fn faults_are_drawn_by_share_and_each_by_itself() {
    let fault = Fault {
        delay: Some((Duration::from_secs(1), Share(250_000))),
        abort: Some((Abort::Http(StatusCode::BAD_GATEWAY), Share(100_000))),
    };
    let mut scene = Scene::new(vec![HttpRule { fault, ..to_books() }]);
    let (mut delays, mut aborts, mut both) = (0, 0, 0);
    for _ in 0..20_000 {
        let ruling = scene.decide(&get()).unwrap();
        let aborted = matches!(ruling.verdict, Verdict::Answer(_));
        delays += usize::from(ruling.delay.is_some());
        aborts += usize::from(aborted);
        both += usize::from(aborted && ruling.delay.is_some());
    }
    for (seen, share) in [(delays, 0.25), (aborts, 0.1), (both, 0.025)] {
        assert!(plausible(seen, 20_000, share), "{seen} {share}");
    }
    let none = Fault { delay: Some((Duration::from_secs(1), Share(0))), abort: Some((Abort::Grpc(1), Share(0))) };
    let mut scene = Scene::new(vec![HttpRule { fault: none, ..to_books() }]);
    assert!((0..1000).all(|_| scene.decide(&get()).unwrap().delay.is_none()));
}

#[test]
fn a_refusal_waits_for_its_delay_too() {
    let fault = Fault { delay: Some((Duration::from_secs(1), Share::ALL)), abort: None };
    let lost = http_rule(vec![], vec![to("shop/none", 1)]);
    let mut scene = Scene::new(vec![HttpRule { fault: fault.clone(), ..lost }]);
    let ruling = scene.decide(&get()).unwrap();
    assert!(ruling.delay.is_some());
    let answer = scene.answer(&get());
    assert_eq!((answer.status.as_u16(), answer.flag), (503, "NC"));
    assert!(answer.body.starts_with(b"VirtualService shop/r http[0]: there is no none.shop"), "{answer:?}");

    let mut scene = Scene::new(vec![HttpRule { fault, broken: Some("it is".into()), ..to_books() }]);
    assert_eq!(scene.refusal(&get()), "500 BR VirtualService shop/r http[0]: it is");
}

#[test]
fn rules_answer_by_themselves_with_their_response_headers() {
    let filters = of_response(header_set("x-from", "rule"));
    let action = HttpAction::Redirect(redirect(StatusCode::PERMANENT_REDIRECT));
    let mut scene =
        Scene::new(vec![HttpRule { action, filters: filters.clone(), matches: elements("/a"), ..to_books() }]);
    let answer = scene.answer(&get());
    assert_eq!((answer.status.as_u16(), answer.flag, answer.rule.as_deref()), (308, "-", Some("named")));
    assert_eq!(values(&answer.headers, "location"), ["http://new/z/b?x=1"]);
    assert_eq!(values(&answer.headers, "x-from"), ["rule"]);
    assert!(answer.body.is_empty());

    let direct = DirectResponse { status: StatusCode::SERVICE_UNAVAILABLE, body: b"closed".as_slice().into() };
    let mut scene = Scene::new(vec![HttpRule { action: HttpAction::Direct(direct), filters, ..to_books() }]);
    let answer = scene.answer(&get());
    assert_eq!((answer.status.as_u16(), answer.flag, &*answer.body), (503, "-", b"closed".as_slice()));
    assert_eq!(values(&answer.headers, "content-type"), ["text/plain"]);
    assert_eq!(values(&answer.headers, "x-from"), ["rule"]);
    let answer = scene.answer(&call());
    assert_eq!((answer.status.as_u16(), answer.grpc_status), (200, Some(14)));
    assert_eq!(values(&answer.headers, "grpc-message"), ["closed"]);
}

#[test]
fn the_destination_sees_another_path_authority_and_headers() {
    let rewrite = |path, authority: Option<&str>| Rewrite {
        path: Some(path),
        authority: authority.map(|authority| authority.parse().unwrap()),
    };
    let mut rule = HttpRule { matches: elements("/a"), ..to_books() };
    rule.filters = of_request(header_set("x", "rule"));
    rule.filters.rewrite = Some(rewrite(PathChange::PathPrefix("/new".into()), Some("rule.example")));
    let HttpAction::Forward(to) = &mut rule.action else { panic!() };
    to[0].filters = of_request(header_added("x", "destination"));
    let shaped = |rule: &HttpRule, request: Parts| {
        let mut request = request;
        Scene::new(vec![rule.clone()]).forward(&request).shape_request(&mut request);
        request
    };
    let seen = shaped(&rule, get());
    assert_eq!(seen.uri, "/new/b?x=1");
    assert_eq!(values(&seen.headers, "host"), ["rule.example"]);
    assert_eq!(values(&seen.headers, "x"), ["rule", "destination"]);
    let seen = shaped(&rule, Request::builder().uri("http://books/a").body(()).unwrap().into_parts().0);
    assert_eq!(seen.uri, "http://rule.example/new");

    let HttpAction::Forward(to) = &mut rule.action else { panic!() };
    to[0].filters.rewrite = Some(rewrite(PathChange::Full("/full".into()), None));
    let seen = shaped(&rule, get());
    assert_eq!(seen.uri, "/full?x=1", "the destination's path in place of the rule's");
    assert_eq!(values(&seen.headers, "host"), ["rule.example"]);

    let mut rule = to_books();
    rule.filters = of_request(header_set("host", "rule.host"));
    let HttpAction::Forward(to) = &mut rule.action else { panic!() };
    to[0].filters = of_request(header_set("host", "destination.host"));
    let seen = shaped(&rule, get());
    assert_eq!((values(&seen.headers, "host"), seen.uri.to_string()), (vec!["rule.host".into()], "/a/b?x=1".into()));
}

#[test]
fn the_match_that_took_the_request_says_which_prefix_is_replaced() {
    let mut rule = to_books();
    rule.matches = [elements("/a/b"), elements("/a")].concat();
    rule.filters.rewrite = Some(Rewrite { path: Some(PathChange::PathPrefix("/".into())), authority: None });
    let mut scene = Scene::new(vec![rule]);
    for (uri, seen) in [("/a/b/c", "/c"), ("/a/c", "/c"), ("/a/b", "/"), ("/a/bc/d", "/bc/d")] {
        let mut request = request(uri, |b| b);
        scene.forward(&request).shape_request(&mut request);
        assert_eq!(request.uri, seen, "{uri}");
    }
}

#[test]
fn the_answer_gets_the_headers_of_the_rule_then_of_the_destination() {
    let mut rule = to_books();
    rule.filters = of_response(header_set("server", "rule"));
    let HttpAction::Forward(to) = &mut rule.action else { panic!() };
    to[0].filters = of_response(HeaderOps { remove: vec!["x-secret".parse().unwrap()], ..header_set("server", "own") });
    let mut headers: HeaderMap = [("server", "app"), ("x-secret", "1")]
        .map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap()))
        .into_iter()
        .collect();
    Scene::new(vec![rule]).forward(&get()).shape_response(&mut headers);
    assert_eq!((values(&headers, "server"), values(&headers, "x-secret")), (vec!["own".into()], vec![]));
}

#[test]
fn mirrors_are_drawn_by_share_and_those_that_lead_nowhere_are_left_out() {
    let mirror = |destination: &str, share| Mirror { destination: to(destination, 1).destination, share, broken: None };
    let mut rule = to_books();
    rule.filters.mirrors = vec![
        mirror("shop/till", Share::ALL),
        mirror("shop/books#v2", Share(300_000)),
        mirror("shop/books#v3", Share::ALL),
        mirror("shop/none", Share::ALL),
        Mirror { broken: Some("not granted".into()), ..mirror("shop/books", Share::ALL) },
    ];
    let HttpAction::Forward(to) = &mut rule.action else { panic!() };
    to[0].filters.mirrors = vec![mirror("shop/books#v1", Share::ALL)];
    let mut scene = Scene::new(vec![rule]);
    assert_eq!(scene.world.codes(), ["missing-host to shop/none"]);
    let mut drawn = 0;
    for _ in 0..20_000 {
        let forward = scene.forward(&get());
        let names: Vec<_> = forward
            .mirrors()
            .iter()
            .map(|one| format!("{}{}", one.service.name, one.subset.as_ref().map_or("", |subset| subset.as_str())))
            .collect();
        match names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["till", "booksv1"] => {}
            ["till", "booksv2", "booksv1"] => drawn += 1,
            _ => panic!("{names:?}"),
        }
    }
    assert!(plausible(drawn, 20_000, 0.3), "{drawn}");
}

#[test]
fn a_destination_may_redirect_or_be_broken_for_its_own_share() {
    let with = |change: fn(&mut WeightedDestination)| {
        let mut one = to("shop/books#v1", 1);
        change(&mut one);
        Scene::new(vec![http_rule(elements("/a"), vec![one])])
    };
    let answer = with(|one| {
        one.redirect = Some(redirect(StatusCode::FOUND));
        one.filters = of_response(header_set("x", "1"));
    })
    .answer(&get());
    assert_eq!((answer.status.as_u16(), values(&answer.headers, "location")), (302, vec!["http://new/z/b?x=1".into()]));
    assert_eq!(values(&answer.headers, "x"), ["1"]);
    let broken = with(|one| one.broken = Some("no grant lets it go to shop".into())).refusal(&get());
    assert_eq!(broken, "500 BR VirtualService shop/r http[0]: no grant lets it go to shop");
}

#[test]
fn the_gateway_api_answers_500_for_what_is_not_there_and_503_for_what_is_not_ready() {
    let scene = |route| Scene::new(vec![HttpRule { dialect: Dialect::Gateway, ..http_rule(vec![], route) }]);
    for (route, answer, codes) in [
        (
            vec![to("shop/none", 1)],
            "500 BR RULE: there is no none.shop.svc.cluster.local",
            vec!["missing-host to shop/none"],
        ),
        (
            vec![to("shop/books:86", 1)],
            "500 BR RULE: there is no books.shop.svc.cluster.local:86",
            vec!["missing-port to shop/books:86"],
        ),
        (vec![to("shop/books", 0)], "500 BR RULE: no destination has a weight", vec!["weights shop/r"]),
        (vec![], "500 BR RULE: it names no destination", vec!["weights shop/r"]),
        (vec![to("shop/books#v3", 1)], "503 UH no endpoint of books.shop.svc.cluster.local:80 is ready", vec![]),
    ] {
        let mut scene = scene(route);
        assert_eq!(scene.refusal(&get()), answer.replace("RULE", "VirtualService shop/r http[0]"));
        assert_eq!(scene.world.codes(), codes, "{answer}");
    }
}

#[test]
fn a_rule_that_still_delegates_answers_500() {
    let action = HttpAction::Delegate(object_id("shop/other"));
    let mut scene = Scene::new(vec![HttpRule { action, ..to_books() }]);
    let why = "there is no VirtualService shop/other without hosts to delegate to";
    assert_eq!(scene.refusal(&get()), format!("500 BR VirtualService shop/r http[0]: {why}"));
}

#[test]
fn a_rule_says_how_long_and_how_often() {
    let retry = Retry {
        attempts: 2,
        per_try: None,
        on: RetryOn { server_error: true, ..Default::default() },
        backoff: None,
        other_host: false,
        remote_localities: true,
    };
    let rule = HttpRule { timeout: Some(Duration::from_secs(3)), retry: Some(retry.clone()), ..to_books() };
    let forward = Scene::new(vec![rule]).forward(&get());
    assert_eq!((forward.timeout(), forward.retry()), (Some(Duration::from_secs(3)), Some(&retry)));
    assert_eq!(forward.rule().map(|name| &**name), Some("named"));
    let forward = Forward::plain(forward.upstream().clone());
    assert_eq!((forward.timeout(), forward.rule(), forward.mirrors().len()), (None, None, 0));
    assert_eq!(forward.retry(), Some(&Retry::usual()), "as Istio does where nothing is said");
}
