//! Consistent hashes: what is hashed, and how keys are spread.

use super::{Reading, raw};
use crate::model::traffic_policy::{HashCookie, HashKey, HashTable};
use crate::source::path::Path;
use crate::source::{header, quantity};
use std::sync::Arc;

/// Envoy's default in Istio.
const RING: u64 = 1024;
/// Envoy's largest ring.
const LARGEST_RING: u32 = 8 << 20;
/// Envoy's default, a prime.
const MAGLEV: u64 = 65_537;
/// The largest prime that Envoy takes.
const LARGEST_MAGLEV: u32 = 5_000_011;

impl Reading<'_, '_> {
    /// What `consistentHash` says; none where it is wrong.
    pub fn consistent_hash(&mut self, raw: &raw::ConsistentHash, path: &Path) -> Option<(HashKey, HashTable)> {
        let key = self.hash_key(raw, path);
        let table = self.hash_table(raw, path);
        Some((key?, table?))
    }

    fn hash_key(&mut self, raw: &raw::ConsistentHash, path: &Path) -> Option<HashKey> {
        let said = [
            ("httpHeaderName", raw.http_header_name.is_some()),
            ("httpCookie", raw.http_cookie.is_some()),
            ("useSourceIp", raw.use_source_ip == Some(true)),
            ("httpQueryParameterName", raw.http_query_parameter_name.is_some()),
        ];
        let mut said = said.iter().filter(|(_, there)| *there).map(|(field, _)| *field);
        let Some(first) = said.next() else {
            let what =
                "says not what is hashed: write httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName";
            self.notes.error("missing-field", path, what);
            return None;
        };
        if let Some(second) = said.next() {
            self.notes.error("conflict", &path.key(second), format!("stands beside `{first}`: keep one of them"));
            return None;
        }
        match (&raw.http_header_name, &raw.http_cookie, &raw.http_query_parameter_name) {
            (Some(text), ..) => match header::name(text) {
                Ok(name) => Some(HashKey::Header(name)),
                Err(what) => {
                    self.notes.invalid("invalid-header", &path.key("httpHeaderName"), what);
                    None
                }
            },
            (_, Some(raw), _) => self.cookie(raw, &path.key("httpCookie")).map(HashKey::Cookie),
            (_, _, Some(name)) => Some(HashKey::QueryParameter(name.as_str().into())),
            _ => Some(HashKey::SourceIp),
        }
    }

    fn cookie(&mut self, raw: &raw::Cookie, path: &Path) -> Option<HashCookie> {
        if raw.name.is_empty() || raw.name.contains(['=', ';', ',', ' ']) {
            let what = "a cookie has a name, without blanks, `=`, `,` and `;`";
            self.notes.error("missing-field", &path.key("name"), what);
            return None;
        }
        let ttl = quantity::duration_or_zero(raw.ttl.as_ref(), &path.key("ttl"), self.notes);
        let mut attributes: Vec<Arc<str>> = Vec::with_capacity(raw.attributes.len());
        for (at, raw) in raw.attributes.iter().enumerate() {
            let text = match raw.value.as_str() {
                "" => raw.name.clone(),
                value => format!("{}={value}", raw.name),
            };
            if raw.name.is_empty() || text.contains(';') || header::value(&text).is_err() {
                let what = "an attribute has a name, and neither it nor its value a `;`";
                self.notes.error("invalid-value", &path.key("attributes").index(at), what);
            }
            attributes.push(text.into());
        }
        let cookie_path = (!raw.path.is_empty()).then(|| raw.path.as_str().into());
        Some(HashCookie { name: raw.name.as_str().into(), path: cookie_path, ttl, attributes })
    }

    fn hash_table(&mut self, raw: &raw::ConsistentHash, path: &Path) -> Option<HashTable> {
        let (old, ring, maglev) = (path.key("minimumRingSize"), path.key("ringHash"), path.key("maglev"));
        if raw.minimum_ring_size.is_some() {
            self.notes.warning("deprecated-field", &old, "is deprecated: write `ringHash: {minimumRingSize: ...}`");
        }
        let both = [raw.minimum_ring_size.is_some(), raw.ring_hash.is_some(), raw.maglev.is_some()];
        if both.iter().filter(|there| **there).count() > 1 {
            let at = if raw.maglev.is_some() { &maglev } else { &ring };
            self.notes.error("conflict", at, "there is more than one kind of table: keep one of them");
            return None;
        }
        if let Some(raw) = &raw.maglev {
            return self.maglev(raw.table_size, &maglev.key("tableSize"));
        }
        let (size, path) = match &raw.ring_hash {
            Some(raw) => (raw.minimum_ring_size, ring.key("minimumRingSize")),
            None => (raw.minimum_ring_size, old),
        };
        let size = size.filter(|size| *size != 0);
        let minimum = quantity::count(size, 1..=LARGEST_RING, &path, self.notes);
        Some(HashTable::Ring { minimum: minimum.map_or(RING, u64::from) })
    }

    fn maglev(&mut self, size: Option<i64>, path: &Path) -> Option<HashTable> {
        let size = size.filter(|size| *size != 0);
        let found = quantity::count(size, 2..=LARGEST_MAGLEV, path, self.notes);
        let table = found.map_or(MAGLEV, u64::from);
        if !is_prime(table) {
            let next = (table..).find(|number| is_prime(*number)).unwrap_or(MAGLEV);
            self.notes.invalid("invalid-value", path, format!("{table} is not a prime number: the next is {next}"));
            return None;
        }
        Some(HashTable::Maglev { size: table })
    }
}

fn is_prime(number: u64) -> bool {
    number >= 2 && (2..).take_while(|factor| factor * factor <= number).all(|factor| !number.is_multiple_of(factor))
}
