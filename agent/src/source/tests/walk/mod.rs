//! Every leaf field of the CRDs is implemented or reported: no field is dropped in silence.
//!
//! For each leaf a minimal manifest is made twice, without the field and with it, and read as an agent reads it. A field
//! is implemented where what the data path gets differs and nothing is said, and reported where something is said at
//! its place (or at a part around it). `implemented.txt` is the reviewed list of the former; `UNDERPASS_BLESS=1` writes
//! it, and the lists of leaves from `../shared/crds` where those are.

mod gateway;
mod leaves;
mod samples;

use super::config;
use crate::model::Finding;
use crate::snapshot::Assembler;
use crate::source::{Declared, Text, read_given};
use leaves::{Kind, Leaf};
use samples::Sample;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What came of a leaf.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// The model with it differs, and nothing is said.
    Implemented,
    /// Something is said where it stands.
    Reported(String),
    /// Nothing is said, and nothing differs.
    Dropped,
    /// Something is said elsewhere only: the sample is not valid.
    Astray(String),
}

fn here(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source/tests/walk").join(below)
}

fn blessing() -> bool {
    std::env::var_os("UNDERPASS_BLESS").is_some()
}

/// What a manifest says, and the object itself, to find places in it.
struct Read {
    model: String,
    findings: Vec<Finding>,
    object: Declared,
}

fn read(kind: &Kind, spec: &Value) -> Read {
    let object =
        json!({ "apiVersion": kind.api_version(), "kind": kind.name, "metadata": { "name": "it" }, "spec": spec });
    // Every part on a line of its own, so that places tell them apart.
    let it = Text { name: "it".to_owned(), text: format!("{object:#}") };
    let subsets = if kind.name == "DestinationRule" { "" } else { samples::SUBSETS };
    let around = Text { name: "around".to_owned(), text: format!("{}{subsets}", samples::AROUND) };
    let given = read_given(config(&[]), &[around, it]);
    let model = without_origins(&format!("{:?}", given.update.changes));
    let mut findings = given.update.findings;
    findings.extend(Assembler::new("east".into()).apply(given.update.changes).1);
    let object = given.declared.into_iter().find(|one| one.kind == kind.name && &*one.id.name == "it");
    Read { model, findings, object: object.unwrap() }
}

/// Where an object stands differs by what is above it.
fn without_origins(model: &str) -> String {
    let mut parts = model.split("Origin(\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once("\")").map_or("", |(_, rest)| rest))
}

/// What a sample names need not be there.
const NAMED: &[&str] = &["missing-credential", "missing-provider"];

fn fate(kind: &Kind, leaf: &Leaf, sample: &Sample) -> Fate {
    let (before, after) = (read(kind, &sample.without), read(kind, &sample.with));
    let news = |finding: &&Finding| {
        let same = |other: &Finding| (other.code, &other.message) == (finding.code, &finding.message);
        !before.findings.iter().any(same)
    };
    let news: Vec<&Finding> =
        after.findings.iter().filter(|finding| !NAMED.contains(&finding.code)).filter(news).collect();
    let said = |finding: &Finding| format!("{} {}", finding.code, finding.message);
    let places = places(&after.object, leaf);
    // What is around it may be unsupported as a whole, which is said of both.
    let whole = after.findings.iter().filter(|finding| finding.code.starts_with("unsupported"));
    if let Some(finding) = news.iter().copied().chain(whole).find(|finding| places.contains(&finding.at)) {
        return Fate::Reported(said(finding));
    }
    match news.first() {
        Some(finding) => Fate::Astray(said(finding)),
        None if before.model != after.model => Fate::Implemented,
        None => Fate::Dropped,
    }
}

/// Where the leaf and the parts around it stand, but for `spec` itself.
fn places(object: &Declared, leaf: &Leaf) -> Vec<String> {
    let pointers = leaf.pointers();
    pointers.iter().flat_map(|pointer| [object.at(pointer), object.key_at(pointer)]).map(|at| at.to_string()).collect()
}

/// The fate of every leaf of the kinds that are read, by `Kind path`; an enumeration has one for each value.
fn fates() -> &'static BTreeMap<String, Fate> {
    static FATES: OnceLock<BTreeMap<String, Fate>> = OnceLock::new();
    FATES.get_or_init(walk)
}

fn walk() -> BTreeMap<String, Fate> {
    let mut fates = BTreeMap::new();
    for kind in leaves::kinds().iter().filter(|kind| is_read(kind)) {
        for leaf in kind.leaves() {
            for sample in samples::of(kind, &leaf) {
                let name = format!("{} {}{}", kind.name, leaf.path, sample.suffix);
                fates.insert(name, fate(kind, &leaf, &sample));
            }
        }
    }
    fates
}

#[test]
fn every_leaf_is_implemented_or_reported() {
    let fates = fates();
    let implemented: String =
        fates.iter().filter(|(_, fate)| **fate == Fate::Implemented).map(|(name, _)| format!("{name}\n")).collect();
    for (name, fate) in fates {
        println!("{name}: {fate:?}");
    }
    let bad = |(name, fate): &(&String, &Fate)| {
        let settled = samples::SETTLED.iter().any(|kind| name.starts_with(kind));
        let neutral = samples::NEUTRAL.iter().any(|(neutral, _)| neutral == name);
        settled && !neutral && matches!(fate, Fate::Dropped | Fate::Astray(_))
    };
    let bad: Vec<_> = fates.iter().filter(bad).collect();
    assert!(bad.is_empty(), "neither implemented nor reported: {bad:#?}");
    if blessing() {
        std::fs::write(here("implemented.txt"), &implemented).unwrap();
    }
    let listed = std::fs::read_to_string(here("implemented.txt")).unwrap();
    let (listed, now): (BTreeSet<&str>, BTreeSet<&str>) = (listed.lines().collect(), implemented.lines().collect());
    let (lost, new): (Vec<_>, Vec<_>) = (listed.difference(&now).collect(), now.difference(&listed).collect());
    let hint = "review the change, then UNDERPASS_BLESS=1 cargo test -p underpass walk";
    assert!(lost.is_empty() && new.is_empty(), "{hint}; no longer implemented: {lost:#?}, implemented now: {new:#?}");
}

#[test]
fn what_needs_no_effect_has_none() {
    let fates = fates();
    for (name, why) in samples::NEUTRAL {
        assert_eq!(fates.get(*name), Some(&Fate::Dropped), "{name} is said to be neutral ({why})");
    }
}

/// Whether a kind is read field by field: otherwise any object of it is reported as a whole.
fn is_read(kind: &Kind) -> bool {
    let found = read(kind, &json!({})).findings;
    !found.iter().any(|finding| finding.code == "unsupported-kind" && finding.at == "it:1:1")
}

#[test]
fn the_kinds_that_are_read_are_these() {
    let kinds = leaves::kinds();
    let mut read: Vec<&str> = kinds.iter().filter(|kind| is_read(kind)).map(|kind| kind.name.as_str()).collect();
    read.dedup();
    for kind in samples::SETTLED {
        assert!(read.contains(kind), "{kind} is not read: {read:?}");
    }
}

#[test]
fn the_lists_of_leaves_are_those_of_the_crds() {
    let Some(crds) = leaves::from_crds() else { return };
    for (file, text) in crds {
        if blessing() {
            std::fs::write(here("leaves").join(&file), &text).unwrap();
        }
        let listed = std::fs::read_to_string(here("leaves").join(&file)).unwrap_or_default();
        assert!(listed == text, "{file} differs from ../shared/crds: UNDERPASS_BLESS=1 cargo test walk");
    }
}
