//! Lanes between two real sockets: what one session sends is what the other gets, and nobody waits for another.

use super::super::super::tls::tests::pair;
use super::super::{Open, PoolKey, Session, SessionStream};
use super::frame::MOST;
use super::pool::OWN;
use super::*;
use crate::vocab::SpiffeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);

struct Ends {
    client: Arc<Trunk>,
    server: Arc<Trunk>,
    arrived: UnboundedReceiver<Lane>,
    tasks: [JoinHandle<()>; 2],
}

async fn trunks() -> Ends {
    let (near, far) = pair().await;
    let (sender, arrived) = unbounded_channel();
    let (client, near) = drive(near, true, drop);
    let (server, far) = drive(far, false, move |lane| drop(sender.send(lane)));
    Ends { client, server, arrived, tasks: [tokio::spawn(near), tokio::spawn(far)] }
}

fn open() -> Open {
    Open { destination: "10.1.2.3:9080".parse().unwrap(), source: "10.1.2.4:40000".parse().unwrap(), confirm: false }
}

/// A stream of the client's, whose OPEN has come.
async fn connected(ends: &mut Ends) -> (SessionStream, SessionStream) {
    let mut near = Session::on(ends.client.lane().unwrap());
    near.open(&open()).unwrap();
    near.flush().await.unwrap();
    let mut far = Session::on(ends.arrived.recv().await.unwrap());
    assert_eq!(far.next_open(&|_| ()).await.unwrap(), Some(open()));
    (SessionStream::new(near), SessionStream::new(far))
}

fn bytes(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251 + salt) as u8).collect()
}

