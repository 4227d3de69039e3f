//! What outlives an agent, what a new one takes over, and that nothing is left in the end.

use std::fs;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use underpass::capture::{LoadError, LoadOptions, Programs, remove_pins};

use crate::pod::{FAR_V4, NOBODY, POD_V4, Pod, accept, connect, ip, is_idle, listen, nothing_left, to, until};

#[test]
fn capture_outlives_the_agent_until_it_is_uninstalled() {
    let pod = Pod::new();
    drop(pod.captured());
    let server = listen(&pod.far, FAR_V4, 8_080);
    let refused = connect(&pod.inside, FAR_V4, 8_080).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(is_idle(&server));
    remove_pins(&pod.pin_dir).unwrap();
    // The kernel detaches after a grace period of its own.
    until("the pod is on its own", || connect(&pod.inside, FAR_V4, 8_080).is_ok());
    accept(&server);
    assert!(!pod.pin_dir.exists());
    remove_pins(&pod.pin_dir).unwrap();
}

#[test]
fn a_new_agent_takes_over_what_an_older_one_captured() {
    let pod = Pod::new();
    let older = pod.captured();
    let agent = listen(&pod.inside, "127.0.0.1", 15_001);
    let inbound = listen(&pod.inside, "127.0.0.1", 15_006);
    older.attach_lookup(&pod.inside, pod.inside.cookie()).unwrap();
    older.set_inbound(ip(POD_V4), &inbound).unwrap();
    let application = connect(&pod.inside, FAR_V4, 9_999).unwrap();

    let foreign = pod.pin_dir.join("maps-0");
    fs::create_dir(&foreign).unwrap();
    let newer = pod.load(NOBODY, false);
    assert!(!foreign.exists(), "maps of another layout are gone");
    assert_eq!(newer.enrolled().unwrap(), [pod.inside.cookie()]);
    assert_eq!(newer.pinned_netns(), [pod.inside.cookie()]);
    newer.attach_lookup(&pod.inside, pod.inside.cookie()).unwrap();
    drop(older);

    let (accepted, peer) = accept(&agent);
    assert_eq!(newer.original(pod.inside.cookie(), peer), Some(to(FAR_V4, 9_999)));
    assert_eq!(application.peer_addr().unwrap(), to(FAR_V4, 9_999));
    drop((application, accepted));
    nothing_left(&newer);
    connect(&pod.inside, FAR_V4, 9_999).unwrap();
    let (_accepted, peer) = accept(&agent);
    assert_eq!(newer.original(pod.inside.cookie(), peer), Some(to(FAR_V4, 9_999)));
    connect(&pod.far, POD_V4, 8_080).unwrap();
    accept(&inbound);
}

#[test]
fn no_connection_escapes_while_agents_replace_one_another() {
    let pod = Pod::new();
    let first = pod.captured();
    let server = listen(&pod.far, FAR_V4, 8_080);
    let agent = listen(&pod.inside, "127.0.0.1", 15_001);
    let connected = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _application = connect(&pod.inside, FAR_V4, 8_080).unwrap();
                let (_accepted, peer) = accept(&agent);
                assert_eq!(first.original(pod.inside.cookie(), peer), Some(to(FAR_V4, 8_080)));
                connected.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..5 {
            drop(pod.load(NOBODY, false));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(is_idle(&server), "a connection went round the agent");
    let connected = connected.into_inner();
    assert!(connected > 20, "only {connected} connections: the test proves little");
    nothing_left(&first);
}

#[test]
fn a_pod_is_reached_while_the_programs_of_two_agents_are_attached() {
    let pod = Pod::new();
    let programs = pod.captured();
    let agent = listen(&pod.inside, "127.0.0.1", 15_006);
    programs.set_inbound(ip(POD_V4), &agent).unwrap();
    let cookie = pod.inside.cookie();
    programs.attach_lookup(&pod.inside, cookie).unwrap();
    // The moment between attaching the new program and letting go of the old one, held still.
    fs::rename(pod.pin_dir.join(format!("netns-{cookie}")), pod.pin_dir.join("older")).unwrap();
    programs.attach_lookup(&pod.inside, cookie).unwrap();
    connect(&pod.far, POD_V4, 8_080).unwrap();
    accept(&agent);
}

#[test]
fn a_wrong_object_and_a_wrong_directory_are_named() {
    let pod = Pod::new();
    let options = |pin_dir: &str, object: &str| LoadOptions {
        pin_dir: pin_dir.into(),
        agent_cgroup_id: NOBODY,
        kubelet_cgroup_id: 0,
        when_down_open: false,
        object: Some(object.into()),
    };
    let pin_dir = pod.pin_dir.to_str().unwrap();
    let missing = Programs::load(&options(pin_dir, "/nowhere")).unwrap_err();
    assert!(matches!(missing, LoadError::Object { .. }), "{missing}");
    let elsewhere = tempfile::tempdir().unwrap();
    let directory = Programs::load(&options(elsewhere.path().to_str().unwrap(), "/bin/true")).unwrap_err();
    assert!(directory.to_string().contains("mount -t bpf"), "{directory}");
}
