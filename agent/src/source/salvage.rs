//! What can still be told of a policy in a document that is no valid YAML: enough to deny.

use super::Scope;
use super::item::{Item, ItemKey, Outcome};
use super::kinds::ItemKind;
use super::name;
use super::peer_authentication::{denying, scope};
use crate::model::{Kind, Labels, ObjectId, Origin};

/// The denying policy for a broken document that says `kind: PeerAuthentication`, and what to say about it.
pub fn peer_authentication(source: &Scope<'_>, text: &str, at: &str) -> Option<(Item, String)> {
    value_of(text, "kind").filter(|kind| *kind == "PeerAuthentication")?;
    let word = |key| value_of(text, key).filter(|word| name::is_subdomain(word));
    let namespace = word("namespace").unwrap_or("default");
    let object = word("name").unwrap_or("unreadable");
    let id = ObjectId { namespace: namespace.into(), name: object.into() };
    let key = ItemKey { kind: ItemKind::Mesh(Kind::PeerAuthentication), id: id.clone() };
    let origin = Origin(at.into());
    let policy = denying(&id, origin.clone(), scope(source, &id, Labels::new()));
    let what = format!("PeerAuthentication {id} cannot be read: taken as STRICT for all that it may be for");
    Some((Item { key, at: origin, outcome: Outcome::Denies { policy, scope_read: false } }, what))
}

/// The value of the first line `key: value`, however far it is indented (JSON: `"key": "value",`).
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let bare = |word: &'a str| word.trim_matches([' ', '\t', '\r', '"', '\'', ',', '{']);
    text.lines().filter_map(|line| line.split_once(':')).find_map(|(before, after)| {
        let after = after.split(" #").next().unwrap_or_default();
        (bare(before) == key).then(|| bare(after)).filter(|value| !value.is_empty())
    })
}
