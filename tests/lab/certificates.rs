//! Peers that are not who they should be, as clients and as servers, and bytes that are no tunnel: each is refused with
//! its reason in log and metrics, and everything else keeps working.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use underpass_tests::{Agent, Lab};

use crate::certificates_peer::{
    REVOKED, STRANGER_ID, Shown, connect_status, greeted, partner, revoking, serve_once, tunnel,
};
use crate::pair::{self, CLIENT, OUTSIDER, STRANGER, Steps, WEB, at, logged, others_work, status};

const BAD: [(Shown, &str); 6] = [
    (Shown::OtherRoot, "other_root"),
    (Shown::Expired, "expired"),
    (Shown::Named("spiffe://elsewhere.example/ns/default/sa/stranger"), "wrong_trust_domain"),
    (Shown::Nameless, "no_spiffe_id"),
    (Shown::NotYet, "not_yet_valid"),
    (Shown::Unlinked, "other_root"),
];

#[test]
fn bad_peers() -> Result<()> {
    let mut lab = pair::up("peers")?;
    let mut steps = Steps::default();
    steps.step("a good certificate is taken", || good_client(&lab));
    for (port, alpn) in [(8080, "underpass/1"), (15008, "h2")] {
        for (shown, reason) in BAD {
            steps.step(&format!("as client on {port}: {reason}"), || bad_client(&lab, (port, alpn), (shown, reason)));
        }
    }
    for (service, port) in [("stranger", 9000), ("ambient", 15008)] {
        for (shown, _) in BAD.into_iter().take(2) {
            steps.step(&format!("as server of {service}: {shown:?}"), || {
                bad_server(&lab, (service, port), shown, "TLS_FAILURE")
            });
        }
        let other = Shown::Named("spiffe://cluster.local/ns/default/sa/web");
        steps.step(&format!("as server of {service}: the name of another workload"), || {
            bad_server(&lab, (service, port), other, "IDENTITY_ERROR")
        });
    }
    steps.step("a revoked certificate, on an open tunnel and for a new one", || revoked(&lab));
    steps.step("another mesh's root vouches for its own trust domain, once it is federated", || federated(&mut lab));
    steps.step("as server of a good name", || good_server(&lab));
    steps.step("as server of requests: the name of another workload answers 503", || bad_http_server(&mut lab));
    steps.step("garbage on 15008", || garbage(&lab));
    steps.step("the agent's own ports refuse the application", || own_ports(&lab));
    steps.step("CONNECT to another pod's address answers 400", || connect_elsewhere(&lab));
    steps.step("CONNECT with a header of 1 MB", || big_connect(&lab));
    steps.finish(&lab);
    Ok(())
}

fn handshakes(agent: &Agent, direction: &str, result: &str) -> Result<f64> {
    Ok(agent.metrics()?.sum("underpass_handshakes_total", &[("direction", direction), ("result", result)]))
}

fn good_client(lab: &Lab) -> Result<()> {
    let to = at(lab, WEB, 8080)?;
    let greeting = greeted(pair::connect(lab, STRANGER, to)?, Shown::Named(STRANGER_ID).client(lab, "underpass/1")?);
    // The server waits for the client's first frame, so nothing comes.
    ensure!(greeting.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "{greeting:?}");
    let hbone = pair::connect(lab, STRANGER, at(lab, WEB, 15008)?)?;
    let status = connect_status(lab, hbone, Shown::Named(STRANGER_ID), (&to.to_string(), None))?;
    ensure!(status == 200, "CONNECT {to}: {status}");
    Ok(())
}

