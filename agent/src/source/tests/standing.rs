//! What stands while files change: last good content, duplicates, namespaces, several clusters.

use super::{Dir, assert_findings, changes, config, lines, services, workloads};
use crate::source::files::Files;
use crate::source::{Tally, Update};
use std::collections::BTreeSet;

/// A directory that is read again whenever it is asked.
struct Live {
    dir: Dir,
    files: Files,
}

impl Live {
    fn new(files: &[(&str, &str)]) -> (Self, Update) {
        let dir = Dir::new(files);
        let mut live = Self { files: Files::new(dir.config()), dir };
        live.files.scan();
        let first = live.files.world.update().unwrap();
        (live, first)
    }

    fn write(&mut self, name: &str, text: &str) -> Option<Update> {
        self.dir.write(name, text);
        self.touch(name)
    }

    fn remove(&mut self, name: &str) -> Option<Update> {
        self.dir.remove(name);
        self.touch(name)
    }

    fn touch(&mut self, name: &str) -> Option<Update> {
        self.files.refresh(&BTreeSet::from([self.dir.path().join(name)]));
        self.files.world.update()
    }

    fn lines(&self, update: &Update) -> Vec<String> {
        lines(update, self.dir.path())
    }
}

fn service(name: &str, port: u16) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  ports: [{{port: {port}}}]\n")
}

const NONE: [&str; 0] = [];

#[test]
fn a_bad_object_leaves_what_was_last_good_until_it_is_corrected() {
    let (mut live, first) = Live::new(&[("f.yaml", &service("a", 80))]);
    assert_eq!(first.counts.by_kind["Service"], Tally { accepted: 1, refused: 0 });
    for bad in [
        service("a", 0),
        service("a", 1).replace("kind: Service", "kind: Servicee"),
        "a: [".to_owned(),
        "a: 1".to_owned(),
    ] {
        let update = live.write("f.yaml", &bad).unwrap();
        assert_eq!(changes(&update), NONE);
        assert_eq!(live.lines(&update).len(), 1, "{bad}");
        let refused: u64 = update.counts.by_kind.values().map(|tally| tally.refused).sum();
        assert_eq!(refused, 1);
    }
    let update = live.write("f.yaml", &service("a", 81)).unwrap();
    assert_eq!((changes(&update), live.lines(&update)), (vec!["+Service default/a".to_owned()], vec![]));
    let update = live.remove("f.yaml").unwrap();
    assert_eq!(changes(&update), ["-Service default/a"]);
    assert_eq!(update.counts.by_kind["Service"], Tally::default());
}

#[test]
fn only_what_changed_is_told() {
    let (mut live, _) = Live::new(&[("f.yaml", &format!("{}---\n{}", service("a", 80), service("b", 80)))]);
    assert!(live.touch("f.yaml").is_none());
    assert!(live.write("f.yaml", &format!("# moved\n{}---\n{}", service("b", 80), service("a", 80))).is_none());
    let update = live.write("f.yaml", &format!("{}---\n{}", service("b", 81), service("c", 80))).unwrap();
    assert_eq!(changes(&update), ["-Service default/a", "+Service default/b", "+Service default/c"]);
}

#[test]
fn a_typo_in_one_object_does_not_keep_another_that_was_deleted() {
    let (mut live, _) = Live::new(&[("f.yaml", &format!("{}---\n{}", service("a", 80), service("b", 80)))]);
    let update = live.write("f.yaml", &service("a", 80).replace("kind: Service", "kind: Servicee")).unwrap();
    assert_eq!(changes(&update), ["-Service default/b"]);
}

#[test]
fn of_the_same_object_twice_the_first_by_path_stands() {
    let (mut live, first) =
        Live::new(&[("a.yaml", &service("x", 1)), ("b.yaml", &format!("{}---\n{}", service("x", 2), service("x", 3)))]);
    assert_eq!(services(&first)[0].ports[0].number, 1);
    assert_findings(
        &live.lines(&first),
        &[
            "error duplicate-object b.yaml:7:1 Service default/x stands in b.yaml:1:1 too, and that one is used: remove one",
            "error duplicate-object b.yaml:1:1 Service default/x stands in a.yaml:1:1 too, and that one is used: remove one",
        ],
    );
    assert_eq!(first.counts.by_kind["Service"], Tally { accepted: 1, refused: 2 });
    let update = live.remove("a.yaml").unwrap();
    assert_eq!(services(&update)[0].ports[0].number, 2);
    assert_eq!(update.counts.by_kind["Service"], Tally { accepted: 1, refused: 1 });
}

#[test]
fn a_namespace_that_changes_changes_its_pods_only() {
    let pod = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p, namespace: {namespace}}}\nstatus: {{podIP: 10.0.0.1}}\n"
        )
    };
    let namespace = |mode: &str| {
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: b, labels: {{istio.io/dataplane-mode: {mode}}}}}\n")
    };
    let (mut live, first) = Live::new(&[("a.yaml", &pod("a")), ("b.yaml", &pod("b")), ("bb.yaml", &pod("bb"))]);
    assert!(workloads(&first).iter().all(|pod| !pod.enrolled));
    let update = live.write("ns.yaml", &namespace("ambient")).unwrap();
    assert_eq!(changes(&update), ["+Workload b/p"]);
    assert!(workloads(&update)[0].enrolled);
    // A typo in the label must not open what was captured.
    assert_eq!(changes(&live.write("ns.yaml", &namespace("ambiant")).unwrap()), NONE);
    let update = live.remove("ns.yaml").unwrap();
    assert!(!workloads(&update)[0].enrolled);
}

#[test]
fn clusters_are_told_apart() {
    let (east, west) = (Dir::new(&[("f.yaml", &service("a", 80))]), Dir::new(&[("f.yaml", &service("a", 81))]));
    let config = config(&[("east", east.path().into()), ("west", west.path().into())]);
    let update = crate::source::read_once(config);
    let found: Vec<_> =
        services(&update).iter().map(|s| format!("{} {} {}", s.cluster, s.host, s.ports[0].number)).collect();
    assert_eq!(found, ["east a.default.svc.cluster.local 80", "west a.default.svc.cluster.local 81"]);
    assert!(update.findings.is_empty());
}

#[test]
fn a_directory_that_is_away_keeps_what_was_last_read() {
    let (mut live, _) = Live::new(&[("f.yaml", &service("a", 80))]);
    let away = live.dir.path().with_extension("away");
    std::fs::rename(live.dir.path(), &away).unwrap();
    live.files.scan();
    let update = live.files.world.update().unwrap();
    assert_eq!(changes(&update), NONE);
    assert!(update.findings[0].message.contains("does not exist (yet); what was last read of it stays in force"));
    std::fs::rename(&away, live.dir.path()).unwrap();
    live.files.scan();
    assert!(live.files.world.update().unwrap().findings.is_empty());
}
