//! The end of a connection between two pods of this node at which its requests are seen.

use super::{Arrived, serve};
use crate::connection::failed::Failed;
use crate::telemetry::Open;
use std::sync::Arc;
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;

/// Bytes under way in each direction.
const BUFFER: usize = 64 * 1024;

/// The client's end.
pub struct Inner {
    /// The stream.
    pub io: DuplexStream,
    /// How the other end ended.
    pub ended: Ended,
}

/// The end of the other end.
pub struct Ended(Option<JoinHandle<Result<(), Failed>>>);

impl Ended {
    /// Why the other end is gone, once it is; none where it ended well. Cancel safe.
    pub async fn failure(&mut self) -> Option<Failed> {
        let ended = self.0.as_mut()?.await;
        self.0 = None;
        ended.ok().and_then(Result::err)
    }

    /// Why the other end is gone; never, where it ended well.
    pub async fn refused(&mut self) -> Failed {
        match self.failure().await {
            Some(failed) => failed,
            None => std::future::pending().await,
        }
    }
}

/// The end to use in place of the application. `record` is the destination's.
pub fn local(arrived: Arrived, record: Open) -> Inner {
    let (io, far) = duplex(BUFFER);
    let mesh = Arc::clone(&arrived.mesh);
    let ended = mesh.tasks.spawn(async move { serve(arrived, far, Vec::new(), record).await });
    Inner { io, ended: Ended(Some(ended)) }
}
