//! An attacker inside a pod, with CAP_NET_RAW: marks, other pods' addresses, ways around the agent. It gains nothing.

use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use underpass_tests::{Lab, process, until};

use crate::pair::{self, CLIENT, OUTSIDER, SOON, Steps, WEB, at, logged, within};

/// The application that is attacked: this test, listening in WEB, sees itself what arrives.
const PORT: u16 = 9100;

#[test]
fn attacker() -> Result<()> {
    let mut lab = pair::up("attacker")?;
    let application = within(&lab, WEB, || {
        let listener = TcpListener::bind(("0.0.0.0", PORT))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    })?;
    let mut steps = Steps::default();
    steps.step("a pod that is let in is heard", || is_heard(&lab, &application));
    steps.step("a pod of the mesh that is denied: no mark, no protocol, no device lets it in", || {
        denied(&mut lab, &application)
    });
    steps.step("a pod outside the mesh as one that is let in: its address does not help", || {
        spoofed(&mut lab, &application)
    });
    steps.step("the agent's own ports give nothing away", || own_ports(&lab, &application));
    steps.finish(&lab);
    Ok(())
}

/// What the attacker in `pod` says of it.
fn attack(lab: &Lab, pod: &str, words: &[&str]) -> Result<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/lab/attacker.py");
    let mut all = process::pod_entry_with(&lab.pod(pod)?.netns, "net_raw");
    let program = std::fs::read_to_string(script)?;
    // Debian's: another that is first in root's PATH may be root's alone.
    all.extend(["/usr/bin/python3", "-c", &program].map(str::to_owned));
    all.extend(words.iter().map(|word| (*word).to_owned()));
    Ok(underpass_tests::run::run(Command::new(&all[0]).args(&all[1..]))?.trim().to_owned())
}

fn dial(lab: &Lab, pod: &str, (address, port): (&str, u16), options: &[&str]) -> Result<String> {
    attack(lab, pod, &[&["dial", address, &port.to_string()], options].concat())
}

/// Nothing waits to be accepted.
fn nothing_arrived(application: &TcpListener) -> Result<()> {
    match application.accept() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => anyhow::bail!("something arrived: {other:?}"),
    }
}

fn is_heard(lab: &Lab, application: &TcpListener) -> Result<()> {
    let mut client = pair::connect(lab, CLIENT, at(lab, WEB, PORT)?)?;
    client.write_all(b"hello\r\n")?;
    until("it arrives", SOON, || application.accept().ok()).map(drop)
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: attacked, namespace: default}}\n\
         spec: {{selector: {{matchLabels: {{app: web}}}}, {spec}}}\n"
    )
}

fn denied(lab: &mut Lab, application: &TcpListener) -> Result<()> {
    let text = policy("action: DENY, rules: [{from: [{source: {principals: ['*/ns/default/sa/client']}}]}]");
    lab.apply_text("east", &text, "attacked")?;
    let (agent, web) = (lab.agent_of(WEB)?, lab.pod(WEB)?.v4.to_string());
    let plain = || dial(lab, CLIENT, (&web, PORT), &[]).ok().filter(|outcome| outcome == "reset");
    until("the policy is in force", SOON, plain)?;
    while application.accept().is_ok() {}
    // The mark of the agent's own tunnels, Istio's, and what is left alone by others.
    for options in [
        &["mark=0x53a"][..],
        &["mark=0x539"],
        &["mark=0x111"],
        &["mptcp"],
        &["device=eth0"],
        &["device=eth0", "mark=0x53a"],
        &["mptcp", "mark=0x53a"],
    ] {
        let before = agent.access_log().len();
        let outcome = dial(lab, CLIENT, (&web, PORT), options)?;
        ensure!(outcome == "reset", "{options:?}: {outcome}");
        let line = logged(&agent, before, |line| line["stage"] == "policy")?;
        let error = line["error"].as_str().context("no error")?;
        ensure!(error.contains("denied by AuthorizationPolicy default/attacked"), "{options:?}: {line}");
        nothing_arrived(application).with_context(|| format!("{options:?}"))?;
    }
    lab.delete_text("east", &text, "attacked")
}

fn spoofed(lab: &mut Lab, application: &TcpListener) -> Result<()> {
    let (web, client) = (lab.pod(WEB)?.v4.to_string(), lab.pod(CLIENT)?.v4.to_string());
    let text = policy(&format!("rules: [{{from: [{{source: {{ipBlocks: ['{client}']}}}}]}}]"));
    lab.apply_text("east", &text, "attacked")?;
    let plain = || dial(lab, OUTSIDER, (&web, PORT), &[]).ok().filter(|outcome| outcome == "reset");
    until("the policy is in force", SOON, plain)?;
    while application.accept().is_ok() {}
    is_heard(lab, application)?;
    let source = format!("source={client}");
    let outcome = dial(lab, OUTSIDER, (&web, PORT), &[&source])?;
    ensure!(outcome == "no answer", "a socket with another pod's address: {outcome}");
    nothing_arrived(application)?;
    for port in [PORT, 15008] {
        ensure!(attack(lab, OUTSIDER, &["spoof", &client, &web, &port.to_string()])? == "sent");
        // What was sent is answered to the pod whose address it bore; the attacker is where it was.
        let outcome = dial(lab, OUTSIDER, (&web, PORT), &[])?;
        ensure!(outcome == "reset", "after packets with another pod's address: {outcome}");
        nothing_arrived(application)?;
    }
    is_heard(lab, application)?;
    lab.delete_text("east", &text, "attacked")
}

fn own_ports(lab: &Lab, application: &TcpListener) -> Result<()> {
    let web = lab.pod(WEB)?.v4.to_string();
    let own = lab.pod(CLIENT)?.v4.to_string();
    // A CONNECT as HBONE has it, without a certificate: HTTP/1.1 says the same as HTTP/2 to whom TLS is due.
    let forged = "say=CONNECT 127.0.0.1:9100 HTTP/1.1\\r\\nhost: 127.0.0.1:9100\\r\\nforwarded: for=10.0.0.1\\r\\n\
                  x-forwarded-client-cert: By=spiffe://cluster.local/ns/default/sa/client\\r\\nbaggage: a=b\\r\\n\\r\\n";
    for port in [15001, 15006, 15008] {
        let outcome = dial(lab, OUTSIDER, (&web, port), &[forged])?;
        ensure!(!outcome.starts_with("answered"), "from outside to {port}: {outcome}");
        for address in ["127.0.0.1", own.as_str(), web.as_str()] {
            let outcome = dial(lab, CLIENT, (address, port), &[forged])?;
            ensure!(!outcome.starts_with("answered"), "from the mesh to {address}:{port}: {outcome}");
        }
    }
    for port in [15000, 15020, 15021] {
        for address in ["127.0.0.1", own.as_str(), web.as_str()] {
            let outcome = dial(lab, CLIENT, (address, port), &["say=GET / HTTP/1.0\\r\\n\\r\\n"])?;
            ensure!(!outcome.starts_with("answered"), "{address}:{port}: {outcome}");
        }
    }
    nothing_arrived(application)
}
