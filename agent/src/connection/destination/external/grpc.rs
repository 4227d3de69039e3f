//! What is asked over gRPC, and what the answer means, as Envoy has it.

use super::super::edits::{Edits, HeaderEdit, How, is_changeable};
use super::super::judge::authority;
use super::protocol::{
    self, Address, AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpRequest,
    HttpResponse, OkHttpResponse, TlsSession,
};
use super::{Answered, Asker, DENIED, Refused, Subject};
use ::http::header::CONTENT_LENGTH;
use ::http::request::Parts;
use ::http::{HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;
use prost::Message;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::SystemTime;

/// What is asked.
pub fn question(asker: &Asker<'_>, subject: Subject<'_>) -> CheckRequest {
    let source = protocol::Peer {
        address: Some(address(SocketAddr::new(asker.client, 0))),
        principal: asker.peer.identity().map(ToString::to_string).unwrap_or_default(),
    };
    let destination =
        protocol::Peer { address: Some(address(asker.address)), principal: asker.workload.identity.to_string() };
    let (http, sni) = match subject {
        Subject::Request(request) => (Some(described(request)), None),
        Subject::Connection(sni) => (None, sni.map(str::to_owned)),
    };
    let request = protocol::Request { time: Some(SystemTime::now().into()), http };
    let tls_session = sni.map(|sni| TlsSession { sni });
    let attributes =
        AttributeContext { source: Some(source), destination: Some(destination), request: Some(request), tls_session };
    CheckRequest { attributes: Some(attributes) }
}

fn address(of: SocketAddr) -> Address {
    let socket_address =
        protocol::SocketAddress { address: of.ip().to_string(), port_value: Some(u32::from(of.port())) };
    Address { socket_address: Some(socket_address) }
}

fn described(request: &Parts) -> HttpRequest {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers: HashMap<String, String> = HashMap::with_capacity(request.headers.len() + 4);
    for (name, value) in &request.headers {
        let known = headers.entry(name.as_str().to_owned());
        known.and_modify(|known| *known = format!("{known},{}", text(value))).or_insert_with(|| text(value));
    }
    let line = [(":method", request.method.as_str()), (":path", path), (":authority", authority(request))];
    headers.extend(line.map(|(name, value)| (name.to_owned(), value.to_owned())));
    headers.remove("host");
    let size = request.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    HttpRequest {
        id: request.headers.get("x-request-id").map(text).unwrap_or_default(),
        method: request.method.to_string(),
        headers,
        path: path.to_owned(),
        host: authority(request).to_owned(),
        scheme: "http".to_owned(),
        size: size.unwrap_or(-1),
        protocol: format!("{:?}", request.version).replace("HTTP/2.0", "HTTP/2"),
    }
}

/// What the answer means.
pub fn understand(answer: &Bytes) -> Answered {
    let answer = CheckResponse::decode(answer.clone()).map_err(|error| error.to_string())?;
    let status = answer.status.unwrap_or_default();
    match (status.code, answer.http_response) {
        (_, Some(HttpResponse::Error(_))) => Err(format!("it could not decide: {}", status.message)),
        (0, Some(HttpResponse::Ok(changes))) => Ok(Ok(edits(changes))),
        (0, None) => Ok(Ok(Edits::default())),
        (0, Some(HttpResponse::Denied(_))) => Err("it allows and denies at once".to_owned()),
        (code, Some(HttpResponse::Denied(denied))) => Ok(Err(denial(denied, code, &status.message))),
        (code, _) => Ok(Err(denial(DeniedHttpResponse::default(), code, &status.message))),
    }
}

fn denial(denied: DeniedHttpResponse, code: i32, message: &str) -> Refused {
    let code_of = |status: protocol::HttpStatus| StatusCode::from_u16(u16::try_from(status.code).ok()?).ok();
    let status = denied.status.and_then(code_of).filter(|status| status.as_u16() >= 200);
    let mut headers = ::http::HeaderMap::new();
    denied.headers.into_iter().filter_map(header).for_each(|edit| edit.apply(&mut headers));
    let bare = denied.body.is_empty() && status.is_none() && headers.is_empty();
    let body = if bare { Bytes::from_static(DENIED) } else { denied.body.into() };
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    let why = format!(" with {code}{message}");
    Refused { status: status.unwrap_or(StatusCode::FORBIDDEN), headers, body, why }
}

fn edits(changes: OkHttpResponse) -> Edits {
    let names = changes.headers_to_remove.iter().filter_map(|name| HeaderName::try_from(name.as_str()).ok());
    Edits {
        remove: names.filter(is_changeable).collect(),
        request: changes.headers.into_iter().filter_map(header).collect(),
        response: changes.response_headers_to_add.into_iter().filter_map(header).collect(),
        remove_params: changes.query_parameters_to_remove,
        params: changes.query_parameters_to_set.into_iter().map(|one| (one.key, one.value)).collect(),
    }
}

/// A header that can be one, and may be changed.
fn header(option: HeaderValueOption) -> Option<HeaderEdit> {
    let header = option.header?;
    let name = HeaderName::try_from(header.key).ok().filter(is_changeable)?;
    let bytes = if header.raw_value.is_empty() { header.value.into_bytes() } else { header.raw_value };
    let how = match (option.append, option.append_action) {
        (Some(true), _) => How::Add,
        (None, 1) => How::AddIfAbsent,
        (None, 3) => How::SetIfPresent,
        // As Envoy: what does not say that it is added takes the place of what is there.
        _ => How::Set,
    };
    Some(HeaderEdit { name, value: HeaderValue::from_maybe_shared(Bytes::from(bytes)).ok()?, how })
}
