//! One YAML (or JSON) document as a tree that knows where each of its parts stands.

use super::path::{Path, Step};
use saphyr::Scalar;
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use serde_json::{Map, Number, Value};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use thiserror::Error;

/// Deeper than any Kubernetes object; a bound, because trees are walked recursively.
const MAX_DEPTH: usize = 64;
/// A bound on what aliases can multiply ("billion laughs") and on the memory that one document takes.
const MAX_NODES: usize = 2_000_000;

/// Where something stands: line and column, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line in the file.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// A part of a document.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it starts.
    pub place: Place,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    /// `text` is the source, for keys: `8080:` is the key "8080".
    Scalar {
        value: Value,
        text: String,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
struct Entry {
    key: String,
    place: Place,
    node: Node,
}

/// Why a document cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what}")]
pub struct SyntaxError {
    /// Where.
    pub place: Place,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Node {
    /// Where the entry or item at `path` starts (an entry: its key), or the nearest part above it that exists.
    pub fn place_of(&self, path: &Path) -> Place {
        self.locate(path).0
    }

    /// Where the value at `path` starts, or the nearest part above it that exists.
    pub fn value_place_of(&self, path: &Path) -> Place {
        self.locate(path).1
    }

    fn locate(&self, path: &Path) -> (Place, Place) {
        let (mut node, mut at) = (self, self.place);
        for step in path.steps() {
            let (next, place) = match (step, &node.content) {
                (Step::Index(index), Content::List(items)) => match items.get(*index) {
                    Some(item) => (item, item.place),
                    None => break,
                },
                (Step::Key(key), Content::Map(entries)) => match entries.iter().find(|entry| &entry.key == key) {
                    Some(entry) => (&entry.node, entry.place),
                    None => break,
                },
                _ => break,
            };
            (node, at) = (next, place);
        }
        (at, node.place)
    }

    /// The content without positions. Entries whose value is null are left out, as the API server does.
    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar { value, .. } => value.clone(),
            Content::List(items) => items.iter().map(Self::to_value).collect(),
            Content::Map(entries) => {
                let entries = entries.iter().map(|entry| (entry.key.clone(), entry.node.to_value()));
                Value::Object(entries.filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
            }
        }
    }
}

/// Reads one document that starts on line `first_line` of its file. `None`: there is nothing in it but comments.
pub fn parse(text: &str, first_line: usize) -> Result<Option<Node>, SyntaxError> {
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = next(&mut parser, first_line)? {
        builder.take(event.0, event.1)?;
    }
    let nothing = |node: &Node| matches!(&node.content, Content::Scalar { value: Value::Null, .. });
    Ok(builder.done.filter(|node| !nothing(node)))
}

fn next<'a>(
    parser: &mut Parser<'a, StrInput<'a>>,
    first_line: usize,
) -> Result<Option<(Event<'a>, Place)>, SyntaxError> {
    let place = |mark: &saphyr_parser::Marker| Place { line: first_line + mark.line() - 1, column: mark.col() + 1 };
    match parser.next_event() {
        None => Ok(None),
        Some(Ok((event, span))) => Ok(Some((event, place(&span.start)))),
        Some(Err(error)) => {
            Err(SyntaxError { place: place(error.marker()), what: format!("this is not valid YAML: {}", error.info()) })
        }
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    done: Option<Node>,
}

struct Open {
    place: Place,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: HashSet<String>, key: Option<(String, Place)>, merged: Vec<Entry> },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let content = scalar(text, style, tag.as_ref(), place)?;
                self.close(Node { place, content }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.descend(place, anchor, OpenKind::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                let kind = OpenKind::Map { entries: Vec::new(), keys: HashSet::new(), key: None, merged: Vec::new() };
                self.descend(place, anchor, kind)
            }
            Event::SequenceEnd | Event::MappingEnd => self.ascend(),
            Event::Alias(anchor) => self.alias(anchor, place),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
        }
    }

    fn descend(&mut self, place: Place, anchor: usize, kind: OpenKind) -> Result<(), SyntaxError> {
        if self.open.len() >= MAX_DEPTH {
            return fail(place, format!("nested more than {MAX_DEPTH} levels deep: no Kubernetes object is"));
        }
        self.open.push(Open { place, anchor, kind });
        Ok(())
    }

    fn ascend(&mut self) -> Result<(), SyntaxError> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let content = match open.kind {
            OpenKind::List(items) => Content::List(items),
            OpenKind::Map { mut entries, keys, merged, .. } => {
                entries.extend(merged.into_iter().filter(|entry| !keys.contains(&entry.key)));
                Content::Map(entries)
            }
        };
        self.close(Node { place: open.place, content }, open.anchor)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), SyntaxError> {
        let Some(mut node) = self.anchors.get(&anchor).cloned() else {
            return fail(place, "this alias stands inside the node that it names".to_owned());
        };
        self.nodes += size(&node);
        node.place = place;
        self.close(node, 0)
    }

    fn close(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return fail(node.place, format!("more than {MAX_NODES} values: split the document"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None if self.done.is_some() => {
                fail(node.place, "a second document starts here without a `---` line before it".to_owned())
            }
            None => {
                self.done = Some(node);
                Ok(())
            }
            Some(OpenKind::List(items)) => {
                items.push(node);
                Ok(())
            }
            Some(OpenKind::Map { entries, keys, key, merged }) => match key.take() {
                None => {
                    *key = Some(map_key(node, keys)?);
                    Ok(())
                }
                Some((name, place)) if name == "<<" => merge(node, merged, place),
                Some((name, place)) => {
                    entries.push(Entry { key: name, place, node });
                    Ok(())
                }
            },
        }
    }
}

