//! One case, once: iperf3 and wrk in the client's pod, the agents' processor time beside them.

use anyhow::{Context, Result};
use serde_json::Value;
use underpass_tests::{Agent, Lab};

use super::figures::Figures;
use super::scene::Case;

/// Measures everything that has a meaning for the case.
///
/// # Errors
/// A program that measures fails or prints what is not understood.
pub fn case(lab: &Lab, case: Case, seconds: u32) -> Result<Figures> {
    let path = Path { lab, case, host: case.host(lab)?, agents: case.agents(lab)?, seconds };
    let mut figures = Figures::default();
    // iperf3 speaks no HTTP: on a route it would measure something else.
    if case != Case::L7 {
        path.bulk(&mut figures)?;
    }
    path.requests(&mut figures)?;
    let resident: u64 = path.agents.iter().map(Agent::resident_bytes).max().unwrap_or(0);
    if !path.agents.is_empty() {
        figures.set("agent_rss_mb", resident as f64 / 1e6);
    }
    Ok(figures)
}

/// What requests cost.
pub struct Cost {
    /// Requests per second.
    pub per_second: f64,
    /// Processor time of the client's agent for each, in microseconds.
    pub cpu_us: f64,
}

/// Requests by a route, and what they cost the agent that decides.
///
/// # Errors
/// wrk fails or prints what is not understood.
pub fn requests(lab: &Lab, seconds: u32) -> Result<Cost> {
    let case = Case::L7;
    let path = Path { lab, case, host: case.host(lab)?, agents: vec![lab.agent("east", "east-1")?], seconds };
    let before = path.cpu();
    let answered = path.wrk("2", "16", &[])?;
    Ok(Cost { per_second: answered.per_second, cpu_us: (path.cpu() - before) / answered.total * 1e6 })
}

struct Path<'a> {
    lab: &'a Lab,
    case: Case,
    host: String,
    agents: Vec<Agent>,
    seconds: u32,
}

/// What wrk says.
struct Answered {
    p50_us: f64,
    p99_us: f64,
    per_second: f64,
    total: f64,
}

impl Path<'_> {
    fn bulk(&self, figures: &mut Figures) -> Result<()> {
        let before = self.cpu();
        let mut bytes = 0.0;
        for (key, streams) in [("bulk1_gbps", "1"), ("bulk4_gbps", "4")] {
            let seen = self.iperf3(streams)?;
            let sum = |name: &str| seen.pointer(&format!("/end/sum_received/{name}")).and_then(Value::as_f64);
            figures.set(key, sum("bits_per_second").context("iperf3 prints no rate")? / 1e9);
            bytes += sum("bytes").unwrap_or(0.0);
        }
        if !self.agents.is_empty() && bytes > 0.0 {
            figures.set("agent_cpu_s_per_gb", (self.cpu() - before) / (bytes / 1e9));
        }
        Ok(())
    }

    fn requests(&self, figures: &mut Figures) -> Result<()> {
        let before = self.cpu();
        let one = self.wrk("1", "1", &[])?;
        let sixteen = self.wrk("2", "16", &[])?;
        let many = self.wrk("2", "64", &[])?;
        let total = one.total + sixteen.total + many.total;
        if !self.agents.is_empty() && total > 0.0 {
            figures.set("agent_cpu_s_per_1000_requests", (self.cpu() - before) / (total / 1000.0));
        }
        let close = self.wrk("2", "8", &["-H", "Connection: close"])?;
        figures.set("c1_p50_us", one.p50_us);
        figures.set("c1_p99_us", one.p99_us);
        figures.set("c1_rps", one.per_second);
        figures.set("c16_rps", sixteen.per_second);
        figures.set("c64_rps", many.per_second);
        figures.set("c64_p99_us", many.p99_us);
        figures.set("close_rps", close.per_second);
        Ok(())
    }

    fn iperf3(&self, streams: &str) -> Result<Value> {
        let seconds = self.seconds.to_string();
        let words = ["iperf3", "-c", &self.host, "-p", "5201", "-t", &seconds, "-P", streams, "-J"];
        let text = self.lab.exec_ok(self.case.client(), &words)?;
        Ok(serde_json::from_str(&text)?)
    }

    fn wrk(&self, threads: &str, connections: &str, more: &[&str]) -> Result<Answered> {
        let (url, seconds) = (format!("http://{}:8080/", self.host), format!("{}s", self.seconds));
        let words = ["wrk", "-t", threads, "-c", connections, "-d", &seconds, "--latency", &url];
        let words: Vec<&str> = words.into_iter().chain(more.iter().copied()).collect();
        let text = self.lab.exec_ok(self.case.client(), &words)?;
        if let Some(line) = text.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx")) {
            eprintln!("  {} -c {connections}: {}", self.case.name(), line.trim());
        }
        answered(&text).with_context(|| text)
    }

    fn cpu(&self) -> f64 {
        self.agents.iter().map(Agent::cpu_seconds).sum()
    }
}

fn answered(text: &str) -> Option<Answered> {
    let after = |label: &str| {
        let line = text.lines().map(str::trim).find(|line| line.starts_with(label))?;
        line.split_whitespace().find(|word| *word != label)
    };
    let total = text.lines().find_map(|line| line.split_once(" requests in "))?.0;
    Some(Answered {
        p50_us: micros(after("50%")?)?,
        p99_us: micros(after("99%")?)?,
        per_second: after("Requests/sec:")?.parse().ok()?,
        total: total.trim().parse().ok()?,
    })
}

fn micros(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_is_understood() {
        let text = "Running 1s test\n  Latency Distribution\n     50%   62.00us\n     75%  70.00us\n     99%    1.50ms\n  \
                    15000 requests in 1.00s, 2.1MB read\nRequests/sec:  14988.12\nTransfer/sec: 2MB\n";
        let answered = answered(text).unwrap();
        assert_eq!((answered.p50_us, answered.p99_us), (62.0, 1500.0));
        assert_eq!((answered.per_second, answered.total), (14988.12, 15000.0));
    }
}
