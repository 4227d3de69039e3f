//! TLS to endpoints that the mesh's own does not reach: as a client that a DestinationRule or BackendTLSPolicy
//! describes, and no other. Where anything that it needs is missing, there is no connection.

mod load;
mod verify;

use crate::model::traffic_policy::ClientTls;
use crate::model::{Credential, CredentialId};
use load::Stamp;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Files are looked at so often at most.
const LOOK: Duration = Duration::from_secs(1);
/// Clients that are kept. More are made anew each time: nobody has so many rules.
const MOST: usize = 4096;

/// Where Secrets and ConfigMaps are found.
pub type Credentials<'a> = dyn Fn(&CredentialId) -> Option<Arc<Credential>> + Sync + 'a;

/// Why there is no TLS.
#[derive(Clone, Debug, Error)]
pub enum OriginationError {
    /// A certificate, key or name that the rule asks for cannot be used.
    #[error("{0}")]
    Unusable(Arc<str>),
    /// The handshake failed.
    #[error("TLS handshake with the endpoint failed: {0}")]
    Handshake(Arc<io::Error>),
}

/// What is spoken inside, for ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inside {
    /// Bytes: nothing is offered.
    Bytes,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// TLS clients by what describes them.
#[derive(Default)]
pub struct Originator {
    clients: Mutex<HashMap<(ClientTls, Inside), Client>>,
}

struct Client {
    made: Result<Arc<ClientConfig>, OriginationError>,
    stamps: Vec<Stamp>,
    looked: Instant,
}

impl Originator {
    /// Speaks TLS on a stream to an endpoint of `host`.
    ///
    /// # Errors
    /// [`OriginationError`]; nothing of the application was sent.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        (tls, host, inside): (&ClientTls, &str, Inside),
        credentials: &Credentials<'_>,
        io: S,
    ) -> Result<TlsStream<S>, OriginationError> {
        let config = self.client(tls, inside, credentials)?;
        let name = tls.sni.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| OriginationError::Unusable(format!("`{name}` is not a name that TLS can ask for").into()))?;
        let shaken = TlsConnector::from(config).connect(name, io).await;
        let stream = shaken.map_err(|error| OriginationError::Handshake(Arc::new(error)))?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if inside == Inside::Http2 && agreed != Some(b"h2") {
            let error = io::Error::other("the endpoint does not speak HTTP/2 (ALPN h2)");
            return Err(OriginationError::Handshake(Arc::new(error)));
        }
        Ok(stream)
    }

    fn client(
        &self,
        tls: &ClientTls,
        inside: Inside,
        credentials: &Credentials<'_>,
    ) -> Result<Arc<ClientConfig>, OriginationError> {
        let key = (tls.clone(), inside);
        let now = Instant::now();
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get_mut(&key) {
            if now.duration_since(client.looked) < LOOK {
                return client.made.clone();
            }
            client.looked = now;
            if client.stamps.iter().all(|stamp| stamp.stands(credentials)) {
                return client.made.clone();
            }
        }
        let (made, stamps) = load::client(tls, inside, credentials);
        if clients.len() >= MOST {
            clients.clear();
        }
        clients.insert(key, Client { made: made.clone(), stamps, looked: now });
        made
    }
}

#[cfg(test)]
mod tests;
