//! Cases of requests as a table: what is sent, what must arrive and what must come back.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::time::{Duration, Instant};

use serde_json::Value;
use underpass_tests::Lab;

/// What curl got.
pub struct Answer {
    /// The status.
    pub status: String,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// How long it took.
    pub took: Duration,
}

impl Answer {
    /// One request from a pod.
    pub fn to(lab: &Lab, pod: &str, url: &str, more: &[&str]) -> Self {
        let began = Instant::now();
        let words = [&["curl", "-sS", "-i", "-m", "8", "-g"], more, &[url]].concat();
        let text = lab.exec_ok(pod, &words).unwrap_or_else(|error| panic!("{url} {more:?}: {error:#}"));
        let took = began.elapsed();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        Self { status, headers: lines.filter_map(header).collect(), body: body.to_owned(), took }
    }

    /// What a word of a table stands for: `status`, `body`, `path`, `version`, `<NAME` (a header of the answer),
    /// `>NAME` (a header that the application saw) or another field of what the application says.
    pub fn says(&self, what: &str) -> String {
        if let Some(name) = what.strip_prefix('<') {
            let values = self.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
            return values.collect::<Vec<_>>().join(", ");
        }
        match what {
            "status" => return self.status.clone(),
            "body" => return self.body.trim_end().to_owned(),
            _ => {}
        }
        let seen: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let value = match what.strip_prefix('>') {
            Some(name) => &seen["headers"][name],
            None => &seen[what],
        };
        value.as_str().unwrap_or_default().to_owned()
    }
}

/// One rule, what is asked of it, and what that must lead to.
pub struct Case {
    /// The field that it is about.
    pub field: &'static str,
    /// The rest of the match, after the path's prefix, in YAML's flow style.
    pub matching: &'static str,
    /// What the rule does, in flow style; `{to}` is a route to version 2.
    pub action: &'static str,
    /// Requests: curl's words and the path below the rule's own, then what is expected.
    pub asks: &'static [Ask],
}

/// Curl's words, the path below the rule's own, and pairs of [`Answer::says`] and what it must say.
pub type Ask = (&'static [&'static str], &'static str, &'static [(&'static str, &'static str)]);

impl Case {
    /// Its own path, so that all cases fit in one VirtualService.
    pub fn path(&self, at: usize) -> String {
        format!("/c{at:02}")
    }

    /// Its rule.
    pub fn rule(&self, at: usize) -> String {
        let comma = if self.matching.is_empty() { "" } else { ", " };
        let to = "route: [{destination: {host: shop, subset: v2}}]";
        let (path, matching, action) = (self.path(at), self.matching, self.action.replace("{to}", to));
        let matching = if matching.contains("uri:") {
            matching.replace("{path}", &path)
        } else {
            format!("uri: {{prefix: {path}}}{comma}{matching}")
        };
        format!("  - match: [{{{matching}}}]\n    {}\n", action.replace("{path}", &path).replace('\n', "\n    "))
    }

    /// It as an HTTPRoute of its own, for the Service `shop`; `{to}` leads to the Service
    /// `shop-v2`, `{strip}` takes the rule's own path away.
    pub fn http_route(&self, at: usize) -> String {
        let path = self.path(at);
        let comma = if self.matching.is_empty() { "" } else { ", " };
        let matching = if self.matching.contains("path:") {
            self.matching.replace("{path}", &path)
        } else {
            format!("path: {{type: PathPrefix, value: {path}}}{comma}{}", self.matching)
        };
        let strip =
            "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]\n";
        let action = self.action.replace("{to}", "backendRefs: [{name: shop-v2, port: 8080}]");
        let action = action.replace("{path}", &path).replace("{strip}", strip);
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: c{at:02}}}\nspec:\n  \
             parentRefs: [{{group: '', kind: Service, name: shop, port: 8080}}]\n  rules:\n  - matches: [{{{matching}}}]\n    {}\n",
            action.replace('\n', "\n    ")
        )
    }

    /// Asks, and says what was otherwise than expected.
    pub fn complaints(&self, lab: &Lab, pod: &str, base: &str, at: usize) -> Vec<String> {
        let mut complaints = Vec::new();
        for (words, below, expected) in self.asks {
            let url = format!("{base}{}{below}", self.path(at));
            let answer = Answer::to(lab, pod, &url, words);
            for (what, wanted) in *expected {
                let wanted = wanted.replace("{path}", &self.path(at));
                let said = answer.says(what);
                if said != wanted {
                    let seen: String =
                        format!("{:?}", (&answer.status, &answer.headers, &answer.body)).chars().take(300).collect();
                    complaints
                        .push(format!("{} {words:?} {below}: {what} is {said:?}, not {wanted:?}: {seen}", self.field));
                }
            }
        }
        complaints
    }
}

/// Runs all cases of a table, which are in force.
pub fn check(lab: &Lab, pod: &str, base: &str, cases: &[Case]) {
    let complaints: Vec<String> =
        cases.iter().enumerate().flat_map(|(at, case)| case.complaints(lab, pod, base, at)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
