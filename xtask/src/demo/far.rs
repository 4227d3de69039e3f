//! East to west: identities in both agents' logs, what the application sees, what the wire shows.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use underpass_tests::{Lab, until};

use super::outcome::Outcome;
use super::scene::{CLIENT, OUTSIDER};
use underpass_tests::packets::Packets;

const URL: &str = "http://warehouse.default.svc.cluster.local:8000/shelf";
const MARKER: &str = "underpass-demo-payload-marker-7f3a9c";
const OPEN_MARKER: &str = "underpass-demo-open-marker-51d0e2";
const WAREHOUSE: &str = "west/default/warehouse";

/// Everything about one request from east to west.
pub fn checks(lab: &Lab, outcome: &mut Outcome) {
    let capture = Capture::start(lab);
    let answer = ask(lab);
    let seen = capture.and_then(|capture| {
        control(lab)?;
        capture.finish()
    });
    let west =
        answer.as_ref().map(|a| (format!("answered by {} in {}", a["pod"], a["cluster"]), a["cluster"] == "west"));
    outcome.add("a request from east is answered in west", "a pod of cluster west answers", owned(west));
    outcome.add(
        "both SPIFFE identities in both agents' access logs",
        "…/sa/client and …/sa/bookshop-warehouse at the source and at the destination",
        identities(lab),
    );
    outcome.add(
        "the application sees the client pod's address",
        "the address of pod client",
        match &answer {
            Ok(answer) => client_address(lab, answer),
            Err(error) => Err(anyhow::anyhow!("{error:#}")),
        },
    );
    outcome.add("getpeername shows the address that was connected to", "the service's own address", peer_name(lab));
    on_the_wire(seen, outcome);
}

fn owned(result: std::result::Result<(String, bool), &anyhow::Error>) -> Result<(String, bool)> {
    result.map_err(|error| anyhow::anyhow!("{error:#}"))
}

fn ask(lab: &Lab) -> Result<Value> {
    let header = format!("x-marker: {MARKER}");
    let request = || lab.exec_ok(CLIENT, &["curl", "-sS", "-m", "5", "-H", &header, "-d", MARKER, URL]);
    // Slices of the other cluster may arrive a moment after the lab is up.
    let text = until("warehouse answers", Duration::from_secs(10), || request().ok()).or_else(|_| request())?;
    serde_json::from_str(&text).with_context(|| text)
}

fn identities(lab: &Lab) -> Result<(String, bool)> {
    let wanted =
        ["spiffe://cluster.local/ns/default/sa/client", "spiffe://cluster.local/ns/default/sa/bookshop-warehouse"];
    let mut texts = Vec::new();
    for (side, pod) in [("source", CLIENT), ("destination", WAREHOUSE)] {
        let agent = lab.agent_of(pod)?;
        let line = until("an access log line with both", Duration::from_secs(5), || {
            let lines = agent.access_log().into_iter();
            lines.map(|line| line.to_string()).find(|line| wanted.iter().all(|w| line.contains(w)))
        });
        match line {
            Ok(_) => texts.push(format!("{side}: both, on {}", agent.record.node)),
            Err(_) => texts.push(format!("{side}: NOT on {} (see {})", agent.record.node, agent.record.log.display())),
        }
    }
    let text = texts.join("; ");
    let fits = !text.contains("NOT");
    Ok((text, fits))
}

fn client_address(lab: &Lab, answer: &Value) -> Result<(String, bool)> {
    let client: SocketAddr = answer["client"].as_str().unwrap_or_default().parse()?;
    let pod = lab.pod(CLIENT)?;
    let own = client.ip() == pod.v4 || client.ip() == pod.v6;
    Ok((format!("{client}; pod client has {}", pod.v4), own))
}

