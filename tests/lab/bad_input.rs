//! Bad manifests: each is named by file and line, what was good stays in force, everything else keeps working.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use underpass_tests::store::{Store, write_whole};
use underpass_tests::{Lab, until};

use crate::pair::{self, CLIENT, SOON, Steps, finding, logged, no_finding, others_work, status, versions};

const WEB_URL: &str = "http://web:8080/";

#[test]
fn bad_manifests() -> Result<()> {
    let mut lab = pair::up("bad")?;
    let mut steps = Steps::default();
    steps.step("a syntax error: what was last good stays in force", || syntax_error(&mut lab));
    steps.step("an unknown kind", || unknown_kind(&mut lab));
    steps.step("a route to a missing subset answers 503", || missing(&mut lab, "web, subset: v9", "missing-subset"));
    steps.step("a route to a missing host answers 503", || missing(&mut lab, "nowhere", "missing-host"));
    steps.step("a tcp route to a missing subset resets", || missing_for_tcp(&mut lab));
    steps.step("weights that do not add up", || weights(&mut lab));
    steps.step("an object of another shape is refused alone", || wrong_shape(&mut lab));
    steps.finish(&lab);
    Ok(())
}

fn routes(destinations: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: web}}\nspec:\n  hosts: [web]\n  \
         http:\n  - route:\n{destinations}"
    )
}

fn only(subset: &str) -> String {
    routes(&format!("    - destination: {{host: web, subset: {subset}}}\n"))
}

fn file(lab: &Lab) -> Result<PathBuf> {
    Ok(Store::open(lab.record.manifests("east"))?.path("default", "VirtualService", "web"))
}

/// Waits until one version answers everything.
fn answered_by(lab: &Lab, version: &str) -> Result<()> {
    until(&format!("{version} answers"), SOON, || {
        (versions(lab, WEB_URL, 20).ok()? == json!({version: 20})).then_some(())
    })
}

fn syntax_error(lab: &mut Lab) -> Result<()> {
    lab.apply_text("east", &only("v1"), "web")?;
    answered_by(lab, "v1")?;
    // Line 7: the bracket is never closed.
    let broken = only("v2").replace("  http:\n", "  http: [\n");
    write_whole(&file(lab)?, broken.as_bytes())?;
    let agent = lab.agent_of(CLIENT)?;
    let found = finding(&agent, "syntax")?;
    let place = found["at"].as_str().unwrap_or_default();
    ensure!(place.contains("default/virtualservice/web.yaml:") && found["severity"] == "error", "{found}");
    let line: u32 = place.split(':').nth(1).and_then(|line| line.parse().ok()).context("no line")?;
    ensure!((6..=8).contains(&line), "the error is in line 6 or 7: {found}");
    let log = std::fs::read_to_string(&agent.record.log)?;
    ensure!(log.contains(place), "the log does not name {place}");
    let gauge = agent.metrics()?.sum("underpass_config_findings", &[("severity", "error")]);
    ensure!(gauge >= 1.0, "underpass_config_findings is {gauge}");
    ensure!(versions(lab, WEB_URL, 20)? == json!({"v1": 20}), "the last good routes are not in force");
    others_work(lab)?;
    write_whole(&file(lab)?, only("v2").as_bytes())?;
    answered_by(lab, "v2")?;
    no_finding(&agent, "syntax")
}

fn unknown_kind(lab: &mut Lab) -> Result<()> {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata: {name: odd}\nspec: {}\n";
    lab.apply_text("east", text, "odd")?;
    let agent = lab.agent_of(CLIENT)?;
    let found = finding(&agent, "unknown-kind")?;
    let (at, message) = (found["at"].as_str().unwrap_or_default(), found["message"].as_str().unwrap_or_default());
    ensure!(at.contains("odd.yaml:2:"), "{found}");
    ensure!(message.contains("VirtualService"), "what was meant is not said: {found}");
    others_work(lab)?;
    lab.delete_text("east", text, "odd")?;
    no_finding(&agent, "unknown-kind")
}

