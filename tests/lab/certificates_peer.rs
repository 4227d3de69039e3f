//! A peer that is not our agent: certificates of every kind, TLS as client and as server, HBONE as client.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SanType,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme, StreamOwned};
use underpass_tests::Lab;
use underpass_tests::authority::Root;

use crate::pair::{SOON, within};

/// What a peer shows.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    /// A certificate of the lab with this URI.
    Named(&'static str),
    /// One that ended a day ago.
    Expired,
    /// One under another root.
    OtherRoot,
    /// One that names no URI.
    Nameless,
    /// One that begins tomorrow.
    NotYet,
    /// A good one, without the intermediate that signed it.
    Unlinked,
    /// One with the serial number [`REVOKED`].
    Numbered,
    /// One of another mesh, under that mesh's own root, with this URI.
    Partner(&'static str),
}

/// The serial number of [`Shown::Numbered`].
pub const REVOKED: u64 = 4711;

/// The identity of [`crate::pair::STRANGER`].
pub const STRANGER_ID: &str = "spiffe://cluster.local/ns/default/sa/stranger";

type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Shown {
    fn chain(self, lab: &Lab) -> Result<Chain> {
        let dir = match self {
            Self::OtherRoot => authority(lab, "other-root")?,
            Self::Partner(_) => partner(lab)?,
            _ => lab.record.cacerts("east"),
        };
        let read = |name: &str| fs::read_to_string(dir.join(name));
        let issuer = Issuer::from_ca_cert_pem(&read("ca-cert.pem")?, KeyPair::from_pem(&read("ca-key.pem")?)?)?;
        let key = KeyPair::generate()?;
        let mut chain = vec![self.params()?.signed_by(&key, &issuer)?.der().clone()];
        if !matches!(self, Self::Unlinked) {
            for certificate in CertificateDer::pem_slice_iter(read("cert-chain.pem")?.as_bytes()) {
                chain.push(certificate?);
            }
        }
        Ok((chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }

    fn params(self) -> Result<CertificateParams> {
        let mut params = CertificateParams::default();
        let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
        (params.not_before, params.not_after) = match self {
            Self::Expired => ((now - 2 * day).into(), (now - day).into()),
            Self::NotYet => ((now + day).into(), (now + 2 * day).into()),
            _ => ((now - 2 * day).into(), (now + day).into()),
        };
        params.serial_number = matches!(self, Self::Numbered).then(|| REVOKED.into());
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = match self {
            Self::Named(uri) | Self::Partner(uri) => vec![SanType::URI(uri.try_into()?)],
            Self::Expired | Self::OtherRoot | Self::NotYet | Self::Unlinked | Self::Numbered => {
                vec![SanType::URI(STRANGER_ID.try_into()?)]
            }
            Self::Nameless => vec![SanType::DnsName("web.default.svc".try_into()?)],
        };
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    /// A client's configuration; it believes every server.
    pub fn client(self, lab: &Lab, alpn: &str) -> Result<Arc<ClientConfig>> {
        let (chain, key) = self.chain(lab)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous(provider)))
            .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![alpn.into()];
        config.enable_sni = false;
        Ok(Arc::new(config))
    }

    fn server(self, lab: &Lab) -> Result<Arc<ServerConfig>> {
        let (chain, key) = self.chain(lab)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"underpass/1".to_vec(), b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Where another mesh has its authority.
pub fn partner(lab: &Lab) -> Result<PathBuf> {
    authority(lab, "partner-root")
}

/// An authority of its own under this name, made once for a lab.
fn authority(lab: &Lab, name: &str) -> Result<PathBuf> {
    let dir = lab.record.dir().join(name);
    if !dir.exists() {
        Root::new(name)?.write_cacerts(&dir, name)?;
    }
    Ok(dir)
}

/// What the server says to this client after its handshake: an error if it ends the connection by an alert.
pub fn greeted(stream: TcpStream, config: Arc<ClientConfig>) -> std::io::Result<usize> {
    let name = ServerName::try_from("peer.invalid").map_err(std::io::Error::other)?;
    let client = rustls::ClientConnection::new(config, name).map_err(std::io::Error::other)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    StreamOwned::new(client, stream).read(&mut [0; 64])
}

/// A tunnel on which the server has spoken: HTTP/2 settings are the first that it says.
pub fn tunnel(stream: TcpStream, config: Arc<ClientConfig>) -> Result<impl Read> {
    let client = rustls::ClientConnection::new(config, ServerName::try_from("peer.invalid")?)?;
    stream.set_read_timeout(Some(SOON))?;
    let mut open = StreamOwned::new(client, stream);
    open.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    ensure!(open.read(&mut [0; 64])? > 0, "the server closed");
    Ok(open)
}

/// The cluster's list of revoked certificates, with this serial number in it.
pub fn revoking(lab: &Lab, serial: u64) -> Result<String> {
    let read = |name: &str| fs::read_to_string(lab.record.cacerts("east").join(name));
    let issuer = Issuer::from_ca_cert_pem(&read("ca-cert.pem")?, KeyPair::from_pem(&read("ca-key.pem")?)?)?;
    let now = SystemTime::now();
    let revoked = RevokedCertParams {
        serial_number: serial.into(),
        revocation_time: now.into(),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: now.into(),
        next_update: (now + Duration::from_secs(3600)).into(),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(&issuer)?.pem()?)
}

/// Takes one connection in a pod that has no agent: what it got after the handshake, or why there was none.
pub fn serve_once(lab: &Lab, (pod, port): (&str, u16), shown: Shown) -> Result<Receiver<std::io::Result<usize>>> {
    let config = shown.server(lab)?;
    let listener = within(lab, pod, || Ok(TcpListener::bind(("0.0.0.0", port))?))?;
    let (say, hear) = channel();
    std::thread::spawn(move || {
        let serve = || {
            let (stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(SOON))?;
            let server = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
            StreamOwned::new(server, stream).read(&mut [0; 4096])
        };
        // The test may have given up.
        let _ = say.send(serve());
    });
    Ok(hear)
}

/// Asks an HBONE server for a tunnel with these headers; the status.
pub fn connect_status(
    lab: &Lab,
    stream: TcpStream,
    shown: Shown,
    (authority, header): (&str, Option<String>),
) -> Result<u16> {
    use http_body_util::Empty;
    use hyper::body::Bytes;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let config = shown.client(lab, "h2")?;
    let mut request = hyper::Request::connect(authority);
    if let Some(value) = header {
        request = request.header("baggage", value);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let work = async move {
        stream.set_nonblocking(true)?;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let tls =
            tokio_rustls::TlsConnector::from(config).connect(ServerName::try_from("peer.invalid")?, stream).await?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
        let driven = tokio::spawn(connection);
        let status = sender.send_request(request).await?.status().as_u16();
        driven.abort();
        anyhow::Ok(status)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(SOON, work).await }).context("no answer")?
}

/// Believes everyone, so that the other side alone decides.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
