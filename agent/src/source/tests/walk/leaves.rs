//! The leaf fields of the CRDs: lists that are committed, and their source where it is at hand.

use super::here;
use crate::source::yaml;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A kind in one version.
pub struct Kind {
    pub name: String,
    group: String,
    version: String,
}

/// A leaf field of a kind's `spec`.
pub struct Leaf {
    /// `[]` is a list, `{}` a map with free keys.
    pub path: String,
    /// The type, with its format where it has one.
    pub kind: String,
    /// What an enumeration has.
    pub values: Vec<String>,
}

/// The key that stands for all keys of a map.
pub const FREE_KEY: &str = "x-key";

impl Kind {
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// The leaves, which are the same in every version.
    pub fn leaves(&self) -> Vec<Leaf> {
        let file = here("leaves").join(format!("{}.{}.txt", self.name, self.group));
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        text.lines().map(Leaf::parse).collect()
    }
}

impl Leaf {
    fn parse(line: &str) -> Self {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (path, kind, values) = (word(), word(), word());
        let values = values.split('|').filter(|value| !value.is_empty()).map(str::to_owned).collect();
        Self { path, kind, values }
    }

    /// JSON pointers to the leaf and to the parts around it, in an object that has one item in each list.
    pub fn pointers(&self) -> Vec<String> {
        let (mut at, mut pointers) = ("/spec".to_owned(), Vec::new());
        for step in steps(&self.path) {
            at = format!("{at}/{step}");
            pointers.push(at.clone());
        }
        pointers
    }
}

/// The keys and indexes of a path: `a[].b{}` is `a`, `0`, `b`, `x-key`.
pub fn steps(path: &str) -> Vec<String> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let name = part.trim_end_matches(['[', ']', '{', '}']);
        steps.push(name.to_owned());
        for brackets in part.as_bytes()[name.len()..].chunks(2) {
            steps.push(if brackets == b"[]" { "0".to_owned() } else { free_key(name).to_owned() });
        }
    }
    steps
}

/// Keys of maps are of the kind that the map has.
fn free_key(map: &str) -> &str {
    match map {
        "portLevelMtls" => "8080",
        "to" => "region/zone/*",
        _ => FREE_KEY,
    }
}

/// Every kind in every version, from the committed list.
pub fn kinds() -> Vec<Kind> {
    let text = std::fs::read_to_string(here("leaves/kinds.txt")).unwrap();
    let kind = |line: &str| {
        let [group, version, name] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        Kind { name: name.to_owned(), group: group.to_owned(), version: version.to_owned() }
    };
    text.lines().map(kind).collect()
}

/// What the committed files have to be; none where `../shared/crds` is not beside the workspace.
pub fn from_crds() -> Option<BTreeMap<String, String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let places = ["../shared/crds", "../../shared/crds"].map(|below| root.join(below));
    let Some(dir) = places.into_iter().find(|dir| dir.is_dir()) else {
        eprintln!("skipped: there is no ../shared/crds beside the workspace");
        return None;
    };
    let (mut files, mut kinds) = (BTreeMap::new(), Vec::new());
    for file in ["istio.yaml", "gateway-api.yaml"] {
        let text = std::fs::read_to_string(dir.join(file)).unwrap();
        for crd in documents(&text) {
            let word = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
            let (group, kind) = (word("/spec/group"), word("/spec/names/kind"));
            for version in crd["spec"]["versions"].as_array().unwrap().iter().filter(|one| one["served"] == true) {
                kinds.push(format!("{group} {} {kind}\n", version["name"].as_str().unwrap()));
                let mut leaves = Vec::new();
                list(&version["schema"]["openAPIV3Schema"]["properties"]["spec"], String::new(), &mut leaves);
                leaves.sort();
                let file: &mut String = files.entry(format!("{kind}.{group}.txt")).or_default();
                // The version with most of them: an older one may lack some.
                if file.lines().count() < leaves.len() {
                    *file = leaves.concat();
                }
            }
        }
    }
    kinds.sort();
    files.insert("kinds.txt".to_owned(), kinds.concat());
    Some(files)
}

/// The documents of a file whose separators may be missing.
fn documents(text: &str) -> Vec<Value> {
    let marker = "apiVersion: apiextensions.k8s.io/v1\n";
    let crd = |part: &str| {
        let text = format!("{marker}{}", part.trim_end().trim_end_matches("---"));
        yaml::parse(&text, 1).unwrap().unwrap().to_value()
    };
    text.split(marker).skip(1).map(crd).collect()
}

fn list(schema: &Value, at: String, leaves: &mut Vec<String>) {
    if let Some(fields) = schema["properties"].as_object() {
        for (name, field) in fields {
            let dot = if at.is_empty() { "" } else { "." };
            list(field, format!("{at}{dot}{name}"), leaves);
        }
    } else if schema["additionalProperties"].is_object() {
        list(&schema["additionalProperties"], format!("{at}{{}}"), leaves);
    } else if schema["items"].is_object() {
        list(&schema["items"], format!("{at}[]"), leaves);
    } else if !at.is_empty() {
        let kind = schema["type"].as_str().unwrap_or("any");
        let format = schema["format"].as_str().map(|format| format!(":{format}")).unwrap_or_default();
        let values = schema["enum"].as_array().into_iter().flatten();
        let values: Vec<String> = values.map(|one| one.as_str().map_or(one.to_string(), str::to_owned)).collect();
        leaves.push(format!("{at} {kind}{format} {}\n", values.join("|")).replace(" \n", "\n"));
    }
}
