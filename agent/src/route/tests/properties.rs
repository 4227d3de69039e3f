//! Whatever the rules and the request: the rule that the documents name decides, and nothing else.

use super::scene::shop;
use crate::model::http_rule::{Abort, DirectResponse, Fault, HttpAction, Redirect, RedirectPort, Share};
use crate::model::{HttpMatch, HttpRule, StringMatch, Workload};
use crate::route::{HttpTable, Plan, Verdict};
use crate::snapshot::fixtures::*;
use fastrand::Rng;
use http::StatusCode;
use http::request::Parts;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// A condition on a string in the words of the documents.
#[derive(Clone, Copy, Debug)]
enum Want {
    Exact(&'static str),
    Prefix(&'static str),
    Elements(&'static str),
    Pattern(usize),
    Present,
}

type Meaning = fn(&str) -> bool;

/// Patterns, each with what it means.
const PATTERNS: [(&str, Meaning); 4] = [
    ("/a/.*", |text| text.starts_with("/a/")),
    ("[^/]*", |text| !text.contains('/')),
    ("a|.*b", |text| text == "a" || text.ends_with('b')),
    ("", str::is_empty),
];

impl Want {
    fn holds(self, found: &str, ignore_case: bool) -> bool {
        let fold = |text: &str| if ignore_case { text.to_lowercase() } else { text.to_owned() };
        match self {
            Self::Exact(text) => fold(found) == fold(text),
            Self::Prefix(text) => fold(found).find(&fold(text)) == Some(0),
            Self::Elements(text) => {
                let (found, text) = (fold(found), fold(text));
                let (found, text): (Vec<_>, Vec<_>) = (found.split('/').collect(), text.split('/').collect());
                found.starts_with(&text)
            }
            Self::Pattern(at) => PATTERNS[at].1(found),
            Self::Present => true,
        }
    }

    fn model(self) -> StringMatch {
        match self {
            Self::Exact(text) => StringMatch::Exact(text.into()),
            Self::Prefix(text) => StringMatch::Prefix(text.into()),
            Self::Elements(text) => StringMatch::PathPrefix(text.into()),
            Self::Pattern(at) => StringMatch::Regex(regex::Regex::new(&format!("^(?:{})$", PATTERNS[at].0)).unwrap()),
            Self::Present => StringMatch::Present,
        }
    }
}

#[derive(Clone, Debug)]
struct Conditions {
    path: Option<Want>,
    ignore_case: bool,
    method: Option<Want>,
    header: Option<Want>,
    without: Option<Want>,
    parameter: Option<Want>,
    authority: Option<Want>,
    port: Option<u16>,
    app: Option<&'static str>,
    namespace: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Forwarded,
    Answered(u16, &'static str),
    Refused(u16, &'static str),
}

/// What a rule does, and what a client sees of it.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Forward(&'static str, Outcome),
    Redirect,
    Direct,
    Abort,
    Broken,
}

#[derive(Clone, Debug)]
struct Rule {
    any_of: Vec<Conditions>,
    deed: Deed,
}

#[derive(Clone, Debug)]
struct Asked {
    path: String,
    query: Option<&'static str>,
    method: &'static str,
    headers: Vec<&'static str>,
    host: &'static str,
}

fn texts() -> impl Strategy<Value = Want> {
    let text = || select(vec!["", "a", "b", "ab", "a,b", "GET", "books"]);
    prop_oneof![
        text().prop_map(Want::Exact),
        text().prop_map(Want::Prefix),
        (0..PATTERNS.len()).prop_map(Want::Pattern),
        Just(Want::Present),
    ]
}

fn paths() -> impl Strategy<Value = Want> {
    let text = || select(vec!["/", "/a", "/a/", "/a/b", "/ab", "/A", "/a/b/ab", "/b"]);
    let elements = select(vec!["", "/a", "/a/b", "/ab", "/A", "/b/a"]);
    prop_oneof![
        4 => text().prop_map(Want::Exact),
        4 => text().prop_map(Want::Prefix),
        4 => elements.prop_map(Want::Elements),
        1 => (0..PATTERNS.len()).prop_map(Want::Pattern),
        1 => Just(Want::Present),
    ]
}

fn rarely<T: Strategy>(strategy: T) -> impl Strategy<Value = Option<T::Value>> {
    option::weighted(0.15, strategy)
}

prop_compose! {
    fn conditions()(
        path in option::weighted(0.8, paths()),
        ignore_case in prop::bool::weighted(0.2),
        (method, header, without) in (rarely(texts()), rarely(texts()), rarely(texts())),
        (parameter, authority) in (rarely(texts()), rarely(texts())),
        port in rarely(select(vec![80, 81])),
        app in rarely(select(vec!["client", "other"])),
        namespace in rarely(select(vec!["shop", "bank"])),
    ) -> Conditions {
        Conditions { path, ignore_case, method, header, without, parameter, authority, port, app, namespace }
    }
}

fn deeds() -> impl Strategy<Value = Deed> {
    select(vec![
        Deed::Forward("shop/books#v1", Outcome::Forwarded),
        Deed::Forward("shop/none", Outcome::Refused(503, "NC")),
        Deed::Forward("shop/books#v3", Outcome::Refused(503, "UH")),
        Deed::Redirect,
        Deed::Direct,
        Deed::Abort,
        Deed::Broken,
    ])
}

fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = (vec(conditions(), 0..3), deeds()).prop_map(|(any_of, deed)| Rule { any_of, deed });
    vec(rule, 0..12)
}

prop_compose! {
    fn requests()(
        elements in vec(select(vec!["a", "b", "ab", "A", ""]), 1..4),
        query in option::of(select(vec!["q=a", "q=b&q=a", "p=a", "q", "p=1&q=ab"])),
        method in select(vec!["GET", "POST"]),
        headers in vec(select(vec!["a", "b", ""]), 0..3),
        host in select(vec!["books", "till"]),
    ) -> Asked {
        Asked { path: format!("/{}", elements.join("/")), query, method, headers, host }
    }
}

impl Conditions {
    /// The documents, read by someone in no hurry.
    fn hold(&self, asked: &Asked) -> bool {
        let header = (!asked.headers.is_empty()).then(|| asked.headers.join(","));
        let parameter = asked.query.and_then(|query| {
            let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            pairs.filter(|(key, _)| *key == "q").map(|(_, value)| value).next()
        });
        let said = |want: Option<Want>, found: Option<&str>| match (want, found) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(want), Some(found)) => want.holds(found, false),
        };
        let excluded = self.without.is_some() && said(self.without, header.as_deref());
        [
            self.path.is_none_or(|want| {
                let folds = self.ignore_case && !matches!(want, Want::Pattern(_));
                want.holds(&asked.path, folds)
            }),
            said(self.method, Some(asked.method)),
            said(self.header, header.as_deref()),
            !excluded,
            said(self.parameter, parameter),
            said(self.authority, Some(asked.host)),
            self.port.is_none_or(|port| port == 80),
            self.app.is_none_or(|app| app == "client"),
            self.namespace.is_none_or(|namespace| namespace == "shop"),
        ]
        .iter()
        .all(|holds| *holds)
    }

    fn model(&self) -> HttpMatch {
        let text = |want: Option<Want>| want.map(Want::model);
        let header = |want: Option<Want>| want.map(|want| ("x".parse().unwrap(), want.model())).into_iter().collect();
        HttpMatch {
            uri: text(self.path),
            ignore_uri_case: self.ignore_case,
            method: text(self.method),
            headers: header(self.header),
            without_headers: header(self.without),
            query_params: self.parameter.map(|want| ("q".into(), want.model())).into_iter().collect(),
            authority: text(self.authority),
            port: self.port,
            source_labels: self.app.map(|app| labels(&[("app", app)])).unwrap_or_default(),
            source_namespace: self.namespace.map(Into::into),
            ..HttpMatch::default()
        }
    }
}

impl Rule {
    fn takes(&self, asked: &Asked) -> bool {
        self.any_of.is_empty() || self.any_of.iter().any(|one| one.hold(asked))
    }

