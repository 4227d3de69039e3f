//! TCP across nodes: half-closed connections, servers that speak first, both families.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use underpass_tests::Lab;

use crate::pair::{self, CLIENT, OUTSIDER, SOON, Steps, WEB, at, others_work, status, within};

/// A pod of east-2 that is reached by HBONE.
const TUNNELLED: &str = "east/default/tunnelled";

#[test]
fn connections() -> Result<()> {
    let lab = pair::up("tcp")?;
    let mut steps = Steps::default();
    for (name, pod) in [("underpass/1", WEB), ("hbone", TUNNELLED)] {
        steps.step(&format!("{name}: the client says all it has to say and still receives"), || {
            client_ends_first(&lab, pod)
        });
        steps.step(&format!("{name}: the server says all it has to say and still receives"), || {
            server_ends_first(&lab, pod)
        });
        steps.step(&format!("{name}: a server that speaks first is heard at once"), || server_first(&lab, CLIENT, pod));
        steps.step(&format!("{name}: IPv6 and v4-mapped addresses of a pod"), || families(&lab, pod));
        steps.step(&format!("{name}: a port where nobody listens"), || nobody_listens(&lab, pod));
    }
    steps.step("plaintext: a server that speaks first is heard at once", || server_first(&lab, OUTSIDER, WEB));
    steps.step("IPv6 and v4-mapped addresses of a service", || service_families(&lab));
    steps.finish(&lab);
    Ok(())
}

/// A server in a pod, for one connection; what it came to.
fn server<T: Send + 'static>(
    lab: &Lab,
    (pod, port): (&str, u16),
    serve: impl FnOnce(TcpStream) -> std::io::Result<T> + Send + 'static,
) -> Result<Receiver<std::io::Result<T>>> {
    let listener = within(lab, pod, || Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?))?;
    let (say, hear) = channel();
    std::thread::spawn(move || {
        let result = listener.accept().and_then(|(stream, _)| {
            stream.set_read_timeout(Some(SOON))?;
            serve(stream)
        });
        // The test may have given up.
        let _ = say.send(result);
    });
    Ok(hear)
}

/// 4 MB of lines.
fn lines() -> Vec<u8> {
    (0..400_000_u32).flat_map(|i| format!("{i:09}\n").into_bytes()).collect()
}

fn client_ends_first(lab: &Lab, pod: &str) -> Result<()> {
    let said = lines();
    // The answer starts when the request has ended.
    let heard = server(lab, (pod, 7001), |mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        std::thread::sleep(Duration::from_millis(200));
        stream.write_all(&all)?;
        Ok(all.len())
    })?;
    let mut stream = pair::connect(lab, CLIENT, at(lab, pod, 7001)?)?;
    stream.write_all(&said)?;
    stream.shutdown(Shutdown::Write)?;
    let (echoed, end) = pair::drained(&mut stream);
    end.context("the answer breaks off")?;
    ensure!(echoed == said, "{} of {} bytes came back", echoed.len(), said.len());
    ensure!(heard.recv_timeout(SOON)?? == said.len(), "the server did not get all");
    Ok(())
}

fn server_ends_first(lab: &Lab, pod: &str) -> Result<()> {
    let said = lines();
    let heard = server(lab, (pod, 7002), |mut stream| {
        stream.write_all(b"nothing more from me\n")?;
        stream.shutdown(Shutdown::Write)?;
        let mut all = Vec::new();
        stream.read_to_end(&mut all)?;
        Ok(all)
    })?;
    let mut stream = pair::connect(lab, CLIENT, at(lab, pod, 7002)?)?;
    let (greeting, end) = pair::drained(&mut stream);
    end.context("the greeting breaks off")?;
    ensure!(greeting == b"nothing more from me\n", "{greeting:?}");
    std::thread::sleep(Duration::from_millis(200));
    stream.write_all(&said).context("after the server's end")?;
    stream.shutdown(Shutdown::Write)?;
    let got = heard.recv_timeout(SOON)??;
    ensure!(got == said, "{} of {} bytes arrived", got.len(), said.len());
    Ok(())
}

