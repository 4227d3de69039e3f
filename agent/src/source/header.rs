//! Checks of header names and values that users write. Each error says what would be right.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue};

/// Where a message ends and who speaks to whom: not a rule's to change.
const FRAMING: &[HeaderName] = &[CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE];

/// A header's name.
pub fn name(text: &str) -> Result<HeaderName, String> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| match text.strip_prefix(':') {
        Some(_) => format!("`{text}` is not a header but a part of the request line, which has fields of its own"),
        None => format!("`{text}` is not a header name: a-z, 0-9 and `-`"),
    })
}

/// The name of a header that a rule may change.
pub fn changeable(text: &str) -> Result<HeaderName, String> {
    let name = name(text)?;
    match FRAMING.contains(&name) {
        true => Err(format!("`{text}` says how the message is carried, and is the mesh's own to write: leave it out")),
        false => Ok(name),
    }
}

/// A header's value.
pub fn value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text)
        .map_err(|_| format!("{text:?} cannot be a header's value: it is visible text on one line"))
}
