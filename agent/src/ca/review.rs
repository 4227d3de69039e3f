//! The API server's word on a token: `authentication.k8s.io/v1` TokenReview.

use super::api::{Api, ApiError};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// Who holds a token.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// What the token is bound to.
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    audiences: Vec<String>,
    error: String,
    user: Option<User>,
}

/// Whose token it is; inside, why it is nobody's.
///
/// # Errors
/// The API server cannot be asked.
pub async fn review(api: &Api, token: &str, audience: &str) -> Result<Result<User, String>, ApiError> {
    let question = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": { "token": token, "audiences": [audience] },
    });
    let status = api.post::<Answer>(PATH, &question).await?.status;
    if !status.authenticated {
        let why = if status.error.is_empty() { "the API server does not know it".to_owned() } else { status.error };
        return Ok(Err(why));
    }
    // An API server that does not know of audiences answers with none, and vouches for any token.
    if !status.audiences.iter().any(|known| known == audience) {
        return Ok(Err(format!("it is not for audience `{audience}`")));
    }
    Ok(status.user.ok_or_else(|| "the API server does not say whose it is".to_owned()))
}
