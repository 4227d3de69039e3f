//! The one way this mesh speaks TLS: 1.3, both sides authenticated, nothing remembered between connections.

use super::Trust;
use crate::vocab::Alpn;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use std::sync::Arc;

/// aws-lc-rs, passed explicitly to every configuration: a process-wide default is a hidden dependency.
///
/// X25519MLKEM768 comes first, so what is recorded today stays unread by tomorrow's quantum
/// computers; the others are for peers that lack it. AES-128 before AES-256: both have hardware,
/// the shorter key has fewer rounds.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        ..default_provider()
    })
}

/// A client that shows `key`, believes `trust` and offers these protocols alone.
///
/// No SNI: a pod is dialled by address, and the name would tell onlookers who is called. No
/// resumption: a resumed session skips the certificates, so a rotated, expired or no longer trusted
/// identity would live on, and tickets are kept per server name, not per identity. Secrets may be
/// extracted because `tunnel::tls` takes the keys over from rustls after the handshake.
pub(super) fn client(
    provider: &Arc<CryptoProvider>,
    trust: &Arc<Trust>,
    key: &Arc<CertifiedKey>,
    alpn: &[Alpn],
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(trust.clone())
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())));
    config.alpn_protocols = ids(alpn);
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

/// A client of an ordinary server, whose certificate names its host, under these roots; it shows none itself.
///
/// # Errors
/// A root that is none.
pub fn client_of(roots: &[CertificateDer<'_>], alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut believed = RootCertStore::empty();
    roots.iter().try_for_each(|root| believed.add(root.clone().into_owned()))?;
    let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    let mut config = config.with_root_certificates(believed).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// A server that shows `key`, demands a certificate that `trust` believes and speaks every tunnel.
///
/// No tickets (see [`client`]), so no early data either: 0-RTT can be replayed (RFC 8446, 8).
pub(super) fn server(
    provider: &Arc<CryptoProvider>,
    trust: &Arc<Trust>,
    key: &Arc<CertifiedKey>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(trust.clone())
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key.clone())));
    config.alpn_protocols = ids(&Alpn::ALL);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

fn ids(protocols: &[Alpn]) -> Vec<Vec<u8>> {
    protocols.iter().map(|one| one.id().to_vec()).collect()
}
