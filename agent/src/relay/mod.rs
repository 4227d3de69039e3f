//! Moving what goes through: bytes, or requests.

pub mod first_words;
pub mod http;
pub mod rewound;
pub mod tcp;
