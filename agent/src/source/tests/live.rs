//! Changes on disk, seen through the watching thread.

use super::{Dir, changes, config};
use crate::source::{Update, watch};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

/// Far above what it takes (20 ms of quiet), far below the next scan of everything (3 s).
const DEADLINE: Duration = Duration::from_millis(1500);

fn service(name: &str, port: u16) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  ports: [{{port: {port}}}]\n")
}

async fn next(updates: &mut Receiver<Update>) -> Vec<String> {
    let update = timeout(DEADLINE, updates.recv()).await;
    changes(&update.expect("an update in time").expect("a source that runs"))
}

/// As the lab and `kubectl`-like tools write: a hidden file, then a rename.
fn replace(dir: &Path, name: &str, text: &str) {
    fs::write(dir.join(".tmp"), text).unwrap();
    fs::rename(dir.join(".tmp"), dir.join(name)).unwrap();
}

#[tokio::test]
async fn files_that_come_change_and_go_are_seen() {
    let dir = Dir::new(&[("a.yaml", &service("a", 80))]);
    let mut updates = watch(dir.config());
    assert_eq!(next(&mut updates).await, ["+Service default/a"]);
    dir.write("b.yaml", &service("b", 80));
    assert_eq!(next(&mut updates).await, ["+Service default/b"]);
    dir.write("b.yaml", &service("b", 81));
    assert_eq!(next(&mut updates).await, ["+Service default/b"]);
    replace(dir.path(), "b.yaml", &service("b", 82));
    assert_eq!(next(&mut updates).await, ["+Service default/b"]);
    fs::rename(dir.path().join("b.yaml"), dir.path().join("c.txt")).unwrap();
    assert_eq!(next(&mut updates).await, ["-Service default/b"]);
    dir.remove("a.yaml");
    assert_eq!(next(&mut updates).await, ["-Service default/a"]);
}

#[tokio::test]
async fn directories_that_come_and_go_are_seen() {
    let dir = Dir::new(&[]);
    let mut updates = watch(dir.config());
    assert_eq!(next(&mut updates).await, [] as [&str; 0]);
    dir.write("shop/service/a.yaml", &service("a", 80));
    assert_eq!(next(&mut updates).await, ["+Service default/a"]);
    replace(&dir.path().join("shop/service"), "b.yaml", &service("b", 80));
    assert_eq!(next(&mut updates).await, ["+Service default/b"]);
    fs::remove_dir_all(dir.path().join("shop")).unwrap();
    let mut gone = next(&mut updates).await;
    while gone.len() < 2 {
        gone.extend(next(&mut updates).await);
    }
    assert_eq!(gone, ["-Service default/a", "-Service default/b"]);
}

#[tokio::test]
async fn a_directory_may_come_later_and_be_replaced() {
    let base = Dir::new(&[]);
    let root = base.path().join("later/on");
    let mut updates = watch(config(&[("east", root.clone())]));
    assert_eq!(next(&mut updates).await, [] as [&str; 0]);
    base.write("later/on/a.yaml", &service("a", 80));
    assert_eq!(next(&mut updates).await, ["+Service default/a"]);
    base.write("new/b.yaml", &service("b", 80));
    fs::rename(&root, base.path().join("old")).unwrap();
    fs::rename(base.path().join("new"), &root).unwrap();
    let mut seen = next(&mut updates).await;
    while seen.len() < 2 {
        seen.extend(next(&mut updates).await);
    }
    assert_eq!(seen, ["-Service default/a", "+Service default/b"]);
    base.write("later/on/c.yaml", &service("c", 80));
    assert_eq!(next(&mut updates).await, ["+Service default/c"]);
}

#[tokio::test]
async fn a_config_map_is_swapped_at_once() {
    let dir = Dir::new(&[("..1/a.yaml", &service("a", 80)), ("..2/a.yaml", &service("a", 81))]);
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, dir.path().join(name)).unwrap();
    link("..1", "..data");
    link("..data/a.yaml", "a.yaml");
    let mut updates = watch(dir.config());
    assert_eq!(next(&mut updates).await, ["+Service default/a"]);
    link("..2", "..data_tmp");
    fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    assert_eq!(next(&mut updates).await, ["+Service default/a"]);
}

#[tokio::test]
async fn a_file_written_in_pieces_is_read_when_it_is_whole() {
    use std::io::Write;
    let both = format!("{}---\n{}", service("a", 80), service("b", 80));
    let dir = Dir::new(&[("f.yaml", &both)]);
    let mut updates = watch(dir.config());
    next(&mut updates).await;
    let mut file = fs::File::create(dir.path().join("f.yaml")).unwrap();
    for piece in [service("a", 80), "---\n".to_owned(), service("b", 81)] {
        file.write_all(piece.as_bytes()).unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    drop(file);
    assert_eq!(next(&mut updates).await, ["+Service default/b"]);
}

#[tokio::test]
async fn a_thousand_files_are_one_step_or_few() {
    let dir = Dir::new(&[]);
    let mut updates = watch(dir.config());
    next(&mut updates).await;
    for n in 0..1000 {
        replace(dir.path(), &format!("{n}.yaml"), &service(&format!("s{n}"), 80));
    }
    let (mut seen, mut steps) = (0, 0);
    while seen < 1000 {
        seen += next(&mut updates).await.len();
        steps += 1;
    }
    assert!(steps < 100, "{steps}");
}

#[tokio::test]
async fn the_thread_ends_with_its_receiver() {
    let dir = Dir::new(&[]);
    let mut updates = watch(dir.config());
    next(&mut updates).await;
    let threads = || {
        fs::read_dir("/proc/self/task")
            .unwrap()
            .flatten()
            .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "manifests"))
            .count()
    };
    let before = threads();
    drop(updates);
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if threads() < before {
            return;
        }
    }
    panic!("the thread is still there");
}
