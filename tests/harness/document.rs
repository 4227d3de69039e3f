//! Manifest files taken apart into documents, each with its text as it was written.

use serde_json::Value;

/// One document of a manifest file.
#[derive(Clone, Debug)]
pub struct Document {
    /// As written, comments included.
    pub text: String,
    /// Where it goes; `None` where the text is no object that could be addressed.
    pub object: Option<Object>,
}

/// A parsed object with what addresses it.
#[derive(Clone, Debug)]
pub struct Object {
    /// `Service`, ...
    pub kind: String,
    /// `default` where the document has none; empty for kinds without namespaces.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// All of it.
    pub value: Value,
}

/// Kinds without a namespace that a lab meets.
const CLUSTER_SCOPED: [&str; 6] =
    ["Namespace", "Node", "GatewayClass", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"];

impl Object {
    /// Addresses a parsed document; `None` without kind or name, or with ones that are no file names.
    pub fn new(value: Value) -> Option<Self> {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (kind, name) = (text("/kind")?, text("/metadata/name")?);
        let namespace = match CLUSTER_SCOPED.contains(&kind.as_str()) {
            true => String::new(),
            false => text("/metadata/namespace").unwrap_or_else(|| "default".to_owned()),
        };
        let plain = |word: &str| !word.contains('/') && !word.starts_with('.');
        let usable = plain(&kind) && plain(&name) && plain(&namespace) && !kind.is_empty() && !name.is_empty();
        usable.then_some(Self { kind, namespace, name, value })
    }

    /// A string below the object, by JSON pointer; empty where absent.
    pub fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

/// The documents of a file; empty ones (comments only) are left out, the items of a `List` stand alone.
pub fn split(text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    for part in parts(text) {
        match serde_saphyr::from_str::<Value>(&part) {
            Ok(Value::Null) => {}
            Ok(value) if value.get("kind").and_then(Value::as_str) == Some("List") => {
                let items = value.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                documents.extend(items.into_iter().map(generated));
            }
            Ok(value) => documents.push(Document { text: part, object: Object::new(value) }),
            Err(_) => documents.push(Document { text: part, object: None }),
        }
    }
    documents
}

/// A document that the lab wrote itself.
pub fn generated(value: Value) -> Document {
    Document { text: pretty(&value), object: Object::new(value) }
}

/// JSON, which is YAML too.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

// YAML 1.2 section 9.1.4: a document starts at a line that begins with `---` and white space.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let marker = line.strip_prefix("---").filter(|rest| rest.trim_start().len() != rest.len() || rest.is_empty());
        match marker {
            Some(_) => parts.push(String::new()),
            None => parts.last_mut().map(|part| part.push_str(line)).unwrap_or_default(),
        }
    }
    parts.retain(|part| part.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# licence\n---\nkind: Service\nmetadata: {name: a} # kept\n---\nkind: [\n--- \nfoo: bar\n---\n";

    #[test]
    fn documents_keep_their_text_and_broken_ones_stay() {
        let documents = split(FILE);
        assert_eq!(documents.len(), 3);
        assert!(documents[0].text.contains("# kept"));
        let object = documents[0].object.as_ref().unwrap();
        assert_eq!((object.kind.as_str(), object.namespace.as_str()), ("Service", "default"));
        assert!(documents[1].object.is_none() && documents[1].text == "kind: [\n");
        assert!(documents[2].object.is_none());
    }

    #[test]
    fn a_list_is_its_items() {
        let list = r#"{"kind":"List","items":[{"kind":"Node","metadata":{"name":"n"}},{"kind":"X"}]}"#;
        let documents = split(list);
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].object.as_ref().unwrap().namespace, "");
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        assert!(Object::new(serde_json::json!({"kind": "A", "metadata": {"name": "../../etc"}})).is_none());
    }
}