fn peer_name(lab: &Lab) -> Result<(String, bool)> {
    let seen = lab.client(CLIENT, &["connect", "--address", "warehouse.default.svc.cluster.local:8000"])?;
    let peer = seen["getpeername"].as_str().unwrap_or_default().to_owned();
    let hosts = lab.exec_ok(CLIENT, &["getent", "ahosts", "warehouse.default.svc.cluster.local"])?;
    let address = hosts.split_whitespace().next().unwrap_or_default().to_owned();
    let fits = peer == format!("{address}:8000");
    Ok((format!("{peer}; the service is {address}"), fits))
}

/// Plaintext on the same wire, from a pod outside the mesh: a capture that does not see this proves nothing.
fn control(lab: &Lab) -> Result<()> {
    let target = lab.pod(WAREHOUSE)?.v4;
    let header = format!("x-marker: {OPEN_MARKER}");
    lab.exec(OUTSIDER, &["curl", "-s", "-m", "3", "-H", &header, &format!("http://{target}:8000/")])?;
    Ok(())
}

fn on_the_wire(seen: Result<Packets>, outcome: &mut Outcome) {
    let seen = seen.map_err(|error| format!("{error:#}"));
    let ask = |about: &dyn Fn(&Packets) -> (String, bool)| match &seen {
        Ok(packets) => Ok(about(packets)),
        Err(error) => Err(anyhow::anyhow!("{error}")),
    };
    outcome.add(
        "the wire between the nodes: TLS 1.3",
        "ClientHello and ServerHello choose 0x0304",
        ask(&|packets| {
            let (client, server) = (packets.client_hellos(), packets.server_hellos());
            (format!("{client} ClientHello, {server} ServerHello of TLS 1.3"), client > 0 && server > 0)
        }),
    );
    outcome.add(
        "the wire between the nodes: no payload",
        "the marker never; plaintext from outside the mesh is seen",
        ask(&|packets| {
            let (hidden, open) = (packets.count(MARKER.as_bytes()), packets.count(OPEN_MARKER.as_bytes()));
            (
                format!("meshed marker {hidden} times, plaintext marker {open} times, {} packets", packets.total()),
                hidden == 0 && open > 0,
            )
        }),
    );
    outcome.add(
        "the wire between the nodes: the application's own port",
        "connections go to port 8000",
        ask(&|packets| {
            let ports: BTreeSet<u16> = packets.connected_ports();
            (format!("destination ports {ports:?}"), ports == BTreeSet::from([8000]))
        }),
    );
}

/// tcpdump on the fabric, at the port of the client's node.
struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    fn start(lab: &Lab) -> Result<Self> {
        let pod = lab.pod(CLIENT)?;
        let n = lab.record.node_number(&pod.cluster, &pod.node).context("a node without number")?;
        let file = lab.record.dir().join("wire.pcap");
        let netns = lab.record.fabric_netns();
        let child = Command::new("ip")
            .args(["netns", "exec", &netns, "tcpdump", "-i", &format!("node{n}"), "-U", "-s", "0", "-Z", "root"])
            // Else packets wait in the kernel's ring for up to a second, and are lost at the end.
            .arg("--immediate-mode")
            .args(["-w", &file.display().to_string(), "tcp"])
            // Metrics and admin of the agents are asked from outside.
            .args(["and not port 15000 and not port 15020 and not port 15021"])
            .env(underpass_tests::process::MARK, &lab.record.name)
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start tcpdump")?;
        // The file's header is written once the capture runs.
        until("tcpdump runs", Duration::from_secs(5), || {
            std::fs::metadata(&file).is_ok_and(|meta| meta.len() >= 24).then_some(())
        })?;
        Ok(Self { child, file })
    }

    fn finish(mut self) -> Result<Packets> {
        std::thread::sleep(Duration::from_millis(300));
        let pid = self.child.id().to_string();
        underpass_tests::run::run(Command::new("kill").args(["-INT", &pid]))?;
        self.child.wait()?;
        let packets = Packets::read(&std::fs::read(&self.file)?)?;
        ensure!(packets.total() > 0, "no packet was seen");
        Ok(packets)
    }
}