    fn outcome(&self) -> Outcome {
        match self.deed {
            Deed::Forward(_, outcome) => outcome,
            Deed::Redirect => Outcome::Answered(307, "-"),
            Deed::Direct => Outcome::Answered(204, "-"),
            Deed::Abort => Outcome::Answered(418, "FI"),
            Deed::Broken => Outcome::Refused(500, "BR"),
        }
    }

    fn model(&self, number: usize) -> HttpRule {
        let matches = self.any_of.iter().map(Conditions::model).collect();
        let mut rule = http_rule(matches, vec![to("shop/books#v1", 1)]);
        rule.name = Some(number.to_string().into());
        match self.deed {
            Deed::Forward(destination, _) => rule.action = HttpAction::Forward(vec![to(destination, 1)]),
            Deed::Redirect => {
                let (scheme, host, port, path) = (None, None, RedirectPort::AsWritten, None);
                let status = StatusCode::TEMPORARY_REDIRECT;
                rule.action = HttpAction::Redirect(Redirect { status, scheme, host, port, path });
            }
            Deed::Direct => {
                let body = b"".as_slice().into();
                rule.action = HttpAction::Direct(DirectResponse { status: StatusCode::NO_CONTENT, body });
            }
            Deed::Abort => {
                let abort = Some((Abort::Http(StatusCode::IM_A_TEAPOT), Share::ALL));
                rule.fault = Fault { delay: None, abort };
            }
            Deed::Broken => rule.broken = Some("it is".into()),
        }
        rule
    }
}

impl Asked {
    fn parts(&self) -> Parts {
        let uri = match self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        };
        let mut request = http::Request::builder().method(self.method).uri(uri).header("host", self.host);
        for value in &self.headers {
            request = request.header("x", *value);
        }
        request.body(()).unwrap().into_parts().0
    }
}

