//! Answers of the agent as tables for people.

use serde_json::Value;
use std::fmt::Write;

/// A column: its title, and where in an object it is found; the first pointer that leads somewhere counts.
type Column = (&'static str, &'static [&'static str]);

const CONNECTIONS: &[Column] = &[
    ("ID", &["/id"]),
    ("DIRECTION", &["/direction"]),
    ("POD", &["/pod"]),
    ("PEER", &["/peer"]),
    ("SERVICE", &["/service"]),
    ("PROTOCOL", &["/protocol"]),
    ("TUNNEL", &["/tunnel"]),
    ("SECURITY", &["/security"]),
    ("KEY EXCHANGE", &["/tls/group"]),
    ("CIPHER", &["/tls/cipher"]),
    ("STAGE", &["/stage"]),
    ("SENT", &["/bytes_sent"]),
    ("RECEIVED", &["/bytes_received"]),
    ("SINCE", &["/since"]),
];

const WORKLOADS: &[Column] = &[
    ("CLUSTER", &["/id/cluster"]),
    ("NAMESPACE", &["/id/pod/namespace"]),
    ("NAME", &["/id/pod/name"]),
    ("ADDRESS", &["/addresses"]),
    ("NODE", &["/node"]),
    ("TUNNEL", &["/tunnel"]),
    ("READY", &["/ready"]),
    ("IDENTITY", &["/identity"]),
];

const CERTS: &[Column] = &[
    ("IDENTITY", &["/identity"]),
    ("STATE", &["/state"]),
    ("EXPIRES", &["/not_after"]),
    ("SERIAL", &["/serial"]),
    ("ALGORITHMS", &["/algorithms"]),
    ("SOURCE", &["/source"]),
    ("RENEWAL", &["/renewal"]),
];

const PODS: &[Column] = &[
    ("POD", &["/pod", "/name"]),
    ("CAPTURED", &["/captured", "/state"]),
    ("ADDRESS", &["/addresses", "/address"]),
    ("REASON", &["/reason", "/error"]),
];

const FINDINGS: &[Column] =
    &[("SEVERITY", &["/severity"]), ("CODE", &["/code"]), ("AT", &["/at"]), ("MESSAGE", &["/message"])];

/// The open connections.
pub fn connections(answer: &Value) -> String {
    let mut rows = rows(answer).to_vec();
    for row in &mut rows {
        let peer = peer(row);
        if let Some(row) = row.as_object_mut() {
            row.insert("peer".to_owned(), peer);
        }
    }
    render(CONNECTIONS, &rows)
}

/// The other end: by name where it is known.
fn peer(row: &Value) -> Value {
    let outbound = row["direction"] == "outbound";
    let side = if outbound { &row["destination"] } else { &row["source"] };
    let known = [&side["workload"], &side["address"], &row["original_destination"]];
    known.into_iter().find(|value| !value.is_null()).cloned().unwrap_or_default()
}

/// The workloads.
pub fn workloads(answer: &Value) -> String {
    render(WORKLOADS, rows(answer))
}

/// The certificates.
pub fn certs(answer: &Value) -> String {
    render(CERTS, rows(answer))
}

/// The agent's state.
pub fn status(answer: &Value) -> String {
    let mut text = String::new();
    let ready = if answer["ready"] == true { "yes" } else { "no" };
    let count = |key: &str| rows(&answer[key]).len();
    put(&mut text, format_args!("ready         {ready}\n"));
    for reason in rows(&answer["reasons"]) {
        put(&mut text, format_args!("              {}\n", cell(reason)));
    }
    put(&mut text, format_args!("connections   {}\n", answer["connections"]));
    put(&mut text, format_args!("certificates  {}\n", count("certs")));
    put(&mut text, format_args!("pods          {}\n", count("pods")));
    put(&mut text, format_args!("findings      {}\n", count("findings")));
    if count("pods") > 0 {
        put(&mut text, format_args!("\n{}", render(PODS, rows(&answer["pods"]))));
    }
    if count("findings") > 0 {
        put(&mut text, format_args!("\n{}", render(FINDINGS, rows(&answer["findings"]))));
    }
    text
}

fn rows(answer: &Value) -> &[Value] {
    answer.as_array().map_or(&[], Vec::as_slice)
}

fn render(columns: &[Column], rows: &[Value]) -> String {
    let mut cells: Vec<Vec<String>> = vec![columns.iter().map(|(title, _)| (*title).to_owned()).collect()];
    for row in rows {
        let find = |places: &[&str]| places.iter().find_map(|place| row.pointer(place)).map_or("-".to_owned(), cell);
        cells.push(columns.iter().map(|(_, places)| find(places)).collect());
    }
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        put(&mut text, format_args!("{}\n", line.join("  ").trim_end()));
    }
    text
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        // Names come from a cluster: a control character must not reach the terminal.
        Value::String(text) => text.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to a String does not fail");
}
