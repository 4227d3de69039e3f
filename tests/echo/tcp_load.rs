//! The TCP clients: many short connections, one long one, and one that looks at its own addresses.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::load::HOPELESS;
use crate::options::Options;

/// One line on each of many connections; answers by their first word.
pub async fn run(options: &Options) -> Result<Value> {
    let connections: u64 = options.number("connections")?.unwrap_or(1);
    let concurrency: u64 = options.number("concurrency")?.unwrap_or(8);
    let timeout = Duration::from_millis(options.number("timeout-ms")?.unwrap_or(10_000));
    let address: Rc<str> = options.required("address")?.into();
    let line: Rc<str> = options.text("line").unwrap_or("underpass").into();
    let (left, failed) = (Rc::new(Cell::new(connections)), Rc::new(RefCell::new(BTreeMap::<String, u64>::new())));
    let answers = Rc::new(RefCell::new(BTreeMap::<String, u64>::new()));
    let local = LocalSet::new();
    for _ in 0..concurrency {
        let (left, failed, answers) = (left.clone(), failed.clone(), answers.clone());
        let (address, line) = (address.clone(), line.clone());
        local.spawn_local(async move {
            while left.get() > 0 && !(answers.borrow().is_empty() && failed.borrow().values().sum::<u64>() >= HOPELESS)
            {
                left.set(left.get() - 1);
                let outcome = tokio::time::timeout(timeout, one(&address, &line)).await;
                match outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("timeout"))) {
                    Ok(first) => *answers.borrow_mut().entry(first).or_default() += 1,
                    Err(error) => *failed.borrow_mut().entry(format!("{error:#}")).or_default() += 1,
                }
            }
        });
    }
    local.await;
    let failures: u64 = failed.borrow().values().sum();
    Ok(
        json!({"sent": connections - left.get(), "failed": failures, "errors": *failed.borrow(), "by_prefix": *answers.borrow()}),
    )
}

async fn one(address: &str, line: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await.context("connect")?;
    stream.write_all(format!("{line}\n").as_bytes()).await.context("write")?;
    stream.shutdown().await.context("shutdown")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.context("read")?;
    ensure!(answer.trim_end().ends_with(line), "answered {answer:?}");
    Ok(answer.trim_end().strip_suffix(line).unwrap_or_default().trim().to_owned())
}

/// One connection, a line every now and then: for a look at whether it survives what happens around it.
pub async fn hold(options: &Options) -> Result<Value> {
    let seconds: f64 = options.number("seconds")?.unwrap_or(5.0);
    let every = Duration::from_millis(options.number("every-ms")?.unwrap_or(100));
    let stream = TcpStream::connect(options.required("address")?).await.context("connect")?;
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    // Who started this may wait for it.
    eprintln!("connected");
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let start = Instant::now();
    let (mut echoed, mut error) = (0u64, None);
    while start.elapsed().as_secs_f64() < seconds && error.is_none() {
        let exchange = async {
            write.write_all(format!("line {echoed}\n").as_bytes()).await?;
            lines.next_line().await
        };
        match tokio::time::timeout(Duration::from_secs(5), exchange).await {
            Ok(Ok(Some(_))) => echoed += 1,
            Ok(Ok(None)) => error = Some("closed by the peer".to_owned()),
            Ok(Err(failure)) => error = Some(failure.to_string()),
            Err(_) => error = Some("no answer within 5 s".to_owned()),
        }
        tokio::time::sleep(every).await;
    }
    Ok(json!({"echoed": echoed, "error": error, "local": local.to_string(), "peer": peer.to_string()}))
}

/// Connects, and says what the kernel says of the connection's two ends.
pub async fn connect(options: &Options) -> Result<Value> {
    let stream = TcpStream::connect(options.required("address")?).await.context("connect")?;
    Ok(json!({"getpeername": stream.peer_addr()?.to_string(), "getsockname": stream.local_addr()?.to_string()}))
}
