//! Tokens that are taken and tokens that are not; where they stand; what an application gets of them.

mod signer;

use super::*;
use crate::model::JwtRule;
use crate::model::request_authentication::{ClaimHeader, KeySource, Location};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use http::request::Parts;
use http::{HeaderName, Request};
use serde_json::{Value, json};
use signer::Signer;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn rule() -> JwtRule {
    JwtRule {
        issuer: Some("https://issuer".into()),
        audiences: [].into(),
        keys: KeySource::Inline("".into()),
        timeout: Duration::from_secs(5),
        locations: [].into(),
        required: false,
        forward: false,
        payload_header: None,
        claim_headers: [].into(),
        spaced_claims: [].into(),
    }
}

fn keys(all: &[Value]) -> Keys {
    Keys::parse(&json!({ "keys": all }).to_string()).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({ "iss": "https://issuer", "sub": "alice", "exp": now() + 600 })
}

fn with(key: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[key] = value.into();
    claims
}

#[test]
fn every_algorithm_with_its_own_kind_of_key() {
    let (rsa, p256, p384, ed) = (Signer::rsa(), Signer::p256(), Signer::p384(), Signer::ed());
    let all = keys(&[rsa.jwk("rsa"), p256.jwk("p256"), p384.jwk("p384"), ed.jwk("ed")]);
    for (signer, id, algorithms) in [
        (&rsa, "rsa", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        (&p256, "p256", &["ES256"]),
        (&p384, "p384", &["ES384"]),
        (&ed, "ed", &["EdDSA"]),
    ] {
        for algorithm in algorithms {
            for header in [json!({ "alg": algorithm, "kid": id }), json!({ "alg": algorithm })] {
                let verified = verify(&signer.sign(&header, &claims()), &rule(), &all);
                assert_eq!(
                    verified.map(|claims| claims.principal()),
                    Ok(Some("https://issuer/alice".to_owned())),
                    "{header}"
                );
            }
        }
    }
}

#[test]
fn claims_that_are_refused() {
    let signer = Signer::p256();
    let all = keys(&[signer.jwk("a")]);
    let audiences = JwtRule { audiences: ["books".into(), "https://shop/".into()].into(), ..rule() };
    let any_issuer = JwtRule { issuer: None, ..rule() };
    for (said, rule, expected) in [
        (with("exp", now() - 30), rule(), None),
        (with("exp", now() - 90), rule(), Some(TokenError::Expired)),
        (with("nbf", now() + 30), rule(), None),
        (with("nbf", now() + 90), rule(), Some(TokenError::TooEarly)),
        (with("exp", "soon"), rule(), Some(TokenError::Payload)),
        (json!({ "iss": "https://issuer", "sub": "a" }), rule(), None),
        (with("iss", "https://other"), rule(), Some(TokenError::Issuer)),
        (with("iss", json!(["https://issuer"])), rule(), Some(TokenError::Issuer)),
        (json!({ "sub": "a" }), rule(), Some(TokenError::Issuer)),
        (with("iss", "https://other"), any_issuer, None),
        (with("aud", "books"), rule(), None),
        (with("aud", "books"), audiences.clone(), None),
        (with("aud", json!(["x", "books"])), audiences.clone(), None),
        (with("aud", "http://shop"), audiences.clone(), None),
        (with("aud", "x"), audiences.clone(), Some(TokenError::Audience)),
        (with("aud", json!([])), audiences.clone(), Some(TokenError::Audience)),
        (with("aud", 7), audiences.clone(), Some(TokenError::Audience)),
        (claims(), audiences.clone(), Some(TokenError::Audience)),
    ] {
        let token = signer.sign(&json!({ "alg": "ES256", "kid": "a" }), &said);
        assert_eq!(verify(&token, &rule, &all).err(), expected, "{said}");
    }
}

#[test]
fn signatures_that_are_refused() {
    let (good, bad, rsa) = (Signer::p256(), Signer::p256(), Signer::rsa());
    let all = keys(&[good.jwk("a"), rsa.jwk("r")]);
    let header = json!({ "alg": "ES256", "kid": "a" });
    let token = good.sign(&header, &claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mine = BASE64.encode(with("sub", "mallory").to_string());
    let forged = format!("{}.{mine}.{signature}", token.split('.').next().unwrap());
    let none = format!("{}.{mine}.", BASE64.encode(r#"{"alg":"none"}"#));
    for (token, expected) in [
        (bad.sign(&header, &claims()), TokenError::Signature),
        (forged, TokenError::Signature),
        (none, TokenError::Algorithm),
        (format!("{signed}."), TokenError::Signature),
        (signed.to_owned(), TokenError::Form),
        (format!("{token}.x"), TokenError::Form),
        ("".to_owned(), TokenError::Form),
        (good.sign(&json!({ "alg": "ES256", "kid": "z" }), &claims()), TokenError::UnknownKey),
        (rsa.sign(&json!({ "alg": "RS256", "kid": "a" }), &claims()), TokenError::UnknownKey),
        (good.sign(&json!({ "alg": "ES256", "kid": "a", "crit": ["x"] }), &claims()), TokenError::Signature),
        (good.sign(&json!({ "alg": "ES999", "kid": "a" }), &claims()), TokenError::Algorithm),
    ] {
        assert_eq!(verify(&token, &rule(), &all).err(), Some(expected), "{token}");
    }
}

/// A public key is known to everyone: used as the secret of an HMAC it would let everyone sign.
#[test]
fn a_public_key_is_no_secret() {
    let rsa = Signer::rsa();
    let jwk = rsa.jwk("r");
    let secrets = [jwk["n"].as_str().unwrap().to_owned(), jwk.to_string()];
    for algorithm in ["HS256", "HS384", "HS512"] {
        for secret in &secrets {
            let part = |value: Value| BASE64.encode(value.to_string());
            let signed = format!("{}.{}", part(json!({ "alg": algorithm, "kid": "r" })), part(claims()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
            let token = format!("{signed}.{}", BASE64.encode(tag));
            assert_eq!(verify(&token, &rule(), &keys(std::slice::from_ref(&jwk))).err(), Some(TokenError::UnknownKey));
        }
    }
    // Nor is a secret in the set a key.
    let oct = json!({ "kty": "oct", "k": BASE64.encode("secret"), "alg": "HS256" });
    assert_eq!(Keys::parse(&json!({ "keys": [oct] }).to_string()).err(), Some(KeysError::Empty));
}

#[test]
fn a_key_that_names_its_algorithm_or_use_has_no_other() {
    let rsa = Signer::rsa();
    let jwk = |key: &str, value: &str| {
        let mut jwk = rsa.jwk("r");
        jwk[key] = value.into();
        jwk
    };
    let token = |algorithm: &str| rsa.sign(&json!({ "alg": algorithm, "kid": "r" }), &claims());
    let ps = keys(&[jwk("alg", "PS256")]);
    assert!(verify(&token("PS256"), &rule(), &ps).is_ok());
    assert_eq!(verify(&token("RS256"), &rule(), &ps).err(), Some(TokenError::UnknownKey));
    for unusable in
        [json!({ "keys": [jwk("use", "enc")] }), json!({ "keys": [] }), json!({ "keys": [{"kty": "x"}, 3] })]
    {
        assert_eq!(Keys::parse(&unusable.to_string()).err(), Some(KeysError::Empty), "{unusable}");
    }
    for broken in ["", "{", "[]", "{}", r#"{"keys": {}}"#] {
        assert!(matches!(Keys::parse(broken), Err(KeysError::Syntax(_))), "{broken}");
    }
    // One bad key does not spoil the others.
    assert!(verify(&token("RS256"), &rule(), &keys(&[json!({"kty": "x"}), rsa.jwk("r")])).is_ok());
}

#[test]
fn who_issued_it_is_read_before_anything_is_verified() {
    let token = Signer::ed().sign(&json!({ "alg": "EdDSA" }), &claims());
    assert_eq!(issuer(&token), Ok(Some("https://issuer".to_owned())));
    for (token, expected) in [("a.b", TokenError::Form), ("a.!.c", TokenError::Form), ("a.YQ.c", TokenError::Payload)] {
        assert_eq!(issuer(token), Err(expected), "{token}");
    }
}

fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn header(name: &'static str, prefix: &str) -> Location {
    Location::Header(HeaderName::from_static(name), prefix.into())
}

#[test]
fn tokens_are_found_and_taken_where_they_stand() {
    let bearer = header("authorization", "Bearer ");
    let (param, cookie) = (Location::Param("access_token".into()), Location::Cookie("session".into()));
    for (location, uri, headers, expected, left) in [
        (&bearer, "/", &[("authorization", "Bearer a.b.c")][..], &["a.b.c"][..], "/"),
        (&bearer, "/", &[("authorization", "bearer  a.b.c")], &["a.b.c"], "/"),
        (&bearer, "/", &[("authorization", "Bearer a.b.c, x")], &["a.b.c"], "/"),
        (&bearer, "/", &[("authorization", "Bearer a"), ("authorization", "Bearer b")], &["a", "b"], "/"),
        (&bearer, "/", &[("authorization", "Basic a.b.c")], &[], "/"),
        (&bearer, "/", &[("authorization", "Bearer")], &[], "/"),
        (&header("x-jwt", ""), "/", &[("x-jwt", "a.b.c")], &["a.b.c"], "/"),
        (&param, "/x?access_token=a.b.c", &[], &["a.b.c"], "/x"),
        (&param, "/x?y=1&access%5Ftoken=a%2Eb.c&z", &[], &["a.b.c"], "/x?y=1&z"),
        (&param, "/x?token=a", &[], &[], "/x?token=a"),
        (&cookie, "/", &[("cookie", "a=1; session=a.b.c; b=2")], &["a.b.c"], "/"),
        (&cookie, "/", &[("cookie", "session=\"a.b.c\"")], &["a.b.c"], "/"),
        (&cookie, "/", &[("cookie", "sessionx=a; a=session")], &[], "/"),
    ] {
        let mut request = request(uri, headers);
        assert_eq!(found(&request, location), expected, "{location:?} {uri} {headers:?}");
        take(&mut request, location);
        assert_eq!((found(&request, location).len(), request.uri.to_string().as_str()), (0, left), "{uri} {headers:?}");
    }
    let mut request = request("/", &[("cookie", "a=1; session=t; b=2")]);
    take(&mut request, &cookie);
    assert_eq!(request.headers["cookie"], "a=1; b=2");
}

#[test]
fn an_application_gets_claims_in_headers() {
    let signer = Signer::p256();
    let claim = |header: &'static str, claim: &str| ClaimHeader {
        header: HeaderName::from_static(header),
        claim: claim.into(),
    };
    let claims_in = [
        claim("x-sub", "sub"),
        claim("x-group", "org.group"),
        claim("x-admin", "admin"),
        claim("x-level", "level"),
        claim("x-roles", "roles"),
        claim("x-dotted", "a.b"),
        claim("x-missing", "nothing"),
        claim("x-evil", "evil"),
    ];
    let rule = JwtRule {
        payload_header: Some(HeaderName::from_static("x-payload")),
        claim_headers: claims_in.into(),
        spaced_claims: ["roles".into()].into(),
        ..rule()
    };
    let mut said = claims();
    said["org"] = json!({ "group": "staff" });
    said["admin"] = true.into();
    said["level"] = 3.into();
    said["roles"] = "r w".into();
    said["a.b"] = "whole".into();
    said["evil"] = "a\r\nx-forged: 1".into();
    said["scope"] = "read write".into();
    let token = signer.sign(&json!({ "alg": "ES256" }), &said);
    let verified = verify(&token, &rule, &keys(&[signer.jwk("")])).unwrap();
    assert_eq!(verified.all()["scope"], json!(["read", "write"]));
    let outputs = outputs(&verified, &rule);
    let value = |name: &str| outputs.iter().find(|(key, _)| key == name).map(|(_, value)| value.to_str().unwrap());
    assert_eq!(BASE64.decode(value("x-payload").unwrap()).unwrap(), said.to_string().into_bytes());
    let list = base64::engine::general_purpose::STANDARD.encode(r#"["r","w"]"#);
    for (name, expected) in [
        ("x-sub", Some("alice")),
        ("x-group", Some("staff")),
        ("x-admin", Some("true")),
        ("x-level", Some("3")),
        ("x-roles", Some(list.as_str())),
        ("x-dotted", Some("whole")),
        ("x-missing", None),
        ("x-evil", None),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
}
