//! Every pair of nodes that speak `underpass/1` or HBONE: what both ends log, what the wire shows, what is used again.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use underpass_tests::run::run;
use underpass_tests::{Agent, Lab, process, until};

use crate::scene::{
    Pod, SOON, answering, apply, assert_answered, client, delete, http, lab, load, number, reachable, service, tcp,
    through,
};
use crate::tunnels_peer;
use underpass_tests::packets::Packets;

const MARKER: &str = "underpass-lab-payload-marker-4be1";

/// Client's node, server's node, and what the two agents speak: the server's workload says.
const PAIRS: [(&str, &str, &str); 4] =
    [("u1", "u2", "underpass/1"), ("u1", "h1", "hbone"), ("h1", "u1", "underpass/1"), ("h1", "h2", "hbone")];

#[test]
fn tunnels() {
    let nodes =
        "[{name: u1}, {name: u2}, {name: h1, tunnel: hbone}, {name: h2, tunnel: hbone}, {name: z1, agent: false}]";
    let mut lab = lab("lbtunnel", &format!("clusters: [{{name: east, nodes: {nodes}}}]"));
    let mut scene = String::new();
    for node in ["u1", "u2", "h1", "h2"] {
        let (web, lines) = (format!("web-{node}"), format!("lines-{node}"));
        let pod = |name, container| Pod { name, app: name, version: "v1", node, container }.text();
        let route = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: WEB}\n\
            spec: {hosts: [WEB], http: [{route: [{destination: {host: WEB}}]}]}\n";
        scene += &[
            client(&format!("client-{node}"), node) + &pod(&web, http(8080)) + &pod(&lines, tcp(9000, node)),
            service(&web, "http", 8080) + &service(&lines, "tcp", 9000) + &route.replace("WEB", &web),
        ]
        .concat();
    }
    apply(&mut lab, &(scene + &tunnels_peer::scene()));
    for (from, to, _) in PAIRS {
        answering(&lab, &client_on(from), &format!("http://web-{to}:8080/"));
        reachable(&lab, &client_on(from), &format!("lines-{to}:9000"));
    }
    through(
        lab,
        &[
            ("every pair carries connections and requests", every_pair),
            ("the wire: TLS 1.3, the port, never the payload", wire),
            ("the second connection needs no handshake", reuse),
            ("many requests at once share a tunnel", shared),
            ("one that reads slowly holds up no other on its tunnel", slow),
            ("what shares a tunnel is cut by a policy, and answered again without it", denied),
            ("a Python HBONE server in a pod: our client", tunnels_peer::as_client),
            ("a Python HBONE server who is somebody else is refused", tunnels_peer::stranger),
            ("a Python HBONE client in a pod: our server", tunnels_peer::as_server),
        ],
    );
}

fn client_on(node: &str) -> String {
    format!("east/default/client-{node}")
}

fn every_pair(lab: &mut Lab) {
    for (from, to, tunnel) in PAIRS {
        let client = client_on(from);
        let seen = load(lab, &client, &format!("http://web-{to}:8080/pair-{from}-{to}"), &["--requests", "3"]);
        assert_answered(&seen, 3);
        reachable(lab, &client, &format!("lines-{to}:9000"));
        for (node, direction) in [(from, "outbound"), (to, "inbound")] {
            logged(lab, (node, direction), (from, to, "lines", "connection complete"), tunnel);
            // Requests are not seen by an HBONE server: it carries the bytes of one connection.
            if (direction, tunnel) != ("inbound", "hbone") {
                logged(lab, (node, direction), (from, to, "web", "request complete"), tunnel);
            }
        }
    }
}

