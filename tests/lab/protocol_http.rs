//! HTTP over a route across nodes: whatever HTTP/1 and HTTP/2 clients do, and what they are answered.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use underpass_tests::{Lab, until};

use crate::pair::{self, CLIENT, SOON, Steps, WEB, logged, others_work, status, versions};

const ROUTED: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web}\nspec:\n  hosts: [web]\n  \
                      http:\n  - match: [{uri: {prefix: /absent}}]\n    route: [{destination: {host: empty}}]\n  \
                      - match: [{uri: {prefix: /}, method: {regex: GET|POST|PUT}}]\n    route: [{destination: {host: web, subset: v1}}]\n";
const EMPTY: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: empty}\nspec:\n  selector: {app: nobody}\n  ports:\n  \
                     - {name: http, port: 8080}\n";
const BULK: usize = 50 << 20;
/// What a streamed body may cost an agent on top: windows and buffers of a connection are 4 MB and less.
const RSS_GROWTH: u64 = 24 << 20;

#[test]
fn requests() -> Result<()> {
    let mut lab = pair::up("http")?;
    lab.apply_text("east", EMPTY, "empty")?;
    lab.apply_text("east", ROUTED, "web")?;
    until("v1 answers", SOON, || (versions(&lab, "http://web:8080/", 20).ok()?["v1"] == 20).then_some(()))?;
    let mut steps = Steps::default();
    steps.step("keep-alive", || keep_alive(&lab));
    steps.step("Connection: close", || closes(&lab, "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"));
    steps.step("HTTP/1.0", || closes(&lab, "GET / HTTP/1.0\r\n\r\n"));
    steps.step("an upload of 50 MB in chunks", || upload(&lab));
    steps.step("a download of 50 MB to a slow reader", || download(&lab));
    steps.step("h2c with trailers, as gRPC has them", || grpc(&lab));
    steps.step("Upgrade", || upgrade(&lab));
    steps.step("404 where no rule fits", || answered(&lab, &["-X", "DELETE", "http://web:8080/"], 404, "NR"));
    steps.step("503 where no endpoint is", || answered(&lab, &["http://web:8080/absent"], 503, "UH"));
    steps.step("the application's own statuses", || answered(&lab, &["http://web:8080/status/418"], 418, "-"));
    steps.step("a header of 1 MB answers 431", || big_header(&lab));
    steps.step("bytes that are no HTTP answer 400", || no_http(&lab));
    steps.finish(&lab);
    Ok(())
}

fn web(lab: &Lab) -> Result<SocketAddr> {
    let ip: IpAddr = pair::service(lab, "web")?[0];
    Ok(SocketAddr::new(ip, 8080))
}

fn dial(lab: &Lab) -> Result<TcpStream> {
    pair::connect(lab, CLIENT, web(lab)?)
}

/// Status, headers (names in lower case) of an answer; the body is still to be read.
fn head(reader: &mut impl BufRead) -> Result<(u16, Vec<String>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "no whole answer: {lines:?}");
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
    let status = lines[0].split(' ').nth(1).and_then(|word| word.parse().ok()).context("no status")?;
    Ok((status, lines))
}

fn length(head: &[String]) -> Result<usize> {
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).context("no length")?;
    Ok(length.parse()?)
}

fn keep_alive(lab: &Lab) -> Result<()> {
    let agent = lab.agent_of(CLIENT)?;
    let before = agent.access_log().len();
    let mut stream = BufReader::new(dial(lab)?);
    for path in ["/kept-1", "/kept-2", "/kept-3"] {
        stream.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nHost: web\r\n\r\n").as_bytes())?;
        let (status, head) = head(&mut stream)?;
        let mut body = vec![0; length(&head)?];
        stream.read_exact(&mut body)?;
        ensure!(status == 200 && String::from_utf8_lossy(&body).contains(path), "{head:?}");
    }
    let of = |path: &'static str| logged(&agent, before, move |line| line["path"] == path);
    let (first, last) = (of("/kept-1")?, of("/kept-3")?);
    ensure!(first["connection"] == last["connection"], "two connections: {first} {last}");
    for (field, value) in [
        ("src.identity", "spiffe://cluster.local/ns/default/sa/client"),
        ("dst.identity", "spiffe://cluster.local/ns/default/sa/web"),
        ("security", "mutual_tls"),
        ("response_flags", "-"),
    ] {
        ensure!(last[field] == value, "{field}: {last}");
    }
    Ok(())
}

/// One answer, and then the end of the connection.
fn closes(lab: &Lab, request: &str) -> Result<()> {
    let mut stream = dial(lab)?;
    stream.write_all(request.as_bytes())?;
    let (all, end) = pair::drained(&mut stream);
    end.context("the connection stays open")?;
    let mut all = all.as_slice();
    let (status, head) = head(&mut all)?;
    ensure!(status == 200 && length(&head)? == all.len(), "{head:?} and {} bytes", all.len());
    Ok(())
}

/// Resident memory of both agents.
fn resident(lab: &Lab) -> Result<[u64; 2]> {
    Ok([lab.agent_of(CLIENT)?.resident_bytes(), lab.agent_of(WEB)?.resident_bytes()])
}

fn bounded(before: [u64; 2], now: [u64; 2]) -> Result<()> {
    for (before, now) in before.into_iter().zip(now) {
        let growth = now.saturating_sub(before);
        ensure!(growth < RSS_GROWTH, "an agent grew by {} MB", growth >> 20);
    }
    Ok(())
}

