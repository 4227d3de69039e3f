//! The authority in force, with its own certificate for TLS: both follow the files of the `cacerts` directory.

use crate::identity::files::{fingerprint, watch};
use crate::identity::issue::new_key;
use crate::identity::tls::provider;
use crate::identity::{Authority, CrlFile, IssueError, Trust, TrustOptions};
use crate::vocab::{SpiffeId, TrustDomain};
use arc_swap::ArcSwap;
use pem::Pem;
use rcgen::{PublicKey, SanType};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How long its own certificate is good; it is replaced at half of that.
const OWN_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// How long the files must be quiet before they are read: a Secret's update is several events.
const SETTLE: Duration = Duration::from_millis(200);
/// How long it sleeps at most: timers do not run while a machine is suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What a signer is made of.
pub struct SignerOptions {
    /// In Istio's layout.
    pub cacerts: PathBuf,
    /// Whose identities it signs.
    pub trust_domain: TrustDomain,
    /// What its own certificate is for: host names and addresses.
    pub names: Vec<String>,
    /// The longest lifetime that it gives.
    pub max_lifetime: Duration,
}

/// See the module.
pub struct Signer {
    options: SignerOptions,
    names: Vec<SanType>,
    authority: ArcSwap<Authority>,
    trust: Arc<Trust>,
    own: ArcSwap<Own>,
}

/// The certificate that it shows.
#[derive(Debug)]
struct Own {
    key: Arc<CertifiedKey>,
    half: SystemTime,
}

/// A certificate, as it is handed out.
pub struct Signed {
    /// PEM: leaf, intermediates, and last all roots.
    pub chain: Vec<String>,
    /// Its end.
    pub not_after: SystemTime,
}

impl Signer {
    /// Reads the files.
    ///
    /// # Errors
    /// The one that cannot be used, or a name that no certificate can carry.
    pub fn open(options: SignerOptions, now: SystemTime) -> anyhow::Result<Self> {
        let mut trust = TrustOptions::new(options.trust_domain.clone());
        trust.crls.push(CrlFile::of_cacerts(&options.cacerts));
        let trust = Arc::new(Trust::open(trust, provider())?);
        let authority = Authority::load(&options.cacerts, &options.trust_domain, now)?;
        trust.set_roots(authority.roots())?;
        let names = options.names.iter().map(|name| subject(name)).collect::<anyhow::Result<Vec<_>>>()?;
        let own = ArcSwap::from_pointee(own(&authority, &names, now)?);
        Ok(Self { options, names, authority: ArcSwap::from_pointee(authority), trust, own })
    }

    /// Whom the mesh believes: callers that show a certificate are held against it.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// The mesh's name.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.options.trust_domain
    }

    /// A row of `/certs`.
    pub fn describe(&self, now: SystemTime) -> Value {
        let not_after = self.not_after();
        let left = not_after.duration_since(now).unwrap_or_default();
        json!({
            "identity": format!("certificate authority of {}", self.options.trust_domain),
            "state": if left.is_zero() { "expired" } else { "valid" },
            "not_after": humantime::format_rfc3339_seconds(not_after).to_string(),
            "expires_in_seconds": left.as_secs(),
            "source": self.options.cacerts,
            "renewal": "by its files",
            "failures": 0,
        })
    }

    /// When the authority itself ends.
    pub fn not_after(&self) -> SystemTime {
        self.authority.load().not_after()
    }

    /// Certifies that `key` is `id`'s for as long as was asked (0: as long as it may be), and as may be.
    ///
    /// # Errors
    /// See [`Authority::certify`].
    pub fn certify(&self, id: &SpiffeId, key: &PublicKey, asked: i64, now: SystemTime) -> Result<Signed, IssueError> {
        let asked = u64::try_from(asked).ok().filter(|asked| *asked > 0).map(Duration::from_secs);
        let most = self.options.max_lifetime;
        let authority = self.authority.load();
        let (chain, validity) = authority.certify(id, key, asked.map_or(most, |asked| asked.min(most)), now)?;
        let roots = authority.roots().iter().map(pem_of).collect::<String>();
        let chain = chain.iter().map(pem_of).chain([roots]).collect();
        Ok(Signed { chain, not_after: validity.not_after })
    }

    /// Follows the files, and keeps its own certificate fresh. Never ends.
    pub async fn keep_fresh(&self) {
        let changed = Arc::new(Notify::new());
        let _watching = watch(self.files(), &changed);
        // Also before the first event: something may have changed before there was a watch.
        let mut seen = Vec::new();
        loop {
            let now = SystemTime::now();
            let files = fingerprint(self.files());
            if files != seen {
                self.reload(now);
                seen = files;
            }
            if self.own.load().half <= now {
                self.renew(now);
            }
            if timeout(LONGEST_SLEEP, changed.notified()).await.is_ok() {
                sleep(SETTLE).await;
            }
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let crl = CrlFile::of_cacerts(&self.options.cacerts).path;
        Authority::files(&self.options.cacerts).into_iter().chain([crl]).collect()
    }

    /// Takes what the files say now. What was in force stays where they are wrong.
    fn reload(&self, now: SystemTime) {
        if let Err(error) = self.trust.reload() {
            tracing::error!(%error, "the list of revoked certificates is not in force");
        }
        if self.authority.load().is_of(&self.options.cacerts) {
            return;
        }
        let new = match Authority::load(&self.options.cacerts, &self.options.trust_domain, now) {
            Ok(new) => new,
            Err(error) => return tracing::error!(%error, "the authority is not replaced: the one in force stays"),
        };
        if let Err(error) = self.trust.set_roots(new.roots()) {
            return tracing::error!(%error, "the authority is not replaced: the one in force stays");
        }
        tracing::info!(directory = %self.options.cacerts.display(), roots = new.roots().len(), "authority replaced");
        self.authority.store(Arc::new(new));
        self.renew(now);
    }

    fn renew(&self, now: SystemTime) {
        match own(&self.authority.load(), &self.names, now) {
            Ok(own) => self.own.store(Arc::new(own)),
            Err(error) => tracing::error!(%error, "the authority's own certificate cannot be renewed"),
        }
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("authority", &self.authority.load()).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Signer {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.own.load().key))
    }
}

fn own(authority: &Authority, names: &[SanType], now: SystemTime) -> Result<Own, IssueError> {
    let key = new_key()?;
    let (chain, validity) = authority.sign(names.to_vec(), &key, OWN_LIFETIME, now)?;
    let half = now + validity.not_after.duration_since(now).unwrap_or_default() / 2;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(Own { key: Arc::new(CertifiedKey::from_der(chain, key, &provider())?), half })
}

fn subject(name: &str) -> anyhow::Result<SanType> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let name = name.try_into().map_err(|_| anyhow::anyhow!("--dns-names: `{name}` is no host name and no address"))?;
    Ok(SanType::DnsName(name))
}

fn pem_of(der: &CertificateDer<'static>) -> String {
    pem::encode(&Pem::new("CERTIFICATE", der.as_ref()))
}