/// That the agent of a node logged what went from one node's client to another's server, and by which tunnel.
fn logged(lab: &Lab, (node, direction): (&str, &str), about: (&str, &str, &str, &str), tunnel: &str) {
    let (from, to, server, message) = about;
    let (agent, source, destination) =
        (lab.agent("east", node).unwrap(), format!("client-{from}"), format!("{server}-{to}"));
    let of_pair = |line: &Value| {
        (&line["message"], &line["direction"]) == (&message.into(), &direction.into())
            && (&line["src.workload"], &line["dst.workload"]) == (&source.as_str().into(), &destination.as_str().into())
    };
    let newest = || agent.access_log().into_iter().rev().find(of_pair);
    let line = until(&format!("{message}, {direction}, at {node}"), SOON, newest).unwrap();
    assert_eq!((&line["tunnel"], &line["security"]), (&tunnel.into(), &"mutual_tls".into()), "{line:#}");
    assert_eq!(line["src.identity"], format!("spiffe://cluster.local/ns/default/sa/{source}"), "{line:#}");
    assert_eq!(line["dst.identity"], format!("spiffe://cluster.local/ns/default/sa/{destination}"), "{line:#}");
}

fn wire(lab: &mut Lab) {
    for (from, to, tunnel) in PAIRS {
        // A new client has no warm session, so its handshake is on the wire.
        let name = format!("fresh-{from}-{to}");
        apply(lab, &client(&name, from));
        let pod = format!("east/default/{name}");
        until("it is captured", SOON, || {
            let rows = lab.agent("east", from).unwrap().admin("/pods").unwrap();
            let row = |row: &Value| row["pod"] == format!("default/{name}") && row["captured"] == true;
            rows.as_array().unwrap().iter().any(row).then_some(())
        })
        .unwrap();
        let capture = Capture::start(lab, from);
        let words = ["curl", "-sS", "-m", "5", "-H", &format!("x-marker: {MARKER}"), "-d", MARKER];
        for url in [format!("http://web-{to}:8080/{MARKER}"), format!("http://{}:8080/", address(lab, to))] {
            lab.exec_ok(&pod, &[&words[..], &[url.as_str()]].concat()).unwrap_or_else(|error| panic!("{error:#}"));
        }
        let packets = capture.finish();
        let port = if tunnel == "hbone" { 15008 } else { 8080 };
        assert_eq!(packets.connected_ports(), BTreeSet::from([port]), "{from} {to}");
        assert!(packets.client_hellos() > 0 && packets.server_hellos() > 0, "{from} {to}: TLS 1.3");
        assert_eq!(packets.count(MARKER.as_bytes()), 0, "{from} {to}");
    }
}

fn address(lab: &Lab, node: &str) -> String {
    lab.pod(&format!("east/default/web-{node}")).unwrap().v4.to_string()
}

fn reuse(lab: &mut Lab) {
    for (to, tunnel) in [("u2", "underpass/1"), ("h1", "hbone")] {
        let agent = lab.agent("east", "u1").unwrap();
        let target = format!("lines-{to}:9000");
        reachable(lab, &client_on("u1"), &target);
        let before = sessions(&agent, tunnel);
        for _ in 0..5 {
            reachable(lab, &client_on("u1"), &target);
        }
        let after = sessions(&agent, tunnel);
        assert_eq!((after.0 - before.0, after.1 - before.1), (0.0, 5.0), "{tunnel}: handshakes, reused sessions");
    }
}

/// The connections between the agents that many requests share.
const LANES: &str = "underpass/1+lanes";

fn shared(lab: &mut Lab) {
    let agent = lab.agent("east", "u1").unwrap();
    let before = sessions(&agent, LANES);
    let words = ["--requests", "4000", "--concurrency", "48"];
    assert_answered(&load(lab, &client_on("u1"), "http://web-u2:8080/", &words), 4000);
    let after = sessions(&agent, LANES);
    let (handshakes, lanes) = (after.0 - before.0, after.1 - before.1);
    assert!((1.0..=2.0).contains(&handshakes) && lanes >= 30.0, "{handshakes} handshakes for {lanes} lanes");
    let open = [("direction", "inbound"), ("tunnel", LANES)];
    let far = lab.agent("east", "u2").unwrap().metrics().unwrap();
    assert!(far.sum("underpass_tunnel_sessions_open", &open) >= 1.0);
}

