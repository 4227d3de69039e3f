//! What the programs say, read from their ring buffer by one thread that sleeps until there is something.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::thread::{Builder, JoinHandle};

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Level, Log, Metadata, Record};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Reads until it is dropped.
pub(super) struct LogThread {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl LogThread {
    /// Takes the programs' log over; their lines come out as `tracing` events with the target `ebpf`.
    pub(super) fn start(ebpf: &mut Ebpf) -> io::Result<Self> {
        let logger = EbpfLogger::init_with_logger(ebpf, ToTracing).map_err(io::Error::other)?;
        let (stopped, stop) = io::pipe()?;
        let thread = Builder::new().name("ebpf-log".to_owned()).spawn(move || follow(logger, &stopped))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has been printed; there is nobody left to tell.
            _ = thread.join();
        }
    }
}

fn follow(mut logger: EbpfLogger<ToTracing>, stopped: &PipeReader) {
    loop {
        let ready = {
            let mut waits =
                [PollFd::new(logger.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waits, PollTimeout::NONE) {
                Ok(_) => waits.map(|wait| wait.any().unwrap_or(false)),
                Err(Errno::EINTR) => continue,
                Err(error) => return tracing::warn!(target: "ebpf", %error, "the programs' log ended"),
            }
        };
        if ready[0] {
            logger.flush();
        }
        if ready[1] {
            return;
        }
    }
}

struct ToTracing;

impl Log for ToTracing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        match record.level() {
            Level::Error => tracing::error!(target: "ebpf", "{}", record.args()),
            Level::Warn => tracing::warn!(target: "ebpf", "{}", record.args()),
            Level::Info => tracing::info!(target: "ebpf", "{}", record.args()),
            Level::Debug | Level::Trace => tracing::debug!(target: "ebpf", "{}", record.args()),
        }
    }

    fn flush(&self) {}
}
