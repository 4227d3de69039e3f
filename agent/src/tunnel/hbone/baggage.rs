//! `baggage`: what the source's agent says of its workload (W3C Baggage, OpenTelemetry's names).

use crate::vocab::{ClusterName, Namespace};
use http::HeaderValue;
use std::fmt::Write;
use std::sync::Arc;

/// Header bytes that are looked at; the rest of the metadata is then missing, the connection is not.
const MAX_HEADER: usize = 8 << 10;
/// Longest value kept: a Kubernetes name has at most 253 characters.
const MAX_VALUE: usize = 256;

/// What kind of object owns the workload: Istio has a key for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkloadKind {
    /// A Deployment, and whatever has no key of its own.
    #[default]
    Deployment,
    /// A CronJob.
    CronJob,
    /// A Job.
    Job,
    /// A pod without an owner.
    Pod,
}

/// Telemetry's view of the peer. Claims of its agent: no policy may rest on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baggage {
    /// `k8s.cluster.name`
    pub cluster: Option<ClusterName>,
    /// `k8s.namespace.name`
    pub namespace: Option<Namespace>,
    /// Which of `k8s.{deployment,cronjob,job,pod}.name` carries `workload`.
    pub kind: WorkloadKind,
    /// The workload's name.
    pub workload: Option<Arc<str>>,
    /// `service.name`: Istio's canonical service.
    pub service: Option<Arc<str>>,
    /// `service.version`: Istio's canonical revision.
    pub version: Option<Arc<str>>,
    /// `cloud.region`
    pub region: Option<Arc<str>>,
    /// `cloud.availability_zone`
    pub zone: Option<Arc<str>>,
}

impl Baggage {
    /// The header's value; `None` when there is nothing to say.
    pub fn encode(&self) -> Option<HeaderValue> {
        let pairs = [
            ("k8s.cluster.name", self.cluster.as_ref().map(ClusterName::as_str)),
            ("k8s.namespace.name", self.namespace.as_ref().map(Namespace::as_str)),
            (self.kind.key(), self.workload.as_deref()),
            ("service.name", self.service.as_deref()),
            ("service.version", self.version.as_deref()),
            ("cloud.region", self.region.as_deref()),
            ("cloud.availability_zone", self.zone.as_deref()),
        ];
        let mut text = String::with_capacity(256);
        for (key, value) in pairs {
            let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}{key}=");
            escape(value, &mut text);
        }
        Some(text).filter(|text| !text.is_empty()).and_then(|text| text.try_into().ok())
    }

    /// Reads every `baggage` header of a message; what is not understood is passed over.
    pub fn decode<'a>(values: impl IntoIterator<Item = &'a HeaderValue>) -> Self {
        let mut baggage = Self::default();
        let mut room = MAX_HEADER;
        for value in values {
            let Some(left) = room.checked_sub(value.len()) else { break };
            room = left;
            let Ok(text) = value.to_str() else { continue };
            text.split(',').for_each(|member| baggage.member(member));
        }
        baggage
    }

    fn member(&mut self, member: &str) {
        let member = member.split(';').next().unwrap_or_default();
        let Some((key, value)) = member.split_once('=') else { return };
        let value = unescape(value.trim());
        if value.is_empty() || value.len() > MAX_VALUE {
            return;
        }
        match key.trim() {
            "k8s.cluster.name" => self.cluster = Some(value.into()),
            "k8s.namespace.name" => self.namespace = Some(value.into()),
            "service.name" => self.service = Some(value.into()),
            "service.version" => self.version = Some(value.into()),
            "cloud.region" => self.region = Some(value.into()),
            "cloud.availability_zone" => self.zone = Some(value.into()),
            key => {
                let Some(kind) = WorkloadKind::of(key) else { return };
                self.kind = kind;
                self.workload = Some(value.into());
            }
        }
    }
}

impl WorkloadKind {
    const ALL: [Self; 4] = [Self::Deployment, Self::CronJob, Self::Job, Self::Pod];

    fn key(self) -> &'static str {
        match self {
            Self::Deployment => "k8s.deployment.name",
            Self::CronJob => "k8s.cronjob.name",
            Self::Job => "k8s.job.name",
            Self::Pod => "k8s.pod.name",
        }
    }

    fn of(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.key() == key)
    }
}

/// Escapes what is no baggage-octet (W3C Baggage, 3.2.1.2), and the escape itself.
fn escape(value: &str, text: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'%' | b'"' | b',' | b';' | b'\\' | ..=0x20 | 0x7f.. => {
                let _ = write!(text, "%{byte:02X}");
            }
            byte => text.push(char::from(byte)),
        }
    }
}

/// Undoes [`escape`]; a `%` that starts no escape stands for itself, as ztunnel escapes nothing.
fn unescape(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        bytes.push(escaped.map_or(*first, |(high, low)| high << 4 | low));
        rest = &tail[if escaped.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_ztunnel_writes_it() {
        let baggage = Baggage {
            cluster: Some("K1".into()),
            namespace: Some("NS1".into()),
            workload: Some("N1".into()),
            service: Some("N2".into()),
            version: Some("V1".into()),
            ..Baggage::default()
        };
        let text =
            "k8s.cluster.name=K1,k8s.namespace.name=NS1,k8s.deployment.name=N1,service.name=N2,service.version=V1";
        assert_eq!(baggage.encode().unwrap(), text);
        assert_eq!(Baggage::decode(&[HeaderValue::from_static(text)]), baggage);
        let several = text.split(',').map(|member| HeaderValue::from_str(member).unwrap()).collect::<Vec<_>>();
        assert_eq!(Baggage::decode(&several), baggage);
        assert_eq!(Baggage::default().encode(), None);
    }

    #[test]
    fn any_value_survives() {
        for value in ["100%", "a,b;c=d", "grüße", "\"\\\n", "%41"] {
            let baggage = Baggage { service: Some(value.into()), kind: WorkloadKind::Job, ..Baggage::default() };
            let decoded = Baggage::decode(&[baggage.encode().unwrap()]);
            assert_eq!(decoded.service.as_deref(), Some(value));
        }
    }

    #[test]
    fn nonsense_is_passed_over() {
        for text in ["", ",,,", "=", "a", "service.name", "service.name=", "%%%=%", "other=x;p=1"] {
            assert_eq!(Baggage::decode(&[HeaderValue::from_str(text).unwrap()]), Baggage::default(), "{text}");
        }
        let long = format!("service.name={}", "x".repeat(300));
        assert_eq!(Baggage::decode(&[HeaderValue::from_str(&long).unwrap()]), Baggage::default());
        let binary = HeaderValue::from_bytes(b"service.name=\xff\xfe").unwrap();
        assert_eq!(Baggage::decode(&[binary]), Baggage::default());
        let properties = HeaderValue::from_static("service.name=web;ttl=3 , unknown=1, k8s.pod.name = p%");
        let read = Baggage::decode(&[properties]);
        assert_eq!((read.service.as_deref(), read.workload.as_deref()), (Some("web"), Some("p%")));
        assert_eq!(read.kind, WorkloadKind::Pod);
    }
}
