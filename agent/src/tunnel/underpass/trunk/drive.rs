//! The task of a trunk: it alone reads and writes the TLS connection.

use super::super::super::tls::{MAX_PLAINTEXT, TlsStream};
use super::frame::Deframer;
use super::lane::Lane;
use super::shared::{Arrivals, Trunk};
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::task::yield_now;

/// Where sends follow each other more slowly, none waits for another: with a single exchange there is one in 150 us (wrk
/// with one connection, two agents on two cores).
const BUSY: Duration = Duration::from_micros(100);

/// A trunk on a TLS connection that agreed on [`crate::vocab::Alpn::Lanes`], and the work that it needs: run it as a task
/// of its own. Each lane that the client begins is given to `arrived`.
pub fn drive(
    tls: TlsStream,
    is_client: bool,
    arrived: impl Fn(Lane) + Send + 'static,
) -> (Arc<Trunk>, impl Future<Output = ()> + Send + 'static) {
    let trunk = Trunk::new(tls.info().clone(), is_client);
    let deframer = Deframer::default();
    let driver = Driver { tls, trunk: Arc::clone(&trunk), arrived, deframer, outgoing: Vec::new() };
    (trunk, driver.run())
}

struct Driver<F> {
    tls: TlsStream,
    trunk: Arc<Trunk>,
    arrived: F,
    deframer: Deframer,
    outgoing: Vec<u8>,
}

/// What there is to do.
enum Turn {
    /// Something is staged.
    Send,
    /// Nothing, ever.
    Over,
}

/// Ends the lanes however the task ends.
struct Dies(Arc<Trunk>, String);

impl Drop for Dies {
    fn drop(&mut self) {
        self.0.die(&self.1);
    }
}

impl<F: Fn(Lane) + Send> Driver<F> {
    async fn run(mut self) {
        let mut end = Dies(Arc::clone(&self.trunk), "the tunnel's task ended".to_owned());
        let ended = self.turns().await;
        end.1 = ended.err().map_or_else(|| "the tunnel ended".to_owned(), |error| format!("tunnel broke: {error}"));
    }

    async fn turns(&mut self) -> io::Result<()> {
        let mut last: Option<Instant> = None;
        while let Turn::Send = poll_fn(|cx| self.poll(cx)).await? {
            if last.is_some_and(|last| last.elapsed() < BUSY) {
                // The others that are ready write first.
                yield_now().await;
            }
            self.seal_staged()?;
            last = Some(Instant::now());
        }
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        // What waits for the network does not keep us from reading.
        let _ = self.tls.poll_send(cx)?;
        if self.poll_read(cx)?.is_ready() {
            return Poll::Ready(Ok(Turn::Over));
        }
        let mut state = self.trunk.lock();
        if !state.staged.is_empty() && !self.tls.has_unsent() {
            return Poll::Ready(Ok(Turn::Send));
        }
        if state.is_over() && !self.tls.has_unsent() {
            return Poll::Ready(Ok(Turn::Over));
        }
        state.driver = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Reads all that has come. Ready at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while let Some(record) = self.tls.next_record().map_err(io::Error::other)? {
                self.dispatch(record)?;
            }
            if self.tls.is_closed() {
                return Poll::Ready(Ok(()));
            }
            match self.tls.poll_receive(cx)? {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn dispatch(&mut self, record: Range<usize>) -> io::Result<()> {
        let mut bytes = &self.tls.received()[record];
        let mut arrivals = Arrivals::default();
        let mut state = self.trunk.lock();
        while let Some(frame) = self.deframer.next(&mut bytes).map_err(io::Error::other)? {
            self.trunk.arrive(&mut state, frame, &mut arrivals).map_err(io::Error::other)?;
        }
        drop(state);
        arrivals.lanes.into_iter().for_each(|number| (self.arrived)(Lane::new(Arc::clone(&self.trunk), number)));
        arrivals.wake.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn seal_staged(&mut self) -> io::Result<()> {
        let waiting = self.trunk.lock().take_staged(&mut self.outgoing);
        waiting.into_iter().for_each(Waker::wake);
        for piece in self.outgoing.chunks(MAX_PLAINTEXT) {
            self.tls.vacant()[..piece.len()].copy_from_slice(piece);
            self.tls.seal(piece.len()).map_err(io::Error::other)?;
        }
        self.outgoing.clear();
        Ok(())
    }
}
