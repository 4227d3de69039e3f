//! What an HTTP rule does with the requests that it takes, made ready when it is bound.

use super::Backends;
use super::action::Action;
use super::cors::Sharing;
use super::edits::{Edits, NewAuthority, host};
use super::path::PathEdit;
use super::redirect::Redirection;
use super::target::Target;
use crate::model::http_rule::{Fault, HttpAction, Mirror, Share};
use crate::model::{Filters, HttpRule, WeightedDestination};
use crate::vocab::Hostname;
use bytes::Bytes;
use http::StatusCode;
use std::sync::Arc;

/// What an HTTP rule does.
#[derive(Debug)]
pub(super) struct Treatment {
    pub(super) action: Action,
    pub(super) fault: Fault,
    pub(super) cors: Option<Sharing>,
    /// What it answers with instead of sending the request on.
    pub(super) own: Option<Own>,
    /// One for each of the action's destinations.
    pub(super) ways: Box<[Way]>,
    pub(super) mirrors: Box<[Copies]>,
}

/// An answer that is given by itself.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) kind: Kind,
    pub(super) edits: Edits,
}

#[derive(Debug)]
pub(super) enum Kind {
    Redirect(Redirection),
    Direct(StatusCode, Bytes),
}

/// What is done on the way to one of the rule's destinations.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) path: Option<PathEdit>,
    pub(super) authority: Option<NewAuthority>,
    pub(super) request: Edits,
    pub(super) response: Edits,
    pub(super) redirect: Option<Own>,
    /// Where the rule has none.
    pub(super) cors: Option<Sharing>,
    pub(super) mirrors: Box<[Copies]>,
}

/// Where copies go.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) share: Share,
    pub(super) target: Target,
}

impl Treatment {
    pub(super) fn new(action: Action, rule: &HttpRule, find: &impl Fn(&Hostname) -> Option<Arc<Backends>>) -> Self {
        let filters = &rule.filters;
        let kind = match &rule.action {
            HttpAction::Redirect(redirect) => Some(Kind::Redirect(Redirection::new(redirect))),
            HttpAction::Direct(direct) => Some(Kind::Direct(direct.status, Bytes::copy_from_slice(&direct.body))),
            HttpAction::Forward(_) | HttpAction::Delegate(_) => None,
        };
        Self {
            action,
            fault: rule.fault.clone(),
            cors: filters.cors.as_ref().map(Sharing::new),
            own: kind.map(|kind| Own { kind, edits: Edits::new([&filters.response]) }),
            ways: rule.route().iter().map(|to| Way::new(filters, to, find)).collect(),
            mirrors: copies(&filters.mirrors, find),
        }
    }

    /// All that copies go to, of the rule and of its destinations.
    pub(super) fn copies(&self) -> impl Iterator<Item = &Copies> {
        self.mirrors.iter().chain(self.ways.iter().flat_map(|way| &way.mirrors))
    }
}

impl Way {
    fn new(rule: &Filters, to: &WeightedDestination, find: &impl Fn(&Hostname) -> Option<Arc<Backends>>) -> Self {
        let rewrites = || [&to.filters, rule].into_iter().filter_map(|filters| filters.rewrite.as_ref());
        // Rewrites come before headers, and a rule before its destinations, as Istio has it.
        let hosts = [&rule.request, &to.filters.request].into_iter().filter_map(host);
        let authority = rewrites().filter_map(|rewrite| rewrite.authority.as_ref()).chain(hosts).next();
        let response = || Edits::new([&rule.response, &to.filters.response]);
        let redirect = to.redirect.as_ref().map(|redirect| Kind::Redirect(Redirection::new(redirect)));
        Self {
            path: rewrites().find_map(|rewrite| rewrite.path.as_ref()).map(PathEdit::new),
            authority: authority.map(NewAuthority::new),
            request: Edits::new([&rule.request, &to.filters.request]),
            response: response(),
            redirect: redirect.map(|kind| Own { kind, edits: response() }),
            cors: to.filters.cors.as_ref().map(Sharing::new),
            mirrors: copies(&to.filters.mirrors, find),
        }
    }
}

fn copies(mirrors: &[Mirror], find: &impl Fn(&Hostname) -> Option<Arc<Backends>>) -> Box<[Copies]> {
    let usable = mirrors.iter().filter(|mirror| mirror.broken.is_none());
    usable.map(|mirror| Copies { share: mirror.share, target: Target::new(&mirror.destination, find) }).collect()
}
