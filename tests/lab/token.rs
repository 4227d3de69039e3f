//! An issuer of tokens for the lab tests.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// A key with its name.
pub struct Issuer {
    key: KeyPair,
    id: &'static str,
}

impl Issuer {
    /// A new key.
    pub fn new(id: &'static str) -> Self {
        Self { key: KeyPair::generate_for(&PKCS_ED25519).unwrap(), id }
    }

    /// The key set that verifies its tokens.
    pub fn jwks(&self) -> String {
        let x = BASE64.encode(self.key.der_bytes());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": self.id, "x": x }] }).to_string()
    }

    /// A token that says this, beside an end in ten minutes.
    pub fn token(&self, claims: &Value) -> String {
        let mut all = json!({ "iss": "iss.example", "exp": now() + 600 });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let part = |value: &Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({ "alg": "EdDSA", "kid": self.id })), part(&all));
        let signature = self.key.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64.encode(signature))
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
