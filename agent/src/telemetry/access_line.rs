//! How an access log line looks: ztunnel's field names, in the same shape as the agent's own log lines.

use super::live::Live;
use super::logging::LogFormat;
use super::record::{Outcome, Party, Protocol, RequestRecord, Target};
use crate::vocab::Alpn;
use std::fmt::{self, Display, Write};
use std::time::{Duration, SystemTime};

/// Lines in the making, in one buffer that is used again.
#[derive(Debug)]
pub struct Line {
    text: String,
    json: bool,
}

impl Line {
    /// No line yet.
    pub fn new(format: LogFormat) -> Self {
        Self { text: String::new(), json: format == LogFormat::Json }
    }

    /// The lines.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text alone.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Gives them away and goes on with an empty buffer.
    pub fn swap(&mut self, other: &mut String) {
        std::mem::swap(&mut self.text, other);
    }

    /// Adds a line for a connection that ended; nothing changes it any more.
    pub fn connection(&mut self, live: &Live, outcome: &Outcome, ended: SystemTime) {
        let established = live.counted.lock().edge.is_some();
        let message = if established { "connection complete" } else { "connection failed" };
        self.begin(ended, outcome.is_failure(), message);
        let details = live.details.lock();
        self.place(live, &details.source, &details.target);
        self.word("protocol", details.protocol.as_str());
        let (bytes_sent, bytes_recv) = live.pod_bytes();
        self.number("bytes_sent", bytes_sent);
        self.number("bytes_recv", bytes_recv);
        self.word("response_flags", outcome.flag);
        if outcome.is_failure() {
            self.word("stage", outcome.stage.unwrap_or(details.stage));
        }
        if !details.told.is_empty() {
            self.word("policies", details.told.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        }
        self.end(live.opened.elapsed(), outcome.error.as_deref());
    }

    /// Adds a line for a request that ends now; `place` is the text that [`Line::place`] makes.
    pub fn request(&mut self, place: &str, record: &RequestRecord) {
        self.begin(SystemTime::now(), record.error.is_some(), "request complete");
        self.text.push_str(place);
        self.word("protocol", record.protocol.as_str());
        self.word("method", record.method.as_str());
        self.word("path", record.uri.path_and_query().map_or("/", |path| path.as_str()));
        let header = |value: &Option<http::HeaderValue>| {
            value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        self.maybe("authority", header(&record.authority));
        self.number("status", record.status.into());
        if record.protocol == Protocol::Grpc {
            self.maybe("grpc_status", record.grpc_status);
        }
        self.number("request_bytes", record.request_bytes);
        self.number("response_bytes", record.response_bytes);
        self.maybe("user_agent", header(&record.user_agent));
        self.maybe("request_id", header(&record.request_id));
        self.maybe("route", record.rule.as_deref());
        self.maybe("policies", record.policies.as_deref());
        if record.attempts > 1 {
            self.number("attempts", record.attempts.into());
        }
        self.word("response_flags", record.flag);
        self.end(record.duration, record.error.as_deref());
    }

    /// Adds the fields that connections and requests share.
    pub fn place(&mut self, live: &Live, source: &Party, target: &Target) {
        self.number("connection", live.id);
        self.word("pod", &live.pod);
        self.word("direction", live.direction.as_str());
        self.bare("src.addr", source.address);
        self.party(["src.workload", "src.namespace", "src.cluster", "src.identity"], Some(source));
        let hbone = target.tunnel.filter(|tunnel| tunnel.alpn == Alpn::Hbone);
        let destination = target.destination.as_ref().map_or(live.original.socket(), |party| party.address);
        // As ztunnel: `dst.addr` is where the TCP connection goes; where that is HBONE's port, the rest is in
        // `dst.hbone_addr`.
        self.bare("dst.addr", hbone.map_or(destination, |tunnel| tunnel.address));
        match (hbone, target.tunnel) {
            (Some(_), _) => self.bare("dst.hbone_addr", destination),
            (None, Some(tunnel)) => self.bare("dst.tunnel_addr", tunnel.address),
            (None, None) => {}
        }
        self.bare("dst.original", live.original);
        self.maybe("dst.service", target.service.as_ref().map(|service| &service.host));
        self.party(["dst.workload", "dst.namespace", "dst.cluster", "dst.identity"], target.destination.as_ref());
        self.maybe("tunnel", target.tunnel.map(|tunnel| tunnel.alpn.name()));
        self.maybe("security", target.security.map(|security| security.as_str()));
        if let Some(tls) = target.tls {
            self.word("tls.version", tls.version);
            self.word("tls.cipher", tls.cipher);
            self.word("tls.group", tls.group);
        }
    }

    fn party(&mut self, [workload, namespace, cluster, identity]: [&str; 4], party: Option<&Party>) {
        let Some(party) = party else { return };
        if let Some(known) = &party.workload {
            self.word(workload, &known.id.pod.name);
            self.word(namespace, &known.id.pod.namespace);
            self.word(cluster, &known.id.cluster);
        }
        self.maybe(identity, party.principal.as_ref());
    }

    fn begin(&mut self, at: SystemTime, failed: bool, message: &str) {
        let at = humantime::format_rfc3339_micros(at);
        let level = if failed { "ERROR" } else { " INFO" };
        if self.json {
            let level = level.trim_start();
            self.put(format_args!(r#"{{"timestamp":"{at}","level":"{level}","message":"{message}","target":"access""#));
            return;
        }
        self.put(format_args!("{at} {level} access: {message}"));
    }

    fn end(&mut self, duration: Duration, error: Option<&str>) {
        // ztunnel writes whole milliseconds; most requests here take less than one.
        let micros = duration.as_micros();
        self.word("duration", format_args!("{}.{:03}ms", micros / 1_000, micros % 1_000));
        self.maybe("error", error);
        self.text.push_str(if self.json { "}\n" } else { "\n" });
    }

    fn key(&mut self, key: &str) {
        if self.json {
            self.put(format_args!(",\"{key}\":"));
            return;
        }
        self.put(format_args!(" {key}="));
    }

    /// A quoted value.
    fn word(&mut self, key: &str, value: impl Display) {
        self.key(key);
        self.text.push('"');
        write!(Escape(&mut self.text), "{value}").expect("writing to a String does not fail");
        self.text.push('"');
    }

    fn maybe(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.word(key, value);
        }
    }

    /// An address: quoted in JSON only.
    fn bare(&mut self, key: &str, value: impl Display) {
        if self.json {
            return self.word(key, value);
        }
        self.key(key);
        self.put(format_args!("{value}"));
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.put(format_args!("{value}"));
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("writing to a String does not fail");
    }
}

/// Escapes as JSON does, and control characters of Unicode too: a path must not move a terminal's cursor or forge a
/// second line.
struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
            self.0.push_str(text);
            return Ok(());
        }
        while let Some((at, c)) = text.char_indices().find(|(_, c)| matches!(c, '"' | '\\') || c.is_control()) {
            self.0.push_str(&text[..at]);
            match c {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                '\n' => self.0.push_str("\\n"),
                '\t' => self.0.push_str("\\t"),
                '\r' => self.0.push_str("\\r"),
                c => write!(self.0, "\\u{:04x}", u32::from(c))?,
            }
            text = &text[at + c.len_utf8()..];
        }
        self.0.push_str(text);
        Ok(())
    }
}
