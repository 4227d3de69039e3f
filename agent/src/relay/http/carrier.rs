//! What carries a request: a connection of its own, or a place in a session.

use super::Upstreams;
use super::line::Line;
use super::session::Ticket;
use hyper::body::{Body, Incoming};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Given back, or let go of, when the answer's last byte came.
pub(super) enum Carrier<U: Upstreams> {
    /// HTTP/1.
    Line(Box<Line<U>>),
    /// HTTP/2.
    Ticket(#[allow(dead_code, reason = "its place is given back when it is dropped")] Ticket<U>),
}

impl<U: Upstreams> Carrier<U> {
    /// Drops an answer that nobody is to see. The connection is kept if all of it is there already.
    pub(super) fn discard(self, mut answer: Incoming) -> Option<Box<Line<U>>> {
        let Self::Line(mut line) = self else { return None };
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..FRAMES {
            if answer.is_end_stream() {
                return Some(line);
            }
            let mut polled = Pin::new(&mut answer).poll_frame(&mut cx);
            if polled.is_pending() {
                line.drive(&mut cx);
                polled = Pin::new(&mut answer).poll_frame(&mut cx);
            }
            match polled {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None) => return Some(line),
                Poll::Ready(Some(Err(_))) | Poll::Pending => return None,
            }
        }
        None
    }
}

/// What is longer is cheaper to cut off.
const FRAMES: usize = 8;
