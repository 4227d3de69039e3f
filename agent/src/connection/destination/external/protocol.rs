//! `envoy.service.auth.v3.Authorization/Check`, as far as it is spoken here.

use std::collections::HashMap;

/// The one method.
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// `CheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckRequest {
    /// All that is asked about.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<AttributeContext>,
}

/// `AttributeContext`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AttributeContext {
    /// The client.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Peer>,
    /// The application.
    #[prost(message, optional, tag = "2")]
    pub destination: Option<Peer>,
    /// The request; without `http` it is a connection.
    #[prost(message, optional, tag = "4")]
    pub request: Option<Request>,
    /// The client's own TLS, if it speaks that.
    #[prost(message, optional, tag = "12")]
    pub tls_session: Option<TlsSession>,
}

/// `AttributeContext.Peer`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Peer {
    /// Where it is.
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
    /// The proven identity.
    #[prost(string, tag = "4")]
    pub principal: String,
}

/// `config.core.v3.Address`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Address {
    /// The only kind that is used.
    #[prost(message, optional, tag = "1")]
    pub socket_address: Option<SocketAddress>,
}

/// `config.core.v3.SocketAddress`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SocketAddress {
    /// The IP address.
    #[prost(string, tag = "2")]
    pub address: String,
    /// The port. Zero is said too: it is part of a choice.
    #[prost(uint32, optional, tag = "3")]
    pub port_value: Option<u32>,
}

/// `AttributeContext.Request`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// When it came.
    #[prost(message, optional, tag = "1")]
    pub time: Option<prost_types::Timestamp>,
    /// The request.
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// `AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpRequest {
    /// `x-request-id`.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// In lower case, values of one name joined, with those of the request line (`:path`).
    #[prost(map = "string, string", tag = "3")]
    pub headers: HashMap<String, String>,
    /// With the query.
    #[prost(string, tag = "4")]
    pub path: String,
    /// The authority.
    #[prost(string, tag = "5")]
    pub host: String,
    /// `http`.
    #[prost(string, tag = "6")]
    pub scheme: String,
    /// The body's length, or -1 where it is not said.
    #[prost(int64, tag = "9")]
    pub size: i64,
    /// Such as `HTTP/1.1`.
    #[prost(string, tag = "10")]
    pub protocol: String,
}

/// `AttributeContext.TLSSession`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TlsSession {
    /// The name in the hello.
    #[prost(string, tag = "1")]
    pub sni: String,
}

/// `CheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckResponse {
    /// Whether it is allowed: with the code 0.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// What becomes of it.
    #[prost(oneof = "HttpResponse", tags = "2, 3, 5")]
    pub http_response: Option<HttpResponse>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Status {
    /// gRPC's.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// What becomes of a request.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum HttpResponse {
    /// The client's answer.
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    /// Changes to it.
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
    /// It could not be decided.
    #[prost(message, tag = "5")]
    Error(DeniedHttpResponse),
}

/// `DeniedHttpResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeniedHttpResponse {
    /// 403 if it is not said.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// The answer's.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// The answer's.
    #[prost(string, tag = "3")]
    pub body: String,
}

/// `type.v3.HttpStatus`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpStatus {
    /// The number.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `OkHttpResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OkHttpResponse {
    /// For the application.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// That the application does not get.
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
    /// For the client.
    #[prost(message, repeated, tag = "6")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Parameters for the application.
    #[prost(message, repeated, tag = "7")]
    pub query_parameters_to_set: Vec<QueryParameter>,
    /// Parameters that it does not get.
    #[prost(string, repeated, tag = "8")]
    pub query_parameters_to_remove: Vec<String>,
}

/// `config.core.v3.HeaderValueOption`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderValueOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderValue>,
    /// Whether others of its name stay. Where this is not said `append_action` counts.
    #[prost(message, optional, tag = "2")]
    pub append: Option<bool>,
    /// 0 to 3: add, add if there is none, set, set if there is one.
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

/// `config.core.v3.HeaderValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeaderValue {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
    /// The value, where it is not text.
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

/// `config.core.v3.QueryParameter`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct QueryParameter {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}
