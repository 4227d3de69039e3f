//! PeerAuthentication at every scope: what a pod outside the mesh gets, and that the mesh is served all the while.

use std::io::Write;

use anyhow::{Result, ensure};
use underpass_tests::{Lab, until};

use crate::pair::{self, CLIENT, OUTSIDER, SOON, Steps, WEB, at, finding, logged, no_finding, status};
use crate::probes;

const OTHER: &str = "east/default/other";

#[test]
fn peer_authentication() -> Result<()> {
    let mut lab = pair::up("policy")?;
    let mut steps = Steps::default();
    steps.step("without a policy plaintext is taken", || expect(&lab, &[(WEB, 8080, true), (WEB, 9000, true)]));
    steps.step("STRICT for the mesh, PERMISSIVE for a namespace", || clean(&mut lab, mesh_and_namespace));
    steps.step("STRICT for a workload", || clean(&mut lab, workload));
    steps.step("portLevelMtls opens one port of a STRICT workload", || {
        clean(&mut lab, |lab| ports(lab, ("STRICT", 9000, "PERMISSIVE")))
    });
    steps.step("portLevelMtls closes one port of a PERMISSIVE workload", || {
        clean(&mut lab, |lab| ports(lab, ("PERMISSIVE", 8080, "STRICT")))
    });
    steps.step("portLevelMtls overrides STRICT of the mesh and the namespace, DISABLE as well", || {
        clean(&mut lab, precedence)
    });
    steps.step("the kubelet's probes pass under STRICT, others of its node do not", || {
        clean(&mut lab, |lab| {
            lab.apply_text("east", &policy("istio-system", "{mtls: {mode: STRICT}}"), "mesh")?;
            expect(lab, &[(WEB, 8080, false)])?;
            probes::pass(lab)
        })
    });
    steps.step("a policy that cannot be read fails closed", || clean(&mut lab, unreadable));
    steps.finish(&lab);
    Ok(())
}

fn policy(namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: tested, namespace: {namespace}}}\n\
         spec: {spec}\n"
    )
}

