//! Secret and ConfigMap: keys and certificates that rules may name. Everything else in them is left where it is.

use super::item::{Meaning, Raw};
use super::notes::Notes;
use crate::model::{Credential, CredentialKind, Object};
use rustls_pki_types::pem::SliceIter;
use serde_json::Value;
use std::sync::Arc;

type Entry = (Arc<str>, Arc<[u8]>);

/// Reads one. Without an entry that may be a key or a certificate it means nothing.
pub fn read(kind: CredentialKind, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<Meaning> {
    let before = notes.errors();
    let mut entries: Vec<Entry> = Vec::new();
    if kind == CredentialKind::Secret {
        for (name, value) in texts(raw.value.get("data")) {
            match base64(value) {
                Some(bytes) => entries.push((name.into(), bytes.into())),
                None => {
                    let path = raw.path.key("data").key(name);
                    notes.invalid("invalid-value", &path, "is not base64; plain text belongs in `stringData`");
                }
            }
        }
    }
    let plain = if kind == CredentialKind::Secret { "stringData" } else { "data" };
    entries.extend(texts(raw.value.get(plain)).map(|(name, value)| (name.into(), value.as_bytes().into())));
    if notes.errors() > before {
        return None;
    }
    Some(Credential::new(entries).map_or(Meaning::Nothing, |found| Meaning::object(Object::Credential(found))))
}

fn texts(map: Option<&Value>) -> impl Iterator<Item = (&str, &str)> {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
}

/// Decodes by the PEM reader, which is at hand: PEM is base64 between two lines.
fn base64(text: &str) -> Option<Vec<u8>> {
    let body: String = text.split_whitespace().collect();
    if body.is_empty() {
        return Some(Vec::new());
    }
    let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let mut sections = SliceIter::new(pem.as_bytes());
    let (_, bytes): (rustls_pki_types::pem::SectionKind, Vec<u8>) = sections.next()?.ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_or_without_line_ends() {
        assert_eq!(base64("aGVsbG8=").as_deref(), Some(&b"hello"[..]));
        assert_eq!(base64("aGVs\n bG8=").as_deref(), Some(&b"hello"[..]));
        assert_eq!(base64("").as_deref(), Some(&b""[..]));
        assert_eq!(base64("*"), None);
    }
}