/// Everything goes there and back.
async fn echoed((mut near, far): (SessionStream, SessionStream), sent: Vec<u8>) {
    let (mut reader, mut writer) = tokio::io::split(far);
    let echo = async {
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let talk = async {
        let (mut reader, mut writer) = tokio::io::split(&mut near);
        let mut back = Vec::new();
        let write = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(write, reader.read_to_end(&mut back));
        read.unwrap();
        assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
    };
    tokio::join!(talk, echo);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_lane_has_its_own_bytes() {
    let mut ends = trunks().await;
    let mut tasks = Vec::new();
    for (salt, len) in [0, 1, 7, 16_384, 16_385, 300_000, 2_000_000, 5_000_000].into_iter().cycle().take(40).enumerate()
    {
        let pair = connected(&mut ends).await;
        tasks.push(tokio::spawn(echoed(pair, bytes(len, salt))));
    }
    for task in tasks {
        timeout(SOON * 6, task).await.unwrap().unwrap();
    }
    assert!(ends.client.idle_since().is_some() && ends.server.idle_since().is_some(), "lanes are left");
}

#[tokio::test]
async fn whoever_does_not_read_holds_up_nobody_and_is_held_up() {
    let mut ends = trunks().await;
    let (mut stuck, reads_nothing) = connected(&mut ends).await;
    let sent = bytes(4 * WINDOW, 3);
    let mut written = 0;
    while let Ok(len) = timeout(Duration::from_millis(300), stuck.write(&sent[written..])).await {
        written += len.unwrap();
        if timeout(Duration::from_millis(300), stuck.flush()).await.is_err() {
            break;
        }
    }
    assert!(written <= WINDOW + 128 * 1024, "{written} bytes wait for nobody");
    let other = connected(&mut ends).await;
    timeout(SOON, echoed(other, bytes(3_000_000, 1))).await.unwrap();
    drop((stuck, reads_nothing));
}

#[tokio::test]
async fn a_lane_that_is_dropped_ends_at_the_other_side_alone() {
    let mut ends = trunks().await;
    let (near, mut far) = connected(&mut ends).await;
    let other = connected(&mut ends).await;
    drop(near);
    let mut rest = Vec::new();
    timeout(SOON, far.read_to_end(&mut rest)).await.unwrap().unwrap();
    let refused = async {
        loop {
            if far.write_all(b"x").await.is_err() || far.flush().await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, refused).await.unwrap();
    echoed(other, bytes(100_000, 9)).await;
}

#[tokio::test]
async fn a_trunk_that_breaks_breaks_every_lane_and_says_why() {
    let mut ends = trunks().await;
    let (mut first, _far) = connected(&mut ends).await;
    let (mut second, _far) = connected(&mut ends).await;
    ends.tasks[1].abort();
    for stream in [&mut first, &mut second] {
        let error = timeout(SOON, stream.read(&mut [0])).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("tunnel"), "{error}");
        stream.write_all(b"x").await.unwrap_or(());
        stream.flush().await.unwrap_err();
    }
    assert!(ends.client.lane().is_none() && ends.client.is_spent());
}

#[tokio::test]
async fn a_retired_trunk_ends_with_its_last_lane() {
    let mut ends = trunks().await;
    let pair = connected(&mut ends).await;
    ends.client.retire();
    assert!(ends.client.lane().is_none());
    echoed(pair, bytes(50_000, 2)).await;
    for task in ends.tasks {
        timeout(SOON, task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn lanes_are_limited_and_come_free_again() {
    let mut ends = trunks().await;
    let mut open = Vec::new();
    for _ in 0..MOST_LANES {
        open.push(connected(&mut ends).await);
    }
    assert!(ends.client.lane().is_none());
    open.pop();
    echoed(connected(&mut ends).await, bytes(10, 1)).await;
}

/// What a peer that is none of ours writes; whether the trunk is still there.
async fn survives(frames: &[u8]) -> bool {
    let (mut peer, far) = pair().await;
    let (trunk, far) = drive(far, false, drop);
    let task = tokio::spawn(far);
    peer.write_all(frames).await.unwrap();
    peer.flush().await.unwrap();
    let ended = timeout(Duration::from_millis(500), task).await;
    assert_eq!(ended.is_ok(), trunk.is_spent());
    ended.is_err()
}

fn frames(frames: &[(u32, LaneFrame<'_>)]) -> Vec<u8> {
    let mut out = Vec::new();
    frames.iter().for_each(|(lane, frame)| encode(*lane, *frame, &mut out));
    out
}

#[tokio::test]
async fn a_peer_that_breaks_the_rules_loses_the_trunk() {
    let flood = bytes(WINDOW / 2 + 1, 0);
    let twice = [(1, LaneFrame::Open), (1, LaneFrame::Data(&flood)), (1, LaneFrame::Data(&flood))];
    // The lane was dropped at once: for it, everything is late.
    assert!(survives(&frames(&[(1, LaneFrame::Open), (1, LaneFrame::Data(b"x")), (1, LaneFrame::Close)])).await);
    for broken in [
        frames(&[(2, LaneFrame::Open)]),
        frames(&[(1, LaneFrame::Data(b"x"))]),
        frames(&[(1, LaneFrame::Open), (1, LaneFrame::Open)]),
        frames(&[(0, LaneFrame::Credit(MOST))]),
        vec![0, 0, 0, 1, 9, 0, 0, 0],
        vec![0, 0, 0, 1, 1, 0, 0, 7],
    ] {
        assert!(!survives(&broken).await, "{broken:?}");
    }
    for held in [frames(&twice), frames(&[(1, LaneFrame::Open), (1, LaneFrame::Credit(1))])] {
        let (mut peer, far) = pair().await;
        let (sender, mut lanes) = unbounded_channel();
        let (_trunk, far) = drive(far, false, move |lane| drop(sender.send(lane)));
        let task = tokio::spawn(far);
        peer.write_all(&held).await.unwrap();
        peer.flush().await.unwrap();
        let lane = timeout(SOON, lanes.recv()).await.unwrap();
        timeout(SOON, task).await.unwrap().unwrap();
        drop(lane);
    }
}

#[test]
fn frames_are_found_wherever_they_are_cut() {
    let sent =
        [(1, LaneFrame::Open), (1, LaneFrame::Data(b"hello")), (7, LaneFrame::Credit(MOST)), (1, LaneFrame::Close)];
    let whole = frames(&sent);
    for cut in 0..whole.len() {
        let mut deframer = Deframer::default();
        let (mut data, mut rest) = (Vec::new(), Vec::new());
        for mut part in [&whole[..cut], &whole[cut..]] {
            while let Some((lane, frame)) = deframer.next(&mut part).unwrap() {
                match frame {
                    LaneFrame::Data(piece) => data.extend_from_slice(piece),
                    frame => rest.push((lane, format!("{frame:?}"))),
                }
            }
        }
        let expected = [(1, "Open".to_owned()), (7, format!("Credit({MOST})")), (1, "Close".to_owned())];
        assert_eq!((data.as_slice(), rest.as_slice()), (&b"hello"[..], &expected[..]), "cut at {cut}");
    }
}

fn key(port: u16) -> PoolKey {
    let id = |name: &str| format!("spiffe://cluster.local/ns/a/sa/{name}").parse::<SpiffeId>().unwrap();
    PoolKey {
        source: "10.0.0.1".parse().unwrap(),
        source_id: id("web"),
        destination: ([10, 0, 0, 2], port).into(),
        destination_id: id("cart"),
    }
}

fn own(trunks: &Trunks<String>) -> Option<Own> {
    match trunks.attempt(&key(1)) {
        Attempt::Own(own) => Some(own),
        _ => None,
    }
}

#[tokio::test]
async fn the_first_have_connections_of_their_own_and_the_others_wait_for_one_trunk() {
    let trunks = Trunks::<String>::default();
    let owned: Vec<_> = (0..OWN).map(|_| own(&trunks)).collect();
    assert!(owned.iter().all(Option::is_some));
    let Attempt::Dial(dial) = trunks.attempt(&key(1)) else { panic!("nobody dials") };
    let Attempt::Wait(wait) = trunks.attempt(&key(1)) else { panic!("two dial") };
    let Attempt::Wait(second) = trunks.attempt(&key(1)) else { panic!("three dial") };
    dial.failed("no route".to_owned());
    assert_eq!(wait.done().await.as_deref(), Some("no route"));
    assert_eq!(second.done().await.as_deref(), Some("no route"));
    let Attempt::Dial(dial) = trunks.attempt(&key(1)) else { panic!("nobody tries again") };
    let Attempt::Wait(wait) = trunks.attempt(&key(1)) else { panic!("two dial") };
    let ends = self::trunks().await;
    let _first = dial.made(Arc::clone(&ends.client)).unwrap();
    assert_eq!(wait.done().await, None);
    let Attempt::Lane(_second) = trunks.attempt(&key(1)) else { panic!("it is not shared") };
    drop(owned);
    assert!(own(&trunks).is_some(), "one that ended leaves its place");
}

#[tokio::test]
async fn a_peer_that_knows_no_trunks_gets_sessions() {
    let trunks = Trunks::<String>::default();
    let owned: Vec<_> = (0..OWN).map(|_| own(&trunks)).collect();
    let Attempt::Dial(dial) = trunks.attempt(&key(1)) else { panic!("nobody dials") };
    let Attempt::Wait(wait) = trunks.attempt(&key(1)) else { panic!("two dial") };
    dial.plain();
    assert_eq!(wait.done().await, None);
    assert!(own(&trunks).is_some());
    drop(owned);
    trunks.sweep();
    assert!(own(&trunks).is_some());
}

#[tokio::test]
async fn a_pod_that_goes_takes_its_trunks_along() {
    let trunks = Trunks::<String>::default();
    let _owned: Vec<_> = (0..OWN).map(|_| own(&trunks)).collect();
    let Attempt::Dial(dial) = trunks.attempt(&key(1)) else { panic!("nobody dials") };
    let ends = self::trunks().await;
    let lane = dial.made(Arc::clone(&ends.client)).unwrap();
    trunks.forget(|key| key.destination.port() == 1);
    assert!(ends.client.lane().is_none());
    drop(lane);
    for task in ends.tasks {
        timeout(SOON, task).await.unwrap().unwrap();
    }
}
