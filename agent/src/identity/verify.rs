//! The judge of peers' certificates, as rustls asks it.
//!
//! SPIFFE certificates name no host, so the chain, its dates and its purpose are checked here, the
//! identity after the handshake ([`VerifiedPeer::expect`]).

use super::bundle::{Bundle, TrustOptions};
use super::files::{self, FileError};
use super::peer::{PeerError, VerifiedPeer};
use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Whom this mesh believes, for both sides of a handshake. Every configuration of TLS holds the same `Trust`: what
/// changes in it is in force with the next handshake.
pub struct Trust {
    options: TrustOptions,
    provider: Arc<CryptoProvider>,
    bundle: ArcSwap<Bundle>,
    /// Held by who replaces the bundle; the roots in force and the fingerprint of the files behind the rest.
    writing: Mutex<Written>,
    generation: watch::Sender<u64>,
}

#[derive(Default)]
struct Written {
    roots: Vec<CertificateDer<'static>>,
    files: Vec<u8>,
}

/// Which side the peer is on: its certificate must be meant for that.
#[derive(Clone, Copy, Debug)]
pub enum PeerRole {
    /// The peer accepted the connection.
    Server,
    /// The peer opened it.
    Client,
}

impl Trust {
    /// Trusts what the options' files say; nobody of our own domain before there are roots.
    ///
    /// # Errors
    /// The file that cannot be used.
    pub fn open(options: TrustOptions, provider: Arc<CryptoProvider>) -> Result<Self, FileError> {
        let files = files::fingerprint(options.files());
        let bundle = Bundle::new(&options, &[]).map_err(|error| FileError::new("".as_ref(), error))?;
        let bundle = ArcSwap::from_pointee(bundle.with_files(&options)?);
        let writing = Mutex::new(Written { roots: Vec::new(), files });
        Ok(Self { options, provider, bundle, writing, generation: watch::Sender::new(0) })
    }

    /// What it was made of.
    pub fn options(&self) -> &TrustOptions {
        &self.options
    }

    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// Believes these roots for our own domain from now on. Says whether that is news.
    ///
    /// # Errors
    /// A root that is no certificate; what was believed stays.
    pub fn set_roots(&self, roots: &[CertificateDer<'static>]) -> Result<bool, PeerError> {
        let mut written = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if written.roots == roots {
            return Ok(false);
        }
        let bundle = self.bundle.load().with_roots(roots)?;
        written.roots = roots.to_vec();
        self.publish(bundle);
        Ok(true)
    }

    /// Reads the files of federated roots and revoked certificates again if they changed. Says whether they had.
    ///
    /// # Errors
    /// The file that cannot be used; what was believed stays.
    pub fn reload(&self) -> Result<bool, FileError> {
        let mut written = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let files = files::fingerprint(self.options.files());
        if files == written.files {
            return Ok(false);
        }
        let own = Bundle::new(&self.options, &written.roots).map_err(|error| FileError::new("".as_ref(), error))?;
        let bundle = own.with_files(&self.options)?;
        written.files = files;
        self.publish(bundle);
        Ok(true)
    }

    fn publish(&self, bundle: Bundle) {
        self.bundle.store(Arc::new(bundle));
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Wakes after each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// How often it has changed.
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Checks a chain (leaf first) as a handshake at `now` would.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: PeerRole,
        now: UnixTime,
    ) -> Result<VerifiedPeer, PeerError> {
        self.bundle.load().check(&self.provider, (leaf, intermediates), role, now)
    }

    /// The peer of a finished handshake whose verifier this was, by the name that it has in this mesh.
    ///
    /// # Errors
    /// It showed nothing that names somebody.
    pub fn peer(&self, chain: &[CertificateDer<'_>]) -> Result<VerifiedPeer, PeerError> {
        let peer = VerifiedPeer::from_certificates(chain)?;
        Ok(match self.bundle.load().known_as(peer.id()) {
            Some(id) => peer.named(id),
            None => peer,
        })
    }

    /// Whether a link of a chain that was believed is revoked now. One that merely ended since is not.
    pub fn is_revoked(&self, chain: &[CertificateDer<'_>]) -> bool {
        let bundle = self.bundle.load();
        let (Some((leaf, intermediates)), true) = (chain.split_first(), bundle.lists() > 0) else {
            return false;
        };
        let Ok(peer) = VerifiedPeer::from_certificates(chain) else {
            return false;
        };
        let then = SystemTime::now().min(peer.not_after()).duration_since(UNIX_EPOCH).unwrap_or_default();
        let checked =
            bundle.check(&self.provider, (leaf, intermediates), PeerRole::Client, UnixTime::since_unix_epoch(then));
        checked == Err(PeerError::Revoked)
    }

    fn signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("trust_domain", &self.options.trust_domain).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, PeerRole::Server, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12_never())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Trust {
    /// No hints: a workload has one certificate, and the handshake stays short.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, PeerRole::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(tls12_never())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

/// The configurations that hold a `Trust` speak TLS 1.3 alone, so rustls never asks.
fn tls12_never() -> rustls::Error {
    rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
}
