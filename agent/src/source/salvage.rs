//! What can still be told of a policy in a document that is no valid YAML: enough to deny.

use super::item::{Item, ItemKey, Outcome};
use super::kinds::ItemKind;
use super::{Scope, authorization_policy, name, peer_authentication, request_authentication};
use crate::model::authorization_policy::Selection;
use crate::model::{Kind, Labels, Object, ObjectId, Origin};

/// The denying policy for a broken document that says it is one, and what to say about it.
pub fn policy(source: &Scope<'_>, text: &str, at: &str) -> Option<(Item, String)> {
    let word = |key| value_of(text, key).filter(|word| name::is_subdomain(word));
    let namespace = word("namespace").unwrap_or("default");
    let object = word("name").unwrap_or("unreadable");
    let id = ObjectId { namespace: namespace.into(), name: object.into() };
    let origin = Origin(at.into());
    let (kind, policy, taken) = match value_of(text, "kind")? {
        "PeerAuthentication" => {
            let scope = peer_authentication::scope(source, &id, Labels::new());
            let policy = peer_authentication::denying(&id, origin.clone(), scope);
            (Kind::PeerAuthentication, Object::PeerAuthentication(policy), "taken as STRICT for all that it may be for")
        }
        "AuthorizationPolicy" if !says(text, "action", "AUDIT") && !says(text, "istio.io/dry-run", "true") => {
            let policy = authorization_policy::denying(source, &id, origin.clone(), Selection::All);
            (Kind::AuthorizationPolicy, Object::AuthorizationPolicy(policy), "everything that it may be for is denied")
        }
        "RequestAuthentication" => {
            let policy = request_authentication::refusing(source, &id, origin.clone(), Selection::All);
            let policy = Object::RequestAuthentication(policy);
            (Kind::RequestAuthentication, policy, "requests get 401 from all that it may be for")
        }
        _ => return None,
    };
    let key = ItemKey { kind: ItemKind::Mesh(kind), id };
    let what = format!("{key} cannot be read: {taken}");
    Some((Item { key, at: origin, outcome: Outcome::Denies { policy: Box::new(policy), scope_read: false } }, what))
}

fn says(text: &str, key: &str, word: &str) -> bool {
    value_of(text, key) == Some(word)
}

/// The value of the first line `key: value`, however far it is indented (JSON: `"key": "value",`).
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let bare = |word: &'a str| word.trim_matches([' ', '\t', '\r', '"', '\'', ',', '{']);
    text.lines().filter_map(|line| line.split_once(':')).find_map(|(before, after)| {
        let after = after.split(" #").next().unwrap_or_default();
        (bare(before) == key).then(|| bare(after)).filter(|value| !value.is_empty())
    })
}