/// Whether plaintext from outside is answered; otherwise it has to be reset without a byte.
fn taken(lab: &Lab, pod: &str, port: u16) -> Result<bool> {
    let mut stream = pair::connect(lab, OUTSIDER, at(lab, pod, port)?)?;
    // To the application on 9000 these are lines like any other.
    let written = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    if port == 9000 {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let (data, end) = pair::drained(&mut stream);
    let refused = pair::is_reset(&written.and(end));
    ensure!(refused == data.is_empty(), "neither answered nor reset: {} bytes, reset: {refused}", data.len());
    Ok(!refused)
}

/// Waits until plaintext to each of these fares as it should; the mesh is served in any case.
fn expect(lab: &Lab, wanted: &[(&str, u16, bool)]) -> Result<()> {
    for (pod, port, wanted) in wanted {
        let word = if *wanted { "taken" } else { "refused" };
        until(&format!("plaintext to port {port} of {pod} is {word}"), SOON, || {
            (taken(lab, pod, *port).ok()? == *wanted).then_some(())
        })?;
    }
    for url in ["http://web:8080/", "http://other:8080/"] {
        ensure!(status(lab, CLIENT, url)? == 200, "{url} suffers within the mesh");
    }
    Ok(())
}

fn mesh_and_namespace(lab: &mut Lab) -> Result<()> {
    let (mesh, namespace) =
        (policy("istio-system", "{mtls: {mode: STRICT}}"), policy("default", "{mtls: {mode: PERMISSIVE}}"));
    lab.apply_text("east", &mesh, "mesh")?;
    let agent = lab.agent_of(WEB)?;
    let before = agent.access_log().len();
    expect(lab, &[(WEB, 8080, false), (OTHER, 9000, false)])?;
    let line = logged(&agent, before, |line| line["response_flags"] == "DENY")?;
    ensure!(line["stage"] == "policy" && line["direction"] == "inbound", "{line}");
    ensure!(
        line["error"].as_str().is_some_and(|e| e.contains("istio-system/tested") && e.contains("STRICT")),
        "{line}"
    );
    let labels = [("response_flags", "DENY"), ("reporter", "destination")];
    let refused = agent.metrics()?.sum("istio_tcp_connections_failed_total", &labels);
    ensure!(refused >= 2.0, "istio_tcp_connections_failed_total is {refused}");
    lab.apply_text("east", &namespace, "namespace")?;
    expect(lab, &[(WEB, 8080, true), (OTHER, 9000, true)])?;
    lab.delete_text("east", &mesh, "mesh")?;
    lab.apply_text("east", &policy("default", "{mtls: {mode: STRICT}}"), "namespace")?;
    expect(lab, &[(WEB, 8080, false), (OTHER, 9000, false)])?;
    Ok(())
}

/// No policy is left behind by a step that failed.
fn clean(lab: &mut Lab, step: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    let outcome = step(lab);
    for namespace in ["istio-system", "default"] {
        lab.delete_text("east", &policy(namespace, "{}"), "policy")?;
    }
    outcome.and_then(|()| expect(lab, &[(WEB, 8080, true), (OTHER, 9000, true)]))
}

fn workload(lab: &mut Lab) -> Result<()> {
    let text = policy("default", "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}");
    lab.apply_text("east", &text, "workload")?;
    expect(lab, &[(WEB, 8080, false), (WEB, 9000, false), (OTHER, 8080, true)])
}

fn ports(lab: &mut Lab, (mode, port, other): (&str, u16, &str)) -> Result<()> {
    let spec = format!(
        "{{selector: {{matchLabels: {{app: web}}}}, mtls: {{mode: {mode}}}, portLevelMtls: {{{port}: {{mode: {other}}}}}}}"
    );
    let text = policy("default", &spec);
    lab.apply_text("east", &text, "ports")?;
    expect(lab, &[(WEB, 8080, false), (WEB, 9000, true), (OTHER, 8080, true)])
}

/// The narrower scope wins, a port's above all; UNSET is what the wider one says.
fn precedence(lab: &mut Lab) -> Result<()> {
    lab.apply_text("east", &policy("istio-system", "{mtls: {mode: STRICT}}"), "mesh")?;
    let mut rows = |own: &str, wanted: &[(&str, u16, bool)]| -> Result<()> {
        let own = policy("default", &format!("{{selector: {{matchLabels: {{app: web}}}}, {own}}}"));
        lab.apply_text("east", &own, "own")?;
        let outcome = expect(lab, wanted);
        lab.delete_text("east", &own, "own")?;
        outcome
    };
    rows("mtls: {mode: DISABLE}", &[(WEB, 8080, true), (WEB, 9000, true), (OTHER, 8080, false)])?;
    rows("portLevelMtls: {9000: {mode: DISABLE}}", &[(WEB, 8080, false), (WEB, 9000, true), (OTHER, 9000, false)])?;
    rows(
        "mtls: {mode: DISABLE}, portLevelMtls: {8080: {mode: STRICT}}",
        &[(WEB, 8080, false), (WEB, 9000, true), (OTHER, 8080, false)],
    )?;
    rows("mtls: {mode: UNSET}", &[(WEB, 8080, false), (WEB, 9000, false), (OTHER, 8080, false)])
}

fn unreadable(lab: &mut Lab) -> Result<()> {
    let text = policy("default", "{mtls: {mode: PERMISIVE}}");
    lab.apply_text("east", &text, "unreadable")?;
    let agent = lab.agent_of(WEB)?;
    let found = finding(&agent, "policy-denies")?;
    ensure!(found["severity"] == "error", "{found}");
    ensure!(found["at"].as_str().is_some_and(|at| at.contains("peerauthentication/tested.yaml:")), "{found}");
    ensure!(found["message"].as_str().is_some_and(|text| text.contains("STRICT")), "{found}");
    expect(lab, &[(WEB, 8080, false), (OTHER, 9000, false)])?;
    lab.apply_text("east", &policy("default", "{mtls: {mode: PERMISSIVE}}"), "unreadable")?;
    expect(lab, &[(WEB, 8080, true), (OTHER, 9000, true)])?;
    no_finding(&agent, "policy-denies")
}
