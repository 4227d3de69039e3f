//! AuthorizationPolicy: who may do what. One that cannot be read denies all that it may be for.

mod attribute;
pub mod raw;
mod rules;
pub mod selection;
mod values;

use super::Scope;
use super::decode::{Strictness, decode};
use super::item::{Meaning, Outcome, Raw};
use super::notes::Notes;
use super::path::Path;
use super::schema::AUTHORIZATION_POLICY;
use crate::model::authorization_policy::{Action, AuthorizationRule, Selection};
use crate::model::{AuthorizationPolicy, Object, ObjectId, Origin};
use raw::Spec;
use rules::Reading;

/// The fields of `spec`, as far as a selection that is to be trusted may stand beside them.
const KNOWN: &[&str] = &["action", "rules", "provider", "selector", "targetRef", "targetRefs"];
/// The annotation of policies that are tried out.
const DRY_RUN: &str = "istio.io/dry-run";

/// Reads an AuthorizationPolicy; `readable` tells whether its metadata was in order.
pub fn read(source: &Scope<'_>, raw: &Raw<'_>, readable: bool, notes: &mut Notes<'_>) -> Outcome {
    if let Some(policy) = understand(source, raw, notes).filter(|_| readable) {
        return Outcome::Ready(Meaning::object(Object::AuthorizationPolicy(policy)));
    }
    if decides_nothing(raw) {
        return Outcome::Refused;
    }
    let found = selection::salvaged(source, raw, KNOWN);
    let scope_read = found.is_some();
    let policy = denying(source, &raw.id, raw.origin(notes), found.unwrap_or(Selection::All));
    let what = format!("everything is denied {} until this is corrected", described(&policy));
    notes.error("policy-denies", &raw.path, what);
    Outcome::Denies { policy: Box::new(Object::AuthorizationPolicy(policy)), scope_read }
}

/// What stands in for a policy that cannot be read.
pub fn denying(source: &Scope<'_>, id: &ObjectId, origin: Origin, selection: Selection) -> AuthorizationPolicy {
    AuthorizationPolicy {
        id: id.clone(),
        origin,
        everywhere: id.namespace.as_str() == source.root_namespace,
        selection,
        action: Action::Deny,
        dry_run: false,
        stand_in: true,
        rules: vec![AuthorizationRule::default()],
    }
}

/// Makes a policy that can no longer be read deny, unless it never denied.
pub fn deny(policy: &mut AuthorizationPolicy) {
    if policy.dry_run || policy.action == Action::Audit {
        return;
    }
    policy.action = Action::Deny;
    policy.stand_in = true;
    policy.rules = vec![AuthorizationRule::default()];
}

/// Whether it says that it denies nothing, so that nothing is to be denied in its place.
fn decides_nothing(raw: &Raw<'_>) -> bool {
    let text = |pointer| raw.value.pointer(pointer).and_then(serde_json::Value::as_str);
    text("/spec/action") == Some("AUDIT") || text("/metadata/annotations/istio.io~1dry-run") == Some("true")
}

fn described(policy: &AuthorizationPolicy) -> String {
    let place = match policy.everywhere {
        true => "the mesh".to_owned(),
        false => format!("the namespace {}", policy.id.namespace),
    };
    match &policy.selection {
        Selection::All => format!("to all of {place}"),
        Selection::Labels(_) => format!("to the selected pods of {place}"),
        Selection::Services(_) | Selection::Nothing => format!("to the pods of its Services in {place}"),
    }
}

fn understand(source: &Scope<'_>, raw: &Raw<'_>, notes: &mut Notes<'_>) -> Option<AuthorizationPolicy> {
    let (spec, path) = raw.part("spec");
    let spec: Spec = decode(&spec, &path, Strictness::Strict(&AUTHORIZATION_POLICY), notes)?.value;
    let before = notes.errors();
    let aimed = (spec.selector.as_ref(), spec.target_ref.as_ref(), spec.target_refs.as_slice());
    let selection = selection::read(source, raw, (aimed, &path), notes);
    let action = action(&spec, &path, notes);
    let dry_run = dry_run(raw, notes);
    let mut reading = Reading { source, namespace: &raw.id.namespace, notes };
    let rules_path = path.key("rules");
    let rules: Vec<_> = (0..).zip(&spec.rules).map(|(at, rule)| reading.rule(rule, &rules_path.index(at))).collect();
    let action = action.filter(|_| notes.errors() == before)?;
    if rules.is_empty() && action != Action::Allow {
        let what =
            format!("a {} policy without rules never matches: write `rules: [{{}}]` to match all", action.as_str());
        notes.warning("policy-without-rules", &path, what);
    }
    let policy = denying(source, &raw.id, raw.origin(notes), selection?);
    Some(AuthorizationPolicy { action, dry_run, stand_in: false, rules, ..policy })
}

fn action(spec: &Spec, path: &Path, notes: &mut Notes<'_>) -> Option<Action> {
    let provider = spec.provider.as_ref().map(|provider| provider.name.as_str());
    let action = match spec.action.as_deref() {
        None | Some("ALLOW") => Action::Allow,
        Some("DENY") => Action::Deny,
        Some("AUDIT") => Action::Audit,
        Some("CUSTOM") => match provider.filter(|name| !name.is_empty()) {
            Some(name) => Action::Custom(name.into()),
            None => {
                notes.error("missing-field", &path.key("action"), "CUSTOM needs `provider.name`: who is to be asked");
                return None;
            }
        },
        Some(other) => {
            let what = format!("`{other}` is not an action: it is ALLOW, DENY, AUDIT or CUSTOM");
            notes.invalid("invalid-value", &path.key("action"), what);
            return None;
        }
    };
    if !matches!(action, Action::Custom(_)) && provider.is_some() {
        notes.error("invalid-value", &path.key("provider"), "only the action CUSTOM has a provider: remove it");
    }
    Some(action)
}

fn dry_run(raw: &Raw<'_>, notes: &mut Notes<'_>) -> bool {
    match raw.meta.annotations.get(DRY_RUN).map(String::as_str) {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let what = format!("`{other}` is not a truth value: write 'true' or 'false'");
            notes.invalid("invalid-value", &raw.path.key("metadata").key("annotations").key(DRY_RUN), what);
            false
        }
    }
}
