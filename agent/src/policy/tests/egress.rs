//! Where pods may go beyond the mesh.

use super::*;
use crate::model::{OutboundMode, Scope, Sidecar};
use crate::snapshot::fixtures::{labels, object_id, pod, put};

fn sidecar(id: &str, scope: Scope, mode: Option<OutboundMode>) -> Sidecar {
    Sidecar { id: object_id(id), origin: crate::model::Origin(id.into()), scope, mode }
}

/// Who refuses it, if anybody does.
fn refused(all: &[Sidecar], default: OutboundMode) -> Option<String> {
    let web = pod("shop/web", "10.0.0.1", &[("app", "web")]);
    let mut table = World::new(all.iter().cloned().map(put).collect()).snapshot.policies.clone();
    table.set_outbound(default);
    assert!(authorize_outbound(&table, &web, Beyond::No).is_ok(), "the mesh is always reached");
    authorize_outbound(&table, &web, Beyond::Yes).err().map(|denied| denied.rule.to_string())
}

#[test]
fn the_nearest_sidecar_decides_and_else_the_flag() {
    let (any, only) = (Some(OutboundMode::AllowAny), Some(OutboundMode::RegistryOnly));
    let mesh = |mode| sidecar("istio-system/default", Scope::Mesh, mode);
    let shop = |mode| sidecar("shop/default", Scope::Namespace, mode);
    let web = |mode| sidecar("shop/web", Scope::Workload(labels(&[("app", "web")])), mode);
    let other = sidecar("shop/a", Scope::Workload(labels(&[("app", "other")])), only);
    let bank = sidecar("bank/default", Scope::Namespace, only);
    let flag = Some("--outbound-traffic-policy");
    for (all, default, expected) in [
        (vec![], OutboundMode::AllowAny, None),
        (vec![], OutboundMode::RegistryOnly, flag),
        (vec![mesh(only), bank.clone(), other.clone()], OutboundMode::AllowAny, Some("Sidecar istio-system/default")),
        (vec![mesh(only), shop(any)], OutboundMode::RegistryOnly, None),
        (vec![shop(only)], OutboundMode::AllowAny, Some("Sidecar shop/default")),
        (vec![shop(only), web(any)], OutboundMode::AllowAny, None),
        (vec![shop(any), web(only)], OutboundMode::AllowAny, Some("Sidecar shop/web")),
        (vec![shop(any), web(None)], OutboundMode::RegistryOnly, flag),
        (vec![bank, other], OutboundMode::AllowAny, None),
    ] {
        assert_eq!(refused(&all, default).as_deref(), expected, "{all:#?} {default:?}");
    }
}