fn upload(lab: &Lab) -> Result<()> {
    let before = resident(lab)?;
    let mut stream = BufReader::new(dial(lab)?);
    stream.get_mut().write_all(b"POST /upload HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    let chunk = [b"10000\r\n".as_slice(), &[b'u'; 0x10000], b"\r\n"].concat();
    for _ in 0..BULK / 0x10000 {
        stream.get_mut().write_all(&chunk)?;
    }
    let now = resident(lab)?;
    stream.get_mut().write_all(b"0\r\n\r\n")?;
    let (status, head) = head(&mut stream)?;
    let mut body = vec![0; length(&head)?];
    stream.read_exact(&mut body)?;
    let answer: serde_json::Value = serde_json::from_slice(&body)?;
    ensure!(status == 200 && answer["body_bytes"] == BULK, "{answer}");
    bounded(before, now)
}

fn download(lab: &Lab) -> Result<()> {
    let before = resident(lab)?;
    let mut stream = BufReader::new(dial(lab)?);
    stream.get_mut().write_all(format!("GET /bytes/{BULK} HTTP/1.1\r\nHost: web\r\n\r\n").as_bytes())?;
    let (status, head) = head(&mut stream)?;
    ensure!(status == 200 && length(&head)? == BULK, "{head:?}");
    // Whoever does not wait for the reader has it all in memory by now.
    std::thread::sleep(Duration::from_secs(1));
    bounded(before, resident(lab)?)?;
    let (mut left, mut buffer) = (BULK, vec![0; 1 << 16]);
    while left > 0 {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "{left} bytes are missing");
        left -= count;
    }
    bounded(before, resident(lab)?)
}

fn grpc(lab: &Lab) -> Result<()> {
    let agent = lab.agent_of(CLIENT)?;
    let before = agent.access_log().len();
    let stream = dial(lab)?;
    stream.set_nonblocking(true)?;
    let message = Bytes::from_static(b"\0\0\0\0\x05hello");
    let request = hyper::Request::post("http://web:8080/shop.Books/List")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(message.clone()))?;
    let work = async move {
        let io = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?;
        let trailer = body.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
        anyhow::Ok((status, trailer, body.to_bytes()))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, trailer, body) = runtime.block_on(async { tokio::time::timeout(SOON, work).await })??;
    ensure!(status == 200 && body == message, "{status}, {} bytes", body.len());
    ensure!(trailer.as_ref().is_some_and(|value| value == "0"), "grpc-status is {trailer:?}");
    let line = logged(&agent, before, |line| line["path"] == "/shop.Books/List")?;
    ensure!(line["protocol"] == "grpc" && line["status"] == 200, "{line}");
    let labels = [("request_protocol", "grpc"), ("grpc_response_status", "0")];
    ensure!(agent.metrics()?.sum("istio_requests_total", &labels) == 1.0, "no metric with {labels:?}");
    Ok(())
}

fn upgrade(lab: &Lab) -> Result<()> {
    let mut stream = BufReader::new(dial(lab)?);
    let request = b"GET /ws HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.get_mut().write_all(request)?;
    let (status, head) = head(&mut stream)?;
    ensure!(status == 101 && head.contains(&"upgrade: echo".to_owned()), "{head:?}");
    for word in ["one", "two"] {
        stream.get_mut().write_all(word.as_bytes())?;
        let mut echoed = [0; 3];
        stream.read_exact(&mut echoed)?;
        ensure!(echoed == word.as_bytes(), "{echoed:?}");
    }
    stream.get_mut().shutdown(std::net::Shutdown::Write)?;
    let (rest, end) = pair::drained(&mut stream);
    end.context("after the upgrade")?;
    ensure!(rest.is_empty(), "{} bytes more", rest.len());
    Ok(())
}

fn answered(lab: &Lab, words: &[&str], wanted: u16, flag: &str) -> Result<()> {
    let agent = lab.agent_of(CLIENT)?;
    let before = agent.access_log().len();
    let code = pair::curl(lab, CLIENT, &[&["-o", "/dev/null", "-w", "%{http_code}"], words].concat())?;
    ensure!(code == wanted.to_string(), "{code}");
    let line = logged(&agent, before, |line| line["status"] == wanted)?;
    ensure!(line["response_flags"] == flag, "{line}");
    let (code, protocol) = (wanted.to_string(), "http");
    let labels = [
        ("response_code", code.as_str()),
        ("response_flags", flag),
        ("request_protocol", protocol),
        ("reporter", "source"),
    ];
    ensure!(agent.metrics()?.sum("istio_requests_total", &labels) >= 1.0, "no metric with {labels:?}");
    others_work(lab)
}

fn big_header(lab: &Lab) -> Result<()> {
    let mut stream = dial(lab)?;
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nX-Big: ");
    let big = [b'b'; 1 << 14];
    // The answer may come, and the connection end, before all is sent.
    let sent = (0..64).take_while(|_| stream.write_all(&big).is_ok()).count();
    let _ = stream.write_all(b"\r\n\r\n");
    let mut start = vec![0; 13];
    stream.read_exact(&mut start).with_context(|| format!("no answer after {sent} of 64 parts"))?;
    ensure!(start.starts_with(b"HTTP/1.1 431 "), "{:?}", String::from_utf8_lossy(&start));
    ensure!(status(lab, CLIENT, "http://web:8080/")? == 200, "a small request suffers");
    others_work(lab)
}

fn no_http(lab: &Lab) -> Result<()> {
    let mut stream = dial(lab)?;
    stream.write_all(b"\x00\x01 this is no HTTP\r\n\r\n")?;
    let (answer, _) = pair::drained(&mut stream);
    if !answer.starts_with(b"HTTP/1.1 400 ") {
        bail!("{:?}", String::from_utf8_lossy(&answer));
    }
    others_work(lab)
}