fn bad_client(lab: &Lab, (port, alpn): (u16, &str), (shown, reason): (Shown, &str)) -> Result<()> {
    let agent = lab.agent_of(WEB)?;
    let (before, count) = (agent.access_log().len(), handshakes(&agent, "inbound", reason)?);
    let greeting = greeted(pair::connect(lab, STRANGER, at(lab, WEB, port)?)?, shown.client(lab, alpn)?);
    let alert = greeting.as_ref().is_err_and(|error| error.to_string().contains("fatal alert"));
    ensure!(alert, "the peer was not told: {greeting:?}");
    let refused = |line: &serde_json::Value| line["response_flags"] == "TLS_FAILURE" && line["direction"] == "inbound";
    let line = logged(&agent, before, refused)?;
    ensure!(line["stage"] == "tunnel" && line["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");
    ensure!(handshakes(&agent, "inbound", reason)? == count + 1.0, "underpass_handshakes_total{{result={reason:?}}}");
    others_work(lab)
}

/// The certificate is good, and its tunnel open, until the cluster's list of revoked ones has it.
fn revoked(lab: &Lab) -> Result<()> {
    let (agent, to) = (lab.agent_of(WEB)?, at(lab, WEB, 15008)?);
    let mut open = tunnel(pair::connect(lab, STRANGER, to)?, Shown::Numbered.client(lab, "h2")?)?;
    let ended = || agent.metrics().map(|all| all.sum("underpass_tunnels_ended_total", &[("reason", "revoked")]));
    let before = ended()?;
    let list = lab.record.cacerts("east").join("ca-crl.pem");
    std::fs::write(&list, revoking(lab, REVOKED)?)?;
    let (_, end) = pair::drained(&mut open);
    // It is counted once it is cut.
    let counted = || (ended().ok()? == before + 1.0).then_some(());
    underpass_tests::until("the tunnel is counted as ended", pair::SOON, counted)
        .with_context(|| format!("{:?}, {end:?}", ended()))?;
    bad_client(lab, (15008, "h2"), (Shown::Numbered, "revoked"))?;
    std::fs::remove_file(&list)?;
    underpass_tests::until("it is believed again", pair::SOON, || {
        tunnel(pair::connect(lab, STRANGER, to).ok()?, Shown::Numbered.client(lab, "h2").ok()?).ok()
    })?;
    good_client(lab)
}

fn federated(lab: &mut Lab) -> Result<()> {
    const THEIRS: &str = "spiffe://partner.example/ns/default/sa/stranger";
    let pod = lab.pod(WEB)?.clone();
    let to = at(lab, WEB, 9000)?.to_string();
    let asks = |lab: &Lab| {
        let stream = pair::connect(lab, STRANGER, at(lab, WEB, 15008)?)?;
        connect_status(lab, stream, Shown::Partner(THEIRS), (&to, None))
    };
    bad_client(lab, (15008, "h2"), (Shown::Partner(THEIRS), "other_root"))?;
    let roots = format!("partner.example={}", partner(lab)?.join("root-cert.pem").display());
    let agent = lab.restart_agent(&pod.cluster, &pod.node, &["--federate", &roots])?;
    let before = agent.access_log().len();
    ensure!(asks(lab)? == 200, "the partner is not believed");
    logged(&agent, before, |line| line["src.identity"] == THEIRS)?;
    // Neither root vouches for the other's names.
    bad_client(lab, (15008, "h2"), (Shown::Partner(STRANGER_ID), "other_root"))?;
    bad_client(lab, (15008, "h2"), (Shown::Named(THEIRS), "other_root"))?;
    let denied = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: partners, namespace: default}\n\
                  spec: {action: DENY, rules: [{from: [{source: {principals: ['partner.example/*']}}]}]}\n";
    lab.apply_text("east", denied, "partners")?;
    underpass_tests::until("the partner is denied", pair::SOON, || (asks(lab).ok()? != 200).then_some(()))?;
    others_work(lab)?;
    lab.delete_text("east", denied, "partners")?;
    underpass_tests::until("the partner is let in", pair::SOON, || (asks(lab).ok()? == 200).then_some(()))?;
    good_client(lab)
}

/// The port is where the tunnel goes.
fn bad_server(lab: &Lab, (service, port): (&str, u16), shown: Shown, flag: &str) -> Result<()> {
    let agent = lab.agent_of(CLIENT)?;
    let (before, count) = (agent.access_log().len(), handshakes(&agent, "outbound", flag)?);
    let heard = serve_once(lab, (&format!("east/default/{service}"), port), shown)?;
    let (data, end) = pair::ask(lab, CLIENT, (pair::service(lab, service)?[0], 9000).into(), b"a secret\n")?;
    ensure!(data.is_empty() && pair::is_reset(&end), "not reset: {end:?}");
    let got = heard.recv_timeout(Duration::from_secs(10)).context("nobody dialled")?;
    ensure!(!matches!(got, Ok(1..)), "the impostor got {got:?} bytes");
    let line = logged(&agent, before, |line| line["response_flags"] == flag)?;
    ensure!(line["dst.workload"].as_str().is_some_and(|pod| pod.starts_with(service)), "{line}");
    ensure!(handshakes(&agent, "outbound", flag)? == count + 1.0, "underpass_handshakes_total{{result={flag:?}}}");
    others_work(lab)
}

fn good_server(lab: &Lab) -> Result<()> {
    let heard = serve_once(lab, (STRANGER, 9000), Shown::Named(STRANGER_ID))?;
    let mut stream = pair::connect(lab, CLIENT, (pair::service(lab, "stranger")?[0], 9000).into())?;
    // The server may have taken what the agent says first, and be gone.
    let _ = stream.write_all(b"a secret\n");
    let got = heard.recv_timeout(Duration::from_secs(10)).context("nobody dialled")?;
    ensure!(matches!(got, Ok(1..)), "the right server got {got:?}");
    Ok(())
}