fn server_first(lab: &Lab, client: &str, pod: &str) -> Result<()> {
    let port = if client == CLIENT { 7003 } else { 7004 };
    let heard = server(lab, (pod, port), |mut stream| {
        stream.write_all(b"220 welcome\r\n")?;
        let mut answer = [0; 6];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    })?;
    let start = Instant::now();
    let mut stream = pair::connect(lab, client, at(lab, pod, port)?)?;
    let mut greeting = [0; 13];
    stream.read_exact(&mut greeting)?;
    // A detector that waits for the client would take its whole deadline: seconds.
    let took = start.elapsed();
    ensure!(took < Duration::from_secs(1), "the greeting took {took:?}");
    stream.write_all(b"QUIT\r\n")?;
    ensure!(&heard.recv_timeout(SOON)?? == b"QUIT\r\n", "the answer did not arrive");
    Ok(())
}

/// The answer of the echo application by curl, as it saw the connection.
fn seen(lab: &Lab, url: &str) -> Result<Value> {
    let text = pair::curl(lab, CLIENT, &["-g", url])?;
    serde_json::from_str(&text).with_context(|| text)
}

fn ends(answer: &Value) -> Result<(SocketAddr, SocketAddr)> {
    let end = |name: &str| answer[name].as_str().unwrap_or_default().parse().with_context(|| answer.to_string());
    Ok((end("client")?, end("local")?))
}

fn families(lab: &Lab, pod: &str) -> Result<()> {
    let (client, server) = (lab.pod(CLIENT)?, lab.pod(pod)?);
    let (from, to) = ends(&seen(lab, &format!("http://[{}]:8080/", server.v6))?)?;
    ensure!(from.ip() == client.v6 && to.ip() == server.v6, "IPv6: the application sees {from} and {to}");
    let (from, to) = ends(&seen(lab, &format!("http://[::ffff:{}]:8080/", server.v4))?)?;
    ensure!(from.ip() == client.v4 && to.ip() == server.v4, "v4-mapped: the application sees {from} and {to}");
    let mapped = format!("[::ffff:{}]:8080", server.v4);
    let names = lab.client(CLIENT, &["connect", "--address", &mapped])?;
    ensure!(names["getpeername"] == mapped, "{names}");
    let v6 = format!("[{}]:8080", server.v6);
    let names = lab.client(CLIENT, &["connect", "--address", &v6])?;
    ensure!(names["getpeername"] == v6, "{names}");
    Ok(())
}

fn service_families(lab: &Lab) -> Result<()> {
    let agent = lab.agent_of(CLIENT)?;
    for ip in pair::service(lab, "web")? {
        let hosts = match ip {
            std::net::IpAddr::V4(v4) => vec![v4.to_string(), format!("[::ffff:{v4}]")],
            std::net::IpAddr::V6(v6) => vec![format!("[{v6}]")],
        };
        for host in hosts {
            let before = agent.access_log().len();
            let answer = seen(lab, &format!("http://{host}:8080/"))?;
            let (from, to) = ends(&answer)?;
            ensure!(from.is_ipv6() == ip.is_ipv6() && to.is_ipv6() == ip.is_ipv6(), "{host}: {from} and {to}");
            let line = pair::logged(&agent, before, |line| line["dst.service"] == "web.default.svc.cluster.local")?;
            ensure!(line["dst.original"] == format!("{}", SocketAddr::new(ip, 8080)), "{line}");
            ensure!(line["security"] == "mutual_tls", "{line}");
        }
    }
    Ok(())
}

fn nobody_listens(lab: &Lab, pod: &str) -> Result<()> {
    let agent = lab.agent_of(CLIENT)?;
    let before = agent.access_log().len();
    let start = Instant::now();
    let (data, end) = pair::ask(lab, CLIENT, at(lab, pod, 7999)?, b"is anyone there?\n")?;
    ensure!(data.is_empty() && pair::is_reset(&end), "{} bytes, {end:?}", data.len());
    let took = start.elapsed();
    ensure!(took < Duration::from_secs(2), "the refusal took {took:?}");
    let line = pair::logged(&agent, before, |line| line["response_flags"] == "CONNECT")?;
    ensure!(line["error"].as_str().is_some_and(|error| !error.is_empty()), "{line}");
    ensure!(status(lab, CLIENT, "http://web:8080/")? == 200, "the application suffers");
    others_work(lab)
}
