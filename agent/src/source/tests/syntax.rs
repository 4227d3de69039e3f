//! Files that are no good YAML, or unusual YAML.

use super::{Dir, assert_findings, changes, services};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata:\n  name: NAME\nspec:\n  ports:\n  - port: 80\n";

fn service(name: &str) -> String {
    SERVICE.replace("NAME", name)
}

#[test]
fn a_syntax_error_spoils_only_its_own_document() {
    let text = format!("{}---\nkind: [\n---\n{}", service("a"), service("b"));
    let dir = Dir::new(&[("f.yaml", &text)]);
    assert_eq!(changes(&dir.read()), ["+Service default/a", "+Service default/b"]);
    let findings = dir.findings();
    assert_findings(&findings, &["error syntax f.yaml:1"]);
    assert!(findings[0].contains("what was last good of this document stays in force"), "{findings:?}");
}

#[test]
fn the_same_key_twice_is_an_error_at_the_second() {
    let dir = Dir::new(&[("f.yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  name: b\n")]);
    assert_findings(&dir.findings(), &["error syntax f.yaml:5:3 the key `name` is here twice in one map"]);
}

#[test]
fn what_editors_and_tools_write_is_read() {
    let crlf = service("crlf").replace('\n', "\r\n");
    let bom = format!("\u{feff}{}", service("bom"));
    let empty = format!("---\n---\n# nothing\n---\n{}...\n---\n", service("empty"));
    let json = "{\"apiVersion\": \"v1\",\n\t\"kind\": \"Service\",\n\t\"metadata\": {\"name\": \"json\"}}";
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: list}\n";
    let typed = "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: typed}\n";
    let anchors =
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: anchors\n  labels: &l {app: a}\nspec: {selector: *l}\n";
    let merge = "apiVersion: v1\nkind: Service\nmetadata:\n  labels: &l {app: a}\n  <<: {name: merge, namespace: x}\n";
    for (file, text, expected) in [
        ("a.yaml", crlf.as_str(), "+Service default/crlf"),
        ("a.yml", &bom, "+Service default/bom"),
        ("a.yaml", &empty, "+Service default/empty"),
        ("a.json", json, "+Service default/json"),
        ("a.yaml", list, "+Service default/list"),
        ("a.yaml", typed, "+Service default/typed"),
        ("deep/er/a.yaml", anchors, "+Service default/anchors"),
        ("a.yaml", merge, "+Service x/merge"),
    ] {
        let dir = Dir::new(&[(file, text)]);
        assert_findings(&dir.findings(), &[]);
        assert_eq!(changes(&dir.read()), [expected]);
    }
}

#[test]
fn other_files_are_not_manifests() {
    let text = service("a");
    let names = ["a.txt", ".a.yaml", "a.yaml~", ".a.yaml.swp", "#a.yaml#", ".#a.yaml", ".git/a.yaml", "a.yaml.tmp"];
    let dir = Dir::new(&names.map(|name| (name, text.as_str())));
    assert_eq!(changes(&dir.read()), [] as [&str; 0]);
    assert_findings(&dir.findings(), &[]);
}

#[test]
fn what_is_no_object_is_said() {
    let dir =
        Dir::new(&[("f.yaml", "a: 1\n---\n\n- b\n---\nhello\n---\napiVersion: v1\nkind: Service\nmetadata: {}\n")]);
    assert_findings(
        &dir.findings(),
        &[
            "error not-an-object f.yaml:1:1 this is not a Kubernetes object: it needs apiVersion and kind",
            "error not-an-object f.yaml:4:1 ",
            "error not-an-object f.yaml:6:1 ",
            "error missing-field f.yaml:10:1 metadata: `name` is missing",
        ],
    );
}

