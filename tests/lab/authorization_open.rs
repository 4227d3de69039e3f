//! AuthorizationPolicies and connections that are open when they change; AUDIT and dry runs.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;
use underpass_tests::{Agent, Lab, until};

use crate::authorization_probe::{CLIENTS, SERVERS, address, passes, policy, server, settled, with};
use crate::pair;
use crate::scene::{SOON, apply, delete};

/// A connection that says a line and hears it, again and again.
struct Talk {
    who: String,
    stream: BufReader<TcpStream>,
}

impl Talk {
    fn open(lab: &Lab, client: &str, to: &str, port: u16) -> Self {
        let who = format!("{client} to {to}:{port}");
        let stream = pair::connect(lab, client, address(lab, &server(to), port)).unwrap();
        let mut talk = Self { who, stream: BufReader::new(stream) };
        assert!(talk.goes_on(), "{}", talk.who);
        talk
    }

    fn goes_on(&mut self) -> bool {
        let mut line = String::new();
        let asked = self.stream.get_mut().write_all(b"again\n");
        asked.and_then(|()| self.stream.read_line(&mut line)).is_ok_and(|_| line == "again\n")
    }

    /// Whether it is cut, without a word from here.
    fn is_cut(&mut self) -> bool {
        let mut line = String::new();
        self.stream.get_ref().set_read_timeout(Some(SOON)).unwrap();
        let end = self.stream.read_line(&mut line).map(drop);
        assert!(line.is_empty(), "{}: {line:?}", self.who);
        match end {
            Ok(()) => panic!("{}: it ended as if all were well", self.who),
            Err(_) => pair::is_reset(&end),
        }
    }
}

/// Who is denied by the new policy is cut; the others, and other ports, go on.
pub fn changes(lab: &mut Lab) {
    let mut talks = Vec::new();
    for to in SERVERS {
        for (letter, client) in CLIENTS {
            talks.push((letter == 'a', Talk::open(lab, client, to, 9000)));
            talks.push((false, Talk::open(lab, client, to, 9001)));
        }
    }
    let deny = "{action: DENY, rules: [{from: [{source: {principals: ['*/sa/alice']}}], to: [{operation: {ports: ['9000']}}]}]}";
    let text = policy("late", "default", deny);
    apply(lab, &text);
    for (denied, talk) in &mut talks {
        if *denied {
            assert!(talk.is_cut(), "{} lives on", talk.who);
        }
    }
    settled(lab, "after the change", 9000, &SERVERS.map(|_| "bo".to_owned()));
    for (denied, talk) in &mut talks {
        assert!(*denied || talk.goes_on(), "{} is cut", talk.who);
    }
    for name in SERVERS {
        let agent = lab.agent_of(&server(name)).unwrap();
        let open = |line: &Value| {
            let error = line["error"].as_str().unwrap_or_default();
            line["dst.workload"] == name && error.contains("default/late") && error.contains("was open")
        };
        let line = until("a line of it", SOON, || agent.access_log().into_iter().find(open)).unwrap();
        let told = (&line["direction"], &line["message"], &line["response_flags"], &line["stage"]);
        let wanted = ("inbound".into(), "connection complete".into(), "DENY".into(), "policy".into());
        assert_eq!(told, (&wanted.0, &wanted.1, &wanted.2, &wanted.3), "{line:#}");
    }
    // An ALLOW policy that comes denies whom it does not name.
    apply(lab, &policy("late", "default", "{rules: [{from: [{source: {principals: ['*']}}]}]}"));
    for (_, talk) in talks.iter_mut().filter(|(_, talk)| talk.who.contains("outsider")) {
        assert!(talk.is_cut(), "{} lives on", talk.who);
    }
    assert!(talks.iter_mut().filter(|(_, talk)| talk.who.contains("bob")).all(|(_, talk)| talk.goes_on()));
    delete(lab, &text);
    settled(lab, "it is gone", 9000, &SERVERS.map(|_| "abo".to_owned()));
}

fn reports(agent: &Agent, name: &str, verdict: &str) -> f64 {
    let labels = [("policy", name), ("verdict", verdict)];
    agent.metrics().unwrap().sum("underpass_authorization_reports_total", &labels)
}

/// Policies that decide nothing are told of in the metrics and in the log, and have no effect.
pub fn told(lab: &mut Lab) {
    let alice = "rules: [{from: [{source: {principals: ['*/sa/alice']}}]}]";
    let dry = |name: &str, spec: &str| {
        policy(name, "default", spec)
            .replace("namespace: default}", "namespace: default, annotations: {istio.io/dry-run: 'true'}}")
    };
    let text = [
        policy("noted", "default", &format!("{{action: AUDIT, {alice}}}")),
        dry("refusing", &format!("{{action: DENY, {alice}}}")),
        dry("allowing", &format!("{{{alice}}}")),
    ];
    with(lab, &text.concat(), |lab| {
        for name in SERVERS {
            let agent = lab.agent_of(&server(name)).unwrap();
            let to = address(lab, &server(name), 9000);
            // Nothing else shows that they are in force.
            until("it is told of", SOON, || {
                assert!(passes(lab, "east/default/alice", to));
                (reports(&agent, "default/noted", "audit") >= 1.0).then_some(())
            })
            .unwrap_or_else(|error| panic!("{error:#}: {name}"));
            let all = ["audit", "dry_run_deny", "dry_run_allow"];
            let counts = |names: [&str; 3]| {
                let pairs = names.into_iter().zip(all);
                pairs.map(|(name, verdict)| reports(&agent, &format!("default/{name}"), verdict)).collect::<Vec<_>>()
            };
            let before = counts(["noted", "refusing", "allowing"]);
            assert!(passes(lab, "east/default/alice", to));
            assert!(passes(lab, "east/other/bob", to));
            let wanted: Vec<_> = before.iter().map(|count| count + 1.0).collect();
            assert_eq!(counts(["noted", "refusing", "allowing"]), wanted, "{name}");
            assert!(reports(&agent, "default/allowing", "dry_run_deny") >= 1.0, "bob would not be let in");
            let last = |client: &str| {
                let fits = |line: &Value| {
                    line["direction"] == "inbound" && line["dst.workload"] == name && line["src.workload"] == client
                };
                until("a line", SOON, || agent.access_log().into_iter().rev().find(fits)).unwrap()
            };
            let line = last("alice");
            let told = line["policies"].as_str().unwrap_or_else(|| panic!("{line:#}"));
            let mut words: Vec<_> = told.split(", ").collect();
            words.sort_unstable();
            let all = ["audit default/noted", "dry_run_allow default/allowing", "dry_run_deny default/refusing"];
            let all = all.map(|one| one.replace(" ", " AuthorizationPolicy "));
            assert_eq!(
                (words, &line["response_flags"]),
                (all.iter().map(String::as_str).collect(), &"-".into()),
                "{line:#}"
            );
            assert_eq!(last("bob")["policies"], "dry_run_deny AuthorizationPolicy default/allowing");
        }
    });
}