/// The first rule is good, the second names what is not there.
fn missing(lab: &mut Lab, destination: &str, code: &str) -> Result<()> {
    let text = routes("    - destination: {host: web, subset: v1}\n");
    let good = "  - match: [{uri: {prefix: /good}}]\n    route:";
    let text =
        text.replacen("  - route:", good, 1) + &format!("  - route:\n    - destination: {{host: {destination}}}\n");
    lab.apply_text("east", &text, "web")?;
    let agent = lab.agent_of(CLIENT)?;
    let found = finding(&agent, code)?;
    ensure!(found["at"].as_str().is_some_and(|at| at.contains("virtualservice/web.yaml:")), "{found}");
    let before = agent.access_log().len();
    until("503", SOON, || (status(lab, CLIENT, WEB_URL).ok()? == 503).then_some(()))?;
    let line = logged(&agent, before, |line| line["status"] == 503)?;
    ensure!(line["response_flags"] == "NC" && line["dst.service"] == "web.default.svc.cluster.local", "{line}");
    let labels = [("response_code", "503"), ("response_flags", "NC"), ("reporter", "source")];
    ensure!(agent.metrics()?.sum("istio_requests_total", &labels) >= 1.0, "no metric with {labels:?}");
    ensure!(status(lab, CLIENT, "http://web:8080/good")? == 200, "the good rule suffers");
    others_work(lab)?;
    lab.apply_text("east", &only("v1"), "web")?;
    no_finding(&agent, code)?;
    answered_by(lab, "v1")
}

fn missing_for_tcp(lab: &mut Lab) -> Result<()> {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: other}\nspec:\n  \
                hosts: [other]\n  tcp:\n  - match: [{port: 9000}]\n    route:\n    - destination: {host: other, subset: v9}\n";
    lab.apply_text("east", text, "other")?;
    let agent = lab.agent_of(CLIENT)?;
    finding(&agent, "missing-subset")?;
    let before = agent.access_log().len();
    let to = (pair::service(lab, "other")?[0], 9000).into();
    let reset = until("the connection is reset", SOON, || {
        let (data, end) = pair::drained(&mut pair::connect(lab, CLIENT, to).ok()?);
        (data.is_empty() && end.is_err()).then_some(end)
    })?;
    let kind = reset.err().map(|error| error.kind());
    ensure!(kind == Some(std::io::ErrorKind::ConnectionReset), "{kind:?}");
    let line = logged(&agent, before, |line| line["response_flags"] == "NC")?;
    ensure!(line["stage"] == "route" && line["error"].as_str().is_some_and(|e| e.contains("v9")), "{line}");
    others_work(lab)?;
    lab.delete_text("east", text, "other")?;
    no_finding(&agent, "missing-subset")
}

fn weights(lab: &mut Lab) -> Result<()> {
    let text = routes(
        "    - {destination: {host: web, subset: v1}, weight: 30}\n    - {destination: {host: web, subset: v2}, weight: 10}\n",
    );
    lab.apply_text("east", &text, "web")?;
    let agent = lab.agent_of(CLIENT)?;
    let found = finding(&agent, "weights-not-100")?;
    let message = found["message"].as_str().unwrap_or_default();
    ensure!(found["severity"] == "warning" && message.contains("75") && message.contains("25"), "{found}");
    until("both answer", SOON, || versions(lab, WEB_URL, 20).ok()?.get("v2").map(drop))?;
    // 400 requests at 3/4: the 99.99 % bounds of the binomial are 300 +- 34.
    let share = versions(lab, WEB_URL, 400)?["v1"].as_u64().unwrap_or(0);
    ensure!((266..=334).contains(&share), "v1 had {share} of 400");
    lab.apply_text("east", &only("v1"), "web")?;
    no_finding(&agent, "weights-not-100")
}

fn wrong_shape(lab: &mut Lab) -> Result<()> {
    let text = only("v2").replace("hosts: [web]", "hosts: {web: true}");
    lab.apply_text("east", &text, "web")?;
    let agent = lab.agent_of(CLIENT)?;
    let found = until("a finding at line 5", SOON, || {
        let all = agent.admin("/findings").ok()?.as_array().cloned()?;
        all.into_iter().find(|finding| finding["at"].as_str().is_some_and(|at| at.contains("web.yaml:5:")))
    })?;
    ensure!(found["severity"] == "error", "{found}");
    ensure!(versions(lab, WEB_URL, 20)? == json!({"v1": 20}), "the last good routes are not in force");
    others_work(lab)?;
    lab.apply_text("east", &only("v1"), "web")
}
