//! `underpass ca` and its agents: certificates that last seconds under load, an authority that dies and returns, roots
//! that change, and callers who want what is not theirs.
#![allow(clippy::unwrap_used, reason = "these are tests, their helpers included")]

use std::fs;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use underpass_tests::authority::Root;
use underpass_tests::{Lab, until};

use crate::authority_peer::{Authority, Question, key_and_csr};
use crate::pair::{self, CLIENT, SOON, Steps, WEB, status};
use crate::scene::{assert_held, assert_unhurt, finish, hold, start};

/// How long certificates last here; they are renewed at half of it.
const LIFETIME: Duration = Duration::from_secs(8);
const SHOP: &str = "http://web:8080/";
const OTHER: &str = "spiffe://cluster.local/ns/default/sa/web";
const OWN: &str = "spiffe://cluster.local/ns/default/sa/client";

#[test]
fn authority() -> Result<()> {
    let mut lab = pair::up("ca")?;
    let mut ca = Authority::start(&lab)?;
    for node in ["east-1", "east-2"] {
        ca.adopt(&mut lab, node, LIFETIME)?;
    }
    let mut steps = Steps::default();
    steps.step("agents get their pods' certificates from it", || certified(&lab, &ca));
    steps.step("a stolen token of a node's agent gets no other node's identity", || stolen(&lab, &ca));
    steps.step("who is nobody, or another, gets nothing", || nobody(&lab, &ca));
    steps.step("a workload gets its own identity and no other", || workload(&lab, &ca));
    steps.step("a CSR that lies is refused", || liar(&lab, &ca));
    steps.step("certificates of seconds are renewed under load", || renewed(&lab));
    steps.step("the authority is killed and returns, under load", || killed(&lab, &mut ca));
    steps.step("the authority is away until certificates ended", || away(&lab, &mut ca));
    steps.step("the root changes under load", || new_root(&lab, &ca));
    steps.finish(&lab);
    Ok(())
}

/// The certificate of an identity, as its agent lists it.
fn listed(lab: &Lab, pod: &str, id: &str) -> Option<Value> {
    let rows = lab.agent_of(pod).ok()?.admin("/certs").ok()?;
    rows.as_array()?.iter().find(|row| row["identity"] == id).cloned()
}

fn serial(lab: &Lab) -> Option<String> {
    Some(listed(lab, CLIENT, OWN)?["serial"].as_str()?.to_owned())
}

fn certified(lab: &Lab, ca: &Authority) -> Result<()> {
    for (pod, id) in [(CLIENT, OWN), (WEB, OTHER)] {
        let row = until("a certificate", SOON, || listed(lab, pod, id).filter(|row| row["state"] == "valid"))?;
        ensure!(row["source"] == ca.address.to_string(), "{row}");
        ensure!(row["expires_in_seconds"].as_u64().is_some_and(|left| left <= LIFETIME.as_secs()), "{row}");
    }
    ensure!(status(lab, CLIENT, SHOP)? == 200, "no answer");
    ensure!(ca.count("issued")? >= 2.0, "underpass_ca_requests_total");
    let line = ca.logged("certificate issued", |line| line["identity"] == OWN)?;
    let caller = &line["caller"];
    ensure!(caller == "spiffe://cluster.local/ns/istio-system/sa/underpass", "{line}");
    Ok(())
}

/// Refused with this code, counted by this reason, and logged.
fn refused(ca: &Authority, question: Question, (code, reason): (&str, &str)) -> Result<String> {
    let before = ca.count(reason)?;
    let answer = ca.ask(&question)?;
    ensure!(answer["code"] == code && answer["chain"] == serde_json::json!([]), "{answer}");
    ensure!(ca.count(reason)? == before + 1.0, "underpass_ca_requests_total{{result={reason:?}}}");
    ca.logged("certificate refused", |line| line["reason"] == reason)?;
    Ok(answer["message"].as_str().unwrap_or_default().to_owned())
}

fn stolen(lab: &Lab, ca: &Authority) -> Result<()> {
    let (_, csr) = key_and_csr(&[])?;
    let question = |identity: &str| Question::new(&csr).token("token-of-east-1").identity(identity);
    let said = refused(ca, question(OTHER), ("PERMISSION_DENIED", "not_on_node"))?;
    ensure!(said.contains("east-1") && said.contains(OTHER), "{said}");
    refused(ca, question("spiffe://elsewhere/ns/default/sa/web"), ("PERMISSION_DENIED", "foreign_identity"))?;
    let own = ca.ask(&question(OWN))?;
    ensure!(own["code"] == "OK" && own["chain"].as_array().is_some_and(|chain| chain.len() == 3), "{own}");
    let root = fs::read_to_string(lab.record.cacerts("east").join("root-cert.pem"))?;
    let given = own["chain"][2].as_str().unwrap_or_default();
    ensure!(given.split_whitespace().eq(root.split_whitespace()), "{given}");
    Ok(())
}

fn nobody(_: &Lab, ca: &Authority) -> Result<()> {
    let (_, csr) = key_and_csr(&[])?;
    let question = || Question::new(&csr).identity(OWN);
    refused(ca, question(), ("UNAUTHENTICATED", "no_credential"))?;
    refused(ca, question().token("made-up"), ("UNAUTHENTICATED", "bad_token"))?;
    refused(ca, question().token("for-another-audience"), ("UNAUTHENTICATED", "bad_token"))?;
    refused(ca, question().token("token-of-east-1").cluster("west"), ("UNAUTHENTICATED", "other_cluster"))?;
    Ok(())
}