fn map_key(node: Node, keys: &mut HashSet<String>) -> Result<(String, Place), SyntaxError> {
    let Content::Scalar { text, .. } = node.content else {
        return fail(node.place, "a key has to be a plain word, not a list or a map".to_owned());
    };
    if !keys.insert(text.clone()) {
        let shown: String = text.chars().take(80).collect();
        return fail(node.place, format!("the key `{shown}` is here twice in one map: remove one of them"));
    }
    Ok((text, node.place))
}

/// YAML 1.1's merge key, which kubectl understands: entries of the map itself win.
fn merge(node: Node, merged: &mut Vec<Entry>, place: Place) -> Result<(), SyntaxError> {
    match node.content {
        Content::Map(entries) => {
            for entry in entries {
                if !merged.iter().any(|other| other.key == entry.key) {
                    merged.push(entry);
                }
            }
            Ok(())
        }
        Content::List(items) => items.into_iter().try_for_each(|item| match item.content {
            Content::Map(_) => merge(item, merged, place),
            _ => fail(place, "`<<` merges maps only".to_owned()),
        }),
        Content::Scalar { .. } => fail(place, "`<<` merges maps only".to_owned()),
    }
}

fn scalar(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<&Cow<'_, Tag>>,
    place: Place,
) -> Result<Content, SyntaxError> {
    let owned = text.clone().into_owned();
    let value = match Scalar::parse_from_cow_and_metadata(text, style, tag) {
        Some(Scalar::Null) => Value::Null,
        Some(Scalar::Boolean(value)) => Value::Bool(value),
        Some(Scalar::Integer(value)) => Value::Number(value.into()),
        Some(Scalar::FloatingPoint(value)) => {
            Number::from_f64(value.into_inner()).map_or_else(|| Value::String(owned.clone()), Value::Number)
        }
        Some(Scalar::String(value)) => Value::String(value.into_owned()),
        None => return fail(place, "the value does not fit its YAML tag".to_owned()),
    };
    Ok(Content::Scalar { value, text: owned })
}

fn size(node: &Node) -> usize {
    match &node.content {
        Content::Scalar { .. } => 1,
        Content::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Content::Map(entries) => 1 + entries.iter().map(|entry| size(&entry.node)).sum::<usize>(),
    }
}

fn fail<T>(place: Place, what: String) -> Result<T, SyntaxError> {
    Err(SyntaxError { place, what })
}
