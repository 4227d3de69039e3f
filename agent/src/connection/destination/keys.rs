//! The keys of issuers: fetched when first needed, kept fresh, and kept when their source is away.

use super::reach;
use crate::connection::Mesh;
use crate::connection::dial::Client;
use crate::model::JwtRule;
use crate::model::request_authentication::KeySource;
use crate::token::{Keys, TokenError};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// As often as istiod fetches keys again.
const REFRESH: Duration = Duration::from_secs(20 * 60);
/// A token with an unknown key makes them be fetched again, so often at most: whoever sends many gains nothing.
const PAUSE: Duration = Duration::from_secs(5);
/// How often what is due is looked for.
const ROUND: Duration = Duration::from_secs(30);
/// Keys that nobody needed for so long are forgotten.
const UNUSED: Duration = Duration::from_secs(3600);

/// All keys that are needed.
#[derive(Default)]
pub struct KeyStore(Mutex<HashMap<KeySource, Arc<Entry>>>);

struct Entry {
    source: KeySource,
    state: Mutex<State>,
    /// Held by the one that fetches; others wait for what it finds.
    fetching: tokio::sync::Mutex<()>,
}

struct State {
    keys: Option<Arc<Keys>>,
    /// When it was last tried to fetch them.
    tried: Option<Instant>,
    used: Instant,
    /// On whose behalf they are fetched, and how long that may take.
    client: Option<Client>,
    patience: Duration,
}

impl KeyStore {
    /// The keys of a rule, fetched if need be on behalf of this client.
    ///
    /// # Errors
    /// There are none yet.
    pub async fn of(&self, mesh: &Arc<Mesh>, client: Option<&Client>, rule: &JwtRule) -> Result<Arc<Keys>, TokenError> {
        let entry = self.entry(client, rule);
        if let Some(keys) = entry.kept() {
            return Ok(keys);
        }
        if let KeySource::Inline(text) = &entry.source {
            let keys = Arc::new(Keys::parse(text).map_err(|_| TokenError::BadKeys)?);
            entry.state.lock().keys = Some(Arc::clone(&keys));
            return Ok(keys);
        }
        entry.fetch(mesh, None).await.ok_or(TokenError::NoKeys)
    }

    /// Newer keys than these, if there are any and it is not too early to look.
    pub async fn newer(
        &self,
        mesh: &Arc<Mesh>,
        client: Option<&Client>,
        rule: &JwtRule,
        than: &Arc<Keys>,
    ) -> Option<Arc<Keys>> {
        if matches!(rule.keys, KeySource::Inline(_)) {
            return None;
        }
        let keys = self.entry(client, rule).fetch(mesh, Some(than)).await?;
        (!Arc::ptr_eq(&keys, than)).then_some(keys)
    }

    fn entry(&self, client: Option<&Client>, rule: &JwtRule) -> Arc<Entry> {
        let mut entries = self.0.lock();
        if let Some(entry) = entries.get(&rule.keys) {
            let mut state = entry.state.lock();
            state.used = Instant::now();
            // The pod that they were fetched for may be gone by now.
            if state.client.as_ref().is_none_or(|client| client.pod.gone().is_cancelled()) {
                state.client = client.cloned();
            }
            return Arc::clone(entry);
        }
        let (client, patience) = (client.cloned(), rule.timeout);
        let state = State { keys: None, tried: None, used: Instant::now(), client, patience };
        let source = rule.keys.clone();
        let entry = Arc::new(Entry {
            source: source.clone(),
            state: Mutex::new(state),
            fetching: tokio::sync::Mutex::default(),
        });
        entries.insert(source, Arc::clone(&entry));
        entry
    }

    /// Fetches what is due and forgets what is not needed, forever.
    pub async fn keep_fresh(&self, mesh: &Arc<Mesh>) {
        loop {
            tokio::time::sleep(ROUND).await;
            let now = Instant::now();
            let due: Vec<Arc<Entry>> = {
                let mut entries = self.0.lock();
                entries.retain(|_, entry| now.duration_since(entry.state.lock().used) < UNUSED);
                entries.values().filter(|entry| entry.is_due(now)).cloned().collect()
            };
            for entry in due {
                let kept = entry.kept();
                entry.fetch(mesh, kept.as_ref()).await;
            }
        }
    }
}

impl Entry {
    fn kept(&self) -> Option<Arc<Keys>> {
        self.state.lock().keys.clone()
    }

    fn is_due(&self, now: Instant) -> bool {
        let tried = self.state.lock().tried;
        !matches!(self.source, KeySource::Inline(_)) && tried.is_some_and(|at| now.duration_since(at) > REFRESH)
    }

    /// Other keys than `than`: fetched now, or by another who was at it. What was last good stays if that fails.
    async fn fetch(&self, mesh: &Arc<Mesh>, than: Option<&Arc<Keys>>) -> Option<Arc<Keys>> {
        let _mine = self.fetching.lock().await;
        let kept = self.kept();
        let renewed = match (&kept, than) {
            (Some(kept), Some(than)) => !Arc::ptr_eq(kept, than),
            (kept, _) => kept.is_some(),
        };
        let (client, patience) = {
            let mut state = self.state.lock();
            if renewed || state.tried.is_some_and(|at| at.elapsed() < PAUSE) {
                return kept;
            }
            state.tried = Some(Instant::now());
            (state.client.clone(), state.patience)
        };
        let fetched = match &client {
            Some(client) => timeout(patience, self.fetched(mesh, client)).await,
            None => Ok(Err("the pod that needs them is not captured".to_owned())),
        };
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {patience:?}")));
        mesh.telemetry.agent().keys_fetched(if fetched.is_ok() { "ok" } else { "failed" });
        match fetched {
            Ok(keys) => {
                let keys = Arc::new(keys);
                self.state.lock().keys = Some(Arc::clone(&keys));
                Some(keys)
            }
            Err(error) => {
                tracing::warn!(source = %self.source, kept = kept.is_some(), error, "no keys for tokens");
                kept
            }
        }
    }

    async fn fetched(&self, mesh: &Arc<Mesh>, client: &Client) -> Result<Keys, String> {
        let url = match &self.source {
            KeySource::Inline(text) => return Keys::parse(text).map_err(|error| error.to_string()),
            KeySource::Url(url) => url.to_string(),
            KeySource::Discovery(url) => {
                let document = reach::fetch(mesh, client, url).await.map_err(|error| error.to_string())?;
                let document: serde_json::Value =
                    serde_json::from_slice(&document).map_err(|error| format!("{url}: {error}"))?;
                let found = document.get("jwks_uri").and_then(|url| url.as_str());
                found.ok_or_else(|| format!("{url}: there is no jwks_uri"))?.to_owned()
            }
        };
        let set = reach::fetch(mesh, client, &url).await.map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&set).map_err(|error| format!("{url}: {error}"))?;
        Keys::parse(text).map_err(|error| format!("{url}: {error}"))
    }
}
