//! How `underpass ca` runs.

use super::{ListenOptions, LogOptions};
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The certificate authority of a cluster.
#[derive(Clone, Debug, Args)]
pub struct CaOptions {
    /// The cluster it signs for
    #[arg(long, env = "UNDERPASS_CLUSTER", value_name = "NAME")]
    pub cluster: String,
    /// Where which pods run: this cluster's manifests, watched (recursively: *.yaml, *.yml, *.json) [default: the API
    /// server is asked]
    #[arg(long, env = "UNDERPASS_MANIFESTS", value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// The cluster's intermediate under the mesh's root, watched: root-cert.pem, ca-cert.pem, ca-key.pem, cert-chain.pem
    #[arg(long, env = "UNDERPASS_CACERTS", value_name = "DIR", default_value = "/etc/cacerts")]
    pub cacerts: PathBuf,
    /// The trust domain of the mesh's identities
    #[arg(long, env = "UNDERPASS_TRUST_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// Names and addresses under which agents reach it: its own certificate is for these
    #[arg(
        long,
        env = "UNDERPASS_DNS_NAMES",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "istiod.istio-system.svc,underpass-ca.istio-system.svc"
    )]
    pub dns_names: Vec<String>,
    /// Whose tokens may ask for other identities: those of the pods on the token's node. May be given several times
    #[arg(
        long,
        env = "UNDERPASS_TRUSTED_NODE_AGENTS",
        value_name = "NAMESPACE/ACCOUNT",
        value_delimiter = ',',
        value_parser = account,
        default_value = "istio-system/underpass"
    )]
    pub trusted_node_agents: Vec<(String, String)>,
    /// The longest lifetime that is given; what asks for more gets this
    #[arg(long, env = "UNDERPASS_MAX_LIFETIME", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "24h")]
    pub max_lifetime: Duration,
    /// The audience that tokens must be for
    #[arg(long, env = "UNDERPASS_AUDIENCE", value_name = "AUDIENCE", default_value = "istio-ca")]
    pub audience: String,
    /// Where tokens are reviewed.
    #[command(flatten)]
    pub kube: KubeOptions,
    /// Where certificates are asked for: istio.v1.auth.IstioCertificateService over TLS
    #[arg(long, env = "UNDERPASS_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:15012")]
    pub listen: SocketAddr,
    /// Where it is asked how it is.
    #[command(flatten)]
    pub admin: ListenOptions,
    /// What it writes.
    #[command(flatten)]
    pub log: LogOptions,
}

/// The API server that reviews tokens.
#[derive(Clone, Debug, Args)]
pub struct KubeOptions {
    /// The API server: reviews tokens, and knows the pods where no manifests are given
    #[arg(long, env = "UNDERPASS_KUBE_API", value_name = "URL", default_value = "https://kubernetes.default.svc")]
    pub kube_api: String,
    /// The root of its certificate
    #[arg(
        long,
        env = "UNDERPASS_KUBE_API_CA",
        value_name = "FILE",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
    )]
    pub kube_api_ca: PathBuf,
    /// The token to ask it with; read for every request
    #[arg(
        long,
        env = "UNDERPASS_KUBE_API_TOKEN",
        value_name = "FILE",
        default_value = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    )]
    pub kube_api_token: PathBuf,
}

fn account(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, account)) if !namespace.is_empty() && !account.is_empty() && !account.contains('/') => {
            Ok((namespace.to_owned(), account.to_owned()))
        }
        _ => Err("expected NAMESPACE/ACCOUNT".to_owned()),
    }
}