/// By its token first, and then by the certificate that it got for it.
fn workload(_: &Lab, ca: &Authority) -> Result<()> {
    let (key, csr) = key_and_csr(&[OWN])?;
    let answer = ca.ask(&Question::new(&csr).token("token-of-client"))?;
    ensure!(answer["code"] == "OK", "{answer}");
    let foreign = Question::new(&csr).token("token-of-client").identity(OTHER);
    refused(ca, foreign, ("PERMISSION_DENIED", "not_trusted"))?;
    let chain = answer["chain"].as_array().context("a chain")?;
    let shown: String = chain[..2].iter().filter_map(Value::as_str).collect();
    let by_certificate = |csr: &str| Question::new(csr).showing(ca, &shown, &key);
    let again = ca.ask(&by_certificate(&csr)?)?;
    ensure!(again["code"] == "OK", "{again}");
    refused(ca, by_certificate(&csr)?.identity(OTHER), ("PERMISSION_DENIED", "not_trusted"))?;
    Ok(())
}

fn liar(_: &Lab, ca: &Authority) -> Result<()> {
    let question = |csr: &str| Question::new(csr).token("token-of-east-1").identity(OWN);
    let said = refused(ca, question(&key_and_csr(&[OTHER])?.1), ("INVALID_ARGUMENT", "wrong_name"))?;
    ensure!(said.contains(OTHER) && said.contains(OWN), "{said}");
    refused(ca, question(&key_and_csr(&[OWN, OTHER])?.1), ("INVALID_ARGUMENT", "wrong_name"))?;
    refused(ca, question("hello"), ("INVALID_ARGUMENT", "malformed"))?;
    Ok(())
}

/// Requests on kept and on new connections, and a connection that stays.
struct Load(Vec<Child>, Child);

impl Load {
    fn start(lab: &Lab, seconds: &str) -> Self {
        let words = ["load", "--url", SHOP, "--seconds", seconds, "--concurrency", "2", "--pause-ms", "2"];
        let also = |more: &[&str]| start(lab, CLIENT, &[&words[..], more].concat());
        Self(vec![also(&[]), also(&["--new-connection", "true"])], hold(lab, CLIENT, "web:9000", seconds))
    }

    fn unhurt(self) {
        self.0.into_iter().for_each(|child| assert_unhurt(&finish(child), 500));
        assert_held(&finish(self.1), 50);
    }
}

fn renewed(lab: &Lab) -> Result<()> {
    let load = Load::start(lab, "10");
    let mut serials = vec![serial(lab).context("a serial number")?];
    for _ in 0..2 {
        let other = || serial(lab).filter(|serial| !serials.contains(serial));
        serials.push(until("another certificate", LIFETIME, other)?);
    }
    load.unhurt();
    Ok(())
}

fn killed(lab: &Lab, ca: &mut Authority) -> Result<()> {
    let load = Load::start(lab, "8");
    let before = serial(lab).context("a serial number")?;
    ca.kill();
    sleep(LIFETIME / 4);
    ca.start_again()?;
    until("another certificate", LIFETIME, || serial(lab).filter(|serial| *serial != before))?;
    load.unhurt();
    Ok(())
}

fn away(lab: &Lab, ca: &mut Authority) -> Result<()> {
    ca.kill();
    let ended = || listed(lab, CLIENT, OWN).filter(|row| row["state"] == "expired");
    let row = until("an expired certificate", LIFETIME * 2, ended)?;
    ensure!(row["failures"].as_u64().is_some_and(|failures| failures > 0), "{row}");
    let failures =
        lab.agent_of(CLIENT)?.metrics()?.sum("underpass_certificate_requests_total", &[("result", "unreachable")]);
    ensure!(failures > 0.0, "underpass_certificate_requests_total{{result=\"unreachable\"}}");
    ca.start_again()?;
    until("the mesh answers", LIFETIME * 4, || (status(lab, CLIENT, SHOP).ok()? == 200).then_some(()))
}

/// As an operator does it: both roots are believed, then the new one signs, then the old one goes.
fn new_root(lab: &Lab, ca: &Authority) -> Result<()> {
    let (dir, next) = (lab.record.cacerts("east"), lab.record.dir().join("next"));
    Root::new("the next root")?.write_cacerts(&next, "east")?;
    let read = |dir: &std::path::Path, file: &str| fs::read_to_string(dir.join(file));
    let (old_root, new_root) = (read(&dir, "root-cert.pem")?, read(&next, "root-cert.pem")?);
    let load = Load::start(lab, "20");
    let both = format!("{old_root}{new_root}");
    fs::write(dir.join("root-cert.pem"), &both)?;
    ca.hand_out(&both)?;
    sleep(LIFETIME);
    for file in ["ca-key.pem", "ca-cert.pem", "cert-chain.pem"] {
        fs::write(dir.join(file), read(&next, file)?)?;
    }
    sleep(LIFETIME);
    fs::write(dir.join("root-cert.pem"), &new_root)?;
    ca.hand_out(&new_root)?;
    load.unhurt();
    let signed = listed(lab, CLIENT, OWN).context("a certificate")?;
    ensure!(signed["state"] == "valid", "{signed}");
    ensure!(status(lab, CLIENT, SHOP)? == 200, "no answer");
    Ok(())
}
