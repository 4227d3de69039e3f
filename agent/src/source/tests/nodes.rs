//! Where pods are, by their node's labels or their own.

use super::{Dir, workloads};
use crate::model::{Locality, Workload};
use crate::source::watch;
use std::time::{Duration, UNIX_EPOCH};

fn node(zone: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: n1\n  labels: {{topology.kubernetes.io/region: eu, \
         topology.kubernetes.io/zone: {zone}, topology.istio.io/subzone: rack-7}}\n"
    )
}

fn pod(name: &str, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{{labels}}}}}\nspec: {{nodeName: n1}}\n\
         status: {{podIP: 10.0.0.1, conditions: [{{type: Ready, status: 'True', \
         lastTransitionTime: '1970-01-01T00:01:40Z'}}]}}\n"
    )
}

fn place(pod: &Workload) -> String {
    let Locality { region, zone, subzone } = &pod.locality;
    format!("{region}/{zone}/{subzone}")
}

#[test]
fn a_pod_is_where_its_node_is_unless_it_says_otherwise() {
    for (labels, expected) in [
        ("", "eu/eu-1/rack-7"),
        ("istio-locality: us.us-2.rack-1", "us/us-2/rack-1"),
        ("istio-locality: us.us-2", "us/us-2/"),
        ("istio-locality: us", "us//"),
    ] {
        let dir = Dir::new(&[("node.yaml", &node("eu-1")), ("pod.yaml", &pod("a", labels))]);
        let read = workloads(&dir.read());
        assert_eq!(read.iter().map(place).collect::<Vec<_>>(), [expected], "{labels}");
        assert_eq!(read[0].ready_since, Some(UNIX_EPOCH + Duration::from_secs(100)));
        assert!(dir.findings().is_empty());
    }
    let alone = Dir::new(&[("pod.yaml", &pod("a", ""))]);
    assert_eq!(place(&workloads(&alone.read())[0]), "//");
}

#[tokio::test]
async fn a_node_that_changes_its_place_takes_its_pods_along() {
    let dir = Dir::new(&[("node.yaml", &node("eu-1")), ("pod.yaml", &pod("a", ""))]);
    let mut updates = watch(dir.config());
    let first = updates.recv().await.unwrap();
    assert_eq!(place(&workloads(&first)[0]), "eu/eu-1/rack-7");
    dir.write("node.yaml", &node("eu-2"));
    let second = tokio::time::timeout(Duration::from_secs(5), updates.recv()).await.unwrap().unwrap();
    assert_eq!(place(&workloads(&second)[0]), "eu/eu-2/rack-7");
}
