//! Routes: shares of requests and connections, and a change under load.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use underpass_tests::{Lab, until};

use super::outcome::Outcome;
use super::scene::{CLIENT, Scene};

const URL: &str = "http://reviews:9080/reviews/0";
const COUNT: u64 = 1000;

/// 1000 requests over an 80/20 route; both ends' metrics count them.
pub fn reviews(lab: &mut Lab, scene: &Scene, outcome: &mut Outcome) {
    let result = split_requests(lab, scene);
    let (share, metrics) = match result {
        Ok((share, metrics)) => (Ok(share), Ok(metrics)),
        Err(error) => (Err(anyhow::anyhow!("{error:#}")), Err(error)),
    };
    let expected =
        format!("{COUNT} requests, v1 80 % and v2 20 %: v2 {} (99.9 % bounds), none failed", bounds_text(0.2));
    outcome.add("reviews split 80/20 by a VirtualService", &expected, share);
    outcome.add(
        "metrics agree with the requests sent",
        &format!("istio_requests_total: source {COUNT}, destination {COUNT}"),
        metrics,
    );
}

fn split_requests(lab: &mut Lab, scene: &Scene) -> Result<((String, bool), (String, bool))> {
    lab.apply_file("east", &scene.reviews_split)?;
    until("the 80/20 route is in force", Duration::from_secs(10), || {
        let seen = load(lab, &["--requests", "20", "--concurrency", "20", "--timeout-ms", "1000"]).ok()?;
        (count(&seen, "v1") + count(&seen, "v2") == 20 && count(&seen, "v3") == 0).then_some(())
    })?;
    // The destination's agent hears of requests up to 100 ms later.
    std::thread::sleep(Duration::from_millis(500));
    let before = requests_counted(lab);
    let seen = load(lab, &["--requests", &COUNT.to_string(), "--concurrency", "4"])?;
    let counted = until("metrics count every request", Duration::from_secs(5), || {
        let now = requests_counted(lab);
        (now.0 - before.0 >= COUNT as f64 && now.1 - before.1 >= COUNT as f64).then_some(now)
    });
    let now = counted.unwrap_or_else(|_| requests_counted(lab));
    let (source, destination) = (now.0 - before.0, now.1 - before.1);
    let (v1, v2) = (count(&seen, "v1"), count(&seen, "v2"));
    let fits = within(v2, 0.2) && v1 + v2 == COUNT && seen["failed"] == 0;
    Ok((
        (format!("v1 {v1}, v2 {v2}, failed {}", seen["failed"]), fits),
        (format!("source {source}, destination {destination}"), source == COUNT as f64 && destination == COUNT as f64),
    ))
}

/// `istio_requests_total` for reviews, over all agents, by reporter.
fn requests_counted(lab: &Lab) -> (f64, f64) {
    let samples: Vec<_> = lab.agents().iter().filter_map(|agent| agent.metrics().ok()).collect();
    let sum = |reporter: &str| {
        let labels = [("reporter", reporter), ("destination_app", "reviews")];
        samples.iter().map(|samples| samples.sum("istio_requests_total", &labels)).sum()
    };
    (sum("source"), sum("destination"))
}

/// The route is replaced while requests run: none may fail, and then jason sees v2, everyone else v1.
pub fn live_switch(lab: &mut Lab, scene: &Scene, outcome: &mut Outcome) {
    outcome.add(
        "a route changed under load",
        "end-user jason only v2, others only v1, no request failed while it changed",
        switch(lab, scene),
    );
}

fn switch(lab: &mut Lab, scene: &Scene) -> Result<(String, bool)> {
    let jason = ["--header", "end-user: jason"];
    let running = [start(lab, &[])?, start(lab, &jason)?];
    std::thread::sleep(Duration::from_secs(1));
    lab.apply_file("east", &scene.reviews_test)?;
    let (mut sent, mut failed) = (0, 0);
    for child in running {
        let seen = finish(child)?;
        sent += seen["sent"].as_u64().unwrap_or(0);
        failed += seen["failed"].as_u64().unwrap_or(u64::MAX) + not_ok(&seen);
    }
    let mine = load(lab, &["--requests", "200", "--timeout-ms", "3000", "--header", "end-user: jason"])?;
    let others = load(lab, &["--requests", "200", "--timeout-ms", "3000"])?;
    let text = format!("{failed} of {sent} failed; then jason {}, others {}", mine["by_version"], others["by_version"]);
    Ok((text, failed == 0 && sent > 100 && count(&mine, "v2") == 200 && count(&others, "v1") == 200))
}

/// 1000 connections over an 80/20 `tcp` route.
pub fn tcp(lab: &Lab, outcome: &mut Outcome) {
    let expected = format!("{COUNT} connections, v2 {} (99.9 % bounds), none failed", bounds_text(0.2));
    let observed = lab
        .client(
            CLIENT,
            &[
                "tcp-load",
                "--address",
                "tcp-echo:9000",
                "--connections",
                "1000",
                "--concurrency",
                "8",
                "--timeout-ms",
                "3000",
            ],
        )
        .map(|seen| {
            let by = |prefix: &str| seen["by_prefix"][prefix].as_u64().unwrap_or(0);
            let fits = within(by("two"), 0.2) && by("one") + by("two") == COUNT && seen["failed"] == 0;
            (format!("v1 {}, v2 {}, failed {} {}", by("one"), by("two"), seen["failed"], seen["errors"]), fits)
        });
    outcome.add("a TCP service split 80/20 by a VirtualService tcp route", &expected, observed);
}

fn load(lab: &Lab, more: &[&str]) -> Result<Value> {
    let words: Vec<&str> = ["load", "--url", URL].into_iter().chain(more.iter().copied()).collect();
    lab.client(CLIENT, &words)
}

fn start(lab: &Lab, more: &[&str]) -> Result<Child> {
    let echo = lab.echo();
    let words = [
        echo.as_str(),
        "load",
        "--url",
        URL,
        "--seconds",
        "4",
        "--concurrency",
        "4",
        "--pause-ms",
        "1",
        "--timeout-ms",
        "5000",
    ];
    let words: Vec<&str> = words.into_iter().chain(more.iter().copied()).collect();
    Ok(lab.command(CLIENT, &words)?.stdout(Stdio::piped()).spawn()?)
}

fn finish(child: Child) -> Result<Value> {
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the client ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("the client prints JSON")
}

fn not_ok(seen: &Value) -> u64 {
    let statuses = seen["statuses"].as_object().into_iter().flatten();
    statuses.filter(|(status, _)| *status != "200").filter_map(|(_, count)| count.as_u64()).sum()
}

fn count(seen: &Value, version: &str) -> u64 {
    seen["by_version"][version].as_u64().unwrap_or(0)
}

/// The bounds between which 99.9 % of all runs fall: z = 3.2905 standard deviations.
fn bounds(share: f64) -> (f64, f64) {
    let (n, z) = (COUNT as f64, 3.2905);
    let spread = z * (n * share * (1.0 - share)).sqrt();
    (n * share - spread, n * share + spread)
}

fn bounds_text(share: f64) -> String {
    let (low, high) = bounds(share);
    format!("between {} and {}", low.ceil(), high.floor())
}

fn within(count: u64, share: f64) -> bool {
    let (low, high) = bounds(share);
    (low..=high).contains(&(count as f64))
}
