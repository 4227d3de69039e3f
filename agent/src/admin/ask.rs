//! The commands that ask a running agent: `status`, `connections`, `workloads`, `certs`.

use super::table;
use crate::explain;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;

/// How long an agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An agent could not be asked.
#[derive(Debug, Error)]
pub enum AskError {
    /// Nothing listens there.
    #[error("no agent at {address} (--admin says where it is)")]
    Connect {
        /// Where it was looked for.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// What listens there does not speak HTTP, or went away.
    #[error("{address} did not answer {path}")]
    Http {
        /// Who was asked.
        address: SocketAddr,
        /// What was asked.
        path: String,
        /// Why.
        source: hyper::Error,
    },
    /// It took too long.
    #[error("{0} did not answer within {PATIENCE:?}")]
    Slow(SocketAddr),
    /// It answered with another status than 200.
    #[error("{path}: {status}: {body}")]
    Status {
        /// What was asked.
        path: String,
        /// The status.
        status: StatusCode,
        /// The answer.
        body: String,
    },
    /// What was asked names something that is not there.
    #[error("{0}")]
    Refused(String),
    /// Its answer is not JSON.
    #[error("{path} is not JSON")]
    Json {
        /// What was asked.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// What `underpass` can be asked to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// How the agent is.
    Status,
    /// Its open connections.
    Connections,
    /// The workloads it knows.
    Workloads,
    /// Its certificates.
    Certs,
}

/// Asks the agent at `admin` and returns what to print: its answer as JSON, or a table.
///
/// # Errors
/// The agent is not there, or its answer is not one.
pub async fn ask(question: Question, admin: SocketAddr, json: bool) -> Result<String, AskError> {
    let value = match question {
        Question::Status => status(admin).await?,
        Question::Connections => json_of(admin, "/connections").await?,
        Question::Workloads => json_of(admin, "/workloads").await?,
        Question::Certs => json_of(admin, "/certs").await?,
    };
    if json {
        return Ok(format!("{value:#}\n"));
    }
    Ok(match question {
        Question::Status => table::status(&value),
        Question::Connections => table::connections(&value),
        Question::Workloads => table::workloads(&value),
        Question::Certs => table::certs(&value),
    })
}

/// Asks the agent at `admin` who governs each port of each service, as a pod sees it where one is named.
///
/// # Errors
/// The agent is not there, or there is no such pod.
pub async fn routes(source: Option<&str>, admin: SocketAddr) -> Result<Value, AskError> {
    let query = source.map(|source| format!("?source={}", escaped(source)));
    json_of(admin, &format!("/routes{}", query.unwrap_or_default())).await
}

/// Asks the agent at `admin` why a request would go where it would go.
///
/// # Errors
/// The agent is not there, or what is asked about is not.
pub async fn explain(question: &explain::Question, admin: SocketAddr) -> Result<Value, AskError> {
    let explain::Question { source, destination, method, path, headers } = question;
    let fields = [("source", Some(source)), ("destination", Some(destination))];
    let fields = fields.into_iter().chain([("method", method.as_ref()), ("path", path.as_ref())]);
    let fields = fields.chain(headers.iter().map(|header| ("header", Some(header))));
    let pairs = fields.filter_map(|(name, value)| Some(format!("{name}={}", escaped(value?))));
    json_of(admin, &format!("/explain?{}", pairs.collect::<Vec<_>>().join("&"))).await
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Readiness, pods, findings, certificates and the number of connections, in one object.
async fn status(admin: SocketAddr) -> Result<Value, AskError> {
    let (status, reasons) = get(admin, "/healthz/ready").await?;
    let ready = status == StatusCode::OK;
    let reasons: Vec<&str> = if ready { Vec::new() } else { reasons.lines().collect() };
    let connections = json_of(admin, "/connections").await?;
    Ok(json!({
        "ready": ready,
        "reasons": reasons,
        "connections": connections.as_array().map_or(0, Vec::len),
        "pods": json_of(admin, "/pods").await?,
        "findings": json_of(admin, "/findings").await?,
        "certs": json_of(admin, "/certs").await?,
    }))
}

async fn json_of(admin: SocketAddr, path: &str) -> Result<Value, AskError> {
    let (status, body) = get(admin, path).await?;
    if status == StatusCode::BAD_REQUEST {
        return Err(AskError::Refused(body.trim_end().to_owned()));
    }
    if status != StatusCode::OK {
        return Err(AskError::Status { path: path.to_owned(), status, body: body.trim_end().to_owned() });
    }
    serde_json::from_str(&body).map_err(|source| AskError::Json { path: path.to_owned(), source })
}

/// One GET: the status and the body.
///
/// # Errors
/// The agent is not there or does not answer.
pub async fn get(address: SocketAddr, path: &str) -> Result<(StatusCode, String), AskError> {
    tokio::time::timeout(PATIENCE, exchange(address, path)).await.map_err(|_| AskError::Slow(address))?
}

async fn exchange(address: SocketAddr, path: &str) -> Result<(StatusCode, String), AskError> {
    let stream = TcpStream::connect(address).await.map_err(|source| AskError::Connect { address, source })?;
    let failed = |source| AskError::Http { address, path: path.to_owned(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let connection = tokio::spawn(connection);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = path.parse().expect("paths are written here");
    let host = address.to_string().parse().expect("an address is a header value");
    request.headers_mut().insert(http::header::HOST, host);
    let response = sender.send_request(request).await.map_err(failed)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(failed)?.to_bytes();
    drop(sender);
    connection.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
