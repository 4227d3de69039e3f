//! What clients say first, and who peers say they are.

use underpass::relay::first_words::tell;
use underpass::vocab::SpiffeId;

/// What is clear stays what it is, whatever follows.
pub fn first_words(bytes: &[u8]) {
    let whole = tell(bytes);
    if let Some(early) = tell(&bytes[..bytes.len() / 2]) {
        assert_eq!(whole, Some(early), "more bytes changed what was clear");
    }
}

/// What is read is what was written.
pub fn identities(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(id) = text.parse::<SpiffeId>() {
        assert_eq!(id.to_string(), text);
    }
}
