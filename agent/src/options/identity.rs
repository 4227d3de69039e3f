//! Where an agent's certificates come from, and who is believed.

use crate::identity::{CrlFile, Federated, OriginOptions, RemoteOptions, StoreOptions, TrustOptions};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// The agent's certificates.
#[derive(Clone, Debug, Args)]
pub struct IdentityOptions {
    /// The cluster's CA, to sign on this node: root-cert.pem, ca-cert.pem, ca-key.pem, cert-chain.pem, maybe ca-crl.pem.
    /// For one machine; elsewhere see --ca-address
    #[arg(long, env = "UNDERPASS_CACERTS", value_name = "DIR", required_unless_present = "ca_address")]
    pub cacerts: Option<PathBuf>,
    /// The CA that signs certificates (underpass ca, istiod): its certificate must name the host
    #[arg(long, env = "UNDERPASS_CA_ADDRESS", value_name = "HOST:PORT", conflicts_with = "cacerts")]
    pub ca_address: Option<String>,
    /// The root of the CA's own certificate. When it changes, every certificate is asked for anew: roots of trust come
    /// with them
    #[arg(
        long,
        env = "UNDERPASS_CA_ROOT_CERT",
        value_name = "FILE",
        default_value = "/var/run/secrets/istio/root-cert.pem"
    )]
    pub ca_root_cert: PathBuf,
    /// This agent's service account token for the CA (audience istio-ca); read for every request
    #[arg(
        long,
        env = "UNDERPASS_CA_TOKEN",
        value_name = "FILE",
        default_value = "/var/run/secrets/tokens/istio-token"
    )]
    pub ca_token: PathBuf,
    /// The cluster that the token is of, as the CA knows it [default: --cluster]
    #[arg(long, env = "UNDERPASS_CA_CLUSTER_ID", value_name = "NAME")]
    pub ca_cluster_id: Option<String>,
    /// How long certificates are to be good; they are renewed at half of it, and the CA may give less
    #[arg(long, env = "UNDERPASS_CERTIFICATE_LIFETIME", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "24h")]
    pub certificate_lifetime: Duration,
    /// The trust domain of the mesh's identities
    #[arg(long, env = "UNDERPASS_TRUST_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// Another name of the trust domain, under the same roots: who shows it is taken for the same service account. May
    /// be given several times
    #[arg(long, env = "UNDERPASS_TRUST_DOMAIN_ALIAS", value_name = "DOMAIN", value_delimiter = ',')]
    pub trust_domain_alias: Vec<String>,
    /// The roots of another mesh, believed for its own trust domain and no other. May be given several times
    #[arg(long, env = "UNDERPASS_FEDERATE", value_name = "DOMAIN=FILE", value_parser = federated, value_delimiter = ',')]
    pub federate: Vec<Federated>,
    /// Certificates that are believed no more (X509 CRL, PEM). May be given several times
    #[arg(long, env = "UNDERPASS_CRL", value_name = "FILE", value_delimiter = ',')]
    pub crl: Vec<PathBuf>,
}

fn federated(text: &str) -> Result<Federated, String> {
    match text.split_once('=') {
        Some((domain, roots)) if !domain.is_empty() && !roots.is_empty() => {
            Ok(Federated { trust_domain: domain.into(), roots: roots.into() })
        }
        _ => Err("expected DOMAIN=FILE".to_owned()),
    }
}

impl IdentityOptions {
    /// What an agent of that cluster makes of them.
    pub fn store(&self, cluster: &str) -> StoreOptions {
        let optional = self.cacerts.iter().map(|directory| CrlFile::of_cacerts(directory));
        let required = self.crl.iter().map(|file| CrlFile { path: file.clone(), required: true });
        let origin = match (&self.ca_address, &self.cacerts) {
            (None, Some(directory)) => OriginOptions::Local(directory.clone()),
            (address, _) => OriginOptions::Remote(RemoteOptions {
                address: address.clone().unwrap_or_default(),
                root_cert: self.ca_root_cert.clone(),
                token: self.ca_token.clone(),
                cluster: self.ca_cluster_id.clone().unwrap_or_else(|| cluster.to_owned()),
            }),
        };
        let trust = TrustOptions {
            trust_domain: self.trust_domain.as_str().into(),
            aliases: self.trust_domain_alias.iter().map(|domain| domain.as_str().into()).collect(),
            federated: self.federate.clone(),
            crls: optional.chain(required).collect(),
        };
        StoreOptions { origin, trust, lifetime: self.certificate_lifetime }
    }
}
