//! `--only config`: what configuration costs as the mesh grows, and what a request costs as its rules do.

pub mod changes;
mod manifests;

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Map, Value, json};
use underpass_tests::Lab;

use super::measure;
use changes::Measured;
use manifests::Size;

/// Sizes of the mesh, in quarters of the ordinary one.
const QUARTERS: [u32; 4] = [1, 4, 8, 16];
/// Lengths of the list of rules that a request is held against, which only its last rule fits.
const RULES: [usize; 3] = [1, 10, 1000];

/// Rules, and what a request costs beside them.
type Decisions = Vec<(usize, Measured)>;

/// Measures, prints the tables, returns the JSON.
///
/// # Errors
/// The agent does not start, or does not see a change.
pub fn run(lab: &mut Lab, seconds: u32) -> Result<Value> {
    let decisions = decisions(lab, seconds)?;
    // The others would only take processor time from the one that is measured.
    for agent in lab.agents().iter().filter(|agent| agent.record.node != "east-1") {
        agent.stop(Duration::from_secs(10));
    }
    let dir = lab.record.manifests("east").join("scale");
    let mut sizes = Vec::new();
    for quarters in QUARTERS {
        let size = Size::quarters(quarters);
        eprintln!("config: {} services, {} routes ...", size.services, size.routes);
        sizes.push(changes::measure(lab, &dir, size)?);
    }
    print!("{}", table(&sizes, &decisions));
    Ok(report(&sizes, &decisions))
}

fn decisions(lab: &mut Lab, seconds: u32) -> Result<Decisions> {
    let mut all = Vec::new();
    for rules in RULES {
        eprintln!("config: requests beside {rules} rules ...");
        lab.apply_text("east", &routed(rules), "bench-rules")?;
        // Until the agents have read it.
        std::thread::sleep(Duration::from_millis(500));
        let cost = measure::requests(lab, seconds)?;
        all.push((rules, vec![("rps", cost.per_second), ("agent_cpu_us_per_request", cost.cpu_us)]));
    }
    Ok(all)
}

/// Rules of which only the last fits a request for `/`.
fn routed(rules: usize) -> String {
    let mut text = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routed}
spec:
  hosts: [routed]
  http:
"
    .to_owned();
    for n in 1..rules {
        // Writing to a string does not fail.
        let _ =
            writeln!(text, "  - {{match: [{{uri: {{prefix: /r{n}/}}}}], route: [{{destination: {{host: routed}}}}]}}");
    }
    text + "  - {match: [{uri: {prefix: /}}], route: [{destination: {host: routed}}]}\n"
}

/// A row for each figure, a column for each size; beside it how many times that of the ordinary size it is.
fn table(sizes: &[Measured], decisions: &Decisions) -> String {
    let mut text =
        "\none agent process, its manifests in files; a burst of changes is waited out for 20 ms\n".to_owned();
    let ordinary = QUARTERS.iter().position(|quarters| *quarters == 4).unwrap_or(0);
    for (row, (name, one)) in sizes[ordinary].iter().enumerate() {
        let _ = write!(text, "{name:30}");
        for values in sizes {
            let value = values[row].1;
            let _ = write!(text, "{:>20}", format!("{} ({:.2}x)", shown(value), value / one));
        }
        text.push('\n');
    }
    text.push_str("\nrequests, by the number of rules before the one that fits\n");
    for (rules, values) in decisions {
        let _ = write!(text, "{:30}", format!("{rules} rules"));
        for (name, value) in values {
            let _ = write!(text, "  {name} {}", shown(*value));
        }
        text.push('\n');
    }
    text
}

fn shown(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn report(sizes: &[Measured], decisions: &Decisions) -> Value {
    let decisions = decisions.iter().map(|(rules, values)| {
        let mut one = object(values);
        one.insert("rules".to_owned(), json!(rules));
        one
    });
    json!({
        "sizes": sizes.iter().map(object).collect::<Vec<_>>(),
        "decisions": decisions.collect::<Vec<_>>(),
    })
}

fn object(values: &Measured) -> Map<String, Value> {
    values.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_compares_with_the_ordinary_size() {
        let sizes: Vec<Measured> = [2.0, 2.0, 3.0, 4.0].iter().map(|value| vec![("rss_mb", *value)]).collect();
        let text = table(&sizes, &vec![(10, vec![("rps", 9000.0)])]);
        assert!(text.contains("2.00 (1.00x)") && text.contains("4.00 (2.00x)") && text.contains("10 rules"), "{text}");
    }

    #[test]
    fn the_last_rule_is_the_one_that_fits() {
        let text = routed(3);
        assert_eq!(text.matches("route:").count(), 3);
        assert!(text.lines().last().unwrap().contains("prefix: /}"));
    }
}
