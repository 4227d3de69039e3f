//! An explanation for people.

use serde_json::Value;
use std::fmt::Write;

/// The whole answer as text.
pub fn text(answer: &Value) -> String {
    let mut text = String::new();
    head(answer, &mut text);
    put(&mut text, format_args!("\nwho governs it, the first that has rules\n"));
    for row in list(&answer["precedence"]) {
        let mark = if row["inForce"] == true { "->" } else { "  " };
        put(&mut text, format_args!("{mark} {}: {}\n", cell(&row["what"]), objects(row)));
    }
    if !list(&answer["rules"]).is_empty() {
        put(&mut text, format_args!("\nits rules, in the order in which they are tried\n"));
    }
    list(&answer["rules"]).iter().for_each(|row| rule(row, &mut text));
    put(&mut text, format_args!("\n{}\n", cell(&answer["outcome"]["what"])));
    lines(&answer["outcome"]["redirect"], &mut text);
    lines(&answer["outcome"]["steps"], &mut text);
    list(&answer["outcome"]["destinations"]).iter().for_each(|row| destination(row, &mut text));
    if !list(&answer["admission"]).is_empty() {
        put(&mut text, format_args!("\nwhether the pods' policies let it in\n"));
    }
    list(&answer["admission"]).iter().for_each(|row| admission(row, &mut text));
    text
}

fn admission(row: &Value, text: &mut String) {
    let word = if row["allowed"] == true { "allowed" } else { "denied" };
    put(text, format_args!("-> {word} at {}: {}\n", cell(&row["pods"]), cell(&row["why"])));
    for policy in list(&row["policies"]) {
        let dry = if policy["dryRun"] == true { ", dry run" } else { "" };
        let port = if policy["isForPort"] == true { "" } else { ", for other ports" };
        let (name, at, action) = (cell(&policy["policy"]), cell(&policy["at"]), cell(&policy["action"]));
        put(text, format_args!("   AuthorizationPolicy {name} ({at}; {action}{dry}{port})\n"));
        for rule in list(&policy["rules"]) {
            let verb = if rule["matches"] == true { "matches" } else { "does not match" };
            let why: Vec<String> = list(&rule["why"]).iter().map(cell).collect();
            let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; or ")) };
            put(text, format_args!("     {} {verb}{why}\n", cell(&rule["rule"])));
        }
    }
    lines(&row["told"], text);
}

fn head(answer: &Value, text: &mut String) {
    let (source, host) = (cell(&answer["source"]), cell(&answer["host"]));
    let (port, protocol) = (&answer["port"], cell(&answer["protocol"]));
    let what = match &answer["request"] {
        Value::Null => "a connection".to_owned(),
        request => format!("{} {}", cell(&request["method"]), cell(&request["target"])),
    };
    put(text, format_args!("{what} from {source} to {host}:{port} ({protocol})\n"));
}

fn objects(row: &Value) -> String {
    match list(&row["objects"]) {
        [] if row["inForce"] == true => "no rule has a say".to_owned(),
        [] => "-".to_owned(),
        objects => objects.iter().map(cell).collect::<Vec<_>>().join(", "),
    }
}

fn rule(row: &Value, text: &mut String) {
    let mark = if row["takes"] == true { "->" } else { "  " };
    let name = row["name"].as_str().map(|_| format!(" {}", cell(&row["name"]))).unwrap_or_default();
    let place = row["at"].as_str().map(|_| format!(" ({})", cell(&row["at"]))).unwrap_or_default();
    let verb = if row["takes"] == true { "takes it" } else { "does not" };
    let why: Vec<String> = list(&row["why"]).iter().map(cell).collect();
    put(text, format_args!("{mark} {}{name}{place} {verb}: {}\n", cell(&row["rule"]), why.join("; or ")));
}

fn destination(row: &Value, text: &mut String) {
    put(text, format_args!("-> {}% to {}", row["percent"].as_f64().unwrap_or_default(), cell(&row["to"])));
    for problem in ["problem", "broken"] {
        if row[problem].is_string() {
            put(text, format_args!(": {}\n", cell(&row[problem])));
            return;
        }
    }
    put(text, format_args!("; endpoints ready: {}, not ready: {}\n", row["endpoints"], row["unready"]));
    lines(&row["redirect"], text);
    lines(&row["steps"], text);
    let from = match &row["destinationRule"] {
        Value::Null => "no DestinationRule".to_owned(),
        rule => format!("DestinationRule {} ({})", cell(&rule["id"]), cell(&rule["at"])),
    };
    put(text, format_args!("   policy of {from}\n"));
    for (name, value) in row["policy"].as_object().into_iter().flatten() {
        put(text, format_args!("     {name}: {}\n", cell(value)));
    }
}

fn lines(value: &Value, text: &mut String) {
    match value {
        Value::Null => {}
        Value::Array(lines) => lines.iter().for_each(|line| put(text, format_args!("   {}\n", cell(line)))),
        line => put(text, format_args!("   {}\n", cell(line))),
    }
}

/// Columns under their titles, as wide as they need to be.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        put(&mut text, format_args!("{}\n", line.join("  ").trim_end()));
    }
    text
}

/// Names come from a cluster: a control character must not reach the terminal.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to a String does not fail");
}