#[test]
fn types_are_explained_where_they_are_wrong() {
    let text = "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  labels:\n    version: 1.0\nspec:\n  ports:\n  - port: http\n";
    let dir = Dir::new(&[("f.yaml", text)]);
    let version = "error invalid-type f.yaml:6:14 metadata.labels.version: has to be a string, but is floating point \
                   `1.0`; put it in quotes";
    assert_findings(&dir.findings(), &[version]);
    dir.write("f.yaml", &text.replace("1.0", "v1"));
    let port = "error invalid-type f.yaml:9:11 spec.ports[0].port: has to be an integer, but is string \"http\"";
    assert_findings(&dir.findings(), &[port]);
}

#[test]
fn garbage_of_ten_megabytes_is_bounded() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned()
        + &('b'..='k')
            .map(|c| {
                let before = char::from(c as u8 - 1);
                format!("{c}: &{c} [*{before},*{before},*{before},*{before},*{before},*{before},*{before},*{before}]\n")
            })
            .collect::<String>();
    for garbage in
        ["[".repeat(10 << 20), "a: ".repeat(3 << 20), "x\0\n".repeat(3 << 20), "---\n}\n".repeat(2 << 20), bomb]
    {
        let dir = Dir::new(&[("f.yaml", &garbage)]);
        let start = std::time::Instant::now();
        let findings = dir.findings();
        let took = start.elapsed();
        assert!((1..=210).contains(&findings.len()), "{}", findings.len());
        assert!(findings.iter().all(|finding| finding.len() < 1000), "{findings:?}");
        assert!(took.as_secs() < 20, "{took:?}");
    }
    let dir = Dir::new(&[("f.yaml", &"#\n".repeat(9 << 20))]);
    assert_findings(&dir.findings(), &["error unreadable f.yaml cannot be read: it is larger than 16 MiB: split it"]);
}

#[test]
fn bytes_that_are_no_text_are_said_with_their_line() {
    let dir = Dir::new(&[]);
    std::fs::write(dir.path().join("f.yaml"), b"a: 1\n\xff\xfe").unwrap();
    assert_findings(&dir.findings(), &["error unreadable f.yaml cannot be read: line 2 is not UTF-8 text"]);
}

#[test]
fn positions_count_characters_and_lines_of_the_file() {
    let text = format!("{}---\n# é\napiVersion: v1\nkind: Service\nmetadata: {{name: \"é\", nmae: x}}\n", service("a"));
    let findings = Dir::new(&[("f.yaml", &text)]).findings();
    assert_findings(
        &findings,
        &[
            "error unknown-field f.yaml:12:23 metadata.nmae: there is no such field; did you mean `name`?",
            "error invalid-name f.yaml:12:18 metadata.name: `é` is not a name",
        ],
    );
    assert_eq!(services(&Dir::new(&[("f.yaml", &text)]).read()).len(), 1);
}

#[test]
fn no_text_makes_it_panic() {
    let seed = "apiVersion: v1\nkind: Service\nmetadata: {name: a, labels: &l {a: 'b', c: \"d\\u00e9\"}}\nspec:\n  ports:\n  - port: 80\n    \
                name: |\n      x\n    nodePort: *l\n  selector: ! >-\n    folded\n---\n? key\n: - [1, 2]\n...\n%YAML 1.2\n";
    let noise: Vec<char> = "-:?[]{}&*!|>'\"%@`#,\t\n \\\u{feff}é0x.~<".chars().collect();
    let mut random = fastrand::Rng::with_seed(7);
    let rounds = std::env::var("ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let scope = crate::source::Scope {
        cluster: &"east".into(),
        cluster_domain: "cluster.local",
        root_namespace: "istio-system",
        trust_domain: "cluster.local",
    };
    for _ in 0..rounds {
        let mut text: Vec<char> = seed.chars().collect();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(0..text.len());
            match random.u8(0..3) {
                0 => text[at] = noise[random.usize(0..noise.len())],
                1 => text.insert(at, noise[random.usize(0..noise.len())]),
                _ => drop(text.remove(at)),
            }
        }
        let text: String = text.into_iter().collect();
        crate::source::document::read(&scope, "f.yaml", &text);
    }
}
