//! Moving what goes through: bytes, or requests.

pub mod first_words;
pub mod http;
pub mod proxy_protocol;
pub mod rewound;
pub mod tcp;
