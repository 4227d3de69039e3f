//! The validated objects of the files, by kind.

use crate::model::{AuthorizationPolicy, Change, DestinationRule, Object, PeerAuthentication, Service, VirtualService};

/// What the data path would read.
#[derive(Default)]
pub(super) struct Objects<'a> {
    pub(super) services: Vec<&'a Service>,
    pub(super) virtual_services: Vec<&'a VirtualService>,
    pub(super) destination_rules: Vec<&'a DestinationRule>,
    pub(super) policies: Vec<&'a PeerAuthentication>,
    pub(super) authorizations: Vec<&'a AuthorizationPolicy>,
}

impl<'a> Objects<'a> {
    pub(super) fn of(changes: &'a [Change]) -> Self {
        let mut objects = Self::default();
        for change in changes {
            match change {
                Change::Upsert(_, Object::Service(one)) => objects.services.push(one),
                Change::Upsert(_, Object::VirtualService(one)) => objects.virtual_services.push(one),
                Change::Upsert(_, Object::DestinationRule(one)) => objects.destination_rules.push(one),
                Change::Upsert(_, Object::PeerAuthentication(one)) => objects.policies.push(one),
                Change::Upsert(_, Object::AuthorizationPolicy(one)) => objects.authorizations.push(one),
                Change::Upsert(..) | Change::Remove(_) => {}
            }
        }
        objects
    }
}