/// Downloads of so many bytes from u2, at a rate that curl understands.
fn downloads(lab: &Lab, how_many: usize, bytes: usize, rate: &str) -> Vec<Child> {
    let url = format!("http://web-u2:8080/bytes/{bytes}");
    let words = ["curl", "-s", "-m", "60", "--limit-rate", rate, "-o", "/dev/null", "-w", "%{size_download}", &url];
    let one = || lab.command(&client_on("u1"), &words).unwrap().stdout(Stdio::piped()).spawn().unwrap();
    (0..how_many).map(|_| one()).collect()
}

fn slow(lab: &mut Lab) {
    let mut slow = downloads(lab, 6, 60_000_000, "6M");
    std::thread::sleep(Duration::from_millis(500));
    let began = std::time::Instant::now();
    for child in downloads(lab, 8, 20_000_000, "1G") {
        assert_eq!(child.wait_with_output().unwrap().stdout, b"20000000");
    }
    let took = began.elapsed();
    assert!(slow.iter_mut().all(|child| child.try_wait().unwrap().is_none()), "the slow ones took less than {took:?}");
    for child in slow {
        assert_eq!(child.wait_with_output().unwrap().stdout, b"60000000");
    }
}

fn denied(lab: &mut Lab) {
    // Far more than sockets buffer: what has left the server is delivered, and since 6.16 one receives up to 32 MB ahead.
    let cut = downloads(lab, 8, 2_000_000_000, "20M");
    std::thread::sleep(Duration::from_millis(700));
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: nobody}\n\
        spec: {selector: {matchLabels: {app: web-u2}}, action: DENY, rules: [{}]}\n";
    apply(lab, policy);
    let began = std::time::Instant::now();
    for child in cut {
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success(), "{output:?}");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    delete(lab, policy);
    answering(lab, &client_on("u1"), "http://web-u2:8080/");
    assert_answered(
        &load(lab, &client_on("u1"), "http://web-u2:8080/", &["--requests", "500", "--concurrency", "16"]),
        500,
    );
}

/// Handshakes, and connections that took a session that was there.
fn sessions(agent: &Agent, tunnel: &str) -> (f64, f64) {
    let (samples, labels) = (agent.metrics().unwrap(), [("direction", "outbound"), ("tunnel", tunnel)]);
    let sum = |name| samples.sum(name, &labels);
    (sum("underpass_handshakes_total"), sum("underpass_tunnel_sessions_reused_total"))
}

/// tcpdump on the fabric, at a node's port.
struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    fn start(lab: &Lab, node: &str) -> Self {
        let port = format!("node{}", lab.record.node_number("east", node).unwrap());
        let file = lab.record.dir().join("wire.pcap");
        let _ = std::fs::remove_file(&file);
        let filter = "tcp and not port 15000 and not port 15020 and not port 15021";
        let child = Command::new("ip")
            .args(["netns", "exec", &lab.record.fabric_netns(), "tcpdump", "-i", &port, "-U", "-s", "0", "-Z", "root"])
            // Else packets wait in the kernel's ring for up to a second, and are lost at the end.
            .args(["--immediate-mode", "-w", &file.display().to_string(), filter])
            .env(process::MARK, &lab.record.name)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The file's header is written once the capture runs.
        let runs = || std::fs::metadata(&file).is_ok_and(|meta| meta.len() >= 24).then_some(());
        until("tcpdump runs", SOON, runs).unwrap();
        Self { child, file }
    }

    fn finish(mut self) -> Packets {
        std::thread::sleep(Duration::from_millis(300));
        run(Command::new("kill").args(["-INT", &self.child.id().to_string()])).unwrap();
        self.child.wait().unwrap();
        let packets = Packets::read(&std::fs::read(&self.file).unwrap()).unwrap();
        assert!(number(&packets.total().into()) > 0, "no packet was seen");
        packets
    }
}
