//! Kept connections to authorizers: one for each pod that asks, for all its questions.

use super::super::reach;
use super::LONGEST;
use crate::connection::Mesh;
use crate::connection::dial::Client;
use crate::model::extension_provider::Authorizer;
use crate::relay::http::ask::Line;
use crate::vocab::{Hostname, PodId};
use ::http::Request;
use ::http::header::{CONTENT_TYPE, TE};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::Full;
use parking_lot::Mutex;
use prost::Message;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// Before each message of gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Kept connections.
#[derive(Default)]
pub struct Authorizers(Mutex<HashMap<Key, Arc<Slot>>>);

type Key = (PodId, Hostname, u16);

struct Slot {
    pod: Weak<crate::capture::Pod>,
    line: tokio::sync::Mutex<Option<Line>>,
}

impl Authorizers {
    /// Calls `Check`. A connection that was kept and turns out to be broken is made again, once.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) async fn ask(
        &self,
        (mesh, pod): (&Arc<Mesh>, &Client),
        authorizer: &Authorizer,
        question: &super::protocol::CheckRequest,
    ) -> Result<Bytes, String> {
        let slot = self.slot(pod, authorizer);
        let request = request(authorizer, question)?;
        let (line, kept) = slot.line(mesh, pod, authorizer).await?;
        let first = line.ask(request.clone(), LONGEST).await;
        let answer = match first {
            Err(_) if kept => {
                slot.forget(&line).await;
                let (line, _) = slot.line(mesh, pod, authorizer).await?;
                line.ask(request, LONGEST).await
            }
            first => first,
        };
        message(&answer.map_err(|error| error.to_string())?)
    }

    /// Connections of pods that are gone are not kept.
    pub fn sweep(&self) {
        let is_there = |slot: &Slot| slot.pod.upgrade().is_some_and(|pod| !pod.gone().is_cancelled());
        self.0.lock().retain(|_, slot| is_there(slot));
    }

    fn slot(&self, pod: &Client, authorizer: &Authorizer) -> Arc<Slot> {
        let key = (pod.pod.id().clone(), authorizer.host.clone(), authorizer.port);
        let mut slots = self.0.lock();
        let new = || Arc::new(Slot { pod: Arc::downgrade(&pod.pod), line: tokio::sync::Mutex::default() });
        let slot = slots.entry(key).or_insert_with(new);
        // A new pod may have the name of one that is gone.
        if slot.pod.as_ptr() != Arc::as_ptr(&pod.pod) {
            *slot = new();
        }
        Arc::clone(slot)
    }
}

impl Slot {
    /// The connection, and whether it was there.
    async fn line(&self, mesh: &Arc<Mesh>, pod: &Client, authorizer: &Authorizer) -> Result<(Line, bool), String> {
        let mut line = self.line.lock().await;
        if let Some(open) = line.as_ref().filter(|line| line.is_open()) {
            return Ok((open.clone(), true));
        }
        let io = reach::to_host(mesh, pod, authorizer.host.as_str(), authorizer.port).await;
        let opened = Line::open(io.map_err(|failed| failed.to_string())?).await.map_err(|error| error.to_string())?;
        *line = Some(opened.clone());
        Ok((opened, false))
    }

    /// Another question may have made it anew by now.
    async fn forget(&self, broken: &Line) {
        let mut line = self.line.lock().await;
        if line.as_ref().is_some_and(|line| line.is_same(broken)) {
            *line = None;
        }
    }
}

fn request(authorizer: &Authorizer, question: &super::protocol::CheckRequest) -> Result<Request<Full<Bytes>>, String> {
    let mut body = BytesMut::with_capacity(PREFIX + question.encoded_len());
    body.put_u8(0);
    body.put_u32(u32::try_from(question.encoded_len()).map_err(|error| error.to_string())?);
    question.encode(&mut body).map_err(|error| error.to_string())?;
    let uri = format!("http://{}:{}{}", authorizer.host, authorizer.port, super::protocol::CHECK);
    let request = Request::post(uri).header(CONTENT_TYPE, "application/grpc").header(TE, "trailers");
    let request = request.header("grpc-timeout", format!("{}m", authorizer.timeout.as_millis().min(99_999_999)));
    request.body(Full::new(body.freeze())).map_err(|error| error.to_string())
}

/// The message of a call that went well.
fn message(answer: &::http::Response<Bytes>) -> Result<Bytes, String> {
    if answer.status() != ::http::StatusCode::OK {
        return Err(format!("it answers {}", answer.status()));
    }
    let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => {}
        Some(code) => return Err(format!("gRPC status {code}: {}", text("grpc-message").unwrap_or_default())),
        None => return Err("an answer without a gRPC status".to_owned()),
    }
    let body = answer.body();
    match body.first_chunk::<PREFIX>() {
        Some([0, length @ ..]) if u32::from_be_bytes(*length) as usize == body.len() - PREFIX => {
            Ok(body.slice(PREFIX..))
        }
        _ => Err("an answer that is not one message".to_owned()),
    }
}