fn bad_http_server(lab: &mut Lab) -> Result<()> {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: stranger}\nspec:\n  \
                hosts: [stranger]\n  http:\n  - route:\n    - destination: {host: stranger}\n";
    lab.apply_text("east", text, "stranger")?;
    let agent = lab.agent_of(CLIENT)?;
    let before = agent.access_log().len();
    // Before the route is in force the connection is reset instead: the listener takes one connection only.
    let code = underpass_tests::until("an HTTP answer", pair::SOON, || {
        let _heard =
            serve_once(lab, (STRANGER, 8080), Shown::Named("spiffe://cluster.local/ns/default/sa/web")).ok()?;
        status(lab, CLIENT, "http://stranger:8080/").ok()
    })?;
    ensure!(code == 503, "{code}");
    let line = logged(&agent, before, |line| line["status"] == 503)?;
    // The usual retries were made first: UF is what the last one met, as Envoy says it.
    ensure!(line["response_flags"] == "UF,URX", "{line}");
    others_work(lab)
}

fn garbage(lab: &Lab) -> Result<()> {
    let agent = lab.agent_of(WEB)?;
    let noise: Vec<u8> = (0..65_536_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (pod, bytes) in [
        (STRANGER, b"GET / HTTP/1.1\r\nHost: web\r\n\r\n".as_slice()),
        (OUTSIDER, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice()),
        (STRANGER, noise.as_slice()),
        (OUTSIDER, b"\x16\x03\x01\x00\x05hello".as_slice()),
    ] {
        let before = agent.access_log().len();
        let mut stream = pair::connect(lab, pod, at(lab, WEB, 15008)?)?;
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let (data, end) = pair::drained(&mut stream);
        ensure!(data.len() < 64, "{} bytes came back", data.len());
        ensure!(!end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "the connection stays open");
        let line = logged(&agent, before, |line| line["response_flags"] == "TLS_FAILURE")?;
        ensure!(line["direction"] == "inbound" && line["stage"] == "tunnel", "{line}");
    }
    ensure!(handshakes(&agent, "inbound", "not_tls")? >= 1.0, "no metric");
    others_work(lab)
}

fn own_ports(lab: &Lab) -> Result<()> {
    for (ip, port) in [("127.0.0.1", 15001), ("127.0.0.1", 15006), ("::1", 15001), ("::1", 15006)] {
        let to = SocketAddr::new(ip.parse()?, port);
        let Ok(mut stream) = pair::connect(lab, CLIENT, to) else {
            continue;
        };
        let (data, end) = pair::exchange(&mut stream, b"\x00garbage\r\n\r\n");
        ensure!(data.is_empty() && pair::is_reset(&end), "{to} answered {} bytes, {end:?}", data.len());
    }
    let agent = lab.agent_of(CLIENT)?;
    let log = std::fs::read_to_string(&agent.record.log)?;
    ensure!(log.contains("the agent's own port") || log.contains("not an address of this pod"), "the log is silent");
    others_work(lab)
}

fn connect_elsewhere(lab: &Lab) -> Result<()> {
    let agent = lab.agent_of(WEB)?;
    let elsewhere =
        [at(lab, "east/default/other", 8080)?.to_string(), "127.0.0.1:8080".to_owned(), "web:8080".to_owned()];
    for authority in elsewhere {
        let before = agent.access_log().len();
        let stream = pair::connect(lab, STRANGER, at(lab, WEB, 15008)?)?;
        let status = connect_status(lab, stream, Shown::Named(STRANGER_ID), (&authority, None))?;
        ensure!(status == 400, "CONNECT {authority}: {status}");
        let line =
            logged(&agent, before, |line| line["direction"] == "inbound" && line["response_flags"] == "CONNECT")?;
        ensure!(line["error"].as_str().is_some_and(|error| error.contains("pod")), "{line}");
    }
    others_work(lab)
}

fn big_connect(lab: &Lab) -> Result<()> {
    let to = at(lab, WEB, 8080)?.to_string();
    for size in [72 << 10, 1 << 20] {
        let stream = pair::connect(lab, STRANGER, at(lab, WEB, 15008)?)?;
        let answer = connect_status(lab, stream, Shown::Named(STRANGER_ID), (&to, Some("x".repeat(size))));
        match answer {
            Ok(431) => {}
            // h2 ends the session where the header needs too many CONTINUATION frames.
            Err(error) if size == 1 << 20 && !format!("{error:#}").contains("no answer") => {}
            other => bail!("{size} bytes: {other:?}"),
        }
    }
    good_client(lab)?;
    others_work(lab)
}