/// Which rule decided, as far as it can be seen, and how.
fn decided(table: &HttpTable, client: &Workload, asked: &Asked) -> (Option<String>, Outcome) {
    match table.decide(client, &asked.parts(), &mut Rng::with_seed(1)) {
        Ok(ruling) => match ruling.verdict {
            Verdict::Forward(forward) => (forward.rule().map(ToString::to_string), Outcome::Forwarded),
            Verdict::Answer(answer) => {
                (answer.rule.map(|rule| rule.to_string()), Outcome::Answered(answer.status.as_u16(), answer.flag))
            }
        },
        Err(refusal) => (None, Outcome::Refused(refusal.status().as_u16(), refusal.flag())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_first_rule_that_takes_a_request_decides_it_and_only_it(list in some_rules(), asked in vec(requests(), 1..12)) {
        let mut http: Vec<_> = list.iter().enumerate().map(|(number, rule)| rule.model(number)).collect();
        // Requests are only routed where there is a rule for the port; this one takes none of them.
        let never = HttpMatch { method: Some(Want::Exact("NEVER").model()), ..HttpMatch::default() };
        http.push(http_rule(vec![never], vec![to("shop/books", 1)]));
        let mut changes = shop();
        changes.push(put(rules("shop/r", &["shop/books"], http, vec![])));
        let client = pod("shop/client", "10.0.0.9", &[("app", "client")]);
        let Plan::Http(table) = World::new(changes).resolve(&client, "10.96.0.1:80") else { panic!("not by request") };
        for asked in &asked {
            let taker = list.iter().position(|rule| rule.takes(asked));
            let expected = taker.map_or(Outcome::Refused(404, "NR"), |at| list[at].outcome());
            let (rule, outcome) = decided(&table, &client, asked);
            prop_assert_eq!(outcome, expected, "{:?} by rule {:?}", asked, taker);
            prop_assert!(rule.is_none() || rule == taker.map(|at| at.to_string()), "{:?}, not {:?}", rule, taker);
        }
    }
}
