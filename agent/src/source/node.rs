//! Node: its labels say where its pods are.

use super::item::{Meaning, Raw};
use crate::model::{Labels, Locality};

const REGION: [&str; 2] = ["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"];
const ZONE: [&str; 2] = ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"];
const SUBZONE: &str = "topology.istio.io/subzone";

/// Reads a node. Nothing in it can be wrong for the mesh.
pub fn read(raw: &Raw<'_>) -> Meaning {
    Meaning::Node(locality(&raw.meta.labels))
}

fn locality(labels: &Labels) -> Locality {
    let first = |keys: &[&str]| keys.iter().find_map(|key| labels.get(*key)).cloned().unwrap_or_default();
    Locality { region: first(&REGION), zone: first(&ZONE), subzone: first(&[SUBZONE]) }
}

/// A pod's own word, the label `istio-locality`: `region.zone.subzone`, as a label's value cannot have a `/`.
pub fn own_locality(value: &str) -> Option<Locality> {
    let separator = if value.contains('/') { '/' } else { '.' };
    let mut parts = value.splitn(3, separator).map(|part| part.into());
    let region = parts.next()?;
    Some(Locality { region, zone: parts.next().unwrap_or_default(), subzone: parts.next().unwrap_or_default() })
}
