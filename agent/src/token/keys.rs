//! A JSON Web Key Set, as far as it can verify signatures.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use thiserror::Error;

/// The keys of one issuer.
#[derive(Debug)]
pub struct Keys(Box<[Key]>);

/// One key, and what it may be used for.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// Why a text is no usable key set.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KeysError {
    /// It is no JSON, or no object with a list `keys`.
    #[error("it is no JSON Web Key Set: {0}")]
    Syntax(String),
    /// None of its keys can verify.
    #[error("it has no key for RS, PS, ES or EdDSA signatures")]
    Empty,
}

impl Keys {
    /// Reads a key set. Keys of other kinds (`oct`, encryption) are passed over.
    ///
    /// # Errors
    /// It is no key set, or holds no key that can be used.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let set: Value = serde_json::from_str(text).map_err(|error| KeysError::Syntax(error.to_string()))?;
        let Some(keys) = set.get("keys").and_then(Value::as_array) else {
            return Err(KeysError::Syntax("the list `keys` is missing".to_owned()));
        };
        let keys: Box<[Key]> = keys.iter().filter_map(Key::read).collect();
        if keys.is_empty() { Err(KeysError::Empty) } else { Ok(Self(keys)) }
    }

    /// The keys that may have made a signature: a key without an id may be any.
    pub(super) fn candidates(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        let named = move |key: &&Key| id.is_none() || key.id.is_none() || key.id.as_deref() == id;
        self.0.iter().filter(named).filter(move |key| key.algorithms.contains(&algorithm))
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
            return None;
        }
        let kind = kind(&jwk.algorithm)?;
        let algorithms = match jwk.common.key_algorithm {
            Some(named) => kind.iter().copied().filter(|one| KeyAlgorithm::from(*one) == named).collect(),
            None => kind.to_vec(),
        };
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id.filter(|id| !id.is_empty()), algorithms, key })
            .filter(|key| !key.algorithms.is_empty())
    }
}

/// The algorithms of a kind of keys. There is no `oct`: a secret has no place in a public set.
fn kind(parameters: &AlgorithmParameters) -> Option<&'static [Algorithm]> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match parameters {
        AlgorithmParameters::RSA(_) => Some(&[RS256, RS384, RS512, PS256, PS384, PS512]),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(&[ES256]),
            EllipticCurve::P384 => Some(&[ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(key) => (key.curve == EllipticCurve::Ed25519).then_some(&[EdDSA]),
        _ => None,
    }
}
